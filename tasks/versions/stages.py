"""What dvc.lock says of each stage: what it read, what it made, with which parameters and code; and who feeds whom."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from tasks.errors import DamagedData

# libyaml's loader is seven times as fast as the one in Python, and dvc.lock has thousands of lines.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage as it was last reproduced.

    Attributes:
        name: its name, ``train@NAME`` for an entry of a matrix.
        deps: path to DVC's hash of what it read.
        outs: path to DVC's hash of what it made.
        params: file to key to value of the parameters and code digests that it followed.
    """

    name: str
    deps: Mapping[str, str]
    outs: Mapping[str, str]
    params: Mapping[str, Mapping[str, Any]]


def read_stages(text: str, *, where: str) -> dict[str, Stage]:
    """Read the text of a dvc.lock, by name of the stage, in the order in which they run.

    Args:
        text: of the file.
        where: names it in an error.

    Raises:
        DamagedData: it is no dvc.lock.
    """
    try:
        found = LOADER(text).get_single_data()["stages"]
        stages = {
            str(name): Stage(
                name=str(name),
                deps=_hashes(row.get("deps")),
                outs=_hashes(row.get("outs")),
                params=row.get("params") or {},
            )
            for name, row in found.items()
        }
    except (yaml.YAMLError, TypeError, KeyError, ValueError, AttributeError):
        raise DamagedData(f"{where} cannot be read") from None
    return {name: stages[name] for name in _ordered(set(stages), stages)}


def _hashes(rows: Iterable[Mapping[str, Any]] | None) -> dict[str, str]:
    return {str(row["path"]): str(row.get("md5", "")) for row in rows or ()}


def maker_of(path: str, stages: Mapping[str, Stage]) -> Stage | None:
    """Return the stage that made a file or folder, or None where none did."""
    return next((stage for stage in stages.values() if any(_holds(out, path) for out in stage.outs)), None)


def before(name: str, stages: Mapping[str, Stage]) -> list[str]:
    """Return the stages that a stage rests on, itself last, in the order in which they run."""
    return _ordered(_reached({name}, {of: _feeders(stage, stages) for of, stage in stages.items()}), stages)


def after(name: str, stages: Mapping[str, Stage]) -> list[str]:
    """Return the stages that rest on a stage, itself left out, in the order in which they run."""
    fed: dict[str, set[str]] = {of: set() for of in stages}
    for of, stage in stages.items():
        for feeder in _feeders(stage, stages):
            fed[feeder].add(of)
    return _ordered(_reached({name}, fed) - {name}, stages)


def _feeders(stage: Stage, stages: Mapping[str, Stage]) -> set[str]:
    # A dependency is a stage's output, a folder that holds some, or a part of one.
    return {
        other.name
        for other in stages.values()
        if other is not stage
        and any(_holds(out, path) or _holds(path, out) for out in other.outs for path in stage.deps)
    }


def _reached(found: set[str], steps: Mapping[str, set[str]]) -> set[str]:
    waiting = list(found)
    while waiting:
        new = steps.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found


def _ordered(names: set[str], stages: Mapping[str, Stage]) -> list[str]:
    feeders = {name: _feeders(stages[name], stages) & names for name in stages if name in names}
    done: list[str] = []
    while len(done) < len(feeders):
        ready = [name for name, before_it in feeders.items() if name not in done and before_it <= set(done)]
        if not ready:
            raise DamagedData(f"dvc.lock: stages {', '.join(sorted(names - set(done)))} rest on each other")
        done += ready
    return done


def _holds(folder: str, path: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
