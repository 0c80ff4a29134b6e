"""A player's view to what he plays: which instrument, and which notes sound while each picture is shown.

One small convolutional network looks at every picture and at what of it is unlike the take's usual one; a network over
time reads notes from that and from the optical flow. What separates a mix is told by it who plays what.

Shapes: B players, T pictures, H rows, W columns, F numbers of motion, N instruments, P pitches.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

NEGATIVE_SLOPE = 0.1


@dataclass(frozen=True, kw_only=True)
class PlayerReaderConfig:
    """Sizes of a `PlayerReader`.

    Attributes:
        n_instruments: N.
        n_pitches: P.
        n_motion: F.
        n_filters: of the first of three convolutions; the next have twice and three times as many.
        n_hidden: features of a picture, and of the layers over time.
        kernel: of those, in pictures; odd.
    """

    n_instruments: int
    n_pitches: int
    n_motion: int
    n_filters: int
    n_hidden: int
    kernel: int = 7


class PlayerReader(nn.Module):
    """Says which instrument pictures show, and of every picture which notes sound."""

    def __init__(self, config: PlayerReaderConfig) -> None:
        super().__init__()
        self.config = config
        widths = [2, config.n_filters, 2 * config.n_filters, 3 * config.n_filters]
        self.look = nn.Sequential(
            *(
                layer
                for n_in, n_out in pairwise(widths)
                for layer in (nn.Conv2d(n_in, n_out, 5, stride=2, padding=2), nn.LeakyReLU(NEGATIVE_SLOPE))
            ),
            nn.AdaptiveAvgPool2d(6),
            nn.Flatten(),
            nn.Linear(36 * widths[-1], config.n_hidden),
            nn.LeakyReLU(NEGATIVE_SLOPE),
        )
        self.name = nn.Linear(config.n_hidden, config.n_instruments)
        n_read = config.n_hidden + config.n_motion + config.n_instruments
        say = nn.Conv1d(config.n_hidden, config.n_pitches, 1)
        if say.bias is not None:
            nn.init.constant_(say.bias, -4.5)  # hardly any of the pitches sounds at a time
        self.read = nn.Sequential(
            nn.Conv1d(n_read, config.n_hidden, config.kernel, padding=config.kernel // 2),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            nn.Conv1d(config.n_hidden, config.n_hidden, config.kernel, padding=config.kernel // 2),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            say,
        )

    def forward(self, pictures: Tensor, usual: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
        """Read views.

        Args:
            pictures: (B, T, H, W) luma, 0 to 255.
            usual: (B, H, W) the median picture of each player's take.
            motion: (B, T, F).

        Returns:
            Logits of each instrument (B, N), and that each pitch sounds (B, T, P).
        """
        luma, still = pictures.float(), usual.float()[:, None]
        mean = still.mean(dim=(2, 3), keepdim=True)
        spread = still.std(dim=(2, 3), keepdim=True) + 4.0
        seen = torch.stack([(luma - mean) / spread, 2 * (luma - still) / spread], dim=2)  # (B, T, 2, H, W)
        features = self.look(seen.flatten(0, 1)).reshape(*seen.shape[:2], -1)  # (B, T, n_hidden)
        instruments = self.name(features.mean(dim=1))
        known = torch.softmax(instruments, dim=1)[:, None].expand(-1, features.shape[1], -1)
        read = torch.cat([features, motion.float(), known.detach()], dim=2).transpose(1, 2)
        notes: Tensor = self.read(read).transpose(1, 2)
        return instruments, notes
