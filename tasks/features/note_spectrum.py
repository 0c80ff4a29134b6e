"""A log-frequency magnitude spectrum, and where the partials of a key stand in it.

Shapes: F frequency bins, T spectrum columns, P pitches, N partials.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Resonator = Literal["string", "bar"]  # what sounds: a piano's strings, a marimba's or vibraphone's bars

BINS_PER_SEMITONE = 3
LOWEST_BIN_PITCH = 20.0
HIGHEST_BIN_PITCH = 110.0
COLUMN_RATE_HZ = 100  # nominal; a column is a whole number of samples
# Windows hold about 52 periods, enough to part semitones, but stay short enough for an onset in the treble
# and for a fast bass: below 260 Hz it is the upper partials that separate neighbours.
PERIODS_PER_WINDOW = 52
SHORTEST_WINDOW_S = 0.05
LONGEST_WINDOW_S = 0.2
N_STRING_PARTIALS = 20
# Frequency over the fundamental's, and the weight to start from. Makers tune the bars of a marimba 1:4:10, of a
# xylophone 1:3:6; octave and twelfth are what resonators and samples add.
BAR_PARTIALS = ((1.0, 1.0), (2.0, 0.05), (3.0, 0.05), (4.0, 0.3), (6.0, 0.03), (9.2, 0.05), (10.0, 0.1))
_COLUMNS_AT_A_TIME = 1024


def pitch_to_hz(pitch: NDArray[np.floating] | NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the equal-tempered frequency of MIDI numbers, 69 being 440 Hz."""
    return 440.0 * 2.0 ** ((np.asarray(pitch, np.float64) - 69.0) / 12.0)


@dataclass(frozen=True, kw_only=True)
class SpectrumGrid:
    """Where the bins of the spectrum stand.

    Attributes:
        sample_rate: of the audio it takes, Hz.
        frequency_hz: (F,) centres, three to a semitone, all below Nyquist.
        window_s: (F,) length of each bin's Hann window.
        hop_length: samples between columns; column k is centred on sample ``k * hop_length``.
    """

    sample_rate: int
    frequency_hz: NDArray[np.float64]
    window_s: NDArray[np.float64]
    hop_length: int

    @property
    def hop_s(self) -> float:
        """Seconds between columns."""
        return self.hop_length / self.sample_rate


def spectrum_grid(sample_rate: int) -> SpectrumGrid:
    """Place the bins for audio at ``sample_rate``: from a semitone below A0 to D8, or to just below Nyquist."""
    nyquist_pitch = 69.0 + 12.0 * np.log2(0.497 * sample_rate / 440.0)
    pitch = np.arange(LOWEST_BIN_PITCH, min(HIGHEST_BIN_PITCH, nyquist_pitch), 1 / BINS_PER_SEMITONE, dtype=np.float64)
    frequency_hz = pitch_to_hz(pitch)
    return SpectrumGrid(
        sample_rate=sample_rate,
        frequency_hz=frequency_hz,
        window_s=np.clip(PERIODS_PER_WINDOW / frequency_hz, SHORTEST_WINDOW_S, LONGEST_WINDOW_S),
        hop_length=round(sample_rate / COLUMN_RATE_HZ),
    )


def spectrum(audio: NDArray[np.float32], grid: SpectrumGrid, *, start: int, count: int) -> NDArray[np.float32]:
    """Measure columns ``start`` to ``start + count - 1``.

    Args:
        audio: (n,) samples; what lies before and after them counts as silence.

    Returns:
        (F, count) magnitudes: a lasting sine of amplitude a gives a in the bin on its frequency.
    """
    reach = int(LONGEST_WINDOW_S * grid.sample_rate) // 2 + 2
    first = start * grid.hop_length - reach
    stop = (start + count - 1) * grid.hop_length + reach + 1
    inside = audio[max(first, 0) : max(stop, 0)]
    padded = np.zeros(stop - first, np.float32)
    padded[max(-first, 0) : max(-first, 0) + len(inside)] = inside
    magnitudes = np.empty((len(grid.frequency_hz), count), np.float32)
    for rows, kernels, half in _kernels(grid):
        n_bins = kernels.shape[1] // 2
        pieces = np.lib.stride_tricks.sliding_window_view(padded[reach - half :], 2 * half + 1)
        for column in range(0, count, _COLUMNS_AT_A_TIME):
            columns = slice(column, min(column + _COLUMNS_AT_A_TIME, count))
            block = pieces[columns.start * grid.hop_length :: grid.hop_length][: columns.stop - columns.start]
            parts = np.ascontiguousarray(block) @ kernels
            magnitudes[rows, columns] = np.hypot(parts[:, :n_bins], parts[:, n_bins:]).T
    return magnitudes


def _kernels(grid: SpectrumGrid) -> Iterator[tuple[slice, NDArray[np.float32], int]]:
    """Yield cosine and sine kernels (2 half + 1, 2 bins) for two octaves at a time, their windows being alike."""
    for first in range(0, len(grid.frequency_hz), 24):
        rows = slice(first, first + 24)
        frequency_hz, window_s = grid.frequency_hz[rows], grid.window_s[rows]
        half = int(np.ceil(window_s.max() * grid.sample_rate / 2))
        time_s = np.arange(-half, half + 1)[:, None] / grid.sample_rate
        window = np.where(np.abs(time_s) < window_s / 2, 0.5 + 0.5 * np.cos(2 * np.pi * time_s / window_s), 0.0)
        window *= 2.0 / window.sum(axis=0)
        phase = 2 * np.pi * time_s * frequency_hz
        yield rows, np.hstack([window * np.cos(phase), window * np.sin(phase)]).astype(np.float32), half


@dataclass(frozen=True, kw_only=True)
class Partials:
    """The partials of every pitch on a grid.

    Attributes:
        response: (P, N, F) spectrum of each partial at amplitude 1; zero where it lies above the grid.
        weight: (P, N) how strong it is at first guess.
        bin: (P, N) the bin nearest to it.
        present: (P, N) whether it lies on the grid.
    """

    response: NDArray[np.float32]
    weight: NDArray[np.float32]
    bin: NDArray[np.intp]
    present: NDArray[np.bool_]


def partials_of(pitches: NDArray[np.integer], grid: SpectrumGrid, resonator: Resonator) -> Partials:
    """Return where the partials of the pitches stand, and a first guess of how strong they are.

    Source:
        Stiff strings: f_n = n f_0 sqrt(1 + B n^2) (Fletcher 1964), with B along the keyboard as two exponentials
        (Rigaud, David and Daudet 2013), here with constants of a medium grand. The grid's window is Hann, whose
        transform gives the response.
    """
    pitch = np.asarray(pitches, np.float64)[:, None]
    fundamental_hz = pitch_to_hz(pitch)
    if resonator == "string":
        n = np.arange(1, N_STRING_PARTIALS + 1)
        stiffness = np.exp(0.09 * (pitch - 60) - 7.9) + np.exp(-0.09 * (pitch - 60) - 11.5)
        partial_hz = n * fundamental_hz * np.sqrt((1 + stiffness * n**2) / (1 + stiffness))
        decay = np.interp(pitch, [21, 45, 60, 84, 108], [0.10, 0.22, 0.35, 0.7, 1.1])
        # A sound board radiates little below 60 Hz: the lowest keys have next to no fundamental.
        weight = np.exp(-decay * (n - 1)) / (1 + (60.0 / partial_hz) ** 2)
    else:
        ratio, strength = np.array(BAR_PARTIALS).T
        partial_hz = ratio * fundamental_hz
        weight = np.broadcast_to(strength, partial_hz.shape)
    off_centre = (partial_hz[:, :, None] - grid.frequency_hz) * grid.window_s  # in 1 / window length
    response = _hann_transform(off_centre).astype(np.float32)
    return Partials(
        response=response,
        weight=weight.astype(np.float32),
        bin=response.argmax(axis=2),
        present=response.max(axis=2) > 0.5,
    )


def _hann_transform(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the main lobe of the Hann window's transform, 1 at 0 and 0 from 2 on."""
    x = np.abs(x)
    near_one = np.abs(x - 1) < 1e-6  # where the formula is 0 / 0
    lobe = np.where(near_one, 0.5, np.sinc(x) / np.where(near_one, 1.0, 1 - x**2))
    return np.where(x < 2, np.abs(lobe), 0.0)
