"""Small projects in temporary folders, made once and copied, and one Prefect server for all tests of flows."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from contextlib import chdir
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from filelock import FileLock

from flows.server import prefect_server
from tasks.code import CODE_FILE, write_code
from tasks.families import families_of
from tasks.instruments.midi_writer import write_midi
from tasks.instruments.notes import sorted_notes
from tasks.media.encode import encode_film
from tasks.step import write_whole
from tasks.tools import running_tools

PROJECT = Path(__file__).resolve().parents[2]
PARTS = ("train", "validation", "test")
PER_TAKE = ("ingest", "render", "synchronize", "extract", "chunk")
SOUND_RATE = 16_000
# What the small projects accept of recordings, whatever the presets say.
ACCEPTED = {
    "media": {
        "max_pixels": 10**6,
        "max_duration_s": 600.0,
        "max_bytes": 10**8,
        "max_streams": 8,
        "max_file_bytes": 10**7,
    },
    "captures": {"lenient": True, "min_duration_s": 0.5, "short_fraction": 0.5, "silence_db": -60.0},
}


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """Return the folder that all processes of this test run share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session", autouse=True)
def prefect_home(shared):
    """Start the tests' own server, not the checkout's."""
    home = shared / "prefect"
    os.environ["PREFECT_HOME"] = str(home)
    return home


@pytest.fixture(scope="session")
def server(prefect_home):
    """Keep the tests' server from the first test that needs it on: each new start costs seconds."""
    with prefect_server():
        yield


# What a project is made of.


def melody(seed, n_notes=12):
    """Make a few seconds of notes that differ from those of every other seed."""
    rng = np.random.default_rng(seed)
    onset_s = np.arange(n_notes) * 0.25 + rng.uniform(0, 0.04, n_notes)
    return sorted_notes(
        onset_s, onset_s + 0.2, rng.integers(40, 90, n_notes).astype(np.uint8), rng.integers(30, 110, n_notes)
    )


def put_score(project, name, seed, part=None):
    """Put a score take into a project's data/raw, and return its file."""
    folder = project / "data" / "raw" / name
    folder.mkdir(parents=True)
    write_midi(folder / f"{name}.mid", melody(seed), title=name)
    return folder / f"{name}.mid"


def struck(seed, duration_s):
    """Make struck tones at uneven moments: a sound that fits to itself in one place alone."""
    rng = np.random.default_rng(seed)
    audio = np.zeros(round(duration_s * SOUND_RATE), np.float32)
    time_s = np.arange(SOUND_RATE // 2) / SOUND_RATE
    onset_s = np.cumsum(rng.uniform(0.1, 0.4, 100))
    for start in np.rint(onset_s[onset_s < duration_s - 0.5] * SOUND_RATE).astype(int):
        frequency_hz = 220 * 2 ** (rng.integers(0, 24) / 12)
        tone = 0.1 * np.exp(-8 * time_s) * np.sin(2 * np.pi * frequency_hz * time_s)
        audio[start : start + len(time_s)] += tone.astype(np.float32)
    return audio


def moving(seed, n):
    """Yield pictures in which something moves."""
    return (np.tile(np.roll(np.arange(48, dtype=np.uint8) * 5, at + 7 * seed), (48, 1)) for at in range(n))


def put_capture(project, name, seed, part="train"):
    """Put a take of a microphone and of a camera that begins 0.4 s later into a project's data/raw."""
    folder = project / "data" / "raw" / name
    folder.mkdir(parents=True)
    sound = struck(seed, 8.0)
    soundfile.write(folder / "mic_near.wav", sound, SOUND_RATE, subtype="PCM_16")
    late = sound[round(0.4 * SOUND_RATE) : round(7.4 * SOUND_RATE)]
    encode_film(folder / "cam_top.mp4", moving(seed, 70), frame_rate=Fraction(10), audio=late, sample_rate=SOUND_RATE)
    (folder / "take.yaml").write_text(yaml.safe_dump({"part": part, "instrument": "marimba-18"}))
    return folder


def put_duet(project, name, seed, part="train"):
    """Put two stems, their mix and a camera of the first player into a project's data/raw."""
    folder = project / "data" / "raw" / name
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    stems = 0.1 * rng.standard_normal((2, 2 * SOUND_RATE)).cumsum(axis=1)
    stems -= stems.mean(axis=1, keepdims=True)
    stems *= 0.3 / np.abs(stems).max()
    for number, code in enumerate(("vn", "vc")):
        soundfile.write(folder / f"stem_{number + 1}_{code}.wav", stems[number], SOUND_RATE, subtype="PCM_16")
    soundfile.write(folder / "mix.wav", stems.sum(axis=0), SOUND_RATE, subtype="PCM_16")
    encode_film(folder / "cam_p1.mp4", moving(seed, 50), frame_rate=Fraction(25))
    (folder / "take.yaml").write_text(yaml.safe_dump({"part": part, "genlocked": ["cam_p1"]}))
    return folder


def start_project(folder, pieces):
    """Make a project of a few bundled pieces that nothing was made of yet."""
    (folder / "data" / "raw").mkdir(parents=True)
    sample = folder / "data" / "sample"
    (sample / "midi").mkdir(parents=True)
    described = {
        piece: {"composer": "nobody", "title": piece, "source": "made for a test", "part": PARTS[index % 3]}
        for index, piece in enumerate(pieces)
    }
    (sample / "pieces.yaml").write_text(yaml.safe_dump(described))
    for piece in pieces:
        write_midi(sample / "midi" / f"{piece}.mid", melody(ord(piece[0])), title=piece)
    params = yaml.safe_load((PROJECT / "params.yaml").read_text())
    params["split"]["min_pieces"] = 1
    params["ingest"] |= ACCEPTED
    params["segments"] = {"length_s": 1.0, "hop_s": 0.5}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    write_code(families_of(params), folder / CODE_FILE)
    shutil.copy(PROJECT / "constraints.txt", folder)
    write_whole(folder / "data" / "tools.json", json.dumps(running_tools()))
    return folder


def edit_params(section, **values):
    params = yaml.safe_load(Path("params.yaml").read_text())
    params[section] |= values
    Path("params.yaml").write_text(yaml.safe_dump(params))


# What is done with it.


def run_stage(stage, *arguments):
    """Run a stage in this process, in the current folder, and return its exit code."""
    return importlib.import_module(f"flows.{stage}").main(*arguments)


def takes_of(stage):
    """Return the names of the takes that the last run of a per-take stage computed, reused and quarantined."""
    return json.loads(Path(f".audiate/runs/{stage}.json").read_text())["takes"]


def run_per_take():
    """Run every per-take stage; return what each did with its takes."""
    for stage in PER_TAKE:
        assert run_stage(stage) == 0, stage
    return {stage: takes_of(stage) for stage in PER_TAKE}


def files(folder):
    """Return the bytes of every file below a folder, by relative path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def add_take():
    """Return a function that puts a new score take into a project's data/raw."""
    return put_score


@pytest.fixture
def put():
    """Return the functions that put a new take into a project's data/raw, by kind."""
    return {"scores": put_score, "captures": put_capture, "ensembles": put_duet}


@pytest.fixture
def set_param():
    """Return a function that changes values of a section of params.yaml."""
    return edit_params


@pytest.fixture
def run():
    """Return a function that runs a stage in this process and returns its exit code."""
    return run_stage


@pytest.fixture
def takes():
    """Return a function that names the takes that a stage's last run computed, reused and quarantined."""
    return takes_of


@pytest.fixture
def run_all():
    """Return a function that runs every per-take stage and returns what each did with its takes."""
    return run_per_take


@pytest.fixture
def contents():
    """Return a function that reads every file below a folder."""
    return files


@pytest.fixture
def run_python():
    """Return a function that runs a module in a process of its own: its exit code and the lines of its complaint."""

    def run_module(project, *arguments, **options):
        command = [sys.executable, "-m", *arguments]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=300, **options)
        return done.returncode, done.stderr.splitlines()

    return run_module


@pytest.fixture
def make_project(server, tmp_path, monkeypatch):
    """Return a function that makes a project of a few bundled pieces and moves into it."""

    def make(name="project", pieces=("a", "b", "c")):
        folder = start_project(tmp_path / name, pieces)
        monkeypatch.chdir(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def made_once(server, shared):
    """Return a function that makes a project once for all processes of this test run, and returns its folder."""

    def make_once(name, make):
        folder = shared / name
        with FileLock(f"{folder}.lock"):
            if not folder.exists():
                half = folder.with_name(f"{name}.partial")
                shutil.rmtree(half, ignore_errors=True)
                with chdir(start_project(half, ("a", "b", "c"))):
                    make(half)
                half.rename(folder)
        return folder

    return make_once


def build(folder):
    """Put three takes of each kind into a project, one a part, and run every per-take stage in it."""
    for seed, part in enumerate(PARTS):
        put_capture(folder, f"capture_{part}", 10 + seed, part)
        put_duet(folder, f"duet_{part}", 20 + seed, part)
    ran = run_per_take()
    assert not any(takes["quarantined"] for takes in ran.values()), ran


@pytest.fixture
def project(made_once, tmp_path, monkeypatch):
    """Move into a copy of a project in which every per-take stage has run over three takes of each kind."""
    folder = shutil.copytree(made_once("built", build), tmp_path / "project")
    monkeypatch.chdir(folder)
    return folder


def run_through(folder):
    """Run every stage in a project of three scores, with the baselines as its only family."""
    shutil.copy(PROJECT / "dvc.yaml", folder)
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["families"] = {"baselines": "scores"}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    write_code(families_of(params))
    run_per_take()
    for stage in (("train", "baselines"), ("synthesize", "baselines"), ("evaluate", "baselines"), ("report",)):
        assert run_stage(*stage) == 0, stage


@pytest.fixture
def finished(made_once, tmp_path, monkeypatch):
    """Move into a copy of a project of three scores in which every stage has run, with the baselines alone."""
    folder = shutil.copytree(made_once("finished", run_through), tmp_path / "finished")
    monkeypatch.chdir(folder)
    return folder
