"""Places of a recording on another's clock, each a straight map, and the evidence for them.

Onsets propose places to 10 ms. Windows of sound are correlated at each; only a line that many windows agree on to half
a millisecond counts.
"""

from dataclasses import dataclass, replace

import numpy as np

from tasks.clock.fit import Times
from tasks.clock.lines import Line, envelope, find_lines
from tasks.clock.onsets import FLUX_RATE, Place
from tasks.clock.spectra import Spectra, correlation, window_spectra
from tasks.clock.windows import (
    BESIDE_S,
    BIN_S,
    CHANCE_HEIGHT,
    REACH_S,
    Pair,
    effective_number,
    piece_middles,
    shared_time,
    window_weights,
)

_SCREEN_WINDOWS, _SCREEN_WINDOW_S = 8, 2.0
_HALF_SLACK_S = 0.025  # how far a place's line may be wrong at its ends
APART_S = 0.005  # places nearer than this are one


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A straight map, and the evidence for it.

    Attributes:
        delay_s: at the other's time 0.
        drift: seconds a second.
        height: mean over the windows of the correlation along it, less that of chance; windows with onsets weigh more.
        n_windows: that were correlated along it, as an effective number of windows of equal weight.
        near: the best line elsewhere within the reach, if any was looked for.
    """

    delay_s: float
    drift: float
    height: float
    n_windows: float
    near: "Candidate | None" = None

    @property
    def evidence(self) -> float:
        """In standard deviations of chance."""
        return float(self.height * np.sqrt(self.n_windows))

    def delay_at(self, time_s: Times) -> Times:
        """Return the delay at moments of the other's time."""
        return self.delay_s + self.drift * time_s


def screen(pair: Pair, place: Place, within: tuple[float, float] | None = None) -> Candidate:
    """Correlate a few windows at a place, each the one with most onsets in its part of the shared time.

    Args:
        pair: the recordings.
        place: the place.
        within: part of the other's time that windows are taken from; None takes all.
    """
    drift = place.drift_ppm * 1e-6
    start, end = shared_time(pair, place.delay_s, drift)
    if within is not None:
        start, end = max(start, within[0]), min(end, within[1])
    length = end - start
    if length < 1.0:
        return Candidate(delay_s=place.delay_s, drift=drift, height=0.0, n_windows=0)
    n = int(np.clip(length, 2, _SCREEN_WINDOWS))
    window_s = min(_SCREEN_WINDOW_S, length / n)
    onsets = np.cumsum(np.append(0.0, np.maximum(pair.other_flux.sum(axis=0), 0)))
    steps = int(window_s * FLUX_RATE)
    middle = np.empty(n)
    for number in range(n):
        first = int((start + length * number / n) * FLUX_RATE)
        last = max(first, min(int((start + length * (number + 1) / n) * FLUX_RATE), len(onsets) - 1) - steps)
        ends = np.minimum(np.arange(first, last + 1) + steps, len(onsets) - 1)
        middle[number] = (first + int(np.argmax(onsets[ends] - onsets[first : last + 1]))) / FLUX_RATE + window_s / 2
    moments = piece_middles(middle, window_s)
    spectra = window_spectra(pair.reference, pair.other, moments, moments * (1 + drift) + place.delay_s)
    max_slope = min(pair.max_drift_ppm * 1e-6 + abs(drift), 2 * _HALF_SLACK_S / length)
    weight = window_weights(pair, middle, window_s)
    lines = _lines_through(pair, spectra, middle, weight, max_slope=max_slope)
    candidate = Candidate(delay_s=place.delay_s, drift=drift, height=0.0, n_windows=effective_number(weight))
    return _on_line(candidate, lines)


def examine(pair: Pair, candidate: Candidate) -> Candidate:
    """Correlate windows all over the shared time along a candidate, twice: the second time along a better line."""
    for window_s in (2.0, 4.0):
        start, end = shared_time(pair, candidate.delay_s, candidate.drift)
        length = end - start
        if length < 1.0:
            return replace(candidate, height=0.0)
        n = int(np.clip(length / window_s, 3, 32))
        middle = start + length * (np.arange(n) + 0.5) / n
        moments = piece_middles(middle, min(window_s, length / n))
        weight = window_weights(pair, middle, min(window_s, length / n))
        spectra = window_spectra(pair.reference, pair.other, moments, moments + candidate.delay_at(moments))
        lines = _lines_through(pair, spectra, middle, weight, max_slope=min(0.001, _HALF_SLACK_S / length))
        candidate = _on_line(replace(candidate, n_windows=effective_number(weight)), lines)
    return candidate


def distinct(pair: Pair, candidates: list[Candidate]) -> list[Candidate]:
    """Leave out candidates that are the same place as a better one."""
    kept: list[Candidate] = []
    for one in candidates:
        middle = np.array([sum(shared_time(pair, one.delay_s, one.drift)) / 2])
        if all(abs(one.delay_at(middle) - other.delay_at(middle))[0] > APART_S for other in kept):
            kept.append(one)
    return kept


def _lines_through(
    pair: Pair, spectra: Spectra, time_s: Times, weight: Times, *, max_slope: float
) -> tuple[Line, Line]:
    lags = correlation(spectra, pair.rate, reach_s=REACH_S)
    heights = envelope(lags, round(BIN_S * pair.rate))
    return find_lines(heights, time_s, weight=weight, bin_s=BIN_S, max_slope=max_slope, apart_s=BESIDE_S)


def _on_line(candidate: Candidate, lines: tuple[Line, Line]) -> Candidate:
    """Return the candidate on the line that its windows found, with the next best one beside it."""
    best, near = (
        replace(
            candidate,
            delay_s=candidate.delay_s + line.offset_s - line.slope * line.middle_s,
            drift=candidate.drift + line.slope,
            height=line.height - CHANCE_HEIGHT,
            near=None,
        )
        for line in lines
    )
    return replace(best, near=near)
