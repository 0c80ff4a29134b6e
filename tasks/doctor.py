"""Verb ``doctor``: is what lies here what was made, and are the programs the ones it was made with?

DVC believes an object of its cache that is write-protected, as all are: one that the disk has damaged since is up to
date to it, and is pushed and checked out as it is. Only reading everything once more finds that.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import DamagedData, PipelineError
from tasks.registry import KINDS
from tasks.step import RECEIPT, Verified, read_receipt
from tasks.tools import TOOLS, check_tools
from tasks.versions.history import damaged_objects

DATA = Path("data")
TAKE_FOLDERS = (
    "filmed",
    "ingested",
    "rendered",
    "synchronized",
    "extracted",
    *(f"chunked/{kind}" for kind in KINDS),
)
REMEMBERED = Path(".audiate/verified/doctor.json")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: ``tools``, a stage's folder, or ``cache``.
        is_well: nothing is wrong with it.
        found: what was found, in words.
        advice: what to do about it; empty where nothing is to be done.
    """

    subject: str
    is_well: bool
    found: str
    advice: str


def examine(*, deep: bool, tell: Callable[[str], None] = lambda _: None) -> list[Finding]:
    """Look at the tools, at every take's folder and, if deep, at every byte that they and DVC's cache hold.

    Args:
        deep: read everything once more; else files are believed whose size and times are as they were.
        tell: called with what is read next.
    """
    findings = [_tools()]
    verified = Verified(Path("/dev/null") if deep else REMEMBERED)
    for name in TAKE_FOLDERS:
        if (DATA / name).is_dir():
            tell(f"doctor: data/{name}")
            findings += _takes(DATA / name, verified)
    if not deep:
        verified.save()
        return findings
    tell("doctor: DVC's cache")
    damaged = list(damaged_objects())
    findings += [
        Finding(
            subject="cache",
            is_well=False,
            found=f"{path} holds other bytes than its name says",
            advice=f"rm -f {path}, then dvc pull, or dvc repro --force of the stage that made it",
        )
        for path in damaged
    ]
    if not damaged:
        findings.append(Finding(subject="cache", is_well=True, found="every object has its own md5", advice=""))
    return findings


def _tools() -> Finding:
    try:
        running = check_tools(TOOLS)
    except PipelineError as error:
        return Finding(subject="tools", is_well=False, found=str(error), advice="make setup")
    found = ", ".join(f"{name} {version[:12]}" for name, version in sorted(running.items()))
    return Finding(subject="tools", is_well=True, found=found, advice="")


def _takes(folder: Path, verified: Verified) -> Iterator[Finding]:
    takes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    n_whole = 0
    for take in takes:
        try:
            read_receipt(take, verified)
            n_whole += 1
        except DamagedData as error:
            stage = folder.parts[1]
            advice = f"audiate {stage} makes it anew" if (take / RECEIPT).exists() else f"rm -r {take}, then dvc repro"
            yield Finding(subject=str(folder), is_well=False, found=str(error), advice=advice)
    if n_whole == len(takes):
        yield Finding(subject=str(folder), is_well=True, found=f"{n_whole} takes are whole", advice="")
