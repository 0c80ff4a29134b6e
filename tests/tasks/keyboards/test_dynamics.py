"""A planted travel is read back, and a faster one is a louder note."""

import numpy as np
import pytest

from tasks.keyboards.dynamics import travel_s, velocities
from tasks.rig.piano import travel_times


@pytest.mark.parametrize("planted_s", [0.03, 0.06, 0.1, 0.15])
@pytest.mark.parametrize("phase_s", [0.0, 0.011, 0.023])
def test_a_planted_travel_is_read_within_the_time_between_two_pictures(planted_s, phase_s):
    time_s = np.arange(40) / 60 + phase_s
    line = np.clip((time_s - 0.3) / planted_s + 0.5, 0, 1).astype(np.float32)
    assert travel_s(line, time_s, 0.3) == pytest.approx(planted_s, abs=1 / 60)


def test_a_film_that_shows_too_few_pictures_of_a_stroke_tells_no_travel():
    assert np.isnan(travel_s(np.ones(3, np.float32), np.arange(3) / 25, 0.04))


def test_travels_of_known_velocities_order_them_and_keep_the_level_in_the_middle():
    struck = np.arange(36, 105, 4)
    found = velocities(travel_times(struck), 80)
    assert np.all(np.diff(found) >= 0)
    assert found[len(found) // 2] == pytest.approx(80, abs=1)
    assert found[-1] - found[0] == pytest.approx(0.3 * (struck[-1] - struck[0]), abs=3)


def test_few_or_unknown_travels_leave_every_note_at_the_level():
    np.testing.assert_array_equal(velocities(np.array([0.03, 0.1]), 80), 80)
    np.testing.assert_array_equal(velocities(np.full(20, np.nan), 64), 64)
