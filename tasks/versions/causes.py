"""Causes: what two versions differ in before any figure is looked at.

These are takes, parameters, packages, tools, code, and the machine that trained.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from tasks.errors import DamagedData
from tasks.intake.listed import listed_files
from tasks.takes import Take
from tasks.versions.history import HistoryError, Version

INGESTED = "data/ingested"
TRAINED = "data/trained"
CODE = "data/code.json"
TOOLS = "data/tools.json"
COMPUTED_BY = "computed_by.json"
PROJECT = ("flows/", "tasks/", "models/")


@dataclass(frozen=True, kw_only=True)
class Changed:
    """Something that differs between two versions; None in a version that does not have it."""

    name: str
    old: Any
    new: Any


def read_catalog(version: Version) -> dict[str, Take]:
    """Return the takes that a version accepted, by name.

    Raises:
        HistoryError: it has no catalog, or the catalog is not in DVC's cache.
        DamagedData: the file is no catalog.
    """
    path = version.result(INGESTED, "catalog.json")
    try:
        rows = json.loads(path.read_bytes())
        takes = [
            Take(name=row["take"], **{key: row[key] for key in ("kind", "piece", "part", "digest", "duration_s")})
            for row in rows
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedData(f"{INGESTED}/catalog.json of {version.name} is not a catalog: {error}") from None
    return {take.name: take for take in takes}


def changed_takes(old: Mapping[str, Take], new: Mapping[str, Take]) -> tuple[Changed, ...]:
    """Return the takes of one name whose raw bytes, piece or part differ, with what differs."""
    changed = []
    for name in sorted(old.keys() & new.keys()):
        differ = [key for key in ("digest", "piece", "part") if getattr(old[name], key) != getattr(new[name], key)]
        was, now = ({key: getattr(takes[name], key) for key in differ} for takes in (old, new))
        if differ:
            changed.append(Changed(name=name, old=was, new=now))
    return tuple(changed)


def made_takes(version: Version) -> set[str]:
    """Return the accepted takes whose files a stage of the project made, such as the filmed ones."""
    made = tuple(f"{path}/" for path in version.hashes("outs"))
    rows = json.loads(version.result(INGESTED, "catalog.json").read_bytes())
    return {row["take"] for row in rows if any(one["path"].startswith(made) for one in listed_files(row))}


def newly_quarantined(old: Version, new: Version) -> tuple[Mapping[str, str], ...]:
    """Return what the new version refuses and the old one did not: take, kind and reason."""
    tables = []
    for version in (old, new):
        rows = json.loads(version.result(INGESTED, "quarantine.json").read_bytes())
        tables.append({(str(row["take"]), str(row["kind"]), str(row["reason"])) for row in rows})
    names = ("take", "kind", "reason")
    return tuple(dict(zip(names, row, strict=True)) for row in sorted(tables[1] - tables[0]))


def read_params_of(version: Version) -> dict[str, Any]:
    """Return what params.yaml of a version holds.

    Raises:
        DamagedData: it is not YAML, or no mapping.
    """
    try:
        values = yaml.safe_load(version.text("params.yaml") or "") or {}
    except yaml.YAMLError:
        values = None
    if not isinstance(values, dict):
        raise DamagedData(f"params.yaml of {version.name} is not YAML with sections")
    return values


def changed_params(old: Version, new: Version) -> tuple[Changed, ...]:
    """Return the parameters that differ, by dotted name."""
    return _changes(flat(read_params_of(old)), flat(read_params_of(new)))


def changed_packages(old: Version, new: Version) -> tuple[Changed, ...]:
    """Return the packages of constraints.txt whose version differs."""
    return _changes(_packages(old), _packages(new))


def tools_differ(old: Version, new: Version) -> bool:
    """Return whether ffmpeg, FluidSynth or the SoundFont differ."""
    return old.hashes("deps").get(TOOLS) != new.hashes("deps").get(TOOLS)


def changed_code(old: Version, new: Version) -> tuple[str, ...]:
    """Return the project files that the results rest on and that differ, sorted.

    A version names its files and their digests in ``data/code.json``, an older one in the dependencies of dvc.lock.
    These digests are of two sorts: between an older version and a newer one git's own are compared.
    """
    files = [_code(version) for version in (old, new)]
    if len({version.text(CODE) is None for version in (old, new)}) > 1:
        names = sorted({name for digests in files for name in digests})
        files = [version.blobs(names) for version in (old, new)]
    return tuple(sorted(row.name for row in _changes(*files)))


def changed_machines(old: Version, new: Version, families: Iterable[str]) -> tuple[Changed, ...]:
    """Return what differs in the machines and libraries that computed the families' weights, by family.

    A family is left out where a version does not say: it is from before that was recorded, its results do not depend on
    the machine, or its weights are not in DVC's cache.
    """
    rows = []
    for family in families:
        was, now = _computed_by(old, family), _computed_by(new, family)
        if was and now:
            differ = {key: None for key in [*now, *was] if was.get(key) != now.get(key)}
            rows += [Changed(name=family, old=_chosen(was, differ), new=_chosen(now, differ))] if differ else []
    return tuple(rows)


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Return the values of nested sections by dotted name."""
    if not isinstance(values, dict):
        return {prefix.rstrip("."): values}
    return {name: value for key, inner in values.items() for name, value in flat(inner, f"{prefix}{key}.").items()}


def grouped(rows: Iterable[Changed]) -> tuple[Changed, ...]:
    """Return one row for all that changed from and to the same, with their names joined."""
    names: dict[str, list[Changed]] = {}
    for row in rows:
        names.setdefault(repr((row.old, row.new)), []).append(row)
    return tuple(
        Changed(name=", ".join(row.name for row in same), old=same[0].old, new=same[0].new) for same in names.values()
    )


def _packages(version: Version) -> dict[str, Any]:
    lines = (line.partition("#")[0].strip() for line in (version.text("constraints.txt") or "").splitlines())
    pairs = (line.partition("==") for line in lines if line)
    return {name.strip(): number.strip() for name, _, number in pairs}


def _code(version: Version) -> dict[str, str]:
    text = version.text(CODE)
    if text is None:
        return {path: md5 for path, md5 in version.hashes("deps").items() if path.startswith(PROJECT)}
    try:
        return {str(path): str(digest) for path, digest in json.loads(text)["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DamagedData(f"{CODE} of {version.name} does not list files and their digests") from None


def _computed_by(version: Version, family: str) -> dict[str, Any]:
    try:
        path = version.result(f"{TRAINED}/{family}", COMPUTED_BY)
    except HistoryError:
        return {}
    try:
        return flat(json.loads(path.read_bytes()))
    except ValueError:
        raise DamagedData(f"{COMPUTED_BY} of {family} in {version.name} is not JSON") from None


def _chosen(values: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: values[key] for key in keys if key in values}


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Changed, ...]:
    names = [*new, *(name for name in old if name not in new)]
    return tuple(
        Changed(name=name, old=old.get(name), new=new.get(name))
        for name in names
        if old.get(name) != new.get(name) or (name in old) != (name in new)
    )
