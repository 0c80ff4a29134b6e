"""Conditioning of convolutional layers on vectors or on features that change with time.

Feature-wise affine conditioning follows Meseguer-Brocal and Peeters (Conditioned-U-Net, ISMIR 2019, after FiLM), the
multiplicative one Slizovskaia et al. (CExp-Wave-U-Net), and ``copies`` the latter's code.

Shapes: B mixes, K players, D features of a condition, E features of an encoded one, T moments, n samples of a layer.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Conditioning = Literal["none", "concat", "additive", "multiplicative", "film", "copies"]

NEGATIVE_SLOPE = 0.2


class ConditioningLayer(nn.Module):
    """Conditions features (B, n_channels, n); with method ``none`` they pass unchanged.

    Attributes:
        method: ``concat`` appends the condition as channels, ``additive`` and ``multiplicative`` map it linearly to
            the channels, ``film`` does both, ``copies`` makes a copy of the features for each condition feature and
            multiplies it by that.
        mixes_conditions: see `models.wave_unet.WaveUnetConfig`.
        n_out: channels of the output.
    """

    def __init__(self, n_channels: int, n_conditions: int, method: Conditioning, *, mixes_conditions: bool) -> None:
        super().__init__()
        self.method = method
        self.mixes_conditions = mixes_conditions
        self.n_out = n_channels * n_conditions if method == "copies" else n_channels
        self.n_out += n_conditions if method == "concat" else 0
        self.add = nn.Conv1d(n_conditions, n_channels, 1) if method in ("additive", "film") else None
        self.scale = nn.Conv1d(n_conditions, n_channels, 1) if method in ("multiplicative", "film") else None

    def forward(self, hidden: Tensor, condition: Tensor | None, at: Callable[[Tensor], Tensor]) -> Tensor:
        """Apply a condition (B, D, T) to features; ``at`` brings what is computed from it to the features' rate."""
        if self.method == "none" or condition is None:
            return hidden
        if self.mixes_conditions:
            # As published: (B, D) tiled to (n * B, D) and cut into (B, n, D), so that item b's moment t has those of
            # item (b * n + t) modulo B.
            items = torch.arange(len(hidden) * hidden.shape[-1], device=hidden.device) % len(hidden)
            condition = condition[items, :, 0].reshape(len(hidden), -1, condition.shape[1]).transpose(1, 2)
            at = _unchanged
        if self.method == "concat":
            return torch.cat([hidden, at(condition).expand(-1, -1, hidden.shape[-1])], dim=1)
        if self.method == "copies":
            return (at(condition)[:, :, None] * hidden[:, None]).flatten(1, 2)
        if self.scale is not None:
            # Alone it is the published linear map. With film each factor stays between 0 and 2: unbounded factors, one
            # a layer, explode on movements that no training player made.
            scale = self.scale(condition)
            hidden = hidden * at(2 * torch.sigmoid(scale) if self.method == "film" else scale)
        return hidden if self.add is None else hidden + at(self.add(condition))


class ConditionEncoder(nn.Module):
    """Encodes a condition over time; a player's own features are followed by the sum of all other players'."""

    def __init__(self, n_conditions: int, n_encoded: int, *, per_player: bool) -> None:
        super().__init__()
        self.first = nn.Conv1d(n_conditions, n_encoded, 5, padding=2)
        self.second = nn.Conv1d(n_encoded, n_encoded, 5, padding=2)
        self.per_player = per_player

    def forward(self, condition: Tensor) -> Tensor:
        """Map (B, D, T) to (B, 2 * E, T); per player (B, K, D, T) to (B * K, 2 * E, T)."""
        if not self.per_player:
            own = self._encode(condition)
            return torch.cat([own, torch.zeros_like(own)], dim=1)
        n_players = condition.shape[1]
        own = self._encode(condition.flatten(0, 1))
        own = own.reshape(-1, n_players, *own.shape[1:])
        others = own.sum(dim=1, keepdim=True) - own
        return torch.cat([own, others], dim=2).flatten(0, 1)

    def _encode(self, condition: Tensor) -> Tensor:
        hidden = functional.leaky_relu(self.first(condition), NEGATIVE_SLOPE)
        return functional.leaky_relu(self.second(hidden), NEGATIVE_SLOPE)


def repeat_per_player(hidden: Tensor, n_players: int) -> Tensor:
    """Repeat every item of a batch for each player: (B, ...) to (B * K, ...)."""
    return hidden if n_players == 1 else hidden.repeat_interleave(n_players, dim=0)


def _unchanged(condition: Tensor) -> Tensor:
    return condition
