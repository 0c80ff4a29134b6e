"""The piano's keyboard in a camera's picture: keys that go down by a centimetre, and are not lit.

Space as for the marimba; the origin is the middle of the white keys' upper faces, the player sits at negative y.
"""

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.instruments.keyboard import IS_BLACK, LOWEST_PITCH, N_KEYS, WHITE_WIDTH, WIDTH, key_columns
from tasks.instruments.notes import Notes
from tasks.rig.camera import Camera
from tasks.rig.scene import Layer, Light, compose, floor_layer, window_of

KEY_CM = 2.35  # from a white key to the next one
_FRONT_CM, _REAR_CM = -7.5, 7.5
_SHARP_FRONT_CM = -2.0
_SHARP_CM = 1.1  # height over the white keys
_DIP_CM = 1.0  # of a key's front
_PIVOT_CM = 17.0  # y of the axis that keys turn about
_DOTS_PER_CM = 14.0
_WALLS_CM = (-1.2, -0.8, -0.4)  # heights at which a white key's sides are drawn
_SHARP_WALLS = (0.25, 0.5, 0.75)  # shares of a sharp's height

_NEIGHBOURS = 4  # keys on each side that may hide a part of one that is down, or be hidden

_GOES_DOWN_S = 0.03  # from the first movement to the onset, when the hammer strikes and the key is down
_COMES_UP_S = 0.06


def keyboard_corners() -> NDArray[np.float64]:
    """Return the white keys' corners (4, 2) in cm: low and near, high and near, high and far, low and far."""
    half = WIDTH / WHITE_WIDTH * KEY_CM / 2
    return np.array([[-half, _FRONT_CM], [half, _FRONT_CM], [half, _REAR_CM], [-half, _REAR_CM]])


def keyboard_layers(seed: int, *, down: int | None = None) -> list[Layer]:
    """Return the keyboard from the floor up; the seed paints the floor.

    Args:
        seed: of the floor.
        down: a key (0 to 87) that is down, with its neighbours alone around it; None is all of them, at rest.
    """
    slope = _DIP_CM / (_PIVOT_CM - _FRONT_CM)
    half = WIDTH / WHITE_WIDTH * KEY_CM / 2
    keys = range(N_KEYS) if down is None else range(max(0, down - _NEIGHBOURS), min(N_KEYS, down + _NEIGHBOURS + 1))
    columns = _key_columns_cm()
    left = float(columns[list(keys), 0].min())
    size = (
        round((columns[list(keys), 1].max() - left) * _DOTS_PER_CM),
        round((_REAR_CM - _FRONT_CM) * _DOTS_PER_CM),
    )

    def sheet(shown: Sequence[int], luma: float, height_cm: float, tilt: float = 0.0, gloss: float = 0.0) -> Layer:
        paint, cover = np.full(size[::-1], luma, np.float32), np.zeros(size[::-1], np.uint8)
        for key in shown:
            rows, across = _key_rect(key, left, size[1])
            cover[rows, across] = 255
            if tilt and not IS_BLACK[key]:
                paint[rows, across] *= _between_neighbours(across.stop - across.start)
        return Layer(
            paint=paint,
            cover=cover,
            corner_cm=(left, _FRONT_CM),
            dots_per_cm=_DOTS_PER_CM,
            height_cm=height_cm - tilt * _PIVOT_CM,
            slope=tilt,
            gloss=gloss,
        )

    up = [key for key in keys if key != down]
    whites, sharps = [key for key in up if not IS_BLACK[key]], [key for key in up if IS_BLACK[key]]
    layers = [floor_layer(seed, height_cm=-70.0, luma=98.0), _case(half, _FRONT_CM - 6, _REAR_CM + 14, -1.8, 34.0)]
    layers += [sheet(whites, 96.0, height_cm) for height_cm in _WALLS_CM]
    if down is not None and not IS_BLACK[down]:
        layers.append(sheet([down], 168.0, 0.0, slope))
    layers.append(sheet(whites, 182.0, 0.0, gloss=24.0))
    if down is not None and IS_BLACK[down]:
        layers += [sheet([down], 24.0, share * _SHARP_CM, slope) for share in _SHARP_WALLS]
        layers.append(sheet([down], 34.0, _SHARP_CM, slope))
    layers += [sheet(sharps, 24.0, share * _SHARP_CM) for share in _SHARP_WALLS]
    layers.append(sheet(sharps, 40.0, _SHARP_CM, gloss=30.0))
    layers.append(_case(half, _REAR_CM, _REAR_CM + 14, 3.0, 42.0))
    return layers


def dipping_parts(
    camera: Camera, still: NDArray[np.float32], light: Light, keys: Sequence[int], seed: int
) -> list[tuple[tuple[slice, slice], NDArray[np.float32]]]:
    """Return for each key (0 to 87) its window and what changes there when it is all the way down.

    Args:
        camera: whose picture it is.
        still: the picture at rest, composed of ``keyboard_layers`` of this seed.
        light: that shines on it.
        keys: those that move.
        seed: of the floor.
    """
    corners = key_corners()
    parts = []
    for key in keys:
        window = window_of(camera, corners[key])
        if window is None:
            parts.append(((slice(0, 0), slice(0, 0)), np.zeros((0, 0), np.float32)))
            continue
        layers = keyboard_layers(seed, down=key)
        inside = np.zeros(still.shape, np.uint8)
        hull = cv2.convexHull(np.rint(camera.project(corners[key])).astype(np.int32))
        cv2.fillConvexPoly(inside, hull, 1)
        near = np.asarray(cv2.dilate(inside, np.ones((3, 3), np.uint8)), np.uint8)
        change = (compose(camera, layers, light, window) - still[window]) * near[window]
        parts.append((window, change))
    return parts


def dips(notes: Notes, keys: Sequence[int], time_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far each key (0 to 87) is down, (T, keys): 0 is up, 1 all the way down, from its onset on."""
    dip = np.zeros((len(time_s), len(keys)))
    column = {LOWEST_PITCH + key: index for index, key in enumerate(keys)}
    for onset_s, offset_s, pitch in zip(
        notes.onset_s.tolist(), notes.offset_s.tolist(), notes.pitch.tolist(), strict=True
    ):
        first, last = np.searchsorted(time_s, [onset_s - _GOES_DOWN_S, offset_s + _COMES_UP_S])
        moment = time_s[first:last]
        falling = np.clip((moment - onset_s) / _GOES_DOWN_S + 1, 0, 1) ** 2
        rising = np.clip((offset_s + _COMES_UP_S - moment) / _COMES_UP_S, 0, 1)
        key = dip[first:last, column[pitch]]
        np.maximum(key, np.minimum(falling, rising), out=key)
    return dip


def _case(half_cm: float, near_cm: float, far_cm: float, height_cm: float, luma: float) -> Layer:
    wide = half_cm + 10
    shape = (round((far_cm - near_cm) * 2), round(2 * wide * 2))
    return Layer(
        paint=np.full(shape, luma, np.float32),
        cover=np.full(shape, 255, np.uint8),
        corner_cm=(-wide, near_cm),
        dots_per_cm=2.0,
        height_cm=height_cm,
        gloss=12.0,
    )


@cache
def _key_columns_cm() -> NDArray[np.float64]:
    return np.asarray((key_columns() - WIDTH / 2) * (KEY_CM / WHITE_WIDTH), np.float64)


def _key_rect(key: int, left_cm: float, n_rows: int) -> tuple[slice, slice]:
    """Return rows and columns of a sheet that a key covers; rows begin at the player, columns at ``left_cm``."""
    first, last = ((x - left_cm) * _DOTS_PER_CM for x in _key_columns_cm()[key])
    gap = 0 if IS_BLACK[key] else round(0.1 * _DOTS_PER_CM)
    row = round((_SHARP_FRONT_CM - _FRONT_CM) * _DOTS_PER_CM) if IS_BLACK[key] else 0
    return slice(row, n_rows), slice(round(first), round(last) - gap)


def key_corners() -> NDArray[np.float64]:
    """Return points around all that a key may cover, up or down, (88, 8, 3)."""
    columns = _key_columns_cm()
    corners = np.empty((N_KEYS, 8, 3))
    for key, (left, right) in enumerate(columns):
        top = _SHARP_CM if IS_BLACK[key] else 0.0
        front = _SHARP_FRONT_CM if IS_BLACK[key] else _FRONT_CM
        corners[key] = [
            (x, y, z) for x in (left - 0.3, right + 0.3) for y in (front, _REAR_CM) for z in (top - _DIP_CM - 0.3, top)
        ]
    return corners


def _between_neighbours(width: int) -> NDArray[np.float32]:
    """Return the light across a key that is lower than its neighbours: they keep some of it away at its edges."""
    from_edge = np.minimum(np.arange(width), np.arange(width)[::-1]) / (0.45 * _DOTS_PER_CM)
    shade: NDArray[np.float32] = (0.62 + 0.38 * np.clip(from_edge, 0, 1)).astype(np.float32)
    return shade
