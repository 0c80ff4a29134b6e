"""What one night did: the same record in the notification, in the commit message and in Prefect.

A night is one run of the watch. What it took in is looked up in what ingest and synchronize wrote, so that a run that
goes on from one that died tells all of it.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tasks.intake.record import quality_flags
from tasks.store.tables import read_table
from tasks.versions.comparison import Comparison
from tasks.versions.show import markdown_of

NAMED_IN_SUBJECT = 3
INGESTED = Path("data/ingested")
SYNCHRONIZED = Path("data/synchronized")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Where a night ended before its end.

    Attributes:
        stage: that failed; None where it was git, the remote, or the watch itself.
        take: that it failed with, if it was one take's work.
        line: what the stage said.
    """

    stage: str | None
    take: str | None
    line: str


@dataclass(frozen=True, kw_only=True)
class Flag:
    """Something that is wrong with a recording that was taken in: a flag of ingest, or why it is not used."""

    take: str
    device: str
    flag: str


@dataclass(frozen=True, kw_only=True)
class Clock:
    """How well a device's clock is known: its verdict, and the largest of its spans' residuals, if it has any."""

    take: str
    device: str
    verdict: str
    residual_p95_ms: float | None


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """What a stage did in this night and what it took."""

    stage: str
    counts: dict[str, int]
    wall_s: float
    cpu_s: float


@dataclass(kw_only=True)
class Record:
    """What one run of the watch found and did; written beside the watch's memory and given to the notification.

    Attributes:
        run: its name.
        inbox: that was looked into.
        added: takes that were taken in; in a run that made a commit, all since the last one, by whatever run.
        quarantined: what was refused for the first time: take, kind, reason, source.
        waiting: what is left for the next run.
        old_version: data version of the last commit, if it has one.
        new_version: data version after this run.
        n_takes: that it has.
        commit: hash of the commit that was made.
        pushed: whether the remote has it; None where there is no remote or nothing to push.
        comparison: with the last data version.
        verdict: of the comparison, in words.
        flags: what is wrong with recordings of the takes that came in.
        clocks: of their devices.
        scores: of promoted weights on the takes that came in; one of a piece that they know is ``apart``.
        behind: families that were trained on an earlier data set than there is now.
        gate: what it decided, where params.yaml has rules.
        stages: that ran, in order.
        notes: lines for people.
        failed: why the run did not come to its end.
        failure: the stage and the take that it failed with.
    """

    run: str
    inbox: str
    added: list[str] = field(default_factory=list)
    quarantined: list[dict[str, str]] = field(default_factory=list)
    waiting: list[dict[str, str]] = field(default_factory=list)
    old_version: str | None = None
    new_version: str | None = None
    n_takes: int = 0
    commit: str | None = None
    pushed: bool | None = None
    comparison: dict[str, Any] | None = None
    verdict: str | None = None
    flags: list[Flag] = field(default_factory=list)
    clocks: list[Clock] = field(default_factory=list)
    scores: list[dict[str, Any]] = field(default_factory=list)
    behind: list[str] = field(default_factory=list)
    gate: dict[str, Any] | None = None
    stages: list[StageCost] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: str | None = None
    failure: Failure | None = None

    @property
    def is_news(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.added or self.quarantined or self.commit or self.pushed or self.notes or self.failed)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON's own types."""
        return asdict(self)


def flags_of(takes: Iterable[str], ingested: Path = INGESTED) -> list[Flag]:
    """Return what ingest found wrong with the recordings of takes, by take and device."""
    found = []
    for take in sorted(takes):
        rows = quality_flags(take, ingested)
        found += [Flag(take=take, device=device, flag=flag) for device, flag in rows]
    return found


def clocks_of(takes: Iterable[str], synchronized: Path = SYNCHRONIZED) -> list[Clock]:
    """Return how the devices of takes were synchronized; a take without devices has no clocks."""
    found = []
    for take in sorted(takes):
        path = synchronized / take / "clock.parquet"
        if not path.is_file():
            continue
        table = read_table(path)
        worst: dict[tuple[str, str], float | None] = {}
        rows = zip(table["device"], table["verdict"], table["residual_p95_ms"], strict=True)
        for device, verdict, residual_ms in rows:
            key = (str(device), str(verdict))
            known_ms = [ms for ms in (worst.get(key), float(residual_ms)) if ms is not None and math.isfinite(ms)]
            worst[key] = round(max(known_ms), 3) if known_ms else None
        found += [
            Clock(take=take, device=device, verdict=verdict, residual_p95_ms=residual_ms)
            for (device, verdict), residual_ms in worst.items()
        ]
    return found


def stages_since(began_s: float, runs: Path) -> list[StageCost]:
    """Return the stages that ended since then, in that order.

    Args:
        began_s: the time, as ``time.time`` gives it.
        runs: folder in which every stage leaves what its last run did.
    """
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(runs.glob("*.json"))]
    return [
        StageCost(
            stage=str(row["stage"]), counts=row["counts"], wall_s=round(row["wall_s"], 1), cpu_s=round(row["cpu_s"], 1)
        )
        for row in sorted(rows, key=lambda row: float(row["finished_at"]))
        if row["finished_at"] >= began_s
    ]


def commit_message(record: Record, comparison: Comparison | None) -> str:
    """Say what came in: the subject names the takes, the body lists all that the data version changed by."""
    added = list(comparison.added) if comparison else record.added
    removed = list(comparison.removed) if comparison else []
    changed = [row.name for row in comparison.changed] if comparison else []
    words = [
        f"{verb} {_some(names)}"
        for verb, names in (("Take in", added), ("remove", removed), ("change", changed))
        if names
    ]
    if comparison is None and record.old_version is None:
        words = [f"First data version: {record.n_takes} takes"]
    subject = "; ".join(words) or f"Data version {record.new_version}"
    lines = [f"{sign} {name}" for sign, names in (("+", added), ("-", removed), ("~", changed)) for name in names]
    lines += [f"quarantined {row['take']}: {row['kind']}" for row in record.quarantined]
    lines += [f"flagged {row.take}/{row.device}: {row.flag}" for row in record.flags]
    lines += _clock_lines(record.clocks)
    lines += [f"{_score(row)} {row['take']}" for row in record.scores if not row["apart"]]
    lines += [] if record.verdict is None else [record.verdict]
    lines += [] if record.gate is None else _gate_lines(record.gate)
    lines += [] if not record.behind else [f"behind their data: {', '.join(record.behind)}"]
    lines += [] if not record.stages else [_cost(record.stages)]
    lines.append(f"data version {record.old_version or 'none'} -> {record.new_version}")
    return "\n".join([subject[:1].upper() + subject[1:], "", *lines])


def _some(names: Sequence[str]) -> str:
    rest = len(names) - NAMED_IN_SUBJECT
    return ", ".join(names[:NAMED_IN_SUBJECT]) + (f" and {rest} more" if rest > 0 else "")


def markdown_of_night(record: Record, comparison: Comparison | None) -> str:
    """Return the whole record as Markdown."""
    failure = record.failure
    parts = [
        f"# Night {record.run}",
        _bullets(
            {
                "inbox": record.inbox,
                "data version": f"{record.old_version or 'none'} -> {record.new_version}, {record.n_takes} takes",
                "commit": record.commit,
                "pushed": None if record.pushed is None else "yes" if record.pushed else "no",
                "verdict": record.verdict,
                "gate": None if record.gate is None else _gate_lines(record.gate)[0],
                "behind their data": ", ".join(record.behind) or None,
                "failed": record.failed,
                "failed in": None if failure is None else f"{failure.stage or 'watch'}, take {failure.take or '-'}",
            }
        ),
        _table("Taken in", ("take",), [(name,) for name in record.added]),
        _table(
            "Quarantined",
            ("take", "kind", "reason"),
            [(row["take"], row["kind"], row["reason"]) for row in record.quarantined],
        ),
        _table("Flags", ("take", "device", "flag"), [(row.take, row.device, row.flag) for row in record.flags]),
        _table(
            "Clocks",
            ("take", "device", "verdict", "residual p95, ms"),
            [(row.take, row.device, row.verdict, _known(row.residual_p95_ms)) for row in record.clocks],
        ),
        _table(
            "Promoted weights on what came in",
            ("take", "family", "system", "figure", ""),
            [
                (row["take"], row["family"], row["system"], _score(row), "piece is known" if row["apart"] else "")
                for row in record.scores
            ],
        ),
        _table(
            "Gate",
            ("rule", "of", "", "found"),
            [] if record.gate is None else [tuple(row.values()) for row in record.gate["decisions"]],
        ),
        _table("Left for the next run", ("entry", "reason"), [(row["entry"], row["reason"]) for row in record.waiting]),
        _table(
            "Cost",
            ("stage", "computed", "reused", "quarantined", "wall, s", "CPU, s"),
            [
                (
                    row.stage,
                    *(str(row.counts.get(state, "")) for state in ("computed", "reused", "quarantined")),
                    f"{row.wall_s:.1f}",
                    f"{row.cpu_s:.1f}",
                )
                for row in record.stages
            ],
        ),
        "\n".join(f"- {note}" for note in record.notes),
        "" if comparison is None else markdown_of(comparison),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _clock_lines(clocks: Sequence[Clock]) -> list[str]:
    """Count the verdicts, and name what is not locked: a night of a hundred takes has a thousand devices."""
    if not clocks:
        return []
    counts = ", ".join(f"{n} {verdict}" for verdict, n in sorted(Counter(row.verdict for row in clocks).items()))
    worst_ms, where = max((row.residual_p95_ms or 0.0, f"{row.take}/{row.device}") for row in clocks)
    lines = [f"clocks: {counts}; largest residual {worst_ms:.2f} ms ({where})"]
    return lines + [f"clock {row.take}/{row.device}: {row.verdict}" for row in clocks if row.verdict != "locked"]


def _score(row: dict[str, Any]) -> str:
    return f"{row['system']} {row['figure']} {row['value']:g}"


def _gate_lines(gate: dict[str, Any]) -> list[str]:
    if gate["holds"]:
        return ["the gate holds"]
    bad = [row for row in gate["decisions"] if row["state"] in ("fell", "unsure")]
    return ["the gate fell", *(f"{row['state']}: {row['rule']} of {row['of']}: {row['words']}" for row in bad)]


def _cost(stages: Sequence[StageCost]) -> str:
    wall_s, cpu_s = sum(row.wall_s for row in stages), sum(row.cpu_s for row in stages)
    return f"cost: {wall_s:.0f} s in {len(stages)} stages, {cpu_s:.0f} s of CPU"


def _known(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _bullets(facts: dict[str, str | None]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in facts.items() if value is not None)


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [header, ["---"] * len(header), *rows]
    return f"## {title}\n\n" + "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    # What a recording's name or a tool's message holds must not end the row or become a link.
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[")
