"""The stroke itself: energy in wide bands over short windows, where an attack stands sharper than in any partial.

The spectrum that parts semitones needs windows of up to 200 ms; a stroke's own moment is better seen here.

Shapes: B bands, T spectrum columns, H half columns (two to a column).
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tasks.features.note_spectrum import SpectrumGrid

EDGES_HZ = (60.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)
N_BANDS = len(EDGES_HZ) - 1
_WINDOW_S = 0.016
_FAINTEST = 1e-3  # of full scale: digital silence before a note counts as a quiet room
_STEPS = 2  # half columns over which energy grows
_SMOOTH = np.array([0.25, 0.5, 0.25], np.float32)


def attacks(audio: NDArray[np.float32], grid: SpectrumGrid, *, start: int, count: int) -> NDArray[np.float32]:
    """Measure how fast each band grows, at half columns ``2 * start`` to ``2 * (start + count) - 1``.

    Args:
        audio: (n,) samples; what lies before and after them counts as silence.
        grid: whose columns are meant.
        start: first column.
        count: of columns.

    Returns:
        (B, 2 count) growth of the logarithm of a band's level over 10 ms, at least 0; half column k is centred on
        sample ``k * hop_length / 2``. A band above Nyquist stays 0.
    """
    n_fft = 2 * round(_WINDOW_S * grid.sample_rate / 2)
    half = grid.hop_length // 2
    reach = _STEPS + len(_SMOOTH) // 2  # half columns more to either side
    first = start * grid.hop_length - n_fft // 2 - reach * half
    n_half = 2 * count + 2 * reach
    wanted = np.zeros((n_half - 1) * half + n_fft, np.float32)
    inside = audio[max(first, 0) : max(first + len(wanted), 0)]
    wanted[max(-first, 0) : max(-first, 0) + len(inside)] = inside
    pieces = np.lib.stride_tricks.sliding_window_view(wanted, n_fft)[::half]
    window = np.hanning(n_fft + 1)[:-1].astype(np.float32)
    power = np.abs(np.fft.rfft(pieces * (window * (2 / window.sum())), axis=1)) ** 2
    hz = np.fft.rfftfreq(n_fft, 1 / grid.sample_rate)
    growth = np.zeros((N_BANDS, 2 * count), np.float32)
    for band, (low_hz, high_hz) in enumerate(pairwise(EDGES_HZ)):
        bins = (hz >= low_hz) & (hz < high_hz)
        if not bins.any():
            continue
        level = np.log(power[:, bins].sum(axis=1) + _FAINTEST**2) / 2
        smooth = np.convolve(level, _SMOOTH, "valid")
        rising = smooth[2 * _STEPS :] - smooth[: -2 * _STEPS]
        growth[band] = np.maximum(rising, 0)
    return growth
