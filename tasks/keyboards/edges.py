"""The edges of a keyboard that was followed: far ends, black keys' fronts, white keys' fronts, lines between keys."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.keyboards.follow import Bars, Row, rising, straight_line, x_order
from tasks.keyboards.layout import BLACK_KEY_WIDTH, BLACK_SHARE, OCTAVE_WHITES, black_u

_LENGTHS = (1.8, 6.8)  # white keys: that the black keys' length may be
_FRONTS = (0.35, 1.1)  # the white keys' length before the black ones, as a share of the black keys' length
_FRONT_SHARE = (1 - BLACK_SHARE) / BLACK_SHARE  # the same on a real piano
_LEAST_FRONT = 0.55  # how bright white fronts are at least, from the black keys' luma to the white ones'
_MORE_FRONT = 0.15  # by which they are brighter than what lies beyond the black keys' other ends
_LEAST_LIP = 0.3  # how bright the white keys' front edge is, which is in their shade
_PER_WHITE = 16  # columns of the strip in which the lines between white keys are searched
_LEAST_LINES = 0.4  # of the lines between white keys have to be seen for them to count
_LEAST_LINE = 0.03  # how much darker such a line is, from the black keys' luma to the white ones'

Line = NDArray[np.float64]
"""Coefficients of a polynomial, highest power first, of pixels over u."""


@dataclass(frozen=True, kw_only=True)
class Edges:
    """The edges of a keyboard in a turned picture; u counts white keys along it from the match's C.

    Attributes:
        front_at_bottom: white fronts lie below the black keys in the picture.
        far: y of the keys' far ends.
        front: y of the black keys' front.
        near: y of the white keys' front.
        lean: pixels that lines along the keys move in x a pixel in y.
        black_x: x of the black keys' middles, at ``middle``.
        middle: y of the middle of the black keys.
        white_x: x of the lines between white keys, at the middle of their fronts.
    """

    front_at_bottom: bool
    far: Line
    front: Line
    near: Line
    lean: Line
    black_x: Line
    middle: Line
    white_x: Line

    @property
    def fronts(self) -> Line:
        """Y of the middle of the white keys' fronts."""
        return np.polyadd(self.front, self.near) / 2

    def x_at(self, u: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return x in the plane of the white keys."""
        at: NDArray[np.float64] = np.polyval(self.white_x, u) + np.polyval(self.lean, u) * (
            y - np.polyval(self.fronts, u)
        )
        return at


def edges_of(level: NDArray[np.float32], row: Row) -> Edges | None:
    """Measure the edges of a keyboard; None where no white fronts lie beside the black keys.

    Args:
        level: luma of the turned picture.
        row: its black keys.
    """
    at_bottom = _front_at_bottom(level, row)
    if at_bottom is None:
        return None
    if not at_bottom:  # measured with the fronts below
        height = level.shape[0]
        flipped = Row(
            numbers=row.numbers,
            x=row.x,
            y=height - 1 - row.y,
            top=height - 1 - row.bottom,
            bottom=height - 1 - row.top,
            white=row.white,
            dark=row.dark,
            bright=row.bright,
        )
        edges = _measured(level[::-1], flipped)
        return None if edges is None else _turned_over(edges, height)
    return _measured(level, row)


def front_luma(level: NDArray[np.float32], edges: Edges, white: int) -> float:
    """Return the luma of a white key's front, by its number from the match's C; NaN outside of the picture."""
    u, across = (part.ravel() for part in np.meshgrid(white + np.linspace(0.15, 0.85, 9), np.linspace(0.2, 0.8, 9)))
    front, near = np.polyval(edges.front, u), np.polyval(edges.near, u)
    y = front + across * (near - front)
    x = edges.x_at(u, y)
    inside = (x >= 0) & (x <= level.shape[1] - 1) & (y >= 0) & (y <= level.shape[0] - 1)
    if not inside.all():
        return float("nan")
    return float(np.median(level[np.rint(y).astype(int), np.rint(x).astype(int)]))


def _front_at_bottom(level: NDArray[np.float32], row: Row) -> bool | None:
    """Say on which side of the black keys the white fronts are; None where they are on neither."""
    shares = []
    for ends, sign in ((row.bottom, 1), (row.top, -1)):
        seen = np.isfinite(ends)
        if seen.sum() < 0.5 * len(ends):
            shares.append(-1.0)
            continue
        line, _ = straight_line(black_u(row.numbers[seen]), ends[seen])
        u = black_u(row.numbers)
        beyond = []
        for away in (0.4, 0.8, 1.2):
            y = np.polyval(line, u) + sign * away * row.white
            inside = (y >= 0) & (y < level.shape[0])
            beyond += level[y[inside].astype(int), row.x[inside].astype(int)].tolist()
        share = (float(np.median(beyond)) - row.dark) / (row.bright - row.dark) if beyond else -1.0
        shares.append(min(share, 1.0))
    bottom, top = shares
    if max(bottom, top) < _LEAST_FRONT:
        return None
    if abs(bottom - top) >= _MORE_FRONT:
        return bottom > top
    return _lines_beyond(level, row, 1) >= _lines_beyond(level, row, -1)


def _lines_beyond(level: NDArray[np.float32], row: Row, sign: int) -> float:
    """Return how clearly there are lines between white keys beyond the black keys' ends on one side."""
    ends = row.bottom if sign > 0 else row.top
    seen = np.isfinite(ends)
    line, _ = straight_line(black_u(row.numbers[seen]), ends[seen])
    x_line = np.polyfit(black_u(row.numbers), row.x, 2)
    u = np.arange(np.ceil(float(black_u(row.numbers[0]))), float(black_u(row.numbers[-1])))
    differences = []
    for away in (0.6, 1.0):
        y = (np.polyval(line, u) + sign * away * row.white).clip(0, level.shape[0] - 1).astype(int)
        at = [np.polyval(x_line, u + step).clip(0, level.shape[1] - 1).astype(int) for step in (-0.4, 0.0, 0.4)]
        left, middle, right = (level[y, x] for x in at)
        differences.append((left + right) / 2 - middle)
    return float(np.median(differences))


def _measured(level: NDArray[np.float32], row: Row) -> Edges | None:
    """Measure edges with the white fronts below the black keys."""
    u, white = black_u(row.numbers), row.white
    edge = (row.dark + row.bright) / 2
    lip = row.dark + _LEAST_LIP * (row.bright - row.dark)
    seen = np.isfinite(row.bottom)
    front = _smooth(u[seen], row.bottom[seen])
    x_line = np.polyfit(u, row.x, x_order(len(u)))
    y_line = _smooth(u, row.y)
    lean = _lean(level, row, front)
    whites = np.arange(round(float(u[0])) - 1, round(float(u[-1])) + 1)
    lanes = np.array([_lane(int(number)) for number in whites])
    tops = []
    for lane in lanes:
        start = float(np.polyval(front, lane)) - 0.8 * white
        x = float(np.polyval(x_line, lane) + np.polyval(lean, lane) * (start - np.polyval(y_line, lane)))
        tops.append(_falls(level, x, start, -1, white, edge, float(np.polyval(lean, lane))))
    far = _far(u, row.top, lanes, np.array(tops), front, white)
    middles = np.asarray(whites + 0.5, np.float64)
    bottoms = []
    for middle in middles:
        start = float(np.polyval(front, middle)) + 0.4 * white
        slope = float(np.polyval(lean, middle))
        x = float(np.polyval(x_line, middle) + slope * (start - np.polyval(y_line, middle)))
        bottoms.append(_falls(level, x, start, 1, white, lip, slope))
    near = _near(middles, np.array(bottoms), front, far)
    middle_line = np.polyadd(far, front) / 2
    moved = np.polyval(x_line, u) + np.polyval(lean, u) * (np.polyval(middle_line, u) - np.polyval(y_line, u))
    black_x = np.polyfit(u, moved, x_order(len(u)))
    fronts = np.polyadd(front, near) / 2
    expected = np.polyval(black_x, u) + np.polyval(lean, u) * (np.polyval(fronts, u) - np.polyval(middle_line, u))
    white_x = _white_lines(level, np.polyfit(u, expected, x_order(len(u))), fronts, lean, row, whites)
    return Edges(
        front_at_bottom=True,
        far=far,
        front=front,
        near=near,
        lean=lean,
        black_x=black_x,
        middle=middle_line,
        white_x=white_x,
    )


def _turned_over(edges: Edges, height: int) -> Edges:
    """Return edges that were measured in a picture turned over, as they lie in the picture itself."""

    def over(line: Line) -> Line:
        return np.asarray(np.polysub([height - 1.0], line), np.float64)

    return Edges(
        front_at_bottom=False,
        far=over(edges.far),
        front=over(edges.front),
        near=over(edges.near),
        lean=-edges.lean,
        black_x=edges.black_x,
        middle=over(edges.middle),
        white_x=edges.white_x,
    )


def _smooth(u: NDArray[np.float64], y: NDArray[np.float64]) -> Line:
    """Return the line through most points: straight, or a parabola where there are many and it fits better."""
    line, away = straight_line(u, y)
    keep = np.abs(np.polyval(line, u) - y) <= max(1.0, 4 * away)
    if keep.sum() >= 20:
        return np.asarray(np.polyfit(u[keep], y[keep], 2), np.float64)
    return np.asarray(np.polyfit(u[keep], y[keep], 1), np.float64) if keep.sum() >= 4 else line


def _lean(level: NDArray[np.float32], row: Row, front: Line) -> Line:
    """Return how lines along the keys lean, from the black keys' middles in two rows."""
    bars = Bars(level, least_depth=0.4 * (row.bright - row.dark))
    at, leans = [], []
    for number, x in zip(row.numbers, row.x, strict=True):
        u = float(black_u(number))
        y = float(np.polyval(front, u))
        pair = [bars.at(float(x), y - away * row.white, row.white) for away in (0.7, 2.5)]
        first, second = pair
        if first is not None and second is not None:
            at.append(u)
            leans.append((first.x - second.x) / (first.y - second.y))
    if len(at) < 6:
        return np.zeros(2)
    line, _ = straight_line(np.array(at), np.array(leans))
    return line


def _lane(white: int) -> float:
    """Return the middle of what is seen of a white key between the black ones, in white keys from the match's C."""
    octave, step = divmod(white, OCTAVE_WHITES)
    number = octave * 5 + (0, 0, 1, 2, 2, 3, 4)[step]  # the first black key that begins at or after this white key
    left, right = float(black_u(number - 1)) + BLACK_KEY_WIDTH / 2, float(black_u(number)) - BLACK_KEY_WIDTH / 2
    if step in (0, 1, 3, 4, 5):  # C, D, F, G, A: the next black key stands at their right
        right = float(black_u(octave * 5 + {0: 0, 1: 1, 3: 2, 4: 3, 5: 4}[step])) - BLACK_KEY_WIDTH / 2
    else:
        right = white + 1.0
    left = white + 0.0
    if step in (1, 2, 4, 5, 6):
        left = float(black_u(octave * 5 + {1: 0, 2: 1, 4: 2, 5: 3, 6: 4}[step])) + BLACK_KEY_WIDTH / 2
    return (left + right) / 2


def _falls(level: NDArray[np.float32], x: float, y: float, step: int, white: float, edge: float, lean: float) -> float:
    """Return the row at which the light at (x, y) falls below ``edge``, going up or down; NaN where it does not.

    Keys that reach the picture's lower edge end there.
    """
    rows = round(y) + step * np.arange(round(_LENGTHS[1] * white))
    columns = np.rint(x + lean * (rows - y)).astype(int)
    inside = (rows >= 0) & (rows < level.shape[0]) & (columns >= 1) & (columns < level.shape[1] - 1)
    n_inside = len(inside) if inside.all() else int(inside.argmin())
    if n_inside < 3:
        return float("nan")
    part = level[rows[:n_inside], columns[:n_inside]]
    if part[0] < edge:
        return float("nan")
    at = rising(-part, 0, 1, -edge)
    if at is not None:
        return float(rows[0] + step * at)
    ended = step > 0 and n_inside < len(rows) and rows[n_inside] >= level.shape[0]
    return level.shape[0] - 0.5 if ended else float("nan")


def _far(
    u: NDArray[np.float64],
    black_top: NDArray[np.float64],
    lanes: NDArray[np.float64],
    white_top: NDArray[np.float64],
    front: Line,
    white: float,
) -> Line:
    """Return y of the keys' far ends: where white ends between the black keys, or the black keys do."""
    best: tuple[float, Line] | None = None
    for at, y in ((lanes, white_top), (u, black_top)):
        length = (np.polyval(front, at) - y) / white
        seen = np.isfinite(y) & (length > _LENGTHS[0]) & (length < _LENGTHS[1])
        if seen.sum() < 0.4 * len(y) or seen.sum() < 5:
            continue
        _, away = straight_line(at[seen], y[seen])
        if best is None or away < 0.7 * best[0]:
            best = away, _smooth(at[seen], y[seen])
    if best is None:
        return np.asarray(np.polysub(front, [4.0 * white]), np.float64)
    return best[1]


def _near(u: NDArray[np.float64], y: NDArray[np.float64], front: Line, far: Line) -> Line:
    """Return y of the white keys' front; where it is not seen, as far from the black ones' as on a real piano."""
    length = np.polyval(front, u) - np.polyval(far, u)
    share = (y - np.polyval(front, u)) / length
    seen = np.isfinite(y) & (share > _FRONTS[0]) & (share < _FRONTS[1])
    if seen.sum() >= max(5, 0.35 * len(y)):
        _, away = straight_line(u[seen], y[seen])
        if away < 0.06 * float(np.median(length)):
            return _smooth(u[seen], y[seen])
    return np.asarray(np.polyadd(front, np.polysub(front, far) * _FRONT_SHARE), np.float64)


def _white_lines(
    level: NDArray[np.float32], expected: Line, fronts: Line, lean: Line, row: Row, whites: NDArray[np.intp]
) -> Line:
    """Return x of the lines between white keys at the middle of their fronts; where few are seen, as expected."""
    u = whites[0] + (np.arange(len(whites) * _PER_WHITE) + 0.5) / _PER_WHITE
    y = np.polyval(fronts, u)
    rows = np.linspace(-0.35, 0.35, 9)[:, None] * row.white
    at_x = np.polyval(expected, u) + np.polyval(lean, u) * rows
    strip = cv2.remap(
        level, at_x.astype(np.float32), (y + rows).astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    profile = np.median(strip, axis=0)
    seen_u, seen_x = [], []
    for number in whites[1:]:
        middle = (number - whites[0]) * _PER_WHITE
        part = profile[middle - 5 : middle + 5]
        lowest = int(part.argmin())
        around = np.median(profile[max(0, middle - 10) : middle + 10])
        if 0 < lowest < len(part) - 1 and around - part[lowest] > _LEAST_LINE * (row.bright - row.dark):
            before, here, after = part[lowest - 1 : lowest + 2].astype(float)
            bend = before - 2 * here + after
            fine = lowest + (0.5 * (before - after) / bend if bend > 0 else 0.0)
            seen_u.append(float(number))
            seen_x.append(float(np.polyval(expected, whites[0] + (middle - 5 + fine + 0.5) / _PER_WHITE)))
    if len(seen_u) < max(6, _LEAST_LINES * len(whites)):
        return expected
    found_u, found_x = np.array(seen_u), np.array(seen_x)
    away = found_x - np.polyval(expected, found_u)
    keep = np.abs(away - np.median(away)) < 0.25 * row.white
    order = x_order(int(keep.sum()))
    for _ in range(2):
        line = np.polyfit(found_u[keep], found_x[keep], order)
        beside = np.abs(np.polyval(line, found_u) - found_x)
        keep = beside < max(0.06 * row.white, 2.5 * float(np.median(beside[keep])))
    return np.asarray(np.polyfit(found_u[keep], found_x[keep], order), np.float64)
