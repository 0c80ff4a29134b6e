"""Spectra of notes in the bins of a short-time spectrum: peaks at the harmonics, wider the higher they are.

Shapes: P pitches, O offsets in pitch, H harmonics, B bins, T stft frames.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tasks.features.note_spectrum import pitch_to_hz
from tasks.partials.spectra import N_HARMONICS

_A4_HZ = 440.0
_PEAK_BINS = 0.75  # standard deviation of a Hann window's main lobe
_FARTHEST = 7.7  # standard deviations from a peak at which it is no more than rounding
_LOWEST_HZ, _HIGHEST_HZ = 150.0, 2000.0  # of the peaks that tell a mix's tuning
_LEAST_PEAK = 0.1  # of a frame's highest


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Where bins are, and how a mix is tuned.

    Attributes:
        sample_rate: in Hz.
        n_fft: of the stft.
        tuning: of the mix, in semitones above A4 = 440 Hz.
        spread_cents: standard deviation of a note's pitch about its own: vibrato and intonation.
    """

    sample_rate: int
    n_fft: int
    tuning: float
    spread_cents: float

    @cached_property
    def frequency_hz(self) -> NDArray[np.float64]:
        """Of each bin."""
        return np.asarray(np.fft.rfftfreq(self.n_fft, 1 / self.sample_rate))

    def peaks(
        self, pitches: NDArray[np.int64], *, offsets: tuple[float, ...], n_harmonics: int, n_bins: int
    ) -> NDArray[np.float32]:
        """Return the shape (P, O, H, B) of each harmonic's peak, at offsets in semitones, in the first bins.

        A peak that vibrato widens is as much lower, so that its energy is the same.
        """
        frequency_hz = self.frequency_hz[:n_bins]
        places = np.asarray(pitches, np.float64)[:, None] + np.asarray(offsets)[None]
        at_hz = pitch_to_hz(places + self.tuning)[..., None] * np.arange(1, n_harmonics + 1)
        lobe_hz = _PEAK_BINS * self.sample_rate / self.n_fft
        width_hz = np.hypot(lobe_hz, at_hz * self.spread_cents * np.log(2) / 1200)
        height = np.sqrt(lobe_hz / width_hz) * (at_hz < frequency_hz[-1] * 1.05)
        apart = np.minimum(np.abs(frequency_hz - at_hz[..., None]) / width_hz[..., None], _FARTHEST)
        return np.asarray(np.exp(-0.5 * apart**2) * height[..., None], np.float32)

    def notes(self, pitches: NDArray[np.int64], spectra: NDArray[np.float32], *, n_bins: int) -> NDArray[np.float32]:
        """Return the magnitudes (P, B) of notes with harmonics (P, H), in the first bins."""
        rows = [
            np.einsum(
                "ohb,h->b", self.peaks(pitches[[n]], offsets=(0.0,), n_harmonics=N_HARMONICS, n_bins=n_bins)[0], row
            )
            for n, row in enumerate(spectra)
        ]
        return np.asarray(rows, np.float32)


def tuning_of(magnitudes: NDArray[np.floating], *, sample_rate: int, n_fft: int) -> float:
    """Return by how many semitones, within half of one, the peaks of a spectrum (B, T) are above those of A4 = 440 Hz.

    The circular mean of the peaks' distances from the nearest semitone; 0.0 where there is no peak.
    """
    bin_hz = sample_rate / n_fft
    low, high = (int(hz / bin_hz) for hz in (_LOWEST_HZ, min(_HIGHEST_HZ, 0.45 * sample_rate)))
    near = magnitudes[low:high]
    if len(near) < 3:
        return 0.0
    middle = near[1:-1]
    is_peak = (middle > near[:-2]) & (middle >= near[2:]) & (middle > _LEAST_PEAK * near.max(axis=0)) & (middle > 0)
    bins, frames = np.nonzero(is_peak)
    if not len(bins):
        return 0.0
    before, at, after = (np.log(np.maximum(near[bins + step, frames], 1e-12)) for step in (0, 1, 2))
    curve = before - 2 * at + after
    step = np.clip(np.where(curve < 0, 0.5 * (before - after) / np.minimum(curve, -1e-12), 0.0), -0.5, 0.5)
    pitch = 12 * np.log2((bins + 1 + low + step) * bin_hz / _A4_HZ)  # above A4: only parts of a semitone count
    return float(np.angle(np.sum(np.exp(at) * np.exp(2j * np.pi * pitch))) / (2 * np.pi))
