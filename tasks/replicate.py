"""Verb ``replicate``: what seeds move in a family's figures, by training it with several and changing nothing else.

Each seed trains, synthesizes and evaluates in a folder of its own, beside the results that dvc.lock names. What is kept
is a value a seed of each figure, in ``data/replicates/FAMILY.json``, which git tracks and ``audiate compare`` reads.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.code import stage_digest
from tasks.errors import DamagedData, ParamsError
from tasks.families import load_family
from tasks.numerics import Networks
from tasks.params import Section
from tasks.score import ScoreParams, sound_and_evaluate
from tasks.step import Verified, contents_digest, json_sha256, write_whole
from tasks.store.tables import read_table
from tasks.train import open_data_set, train_family, training_inputs
from tasks.versions.differences import mean_figures
from tasks.versions.noise import REPLICATES, replicates_text

TRUTH = Path("data/truth.json")
FOUND = Path(".audiate/replicates")
SEED = "seed"

Figures = dict[str, dict[str, float]]


def replicate(
    family: str,
    n_seeds: int,
    *,
    params: Section,
    stages: ScoreParams,
    networks: Networks,
    data: Path,
    accelerator: str,
    workers: int,
    tell: Callable[[str], None],
) -> Path:
    """Train and evaluate a family with other seeds than its own, and write every figure's values.

    Seeds that are done already, of the same data, code and parameters, are not trained again.

    Args:
        family: its name.
        n_seeds: how many, at least 2: those after the seed of params.yaml.
        params: the family's own section.
        stages: the sections of the stages after training.
        networks: the numerics.
        data: the data set of its kind.
        accelerator: Lightning's word.
        workers: threads that synthesize and score.
        tell: called with what runs, a line at a time.

    Returns:
        The file.

    Raises:
        ParamsError: the family is unknown, its section has no seed, or fewer than two seeds are wanted.
        DamagedData: the data set is not whole.
        ToolError: the disk is full.
    """
    if n_seeds < 2:
        raise ParamsError(f"--seeds is {n_seeds}, expected 2 or more: one value has no spread")
    own = params.model_dump(mode="json")
    if not isinstance(own.get(SEED), int):
        raise ParamsError(f"params.yaml: train.{family} has no {SEED}: nothing of it follows from one")
    seeds = [own[SEED] + number for number in range(1, n_seeds + 1)]
    key = _key(family, {**own, SEED: None}, stages, networks, data)[:16]
    found = []
    for number, seed in enumerate(seeds):
        path = FOUND / f"{family}-{key}-{seed}.json"
        if not path.is_file():
            tell(f"replicate: {family} with seed {seed}, {number + 1} of {n_seeds}")
            figures = _figures_of(
                family,
                params.model_copy(update={SEED: seed}),
                stages,
                networks,
                data=data,
                folder=FOUND / f"{family}-{seed}",
                accelerator=accelerator,
                workers=workers,
            )
            write_whole(path, json.dumps(figures) + "\n")
        found.append(_read(path))
    out = Path(REPLICATES) / f"{family}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, replicates_text(seeds, _by_figure(found)))
    return out


def _key(family: str, params: Mapping[str, Any], stages: ScoreParams, networks: Networks, data: Path) -> str:
    """Return the digest of all that the figures of a seed follow from, the seed and the machine left out."""
    kind = load_family(family).data
    opened = open_data_set(kind, data)
    verified = Verified(Path(os.devnull))
    return json_sha256(
        {
            **training_inputs(family, kind, opened, params, networks),
            "later": [stage_digest(f"{stage}@{family}", {family: kind}) for stage in ("synthesize", "evaluate")],
            "stages": stages.model_dump(mode="json"),
            "tested": {take: contents_digest(data / take, verified) for take in opened.takes("test")},
            "truth": TRUTH.read_text(encoding="utf-8") if TRUTH.is_file() else None,
        }
    )


def _figures_of(
    family: str,
    params: Section,
    stages: ScoreParams,
    networks: Networks,
    *,
    data: Path,
    folder: Path,
    accelerator: str,
    workers: int,
) -> Figures:
    """Run the three stages of a family in a folder that is removed, and return each system's mean figures."""
    trained = folder / "trained"
    folder.mkdir(parents=True, exist_ok=True)
    train_family(
        family,
        params,
        data=data,
        out=trained,
        resume_root=folder / "resume",
        accelerator=accelerator,
        networks=networks,
    )
    tables = sound_and_evaluate(
        family, data=data, trained=trained, folder=folder, params=stages, accelerator=accelerator, workers=workers
    )
    if tables is None:
        raise DamagedData(f"{data}: {family} sounded none of the test takes")
    figures = mean_figures(read_table(tables / "takes.parquet"))
    shutil.rmtree(folder)
    return figures


def _read(path: Path) -> Figures:
    try:
        found: Figures = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise DamagedData(f"{path} is not JSON: remove it, and that seed is trained again") from None
    return found


def _by_figure(found: Sequence[Figures]) -> dict[str, dict[str, list[float]]]:
    """Return the values of all seeds by system and metric, of those that every seed has."""
    systems: dict[str, dict[str, Any]] = {}
    for system in found[0]:
        keys = [key for key in found[0][system] if all(key in one.get(system, {}) for one in found)]
        values = {key: [one[system][key] for one in found] for key in keys}
        systems[system] = {key: row for key, row in values.items() if np.isfinite(row).all()}
    return systems
