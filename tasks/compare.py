"""Verb ``compare``: what changed between two versions of data, parameters and code, and what it changed.

Figures are compared row by row, a take or a view of one, over the takes that both versions tested from the same bytes.
An interval over pieces says what a difference is worth. Of twenty comparisons without any difference, one leaves 0 out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tasks.errors import DamagedData
from tasks.metrics.metric import Metric
from tasks.metrics.table import METRICS
from tasks.params import Section
from tasks.store.tables import read_table
from tasks.takes import Take, data_version
from tasks.versions.causes import (
    Changed,
    changed_code,
    changed_machines,
    changed_packages,
    changed_params,
    changed_takes,
    grouped,
    newly_quarantined,
    read_catalog,
    read_params_of,
    tools_differ,
)
from tasks.versions.differences import (
    Difference,
    Move,
    Rows,
    changed_figures,
    changed_systems,
    differences,
    take_of,
)
from tasks.versions.history import Version

EVALUATED = "data/evaluated"
_METRICS = {metric.key: metric for metric in METRICS}


class CompareParams(Section):
    """How versions are compared."""

    n_resamples: int  # draws behind an interval
    seed: int  # of those draws
    n_moved: int  # takes that moved most, named for each figure


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two versions."""

    name: str
    commit: str | None
    data_version: str
    n_takes: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All that two versions differ in.

    Attributes:
        old: the one version.
        new: the other.
        added: takes that only the new one has.
        removed: takes that only the old one has.
        changed: takes of one name whose raw bytes, piece or part differ; old and new name what differs.
        quarantined: what the new one refuses and the old one did not: take, kind, reason.
        params: of params.yaml, by dotted name.
        packages: of constraints.txt.
        tools: whether ffmpeg, FluidSynth or the SoundFont are others.
        code: files of the project that results rest on and that differ.
        machines: what differs in the machines that trained, by families.
        only_old: families that only the old version evaluated, and ``only_new``.
        retired: families with results that params.yaml of the same version no longer names: they are not compared.
        systems: systems, ``FAMILY/SYSTEM``, that one version alone has, or whose role differs; old and new are roles.
        figures: keys that one version alone has, by families; they are not compared.
        unmatched: families without a row that both versions tested from the same bytes: nothing of theirs is compared.
        left_out: takes that both tested, from different bytes: no figure of theirs is compared.
        differences: of every figure of every system that both have.
    """

    old: Side
    new: Side
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[Changed, ...]
    quarantined: tuple[Mapping[str, str], ...]
    params: tuple[Changed, ...]
    packages: tuple[Changed, ...]
    tools: bool
    code: tuple[str, ...]
    machines: tuple[Changed, ...]
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]
    retired: tuple[str, ...]
    systems: tuple[Changed, ...]
    figures: tuple[Changed, ...]
    unmatched: tuple[str, ...]
    left_out: tuple[str, ...]
    differences: tuple[Difference, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON's own types."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Words and numbers in rows, for people."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def compare_versions(old: Version, new: Version, params: CompareParams) -> Comparison:
    """Compare two versions from what git and DVC's cache hold of them.

    Raises:
        HistoryError: one of them has no catalog, or what is needed of it is not in the cache.
        DamagedData: a catalog or a table is not one.
    """
    catalogs = read_catalog(old), read_catalog(new)
    names = catalogs[0].keys(), catalogs[1].keys()
    same_bytes = {name for name in names[0] & names[1] if catalogs[0][name].digest == catalogs[1][name].digest}
    families, retired = zip(_families(old), _families(new), strict=True)
    both = [name for name in families[1] if name in families[0]]
    tables = {family: (_rows(old, family), _rows(new, family)) for family in both}
    found = {
        family: differences(family, *pair, takes=same_bytes, **params.model_dump()) for family, pair in tables.items()
    }
    tested = {take_of(row) for a, b in tables.values() for row in set(a["take"]) & set(b["take"])}
    return Comparison(
        old=_side(old, catalogs[0]),
        new=_side(new, catalogs[1]),
        added=tuple(sorted(names[1] - names[0])),
        removed=tuple(sorted(names[0] - names[1])),
        changed=changed_takes(*catalogs),
        quarantined=newly_quarantined(old, new),
        params=changed_params(old, new),
        packages=changed_packages(old, new),
        tools=tools_differ(old, new),
        code=changed_code(old, new),
        machines=changed_machines(old, new, both),
        only_old=tuple(sorted(set(families[0]) - set(families[1]))),
        only_new=tuple(sorted(set(families[1]) - set(families[0]))),
        retired=tuple(sorted({*retired[0], *retired[1]})),
        systems=tuple(row for family, pair in tables.items() for row in changed_systems(family, *pair)),
        figures=grouped(row for family, pair in tables.items() for row in changed_figures(family, *pair)),
        unmatched=tuple(family for family in both if not found[family]),
        left_out=tuple(sorted(tested - same_bytes)),
        differences=tuple(row for rows in found.values() for row in rows),
    )


def tables_of(comparison: Comparison) -> list[Table]:
    """Return what people look at: what changed, what it changed, and the takes that moved most."""
    old, new = comparison.old, comparison.new
    tables = [
        Table(
            title="versions",
            header=("", "revision", "commit", "data version", "takes"),
            rows=tuple(
                (word, side.name, (side.commit or "")[:10], side.data_version, str(side.n_takes))
                for word, side in (("old", old), ("new", new))
            ),
        )
    ]
    changes = [("take added", name, "", "") for name in comparison.added]
    changes += [("take removed", name, "", "") for name in comparison.removed]
    changes += [("take changed", row.name, _words(row.old), _words(row.new)) for row in comparison.changed]
    changes += [("quarantined", row["take"], row["kind"], row["reason"]) for row in comparison.quarantined]
    changes += [("parameter", row.name, _words(row.old), _words(row.new)) for row in comparison.params]
    changes += [("package", row.name, _words(row.old), _words(row.new)) for row in comparison.packages]
    changes += [("tools", "data/tools.json", "", "differs")] * comparison.tools
    changes += [("code", name, "", "differs") for name in comparison.code]
    changes += [("machine", row.name, _words(row.old), _words(row.new)) for row in comparison.machines]
    changes += [("family", name, "evaluated", "") for name in comparison.only_old]
    changes += [("family", name, "", "evaluated") for name in comparison.only_new]
    changes += [("system", row.name, _words(row.old), _words(row.new)) for row in comparison.systems]
    changes += [("figures", row.name, _words(row.old), _words(row.new)) for row in comparison.figures]
    changes += [("not compared", name, "", "params.yaml no longer names it") for name in comparison.retired]
    changes += [("not compared", name, "", "no take in both from the same bytes") for name in comparison.unmatched]
    changes += [("not compared", name, "", "tested from other bytes") for name in comparison.left_out]
    tables.append(Table(title="what changed", header=("what", "name", "old", "new"), rows=tuple(changes)))
    shown = [(row, _METRICS[row.metric]) for row in comparison.differences if row.direction != "none"]
    figures = tuple(
        (
            row.family,
            row.system if row.role in ("", "model") else f"{row.system} ({row.role})",
            _label(metric),
            _number(row.old, metric),
            _number(row.new, metric),
            f"{row.difference:+.{metric.digits + 1}f}",
            "–" if row.low is None or row.high is None else _interval(row.low, row.high, metric),
            f"{row.n_takes} ({row.n_pieces})",
            row.verdict,
        )
        for row, metric in shown
        if row.verdict != "same"
    )
    header = ("family", "system", "figure", "old", "new", "difference", "95 % interval", "takes or views (pieces)", "")
    tables.append(Table(title="what it changed", header=header, rows=figures))
    moved = tuple(
        (row.family, move.take, row.system, _label(metric), _number(move.old, metric), _number(move.new, metric))
        for row, metric, move in _largest_moves(shown)
    )
    tables.append(
        Table(title="takes that moved most", header=("family", "take", "system", "figure", "old", "new"), rows=moved)
    )
    return tables


def advice(comparison: Comparison) -> str:
    """Return one line on how to read the verdicts."""
    read = [row for row in comparison.differences if row.direction != "none"]
    if not read:
        return "no figure is in both versions"
    moved = [row for row in read if row.verdict != "same" and row.low is not None]
    called = sum(row.verdict != "open" for row in moved)
    n_same = sum(row.verdict == "same" for row in read)
    same = f"{n_same} of {len(read)} figures are the same in every take"
    if not moved:
        return same
    return (
        f"{same}; {called} of the {len(moved)} others leave 0 out of their interval, where without any difference "
        f"about {0.05 * len(moved):.0f} would"
    )


def markdown_of(comparison: Comparison) -> str:
    """Return the tables as GitHub's Markdown."""
    lines = [f"# {_cell(comparison.old.name)} to {_cell(comparison.new.name)}"]
    for table in tables_of(comparison):
        lines += ["", f"## {table.title.capitalize()}", ""]
        if not table.rows:
            lines.append("nothing")
            continue
        lines += [f"| {' | '.join(table.header)} |", f"|{'---|' * len(table.header)}"]
        lines += [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in table.rows]
    return "\n".join([*lines, "", advice(comparison), ""])


def _side(version: Version, catalog: Mapping[str, Take]) -> Side:
    digest = data_version(catalog.values())[:16]  # as many digits as data/metrics/data.json shows
    return Side(name=version.name, commit=version.commit, data_version=digest, n_takes=len(catalog))


def _families(version: Version) -> tuple[list[str], list[str]]:
    """Return the families that a version evaluated, and those of them that its params.yaml does not name.

    DVC keeps the results of a family that left params.yaml: in dvc.lock, and in the working tree.
    """
    evaluated = version.folders(EVALUATED)
    named = read_params_of(version).get("families") or evaluated
    return [name for name in evaluated if name in named], [name for name in evaluated if name not in named]


def _rows(version: Version, family: str) -> Rows:
    table = read_table(version.result(f"{EVALUATED}/{family}", "takes.parquet"))
    missing = {"system", "take", "piece"} - table.keys()
    if missing:
        raise DamagedData(f"{EVALUATED}/{family} of {version.name} has no column {min(missing)}")
    return table


def _largest_moves(shown: Sequence[tuple[Difference, Metric]]) -> list[tuple[Difference, Metric, Move]]:
    """Return, for each family, the takes that moved most beside how far apart takes are, each by its largest move."""
    moves = [(row, metric, move) for row, metric in shown if row.spread > 0 for move in row.moved]
    moves.sort(key=lambda found: -abs(found[2].new - found[2].old) / found[0].spread)
    largest: dict[tuple[str, str], tuple[Difference, Metric, Move]] = {}
    for row, metric, move in moves:
        largest.setdefault((row.family, move.take), (row, metric, move))
    n_moved = max((len(row.moved) for row, _ in shown), default=0)
    families = dict.fromkeys(row.family for row, _ in shown)
    return [
        found for family in families for found in [one for one in largest.values() if one[0].family == family][:n_moved]
    ]


def _label(metric: Metric) -> str:
    label = f"|{metric.label}|" if metric.direction == "nearest 0" else metric.label
    return f"{label}, {metric.unit}" if metric.unit else label


def _number(value: float, metric: Metric) -> str:
    return f"{value:.{metric.digits}f}"


def _interval(low: float, high: float, metric: Metric) -> str:
    return f"{low:+.{metric.digits + 1}f} to {high:+.{metric.digits + 1}f}"


def _words(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {str(inner)[:12]}" for key, inner in value.items())
    return str(value)


def _cell(text: str) -> str:
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text).replace("|", "\\|")
