"""The step: how one take's folder is made, proven whole, and reused.

A take's folder is valid only with its ``_receipt.json``, which holds a key and every output's size and sha256.
The key names all that the outputs follow from: the stage, the digest of every project file that its work rests on
(`tasks.modules`), its parameters, the contents of its inputs, and the tools and libraries it used. Work happens in a
sibling folder; outputs are flushed, the receipt is written last, and a rename makes the folder valid. So a kill
at any moment leaves either the old folder, the new one, or none.
"""

import errno
import fcntl
import glob
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol

from threadpoolctl import threadpool_limits

from tasks.errors import BadInput, DamagedData, PipelineError, ToolError
from tasks.modules import LOCK_FILE, Project, check_unchanged, code_digest
from tasks.params import Section

RECEIPT = "_receipt.json"


class Item(Protocol):
    """What a per-take stage maps over: a frozen dataclass that bears the take's name."""

    @property
    def name(self) -> str:
        """The name of the take, and of its folder."""


# A verb's function on one take: writes the item's outputs into a folder, as the stage's section says.
Work = Callable[[Any, Path, Any], None]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One take of one stage: everything its outputs follow from.

    Attributes:
        stage: the stage's name.
        item: the take, and whatever the work needs to know of it.
        work: module-level function that writes the outputs.
        params: the stage's section.
        inputs: files, and folders of upstream takes, that the work reads.
        out_dir: folder that holds one folder a take.
        tools: name to version or sha256 of every program the work uses.
    """

    stage: str
    item: Item
    work: Work
    params: Section
    inputs: tuple[Path, ...]
    out_dir: Path
    tools: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where the outputs stand once they are whole."""
        return self.out_dir / self.item.name


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one job; ``kind`` and ``reason`` say why a take was quarantined."""

    name: str
    state: Literal["computed", "reused", "quarantined"]
    kind: str = ""
    reason: str = ""


class Verified:
    """Remembers which files were hashed, so that an untouched file is not read again.

    A file is taken for untouched while its size, mtime, ctime and inode stay the same: rewriting one in place
    and setting its mtime back still changes its ctime. The memory is local and disposable: without it everything
    is hashed once more.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.digests: dict[str, list[int | str]] = {}
        if path.exists():
            try:
                self.digests = json.loads(path.read_text())
            except ValueError:  # cut short by a kill: worth nothing, costs one rehash
                self.digests = {}

    def sha256(self, path: Path) -> str:
        """Return the sha256 of a file, read only when its metadata changed since the last time."""
        stat = path.stat()
        seen = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
        known = self.digests.get(str(path))
        if known is not None and known[:4] == seen:
            return str(known[4])
        digest = file_sha256(path)
        self.digests[str(path)] = [*seen, digest]
        return digest

    def save(self) -> None:
        """Keep what is known about the files that still exist."""
        kept = {path: entry for path, entry in self.digests.items() if Path(path).exists()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, json.dumps(kept))


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_sha256(value: object) -> str:
    """Return the sha256 of a value's canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_whole(path: Path, text: str) -> None:
    """Write a small text file so that it is either the old one or the new one, and leave it alone when equal."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    half = _sibling(path)
    try:
        with half.open("x", encoding="utf-8") as file:
            file.write(text)
        _flush(half)
        half.replace(path)
    except OSError as error:
        half.unlink(missing_ok=True)
        raise named_error(error, path) from error


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Lend an empty sibling of ``out`` to write to; it takes the place of ``out`` when the block succeeds.

    When the block fails, the sibling is removed and ``out`` stays what it was. What a killed process left of such a
    sibling is removed; that of one at work is not.

    Raises:
        ToolError: the disk is full.
    """
    half = None
    with ExitStack() as held:
        try:
            half = _hold_sibling(out, held)
            _remove_left_behind(out, but=half)
            yield half
            for path in _files_in(half):
                _flush(path)
            _take_place(half, out)
        except BaseException as error:
            if half is not None:
                _remove(half)
            if isinstance(error, OSError):
                raise named_error(error, out) from error
            raise


def contents_digest(path: Path, verified: Verified) -> str:
    """Return the digest of an input: a file's bytes, or a take folder's outputs (its receipt left out).

    Raises:
        DamagedData: the input is missing, has no receipt, or is not what its receipt says.
    """
    if path.is_file():
        return verified.sha256(path)
    if not path.exists():
        raise DamagedData(f"{path} is missing: run the stage that makes it, or dvc pull")
    return json_sha256({name: output["sha256"] for name, output in read_receipt(path, verified)["outputs"].items()})


def job_key(job: Job, verified: Verified) -> str:
    """Return the digest of all that the job's outputs follow from."""
    return json_sha256(
        {
            "stage": job.stage,
            "item": asdict(job.item),  # type: ignore[call-overload]  # an Item is a dataclass
            "code": code_digest(job.work.__module__),
            "params": job.params.model_dump(mode="json"),
            "inputs": {path.as_posix(): contents_digest(path, verified) for path in job.inputs},
            "tools": dict(job.tools),
            "libraries": Project().file_digest(LOCK_FILE),
        }
    )


def read_receipt(folder: Path, verified: Verified) -> dict[str, Any]:
    """Read a take folder's receipt and hold every output against it.

    Raises:
        DamagedData: names the first output that is missing, too many, truncated or edited.
    """
    try:
        receipt: dict[str, Any] = json.loads((folder / RECEIPT).read_text())
        outputs = {name: (int(output["size"]), str(output["sha256"])) for name, output in receipt["outputs"].items()}
    except FileNotFoundError:
        raise DamagedData(f"{folder} has no {RECEIPT}: it was never finished") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DamagedData(f"{folder / RECEIPT} is not a receipt") from None
    present = {path.relative_to(folder).as_posix() for path in _files_in(folder)} - {RECEIPT}
    for name in sorted(present ^ outputs.keys()):
        raise DamagedData(f"{folder / name} is {'not in the receipt' if name in present else 'missing'}")
    for name, (expected_size, sha256) in outputs.items():
        size = (folder / name).stat().st_size
        if size != expected_size:
            raise DamagedData(f"{folder / name} has {size} bytes, its receipt says {expected_size}")
        if verified.sha256(folder / name) != sha256:
            raise DamagedData(f"{folder / name} was changed after it was made: its sha256 is not the receipt's")
    return receipt


def is_valid(folder: Path, key: str, verified: Verified) -> bool:
    """Say whether the folder is whole and was made from what the key names."""
    try:
        return bool(read_receipt(folder, verified)["key"] == key)
    except DamagedData:
        return False


def compute(job: Job, key: str) -> Outcome:
    """Run a job's work and make its folder valid, or leave nothing.

    Returns:
        ``computed``, or ``quarantined`` when the work found its input unusable.

    Raises:
        ToolError: the disk is full.
        PipelineError: whatever else the work raises.
    """
    _single_thread()
    half = _sibling(job.folder)
    try:
        half.mkdir(parents=True)
        job.work(job.item, half, job.params)
        check_unchanged(job.work.__module__)
        _commit(half, job, key)
    except BadInput as error:
        _remove(half)
        _remove(job.folder)
        return Outcome(name=job.item.name, state="quarantined", kind=error.kind, reason=str(error))
    except OSError as error:
        _remove(half)
        raise named_error(error, job.folder) from error
    except BaseException:
        _remove(half)
        raise
    return Outcome(name=job.item.name, state="computed")


def prune(out_dir: Path, keep: Iterable[str]) -> list[str]:
    """Remove the folders of takes that are gone and whatever a killed run left; return the takes' names."""
    kept = set(keep)
    gone = []
    for path in sorted(out_dir.iterdir()) if out_dir.is_dir() else []:
        left_behind = path.name.startswith(".") and path.name.endswith((".partial", ".replaced"))
        if left_behind or (path.is_dir() and path.name not in kept):
            _remove(path)
            if not left_behind:
                gone.append(path.name)
    return gone


def _commit(half: Path, job: Job, key: str) -> None:
    outputs = {}
    for path in sorted(_files_in(half)):
        _flush(path)
        outputs[path.relative_to(half).as_posix()] = {"size": path.stat().st_size, "sha256": file_sha256(path)}
    if not outputs:
        raise PipelineError(f"{job.stage} wrote nothing for take {job.item.name}, expected at least one file")
    receipt = {"stage": job.stage, "take": job.item.name, "key": key, "outputs": outputs}
    (half / RECEIPT).write_text(json.dumps(receipt, indent=1, sort_keys=True) + "\n")
    _flush(half / RECEIPT)
    for folder, _, _ in os.walk(half):
        _flush(Path(folder))
    _take_place(half, job.folder)


def _take_place(half: Path, out: Path) -> None:
    """Rename a whole folder to ``out``, also where another one stands there, or another process puts one there.

    A folder cannot be renamed over a full one: the old one steps aside first. Killed in between, there is none, and the
    work is done again.
    """
    old = half.with_suffix(".replaced")
    while True:
        with suppress(FileNotFoundError):
            out.rename(old)
        try:
            half.rename(out)
            break
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        shutil.rmtree(old, ignore_errors=True)
    _flush(out.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sibling(path: Path) -> Path:
    """Return a name beside ``path`` for its half-made successor, which no other process or thread has."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")


def _hold_sibling(out: Path, held: ExitStack) -> Path:
    """Make an empty sibling of ``out`` that this process holds until ``held`` is left.

    Between its making and its lock another process may take it for one that a killed process left, and remove it: then
    there is another.
    """
    while True:
        half = _sibling(out)
        half.mkdir(parents=True)
        with suppress(BlockingIOError, FileNotFoundError):
            held.enter_context(_locked(half))
            if half.is_dir():
                return half


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process: the kernel frees it when the process ends, however it ends.

    Raises:
        BlockingIOError: another process holds it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _remove_left_behind(out: Path, *, but: Path) -> None:
    """Remove siblings of ``out`` whose process was killed."""
    for old in out.parent.glob(f".{glob.escape(out.name)}.*.replaced"):
        shutil.rmtree(old, ignore_errors=True)
    for half in out.parent.glob(f".{glob.escape(out.name)}.*.partial"):
        if half != but and half.is_dir():
            with suppress(BlockingIOError, FileNotFoundError), _locked(half):
                _remove(half)


def _files_in(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            yield Path(parent) / name


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def named_error(error: OSError, path: Path) -> Exception:
    """Return a full disk as an error in words, and any other error as it is."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ToolError(
            f"the disk is full while writing {path}: nothing was kept of it; free some space and run again"
        )
    if error.errno == errno.EFBIG:
        return ToolError(f"{path} would be larger than this process may write (ulimit -f); nothing was kept of it")
    return error


@cache
def _single_thread() -> None:
    # One take a thread already fills the cores, and a product summed by two threads has other last bits than by one.
    threadpool_limits(limits=1)
