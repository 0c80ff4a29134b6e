"""Lines, steps and slow curves through the evidence of windows for a clock.

A window's evidence is its correlation over lags (search), or its cross-spectrum (polish). A model of the clock's
distance from a map is linear: ``basis @ values``, a row of the basis a window. A line has the columns 1 and t; a
dropped block adds a column that is 1 after it; a wandering clock has a column a knot and a penalty on bends.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.clock.spectra import Spectra, Times

_MAX_STEPS = 12
_CLOSE_S = 1e-9
_SLOPES_A_SIDE = 60  # most slopes that the search tries to either side


@dataclass(frozen=True, kw_only=True)
class Line:
    """A straight line through windows: lag = offset_s + slope * (time - middle_s).

    Attributes:
        offset_s: at the middle.
        slope: seconds a second.
        middle_s: of the windows' time.
        height: weighted mean over the windows of the correlation along the line.
    """

    offset_s: float
    slope: float
    middle_s: float
    height: float


def envelope(correlation: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Return the largest magnitude in every ``width`` lags, symmetric around lag 0; drops what is left over.

    Magnitudes, because a microphone may be wired the other way round.
    """
    n, n_lags = correlation.shape
    k = (n_lags - width) // 2 // width  # whole bins to either side of the middle one
    middle = n_lags // 2
    first = middle - width // 2 - k * width
    part = np.abs(correlation[:, first : first + (2 * k + 1) * width])
    return np.asarray(part.reshape(n, 2 * k + 1, width).max(axis=2))


def find_lines(
    heights: NDArray[np.float32], time_s: Times, *, weight: Times, bin_s: float, max_slope: float, apart_s: float
) -> tuple[Line, Line]:
    """Find the line along which the windows' correlations are highest on the mean, and the best one elsewhere.

    Args:
        heights: (n, 2 k + 1) of `envelope`; the middle bin is lag 0.
        time_s: (n,) of the windows.
        weight: (n,) of the windows, not all 0.
        bin_s: width of a bin.
        max_slope: largest slope tried.
        apart_s: the other line's distance at the middle, at least.
    """
    n, n_bins = heights.shape
    middle = float(time_s.mean())
    half = max(float(np.abs(time_s - middle).max()), 1e-9)
    n_side = int(min(np.ceil(max_slope * half / bin_s), _SLOPES_A_SIDE)) if n > 1 else 0
    slopes = np.arange(-n_side, n_side + 1) * (bin_s / half)
    shifts = np.rint(np.outer(slopes, time_s - middle) / bin_s).astype(np.int64)  # (slope, window)
    reach = int(np.abs(shifts).max(initial=0))
    padded = np.pad(heights, ((0, 0), (reach, reach)))
    total = np.zeros((len(slopes), n_bins), np.float32)
    for row in range(n):
        view = np.lib.stride_tricks.sliding_window_view(padded[row], n_bins)
        total += np.float32(weight[row]) * view[reach + shifts[:, row]]
    total /= np.float32(weight.sum())
    best = np.unravel_index(int(np.argmax(total)), total.shape)
    away = np.where(np.abs(np.arange(n_bins) - best[1]) * bin_s > apart_s, total, -np.inf)
    other = np.unravel_index(int(np.argmax(away)), total.shape)
    first, second = (
        Line(
            offset_s=float((column - n_bins // 2) * bin_s),
            slope=float(slopes[row]),
            middle_s=middle,
            height=float(total[row, column]),
        )
        for row, column in (best, other)
    )
    return first, second


def find_path(heights: NDArray[np.float32], *, max_step: int, step_cost: float, jump_cost: float) -> NDArray[np.int64]:
    """Find the path through the windows' correlations that is highest, in small steps and few jumps.

    Args:
        heights: (n, n_bins) of `envelope`, in standard deviations.
        max_step: bins between neighbours that are no jump.
        step_cost: of each bin of a step.
        jump_cost: of a jump of any width.

    Returns:
        (n,) bins.
    """
    n, n_bins = heights.shape
    total = heights[0].astype(np.float64)
    came_from = np.empty((n, n_bins), np.int64)
    moves = [move for distance in range(max_step + 1) for move in ({distance, -distance})]
    for row in range(1, n):
        before = np.full(n_bins, total.max() - jump_cost)
        origin = np.full(n_bins, int(np.argmax(total)))
        for move in moves:
            shifted = np.full(n_bins, -np.inf)
            target = slice(max(move, 0), n_bins + min(move, 0))
            shifted[target] = total[max(-move, 0) : n_bins - max(move, 0)] - step_cost * abs(move)
            better = shifted > before
            before[better] = shifted[better]
            origin[better] = np.arange(n_bins)[better] - move
        came_from[row] = origin
        total = before + heights[row]
    path = np.empty(n, np.int64)
    path[-1] = int(np.argmax(total))
    for row in range(n - 1, 0, -1):
        path[row - 1] = came_from[row, path[row]]
    return path


def robust_line(
    lag_s: Times, weight: Times, basis: NDArray[np.float64], *, tolerance_s: float, prior: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Fit a linear model to windows' lags so that a few outliers do no harm (Tukey's weights).

    Args:
        lag_s: (n,).
        weight: (n,).
        basis: (n, p).
        tolerance_s: farther from the model than this a window counts for nothing, however many are as far.
        prior: (p, p) what is known of the values, in units of a window's weight over its variance.
    """
    trust = weight = weight / weight.mean()
    scale = 2 * tolerance_s
    for _ in range(20):
        curvature = (basis * trust[:, None]).T @ basis + prior
        values = np.linalg.lstsq(curvature, basis.T @ (trust * lag_s), rcond=1e-12)[0]
        away = np.abs(lag_s - basis @ values) / scale
        trust = weight * np.where(away < 1, (1 - np.minimum(away, 1) ** 2) ** 2, 1e-6)
        inside = np.abs(lag_s - basis @ values)
        spread = (
            1.4826 * float(np.median(inside[inside < tolerance_s])) if (inside < tolerance_s).any() else tolerance_s
        )
        scale = float(np.clip(6 * spread, 0.02 * tolerance_s, tolerance_s))
    return np.asarray(values)


@dataclass(frozen=True, kw_only=True)
class Polished:
    """A model fitted to the phases of cross-spectra.

    Attributes:
        values: of the model.
        covariance: of the values, if the windows' errors are as large as they look and independent.
        variance: of a window's lag, times its stiffness.
        stiffness: (n,) how sharply each window's correlation peaks, per s^2; 0 for one that is no evidence.
        lag_s: (n,) each window's own lag, to first order around the model.
    """

    values: NDArray[np.float64]
    covariance: NDArray[np.float64]
    variance: float
    stiffness: Times
    lag_s: Times


def polish(
    spectra: Spectra,
    frequency_hz: NDArray[np.float64],
    basis: NDArray[np.float64],
    values: NDArray[np.float64],
    *,
    prior: NDArray[np.float64],
    polarity: int,
    steps: int = _MAX_STEPS,
) -> Polished:
    """Move a model to where the sum of the windows' correlations along it is highest.

    Newton's method on the sum over windows and frequencies of the spectra, each turned by the model's lag and
    weighted by how much the windows agree at its frequency.

    Args:
        spectra: (n, n_frequencies) of the windows that count.
        frequency_hz: (n_frequencies,).
        basis: (n, p).
        values: (p,) start, within half a period of the highest frequencies that matter.
        prior: (p, p) added to the curvature: what is known of the values; 0 for nothing.
        polarity: -1 when one recording is turned upside down.
        steps: most moves; 0 only looks.
    """
    omega = 2 * np.pi * frequency_hz
    scale = np.sqrt(np.square(np.abs(spectra), dtype=np.float32).sum(axis=1, keepdims=True))
    whole = spectra * (polarity / np.maximum(scale, np.float32(1e-20)))
    values = np.array(values, np.float64)
    slope, bend = _slopes(whole, omega, basis @ values)
    for _ in range(steps):
        curvature = (basis * bend[:, None]).T @ basis + prior
        move = np.linalg.lstsq(curvature, basis.T @ slope - prior @ values, rcond=1e-12)[0]
        values += move
        slope, bend = _slopes(whole, omega, basis @ values)
        if np.abs(basis @ move).max(initial=0.0) < _CLOSE_S:
            break
    own = np.where(bend > 0, slope / np.maximum(bend, 1e-12), 0.0)
    n_free = max(len(own) - basis.shape[1], 1)
    variance = float((own**2 * bend).sum() / n_free)
    curvature = (basis * bend[:, None]).T @ basis + prior
    return Polished(
        values=values,
        covariance=np.asarray(np.linalg.pinv(curvature, hermitian=True) * variance, np.float64),
        variance=variance,
        stiffness=bend,
        lag_s=basis @ values + own,
    )


def _slopes(whole: Spectra, omega: NDArray[np.float64], lag_s: Times) -> tuple[Times, Times]:
    """Return how the windows' weighted correlations rise and (at least 0) bend with the lag, at one lag each."""
    turned = whole * np.exp(1j * np.outer(lag_s, omega)).astype(np.complex64)
    agreement = _agreement(turned)
    slope = -(turned.imag @ (omega * agreement).astype(np.float32))
    bend = turned.real @ (omega**2 * agreement).astype(np.float32)
    return slope.astype(np.float64), np.maximum(bend.astype(np.float64), 0.0)


def _agreement(turned: Spectra) -> NDArray[np.float64]:
    """Return for each frequency how well the windows' turned spectra agree, 0 to 1, smoothed over a third octave."""
    summed = turned.real.sum(axis=0).astype(np.float64)
    size = np.abs(turned).sum(axis=0).astype(np.float64)
    n = len(summed)
    below = np.cumsum(np.append(0.0, summed)), np.cumsum(np.append(0.0, size))
    half = np.maximum(np.arange(n) // 8, 4)
    low, high = np.maximum(np.arange(n) - half, 0), np.minimum(np.arange(n) + half + 1, n)
    coherent = (below[0][high] - below[0][low]) / np.maximum(below[1][high] - below[1][low], 1e-20)
    return np.asarray(np.clip(coherent, 0.0, 1.0) ** 2 + 1e-3)
