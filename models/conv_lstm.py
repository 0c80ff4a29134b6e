"""ConvLSTM: pictures to note amplitudes by LSTMs whose gates are convolutions (Deep Auditory Hallucinations; Shi 2015).

Shapes: B batch, T windows, C pictures of a stack, H rows, W columns, n notes, m of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from models.note_sequences import (
    ConvLayer,
    NoteWindows,
    SameConv2d,
    StackConv2d,
    StackNetwork,
    conv_layers,
    init_normal,
    same_size,
)

CODE_LAYERS = ((32, 8, 4), (64, 4, 2), (64, 3, 1))
POSTER_LAYERS = ((16, 8, 8), (32, 4, 4), (64, 2, 2), (128, 1, 1))


@dataclass(frozen=True, kw_only=True)
class ConvLstmConfig:
    """Sizes.

    Attributes:
        n_notes: of the instrument.
        n_pictures: that are the input of a step; 1 as published.
        height: of the pictures.
        width: of the pictures.
        layers: filters, kernel and stride of each ConvLSTM.
        n_hidden: of the fully connected layers; (512,) in the code, (1024, 512) on the poster.
        dropout: behind each of them.
        init_std: of the convolutions' weights; 0 leaves torch's own.
        input: ``picture``, all of it for all notes at once, as published; ``bars``, the window around each note's bar
            with the same weights for every note, conditioned on its place.
        columns: of the notes' middles in the picture, in pixels; for ``bars``.
        window_width: pixels of a window; for ``bars``.
        normalize: a group norm behind each layer, where the code has a batch norm.
        picture_age: for how long each picture of the stack had been shown is an input of the fully connected layers.
        recurrent_kernel: of the convolution of the hidden state; 0 takes each layer's own, as published.
        n_ahead: windows after the one that is predicted, which are inputs too; 0 published.
    """

    n_notes: int
    n_pictures: int
    height: int
    width: int
    layers: tuple[tuple[int, int, int], ...]
    n_hidden: tuple[int, ...]
    dropout: float
    init_std: float
    input: Literal["picture", "bars"]
    columns: tuple[float, ...]
    window_width: int
    normalize: bool
    picture_age: bool
    recurrent_kernel: int
    n_ahead: int


class ConvLstmLayer(nn.Module):
    """One ConvLSTM: both the input and the hidden state pass a convolution before the gates.

    Source:
        Shi et al. 2015, equation 3, without the peepholes, as Keras has it; one bias vector a gate.
    """

    def __init__(self, n_inputs: int, layer: ConvLayer, *, recurrent_kernel: int, is_first: bool) -> None:
        super().__init__()
        self.n_filters = layer.n_filters
        kind = StackConv2d if is_first else SameConv2d
        # These two names are those of the tensors in trained files.
        self.seen = kind(n_inputs, 4 * layer.n_filters, layer.kernel, layer.stride)
        kernel = recurrent_kernel or layer.kernel
        self.remembered = SameConv2d(layer.n_filters, 4 * layer.n_filters, kernel, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, n_inputs, H, W), or frames for the first, to (B, T, filters, H', W').

        Step t depends on steps 0 to t.
        """
        if isinstance(self.seen, StackConv2d):
            inputs = self.seen(x)  # (B, T, 4 * filters, H', W')
        else:
            inputs = self.seen(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        cell = hidden = inputs.new_zeros(len(inputs), self.n_filters, *inputs.shape[-2:])
        steps: list[Tensor] = []
        for entering in inputs.unbind(1):
            gates = entering + self.remembered(hidden) if steps else entering
            enter, forget, leave, new = gates.chunk(4, dim=1)
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(new)
            hidden = torch.sigmoid(leave) * torch.tanh(cell)
            steps.append(hidden)
        return torch.stack(steps, dim=1)


class ConvLstm(StackNetwork):
    """From pictures to the amplitudes of every note.

    The published head flattens over a time axis of no length and cannot run; here each step is flattened by itself.
    """

    def __init__(self, config: ConvLstmConfig) -> None:
        super().__init__(n_notes=config.n_notes, n_pictures=config.n_pictures, picture_age=config.picture_age)
        self.config = config
        layers = conv_layers(config.layers)
        is_shared = config.input == "bars"
        self.windows = NoteWindows(config.columns, config.window_width) if is_shared else None
        n_channels = config.n_pictures
        recurrent, norms = [], []
        for number, layer in enumerate(layers):
            kernel = config.recurrent_kernel
            recurrent.append(ConvLstmLayer(n_channels, layer, recurrent_kernel=kernel, is_first=number == 0))
            n_channels = layer.n_filters
            norms.append(nn.GroupNorm(1, n_channels) if config.normalize else nn.Identity())
        self.layers = nn.ModuleList(recurrent)
        self.norms = nn.ModuleList(norms)
        self.summary = nn.Conv3d(n_channels, 1, 3, padding=1)
        width = config.window_width if is_shared else config.width
        n_features = same_size(config.height, layers) * same_size(width, layers)
        dense: list[nn.Module] = []
        n_features += is_shared + config.n_pictures * config.picture_age
        for n_hidden in config.n_hidden:
            dense += [nn.Linear(n_features, n_hidden), nn.ReLU(), nn.Dropout(config.dropout)]
            n_features = n_hidden
        self.dense = nn.Sequential(*dense, nn.Linear(n_features, 1 if is_shared else config.n_notes))
        self.gain = nn.Parameter(torch.ones(config.n_notes)) if is_shared else None
        if config.init_std:
            init_normal(self, config.init_std)

    def regress(self, features: Tensor) -> Tensor:
        """Map features and each window's place and ages to amplitudes."""
        amplitudes: Tensor = self.dense(features)
        return amplitudes

    def encode(self, frames: Tensor) -> Tensor:
        """Map frames (B, T + C - 1, H, W), of which each C make a stack, to (B, T, H' * W')."""
        x = frames
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = layer(x)
            B, T = x.shape[:2]
            x = norm(x.flatten(0, 1)).unflatten(0, (B, T))
        summary: Tensor = torch.sigmoid(self.summary(x.transpose(1, 2))).squeeze(1)  # (B, T, H', W')
        T = summary.shape[1]
        # A film's last windows have no later ones.
        later = torch.arange(self.config.n_ahead, T + self.config.n_ahead, device=summary.device).clamp(max=T - 1)
        return summary[:, later].flatten(2)


def published(n_notes: int, *, height: int, width: int, layout: Literal["code", "poster"]) -> ConvLstmConfig:
    """Return the sizes of the code, 80 x 80 pixels there, or of the poster's figure, 100 x 100."""
    layers: Sequence[tuple[int, int, int]] = CODE_LAYERS if layout == "code" else POSTER_LAYERS
    return ConvLstmConfig(
        n_notes=n_notes,
        n_pictures=1,
        height=height,
        width=width,
        layers=tuple(layers),
        n_hidden=(512,) if layout == "code" else (1024, 512),
        dropout=0.0,
        init_std=0.01,
        input="picture",
        columns=(),
        window_width=0,
        normalize=layout == "code",
        picture_age=False,
        recurrent_kernel=0,
        n_ahead=0,
    )
