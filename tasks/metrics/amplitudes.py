"""How near estimated note amplitudes are to the true ones, row by row.

A note *sounds* in a take when its largest true amplitude is at least `SOUNDING` of the take's largest; correlations of
notes that do not would be those of noise. **A figure that has no value is left out**: it is neither 0 nor NaN.

Shapes: F rows, N notes.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tasks.instruments.notes import Notes
from tasks.metrics.metric import PERFORMED, Metric
from tasks.metrics.notes import match_notes

SOUNDING = 0.02
"""-34 dB: what the Hamming window lets through from a note two keys away is below -40 dB."""

LARGEST_LAG_S = 0.5
SWEEP_TOLERANCES_S = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1)


def onset_f1_key(tolerance_s: float) -> str:
    """Return the key of onset F1 at one tolerance of the sweep."""
    return f"onset_f1_{round(1000 * tolerance_s)}_ms"


_filmed = partial(
    Metric,
    unit="",
    direction="higher",
    digits=3,
    kinds=("captures",),
    source="Pearson's correlation",
    low=-1.0,
    high=1.0,
)
_correlation = partial(_filmed, kinds=PERFORMED)
_frame = partial(_filmed, source="Poliner & Ellis 2007", low=0.0)
_detail = partial(_filmed, group="Amplitudes and onsets")
_COINCIDENCE = "the authors' FC-LSTM, which played all notes together"
METRICS = (
    _correlation(
        key="amplitude_correlation",
        label="Amplitudes",
        meaning="correlation of the note amplitudes with those measured in the reference, over all notes and frames",
    ),
    _frame(key="frame_f1", label="Frame F1", meaning="notes that are on, frame by frame"),
    _filmed(
        key="onset_coincidence",
        label="Coincidence",
        direction="nearest 0",
        meaning="correlation between the onset vectors of different notes; near 1 every note is played at once",
        source=_COINCIDENCE,
    ),
    *(
        _filmed(
            key=onset_f1_key(tolerance_s),
            label=f"{round(1000 * tolerance_s)} ms",
            meaning=f"notes with the right pitch and an onset within {round(1000 * tolerance_s)} ms",
            source="mir_eval's matching",
            group="Onset F1 by tolerance",
            low=0.0,
        )
        for tolerance_s in SWEEP_TOLERANCES_S
    ),
    _detail(
        key="amplitude_rmse",
        label="Amplitude error",
        direction="lower",
        digits=5,
        meaning="root of the mean squared error of the note amplitudes, on their own scale",
        source="the marimba project's callback",
        low=0.0,
        high=math.inf,
    ),
    _detail(
        kinds=PERFORMED,
        key="note_correlation",
        label="Note correlation",
        meaning="correlation of a note's amplitudes with the reference, mean over the notes that sound",
    ),
    _detail(
        kinds=PERFORMED,
        key="worst_note_correlation",
        label="Worst note",
        meaning="the smallest of these correlations",
    ),
    _detail(
        key="amplitude_lag_ms",
        label="Onset vectors' lag",
        unit="ms",
        direction="nearest 0",
        digits=1,
        meaning="how late the amplitudes' onset vectors are, all notes together",
        source="largest cross-correlation",
        low=-math.inf,
        high=math.inf,
    ),
    _detail(
        key="true_onset_coincidence",
        label="True coincidence",
        direction="none",
        meaning="coincidence of the reference",
        source=_COINCIDENCE,
    ),
    _frame(
        key="frame_precision",
        label="Frame precision",
        meaning="share of the notes estimated to be on that are on, frame by frame",
        group="Precision and recall of notes",
    ),
    _frame(
        key="frame_recall",
        label="Frame recall",
        meaning="share of the notes on that are estimated to be on, frame by frame",
        group="Precision and recall of notes",
    ),
)


def amplitude_scores(
    truth: NDArray[np.floating], estimate: NDArray[np.floating], *, frame_rate: Fraction, threshold: float
) -> dict[str, float]:
    """Score estimated note amplitudes of one take.

    An *onset vector* is a note's amplitude minus that of the row before, where it rises, else 0.

    Args:
        truth: (F, N).
        estimate: (F, N), of the same rows and notes.
        frame_rate: rows a second.
        threshold: a note is on in a row where its amplitude is at least this, on both sides.

    Returns:
        - `amplitude_rmse`: over all rows and notes, on the scale of the amplitudes.
        - `amplitude_correlation`, `note_correlation`, `worst_note_correlation`: see `correlation_scores`.
        - `frame_precision`, `frame_recall`, `frame_f1`: of notes that are on.
        - `amplitude_lag_ms`: by which the estimate's onset vectors are late, where they fit the true ones best within
          half a second, all notes together; between rows by a parabola.
        - `onset_coincidence`, `true_onset_coincidence`: mean correlation between the onset vectors of different
          sounding notes, estimated and true. Near 1 every note is played at once.

    Raises:
        ValueError: shapes differ, there is no row, or an amplitude is not finite.

    Source:
        RMSE: the marimba project's callback. Frame figures: Poliner & Ellis 2007. Coincidence: the authors' FC-LSTM
        played all notes together.
    """
    truth, estimate = _checked(truth, estimate)
    scores = {"amplitude_rmse": float(np.sqrt(np.square(estimate - truth).mean()))}
    scores |= correlation_scores(truth, estimate)
    sounds = sounding(truth)
    scores |= _frame_rates(truth >= threshold, estimate >= threshold)
    rising, found = onset_vectors(truth), onset_vectors(estimate)
    lag_rows = _lag(rising, found, int(LARGEST_LAG_S * frame_rate))
    if lag_rows is not None:
        scores["amplitude_lag_ms"] = float(1000 * lag_rows / frame_rate)
    for name, vectors in (("onset_coincidence", found), ("true_onset_coincidence", rising)):
        coincidence = _coincidence(vectors[:, sounds])
        if coincidence is not None:
            scores[name] = coincidence
    return scores


def correlation_scores(truth: NDArray[np.floating], estimate: NDArray[np.floating]) -> dict[str, float]:
    """Score estimated note amplitudes of one take, whatever their scale.

    Args:
        truth: (F, N).
        estimate: (F, N), of the same rows and notes.

    Returns:
        - `amplitude_correlation`: Pearson's, over all rows and notes.
        - `note_correlation`: the mean of the sounding notes' own; `worst_note_correlation`: the smallest.

    Raises:
        ValueError: shapes differ, there is no row, or an amplitude is not finite.
    """
    truth, estimate = _checked(truth, estimate)
    scores = {}
    overall = correlations(truth.reshape(-1, 1), estimate.reshape(-1, 1))[0]
    if np.isfinite(overall):
        scores["amplitude_correlation"] = float(overall)
    each = correlations(truth, estimate)[sounding(truth)]
    # A note that is played and that the estimate holds still is not found at all.
    each[np.isnan(each)] = 0.0
    if len(each):
        scores["note_correlation"] = float(each.mean())
        scores["worst_note_correlation"] = float(each.min())
    return scores


def note_amplitude_scores(
    truth: NDArray[np.floating], estimate: NDArray[np.floating], pitches: Sequence[int]
) -> dict[int, dict[str, float]]:
    """Return `rmse` of each pitch, and `correlation` of those that sound; columns are those of ``pitches``."""
    truth, estimate = _checked(truth, estimate)
    if truth.shape[1] != len(pitches):
        raise ValueError(f"amplitudes have {truth.shape[1]} notes, {len(pitches)} pitches were named")
    rmse = np.sqrt(np.square(estimate - truth).mean(axis=0))
    correlation = np.nan_to_num(correlations(truth, estimate), nan=0.0)
    sounds = sounding(truth)
    return {
        int(pitch): {"rmse": float(rmse[note])} | ({"correlation": float(correlation[note])} if sounds[note] else {})
        for note, pitch in enumerate(pitches)
    }


def sounding(truth: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return which notes (N,) sound."""
    peak = np.asarray(truth.max(axis=0, initial=0.0))
    return np.asarray((peak > 0) & (peak >= SOUNDING * peak.max(initial=0.0)) & (np.ptp(truth, axis=0) > 0))


def correlations(truth: NDArray[np.floating], estimate: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return Pearson's correlation of each column (N,), NaN where a column does not change."""
    a = truth - truth.mean(axis=0, dtype=np.float64)
    b = estimate - estimate.mean(axis=0, dtype=np.float64)
    scale = np.sqrt(np.square(a).sum(axis=0) * np.square(b).sum(axis=0))
    # What float32 rounds off a constant is no change.
    still = (np.ptp(truth, axis=0) == 0) | (np.ptp(estimate, axis=0) == 0) | (scale == 0)
    found = np.full(truth.shape[1], np.nan)
    np.divide((a * b).sum(axis=0), scale, out=found, where=~still)
    return found


def onset_vectors(amplitudes: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return by how much each note rises from the row before, (F, N), at least 0; the first row's are 0."""
    rises = np.diff(np.asarray(amplitudes, np.float64), axis=0, prepend=np.asarray(amplitudes[:1], np.float64))
    return np.maximum(rises, 0.0)


def onset_sweep(reference: Notes, estimate: Notes) -> dict[str, float]:
    """Return onset F1 at each tolerance of `SWEEP_TOLERANCES_S`, by key: pitches agree, onsets within it.

    Empty when there is no note on either side.
    """
    n_notes = len(reference) + len(estimate)
    if not n_notes:
        return {}
    return {
        onset_f1_key(tolerance_s): 2 * len(match_notes(reference, estimate, onset_tolerance_s=tolerance_s)) / n_notes
        for tolerance_s in SWEEP_TOLERANCES_S
    }


def _checked(
    truth: NDArray[np.floating], estimate: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if truth.shape != estimate.shape or truth.ndim != 2 or not len(truth):
        raise ValueError(f"true amplitudes have shape {truth.shape}, estimated {estimate.shape}: expected equal (F, N)")
    for name, values in (("true", truth), ("estimated", estimate)):
        if not np.isfinite(values).all():
            row, note = np.argwhere(~np.isfinite(values))[0].tolist()
            raise ValueError(f"{name} amplitude of note {note} in row {row} is {values[row, note]}")
    return truth.astype(np.float64), estimate.astype(np.float64)


def _frame_rates(truth: NDArray[np.bool_], estimate: NDArray[np.bool_]) -> dict[str, float]:
    n_hit, n_true, n_found = int((truth & estimate).sum()), int(truth.sum()), int(estimate.sum())
    rates = {}
    if n_found:
        rates["frame_precision"] = n_hit / n_found
    if n_true:
        rates["frame_recall"] = n_hit / n_true
    if n_true or n_found:
        rates["frame_f1"] = 2 * n_hit / (n_true + n_found)
    return rates


def _lag(truth: NDArray[np.float64], estimate: NDArray[np.float64], most: int) -> float | None:
    """Return the rows by which one is late; None where nothing rises on one side."""
    most = min(most, len(truth) - 1)
    if not truth.any() or not estimate.any() or most < 1:
        return None
    fits = []
    for lag in range(-most, most + 1):
        a = truth[max(0, -lag) : len(truth) - max(0, lag)]
        b = estimate[max(0, lag) : len(estimate) - max(0, -lag)]
        fits.append(float((a * b).sum()))
    best = int(np.argmax(fits))
    if fits[best] <= 0:
        return None
    between = 0.0
    if 0 < best < len(fits) - 1:
        before, here, after = fits[best - 1 : best + 2]
        bend = before - 2 * here + after
        between = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return best - most + between


def _coincidence(vectors: NDArray[np.float64]) -> float | None:
    """Return the mean correlation of different columns; None for fewer than two that change."""
    changing = vectors[:, np.ptp(vectors, axis=0) > 0]
    n_notes = changing.shape[1]
    if n_notes < 2:
        return None
    together = np.corrcoef(changing, rowvar=False)
    return float((together.sum() - n_notes) / (n_notes * (n_notes - 1)))
