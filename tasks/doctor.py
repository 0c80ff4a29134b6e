"""Verb ``doctor``: is what lies here what was made, and are the programs the ones it was made with?

DVC believes a file whose size and mtime are as they were, and every object of its cache that is write-protected, as
all are. What the disk has damaged since is up to date to it, and is pushed and checked out as it is. Only reading
everything once more finds that.

An advice is a line for a shell. Each was followed in a test, and left what was recorded.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from tasks.errors import DamagedData, PipelineError
from tasks.health import read_health
from tasks.pretrained import FOLDER as PRETRAINED_FOLDER
from tasks.pretrained import PRETRAINED, read_pretrained
from tasks.registry import KINDS
from tasks.step import Verified, read_receipt
from tasks.tools import TOOLS, check_tools
from tasks.versions.history import WORKSPACE, read_version
from tasks.versions.locks import TMP_DIR, left_behind
from tasks.versions.outputs import Difference, Output, Record

DATA = Path("data")
TAKE_FOLDERS = {
    "filmed": "film",
    "ingested": "ingest",
    "rendered": "render",
    "synchronized": "synchronize",
    "extracted": "extract",
    **{f"chunked/{kind}": "chunk" for kind in KINDS},
}
"""Folders of takes below data/, each with the stage that makes it."""

REMEMBERED = Path(".audiate/verified/doctor.json")
GIT_WORKS_S = 60.0  # as long as git may hold its index
SHOWN = 3  # names of many
SINGLY = 20  # files that an advice names; beyond them it names their output
STATES = {
    "missing": "is missing",
    "changed": "was changed after it was made: its md5 is not that of dvc.lock",
    "extra": "was not made by the stage, or was left by another version: dvc.lock does not know it",
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: ``tools``, an output, ``cache``, or ``dvc.lock``.
        is_well: nothing is wrong with it.
        found: what was found, in words.
        advice: what to do about it, as a line for a shell; empty where nothing is to be done.
    """

    subject: str
    is_well: bool
    found: str
    advice: str


def examine(*, deep: bool, tell: Callable[[str], None] = lambda _: None) -> list[Finding]:
    """Look at the tools, at every take's folder and, if deep, at every byte of all outputs and of DVC's cache.

    Args:
        deep: read everything once more, and hold it against dvc.lock; else takes alone are held against their
            receipts, and files are believed whose size and times are as they were.
        tell: called with what is read next.
    """
    findings = [_tools(), *_pretrained(), *_locks(), *_behind()]
    wrong: set[Path] = set()
    if deep and (Path("dvc.lock").exists() or Path(".dvc").exists()):
        tell("doctor: what dvc.lock lists, and DVC's cache")
        findings += _recorded(wrong)
    verified = Verified(Path("/dev/null") if deep else REMEMBERED)
    for name, stage in TAKE_FOLDERS.items():
        if (DATA / name).is_dir():
            tell(f"doctor: data/{name}")
            findings += _takes(DATA / name, stage, verified, wrong)
    if not deep:
        verified.save()
    return [*findings, *_health()]


def _tools() -> Finding:
    try:
        running = check_tools(TOOLS)
    except PipelineError as error:
        return Finding(subject="tools", is_well=False, found=str(error), advice="make setup")
    found = ", ".join(f"{name} {version[:12]}" for name, version in sorted(running.items()))
    return Finding(subject="tools", is_well=True, found=found, advice="")


def _pretrained() -> Iterator[Finding]:
    """Hold the weights that come with the program against what they were when they were committed."""
    for name in PRETRAINED:
        path = PRETRAINED_FOLDER / name
        try:
            read_pretrained(name)
        except DamagedData as error:
            advice = f"git -C {quote(str(PRETRAINED_FOLDER))} checkout -- {quote(name)}"
            yield Finding(subject=f"pretrained {name}", is_well=False, found=str(error), advice=advice)
        else:
            found = f"{path.stat().st_size} bytes, as they came with audiate"
            yield Finding(subject=f"pretrained {name}", is_well=True, found=found, advice="")


def _locks() -> Iterator[Finding]:
    """Yield the locks that a killed process left."""
    for line in left_behind():
        yield Finding(subject="locks", is_well=False, found=line, advice=f"rm -f {TMP_DIR / 'rwlock'}")
    lock = Path(".git/index.lock")
    if lock.exists() and (age_s := time.time() - lock.stat().st_mtime) > GIT_WORKS_S:
        found = f"{lock} has stood for {age_s / 60:.0f} minutes: a git that was killed left it, or one waits for words"
        yield Finding(subject="locks", is_well=False, found=found, advice=f"rm -f {lock}  # where no git runs")


def _behind() -> Iterator[Finding]:
    """Yield the families that were trained on earlier data: nothing is wrong with them."""
    if not Path("dvc.lock").exists():
        return
    try:
        behind = read_version(WORKSPACE).behind()
    except DamagedData:  # told by what reads the record
        return
    for family, data in behind.items():
        found = f"trained on an earlier {data} than there is"
        yield Finding(subject=f"data/trained/{family}", is_well=True, found=found, advice=f"audiate train {family}")


def _health() -> Iterator[Finding]:
    """Yield the counts that the page shows under the health of the data: they are told, not judged."""
    try:
        tables = read_health(DATA).tables
    except DamagedData as error:
        yield Finding(subject="health", is_well=False, found=str(error), advice=_remake("ingest"))
        return
    for table in tables:
        for name, *values in table.rows:
            headings = [heading for heading, _ in table.columns[1:]]
            found = ", ".join(f"{heading} {value}" for heading, value in zip(headings, values, strict=True) if value)
            yield Finding(subject=f"{table.title}: {name}", is_well=True, found=found, advice="")


def _takes(folder: Path, stage: str, verified: Verified, wrong: set[Path]) -> Iterator[Finding]:
    """Hold takes against their receipts, but for those of which a wrong file is known already."""
    takes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    n_whole = 0
    for take in takes:
        if any(path == take or take in path.parents for path in wrong):
            continue
        try:
            read_receipt(take, verified)
            n_whole += 1
        except DamagedData as error:
            advice = f"rm -r {quote(str(take))} && {_remake(stage)}"
            yield Finding(subject=str(folder), is_well=False, found=str(error), advice=advice)
    if n_whole == len(takes):
        yield Finding(subject=str(folder), is_well=True, found=f"{n_whole} takes are whole", advice="")


def _recorded(wrong: set[Path]) -> Iterator[Finding]:
    """Hold outputs and cache against what was recorded, and add to ``wrong`` the files that are not it."""
    try:
        record = Record()
        if record.is_empty:
            advice = "dvc pull" if record.has_remote else "dvc repro"
            yield Finding(subject="dvc.lock", is_well=True, found="nothing was made or pulled here yet", advice=advice)
            return
        damaged = record.damaged()
        unnamed = set(damaged)
        n_whole = 0
        for stage in dict.fromkeys(output.stage for output in record.outputs):
            outputs = [output for output in record.outputs if output.stage == stage]
            differences = {output: record.differences(output) for output in outputs}
            is_stage_whole = not any(differences.values())
            for output in outputs:
                known = record.objects(output)
                bad = [path for path in damaged if path in known]
                gone = [path for path in known if not path.exists()]
                wrong |= {difference.path for difference in differences[output]}
                unnamed -= set(bad)
                n_whole += not differences[output]
                yield from _output(record, output, differences[output], bad, gone)
                if bad or gone:
                    yield from _objects(record, output, bad, gone, is_stage_whole=is_stage_whole)
        for path in sorted(unnamed):
            found = f"{path} holds other bytes than its name says; it belongs to another version"
            advice = f"rm -f {quote(str(path))}" + (" && dvc fetch --all-commits" if record.has_remote else "")
            yield Finding(subject="cache", is_well=False, found=found, advice=advice)
        if n_whole == len(record.outputs):
            yield Finding(subject="dvc.lock", is_well=True, found=f"{n_whole} outputs are as it says", advice="")
        if not damaged:
            yield Finding(subject="cache", is_well=True, found="every object has its own md5", advice="")
    except PipelineError as error:
        yield Finding(subject="dvc.lock", is_well=False, found=str(error), advice="git checkout HEAD -- dvc.lock")


def _output(
    record: Record, output: Output, differences: Sequence[Difference], bad: Sequence[Path], gone: Sequence[Path]
) -> Iterator[Finding]:
    advice = _mend(record, output, differences, bad, gone) if differences else ""
    for difference in differences:
        found = f"{difference.path} {STATES[difference.state]}"
        yield Finding(subject=str(output.path), is_well=False, found=found, advice=advice)


def _mend(
    record: Record, output: Output, differences: Sequence[Difference], bad: Sequence[Path], gone: Sequence[Path]
) -> str:
    """Return what makes an output as it was recorded: all of it at once, as DVC checks out and stages make all of it.

    A checkout of a folder that the cache has not whole would remove the folder.
    """
    own = [one.path for one in differences if one.state != "missing"]
    if len(own) > SINGLY and not output.is_source:
        own = [output.path]
    needs_more = own == [output.path] or any(one.state != "extra" for one in differences)
    # An object that is missing or damaged is made anew with the file that is, but stays where nothing makes it.
    can_check_out = output.is_cached and not bad and not gone
    removed = [*own, *(bad if needs_more and not can_check_out else ())]
    steps = [f"rm -rf {' '.join(quote(str(path)) for path in removed)}"] if removed else []
    if needs_more and not output.is_cached:
        name = quote(str(output.path))
        steps.append(f"git checkout HEAD -- {name}" if record.is_committed(output) else _remake(output.stage))
    elif needs_more:
        steps.append(_check_out(output) if can_check_out else _obtain(record, output))
    return " && ".join(steps)


def _objects(
    record: Record, output: Output, bad: Sequence[Path], gone: Sequence[Path], *, is_stage_whole: bool
) -> Iterator[Finding]:
    """Say which objects the cache lacks; where the files are whole, they are what it gets back."""
    # A commit records what lies here as what was made from the present inputs, so both must be what was recorded.
    if not is_stage_whole:
        advice = "audiate doctor --deep, once the files of this stage are mended"
    else:
        removed = f"rm -f {' '.join(quote(str(path)) for path in bad)} && " if bad else ""
        can_commit = output.is_source or record.is_current(output.stage)
        advice = removed + (f"dvc commit -f {quote(output.stage)}" if can_commit else _obtain(record, output))
    known = record.objects(output)
    for path in bad:
        found = f"{path} holds other bytes than its name says; it is {known[path]}"
        yield Finding(subject="cache", is_well=False, found=found, advice=advice)
    if gone:
        names = ", ".join(f"{path} ({known[path]})" for path in gone[:SHOWN])
        more = f" and {len(gone) - SHOWN} more" if len(gone) > SHOWN else ""
        yield Finding(subject="cache", is_well=False, found=f"{names}{more}: missing from DVC's cache", advice=advice)


def _check_out(output: Output) -> str:
    return f"dvc checkout {quote(str(output.path))}"


def _obtain(record: Record, output: Output) -> str:
    """Return what gets an output that the cache does not have: the remote, or else its stage."""
    fetch = f"dvc fetch {quote(str(output.path))} && {_check_out(output)}"
    if output.is_source:
        return fetch if record.has_remote else f"audiate add --replace ORIGINALS  # of {output.path}"
    remake = _remake(output.stage)
    return f"({fetch} || {remake})" if record.has_remote else remake


def _remake(stage: str) -> str:
    verb, _, family = stage.partition("@")
    return " ".join(["audiate", verb, *([quote(family)] if family else []), "--force"])
