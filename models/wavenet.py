"""Dilated causal convolutions with gates (van den Oord 2016; DeepSynth sections 3.2 and 3.4).

Shapes: B batch, T audio samples, R channels. Sound is channels-last (B, T, R): a causal convolution of width 2 is then
one matrix product over [past, now].
"""

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

FILTER_WIDTH = 2
MAX_DILATION = 256


def dilation_schedule(n_layers: int) -> tuple[int, ...]:
    """Return 1, 2, ... 256, 1, 2, ... for ``n_layers`` layers (DeepSynth section 3.2)."""
    cycle = MAX_DILATION.bit_length()
    return tuple(2 ** (layer % cycle) for layer in range(n_layers))


def receptive_field(dilations: Sequence[int]) -> int:
    """Return how many samples, the newest included, one output depends on."""
    return sum(dilations) * (FILTER_WIDTH - 1) + 1


def smooth_basis(n_places: int, n_functions: int) -> Tensor:
    """Return (n_places, n_functions) cosines over the places, slowest first, each of norm 1.

    As many as there are places are orthogonal; more begin again.
    """
    place = (torch.arange(n_places) + 0.5) / n_places
    order = torch.arange(n_functions) % n_places
    basis = torch.cos(math.pi * place[:, None] * order)
    smooth: Tensor = basis / basis.norm(dim=0)
    return smooth


class GatedLayer(nn.Module):
    """Causal convolution of width 2 with a tanh-sigmoid gate, a residual and a skip output.

    Its dilation is the length of the past it is handed.
    """

    def __init__(self, n_channels: int, *, n_condition: int) -> None:
        super().__init__()
        self.causal = nn.Linear(2 * n_channels, 2 * n_channels)  # [past, now] -> [filter, gate]
        self.condition = nn.Linear(n_condition, 2 * n_channels, bias=False) if n_condition else None  # V
        self.out = nn.Linear(n_channels, 2 * n_channels)  # -> [residual, skip]

    def forward(self, x: Tensor, past: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Map x (B, T, R) to the next layer's x, the skip, and the past to go on with.

        Args:
            x: this layer's input.
            past: (B, dilation, R) its inputs before x.
            condition: (B, T, 2R) the conditioning, already projected, for both the filter and the gate.
        """
        n_samples = x.shape[1]
        whole = torch.cat([past, x], dim=1)  # (B, d + T, R)
        gates = self.causal(torch.cat([whole[:, :n_samples], x], dim=-1))  # (B, T, 2R)
        if condition is not None:
            gates = gates + condition
        filter_, gate = gates.chunk(2, dim=-1)  # (B, T, R) each
        residual, skip = self.out(torch.tanh(filter_) * torch.sigmoid(gate)).chunk(2, dim=-1)  # (B, T, R) each
        return x + residual, skip, whole[:, n_samples:]


class Stack(nn.Module):
    """Dilated gated layers one over the other; their skips are summed."""

    def __init__(self, n_layers: int, n_channels: int, *, n_condition: int) -> None:
        super().__init__()
        self.n_channels = n_channels
        self.layers = nn.ModuleList(GatedLayer(n_channels, n_condition=n_condition) for _ in range(n_layers))

    def gated(self) -> list[GatedLayer]:
        """Return the layers as what they are."""
        return [cast(GatedLayer, layer) for layer in self.layers]

    def at_rest(self, n_streams: int, like: Tensor) -> list[Tensor]:
        """Return the past before the first sample: (B, dilation, R) zeros per layer."""
        return [
            like.new_zeros(n_streams, dilation, self.n_channels) for dilation in dilation_schedule(len(self.layers))
        ]

    def forward(
        self, x: Tensor, past: Sequence[Tensor], conditions: Sequence[Tensor | None]
    ) -> tuple[Tensor, list[Tensor]]:
        """Map x (B, T, R) to the sum of skips (B, T, R) and the past after the last sample."""
        total = torch.zeros_like(x)
        after = []
        for layer, before, condition in zip(self.gated(), past, conditions, strict=True):
            x, skip, left = layer(x, before, condition)
            total = total + skip
            after.append(left)
        return total, after
