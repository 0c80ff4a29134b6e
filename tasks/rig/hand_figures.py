"""Hands in a camera's picture: fingers, backs of hands and forearms, their shading and their shadow, in colour."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.rig.camera import Camera
from tasks.rig.hands import Hand
from tasks.rig.scene import Light

_SUBPIXELS = 4  # bits
_TIP_CM, _MIDDLE_CM, _KNUCKLE_CM, _WRIST_CM, _ELBOW_CM = 0.68, 0.78, 0.92, 2.5, 4.4  # radii
_THUMB = 1.2  # times as thick
_SHADING = ((1.0, 0.7), (0.72, 0.9), (0.4, 1.0))  # shares of a finger's width, and of the light there
_ARM_SHADING = ((1.0, 0.66), (0.88, 0.76), (0.76, 0.84), (0.62, 0.91), (0.46, 0.96), (0.28, 1.0))
_NAIL_CM = 0.36
_SHADOW_BLUR_CM = 0.9
_MARGIN = 3


@dataclass(frozen=True, kw_only=True)
class Skin:
    """What hands are covered with.

    Attributes:
        luma: in full light.
        chroma: U and V, from no colour, in full light.
        has_nails: or wears gloves.
        sleeve_luma: of the forearm.
        sleeve_chroma: of the forearm.
    """

    luma: float
    chroma: tuple[float, float]
    has_nails: bool
    sleeve_luma: float
    sleeve_chroma: tuple[float, float]


class HandFigure:
    """One hand in each picture of a film.

    Args:
        camera: that films it.
        light: that shines on it.
        skin: what it looks like.
        hand: where it is in each picture.
        shadow: share of the light that it keeps away from what is below.
    """

    def __init__(self, camera: Camera, light: Light, skin: Skin, hand: Hand, *, shadow: float) -> None:
        self._size = (camera.height, camera.width)
        self._skin = skin
        self._shadow = shadow
        fingers = np.stack([hand.tips, hand.middles, hand.knuckles], axis=2).reshape(len(hand.tips), 15, 3)
        points = np.concatenate([fingers, hand.wrist[:, None], hand.elbow[:, None]], axis=1)  # (T, 17, 3)
        radii = np.array([_TIP_CM, _MIDDLE_CM, _KNUCKLE_CM] * 5 + [_WRIST_CM, _ELBOW_CM])
        radii[:3] *= _THUMB
        self._points = camera.project(points)
        self._radii = camera.pixels_per_cm(points) * radii
        fallen = light.shadow_of(points)
        self._fallen = camera.project(fallen)
        self._fallen_radii = camera.pixels_per_cm(fallen) * radii
        self._px_per_cm = float(camera.pixels_per_cm(points[:, 6]).mean())
        self._lit = light.on(points[:, 6, 0], points[:, 6, 1], 0.0).tolist()
        # What is beyond the picture by far is cut off: OpenCV's numbers are short.
        for pixels in (self._points, self._fallen):
            np.clip(pixels, -2.0 * camera.width, 3.0 * camera.width, out=pixels)

    def draw(self, luma: NDArray[np.float32], chroma: NDArray[np.float32], number: int) -> None:
        """Lay the hand over a picture: luma (height, width), and U and V from no colour (2, height / 2, width / 2)."""
        self._draw_shadow(luma, chroma, self._fallen[number], self._fallen_radii[number])
        window = self._window(self._points[number], self._radii[number])
        if window is None:
            return
        rows, columns = window
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        light = np.full(shape, round(255 * _SHADING[0][1]), np.uint8)
        cover, sleeve = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
        points = self._points[number] - (columns.start, rows.start)
        radii = self._radii[number]
        for finger in (0, 4, 1, 3, 2):
            joints = slice(3 * finger, 3 * finger + 3)
            for share, bright in _SHADING:
                _limb(light, points[joints], share * radii[joints], round(255 * bright))
            _limb(cover, points[joints], radii[joints], 255)
            if self._skin.has_nails:
                tip, joint = points[joints][:2]
                nail = tip + 0.15 * (joint - tip)
                _dot(light, nail.tolist(), _NAIL_CM / _TIP_CM * radii[3 * finger], 255)
        palm = np.concatenate([points[[2, 5, 8, 11, 14]], points[15:16]])
        wide = radii[[2, 5, 8, 11, 14, 15]]
        middle = palm.mean(axis=0)
        for share, bright in _ARM_SHADING:
            _hull(light, middle + (0.55 + 0.45 * share) * (palm - middle), share * wide, round(255 * bright))
            _limb(light, points[15:], share * radii[15:], round(255 * bright))
        _hull(cover, palm, wide, 255)
        _limb(cover, points[15:], radii[15:], 255)
        begins = points[15] + 0.12 * (points[16] - points[15])
        _limb(sleeve, np.stack([begins, points[16]]), radii[15:] * 1.12, 255)
        _limb(cover, np.stack([begins, points[16]]), radii[15:] * 1.12, 255)
        light = np.asarray(cv2.GaussianBlur(light, (0, 0), max(0.5, 0.16 * self._px_per_cm)), np.uint8)
        hides = cover.astype(np.float32) / np.float32(255)
        covered = sleeve.astype(np.float32) / np.float32(255)
        tone = self._lit[number] / np.float32(255) * light
        skin = self._skin
        paint = tone * (skin.luma + covered * np.float32(skin.sleeve_luma - skin.luma))
        under = luma[window]
        under += hides * (paint - under)
        half = tuple(slice(part.start // 2, part.stop // 2) for part in window)
        small = (shape[1] // 2, shape[0] // 2)
        small_hides, small_covered, small_tone = (
            np.asarray(cv2.resize(each, small, interpolation=cv2.INTER_AREA), np.float32)
            for each in (hides, covered, tone)
        )
        for plane, own, sleeves in zip(chroma, skin.chroma, skin.sleeve_chroma, strict=True):
            under = plane[half]
            under += small_hides * (small_tone * (own + small_covered * np.float32(sleeves - own)) - under)

    def _draw_shadow(
        self,
        luma: NDArray[np.float32],
        chroma: NDArray[np.float32],
        points: NDArray[np.float64],
        radii: NDArray[np.float64],
    ) -> None:
        blur = max(0.6, _SHADOW_BLUR_CM * self._px_per_cm)
        window = self._window(points, radii + 2 * blur)
        if window is None or not self._shadow:
            return
        rows, columns = window
        # Soft as it is, a coarse one shows the same.
        step = 4 if blur > 6 else 2
        shape = ((rows.stop - rows.start) // step + 1, (columns.stop - columns.start) // step + 1)
        shade = np.zeros(shape, np.uint8)
        at, wide = (points - (columns.start, rows.start)) / step, radii / step
        for finger in range(5):
            _limb(shade, at[3 * finger : 3 * finger + 3], wide[3 * finger : 3 * finger + 3], 255)
        _hull(shade, at[[2, 5, 8, 11, 14, 15]], wide[[2, 5, 8, 11, 14, 15]], 255)
        _limb(shade, at[15:], wide[15:], 255)
        shade = np.asarray(cv2.GaussianBlur(shade, (0, 0), blur / step), np.uint8)
        for planes, scale in ((luma[None], 1), (chroma, 2)):
            part = tuple(slice(each.start // scale, each.stop // scale) for each in window)
            size = (part[1].stop - part[1].start, part[0].stop - part[0].start)
            left = 1 - np.float32(self._shadow / 255) * cv2.resize(shade, size, interpolation=cv2.INTER_LINEAR)
            for plane in planes:
                plane[part] *= left

    def _window(self, points: NDArray[np.float64], radii: NDArray[np.float64]) -> tuple[slice, slice] | None:
        """Return the rows and columns around circles, even numbers of them; None beside the picture."""
        low = np.floor((points - radii[:, None]).min(axis=0)).astype(int) - _MARGIN
        high = np.ceil((points + radii[:, None]).max(axis=0)).astype(int) + _MARGIN
        low = np.maximum(low, 0) // 2 * 2
        high = np.minimum((high + 1) // 2 * 2, self._size[::-1])
        if (low >= high).any():
            return None
        return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def _fixed(values: NDArray[np.float64]) -> NDArray[np.int32]:
    fixed: NDArray[np.int32] = np.rint(values * 2**_SUBPIXELS).astype(np.int32)
    return fixed


def _dot(layer: NDArray[np.uint8], centre: Sequence[float], radius: float, value: int) -> None:
    scale = 2**_SUBPIXELS
    place = (round(centre[0] * scale), round(centre[1] * scale))
    cv2.circle(layer, place, max(1, round(radius * scale)), value, -1, cv2.LINE_AA, _SUBPIXELS)


def _limb(layer: NDArray[np.uint8], points: NDArray[np.float64], radii: NDArray[np.float64], value: int) -> None:
    """Draw a limb of joints (n, 2) with these radii."""
    places, widths = points.tolist(), radii.tolist()
    joints = list(zip(places, widths, strict=True))
    for ((x, y), wide), ((end_x, end_y), end_wide) in pairwise(joints):
        far = max(math.hypot(end_x - x, end_y - y), 1e-9)
        right, down = (y - end_y) / far, (end_x - x) / far  # across the limb
        band = [
            (x + wide * right, y + wide * down),
            (end_x + end_wide * right, end_y + end_wide * down),
            (end_x - end_wide * right, end_y - end_wide * down),
            (x - wide * right, y - wide * down),
        ]
        cv2.fillConvexPoly(layer, _fixed(np.array(band)), value, cv2.LINE_AA, _SUBPIXELS)
    for place, wide in joints:
        _dot(layer, place, wide, value)


def _hull(layer: NDArray[np.uint8], points: NDArray[np.float64], radii: NDArray[np.float64], value: int) -> None:
    """Draw what is around circles."""
    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    around = points[:, None] + radii[:, None, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    outline = cv2.convexHull(around.reshape(-1, 2).astype(np.float32))[:, 0].astype(np.float64)
    cv2.fillConvexPoly(layer, _fixed(outline), value, cv2.LINE_AA, _SUBPIXELS)
