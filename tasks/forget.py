"""Verb ``forget``: a take whose players withdrew their consent leaves the project.

It is removed from data/raw, from everything that was made of it and from local memories; the models that learned from
it are named, and withdrawn on request. What older versions and the remote still hold is listed, and removed with
``everywhere``. Git keeps names, digests and figures: that is said, and never rewritten.
"""

import difflib
import glob
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tasks.add import INCOMING, PENDING, STATE
from tasks.errors import DamagedData, PipelineError
from tasks.ingest import FILMED, RAW, SAMPLE
from tasks.intake.folder import SCORE_SUFFIXES, TAKE_FILE, shown
from tasks.intake.listed import listed_files
from tasks.promote import names as promoted_families
from tasks.promote import read_promoted
from tasks.step import Verified, write_whole
from tasks.versions.history import INDEX, LOCK, TRAIN, WORKSPACE, NotCachedError, read_version
from tasks.versions.objects import Lists, ObjectsError, Shelf, Stored, opened_shelves, stored_versions
from tasks.versions.publish import default_remote
from tasks.versions.raw import writing_raw

DATA = Path("data")
FORGOTTEN = INCOMING / ".forgotten"
LEARNED = {"train": "trained on it", "validation": "validated on it"}
# How deep under data/FOLDER the folders of takes are.
DEPTHS = {
    "raw": 0,
    "ingested": 0,
    "rendered": 0,
    "synchronized": 0,
    "extracted": 0,
    "chunked": 1,  # by kind
    "scored": 1,  # by family
    "synthesized": 2,  # by family and system
    "report": 1,  # in media
}
MADE_OF_A_FAMILY = ("trained", "synthesized", "evaluated", "promoted")

Tell = Callable[[str], None]


class ForgetError(PipelineError):
    """A take that cannot be forgotten as asked: what was found and what can be done."""


@dataclass(frozen=True, kw_only=True)
class Learned:
    """A family whose models a take has shaped.

    Attributes:
        family: its name.
        take: that it learned from.
        how: ``trained on it``, or ``validated on it``: the step that was kept, or a threshold, was chosen by it.
        paths: its weights, what they synthesized, and the figures; removed when it is withdrawn.
    """

    family: str
    take: str
    how: str
    paths: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Holding:
    """What a version still holds of the takes.

    Attributes:
        name: a commit's full hash, ``WORKSPACE`` for what dvc.lock lists until the next run, or an experiment's name.
        at: when it was committed, ISO 8601.
        subject: first line of the commit's message.
        n_files: of the takes, in all its folders.
        n_objects: that the cache and the remote still have of these, by shelf.
    """

    name: str
    at: str
    subject: str
    n_files: int
    n_objects: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Removal:
    """Objects of the takes that a shelf has and nothing else shares.

    Attributes:
        shelf: ``cache``, or the remote's name.
        n_objects: of them.
        n_bytes: of them.
        n_shared: objects of the takes that another take or file has too: they stay.
    """

    shelf: str
    n_objects: int
    n_bytes: int
    n_shared: int


@dataclass(frozen=True, kw_only=True)
class Forgetting:
    """What ``forget`` did, or would do.

    Attributes:
        takes: their names.
        paths: files and folders that go.
        memories: files under .audiate from which the takes go.
        models: families that learned from them.
        withdrawn: whether these go too.
        holdings: versions that hold something of the takes, the newest first.
        n_unread: lists of folders that neither cache nor remote has: what they name is not known.
        removals: objects that go with ``everywhere``, and could go without.
        everywhere: whether they go.
        advice: what is left to do, a line each.
        dry_run: whether nothing was done.
    """

    takes: tuple[str, ...]
    paths: tuple[str, ...]
    memories: tuple[str, ...]
    models: tuple[Learned, ...]
    withdrawn: bool
    holdings: tuple[Holding, ...]
    n_unread: int
    removals: tuple[Removal, ...]
    everywhere: bool
    advice: tuple[str, ...]
    dry_run: bool


def forget(
    takes: Sequence[str],
    *,
    withdraw: bool = False,
    everywhere: bool = False,
    dry_run: bool = True,
    tell: Tell = lambda _: None,
) -> Forgetting:
    """Remove takes of data/raw, and what was made of them, from the project that this runs in.

    Killed at any moment, the same call again goes on from there.

    Args:
        takes: their names.
        withdraw: remove the models that learned from them too, and what these models made.
        everywhere: remove the takes' objects from DVC's cache and its default remote too: no version can be checked
            out whole after that. Objects that another take shares stay, and so do lists of folders, with the names.
        dry_run: remove nothing.
        tell: is called with a line on what is done or waited for.

    Raises:
        ForgetError: no such take, one that is not of data/raw, or one whose recording another take has too.
        ObjectsError: the cache or, with ``everywhere``, the remote cannot be used.
        PipelineError: this is no project of DVC.
    """
    names = tuple(dict.fromkeys(takes))
    for name in names:
        _check_name(name)
    _check_copies(names)
    paths = [RAW / name for name in names if (RAW / name).is_dir()] + list(_made_of(names))
    models = tuple(_models(names))
    digests = _recordings(names)
    memories = tuple(str(path) for path, _ in _memories(names, digests)) + tuple(_resumed(models))
    if withdraw:
        paths += [Path(path) for model in models for path in model.paths]
    shown_paths = tuple(str(path) for path in dict.fromkeys(paths))
    if not dry_run:
        _remove(names, [path for path in map(Path, shown_paths) if RAW not in path.parents], tell)
        _clean(names, digests, models)
    holdings, n_unread, removals = _stored(names, everywhere=everywhere, dry_run=dry_run, tell=tell)
    if not (paths or memories or holdings):
        raise _unknown(names)
    return Forgetting(
        takes=names,
        paths=shown_paths,
        memories=memories,
        models=models,
        withdrawn=withdraw,
        holdings=holdings,
        n_unread=n_unread,
        removals=removals,
        everywhere=everywhere,
        advice=tuple(_advice(names, models, holdings, n_unread, withdraw=withdraw, everywhere=everywhere)),
        dry_run=dry_run,
    )


# -- what may be forgotten -------------------------------------------------------------------------------------------


def _check_name(name: str) -> None:
    take, slash, view = name.partition("/")
    if slash:
        raise ForgetError(
            f"{shown(name)} is a view ({shown(view)}) of a take, expected the take: audiate forget {take}"
        )
    if name in ("", ".", ".."):
        raise ForgetError(f"{name!r} is no name of a take")
    if (RAW / name).is_dir():
        return
    if (FILMED / name).is_dir():
        raise ForgetError(
            f"{name} is drawn by the stage film from a score of {SAMPLE}, nobody is in it: take its piece out of film "
            "in params.yaml, then dvc repro"
        )
    score = next((path for path in SAMPLE.glob(f"**/{name}.mid") if path.is_file()), None)
    if score is not None:
        raise ForgetError(f"{name} is {score}, which git tracks: git rm {score}, commit, then dvc repro")


def _unknown(names: Sequence[str]) -> ForgetError:
    there = sorted(path.name for path in RAW.iterdir() if path.is_dir()) if RAW.is_dir() else []
    near = difflib.get_close_matches(names[0], there, n=3, cutoff=0.5)
    hint = f": is it {' or '.join(near)}?" if near else ""
    return ForgetError(f"{shown(names[0])} is no take of {RAW}, and no version holds one of that name{hint}")


def _check_copies(names: Sequence[str]) -> None:
    """Refuse a take whose recording another take has too: it would stay, under the other's name.

    Raises:
        ForgetError: names the other takes.
    """
    if not RAW.is_dir():
        return
    verified = Verified(STATE / "verified" / "forget.json")
    own = {name: _files_of(RAW / name) for name in names if (RAW / name).is_dir()}
    sizes = {path.stat().st_size for files in own.values() for path in files}
    others: dict[str, list[Path]] = {}
    for folder in sorted(RAW.iterdir()):
        if folder.is_dir() and folder.name not in own:
            for path in _files_of(folder):
                if path.stat().st_size in sizes:
                    others.setdefault(verified.sha256(path), []).append(path)
    for name, files in own.items():
        copies = {path.name: others.get(verified.sha256(path), []) for path in files} if others else {}
        takes = sorted({copy.parent.name for paths in copies.values() for copy in paths})
        if takes:
            file = next(file for file, paths in copies.items() if paths)
            raise ForgetError(
                f"{name}: {file} is in {', '.join(takes)} too, where it would stay: forget them together, "
                f"audiate forget {' '.join((*names, *takes))}"
            )


def _files_of(folder: Path) -> list[Path]:
    """Return the recordings of a take; its MIDI file where it has no other: a score may be common to many takes."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != TAKE_FILE)
    recorded = [path for path in files if path.suffix.lower() not in SCORE_SUFFIXES]
    return recorded or files


# -- what there is of a take -----------------------------------------------------------------------------------------


def _made_of(names: Sequence[str]) -> Iterator[Path]:
    """Yield the folders under data/ that stages made of the takes, data/raw left out."""
    for folder, depth in DEPTHS.items():
        if DATA / folder != RAW:
            for name in names:
                yield from sorted((DATA / folder).glob("/".join([*("*" * depth), glob.escape(name)])))


def take_of_path(path: str) -> str | None:
    """Return the take that a file of a version belongs to, or None where it is no take's own.

    Args:
        path: from the folder of the project.
    """
    data, *parts = PurePosixPath(path).parts
    depth = DEPTHS.get(parts[0]) if data == str(DATA) and parts else None
    if depth is None or len(parts) < depth + 3:  # a file beside the takes' folders is of all of them
        return None
    return parts[depth + 1]


def _recordings(names: Sequence[str]) -> set[str]:
    """Return the sha256 of the takes' recordings, as the catalog has them and as they are."""
    verified = Verified(STATE / "verified" / "forget.json")
    found = {verified.sha256(path) for name in names if (RAW / name).is_dir() for path in _files_of(RAW / name)}
    rows = _read(DATA / "ingested" / "catalog.json", list)
    return found | {str(file["sha256"]) for row in rows if row["take"] in names for file in listed_files(row)}


def _models(names: Sequence[str]) -> Iterator[Learned]:
    """Yield the families whose present weights learned from the takes: those that were trained last, and the promoted.

    Either may have learned from an earlier index than the one that lies here. One that nobody has any more is taken for
    the one that lies here.
    """
    if Path(LOCK).is_file():
        version = read_version(WORKSPACE)
        for family in sorted(name.removeprefix(TRAIN) for name in version.lock["stages"] if name.startswith(TRAIN)):
            try:
                index = version.index_of(family)
            except NotCachedError:
                index = _read(Path(version.data_of(family)[0]) / INDEX, dict)
            for name in names:
                how = LEARNED.get(str(index.get(name, {}).get("part")))
                if how is not None:
                    yield Learned(family=family, take=name, how=how, paths=tuple(_of_family(family)))
    for family in promoted_families():
        for name in sorted(set(names) & read_promoted(family).learned.keys()):
            how = "its promoted weights were trained or validated on it"
            yield Learned(family=family, take=name, how=how, paths=tuple(_of_family(family)))


def _of_family(family: str) -> Iterator[str]:
    there = [DATA / folder / family for folder in MADE_OF_A_FAMILY]
    there += [DATA / "metrics" / f"{family}.json", DATA / "promoted" / f"{family}.dvc"]
    yield from (str(path) for path in there if path.exists())


def _read(path: Path, kind: type) -> Any:
    if not path.is_file():
        return kind()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise DamagedData(f"{path} is not JSON") from None
    return found if isinstance(found, kind) else kind()


def _memories(names: Sequence[str], digests: set[str]) -> Iterator[tuple[Path, Any]]:
    """Yield the files of .audiate that know a take, each with what remains of it; None where nothing does.

    What the inbox has handled stays: it is what keeps the inbox's own copy from being taken in again.
    """
    wanted = set(names)
    for path in sorted((STATE / "verified").glob("*.json")):
        known = _read(path, dict)
        rest = {key: value for key, value in known.items() if not wanted & set(Path(key).parts) and key not in digests}
        if len(rest) < len(known):
            yield path, rest
    for path in sorted((STATE / "verified" / "streams").glob("*.npy")):
        if path.stem in digests:
            yield path, None
    for name in ("quarantine", "seen"):
        path = STATE / "watch" / f"{name}.json"
        known = _read(path, dict)
        rest = {key: value for key, value in known.items() if not wanted & {key, str(value.get("entry"))}}
        if len(rest) < len(known):
            yield path, rest


def _resumed(models: Sequence[Learned]) -> list[str]:
    """List the folders that hold checkpoints of trainings on the takes which were stopped."""
    families = sorted({model.family for model in models})
    return [str(path) for family in families for path in sorted((STATE / "resume").glob(f"{family}-*"))]


# -- removal ---------------------------------------------------------------------------------------------------------


def _remove(names: Sequence[str], made: Iterable[Path], tell: Tell) -> None:
    """Remove the takes from data/raw under DVC's lock, then what was made of them."""
    there = [RAW / name for name in names if (RAW / name).is_dir()]
    if there:
        with writing_raw(RAW, tell=tell) as record:
            PENDING.parent.mkdir(parents=True, exist_ok=True)
            PENDING.touch()  # killed before the record, the next `add` makes it
            FORGOTTEN.mkdir(parents=True, exist_ok=True)
            for folder in there:
                aside = FORGOTTEN / folder.name
                shutil.rmtree(aside, ignore_errors=True)
                folder.rename(aside)
            record()
            PENDING.unlink()
    shutil.rmtree(FORGOTTEN, ignore_errors=True)
    for path in made:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _clean(names: Sequence[str], digests: set[str], models: Sequence[Learned]) -> None:
    for path, rest in list(_memories(names, digests)):
        if rest is None:
            path.unlink()
        else:
            write_whole(path, json.dumps(rest))
    for folder in _resumed(models):
        shutil.rmtree(folder)


def _stored(
    names: Sequence[str], *, everywhere: bool, dry_run: bool, tell: Tell
) -> tuple[tuple[Holding, ...], int, tuple[Removal, ...]]:
    """Return which versions hold the takes, how many lists nobody has, and the objects; remove these if wanted."""
    has_remote = default_remote() is not None
    try:
        return _stored_on(names, remote=has_remote, everywhere=everywhere, dry_run=dry_run)
    except ObjectsError as error:
        if everywhere or not has_remote:
            raise
        tell(f"forget: what the remote holds is not known: {error}")
        return _stored_on(names, remote=False, everywhere=False, dry_run=dry_run)


def _stored_on(
    names: Sequence[str], *, remote: bool, everywhere: bool, dry_run: bool
) -> tuple[tuple[Holding, ...], int, tuple[Removal, ...]]:
    with opened_shelves(remote=remote) as shelves:
        lists = Lists(shelves)
        theirs: set[str] = set()
        others: set[str] = set()
        holdings = []
        unread: set[str] = set()
        for version in stored_versions():
            own, rest, missing = _parted(version, names, lists)
            theirs |= set(own.values())
            others |= rest
            unread |= missing
            n_objects = {shelf.name: len(shelf.sizes.keys() & set(own.values())) for shelf in shelves}
            if own and (version.name != WORKSPACE or any(n_objects.values())):
                holdings.append(
                    Holding(
                        name=version.name,
                        at=version.at,
                        subject=version.subject,
                        n_files=len(own),
                        n_objects=n_objects,
                    )
                )
        removals = tuple(_removal(shelf, theirs, others) for shelf in shelves)
        if everywhere and not dry_run:
            for shelf in shelves:
                shelf.remove(theirs - others)
    return tuple(holdings), len(unread), removals


def _parted(version: Stored, names: Sequence[str], lists: Lists) -> tuple[dict[str, str], set[str], set[str]]:
    """Return the files of the takes by path, the objects of all else, and the lists that nobody has."""
    own: dict[str, str] = {}
    rest: set[str] = set()
    missing: set[str] = set()
    for path, oid in version.outs.items():
        rest.add(oid)
        if not oid.endswith(".dir"):
            continue
        files = lists.files(oid)
        if files is None:
            missing.add(oid)
        for name, file in (files or {}).items():
            if take_of_path(f"{path}/{name}") in names:
                own[f"{path}/{name}"] = file
            else:
                rest.add(file)
    return own, rest, missing


def _removal(shelf: Shelf, theirs: set[str], others: set[str]) -> Removal:
    there = shelf.sizes.keys() & (theirs - others)
    return Removal(
        shelf=shelf.name,
        n_objects=len(there),
        n_bytes=sum(shelf.sizes[oid] for oid in there),
        n_shared=len(shelf.sizes.keys() & theirs & others),
    )


def _advice(
    names: Sequence[str],
    models: Sequence[Learned],
    holdings: Sequence[Holding],
    n_unread: int,
    *,
    withdraw: bool,
    everywhere: bool,
) -> Iterator[str]:
    families = ", ".join(sorted({model.family for model in models}))
    if families:
        state = "are withdrawn" if withdraw else "still carry it: --withdraw removes them until then"
        yield f"dvc repro makes all stages anew without it and trains {families}, whose models {state}"
    else:
        yield "dvc repro makes all stages anew without it; no model that stands here learned from it"
    yield "then commit dvc.lock, data/raw.dvc and data/metrics, and dvc push: until then git's last version lists it"
    commits = [holding for holding in holdings if holding.name != WORKSPACE]
    counted = f"{len(commits)} version{'s' if len(commits) > 1 else ''}"
    if commits and not everywhere:
        yield f"its files are still in {counted} of git: --everywhere removes them from cache and remote"
    if commits:
        yield f"git keeps the names and digests of {', '.join(names)} in {counted}; it is not rewritten"
        yield "models of these versions may have learned from it: audiate gc clears old versions with their weights"
    if n_unread:
        yield f"{n_unread} lists of folders are neither in the cache nor in the remote: what they name is not known"
    handled = _read(STATE / "watch" / "handled.json", dict)
    entries = sorted({str(row.get("entry")) for row in handled.values()} & set(names))
    if entries:
        yield f"the inbox may still hold {', '.join(entries)}: remove it there, or other ingest params take it in again"
    yield "other clones, their caches and backups are theirs to clear"
