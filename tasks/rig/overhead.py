"""A piano filmed from above as people do: keys that dip, hands that play them, a board that reflects them, in colour.

Pictures are the planes of I420, one below the other, (height * 3 / 2, width).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.instruments.keyboard import LOWEST_PITCH
from tasks.instruments.notes import Notes
from tasks.rig.camera import Camera
from tasks.rig.hand_figures import HandFigure, Skin
from tasks.rig.hands import Fingering, place_hand
from tasks.rig.piano import SHARP_CM, PianoLook, dipping_parts, dips, keyboard_corners, keyboard_layers, mirrored_layers
from tasks.rig.scene import Layer, Light, compose

_LEVELS = (1 / 3, 2 / 3, 1.0)  # dips at which a key is drawn; between them it is mixed
_MOMENTS = 5  # of an exposure, at which dips are sampled
_STRIP = 180  # rows that are composed at a time: a fine picture is large
_STILL_PX = 1.2  # travel within an exposure that one moment can show
_NOISE_MARGIN = 64


@dataclass(frozen=True, kw_only=True)
class Palette:
    """Colours of what does not move: U and V from no colour, of luma 128.

    Attributes:
        keys: the light's own colour, on the keys.
        wood: of what is around them.
    """

    keys: tuple[float, float]
    wood: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Sensing:
    """What the camera makes of light.

    Attributes:
        exposure_s: of a picture, around its time.
        gain: of all light, for each picture, (T,): lights that drift.
        noise: standard deviation in luma at mid grey.
        seed: of the noise.
    """

    exposure_s: float
    gain: NDArray[np.float64]
    noise: float
    seed: int


def still_of(camera: Camera, layers: Sequence[Layer], light: Light) -> NDArray[np.float32]:
    """Return a camera's picture of layers, (height, width), composed strip by strip."""
    strips = [
        compose(camera, layers, light, (slice(top, min(top + _STRIP, camera.height)), slice(0, camera.width)))
        for top in range(0, camera.height, _STRIP)
    ]
    return np.concatenate(strips)


def keyboard_at_rest(camera: Camera, look: PianoLook, light: Light) -> NDArray[np.float32]:
    """Return the luma of a keyboard at rest, with what its board reflects, (height, width)."""
    still = still_of(camera, keyboard_layers(look), light)
    if not look.reflects:
        return still
    (left, _), (right, rear) = keyboard_corners(look.keys)[[0, 2]]
    foot, top = 0.0, look.board_cm
    board = np.array([[left, rear, foot], [right, rear, foot], [right, rear, top], [left, rear, top]])
    outline = camera.project(board)
    inside = np.zeros(still.shape, np.uint8)
    cv2.fillConvexPoly(inside, np.rint(outline * 16).astype(np.int32), 255, cv2.LINE_AA, 4)
    share = inside.astype(np.float32) / np.float32(255)
    shown = still_of(camera, mirrored_layers(look), light)
    varnish = np.float32(14.0)
    mixed: NDArray[np.float32] = still + share * (varnish + np.float32(look.reflects) * shown - still)
    return mixed


class OverheadFilm:
    """A film of a keyboard, picture by picture.

    Args:
        camera: above the keys.
        look: of the keyboard.
        light: that shines on it.
        palette: colours of what does not move.
        sensing: what the camera makes of light.
        notes: whose keys go down.
        travel_s: of each note's key, before its onset.
        fingerings: of the hands in view, or none.
        skin: of the hands.
        reach_cm: by which fingers strike farther in.
        lifted_cm: height that the hands are held above the keys.
        shadow: share of the light that a hand keeps away.
        time_s: middles of the exposures, rising, (T,).
        still: what is there at rest, when it is no keyboard; None is the keyboard.
    """

    def __init__(
        self,
        camera: Camera,
        *,
        look: PianoLook,
        light: Light,
        palette: Palette,
        sensing: Sensing,
        notes: Notes,
        travel_s: NDArray[np.float64],
        fingerings: Sequence[Fingering],
        skin: Skin,
        reach_cm: float,
        lifted_cm: float,
        shadow: float,
        time_s: NDArray[np.float64],
        still: NDArray[np.float32] | None = None,
    ) -> None:
        self._camera = camera
        self._still = keyboard_at_rest(camera, look, light) if still is None else still
        self._gain = sensing.gain
        self._chroma = self._coloured(look.keys if still is None else None, palette)
        keys = sorted({int(pitch) - LOWEST_PITCH for pitch in notes.pitch})
        self._parts = [
            part for level in _LEVELS for part in dipping_parts(camera, self._still, light, keys, look, dip=level)
        ]
        share = (np.arange(_MOMENTS) + 0.5) / _MOMENTS - 0.5
        moments_s = time_s[:, None] + share * sensing.exposure_s
        depth = dips(notes, keys, moments_s.ravel(), travel_s=travel_s)
        levels = np.array([0.0, *_LEVELS])
        weights = [
            np.interp(depth, levels, np.eye(len(levels))[number]) for number in range(1, len(levels))
        ]  # how much of each level is shown
        amounts = np.concatenate(weights, axis=1)
        self._amounts = amounts.reshape(len(time_s), _MOMENTS, -1).mean(axis=1).astype(np.float32)
        self._figures: list[tuple[HandFigure, HandFigure, NDArray[np.bool_]]] = []
        for number, fingering in enumerate(fingerings):
            ends = [
                place_hand(
                    fingering,
                    time_s + part * sensing.exposure_s,
                    reach_cm=reach_cm,
                    lifted_cm=lifted_cm,
                    seed=sensing.seed + number,
                )
                for part in (-0.25, 0.25)
            ]
            start, end = (camera.project(hand.tips) for hand in ends)
            moves = np.abs(end - start).max(axis=(1, 2)) > _STILL_PX
            first, last = (HandFigure(camera, light, skin, hand, shadow=shadow) for hand in ends)
            self._figures.append((first, last, moves))
        rng = np.random.default_rng(sensing.seed)
        shape = (camera.height + _NOISE_MARGIN, camera.width + _NOISE_MARGIN)
        self._noise = np.float32(sensing.noise) * rng.standard_normal(shape, np.float32)
        self._offsets = rng.integers(0, _NOISE_MARGIN, (len(time_s), 2)).tolist()

    def picture(self, number: int) -> NDArray[np.uint8]:
        """Draw one picture."""
        luma, chroma = self._still.copy(), self._chroma.copy()
        for column in np.flatnonzero(self._amounts[number]):
            window, change = self._parts[column]
            luma[window] += self._amounts[number, column] * change
        for first, last, moves in self._figures:
            if not moves[number]:
                first.draw(luma, chroma, number)
                continue
            other_luma, other_chroma = luma.copy(), chroma.copy()
            first.draw(luma, chroma, number)
            last.draw(other_luma, other_chroma, number)
            cv2.addWeighted(luma, 0.5, other_luma, 0.5, 0.0, dst=luma)
            chroma = 0.5 * (chroma + other_chroma)
        gain = float(self._gain[number])
        row, column = self._offsets[number]
        height, width = luma.shape
        noise = self._noise[row : row + height, column : column + width]
        planes = np.empty((height * 3 // 2, width), np.uint8)
        cv2.addWeighted(luma, gain, noise, 1.0, 0.0, dst=planes[:height], dtype=cv2.CV_8U)
        for plane, place in zip(chroma, chroma_planes(planes, height), strict=True):
            place[:] = cv2.convertScaleAbs(plane, alpha=gain, beta=128.0)
        return planes

    def _coloured(self, keys: tuple[int, int] | None, palette: Palette) -> NDArray[np.float32]:
        """Return U and V of what does not move, from no colour, (2, height / 2, width / 2)."""
        inside = np.zeros(self._still.shape, np.uint8)
        if keys is not None:
            corners = np.c_[keyboard_corners(keys), np.zeros(4)]
            outline = self._camera.project(np.concatenate([corners, corners + np.array([0.0, 0.0, SHARP_CM])]))
            cv2.fillConvexPoly(inside, cv2.convexHull(np.rint(outline).astype(np.int32)), 255)
        size = (self._camera.width // 2, self._camera.height // 2)
        on_keys, luma = (
            cv2.resize(each, size, interpolation=cv2.INTER_AREA)
            for each in (inside.astype(np.float32) / np.float32(255), self._still)
        )
        planes = [
            luma / np.float32(128) * (np.float32(wood) + on_keys * np.float32(cast - wood))
            for cast, wood in zip(palette.keys, palette.wood, strict=True)
        ]
        return np.stack(planes).astype(np.float32)


def chroma_planes(planes: NDArray[np.uint8], height: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return views of U and V, (height / 2, width / 2), of the planes of I420."""
    width = planes.shape[1]
    both = planes[height:].reshape(-1)
    size = height * width // 4
    shape = (height // 2, width // 2)
    return both[:size].reshape(shape), both[size:].reshape(shape)
