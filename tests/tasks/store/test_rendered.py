"""A rendered score is read as it was written, or refused with what to do."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tasks.errors import DamagedData
from tasks.store.audio import write_flac
from tasks.store.rendered import read_rendered_sound, read_states, read_step_s
from tasks.store.tables import write_table

FACTS = {"duration_s": 2.0, "lit": "flat", "sample_rate": 8_000, "step_s": "1/250"}


@pytest.fixture
def rendered(tmp_path):
    """Return a folder with one rendered take, ``a``."""
    folder = tmp_path / "a"
    folder.mkdir()
    velocity = np.zeros((2, 88), np.uint8)
    velocity[1, 40] = 90
    states = {"time_s": np.array([0.0, 1.0]), "velocity": velocity, "pedal": np.array([1, 0], np.uint8)}
    write_table(folder / "states.parquet", states)
    write_flac(folder / "audio.flac", np.full(16_000, 0.25, np.float32), 8_000)
    (folder / "render.json").write_text(json.dumps(FACTS))
    return tmp_path


def test_states_and_sound_come_back(rendered):
    states = read_states("a", rendered)
    assert (states.time_s.tolist(), states.lit, states.duration_s) == ([0.0, 1.0], "flat", 2.0)
    assert np.flatnonzero(states.velocity).tolist() == [88 + 40]
    assert states.pedal.tolist() == [1, 0]
    assert read_step_s("a", rendered) == Fraction(1, 250)
    audio, sample_rate = read_rendered_sound("a", rendered)
    assert (len(audio), sample_rate, audio.max()) == (16_000, 8_000, 0.25)


@pytest.mark.parametrize("read", [read_states, read_rendered_sound, read_step_s])
def test_a_take_that_was_not_rendered_is_one_clear_line(rendered, read):
    with pytest.raises(DamagedData, match=r"b/render\.json is missing: run audiate render first"):
        read("b", rendered)


def test_facts_that_are_no_json_and_a_sound_of_another_rate_are_damage(rendered):
    path = Path(rendered / "a" / "render.json")
    path.write_text(json.dumps(FACTS | {"sample_rate": 4_000}))
    with pytest.raises(DamagedData, match="has 8000 samples a second, expected 4000"):
        read_rendered_sound("a", rendered)
    path.write_text("{")
    with pytest.raises(DamagedData, match=r"render\.json is not what render writes"):
        read_states("a", rendered)
