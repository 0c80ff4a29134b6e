"""Where instruments lie in rectified pictures."""

import numpy as np
import pytest

from tasks.instruments.marimba import MARIMBA_18, bars_of
from tasks.instruments.plan import corner_places, note_columns

SIZE = {"width": 192, "height": 64, "margins": (0.05, 0.2)}


def test_the_corners_of_an_unknown_instrument_are_the_margins():
    places = corner_places("hurdy-gurdy", **SIZE)
    # Of 192 x 64 pixels, edges at -0.5: 9.6 and 12.8 stay free on each side.
    np.testing.assert_allclose(places, [[9.1, 12.3], [181.9, 12.3], [181.9, 50.7], [9.1, 50.7]])


def test_the_marimba_keeps_its_long_bars_to_the_left():
    far_left, far_right, near_right, near_left = corner_places("marimba-18", **SIZE)
    np.testing.assert_allclose((far_left[0], far_right[0]), (9.1, 181.9))
    assert near_left[1] - far_left[1] == pytest.approx(0.6 * 64)  # the longest bar fills what the margins leave
    lengths = [bar.length_cm for bar in bars_of()]
    assert near_right[1] - far_right[1] == pytest.approx(0.6 * 64 * lengths[-1] / lengths[0])


def test_a_bars_column_is_where_its_middle_lies_between_the_corners():
    columns = note_columns("marimba-18", MARIMBA_18, width=192, margins=(0.05, 0.2))
    bars = bars_of()
    far_left, far_right, *_ = corner_places("marimba-18", **SIZE)
    left_cm, right_cm = bars[0].x_cm - bars[0].width_cm / 2, bars[-1].x_cm + bars[-1].width_cm / 2
    for bar, column in zip(bars, columns, strict=True):
        share = (bar.x_cm - left_cm) / (right_cm - left_cm)
        assert column == pytest.approx(far_left[0] + share * (far_right[0] - far_left[0]))


def test_notes_of_an_unknown_instrument_are_spread_evenly():
    np.testing.assert_allclose(
        note_columns("none", (60, 62, 64, 65), width=8, margins=(0.0, 0.0)), [0.5, 2.5, 4.5, 6.5]
    )
