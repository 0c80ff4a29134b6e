"""What DVC's cache and its remote hold: which objects each version in git needs, how large they are, and their removal.

DVC stores a file under the md5 of its bytes, and a folder as a list of its files under the md5 of that list with
``.dir``. `dvc gc` keeps what some revisions need, but knows neither a budget nor what a removal costs; so the lists
are read here. Only objects under ``files/md5`` are looked at: DVC 2 kept its own elsewhere, and they stay.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.lock import LockError
from dvc.repo import Repo, lock_repo
from dvc_data.hashfile.db import get_index

from tasks.errors import DamagedData, PipelineError
from tasks.versions.commits import commits_that_changed, contents
from tasks.versions.history import WORKSPACE, git, read_list
from tasks.versions.stages import LOADER, read_stages

# Git's patterns of the files that name objects; `.dvc` itself is DVC's own folder.
NAMING = ("dvc.lock", "*/dvc.lock", "*.dvc", ":(exclude).dvc")
_OBJECT = re.compile(r"[0-9a-f]{32}(\.dir)?")
_EXPERIMENT = re.compile(r"refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/(.+)")


class ObjectsError(PipelineError):
    """DVC's cache or its remote cannot be listed, read or written to."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A version whose results DVC may hold.

    Attributes:
        name: a commit's full hash, ``WORKSPACE``, or the name of an experiment.
        commit: the full hash; empty for the working tree.
        at: when it was committed, ISO 8601.
        subject: first line of the commit's message.
        outs: path to DVC's hash of all that it made or took in.
        refs: the tags and branches that hold the very same outs at their tip.
        is_on_head: whether it is in the history of what is checked out.
    """

    name: str
    commit: str
    at: str
    subject: str
    outs: Mapping[str, str]
    refs: tuple[str, ...] = ()
    is_on_head: bool = False


@dataclass(kw_only=True)
class Shelf:
    """A place that holds objects: the cache, or a remote.

    Attributes:
        name: ``cache``, or the remote's.
        sizes: bytes of each object.
    """

    name: str
    odb: Any = field(repr=False)
    sizes: dict[str, int]

    def read(self, oid: str) -> bytes:
        """Return an object's bytes.

        Raises:
            ObjectsError: it cannot be read.
        """
        try:
            with self.odb.fs.open(self.odb.oid_to_path(oid), "rb") as file:
                return bytes(file.read())
        except Exception as error:
            raise ObjectsError(f"{self.name}: {oid} cannot be read: {_one_line(error)}") from error

    def remove(self, oids: Iterable[str]) -> None:
        """Remove objects; lists of folders go first, so that none is left whose files are gone.

        Raises:
            ObjectsError: the place cannot be written to; what was removed before that stays removed.
        """
        gone = sorted(set(oids) & self.sizes.keys(), key=lambda oid: (not oid.endswith(".dir"), oid))
        for some in (gone[at : at + 1000] for at in range(0, len(gone), 1000)):
            try:
                self.odb.fs.remove([self.odb.oid_to_path(oid) for oid in some])
            except Exception as error:
                raise ObjectsError(f"{self.name}: objects cannot be removed: {_one_line(error)}") from error
            for oid in some:
                del self.sizes[oid]
        if gone:
            get_index(self.odb).clear()  # DVC remembers what a remote has, and would not push it again


@contextmanager
def opened_shelves(*, remote: bool, root: Path = Path()) -> Iterator[list[Shelf]]:
    """Hold DVC's lock, so that nothing is stored meanwhile; yield the cache and, if wanted, the default remote.

    Raises:
        ObjectsError: this is no project of DVC, another process of DVC is at work, there is no remote, or it does
            not answer.
    """
    try:
        repo = Repo(str(root.resolve()))
    except NotDvcRepoError as error:
        raise ObjectsError(f"{_one_line(error)}: run this in a project that `dvc init` made") from None
    except DvcException as error:
        raise ObjectsError(_one_line(error)) from None
    with repo:
        try:
            with lock_repo(repo):
                shelves = [_shelf("cache", repo.cache.local)]
                if remote:
                    name = repo.config["core"].get("remote")
                    if not name:
                        raise ObjectsError("DVC has no default remote: set one with `dvc remote add -d NAME URL`")
                    try:
                        odb = repo.cloud.get_remote_odb(name, "gc", hash_name="md5")
                    except Exception as error:  # a remote's own library raises what it likes
                        raise ObjectsError(f"remote {name}: {_one_line(error)}") from error
                    shelves.append(_shelf(name, odb))
                yield shelves
        except LockError:
            raise ObjectsError("another process of DVC is at work here: try again when it is done") from None


def _shelf(name: str, odb: Any) -> Shelf:
    """List what a place holds."""
    try:
        if odb.fs.protocol == "local":
            paths = [str(path) for path in Path(odb.path).glob("??/*") if path.is_file()]
            found = {path: os.stat(path).st_size for path in paths}  # noqa: PTH116 - as names go in
        else:
            listed = odb.fs.fs.find(odb.path, detail=True)
            found = {path: int(about["size"] or 0) for path, about in listed.items()}
    except FileNotFoundError:
        found = {}
    except Exception as error:
        raise ObjectsError(f"{name} cannot be listed: {_one_line(error)}") from error
    sizes = {"".join(path.rsplit("/", 2)[1:]): size for path, size in found.items()}
    return Shelf(name=name, odb=odb, sizes={oid: size for oid, size in sizes.items() if _OBJECT.fullmatch(oid)})


def stored_versions(*, root: Path = Path()) -> list[Stored]:
    """List the working tree, then every version in git, the newest first: of HEAD, branches, tags and experiments.

    Commits that follow each other with the same outs are one version, called by the newest of them.

    Raises:
        HistoryError: this is no repository of git.
        DamagedData: a dvc.lock, or a file of DVC's, cannot be read.
    """
    refs = _refs(root)
    on_head = commits_that_changed(NAMING, root=root)
    others = commits_that_changed(NAMING, revs=["--branches", "--tags"], root=root)
    head = {commit.commit for commit in on_head}
    rows = {commit.commit: commit for commit in (*on_head, *others)}
    tips = {commit: names for commit, names in refs.items() if commit not in rows}
    files = _naming_files(root)
    texts = contents([f"{commit}:./{file}" for commit in (*rows, *tips) for file in files], root=root)
    found: dict[str, tuple[bytes | None, ...]] = {
        commit: tuple(texts[at * len(files) : (at + 1) * len(files)]) for at, commit in enumerate((*rows, *tips))
    }
    named: dict[tuple[bytes | None, ...], list[str]] = {}
    for commit, names in refs.items():
        named.setdefault(found[commit], []).extend(names)
    versions = []
    taken: set[tuple[bytes | None, ...]] = set()
    for row in sorted(rows.values(), key=lambda row: (row.commit in head, row.at), reverse=True):
        texts_here = found[row.commit]
        if texts_here in taken or not any(texts_here):
            continue
        taken.add(texts_here)
        versions.append(
            Stored(
                name=row.commit,
                commit=row.commit,
                at=row.at,
                subject=row.subject,
                outs=_outs(files, texts_here, row.commit[:9]),
                refs=tuple(sorted(named.get(texts_here, ()))),
                is_on_head=row.commit in head,
            )
        )
    here = [path.read_bytes() if (path := root / file).is_file() else None for file in files]
    workspace = Stored(name=WORKSPACE, commit="", at="", subject="", outs=_outs(files, here, WORKSPACE))
    return [workspace, *versions, *_experiments(files, root)]


def _refs(root: Path) -> dict[str, list[str]]:
    """Return the names of tags and branches by the commit that they point to."""
    listed = git(
        ["for-each-ref", "--format=%(objectname) %(*objectname) %(refname)", "refs/tags", "refs/heads"], root=root
    )
    found: dict[str, list[str]] = {}
    for row in listed.splitlines():
        own, of_tag, name = row.split(" ", 2)
        kind = "tag" if name.startswith("refs/tags/") else "branch"
        found.setdefault(of_tag or own, []).append(f"{kind} {name.split('/', 2)[2]}")
    return found


def _experiments(files: Sequence[str], root: Path) -> list[Stored]:
    """Return the experiments that DVC keeps beside the commits, the newest first."""
    shown = "--format=%(objectname) %(committerdate:iso-strict) %(refname)"
    listed = git(["for-each-ref", "--sort=-committerdate", shown, "refs/exps"], root=root)
    rows = [row.split(" ", 2) for row in listed.splitlines()]
    rows = [[commit, at, named[1]] for commit, at, ref in rows if (named := _EXPERIMENT.fullmatch(ref))]
    texts = contents([f"{commit}:./{file}" for commit, _, _ in rows for file in files], root=root)
    return [
        Stored(
            name=name,
            commit=commit,
            at=at,
            subject=f"experiment {name}",
            outs=_outs(files, texts[place * len(files) : (place + 1) * len(files)], f"experiment {name}"),
        )
        for place, (commit, at, name) in enumerate(rows)
    ]


def _naming_files(root: Path) -> list[str]:
    """Return the files that name objects, in any version or here, from the folder of the project."""
    revs = ["HEAD", "--branches", "--tags", "--glob=refs/exps"]
    past = git(["log", "--format=", "--name-only", "--relative", "-z", "-m", *revs, "--", *NAMING], root=root)
    here = git(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *NAMING], root=root)
    return sorted({name.strip("\n") for name in (past + here).split("\0")} - {""})


def _outs(files: Sequence[str], texts: Sequence[bytes | None], where: str) -> dict[str, str]:
    """Return path to hash of all that files name: outputs of stages, and what was taken in with `dvc add`."""
    found: dict[str, str] = {}
    for file, raw in zip(files, texts, strict=True):
        if raw is None:
            continue
        folder = file.rpartition("/")[0]
        text = raw.decode("utf-8", errors="replace")
        if file.rpartition("/")[2] == "dvc.lock":
            rows = [
                row for stage in read_stages(text, where=f"{file} of {where}").values() for row in stage.outs.items()
            ]
        else:
            try:
                outs = LOADER(text).get_single_data()["outs"]
                rows = [(str(out["path"]), str(out.get("md5", ""))) for out in outs]
            except (yaml.YAMLError, TypeError, KeyError, AttributeError):
                raise DamagedData(f"{file} of {where} cannot be read") from None
        found |= {(f"{folder}/{path}" if folder else path): md5 for path, md5 in rows if _OBJECT.fullmatch(md5)}
    return found


class Lists:
    """What the lists of folders name, each read once from the first shelf that has it."""

    def __init__(self, shelves: Sequence[Shelf]) -> None:
        self.shelves = shelves
        self._read: dict[str, dict[str, str] | None] = {}

    def files(self, oid: str) -> Mapping[str, str] | None:
        """Return path to object of the files of a folder, or None where no shelf has its list.

        Raises:
            ObjectsError: a shelf has the list and does not give it.
            DamagedData: what it gives is no list.
        """
        if oid not in self._read:
            shelf = next((shelf for shelf in self.shelves if oid in shelf.sizes), None)
            self._read[oid] = None if shelf is None else read_list(shelf.read(oid), where=f"{oid} in {shelf.name}")
        return self._read[oid]

    def objects(self, outs: Mapping[str, str]) -> set[str]:
        """Return all objects that a version needs, as far as its lists are there."""
        found = set(outs.values())
        for oid in outs.values():
            if oid.endswith(".dir"):
                found |= set((self.files(oid) or {}).values())
        return found


def _one_line(error: object) -> str:
    return " ".join(str(error).split())
