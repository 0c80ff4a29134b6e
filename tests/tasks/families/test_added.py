"""A family is added as CONTRIBUTING says: two new files, three edits; DVC trains it, and nothing else is stale."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tasks.chunk import SegmentParams, index_takes
from tasks.takes import SplitParams, read_catalog

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[3]
NETWORK = '''
"""One gain."""

from torch import Tensor, nn, ones


class Gain(nn.Module):
    """Multiplies what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, N) to (B, N)."""
        return self.gain * x
'''
ADAPTER = '''
"""Family ``toy``: as quiet as its gain."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from models.toy import Gain
from tasks.families.base import Performance, VideoFamily
from tasks.families.networks import deterministic_torch, save_network
from tasks.params import Section
from tasks.store.segments import ScoreSet


class ToyParams(Section):
    """How loud."""

    seed: int


class ToyFamily(VideoFamily[ToyParams, ScoreSet]):
    """One gain, which is not learned."""

    params_class: ClassVar[type[Section]] = ToyParams
    systems: ClassVar[tuple[str, ...]] = ("toy",)
    data = "scores"

    def fit(self, data: ScoreSet, out: Path, *, params: ToyParams, resume: Path, accelerator: str) -> None:
        """Write the gain, and how many takes there are to learn from."""
        with deterministic_torch(seed=params.seed, n_threads=1):
            save_network(out / "toy", Gain().state_dict(), {"n_takes": len(data.takes("train"))})

    def perform(self, trained: Path, films: Mapping[str, Any], **_: Any) -> Iterator[Performance]:
        """Be silent."""
        for take, film in films.items():
            audio = np.zeros(round(film.duration_s * 8000), np.float32)
            yield Performance(system="toy", take=take, audio=audio, sample_rate=8000, notes=None)
'''


def test_a_family_is_two_new_files_and_three_edits_and_trains_through_dvc(chunked, notes_of):
    folder = Path.cwd()
    for number, part in enumerate(("train", "validation", "test")):
        notes = notes_of(*((0.3 * i, 0.3 * i + 0.2, 50 + 4 * i + number, 80) for i in range(1, 4)))
        chunked(f"take_{number}", notes, part=part)
    split = SplitParams(salt="s", train_percent=60, validation_percent=20, min_pieces=1)
    index_takes(Path("data/chunked/scores"), read_catalog(), split, SegmentParams(length_s=1.0, hop_s=1.0))
    for package in ("flows", "tasks", "models"):
        shutil.copytree(PROJECT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("constraints.txt", ".dvcignore", "dvc.yaml", "params.yaml"):
        shutil.copy(PROJECT / name, folder / name)
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "PREFECT_HOME": str(folder / "prefect")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def run(*command):
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500, check=False
        )
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    run("dvc", "init", "--no-scm", "-q")
    run("dvc", "repro", "-s", "code")
    before = json.loads(Path("data/code.json").read_text())

    Path("models/toy.py").write_text(NETWORK)
    Path("tasks/families/toy.py").write_text(ADAPTER)
    edits = {
        "tasks/families/__init__.py": (
            '"wave_unet": ',
            '"toy": "tasks.families.toy:ToyFamily",\n        "wave_unet": ',
        ),
        "params.yaml": ("  baselines: scores\n", "  baselines: scores\n  toy: scores\n"),
        "flows/presets/demo.yaml": ("  baselines: scores\n", "  baselines: scores\n  toy: scores\n"),
    }
    for name, (old, new) in edits.items():
        text = Path(name).read_text()
        assert old in text
        text = text.replace(old, new, 1)
        Path(name).write_text(text.replace("\ntrain:\n", "\ntrain:\n  toy: {seed: 3}\n", 1) if "yaml" in name else text)
    assert yaml.safe_load(Path("params.yaml").read_text())["train"]["toy"] == {"seed": 3}

    said = run("dvc", "repro", "-s", "code", "train@toy")
    assert [line.split("'")[1] for line in said.splitlines() if line.startswith("Running stage '")] == [
        "code",
        "train@toy",
    ]
    assert json.loads(Path("data/trained/toy/toy.json").read_text())["n_takes"] == 1
    assert Path("data/trained/toy/toy.safetensors").stat().st_size > 0
    after = json.loads(Path("data/code.json").read_text())
    for stage, digest in before.items():
        if stage == "files":
            continue
        kept = (
            {name: one for name, one in after[stage].items() if name != "toy"}
            if isinstance(digest, dict)
            else after[stage]
        )
        assert kept == digest, stage
