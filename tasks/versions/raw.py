"""data/raw under DVC: who may write to it, and how its takes come to be recorded in data/raw.dvc.

A stage that reads ``data/raw`` holds DVC's read lock on it. Whoever changes the folder holds the write lock, so that
nothing arrives while a stage runs, which DVC would record as read though it was not.
"""

import errno
import fcntl
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml
from dvc.exceptions import DvcException
from dvc.lock import LockError
from dvc.repo import Repo, lock_repo
from dvc.repo.add import add
from dvc.rwlock import RWLockFileCorruptedError, RWLockFileFormatError, rwlock
from dvc.scm import NoSCM

from tasks.errors import DamagedData, PipelineError
from tasks.versions.locks import Tell, holders, release

KEEPER = ".gitkeep"  # what git tracks of the folder until the first take is there
RETRY_S = 0.5
GIT_TRIES = 20


@contextmanager
def only_one(path: Path, *, what: str, wait: bool, tell: Tell) -> Iterator[None]:
    """Hold a lock for this process; the kernel frees it when its holder ends, however it ends.

    Args:
        path: the lock's file.
        what: what runs under it, for the line about who is waited for.
        wait: for another holder.
        tell: is called with that line.

    Raises:
        PipelineError: another process holds it, and ``wait`` is off.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            if not wait:
                raise PipelineError(f"{what}: {holder} runs it here, expected nobody: try again later") from None
            tell(f"{what}: waiting for {holder}, which runs it here")
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(f"process {os.getpid()}\n")
        lock.flush()
        yield


def check_raw(raw: Path) -> None:
    """Refuse to go on without the folder: an empty one made in its place would be taken for all takes removed.

    Raises:
        DamagedData: it is not there.
    """
    if raw.is_dir():
        return
    if raw.with_name(f"{raw.name}.dvc").exists():
        raise DamagedData(f"{raw} is missing, but {raw}.dvc lists takes: run dvc pull")
    raise DamagedData(f"{raw} is missing: run this in the folder of the project, or git checkout {raw}")


@contextmanager
def writing_raw(raw: Path, *, tell: Tell, wait: bool = True) -> Iterator[Callable[[], None]]:
    """Hold DVC's write lock on ``data/raw``; yield a function that records what stands there then in ``data/raw.dvc``.

    Whoever else holds it is waited for, and named.

    Args:
        raw: the folder.
        tell: is called with a line for people when there is something to wait for.
        wait: for another holder.

    Raises:
        PipelineError: this is no project of DVC, DVC or git failed, or another process holds it and ``wait`` is off.
    """
    try:
        repo = Repo()
    except DvcException as error:
        raise PipelineError(f"{_one_line(error)}: run this in a project that `dvc init` made") from None
    repo.scm_context.quiet = True  # else it prints to standard output what to `git add`
    with repo, ExitStack() as held:
        _mend_record(raw)
        waiting, n_tries = "", 0
        while True:
            try:
                n_tries += 1
                held.enter_context(lock_repo(repo))
                held.enter_context(_write_lock(repo, raw))
                break
            except LockError:
                held.close()
                _release(repo, tell)
                if not wait and n_tries > 1:  # what an ended process held was released after the first
                    held_by = holders(Path(repo.tmp_dir))
                    raise PipelineError(f"{raw}: {held_by} is at work, expected nobody: try again later") from None
                if (held_by := holders(Path(repo.tmp_dir))) != waiting:
                    tell(f"{raw}: waiting for {held_by}")
                    waiting = held_by
                time.sleep(RETRY_S)
            except (RWLockFileCorruptedError, RWLockFileFormatError):
                held.close()
                _release(repo, tell)

        def record() -> None:
            _untrack_keeper(repo, raw)
            try:
                with _silenced():
                    add(repo, [str(raw)])
            except (DvcException, sqlite3.Error) as error:  # SQLite's is of the table of hashes: its disk is full
                raise PipelineError(f"dvc add {raw}: {_one_line(error)}") from error
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise PipelineError(
                    f"the disk is full while DVC records {raw}: the takes are there, and the next run of `audiate add` "
                    "records them once there is space"
                ) from error

        yield record


def track(folder: Path, *, tell: Tell) -> None:
    """Record a folder beside data/raw in a ``.dvc`` file of its own; another process of DVC is waited for, and named.

    Raises:
        PipelineError: this is no project of DVC, or DVC failed.
    """
    try:
        repo = Repo()
    except DvcException as error:
        raise PipelineError(f"{_one_line(error)}: run this in a project that `dvc init` made") from None
    repo.scm_context.quiet = True
    waiting = ""
    with repo:
        while True:
            try:
                add(repo, [str(folder)])
            except LockError:
                if (held_by := holders(Path(repo.tmp_dir))) != waiting:
                    tell(f"{folder}: waiting for {held_by}")
                    waiting = held_by
                time.sleep(RETRY_S)
            except DvcException as error:
                raise PipelineError(f"dvc add {folder}: {_one_line(error)}") from error
            else:
                return


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep DVC from printing what an exception says anyway."""
    loggers = [logging.getLogger(name) for name in ("dvc", "dvc_data", "dvc_objects")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def is_recorded(raw: Path) -> bool:
    """Say whether ``data/raw.dvc`` counts as many files and bytes as stand in ``data/raw``: quick, and no proof."""
    files = [path for path in raw.rglob("*") if path.is_file() and path.name != KEEPER]
    try:
        [tracked] = yaml.safe_load(raw.with_name(f"{raw.name}.dvc").read_text(encoding="utf-8"))["outs"]
        counts = [tracked["nfiles"], tracked["size"]]
    except FileNotFoundError:
        return not files
    except (ValueError, KeyError, TypeError, yaml.YAMLError):
        return False
    return bool(counts == [len(files), sum(path.stat().st_size for path in files)])


def _write_lock(repo: Any, raw: Path) -> Any:
    # The words that `Repo.add` itself would take the lock with: to DVC it is one holder, who may enter twice.
    words = " ".join(sys.argv)
    hard = repo.config["core"].get("hardlink_lock", False)
    return rwlock(repo.tmp_dir, repo.fs, words, [], [str(raw.absolute())], hard)


def _release(repo: Any, tell: Tell) -> None:
    release(Path(repo.tmp_dir), hardlink=repo.config["core"].get("hardlink_lock", False), tell=tell)


def _mend_record(raw: Path) -> None:
    """Remove a ``data/raw.dvc`` that was cut short by a kill; it is about to be written again from what is there."""
    path = raw.with_name(f"{raw.name}.dvc")
    try:
        outs = yaml.safe_load(path.read_text(encoding="utf-8"))["outs"]
        whole = bool(outs[0]["md5"]) and bool(outs[0]["path"])
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError, IndexError, yaml.YAMLError):
        whole = False
    if not whole:
        path.unlink()


def _untrack_keeper(repo: Any, raw: Path) -> None:
    """Take the file that kept the empty folder in git out of git's index: git and DVC cannot both track the folder.

    Raises:
        PipelineError: git failed.
    """
    if isinstance(repo.scm, NoSCM):
        return
    git = shutil.which("git")
    if git is None:
        raise PipelineError("git is not installed: install it with `apt-get install git`")
    keeper = str(raw / KEEPER)
    for _ in range(GIT_TRIES):
        tracked = subprocess.run([git, "ls-files", "--", keeper], capture_output=True, text=True, check=False)
        if tracked.returncode == 0 and not tracked.stdout.strip():
            return
        # In a session of its own: a Ctrl-C at this moment would leave git's index locked.
        command = [git, "rm", "--cached", "--quiet", "--", keeper]
        done = subprocess.run(command, capture_output=True, text=True, check=False, start_new_session=True)
        if done.returncode and "index.lock" not in done.stderr:
            break
        time.sleep(RETRY_S if done.returncode else 0)
    raise PipelineError(f"git rm --cached {keeper}: {_one_line(done.stderr or tracked.stderr)}")


def _one_line(error: object) -> str:
    return " ".join(str(error).split())
