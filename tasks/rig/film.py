"""Pictures of a performance: what moves, laid over the picture at rest, with blur, shadow and the sensor's noise.

A picture's pixels follow from the notes in three ways only: a mallet, a hand or a key is there; its shadow falls there;
a struck bar swings there. The noise follows from the seed and the number of the picture.

Shapes: F pictures, U moments within an exposure, M mallets, P parts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.instruments.marimba import HEAD_RADIUS_CM, Mallet, hands_of
from tasks.rig.camera import Camera
from tasks.rig.scene import Light

MOMENTS = 5  # at which an exposure is sampled
SHADOW = 0.42  # of the light that a mallet keeps away

# Lumas in full light.
_HEAD, _HEAD_TOP, _SHAFT, _HAND, _ARM = 62.0, 108.0, 206.0, 168.0, 92.0
_SHAFT_CM, _HAND_CM, _ARM_CM = 0.45, 3.4, 3.0  # half widths
_ELBOW_CM = (0.0, -26.0, -8.0)  # from a hand
_SUBPIXELS = 4  # bits
_STILL_PIXELS, _SLOW_PIXELS = 0.7, 3.0  # travel within an exposure that one moment, or three, can show
_NOISE_MARGIN = (61, 97)  # rows and columns by which the field of noise is larger than a picture


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """What the camera makes of light.

    Attributes:
        exposure_s: how long a picture is exposed, around its time.
        gain: of the luma.
        vignette: share of the light that the corners lose.
        noise: standard deviation in luma at mid grey.
        seed: of the noise.
    """

    exposure_s: float
    gain: float
    vignette: float
    noise: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of the picture that changes by ``change`` (rows, columns) when its amount is 1."""

    window: tuple[slice, slice]
    change: NDArray[np.float32]


def exposure_moments(time_s: NDArray[np.float64], exposure_s: float) -> NDArray[np.float64]:
    """Return the moments (F, U) at which pictures with these middles are sampled."""
    share = (np.arange(MOMENTS) + 0.5) / MOMENTS - 0.5
    moments: NDArray[np.float64] = np.asarray(time_s)[:, None] + share * exposure_s
    return moments


class Filmed:
    """One camera's film of one performance, drawn picture by picture.

    Args:
        camera: where it stands.
        light: the lamp.
        sensor: what it makes of light.
        still: the scene at rest, luma before exposure, (height, width).
        parts: P pieces that change.
        amounts: by how much they do, (F, P).
        ground: share of each pixel that a mallet's shadow can fall on, (height, width).
        mallets: those that are in the picture, or none.
        moments_s: times of the exposures, (F, U).
    """

    def __init__(
        self,
        camera: Camera,
        light: Light,
        sensor: Sensor,
        *,
        still: NDArray[np.float32],
        parts: Sequence[Part],
        amounts: NDArray[np.float32],
        ground: NDArray[np.float32],
        mallets: Sequence[Mallet],
        moments_s: NDArray[np.float64],
    ) -> None:
        falloff = camera.vignette(sensor.vignette) * np.float32(sensor.gain)
        self.still = still * falloff
        self.parts = [Part(window=part.window, change=part.change * falloff[part.window]) for part in parts]
        self.amounts = amounts
        self._takes_shadow = ground * np.float32(SHADOW)
        self.n_pictures = len(moments_s)
        self._figures = [
            _Figure(camera, light, sensor, tips_cm, hands_cm)
            for tips_cm, hands_cm in zip(*_followed(mallets, moments_s), strict=True)
        ]
        rng = np.random.default_rng(sensor.seed)
        rows, columns = camera.height + _NOISE_MARGIN[0], camera.width + _NOISE_MARGIN[1]
        self._noise = rng.standard_normal((rows, columns), np.float32)
        self._offsets = rng.integers(0, _NOISE_MARGIN, (self.n_pictures, 2)).tolist()
        # Photons come at random: their noise grows with the root of the light.
        self._spread = np.float32(sensor.noise) * np.sqrt(np.clip(self.still, 8, 255) / 128).astype(np.float32)

    def clean(self, picture: int) -> NDArray[np.float32]:
        """Draw one picture without noise, (height, width), luma."""
        drawn = self.still.copy()
        for column in np.flatnonzero(self.amounts[picture]):
            part = self.parts[column]
            drawn[part.window] += self.amounts[picture, column] * part.change
        for figure in self._figures:
            figure.draw(drawn, picture, self._takes_shadow)
        return drawn

    def picture(self, picture: int) -> NDArray[np.uint8]:
        """Draw one picture, (height, width), as the camera stores it."""
        drawn = self.clean(picture)
        row, column = self._offsets[picture]
        height, width = drawn.shape
        noise = cv2.multiply(self._noise[row : row + height, column : column + width], self._spread)
        return np.asarray(cv2.add(drawn, noise, dtype=cv2.CV_8U), np.uint8)

    def pictures(self) -> Iterator[NDArray[np.uint8]]:
        """Yield all pictures in order."""
        for picture in range(self.n_pictures):
            yield self.picture(picture)


def _followed(
    mallets: Sequence[Mallet], moments_s: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return tips and hands (M, F, U, 3)."""
    if not mallets:
        return np.zeros((0, *moments_s.shape, 3)), np.zeros((0, *moments_s.shape, 3))
    tips = np.stack([mallet.tip_at(moments_s.ravel()) for mallet in mallets])
    shape = (len(mallets), *moments_s.shape, 3)
    return tips.reshape(shape), hands_of(tips).reshape(shape)


class _Figure:
    """A mallet, the hand that holds it and their shadow, as polygons and circles in the picture."""

    def __init__(
        self,
        camera: Camera,
        light: Light,
        sensor: Sensor,
        tips_cm: NDArray[np.float64],
        hands_cm: NDArray[np.float64],
    ) -> None:
        heads_cm = tips_cm + np.array([0.0, 0.0, HEAD_RADIUS_CM])
        elbows_cm = hands_cm + _ELBOW_CM
        below_heads, below_hands = light.shadow_of(heads_cm), light.shadow_of(hands_cm)
        points = [heads_cm, hands_cm, elbows_cm, below_heads, below_hands]
        pixels = [camera.project(each) for each in points]
        scales = [camera.pixels_per_cm(each) for each in points]
        head, hand, elbow, low_head, low_hand = pixels
        self._circles = [
            _fixed(np.concatenate([centre, (scale * radius)[..., None]], axis=-1))
            for centre, scale, radius in (
                (low_head, scales[3], HEAD_RADIUS_CM),
                (hand, scales[1], _HAND_CM),
                (head, scales[0], HEAD_RADIUS_CM),
                (head - 0.35 * HEAD_RADIUS_CM * scales[0][..., None], scales[0], 0.45 * HEAD_RADIUS_CM),
            )
        ]
        self._bands = [
            _fixed(_band(low_head, low_hand, scales[3] * _SHAFT_CM, scales[4] * _SHAFT_CM)),
            _fixed(_band(hand, elbow, scales[1] * _ARM_CM, scales[2] * _ARM_CM * 1.3)),
            _fixed(_band(head, hand, scales[0] * _SHAFT_CM, scales[1] * _SHAFT_CM)),
        ]
        reach = np.concatenate(
            [
                *(band / 2**_SUBPIXELS for band in self._bands),
                *(_box(circle) / 2**_SUBPIXELS for circle in self._circles),
            ],
            axis=-2,
        )  # (F, U, points, 2)
        self._low = np.maximum(np.floor(reach.min(axis=(1, 2))).astype(int) - 2, 0)
        most = (camera.width, camera.height)
        self._high = np.minimum(np.ceil(reach.max(axis=(1, 2))).astype(int) + 3, most)
        travel = np.abs(np.diff(head, axis=1)).sum(axis=(1, 2)) + np.abs(np.diff(hand, axis=1)).sum(axis=(1, 2))
        self._moments = [
            (2,) if way < _STILL_PIXELS else (0, 2, 4) if way < _SLOW_PIXELS else (0, 1, 2, 3, 4) for way in travel
        ]
        light_there = light.on(heads_cm[:, 2, 0], heads_cm[:, 2, 1], 0.0) * sensor.gain
        corner = ((head[:, 2] - np.divide(most, 2)) / np.linalg.norm(np.divide(most, 2))) ** 2
        self._brightness = (light_there * np.clip(1 - sensor.vignette * corner.sum(axis=-1), 0.2, 1)).tolist()

    def draw(self, picture: NDArray[np.float32], number: int, takes_shadow: NDArray[np.float32]) -> None:
        """Lay the figure over a picture, the mean of the exposure's moments."""
        (left, top), (right, bottom) = self._low[number].tolist(), self._high[number].tolist()
        if left >= right or top >= bottom:
            return
        moments = self._moments[number]
        # Channels: luma that is added, share that is hidden, share that lies in shadow and is not hidden.
        layer = np.zeros((bottom - top, right - left, 3), np.uint8)
        total = np.zeros(layer.shape, np.float32)
        corner = np.array([left, top]) * 2**_SUBPIXELS
        brightness = self._brightness[number]
        shade = (0.0, 0.0, 255.0)
        arm, hand, shaft, head, top_light = (
            (min(luma * brightness, 255.0), 255.0, 0.0) for luma in (_ARM, _HAND, _SHAFT, _HEAD, _HEAD_TOP)
        )
        for moment in moments:
            layer[:] = 0
            bands = [band[number, moment] - corner for band in self._bands]
            circles = [circle[number, moment].tolist() for circle in self._circles]
            _fill(layer, bands[0], shade)
            _dot(layer, circles[0], corner, shade)
            _fill(layer, bands[1], arm)
            _dot(layer, circles[1], corner, hand)
            _fill(layer, bands[2], shaft)
            _dot(layer, circles[2], corner, head)
            _dot(layer, circles[3], corner, top_light)
            cv2.accumulate(layer, total)
        total /= np.float32(255 * len(moments))
        under = picture[top:bottom, left:right]
        under *= 1 - total[..., 1] - takes_shadow[top:bottom, left:right] * total[..., 2]
        under += np.float32(255) * total[..., 0]


def _band(
    start: NDArray[np.float64], end: NDArray[np.float64], start_half: NDArray[np.float64], end_half: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the corners (..., 4, 2) of a straight band between two points (..., 2)."""
    along = end - start
    across = np.stack([-along[..., 1], along[..., 0]], axis=-1)
    across /= np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-9)
    begin, finish = across * start_half[..., None], across * end_half[..., None]
    return np.stack([start + begin, end + finish, end - finish, start - begin], axis=-2)


def _fixed(values: NDArray[np.float64]) -> NDArray[np.int32]:
    """Return pixels as OpenCV takes them: integers of ``_SUBPIXELS`` more bits."""
    fixed: NDArray[np.int32] = np.rint(values * 2**_SUBPIXELS).astype(np.int32)
    return fixed


def _box(circle: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the corners (..., 2, 2) around circles (..., 3)."""
    return np.stack([circle[..., :2] - circle[..., 2:], circle[..., :2] + circle[..., 2:]], axis=-2)


def _fill(layer: NDArray[np.uint8], corners: NDArray[np.int32], colour: tuple[float, float, float]) -> None:
    cv2.fillConvexPoly(layer, corners, colour, cv2.LINE_AA, _SUBPIXELS)


def _dot(
    layer: NDArray[np.uint8], circle: list[int], corner: NDArray[np.int_], colour: tuple[float, float, float]
) -> None:
    x, y, radius = circle
    cv2.circle(layer, (x - int(corner[0]), y - int(corner[1])), radius, colour, -1, cv2.LINE_AA, _SUBPIXELS)
