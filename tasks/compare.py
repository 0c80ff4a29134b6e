"""Verb ``compare``: what changed between two versions of data, parameters and code, and what it changed.

Figures are compared take by take, over the takes that both versions tested from the same bytes; what a difference is
worth is said by an interval over pieces. Of twenty comparisons without any difference, one leaves 0 out.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray

from tasks.errors import DamagedData
from tasks.metrics.intervals import paired_intervals
from tasks.page.scores import METRICS, Metric
from tasks.params import Section
from tasks.store.tables import read_table
from tasks.takes import Take, data_version
from tasks.versions.history import Version

INGESTED = "data/ingested"
EVALUATED = "data/evaluated"
_METRICS = {metric.key: metric for metric in METRICS}
_NO_FIGURES = {"system", "take", "piece", "notes_from", "segment_ids"}

Verdict = Literal["better", "worse", "same", "open"]


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
class Changed:
    """Something that both or one of the versions has: None where it has not."""

    name: str
    old: Any
    new: Any


@dataclass(frozen=True, kw_only=True)
class Move:
    """One take's figure in both versions."""

    take: str
    piece: str
    old: float
    new: float


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One figure of one system in both versions, over the takes that both tested.

    Attributes:
        family: of the system.
        system: a row of the family's tables.
        metric: the figure's key.
        best: ``lowest``, ``highest``, ``nearest 0`` (then absolute values are compared), or None: nobody says.
        n_takes: that both versions tested.
        n_pieces: that these are performances of.
        old: mean over these takes.
        new: the same.
        difference: new minus old.
        low: lower end of its 95 % interval; None with a single piece.
        high: upper end.
        spread: standard deviation of the old figures over the takes: what a move is large or small beside.
        verdict: ``same`` when no take differs, ``open`` while the interval holds 0 or nobody says what is better.
        moved: the takes that differ most.
    """

    family: str
    system: str
    metric: str
    best: str | None
    n_takes: int
    n_pieces: int
    old: float
    new: float
    difference: float
    low: float | None
    high: float | None
    spread: float
    verdict: Verdict
    moved: tuple[Move, ...]


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
        code: files of the project that a stage rests on and that differ.
        only_old: families that only the old version evaluated, and ``only_new``.
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
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]
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
    catalogs = _catalog(old), _catalog(new)
    names = catalogs[0].keys(), catalogs[1].keys()
    both = sorted(names[0] & names[1])
    same_bytes = {name for name in both if catalogs[0][name].digest == catalogs[1][name].digest}
    families = old.folders(EVALUATED), new.folders(EVALUATED)
    differences: list[Difference] = []
    tested: set[str] = set()
    for family in [name for name in families[1] if name in families[0]]:
        tables = _figures(old, family), _figures(new, family)
        tested |= set(tables[0]["take"]) & set(tables[1]["take"])
        differences += _differences(family, *tables, takes=same_bytes, params=params)
    return Comparison(
        old=_side(old, catalogs[0]),
        new=_side(new, catalogs[1]),
        added=tuple(sorted(names[1] - names[0])),
        removed=tuple(sorted(names[0] - names[1])),
        changed=tuple(
            Changed(name=name, old=was, new=now)
            for name in both
            for was, now in [_facts_that_differ(catalogs[0][name], catalogs[1][name])]
            if was != now
        ),
        quarantined=_newly_refused(old, new),
        params=_changes(_flat(_yaml(old, "params.yaml")), _flat(_yaml(new, "params.yaml"))),
        packages=_changes(_packages(old), _packages(new)),
        tools=old.hashes("deps").get("data/tools.json") != new.hashes("deps").get("data/tools.json"),
        code=tuple(sorted(row.name for row in _changes(_code(old), _code(new)))),
        only_old=tuple(sorted(set(families[0]) - set(families[1]))),
        only_new=tuple(sorted(set(families[1]) - set(families[0]))),
        left_out=tuple(sorted(tested - same_bytes)),
        differences=tuple(differences),
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
    changes += [("family", name, "evaluated", "") for name in comparison.only_old]
    changes += [("family", name, "", "evaluated") for name in comparison.only_new]
    changes += [("not compared", name, "", "tested from other bytes") for name in comparison.left_out]
    tables.append(Table(title="what changed", header=("what", "name", "old", "new"), rows=tuple(changes)))
    shown = [(row, _METRICS[row.metric]) for row in comparison.differences if row.metric in _METRICS]
    figures = tuple(
        (
            row.family,
            row.system,
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
    header = ("family", "system", "figure", "old", "new", "difference", "95 % interval", "takes (pieces)", "")
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
    read = [row for row in comparison.differences if row.best]
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


def _catalog(version: Version) -> dict[str, Take]:
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


def _side(version: Version, catalog: Mapping[str, Take]) -> Side:
    digest = data_version(catalog.values())[:16]  # as many digits as data/metrics/data.json shows
    return Side(name=version.name, commit=version.commit, data_version=digest, n_takes=len(catalog))


def _facts_that_differ(old: Take, new: Take) -> tuple[dict[str, Any], dict[str, Any]]:
    differ = [key for key in ("digest", "piece", "part") if getattr(old, key) != getattr(new, key)]
    was, now = ({key: getattr(take, key) for key in differ} for take in (old, new))
    return was, now


def _newly_refused(old: Version, new: Version) -> tuple[Mapping[str, str], ...]:
    tables = []
    for version in (old, new):
        rows = json.loads(version.result(INGESTED, "quarantine.json").read_bytes())
        tables.append({(str(row["take"]), str(row["kind"]), str(row["reason"])) for row in rows})
    names = ("take", "kind", "reason")
    return tuple(dict(zip(names, row, strict=True)) for row in sorted(tables[1] - tables[0]))


def _yaml(version: Version, path: str) -> Any:
    try:
        return yaml.safe_load(version.text(path) or "{}")
    except yaml.YAMLError:
        raise DamagedData(f"{path} of {version.name} is not YAML") from None


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(values, dict):
        return {prefix.rstrip("."): values}
    return {name: value for key, inner in values.items() for name, value in _flat(inner, f"{prefix}{key}.").items()}


def _packages(version: Version) -> dict[str, Any]:
    lines = (line.partition("#")[0].strip() for line in (version.text("constraints.txt") or "").splitlines())
    pairs = (line.partition("==") for line in lines if line)
    return {name.strip(): number.strip() for name, _, number in pairs}


def _code(version: Version) -> dict[str, Any]:
    return {
        path: md5 for path, md5 in version.hashes("deps").items() if path.startswith(("flows/", "tasks/", "models/"))
    }


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Changed, ...]:
    names = [*new, *(name for name in old if name not in new)]
    return tuple(
        Changed(name=name, old=old.get(name), new=new.get(name))
        for name in names
        if old.get(name) != new.get(name) or (name in old) != (name in new)
    )


def _figures(version: Version, family: str) -> dict[str, NDArray[Any]]:
    table = read_table(version.result(f"{EVALUATED}/{family}", "takes.parquet"))
    missing = {"system", "take", "piece"} - table.keys()
    if missing:
        raise DamagedData(f"{EVALUATED}/{family} of {version.name} has no column {min(missing)}")
    return table


def _differences(
    family: str,
    old: Mapping[str, NDArray[Any]],
    new: Mapping[str, NDArray[Any]],
    *,
    takes: set[str],
    params: CompareParams,
) -> list[Difference]:
    keys = [key for key in new if key in old and key not in _NO_FIGURES and new[key].dtype.kind in "iuf"]
    keys.sort(key=lambda key: (list(_METRICS).index(key) if key in _METRICS else len(_METRICS), key))
    rows_of_old = {(s, t): row for row, (s, t) in enumerate(zip(old["system"], old["take"], strict=True))}
    found: list[Difference] = []
    for system in dict.fromkeys(new["system"]):
        pairs = [
            (rows_of_old[system, new["take"][row]], row)
            for row in np.flatnonzero(new["system"] == system)
            if (system, new["take"][row]) in rows_of_old and new["take"][row] in takes
        ]
        if not pairs:
            continue
        before, after = np.array(pairs).T
        names, pieces = new["take"][after].astype(str), new["piece"][after].astype(str)
        order = np.argsort(names)
        a = np.stack([_read(key)(old[key][before][order]) for key in keys], axis=1)  # (takes, figures)
        b = np.stack([_read(key)(new[key][after][order]) for key in keys], axis=1)
        found += _compare(family, system, keys, a, b, names[order], pieces[order], params)
    return found


def _read(key: str) -> Callable[[NDArray[Any]], NDArray[np.float64]]:
    nearest = key in _METRICS and _METRICS[key].best == "nearest 0"
    return lambda values: np.abs(values.astype(np.float64)) if nearest else values.astype(np.float64)


def _compare(
    family: str,
    system: str,
    keys: Sequence[str],
    old: NDArray[np.float64],
    new: NDArray[np.float64],
    names: NDArray[np.str_],
    pieces: NDArray[np.str_],
    params: CompareParams,
) -> list[Difference]:
    usable = np.isfinite(old) & np.isfinite(new)  # (takes, figures)
    found: dict[int, Difference] = {}
    # Figures that exist for the same takes share their draws: hundreds of figures cost little more than one.
    for pattern in {tuple(usable[:, column]) for column in range(len(keys))}:
        chosen = np.array(pattern, bool)
        columns = [column for column in range(len(keys)) if tuple(usable[:, column]) == pattern]
        if not chosen.any():
            continue
        a, b = old[chosen][:, columns], new[chosen][:, columns]
        mean, low, high = paired_intervals(
            b - a, pieces[chosen], n_resamples=params.n_resamples, rng=np.random.default_rng(params.seed)
        )
        for place, column in enumerate(columns):
            metric = _METRICS.get(keys[column])
            ends = float(low[place]), float(high[place])
            moves = [
                Move(take=str(names[chosen][row]), piece=str(pieces[chosen][row]), old=float(x), new=float(y))
                for row, (x, y) in enumerate(zip(a[:, place], b[:, place], strict=True))
                if x != y
            ]
            moves.sort(key=lambda move: (-abs(move.new - move.old), move.take))
            found[column] = Difference(
                family=family,
                system=system,
                metric=keys[column],
                best=metric.best if metric else None,
                n_takes=int(chosen.sum()),
                n_pieces=len(set(pieces[chosen])),
                old=float(a[:, place].mean()),
                new=float(b[:, place].mean()),
                difference=float(mean[place]),
                low=ends[0] if math.isfinite(ends[0]) else None,
                high=ends[1] if math.isfinite(ends[1]) else None,
                spread=float(a[:, place].std()),
                verdict=_verdict(*ends, metric, is_same=not moves),
                moved=tuple(moves[: params.n_moved]),
            )
    return [found[column] for column in sorted(found)]


def _verdict(low: float, high: float, metric: Metric | None, *, is_same: bool) -> Verdict:
    if is_same:
        return "same"
    if metric is None or low <= 0 <= high:
        return "open"
    return "worse" if (high < 0) == (metric.best == "highest") else "better"


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
    label = f"|{metric.label}|" if metric.best == "nearest 0" else metric.label
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
