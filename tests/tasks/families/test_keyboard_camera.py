"""Notes of a piano's film by a network over the classical reader's evidence."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from flows.presets import preset_text
from models.key_strokes import KeyStrokes, KeyStrokesConfig
from tasks.errors import DamagedData, ParamsError
from tasks.families.base import CaptureTruth, Film, NoteAmplitudes
from tasks.families.keyboard_camera import KeyboardCamera
from tasks.families.keyboard_camera.adapter import evenly_played, probabilities
from tasks.families.keyboard_camera.examples import Sampler, example, labels_of, parted
from tasks.families.keyboard_camera.params import KeyboardCameraParams
from tasks.families.keyboard_camera.strokes import fit_threshold, strokes
from tasks.families.note_regression.notes import onset_f1
from tasks.instruments.notes import sorted_notes
from tasks.instruments.synth import SOUNDFONT_SHA256, Synthesizer, find_soundfont
from tasks.keyboards.key_features import FEATURES, READER_HELD, READER_ONSET, STEP_S, key_features
from tasks.keyboards.layout import Keys
from tasks.keyboards.params import FindParams
from tasks.keyboards.read import Asked, evidence_of, find_in_film
from tasks.keyboards.stored import arrays_of, keyboard_of
from tasks.kinds.captures.perform import read_video
from tasks.media.probe import NO_LIMITS, probe
from tasks.media.process import MediaError
from tasks.perform import PerformParams, Region
from tasks.rig.keyboard_films import film_of
from tasks.store.views import ViewSet, keyboard_array

DURATION_S = 6.0
SECTION = yaml.safe_load(preset_text("demo"))["train"]["keyboard_camera"]
SMALL = {"n_steps": 4, "steps_per_epoch": 2, "batch_size": 4, "n_channels": 8, "sequence_s": 1.0}
PARAMS = KeyboardCameraParams.parse(SECTION | SMALL, "train.keyboard_camera")
PERFORM = {
    "params": PerformParams.parse(yaml.safe_load(preset_text("demo"))["perform"], "perform"),
    "region": None,
    "progress": lambda _: None,
}
READER = {"lead_s": 0.025, "velocity": 80}


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Draw a film of six seconds; return its truth."""
    return film_of("overhead-640", 41, tmp_path_factory.mktemp("film"), duration_s=DURATION_S)


@pytest.fixture(scope="module")
def filmed(video):
    """Return the film's true notes and what it shows of its keys, as chunk stores it."""
    facts = probe(video.path, policy=NO_LIMITS)
    params = FindParams(min_score=0.62, min_white_px=8.0)
    found = find_in_film(video.path, facts, policy=NO_LIMITS, params=params, asked=Asked())
    evidence = evidence_of(video.path, facts, found, policy=NO_LIMITS, progress=lambda _: None)
    return video.notes, arrays_of(evidence, found.place.keys)


@pytest.fixture(scope="module")
def features(filmed):
    evidence, keys = keyboard_of(filmed[1])
    return key_features(evidence, keys, duration_s=DURATION_S, **READER)


@pytest.fixture
def captures(data_sets, filmed):
    """Write the film as a take for training, and as one for testing of which the notes are not known."""
    notes, stored = filmed

    def capture(number):
        n_frames = int(DURATION_S * 25)
        arrays = {
            "amplitudes": np.zeros((n_frames - 2, 88), np.float32),
            "pictures_cam_above": np.zeros((n_frames, 8, 8), np.uint8),
            "time_s_cam_above": np.arange(n_frames) / 25,
        }
        arrays |= {keyboard_array("cam_above", name): array for name, array in stored.items()}
        if number == 0:
            arrays["notes"] = np.stack([notes.onset_s, notes.offset_s, notes.pitch, notes.velocity], axis=1)
        attributes = {"cameras": ["cam_above"], "instrument": "piano", "camera_margins": [0.0, 0.0]}
        return arrays, attributes | {"pitches": list(range(21, 109))}

    data_sets.write("captures", {"learned": "train", "tested": "test"}, capture)
    return ViewSet(Path("data/chunked/captures"))


def film(stored, name="tested"):
    return Film(
        pictures=np.zeros((2, 8, 8), np.uint8),
        time_s=np.array([0.0, 1.0]),
        duration_s=DURATION_S,
        camera=f"cam_{name}",
        instrument="piano",
        keyboard=stored,
    )


def test_before_training_the_network_says_what_the_reader_says(filmed, features):
    config = KeyStrokesConfig(
        n_features=len(FEATURES),
        reader=(READER_ONSET, READER_HELD),
        n_channels=8,
        kernel=5,
        dilations=(1, 2),
        dropout=0.1,
    )
    network = KeyStrokes(config).eval()
    _, keys = keyboard_of(filmed[1])
    found = strokes(
        probabilities(network, features),
        keys,
        start_s=features.start_s,
        duration_s=DURATION_S,
        threshold=0.5,
        velocity=70,
    )
    reader = features.notes
    assert len(reader) > 8
    assert onset_f1([reader], [found]) > 0.97
    assert (found.offset_s > found.onset_s).all()


def test_what_a_network_says_of_a_moment_depends_on_what_is_near_it_alone():
    config = KeyStrokesConfig(n_features=3, reader=(0, 1), n_channels=4, kernel=3, dilations=(1, 2), dropout=0.0)
    torch.manual_seed(1)
    network = KeyStrokes(config)
    torch.nn.init.normal_(network.correction.weight)
    inputs = torch.randn(1, 3, 40, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(inputs)[0, 0, 20], inputs)
    (moments,) = np.nonzero(gradient[0].abs().sum(dim=0).numpy())
    assert config.reach == 3
    assert (moments.min(), moments.max()) == (17, 23)


def test_strokes_are_where_the_probability_peaks_and_last_as_long_as_the_key_is_held(filmed):
    _, keys = keyboard_of(filmed[1])
    probability = np.zeros((88, 2, 100), np.float32)
    probability[10, 0, 20:23] = 0.3, 0.9, 0.6
    probability[10, 1, 20:50] = 0.9
    probability[11, 0, 60] = 0.4
    found = strokes(probability, keys, start_s=1.0, duration_s=4.0, threshold=0.5, velocity=70)
    assert found.pitch.tolist() == [31]
    assert 1.0 + 21 * STEP_S < found.onset_s[0] < 1.0 + 22 * STEP_S
    assert found.offset_s[0] == pytest.approx(1.0 + 50 * STEP_S)


def test_the_threshold_is_the_one_that_finds_the_notes_of_its_examples(filmed, features):
    notes, stored = filmed
    _, keys = keyboard_of(stored)
    one = example(keys, features, notes)
    probability = 0.3 * one.target  # every true onset peaks at 0.3 at most
    assert fit_threshold([probability], [one]) <= 0.3


def test_training_examples_are_the_same_for_the_same_step_and_hold_the_keys_that_are_struck(filmed, features):
    notes, stored = filmed
    _, keys = keyboard_of(stored)
    first, last = parted(example(keys, features, notes), 0.25)
    assert len(first.notes) + len(last.notes) == len(example(keys, features, notes).notes)
    assert first.features.time_s[-1] < last.features.time_s[0]
    assert last.target.shape[2] / first.target.shape[2] == pytest.approx(1 / 3, rel=0.02)
    sampler = Sampler([first], PARAMS)
    again = Sampler([first], PARAMS)
    for one, other in zip(sampler.batch(1, 0), again.batch(1, 0), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(sampler.batch(0, 0)[0], sampler.batch(0, 1)[0])


def test_it_learns_and_performs_four_systems_and_a_film_without_a_keyboard_is_silent(captures, video, filmed, tmp_path):
    notes, stored = filmed
    out = tmp_path / "trained"
    out.mkdir()
    family = KeyboardCamera()
    family.fit(captures, out, params=PARAMS, resume=tmp_path / "resume", accelerator="cpu")
    films = {"tested/cam_above": film(stored), "hidden/cam_above": film(None), "marimba/cam_a": film(stored)}
    films["marimba/cam_a"] = replace(films["marimba/cam_a"], instrument="marimba-18")
    amplitudes = NoteAmplitudes(values=np.zeros((1, 88), np.float32), pitches=tuple(range(21, 109)), frame_rate=25)
    known = CaptureTruth(amplitudes=amplitudes, notes=notes)
    truth = dict.fromkeys(films, known)
    made = {(one.take, one.system): one for one in family.perform(out, films, accelerator="cpu", truth=truth)}
    assert sorted(made) == sorted((take, system) for take in ("tested", "hidden") for system in family.systems)
    assert onset_f1([notes], [made["tested", "true_keys"].notes]) == 1.0
    reader = made["tested", "keyboard_reader"].notes
    assert onset_f1([notes], [reader]) > 0.8
    assert onset_f1([reader], [made["tested", "keyboard_camera"].notes]) > 0.8  # four steps change little
    for system in ("keyboard_camera", "keyboard_reader"):
        assert not len(made["hidden", system].notes)
        assert not made["hidden", system].audio.any()
        assert made["tested", system].audio.any()
    read = read_video(video.path, probe(video.path, policy=NO_LIMITS), out / "keyboard_camera", **PERFORM)
    by_hand = next(family.perform(out, {read.name: read.film}, accelerator="cpu", truth=None))
    assert onset_f1([by_hand.notes], [made["tested", "keyboard_camera"].notes]) == 1.0
    other, facts = PERFORM | {"region": Region(instrument="marimba-18")}, probe(video.path, policy=NO_LIMITS)
    with pytest.raises(MediaError, match=r"shows marimba-18, expected piano"):
        read_video(video.path, facts, out / "keyboard_camera", **other)
    facts = json.loads((out / "keyboard_camera.json").read_text())
    (out / "keyboard_camera.json").write_text(json.dumps(facts | {"features": ["amount"]}))
    with pytest.raises(DamagedData, match="trained on other features"):
        next(family.perform(out, films, accelerator="cpu", truth=None))


def test_no_keyboard_to_learn_from_is_an_error_of_the_params(data_sets, tmp_path):
    data_sets.write("captures", {"a": "train", "b": "test"}, lambda number: data_sets.capture(number, "piano"))
    with pytest.raises(ParamsError, match=r"in none of 2 training views of pianos .* a keyboard was found"):
        KeyboardCamera().fit(
            ViewSet(Path("data/chunked/captures")), tmp_path / "out", params=PARAMS, resume=tmp_path, accelerator="cpu"
        )


@pytest.mark.slow
def test_without_recorded_notes_a_takes_own_sound_gives_the_labels(data_sets):
    played = sorted_notes(np.array([0.5, 1.5, 2.5]), np.array([1.0, 2.0, 3.0]), np.array([60, 64, 67]), np.full(3, 90))
    with Synthesizer(find_soundfont(), sha256=SOUNDFONT_SHA256, sample_rate=22_050, gain=0.5) as synthesizer:
        audio = synthesizer.render(played, None, program=0, duration_s=DURATION_S)

    def capture(number):
        arrays, attributes = data_sets.capture(number, "piano")
        arrays["sound"] = np.rint(audio * 32767).astype(np.int16)
        if number == 0:
            arrays["notes"] = np.array([[0.5, 1.0, 50, 90]])
        return arrays, attributes | {"sound_rate": 22_050}

    data_sets.write("captures", {"a": "train", "b": "train"}, capture)
    views = ViewSet(Path("data/chunked/captures"))
    keys = Keys(lowest=21, highest=108, guessed=False)
    assert labels_of(views, "a", keys, PARAMS).pitch.tolist() == [50]
    for take, params in (("b", PARAMS), ("a", PARAMS.model_copy(update={"labels": "sound"}))):
        assert onset_f1([played], [labels_of(views, take, keys, params)]) == 1.0


def test_the_mean_keys_are_struck_as_often_as_they_were_in_training():
    rates = np.zeros(88)
    rates[[10, 40]] = 0.5, 1.0
    found = evenly_played(rates, 10.0, 70)
    assert [(found.pitch == pitch).sum() for pitch in (31, 61)] == [5, 10]
    assert ((found.onset_s > 0) & (found.offset_s <= 10.0)).all()


@pytest.mark.parametrize(
    ("changed", "message"), [({"kernel": 4}, "kernel is 4, expected an odd number"), ({"n_steps": 5}, "n_steps is 5")]
)
def test_values_that_do_not_go_together_are_refused(captures, tmp_path, changed, message):
    with pytest.raises(ParamsError, match=message):
        KeyboardCamera().fit(
            captures, tmp_path / "out", params=PARAMS.model_copy(update=changed), resume=tmp_path, accelerator="cpu"
        )
