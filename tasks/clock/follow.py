"""A straight map, followed through the recordings: a clock that wanders bends it, a dropped block breaks it.

Stretches whose windows disagree with the map are searched nearby, as a device may have dropped a block.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tasks.clock.candidates import Candidate, screen
from tasks.clock.corrections import MIN_CURVE_WINDOWS, curve_correction
from tasks.clock.fit import Times
from tasks.clock.lines import envelope, find_path, robust_line
from tasks.clock.onsets import FLUX_RATE, Place, find_places
from tasks.clock.steps import find_seam, split_at_steps
from tasks.clock.windows import (
    BIN_S,
    JUMP_COST,
    MAX_WINDOWS,
    PIECE_HOP_S,
    SIGNIFICANT,
    Pair,
    Stretch,
    Windows,
    are_active,
    correlate_along,
    shared_time,
    window_middles,
)

_GOOD_AGREEMENT = 0.9  # of the active windows: then the line is the answer
_EXPLAINED = 0.8  # of them: then the steps are; windows that a seam runs through agree with neither side
_BETTER = 1.02  # as high is a curve than steps, to be taken for one
_CURVE_WINDOW_S = 2.0
_MAX_BEND = 0.001  # seconds a second that a wandering clock may leave its mean drift by
_MIN_CURVED = 0.25  # of the windows leave a line that is not one
_JUMP_S = 0.005  # a path with a larger one is no curve
_MAX_DROPS = 12
_MIN_DROP_WINDOWS = 2
_MIN_DROP_EVIDENCE = 7.0
_DROP_REACH_S = 5.0  # largest sum of blocks dropped between two stretches
_MIN_DROP_S = 0.015  # what is nearer is more likely the period of a tone
_N_NEAR_PLACES = 8


def follow(pair: Pair, best: Candidate) -> tuple[list[Stretch], Windows | None]:
    """Find where the best place's line stops being right, and the map there.

    Returns:
        The map, in order of time; and the windows along it when it is still the line, None when it is not.
    """
    start, end = shared_time(pair, best.delay_s, best.drift)
    middle, window_s = window_middles(start, end)
    stretches = [_straight(best, start, end)]
    windows = correlate_along(pair, stretches, middle, window_s)
    active = are_active(pair, middle, window_s, windows.agrees) | windows.is_significant
    agreeing = (windows.agrees & active).sum()
    if agreeing == active.sum():
        return stretches, windows
    parts = split_at_steps(pair, stretches[0])
    is_line = agreeing >= _GOOD_AGREEMENT * active.sum()
    if len(parts) == 1 and is_line:
        return stretches, windows
    curved = None if is_line else _bend(pair, stretches[0])
    along = correlate_along(pair, parts, middle, window_s)
    if curved is not None:
        bent = correlate_along(pair, curved, middle, window_s)
        if len(parts) == 1 or bent.at_map.sum() > _BETTER * along.at_map.sum():
            return curved, None
    if len(parts) > 1 and (along.agrees & active).sum() >= _EXPLAINED * active.sum():
        return parts, None
    chain = _with_drops(pair, best, windows, window_s)
    return [part for one in chain for part in split_at_steps(pair, one)], None


def _straight(one: Candidate, start_s: float, end_s: float) -> Stretch:
    knots = np.array([start_s, end_s])
    return Stretch(start_s=start_s, end_s=end_s, knot_s=knots, delay_s=one.delay_at(knots))


def _bend(pair: Pair, line: Stretch) -> list[Stretch] | None:
    """Return the map along a path through the windows' peaks, when nearly all agree with one."""
    start, length = line.start_s, line.end_s - line.start_s
    hop_s = max(_CURVE_WINDOW_S / 2, length / (2 * MAX_WINDOWS))
    count = max(2, int((length - _CURVE_WINDOW_S) / hop_s) + 1)
    middle: Times = np.asarray(start + (length - (count - 1) * hop_s) / 2 + hop_s * np.arange(count), np.float64)
    delay = line
    for least in (SIGNIFICANT / 2, SIGNIFICANT):  # the second time along the path, where windows are sharper
        near = correlate_along(pair, [delay], middle, _CURVE_WINDOW_S)
        heights = envelope(near.correlation, round(BIN_S * pair.rate))
        steps = int(np.ceil(_MAX_BEND * hop_s / BIN_S)) + 1
        path = find_path(heights, max_step=steps, step_cost=1.0, jump_cost=JUMP_COST)
        if np.abs(np.diff(path)).max() * BIN_S > _JUMP_S:
            return None
        along = heights[np.arange(count), path]
        sure = along >= least
        active = are_active(pair, middle, _CURVE_WINDOW_S, sure)
        if sure.sum() < MIN_CURVE_WINDOWS or (sure & active).sum() < _GOOD_AGREEMENT * active.sum():
            return None
        leaves = np.abs(path[sure] - heights.shape[1] // 2) > 1
        if delay is line and leaves.mean() < _MIN_CURVED:
            return None  # the line is right, and some windows are outliers
        total = delay.delay_at(middle[sure]) + (path[sure] - heights.shape[1] // 2) * BIN_S
        model = curve_correction([line], middle[sure], np.zeros(int(sure.sum()), np.int64))
        values = robust_line(
            total - line.delay_at(middle[sure]),
            np.ones(int(sure.sum())),
            model.basis,
            tolerance_s=np.inf,  # the path has no outliers
            prior=model.prior * (BIN_S / 2) ** 2,
        )
        delay = model.applied(line, 0, values)
    return [delay]


def _with_drops(pair: Pair, best: Candidate, windows: Windows, window_s: float) -> list[Stretch]:
    """Search nearby, for stretches that disagree with the best line, lines parallel to it."""
    maps = [best]
    owner = np.where(windows.agrees, 0, -1)
    tried: set[tuple[int, int]] = set()
    # A window without a peak may be silent, or correlated at the wrong place: its own onsets decide.
    active = are_active(pair, windows.time_s, window_s, windows.agrees)
    for _ in range(_MAX_DROPS):
        run = _longest_run(owner < 0, active, tried)
        if run is None:
            break
        tried.add(run)
        first, last = run
        # Windows that a seam runs through belong to neither side, but their outer halves help the search.
        within = windows.time_s[first] - window_s / 2, windows.time_s[last] + window_s / 2
        found = _search_near(pair, best, within)
        if found is None:
            continue
        mine = correlate_along(pair, [_straight(found, *within)], windows.time_s[first : last + 1], window_s)
        if mine.agrees.sum() < _MIN_DROP_WINDOWS:
            continue
        maps.append(found)
        owner[first : last + 1][mine.agrees] = len(maps) - 1
    return _chain(pair, maps, owner, windows, window_s)


def _longest_run(
    lost: NDArray[np.bool_], active: NDArray[np.bool_], tried: set[tuple[int, int]]
) -> tuple[int, int] | None:
    """Return first and last window of the longest run without an owner in which enough windows are active."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], lost, [False]]).astype(np.int8)))
    runs = [(int(first), int(after) - 1) for first, after in zip(edges[::2], edges[1::2], strict=True)]
    runs = [run for run in runs if run not in tried and active[run[0] : run[1] + 1].sum() >= _MIN_DROP_WINDOWS]
    return max(runs, key=lambda run: int(active[run[0] : run[1] + 1].sum()), default=None)


def _search_near(pair: Pair, best: Candidate, within: tuple[float, float]) -> Candidate | None:
    """Look for a place of part of the recording within some seconds of where the best line has it."""
    middle = sum(within) / 2
    expected = float(best.delay_at(np.array([middle]))[0])
    first, last = (max(0, round(edge * FLUX_RATE)) for edge in within)
    low = max(0, round((within[0] + expected - _DROP_REACH_S) * FLUX_RATE))
    high = max(low, round((within[1] + expected + _DROP_REACH_S) * FLUX_RATE))
    places = find_places(
        pair.reference_flux[:, low:high],
        pair.other_flux[:, first:last],
        max_drift_ppm=1.0,
        min_overlap_s=0.5 * (within[1] - within[0]),
        n_places=_N_NEAR_PLACES,
    )
    candidates = []
    for place in places:
        delay = place.delay_s + (low - first) / FLUX_RATE  # at the middle, as the drift is none
        parallel = Place(delay_s=delay - best.drift * middle, drift_ppm=best.drift * 1e6, score=place.score)
        candidates.append(screen(pair, parallel, within))
    candidates.sort(key=lambda one: -one.evidence)
    if not candidates or candidates[0].evidence < _MIN_DROP_EVIDENCE:
        return None
    found = candidates[0]
    at = float(found.delay_at(np.array([middle]))[0])
    if abs(at - expected) < _MIN_DROP_S:
        return None
    return replace(found, drift=best.drift, delay_s=at - best.drift * middle)


def _chain(
    pair: Pair, maps: list[Candidate], owner: NDArray[np.int64], windows: Windows, window_s: float
) -> list[Stretch]:
    """Cut the shared time where the windows' owners change, each cut where the sound itself changes sides."""
    owned = np.flatnonzero(owner >= 0)
    start, end = shared_time(pair, maps[0].delay_s, maps[0].drift)
    runs = [run for run in np.split(owned, np.flatnonzero(np.diff(owner[owned])) + 1) if len(run) >= _MIN_DROP_WINDOWS]
    if not runs:
        return [_straight(maps[0], start, end)]
    chain = [runs[0]]
    for run in runs[1:]:  # what was left out between two runs may have parted one stretch
        if owner[run[0]] == owner[chain[-1][0]]:
            chain[-1] = np.append(chain[-1], run)
        else:
            chain.append(run)
    order = [maps[owner[run[0]]] for run in chain]
    edges = [shared_time(pair, order[0].delay_s, order[0].drift)[0]]
    for before, after, left, right in zip(order[:-1], order[1:], chain[:-1], chain[1:], strict=True):
        sides = _straight(before, start, end), _straight(after, start, end)
        first, last = windows.time_s[left[-1]] - window_s / 4, windows.time_s[right[0]] + window_s / 4
        edges.append(find_seam(pair, *sides, first, last))
    edges.append(shared_time(pair, order[-1].delay_s, order[-1].drift)[1])
    edges = list(np.maximum.accumulate(edges))
    return [
        _straight(one, float(first), float(last))
        for one, first, last in zip(order, edges[:-1], edges[1:], strict=True)
        if last - first > PIECE_HOP_S
    ]
