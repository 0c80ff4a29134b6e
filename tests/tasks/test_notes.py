"""A sound file becomes the notes in it."""

import json

import numpy as np
import pytest
import soundfile

from tasks.errors import BadInput, ParamsError
from tasks.features.polyphony import transcribe
from tasks.notes import INSTRUMENTS, NotesParams, notes_of_file

VALUES = {
    "threshold": 0.4,
    "restrike_gap_s": 0.05,
    "n_iterations": 40,
    "release_db": 25.0,
    "longest_note_s": 15.0,
    "floor_db": -120.0,
}
PARAMS = NotesParams.parse(VALUES, "notes")


def decaying(pitch, *, sample_rate, ratios=(1, 2, 3, 4, 5, 6), decay_s=0.5):
    time_s = np.arange(2 * sample_rate) / sample_rate - 0.5
    envelope = np.where(time_s >= 0, np.exp(-np.maximum(time_s, 0) / decay_s), 0)
    frequency_hz = 440 * 2 ** ((pitch - 69) / 12)
    waves = [0.2 * 0.5**n * np.sin(2 * np.pi * frequency_hz * r * time_s) for n, r in enumerate(ratios)]
    return (sum(waves) * envelope).astype(np.float32)


def test_a_file_gives_its_note_as_json(tmp_path):
    soundfile.write(tmp_path / "a.wav", decaying(64, sample_rate=44_100), 44_100)
    found = notes_of_file(tmp_path / "a.wav", instrument="piano", params=PARAMS)
    [note] = json.loads(json.dumps(found.as_json()))["notes"]
    assert list(note) == ["pitch", "onset_s", "offset_s", "amplitude"]
    assert note["pitch"] == 64
    assert note["onset_s"] == pytest.approx(0.5, abs=0.03)
    assert note["offset_s"] > note["onset_s"]
    assert 0.1 < note["amplitude"] < 0.3


def test_the_command_and_the_function_below_it_find_the_same(tmp_path):
    audio = decaying(52, sample_rate=16_000)
    soundfile.write(tmp_path / "a.wav", audio, 16_000, subtype="FLOAT")
    found = notes_of_file(tmp_path / "a.wav", instrument="piano", params=PARAMS)
    pitches = np.arange(21, 109, dtype=np.uint8)
    below = transcribe(audio, sample_rate=16_000, pitches=pitches, params=PARAMS)
    for name, column in below.items():
        np.testing.assert_array_equal(getattr(found, name), column)


@pytest.mark.parametrize("pitch", [48, 60, 78, 94])
def test_bars_tuned_one_to_four_are_one_note_of_a_marimba(tmp_path, pitch):
    soundfile.write(tmp_path / "a.wav", decaying(pitch, sample_rate=48_000, ratios=(1, 4, 10), decay_s=0.2), 48_000)
    assert notes_of_file(tmp_path / "a.wav", instrument="marimba", params=PARAMS).pitch.tolist() == [pitch]


def test_only_pitches_of_the_instrument_are_found(tmp_path):
    soundfile.write(tmp_path / "a.wav", decaying(78, sample_rate=48_000, ratios=(1, 4), decay_s=0.2), 48_000)
    found = notes_of_file(tmp_path / "a.wav", instrument="marimba-18", params=PARAMS)
    assert found.pitch.tolist() == [78]


def test_pitches_above_nyquist_are_left_out_and_named(tmp_path):
    soundfile.write(tmp_path / "a.wav", decaying(60, sample_rate=4000), 4000)
    found = notes_of_file(tmp_path / "a.wav", instrument="piano", params=PARAMS)
    assert found.pitch.tolist() == [60]
    assert found.above_nyquist == tuple(range(96, 109))


def test_a_rate_too_low_for_music_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(2000, np.float32), 2000)
    with pytest.raises(BadInput, match="2000 Hz, expected at least 4000") as refusal:
        notes_of_file(tmp_path / "a.wav", instrument="piano", params=PARAMS)
    assert refusal.value.kind == "LOW_RATE"


def test_what_is_no_sound_is_refused_with_its_name(tmp_path):
    (tmp_path / "a.wav").write_text("not a sound")
    with pytest.raises(BadInput, match=r"a\.wav"):
        notes_of_file(tmp_path / "a.wav", instrument="piano", params=PARAMS)


def test_instruments_have_the_keys_they_are_built_with():
    assert len(INSTRUMENTS["piano"].pitches) == 88
    assert (INSTRUMENTS["marimba"].pitches[0], INSTRUMENTS["marimba"].pitches[-1]) == (45, 96)
    assert len(INSTRUMENTS["marimba-18"].pitches) == 18
    black = {1, 3, 6, 8, 10}
    assert {pitch % 12 for pitch in INSTRUMENTS["marimba-18"].pitches} == black


@pytest.mark.parametrize("name", VALUES)
def test_every_parameter_must_be_there(name):
    with pytest.raises(ParamsError, match=f"notes.{name}"):
        NotesParams.parse({key: value for key, value in VALUES.items() if key != name}, "notes")
