"""Views that follow a box through a film."""

import numpy as np
import pytest

from tasks.features.cuts import cut_squares


def test_a_square_has_the_middle_of_its_box_and_its_longer_side():
    picture = np.arange(80, dtype=np.uint8).repeat(60).reshape(80, 60).T[None]  # luma is the column
    view = cut_squares(picture, np.array([[[30.0, 10.0, 40.0, 30.0]]]), size=20)
    assert view.shape == (1, 1, 20, 20)
    np.testing.assert_array_equal(view[0, 0], np.tile(np.arange(25, 45), (20, 1)))


def test_a_square_is_moved_until_it_lies_in_the_picture():
    picture = np.arange(80, dtype=np.uint8).repeat(60).reshape(80, 60).T[None]
    boxes = np.array([[[-5.0, 0.0, 15.0, 20.0]], [[70.0, 50.0, 90.0, 70.0]]])
    view = cut_squares(picture, boxes, size=20)
    assert view[:, 0, 0, 0].tolist() == [0, 60]


def test_a_box_larger_than_the_picture_gives_all_that_there_is():
    picture = np.full((1, 30, 50), 7, np.uint8)
    assert cut_squares(picture, np.array([[[-100.0, -100.0, 200.0, 200.0]]]), size=10).tolist() == [[[[7] * 10] * 10]]


def test_each_picture_is_cut_at_its_own_box():
    pictures = np.zeros((3, 20, 60), np.uint8)
    for at in range(3):
        pictures[at, :, 20 * at : 20 * at + 20] = 100 + at
    boxes = np.array([[[20.0 * at, 0.0, 20.0 * at + 20, 20.0] for at in range(3)]])
    assert cut_squares(pictures, boxes, size=8)[0].mean(axis=(1, 2)).tolist() == [100, 101, 102]


def test_a_box_a_picture_is_expected():
    with pytest.raises(ValueError, match="of 3 pictures"):
        cut_squares(np.zeros((3, 9, 9), np.uint8), np.zeros((1, 2, 4)), size=4)
