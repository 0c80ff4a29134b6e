"""What pictures and a drive give a block of samples: worked out ahead, before the samples are drawn.

Shapes: B streams, T samples, P pictures, R channels, N layers, D distinct rows of conditioning.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from models.deepsynth import DeepSynth
from models.deepsynth_config import DeepSynthConfig

CONDITION_BYTES = 256 << 20  # what is worked out ahead for a block has at most about this size
LONGEST_BLOCK = 4096  # samples


@dataclass(frozen=True, kw_only=True)
class BlockConditions:
    """What is added to the decoder of each sample; None where the network takes no such thing.

    Attributes:
        gates: (D, N, 2R) in the gates of each layer.
        direct: (D, R) in the output's hidden layer.
        rows: (B, T) row of ``gates`` and ``direct`` at each sample.
        entering: (B, T, R) of the drive, at the decoder's input.
        leaving: (B, T, R) of the drive, in the sum of skips.
        amplitude: (B, T) of the drive, in the mean that the logistics start from.
    """

    gates: Tensor | None = None
    direct: Tensor | None = None
    rows: Tensor | None = None
    entering: Tensor | None = None
    leaving: Tensor | None = None
    amplitude: Tensor | None = None


class BlockConditioner:
    """Pictures and drive in, `BlockConditions` out, block after block: it goes on where the last block ended."""

    def __init__(self, network: DeepSynth, n_streams: int, *, rounds: bool) -> None:
        """Start before the first picture; ``rounds`` multiplies pictures' features in bf16."""
        self._network = network
        self._past = network.at_rest(n_streams).video
        self._rounds = rounds

    def next_block(self, features: Tensor | None, shown: Tensor | None, drive: Tensor | None) -> BlockConditions:
        """Return the conditions of the next T samples.

        Args:
            features: (P, L) of the pictures.
            shown: (B, T) row of ``features`` at each sample.
            drive: (B, T) or (B, T, C) at each sample.
        """
        network = self._network
        gates = direct = rows = entering = leaving = amplitude = None
        if features is not None and shown is not None:
            gates, direct, rows = self._of_pictures(features, shown)
        if network.keys is not None and drive is not None:
            drive = drive.to(network.hidden.weight.device, torch.float32)
            amplitude = network.drive_amplitude(drive)
            if network.drive_in is not None:
                entering, leaving = network.drive_rows(drive)
        return BlockConditions(
            gates=gates, direct=direct, rows=rows, entering=entering, leaving=leaving, amplitude=amplitude
        )

    def _of_pictures(self, features: Tensor, shown: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return what is added in the gates (D, N, 2R), in the output (D, R), and the row for each sample."""
        network = self._network
        if network.video is None:
            raise ValueError("pictures' features are given to a network without a video encoder")
        distinct, local = torch.unique(shown, return_inverse=True)
        with torch.autocast(shown.device.type, torch.bfloat16, enabled=self._rounds):
            conditioning, rows, self._past = network.video(features[distinct], local, self._past)
        conditioning = conditioning.float()
        if rows is None:
            rows = torch.arange(shown.numel(), device=shown.device).view_as(shown)
            conditioning = conditioning.flatten(0, 1)
        weights, n_layers = network.condition_weights(), network.config.n_layers
        n_channels = network.config.n_channels
        of_layers = torch.cat([conditioning.new_zeros(0, n_channels), *weights[:n_layers]])  # (2 N R, R), N may be 0
        gates = functional.linear(conditioning, of_layers).view(len(conditioning), n_layers, 2 * n_channels)
        direct = None if network.direct is None else functional.linear(conditioning, weights[-1])
        return gates, direct, rows


def block_length(config: DeepSynthConfig, n_streams: int) -> int:
    """Return for how many samples conditions are worked out at once, in bounded memory."""
    values = 2 * config.n_channels if config.takes_drive and config.drive_as == "code" else 0
    if config.takes_pictures and config.video_rate == "audio":
        values += config.n_layers * 2 * config.n_channels
    return min(max(CONDITION_BYTES // (n_streams * max(values, 1) * 4), 1), LONGEST_BLOCK)
