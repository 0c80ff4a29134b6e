"""Verb ``promote``: mark the version of a family whose weights serve, for ``perform``, ``separate`` and the nights.

``data/promoted/FAMILY`` holds a copy of ``data/trained/FAMILY`` of one version, and ``promoted.json``: where it is
from, what it learned from, and the parameters of the arrays that it expects. DVC tracks each family by itself.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tasks.errors import DamagedData, ParamsError, PipelineError
from tasks.numerics import Networks, networks_of
from tasks.params import read_params
from tasks.step import file_sha256, json_sha256, whole_folder
from tasks.versions.history import HistoryError, Version, read_version
from tasks.versions.raw import track

PROMOTED, TRAINED = Path("data/promoted"), "data/trained"
ABOUT = "promoted.json"
EXPECTED = ("extract", "chunk", "segments")
"""Sections of params.yaml that shape the arrays a family learns from: others are other inputs."""


@dataclass(frozen=True, kw_only=True)
class Promoted:
    """What ``promoted.json`` says of a family.

    Attributes:
        family: its name.
        kind: of data.
        commit: that the weights are of; None where they were not committed yet.
        data_version: that they learned from.
        params: the sections `EXPECTED` of that version, by name.
        learned: each take of training and validation, with its piece.
        files: sha256 of each file of the trained folder, by its path in it.
    """

    family: str
    kind: str
    commit: str | None
    data_version: str
    params: Mapping[str, Any]
    learned: Mapping[str, str]
    files: Mapping[str, str]

    @property
    def pieces(self) -> set[str]:
        """The pieces that it learned from or was tuned on."""
        return set(self.learned.values())

    @property
    def digest(self) -> str:
        """Changes with any of its weights, and with what it is held to have learned."""
        return json_sha256(asdict(self))


def promote(family: str, version: Version, *, tell: Callable[[str], None], dry_run: bool = False) -> Promoted:
    """Make a version's weights of a family the ones that serve, and record them with DVC.

    Everything is read from DVC's cache by the hashes of the version's dvc.lock: what a stage made, not what a folder
    holds now.

    Args:
        family: of the version's pipeline.
        version: whose weights.
        tell: is called with a line for people when another process holds DVC's lock.
        dry_run: change nothing.

    Raises:
        ParamsError: the version has no such family.
        HistoryError: the cache lacks what is needed.
        DamagedData: what the cache holds is not what its hash says.
        PipelineError: it was trained on data of an earlier version, whose parameters this one does not know; or DVC
            failed, or the disk is full.
    """
    version = _as_committed(version, family)
    known = version.families()
    if family not in known:
        raise ParamsError(f"{version.name} has not trained {family!r}, expected one of {', '.join(known) or 'none'}")
    weights = version.made(f"{TRAINED}/{family}")
    (data, _), takes = version.data_of(family), version.index_of(family)
    if family in version.behind():
        raise PipelineError(
            f"{family} of {version.name} was trained on an earlier {data} than {version.name} has: promote it from "
            f"the revision that trained it, or train it anew with `audiate train {family}`"
        )
    promoted = Promoted(
        family=family,
        kind=data.rpartition("/")[2],
        commit=version.commit,
        data_version=_data_version(version),
        params=_expected(version.lock["stages"]),
        learned={name: str(row["piece"]) for name, row in sorted(takes.items()) if row["part"] != "test"},
        files={name: file_sha256(path) for name, path in sorted(weights.items())},
    )
    if dry_run:
        return promoted
    out = PROMOTED / family
    with whole_folder(out) as half:
        for name, path in weights.items():
            (half / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, half / name)
        (half / ABOUT).write_text(json.dumps(asdict(promoted), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    track(out, tell=tell)
    return promoted


def withdraw(family: str) -> None:
    """Take a family's promotion back: its folder and DVC's record of it go, versions that had it keep it.

    Raises:
        PipelineError: it is not promoted.
    """
    if not (PROMOTED / f"{family}.dvc").exists() and not (PROMOTED / family).exists():
        raise PipelineError(f"{family} is not promoted, expected one of {', '.join(names()) or 'none: there is none'}")
    (PROMOTED / f"{family}.dvc").unlink(missing_ok=True)
    shutil.rmtree(PROMOTED / family, ignore_errors=True)


def names() -> list[str]:
    """List the promoted families, sorted.

    Raises:
        DamagedData: one is recorded, and its weights are not here.
    """
    found = sorted(path.name for path in PROMOTED.iterdir() if path.is_dir()) if PROMOTED.is_dir() else []
    recorded = sorted(path.stem for path in PROMOTED.glob("*.dvc"))
    for name in recorded:
        if name not in found:
            raise DamagedData(f"{PROMOTED / name} is missing, but {PROMOTED / name}.dvc names it: run dvc pull")
    return found


def read_promoted(family: str) -> Promoted:
    """Read what ``promoted.json`` says, and hold the weights beside it against it.

    Raises:
        DamagedData: the folder is missing, or not what was promoted.
    """
    folder = PROMOTED / family
    try:
        promoted = Promoted(**json.loads((folder / ABOUT).read_text(encoding="utf-8")))
        expected = dict(promoted.files)
    except FileNotFoundError:
        raise DamagedData(f"{folder / ABOUT} is missing: run dvc pull, or audiate promote {family}") from None
    except (ValueError, TypeError) as error:
        raise DamagedData(f"{folder / ABOUT} cannot be read: {' '.join(str(error).split())}") from None
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {ABOUT}
    for name in sorted(there ^ expected.keys()):
        raise DamagedData(f"{folder / name} is {'not of what was promoted' if name in there else 'missing'}")
    for name, sha256 in expected.items():
        if file_sha256(folder / name) != sha256:
            raise DamagedData(f"{folder / name} was changed after it was promoted: run dvc checkout {folder}")
    return promoted


def check_expected(promoted: Promoted, params: Mapping[str, Any]) -> None:
    """Refuse arrays that were made with other parameters than those that a promoted family learned from.

    Raises:
        ParamsError: names the first parameter that differs.
    """
    for section, expected in promoted.params.items():
        found = params.get(section)
        for key, value in expected.items():
            here = found.get(key) if isinstance(found, Mapping) else None
            if here != value:
                raise ParamsError(
                    f"{section}.{key} is {here!r}, but the promoted {promoted.family} expects {value!r}: set it back, "
                    f"or train and promote anew"
                )


def serving(family: str) -> Path:
    """Return the folder whose weights serve: the promoted one where there is one, else the trained one.

    Raises:
        DamagedData: the promoted folder is not what was promoted.
        ParamsError: it expects other parameters than those of this project.
    """
    if family not in names():
        return Path(TRAINED) / family
    check_expected(read_promoted(family), read_params())
    return PROMOTED / family


def shared_numerics(families: Sequence[str]) -> Networks:
    """Return the numerics that promoted families were trained with: one process can have one kind alone.

    Raises:
        ParamsError: they differ.
    """
    found = {family: networks_of(PROMOTED / family) for family in families}
    if len(set(found.values())) > 1:
        words = ", ".join(f"{family} {networks}" for family, networks in found.items())
        raise ParamsError(f"promoted families differ in numerics.networks ({words}): promote those of one kind")
    return next(iter(found.values()), "fast")


def _as_committed(version: Version, family: str) -> Version:
    """Return the last commit in place of a working tree that has the same weights of the same data and parameters."""
    if version.commit is not None:
        return version
    try:
        head = read_version("HEAD", root=version.root)
    except HistoryError:
        return version
    both = (version.lock["stages"], head.lock["stages"])
    stages = ("extract", "chunk", f"train@{family}")
    return head if all(both[0].get(stage) == both[1].get(stage) for stage in stages) else version


def _expected(stages: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sections as the version's stages recorded them."""
    kept: dict[str, Any] = {}
    for stage in ("extract", "chunk"):
        kept |= stages[stage].get("params", {}).get("params.yaml", {})
    return {section: kept[section] for section in EXPECTED if section in kept}


def _data_version(version: Version) -> str:
    text = version.text("data/metrics/data.json")
    return str(json.loads(text)["data_version"]) if text is not None else ""
