"""The last step: the phases of all windows together give delays and drift, or a curve, and their error."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tasks.clock.corrections import MIN_CURVE_WINDOWS, Correction, curve_correction, line_correction
from tasks.clock.ends import Ends, listen_at_the_ends
from tasks.clock.fit import Span, Times, WindowTable
from tasks.clock.lines import Polished, envelope, find_lines, polish, robust_line
from tasks.clock.spectra import Spectra, correlation, frequencies_hz
from tasks.clock.windows import (
    AGREES_S,
    BESIDE_S,
    BIN_S,
    CHANCE_HEIGHT,
    HOP_S,
    JUMP_COST,
    MAX_WINDOWS,
    REACH_S,
    SIGNIFICANT,
    WINDOW_S,
    Pair,
    Stretch,
    Windows,
    correlate_along,
    window_middles,
    window_weights,
)

_MIN_USED = 3  # windows of a lock
_FIT_TOLERANCE_S = 0.00025
_POLARITY_HZ = 1500.0
_CURVE_RMS_S, _CURVE_CORRELATION = 0.00003, 0.5  # of a line's residuals, over which a curve is fitted
_SHARP_S = 0.00001  # a map that moves less within a window need not be correlated along again
_MIN_ERROR_MS = 0.02  # reflections and filters move all windows together, which their scatter does not show


@dataclass(frozen=True, kw_only=True)
class Settled:
    """A map after its last fit, and the evidence for it.

    Attributes:
        spans: the map; none where too few windows agree.
        windows: the evidence over time.
        coverage: part of the windows that the fit rests on.
        agreement: part of the significant windows that it rests on.
        n_used: how many it rests on.
        spread: part of the shared time from the first to the last of them.
        error_ms: a bound of the fit's own error, and of where windows stand that contradict it, at the ends short
            ones too.
        heard_s: from where to where it is known to hold, in the other's time: where both have sound.
        line_height: mean of the windows' highest peaks along it, less that of chance.
        height: of the correlation of all windows together, each moved to the fit.
        near_height: the same, at most elsewhere within the reach.
    """

    spans: tuple[Span, ...]
    windows: WindowTable
    coverage: float
    agreement: float
    n_used: int
    spread: float
    error_ms: float
    heard_s: tuple[float, float] | None
    line_height: float
    height: float
    near_height: float


def settle(pair: Pair, stretches: list[Stretch], along: Windows | None) -> Settled:
    """Fit delays, drift and, where the residuals show one, a curve to the phases of all windows together.

    Args:
        pair: the recordings.
        stretches: the map to begin with, in order of time.
        along: windows that were correlated along it already, if any.
    """
    middle, owner, window_s = _windows_of(stretches)
    is_curved = any(len(stretch.knot_s) > 2 for stretch in stretches)
    base = [_straightened(stretch) for stretch in stretches]
    for final in (False, True):
        windows = along if along is not None else correlate_along(pair, stretches, middle, window_s)
        along = None
        if windows.agrees.sum() < max(_MIN_USED, len(stretches) + 1):
            return _unsettled(windows)
        offset = _delay_of(stretches, middle, owner) - _delay_of(base, middle, owner)
        model = curve_correction(stretches, middle, owner) if is_curved else line_correction(middle, owner)
        fitted, used = _fit(pair, model, windows, offset)
        if not is_curved and _needs_curve(fitted.lag_s - model.basis @ fitted.values, used):
            is_curved = True
            model = curve_correction(stretches, middle, owner)
            fitted, used = _fit(pair, model, windows, offset)
        before, stretches = stretches, [model.applied(one, number, fitted.values) for number, one in enumerate(base)]
        # Pieces of a window that followed the map before would now stand otherwise to each other.
        if final or _smear_s(before, stretches, middle, owner, window_s) < _SHARP_S:
            break
    residual = fitted.lag_s - model.basis @ fitted.values
    residual = np.where(used, residual, np.where(windows.is_significant, windows.lag_s, np.nan))
    heights = envelope(windows.correlation, round(BIN_S * pair.rate))
    weight = window_weights(pair, windows.time_s, window_s)
    line, _ = find_lines(heights, windows.time_s, weight=weight, bin_s=BIN_S, max_slope=0.0, apart_s=BESIDE_S)
    height, near_height = _contrast(pair, windows, offset, model.basis @ fitted.values)
    deviation = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", model.basis, fitted.covariance, model.basis), 0))
    error_ms = float(2e3 * deviation.max() + _MIN_ERROR_MS)
    agrees_s = float(middle[used][0] - window_s / 2), float(middle[used][-1] + window_s / 2)
    ends = listen_at_the_ends(pair, stretches, agrees_s)
    return Settled(
        spans=_spans(stretches, pair.other.duration_s),
        windows=_with_ends(_table(windows, residual, used), ends),
        coverage=float(used.mean()),
        agreement=float(used.sum() / max(int(windows.is_significant.sum()), 1)),
        n_used=int(used.sum()),
        spread=float(np.ptp(middle[used]) + window_s) / (stretches[-1].end_s - stretches[0].start_s),
        error_ms=max(
            error_ms,
            1e3 * _contradiction_s(windows, used),
            *(error_ms + 1e3 * (np.abs(ends.lag_s) + AGREES_S)).tolist(),
        ),
        heard_s=ends.heard_s,
        line_height=line.height - CHANCE_HEIGHT,
        height=height,
        near_height=near_height,
    )


def _contradiction_s(windows: Windows, used: NDArray[np.bool_]) -> float:
    """Return how far from the map windows stand that contradict it by more than chance; 0 where none do.

    A window that prefers a tone's period beside the map is nearly as high at the map. Neighbours that stand at the same
    place may be the side of a step that is too short to be settled.
    """
    rows = np.flatnonzero(windows.is_significant)
    against = ~used[rows] & (np.abs(windows.lag_s[rows]) > AGREES_S)
    gain = np.where(against, windows.height[rows] - windows.at_map[rows], 0.0)
    parts = np.split(np.arange(len(rows)), np.flatnonzero(np.abs(np.diff(windows.lag_s[rows])) > BESIDE_S) + 1)
    away = [np.abs(windows.lag_s[rows[part]]).max() for part in parts if gain[part].sum() > JUMP_COST]
    return float(max(away, default=0.0))


def _smear_s(
    before: list[Stretch], after: list[Stretch], middle: Times, owner: NDArray[np.int64], window_s: float
) -> float:
    """Return how far two maps differ within a window, at most."""
    edges = [_delay_of(after, middle + side, owner) - _delay_of(before, middle + side, owner) for side in (0, window_s)]
    return float(np.abs(edges[1] - edges[0]).max())


def _contrast(pair: Pair, windows: Windows, offset_s: Times, fitted_s: Times) -> tuple[float, float]:
    """Return how high the windows correlate together at the fit, and at most elsewhere within the reach.

    A frequency's weight is how well the windows agree there, and not its level: a tone's period beside the truth,
    loud low tones correlate nearly as well as at it.
    """
    at_fit_s = (fitted_s - offset_s)[windows.is_significant]  # whether they agree with the fit or not
    turn = np.exp(2j * np.pi * np.outer(at_fit_s, frequencies_hz(pair.rate))).astype(np.complex64)
    turn *= windows.spectra[windows.is_significant]
    agreement = turn.sum(axis=0) / np.maximum(np.abs(turn).sum(axis=0), np.float32(1e-20))
    together = np.abs(correlation(agreement[None], pair.rate, reach_s=REACH_S)[0])
    middle = len(together) // 2
    away = np.abs(np.arange(len(together)) - middle) > BESIDE_S * pair.rate
    return float(together[middle - 1 : middle + 2].max()), float(together[away].max())


def _unsettled(windows: Windows) -> Settled:
    nothing = np.zeros(len(windows.time_s), bool)
    return Settled(
        spans=(),
        windows=_table(windows, np.where(windows.is_significant, windows.lag_s, np.nan), nothing),
        coverage=0.0,
        agreement=float(windows.agrees.sum() / max(int(windows.is_significant.sum()), 1)),
        n_used=int(windows.agrees.sum()),
        spread=0.0,
        error_ms=np.nan,
        heard_s=None,
        line_height=0.0,
        height=0.0,
        near_height=0.0,
    )


def _table(windows: Windows, residual_s: Times, used: NDArray[np.bool_]) -> WindowTable:
    weight = np.minimum(windows.height / (2 * SIGNIFICANT), 1.0)
    return WindowTable(time_s=windows.time_s, residual_ms=residual_s * 1e3, weight=weight, used=used)


def _with_ends(table: WindowTable, ends: Ends) -> WindowTable:
    """Put windows at the ends that contradict the fit among the others, in order of time."""
    time_s, lag_s = ends.against_s, ends.lag_s
    if not len(time_s):
        return table
    order = np.argsort(np.append(table.time_s, time_s), kind="stable")
    return WindowTable(
        time_s=np.append(table.time_s, time_s)[order],
        residual_ms=np.append(table.residual_ms, 1e3 * lag_s)[order],
        weight=np.append(table.weight, np.ones(len(time_s)))[order],
        used=np.append(table.used, np.zeros(len(time_s), bool))[order],
    )


def _straightened(stretch: Stretch) -> Stretch:
    """Return the line through a stretch's knots."""
    slope, delay = np.polyfit(stretch.knot_s, stretch.delay_s, 1)
    edges = np.array([stretch.start_s, stretch.end_s])
    return replace(stretch, knot_s=edges, delay_s=delay + slope * edges)


def _delay_of(stretches: list[Stretch], time_s: Times, owner: NDArray[np.int64]) -> Times:
    delay = np.empty(len(time_s))
    for number, stretch in enumerate(stretches):
        delay[owner == number] = stretch.delay_at(time_s[owner == number])
    return delay


def _windows_of(stretches: list[Stretch]) -> tuple[Times, NDArray[np.int64], float]:
    """Return middles of windows that lie inside one stretch each, the number of that stretch, and their length."""
    total = stretches[-1].end_s - stretches[0].start_s
    _, window_s = window_middles(stretches[0].start_s, stretches[-1].end_s)
    hop_s = max(window_s * HOP_S / WINDOW_S, total / MAX_WINDOWS)
    middles, owners = [], []
    for number, stretch in enumerate(stretches):
        length = stretch.end_s - stretch.start_s
        count = max(1, int((length - window_s) / hop_s) + 1)
        first = stretch.start_s + (length - (count - 1) * hop_s) / 2
        middles.append(first + hop_s * np.arange(count))
        owners.append(np.full(count, number))
    return np.concatenate(middles), np.concatenate(owners), window_s


def _fit(pair: Pair, model: Correction, windows: Windows, offset_s: Times) -> tuple[Polished, NDArray[np.bool_]]:
    """Fit a model, first to the windows' peaks, then to their phases; return which windows it rests on."""
    frequency = frequencies_hz(pair.rate)
    turned = windows.spectra * np.exp(-2j * np.pi * np.outer(offset_s, frequency)).astype(np.complex64)
    used = windows.agrees
    lag = windows.lag_at_map_s + offset_s
    noise_s = 0.25 / pair.rate  # of a peak that is read to a sample
    start = robust_line(
        lag[used], windows.at_map[used] ** 2, model.basis[used], tolerance_s=AGREES_S, prior=model.prior * noise_s**2
    )
    polarity = _polarity(turned[used], frequency, model.basis[used] @ start)
    values, scale = start, 1.0
    for tolerance_s in (AGREES_S, _FIT_TOLERANCE_S):
        fitted = polish(
            turned[used], frequency, model.basis[used], values, prior=model.prior * scale, polarity=polarity
        )
        values = fitted.values
        everywhere = polish(
            turned, frequency, model.basis, values, prior=model.prior * scale, polarity=polarity, steps=0
        )
        away = np.abs(everywhere.lag_s - model.basis @ values)
        kept = windows.agrees & (everywhere.stiffness > 0) & (away < tolerance_s)
        if kept.sum() >= max(_MIN_USED, np.linalg.matrix_rank(model.basis[kept])):
            used = kept
        scale = fitted.variance
    fitted = polish(turned[used], frequency, model.basis[used], values, prior=model.prior * scale, polarity=polarity)
    everywhere = polish(
        turned, frequency, model.basis, fitted.values, prior=model.prior * scale, polarity=polarity, steps=0
    )
    return replace(everywhere, covariance=fitted.covariance), used


def _polarity(spectra: Spectra, frequency_hz: NDArray[np.float64], lag_s: Times) -> int:
    """Return -1 when one recording has the opposite polarity, else 1."""
    turned = spectra * np.exp(2j * np.pi * np.outer(lag_s, frequency_hz)).astype(np.complex64)
    # Low frequencies decide, which an error of the lags does not turn.
    return 1 if turned.real[:, frequency_hz < _POLARITY_HZ].sum() >= 0 else -1


def _needs_curve(residual_s: Times, used: NDArray[np.bool_]) -> bool:
    """Whether windows far enough apart to share no sound still leave the line together."""
    rows = np.flatnonzero(used)
    if len(rows) < max(MIN_CURVE_WINDOWS, len(used) / 2):
        return False
    left = residual_s[rows] - residual_s[rows].mean()
    near = left[:-2] * left[2:]
    spread = float(np.mean(left**2))
    return spread > _CURVE_RMS_S**2 and float(near.mean()) > _CURVE_CORRELATION * spread


def _spans(stretches: list[Stretch], duration_s: float) -> tuple[Span, ...]:
    """Return the chain as spans from the recording's begin to its end."""
    spans = []
    for number, stretch in enumerate(stretches):
        knots = stretch.knot_s.copy()
        knots[0] = 0.0 if number == 0 else stretch.start_s
        knots[-1] = duration_s if number == len(stretches) - 1 else stretch.end_s
        delays = stretch.delay_at(knots)
        for first, last, delay, next_delay in zip(knots[:-1], knots[1:], delays[:-1], delays[1:], strict=True):
            drift = (next_delay - delay) / (last - first)
            spans.append(
                Span(start_s=float(first), end_s=float(last), delay_s=float(delay), drift_ppm=float(drift * 1e6))
            )
    return tuple(spans)
