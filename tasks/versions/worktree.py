"""A commit checked out beside the project, to be reproduced with something of it changed, with DVC's cache."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tasks.errors import PipelineError
from tasks.versions.history import Version, git

TOOLS = "data/tools.json"


@contextmanager
def lend_worktree(version: Version, folder: Path) -> Iterator[Path]:
    """Lend a checkout of a commit that shares the project's cache and its checked tools; remove it afterwards.

    Args:
        version: a commit.
        folder: where it goes; what stands there is removed.

    Raises:
        HistoryError: git failed.
    """
    folder = folder.resolve()
    _remove(folder, version.root)
    git(["worktree", "add", "--detach", str(folder), str(version.commit)], root=version.root)
    try:
        config = f"[cache]\n    dir = {version.cache.parents[1].resolve()}\n"
        (folder / ".dvc" / "config.local").write_text(config, encoding="utf-8")
        if (version.root / TOOLS).is_file():
            (folder / TOOLS).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(version.root / TOOLS, folder / TOOLS)
        yield folder
    finally:
        _remove(folder, version.root)


def take_files(folder: Path, commit: str, paths: Sequence[str]) -> None:
    """Put files and folders of another commit in place of a worktree's own; what that one does not have is removed.

    Raises:
        HistoryError: git failed.
    """
    for path in paths:
        if git(["ls-tree", "--name-only", commit, "--", path], root=folder).strip():
            git(["checkout", commit, "--", path], root=folder)
        elif git(["ls-files", "--", path], root=folder).strip():
            git(["rm", "-r", "-q", "--", path], root=folder)


def reproduce_in(folder: Path, stage: str) -> None:
    """Check out what the cache has for a worktree, and reproduce a stage with all that it rests on.

    Raises:
        PipelineError: it failed; the message has its last line.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(folder)}
    for arguments in (["checkout", "--quiet", "--force"], ["repro", "--quiet", stage]):
        command = [sys.executable, "-m", "dvc", *arguments]
        done = subprocess.run(
            command, cwd=folder, env=environment, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        # What checkout cannot restore, repro makes again.
        if done.returncode and arguments[0] == "repro":
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise PipelineError(f"dvc repro {stage} in {folder}: {lines[-1] if lines else done.returncode}")


def _remove(folder: Path, root: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    git(["worktree", "prune"], root=root)
