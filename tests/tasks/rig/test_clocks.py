import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.rig.clocks import DeviceClock, Drop, Wander, field_clock


def clock(start_s=0.0, drift_ppm=0.0, wander=None, dropped=()):
    return DeviceClock(start_s=start_s, drift_ppm=drift_ppm, wander=wander, dropped=dropped)


def test_a_device_starts_late_and_its_seconds_are_longer():
    np.testing.assert_allclose(clock(5.0, 100.0).to_world([0.0, 10.0]), [5.0, 15.001], rtol=0, atol=1e-12)


def test_after_a_dropped_block_the_world_is_further_on():
    device = clock(dropped=(Drop(at_s=10.0, length_s=0.5), Drop(at_s=20.0, length_s=1.0)))
    np.testing.assert_allclose(device.to_world([9.999, 10.0, 15.0, 25.0]), [9.999, 10.5, 15.5, 26.5])
    np.testing.assert_allclose(
        device.to_device([9.9, 10.2, 10.5, 15.5, 21.0, 26.5]), [9.9, 10.0, 10.0, 15.0, 20.0, 25.0]
    )


def test_a_wander_swings_by_its_amplitude():
    device = clock(wander=Wander(amplitude_s=0.005, period_s=60.0))
    np.testing.assert_allclose(device.to_world([0.0, 15.0, 30.0, 45.0]), [0.0, 15.005, 30.0, 44.995], atol=1e-12)


@given(
    start_s=st.floats(-100, 100),
    drift_ppm=st.floats(-1500, 1500),
    amplitude_s=st.floats(0, 0.05),
    period_s=st.floats(10, 200),
    drops=st.lists(st.tuples(st.floats(1, 90), st.floats(0.01, 2)), max_size=3, unique_by=lambda drop: drop[0]),
    device_s=st.lists(st.floats(0, 100), min_size=1, max_size=10),
)
def test_there_and_back_is_the_same_moment(start_s, drift_ppm, amplitude_s, period_s, drops, device_s):
    dropped = tuple(Drop(at_s=at_s, length_s=length_s) for at_s, length_s in sorted(drops))
    device = clock(start_s, drift_ppm, Wander(amplitude_s=amplitude_s, period_s=period_s), dropped)
    np.testing.assert_allclose(device.to_device(device.to_world(device_s)), device_s, rtol=0, atol=1e-8)
    world = device.to_world(np.sort(device_s))
    assert (np.diff(world) >= 0).all()


def test_drops_out_of_order_are_refused():
    with pytest.raises(ValidationError, match="not in order of time"):
        clock(dropped=(Drop(at_s=20.0, length_s=1.0), Drop(at_s=10.0, length_s=1.0)))


def test_a_wander_that_turns_time_back_is_refused():
    with pytest.raises(ValidationError, match=r"wander of 1\.0 s in 2\.0 s is no clock's"):
        clock(wander=Wander(amplitude_s=1.0, period_s=2.0))


def test_after_a_block_that_was_recorded_twice_the_world_is_behind():
    device = clock(dropped=(Drop(at_s=10.0, length_s=-0.5),))
    np.testing.assert_allclose(device.to_world([9.999, 10.0, 10.5, 15.0]), [9.999, 9.5, 10.0, 14.5])
    np.testing.assert_allclose(device.to_device([9.7, 10.0, 14.5]), [9.7, 10.5, 15.0])
    with pytest.raises(ValidationError, match="length 0"):
        Drop(at_s=1.0, length_s=0.0)


def test_clocks_of_the_field_are_as_those_of_198_microphones():
    clocks = [field_clock(np.random.default_rng(k), start_s=1.0, duration_s=9000.0) for k in range(1000)]
    drift_ppm = np.abs([device.drift_ppm for device in clocks])
    assert 6.5 < np.median(drift_ppm) < 9.0
    assert 18 < np.quantile(drift_ppm, 0.94) < 22
    assert 1 <= (drift_ppm == 872).sum() <= 15
    losses = np.array([len(device.dropped) for device in clocks])
    assert 0.53 < (losses > 0).mean() < 0.63  # 115 of 198
    assert 18 < losses[losses > 0].mean() < 22  # 2,347 of 115
    lengths_s = np.array([drop.length_s for device in clocks for drop in device.dropped])
    assert (np.abs(lengths_s) >= 0.005).all()
    assert (np.abs(lengths_s) <= 0.1).all()
    assert (lengths_s < 0).any()
