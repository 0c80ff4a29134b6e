"""What lets the picture matter early: DeepSynth's options, each beside its blind twin, after the same few steps.

Each row trains the network of ``params.yaml`` (section ``train.deepsynth``) with some options changed, and its
twin without video, and measures both on whole held-out takes: nats per sample, and the paired difference over
takes with its interval. Below 0 the picture helps. Run it after the stage ``chunk``:
``python -m benchmarks.deepsynth [ROW ...] [--scores DIR] [--parts validation test] [--set n_steps=100 ...]``
"""

import argparse
import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from tasks.families.deepsynth import BLIND, SYSTEM, DeepSynthParams, fit_system, measure_nats
from tasks.metrics.intervals import paired_interval
from tasks.params import read_params, section_values
from tasks.store.segments import ScoreSet

SECTION = "train.deepsynth"
SEEING_ONLY = {"video_rate", "frame_encoder", "frame_widths", "n_features", "n_changes", "subtract_rest"}
SEEING_ONLY |= {"video_to_output", "video_gain"}

ROWS: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "no memory of changes": {"n_changes": 0},
    "picture itself, not its distance from rest": {"subtract_rest": False},
    "VGG instead of strip": {"frame_encoder": "vgg"},
    "not straight into the output": {"video_to_output": False},
    "video into the gates x 1": {"video_gain": 1.0},
    "random start": {"smooth_init": False},
    "the paper's learning rate": {"learning_rate": 1e-3},
    "the paper's encoder at audio rate": {"video_rate": "audio", "n_changes": 0},
    "all of the paper's options": {
        "video_rate": "audio",
        "n_changes": 0,
        "frame_encoder": "vgg",
        "subtract_rest": False,
        "video_to_output": False,
        "video_gain": 1.0,
        "smooth_init": False,
        "learning_rate": 1e-3,
    },
}


def unigram_nats(scores: ScoreSet, takes: list[str]) -> NDArray[np.float64]:
    """Return the nats per sample of each take under the counts of the training codes."""
    counts = np.ones(256)
    for take in scores.takes("train"):
        counts += np.bincount(scores.open(take)["codes"][:], minlength=256)
    nats = -np.log(counts / counts.sum())
    return np.array([nats[scores.open(take)["codes"][:]].mean() for take in takes])


class Study:
    """Trains and measures systems, each combination of parameters once."""

    def __init__(self, scores: ScoreSet, parts: list[str], folder: Path) -> None:
        self.scores, self.folder = scores, folder
        self.rows = [row for part in parts for row in scores.segments(part)]
        self.takes = sorted({row.take for row in self.rows})

    def nats(self, system: str, params: DeepSynthParams) -> tuple[NDArray[np.float64], float]:
        """Return mean nats per sample of each take, and the seconds that training took."""
        values = params.model_dump(mode="json")
        if system == BLIND:
            values = {name: value for name, value in values.items() if name not in SEEING_ONLY}
        key = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
        out = self.folder / f"{system}-{key}"
        seconds = 0.0
        if not (out / f"{system}.json").exists():
            start = perf_counter()
            resume = self.folder / "resume" / key
            fit_system(system, self.scores, out, params=params, resume=resume, accelerator="cpu")
            seconds = perf_counter() - start
        nats = measure_nats(out / system, self.scores, self.rows, accelerator="cpu")
        of_take = np.array([row.take for row in self.rows])
        return np.array([nats[of_take == take].mean() for take in self.takes]), seconds


def main() -> None:
    """Print a line a row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("row", nargs="*", default=list(ROWS))
    parser.add_argument("--scores", type=Path, default=Path("data/chunked/scores"))
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--parts", nargs="+", default=["validation", "test"])
    parser.add_argument("--set", nargs="*", default=[], help="NAME=VALUE, for all rows")
    parser.add_argument("--keep", type=Path, help="a folder for what is trained; rows in it are not trained again")
    arguments = parser.parse_args()
    shipped: Mapping[str, Any] = section_values(read_params(arguments.params), SECTION)  # type: ignore[assignment]
    changed = {name: yaml.safe_load(value) for name, _, value in (text.partition("=") for text in arguments.set)}
    with tempfile.TemporaryDirectory() as scratch:
        study = Study(ScoreSet(arguments.scores), arguments.parts, arguments.keep or Path(scratch))
        unigram = unigram_nats(study.scores, study.takes).mean()
        print(f"{len(study.takes)} takes of {' and '.join(arguments.parts)}, unigram {unigram:.3f} nats")
        print(f"{'':42} {'seeing':>7} {'blind':>7} {'difference and interval':>26} {'training':>9}")
        for name in arguments.row:
            params = DeepSynthParams.parse({**shipped, **ROWS[name], **changed}, SECTION)
            seeing, seconds = study.nats(SYSTEM, params)
            blind, _ = study.nats(BLIND, params)
            pieces = [study.scores.piece(take) for take in study.takes]
            rng = np.random.default_rng(0)
            mean, low, high = paired_interval(seeing, blind, pieces, n_resamples=2000, rng=rng)
            worth = f"{mean:8.3f} [{low:7.3f}, {high:7.3f}]"
            print(f"{name:42} {seeing.mean():7.3f} {blind.mean():7.3f} {worth} {seconds:8.0f}s", flush=True)


if __name__ == "__main__":
    main()
