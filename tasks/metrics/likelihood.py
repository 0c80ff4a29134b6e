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
_worth = partial(_nats, direction="none", group="What the pictures are worth", source="this project: pictures shuffled")
METRICS = (
    _nats(
        key="nats_per_sample",
        label="NLL",
        direction="lower",
        low=0.0,
        meaning="negative log likelihood of a test sample, given the true samples before it",
    ),
    _above(
        key="nats_above_first",
        label="NLL above it",
        meaning="negative log likelihood less that of the family's first system, over the same takes",
    ),
    _above(key="nats_above_first_low", label="from", meaning="lower end of its 95 % interval over pieces"),
    _above(key="nats_above_first_high", label="to", meaning="upper end of its 95 % interval over pieces"),
    _worth(
        key="nats_other_pictures",
        label="NLL, other pictures",
        meaning="negative log likelihood of a test sample while the pictures of another piece are shown",
        low=0.0,
    ),
    _worth(
        key="picture_worth",
        label="Worth",
        direction="higher",
        meaning="by how much the pictures of another piece raise the negative log likelihood: 0 where the pictures are "
        "ignored",
    ),
    _worth(key="picture_worth_low", label="from", meaning="lower end of its 95 % interval over pieces"),
    _worth(key="picture_worth_high", label="to", meaning="upper end of its 95 % interval over pieces"),
)


def nats_of_segments(nats: NDArray[np.float64], other_pictures: NDArray[np.float64] | None = None) -> dict[str, float]:
    """Return the likelihood of a take from the means of its segments, all of one length.

    Args:
        nats: (S,) with the take's own pictures, or for a system without pictures.
        other_pictures: (S,) with those of another piece; None for a system without pictures.

    Returns:
        `nats_per_sample`, and with other pictures `nats_other_pictures` and `picture_worth`, the difference of both.
        Empty when there is no segment.
    """
    if not len(nats):
        return {}
    figures = {"nats_per_sample": float(nats.mean())}
    if other_pictures is not None:
        figures["nats_other_pictures"] = float(other_pictures.mean())
        figures["picture_worth"] = figures["nats_other_pictures"] - figures["nats_per_sample"]
    return figures
