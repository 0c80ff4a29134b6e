"""How well estimated notes agree with the notes that were played.

A reference note and an estimated note can be matched when their pitch is the same and their onsets lie
within a tolerance; a matching pairs as many of them as possible, each at most once (mir_eval 0.8,
`transcription.match_notes`). Two piano keys are at least 100 cents apart, twice mir_eval's pitch tolerance,
so matching each pitch by itself finds as many pairs in far less memory. An *offset* here is the moment
the key comes up (`Notes.offset_s`), not the moment its sound ends under the pedal.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tasks.instruments.notes import ONSET_TOLERANCE_S, Notes
from tasks.metrics.metric import PERFORMED, Metric

OFFSET_RATIO = 0.2
"""An offset may be this share of the reference note's duration away, but at least the onset's tolerance."""

VELOCITY_TOLERANCE = 0.1
"""An estimated velocity may differ by this share of the reference's range, once scaled to it."""

_rate = partial(
    Metric,
    unit="",
    direction="higher",
    digits=3,
    kinds=PERFORMED,
    source="Bay, Ehmann & Downie 2009; mir_eval",
    low=0.0,
    high=1.0,
)
_part = partial(_rate, group="Precision and recall of notes")
_count = partial(
    Metric, unit="", direction="none", digits=0, kinds=PERFORMED, source="a count", group="Numbers of notes", low=0.0
)
_VELOCITY = "Hawthorne et al. 2018, section 5; mir_eval"
METRICS = (
    _rate(key="onset_f1", label="Onset F1", meaning="notes with the right pitch and an onset within 50 ms"),
    _rate(
        key="offset_f1", label="Offset F1", meaning="those whose offset is right too, within 20 % of the note or 50 ms"
    ),
    _rate(
        key="velocity_f1",
        label="Velocity F1",
        meaning="those with the right onset whose velocity, scaled as a whole, is right within 10 %",
        source=_VELOCITY,
    ),
    Metric(
        key="velocity_mae",
        label="Velocity error",
        unit="",
        direction="lower",
        digits=1,
        meaning="mean absolute error of MIDI velocity over matched notes",
        source="mean absolute error",
        kinds=PERFORMED,
        low=0.0,
        high=127.0,
    ),
    Metric(
        key="onset_lag_ms",
        label="Onset lag",
        unit="ms",
        direction="nearest 0",
        digits=1,
        meaning="median of how late the matched notes are",
        source="median of estimated minus reference onset",
        kinds=PERFORMED,
    ),
    _part(key="onset_precision", label="Onset precision", meaning="share of the estimated notes that were played"),
    _part(key="onset_recall", label="Onset recall", meaning="share of the notes played that were estimated"),
    _part(key="offset_precision", label="Offset precision", meaning="the same, with the right offset too"),
    _part(key="offset_recall", label="Offset recall", meaning="the same, with the right offset too"),
    _part(
        key="velocity_precision",
        label="Velocity precision",
        meaning="the same, with the right onset and velocity",
        source=_VELOCITY,
    ),
    _part(
        key="velocity_recall",
        label="Velocity recall",
        meaning="the same, with the right onset and velocity",
        source=_VELOCITY,
    ),
    _count(key="n_reference", label="Played", meaning="notes played"),
    _count(key="n_estimate", label="Estimated", meaning="notes estimated"),
    _count(key="n_matched", label="Matched", meaning="notes with the right pitch and onset"),
    _count(
        key="n_reference_left_out",
        label="Played, too high",
        meaning="notes played whose fundamental is above half the sample rate: not scored",
    ),
    _count(
        key="n_estimate_left_out",
        label="Estimated, too high",
        meaning="notes estimated whose fundamental is above half the sample rate: not scored",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Hits and misses of one pitch, or of all.

    Attributes:
        tp: reference notes that an estimated note was matched with.
        fp: estimated notes left over.
        fn: reference notes left over.
    """

    tp: int
    fp: int
    fn: int


def fundamental_hz(pitch: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the equal-tempered frequency of MIDI pitches, 440 Hz at 69."""
    return np.asarray(440.0 * 2.0 ** ((pitch.astype(np.float64) - 69.0) / 12.0), np.float64)


def below(notes: Notes, *, max_frequency_hz: float | None) -> Notes:
    """Return the notes whose fundamental lies strictly below a frequency; None keeps all."""
    if max_frequency_hz is None:
        return notes
    return notes.take(fundamental_hz(notes.pitch) < max_frequency_hz)


def match_notes(
    reference: Notes,
    estimate: Notes,
    *,
    onset_tolerance_s: float = ONSET_TOLERANCE_S,
    with_offsets: bool = False,
) -> NDArray[np.intp]:
    """Pair notes of the same pitch whose onsets agree, as many as possible.

    Args:
        reference: the notes that were played.
        estimate: the notes that were found.
        onset_tolerance_s: largest distance of two onsets, itself included.
        with_offsets: the offset must agree too, within `OFFSET_RATIO` of the reference note's duration or
            the onset's tolerance, whichever is more.

    Returns:
        Pairs (M, 2): index into the reference, index into the estimate; sorted by reference.
    """
    import mir_eval.transcription  # it imports all of scipy, and most modules that import this one need a constant

    pairs = [np.empty((0, 2), np.intp)]
    for pitch in np.intersect1d(reference.pitch, estimate.pitch):
        rows = np.flatnonzero(reference.pitch == pitch)
        columns = np.flatnonzero(estimate.pitch == pitch)
        matching = mir_eval.transcription.match_notes(
            np.stack([reference.onset_s[rows], reference.offset_s[rows]], axis=1),
            np.ones(len(rows)),
            np.stack([estimate.onset_s[columns], estimate.offset_s[columns]], axis=1),
            np.ones(len(columns)),
            onset_tolerance=onset_tolerance_s,
            offset_ratio=OFFSET_RATIO if with_offsets else None,
            offset_min_tolerance=onset_tolerance_s,
        )
        if matching:
            here = np.asarray(matching, np.intp)
            pairs.append(np.stack([rows[here[:, 0]], columns[here[:, 1]]], axis=1))
    found = np.concatenate(pairs)
    return found[np.argsort(found[:, 0], kind="stable")]


def note_scores(
    reference: Notes,
    estimate: Notes,
    *,
    onset_tolerance_s: float = ONSET_TOLERANCE_S,
    max_frequency_hz: float | None = None,
) -> dict[str, float]:
    """Score estimated notes of one take.

    Precision has no value without estimated notes, recall none without reference notes, F1 none without
    either, and the figures over matched notes none without a match. **A figure that has no value is left
    out**: it is neither 0 nor NaN, and an average over takes skips it. With notes on one side only, F1 is 0.

    Args:
        reference: the notes that were played.
        estimate: the notes that were found.
        onset_tolerance_s: largest distance of two matched onsets.
        max_frequency_hz: half the rate of the sound the estimate rests on. Notes with a fundamental at or
            above it are left out on both sides and counted. None keeps all.

    Returns:
        - `n_reference`, `n_estimate`, `n_matched`; `n_reference_left_out`, `n_estimate_left_out`.
        - `onset_precision`, `onset_recall`, `onset_f1`: pitch and onset agree.
        - `offset_precision`, `offset_recall`, `offset_f1`: pitch, onset and offset agree.
        - `velocity_precision`, `velocity_recall`, `velocity_f1`: pitch, onset and velocity agree, after the
          estimated velocities went through the one straight line that fits the matched ones best
          (so this measures whether loud and soft notes differ; the next figure whether their velocities are right).
        - `velocity_mae`: mean absolute difference of velocity over matched notes, in MIDI steps.
        - `onset_lag_ms`: median of estimated minus reference onset over matched notes; positive is late.

    Source:
        Bay, Ehmann & Downie 2009 (onset, offset); Hawthorne et al. 2018, section 5 (velocity).
    """
    kept = below(reference, max_frequency_hz=max_frequency_hz)
    found = below(estimate, max_frequency_hz=max_frequency_hz)
    pairs = match_notes(kept, found, onset_tolerance_s=onset_tolerance_s)
    with_offsets = match_notes(kept, found, onset_tolerance_s=onset_tolerance_s, with_offsets=True)
    scores = {
        "n_reference": float(len(kept)),
        "n_estimate": float(len(found)),
        "n_matched": float(len(pairs)),
        "n_reference_left_out": float(len(reference) - len(kept)),
        "n_estimate_left_out": float(len(estimate) - len(found)),
        **_rates("onset", len(pairs), len(kept), len(found)),
        **_rates("offset", len(with_offsets), len(kept), len(found)),
        **_rates("velocity", _n_velocity_agrees(kept, found, pairs), len(kept), len(found)),
    }
    if len(pairs):
        true_velocity = kept.velocity[pairs[:, 0]].astype(np.float64)
        lag_s = found.onset_s[pairs[:, 1]] - kept.onset_s[pairs[:, 0]]
        scores["velocity_mae"] = float(np.abs(found.velocity[pairs[:, 1]] - true_velocity).mean())
        scores["onset_lag_ms"] = float(np.median(lag_s) * 1000.0)
    return scores


def pitch_counts(
    reference: Notes,
    estimate: Notes,
    *,
    onset_tolerance_s: float = ONSET_TOLERANCE_S,
    max_frequency_hz: float | None = None,
) -> dict[int, Counts]:
    """Count hits and misses of each pitch that occurs on either side; arguments as in `note_scores`."""
    kept = below(reference, max_frequency_hz=max_frequency_hz)
    found = below(estimate, max_frequency_hz=max_frequency_hz)
    pairs = match_notes(kept, found, onset_tolerance_s=onset_tolerance_s)
    n_reference = np.bincount(kept.pitch, minlength=128)
    n_estimate = np.bincount(found.pitch, minlength=128)
    n_hit = np.bincount(kept.pitch[pairs[:, 0]], minlength=128)
    return {
        int(pitch): Counts(
            tp=int(n_hit[pitch]),
            fp=int(n_estimate[pitch] - n_hit[pitch]),
            fn=int(n_reference[pitch] - n_hit[pitch]),
        )
        for pitch in np.flatnonzero(n_reference + n_estimate)
    }


def _rates(name: str, n_hit: int, n_reference: int, n_estimate: int) -> dict[str, float]:
    rates = {}
    if n_estimate:
        rates[f"{name}_precision"] = n_hit / n_estimate
    if n_reference:
        rates[f"{name}_recall"] = n_hit / n_reference
    if n_reference or n_estimate:
        rates[f"{name}_f1"] = 2 * n_hit / (n_reference + n_estimate)
    return rates


def _n_velocity_agrees(reference: Notes, estimate: Notes, pairs: NDArray[np.intp]) -> int:
    """Count the pairs whose velocities agree after the best straight line (mir_eval's rule)."""
    if not len(pairs):
        return 0
    velocity = reference.velocity.astype(np.float64)
    # At least one step: a take played at one velocity has no range to be scaled by.
    span = max(1.0, float(velocity.max() - velocity.min()))
    wanted = (velocity[pairs[:, 0]] - velocity.min()) / span
    found = estimate.velocity[pairs[:, 1]].astype(np.float64)
    design = np.stack([found, np.ones_like(found)], axis=1)
    line = np.linalg.lstsq(design, wanted, rcond=None)[0]
    return int(np.count_nonzero(np.abs(design @ line - wanted) < VELOCITY_TOLERANCE))
