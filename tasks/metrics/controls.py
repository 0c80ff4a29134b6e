"""What figures of a performance are beside: those against another take's reference, and those of the true sound.

A system that follows its own picture is near 0 against another take, its *control*. The *ceiling* is what the
transcriber finds in the true sound at the rate at which systems are compared.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tasks.instruments.notes import Notes
from tasks.metrics.amplitudes import correlation_scores
from tasks.metrics.metric import Metric
from tasks.metrics.notes import note_scores

_control = partial(
    Metric,
    unit="",
    direction="none",
    digits=3,
    kinds=("scores",),
    group="Controls and ceiling",
    source="Bay, Ehmann & Downie 2009; mir_eval",
    low=0.0,
    high=1.0,
)
METRICS = (
    _control(
        key="reference_onset_f1",
        label="Onset F1, true sound",
        meaning="onset F1 of the notes that are detected in the true sound at the codes' rate: the ceiling",
    ),
    _control(
        key="other_onset_f1",
        label="Onset F1, other take",
        meaning="onset F1 of the same notes against the notes of another piece: the control",
    ),
    _control(
        key="other_note_correlation",
        label="Note correlation, other take",
        meaning="correlation of a note's amplitudes with those of another piece, mean over its notes: the control",
        source="Pearson's correlation",
        low=-1.0,
    ),
)


def takes_of_other_pieces(piece_of: Mapping[str, str]) -> dict[str, str]:
    """Return for each take another one to confuse it with: the next one of another piece, in a circle, by name.

    Args:
        piece_of: the piece of each take.

    Returns:
        By take; empty where all takes are of one piece.
    """
    takes = sorted(piece_of)
    found = {}
    for row, take in enumerate(takes):
        circle = takes[row + 1 :] + takes[:row]
        other = next((one for one in circle if piece_of[one] != piece_of[take]), None)
        if other is not None:
            found[take] = other
    return found


def ceiling_scores(
    reference: Notes, transcribed: Notes, *, onset_tolerance_s: float, max_frequency_hz: float
) -> dict[str, float]:
    """Score the notes that are detected in the true sound of a take.

    Args:
        reference: the notes that were played.
        transcribed: the notes that the transcriber of generated sounds detects in the true sound.
        onset_tolerance_s: as in `note_scores`.
        max_frequency_hz: as in `note_scores`.

    Returns:
        `reference_onset_f1`; empty when there is no note on either side.
    """
    limits = {"onset_tolerance_s": onset_tolerance_s, "max_frequency_hz": max_frequency_hz}
    return _renamed("reference_onset_f1", "onset_f1", note_scores(reference, transcribed, **limits))


def control_scores(
    other: Notes,
    estimate: Notes,
    other_amplitudes: NDArray[np.floating],
    amplitudes: NDArray[np.floating],
    *,
    onset_tolerance_s: float,
    max_frequency_hz: float,
) -> dict[str, float]:
    """Score a performance against another take's reference.

    Args:
        other: the notes that were played in the other take.
        estimate: the notes of the performance.
        other_amplitudes: (F, N) of the other take's true sound.
        amplitudes: (G, N) of the performance, at the same frames a second; the frames that both have are compared.
        onset_tolerance_s: as in `note_scores`.
        max_frequency_hz: as in `note_scores`.

    Returns:
        `other_onset_f1`, `other_note_correlation`; a figure without a value is left out.
    """
    limits = {"onset_tolerance_s": onset_tolerance_s, "max_frequency_hz": max_frequency_hz}
    scores = _renamed("other_onset_f1", "onset_f1", note_scores(other, estimate, **limits))
    n_frames = min(len(other_amplitudes), len(amplitudes))
    if n_frames:
        correlated = correlation_scores(other_amplitudes[:n_frames], amplitudes[:n_frames])
        scores |= _renamed("other_note_correlation", "note_correlation", correlated)
    return scores


def _renamed(key: str, name: str, scores: Mapping[str, float]) -> dict[str, float]:
    return {key: scores[name]} if name in scores else {}
