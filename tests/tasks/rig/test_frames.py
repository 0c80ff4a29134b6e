"""Picture times: exact rates, and a phone's."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.rig.frames import picture_times, time_base

RATES = [Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(30), Fraction(50)]


@pytest.mark.parametrize("rate", RATES, ids=str)
def test_a_constant_rate_is_kept_to_the_point(rate):
    times = picture_times(33.3, frame_rate=rate, rng=None)
    assert len(times) == int(Fraction(33.3) * rate)
    assert times == [number / rate for number in range(len(times))]
    assert all((moment / time_base(rate, is_variable=False)).denominator == 1 for moment in times)


@given(st.integers(0, 1000), st.sampled_from(RATES), st.floats(0.5, 20))
def test_a_phones_pictures_rise_stay_near_their_ticks_and_fall_on_its_time_base(seed, rate, duration_s):
    times = picture_times(duration_s, frame_rate=rate, rng=np.random.default_rng(seed))
    assert times[0] == 0
    assert all(later > earlier for earlier, later in pairwise(times))
    off = [float(moment * rate) - round(moment * rate) for moment in times]
    assert max(abs(each) for each in off) <= 0.41
    assert all((moment / time_base(rate, is_variable=True)).denominator == 1 for moment in times)


def test_a_phone_loses_pictures_and_keeps_its_mean_rate():
    times = picture_times(600, frame_rate=Fraction(30), rng=np.random.default_rng(0))
    assert 0.02 < 1 - len(times) / 18_000 < 0.04
    assert float(times[-1]) == pytest.approx(600, abs=0.2)
    steps = np.diff([float(moment) for moment in times])
    assert np.std(steps) > 0.003


@pytest.mark.parametrize(("duration_s", "rate"), [(0.0, Fraction(25)), (1.0, Fraction(0))])
def test_no_time_and_no_rate_are_refused(duration_s, rate):
    with pytest.raises(ValueError, match="expected both above 0"):
        picture_times(duration_s, frame_rate=rate, rng=None)
