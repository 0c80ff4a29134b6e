"""Verb ``compare --attribute``: which of several causes moved a family's figures, by reruns with one of them undone.

A rerun is the newer version with the older one's parameters, or with its recordings, in a git worktree that shares
DVC's cache: stages that neither reaches are not run again. What separates it from the newer version is what that one
cause moved, beside all the others.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from tasks.compare import CompareParams, compare_versions
from tasks.errors import PipelineError
from tasks.versions.causes import Changed, read_params_of
from tasks.versions.comparison import Comparison
from tasks.versions.history import HistoryError, Version, read_version
from tasks.versions.worktree import lend_worktree, reproduce_in, take_files

FOUND = Path(".audiate/attribute")
RECORDINGS = ("data/raw.dvc", "data/raw", "data/sample")
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
        with lend_worktree(new, new.root / FOUND / f"{family}-{cause}") as folder:
            if cause == "data":
                take_files(folder, old.commit, RECORDINGS)
            else:
                _undo_params(folder, new, causes.params if cause == "params" else causes.seed)
            reproduce_in(folder, f"evaluate@{family}")
            rerun = read_version(str(folder), root=new.root)
            undone[cause] = compare_versions(rerun, new, params)
    return undone


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
