"""The piano simulator's stage: its pictures and its sound show when and what was played."""

import json
from pathlib import Path

import numpy as np
import pytest

from tasks.features.resample import resample
from tasks.instruments.midi import Controls
from tasks.intake.notes import read_notes
from tasks.kinds.scores.render import render_take
from tasks.store.audio import read_audio
from tasks.store.tables import read_table

KEY = 60 - 21


@pytest.fixture
def render(ingest, render_params):
    """Return a function that renders notes: key states and audio."""

    def run(name, notes, *, controls=None, pedal_channels=None, **changes):
        take = ingest(name, notes, pedal=controls)
        if pedal_channels is not None:
            path = Path("data/ingested") / name / "take.json"
            facts = json.loads(path.read_text())
            facts["counts"]["pedal_channels"] = pedal_channels
            path.write_text(json.dumps(facts))
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


NOTE_AND_LATER = ((0.5, 1.0, 60, 100), (2.5, 2.6, 96, 1))
PEDAL = Controls(time_s=np.array([0.6, 2.4]), control=np.array([64, 64], np.uint8), value=np.array([127, 0]))


def test_the_pedal_changes_the_sound_and_when_unseen_not_the_pictures(render, notes_of):
    dry, dry_audio = render("dry", notes_of(*NOTE_AND_LATER), pedal="unseen")
    wet, wet_audio = render("wet", notes_of(*NOTE_AND_LATER), controls=PEDAL, pedal="unseen")
    for name in ("time_s", "velocity", "pedal"):
        np.testing.assert_array_equal(dry[name], wet[name])
    assert not wet["pedal"].any()
    assert level(wet_audio, 1.8, 2.3) > 10 * level(dry_audio, 1.8, 2.3)


def test_a_drawn_pedal_is_down_from_its_press_to_its_release_and_changes_no_key(render, notes_of):
    unseen, unseen_audio = render("unseen", notes_of(*NOTE_AND_LATER), controls=PEDAL, pedal="unseen")
    drawn, drawn_audio = render("drawn", notes_of(*NOTE_AND_LATER), controls=PEDAL, pedal="drawn")
    assert drawn["time_s"].tolist() == [0.0, 0.5, 0.6, 1.0, 2.4, 2.5, 2.6]
    assert drawn["pedal"].tolist() == [0, 0, 1, 1, 0, 0, 0]
    of_keys = np.isin(drawn["time_s"], unseen["time_s"])
    np.testing.assert_array_equal(drawn["velocity"][of_keys], unseen["velocity"])
    np.testing.assert_array_equal(drawn_audio, unseen_audio)


def test_a_score_with_a_pedal_in_each_channel_shows_none(render, notes_of):
    _, dry_audio = render("dry", notes_of(*NOTE_AND_LATER))
    states, audio = render("wet", notes_of(*NOTE_AND_LATER), controls=PEDAL, pedal_channels=2)
    assert not states["pedal"].any()
    assert level(audio, 1.8, 2.3) > 10 * level(dry_audio, 1.8, 2.3)  # each note is held by its own pedal


# One clock for picture and sound

AWKWARD_S = (0.2, 0.2007, 0.2341, 0.29999, 0.3113, 0.41789)  # no two of them at the same place in a block


def phase_cycles(codes, onset_s, frequency_hz, *, rate):
    """Fit a sinusoid and a constant to 0.2 s from 40 samples after a picture on; return its phase at the picture."""
    first = round(onset_s * rate) + 40
    since_s = np.arange(first, first + rate // 5) / rate - onset_s
    turn = 2 * np.pi * frequency_hz * since_s
    basis = np.stack([np.cos(turn), np.sin(turn), np.ones_like(turn)], axis=1)
    (cosine, sine, _), *_ = np.linalg.lstsq(basis, codes[first : first + rate // 5], rcond=None)
    assert np.hypot(cosine, sine) > 1e-4  # the partial is there
    return np.arctan2(-sine, cosine) / (2 * np.pi)


@pytest.mark.parametrize("rate", [4_000, 8_000, 16_000])
@pytest.mark.parametrize("pitch", [60, 83])
def test_a_partial_has_the_same_phase_at_its_picture_whenever_its_note_is_played(render, notes_of, pitch, rate):
    hz = 440 * 2 ** ((pitch - 69) / 12)
    partials = [hz * n for n in (1, 2, 3, 4) if hz * n < 1_100]
    phases = []
    for number, onset_s in enumerate(AWKWARD_S):
        states, audio = render(f"take_{number}", notes_of((onset_s, onset_s + 0.5, pitch, 90)), tail_s=0.2)
        shown_s = float(states["time_s"][states["velocity"].any(axis=1)][0])
        codes = resample(audio, 48_000, rate)
        phases.append([phase_cycles(codes, shown_s, partial_hz, rate=rate) for partial_hz in partials])
    apart = np.array(phases) - phases[0]
    apart -= np.rint(apart)  # whole cycles do not count
    assert max(partials) > 900
    assert np.abs(apart).max() < 1e-3, apart


def test_the_notes_as_rendered_and_how_far_they_were_moved_are_in_the_data(render, notes_of):
    moves = Controls(time_s=np.array([1.0018, 1.2]), control=np.array([64, 64], np.uint8), value=np.array([127, 0]))
    played = notes_of((0.5, 0.5007, 60, 70), (0.5012, 1.1001, 60, 50), (0.7, 0.8, 61, 90), (0.9, 0.9005, 62, 80))
    render("a", played, controls=moves)
    notes = read_notes("a", Path("data/rendered"))
    assert notes.onset_s.tolist() == [0.5, 0.7, 0.9]
    assert notes.offset_s.tolist() == [1.1, 0.8, 0.904]
    assert notes.velocity.tolist() == [70, 90, 80]
    facts = json.loads(Path("data/rendered/a/render.json").read_text())
    assert (facts["step_s"], facts["n_merged"]) == ("1/250", 1)
    assert facts["largest_move_s"] == pytest.approx(0.0035, abs=1e-4)  # of the note that was shorter than a step
