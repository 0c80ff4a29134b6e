"""The piano simulator's stage: its pictures and its sound show when and what was played."""

import json
from pathlib import Path

import numpy as np
import pytest

from tasks.instruments.midi import Controls
from tasks.kinds.scores.render import render_take
from tasks.store.audio import read_audio
from tasks.store.tables import read_table

KEY = 60 - 21


@pytest.fixture
def render(ingest, render_params):
    """Return a function that renders notes: key states and audio."""

    def run(name, notes, *, pedal=None, **changes):
        take = ingest(name, notes, pedal=pedal)
        out = Path("data/rendered") / name
        out.mkdir(parents=True)
        render_take(take, out, render_params.model_copy(update=changes))
        return read_table(out / "states.parquet"), read_audio(out / "audio.flac")[0]

    return run


def level(audio, start_s, end_s, rate=48_000):
    return float(np.abs(audio[round(start_s * rate) : round(end_s * rate)]).max())


def test_a_note_sounds_from_its_onset_on_and_the_sound_is_as_long_as_the_take_and_its_tail(render, notes_of):
    _, audio = render("a", notes_of((1.0, 1.5, 60, 100)), tail_s=0.5)
    assert level(audio, 0, 0.999) < 1e-3
    assert level(audio, 1.0, 1.05) > 0.02
    assert len(audio) == 2.0 * 48_000
    assert json.loads(Path("data/rendered/a/render.json").read_text())["duration_s"] == 2.0


def test_a_key_is_lit_with_its_velocity_while_it_is_down(render, notes_of):
    states, _ = render("a", notes_of((1.0, 1.5, 60, 100)))
    np.testing.assert_allclose(states["time_s"], [0.0, 1.0, 1.5])
    assert states["velocity"][:, KEY].tolist() == [0, 100, 0]
    assert np.count_nonzero(states["velocity"]) == 1


def test_a_key_struck_again_at_once_is_shown_released_for_a_picture_at_25_a_second(render, notes_of):
    states, _ = render("a", notes_of((0.5, 1.0, 60, 50), (1.0, 1.5, 60, 90)))
    for offset in range(5):  # wherever the pictures fall: five offsets of 8 ms cover a picture's 40 ms
        ticks = np.arange(50) / 25 + offset * 0.008
        shown = states["velocity"][np.searchsorted(states["time_s"], ticks, side="right") - 1, KEY]
        changes = shown[np.flatnonzero(np.diff(shown, prepend=np.uint8(1)))]
        assert changes.tolist() == [0, 50, 0, 90, 0]


def test_the_pedal_changes_the_sound_and_not_the_pictures(render, notes_of):
    note = notes_of((0.5, 1.0, 60, 100), (2.5, 2.6, 96, 1))
    pedal = Controls(time_s=np.array([0.6, 2.4]), control=np.array([64, 64], np.uint8), value=np.array([127, 0]))
    dry, dry_audio = render("dry", note)
    wet, wet_audio = render("wet", note, pedal=pedal)
    np.testing.assert_array_equal(dry["velocity"], wet["velocity"])
    assert level(wet_audio, 1.8, 2.3) > 10 * level(dry_audio, 1.8, 2.3)
