"""Shapes that move, drawn into pictures before a backdrop, with the camera's noise and tremble.

Shapes: T pictures, P points.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.rig.moves import Floats

Kind = Literal["area", "line", "disc"]

_SUBPIXELS = 4  # bits
_TREMBLE = np.hanning(9)[1:-1] / np.linalg.norm(np.hanning(9)[1:-1])  # over pictures; of spread 1


@dataclass(frozen=True, kw_only=True)
class Shape:
    """An area, a line, or a disc around its only point; later shapes hide earlier ones.

    Attributes:
        kind: of the shape.
        points: (T, P, 2) in bodies, or (P, 2) for all pictures.
        luma: in full light.
        width: of a line, or radius of a disc, in bodies.
    """

    kind: Kind
    points: Floats
    luma: float
    width: float = 0.0


class Drawing:
    """Shapes of one or more players, laid into pictures of one size.

    Args:
        figures: for each player the shapes, the place (T, 2) of their origin in pixels, the pixels of a body, and the
            share of full light.
    """

    def __init__(self, figures: Sequence[tuple[Sequence[Shape], Floats, float, float]]) -> None:
        self._strokes: list[tuple[Kind, NDArray[np.int32], int, int]] = []
        self.boxes: list[Floats] = []  # (T, 4) each: left, top, right, bottom, in pixels
        unit = 2**_SUBPIXELS
        for shapes, origin, scale, light in figures:
            low, high = np.full((len(origin), 2), np.inf), np.full((len(origin), 2), -np.inf)
            for shape in shapes:
                pixels = shape.points * scale + origin[:, None, :]
                width = shape.width * scale
                luma = int(np.clip(shape.luma * light, 0, 255))
                if shape.kind == "disc":
                    size = max(1, round(width * unit))
                elif shape.kind == "line":
                    size = max(1, round(width))
                else:
                    size = 0
                self._strokes.append((shape.kind, np.rint(pixels * unit).astype(np.int32), luma, size))
                reach = width if shape.kind == "disc" else (size + 1) / 2
                low, high = np.minimum(low, pixels.min(axis=1) - reach), np.maximum(high, pixels.max(axis=1) + reach)
            self.boxes.append(np.concatenate([low, high], axis=1))

    def draw(self, picture: NDArray[np.uint8], number: int) -> None:
        """Lay the players of one moment over a picture (height, width)."""
        for kind, points, luma, size in self._strokes:
            now = points[number]
            if kind == "area":
                cv2.fillPoly(picture, [now], (luma,), cv2.LINE_AA, _SUBPIXELS)
            elif kind == "line":
                cv2.polylines(picture, [now], False, (luma,), size, cv2.LINE_AA, _SUBPIXELS)
            else:
                cv2.circle(picture, now[0].tolist(), size, (luma,), -1, cv2.LINE_AA, _SUBPIXELS)


def pictures_of(
    drawing: Drawing,
    background: NDArray[np.uint8],
    n_pictures: int,
    *,
    noise: float,
    jitter: float,
    seed: int,
) -> Iterator[NDArray[np.uint8]]:
    """Yield the pictures that a camera stores of players before a background (height, width), with its sensor's noise.

    Args:
        drawing: the players.
        background: the picture without them.
        n_pictures: of the drawing.
        noise: standard deviation, in luma.
        jitter: standard deviation of how far the camera moves, in pixels; it trembles slowly, as floors let it.
        seed: of both.
    """
    rng = np.random.default_rng(seed)
    height, width = background.shape
    field = (noise * rng.standard_normal((height + 31, width + 47), np.float32)).round().astype(np.int16)
    places = rng.integers(0, (31, 47), (n_pictures, 2)).tolist()
    tremble = rng.standard_normal((n_pictures + len(_TREMBLE) - 1, 2))
    away = jitter * np.stack([np.convolve(tremble[:, axis], _TREMBLE, mode="valid") for axis in (0, 1)], axis=1)
    shift = np.eye(2, 3, dtype=np.float32)
    for number, (row, column) in enumerate(places):
        picture = background.copy()
        drawing.draw(picture, number)
        if jitter:
            shift[:, 2] = away[number]
            cv2.warpAffine(picture, shift, (width, height), dst=picture, borderMode=cv2.BORDER_REPLICATE)
        grain = np.ascontiguousarray(field[row : row + height, column : column + width])
        yield np.asarray(cv2.add(picture, grain, dtype=cv2.CV_8U), np.uint8)


def backdrop(width: int, height: int, *, seed: int) -> NDArray[np.uint8]:
    """Return a room behind players: a wall that is lighter to one side, panels, a floor."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[0:height, 0:width].astype(np.float32)
    wall = rng.uniform(96, 150) + rng.uniform(-26, 26) * (column / width - 0.5) - rng.uniform(8, 30) * row / height
    panel = rng.integers(20, 60)
    wall += rng.uniform(4, 12) * ((column // panel) % 2)
    floor = height * rng.uniform(0.8, 0.9)
    wall = np.where(row > floor, wall * rng.uniform(0.55, 0.8), wall)
    wall += cv2.GaussianBlur(rng.normal(0, 30, (height, width)).astype(np.float32), (0, 0), 3)
    return np.asarray(np.clip(wall, 20, 235), np.uint8)
