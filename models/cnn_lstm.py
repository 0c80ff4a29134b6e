"""CNN-LSTM: space-time stacks to note amplitudes (Deep Auditory Hallucinations).

Convolutions without pooling, filters growing and kernels shrinking (as DQN's), two fully connected layers, two LSTMs.

Shapes: B batch, T windows, C pictures of a space-time stack, H rows, W columns, n notes, m of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from models.note_sequences import (
    NoteWindows,
    Recurrence,
    SameConv2d,
    StackConv2d,
    StackNetwork,
    conv_layers,
    init_normal,
    same_size,
)

FINAL_LAYERS = ((32, 16, 8), (64, 8, 4), (128, 4, 2), (256, 2, 1))
POSTER_LAYERS = ((32, 16, 16), (64, 8, 8), (128, 4, 4), (256, 2, 2))


@dataclass(frozen=True, kw_only=True)
class CnnLstmConfig:
    """Sizes.

    Attributes:
        n_notes: of the instrument.
        n_pictures: of a stack.
        height: of the pictures.
        width: of the pictures.
        layers: filters, kernel and stride of each convolution.
        n_hidden: of the fully connected layers; dropout follows the first.
        n_recurrent: of the LSTM layers.
        dropout: its share.
        init_std: of the convolutions' weights; 0 leaves torch's own.
        input: ``picture``, all of it for all notes at once, as published; ``bars``, the window around each note's bar
            with the same weights for every note, conditioned on its place.
        columns: of the notes' middles in the picture, in pixels; for ``bars``.
        window_width: pixels of a window; for ``bars``.
        bidirectional: the LSTMs also run from the end.
        normalize: a group norm behind each convolution.
        picture_age: for how long each picture of the stack had been shown is an input of the LSTMs.
    """

    n_notes: int
    n_pictures: int
    height: int
    width: int
    layers: tuple[tuple[int, int, int], ...]
    n_hidden: tuple[int, ...]
    n_recurrent: tuple[int, ...]
    dropout: float
    init_std: float
    input: Literal["picture", "bars"]
    columns: tuple[float, ...]
    window_width: int
    bidirectional: bool
    normalize: bool
    picture_age: bool


class CnnLstm(StackNetwork):
    """From stacks to the amplitudes of every note."""

    def __init__(self, config: CnnLstmConfig) -> None:
        super().__init__(n_notes=config.n_notes, n_pictures=config.n_pictures, picture_age=config.picture_age)
        self.config = config
        layers = conv_layers(config.layers)
        is_shared = config.input == "bars"
        self.windows = NoteWindows(config.columns, config.window_width) if is_shared else None
        parts: list[nn.Module] = []
        n_channels = config.n_pictures
        for number, layer in enumerate(layers):
            if number == 0:
                self.first = StackConv2d(n_channels, layer.n_filters, layer.kernel, layer.stride)
            else:
                parts.append(SameConv2d(n_channels, layer.n_filters, layer.kernel, layer.stride))
            if config.normalize:
                parts.append(nn.GroupNorm(min(8, layer.n_filters), layer.n_filters))
            parts.append(nn.ReLU())
            n_channels = layer.n_filters
        self.convolutions = nn.Sequential(*parts)
        width = config.window_width if is_shared else config.width
        n_features = n_channels * same_size(config.height, layers) * same_size(width, layers)
        dense: list[nn.Module] = [nn.Flatten()]
        for number, n_hidden in enumerate(config.n_hidden):
            dense += [nn.Linear(n_features, n_hidden), nn.ReLU()]
            if number == 0:
                dense.append(nn.Dropout(config.dropout))
            n_features = n_hidden
        self.dense = nn.Sequential(*dense)
        self.recurrence = Recurrence(
            n_features + is_shared + config.n_pictures * config.picture_age,
            config.n_recurrent,
            1 if is_shared else config.n_notes,
            dropout=config.dropout,
            bidirectional=config.bidirectional,
        )
        self.gain = nn.Parameter(torch.ones(config.n_notes)) if is_shared else None
        if config.init_std:
            init_normal(self.first, config.init_std)
            init_normal(self.convolutions, config.init_std)

    def encode(self, frames: Tensor) -> Tensor:
        """Map frames (B, T + C - 1, H, W), of which each C make a stack, to features (B, T, f)."""
        maps = self.first(frames)  # (B, T, filters, H', W')
        features: Tensor = self.dense(self.convolutions(maps.flatten(0, 1))).unflatten(0, maps.shape[:2])
        return features

    def regress(self, features: Tensor) -> Tensor:
        """Map features and each window's place and ages to amplitudes."""
        amplitudes: Tensor = self.recurrence(features)
        return amplitudes


def published(n_notes: int, *, height: int, width: int, layout: Literal["final", "poster"]) -> CnnLstmConfig:
    """Return the sizes of the final code, or of the poster's figure."""
    layers: Sequence[tuple[int, int, int]] = FINAL_LAYERS if layout == "final" else POSTER_LAYERS
    return CnnLstmConfig(
        n_notes=n_notes,
        n_pictures=3,
        height=height,
        width=width,
        layers=tuple(layers),
        n_hidden=(1024, 512),
        n_recurrent=(256, 128) if layout == "final" else (256, 256),
        dropout=0.2,
        init_std=0.01,
        input="picture",
        columns=(),
        window_width=0,
        bidirectional=False,
        normalize=False,
        picture_age=False,
    )
