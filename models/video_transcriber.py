"""Transcription of a player's video: which instrument it shows, and which notes sound while each picture is shown.

A small convolutional network classifies the instrument from the usual picture and from where the player moves. Another
one encodes every picture: its difference to the usual one and its change since the last. A network over time predicts
the notes from that, from the optical flow and from the instrument. Pictures show a pitch roughly, but a note's onset
exactly: onsets are predicted beside the pitches (as Hawthorne et al., Onsets and Frames, ISMIR 2018, do from sound).

Shapes: B players, T pictures, H rows, W columns, F motion features, N instruments, P pitches.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

NEGATIVE_SLOPE = 0.1
N_ACTIVITY = 2  # predictions beside the pitches: that a note begins, that any note sounds


@dataclass(frozen=True, kw_only=True)
class VideoTranscriberConfig:
    """Sizes of a `VideoTranscriber`.

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


class VideoTranscriber(nn.Module):
    """Predicts a player's instrument from their portrait, and from every picture which notes sound."""

    def __init__(self, config: VideoTranscriberConfig) -> None:
        super().__init__()
        self.config = config
        widths = [3, config.n_filters, 2 * config.n_filters, 3 * config.n_filters]
        self.frame_encoder = nn.Sequential(
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
        self.classifier = nn.Sequential(
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
        n_inputs = config.n_hidden + config.n_motion + config.n_instruments
        logits = nn.Conv1d(config.n_hidden, config.n_pitches + N_ACTIVITY, 1)
        if logits.bias is not None:
            with torch.no_grad():  # hardly any of the pitches sounds at a time, and few notes begin
                logits.bias.copy_(torch.tensor([-4.5] * config.n_pitches + [-2.5, 0.0]))
        self.note_predictor = nn.Sequential(
            nn.Conv1d(n_inputs, config.n_hidden, config.kernel, padding=config.kernel // 2),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            nn.Conv1d(config.n_hidden, config.n_hidden, config.kernel, padding=config.kernel // 2),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            logits,
        )

    def classify(self, portraits: Tensor) -> Tensor:
        """Return logits of each instrument (B, N) from players' portraits (B, 2, H, W)."""
        usual, moved = portraits.float().unbind(dim=1)
        mean, spread = usual.mean(dim=(1, 2), keepdim=True), usual.std(dim=(1, 2), keepdim=True) + 4.0
        instruments: Tensor = self.classifier(torch.stack([usual - mean, 4 * moved], dim=1) / spread[:, None])
        return instruments

    def forward(self, pictures: Tensor, portraits: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
        """Transcribe videos.

        Args:
            pictures: (B, T, H, W) luma, 0 to 255.
            portraits: (B, 2, H, W) the median picture of each player's take, and the standard deviation of each pixel.
            motion: (B, T, F).

        Returns:
            Logits of each instrument (B, N), and (B, T, P + 2) that each pitch sounds, that a note begins, and that
            any note sounds.
        """
        luma, usual = pictures.float(), portraits.float()[:, :1]
        mean = usual.mean(dim=(2, 3), keepdim=True)
        spread = usual.std(dim=(2, 3), keepdim=True) + 4.0
        change = torch.diff(luma, dim=1, prepend=luma[:, :1])
        inputs = torch.stack([luma - mean, 2 * (luma - usual), 3 * change], dim=2) / spread[:, None]  # (B, T, 3, H, W)
        each = inputs.flatten(0, 1).contiguous(memory_format=torch.channels_last)  # half the time on a CPU
        features = self.frame_encoder(each).reshape(*inputs.shape[:2], -1)  # (B, T, n_hidden)
        instruments = self.classify(portraits)
        probabilities = torch.softmax(instruments, dim=1)[:, None].expand(-1, features.shape[1], -1)
        over_time = torch.cat([features, motion.float(), probabilities.detach()], dim=2).transpose(1, 2)
        notes: Tensor = self.note_predictor(over_time).transpose(1, 2)
        return instruments, notes
