"""What moves in a player's pictures."""

import cv2
import numpy as np
import pytest

from tasks.features.motion import N_MOTION, motion_features


@pytest.fixture(scope="module")
def scene():
    """Something with texture, larger than a picture of it."""
    noise = np.random.default_rng(0).integers(0, 255, (96, 96)).astype(np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)


def picture_from(scene, x, y):
    return scene[20 - y : 68 - y, 20 - x : 68 - x]


def test_there_are_136_numbers_a_picture():
    assert N_MOTION == 136
    assert motion_features(np.zeros((5, 48, 48), np.uint8)).shape == (5, 136)


@pytest.mark.parametrize("luma", [0, 16, 255])
def test_a_film_of_one_luma_gives_zeros(luma):
    assert not motion_features(np.full((9, 48, 48), luma, np.uint8)).any()


def test_a_film_that_stands_still_gives_zeros(scene):
    assert not motion_features(np.stack([picture_from(scene, 0, 0)] * 9)).any()


@pytest.mark.parametrize(("x", "y"), [(2, 0), (-2, 0), (0, 2), (1, -2), (3, 3)])
def test_the_flow_is_what_the_scene_moved_by(scene, x, y):
    features = motion_features(np.stack([picture_from(scene, 0, 0), picture_from(scene, x, y)]))
    assert not features[0, :72].any()
    inner = features[1, :72].reshape(2, 6, 6)[:, 1:5, 1:5]
    np.testing.assert_allclose(inner.mean(axis=(1, 2)), [x, y], atol=0.1)


def test_what_moves_in_a_corner_is_in_the_corners_cells(scene):
    still, moved = picture_from(scene, 0, 0).copy(), picture_from(scene, 0, 0).copy()
    moved[:16, 32:] = scene[21:37, 54:70]
    still[:16, 32:] = scene[21:37, 52:68]
    flow = motion_features(np.stack([still, moved]))[1, :72].reshape(2, 6, 6)
    assert (np.abs(flow[0, :2, 4:]) > 0.5).all()
    assert np.abs(flow[:, 3:, :3]).max() < 0.2


def test_the_deviation_is_from_the_median_picture_in_cells_of_six_pixels():
    pictures = np.full((9, 48, 48), 100, np.uint8)
    pictures[4, 6:12, 42:48] = 164  # row 1, column 7 of 8
    deviation = motion_features(pictures)[:, 72:].reshape(9, 8, 8)
    assert deviation[4, 1, 7] == 1.0
    deviation[4, 1, 7] = 0.0
    assert not deviation.any()


def test_pictures_of_another_size_are_averaged_to_48(scene):
    film = np.stack([picture_from(scene, 0, 0), picture_from(scene, 1, 0)])
    doubled = film.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_array_equal(motion_features(doubled), motion_features(film))


def test_the_same_film_gives_the_same_bytes(scene):
    film = np.stack([picture_from(scene, at % 5, at % 3) for at in range(20)])
    assert motion_features(film).tobytes() == motion_features(film.copy()).tobytes()


def test_a_film_without_pictures_has_no_motion():
    assert motion_features(np.zeros((0, 48, 48), np.uint8)).shape == (0, 136)


@pytest.mark.parametrize("pictures", [np.zeros((48, 48), np.uint8), np.zeros((2, 48, 48), np.float32)])
def test_what_is_no_film_is_refused(pictures):
    with pytest.raises(ValueError, match=r"expected uint8 \(T, H, W\)"):
        motion_features(pictures)
