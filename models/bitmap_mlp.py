"""A small grey picture to one frame of sound: hidden layers and a linear end (Hindle's bitmaps to PCM).

Shapes: B pictures, I inputs, S samples of a frame.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class BitmapToPcmConfig:
    """Sizes of a `BitmapToPcm`.

    Attributes:
        n_inputs: of a picture: 64 x 64 pixels are 4,096.
        hidden: units of each hidden layer; published are (1000), (1000, 1000, 1000), (2048, 1000, 1000) and
            (2000, 1500, 1000).
        n_outputs: samples of a frame: 735 are a thirtieth of a second at 22,050 Hz.
    """

    n_inputs: int
    hidden: tuple[int, ...]
    n_outputs: int


class BitmapToPcm(nn.Module):
    """Regresses the samples of a frame on a picture.

    Source:
        A. Hindle, "Deep Learning Bitmaps to PCM". Its library's hidden layers rectify; weights are drawn here as
        torch draws them.
    """

    def __init__(self, config: BitmapToPcmConfig) -> None:
        super().__init__()
        self.config = config
        sizes = (config.n_inputs, *config.hidden)
        self.hidden = nn.ModuleList([nn.Linear(n_in, n_out) for n_in, n_out in pairwise(sizes)])
        self.say = nn.Linear(sizes[-1], config.n_outputs)

    def forward(self, bitmaps: Tensor) -> Tensor:
        """Map bitmaps (B, I) to frames of sound (B, S)."""
        x = bitmaps
        for layer in self.hidden:
            x = torch.relu(layer(x))
        frames: Tensor = self.say(x)
        return frames
