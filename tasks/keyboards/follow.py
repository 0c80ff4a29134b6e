"""From a match of two octaves to all of a keyboard's black keys, and the edges of its keys.

All of it is done in a picture that is turned so that the keys lie about level.
"""

from dataclasses import astuple, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tasks.keyboards.layout import black_u
from tasks.keyboards.pattern import Match

_MOST_EVEN = 0.3  # of the gaps between E and F, and B and C, in which a dark bar may lie
_MISSES = 3  # black keys after each other that are not found: the keyboard has ended
_LEAST_DEPTH = 0.4  # of a black key's contrast, as a share of the match's
_AWAY = 0.3  # white keys by which a black key may lie beside where it is expected
_WIDTHS = (0.28, 1.05)  # of a black key with the side that is seen of it, in white keys
_LONGEST = 7.0  # white keys: that a black key's length can be, seen from straight above 4


@dataclass(frozen=True, kw_only=True)
class Row:
    """A keyboard in a turned picture.

    Attributes:
        numbers: of the black keys found, counted from the C# at u 0, ascending.
        x: their middles in pixels, (keys,), at ``y``.
        y: where those were measured.
        top: where their dark begins towards the picture's top, in pixels; NaN where it has no end.
        bottom: where it ends towards the picture's bottom.
        white: width of a white key, in pixels, in the middle.
        dark: luma of the black keys.
        bright: luma of the white keys between them.
    """

    numbers: NDArray[np.intp]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    top: NDArray[np.float64]
    bottom: NDArray[np.float64]
    white: float
    dark: float
    bright: float


def follow(level: NDArray[np.float32], match: Match) -> Row | None:
    """Follow the black keys from a match outwards to both ends; None where they are not black keys.

    Args:
        level: luma, turned by the match's angle.
        match: where two octaves were found.
    """
    white = match.white
    first = 2  # F#, where the pattern begins
    bars = Bars(level, least_depth=_LEAST_DEPTH * 2 * match.contrast)
    found: dict[int, Bar] = {}
    for number in range(first, first + 11):
        expected = match.x + white * float(black_u(number))
        if (bar := bars.at(expected, match.y, white)) is not None:
            found[number] = bar
    if len(found) < 7:
        return None
    side = _steadier(found)
    for number in list(found):  # a keyboard that is not quite level: again, on its own line
        x, y, slope = _predicted(number, sorted(found, key=lambda known: abs(known - number))[:11], found, side)
        if (bar := bars.at(x, y, slope)) is not None:
            found[number] = bar
    for step in (-1, 1):
        number, misses = (min(found) if step < 0 else max(found)) + step, 0
        while misses < _MISSES:
            near = sorted(found, key=lambda known: abs(known - number))[:12]
            x, y, slope = _predicted(number, near, found, side)
            bar = bars.at(x, y, slope) if 0 <= x < level.shape[1] and slope > 2 else None
            if bar is None:
                misses += 1
            else:
                found[number], misses = bar, 0
            number += step
    numbers = np.array(sorted(found))
    x, y, top, bottom = np.array([astuple(found[number]) for number in numbers]).T
    keep = _agreeing(black_u(numbers), x, white)
    numbers, x, y, top, bottom = numbers[keep], x[keep], y[keep], top[keep], bottom[keep]
    if len(numbers) < 8 or len(numbers) < 0.8 * (numbers[-1] - numbers[0] + 1):
        return None
    if _is_even(bars, black_u(numbers), x, y):
        return None
    values = bars.values(x, y)
    between = bars.values((x[1:] + x[:-1]) / 2, (y[1:] + y[:-1]) / 2)
    dark, bright = float(np.median(values)), float(np.median(between))
    if bright - dark < bars.least_depth:
        return None
    return Row(
        numbers=numbers,
        x=x,
        y=y,
        top=top,
        bottom=bottom,
        white=float(np.polyfit(black_u(numbers), x, 1)[0]),
        dark=dark,
        bright=bright,
    )


@dataclass(frozen=True)
class Bar:
    """A black key: its middle, the row where that was measured, and where its dark ends up and down (or NaN)."""

    x: float
    y: float
    top: float
    bottom: float


def _steadier(found: dict[int, Bar]) -> Literal["top", "bottom"]:
    """Return which ends of the black keys lie on a line."""
    best: Literal["top", "bottom"] = "bottom"
    least = np.inf
    sides: tuple[Literal["top", "bottom"], ...] = ("bottom", "top")
    for side in sides:
        ends = np.array([getattr(bar, side) for bar in found.values()])
        u = black_u(np.array(list(found)))
        is_seen = np.isfinite(ends)
        if is_seen.sum() < 0.6 * len(ends):
            continue
        _, away = straight_line(u[is_seen], ends[is_seen])
        if away < least:
            best, least = side, away
    return best


def straight_line(u: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Return the straight line (slope, start) through most points, and the median of how far they lie beside it."""
    first, second = np.triu_indices(len(u), 1)
    slope = float(np.median((y[second] - y[first]) / (u[second] - u[first]))) if len(first) else 0.0
    start = float(np.median(y - slope * u))
    return np.array([slope, start]), float(np.median(np.abs(y - slope * u - start)))


def _predicted(
    number: int, near: list[int], found: dict[int, Bar], side: Literal["top", "bottom"]
) -> tuple[float, float, float]:
    """Return x and y of a black key, and the width of a white key there, from those found near it, nearest first."""
    u = black_u(np.array(near))
    at = float(black_u(number))
    line = np.polyfit(u - at, [found[known].x for known in near], 2 if len(near) >= 8 else 1)
    x, slope = float(line[-1]), float(line[-2])
    ends = np.array([getattr(found[known], side) for known in near])
    rows = np.array([found[known].y for known in near])
    is_seen = np.isfinite(ends)
    if is_seen.sum() < 3:
        return x, float(np.median(rows)), slope
    lean, _ = straight_line(u[is_seen], ends[is_seen])
    offset = float(np.median(rows[is_seen] - ends[is_seen]))
    return x, float(np.polyval(lean, at)) + offset, slope


class Bars:
    """Dark bars in a picture: measured around where one is expected."""

    def __init__(self, level: NDArray[np.float32], *, least_depth: float) -> None:
        self._level = level
        self.least_depth = least_depth

    def at(self, x: float, y: float, white: float) -> Bar | None:
        """Return the dark bar at (x, y); None where there is none."""
        height, width = self._level.shape
        half = max(1, round(white * 0.4))
        rows = slice(max(0, round(y) - half), min(height, round(y) + half + 1))
        first, last = int(np.floor(x - 0.9 * white)), int(np.ceil(x + 0.9 * white))
        if first < 0 or last >= width or rows.stop - rows.start < 1:
            return None
        line = self._level[rows, first : last + 1].mean(axis=0)
        middle = x - first
        near = np.abs(np.arange(len(line)) - middle) <= max(1.0, _AWAY * white)
        dark = float(line[near].min())
        left, right = line[: round(middle) + 1].max(), line[round(middle) :].max()
        bright = float(min(left, right))
        if bright - dark < self.least_depth:
            return None
        edge = (dark + bright) / 2
        lowest = int(np.flatnonzero(near)[line[near].argmin()])
        begin, end = rising(line, lowest, -1, edge), rising(line, lowest, 1, edge)
        if begin is None or end is None:
            return None
        centre = (begin + end) / 2
        if not _WIDTHS[0] * white <= end - begin <= _WIDTHS[1] * white or abs(centre - middle) > _AWAY * white:
            return None
        centre += first
        top, bottom = self._ends(centre, y, white, edge)
        return Bar(centre, y, top, bottom)

    def _ends(self, x: float, y: float, white: float, edge: float) -> tuple[float, float]:
        """Return where the dark bar through (x, y) ends up and down; NaN where it does not within its length."""
        width = self._level.shape[1]
        half = max(0, round(white * 0.12))
        column = self._level[:, max(0, round(x) - half) : min(width, round(x) + half + 1)].mean(axis=1)
        ends = []
        for step in (-1, 1):
            reach = round(y) + step * round(_LONGEST * white)
            part = column[round(y) : max(reach, -1) : step] if reach >= 0 else column[round(y) :: step]
            at = rising(part, 0, 1, edge)
            ends.append(np.nan if at is None else round(y) + step * at)
        return float(ends[0]), float(ends[1])

    def values(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the luma at points."""
        height, width = self._level.shape
        rows, columns = np.rint(y).astype(int).clip(0, height - 1), np.rint(x).astype(int).clip(0, width - 1)
        return np.asarray(self._level[rows, columns])


def rising(line: NDArray[np.float32], start: int, step: int, edge: float) -> float | None:
    """Return where a line that is dark at ``start`` rises through ``edge`` along ``step``; None where it never does."""
    part = line[start::step] if step > 0 else line[start::-1]
    over = np.flatnonzero(part > edge)
    if not len(over) or over[0] == 0:
        return None
    after = int(over[0])
    low, high = float(part[after - 1]), float(part[after])
    return start + step * (after - 1 + (edge - low) / (high - low))


def _is_even(bars: Bars, u: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]) -> bool:
    """Say whether there are dark bars too where a keyboard has none, between E and F and between B and C."""
    empty = np.array([number for number in range(int(u[0]) + 1, int(u[-1]) + 1) if number % 7 in (0, 3)])
    if not len(empty):
        return False
    at_x, at_y = np.interp(empty, u, x), np.interp(empty, u, y)
    slope = float(np.polyfit(u, x, 1)[0])
    n_bars = sum(bars.at(float(a), float(b), slope) is not None for a, b in zip(at_x, at_y, strict=True))
    return n_bars > _MOST_EVEN * len(empty)


def x_order(n_keys: int) -> int:
    """Return the order of the polynomial that so many keys' places along the picture are fitted by.

    In a view from aside a white key may be twice as wide at one end as at the other.
    """
    return 1 if n_keys < 10 else 2 if n_keys < 20 else 3


def _agreeing(u: NDArray[np.float64], x: NDArray[np.float64], white: float) -> NDArray[np.bool_]:
    """Return which of the keys lie on one smooth line."""
    keep = np.ones(len(u), bool)
    for _ in range(3):
        order = x_order(int(keep.sum()))
        away = np.abs(np.polyval(np.polyfit(u[keep], x[keep], order), u) - x)
        keep = away < max(0.12 * white, 3 * float(np.median(away[keep])))
        if keep.sum() < 5:
            return keep
    return keep
