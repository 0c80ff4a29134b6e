"""A camera's picture made one from above: the instrument's plane fills the same band whoever filmed it.

A homography takes the instrument's four corners to fixed places. What lies in the plane of the bars or keys is then
where it is in every take; what stands above it, a mallet or a hand, leans away from the camera until it strikes.
"""

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

_FINER = 2  # each way: pictures are sampled so much finer and then averaged by area


class Rectifier:
    """Takes pictures of one camera to the fixed band.

    Args:
        corners: of the instrument's plane, x and y in pixels (middle of the first pixel at 0), from the player's far
            left clockwise.
        places: where they come to lie, (4, 2), in pixels of the new picture, in the same order.
        width: of the new pictures.
        height: of the new pictures.

    Raises:
        ValueError: the corners lie on a line or cross each other: no picture of a plane has such corners.
    """

    def __init__(self, corners: ArrayLike, places: ArrayLike, *, width: int, height: int) -> None:
        found, wanted = np.asarray(corners, np.float32), np.asarray(places, np.float32)
        if found.shape != (4, 2) or not is_convex(found):
            raise ValueError(f"corners are {found.round(1).tolist()}, expected 4 points around the instrument")
        self._size = (width, height)
        # A pixel of the new picture is _FINER x _FINER fine ones; its middle stays where it is.
        fine = (wanted + 0.5) * _FINER - 0.5
        self._homography = cv2.getPerspectiveTransform(found, fine.astype(np.float32))

    def __call__(self, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return pictures (P, H, W) as (P, height, width); outside of the camera's picture its edge is repeated."""
        width, height = self._size
        fine = (width * _FINER, height * _FINER)
        made = np.empty((len(pictures), height, width), np.uint8)
        for row, picture in enumerate(pictures):
            warped = cv2.warpPerspective(
                picture, self._homography, fine, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
            made[row] = cv2.resize(warped, self._size, interpolation=cv2.INTER_AREA)
        return made


def is_convex(corners: NDArray[np.floating]) -> bool:
    """Return whether four points (4, 2) go around an area, either way."""
    side = np.roll(corners, -1, axis=0) - corners
    following = np.roll(side, -1, axis=0)
    turn = side[:, 0] * following[:, 1] - side[:, 1] * following[:, 0]
    return bool((turn > 0).all() or (turn < 0).all())
