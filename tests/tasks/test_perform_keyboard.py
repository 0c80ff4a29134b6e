"""The film of a real keyboard gets its notes, its sound and a picture; so does what is only asked for."""

from fractions import Fraction

import cv2
import numpy as np
import pytest

from tasks.errors import ToolError
from tasks.instruments.keyboard import draw_keyboard
from tasks.instruments.midi import MidiPolicy
from tasks.instruments.midi_reader import read_midi
from tasks.keyboards.layout import pitch_named
from tasks.keyboards.read import Asked, KeyboardError, KeyboardParams, read_keyboard_film
from tasks.media.encode import encode_film
from tasks.media.probe import MediaPolicy, probe
from tasks.media.process import MediaError
from tasks.perform import (
    PerformParams,
    Region,
    asked_of,
    fitted_to_full_scale,
    perform_keyboard,
    preview_keyboard,
)
from tasks.rig.keyboard_films import film_of

POLICY = MediaPolicy(max_pixels=10**7, max_duration_s=60.0, max_bytes=10**8, max_streams=16, max_file_bytes=10**8)
PARAMS = PerformParams(
    media=POLICY,
    min_change=24,
    keyboard=KeyboardParams(min_score=0.62, min_white_px=8.0, lead_s=0.025, velocity=80, gain=0.5),
)
MIDI = MidiPolicy(max_bytes=10**6, max_duration_s=600, max_notes=10_000, hanging="close", overlap="keep", channels=2)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Three seconds of falling notes on 61 or so keys."""
    return film_of("tutorial-partial", 3, tmp_path_factory.mktemp("film"), duration_s=3.0)


def performed(film, folder, asked=None):
    return perform_keyboard(
        film.path,
        folder / "heard.mp4",
        params=PARAMS,
        asked=asked or Asked(),
        notes_out=folder / "heard.mid",
        picture_out=folder / "heard.png",
        progress=lambda what: None,
    )


def test_notes_sound_and_picture_are_written(film, tmp_path):
    lowest = Asked(lowest=film.first_pitch)
    done, reading = performed(film, tmp_path, lowest)
    written = read_midi(tmp_path / "heard.mid", policy=MIDI).notes
    np.testing.assert_array_equal(written.pitch, reading.notes.pitch)
    np.testing.assert_array_equal(np.sort(written.pitch), np.sort(film.notes.pitch))
    assert probe(tmp_path / "heard.mp4", policy=POLICY).audio_rate == 48_000
    assert done.duration_s == pytest.approx(3.0, abs=0.05)
    picture = cv2.imread(str(tmp_path / "heard.png"))
    assert picture is not None
    assert picture.std() > 20
    assert not any("guess" in words for words in reading.remarks)


def test_notes_and_picture_are_there_when_the_synthesizer_is_not(film, tmp_path, monkeypatch):
    def missing():
        raise ToolError("no SoundFont")

    monkeypatch.setattr("tasks.perform.find_soundfont", missing)
    with pytest.raises(ToolError, match="no SoundFont"):
        performed(film, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["heard.mid", "heard.png"]


def test_a_preview_names_the_keys_and_reads_no_notes(film, tmp_path):
    asked = Asked(corners=tuple(map(tuple, film.corners.tolist())), lowest=film.first_pitch)
    found = preview_keyboard(film.path, tmp_path / "keys.png", params=PARAMS, asked=asked, progress=lambda what: None)
    np.testing.assert_allclose(found.place.corners, film.corners, atol=0.1)
    assert (found.place.keys.lowest, len(found.place.keys.pitches)) == (film.first_pitch, film.n_keys)
    assert [path.name for path in tmp_path.iterdir()] == ["keys.png"]


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (Asked(corners=((0, 0), (9000, 0), (9000, 50), (0, 50))), "corners are 0,0,9000,0,9000,50,0,50, expected"),
        (Asked(crop=(0, 0, 9000, 50)), "crop is 0,0,9000,50, expected x,y,width,height within"),
        (Asked(lowest=pitch_named("D4")), "the lowest key cannot be D4: the black keys in view say"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(film, tmp_path, asked, reason):
    with pytest.raises(MediaError, match=reason) as caught:
        performed(film, tmp_path, asked)
    assert caught.value.kind == "BAD_REGION"
    assert list(tmp_path.iterdir()) == []


def test_a_marimbas_take_is_sent_to_its_family(film):
    with pytest.raises(MediaError, match="shows marimba-18, expected a piano") as caught:
        asked_of(film.path, Region(instrument="marimba-18"), lowest=None, lead_s=None)
    assert caught.value.kind == "OTHER_INSTRUMENT"


def test_sound_is_fitted_to_full_scale_from_both_sides():
    for peak in (0.01, 4.0):
        audio, gain_db = fitted_to_full_scale(np.array([0.0, -peak, peak / 2], np.float32))
        assert np.abs(audio).max() == pytest.approx(0.999)
        assert gain_db == pytest.approx(20 * np.log10(0.999 / peak), abs=1e-3)
    assert fitted_to_full_scale(np.zeros(3, np.float32))[1] == 0.0


def test_one_picture_is_no_film(tmp_path):
    path = tmp_path / "one.mp4"
    encode_film(path, draw_keyboard(np.zeros((1, 88), np.uint8), lit="velocity"), frame_rate=Fraction(25))
    with pytest.raises(KeyboardError, match="holds one picture, expected a film") as caught:
        read_keyboard_film(path, policy=POLICY, params=PARAMS.keyboard)
    assert caught.value.kind == "ONE_PICTURE"
