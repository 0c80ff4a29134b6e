"""The result in words: the best system of a kind of data beside the best baseline, and the takes that tell most."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.metrics.metric import Metric
from tasks.page.scores import UNRANKED_ROLES, Evaluation, Lead, lead_over, standing
from tasks.page.text import number

System = tuple[Evaluation, str]


@dataclass(frozen=True, kw_only=True)
class Headline:
    """What one figure says about one kind of data.

    Attributes:
        where: the kind's title.
        name: the kind, for an address.
        metric: the figure.
        system: the best model.
        family: its family.
        value: its mean over the test takes.
        baseline: the best baseline; empty where there is none.
        baseline_value: its mean; None where there is no baseline.
        lead: of the model over that baseline; None where they share no two pieces.
        n_takes: test takes with the figure.
        n_pieces: pieces of these.
    """

    where: str
    name: str
    metric: Metric
    system: str
    family: str
    value: float
    baseline: str
    baseline_value: float | None
    lead: Lead | None
    n_takes: int
    n_pieces: int

    @property
    def stands(self) -> str:
        """Say how the best model stands beside the best baseline, to the digits that are shown."""
        if self.baseline_value is None:
            return "is best, and there is no baseline beside it"
        shown = number(self.baseline_value, self.metric.digits)
        if shown == number(self.value, self.metric.digits):
            return f"is no better than the best baseline, {self.baseline}"
        if self.metric.cost(self.value) > self.metric.cost(self.baseline_value):
            return f"is the best model, and worse than a baseline: {self.baseline} has {shown}"
        return f"is best; the best baseline, {self.baseline}, has {shown}"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A test take that is shown.

    Attributes:
        name: of the take, or of its view.
        rank: why it is shown: ``best of 12 by Onset F1 of NET``; empty where nothing was measured.
    """

    name: str
    rank: str


def best_system(evaluations: Sequence[Evaluation], metric: Metric, *, is_baseline: bool) -> System | None:
    """Return the best model, or the best baseline, by its mean; None where none has the figure."""
    ranked = [
        (family, system)
        for family in evaluations
        for system in family.figures
        if family.is_baseline(system) == is_baseline
        and family.role(system) not in UNRANKED_ROLES
        and family.value(system, metric) is not None
    ]
    return min(ranked, key=lambda one: standing(one[0], one[1], metric), default=None)


def headline(
    where: str, name: str, evaluations: Sequence[Evaluation], metric: Metric, *, n_resamples: int, seed: int
) -> Headline | None:
    """Return what a figure says about a kind of data; None where no model has it.

    Args:
        where: the kind's title.
        name: the kind.
        evaluations: of its families.
        metric: the figure.
        n_resamples: draws of the interval.
        seed: of the draws.
    """
    best = best_system(evaluations, metric, is_baseline=False)
    if best is None:
        return None
    baseline = best_system(evaluations, metric, is_baseline=True)
    takes = best[0].by_take(best[1], metric)
    return Headline(
        where=where,
        name=name,
        metric=metric,
        system=best[1],
        family=best[0].family,
        value=best[0].value(best[1], metric) or 0.0,
        baseline=baseline[1] if baseline is not None else "",
        baseline_value=baseline[0].value(baseline[1], metric) if baseline is not None else None,
        lead=lead_over(best, baseline, metric, n_resamples=n_resamples, seed=seed) if baseline is not None else None,
        n_takes=len(takes),
        n_pieces=len({piece for piece, _ in takes.values()}),
    )


def choose(names: Sequence[str], evaluations: Sequence[Evaluation], metric: Metric, *, n_shown: int) -> list[Choice]:
    """Choose test takes: the best, the median and the worst of the best model, and others evenly between.

    Args:
        names: of all test takes, as in ``takes.parquet``.
        evaluations: of the families that work on them.
        metric: the figure that takes are sorted by.
        n_shown: how many at most. One is the best, two are the best and the worst.

    Returns:
        The best first; in order of name where no model has the figure.
    """
    best = best_system(evaluations, metric, is_baseline=False)
    values: Mapping[str, tuple[str, float]] = best[0].by_take(best[1], metric) if best is not None else {}
    if best is None or not any(name in values for name in names):
        return [Choice(name=name, rank="") for name in sorted(names)[:n_shown]]
    ranked = sorted(names, key=lambda name: (metric.cost(values[name][1]) if name in values else math.inf, name))
    n, by = len(ranked), f"of {len(ranked)} by {metric.label} of {best[1]}"
    median = (n - 1) // 2
    evenly = (round(place * (n - 1) / max(1, n_shown - 1)) for place in range(n_shown))
    shown = list(dict.fromkeys((0, n - 1, median, *evenly, *range(n))))[:n_shown]
    words = {median: "median", n - 1: "worst", 0: "best"}
    return [
        Choice(name=ranked[place], rank=f"{words.get(place, f'number {place + 1}')} {by}" if n > 1 else "")
        for place in sorted(shown)
    ]
