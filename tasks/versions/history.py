"""Past versions, read where they lie: files that git tracks by ``git show``, results from DVC's cache by their hash.

Nothing is checked out, fetched or computed. A version is a commit, or `WORKSPACE`: the files as they stand.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from dvc.config import Config, ConfigError

from tasks.errors import DamagedData, PipelineError
from tasks.versions.stages import LOADER

WORKSPACE = "WORKSPACE"
"""The name of the working tree where a git revision is expected."""

LOCK = "dvc.lock"
TRAIN = "train@"  # begins the name of the stage that trains a family
CHUNKED, INDEX = PurePosixPath("data/chunked"), "takes.json"
GIT_TIMEOUT_S = 60
MD5 = re.compile(r"[0-9a-f]{32}")


class HistoryError(PipelineError):
    """A version cannot be read: no such revision, no results in it, or its results are not in DVC's cache."""


class NotCachedError(HistoryError):
    """A version has a result, and neither DVC's cache nor the working tree has it."""


def git(arguments: Sequence[str], *, root: Path = Path(), environment: Mapping[str, str] | None = None) -> str:
    """Run git without any prompt, and return its output.

    Args:
        arguments: its own.
        root: where it runs.
        environment: variables for it besides those that there are.

    Raises:
        HistoryError: git is not installed, or failed; the message has its words in one line.
    """
    program = shutil.which("git")
    if program is None:
        raise HistoryError("git is not installed: install it with `apt-get install git`")
    try:
        done = subprocess.run(
            [program, "-c", "core.quotePath=false", *arguments],
            cwd=root,
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=GIT_TIMEOUT_S,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_EDITOR": "true", **(environment or {})},
            start_new_session=True,  # a Ctrl-C in the middle would leave git's index locked
        )
    except subprocess.TimeoutExpired:
        raise HistoryError(f"git {arguments[0]} did not end within {GIT_TIMEOUT_S} s") from None
    if done.returncode:
        words = " ".join(done.stderr.decode(errors="replace").split())
        raise HistoryError(f"git {arguments[0]}: {words or f'ended with {done.returncode}'}")
    return done.stdout.decode("utf-8", errors="surrogateescape")


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version of data, parameters, code and results.

    Attributes:
        name: as requested.
        commit: its full hash; None is the working tree.
        lock: what its dvc.lock holds.
        root: folder of the project.
    """

    name: str
    commit: str | None
    lock: Mapping[str, Any]
    root: Path

    def text(self, path: str) -> str | None:
        """Return a file that git tracks, or None where this version has none of that name."""
        if self.commit is None:
            file = self.root / path
            return file.read_text(encoding="utf-8") if file.is_file() else None
        return _show(self.root, self.commit, path)

    def hashes(self, kind: str) -> dict[str, str]:
        """Return path to hash of every file and folder that stages depend on (``deps``) or make (``outs``)."""
        return {
            str(row["path"]): str(row.get("md5", ""))
            for stage in self.lock["stages"].values()
            for row in stage.get(kind) or ()
        }

    def blobs(self, paths: Sequence[str]) -> dict[str, str]:
        """Return git's digest of the contents of files, of those that this version has."""
        if self.commit is None:
            there = [path for path in paths if (self.root / path).is_file()]
            made = git(["hash-object", "--no-filters", "--", *there], root=self.root) if there else ""
            return dict(zip(there, made.split(), strict=True))
        listed = git(["ls-tree", "-r", "-z", self.commit], root=self.root).split("\0")
        rows = (row.partition("\t") for row in listed if row)
        digests = {path: about.split()[2] for about, _, path in rows}
        return {path: digests[path] for path in paths if path in digests}

    def folders(self, parent: str) -> list[str]:
        """List the names of the results that stages of this version made directly under a folder, sorted."""
        if self.commit is None:
            there = self.root / parent
            if there.is_dir():
                return sorted(path.name for path in there.iterdir() if path.is_dir())
        made = (PurePosixPath(path) for path in self.hashes("outs"))
        return sorted(path.name for path in made if path.parent == PurePosixPath(parent))

    @cached_property
    def cache(self) -> Path:
        """Folder of the objects in DVC's cache, which hold the results of all commits of this project."""
        return _cache(self.root)

    def files(self, folder: str) -> dict[str, Path]:
        """Return where the files of a stage's result lie, by their names in it: those that the cache or the tree has.

        Raises:
            DamagedData: what the cache lists is not what its hash says.
        """
        if self.commit is None:
            there = self.root / folder
            return {path.relative_to(there).as_posix(): path for path in there.rglob("*") if path.is_file()}
        made = self.hashes("outs").get(folder)
        if made is None:
            return {}
        try:
            listed = read_list(self._cached(made, folder).read_bytes(), where=f"{folder} of {self.name}")
        except NotCachedError:
            return {}
        paths = {name: self.cache / md5[:2] / md5[2:] for name, md5 in listed.items()}
        return {name: path for name, path in paths.items() if path.is_file()}

    def result(self, folder: str, name: str) -> Path:
        """Return where a file of a stage's result lies: in DVC's cache, or in the working tree.

        Raises:
            HistoryError: the version has no such result, or it is not in the cache.
            DamagedData: what the cache holds is not what its hash says.
        """
        if self.commit is None:
            file = self.root / folder / name
            if not file.is_file():
                # Of a folder that lies here in part, what is missing was never made.
                kind = HistoryError if file.parent.is_dir() or folder not in self.hashes("outs") else NotCachedError
                raise kind(f"{folder}/{name} is missing: run dvc repro, or dvc checkout")
            return file
        made = self.hashes("outs").get(folder)
        if made is None:
            raise HistoryError(f"{self.name} has no {folder}: that version ends before the stage that makes it")
        listed = read_list(self._cached(made, folder).read_bytes(), where=f"{folder} of {self.name}")
        found = listed.get(name)
        if found is None:
            raise HistoryError(f"{self.name}: {folder} holds no {name}")
        return self._cached(found, folder)

    def families(self) -> list[str]:
        """List the families that were trained in this version and that its params.yaml still names, sorted."""
        trained = sorted(name.removeprefix(TRAIN) for name in self.lock["stages"] if name.startswith(TRAIN))
        named = (yaml.safe_load(self.text("params.yaml") or "") or {}).get("families")
        return [family for family in trained if named is None or family in named]

    def behind(self) -> dict[str, str]:
        """Return the families that were trained on an earlier data set than this version has, each with its data set.

        They are not broken: their figures are those of the data that they learned from.
        """
        made = self.hashes("outs")
        found: dict[str, str] = {}
        for family in self.families():
            read = ((str(row["path"]), row["md5"]) for row in self.lock["stages"][f"{TRAIN}{family}"].get("deps") or ())
            if other := next((path for path, md5 in read if made.get(path, md5) != md5), None):
                found[family] = other
        return found

    def data_of(self, family: str) -> tuple[str, str]:
        """Return the data set that a family was trained on, and its hash then.

        Raises:
            HistoryError: the family was not trained in this version.
        """
        stage = self.lock["stages"].get(f"{TRAIN}{family}") or {}
        for row in stage.get("deps") or ():
            if PurePosixPath(row["path"]).parent == CHUNKED:
                return str(row["path"]), str(row["md5"])
        raise HistoryError(f"{self.name} has not trained {family}")

    def index_of(self, family: str) -> dict[str, dict[str, Any]]:
        """Return what the index of a family's data set said of each take when the family was trained, by name.

        A family that is behind its data learned from an earlier index than the one that lies here.

        Raises:
            HistoryError: the family was not trained in this version, or that index is not in the cache.
            DamagedData: what the cache holds is not what its hash says, or is no index.
        """
        data, md5 = self.data_of(family)
        try:
            path = self.made(data, md5=md5)[INDEX]
        except NotCachedError:
            path = self.root / data / INDEX
            is_that_one = self.commit is None and self.hashes("outs").get(data) == md5 and path.is_file()
            if not is_that_one:
                raise
        try:
            found: dict[str, dict[str, Any]] = json.loads(path.read_bytes())
        except ValueError:
            raise DamagedData(f"{data}/{INDEX} of {self.name} is no index of takes") from None
        return found

    def made(self, folder: str, *, md5: str | None = None) -> dict[str, Path]:
        """Return where each file of a folder lies in DVC's cache, by its path in the folder.

        Args:
            folder: that a stage made, or that it read.
            md5: of the folder; by default as dvc.lock has it among what stages made, for a working tree too.

        Raises:
            HistoryError: no stage of this version made it, or it is not in the cache.
            DamagedData: what the cache holds is not what its hash says.
        """
        md5 = md5 or self.hashes("outs").get(folder)
        if md5 is None:
            raise HistoryError(f"{self.name} has no {folder}: that version ends before the stage that makes it")
        listed = read_list(self._cached(md5, folder).read_bytes(), where=f"{folder} of {self.name}")
        return {name: self._cached(own, folder) for name, own in listed.items()}

    def _cached(self, md5: str, folder: str) -> Path:
        plain, _, suffix = md5.partition(".")
        if not MD5.fullmatch(plain) or suffix not in ("", "dir"):
            raise DamagedData(f"{LOCK} of {self.name}: {md5!r} of {folder} is no md5")
        path = self.cache / plain[:2] / md5[2:]
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise NotCachedError(
                f"{folder} of {self.name} is not in DVC's cache: `dvc fetch --all-commits {folder}` gets it from the "
                "remote"
            ) from None
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != plain:
            raise DamagedData(f"{path} was changed after it was made: its md5 is not its name ({folder}, {self.name})")
        return path


def read_list(content: bytes, *, where: str) -> dict[str, str]:
    """Return name to md5 of each file of a folder, from the list that DVC keeps of it.

    Raises:
        DamagedData: it is no such list, or names a file outside the folder.
    """
    try:
        found = {str(row["relpath"]): str(row["md5"]) for row in json.loads(content)}
    except (ValueError, KeyError, TypeError):
        raise DamagedData(f"the list of {where} cannot be read: audiate doctor --deep says more") from None
    if outside := [name for name in found if name.startswith("/") or not {"", ".", ".."}.isdisjoint(name.split("/"))]:
        raise DamagedData(f"the list of {where} names {outside[0]!r}, expected a file in it")
    return found


def read_version(name: str, *, root: Path = Path()) -> Version:
    """Find a version.

    Args:
        name: `WORKSPACE`, a git revision, the folder of another project, or the name of one of DVC's experiments, in
            this order.
        root: folder of the project.

    Raises:
        HistoryError: there is none of these, several experiments have that name, or nothing was reproduced in it yet.
    """
    commit = None if name == WORKSPACE else _commit(name, root)
    if commit is None and name != WORKSPACE:
        root = root / name
        if not name or not (root / LOCK).is_file():
            raise HistoryError(
                f"{name!r} is no version here, expected a commit, a tag, a branch, an experiment of `dvc exp list "
                f"--all-commits`, {WORKSPACE}, or the folder of a project with {LOCK}"
            )
    if commit is None:
        text = (root / LOCK).read_text(encoding="utf-8") if (root / LOCK).is_file() else None
    else:
        text = _show(root, commit, LOCK)
    if text is None:
        raise HistoryError(f"{name} has no {LOCK}: nothing was reproduced and committed there")
    try:
        lock = LOADER(text).get_single_data()
        stages = dict(lock["stages"])
    except (yaml.YAMLError, TypeError, KeyError, ValueError):
        raise DamagedData(f"{LOCK} of {name} cannot be read") from None
    return Version(name=name, commit=commit, lock={**lock, "stages": stages}, root=root)


def _commit(name: str, root: Path) -> str | None:
    """Return the commit of a revision or of an experiment; None where git knows neither."""
    try:
        return git(["rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"], root=root).strip()
    except HistoryError:
        if name and (root / name / LOCK).is_file():
            return None
    try:
        rows = git(["for-each-ref", "--format=%(objectname) %(refname)", "refs/exps"], root=root).splitlines()
    except HistoryError:
        return None  # no repository: a folder may still be a project
    found = {ref: commit for commit, _, ref in (row.partition(" ") for row in rows) if ref.rpartition("/")[2] == name}
    if len(set(found.values())) > 1:
        head = git(["rev-parse", "HEAD"], root=root).strip()
        own = f"refs/exps/{head[:2]}/{head[2:]}/{name}"
        if own not in found:
            raise HistoryError(f"{len(found)} experiments are called {name!r}: name one by its ref, {min(found)}")
        return found[own]
    return next(iter(found.values()), None)


def _show(root: Path, commit: str, path: str) -> str | None:
    if not git(["ls-tree", "--name-only", commit, "--", path], root=root).strip():
        return None
    return git(["show", f"{commit}:./{path}"], root=root)


def _cache(root: Path) -> Path:
    try:
        config = Config(str((root / ".dvc").resolve()), validate=False)
    except ConfigError as error:
        raise HistoryError(f".dvc/config cannot be read: {' '.join(str(error).split())}") from None
    there = config.get("cache", {}).get("dir") or str((root / ".dvc" / "cache").resolve())
    return Path(there) / "files" / "md5"
