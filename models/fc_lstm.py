"""FC-LSTM: an image network's features of a space-time stack to note amplitudes (Deep Auditory Hallucinations).

The image network is fixed: VGG19 or AlexNet, as published, whose layers have torchvision's names, so that their
published weights fit; or EfficientNet-lite0, a departure, whose weights a package registry has.

Shapes: B batch, T windows, C pictures of a stack, D features, n notes.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.note_sequences import Recurrence

Kind = Literal["vgg19", "alexnet", "efficientnet_lite0"]
Layer = Literal["fc1", "fc2", "pooled"]
IMAGE_SIDE = 224  # pixels that ImageNet's networks were trained with
# Of ImageNet's three channels, as torchvision's weights expect them; a picture's luma here is 0 to 1.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_N_FULLY_CONNECTED = 4096  # of VGG19 and AlexNet
_VGG19 = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
# Of EfficientNet-lite0: blocks, kernel, stride of the first, expansion, channels.
_LITE0 = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_N_STEM, _N_POOLED, _BN_EPS = 32, 1280, 1e-3


class ImageEncoder(nn.Module):
    """An image network up to the layer whose output is taken, fixed.

    VGG19 and AlexNet up to the first or the second fully connected layer, behind its ReLU; EfficientNet-lite0 up to the
    mean over its last feature maps, in front of its only fully connected layer.

    Args:
        kind: which network.
        layer: whose output is taken: ``fc1`` or ``fc2``, and ``pooled`` of EfficientNet-lite0.
        image_side: pixels that stacks are scaled to; half of the published ones cost a quarter.

    Attributes:
        n_features: D, numbers of an output.

    Source:
        Simonyan and Zisserman 2015, configuration E; Krizhevsky 2014, one column; Tan and Le 2019, in the form without
        squeeze and excitation and with ReLU6 that its authors published as EfficientNet-lite0.
    """

    def __init__(self, kind: Kind, layer: Layer, image_side: int = IMAGE_SIDE) -> None:
        super().__init__()
        if (kind == "efficientnet_lite0") != (layer == "pooled"):
            raise ValueError(f"{kind} has no layer {layer}")
        self._image_side = image_side
        self.n_features = _N_POOLED if layer == "pooled" else _N_FULLY_CONNECTED
        self.classifier = nn.ModuleDict()
        if layer == "pooled":
            self.features, self._side = _efficientnet_lite0(), 1
            return
        self.features, side = _vgg19() if kind == "vgg19" else _alexnet()
        n_inputs = (512 if kind == "vgg19" else 256) * side**2
        self._side = side
        first = 0 if kind == "vgg19" else 1  # AlexNet has dropout in front of each
        layers: dict[str, nn.Module] = {str(first): nn.Linear(n_inputs, _N_FULLY_CONNECTED)}
        if layer == "fc2":
            layers[str(first + 3)] = nn.Linear(_N_FULLY_CONNECTED, _N_FULLY_CONNECTED)
        self.classifier.update(layers)

    def forward(self, stacks: Tensor) -> Tensor:
        """Map stacks of three pictures (B, 3, H, W), luma 0 to 255, to features (B, D)."""
        x = functional.interpolate(stacks.float() / 255, (self._image_side,) * 2, mode="bilinear", antialias=True)
        x = self.features((x - x.new_tensor(_MEAN)[:, None, None]) / x.new_tensor(_STD)[:, None, None])
        x = functional.adaptive_avg_pool2d(x, self._side).flatten(1)
        for layer in self.classifier.values():
            x = torch.relu(layer(x))
        return x


@dataclass(frozen=True, kw_only=True)
class FcLstmConfig:
    """Sizes.

    Attributes:
        n_notes: of the instrument.
        n_features: of a stack.
        n_recurrent: of the LSTM layers; (256, 256) published.
        dropout: of the input and between the layers; 0.2 published.
        bidirectional: the LSTMs also run from the end.
    """

    n_notes: int
    n_features: int
    n_recurrent: tuple[int, ...]
    dropout: float
    bidirectional: bool


class FcLstm(nn.Module):
    """From an image network's features to the amplitudes of every note."""

    def __init__(self, config: FcLstmConfig) -> None:
        super().__init__()
        self.config = config
        self.recurrence = Recurrence(
            config.n_features,
            config.n_recurrent,
            config.n_notes,
            dropout=config.dropout,
            input_dropout=config.dropout,
            bidirectional=config.bidirectional,
        )

    def forward(
        self,
        frames: Tensor,
        ages: Tensor | None = None,  # noqa: ARG002 - one signature for all families
        notes: Tensor | None = None,
        mirrored: Tensor | None = None,  # noqa: ARG002
    ) -> Tensor:
        """Map features (B, T, D) to amplitudes (B, T, n), or of some notes (B, m) to (B, T, m)."""
        out: Tensor = self.recurrence(frames)
        return out if notes is None else out.gather(2, notes[:, None].expand(-1, out.shape[1], -1))


def published(n_notes: int) -> FcLstmConfig:
    """Return the published sizes."""
    return FcLstmConfig(
        n_notes=n_notes, n_features=_N_FULLY_CONNECTED, n_recurrent=(256, 256), dropout=0.2, bidirectional=False
    )


def _vgg19() -> tuple[nn.Sequential, int]:
    layers: list[nn.Module] = []
    n_channels = 3
    for n_filters, n_layers in _VGG19:
        for _ in range(n_layers):
            layers += [nn.Conv2d(n_channels, n_filters, 3, padding=1), nn.ReLU()]
            n_channels = n_filters
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers), 7


def _alexnet() -> tuple[nn.Sequential, int]:
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
    layers += [nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
    layers += [nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()]
    layers += [nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()]
    layers += [nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)]
    return nn.Sequential(*layers), 6


def _efficientnet_lite0() -> nn.Sequential:
    layers: list[nn.Module] = [*_same_convolution(3, _N_STEM, 3, stride=2), nn.ReLU6()]
    n_channels = _N_STEM
    for n_blocks, kernel, stride, expansion, n_filters in _LITE0:
        for number in range(n_blocks):
            layers.append(_Bottleneck(n_channels, n_filters, kernel, 1 if number else stride, expansion))
            n_channels = n_filters
    return nn.Sequential(*layers, *_same_convolution(n_channels, _N_POOLED, 1), nn.ReLU6())


class _Bottleneck(nn.Module):
    """Expand, filter each channel for itself, project; added to the input where the sizes are the same."""

    def __init__(self, n_channels: int, n_filters: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        n_inner = n_channels * expansion
        self._adds = stride == 1 and n_channels == n_filters
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [*_same_convolution(n_channels, n_inner, 1), nn.ReLU6()]
        layers += [*_same_convolution(n_inner, n_inner, kernel, stride=stride, groups=n_inner), nn.ReLU6()]
        self.layers = nn.Sequential(*layers, *_same_convolution(n_inner, n_filters, 1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return x + out if self._adds else out


class _SameConvolution(nn.Conv2d):
    """A convolution that pads as TensorFlow's SAME does: where the padding is odd, one more at the end."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = (
            max((-(-n // step) - 1) * step + side - n, 0)
            for n, step, side in zip(x.shape[-2:], self.stride, self.kernel_size, strict=True)
        )
        return super().forward(functional.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2)))


def _same_convolution(
    n_channels: int, n_filters: int, kernel: int, *, stride: int = 1, groups: int = 1
) -> tuple[nn.Module, nn.Module]:
    convolution = _SameConvolution(n_channels, n_filters, kernel, stride=stride, groups=groups, bias=False)
    return convolution, nn.BatchNorm2d(n_filters, eps=_BN_EPS)
