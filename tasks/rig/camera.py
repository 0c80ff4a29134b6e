"""A camera: the projection of points of the room to its picture, and of its pixels to a plane.

Space is in centimetres as in ``tasks.instruments.marimba``: x to the right, y away from the player, z upwards. Pixels
count from the middle of the top left one, x to the right, y downwards.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

_UPWARDS = 0.97  # of a view's direction: looked at from straight above, "up" in the picture is away from the player
_INVERTING_STEPS = 12


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A pinhole with radial distortion.

    Attributes:
        position_cm: where it stands.
        target_cm: the point in the middle of its picture.
        focal: focal length in widths of the picture; 1 is a field of view of 53 degrees from left to right.
        distortion: k1 and k2 of Brown's model on normalised coordinates; negative k1 bends lines outwards.
        width: pixels.
        height: pixels.
        roll_deg: that it is turned by about its view, clockwise; what it shows turns the other way.
    """

    position_cm: tuple[float, float, float]
    target_cm: tuple[float, float, float]
    focal: float
    distortion: tuple[float, float]
    width: int
    height: int
    roll_deg: float = 0.0

    @cached_property
    def axes(self) -> NDArray[np.float64]:
        """Rows: the picture's right, its down, and the view's direction, each of length 1, (3, 3)."""
        forward = np.subtract(self.target_cm, self.position_cm)
        forward = forward / np.linalg.norm(forward)
        up = np.array([0.0, 1.0, 0.0]) if abs(forward[2]) > _UPWARDS else np.array([0.0, 0.0, 1.0])
        right = np.cross(forward, up)
        right = right / np.linalg.norm(right)
        down = np.cross(forward, right)
        if self.roll_deg:
            cosine, sine = np.cos(np.deg2rad(self.roll_deg)), np.sin(np.deg2rad(self.roll_deg))
            right, down = cosine * right + sine * down, cosine * down - sine * right
        return np.stack([right, down, forward])

    def project(self, points_cm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the pixels (..., 2) of points (..., 3).

        Raises:
            ValueError: a point is not in front of the camera.
        """
        in_view = (np.asarray(points_cm, np.float64) - self.position_cm) @ self.axes.T
        depth = in_view[..., 2]
        if not (depth > 1.0).all():
            raise ValueError(f"a point is {depth.min():.1f} cm before the camera, expected more than 1")
        return self._to_pixels(self._bend(in_view[..., :2] / depth[..., None]))

    def pixels_per_cm(self, points_cm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the pixels of a centimetre at points (..., 3), distortion aside."""
        depth = (np.asarray(points_cm, np.float64) - self.position_cm) @ self.axes[2]
        scale: NDArray[np.float64] = self.focal * self.width / depth
        return scale

    def on_plane(
        self, pixels: NDArray[np.float64], *, height_cm: float = 0.0, slope: float = 0.0
    ) -> NDArray[np.float64]:
        """Return the points (..., 2), x and y, of the plane z = height + slope * y at pixels (..., 2).

        The inverse of ``project`` there. NaN where a pixel's ray misses the plane.
        """
        return self.meet(self.rays(pixels), height_cm=height_cm, slope=slope)

    def meet(self, rays: NDArray[np.float64], *, height_cm: float, slope: float) -> NDArray[np.float64]:
        """Return the points (..., 2) of the plane z = height + slope * y that rays (..., 3) meet, or NaN."""
        towards = rays[..., 2] - slope * rays[..., 1] if slope else rays[..., 2]
        x, y, z = self.position_cm
        above = z - height_cm - slope * y
        with np.errstate(divide="ignore", invalid="ignore"):
            far = np.where(towards * above < 0, -above / towards, np.nan)
        return rays[..., :2] * far[..., None] + (x, y)

    def scaled(self, factor: int) -> "Camera":
        """Return the same camera with ``factor`` times as many pixels each way."""
        return Camera(
            position_cm=self.position_cm,
            target_cm=self.target_cm,
            focal=self.focal,
            distortion=self.distortion,
            width=self.width * factor,
            height=self.height * factor,
            roll_deg=self.roll_deg,
        )

    def grid(self) -> NDArray[np.float64]:
        """Return the places of all pixels, (height, width, 2)."""
        rows, columns = np.mgrid[0 : self.height, 0 : self.width]
        return np.stack([columns, rows], axis=-1).astype(np.float64)

    def vignette(self, strength: float) -> NDArray[np.float32]:
        """Return what is left of the light at each pixel, 1 in the middle and 1 - strength in the corners."""
        off = (self.grid() - self._middle) / np.linalg.norm(self._middle)
        left: NDArray[np.float32] = (1 - strength * (off**2).sum(axis=-1)).astype(np.float32)
        return left

    @property
    def _middle(self) -> NDArray[np.float64]:
        return np.array([(self.width - 1) / 2, (self.height - 1) / 2])

    def _to_pixels(self, bent: NDArray[np.float64]) -> NDArray[np.float64]:
        pixels: NDArray[np.float64] = bent * (self.focal * self.width) + self._middle
        return pixels

    def _bend(self, straight: NDArray[np.float64]) -> NDArray[np.float64]:
        square = (straight**2).sum(axis=-1, keepdims=True)
        bent: NDArray[np.float64] = straight * (1 + square * (self.distortion[0] + square * self.distortion[1]))
        return bent

    def rays(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the directions in the room (..., 3) of pixels (..., 2); the part along the view is 1."""
        bent = (np.asarray(pixels, np.float64) - self._middle) / (self.focal * self.width)
        far = np.sqrt((bent**2).sum(axis=-1, keepdims=True))
        near = far.copy()
        k1, k2 = self.distortion
        for _ in range(_INVERTING_STEPS):  # Newton, on the distance from the middle alone
            square = near**2
            near -= (near * (1 + square * (k1 + square * k2)) - far) / (1 + square * (3 * k1 + square * 5 * k2))
        straight = bent * np.where(far > 0, near / np.where(far > 0, far, 1.0), 1.0)
        directions: NDArray[np.float64] = straight @ self.axes[:2] + self.axes[2]
        return directions
