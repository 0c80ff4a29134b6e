"""The pattern of black keys in a picture: how well each row, scale and phase shows two octaves of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.keyboards.layout import BLACK_KEY_WIDTH, OCTAVE_WHITES, black_u

PATTERN_WHITES = 2 * OCTAVE_WHITES
_FROM_U = 3.0  # the pattern begins between E and F, where no black key is cut
_COARSE_WIDTH = 640  # pixels: of the picture that is searched first
_LEAST_WHITE = 3.6  # pixels a white key there: 88 keys in a third of the picture
_SCALE_STEP = 1.02
_HEIGHT = 1.2  # of the rows that are averaged, in white keys: black keys are 4 long
_LEAST_CONTRAST = 10.0  # standard deviation of the rows' luma: below it is noise


@dataclass(frozen=True, kw_only=True)
class Match:
    """A place where two octaves of black keys seem to lie.

    Attributes:
        score: normalised correlation, up to 1.
        angle: degrees that the picture is turned by, counter-clockwise, for the keys to lie level.
        x: where a C begins, in pixels of the turned picture.
        y: the row, in pixels of the turned picture.
        white: width of a white key, in pixels.
        contrast: standard deviation of the rows there, in luma.
    """

    score: float
    angle: float
    x: float
    y: float
    white: float
    contrast: float


def octaves_template(white: float) -> NDArray[np.float32]:
    """Return two octaves of black keys from F on as a line of luma, 1 for white; ``white`` pixels a white key."""
    fine = 8
    u = (np.arange(round(PATTERN_WHITES * white) * fine) + 0.5) / (white * fine) + _FROM_U
    centres = black_u(np.arange(2, 13))
    is_dark = (np.abs(u[:, None] - centres) < BLACK_KEY_WIDTH / 2).any(axis=1)
    return np.asarray(1.0 - is_dark.reshape(-1, fine).mean(axis=1), np.float32)


def turned(picture: NDArray[np.float32], angle: float) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Turn a picture about its middle, edges repeated; return it and the matrix (2, 3) from its pixels to the old."""
    height, width = picture.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    if angle == 0:
        return picture, np.asarray(matrix, np.float64)
    made = cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(made, np.float32), np.asarray(cv2.invertAffineTransform(matrix), np.float64)


def best_matches(picture: NDArray[np.float32], angles: Sequence[float], *, count: int) -> list[Match]:
    """Return the best matches of a picture (height, width), best first, in rows apart from each other.

    Args:
        picture: luma.
        angles: in degrees, that are tried.
        count: how many are wanted at most.
    """
    shrink = min(1.0, _COARSE_WIDTH / picture.shape[1])
    size = (round(picture.shape[1] * shrink), round(picture.shape[0] * shrink))
    small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.float32)
    found: list[Match] = []
    for angle in angles:
        level, _ = turned(small, angle)
        found += _of_rows(level, angle, 1 / shrink)
    found.sort(key=lambda match: -match.score)
    apart: list[Match] = []
    for match in found:
        near = (abs(match.y - other.y) < 2.5 * other.white for other in apart)
        if not any(near):
            apart.append(match)
            if len(apart) == count:
                break
    return apart


def _of_rows(level: NDArray[np.float32], angle: float, grow: float) -> list[Match]:
    """Return the best match of each row (every second one of the small picture)."""
    height, width = level.shape
    first_row = np.arange(0, height, 2)
    best = np.full(len(first_row), -1.0)
    at, scale, contrast = np.zeros(len(best)), np.zeros(len(best)), np.zeros(len(best))
    white, n_averaged, rows = _LEAST_WHITE, 0, level
    while white * PATTERN_WHITES <= width:
        if n_averaged < white * _HEIGHT / 1.3 or not n_averaged:
            n_averaged = 2 * round(white * _HEIGHT / 2) + 1
            rows = np.ascontiguousarray(cv2.blur(level, (1, n_averaged))[::2])
        template = octaves_template(white)[None]
        scores = cv2.matchTemplate(rows, template, cv2.TM_CCOEFF_NORMED)
        scores[~np.isfinite(scores)] = -1.0
        column = scores.argmax(axis=1)
        score = scores[np.arange(len(best)), column]
        for row in np.flatnonzero(score > best):
            part = rows[row, column[row] : column[row] + template.shape[1]]
            if (spread := float(part.std())) >= _LEAST_CONTRAST:
                best[row], at[row], scale[row], contrast[row] = score[row], column[row], white, spread
        white *= _SCALE_STEP
    return [
        Match(
            score=float(best[row]),
            angle=angle,
            x=(at[row] - _FROM_U * scale[row] + 0.5) * grow - 0.5,
            y=(first_row[row] + 0.5) * grow - 0.5,
            white=float(scale[row]) * grow,
            contrast=float(contrast[row]),
        )
        for row in np.flatnonzero(best > 0.3)
    ]
