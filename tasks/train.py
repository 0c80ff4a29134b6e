"""Verb ``train``: a family's systems, fitted to the training takes and chosen on the validation takes."""

import shutil
from pathlib import Path

from tasks.code import stage_digest
from tasks.families import load_family
from tasks.numerics import Networks, check_precision, write_computed_by
from tasks.params import Section
from tasks.registry import kind_module
from tasks.step import file_sha256, json_sha256, whole_folder


def train_family(
    name: str,
    params: Section,
    *,
    data: Path,
    out: Path,
    resume_root: Path,
    accelerator: str,
    networks: Networks,
) -> None:
    """Write weights, configs and curves of every system of a family into ``out``, and by what they were computed.

    A training that was killed goes on from its checkpoint in ``resume_root``, in a folder named by the digest of all
    that the result follows from: another data version, parameter or line of code starts afresh.

    Raises:
        ParamsError: there is no such family, or its values do not go together.
        DamagedData: the data set is not whole.
        ToolError: the disk is full.
    """
    check_precision(params, f"train.{name}", networks)
    family = load_family(name)
    opened = kind_module(family.data, "train").open_data(data)
    key = json_sha256(
        {
            "code": stage_digest(f"train@{name}", {name: family.data}),
            "params": params.model_dump(mode="json"),
            "networks": networks,
            "takes": file_sha256(data / "takes.json"),
            "segments": file_sha256(data / "segments.parquet"),
        }
    )
    resume = resume_root / f"{name}-{key[:16]}"
    with whole_folder(out) as half:
        family.fit(opened, half, params=params, resume=resume, accelerator=accelerator)
        write_computed_by(half, networks)
    for stale in resume_root.glob(f"{name}-*"):
        shutil.rmtree(stale)
