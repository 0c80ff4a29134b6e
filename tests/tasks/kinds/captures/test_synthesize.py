"""Sound on the master's clock, moved to the clock of a camera's own file; films that show nothing."""

from pathlib import Path

import numpy as np
import pytest

from tasks.intake.record import Device
from tasks.kinds.captures.synthesize import even_films, on_cameras_clock
from tasks.store.views import ViewSet
from tasks.takes import TAKE_NAME

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


def test_even_films_look_like_the_test_cameras_and_bear_no_takes_name(captured):
    del captured
    films = even_films(ViewSet(Path("data/chunked/captures")))
    assert sorted(films) == [".black/kalimba", ".white/kalimba"]
    for name, luma in ((".black/kalimba", 0), (".white/kalimba", 255)):
        assert films[name].pictures.shape == (75, 2, 2)
        assert (films[name].pictures == luma).all()
        assert (films[name].duration_s, films[name].instrument) == (3.0, "kalimba")
    assert not any(TAKE_NAME.fullmatch(name.partition("/")[0]) for name in films)
