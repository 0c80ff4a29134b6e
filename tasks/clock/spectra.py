"""Pieces of two recordings side by side: whitened cross-spectra along a map of their clocks.

A cross-spectrum's phase gives the error of the map at its moment: the reference is late by tau where
the phase at f is ``-2 pi f tau``. All later work (search, lines, splines) turns phases of spectra made once.

Source:
    Knapp and Carter, The Generalized Correlation Method for Estimation of Time Delay, IEEE Trans. ASSP 24
    (1976). The phase transform's exponent is 3/4 and not 1, as is usual in rooms.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

LOWEST_HZ, HIGHEST_HZ = 100.0, 6500.0
PIECE_S = 0.256  # about; a power of two of samples

_LEAST_POWER = np.float32(1e-30)
_FRACTIONS = 64  # of a sample, to which the map is followed inside a piece
_BATCH = 512

Spectra = NDArray[np.complex64]
Times = NDArray[np.float64]


Samples = NDArray[np.float32] | NDArray[np.int16]


@dataclass(frozen=True, kw_only=True)
class Sound:
    """A recording that pieces are taken out of; it is never copied as a whole.

    Attributes:
        samples: (n,) mono.
        sample_rate: Hz.
        scale: that brings its loudest sample to 1, so that no product of spectra leaves the range of its type.
    """

    samples: Samples
    sample_rate: int
    scale: float

    @property
    def duration_s(self) -> float:
        """Its length."""
        return len(self.samples) / self.sample_rate


def piece_length(sample_rate: int) -> int:
    """Return the samples of a piece: a power of two."""
    return int(2 ** round(np.log2(PIECE_S * sample_rate)))


def frequencies_hz(sample_rate: int) -> NDArray[np.float64]:
    """Return the frequency of each column of the spectra."""
    length = piece_length(sample_rate)
    bins = np.arange(*_bins(sample_rate))
    return np.asarray(bins * (sample_rate / length))


def _bins(sample_rate: int) -> tuple[int, int]:
    length = piece_length(sample_rate)
    highest = min(HIGHEST_HZ, 0.45 * sample_rate)
    return int(np.ceil(LOWEST_HZ * length / sample_rate)), int(highest * length / sample_rate) + 1


def window_spectra(reference: Sound, other: Sound, time_s: Times, reference_time_s: Times) -> Spectra:
    """Return a whitened cross-spectrum for each window: the sum over its pieces.

    Args:
        reference: the one.
        other: the other one, at the same rate.
        time_s: (n, p) middles of the p pieces of each window in the other's time; moved to a sample.
        reference_time_s: (n, p) where a map places them in the reference's time.

    Returns:
        (n, n_frequencies); pieces that reach out of a recording add nothing.
    """
    rate = reference.sample_rate
    length = piece_length(rate)
    low, high = _bins(rate)
    n, n_pieces = time_s.shape
    shape = np.hanning(length + 1)[:-1].astype(np.float32)
    first_other = np.rint(time_s * rate).astype(np.int64) - length // 2
    exact = reference_time_s * rate + (first_other - time_s * rate)
    first_reference = np.floor(exact).astype(np.int64)
    fraction = np.rint((exact - first_reference) * _FRACTIONS).astype(np.int64)
    samples = np.arange(_FRACTIONS + 1) / _FRACTIONS
    turns = np.exp(2j * np.pi / length * np.outer(samples, np.arange(low, high))).astype(np.complex64)
    inside = (first_other >= 0) & (first_other + length <= len(other.samples))
    inside &= (first_reference >= 0) & (first_reference + length <= len(reference.samples))
    spectra = np.zeros((n, high - low), np.complex64)
    at_once = max(1, _BATCH // max(n_pieces, 1))
    for begin in range(0, n, at_once):
        rows = slice(begin, begin + at_once)
        window, piece = np.nonzero(inside[rows])
        if not len(window):
            continue
        ours = _spectra_of(reference, first_reference[rows][window, piece], shape)[:, low:high]
        theirs = _spectra_of(other, first_other[rows][window, piece], shape)[:, low:high]
        product = ours * np.conj(theirs)
        root = np.sqrt(np.sqrt(np.maximum(product.real**2 + product.imag**2, _LEAST_POWER)))  # of the magnitude
        product *= turns[fraction[rows][window, piece]] / (root * np.sqrt(root))
        starts = np.flatnonzero(np.diff(window, prepend=-1))
        spectra[begin + window[starts]] = np.add.reduceat(product, starts, axis=0)
    return spectra


def _spectra_of(recording: Sound, first: NDArray[np.int64], shape: NDArray[np.float32]) -> Spectra:
    pieces = np.lib.stride_tricks.sliding_window_view(recording.samples, len(shape))[first].astype(np.float32)
    pieces *= shape * np.float32(recording.scale)
    spectra: Spectra = scipy.fft.rfft(pieces, axis=1)
    return spectra


def correlation(spectra: Spectra, sample_rate: int, *, reach_s: float, refine: int = 1) -> NDArray[np.float32]:
    """Return the correlation of each spectrum over lags, in standard deviations of chance.

    Args:
        spectra: (n, n_frequencies).
        sample_rate: Hz, of the recordings.
        reach_s: largest lag.
        refine: lags a sample.

    Returns:
        (n, 2 k + 1) for the lags -k to k, each ``1 / (refine * sample_rate)`` apart; k is ``reach_s`` in lags.
    """
    length = piece_length(sample_rate)
    low, high = _bins(sample_rate)
    size = length * refine
    k = min(round(reach_s * sample_rate * refine), size // 2 - 1)
    full = np.zeros((len(spectra), size // 2 + 1), np.complex64)
    full[:, low:high] = spectra
    lagged = scipy.fft.irfft(full, axis=1) * np.float32(size)
    power = np.sqrt(2 * np.square(np.abs(spectra), dtype=np.float32).sum(axis=1, keepdims=True))
    rows = np.concatenate([lagged[:, -k:], lagged[:, : k + 1]], axis=1)
    return np.asarray(rows / np.maximum(power, np.float32(1e-20)), np.float32)
