"""An instrument at rest in a camera's picture: flat layers, one above the other, lit by one lamp.

A layer is a painted sheet that lies in a plane of the room. A bar or a key is its upper face with a few sheets below,
which show as its sides. Drawn once for each camera; what moves is laid over it picture by picture (``tasks.rig.film``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tasks.params import Section
from tasks.rig.camera import Camera

SUPERSAMPLING = 2  # each way, of the picture at rest
_LAMP_AREA_CM = 30.0  # a lamp is no point


class Light(Section):
    """A lamp and the light that comes from everywhere.

    Attributes:
        position_cm: of the lamp.
        ambient: share of the light that does not come from it.
    """

    position_cm: tuple[float, float, Annotated[float, Field(ge=60)]]
    ambient: Annotated[float, Field(ge=0, le=1)]

    def on(self, x_cm: NDArray[Any], y_cm: NDArray[Any], z_cm: float) -> NDArray[np.float32]:
        """Return the light on level points: 1 right below the lamp at height 0, less where it is farther or aslant."""
        x, y, z = self.position_cm
        way = np.sqrt((x_cm - x) ** 2 + (y_cm - y) ** 2 + (z - z_cm) ** 2 + _LAMP_AREA_CM**2)
        straight = (z**2 + _LAMP_AREA_CM**2) * (z - z_cm) / z / way**2 * (np.sqrt(z**2 + _LAMP_AREA_CM**2) / way)
        light: NDArray[np.float32] = (self.ambient + (1 - self.ambient) * straight).astype(np.float32)
        return light

    def shadow_of(self, points_cm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where points (..., 3) cast their shadow on the plane z = 0, (..., 3)."""
        lamp = np.asarray(self.position_cm)
        down = lamp[2] / (lamp[2] - points_cm[..., 2:])
        fallen: NDArray[np.float64] = lamp + (points_cm - lamp) * down
        fallen[..., 2] = 0.0
        return fallen


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A painted sheet in the plane z = height + slope * y.

    Attributes:
        paint: luma in full light, (rows, columns) float32.
        cover: 0 to 255, how much it hides what is below, (rows, columns) uint8.
        corner_cm: x and y of the sheet's first row and column; rows go along y, columns along x.
        dots_per_cm: of the paint.
    """

    paint: NDArray[np.float32]
    cover: NDArray[np.uint8]
    corner_cm: tuple[float, float]
    dots_per_cm: float
    height_cm: float
    slope: float = 0.0
    gloss: float = 0.0  # luma of the lamp's reflection where it is brightest


def compose(camera: Camera, layers: Sequence[Layer], light: Light, window: tuple[slice, slice]) -> NDArray[np.float32]:
    """Return a window (rows, columns) of a camera's picture of layers, the lowest first.

    Luma of the scene before exposure, (height, width) of the window.
    """
    fine = camera.scaled(SUPERSAMPLING)
    rows, columns = (slice(part.start * SUPERSAMPLING, part.stop * SUPERSAMPLING) for part in window)
    row, column = np.mgrid[rows, columns].astype(np.float64)
    rays = fine.rays(np.stack([column, row], axis=-1))
    picture = np.full(row.shape, 20.0, np.float32)
    for layer in layers:
        inside = _part_of(fine, layer, rows, columns)
        if inside is None:
            continue
        met = fine.meet(rays[inside], height_cm=layer.height_cm, slope=layer.slope)
        share = _painted(layer.cover, layer, met).astype(np.float32) / np.float32(255)
        x, y = np.nan_to_num(met[..., 0]).astype(np.float32), np.nan_to_num(met[..., 1]).astype(np.float32)
        lit = _painted(layer.paint, layer, met) * light.on(x, y, layer.height_cm)
        if layer.gloss:
            lit += np.float32(layer.gloss) * _reflection(camera, light, x, y)
        picture[inside] += share * (lit - picture[inside])
    size = (picture.shape[1] // SUPERSAMPLING, picture.shape[0] // SUPERSAMPLING)
    by_pixel: NDArray[np.float32] = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.float32)
    return by_pixel


def cover_of(camera: Camera, layer: Layer) -> NDArray[np.float32]:
    """Return how much of each pixel of a camera's picture a layer covers, 0 to 1, (height, width)."""
    fine = camera.scaled(SUPERSAMPLING)
    met = fine.on_plane(fine.grid(), height_cm=layer.height_cm, slope=layer.slope)
    share = _painted(layer.cover, layer, met).astype(np.float32) / np.float32(255)
    covered = cv2.resize(share, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
    return np.asarray(covered, np.float32)


def _painted(sheet: NDArray[Any], layer: Layer, points: NDArray[np.float64]) -> NDArray[Any]:
    """Return what a sheet of a layer, its paint or its cover, shows at points of its plane; nothing beside it."""
    at = np.nan_to_num((points - layer.corner_cm) * layer.dots_per_cm - 0.5, nan=-1e4).astype(np.float32)
    column, row = np.ascontiguousarray(at[..., 0]), np.ascontiguousarray(at[..., 1])
    return np.asarray(cv2.remap(sheet, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0))


def _part_of(fine: Camera, layer: Layer, rows: slice, columns: slice) -> tuple[slice, slice] | None:
    """Return the part of a window of the fine picture that may show a layer, counted from the window's corner."""
    left, near = layer.corner_cm
    right, far = np.add(layer.corner_cm, np.divide(layer.paint.shape[::-1], layer.dots_per_cm))
    side = np.linspace(0, 1, 9)
    edge = [(left + (right - left) * s, y) for s in side for y in (near, far)]
    edge += [(x, near + (far - near) * s) for s in side for x in (left, right)]
    points = np.array([(x, y, layer.height_cm + layer.slope * y) for x, y in edge])
    if not ((points - fine.position_cm) @ fine.axes[2] > 1.0).all():  # reaches behind the camera, as a floor does
        return slice(0, rows.stop - rows.start), slice(0, columns.stop - columns.start)
    window = window_of(fine, points, margin=6)
    if window is None:
        return None
    parts = [
        slice(max(found.start, requested.start) - requested.start, min(found.stop, requested.stop) - requested.start)
        for found, requested in zip(window, (rows, columns), strict=True)
    ]
    return (parts[0], parts[1]) if all(part.start < part.stop for part in parts) else None


def whole(camera: Camera) -> tuple[slice, slice]:
    """Return the window of a camera's whole picture."""
    return slice(0, camera.height), slice(0, camera.width)


def window_of(camera: Camera, points_cm: NDArray[np.float64], *, margin: int = 2) -> tuple[slice, slice] | None:
    """Return the window around what points (..., 3) span, or None when all of it is outside the picture."""
    pixels = camera.project(points_cm).reshape(-1, 2)
    left, top = np.floor(pixels.min(axis=0)).astype(int) - margin
    right, bottom = np.ceil(pixels.max(axis=0)).astype(int) + margin + 1
    rows = slice(max(int(top), 0), min(int(bottom), camera.height))
    columns = slice(max(int(left), 0), min(int(right), camera.width))
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None


@lru_cache(maxsize=4)
def floor_layer(seed: int, *, height_cm: float, luma: float) -> Layer:
    """Return a floor of boards, some lighter and some darker."""
    rng = np.random.default_rng(seed)
    dots, size_cm = 1.0, 1100
    n = round(size_cm * dots)
    paint = np.full((n, n), luma, np.float32)
    board = 12
    for first in range(0, n, board):
        paint[first : first + board] += rng.normal(0, 6)
        paint[first : first + 1] -= 14
    paint += cv2.GaussianBlur(rng.normal(0, 12, (n, n)).astype(np.float32), (0, 0), sigmaX=10, sigmaY=0.6)
    return Layer(
        paint=paint,
        cover=np.full((n, n), 255, np.uint8),
        corner_cm=(-size_cm / 2, -size_cm / 2),
        dots_per_cm=dots,
        height_cm=height_cm,
    )


def _reflection(camera: Camera, light: Light, x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how much of the lamp a dull mirror at points of z = 0 reflects to the camera, 0 to 1 (Blinn 1977)."""
    between: list[NDArray[np.float32]] = [np.zeros_like(x)] * 3
    for place in (light.position_cm, camera.position_cm):
        towards = (np.float32(place[0]) - x, np.float32(place[1]) - y, np.float32(place[2]))
        far = np.sqrt(towards[0] ** 2 + towards[1] ** 2 + towards[2] ** 2)
        between = [sum_ + part / far for sum_, part in zip(between, towards, strict=True)]
    upright = between[2] / np.sqrt(between[0] ** 2 + between[1] ** 2 + between[2] ** 2)
    shine: NDArray[np.float32] = np.clip(upright, 0, 1) ** 60
    return shine
