"""The piano roll on films whose notes are known."""

from dataclasses import replace
from fractions import Fraction

import mir_eval
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.piano_roll import KeyReader, KeyReaderConfig
from tasks.errors import DamagedData, ParamsError
from tasks.families.networks import load_network
from tasks.families.piano_roll import (
    PianoRollFamily,
    PianoRollParams,
    degrade,
    notes_of_keys,
    read_keys,
    sample_pictures,
)
from tasks.instruments.keyboard import draw_keyboard, film_frames, key_states
from tasks.instruments.notes import sorted_notes
from tasks.keyboards.read import KeyboardParams
from tasks.media.encode import encode_film
from tasks.media.probe import MediaPolicy
from tasks.perform import PerformParams, perform_video

PARAMS = PianoRollParams(
    n_rows=6,
    window_width=30,
    n_hidden=64,
    n_steps=600,
    steps_per_epoch=100,
    batch_size=16,
    learning_rate=3e-3,
    velocity_weight=5.0,
    n_pictures=4096,
    n_validation_pictures=256,
    jitter_luma=20.0,
    noise_luma=8.0,
    blur=0.5,
    gain=0.2,
    program=0,
    n_threads=1,
    seed=0,
)
SHORT = PARAMS.model_copy(
    update={"n_steps": 4, "steps_per_epoch": 2, "batch_size": 4, "n_pictures": 64, "n_validation_pictures": 32}
)
KEYBOARD = KeyboardParams(min_score=0.62, min_white_px=8.0, lead_s=0.03, velocity=80, gain=0.5)


def fit(music, out, resume, params=SHORT):
    return music.fit(PianoRollFamily(), out, resume, params)


@pytest.fixture(scope="module")
def trained(music, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    fit(music, folder / "out", folder / "resume")
    return folder / "out"


@pytest.fixture(scope="module")
def learned(much_music, tmp_path_factory):
    folder = tmp_path_factory.mktemp("learned")
    fit(much_music, folder / "out", folder / "resume", PARAMS)
    return folder / "out"


@st.composite
def strokes(draw):
    """Notes on a grid of milliseconds; those of one key leave 100 ms between them."""
    notes = []
    for pitch in draw(st.lists(st.integers(21, 108), unique=True, max_size=4)):
        at = 0
        for _ in range(draw(st.integers(1, 4))):
            at += draw(st.integers(100, 900))
            length = draw(st.integers(1, 900))
            notes.append((at / 1000, (at + length) / 1000, pitch, draw(st.integers(1, 127))))
            at += length
    columns = np.array(notes).reshape(-1, 4).T
    return sorted_notes(columns[0], columns[1], columns[2].astype(int), columns[3].astype(int))


@given(strokes())
@settings(deadline=None)
def test_notes_of_keys_undoes_key_states(notes):
    time_s, velocity = key_states(notes, restrike_gap_s=0.05)
    found = notes_of_keys(velocity, time_s, duration_s=20.0)
    for name, column in notes.columns().items():
        np.testing.assert_array_equal(found.columns()[name], column, err_msg=name)


def test_a_restrike_is_seen_as_the_short_lift():
    notes = sorted_notes(np.array([0.5, 1.0]), np.array([1.0, 1.5]), np.array([60, 60]), np.array([50, 90]))
    time_s, velocity = key_states(notes, restrike_gap_s=0.05)
    found = notes_of_keys(velocity, time_s, duration_s=2.0)
    assert found.onset_s.tolist() == [0.5, 1.0]
    assert found.offset_s.tolist() == [0.95, 1.5]
    assert found.velocity.tolist() == [50, 90]


def test_a_key_held_from_first_to_last_picture_is_one_note_of_the_whole_film():
    velocity = np.zeros((3, 88), np.uint8)
    velocity[:, 39] = 70, 71, 90
    found = notes_of_keys(velocity, np.array([0.0, 1.0, 2.0]), duration_s=2.5)
    assert (found.onset_s[0], found.offset_s[0], found.pitch[0], found.velocity[0]) == (0.0, 2.5, 60, 71)
    assert len(found) == 1


def test_pictures_are_drawn_from_the_part_alone_with_their_own_keys(music):
    pictures, velocities = sample_pictures(music.scores, "train", 40, seed=0)
    assert (len(pictures), len(velocities)) == (40, 40)
    np.testing.assert_array_equal(draw_keyboard(velocities, lit="velocity"), pictures)
    every, _ = sample_pictures(music.scores, "train", 10_000, seed=0)
    assert len(every) == sum(len(music.scores.open(take)["pictures"]) for take in ("a", "b"))


def test_degraded_pictures_are_the_same_for_the_same_draw_and_clean_without_faults():
    pictures = torch.from_numpy(draw_keyboard(np.eye(3, 88, dtype=np.uint8) * 60, lit="velocity"))
    one, two = (degrade(pictures, np.random.default_rng(1), PARAMS) for _ in range(2))
    assert torch.equal(one, two)
    assert 0 <= one.min() < one.max() <= 255
    assert (one - pictures).abs().mean() > 1
    clean = PARAMS.model_copy(update={"jitter_luma": 0.0, "noise_luma": 0.0, "blur": 0.0})
    assert torch.equal(degrade(pictures, np.random.default_rng(1), clean), pictures.float())


def test_keys_and_velocities_are_the_same_with_and_without_the_pedals_line(music, trained):
    film = music.film("d")
    velocity = music.scores.open("d")["velocities"][:]
    with_line = replace(film, pictures=draw_keyboard(velocity, lit="velocity", pedal=np.ones(len(velocity), np.uint8)))
    assert (with_line.pictures != film.pictures).any(axis=(1, 2)).all()
    network, _ = load_network(
        trained / "piano_roll", lambda facts: KeyReader(KeyReaderConfig(**facts["network"])), {"network": dict}
    )
    with torch.inference_mode():
        read = [torch.stack(network.eval()(torch.from_numpy(f.pictures))) for f in (film, with_line)]
    assert torch.equal(*read)  # of every key, whether it is pressed, and how hard
    assert read[0].std(dim=1).max() > 0
    up, down = (read_keys(network, f.pictures, threshold=0.0) for f in (film, with_line))
    np.testing.assert_array_equal(down, up)


def test_the_same_training_writes_the_same_bytes_and_its_test_takes_are_never_opened(
    music, trained, tmp_path, monkeypatch
):
    opened = []
    really_open = music.scores.open
    monkeypatch.setattr(music.scores, "open", lambda take: opened.append(take) or really_open(take))
    files = fit(music, tmp_path / "out", tmp_path / "resume")
    assert set(opened) == {"a", "b", "c"}
    assert files == {str(p.relative_to(trained)): p.read_bytes() for p in sorted(trained.rglob("*")) if p.is_file()}
    assert {"piano_roll.safetensors", "piano_roll.json", "curves/piano_roll.csv"} <= files.keys()


def test_a_performance_is_as_long_as_its_film_and_comes_with_its_notes(music, trained):
    films = {take: music.film(take) for take in ("c", "d")}
    found = list(PianoRollFamily().perform(trained, films, accelerator="cpu", truth=None))
    assert [(p.system, p.take, len(p.audio), p.sample_rate) for p in found] == [
        *(("piano_roll", take, 6 * 48_000, 48_000) for take in ("c", "d"))
    ]
    assert all(p.notes is not None and np.isfinite(p.audio).all() for p in found)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"n_steps": 5}, "n_steps is 5, expected a multiple of steps_per_epoch, 2"),
        ({"steps_per_epoch": 0}, "n_steps is 4, expected a multiple"),
        ({"batch_size": 0}, "batch_size is 0, expected at least 1"),
    ],
)
def test_params_without_sense_are_refused(change, found, music, tmp_path):
    with pytest.raises(ParamsError, match=found):
        fit(music, tmp_path / "out", tmp_path / "resume", SHORT.model_copy(update=change))


@pytest.mark.parametrize("name", ["piano_roll.json", "piano_roll.safetensors"])
def test_a_trained_folder_that_is_damaged_is_refused(name, music, trained, tmp_path):
    for path in trained.glob("piano_roll.*"):
        content = path.read_bytes()
        if path.name == name:
            content = content.replace(b'"n_rows": 6', b'"n_rows": "six"') if path.suffix == ".json" else content[:-8]
        (tmp_path / path.name).write_bytes(content)
    with pytest.raises(DamagedData, match=name):
        next(PianoRollFamily().perform(tmp_path, {"d": music.film("d")}, accelerator="cpu", truth=None))


def scores_of(truth, found):
    """Onset F1 at 50 ms, mean velocity error of the notes that were found, and how late they are."""
    reference, estimate = (
        (np.c_[n.onset_s, n.offset_s], 440 * 2 ** ((n.pitch.astype(float) - 69) / 12)) for n in (truth, found)
    )
    pairs = np.array(mir_eval.transcription.match_notes(*reference, *estimate, offset_ratio=None))
    error = truth.velocity[pairs[:, 0]].astype(float) - found.velocity[pairs[:, 1]]
    late_s = found.onset_s[pairs[:, 1]] - truth.onset_s[pairs[:, 0]]
    return 2 * len(pairs) / (len(truth) + len(found)), np.abs(error).mean(), np.median(late_s)


@pytest.mark.slow
def test_unseen_music_is_read_off_its_film(much_music, learned):
    films = {"c": much_music.film("c")}
    (performance,) = PianoRollFamily().perform(learned, films, accelerator="cpu", truth=None)
    f1, velocity_error, late_s = scores_of(much_music.notes["c"], performance.notes)
    assert f1 >= 0.98
    assert velocity_error <= 10
    assert late_s == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001)])
def test_unseen_music_is_read_off_a_video_of_its_film(rate, much_music, learned, tmp_path):
    arrays = much_music.scores.open("c")
    time_s, velocity = arrays["picture_time_s"][:], arrays["velocities"][:]
    pedal = np.zeros(len(time_s), np.uint8)
    frames = film_frames(time_s, velocity, pedal, lit="velocity", frame_rate=rate, duration_s=40.0)
    encode_film(tmp_path / "film.mp4", frames, frame_rate=rate)
    media = MediaPolicy(
        max_pixels=1_000_000, max_duration_s=60.0, max_bytes=10**9, max_streams=16, max_file_bytes=10**9
    )
    done = perform_video(
        tmp_path / "film.mp4",
        tmp_path / "heard.mp4",
        family="piano_roll",
        trained=learned,
        params=PerformParams(media=media, min_change=24, keyboard=KEYBOARD),
        accelerator="cpu",
        progress=lambda what: None,
    )
    f1, velocity_error, late_s = scores_of(much_music.notes["c"], done.notes)
    assert f1 >= 0.98
    assert velocity_error <= 10
    assert abs(late_s) < 0.01
