"""A small grey picture to one column of a spectrogram (the frequency-domain variants of bitmaps to PCM).

Shapes: B pictures, I inputs, K bins of a column.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class BitmapToSpectrumConfig:
    """Sizes of a `BitmapToSpectrum`.

    Attributes:
        n_inputs: of a picture: 64 x 64 pixels are 4,096.
        hidden: units of each hidden layer; published is (2048, 2048, 2048).
        n_outputs: bins of a column: 1,025 of a window of 2,048 samples.
    """

    n_inputs: int
    hidden: tuple[int, ...]
    n_outputs: int


class BitmapToSpectrum(nn.Module):
    """Regresses the magnitudes of a spectrum on a picture."""

    def __init__(self, config: BitmapToSpectrumConfig) -> None:
        super().__init__()
        self.config = config
        sizes = (config.n_inputs, *config.hidden)
        self.hidden = nn.ModuleList([nn.Linear(n_in, n_out) for n_in, n_out in pairwise(sizes)])
        self.say = nn.Linear(sizes[-1], config.n_outputs)

    def forward(self, bitmaps: Tensor) -> Tensor:
        """Map bitmaps (B, I) to magnitudes (B, K); the output layer is linear, so they may be below 0."""
        x = bitmaps
        for layer in self.hidden:
            x = torch.relu(layer(x))
        magnitudes: Tensor = self.say(x)
        return magnitudes
