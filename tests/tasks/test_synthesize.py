"""Sound on the master's clock, brought under a camera's own pictures."""

import time
from pathlib import Path

import numpy as np
import pytest

from tasks.errors import ToolError
from tasks.families.base import Performance
from tasks.intake.record import Device
from tasks.store.views import ViewSet
from tasks.synthesize import Lazy, _written, even_films, on_cameras_clock
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


def test_even_films_look_like_the_test_cameras_and_bear_no_takes_name(captured):
    del captured
    films = even_films(ViewSet(Path("data/chunked/captures")))
    assert sorted(films) == [".black/kalimba", ".white/kalimba"]
    for name, luma in ((".black/kalimba", 0), (".white/kalimba", 255)):
        assert films[name].pictures.shape == (75, 2, 2)
        assert (films[name].pictures == luma).all()
        assert (films[name].duration_s, films[name].instrument) == (3.0, "kalimba")
    assert not any(TAKE_NAME.fullmatch(name.partition("/")[0]) for name in films)


def performances(n):
    for number in range(n):
        yield Performance(system="s", take=str(number), audio=np.zeros(1, np.float32), sample_rate=1, notes=None)


def test_performances_come_in_order_once_they_are_written():
    written = set()

    def write(performance):
        time.sleep(0.01 * (int(performance.take) % 3))
        written.add(performance.take)

    for number, performance in enumerate(_written(performances(9), write, 3)):
        assert performance.take == str(number)
        assert performance.take in written


def test_memory_holds_two_performances_a_worker():
    made = []

    def counted():
        for performance in performances(20):
            made.append(performance.take)
            yield performance

    for done, _ in enumerate(_written(counted(), lambda _: None, 2)):
        assert len(made) - done <= 4


def test_a_performance_that_cannot_be_written_fails_the_stage():
    def write(performance):
        if performance.take == "1":
            raise ToolError("the disk is full")

    with pytest.raises(ToolError, match="the disk is full"):
        list(_written(performances(5), write, 2))
