"""The piano's keyboard in a camera's picture: keys that go down by a centimetre, and are not lit.

Space as for the marimba; the origin is the middle of the white keys' upper faces, the player sits at negative y.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
SHARP_CM = 1.1  # height over the white keys
DIP_CM = 1.0  # of a key's front
_PIVOT_CM = 17.0  # y of the axis that keys turn about
_WALLS_CM = (-1.2, -0.8, -0.4)  # heights at which a white key's sides are drawn
_SHARP_WALLS = (0.25, 0.5, 0.75)  # shares of a sharp's height

_NEIGHBOURS = 4  # keys on each side that may hide a part of one that is down, or be hidden

_COMES_UP_S = 0.06


@dataclass(frozen=True, kw_only=True)
class PianoLook:
    """What a keyboard looks like at rest.

    Attributes:
        seed: of the floor.
        keys: the first and the last key that it has, 0 to 87, both white.
        dots_per_cm: that keys are painted with; as fine as a pixel of the finest camera, or finer.
        board_cm: height of the board behind the keys.
        reflects: share of the keys' light that the board reflects.
    """

    seed: int
    keys: tuple[int, int] = (0, N_KEYS - 1)
    dots_per_cm: float = 14.0
    board_cm: float = 3.0
    reflects: float = 0.0


def keyboard_corners(keys: tuple[int, int] = (0, N_KEYS - 1)) -> NDArray[np.float64]:
    """Return the keys' corners (4, 2) in cm: low and near, high and near, high and far, low and far."""
    columns = key_columns_cm()
    left, right = float(columns[keys[0], 0]), float(columns[keys[1], 1])
    return np.array([[left, _FRONT_CM], [right, _FRONT_CM], [right, _REAR_CM], [left, _REAR_CM]])


def keyboard_layers(look: PianoLook, *, down: int | None = None, dip: float = 1.0) -> list[Layer]:
    """Return the keyboard from the floor up.

    Args:
        look: what it looks like.
        down: a key (0 to 87) that is down, with its neighbours alone around it; None is all of them, at rest.
        dip: how far it is down, 1 is all the way.
    """
    slope = dip * DIP_CM / (_PIVOT_CM - _FRONT_CM)
    first, last = look.keys
    dots = look.dots_per_cm
    keys = range(first, last + 1)
    if down is not None:
        keys = range(max(first, down - _NEIGHBOURS), min(last, down + _NEIGHBOURS) + 1)
    columns = key_columns_cm()
    left = float(columns[list(keys), 0].min())
    size = (
        round((columns[list(keys), 1].max() - left) * dots),
        round((_REAR_CM - _FRONT_CM) * dots),
    )

    def sheet(shown: Sequence[int], luma: float, height_cm: float, tilt: float = 0.0, gloss: float = 0.0) -> Layer:
        paint, cover = np.full(size[::-1], luma, np.float32), np.zeros(size[::-1], np.uint8)
        for key in shown:
            rows, across = _key_rect(key, left, size[1], dots)
            cover[rows, across] = 255
            if tilt and not IS_BLACK[key]:
                paint[rows, across] *= np.float32(1 - dip) + np.float32(dip) * _between_neighbours(
                    across.stop - across.start, dots
                )
        return Layer(
            paint=paint,
            cover=cover,
            corner_cm=(left, _FRONT_CM),
            dots_per_cm=dots,
            height_cm=height_cm - tilt * _PIVOT_CM,
            slope=tilt,
            gloss=gloss,
        )

    up = [key for key in keys if key != down]
    whites, sharps = [key for key in up if not IS_BLACK[key]], [key for key in up if IS_BLACK[key]]
    ends = (float(columns[first, 0]), float(columns[last, 1]))
    layers = [floor_layer(look.seed, height_cm=-70.0, luma=98.0), _case(ends, _FRONT_CM - 6, _REAR_CM + 14, -1.8, 34.0)]
    layers += [sheet(whites, 96.0, height_cm) for height_cm in _WALLS_CM]
    if down is not None and not IS_BLACK[down]:
        layers.append(sheet([down], 182.0 - 14.0 * dip, 0.0, slope, gloss=24.0 * (1 - dip)))
    layers.append(sheet(whites, 182.0, 0.0, gloss=24.0))
    if down is not None and IS_BLACK[down]:
        layers += [sheet([down], 24.0, share * SHARP_CM, slope) for share in _SHARP_WALLS]
        layers.append(sheet([down], 40.0 - 6.0 * dip, SHARP_CM, slope, gloss=30.0 * (1 - dip)))
    layers += [sheet(sharps, 24.0, share * SHARP_CM) for share in _SHARP_WALLS]
    layers.append(sheet(sharps, 40.0, SHARP_CM, gloss=30.0))
    layers.append(_case(ends, _REAR_CM, _REAR_CM + 14, look.board_cm, 42.0))
    return layers


def mirrored_layers(look: PianoLook) -> list[Layer]:
    """Return what a board behind the keys reflects: the keyboard at rest, mirrored at its rear."""
    layers = []
    for layer in keyboard_layers(look)[2:-1]:  # without the floor and the case
        far_cm = layer.corner_cm[1] + len(layer.paint) / layer.dots_per_cm
        layers.append(
            replace(
                layer,
                paint=layer.paint[::-1].copy(),
                cover=layer.cover[::-1].copy(),
                corner_cm=(layer.corner_cm[0], 2 * _REAR_CM - far_cm),
                gloss=0.0,
            )
        )
    return layers


def dipping_parts(
    camera: Camera,
    still: NDArray[np.float32],
    light: Light,
    keys: Sequence[int],
    look: PianoLook,
    *,
    dip: float = 1.0,
) -> list[tuple[tuple[slice, slice], NDArray[np.float32]]]:
    """Return for each key (0 to 87) its window and what changes there when it is down.

    Args:
        camera: whose picture it is.
        still: the picture at rest, composed of ``keyboard_layers`` of this look.
        light: that shines on it.
        keys: those that move.
        look: of the keyboard.
        dip: how far they are down, 1 is all the way.
    """
    corners = key_corners()
    parts = []
    for key in keys:
        window = window_of(camera, corners[key])
        if window is None:
            parts.append(((slice(0, 0), slice(0, 0)), np.zeros((0, 0), np.float32)))
            continue
        layers = keyboard_layers(look, down=key, dip=dip)
        inside = np.zeros(still.shape, np.uint8)
        hull = cv2.convexHull(np.rint(camera.project(corners[key])).astype(np.int32))
        cv2.fillConvexPoly(inside, hull, 1)
        near = np.asarray(cv2.dilate(inside, np.ones((3, 3), np.uint8)), np.uint8)
        change = (compose(camera, layers, light, window) - still[window]) * near[window]
        parts.append((window, change))
    return parts


def dips(
    notes: Notes, keys: Sequence[int], time_s: NDArray[np.float64], *, travel_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how far each key (0 to 87) is down, (T, keys): 0 is up, 1 all the way down, from its onset on.

    Args:
        notes: that are played.
        keys: those asked for, all that are played among them.
        time_s: T moments, rising.
        travel_s: of each note, from its key's first movement to the onset, when the hammer strikes.
    """
    dip = np.zeros((len(time_s), len(keys)))
    column = {LOWEST_PITCH + key: index for index, key in enumerate(keys)}
    for onset_s, offset_s, pitch, down_s in zip(
        notes.onset_s.tolist(), notes.offset_s.tolist(), notes.pitch.tolist(), travel_s.tolist(), strict=True
    ):
        first, last = np.searchsorted(time_s, [onset_s - down_s, offset_s + _COMES_UP_S])
        moment = time_s[first:last]
        falling = np.clip((moment - onset_s) / down_s + 1, 0, 1) ** 2
        rising = np.clip((offset_s + _COMES_UP_S - moment) / _COMES_UP_S, 0, 1)
        key = dip[first:last, column[pitch]]
        np.maximum(key, np.minimum(falling, rising), out=key)
    return dip


def travel_times(velocity: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return how long before its onset a key begins to move, in seconds, by MIDI velocity: 160 ms down to 25 ms.

    Source:
        Goebl 2001 (JASA 110, 563): the travel time is 89.96 v^-0.7147 ms for a hammer of v m/s. Goebl and Bresin 2003
        (JASA 114, 2273): MIDI velocity is about 52 + 25 log2 v. Beyond what was measured the ends hold.
    """
    hammer = 2.0 ** ((np.asarray(velocity, np.float64) - 52) / 25)  # m/s
    travel_s: NDArray[np.float64] = np.clip(0.08996 * hammer**-0.7147, 0.025, 0.16)
    return travel_s


def _case(ends_cm: tuple[float, float], near_cm: float, far_cm: float, height_cm: float, luma: float) -> Layer:
    left, right = ends_cm[0] - 10, ends_cm[1] + 10
    shape = (round((far_cm - near_cm) * 2), round((right - left) * 2))
    return Layer(
        paint=np.full(shape, luma, np.float32),
        cover=np.full(shape, 255, np.uint8),
        corner_cm=(left, near_cm),
        dots_per_cm=2.0,
        height_cm=height_cm,
        gloss=12.0,
    )


@cache
def key_columns_cm() -> NDArray[np.float64]:
    """Return the left and the right edge of each key's x, (88, 2)."""
    return np.asarray((key_columns() - WIDTH / 2) * (KEY_CM / WHITE_WIDTH), np.float64)


def _key_rect(key: int, left_cm: float, n_rows: int, dots_per_cm: float) -> tuple[slice, slice]:
    """Return rows and columns of a sheet that a key covers; rows begin at the player, columns at ``left_cm``."""
    first, last = ((x - left_cm) * dots_per_cm for x in key_columns_cm()[key])
    gap = 0 if IS_BLACK[key] else round(0.1 * dots_per_cm)
    row = round((_SHARP_FRONT_CM - _FRONT_CM) * dots_per_cm) if IS_BLACK[key] else 0
    return slice(row, n_rows), slice(round(first), round(last) - gap)


def key_corners() -> NDArray[np.float64]:
    """Return points around all that a key may cover, up or down, (88, 8, 3)."""
    columns = key_columns_cm()
    corners = np.empty((N_KEYS, 8, 3))
    for key, (left, right) in enumerate(columns):
        top = SHARP_CM if IS_BLACK[key] else 0.0
        front = _SHARP_FRONT_CM if IS_BLACK[key] else _FRONT_CM
        corners[key] = [
            (x, y, z) for x in (left - 0.3, right + 0.3) for y in (front, _REAR_CM) for z in (top - DIP_CM - 0.3, top)
        ]
    return corners


def _between_neighbours(width: int, dots_per_cm: float) -> NDArray[np.float32]:
    """Return the light across a key that is lower than its neighbours: they keep some of it away at its edges."""
    from_edge = np.minimum(np.arange(width), np.arange(width)[::-1]) / (0.45 * dots_per_cm)
    shade: NDArray[np.float32] = (0.62 + 0.38 * np.clip(from_edge, 0, 1)).astype(np.float32)
    return shade
