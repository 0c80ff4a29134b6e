"""Pictures of a plane, filmed from anywhere, become the same picture."""

import cv2
import numpy as np
import pytest

from tasks.features.rectify import Rectifier

WIDTH, HEIGHT = 96, 48
PLACES = np.array([[10, 10], [85, 10], [85, 37], [10, 37]], np.float64)
CORNERS = np.array([[40, 20], [200, 50], [180, 120], [25, 90]], np.float64)


def plane():
    """A smooth picture that looks like itself nowhere else."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    return (128 + 60 * np.sin(x / 9) * np.cos(y / 7) + 40 * np.cos(x / 23)).astype(np.uint8)


def test_a_plane_that_a_camera_filmed_comes_back():
    there = cv2.getPerspectiveTransform(PLACES.astype(np.float32), CORNERS.astype(np.float32))
    filmed = cv2.warpPerspective(plane(), there, (240, 144), flags=cv2.INTER_CUBIC)
    made = Rectifier(CORNERS, PLACES, width=WIDTH, height=HEIGHT)(np.stack([filmed, 255 - filmed]))
    assert made.shape == (2, HEIGHT, WIDTH)
    inside = (slice(12, 36), slice(12, 84))
    assert np.abs(made[0][inside].astype(int) - plane()[inside]).mean() < 2.0
    assert np.abs(made[1][inside].astype(int) - (255 - plane()[inside])).mean() < 2.0


def test_corners_that_are_where_they_shall_be_change_nothing():
    made = Rectifier(PLACES, PLACES, width=WIDTH, height=HEIGHT)(plane()[None])
    np.testing.assert_allclose(made[0].astype(int), plane(), atol=2)


@pytest.mark.parametrize(
    "corners",
    [
        [[0, 0], [10, 0], [20, 0], [30, 0]],  # on a line
        [[0, 0], [10, 10], [10, 0], [0, 10]],  # crossing
        [[0, 0], [10, 0], [10, 10]],
    ],
)
def test_corners_of_no_plane_are_refused(corners):
    with pytest.raises(ValueError, match="expected 4 points around the instrument"):
        Rectifier(corners, PLACES, width=WIDTH, height=HEIGHT)
