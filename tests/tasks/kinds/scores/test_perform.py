"""A video of the simulated keyboard, read as its changes."""

from fractions import Fraction

import numpy as np
import pytest

from tasks.kinds.scores.perform import film_of_video, keyboard_crop
from tasks.media.pictures import DecodedFilm


@pytest.mark.parametrize(
    ("size", "expected"),
    [((780, 58), (780, 57)), ((780, 57), None), ((1560, 114), None), ((1280, 94), None), ((1920, 1080), None)],
)
def test_only_the_row_that_the_encoder_added_is_cut_off(size, expected):
    assert keyboard_crop(*size) == expected


def test_changes_are_put_halfway_between_the_pictures_that_show_them():
    pictures = np.zeros((3, 57, 780), np.uint8)
    decoded = DecodedFilm(
        pictures=pictures,
        time_s=np.array([0.0, 0.48, 0.52]),
        duration_s=1.0,
        frame_rate=Fraction(25),
        n_decoded=25,
    )
    np.testing.assert_allclose(film_of_video(decoded).time_s, [0.0, 0.46, 0.50])


def test_the_first_picture_stands_from_the_start_and_none_comes_before_it():
    decoded = DecodedFilm(
        pictures=np.arange(3, dtype=np.uint8)[:, None, None].repeat(57, 1).repeat(780, 2),
        time_s=np.array([0.0, 0.01, 0.2]),
        duration_s=0.3,
        frame_rate=Fraction(10),
        n_decoded=3,
    )
    film = film_of_video(decoded)
    np.testing.assert_allclose(film.time_s, [0.0, 0.15])
    assert film.pictures[:, 0, 0].tolist() == [0, 2]
