"""FC-LSTM: an image network's features of a space-time stack to note amplitudes (Deep Auditory Hallucinations).

The image network, VGG19 or AlexNet, is fixed; its layers have torchvision's names, so its published weights fit.

Shapes: B batch, T windows, C pictures of a stack, D features, n notes.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.note_sequences import Recurrence

N_FEATURES = 4096
IMAGE_SIDE = 224  # pixels that ImageNet's networks were trained with
# Of ImageNet's three channels, as torchvision's weights expect them; a picture's luma here is 0 to 1.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_VGG19 = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))


class ImageEncoder(nn.Module):
    """VGG19 or AlexNet up to the first or the second fully connected layer, behind its ReLU.

    Args:
        kind: which network.
        layer: whose output is taken: ``fc1`` or ``fc2``.
        image_side: pixels that stacks are scaled to; half of the published ones cost a quarter.

    Source:
        Simonyan and Zisserman 2015, configuration E; Krizhevsky 2014, one column.
    """

    def __init__(
        self, kind: Literal["vgg19", "alexnet"], layer: Literal["fc1", "fc2"], image_side: int = IMAGE_SIDE
    ) -> None:
        super().__init__()
        self._image_side = image_side
        self.features, side = _vgg19() if kind == "vgg19" else _alexnet()
        n_inputs = (512 if kind == "vgg19" else 256) * side**2
        self._side = side
        first = 0 if kind == "vgg19" else 1  # AlexNet has dropout in front of each
        layers: dict[str, nn.Module] = {str(first): nn.Linear(n_inputs, N_FEATURES)}
        if layer == "fc2":
            layers[str(first + 3)] = nn.Linear(N_FEATURES, N_FEATURES)
        self.classifier = nn.ModuleDict(layers)

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
        n_notes=n_notes, n_features=N_FEATURES, n_recurrent=(256, 256), dropout=0.2, bidirectional=False
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
