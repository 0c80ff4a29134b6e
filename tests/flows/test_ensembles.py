"""Ensembles through the per-take stages under Prefect: add, edit, delete, damage, refuse, and a clean rebuild."""

import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from tasks.media.encode import encode_film
from tasks.store.ensembles import EnsembleSet

STAGES = ("ingest", "synchronize", "extract", "chunk")
FOLDERS = ("data/ingested", "data/synchronized", "data/extracted", "data/chunked", "data/metrics")
CHUNKED = Path("data/chunked/ensembles")


def run(stage):
    """Run a stage in this process and return which takes it computed, reused and quarantined."""
    if stage == "extract":  # which looks for scores too, though here are none
        assert importlib.import_module("flows.render").main() == 0
    assert importlib.import_module(f"flows.{stage}").main() == 0, stage
    return json.loads(Path(f".audiate/runs/{stage}.json").read_text())["takes"]


def run_all():
    return {stage: run(stage) for stage in STAGES}


def results(project):
    return {
        path.relative_to(project).as_posix(): path.read_bytes()
        for folder in FOLDERS
        for path in sorted((project / folder).rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def put():
    """Return a function that puts a duet into a project's data/raw."""

    def add(project, name, seed, part="train"):
        folder = project / "data" / "raw" / name
        folder.mkdir(parents=True)
        rng = np.random.default_rng(seed)
        stems = 0.1 * rng.standard_normal((2, 32_000)).cumsum(axis=1)
        stems -= stems.mean(axis=1, keepdims=True)
        stems *= 0.3 / np.abs(stems).max()
        for number, code in enumerate(("vn", "vc")):
            soundfile.write(folder / f"stem_{number + 1}_{code}.wav", stems[number], 16_000, subtype="PCM_16")
        soundfile.write(folder / "mix.wav", stems.sum(axis=0), 16_000, subtype="PCM_16")
        rows = (np.roll(np.arange(48, dtype=np.uint8) * 5, at + 7 * seed) for at in range(50))
        encode_film(folder / "cam_p1.mp4", (np.tile(row, (48, 1)) for row in rows), frame_rate=Fraction(25))
        (folder / "take.yaml").write_text(yaml.safe_dump({"part": part, "genlocked": ["cam_p1"]}))
        return folder

    return add


@pytest.fixture
def make_duets(make_project, put):
    """Return a function that makes a project of three duets, and no score."""

    def make(name="project"):
        project = make_project(name, pieces=())
        for number, part in enumerate(("train", "validation", "test")):
            put(project, f"duet_{part}", number, part)
        return project

    return make


def test_a_duet_more_is_one_take_computed_in_each_stage_and_equals_a_clean_rebuild(make_duets, put):
    grown = make_duets("grown")
    assert all(takes["computed"] == ["duet_test", "duet_train", "duet_validation"] for takes in run_all().values())
    assert all(takes["computed"] == [] for takes in run_all().values())
    put(grown, "new", 7)
    assert all(takes["computed"] == ["new"] for takes in run_all().values())
    assert EnsembleSet(CHUNKED).takes("train") == ["duet_train", "new"]
    clean = make_duets("clean")
    put(clean, "new", 7)
    run_all()
    assert results(grown) == results(clean)


def test_a_duet_that_goes_leaves_nothing_behind(make_duets, put):
    project = make_duets("shrunk")
    run_all()
    before = results(project)
    folder = put(project, "passing", 8)
    run_all()
    shutil.rmtree(folder)
    run_all()
    assert results(project) == before


@pytest.mark.parametrize(
    ("stage", "path", "damage"),
    [
        ("ingest", "data/ingested/duet_train/take.json", "edit"),
        ("synchronize", "data/synchronized/duet_train/clock.parquet", "delete"),
        ("extract", "data/extracted/duet_train/arrays.zarr/motion_1/c/0/0", "truncate"),
        ("chunk", "data/chunked/ensembles/duet_train/arrays.zarr/stem_2/c/0/0", "edit"),
        ("chunk", "data/chunked/ensembles/duet_train", "delete"),
    ],
)
def test_a_damaged_output_is_noticed_and_made_again_with_the_same_bytes(make_duets, stage, path, damage):
    project = make_duets()
    run_all()
    before = results(project)
    damaged = project / path
    if damage == "delete":
        shutil.rmtree(damaged) if damaged.is_dir() else damaged.unlink()
    else:
        data = bytearray(damaged.read_bytes())
        data[len(data) // 2] ^= 1
        damaged.write_bytes(data[: len(data) // 2] if damage == "truncate" else data)
    assert run(stage)["computed"] == ["duet_train"]
    assert results(project) == before


def test_another_stem_is_another_take_and_another_film_is_no_other_sound(make_duets, put):
    project = make_duets()
    run_all()
    folder = project / "data/raw/duet_train"
    stems, _ = soundfile.read(folder / "stem_1_vn.wav")
    soundfile.write(folder / "stem_1_vn.wav", stems[::-1], 16_000, subtype="PCM_16")
    # Its clock needs no sound, and its digest changed: all of what follows from the take is made again.
    assert all(takes["computed"] == ["duet_train"] for takes in run_all().values())
    assert json.loads(Path("data/ingested/duet_train/take.json").read_text())["mix"]["source"] == "sum"


def test_mono_stems_are_set_aside_in_words_where_two_channels_are_asked_for(make_duets, capsys):
    project = make_duets()
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["chunk"]["stem_channels"] = 2
    params["split"]["min_pieces"] = 0
    Path("params.yaml").write_text(yaml.safe_dump(params))
    ran = run_all()
    assert ran["chunk"]["quarantined"] == ["duet_test", "duet_train", "duet_validation"]
    rows = json.loads((project / CHUNKED / "quarantine.json").read_text())
    assert {row["kind"] for row in rows} == {"FEWER_CHANNELS"}
    assert "has 1 channels, expected 2, or chunk.stem_channels: 1" in rows[0]["reason"]
    assert json.loads((project / CHUNKED / "takes.json").read_text()) == {}


def test_a_project_without_ensembles_has_an_index_without_rows(make_project):
    make_project(pieces=("a", "b", "c"))
    for stage in STAGES:
        run(stage)
    assert json.loads((CHUNKED / "takes.json").read_text()) == {}
    assert json.loads(Path("data/metrics/data.json").read_text())["n_ensembles"] == 0


@pytest.mark.slow
def test_killed_at_random_moments_and_run_again_gives_the_same_bytes(make_duets):
    project = make_duets("killed")
    moments = random.Random(2)
    for stage in STAGES:
        for _ in range(3):
            worker = subprocess.Popen(
                [sys.executable, "-m", f"flows.{stage}"],
                cwd=project,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            time.sleep(moments.uniform(0.8, 3.5))
            os.killpg(worker.pid, signal.SIGKILL)
            worker.communicate()
        run(stage)
    killed = results(project)
    clean = make_duets("clean")
    run_all()
    assert killed == results(clean)
