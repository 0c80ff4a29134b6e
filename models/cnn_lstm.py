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
    conv_layers,
    init_normal,
    same_size,
    space_time,
    stack_ages,
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
        sees: ``picture``, all of it for all notes at once, as published; ``bars``, the window around each note's bar
            with the same weights for every note, which is told its place.
        columns: of the notes' middles in the picture, in pixels; for ``bars``.
        window_width: pixels of a window; for ``bars``.
        bidirectional: the LSTMs also see what comes.
        normalize: a group norm behind each convolution.
        sees_age: the LSTMs are told for how long each picture of the stack had been shown.
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
    sees: Literal["picture", "bars"]
    columns: tuple[float, ...]
    window_width: int
    bidirectional: bool
    normalize: bool
    sees_age: bool


class CnnLstm(nn.Module):
    """From stacks to the amplitudes of every note."""

    def __init__(self, config: CnnLstmConfig) -> None:
        super().__init__()
        self.config = config
        layers = conv_layers(config.layers)
        is_shared = config.sees == "bars"
        self.windows = NoteWindows(config.columns, config.window_width) if is_shared else None
        parts: list[nn.Module] = []
        n_channels = config.n_pictures
        for layer in layers:
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
            n_features + is_shared + config.n_pictures * config.sees_age,
            config.n_recurrent,
            1 if is_shared else config.n_notes,
            dropout=config.dropout,
            bidirectional=config.bidirectional,
        )
        self.gain = nn.Parameter(torch.ones(config.n_notes)) if is_shared else None
        if config.init_std:
            init_normal(self.convolutions, config.init_std)

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
            ages: for how long each frame's picture had been shown, in frames (B, T + C - 1); for ``sees_age``.
            notes: those that are wanted of each item (B, m): then (B, T, m) is returned.
            mirrored: the items whose windows are seen from the other side (B,), with ``bars`` alone.
        """
        C = self.config.n_pictures
        if self.windows is None or self.gain is None:
            stacks = space_time(frames, C)  # (B, T, C, H, W)
            B, T = stacks.shape[:2]
            features = self.dense(self.convolutions(stacks.flatten(0, 1))).unflatten(0, (B, T))
            out: Tensor = self.recurrence(torch.cat([features, *self._told(ages, 1)], dim=2))
            return out if notes is None else out.gather(2, notes[:, None].expand(-1, T, -1))
        seen = self.windows(frames, notes)  # (B, m, T + C - 1, H, w)
        B, m = seen.shape[:2]
        if mirrored is not None:
            seen = torch.where(mirrored.reshape(-1, 1, 1, 1, 1), seen.flip(-1), seen)
        stacks = space_time(seen.flatten(0, 1), C)  # (B * m, T, C, H, w)
        T = stacks.shape[1]
        features = self.dense(self.convolutions(stacks.flatten(0, 1))).unflatten(0, (B * m, T))
        wanted = torch.arange(m, device=seen.device).expand(B, m) if notes is None else notes
        place = wanted.reshape(-1, 1, 1) / max(self.config.n_notes - 1, 1) - 0.5  # (B * m, 1, 1)
        places = place.expand(-1, T, 1).to(features.dtype)
        made = self.recurrence(torch.cat([features, places, *self._told(ages, m)], dim=2))
        amplitudes: Tensor = made.reshape(B, m, T).transpose(1, 2) * self.gain[wanted][:, None]  # (B, T, m)
        return amplitudes

    def _told(self, ages: Tensor | None, m: int) -> list[Tensor]:
        """Return the ages of each stack's pictures (B * m, T, C), if the network is told them."""
        if not self.config.sees_age:
            return []
        if ages is None:
            raise ValueError("the network is told how old pictures are, and ages is None")
        return [stack_ages(ages, self.config.n_pictures).repeat_interleave(m, dim=0)]


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
        sees="picture",
        columns=(),
        window_width=0,
        bidirectional=False,
        normalize=False,
        sees_age=False,
    )
