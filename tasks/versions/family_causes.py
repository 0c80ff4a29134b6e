"""Causes of one family: what can have moved its figures between two versions, from the stages that made them.

``dvc.lock`` names what each stage read: hashes of files, parameters, the key of its code. Only what the family's own
stages read, or what changed the data that they read, is a cause; a change that left that data as it was is none.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.registry import KINDS
from tasks.versions.causes import CODE, PROJECT, TOOLS, Changed, flat
from tasks.versions.history import Version

CAUSES = ("data", "params", "code", "libraries", "tools", "machine", "seed")
LUCK = frozenset({"machine", "seed"})
"""Causes that change nothing that is meant: what they move is what chance moves."""

PARAMS = "params.yaml"
_LIBRARIES = "libraries"
_KINDS_OF = {"film": ("captures", "ensembles"), "synchronize": ("captures", "ensembles"), "render": ("scores",)}
"""Stages that make data of some kinds alone. The stages after them read all kinds."""


@dataclass(frozen=True, kw_only=True)
class FamilyCauses:
    """What differs in what one family's figures rest on.

    Attributes:
        family: its name.
        names: the causes that differ, of `CAUSES`, in their order.
        takes: of its kind that were added, removed or changed, where data is a cause.
        params: that its stages, or those that made its data, depend on.
        code: stages whose code differs.
        seed: seeds of its own stages.
        machine: what differs in the machine that trained it.
    """

    family: str
    names: tuple[str, ...]
    takes: tuple[str, ...]
    params: tuple[Changed, ...]
    code: tuple[str, ...]
    seed: tuple[Changed, ...]
    machine: Changed | None


@dataclass
class _Found:
    params: dict[str, Changed] = field(default_factory=dict)
    seeds: dict[str, Changed] = field(default_factory=dict)
    code: dict[str, None] = field(default_factory=dict)
    libraries: bool = False
    tools: bool = False
    data: bool = False


def family_causes(
    family: str,
    kind: str,
    old: Version,
    new: Version,
    *,
    takes: Mapping[str, bool],
    machine: Changed | None,
) -> FamilyCauses:
    """Find what can have moved a family's figures.

    Args:
        family: its name.
        kind: of its data; empty where params.yaml does not say.
        old: the one version.
        new: the other.
        takes: of its kind that were added, removed or changed, and whether a stage of the project made their files.
        machine: what differs in what trained it.
    """
    found = _Found()
    own = {f"data/{folder}/{family}" for folder in ("trained", "synthesized", "evaluated")}
    seen: set[str] = set()
    waiting = [f"data/evaluated/{family}"]
    while waiting:
        path = waiting.pop()
        stages = [_maker(version, path) for version in (old, new)]
        names = {name for name, _ in stages if name}
        if len(names) != 1 or names & seen or not _makes(next(iter(names), ""), kind):
            continue
        name = names.pop()
        seen.add(name)
        was, now = (stage for _, stage in stages)
        is_own = any(row["path"] in own for row in now.get("outs") or was.get("outs") or ())
        waiting += _read_params(found, was, now, kind, is_own=is_own)
        waiting += _read_deps(found, was, now, own, is_own=is_own, makers=(old, new))
    raw = tuple(sorted(name for name, is_made in takes.items() if not is_made)) if found.data else ()
    explained = found.params or found.code or found.libraries or found.tools
    held = {
        "data": bool(raw) or (found.data and not explained),
        "params": bool(found.params),
        "code": bool(found.code),
        "libraries": found.libraries,
        "tools": found.tools,
        "machine": machine is not None and not found.libraries,
        "seed": bool(found.seeds),
    }
    return FamilyCauses(
        family=family,
        names=tuple(name for name in CAUSES if held[name]),
        takes=raw,
        params=tuple(found.params.values()),
        code=tuple(found.code),
        seed=tuple(found.seeds.values()),
        machine=machine if held["machine"] else None,
    )


def _makes(stage: str, kind: str) -> bool:
    kinds = _KINDS_OF.get(stage.partition("@")[0])
    return bool(stage) and (kinds is None or not kind or kind in kinds)


def _maker(version: Version, path: str) -> tuple[str, Mapping[str, Any]]:
    """Return the stage that makes a file or folder, one around it, or one in it; empty where none does."""
    for name, stage in version.lock["stages"].items():
        for row in stage.get("outs") or ():
            made = str(row["path"])
            if made == path or path.startswith(f"{made}/") or made.startswith(f"{path}/"):
                return name, stage
    return "", {}


def _read_params(
    found: _Found, old: Mapping[str, Any], new: Mapping[str, Any], kind: str, *, is_own: bool
) -> Iterator[str]:
    """Take in what differs in the parameters of a stage; yield the files of other stages that it reads keys of."""
    was, now = ((one.get("params") or {}) for one in (old, new))
    for file in {**was, **now}:
        before, after = flat(was.get(file) or {}), flat(now.get(file) or {})
        differ = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        if file not in (PARAMS, CODE):
            if differ:
                found.data |= is_own
                yield file
            continue
        for name in differ:
            if file == CODE:
                if name == _LIBRARIES:
                    found.libraries = True
                else:
                    found.code[name] = None
            elif not any(other in name.split(".") for other in KINDS if other != kind):
                changed = Changed(name=name, old=before.get(name), new=after.get(name))
                is_seed = is_own and name.rpartition(".")[2] == "seed"
                (found.seeds if is_seed else found.params)[name] = changed


def _read_deps(
    found: _Found,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    own: set[str],
    *,
    is_own: bool,
    makers: tuple[Version, Version],
) -> Iterator[str]:
    """Take in what differs in the files that a stage read; yield those that other stages made."""
    was, now = ({row["path"]: row.get("md5") for row in one.get("deps") or ()} for one in (old, new))
    for path in {**was, **now}:
        if was.get(path) == now.get(path):
            continue
        if path == TOOLS:
            found.tools = True
        elif path.startswith(PROJECT):
            found.code[path] = None
        else:
            found.data |= is_own and path not in own
            if any(_maker(version, path)[0] for version in makers):
                yield path
