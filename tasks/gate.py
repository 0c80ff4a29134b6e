"""Verb ``gate``: did named figures stay within what params.yaml tolerates, from one version to the next?

Two questions. Of families that were retrained: is a figure over the takes that both versions tested worse by more than
is tolerated? Of takes that came in since: is what promoted weights reach on one worse than on the takes before?
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from tasks.errors import ParamsError
from tasks.metrics.metric import Metric
from tasks.metrics.table import METRICS
from tasks.params import Section
from tasks.score import Score
from tasks.versions.comparison import Comparison
from tasks.versions.differences import Difference, take_of

State = Literal["held", "fell", "unsure", "missing"]
_METRICS = {metric.key: metric for metric in METRICS}


class Rule(Section):
    """What is tolerated of one figure; None leaves that question out."""

    worse_by: float | None  # at most, in the figure's unit
    limit: float | None  # that the figure may not be worse than


class GateParams(Section):
    """The figures that decide, each as FAMILY/SYSTEM/FIGURE."""

    figures: Mapping[str, Rule]  # of families that were retrained: means over the takes that both versions tested
    new_takes: Mapping[str, Rule]  # of promoted weights, on each take that came in
    when_unsure: Literal["hold", "fall"]  # where a mean is worse by more than is tolerated, and it may be luck


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What became of one rule.

    Attributes:
        rule: ``FAMILY/SYSTEM/FIGURE``.
        of: ``retrained``, or the take or view that came in.
        state: ``unsure`` where the mean is worse by more than is tolerated and its interval holds 0; ``missing`` where
            the versions, or the takes, have no such figure to compare.
        words: found and expected, for people.
    """

    rule: str
    of: str
    state: State
    words: str

    def __str__(self) -> str:
        return f"{self.rule} of {self.of}: {self.words}"


@dataclass(frozen=True, kw_only=True)
class Gate:
    """All decisions."""

    decisions: tuple[Decision, ...]
    when_unsure: Literal["hold", "fall"]

    @property
    def fell(self) -> tuple[Decision, ...]:
        """Those that count against the new version."""
        bad = ("fell", "unsure") if self.when_unsure == "fall" else ("fell",)
        return tuple(one for one in self.decisions if one.state in bad)

    @property
    def holds(self) -> bool:
        """Whether the new version passes."""
        return not self.fell

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON's own types."""
        return {"holds": self.holds, "decisions": [asdict(one) for one in self.decisions]}


def decide(comparison: Comparison, scores: Iterable[Score], params: GateParams, *, families: Iterable[str]) -> Gate:
    """Hold the new version of a comparison against the rules.

    Args:
        comparison: of the two versions.
        scores: what promoted weights reached in the new one.
        params: the rules.
        families: of the pipeline.

    Raises:
        ParamsError: there is no rule; or one names no family, or a figure that has no better and worse.
    """
    if not params.figures and not params.new_takes:
        raise ParamsError("params.yaml: gate has no rule: name figures as FAMILY/SYSTEM/FIGURE under gate.figures")
    known = set(families)
    rows = {f"{row.family}/{row.system}/{row.metric}": row for row in comparison.differences}
    decisions: list[Decision] = []
    for name, rule in params.figures.items():
        metric = _checked(name, rule, known, "figures")
        decisions.append(_of_version(name, rule, metric, rows.get(name)))
    arrived = set(comparison.added)
    scored = list(scores)
    for name, rule in params.new_takes.items():
        metric = _checked(name, rule, known, "new_takes")
        decisions += _of_takes(name, rule, metric, scored, arrived)
    return Gate(decisions=tuple(decisions), when_unsure=params.when_unsure)


def _checked(name: str, rule: Rule, families: set[str], group: str) -> Metric:
    family, _, rest = name.partition("/")
    metric = _METRICS.get(rest.partition("/")[2])
    where = f"params.yaml: gate.{group}.{name}"
    if metric is None or family not in families:
        raise ParamsError(f"{where}: expected FAMILY/SYSTEM/FIGURE of a family in `families` and a figure as in docs")
    if metric.direction == "none":
        raise ParamsError(f"{where}: no value of {metric.key} is better than another: it cannot decide")
    if rule.worse_by is None and rule.limit is None:
        raise ParamsError(f"{where}: worse_by and limit are both empty: expected one of them")
    return metric


def _of_version(name: str, rule: Rule, metric: Metric, row: Difference | None) -> Decision:
    if row is None:
        return Decision(rule=name, of="retrained", state="missing", words="not in both versions")
    found = f"{row.old:.{metric.digits}f} to {row.new:.{metric.digits}f} over {row.n_pieces} pieces"
    if rule.limit is not None and _worse(metric, rule.limit, row.new) > 0:
        words = f"{found}, expected no worse than {rule.limit:g}"
        return Decision(rule=name, of="retrained", state="fell", words=words)
    if rule.worse_by is not None and _worse(metric, row.old, row.new) > rule.worse_by:
        state: State = "fell" if row.verdict == "worse" else "unsure"
        luck = "" if state == "fell" else "; its interval holds 0: it may be luck"
        words = f"{found}, worse by more than {rule.worse_by:g}{luck}"
        return Decision(rule=name, of="retrained", state=state, words=words)
    return Decision(rule=name, of="retrained", state="held", words=found)


def _of_takes(name: str, rule: Rule, metric: Metric, scores: Sequence[Score], arrived: set[str]) -> Iterator[Decision]:
    family, system, key = name.split("/", 2)
    own = [
        row for row in scores if (row.family, row.system) == (family, system) and key in row.figures and not row.apart
    ]
    before = [row.figures[key] for row in own if take_of(row.take) not in arrived]
    usual = float(np.mean(before)) if before else None
    for row in own:
        if take_of(row.take) not in arrived:
            continue
        value = row.figures[key]
        found = f"{value:.{metric.digits}f}"
        if usual is not None:
            found += f" beside {usual:.{metric.digits}f} on {len(before)} takes or views before"
        state: State = "held"
        if rule.limit is not None and _worse(metric, rule.limit, value) > 0:
            state, found = "fell", f"{found}, expected no worse than {rule.limit:g}"
        elif rule.worse_by is not None and usual is None:
            state, found = "missing", f"{found}: no take before to hold it against"
        elif rule.worse_by is not None and usual is not None and _worse(metric, usual, value) > rule.worse_by:
            state, found = "fell", f"{found}, worse by more than {rule.worse_by:g}"
        yield Decision(rule=name, of=row.take, state=state, words=found)


def _worse(metric: Metric, old: float, new: float) -> float:
    """Return by how much a figure is worse; below 0 where it is better."""
    return metric.cost(new) - metric.cost(old)
