"""Verb ``train``: a family's systems, fitted to the training takes and chosen on the validation takes."""

import shutil
from pathlib import Path

from tasks.code import stage_digest
from tasks.families import load_family
from tasks.params import Section
from tasks.registry import kind_module
from tasks.step import file_sha256, json_sha256, whole_folder


def train_family(name: str, params: Section, *, data: Path, out: Path, resume_root: Path, accelerator: str) -> None:
    """Write weights, configs and curves of every system of a family into ``out``.

    A training that was killed goes on from its checkpoint in ``resume_root``, in a folder named by the digest of all
    that the result follows from: another data version, parameter or line of code starts afresh.

    Raises:
        ParamsError: there is no such family.
        DamagedData: the data set is not whole.
        ToolError: the disk is full.
    """
    family = load_family(name)
    opened = kind_module(family.data, "train").open_data(data)
    key = json_sha256(
        {
            "code": stage_digest(f"train@{name}", {name: family.data}),
            "params": params.model_dump(mode="json"),
            "takes": file_sha256(data / "takes.json"),
            "segments": file_sha256(data / "segments.parquet"),
        }
    )
    resume = resume_root / f"{name}-{key[:16]}"
    with whole_folder(out) as half:
        family.fit(opened, half, params=params, resume=resume, accelerator=accelerator)
    for stale in resume_root.glob(f"{name}-*"):
        shutil.rmtree(stale)
