"""A piano that is filmed with hands, from its film to what the stage chunk stores of its keys."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from flows.presets import preset_text
from tasks.chunk import ChunkParams
from tasks.extract import ExtractParams
from tasks.film import FilmParams
from tasks.ingest import IngestParams, Source
from tasks.instruments.midi_writer import write_midi
from tasks.instruments.notes import sorted_notes
from tasks.intake.record import quality_flags, read_capture
from tasks.keyboards.layout import Keys
from tasks.keyboards.read import notes_of
from tasks.keyboards.stored import keyboard_of
from tasks.kinds.captures.chunk import chunk_take
from tasks.kinds.captures.extract import extract_take
from tasks.kinds.captures.film import FilmedTake, film_take, takes_to_film
from tasks.kinds.captures.ingest import NO_KEYBOARD, ingest_take
from tasks.kinds.captures.synchronize import synchronize_take
from tasks.rig.truth import read_truth
from tasks.store.arrays import open_arrays
from tasks.store.views import keyboard_array
from tasks.synchronize import SynchronizeParams
from tasks.takes import Take

DEMO = yaml.safe_load(preset_text("demo"))
ONSETS_S = np.array([0.0, 0.35, 0.7, 1.1, 1.5, 1.9, 2.4, 2.8, 3.2, 3.7, 4.1, 4.5])
PITCHES = np.array([48, 64, 52, 67, 55, 72, 47, 62, 53, 69, 60, 76])
LENGTH_S = 6.5


def section(name, params_class):
    return params_class.parse(DEMO[name], name)


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    """Film a take and take it as far as the stage chunk; return its project."""
    project = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        notes = sorted_notes(ONSETS_S, ONSETS_S + 0.3, PITCHES, np.full(len(PITCHES), 80))
        write_midi(Path("a.mid"), notes)
        recording = section("film", FilmParams).recording
        hands = recording.hands.model_copy(update={"length_s": LENGTH_S, "noise": (1.0, 1.0), "crf": (22, 22)})
        recording = recording.model_copy(update={"hands": hands})
        filmed = Path("data/filmed/a")
        filmed.mkdir(parents=True)
        take = FilmedTake(
            name="a", piece="a", part="train", title="A", instrument="piano", midi="a.mid", trait="hands", seed=5
        )
        film_take(take, filmed, recording)
        folders = {name: Path("data") / name / "a" for name in ("ingested", "synchronized", "extracted", "chunked")}
        for folder in folders.values():
            folder.mkdir(parents=True)
        files = tuple(sorted(str(path) for path in filmed.iterdir()))
        files = tuple(path for path in files if Path(path).name not in ("rig.yaml", "truth.json"))
        source = Source(name="a", kind="capture", origin="filmed", files=files, piece="a", part="train")
        ingest_take(source, folders["ingested"], section("ingest", IngestParams).of_a_take())
        take = Take(name="a", kind="capture", piece="a", part="train", digest="0" * 64, duration_s=LENGTH_S)
        synchronize_take(take, folders["synchronized"], section("synchronize", SynchronizeParams))
        extract_take(take, folders["extracted"], section("extract", ExtractParams))
        chunk_take(take, folders["chunked"], section("chunk", ChunkParams))
    return project


@pytest.fixture
def project(road, monkeypatch):
    monkeypatch.chdir(road)
    return road


@pytest.mark.slow
def test_the_take_names_no_corners_and_ingest_finds_the_keyboard(project):
    described = yaml.safe_load(Path("data/filmed/a/take.yaml").read_text())
    assert "cameras" not in described
    device = read_capture("a").device("cam_above")
    found = device.facts["keyboard"]
    drawn = cv2.imread("data/ingested/a/keyboard_cam_above.png")
    # Of 88 keys 52 are white, each at least 24 pixels wide so that names can be read, and two more on either side.
    assert 56 * 23 <= drawn.shape[1] <= 56 * 30
    assert drawn.shape[0] < drawn.shape[1] / 3
    assert (found["found"], found["place"]["lowest"], found["place"]["highest"]) == (True, 21, 108)
    assert found["score"] > 0.8
    assert device.corners is not None
    assert NO_KEYBOARD not in [flag for _, flag in quality_flags("a")]


@pytest.mark.slow
def test_chunk_keeps_what_the_reader_reads_the_notes_from_on_the_masters_clock(project):
    arrays = open_arrays(Path("data/chunked/a/arrays.zarr"))
    start = keyboard_array("cam_above", "")
    stored = {name.removeprefix(start): arrays[name][:] for name in arrays if name.startswith(start)}
    evidence, keys = keyboard_of(stored)
    assert keys == Keys(lowest=21, highest=108, guessed=False)
    assert len(evidence.time_s) == read_capture("a").device("cam_above").n_pictures
    mode, read = notes_of(evidence, keys, duration_s=10.0, lead_s=0.025, velocity=80)
    assert mode == "pressed"
    truth = read_truth(Path("data/filmed/a"))
    played_s = truth.clocks["mic_near"].to_device(truth.notes[:, 0] + truth.flight_s["mic_near"])
    near = [
        np.abs(read.onset_s[read.pitch == pitch] - at_s).min(initial=9.0) < 0.05
        for at_s, pitch in zip(played_s, truth.notes[:, 2], strict=True)
    ]
    assert np.mean(near) > 0.8
    assert len(read) < 1.25 * len(near)


@pytest.mark.slow
def test_a_piano_whose_keys_cannot_be_found_is_its_cameras_row_and_no_failure(project, tmp_path):
    facts = json.loads(Path("data/ingested/a/take.json").read_text())
    params = section("ingest", IngestParams).of_a_take()
    params = params.model_copy(update={"keyboards": params.keyboards.model_copy(update={"min_white_px": 99.0})})
    files = (*(row["path"] for row in facts["media"]), "data/filmed/a/take.yaml")
    source = Source(name="a", kind="capture", origin="filmed", files=files, piece="a", part="train")
    ingest_take(source, tmp_path, params)
    (row,) = (row for row in json.loads((tmp_path / "take.json").read_text())["media"] if row["role"] == "camera")
    assert row["state"] == "used"
    assert NO_KEYBOARD in row["flags"]
    assert not row["facts"]["keyboard"]["found"]
    assert "the keys are too small" in row["facts"]["keyboard"]["reason"]


def test_demo_films_two_played_pianos_one_for_training_and_one_for_testing_and_study_twelve_pieces():
    demo = [take for take in takes_to_film(section("film", FilmParams)) if take.trait == "hands"]
    assert [take.part for take in demo] == ["train", "test"]
    study = FilmParams.parse(yaml.safe_load(preset_text("study"))["film"], "film")
    parts = [take.part for take in takes_to_film(study) if take.trait == "hands"]
    assert len(parts) >= 12
    assert {part: parts.count(part) >= 2 for part in ("train", "validation", "test")} == dict.fromkeys(
        ("train", "validation", "test"), True
    )
