"""Versions in git, many at a time: which commits changed results, and what their files held."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.versions.history import GIT_TIMEOUT_S, HistoryError, git


@dataclass(frozen=True, kw_only=True)
class Commit:
    """A commit.

    Attributes:
        commit: its full hash.
        at: when it was made, ISO 8601 with the zone.
        subject: first line of its message.
    """

    commit: str
    at: str
    subject: str


def commits_that_changed(paths: Sequence[str], *, revs: Sequence[str] = ("HEAD",), root: Path = Path()) -> list[Commit]:
    """List the commits that changed one of some files, the oldest first.

    Args:
        paths: in the project, or git's patterns of them.
        revs: whose histories are listed.
        root: folder of the project.

    Raises:
        HistoryError: this is no repository of git, or there is no commit yet.
    """
    rows = git(
        ["log", "--date-order", "--reverse", "--format=%H%x09%cI%x09%s", *revs, "--", *paths], root=root
    ).splitlines()
    return [
        Commit(commit=commit, at=at, subject=subject)
        for commit, at, subject in (row.split("\t", 2) for row in rows if row)
    ]


def contents(names: Sequence[str], *, root: Path = Path()) -> list[bytes | None]:
    """Return what files held in commits, all through one process of git; None where a commit has no such file.

    Args:
        names: ``COMMIT:./PATH``, the path from the folder of the project.
        root: that folder.

    Raises:
        HistoryError: git failed.
    """
    if not names:
        return []
    program = shutil.which("git")
    if program is None:
        raise HistoryError("git is not installed: install it with `apt-get install git`")
    try:
        done = subprocess.run(
            [program, "cat-file", "--batch"],
            cwd=root,
            check=True,
            capture_output=True,
            input="".join(f"{name}\n" for name in names).encode("utf-8", errors="surrogateescape"),
            timeout=GIT_TIMEOUT_S,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
        )
    except (subprocess.SubprocessError, OSError) as error:
        raise HistoryError(f"git cat-file: {error}") from None
    found: list[bytes | None] = []
    at = 0
    for _ in names:
        end = done.stdout.index(b"\n", at)
        header = done.stdout[at:end]
        at = end + 1
        if header.endswith((b" missing", b" ambiguous")):
            found.append(None)
            continue
        size = int(header.rsplit(b" ", 1)[1])
        found.append(done.stdout[at : at + size])
        at += size + 1
    return found
