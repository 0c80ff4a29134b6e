"""How probable a system's network finds the reference, sample by sample."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.metric import Metric

_nats = partial(
    Metric,
    unit="nats",
    digits=3,
    kinds=("scores",),
    source="van den Oord et al. 2016: a categorical distribution a sample",
)
_above = partial(_nats, direction="none", group="Beside the family's first system")
METRICS = (
    _nats(
        key="nats_per_sample",
        label="NLL",
        direction="lower",
        meaning="negative log likelihood of a test sample, given the true samples before it",
    ),
    _above(
        key="nats_above_first",
        label="NLL above it",
        meaning="negative log likelihood less that of the family's first system, over the same takes",
    ),
    _above(key="nats_above_first_low", label="from", meaning="lower end of its 95 % interval over pieces"),
    _above(key="nats_above_first_high", label="to", meaning="upper end of its 95 % interval over pieces"),
)


def nats_of_segments(nats: NDArray[np.float64]) -> dict[str, float]:
    """Return `nats_per_sample` of a take from the means (S,) of its segments, all of one length.

    Empty when there is no segment.
    """
    return {"nats_per_sample": float(nats.mean())} if len(nats) else {}
