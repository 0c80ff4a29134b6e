"""Verb ``compare``: what changed between two versions of data, parameters and code, and what it changed.

Figures are compared row by row, a take or a view of one, over the takes that both versions tested from the same bytes.
An interval over pieces says what a difference is worth by itself, and verdicts hold jointly over all figures.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks.errors import DamagedData, PipelineError
from tasks.params import Section
from tasks.store.tables import column_names, read_table
from tasks.takes import Take, data_version
from tasks.versions.causes import (
    TRAINED,
    Changed,
    changed_code,
    changed_machines,
    changed_packages,
    changed_params,
    changed_takes,
    grouped,
    made_takes,
    newly_quarantined,
    read_catalog,
    read_params_of,
    tools_differ,
)
from tasks.versions.comparison import Comparison, Side
from tasks.versions.differences import (
    Difference,
    Rows,
    changed_figures,
    changed_systems,
    differences,
    figures_of_git,
    judge,
    take_of,
)
from tasks.versions.family_causes import LUCK, FamilyCauses, family_causes
from tasks.versions.history import HistoryError, NotCachedError, Version
from tasks.versions.moves import EVALUATED, largest_moves, part_moves
from tasks.versions.noise import read_noise

METRICS = "data/metrics"
CALLED = ("better", "worse")


class CompareParams(Section):
    """How versions are compared."""

    n_resamples: int  # draws behind an interval
    seed: int  # of those draws
    n_moved: int  # takes that moved most, named for each figure


def compare_versions(old: Version, new: Version, params: CompareParams) -> Comparison:
    """Compare two versions from what git and DVC's cache hold of them.

    Raises:
        HistoryError: one of them has no catalog, or neither DVC's cache nor git has what both evaluated.
        DamagedData: a catalog or a table is not one.
    """
    catalogs = _catalogs(old, new)
    known = catalogs or ({}, {})
    names = known[0].keys(), known[1].keys()
    same_bytes = {name for name in names[0] & names[1] if known[0][name].digest == known[1][name].digest}
    families, retired = zip(_families(old), _families(new), strict=True)
    both = [name for name in families[1] if name in families[0]]
    tables, in_git = {}, {}
    for family in both:
        found = _tables(old, new, family) if catalogs else None
        if found is not None:
            tables[family] = found
        else:
            in_git[family] = _figures_in_git(old, family), _figures_in_git(new, family)
    rows = {
        family: differences(family, *tables[family], takes=same_bytes, **params.model_dump())
        if family in tables
        else figures_of_git(family, *in_git[family])
        for family in both
    }
    machines = changed_machines(old, new, both)
    causes = _causes(old, new, both, known if catalogs else None, {row.name: row for row in machines})
    # Weights that are the same owe nothing to a seed.
    trained = [family for family in both if len({v.hashes("outs").get(f"{TRAINED}/{family}") for v in (old, new)}) > 1]
    noise = read_noise(new, trained)
    judged = judge([row for family in both for row in rows[family]], noise, _luck(causes))
    called = {row.family for row in judged if row.verdict in ("better", "worse")}
    measured = {family for family, _, _ in noise}
    tested = {take_of(row) for a, b in tables.values() for row in set(a["take"]) & set(b["take"])}
    moved = [family for family in tables if any(row.verdict != "same" for row in rows[family])]
    return Comparison(
        old=_side(old, known[0] if catalogs else None),
        new=_side(new, known[1] if catalogs else None),
        added=tuple(sorted(names[1] - names[0])),
        removed=tuple(sorted(names[0] - names[1])),
        changed=changed_takes(*known),
        quarantined=newly_quarantined(old, new) if catalogs else (),
        params=changed_params(old, new),
        packages=changed_packages(old, new),
        tools=tools_differ(old, new),
        code=changed_code(old, new),
        machines=grouped(machines),
        only_old=tuple(sorted(set(families[0]) - set(families[1]))),
        only_new=tuple(sorted(set(families[1]) - set(families[0]))),
        retired=tuple(sorted({*retired[0], *retired[1]})),
        systems=tuple(row for family, pair in tables.items() for row in changed_systems(family, *pair)),
        figures=grouped(row for family, pair in tables.items() for row in changed_figures(family, *pair)),
        behind=tuple(sorted(new.behind())),
        unmatched=tuple(family for family in both if not rows[family]),
        left_out=tuple(sorted(tested - same_bytes)),
        from_git=tuple(in_git),
        takes_known=catalogs is not None,
        causes=causes,
        differences=tuple(judged),
        moves=largest_moves(judged, old, new, n_moved=params.n_moved),
        parts=tuple(
            move for family in moved for move in part_moves(family, old, new, takes=same_bytes, n_moved=params.n_moved)
        ),
        unmeasured=tuple(family for family in trained if family in called - measured),
    )


def failing(comparison: Comparison, rules: Iterable[str]) -> list[Difference]:
    """Return the differences that a caller wants to fail on.

    Args:
        comparison: of two versions.
        rules: ``worse``, ``different`` (called better or worse), or ``FAMILY/SYSTEM/METRIC``, which fails when that
            figure is called worse.

    Raises:
        PipelineError: a rule is none of these, or names a figure that is not in both versions.
    """
    found: dict[tuple[str, str, str], Difference] = {}
    rows = {(row.family, row.system, row.metric): row for row in comparison.differences}
    for rule in rules:
        if rule in ("worse", "different"):
            words = CALLED if rule == "different" else ("worse",)
            found |= {key: row for key, row in rows.items() if row.verdict in words}
            continue
        key = tuple(rule.split("/"))
        if len(key) != 3:
            raise PipelineError(f"--fail-on {rule}: expected worse, different, or FAMILY/SYSTEM/METRIC")
        if key not in rows:
            raise PipelineError(f"--fail-on {rule}: {_missing(comparison, *key)}")
        if rows[key].verdict == "worse":
            found[key] = rows[key]
    return list(found.values())


def _missing(comparison: Comparison, family: str, system: str, metric: str) -> str:
    old, new = comparison.old.name, comparison.new.name
    for names, having, lacking in ((comparison.only_old, old, new), (comparison.only_new, new, old)):
        if family in names:
            return f"{having} evaluated {family} and {lacking} did not"
    for row in comparison.figures:
        for keys, having, lacking in ((row.old, old, new), (row.new, new, old)):
            if family in row.name.split(", ") and metric in (keys or "").split(", "):
                return f"{having} has {metric} of {family} and {lacking} does not: the figure did not exist then"
    there = sorted({row.system for row in comparison.differences if row.family == family})
    if system not in there:
        return f"no such system in both versions, expected one of {', '.join(there) or 'none'}"
    return f"no figure {metric} of {family}/{system} in both versions"


def _catalogs(old: Version, new: Version) -> tuple[dict[str, Take], dict[str, Take]] | None:
    """Return both catalogs; None where the cache lacks one."""
    try:
        return read_catalog(old), read_catalog(new)
    except NotCachedError:
        return None


def _side(version: Version, catalog: Mapping[str, Take] | None) -> Side:
    if catalog is not None:
        digest = data_version(catalog.values())[:16]  # as many digits as data/metrics/data.json shows
        return Side(name=version.name, commit=version.commit, data_version=digest, n_takes=len(catalog))
    said = _json(version, f"{METRICS}/data.json") or {}
    return Side(
        name=version.name,
        commit=version.commit,
        data_version=str(said.get("data_version", "")),
        n_takes=int(said.get("n_takes", 0)),
    )


def _families(version: Version) -> tuple[list[str], list[str]]:
    """Return the families that a version evaluated, and those of them that its params.yaml does not name.

    DVC keeps the results of a family that left params.yaml: in dvc.lock, and in the working tree.
    """
    evaluated = version.folders(EVALUATED)
    named = read_params_of(version).get("families") or evaluated
    return [name for name in evaluated if name in named], [name for name in evaluated if name not in named]


def _tables(old: Version, new: Version, family: str) -> tuple[Rows, Rows] | None:
    """Return a family's rows by take in both versions; None where the cache lacks one and git has both's figures."""
    try:
        return _rows(old, family), _rows(new, family)
    except NotCachedError:
        if any(version.text(f"{METRICS}/{family}.json") is None for version in (old, new)):
            raise
        return None


def _rows(version: Version, family: str) -> Rows:
    path = version.result(f"{EVALUATED}/{family}", "takes.parquet")
    # The segments that a row rests on are most of its bytes, and no figure.
    table = read_table(path, [name for name in column_names(path) if name != "segment_ids"])
    missing = {"system", "take", "piece"} - table.keys()
    if missing:
        raise DamagedData(f"{EVALUATED}/{family} of {version.name} has no column {min(missing)}")
    return table


def _figures_in_git(version: Version, family: str) -> dict[str, Any]:
    path = f"{METRICS}/{family}.json"
    found = _json(version, path)
    if found is None:
        raise HistoryError(f"{version.name} has no {path}, and DVC's cache lacks its tables: `dvc pull` gets them")
    if not all(isinstance(figures, dict) for figures in found.values()):
        raise DamagedData(f"{path} of {version.name} does not list figures by system")
    return found


def _json(version: Version, path: str) -> dict[str, Any] | None:
    text = version.text(path)
    if text is None:
        return None
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise DamagedData(f"{path} of {version.name} is not JSON with sections")
    return found


def _causes(
    old: Version,
    new: Version,
    families: Sequence[str],
    catalogs: tuple[Mapping[str, Take], Mapping[str, Take]] | None,
    machines: Mapping[str, Changed],
) -> tuple[FamilyCauses, ...]:
    kinds = read_params_of(new).get("families") or {}
    takes: dict[str, dict[str, bool]] = {}
    made: set[str] = set()
    if catalogs is not None:
        made = made_takes(old) | made_takes(new)
        for name in sorted({*catalogs[0], *catalogs[1]}):
            was, now = (catalog.get(name) for catalog in catalogs)
            take = now or was
            if was == now or take is None:
                continue
            # Who performs which piece in which part is the catalog's word, whoever made the files.
            is_label = was is not None and now is not None and was.digest == now.digest
            takes.setdefault(f"{take.kind}s", {})[name] = name in made and not is_label
    found = []
    for family in families:
        kind = kinds.get(family, "") if isinstance(kinds, dict) else ""
        of_kind = _takes_read(old, new, family, takes.get(kind, {}), made)
        found.append(family_causes(family, kind, old, new, takes=of_kind, machine=machines.get(family)))
    return tuple(found)


def _takes_read(
    old: Version, new: Version, family: str, changed: Mapping[str, bool], made: set[str]
) -> Mapping[str, bool]:
    """Return which takes differ in what a family learned from and was tested on, and whether their files are made.

    A family that is behind its data did not read what came in since. Where the lists that it read are gone, the
    catalogs' changes stand for them.
    """
    try:
        was, now = old.index_of(family), new.index_of(family)
    except HistoryError:
        return changed
    found = {}
    for name in sorted({*was, *now}):
        before, after = was.get(name, {}), now.get(name, {})
        if any(before.get(key) != after.get(key) for key in ("digest", "piece", "part")):
            found[name] = name in made and before.get("digest") != after.get("digest")
    return found


def _luck(causes: Iterable[FamilyCauses]) -> dict[str, str]:
    """Return the families in which seed or machine alone differ, with the words for it."""
    return {
        one.family: f"only the {' and the '.join(one.names)} differ{'' if len(one.names) > 1 else 's'}"
        for one in causes
        if one.names and set(one.names) <= LUCK
    }
