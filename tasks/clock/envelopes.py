"""Two clocks by when something happens, where signals cannot be compared: a film and sound, or notes and sound.

Onset functions at 100 Hz are correlated as a whole, as those of sound are (`onsets`), then in windows; the windows'
lags are fitted with a line. That is good to some milliseconds, so the error bar is wide. The conditions of a lock are
those of sound: the best place must stand out from chance and from its rivals, and the windows must agree with it.
"""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tasks.clock.fit import ClockFit, Method, Rival, Span, Times, WindowTable
from tasks.clock.lines import robust_line
from tasks.clock.onsets import FLUX_RATE, find_places
from tasks.params import Section

_N_PLACES = 8
_WINDOW_S, _HOP_S = 8.0, 4.0
_REACH_S = 0.15  # around the place, in which a window's own lag is looked for
_AGREES_S = 0.05
_SIGNIFICANT = 3.0  # standard deviations of a window's own correlations; a lower peak is no evidence
_DRIFT_SPREAD = 150e-6  # of clocks, before anything is known


class EnvelopeParams(Section):
    """What evidence a lock needs when only onsets are compared.

    Attributes:
        max_drift_ppm: largest drift that is looked for, parts in a million.
        min_overlap_s: shortest shared time that is looked for.
        min_margin: evidence of the best place over the next, under which the answer is ambiguous; above 1.
        min_peak: height of the best place over chance, in standard deviations, under which nothing is related.
        min_agreement: part of the significant windows, 0 to 1, that must agree with the fit.
    """

    max_drift_ppm: Annotated[float, Field(gt=0, le=2000)]
    min_overlap_s: Annotated[float, Field(ge=2)]
    min_margin: Annotated[float, Field(gt=1)]
    min_peak: Annotated[float, Field(gt=0)]
    min_agreement: Annotated[float, Field(ge=0, le=1)]


def fit_envelopes(
    reference: NDArray[np.float32],
    other: NDArray[np.float32],
    *,
    method: Method,
    systematic_ms: float,
    params: EnvelopeParams,
    fine: NDArray[np.float32] | None = None,
) -> ClockFit:
    """Place a device on the reference's clock by the onsets that both show.

    Args:
        reference: (bands, n) onset functions at FLUX_RATE, of mean 0 and deviation 1, in the reference's time.
        other: (bands, m) of the device.
        method: what is compared, for the record.
        systematic_ms: by how much onsets of one kind may lie beside those of the other; part of the error bar.
        params: what is searched for, and what evidence a lock needs.
        fine: (bands, m) of the device too, where other onsets of it are better in time than those that it is found by.

    Returns:
        The device's clock; one span, as onsets cannot show more.
    """
    n, m = reference.shape[1] / FLUX_RATE, other.shape[1] / FLUX_RATE

    def refused(verdict: str, reason: str, **more: object) -> ClockFit:
        return ClockFit(
            verdict=verdict,  # type: ignore[arg-type]
            reason=reason,
            method=method,
            reference_duration_s=n,
            duration_s=m,
            windows=WindowTable.empty(),
            **more,  # type: ignore[arg-type]
        )

    for name, flux in (("reference", reference), ("device", other)):
        if not np.abs(flux).max(initial=0.0) > 0:
            return refused("unrelated", f"the {name} shows no onset")
    places = find_places(
        reference,
        other,
        max_drift_ppm=params.max_drift_ppm,
        min_overlap_s=params.min_overlap_s,
        n_places=_N_PLACES,
    )
    if not places:
        return refused("unrelated", f"less than {params.min_overlap_s} s of onsets to compare")
    best = places[0]
    margin = best.score / places[1].score if len(places) > 1 else np.inf
    rivals = tuple(Rival(delay_s=place.delay_s, score=place.score / best.score) for place in places)
    if best.score < params.min_peak:
        found = f"the best place stands {best.score:.1f} deviations over chance, expected {params.min_peak}"
        return refused("unrelated", found, margin=margin)
    if margin < params.min_margin:
        return refused("ambiguous", "onsets agree as well at other places", margin=margin, rivals=rivals)
    time_s, lag_s, height = _windows(reference, other if fine is None else fine, best.delay_s, best.drift_ppm * 1e-6)
    significant = height > _SIGNIFICANT
    if not significant.any():
        return refused("unrelated", "no window shows the onsets of both", margin=margin)
    middle_s = float(time_s[significant].mean())
    basis = np.stack([np.ones(len(time_s)), time_s - middle_s], axis=1)
    # The prior is a drift that is usual for clocks: a line through few windows could have any.
    usual = np.diag([0.0, (0.01 / _DRIFT_SPREAD) ** 2])
    values = robust_line(
        lag_s[significant], height[significant], basis[significant], tolerance_s=_AGREES_S, prior=usual
    )
    residual_s = lag_s - basis @ values
    used = significant & (np.abs(residual_s) < _AGREES_S)
    agreement = float(used.sum() / significant.sum())
    if agreement < params.min_agreement:
        found = f"{agreement:.0%} of the windows agree with the best place, expected {params.min_agreement:.0%}"
        return refused("unrelated", found, margin=margin)
    drift = best.drift_ppm * 1e-6 + float(values[1])
    delay_s = best.delay_s + float(values[0] - values[1] * middle_s)
    away_ms = 1e3 * np.abs(residual_s[used])
    fit = ClockFit(
        verdict="locked",
        reason="onsets agree",
        method=method,
        reference_duration_s=n,
        duration_s=m,
        spans=(Span(start_s=0.0, end_s=m, delay_s=delay_s, drift_ppm=drift * 1e6),),
        residual_p50_ms=float(np.quantile(away_ms, 0.5)),
        residual_p95_ms=float(np.quantile(away_ms, 0.95)),
        margin=margin,
        coverage=float(used.sum() / len(used)),
        error_ms=systematic_ms + 2 * float(np.sqrt(np.mean(away_ms**2)) / np.sqrt(used.sum())),
        rivals=rivals[1:],
        windows=WindowTable(
            time_s=time_s,
            residual_ms=np.where(significant, 1e3 * residual_s, np.nan),
            weight=np.clip(height / (2 * _SIGNIFICANT), 0, 1),
            used=used,
        ),
    )
    return fit.with_remarks()


def _windows(
    reference: NDArray[np.float32], other: NDArray[np.float32], delay_s: float, drift: float
) -> tuple[Times, Times, Times]:
    """Return the middles of windows in the device's time, their lags behind the place, and the peaks' heights."""
    length, reach = round(_WINDOW_S * FLUX_RATE), round(_REACH_S * FLUX_RATE)
    length = min(length, other.shape[1])
    rows = []
    for start in range(0, other.shape[1] - length + 1, round(_HOP_S * FLUX_RATE)):
        middle_s = (start + length / 2) / FLUX_RATE
        at = (start / FLUX_RATE + delay_s + drift * middle_s) * FLUX_RATE
        first = round(at) - reach
        if first < 0 or first + length + 2 * reach > reference.shape[1]:
            continue
        window = other[:, start : start + length]
        part = reference[:, first : first + length + 2 * reach]
        products = np.sum([np.correlate(a, b, "valid") for a, b in zip(part, window, strict=True)], axis=0)
        deviation = np.sqrt((window**2).sum() * (part**2).mean()) + 1e-9
        k = int(np.argmax(products))
        offset = 0.0
        if 0 < k < len(products) - 1:
            left, top, right = products[k - 1], products[k], products[k + 1]
            offset = 0.5 * (left - right) / min(left - 2 * top + right, -1e-9)
        lag_s = (k + offset - reach - (at - round(at))) / FLUX_RATE
        rows.append((middle_s, lag_s, products[k] / deviation))
    if not rows:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    columns = np.array(rows, np.float64).T
    return columns[0], columns[1], columns[2]
