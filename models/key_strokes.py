"""From what a film shows of one key, and of the keys beside it, to when it is struck and how long it is held.

Temporal convolutions with residual connections (Bai, Kolter and Koltun 2018), the same weights for every key: a key
that was never struck in training is read as the others are. What the classical reader says of the key is also an
input of the output, so that an untrained network says what the reader says, and training corrects it.

Shapes: B keys, F features, C channels, T moments.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

_READER_LOGIT = 4.0  # of what the reader says, before training


@dataclass(frozen=True, kw_only=True)
class KeyStrokesConfig:
    """Sizes of the network.

    Attributes:
        n_features: F.
        reader: which of the features are the reader's onset, and its held key.
        n_channels: C.
        kernel: moments that each convolution covers, odd.
        dilations: of the convolutions, in moments; one residual block each.
        dropout: share of the channels that are left out in training.
    """

    n_features: int
    reader: tuple[int, int]
    n_channels: int
    kernel: int
    dilations: tuple[int, ...]
    dropout: float

    @property
    def reach(self) -> int:
        """How many moments before and after one are inputs of its output."""
        return sum(self.dilations) * (self.kernel // 2)


class _Block(nn.Module):
    """A dilated convolution, a nonlinearity, a mix of channels; its input is added."""

    def __init__(self, config: KeyStrokesConfig, dilation: int) -> None:
        super().__init__()
        width = config.n_channels
        padding = dilation * (config.kernel // 2)
        self.across = nn.Conv1d(width, width, config.kernel, padding=padding, dilation=dilation)
        self.mix = nn.Conv1d(width, width, 1)
        self.dropout = nn.Dropout1d(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, T) to (B, C, T)."""
        changed: Tensor = self.mix(self.dropout(torch.relu(self.across(torch.relu(x)))))
        return x + changed


class KeyStrokes(nn.Module):
    """The network."""

    def __init__(self, config: KeyStrokesConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Conv1d(config.n_features, config.n_channels, 1)
        self.blocks = nn.ModuleList(_Block(config, dilation) for dilation in config.dilations)
        self.correction = nn.Conv1d(config.n_channels, 2, 1)
        self.reader = nn.Conv1d(config.n_features, 2, 1)
        with torch.no_grad():
            for layer in (self.correction, self.reader):
                layer.weight.zero_()
            self.correction.bias.zero_()  # type: ignore[union-attr]
            self.reader.bias.fill_(-_READER_LOGIT)  # type: ignore[union-attr]
            for output, feature in enumerate(config.reader):
                self.reader.weight[output, feature] = 2 * _READER_LOGIT

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, F, T) to the log odds of an onset and of a held key, (B, 2, T)."""
        x = self.embed(features)
        for block in self.blocks:
            x = block(x)
        odds: Tensor = self.reader(features) + self.correction(torch.relu(x))
        return odds
