"""How a comparison is shown to people: tables, Markdown, and one line on how to read it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.metrics.intervals import CONFIDENCE
from tasks.metrics.metric import Metric
from tasks.metrics.table import METRICS
from tasks.versions.comparison import Comparison
from tasks.versions.differences import Difference
from tasks.versions.family_causes import FamilyCauses

_METRICS = {metric.key: metric for metric in METRICS}


FIGURES = (
    "family",
    "system",
    "figure",
    "old",
    "new",
    "difference",
    "95 % interval",
    "seen above",
    "takes or views (pieces)",
    "",
)
"""Heads of the columns of differences."""

OPEN_SHOWN = 200  # differences that no verdict is given on: nobody reads a thousand of them


@dataclass(frozen=True, kw_only=True)
class Table:
    """Words and numbers in rows, for people."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables_of(comparison: Comparison) -> list[Table]:
    """Return what people look at: what changed, what it changed and why, and what moved most."""
    old, new = comparison.old, comparison.new
    tables = [
        Table(
            title="versions",
            header=("", "revision", "commit", "data version", "takes"),
            rows=tuple(
                (
                    word,
                    side.name,
                    (side.commit or "")[:10],
                    side.data_version,
                    str(side.n_takes) if side.data_version else "–",
                )
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
    changes += [("behind", name, "", "was trained on earlier data than there is") for name in comparison.behind]
    changes += [("not compared", name, "", "no take in both from the same bytes") for name in comparison.unmatched]
    changes += [("not compared", name, "", "tested from other bytes") for name in comparison.left_out]
    if not comparison.takes_known:
        changes.append(("takes", "data/ingested", "–", "a catalog is not in DVC's cache: takes are not compared"))
    changes += [("figures", name, "–", "from git: no interval, no takes") for name in comparison.from_git]
    tables.append(Table(title="what changed", header=("what", "name", "old", "new"), rows=tuple(changes)))
    shown = [(row, _METRICS[row.metric]) for row in comparison.differences if row.direction != "none"]
    tables.append(Table(title="what it changed", header=FIGURES, rows=_figures(shown)))
    differ = {row.family for row, _ in shown if row.verdict != "same"}
    why = tuple(_why(comparison, causes) for causes in comparison.causes if causes.family in differ)
    tables.append(Table(title="why", header=("family", "cause", "what"), rows=why))
    moved = tuple(
        (
            move.family,
            move.take,
            move.system,
            _label(_METRICS[move.metric]),
            _number(move.old, _METRICS[move.metric]),
            _number(move.new, _METRICS[move.metric]),
        )
        for move in comparison.moves
    )
    tables.append(
        Table(title="takes that moved most", header=("family", "take", "system", "figure", "old", "new"), rows=moved)
    )
    parts = tuple(
        (move.family, move.part, move.system, move.metric, f"{move.old:.2f}", f"{move.new:.2f}")
        for move in comparison.parts
    )
    columns = ("family", "note or player", "system", "figure", "old", "new")
    tables.append(Table(title="notes and players that moved most", header=columns, rows=parts))
    sounds = tuple(
        (move.system, move.take, word, path)
        for move in comparison.moves
        for word, paths in (("old", move.old_sounds), ("new", move.new_sounds))
        for path in paths
    )
    tables.append(Table(title="to hear both", header=("system", "take", "", "file"), rows=sounds))
    return tables


def undone_table(cause: str, family: str, comparison: Comparison) -> Table:
    """Return what one cause moved in a family: figures of a rerun without it, and with it."""
    shown = [(row, _METRICS[row.metric]) for row in comparison.differences if row.direction != "none"]
    rows = _figures([(row, metric) for row, metric in shown if row.family == family])
    return Table(title=f"what {cause} alone moved in {family}", header=FIGURES, rows=rows)


def advice(comparison: Comparison) -> str:
    """Return one line on how to read the verdicts."""
    read = [row for row in comparison.differences if row.direction != "none"]
    if not read:
        return "no figure is in both versions"
    moved = [row for row in read if row.p_joint is not None]
    called = sum(row.verdict != "open" for row in moved)
    n_same = sum(row.verdict == "same" for row in read)
    where = "every take" if not comparison.from_git else "every take, or in git"
    same = f"{n_same} of {len(read)} figures are the same in {where}"
    if not moved:
        return same
    said = (
        f"{same}; {called} of the {len(moved)} others {'is' if called == 1 else 'are'} called better or worse, all "
        f"together: without any difference there should be one in {1 - CONFIDENCE:.0%} of comparisons"
    )
    pieces = [row.n_pieces for row in moved if row.seen_above is None]
    if len(pieces) == len(moved):
        return f"{said}; with {_span(pieces)} pieces no difference that these metrics can have would be seen"
    if comparison.unmeasured:
        names = ", ".join(comparison.unmeasured)
        said += f"; what seeds move in {names} was not measured and may be all of it: `audiate replicate FAMILY`"
    several = [one.family for one in comparison.causes if len(one.names) > 1 and _is_moved(comparison, one)]
    if several:
        return f"{said}; several causes: `--attribute {several[0]}` reruns {several[0]} with one of them at a time"
    return said


def markdown_of(comparison: Comparison, more: Sequence[Table] = ()) -> str:
    """Return the tables, and those that are given besides, as GitHub's Markdown."""
    lines = [f"# {_cell(comparison.old.name)} to {_cell(comparison.new.name)}"]
    for table in [*tables_of(comparison), *more]:
        lines += ["", f"## {table.title.capitalize()}", ""]
        if not table.rows:
            lines.append("nothing")
            continue
        lines += [f"| {' | '.join(table.header)} |", f"|{'---|' * len(table.header)}"]
        lines += [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in table.rows]
    return "\n".join([*lines, "", advice(comparison), ""])


def _figures(shown: Sequence[tuple[Difference, Metric]]) -> tuple[tuple[str, ...], ...]:
    """Return the rows of what is called, and of what is open those that moved most beside how far takes are apart."""
    moved = [row for row, _ in shown if row.verdict == "open"]
    moved.sort(key=lambda row: -abs(row.difference) / row.spread if row.spread else 0.0)
    left_out = {id(row) for row in moved[OPEN_SHOWN:]}
    rows = tuple(
        (
            row.family,
            row.system if row.role in ("", "model") else f"{row.system} ({row.role})",
            _label(metric),
            _number(row.old, metric),
            _number(row.new, metric),
            f"{row.difference:+.{metric.digits + 1}f}",
            "–" if row.low is None or row.high is None else _interval(row.low, row.high, metric),
            _seen_above(row, metric),
            f"{row.n_takes} ({row.n_pieces})" if row.n_takes else "–",
            f"{row.verdict}: {row.reason}" if row.reason else row.verdict,
        )
        for row, metric in shown
        if row.verdict != "same" and id(row) not in left_out
    )
    more = (f"and {len(left_out)} more that are open: --json has all", *[""] * (len(FIGURES) - 1))
    return (*rows, more) if left_out else rows


def _is_moved(comparison: Comparison, causes: FamilyCauses) -> bool:
    return any(row.family == causes.family and row.verdict != "same" for row in comparison.differences)


def _span(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def _seen_above(row: Difference, metric: Metric) -> str:
    if row.p_joint is None or row.n_pieces < 2:
        return "–"
    return "nothing" if row.seen_above is None else f"{row.seen_above:.{metric.digits + 1}f}"


def _why(comparison: Comparison, causes: FamilyCauses) -> tuple[str, str, str]:
    """Return a family's row of causes: what each one is."""
    what = {
        "data": ", ".join(causes.takes) or "not in the catalogs",
        "params": ", ".join(row.name for row in causes.params),
        "code": ", ".join(causes.code),
        "libraries": ", ".join(row.name for row in comparison.packages),
        "tools": "ffmpeg, FluidSynth or the SoundFont",
        "machine": ", ".join((causes.machine.new or causes.machine.old) if causes.machine else ()),
        "seed": ", ".join(row.name for row in causes.seed),
    }
    named = [f"{name} ({_short(what[name])})" for name in causes.names]
    word = "none was found" if not named else named[0].partition(" ")[0] if len(named) == 1 else "several"
    return causes.family, word, "; ".join(named)


def _short(text: str, n_chars: int = 160) -> str:
    return text if len(text) <= n_chars else f"{text[:n_chars]}..."


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
