"""Where two recordings may belong together, to a hundredth of a second: onsets in bands, and their correlation.

Source:
    Spectral flux of log energies in bands as an onset function: Bello et al., A Tutorial on Onset Detection in
    Music Signals, IEEE Trans. Speech and Audio Processing 13 (2005). That the correlation of stretches is summed
    along lines of equal drift is our own.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

FLUX_RATE = 100  # Hz
N_BANDS = 10

_LOWEST_HZ, _HIGHEST_HZ = 100.0, 7000.0
_WINDOW_S = 0.032
_RISE = 2  # steps between the two energies that are compared
_PART_LENGTH = 4096  # windows transformed at a time
_QUIETEST = 1e-20  # peak under which a recording is silent
_LOUDEST = 6.0  # standard deviations; a click is not worth more
_STRETCH_S, _LONG_STRETCH_S = 10.0, 30.0
_MAX_STRETCHES = 24
_DRIFT_STEP_FRAMES = 2.0  # between two drifts that are tried, at either end of the clip
_NEAR_FRAMES = 4  # peaks nearer than this are one place


@dataclass(frozen=True, kw_only=True)
class Place:
    """A place of the device's recording on the reference's clock, to about 10 ms.

    Attributes:
        delay_s: at the device's time 0.
        drift_ppm: to the step that drifts are tried in.
        score: evidence, in standard deviations of chance.
    """

    delay_s: float
    drift_ppm: float
    score: float


def onset_flux(audio: NDArray[np.float32] | NDArray[np.int16], sample_rate: int) -> NDArray[np.float32]:
    """Return how much each band's log energy rises, of mean 0 and deviation 1 in each band.

    Args:
        audio: (n,) samples.
        sample_rate: Hz, at least 16,000.

    Returns:
        (N_BANDS, n_steps) at FLUX_RATE; step i is about the moment i / FLUX_RATE. Bands in which nothing ever
        rises are 0.
    """
    hop = sample_rate / FLUX_RATE
    length = round(_WINDOW_S * sample_rate)
    n_steps = int(len(audio) / hop)
    starts = np.rint(np.arange(n_steps) * hop).astype(np.int64)
    peak = max(float(audio.max(initial=0)), -float(audio.min(initial=0)), _QUIETEST)
    shape = (np.hanning(length + 2)[1:-1] / peak).astype(np.float32)
    edges = np.geomspace(_LOWEST_HZ, _HIGHEST_HZ, N_BANDS + 1) * length / sample_rate
    bins = np.arange(length // 2 + 1)
    to_bands = np.zeros((len(bins), N_BANDS), np.float32)
    for band in range(N_BANDS):  # at least the bin nearest to the middle
        inside = (bins >= edges[band]) & (bins < edges[band + 1])
        inside[round((edges[band] + edges[band + 1]) / 2)] = True
        to_bands[inside, band] = 1
    energy = np.empty((n_steps, N_BANDS), np.float32)
    for first in range(0, n_steps, _PART_LENGTH):
        part = slice(first, first + _PART_LENGTH)
        # Windows stand around their moment; those at the ends reach into silence.
        low, high = int(starts[part][0]) - length // 2, int(starts[part][-1]) + length
        around = np.pad(audio[max(low, 0) : high], (max(-low, 0), max(high - len(audio), 0)))
        windows = np.lib.stride_tricks.sliding_window_view(around, length)
        spectrum = scipy.fft.rfft(windows[starts[part] - starts[part][0]] * shape, axis=1)
        energy[part] = (spectrum.real**2 + spectrum.imag**2) @ to_bands
    # What lies near the noise floor must not count as a rise: the floor is added before the logarithm.
    floor = np.maximum(np.percentile(energy, 25, axis=0), 1e-5 * energy.max(axis=0, initial=0.0)) if n_steps else 0.0
    # In place, as an hour has 14 MB of them.
    energy += 2 * floor + np.float32(1e-30)
    level = np.log(energy, out=energy)
    rise = np.zeros_like(level)
    np.maximum(level[_RISE:] - level[:-_RISE], 0, out=rise[_RISE:])
    del level, energy
    rise -= rise.mean(axis=0, keepdims=True) if n_steps else 0.0
    deviation = rise.std(axis=0, keepdims=True) if n_steps else np.ones((1, N_BANDS), np.float32)
    rise *= np.where(deviation > 1e-6, 1 / np.maximum(deviation, 1e-6), 0)
    np.minimum(rise, _LOUDEST, out=rise)
    return np.ascontiguousarray(rise.T)


def find_places(
    reference: NDArray[np.float32],
    other: NDArray[np.float32],
    *,
    max_drift_ppm: float,
    min_overlap_s: float,
    n_places: int,
) -> list[Place]:
    """Find where the onsets of two recordings agree best.

    The other's onsets are cut in stretches so short that drift does not matter inside one; each is correlated
    with all of the reference, and the correlations are summed along lines of delay and drift.

    Args:
        reference: (N_BANDS, n) of `onset_flux`.
        other: (N_BANDS, m).
        max_drift_ppm: largest drift tried.
        min_overlap_s: shortest shared time.
        n_places: most places returned.

    Returns:
        Best first; at most ``n_places``, none when a recording is shorter than the shortest shared time.
    """
    n, m = reference.shape[1], other.shape[1]
    min_overlap = round(min_overlap_s * FLUX_RATE)
    if min(n, m) < min_overlap:
        return []
    starts, length = _stretches(m)
    correlation = _correlate(reference, other, starts, length)  # (stretch, lag + length)
    middles = starts + length / 2 - m / 2
    half = max(float(np.abs(middles).max()), 1.0)
    max_drift = max_drift_ppm * 1e-6
    step = min(_DRIFT_STEP_FRAMES / half, max_drift)
    drifts = np.arange(-np.floor(max_drift / step), np.floor(max_drift / step) + 1) * step

    # Lag is the reference's step at the middle of the other's recording, less m / 2: its first and last one.
    lags = np.arange(min_overlap - m, n - min_overlap + 1)
    best = np.full(len(lags), -np.inf, np.float32)
    best_drift = np.zeros(len(lags))
    shared = np.zeros(len(lags), np.float32)
    for first in starts:
        shared += np.clip(np.minimum(lags + first + length, n) - np.maximum(lags + first, 0), 0, None)
    scale = 1 / np.sqrt(np.maximum(shared, min(min_overlap, length * len(starts)) / 2))
    for drift in drifts[np.argsort(np.abs(drifts), kind="stable")]:  # of equals, the smallest drift
        total = np.zeros(len(lags), np.float32)
        for row, first, middle in zip(correlation, starts, middles, strict=True):
            shift = int(first + round(drift * middle)) + length  # index in the row of lag 0
            low, high = max(0, -(lags[0] + shift)), min(len(lags), len(row) - (lags[0] + shift))
            if low < high:
                total[low:high] += row[lags[0] + shift + low : lags[0] + shift + high]
        total *= scale
        better = total > best
        best[better] = total[better]
        best_drift[better] = drift
    deviation = 1.4826 * float(np.median(np.abs(best - np.median(best)))) + 1e-9
    best = (best - np.median(best)) / deviation
    places = []
    for _ in range(n_places):
        peak = int(np.argmax(best))
        if best[peak] <= 0:
            break
        drift = float(best_drift[peak])
        delay = (lags[peak] - drift * m / 2) / FLUX_RATE
        places.append(Place(delay_s=float(delay), drift_ppm=drift * 1e6, score=float(best[peak])))
        best[max(0, peak - _NEAR_FRAMES) : peak + _NEAR_FRAMES + 1] = -np.inf
    return places


def _stretches(n_steps: int) -> tuple[NDArray[np.int64], int]:
    """Return where the other's stretches begin, and their length."""
    length = round(_STRETCH_S * FLUX_RATE)
    if n_steps > length * _MAX_STRETCHES:
        length = round(_LONG_STRETCH_S * FLUX_RATE)
    count = min(max(1, round(n_steps / length)), _MAX_STRETCHES)
    length = min(length, n_steps // count) if count == _MAX_STRETCHES else n_steps // count
    return np.rint(np.linspace(0, n_steps - length, count)).astype(np.int64), length


def _correlate(
    reference: NDArray[np.float32], other: NDArray[np.float32], starts: NDArray[np.int64], length: int
) -> NDArray[np.float32]:
    """Return for each stretch the sum over bands of its products with the reference; index 0 is lag -length."""
    n = reference.shape[1]
    size = scipy.fft.next_fast_len(n + 2 * length, real=True)
    whole = scipy.fft.rfft(reference, size, axis=1)
    rows = np.empty((len(starts), n + length), np.float32)
    for row, first in zip(rows, starts, strict=True):
        product = np.zeros(whole.shape[1], np.complex64)
        for band, part in zip(whole, other[:, first : first + length], strict=True):  # one at a time, for memory
            product += band * np.conj(scipy.fft.rfft(part, size))
        summed = scipy.fft.irfft(product, size)
        row[:length], row[length:] = summed[-length:], summed[:n]
    return rows
