"""Square crops of a camera's pictures, around boxes that follow a player."""

import cv2
import numpy as np
from numpy.typing import NDArray


def cut_squares(pictures: NDArray[np.uint8], boxes: NDArray[np.float64], *, size: int) -> NDArray[np.uint8]:
    """Crop a square around each box from each picture, like the picture of a camera that follows the player.

    The side of a square is the longer side of its box, at most the shorter side of the picture. The square is centred
    on the box, and moved as far as needed to lie in the picture.

    Args:
        pictures: (T, height, width) luma.
        boxes: (K, T, 4) left, top, right, bottom in pixels.
        size: rows and columns of a crop.

    Returns:
        (K, T, size, size) luma, averaged by area.

    Raises:
        ValueError: there is not one box a picture.
    """
    if boxes.ndim != 3 or boxes.shape[1:] != (len(pictures), 4):
        raise ValueError(f"boxes {boxes.shape} of {len(pictures)} pictures, expected (players, pictures, 4)")
    height, width = pictures.shape[1:]
    side = np.maximum(boxes[:, :, 2] - boxes[:, :, 0], boxes[:, :, 3] - boxes[:, :, 1])
    side = np.rint(side).astype(np.int64).clip(2, min(height, width))
    left = np.rint((boxes[:, :, 0] + boxes[:, :, 2] - side) / 2).astype(np.int64).clip(0, width - side)
    top = np.rint((boxes[:, :, 1] + boxes[:, :, 3] - side) / 2).astype(np.int64).clip(0, height - side)
    views = np.zeros((len(boxes), len(pictures), size, size), np.uint8)
    for player, at in np.ndindex(*side.shape):
        y, x, n = top[player, at], left[player, at], side[player, at]
        views[player, at] = cv2.resize(pictures[at, y : y + n, x : x + n], (size, size), interpolation=cv2.INTER_AREA)
    return views
