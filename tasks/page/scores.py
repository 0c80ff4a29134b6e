"""The table of figures: every system beside the baselines, with what its lead over them is worth."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.intervals import paired_interval

REFERENCE_SYSTEM = "mean"
"""What every other system is compared with: the baseline that ignores the video."""

UPPER_BOUNDS = frozenset({"upper_bound", "true_features"})
"""Systems that were handed the true notes: shown, never ranked."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A figure of the table: its key in the metrics' files and what it means."""

    key: str
    label: str
    unit: str
    best: Literal["lowest", "highest", "nearest 0"]
    digits: int
    meaning: str

    def cost(self, value: float) -> float:
        """Return what is smaller for a better value."""
        return {"lowest": value, "highest": -value, "nearest 0": abs(value)}[self.best]


METRICS = (
    Metric(
        key="nats_per_sample",
        label="NLL",
        unit="nats",
        best="lowest",
        digits=3,
        meaning="held-out negative log likelihood of a sample, given the true ones before it",
    ),
    Metric(
        key="mr_stft",
        label="MR-STFT",
        unit="",
        best="lowest",
        digits=2,
        meaning="multi-resolution STFT distance: spectral convergence plus log magnitude",
    ),
    Metric(
        key="log_spectral_distance_db",
        label="LSD",
        unit="dB",
        best="lowest",
        digits=1,
        meaning="log-spectral distance, floor 80 dB below full scale",
    ),
    Metric(
        key="onset_f1",
        label="Onset F1",
        unit="",
        best="highest",
        digits=3,
        meaning="notes found with the right key and an onset within 50 ms",
    ),
    Metric(
        key="offset_f1",
        label="Offset F1",
        unit="",
        best="highest",
        digits=3,
        meaning="those whose release is right too, within 20 % of the note or 50 ms",
    ),
    Metric(
        key="velocity_f1",
        label="Velocity F1",
        unit="",
        best="highest",
        digits=3,
        meaning="those found whose loudness, scaled as a whole, is right within 10 %",
    ),
    Metric(
        key="velocity_mae",
        label="Velocity error",
        unit="",
        best="lowest",
        digits=1,
        meaning="mean absolute error of MIDI velocity over the notes found",
    ),
    Metric(
        key="onset_lag_ms",
        label="Onset lag",
        unit="ms",
        best="nearest 0",
        digits=1,
        meaning="median of how late the notes found are",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Lead:
    """How much better or worse than the reference a system is, over the takes that both have.

    Attributes:
        difference: system minus reference, mean over takes.
        low: lower end of its 95 % interval.
        high: upper end.
        verdict: what the interval leaves open.
    """

    difference: float
    low: float
    high: float
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
    """One system of the table."""

    family: str
    system: str
    is_upper_bound: bool
    is_reference: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was measured of one family.

    Attributes:
        family: its name.
        figures: ``{system: {metric: value}}``, summed up over the test takes.
        takes: the same by take, in columns: system, take, piece, and one for each metric.
    """

    family: str
    figures: Mapping[str, Mapping[str, Any]]
    takes: Mapping[str, NDArray[Any]]


def score_rows(evaluations: Sequence[Evaluation], *, n_resamples: int, seed: int) -> list[Row]:
    """Return the table's rows, in the order of the families and of their systems.

    A metric that no system has is no column. The best of a column is the best among systems that were not
    handed the answer; where several share it, each is marked.

    Args:
        evaluations: one for each family.
        n_resamples: draws of each interval.
        seed: of the draws. Each interval has a generator of its own, so that a system more or less does
            not move the others' figures.
    """
    systems = [(family, system) for family in evaluations for system in family.figures]
    shown = [metric for metric in METRICS if any(_value(f, s, metric) is not None for f, s in systems)]
    reference = next(((f, s) for f, s in systems if s == REFERENCE_SYSTEM), None)
    best = {metric.key: _best(systems, metric) for metric in shown}
    return [
        Row(
            family=family.family,
            system=system,
            is_upper_bound=system in UPPER_BOUNDS,
            is_reference=system == REFERENCE_SYSTEM,
            cells=tuple(
                Cell(
                    metric=metric,
                    value=(value := _value(family, system, metric)),
                    is_best=value is not None and system not in UPPER_BOUNDS and _same(metric, value, best),
                    lead=None
                    if reference is None or system == REFERENCE_SYSTEM
                    else _lead(family, system, reference[0], metric, n_resamples=n_resamples, seed=seed),
                )
                for metric in shown
            ),
        )
        for family, system in systems
    ]


def _value(family: Evaluation, system: str, metric: Metric) -> float | None:
    value = family.figures[system].get(metric.key)
    return float(value) if value is not None and math.isfinite(value) else None


def _best(systems: Sequence[tuple[Evaluation, str]], metric: Metric) -> float | None:
    ranked = [_value(f, s, metric) for f, s in systems if s not in UPPER_BOUNDS]
    values = [value for value in ranked if value is not None]
    # One system alone is not the best of anything.
    return min((metric.cost(value) for value in values), default=None) if len(values) > 1 else None


def _same(metric: Metric, value: float, best: Mapping[str, float | None]) -> bool:
    found = best[metric.key]
    return found is not None and round(metric.cost(value), metric.digits) == round(found, metric.digits)


def _lead(
    family: Evaluation, system: str, reference: Evaluation, metric: Metric, *, n_resamples: int, seed: int
) -> Lead | None:
    """Compare with the reference; None where they share no two pieces with this figure."""
    ours = _by_take(family, system, metric)
    theirs = _by_take(reference, REFERENCE_SYSTEM, metric)
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
    if low <= 0 <= high or metric.best == "nearest 0":
        return Lead(difference=difference, low=low, high=high, verdict="open")
    lower = high < 0
    verdict: Literal["better", "worse"] = "better" if lower == (metric.best == "lowest") else "worse"
    return Lead(difference=difference, low=low, high=high, verdict=verdict)


def _by_take(family: Evaluation, system: str, metric: Metric) -> dict[str, tuple[str, float]]:
    columns = family.takes
    if metric.key not in columns:
        return {}
    values = columns[metric.key].astype(np.float64)
    return {
        str(columns["take"][row]): (str(columns["piece"][row]), float(values[row]))
        for row in np.flatnonzero((columns["system"] == system) & np.isfinite(values))
    }
