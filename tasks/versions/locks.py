"""Locks of DVC and git that a killed process left.

DVC lists in ``.dvc/tmp/rwlock`` which process reads and writes what. A kill while it writes that list leaves one that
no later command can read. A process that was killed while it worked stays in the list; DVC sees that its number is
nobody's, but after a restart of the machine the number is soon somebody else's, and every command waits for a stranger.
git's ``index.lock`` bears no number; who holds it can only be guessed, so it is named and never removed.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from dvc.lock import LockError, make_lock
from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK, SCHEMA
from voluptuous import Invalid

TMP_DIR = Path(".dvc/tmp")
CLOCK_S = 2.0  # start times of processes count from the boot, in ticks; those of files do not

Tell = Callable[[str], None]


def holders(tmp_dir: Path = TMP_DIR) -> str:
    """Say who holds locks of DVC here, as far as DVC knows."""
    try:
        names = sorted({_name(row) for row in _rows(_read(tmp_dir / RWLOCK_FILE))})
    except (OSError, ValueError):
        names = []
    return ", ".join(names) or "another process of DVC"


def left_behind(tmp_dir: Path = TMP_DIR) -> list[str]:
    """Return what is wrong with DVC's list of locks, a line each; nothing where there is none, or its holders live."""
    path = tmp_dir / RWLOCK_FILE
    try:
        written_s = path.stat().st_mtime
        rows = _rows(_read(path))
    except FileNotFoundError:
        return []
    except ValueError as error:
        return [f"{path} cannot be read, a process was killed as it wrote it: {error}"]
    gone = sorted({_name(row) for row in rows if not _lives(row, written_s)})
    return [f"{path} names {name}, which has ended" for name in gone]


def release(tmp_dir: Path = TMP_DIR, *, hardlink: bool = False, tell: Tell = lambda _: None) -> None:
    """Free what processes that have ended still hold in DVC's list of locks, and remove a list that cannot be read.

    Args:
        tmp_dir: DVC's folder for such files.
        hardlink: whether DVC's ``core.hardlink_lock`` is on.
        tell: is called with a line for each.
    """
    if not (tmp_dir / RWLOCK_FILE).exists():
        return
    guard = make_lock(str(tmp_dir / RWLOCK_LOCK), tmp_dir=str(tmp_dir), hardlink_lock=hardlink)
    with suppress(LockError), guard:
        found = left_behind(tmp_dir)
        if not found:
            return
        path = tmp_dir / RWLOCK_FILE
        try:
            written_s = path.stat().st_mtime
            listed = _read(path)
        except ValueError:
            path.unlink()  # nobody can hold any lock by it
        else:
            _write(path, listed, written_s)
        for line in found:
            tell(f"{line}: released")


def _write(path: Path, listed: dict[str, Any], written_s: float) -> None:
    reads = {name: [row for row in rows if _lives(row, written_s)] for name, rows in listed["read"].items()}
    writes = {name: row for name, row in listed["write"].items() if _lives(row, written_s)}
    path.write_text(
        json.dumps({"read": {name: rows for name, rows in reads.items() if rows}, "write": writes}), encoding="utf-8"
    )


def _read(path: Path) -> dict[str, Any]:
    """Read DVC's list of locks.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is none.
    """
    try:
        listed: dict[str, Any] = SCHEMA(json.loads(path.read_text(encoding="utf-8")))
    except Invalid as error:
        raise ValueError(str(error)) from error
    return listed


def _rows(listed: dict[str, Any]) -> list[dict[str, Any]]:
    return [*listed["write"].values(), *(row for rows in listed["read"].values() for row in rows)]


def _name(row: dict[str, Any]) -> str:
    return f"process {int(row['pid'])} ({row['cmd']})"


def _lives(row: dict[str, Any], written_s: float) -> bool:
    """Say whether the process that was listed lives: one that began after the list was written is another."""
    try:
        return bool(psutil.Process(int(row["pid"])).create_time() <= written_s + CLOCK_S)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
