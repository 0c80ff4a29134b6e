"""Find a keyboard in a picture without hands."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tasks.keyboards.edges import Edges, edges_of, front_luma
from tasks.keyboards.follow import Row, follow
from tasks.keyboards.layout import OCTAVE_WHITES, black_u, keys_between
from tasks.keyboards.pattern import Match, best_matches, turned
from tasks.keyboards.place import Place, fitted

_ANGLES = ((0.0,), (-6.0, 6.0, -12.0, 12.0))  # degrees: those of the second group where the first shows none
_SURE = 0.85  # a score that ends the search
_N_MATCHES = 6  # that are followed
_FAINT = 0.5  # of the most contrast: a keyboard of less is its reflection, or a picture of one
_LEVEL = 0.015  # slope of a row of keys, above which the picture is turned again
_FLIP_U = 3.0  # an octave mirrored about its D is itself: u becomes 3 - u
_BLACK_OF_88 = 36
_LOST_OF_88 = 2  # black keys at its ends that may not be found
_LOWEST_OF_88, _LOWEST_OF_88_MIRRORED = 4, 2  # A# and F#, in an octave of five black keys
_LEAST_WHITE = 0.5  # how bright a white key's front is, from the black keys' luma to the white ones'


@dataclass(frozen=True, kw_only=True)
class Found:
    """A keyboard that was found.

    Attributes:
        place: in the picture.
        score: of the pattern of its black keys.
        contrast: of its keys, in luma.
    """

    place: Place
    score: float
    contrast: float


def find_keyboards(picture: NDArray[np.float32], *, min_score: float) -> tuple[list[Found], float]:
    """Find the keyboards of a picture, the clearest first.

    Args:
        picture: luma (height, width), without hands as far as may be.
        min_score: that the pattern of two octaves of black keys has at least.

    Returns:
        The keyboards, and the best score of any place, found or not.
    """
    best = 0.0
    found: list[Found] = []
    for angles in _ANGLES:
        matches = best_matches(picture, angles, count=_N_MATCHES)
        best = max([best, *(match.score for match in matches)])
        placed = (_placed(picture, match) for match in matches if match.score >= min_score)
        found += [keyboard for keyboard in placed if keyboard is not None]
        if any(keyboard.score >= _SURE for keyboard in found):
            break
    return _apart(found), best


def _apart(found: list[Found]) -> list[Found]:
    """Return keyboards at different places, the clearest and largest first; without reflections."""
    ranked = sorted(found, key=lambda one: -one.contrast * one.score * len(one.place.keys.pitches))
    kept: list[Found] = []
    for one in ranked:
        if kept and one.contrast < _FAINT * kept[0].contrast:
            continue
        low, high = one.place.corners.min(axis=0), one.place.corners.max(axis=0)
        middle = (low + high) / 2
        if not any(
            (other.place.corners.min(axis=0) <= middle).all() and (middle <= other.place.corners.max(axis=0)).all()
            for other in kept
        ):
            kept.append(one)
    return kept


def _placed(picture: NDArray[np.float32], match: Match) -> Found | None:
    """Return the keyboard around a match; None where its black keys are not those of one, or no white fronts."""
    level, back = turned(picture, match.angle)
    row = follow(level, match)
    if row is not None and abs(slope := float(np.polyfit(row.x, row.y, 1)[0])) > _LEVEL:
        match, level, back = _levelled(picture, match, back, slope)
        row = follow(level, match)
    edges = None if row is None else edges_of(level, row)
    if row is None or edges is None:
        return None
    numbers = row.numbers if edges.front_at_bottom else 1 - row.numbers[::-1]
    lowest, mirrored, is_whole = _of_88(numbers)
    if mirrored:
        numbers = 1 - numbers[::-1]
    flipped = edges.front_at_bottom == mirrored  # the player's low keys are to the picture's right
    if is_whole:
        first = round(float(black_u(lowest))) - 1
        last = first + 51
    else:
        first, last = _whites(level, row, edges, numbers, flipped=flipped)
    keys = keys_between(first, last)
    u, v = (part.ravel() for part in np.meshgrid(np.linspace(first, last + 1, 40), np.linspace(0, 1, 5)))
    along = _FLIP_U - u if flipped else u  # in the picture, from the match's C
    far, near = np.polyval(edges.far, along), np.polyval(edges.near, along)
    y = far + v * (near - far)
    pixels = np.stack([edges.x_at(along, y), y], axis=-1) @ back[:, :2].T + back[:, 2]
    x_terms, y_terms = fitted(u - first, v, pixels)
    front = np.polyval(edges.front, along)
    place = Place(
        keys=keys,
        x=x_terms,
        y=y_terms,
        black_share=float(np.median((front - far) / (near - far))),
        black_shift=_black_shift(edges, row, first, flipped=flipped),
        upside_down=not edges.front_at_bottom,
        mirrored=mirrored,
    )
    return Found(place=place, score=match.score, contrast=row.bright - row.dark)


def _levelled(
    picture: NDArray[np.float32], match: Match, back: NDArray[np.float64], slope: float
) -> tuple[Match, NDArray[np.float32], NDArray[np.float64]]:
    """Return a match, the picture and the way back from it, turned so that a row of this slope lies level."""
    angle = match.angle + float(np.degrees(np.arctan(slope)))
    level, new_back = turned(picture, angle)
    middle_u = _FLIP_U + OCTAVE_WHITES  # of the pattern
    old = np.array([match.x + middle_u * match.white, match.y])
    x, y = np.linalg.solve(new_back[:, :2], back[:, :2] @ old + back[:, 2] - new_back[:, 2])
    return replace(match, angle=angle, x=float(x) - middle_u * match.white, y=float(y)), level, new_back


def _of_88(numbers: NDArray[np.intp]) -> tuple[int, bool, bool]:
    """Return the lowest black key of 88, whether they are mirrored, and whether these numbers are those of 88 keys."""
    first, last = int(numbers[0]), int(numbers[-1])
    n_lost = _BLACK_OF_88 - (last - first + 1)
    if not 0 <= n_lost <= _LOST_OF_88:
        return first, False, False
    for mirrored, wanted in ((False, _LOWEST_OF_88), (True, _LOWEST_OF_88_MIRRORED)):
        for lowest in range(first - n_lost, first + 1):
            if lowest % 5 == wanted:
                # Mirrored back, the highest becomes the lowest.
                return (1 - (lowest + _BLACK_OF_88 - 1) if mirrored else lowest), mirrored, True
    return first, False, False


def _whites(
    level: NDArray[np.float32], row: Row, edges: Edges, numbers: NDArray[np.intp], *, flipped: bool
) -> tuple[int, int]:
    """Return the lowest and the highest white key of a part of a keyboard, counted from a C.

    Beside the outermost black keys' own white keys there may be one more, where no black key parts them.
    """
    first, last = round(float(black_u(numbers[0]))) - 1, round(float(black_u(numbers[-1])))

    def is_white(number: int) -> bool:
        in_picture = 2 - number if flipped else number
        share = (front_luma(level, edges, in_picture) - row.dark) / (row.bright - row.dark)
        return bool(share > _LEAST_WHITE)

    if first % OCTAVE_WHITES in (0, 3) and is_white(first - 1):
        first -= 1
    if last % OCTAVE_WHITES in (2, 6) and is_white(last + 1):
        last += 1
    return first, last


def _black_shift(edges: Edges, row: Row, first: int, *, flipped: bool) -> tuple[float, float, float]:
    """Return how far black keys are seen beside their places in the plan, as `Place` has it."""
    centres = black_u(row.numbers)
    planned = edges.x_at(centres, np.asarray(np.polyval(edges.middle, centres), np.float64))
    beside = (np.polyval(edges.black_x, centres) - planned) / row.white
    u = (_FLIP_U - centres if flipped else centres) - first
    start, slope, bend = np.polynomial.polynomial.polyfit(u, -beside if flipped else beside, 2)
    return float(start), float(slope), float(bend)
