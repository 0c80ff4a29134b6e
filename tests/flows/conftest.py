"""A small project in a temporary folder, and one Prefect server for all tests of flows."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from tasks.instruments.midi import write_midi
from tasks.instruments.notes import sorted_notes
from tasks.step import write_whole
from tasks.tools import running_tools

PROJECT = Path(__file__).resolve().parents[2]
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


@pytest.fixture(scope="session", autouse=True)
def prefect_home(tmp_path_factory):
    """Start the tests' own server, not the checkout's."""
    home = tmp_path_factory.mktemp("prefect")
    os.environ["PREFECT_HOME"] = str(home)
    return home


def melody(seed, n_notes=12):
    """Make a few seconds of notes that differ from those of every other seed."""
    rng = np.random.default_rng(seed)
    onset_s = np.arange(n_notes) * 0.25 + rng.uniform(0, 0.04, n_notes)
    return sorted_notes(
        onset_s, onset_s + 0.2, rng.integers(40, 90, n_notes).astype(np.uint8), rng.integers(30, 110, n_notes)
    )


@pytest.fixture
def add_take():
    """Return a function that puts a new score take into a project's data/raw."""

    def add(project, name, seed):
        folder = project / "data" / "raw" / name
        folder.mkdir(parents=True)
        write_midi(folder / f"{name}.mid", melody(seed), title=name)
        return folder / f"{name}.mid"

    return add


@pytest.fixture
def make_project(tmp_path, monkeypatch):
    """Return a function that makes a project of a few bundled pieces and moves into it."""

    def make(name="project", pieces=("a", "b", "c")):
        folder = tmp_path / name
        (folder / "data" / "raw").mkdir(parents=True)
        sample = folder / "data" / "sample"
        (sample / "midi").mkdir(parents=True)
        parts = ("train", "validation", "test")
        described = {
            piece: {"composer": "nobody", "title": piece, "source": "made for a test", "part": parts[index % 3]}
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
        shutil.copy(PROJECT / "constraints.txt", folder)
        write_whole(folder / "data" / "tools.json", json.dumps(running_tools()))
        monkeypatch.chdir(folder)
        return folder

    return make
