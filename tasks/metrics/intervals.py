"""Intervals around the difference of two systems, or of two versions of one, over the same takes.

Takes of one piece are alike, so pieces are what is drawn again. The spread of a handful of pieces is itself badly
known, and a plain percentile bootstrap is far too narrow for them. Two reaches are computed here, and the wider one
counts: a bootstrap-t, which follows skew and outliers, and Student's t on the jackknife's standard error, which holds
for few pieces and for pieces of unequal size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.special
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
MIN_GROUPS_TO_RESAMPLE = 6
"""With 5 groups one draw in 625 is five times the same group, with 3 one in 9: such a draw has no spread."""

FEW_GROUPS_CONFIDENCE = 0.985
"""Student's level below that: skewed differences of 3 to 5 pieces fool the 95 % one in up to 13 % of cases."""

TAIL_CONFIDENCE = 0.995
"""Level of the draws' percentile that joint p-values are read from besides: ten of 2000 draws lie beyond it."""

WARINESS = 8.0
"""How much wider a draw of few groups is read: at level 1 - 0.05 / (1 + WARINESS / groups). At 0, skewed differences of
8 pieces with 1 to 5 takes each fool the bootstrap in 8 % of cases."""


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """The mean of each figure's difference over takes, and how well it is known.

    Attributes:
        mean: of the differences (figures,).
        low: lower end of its 95 % interval (figures,); minus infinity with a single group.
        high: upper end (figures,).
        error: standard error that a p-value is read from by Student's distribution (figures,); infinite with a single
            group, 0 where every group has the same difference.
        n_groups: pieces behind it.
    """

    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    error: NDArray[np.float64]
    n_groups: int

    def p_values(self) -> NDArray[np.float64]:
        """Return how likely a difference so large is where there is none (figures,), in [0, 1].

        It is 0 where every group has the same difference, other than 0, and 1 with a single group.
        """
        return np.array([p_value(*pair, self.n_groups - 1) for pair in zip(self.mean, self.error, strict=True)])


def paired_test(
    difference: ArrayLike, groups: Sequence[object] | NDArray[np.generic], *, n_resamples: int, rng: np.random.Generator
) -> PairedTest:
    """Estimate the mean of each figure's difference over takes, with its 95 % interval and its standard error.

    With m the mean over takes, s its group-robust and j its jackknife standard error, an interval is m ± the wider of
    q s and t j: q is a percentile (near the 95th, see `WARINESS`) of abs(m* - m) / s* over draws of groups with
    replacement, from six groups on; t is Student's at (groups - 1) degrees of freedom. All figures share the draws.
    The error is the largest that the interval and a percentile near the 99.5th stand for: skewed differences have
    longer tails than Student's distribution.

    Of 1,000 pairs without a difference at most 6 % are called different, with 3 to 60 pieces, one to five takes
    each, normal, heavy-tailed or skewed; most often 2 to 4 %. Two pieces give almost no evidence: t is 42 there.

    Args:
        difference: new minus old (takes,) or (takes, figures), finite.
        groups: what each take belongs to, its piece (takes,).
        n_resamples: draws; 2000 steady the ends to a few percent of the interval's length.
        rng: makes the draws, so that the same generator gives the same intervals.

    Raises:
        ValueError: lengths differ, there is no take, or a difference is not finite.

    Source:
        Davison & Hinkley 1997, section 5.2.2 (bootstrap-t); Cameron, Gelbach & Miller 2008 (few groups); MacKinnon,
        Nielsen & Webb 2023 (jackknife for groups of unequal size).
    """
    values = np.asarray(difference, np.float64)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or not len(values) or len(values) != len(groups):
        raise ValueError(f"differences have shape {values.shape}, groups {len(groups)}: expected one row for each take")
    if not np.isfinite(values).all():
        raise ValueError(f"take {int(np.argmin(np.isfinite(values).all(axis=1)))}: difference is not finite")
    _, group = np.unique(np.asarray([str(name) for name in groups]), return_inverse=True)
    sizes = np.bincount(group).astype(np.float64)  # (G,)
    n_groups, mean = len(sizes), values.mean(axis=0)
    if n_groups < 2:
        infinite = np.full(len(mean), np.inf)
        return PairedTest(mean=mean, low=-infinite, high=infinite, error=infinite, n_groups=1)
    centred = np.zeros((n_groups, len(mean)))  # (G, F) sums of deviations from the mean
    np.add.at(centred, group, values - mean)
    reach = _student_reach(centred, sizes, FEW_GROUPS_CONFIDENCE)
    error = reach / _student(n_groups, CONFIDENCE)
    if n_groups >= MIN_GROUPS_TO_RESAMPLE:
        drawn, far = _bootstrap_reach(centred, sizes, n_resamples, rng)
        # A figure that moved in one or two pieces alone has too many draws without spread to be read from them.
        reach = np.where(np.isfinite(drawn), np.maximum(_student_reach(centred, sizes, CONFIDENCE), drawn), reach)
        error = np.maximum(reach / _student(n_groups, CONFIDENCE), np.where(np.isfinite(far), far, error))
    exact = np.abs(centred).max(axis=0) <= 1e-12 * np.maximum(1e-300, np.abs(values).max(axis=0))
    reach[exact] = error[exact] = 0.0
    return PairedTest(mean=mean, low=mean - reach, high=mean + reach, error=error, n_groups=n_groups)


def p_value(difference: float, error: float, n_freedom: int) -> float:
    """Return Student's two-sided p-value of a difference with a standard error; 1 without any freedom."""
    if difference == 0 or n_freedom < 1 or not np.isfinite(error):
        return 1.0
    return 0.0 if error == 0 else 2 * float(scipy.special.stdtr(n_freedom, -abs(difference) / error))


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Return p-values that hold jointly: with none of the differences real, one is below 0.05 in 5 % of cases at most.

    Source:
        Holm 1979: the k-th smallest of m is multiplied by m - k + 1, and is no smaller than the one before it.
    """
    values = np.asarray(p, np.float64)
    order = np.argsort(values, kind="stable")
    raised = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    joint = np.empty(len(values))
    joint[order] = np.minimum(1.0, raised)
    return joint


def least_difference(error: float, n_freedom: int, n_figures: int) -> float:
    """Return above which size a difference is called one beside the others; infinity without any freedom.

    Args:
        error: its standard error.
        n_freedom: degrees of freedom of that error.
        n_figures: that are called together, itself included.
    """
    if n_freedom < 1:
        return np.inf
    return error * float(scipy.special.stdtrit(n_freedom, 1 - (1 - CONFIDENCE) / (2 * n_figures)))


def paired_interval(
    a: ArrayLike,
    b: ArrayLike,
    groups: Sequence[object] | NDArray[np.generic],
    *,
    n_resamples: int,
    rng: np.random.Generator,
) -> tuple[float, float, float]:
    """Estimate the mean of a - b over takes, with its 95 % interval, as `paired_test` does for many figures.

    Args:
        a: figures of one system (n,), one for each take; higher or lower may be better.
        b: figures of the other for the same takes in the same order.
        groups: what each take belongs to, its piece (n,).
        n_resamples: draws.
        rng: makes the draws.

    Returns:
        Mean difference, lower end, upper end.

    Raises:
        ValueError: lengths differ, a figure is not finite, or there are fewer than two groups: their
            spread is unknown.
    """
    found = paired_test(np.subtract(a, b), groups, n_resamples=n_resamples, rng=rng)
    if found.n_groups < 2:
        raise ValueError("takes come from 1 piece, expected at least 2: their spread is unknown")
    return float(found.mean[0]), float(found.low[0]), float(found.high[0])


def _student(n_groups: int, level: float) -> float:
    return float(scipy.special.stdtrit(n_groups - 1, (1 + level) / 2))


def _student_reach(centred: NDArray[np.float64], sizes: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    n_groups = len(sizes)
    # Without group g the mean moves by its summed deviation over the number of takes that are left.
    moved = centred / (sizes.sum() - sizes)[:, None]
    error = np.sqrt((n_groups - 1) / n_groups * np.square(moved).sum(axis=0))
    reach: NDArray[np.float64] = _student(n_groups, level) * error
    return reach


def _bootstrap_reach(
    centred: NDArray[np.float64], sizes: NDArray[np.float64], n_resamples: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the reach at the level of an interval, and the standard error that the far tail stands for."""
    n_groups = len(sizes)
    picks = rng.integers(n_groups, size=(n_resamples, n_groups)) + n_groups * np.arange(n_resamples)[:, None]
    times = np.bincount(picks.ravel(), minlength=n_groups * n_resamples).reshape(n_resamples, n_groups).astype(float)
    n_takes = (times @ sizes)[:, None]  # (R, 1)
    moved = times @ centred / n_takes  # (R, F): how far each draw's mean is from the mean of all
    # The summed squares of what is left of each drawn group once that draw's own mean is taken off.
    left = times @ np.square(centred) - 2 * moved * (times @ (centred * sizes[:, None]))
    left += np.square(moved) * (times @ np.square(sizes))[:, None]
    scale = n_groups / (n_groups - 1)
    errors = np.sqrt(scale * np.maximum(left, 0.0)) / n_takes
    error = np.sqrt(scale * np.square(centred).sum(axis=0)) / sizes.sum()  # (F,)
    # A draw without spread has no finite error of its own: it counts as infinitely far.
    far = np.full(moved.shape, np.inf)
    np.divide(np.abs(moved), errors, out=far, where=errors > 1e-6 * error)
    levels = [1 - (1 - level) / (1 + WARINESS / n_groups) for level in (CONFIDENCE, TAIL_CONFIDENCE)]
    near, tail = np.quantile(far, levels, axis=0, method="higher")
    reach, tail_error = np.full((2, len(error)), np.inf)
    np.multiply(near, error, out=reach, where=np.isfinite(near))
    np.multiply(tail, error / _student(n_groups, TAIL_CONFIDENCE), out=tail_error, where=np.isfinite(tail))
    return reach, tail_error
