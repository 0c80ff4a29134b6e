"""What a map is corrected by: a step for each stretch and one drift, or a curve when the clock wanders."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tasks.clock.fit import Times
from tasks.clock.windows import Stretch

MIN_CURVE_WINDOWS = 12
_KNOT_S = 5.0
_BEND_S = 0.001  # second difference of a wandering clock's delay over knots, as it is expected


@dataclass(frozen=True, kw_only=True)
class Correction:
    """A linear model of what straight stretches are moved by.

    Attributes:
        basis: (n, p), a row a window.
        prior: (p, p) precision of what is known beforehand of the values, 1/s^2.
        knot_s: (k,) of a curve; none for lines.
        middle_s: where a line's change of drift moves nothing.
    """

    basis: NDArray[np.float64]
    prior: NDArray[np.float64]
    knot_s: Times
    middle_s: float

    def applied(self, stretch: Stretch, number: int, values: NDArray[np.float64]) -> Stretch:
        """Return a stretch, moved."""
        if not len(self.knot_s):
            change = values[number] + values[-1] * (stretch.knot_s - self.middle_s)
            return replace(stretch, delay_s=stretch.delay_s + change)
        inside = self.knot_s[(self.knot_s > stretch.start_s) & (self.knot_s < stretch.end_s)]
        knots = np.concatenate([[stretch.start_s], inside, [stretch.end_s]])
        count = len(self.knot_s)
        change = np.interp(knots, self.knot_s, values[:count]) + values[count : count + number].sum()
        return replace(stretch, knot_s=knots, delay_s=stretch.delay_at(knots) + change)


def line_correction(middle_s: Times, owner: NDArray[np.int64]) -> Correction:
    """Return a step for each stretch, and one drift for all: they are of one device."""
    steps = (owner[:, None] == np.arange(owner.max() + 1)).astype(np.float64)
    centre = float(middle_s.mean())
    basis = np.column_stack([steps, middle_s - centre])
    return Correction(basis=basis, prior=np.zeros((basis.shape[1],) * 2), knot_s=np.zeros(0), middle_s=centre)


def curve_correction(stretches: list[Stretch], middle_s: Times, owner: NDArray[np.int64]) -> Correction:
    """Return lines between knots, bent as little as the windows allow, and a step at each seam."""
    start, end = stretches[0].start_s, stretches[-1].end_s
    count = max(3, round((end - start) / _KNOT_S) + 1)
    knots = np.linspace(start, end, count)
    spacing = knots[1] - knots[0]
    hats = np.maximum(1 - np.abs(middle_s[:, None] - knots) / spacing, 0)
    steps = (owner[:, None] >= np.arange(1, owner.max() + 1)).astype(np.float64)
    bends = np.diff(np.eye(count), 2, axis=0) * (_KNOT_S / spacing) ** 2
    prior = np.zeros((count + steps.shape[1],) * 2)
    prior[:count, :count] = bends.T @ bends / _BEND_S**2
    return Correction(basis=np.column_stack([hats, steps]), prior=prior, knot_s=knots, middle_s=float(middle_s.mean()))
