"""Every metric of the project, collected from beside the functions that compute them.

The page and ``audiate compare`` read this table. Stages up to ``evaluate`` never do: they write figures by key.
"""

from types import MappingProxyType

from tasks.metrics import amplitudes, causality, data, frames, likelihood, notes, separation, sound
from tasks.metrics.metric import Metric

METRICS: tuple[Metric, ...] = (
    *likelihood.METRICS,
    *sound.METRICS,
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
