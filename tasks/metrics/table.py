"""Every metric of the project, collected from beside the functions that compute them.

The page and ``audiate compare`` read this table. Stages up to ``evaluate`` never do: they write figures by key.
"""

from types import MappingProxyType

from tasks.metrics import amplitudes, causality, controls, data, frames, hiss, likelihood, notes, separation, sound
from tasks.metrics.metric import Metric

METRICS: tuple[Metric, ...] = (
    *likelihood.METRICS,
    *controls.METRICS,
    *sound.METRICS,
    *hiss.METRICS,
    *frames.METRICS,
    *notes.METRICS,
    *amplitudes.METRICS,
    *separation.METRICS,
    *causality.METRICS,
    *data.METRICS,
)
"""In the order in which tables show them: those of one `Metric.group` in a table of their own."""

_BY_KEY = MappingProxyType({metric.key: metric for metric in METRICS})


def metric(key: str) -> Metric:
    """Return the metric of a column of ``takes.parquet`` or of a key in ``data/metrics``.

    Raises:
        LookupError: there is none: the column is no figure, or an older version wrote it.
    """
    if key not in _BY_KEY:
        raise LookupError(f"{key!r} is no metric of tasks.metrics.table")
    return _BY_KEY[key]


def within(low: float, high: float, values: tuple[float, float]) -> tuple[float, float]:
    """Cut an interval to what the difference of two values of a metric can be.

    Args:
        low: its lower end.
        high: its upper end.
        values: the smallest and the largest that the metric can have.
    """
    least, largest = values
    return max(low, least - largest), min(high, largest - least)


def reference() -> str:
    """Return ``docs/metrics.md``: every metric with its direction, meaning and source, by group."""
    lines = [
        "# Metrics",
        "",
        "Each figure of `data/metrics`, of `takes.parquet` in `data/evaluated/FAMILY` and of the page, as declared",
        "beside the function that computes it. This file is written from `tasks/metrics/table.py`:",
        "",
        "```sh",
        "python -c 'from tasks.metrics.table import reference; print(reference(), end=\"\")' > docs/metrics.md",
        "```",
        "",
        "Figures of groups of takes stand in `data/metrics` in objects of their own, under the same keys:",
        "`by_players.2`, `by_instrument.vn`, `same_instruments`. The column *better* says which values are: lower,",
        "higher, nearest 0, or none.",
    ]
    for group in dict.fromkeys(one.group for one in METRICS):
        lines += ["", f"## {group or 'Results'}", "", "| key | column | better | measured on | meaning | source |"]
        lines.append("|---|---|---|---|---|---|")
        for one in METRICS:
            if one.group == group:
                label = f"{one.label}, {one.unit}" if one.unit else one.label
                cells = (f"`{one.key}`", label, one.direction, ", ".join(one.kinds), one.meaning, one.source)
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])
