"""Small steps of delay along a map: a recorder that lost one buffer, or recorded one twice, goes on some ms beside it.

A block of some milliseconds is less than a search for places can tell apart, and windows see both sides of it at once:
the correlation of each has its peak at one of them. The path through the peaks jumps where the evidence demands it.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tasks.clock.corrections import line_correction
from tasks.clock.fit import Times
from tasks.clock.lines import envelope, find_path, robust_line
from tasks.clock.spectra import correlation, window_spectra
from tasks.clock.windows import (
    AGREES_S,
    BESIDE_S,
    BIN_S,
    JUMP_COST,
    MAX_WINDOWS,
    Pair,
    Stretch,
    correlate_along,
)

_WINDOW_S = 2.0
_MAX_BINS = 1  # of a step between two windows that is no jump: what is left of a drift
_MIN_WINDOWS = 2  # of a side of a step
_STEP_COST = 6.0  # so dear that the path does not slide from one side to the other where nothing sounds
_CHANCE_GAIN = 3.0  # standard deviations: what the best of all lags gains by chance in a window, over the root of many
_RIVALS = 0.7  # of a peak's height elsewhere: a tone has peaks a period apart
_USUAL_DRIFT = 200e-6
_SEAM_HOP_S = 0.032


@dataclass(frozen=True, kw_only=True)
class _Walk:
    """A path through the correlations of windows along a map.

    Attributes:
        time_s: (n,) middles of the windows, in the other's time.
        heights: (n, n_bins) of `envelope`; the middle bin is the map.
        path: (n,) bins.
    """

    time_s: Times
    heights: NDArray[np.float32]
    path: NDArray[np.int64]

    @property
    def lag_s(self) -> Times:
        """(n,) of the path, from the map."""
        return np.asarray((self.path - self.heights.shape[1] // 2) * BIN_S)

    @property
    def along(self) -> NDArray[np.float32]:
        """(n,) heights along the path."""
        return np.asarray(self.heights[np.arange(len(self.path)), self.path])

    @property
    def jumps(self) -> NDArray[np.int64]:
        """Windows before which the path jumps."""
        return np.flatnonzero(np.abs(np.diff(self.path)) > _MAX_BINS) + 1

    @property
    def score(self) -> float:
        """Evidence for the path."""
        return float(self.along.sum()) - JUMP_COST * len(self.jumps)


def _walk_along(pair: Pair, stretch: Stretch) -> _Walk:
    start, length = stretch.start_s, stretch.end_s - stretch.start_s
    hop_s = max(_WINDOW_S / 2, length / (2 * MAX_WINDOWS))
    count = max(1, int((length - _WINDOW_S) / hop_s) + 1)
    middle: Times = np.asarray(start + (length - (count - 1) * hop_s) / 2 + hop_s * np.arange(count), np.float64)
    near = correlate_along(pair, [stretch], middle, _WINDOW_S)
    heights = envelope(near.correlation, round(BIN_S * pair.rate))
    path = find_path(heights, max_step=_MAX_BINS, step_cost=_STEP_COST, jump_cost=JUMP_COST)
    return _Walk(time_s=middle, heights=heights, path=path)


def split_at_steps(pair: Pair, stretch: Stretch) -> list[Stretch]:
    """Return a stretch in parts that are parallel, where its windows agree with lines beside it; else as it is."""
    walk, base = _walk_along(pair, stretch), stretch
    drift = float(np.ptp(stretch.delay_s) / np.ptp(stretch.knot_s))
    if drift > _USUAL_DRIFT:  # a line across a step, from one side to the other, has a drift that no clock has
        level = replace(stretch, delay_s=np.full_like(stretch.delay_s, stretch.delay_s.mean()))
        on_level = _walk_along(pair, level)
        if on_level.score > walk.score:
            walk, base = on_level, level
    sides = _sides(walk)
    if len(sides) < 2:
        return [stretch]
    rows = np.concatenate(sides)
    model = line_correction(walk.time_s[rows], np.repeat(np.arange(len(sides)), [len(side) for side in sides]))
    values = robust_line(
        walk.lag_s[rows],
        np.square(walk.along[rows], dtype=np.float64),
        model.basis,
        tolerance_s=2 * BESIDE_S,
        prior=model.prior,
    )
    lines = [model.applied(base, number, values) for number in range(len(sides))]
    edges = [stretch.start_s]
    for number in range(1, len(sides)):
        first, last = walk.time_s[sides[number - 1][-1]], walk.time_s[sides[number][0]]
        edges.append(find_seam(pair, lines[number - 1], lines[number], first - _WINDOW_S / 4, last + _WINDOW_S / 4))
    edges.append(stretch.end_s)
    edges = list(np.maximum.accumulate(edges))
    return [
        replace(line, start_s=float(first), end_s=float(last))
        for line, first, last in zip(lines, edges[:-1], edges[1:], strict=True)
        if last > first
    ]


def _sides(walk: _Walk) -> list[NDArray[np.int64]]:
    """Return the windows of each side of a step, in order, without sides that are poor evidence of one."""
    sides = np.split(np.arange(len(walk.path)), walk.jumps)
    while len(sides) > 1:
        gains = [_gain(walk, sides, number) for number in range(len(sides))]
        worst = int(np.argmin(gains))
        if gains[worst] >= 0:
            break
        del sides[worst]
        # What was left out between two sides may have parted one.
        joined = sides[:1]
        for side in sides[1:]:
            if abs(walk.path[side[0]] - walk.path[joined[-1][-1]]) <= _MAX_BINS:
                joined[-1] = np.concatenate([joined[-1], side])
            else:
                joined.append(side)
        sides = joined
    return sides


def _gain(walk: _Walk, sides: list[NDArray[np.int64]], number: int) -> float:
    """Return by how much more than chance a side's windows gain over its neighbours' lines; negative if they do not."""
    rows = sides[number]
    own = float(walk.along[rows].sum())
    least = JUMP_COST + _CHANCE_GAIN * float(np.sqrt(len(rows)))
    if len(rows) < _MIN_WINDOWS:
        return -least
    slack = round(AGREES_S / BIN_S)
    gains = []
    for neighbour, edge in ((number - 1, -1), (number + 1, 0)):
        if 0 <= neighbour < len(sides):
            column = int(walk.path[sides[neighbour][edge]])
            there = walk.heights[rows, max(column - slack, 0) : column + slack + 1].max(axis=1)
            gains.append(own - float(there.sum()) if there.sum() < _RIVALS * own else 0.0)
    return min(gains) - least


def find_seam(pair: Pair, before: Stretch, after: Stretch, first_s: float, last_s: float) -> float:
    """Return the moment between two at which the sound changes from one map to the next."""
    moment = np.arange(first_s, last_s, _SEAM_HOP_S)
    sides = []
    for one in (before, after):
        spectra = window_spectra(pair.reference, pair.other, moment[:, None], (moment + one.delay_at(moment))[:, None])
        slack = round(AGREES_S * pair.rate)
        sides.append(np.abs(correlation(spectra, pair.rate, reach_s=slack / pair.rate)).max(axis=1))
    gain = np.cumsum(np.append(0.0, sides[0] - sides[1]))
    return float(first_s + int(np.argmax(gain)) * _SEAM_HOP_S - _SEAM_HOP_S / 2)
