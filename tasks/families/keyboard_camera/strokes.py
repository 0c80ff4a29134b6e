"""From the probabilities of each key's onset and held state to notes, and the threshold that finds them best."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.signal import find_peaks

from tasks.families.keyboard_camera.examples import Example
from tasks.families.note_regression.notes import onset_f1
from tasks.instruments.notes import Notes, sorted_notes
from tasks.keyboards.key_features import STEP_S
from tasks.keyboards.layout import Keys

THRESHOLDS = (0.5, 0.4, 0.45, 0.55, 0.35, 0.6, 0.3, 0.65, 0.25, 0.7, 0.2, 0.15, 0.8)  # the first of equals is taken
_CLOSEST_S = 0.08  # of two strokes of one key
_HELD = 0.5
_SHORTEST_S = 0.03
_LEAST_GAP_S = 1e-3  # between a key's release and its next stroke


def strokes(
    probability: NDArray[np.float32],
    keys: Keys,
    *,
    start_s: float,
    duration_s: float,
    threshold: float,
    velocity: int,
) -> Notes:
    """Return the notes that begin where the probability of an onset peaks, and end where a key is no longer held.

    Args:
        probability: (K, 2, G) of an onset and of a held key.
        keys: of the rows.
        start_s: of the grid.
        duration_s: of the film.
        threshold: that a peak has at least.
        velocity: of all notes.
    """
    onset_s, offset_s, pitch = [], [], []
    for pitch_number, (onset, held) in zip(keys.pitches, probability.astype(np.float64), strict=True):
        peaks, _ = find_peaks(np.r_[0.0, onset, 0.0], height=threshold, distance=round(_CLOSEST_S / STEP_S))
        moments = [start_s + STEP_S * (peak - 1 + _vertex(onset, peak - 1)) for peak in peaks.tolist()]
        for number, (peak, at_s) in enumerate(zip((peaks - 1).tolist(), moments, strict=True)):
            if not 0 <= at_s < duration_s - _SHORTEST_S:
                continue
            up = np.flatnonzero(held[peak + 2 :] < _HELD)
            end_s = start_s + STEP_S * (peak + 2 + float(up[0]) if len(up) else len(held))
            latest_s = moments[number + 1] - _LEAST_GAP_S if number + 1 < len(moments) else duration_s
            onset_s.append(at_s)
            offset_s.append(min(max(end_s, at_s + _SHORTEST_S), latest_s, duration_s))
            pitch.append(pitch_number)
    return sorted_notes(
        np.array(onset_s, np.float64),
        np.array(offset_s, np.float64),
        np.array(pitch, np.uint8),
        np.full(len(pitch), velocity, np.uint8),
    )


def fit_threshold(probabilities: Sequence[NDArray[np.float32]], examples: Sequence[Example]) -> float:
    """Return the threshold with the best onset F1 on examples together."""

    def score(threshold: float) -> float:
        found = [
            strokes(
                probability,
                one.keys,
                start_s=one.features.start_s,
                duration_s=float(one.features.time_s[-1]),
                threshold=threshold,
                velocity=1,
            )
            for probability, one in zip(probabilities, examples, strict=True)
        ]
        return onset_f1([one.notes for one in examples], found)

    return max(THRESHOLDS, key=score)


def _vertex(line: NDArray[np.float64], at: int) -> float:
    """Return by how many steps the parabola through a peak and its neighbours is highest beside it."""
    if not 0 < at < len(line) - 1:
        return 0.0
    before, peak, after = line[at - 1 : at + 2].tolist()
    bend = before - 2 * peak + after
    return 0.5 * (before - after) / bend if bend < 0 else 0.0
