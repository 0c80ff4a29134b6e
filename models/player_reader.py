"""A player's view to what he plays: which instrument, and which notes sound while each picture is shown.

One small convolutional network knows the instrument by how a player usually looks and where he moves. Another looks at
every picture, at what of it is unlike the usual one and at what has just changed; a network over time reads notes from
that and from the optical flow. What separates a mix is told by it who plays what. Pictures tell a pitch roughly, but to
a picture when a note begins: that is said beside the pitches.

Shapes: B players, T pictures, H rows, W columns, F numbers of motion, N instruments, P pitches.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

NEGATIVE_SLOPE = 0.1
N_MOMENTARY = 2  # beside the pitches: that a note begins, that any sounds


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
        widths = [3, config.n_filters, 2 * config.n_filters, 3 * config.n_filters]
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
        n = 2 * config.n_filters
        self.name = nn.Sequential(
            nn.Conv2d(2, n, 5, stride=2, padding=2),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            nn.Conv2d(n, 2 * n, 5, stride=2, padding=2),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            nn.Conv2d(2 * n, 4 * n, 3, padding=1),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            nn.AdaptiveMaxPool2d(6),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(36 * 4 * n, config.n_hidden),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            nn.Dropout(0.3),
            nn.Linear(config.n_hidden, config.n_instruments),
        )
        n_read = config.n_hidden + config.n_motion + config.n_instruments
        say = nn.Conv1d(config.n_hidden, config.n_pitches + N_MOMENTARY, 1)
        if say.bias is not None:
            with torch.no_grad():  # hardly any of the pitches sounds at a time, and few notes begin
                say.bias.copy_(torch.tensor([-4.5] * config.n_pitches + [-2.5, 0.0]))
        self.read = nn.Sequential(
            nn.Conv1d(n_read, config.n_hidden, config.kernel, padding=config.kernel // 2),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            nn.Conv1d(config.n_hidden, config.n_hidden, config.kernel, padding=config.kernel // 2),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            say,
        )

    def recognize(self, portraits: Tensor) -> Tensor:
        """Return logits of each instrument (B, N) from players' portraits (B, 2, H, W)."""
        usual, moved = portraits.float().unbind(dim=1)
        mean, spread = usual.mean(dim=(1, 2), keepdim=True), usual.std(dim=(1, 2), keepdim=True) + 4.0
        instruments: Tensor = self.name(torch.stack([usual - mean, 4 * moved], dim=1) / spread[:, None])
        return instruments

    def forward(self, pictures: Tensor, portraits: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
        """Read views.

        Args:
            pictures: (B, T, H, W) luma, 0 to 255.
            portraits: (B, 2, H, W) the median picture of each player's take, and by how much each pixel deviates.
            motion: (B, T, F).

        Returns:
            Logits of each instrument (B, N), and (B, T, P + 2) that each pitch sounds, that a note begins, and that
            any sounds.
        """
        luma, still = pictures.float(), portraits.float()[:, :1]
        mean = still.mean(dim=(2, 3), keepdim=True)
        spread = still.std(dim=(2, 3), keepdim=True) + 4.0
        change = torch.diff(luma, dim=1, prepend=luma[:, :1])
        seen = torch.stack([luma - mean, 2 * (luma - still), 3 * change], dim=2) / spread[:, None]  # (B, T, 3, H, W)
        each = seen.flatten(0, 1).contiguous(memory_format=torch.channels_last)  # half the time on a CPU
        features = self.look(each).reshape(*seen.shape[:2], -1)  # (B, T, n_hidden)
        instruments = self.recognize(portraits)
        known = torch.softmax(instruments, dim=1)[:, None].expand(-1, features.shape[1], -1)
        read = torch.cat([features, motion.float(), known.detach()], dim=2).transpose(1, 2)
        notes: Tensor = self.read(read).transpose(1, 2)
        return instruments, notes
