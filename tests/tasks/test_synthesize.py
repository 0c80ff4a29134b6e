"""Performances written side by side, in their order."""

import time

import numpy as np
import pytest

from tasks.errors import ParamsError, ToolError
from tasks.families.base import Performance
from tasks.synthesize import Lazy, SynthesizeParams, written


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan")])
def test_an_excerpt_of_no_length_is_refused_in_one_line(seconds):
    with pytest.raises(ParamsError, match=r"^params.yaml: synthesize.score_excerpt_s: .*$"):
        SynthesizeParams.parse({"score_excerpt_s": seconds}, "synthesize")


def test_values_are_made_when_they_are_read():
    made = []
    lazy = Lazy({"a": 1, "b": 2}, lambda name: made.append(name) or name.upper())
    assert list(lazy) == ["a", "b"]
    assert len(lazy) == 2
    assert made == []
    assert lazy["b"] == "B"
    assert made == ["b"]
    with pytest.raises(KeyError):
        lazy["c"]


def performances(n):
    for number in range(n):
        yield Performance(system="s", take=str(number), audio=np.zeros(1, np.float32), sample_rate=1, notes=None)


def test_performances_come_in_order_once_they_arewritten():
    done = set()

    def write(performance):
        time.sleep(0.01 * (int(performance.take) % 3))
        done.add(performance.take)

    for number, performance in enumerate(written(performances(9), write, 3)):
        assert performance.take == str(number)
        assert performance.take in done


def test_memory_holds_two_performances_a_worker():
    made = []

    def counted():
        for performance in performances(20):
            made.append(performance.take)
            yield performance

    for done, _ in enumerate(written(counted(), lambda _: None, 2)):
        assert len(made) - done <= 4


def test_a_performance_that_cannot_be_written_fails_the_stage():
    def write(performance):
        if performance.take == "1":
            raise ToolError("the disk is full")

    with pytest.raises(ToolError, match="the disk is full"):
        list(written(performances(5), write, 2))
