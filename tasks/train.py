"""Verb ``train``: a family's systems, fitted to the training takes and chosen on the validation takes."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from tasks.code import stage_digest
from tasks.families import load_family
from tasks.modules import LOCK_FILE, Project
from tasks.numerics import Networks, check_precision, computed_by, write_computed_by
from tasks.params import Section
from tasks.registry import kind_module
from tasks.step import Verified, contents_digest, file_sha256, json_sha256, whole_folder


class DataSet(Protocol):
    """A data set of any kind."""

    @property
    def folder(self) -> Path:
        """Where its index and its takes lie."""

    def takes(self, part: str) -> list[str]:
        """Return the names of a part's takes."""


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
    that the result follows from: another take, parameter, line of code, library or machine starts afresh.

    Raises:
        ParamsError: there is no such family, or its values do not go together.
        DamagedData: the data set is not whole.
        ToolError: the disk is full.
    """
    check_precision(params, f"train.{name}", networks)
    family = load_family(name)
    opened = open_data_set(family.data, data)
    key = json_sha256(
        {
            **training_inputs(name, family.data, opened, params.model_dump(mode="json"), networks),
            "computed_by": computed_by(networks),
            "accelerator": accelerator,
        }
    )
    resume = resume_root / f"{name}-{key[:16]}"
    with whole_folder(out) as half:
        family.fit(opened, half, params=params, resume=resume, accelerator=accelerator)
        write_computed_by(half, networks)
    for stale in resume_root.glob(f"{name}-*"):
        shutil.rmtree(stale)


def open_data_set(kind: str, folder: Path) -> Any:
    """Open the data set that families of a kind are fitted to.

    Raises:
        DamagedData: its index is missing or damaged.
    """
    return kind_module(kind, "train").open_data(folder)


def training_inputs(
    name: str, kind: str, data: DataSet, params: Mapping[str, Any], networks: Networks
) -> dict[str, Any]:
    """Return what the weights of a family follow from, but for the machine: its code, parameters, data and libraries.

    Takes count by the contents of what was stored of them: other pictures or features of the same recordings are
    other data. Those for testing are not read.

    Args:
        name: of the family.
        kind: of its data.
        data: the opened data set.
        params: values of the family's section.
        networks: the numerics.

    Raises:
        DamagedData: a take has no receipt, or is not what its receipt says.
    """
    verified = Verified(Path(os.devnull))
    takes = [take for part in ("train", "validation") for take in data.takes(part)]
    return {
        "code": stage_digest(f"train@{name}", {name: kind}),
        "libraries": Project().file_digest(LOCK_FILE),
        "params": dict(params),
        "networks": networks,
        "index": file_sha256(data.folder / "takes.json"),
        "segments": file_sha256(data.folder / "segments.parquet"),
        "takes": {take: contents_digest(data.folder / take, verified) for take in takes},
    }
