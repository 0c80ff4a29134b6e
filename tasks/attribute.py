"""Verb ``compare --attribute``: which of several causes moved a family's figures, by reruns with one of them undone.

A rerun is the newer version with the older one's parameters, or with its recordings, in a git worktree that shares
DVC's cache: stages that neither reaches are not run again. What separates it from the newer version is what that one
cause moved, beside all the others.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from tasks.compare import CompareParams, compare_versions
from tasks.errors import PipelineError
from tasks.versions.causes import Changed, read_params_of
from tasks.versions.comparison import Comparison
from tasks.versions.history import HistoryError, Version, git, read_version

FOUND = Path(".audiate/attribute")
RECORDINGS = ("data/raw.dvc", "data/raw", "data/sample")
TOOLS = "data/tools.json"
SEPARABLE = ("data", "params", "seed")


def attribute(
    comparison: Comparison,
    family: str,
    old: Version,
    new: Version,
    *,
    params: CompareParams,
    tell: Callable[[str], None],
) -> dict[str, Comparison]:
    """Rerun a family with one cause undone at a time, and compare each rerun with the newer version.

    Args:
        comparison: of both versions.
        family: in both.
        old: the version whose parameters and recordings are used.
        new: a commit; its code runs.
        params: of comparisons.
        tell: called with what runs, a line at a time.

    Returns:
        By the cause that was undone: the rerun is the old side, the newer version the new one.

    Raises:
        HistoryError: the newer version is no commit, or the older one none of this repository.
        PipelineError: the family has no two causes of which one can be undone, or a rerun failed.
    """
    causes = next((one for one in comparison.causes if one.family == family), None)
    if causes is None:
        raise PipelineError(f"--attribute {family}: not in both versions")
    named = [cause for cause in causes.names if cause in SEPARABLE]
    if len(causes.names) < 2 or not named:
        raise PipelineError(
            f"--attribute {family}: {' and '.join(causes.names) or 'no cause'} differs, expected two or more causes, "
            f"one of them of {', '.join(SEPARABLE)}"
        )
    if new.commit is None or old.commit is None:
        raise HistoryError("--attribute: both versions have to be commits of this repository: commit what stands here")
    undone = {}
    for cause in named:
        tell(f"attribute: {family} of {new.name} with the {cause} of {old.name}")
        folder = (new.root / FOUND / f"{family}-{cause}").resolve()
        _remove(folder, new.root)
        git(["worktree", "add", "--detach", str(folder), new.commit], root=new.root)
        try:
            _share_cache(folder, new)
            if cause == "data":
                _take_recordings(folder, old.commit)
            else:
                _undo_params(folder, new, causes.params if cause == "params" else causes.seed)
            _repro(folder, family)
            rerun = read_version(str(folder), root=new.root)
            undone[cause] = compare_versions(rerun, new, params)
        finally:
            _remove(folder, new.root)
    return undone


def _share_cache(folder: Path, version: Version) -> None:
    """Let a worktree use the project's cache, and the tools that were checked when it was set up."""
    config = f"[cache]\n    dir = {version.cache.parents[1].resolve()}\n"
    (folder / ".dvc" / "config.local").write_text(config, encoding="utf-8")
    if (version.root / TOOLS).is_file():
        (folder / TOOLS).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(version.root / TOOLS, folder / TOOLS)


def _take_recordings(folder: Path, commit: str) -> None:
    for path in RECORDINGS:
        if git(["ls-tree", "--name-only", commit, "--", path], root=folder).strip():
            git(["checkout", commit, "--", path], root=folder)
        elif git(["ls-files", "--", path], root=folder).strip():
            git(["rm", "-r", "-q", "--", path], root=folder)


def _undo_params(folder: Path, new: Version, changed: Iterable[Changed]) -> None:
    """Write params.yaml with the older values of some parameters; one that was not there then stays as it is."""
    values = read_params_of(new)
    for one in changed:
        *sections, last = one.name.split(".")
        section: Any = values
        for name in sections:
            section = section.get(name) if isinstance(section, dict) else None
        if isinstance(section, dict) and last in section and one.old is not None:
            section[last] = one.old
    (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")


def _repro(folder: Path, family: str) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(folder)}
    for arguments in (["checkout", "--quiet", "--force"], ["repro", "--quiet", f"evaluate@{family}"]):
        command = [sys.executable, "-m", "dvc", *arguments]
        done = subprocess.run(
            command, cwd=folder, env=environment, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        # What checkout cannot restore, repro makes again.
        if done.returncode and arguments[0] == "repro":
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise PipelineError(f"dvc repro evaluate@{family} in {folder}: {lines[-1] if lines else done.returncode}")


def _remove(folder: Path, root: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    git(["worktree", "prune"], root=root)
