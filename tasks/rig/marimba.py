"""The marimba in a camera's picture: bars of wood on two rails, pipes below, and the blur of a bar that swings."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.instruments.marimba import Bar, row_corners
from tasks.rig.camera import Camera
from tasks.rig.scene import Layer, floor_layer, window_of

_DOTS_PER_CM = 10.0
_MARGIN_CM = 9.0
_NODE = 0.224  # of a free bar's length: there it is hung up, for there it does not swing
_FLOOR_CM = -88.0
_PIPES_CM = tuple(range(-26, -5, 2))  # heights at which a pipe's ring is drawn
_RAIL_CM = -3.2
_SIDES_CM = (-2.0, -1.4, -0.8, -0.3)  # of a bar, two centimetres thick
_SWING_PIXELS = 1.3  # width of the blur of a bar that was struck as hard as can be


def marimba_layers(bars: Sequence[Bar], seed: int) -> list[Layer]:
    """Return the instrument at rest, from the floor up; the seed decides the grain of the wood alone.

    The last layer is the bars' upper faces.
    """
    rng = np.random.default_rng(seed)
    corners = row_corners(bars)
    low, high = corners.min(axis=0) - _MARGIN_CM, corners.max(axis=0) + _MARGIN_CM
    size = tuple(int(n) for n in np.ceil((high - low) * _DOTS_PER_CM))
    corner = (float(low[0]), float(low[1]))

    def sheet(height_cm: float, paint: NDArray[np.float32], cover: NDArray[np.uint8], gloss: float = 0.0) -> Layer:
        return Layer(
            paint=paint,
            cover=cover,
            corner_cm=corner,
            dots_per_cm=_DOTS_PER_CM,
            height_cm=height_cm,
            gloss=gloss,
        )

    def blank() -> NDArray[np.uint8]:
        return np.zeros(size[::-1], np.uint8)

    layers = [floor_layer(seed, height_cm=_FLOOR_CM, luma=98.0)]
    for height_cm in _PIPES_CM:
        cover, paint = blank(), np.full(size[::-1], 126.0 + 2.5 * height_cm, np.float32)
        for bar in bars:
            middle = _dots([[bar.x_cm, 0.0]], corner)[0]
            radius = round(bar.width_cm * 0.44 * _DOTS_PER_CM)
            cv2.circle(cover, middle, radius, 255, -1, cv2.LINE_AA)
            if height_cm == _PIPES_CM[-1]:
                cv2.circle(paint, middle, radius - 4, 26.0, -1)  # its mouth is visible
        layers.append(sheet(height_cm, paint, cover))
    cover, paint = blank(), np.full(size[::-1], 84.0, np.float32)
    for side in (-1, 1):
        ends = _dots([[bar.x_cm, side * bar.length_cm * (0.5 - _NODE)] for bar in (bars[0], bars[-1])], corner)
        along = np.array(ends[1]) - ends[0]
        cv2.line(cover, _moved(ends[0], -0.04 * along), _moved(ends[1], 0.04 * along), 255, round(2.2 * _DOTS_PER_CM))
    layers.append(sheet(_RAIL_CM, paint, cover))
    faces = blank()
    for bar in bars:
        cv2.fillConvexPoly(faces, np.array(_dots(bar.corners_cm, corner)), 255, cv2.LINE_AA)
    sides = np.full(size[::-1], 74.0, np.float32)
    layers += [sheet(height_cm, sides, faces) for height_cm in _SIDES_CM]
    layers.append(sheet(0.0, _wood(bars, size, corner, rng), faces, gloss=46.0))
    return layers


def swinging_parts(
    camera: Camera, still: NDArray[np.float32], bars: Sequence[Bar]
) -> list[tuple[tuple[slice, slice], NDArray[np.float32]]]:
    """Return for each bar its window and what changes there while it swings as far as it can: its edges blur."""
    parts = []
    for bar in bars:
        outline = np.c_[bar.corners_cm, np.zeros(4)]
        window = window_of(camera, outline)
        if window is None:
            parts.append(((slice(0, 0), slice(0, 0)), np.zeros((0, 0), np.float32)))
            continue
        blurred = cv2.GaussianBlur(still, (0, 0), _SWING_PIXELS)
        inside = np.zeros(still.shape, np.uint8)
        cv2.fillConvexPoly(inside, np.rint(camera.project(outline) * 16).astype(np.int32), 255, cv2.LINE_AA, 4)
        share = inside[window].astype(np.float32) / np.float32(255)
        parts.append((window, (blurred - still)[window] * share))
    return parts


def _wood(
    bars: Sequence[Bar], size: tuple[int, ...], corner: tuple[float, float], rng: np.random.Generator
) -> NDArray[np.float32]:
    paint = np.full(size[::-1], 158.0, np.float32)
    for bar in bars:
        (left, top), _, (right, bottom), _ = _dots(bar.corners_cm, corner)
        grain = rng.normal(0, 1, (bottom - top, right - left)).astype(np.float32)
        grain = cv2.GaussianBlur(grain, (0, 0), sigmaX=1.2, sigmaY=35) * np.float32(60)
        across = np.linspace(-1, 1, right - left, dtype=np.float32)
        paint[top:bottom, left:right] = 158 + rng.normal(0, 7) + grain - 22 * np.abs(across) ** 6
        for node in (_NODE, 1 - _NODE):
            hole = ((left + right) // 2, round(top + node * (bottom - top)))
            cv2.circle(paint, hole, round(0.35 * _DOTS_PER_CM), 30.0, -1, cv2.LINE_AA)
    return paint


def _dots(points_cm: object, corner: tuple[float, float]) -> list[tuple[int, int]]:
    where = np.rint((np.asarray(points_cm, np.float64) - corner) * _DOTS_PER_CM).astype(int)
    return [(int(x), int(y)) for x, y in where]


def _moved(point: tuple[int, int], by: NDArray[np.float64]) -> tuple[int, int]:
    return round(point[0] + by[0]), round(point[1] + by[1])
