"""Two recordings, a map between their clocks, and windows of sound that are correlated along it.

A map gives the delay of each moment: the reference's time minus the other's.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tasks.clock.fit import Times
from tasks.clock.onsets import FLUX_RATE
from tasks.clock.spectra import Sound, Spectra, correlation, window_spectra

REACH_S = 0.06  # of lags: farther than a place may be wrong
BIN_S = 0.0005  # of lags, in which heights are compared
BESIDE_S = 0.0015  # from a line to one beside it
CHANCE_HEIGHT = 2.0  # mean height of the envelope where nothing agrees
_MIN_WEIGHT = 0.05  # of a window without onsets
WINDOW_S, HOP_S = 4.0, 2.0
MAX_WINDOWS = 160  # of a long recording, which has them farther apart
PIECE_HOP_S = 0.192  # of a window's pieces
SIGNIFICANT = 7.0  # standard deviations of chance; a window with a lower peak is no evidence
AGREES_S = 0.0005  # from the map, within which a peak agrees with it
JUMP_COST = 12.0  # standard deviations that windows must gain by it, for a path to jump or a map to be contradicted
_ACTIVE = 0.3  # of the onsets of windows that agree


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Both recordings, with what is computed of them once.

    Attributes:
        reference: the longer recording.
        other: the recording that is placed.
        reference_flux: (bands, steps) onset functions of the reference.
        other_flux: (bands, steps) of the other.
        max_drift_ppm: largest drift that is looked for.
    """

    reference: Sound
    other: Sound
    reference_flux: NDArray[np.float32]
    other_flux: NDArray[np.float32]
    max_drift_ppm: float

    @property
    def rate(self) -> int:
        """Of both recordings, in Hz."""
        return self.reference.sample_rate

    @cached_property
    def rising(self) -> Times:
        """(n_steps + 1,) all onsets of the other before each step."""
        return np.asarray(np.cumsum(np.append(0.0, np.maximum(self.other_flux, 0).sum(axis=0) ** 2)), np.float64)


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Part of the other's time with a map to the reference's: straight lines between knots.

    Attributes:
        start_s: of the other's time.
        end_s: of the other's time.
        knot_s: (k,) at least 2, in the other's time.
        delay_s: (k,) at the knots; the outer lines go on.
    """

    start_s: float
    end_s: float
    knot_s: Times
    delay_s: Times

    def delay_at(self, time_s: Times) -> Times:
        """Return the delay at moments of the other's time."""
        number = np.clip(np.searchsorted(self.knot_s, time_s, side="right") - 1, 0, len(self.knot_s) - 2)
        slope = np.diff(self.delay_s) / np.diff(self.knot_s)
        return np.asarray(self.delay_s[number] + slope[number] * (time_s - self.knot_s[number]))


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Windows of both recordings, correlated along a map.

    Attributes:
        time_s: (n,) their middles, in the other's time.
        spectra: (n, n_frequencies) cross-spectra.
        height: (n,) of the highest peak within the reach, in standard deviations of chance.
        lag_s: (n,) of that peak, from the map.
        at_map: (n,) height of the highest peak so near that it agrees with the map.
        lag_at_map_s: (n,) of that.
        correlation: (n, lags), signed.
    """

    time_s: Times
    spectra: Spectra
    height: Times
    lag_s: Times
    at_map: Times
    lag_at_map_s: Times
    correlation: NDArray[np.float32]

    @property
    def is_significant(self) -> NDArray[np.bool_]:
        """(n,) windows whose peak stands out from chance."""
        return np.asarray(self.height >= SIGNIFICANT)

    @property
    def agrees(self) -> NDArray[np.bool_]:
        """(n,) significant windows whose peak lies at the map."""
        return np.asarray(self.is_significant & (self.at_map >= 0.8 * self.height))


def shared_time(pair: Pair, delay_s: float, drift: float) -> tuple[float, float]:
    """Return the stretch of the other's time that lies inside the reference by a straight map."""
    start = max(0.0, -delay_s / (1 + drift))
    end = min(pair.other.duration_s, (pair.reference.duration_s - delay_s) / (1 + drift))
    return start, max(end, start)


def piece_middles(middle_s: Times, window_s: float) -> Times:
    """Return (n, p) middles of the pieces of windows."""
    count = max(1, int((window_s - 0.1) / PIECE_HOP_S))
    return np.asarray(middle_s[:, None] + (np.arange(count) - (count - 1) / 2) * PIECE_HOP_S)


def window_middles(start_s: float, end_s: float) -> tuple[Times, float]:
    """Return middles and length of windows for a stretch of time, shorter ones for a short stretch."""
    length = end_s - start_s
    window_s = float(np.clip(length / 6, 1.0, WINDOW_S))
    hop_s = max(window_s * HOP_S / WINDOW_S, length / MAX_WINDOWS)
    count = max(1, int((length - window_s) / hop_s) + 1)
    first = start_s + (length - (count - 1) * hop_s) / 2
    return np.asarray(first + hop_s * np.arange(count), np.float64), window_s


def correlate_along(pair: Pair, stretches: list[Stretch], middle_s: Times, window_s: float) -> Windows:
    """Correlate windows of both recordings along a map.

    Args:
        pair: the recordings.
        stretches: the map, in order of time.
        middle_s: (n,) middles of the windows, in the other's time.
        window_s: their length.
    """
    moments = piece_middles(middle_s, window_s)
    # A window follows the map of its middle, even when a seam runs through it.
    number = np.searchsorted([stretch.start_s for stretch in stretches[1:]], middle_s, side="right")
    delay = np.empty(moments.shape)
    for index, stretch in enumerate(stretches):
        delay[number == index] = stretch.delay_at(moments[number == index])
    spectra = window_spectra(pair.reference, pair.other, moments, moments + delay)
    signed = correlation(spectra, pair.rate, reach_s=REACH_S)
    lags = np.abs(signed)
    middle = lags.shape[1] // 2
    slack = round(AGREES_S * pair.rate)
    near = lags[:, middle - slack : middle + slack + 1]
    rows = np.arange(len(lags))
    peak, near_peak = lags.argmax(axis=1), near.argmax(axis=1)
    return Windows(
        time_s=middle_s,
        spectra=spectra,
        height=lags[rows, peak].astype(np.float64),
        lag_s=(peak - middle) / pair.rate,
        at_map=near[rows, near_peak].astype(np.float64),
        lag_at_map_s=(near_peak - slack) / pair.rate,
        correlation=signed,
    )


def window_weights(pair: Pair, time_s: Times, window_s: float) -> Times:
    """Return the weight of windows of the other as evidence: 1 with many onsets, next to nothing when silent."""
    onsets = _onset_sum(pair, time_s, window_s)
    return np.asarray(np.clip(onsets / max(float(np.percentile(onsets, 75)), 1e-9), _MIN_WEIGHT, 1.0))


def effective_number(weight: Times) -> float:
    """Return how many windows of equal weight are as much evidence as windows of these weights."""
    return float(weight.sum() ** 2 / np.square(weight).sum())


def are_active(pair: Pair, time_s: Times, window_s: float, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which windows of the other have so many onsets that they should be significant.

    Args:
        pair: the recordings.
        time_s: (n,) middles.
        window_s: length.
        known: (n,) windows that are significant, for comparison.
    """
    onsets = _onset_sum(pair, time_s, window_s)
    return np.asarray(onsets >= _ACTIVE * np.median(onsets[known]) if known.any() else onsets > 0)


def _onset_sum(pair: Pair, time_s: Times, window_s: float) -> Times:
    """Return the sum of onsets in windows of the other, in no unit."""
    edges = [np.rint((time_s + side * window_s / 2) * FLUX_RATE).astype(np.int64) for side in (-1, 1)]
    first, last = (np.clip(edge, 0, len(pair.rising) - 1) for edge in edges)
    return np.asarray(pair.rising[last] - pair.rising[first])
