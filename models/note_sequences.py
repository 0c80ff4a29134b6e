"""Blocks that the networks from frames to note amplitudes share.

Shapes: B batch, T windows or frames, C pictures of a space-time stack, H rows, W columns, n notes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class ConvLayer:
    """A convolution: filters, side of the square kernel, stride."""

    n_filters: int
    kernel: int
    stride: int


def conv_layers(rows: Sequence[Sequence[int]]) -> tuple[ConvLayer, ...]:
    """Type rows of (filters, kernel, stride).

    Raises:
        ValueError: a row has not three numbers of at least 1.
    """
    for row in rows:
        if len(row) != 3 or min(row) < 1:
            raise ValueError(f"layer {list(row)}, expected filters, kernel and stride, each at least 1")
    return tuple(ConvLayer(n_filters=n, kernel=kernel, stride=stride) for n, kernel, stride in rows)


def same_size(length: int, layers: Sequence[ConvLayer]) -> int:
    """Return what is left of a side of ``length`` pixels behind all layers: a stride rounds up."""
    for layer in layers:
        length = -(-length // layer.stride)
    return length


class SameConv2d(nn.Conv2d):
    """A convolution padded so that a stride of s makes ceil(size / s) of every size; what is odd goes to the end.

    Source:
        Padding ``same`` as TensorFlow defines it, which the marimba networks were built with.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, filters, ceil(H / stride), ceil(W / stride))."""
        x, padding = self._padded(x)
        return functional.conv2d(x, self.weight, self.bias, self.stride, padding)

    def _padded(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Return pictures (..., H, W) with what is odd of the padding, and what the convolution pads on each side."""
        missing = [
            max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            for size, stride, kernel in zip(x.shape[-2:], self.stride, self.kernel_size, strict=True)
        ]
        down, across = missing
        if down % 2 or across % 2:
            x = functional.pad(x, (0, across % 2, 0, down % 2))
        return x, (down // 2, across // 2)


class StackConv2d(SameConv2d):
    """The same convolution of the space-time stacks of consecutive frames; no stack is ever made.

    A stack of C pictures holds every frame C times; over frames it is a convolution in three dimensions.
    """

    def forward(self, frames: Tensor) -> Tensor:
        """Map frames (B, T + C - 1, H, W) to (B, T, filters, ceil(H / stride), ceil(W / stride))."""
        x, padding = self._padded(frames[:, None])
        made = functional.conv3d(x, self.weight[:, None], self.bias, (1, *self.stride), (0, *padding))
        return made.transpose(1, 2)


class OneBiasLstm(nn.Module):
    """An LSTM with one bias vector a gate, where torch's own has two that only ever add up.

    Keras counts one, and so do the published parameter counts. The bias is the weight of an input that is always 1.
    """

    def __init__(self, n_inputs: int, n_hidden: int, *, bidirectional: bool = False) -> None:
        super().__init__()
        self.lstm = nn.LSTM(n_inputs + 1, n_hidden, batch_first=True, bias=False, bidirectional=bidirectional)
        self.n_outputs = n_hidden * (2 if bidirectional else 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, n_inputs) to (B, T, n_outputs)."""
        hidden: Tensor = self.lstm(functional.pad(x, (0, 1), value=1.0))[0]
        return hidden


class Recurrence(nn.Module):
    """LSTM layers with dropout before, between and none behind them, and a linear output.

    Args:
        n_inputs: features of a frame.
        n_hidden: of each layer.
        n_outputs: of the last, linear one.
        dropout: between the layers.
        input_dropout: before the first.
        bidirectional: each layer also runs from the end.
    """

    def __init__(
        self,
        n_inputs: int,
        n_hidden: Sequence[int],
        n_outputs: int,
        *,
        dropout: float,
        input_dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        self.input_dropout = nn.Dropout(input_dropout)
        self.dropout = nn.Dropout(dropout)
        layers = []
        for size in n_hidden:
            layers.append(OneBiasLstm(n_inputs, size, bidirectional=bidirectional))
            n_inputs = layers[-1].n_outputs
        self.layers = nn.ModuleList(layers)
        self.output = nn.Linear(n_inputs, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, n_inputs) to (B, T, n_outputs)."""
        x = self.input_dropout(x)
        for number, layer in enumerate(self.layers):
            x = layer(self.dropout(x) if number else x)
        out: Tensor = self.output(x)
        return out


class NoteWindows(nn.Module):
    """Cuts the window around each note's bar or key out of rectified pictures.

    Args:
        columns: of the middle of each note, in pixels (n,).
        width: of a window, in pixels.
    """

    def __init__(self, columns: Sequence[float], width: int) -> None:
        super().__init__()
        self.width = width
        middle = torch.tensor(list(columns), dtype=torch.float32)
        first = torch.round(middle - (width - 1) / 2).long()
        self.register_buffer("index", first[:, None] + torch.arange(width), persistent=False)  # (n, width)

    def forward(self, frames: Tensor, notes: Tensor | None = None) -> Tensor:
        """Map (B, T, H, W), and the notes of each item (B, m), all without, to (B, m, T, H, width).

        Beside the picture there is nothing: zeros.
        """
        B, T, H, W = frames.shape
        index: Tensor = self.index  # type: ignore[assignment]
        padded = functional.pad(frames, (self.width, self.width))
        chosen = (index if notes is None else index[notes]) + self.width
        chosen = chosen.clamp(0, W + 2 * self.width - 1).expand(B, -1, -1)  # (B, m, width)
        m = chosen.shape[1]
        flat = chosen.reshape(B, 1, 1, m * self.width).expand(B, T, H, m * self.width)
        cut = padded.gather(3, flat).reshape(B, T, H, m, self.width)
        return cut.permute(0, 3, 1, 2, 4)


class StackNetwork(nn.Module):
    """A network from space-time stacks to amplitudes, of the whole picture or of a window around each bar.

    A subclass has ``windows`` and ``gain``, both None where its input is the whole picture; ``encode`` is its part from
    stacks to features, ``regress`` that from features to amplitudes.
    """

    windows: "NoteWindows | None"
    gain: nn.Parameter | None

    def __init__(self, *, n_notes: int, n_pictures: int, picture_age: bool) -> None:
        super().__init__()
        self._n_notes, self._n_pictures, self._picture_age = n_notes, n_pictures, picture_age

    def encode(self, frames: Tensor) -> Tensor:
        """Map frames (B, T + C - 1, H, W), of which each C make a stack, to features (B, T, f)."""
        raise NotImplementedError

    def regress(self, features: Tensor) -> Tensor:
        """Map features and each window's place and ages to amplitudes (B, T, n), or (B, T, 1) of one note."""
        raise NotImplementedError

    def forward(
        self,
        frames: Tensor,
        ages: Tensor | None = None,
        notes: Tensor | None = None,
        mirrored: Tensor | None = None,
    ) -> Tensor:
        """Map frames (B, T + C - 1, H, W) to the amplitudes of T windows (B, T, n).

        Args:
            frames: consecutive ones; each C make a stack.
            ages: for how long each frame's picture had been shown, in frames (B, T + C - 1); for ``picture_age``.
            notes: those that are wanted of each item (B, m): then (B, T, m) is returned.
            mirrored: the items whose windows are mirrored (B,), with ``bars`` alone.
        """
        if self.windows is None or self.gain is None:
            features = self.encode(frames)  # (B, T, f)
            out = self.regress(torch.cat([features, *self._ages(ages, 1)], dim=2))
            return out if notes is None else out.gather(2, notes[:, None].expand(-1, out.shape[1], -1))
        windows: Tensor = self.windows(frames, notes)  # (B, m, T + C - 1, H, w)
        B, m = windows.shape[:2]
        if mirrored is not None:
            windows = torch.where(mirrored.reshape(-1, 1, 1, 1, 1), windows.flip(-1), windows)
        features = self.encode(windows.flatten(0, 1))  # (B * m, T, f)
        T = features.shape[1]
        wanted = torch.arange(m, device=windows.device).expand(B, m) if notes is None else notes
        place = wanted.reshape(-1, 1, 1) / max(self._n_notes - 1, 1) - 0.5  # (B * m, 1, 1)
        places = place.expand(-1, T, 1).to(features.dtype)
        out = self.regress(torch.cat([features, places, *self._ages(ages, m)], dim=2))
        amplitudes: Tensor = out.reshape(B, m, T).transpose(1, 2) * self.gain[wanted][:, None]  # (B, T, m)
        return amplitudes

    def _ages(self, ages: Tensor | None, m: int) -> list[Tensor]:
        """Return the ages of each stack's pictures (B * m, T, C), if they are an input of the network."""
        if not self._picture_age:
            return []
        if ages is None:
            raise ValueError("ages is None, expected the pictures' ages: the network has picture_age")
        return [stack_ages(ages, self._n_pictures).repeat_interleave(m, dim=0)]


def stack_ages(ages: Tensor, n_pictures: int) -> Tensor:
    """Return the ages of the pictures of each stack: (B, T + n_pictures - 1) to (B, T, n_pictures)."""
    return ages.unfold(1, n_pictures, 1)


def n_parameters(module: nn.Module) -> int:
    """Return how many weights are trained."""
    return sum(weight.numel() for weight in module.parameters() if weight.requires_grad)


def init_normal(module: nn.Module, std: float) -> None:
    """Draw the weights of all convolutions from Normal(0, std), as the marimba networks do."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            nn.init.normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
