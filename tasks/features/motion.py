"""Motion features of a player's video: optical flow, and the deviation from the median picture.

Shapes: T pictures, H rows and W columns of a picture, F = `N_MOTION` features of a picture.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE = 48  # rows and columns of the pictures that motion is measured in
FLOW_CELLS = 6  # of the optical flow, across and down
LUMA_CELLS = 8  # of the deviation from the median picture, across and down
N_MOTION = 2 * FLOW_CELLS**2 + LUMA_CELLS**2
LUMA_SCALE = 64.0  # a deviation of so many levels is 1

_MOST_FOR_MEDIAN = 512  # pictures, evenly spaced: more change nothing, also in a take of an hour
# At half the size of pictures this small the flow costs a fifth, and on shifted pictures it is as exact.
_FINEST_SCALE = 1


def motion_features(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Compute the motion features of every picture of a player.

    Args:
        pictures: (T, H, W) luma at even steps of time; another size than 48 x 48 is averaged to it.

    Returns:
        (T, F). The first 72 features are the dense optical flow from the picture before to this one, averaged over
        6 x 6 cells, row by row, to the right (36) and down (36), in pixels of a 48 x 48 picture a step; zeros in the
        first picture. The other 64 are luma minus that of the take's median picture, averaged over 8 x 8 cells, row by
        row, / 64. A still video gives zeros.

    Raises:
        ValueError: ``pictures`` is not (T, H, W) uint8.

    Source:
        Kroeger, Timofte, Dai and Van Gool, Fast Optical Flow using Dense Inverse Search, ECCV 2016, as OpenCV has it,
        its preset "fast".
    """
    if pictures.ndim != 3 or pictures.dtype != np.uint8 or 0 in pictures.shape[1:]:
        raise ValueError(f"pictures are {pictures.dtype} {pictures.shape}, expected uint8 (T, H, W)")
    features = np.zeros((len(pictures), N_MOTION), np.float32)
    if not len(pictures):
        return features
    small = pictures if pictures.shape[1:] == (SIZE, SIZE) else _resized(pictures)
    _flow(small, features[:, : 2 * FLOW_CELLS**2])
    usual = np.median(small[:: -(-len(small) // _MOST_FOR_MEDIAN)], axis=0)
    cells = _cell_means(small, LUMA_CELLS) - _cell_means(usual[None], LUMA_CELLS)
    features[:, 2 * FLOW_CELLS**2 :] = cells.reshape(len(small), -1) / LUMA_SCALE
    return features


def _resized(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.stack([cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA) for picture in pictures])


def _flow(pictures: NDArray[np.uint8], features: NDArray[np.float32]) -> None:
    """Fill in the flow towards each picture but the first."""
    cv2.setNumThreads(1)  # takes fill the cores already, and more threads divide a picture otherwise: other last bits
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    method.setFinestScale(_FINEST_SCALE)
    n = FLOW_CELLS**2
    no_guess = np.zeros((SIZE, SIZE, 2), np.float32)
    for at in range(1, len(pictures)):
        # A video of a lower rate repeats pictures: there is no motion between them.
        if (pictures[at] == pictures[at - 1]).all():
            continue
        flow = method.calc(pictures[at - 1], pictures[at], no_guess)
        cells = cv2.resize(flow, (FLOW_CELLS, FLOW_CELLS), interpolation=cv2.INTER_AREA)  # the mean over each cell
        features[at, :n], features[at, n:] = cells[:, :, 0].ravel(), cells[:, :, 1].ravel()


def _cell_means(pictures: NDArray[np.generic], n: int) -> NDArray[np.float32]:
    """Return the means (T, n, n) over cells."""
    side = SIZE // n
    means: NDArray[np.float32] = pictures.reshape(len(pictures), n, side, n, side).mean(axis=(2, 4), dtype=np.float32)
    return means
