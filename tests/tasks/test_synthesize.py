"""Sound on the master's clock, brought under a camera's own pictures."""

from pathlib import Path

import numpy as np
import pytest

from tasks.captures.record import Device
from tasks.synthesize import Lazy, on_cameras_clock

RATE = 1000


def camera(first_s, last_s):
    facts = {"video": {"first_s": first_s, "last_s": last_s}}
    return Device(name="cam_a", role="camera", path=Path("cam_a.mp4"), facts=facts, crop=None)


@pytest.mark.parametrize(("begins_s", "first_s"), [(0.0, 0.0), (2.5, 0.0), (-1.25, 0.0), (0.5, 0.2)])
def test_a_click_is_heard_when_its_picture_is_shown(begins_s, first_s):
    audio = np.zeros(10 * RATE, np.float32)
    audio[4 * RATE] = 1.0  # at 4 s of the master
    device_s = first_s + np.arange(200) / 25
    time_s = begins_s + device_s - first_s  # picture k of the file on the master's clock
    made = on_cameras_clock(audio, RATE, camera(first_s, device_s[-1]), time_s)
    assert len(made) == round((device_s[-1] + 1 / 25) * RATE)
    assert int(made.argmax()) == round((4.0 - begins_s + first_s) * RATE)


def test_a_clock_that_runs_fast_is_followed():
    rate = 1 + 500e-6
    audio = np.sin(np.arange(200 * RATE) / 40).astype(np.float32)
    device_s = np.arange(25 * 100) / 25
    made = on_cameras_clock(audio, RATE, camera(0.0, device_s[-1]), 3.0 + device_s * rate)
    own = np.arange(len(made)) / RATE
    np.testing.assert_allclose(made, np.sin((3.0 + own * rate) * RATE / 40), atol=2e-4)


def test_where_the_master_is_silent_so_is_the_film():
    audio = np.ones(2 * RATE, np.float32)
    device_s = np.arange(100) / 25
    made = on_cameras_clock(audio, RATE, camera(0.0, device_s[-1]), device_s - 1.0)
    assert not made[: RATE - 1].any()
    np.testing.assert_allclose(made[RATE : 3 * RATE - 1], 1.0)
    assert not made[3 * RATE + 1 :].any()


def test_values_are_made_when_they_are_asked_for():
    asked = []
    lazy = Lazy({"a": 1, "b": 2}, lambda name: asked.append(name) or name.upper())
    assert list(lazy) == ["a", "b"]
    assert len(lazy) == 2
    assert asked == []
    assert lazy["b"] == "B"
    assert asked == ["b"]
    with pytest.raises(KeyError):
        lazy["c"]
