"""What was recorded of every output, held against the bytes that lie here and in DVC's cache.

DVC believes a file whose size and mtime are as they were, and an object of its cache that is write-protected, as all
are. So bytes that the disk has damaged are up to date to it, and are checked out and pushed as they are. Here every
byte is read. Nothing is changed, fetched or checked out.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from dvc.exceptions import DvcException
from dvc.fs import localfs
from dvc.repo import Repo
from dvc.utils import dict_sha256
from dvc.utils.serialize import load_yaml

from tasks.errors import DamagedData
from tasks.versions.history import MD5, HistoryError, read_list, read_version

State = Literal["missing", "changed", "extra"]
DIR = ".dir"  # ends the hash of a folder, which is that of its list of files


@dataclass(frozen=True, kw_only=True)
class Output:
    """An output as it was recorded.

    Attributes:
        path: file or folder, from the project's root.
        stage: that makes it; its ``.dvc`` file where no stage does.
        md5: of the file, or of the folder's list with ``.dir`` behind it.
        is_cached: DVC's cache has a copy of it; git has it otherwise.
    """

    path: Path
    stage: str
    md5: str
    is_cached: bool

    @property
    def is_source(self) -> bool:
        """Whether no stage makes it."""
        return self.stage.endswith(".dvc")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A file that is not what was recorded, or a folder that is missing or of which no list says what was in it."""

    path: Path
    state: State


class Record:
    """What dvc.lock and the ``.dvc`` files say of the outputs of this project.

    Args:
        root: folder of the project.

    Raises:
        HistoryError: this is no project of DVC, or dvc.yaml, dvc.lock or a ``.dvc`` file cannot be read.
    """

    def __init__(self, root: Path = Path()) -> None:
        self._root = root
        try:
            self._repo = Repo(str(root))
            found = sorted(self._repo.index.outs, key=lambda out: str(out.fs_path))
        except DvcException as error:
            raise HistoryError(f"the outputs cannot be listed: {' '.join(str(error).split())}") from None
        self.outputs = tuple(
            Output(
                path=self._relative(str(out.fs_path)),
                stage=str(getattr(out.stage, "name", None) or self._relative(str(out.stage.path))),
                md5=str(out.hash_info.value),
                is_cached=bool(out.use_cache),
            )
            for out in found
            if out.hash_info
        )

    @property
    def has_remote(self) -> bool:
        """Whether a remote is configured."""
        return bool(self._repo.config.get("remote"))

    @property
    def is_empty(self) -> bool:
        """Whether nothing was made or pulled here yet, as in a fresh clone."""
        cached = [output for output in self.outputs if output.is_cached]
        return bool(cached) and not any(
            (self._root / output.path).exists() or self.object(output.md5).exists() for output in cached
        )

    def object(self, md5: str) -> Path:
        """Return where the cache keeps what has this hash.

        Raises:
            DamagedData: it is no hash.
        """
        if not MD5.fullmatch(md5.removesuffix(DIR)):
            raise DamagedData(f"dvc.lock or a list of files has {md5!r}, expected an md5")
        return self._objects / md5[:2] / md5[2:]

    def objects(self, output: Output) -> dict[Path, Path]:
        """Return the objects that an output consists of, each with the path that it is the content of.

        Of a folder whose list is missing or damaged only the list is known.
        """
        if not output.is_cached:
            return {}
        found = {self.object(output.md5): output.path}
        listed = self._listed(output) if output.md5.endswith(DIR) else None
        return found | {self.object(md5): output.path / name for name, md5 in (listed or {}).items()}

    def differences(self, output: Output) -> list[Difference]:
        """Return what of an output is not as it was recorded, sorted by path."""
        path = self._root / output.path
        if not os.path.lexists(path):
            return [Difference(path=output.path, state="missing")]
        if not output.md5.endswith(DIR):
            is_same = path.is_file() and _md5(path) == output.md5
            return [] if is_same else [Difference(path=output.path, state="changed")]
        if not path.is_dir():
            return [Difference(path=output.path, state="changed")]
        present = {name: _md5(path / name) for name in self._files(path)}
        if _folder_md5(present) == output.md5:
            return []
        recorded = self._listed(output)
        if recorded is None:
            return [Difference(path=output.path, state="changed")]
        states: dict[str, State] = dict.fromkeys(present.keys() - recorded.keys(), "extra")
        states |= {self._topmost(path, name): "missing" for name in recorded.keys() - present.keys()}
        states |= {name: "changed" for name in present.keys() & recorded.keys() if present[name] != recorded[name]}
        return [Difference(path=output.path / name, state=state) for name, state in sorted(states.items())]

    def damaged(self) -> list[Path]:
        """Return the objects of the cache, and its records of former runs, that are not what their names say."""
        return [*self._damaged_objects(), *self._damaged_runs()]

    def is_current(self, stage: str) -> bool:
        """Say whether a stage's command, inputs and parameters are those that were recorded."""
        target = f"{self._repo.root_dir}/{'' if stage.endswith('.dvc') else 'dvc.yaml:'}{stage}"
        try:
            found: dict[str, Any] = self._repo.status(targets=[target])
        except DvcException as error:
            raise HistoryError(f"the state of {stage} is not known: {' '.join(str(error).split())}") from None
        return all(isinstance(row, dict) and row.keys() == {"changed outs"} for rows in found.values() for row in rows)

    def is_committed(self, output: Output) -> bool:
        """Say whether git's last commit has an output as it was recorded."""
        try:
            text = read_version("HEAD", root=self._root).text(output.path.as_posix())
        except HistoryError:
            return False
        return text is not None and _bytes_md5(text.encode("utf-8", errors="surrogateescape")) == output.md5

    @cached_property
    def _objects(self) -> Path:
        return self._relative(str(self._repo.cache.local.path))

    def _relative(self, path: str) -> Path:
        root = self._root.resolve()
        return Path(path).relative_to(root) if Path(path).is_relative_to(root) else Path(path)

    def _files(self, folder: Path) -> Iterator[str]:
        """Yield the files that DVC counts as a folder's."""
        top = os.fspath(folder.resolve())
        for parent, _, names in self._repo.dvcignore.walk(localfs, top):
            for name in names:
                yield os.path.relpath(f"{parent}/{name}", top)

    def _listed(self, output: Output) -> dict[str, str] | None:
        """Return name to md5 of each file that a folder had, or None where the cache has no such list."""
        path = self._root / self.object(output.md5)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        if _bytes_md5(content) + DIR != output.md5:
            return None
        return read_list(content, where=str(output.path))

    def _topmost(self, folder: Path, name: str) -> str:
        """Return the topmost of a missing file's folders that is missing too, or the file."""
        parts = name.split("/")
        below = ("/".join(parts[:depth]) for depth in range(1, len(parts)))
        return next((parent for parent in below if not (folder / parent).exists()), name)

    def _damaged_objects(self) -> Iterator[Path]:
        for path in sorted((self._root / self._objects).glob("??/*")):
            name = path.parent.name + path.name.removesuffix(DIR)
            if MD5.fullmatch(name) and _md5(path) != name:
                yield self._objects / path.parent.name / path.name

    def _damaged_runs(self) -> Iterator[Path]:
        for path in sorted(Path(self._repo.stage_cache.cache_dir).glob("??/*/*")):
            if len(path.name) != 64:  # half of one, which a kill left under another name
                continue
            try:
                found = dict_sha256(load_yaml(str(path)), exclude=["size", "nfiles"])
            except Exception:  # damaged YAML fails in many ways
                found = None
            if found != path.name:
                yield self._relative(str(path))


def _md5(path: Path) -> str | None:
    """Return the md5 of a file's bytes; None where it is no file, or the disk does not give them."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError:
        return None


def _bytes_md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _folder_md5(files: dict[str, str | None]) -> str:
    """Return the hash that DVC gives to a folder: that of its list of files, as JSON."""
    listed = [{"md5": md5, "relpath": name} for name, md5 in sorted(files.items())]
    return _bytes_md5(json.dumps(listed, sort_keys=True).encode()) + DIR
