"""What the samples so far tell of the next one by themselves: a linear prediction, and how far it was off lately.

Shapes: B batch, T audio samples, F features, N taps.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.deepsynth_config import DeepSynthConfig

SCALE_TIMES = (16.0, 128.0)  # samples in which an error counts for 1 / e less in the running scales
SCALE_LENGTH = 512  # errors that a running scale is made of
LEAST_SCALE = 1e-5  # of full scale: what digital silence may be off by
FIXED_SCALE = 0.05  # where the scale does not run
N_SCALARS = 4  # features beside the windows

Floats = NDArray[np.float64]


def class_values(n_classes: int) -> Tensor:
    """Return the amplitude of each mu-law class, (K,) float64."""
    companded = 2 * torch.arange(n_classes, dtype=torch.float64) / (n_classes - 1) - 1
    return expanded(companded, n_classes)


def class_edges(n_classes: int) -> Tensor:
    """Return the amplitudes between two neighbouring classes, (K - 1,) float64, rising."""
    companded = 2 * (torch.arange(n_classes - 1, dtype=torch.float64) + 0.5) / (n_classes - 1) - 1
    return expanded(companded, n_classes)


def expanded(companded: Tensor, n_classes: int) -> Tensor:
    """Return amplitudes from companded ones, both in [-1, 1] (ITU-T G.711's formula, mu = n_classes - 1)."""
    mu = n_classes - 1
    return companded.sign() * torch.expm1(companded.abs() * math.log1p(mu)) / mu


def companded(amplitude: Tensor, n_classes: int) -> Tensor:
    """Return companded amplitudes; the inverse of `expanded`."""
    mu = n_classes - 1
    return amplitude.sign() * torch.log1p(mu * amplitude.abs()) / math.log1p(mu)


def class_width(amplitude: Tensor, n_classes: int) -> Tensor:
    """Return how wide a class is around an amplitude, as a smooth function of it."""
    mu = n_classes - 1
    return (amplitude.abs() + 1 / mu) * (2 * math.log1p(mu) / mu)


@dataclass(frozen=True)
class Known:
    """What is known of each sample before the network.

    Attributes:
        mean: (B, T) the drive and the prediction of what it leaves.
        scale: (B, T) standard deviation of that.
        features: (B, T, F) for the first layer.
    """

    mean: Tensor
    scale: Tensor
    features: Tensor


class PastSamples(nn.Module):
    """A window of the past, a linear prediction of what the drive leaves, and its running scale."""

    taps: Tensor
    values: Tensor
    weights: Tensor

    def __init__(self, config: DeepSynthConfig) -> None:
        super().__init__()
        self.config = config
        self.predicts = config.output == "logistics"
        n_windows = (config.n_past > 1) + self.predicts
        self.n_features = n_windows * config.n_past + (N_SCALARS if self.predicts else 0)
        self.register_buffer("values", class_values(config.n_classes).float(), persistent=False)
        # The newest first; they stand in the weights' file.
        self.register_buffer("taps", torch.zeros(max(config.n_taps, 1)))
        times = torch.tensor(SCALE_TIMES, dtype=torch.float64)[:, None]
        decay = torch.exp(-torch.arange(SCALE_LENGTH, dtype=torch.float64) / times)
        self.register_buffer("weights", (decay / decay.sum(dim=1, keepdim=True)).float(), persistent=False)

    def at_rest(self, n_streams: int, like: Tensor) -> list[Tensor]:
        """Return the past before the first sample: amplitudes, what the drive left, errors, drive, prediction."""
        lengths = (self.config.n_past - 1, len(self.taps) - 1, SCALE_LENGTH - 1, 1, 1)
        return [like.new_zeros(n_streams, length) for length in lengths]

    def forward(self, inputs: Tensor, drive: Tensor | None, past: list[Tensor]) -> tuple[Known, list[Tensor]]:
        """Return what is known of samples, and the past to go on with.

        Args:
            inputs: (B, T) classes, each the sample before.
            drive: (B, T) amplitude that the pictures give each sample; None for 0.
            past: from `at_rest` or an earlier call.
        """
        config = self.config
        sound_before, left_before, errors_before, drive_before, prediction_before = past
        sound = self.values[inputs]  # (B, T): [:, t] is the sample before t
        n_samples = sound.shape[1]
        sounds = torch.cat([sound_before, sound], dim=1)
        features = []
        if config.n_past > 1:
            features.append(companded(sounds, config.n_classes).unfold(1, config.n_past, 1).flip(-1))
        if not self.predicts:
            none = sound.new_zeros(len(sound), n_samples)
            kept = [sounds[:, n_samples:], *past[1:]]
            return Known(none, none, torch.cat(features, dim=-1) if features else sound.new_zeros(0)), kept
        drive = torch.zeros_like(sound) if drive is None else drive
        drives = torch.cat([drive_before, drive], dim=1)
        left = torch.cat([left_before, sound - drives[:, :-1]], dim=1)
        prediction = _filtered(left, self.taps[None])[:, 0] if config.n_taps else torch.zeros_like(sound)
        predictions = torch.cat([prediction_before, prediction], dim=1)
        errors = torch.cat([errors_before, left[:, len(self.taps) - 1 :] - predictions[:, :-1]], dim=1)
        mean = drive + prediction
        if config.running_scale:
            fast, slow = (_filtered(errors.square(), self.weights) + LEAST_SCALE**2).sqrt().unbind(dim=1)
            scale = (fast * slow).sqrt()
        else:
            fast = slow = scale = torch.full_like(mean, FIXED_SCALE)
        recent = errors[:, SCALE_LENGTH - config.n_past :].unfold(1, config.n_past, 1).flip(-1)
        features.append((recent / scale[..., None]).clamp(-8, 8) / 2)
        scalars = (
            (fast / slow).log(),
            (scale / LEAST_SCALE).log() / 4 - 1,
            companded(mean.clamp(-1, 1), config.n_classes),
            (class_width(mean, config.n_classes) / scale).log() / 2,
        )
        features.append(torch.stack(scalars, dim=-1))
        after = [
            sounds[:, n_samples:],
            left[:, n_samples:],
            errors[:, n_samples:],
            drives[:, n_samples:],
            predictions[:, n_samples:],
        ]
        return Known(mean, scale, torch.cat(features, dim=-1)), after


def _filtered(signal: Tensor, weights: Tensor) -> Tensor:
    """Return sums of (B, n + T - 1) with weights (C, n), the newest sample times the first weight: (B, C, T)."""
    filtered: Tensor = functional.conv1d(signal[:, None], weights.flip(-1)[:, None])
    return filtered


def fit_taps(signals: Iterable[Floats], n_taps: int, *, window: int, ridge: float = 1e-6) -> NDArray[np.float32]:
    """Return the taps that best predict a sample from those before it, the newest first.

    Autocorrelation method, so that the predictor is stable; each window counts the same, however loud it is, as it
    does in the likelihood.

    Args:
        signals: (n,) each.
        n_taps: at least 1.
        window: samples of a window.
        ridge: share of the power that is added to lag 0.
    """
    total = np.zeros(n_taps + 1)
    for signal in signals:
        for start in range(0, max(len(signal) - window + 1, 1), window):
            part = signal[start : start + window]
            spectrum = np.fft.rfft(part, 2 * window)
            correlation = np.fft.irfft(np.abs(spectrum) ** 2)[: n_taps + 1]
            if correlation[0] > LEAST_SCALE**2 * len(part):
                total += correlation / correlation[0]
    if total[0] == 0:
        return np.zeros(n_taps, np.float32)
    total[0] *= 1 + ridge
    lags = np.abs(np.subtract.outer(np.arange(n_taps), np.arange(n_taps)))
    taps: NDArray[np.float32] = np.linalg.solve(total[lags], total[1:]).astype(np.float32)
    return taps
