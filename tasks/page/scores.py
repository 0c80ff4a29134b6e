"""Tables of figures: every system beside the reference system, and whether the difference is more than chance."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.intervals import paired_interval
from tasks.metrics.metric import Metric
from tasks.page.text import number

UNRANKED_ROLES = frozenset({"bound", "idle"})
"""Roles of systems that are never the best: one is given the reference, the other does nothing."""

N_TO_RANK = 2  # one system alone is not the best of anything
ROUNDING = 1e-9  # an interval may pass the end of the range by this much


@dataclass(frozen=True, kw_only=True)
class Lead:
    """The difference of a system to the reference system, over the takes that both have.

    Attributes:
        difference: system minus reference system, mean over takes.
        low: lower end of its 95 % interval.
        high: upper end.
        is_known: the interval lies within what the difference of two values can be. One that leaves it says that there
            are too few pieces for an interval.
        verdict: ``open`` where the interval includes 0.
    """

    difference: float
    low: float
    high: float
    is_known: bool
    verdict: Literal["better", "worse", "open"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One figure of one system."""

    metric: Metric
    value: float | None
    is_best: bool
    lead: Lead | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One system of a table.

    Attributes:
        family: its family.
        system: its name.
        role: ``model``, ``reference``, ``bound`` or ``idle``, as its family declares it.
        cells: one for each column.
        is_baseline: it comes from a family of baselines, and is no upper bound.
        remark: what a reader must know about its figures; may be empty.
    """

    family: str
    system: str
    role: str
    cells: tuple[Cell, ...]
    is_baseline: bool = False
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Systems that were tested on the same data.

    Attributes:
        title: its heading.
        reference: the system that the others are compared with; empty where there is none.
        metrics: its columns: those of which a system has a value.
        rows: its systems: models, then bounds, then baselines, the better first.
    """

    title: str
    reference: str
    metrics: tuple[Metric, ...]
    rows: tuple[Row, ...]

    @property
    def models(self) -> tuple[Row, ...]:
        """Rows that are no baselines, upper bounds among them."""
        return tuple(row for row in self.rows if not row.is_baseline)

    @property
    def baselines(self) -> tuple[Row, ...]:
        """Rows of baselines."""
        return tuple(row for row in self.rows if row.is_baseline)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was measured of one family.

    Attributes:
        family: its name.
        figures: ``{system: {metric: value}}``, means over the test takes.
        takes: the same by take, in columns: system, role, take, piece, one for each metric, and what else the kind of
            data has.
    """

    family: str
    figures: Mapping[str, Mapping[str, Any]]
    takes: Mapping[str, NDArray[Any]]

    def role(self, system: str) -> str:
        """Return the system's role; ``model`` where it has no row."""
        own = self.takes["role"][self.takes["system"] == system]
        return str(own[0]) if len(own) else "model"

    def is_baseline(self, system: str) -> bool:
        """Return whether a system is a baseline: beside the reference system, and neither a bound nor trained."""
        is_else = system == self.family or self.role(system) == "bound"
        return not is_else and bool(np.any(self.takes["role"] == "reference"))

    def value(self, system: str, metric: Metric) -> float | None:
        """Return a system's mean of a figure; None where it has none."""
        value = self.figures.get(system, {}).get(metric.key)
        return float(value) if value is not None and math.isfinite(value) else None

    def by_take(self, system: str, metric: Metric) -> dict[str, tuple[str, float]]:
        """Return piece and figure of each take that has the figure."""
        if metric.key not in self.takes:
            return {}
        values = self.takes[metric.key].astype(np.float64)
        return {
            str(self.takes["take"][row]): (str(self.takes["piece"][row]), float(values[row]))
            for row in np.flatnonzero((self.takes["system"] == system) & np.isfinite(values))
        }


def score_table(
    title: str,
    evaluations: Sequence[Evaluation],
    metrics: Sequence[Metric],
    *,
    n_resamples: int,
    seed: int,
    remarks: Mapping[str, str] | None = None,
    headline: Metric | None = None,
) -> Table | None:
    """Return a table with the difference of each system to the reference system; None where nothing was measured.

    Args:
        title: its heading.
        evaluations: one for each family, all tested on the same takes.
        metrics: columns; one that no system has is left out.
        n_resamples: draws of each interval.
        seed: of the draws. Each interval has a generator of its own, so that a system more or less does not change the
            others' figures.
        remarks: by system.
        headline: what the systems are sorted by; None for the first column.
    """
    reference = next((one for one in _systems(evaluations) if one[0].role(one[1]) == "reference"), None)

    def lead(family: Evaluation, system: str, metric: Metric) -> Lead | None:
        if reference is None or family.role(system) == "reference":
            return None
        return lead_over((family, system), reference, metric, n_resamples=n_resamples, seed=seed)

    name = reference[1] if reference is not None else ""
    return _table(title, evaluations, metrics, reference=name, lead=lead, remarks=remarks or {}, headline=headline)


def tested_together(evaluations: Sequence[Evaluation]) -> list[list[Evaluation]]:
    """Return the families by what they were tested on: those that share no take with a group's first are another."""
    groups: list[list[Evaluation]] = []
    for one in evaluations:
        takes = set(one.takes["take"].tolist())
        group = next((group for group in groups if takes & set(group[0].takes["take"].tolist())), None)
        if group is None:
            groups.append([one])
        else:
            group.append(one)
    return groups


def figure_table(title: str, evaluations: Sequence[Evaluation], metrics: Sequence[Metric]) -> Table | None:
    """Return a table of figures alone, without intervals, of the systems that have one; None where none has."""
    table = _table(title, evaluations, metrics, reference="", lead=lambda *_: None, remarks={})
    if table is None:
        return None
    return replace(table, rows=tuple(row for row in table.rows if any(cell.value is not None for cell in row.cells)))


@dataclass(frozen=True, kw_only=True)
class Part:
    """A share of the rows behind a metric's mean, a column of its own: the takes of one camera, for example.

    Attributes:
        label: heading of its column.
        meaning: which rows these are, to follow "mean over".
        holds: which rows of a family's columns belong to it, as a mask (rows,).
    """

    label: str
    meaning: str
    holds: Callable[[Mapping[str, NDArray[Any]]], NDArray[np.bool_]]


def parted_table(title: str, evaluations: Sequence[Evaluation], metric: Metric, parts: Sequence[Part]) -> Table | None:
    """Return a table of one metric with a column for each part of the rows.

    Args:
        title: its heading.
        evaluations: the means are taken over the rows of their ``takes``: one a take, a view or a player.
        metric: a column of these rows.
        parts: from left to right.
    """
    columns = [
        replace(
            metric,
            key=f"{metric.key} {part.label}",
            label=part.label,
            meaning=f"{metric.label}, mean over {part.meaning}",
        )
        for part in parts
    ]
    parted = [
        replace(
            family,
            figures={
                system: {
                    column.key: _mean(family, system, metric, part) for column, part in zip(columns, parts, strict=True)
                }
                for system in family.figures
            },
        )
        for family in evaluations
    ]
    return figure_table(title, parted, columns)


def figures_of_take(
    evaluations: Sequence[Evaluation], metrics: Sequence[Metric], *, family: str, system: str, take: str
) -> tuple[tuple[str, str], ...]:
    """Return labels and values, ready to print, of one system on one take; nothing where it was not evaluated."""
    shown = []
    for evaluation in evaluations:
        columns = evaluation.takes
        rows = np.flatnonzero((columns["system"] == system) & (columns["take"] == take))
        if evaluation.family != family or not len(rows):
            continue
        for metric in metrics:
            value = float(columns[metric.key][rows[0]]) if metric.key in columns else math.nan
            if math.isfinite(value):
                shown.append((metric.label, f"{number(value, metric.digits)} {metric.unit}".strip()))
    return tuple(shown)


def _systems(evaluations: Sequence[Evaluation]) -> list[tuple[Evaluation, str]]:
    return [(family, system) for family in evaluations for system in family.figures]


def _table(
    title: str,
    evaluations: Sequence[Evaluation],
    metrics: Sequence[Metric],
    *,
    reference: str,
    lead: Callable[[Evaluation, str, Metric], Lead | None],
    remarks: Mapping[str, str],
    headline: Metric | None = None,
) -> Table | None:
    systems = _systems(evaluations)
    shown = tuple(metric for metric in metrics if any(f.value(s, metric) is not None for f, s in systems))
    if not shown:
        return None
    systems.sort(key=lambda one: standing(one[0], one[1], headline or shown[0]))
    best = {metric.key: _best(systems, metric) for metric in shown}
    rows = tuple(
        Row(
            family=family.family,
            system=system,
            role=(role := family.role(system)),
            is_baseline=family.is_baseline(system),
            remark=remarks.get(system, ""),
            cells=tuple(
                Cell(
                    metric=metric,
                    value=(value := family.value(system, metric)),
                    is_best=value is not None and role not in UNRANKED_ROLES and _same(metric, value, best),
                    lead=lead(family, system, metric),
                )
                for metric in shown
            ),
        )
        for family, system in systems
    )
    return Table(title=title, reference=reference, metrics=shown, rows=rows)


def _best(systems: Sequence[tuple[Evaluation, str]], metric: Metric) -> float | None:
    if metric.direction == "none":
        return None
    ranked = [family.value(system, metric) for family, system in systems if family.role(system) not in UNRANKED_ROLES]
    values = [value for value in ranked if value is not None]
    return min(metric.cost(value) for value in values) if len(values) >= N_TO_RANK else None


def _same(metric: Metric, value: float, best: Mapping[str, float | None]) -> bool:
    found = best[metric.key]
    return found is not None and round(metric.cost(value), metric.digits) == round(found, metric.digits)


def standing(family: Evaluation, system: str, metric: Metric) -> tuple[int, float]:
    """Return what sorts systems: models, bounds, baselines; among each the better first, those without a value last."""
    value = family.value(system, metric)
    place = 2 if family.is_baseline(system) else 1 if family.role(system) == "bound" else 0
    return place, math.inf if value is None else metric.cost(value)


def lead_over(
    system: tuple[Evaluation, str], other: tuple[Evaluation, str], metric: Metric, *, n_resamples: int, seed: int
) -> Lead | None:
    """Compare a system with another over the takes that both have; None where they share no two pieces.

    Args:
        system: its family and name.
        other: the same of the other.
        metric: the figure.
        n_resamples: draws of the interval.
        seed: of the draws.
    """
    ours, theirs = system[0].by_take(system[1], metric), other[0].by_take(other[1], metric)
    both = sorted(ours.keys() & theirs.keys())
    pieces = [ours[take][0] for take in both]
    if len(set(pieces)) < 2:
        return None
    difference, low, high = paired_interval(
        [ours[take][1] for take in both],
        [theirs[take][1] for take in both],
        pieces,
        n_resamples=n_resamples,
        rng=np.random.default_rng(seed),
    )
    reach = metric.high - metric.low
    is_known = -reach - ROUNDING <= low <= high <= reach + ROUNDING
    verdict: Literal["better", "worse", "open"] = "open"
    if metric.direction in ("lower", "higher") and not low <= 0 <= high:
        verdict = "better" if (high < 0) == (metric.direction == "lower") else "worse"
    return Lead(difference=difference, low=low, high=high, is_known=is_known, verdict=verdict)


def _mean(family: Evaluation, system: str, metric: Metric, part: Part) -> float:
    columns = family.takes
    if metric.key not in columns:
        return math.nan
    values = columns[metric.key][(columns["system"] == system) & part.holds(columns)]
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else math.nan
