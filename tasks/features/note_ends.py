"""When a note's damper falls: the evidence at every moment after its onset.

A level alone does not tell: a string that is held dies away too, and a room sounds on after a damper. What tells is
that the decay turns steep, and whether what else sounds ends at the same moment (a pedal).

Shapes: P pitches, T spectrum columns, N notes, M moments.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEP = 2  # columns between moments
_FAINTEST = 1e-4  # of a typical sounding moment
_LOUDEST_WITHIN = 15  # columns after the onset
_DISTANCES = (4, 8, 16, 32)
ENDS_NAMES = (
    "level",
    *(f"next{distance}" for distance in _DISTANCES),
    *(f"last{distance}" for distance in _DISTANCES),
    *("all_next8", "all_next16", "all_last8", "beside_strongest", "age", "pitch"),
)


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Moments after onsets, note by note.

    Attributes:
        first: (N + 1,) where each note's moments begin in the others; the last is M.
        column: (M,) of each moment.
        evidence: (M, n) on whether the key, or the pedal, is still held.
    """

    first: NDArray[np.intp]
    column: NDArray[np.intp]
    evidence: NDArray[np.float32]


def moments_after(
    activity: NDArray[np.float32],
    row: NDArray[np.intp],
    column: NDArray[np.intp],
    stop: NDArray[np.intp],
    pitch: NDArray[np.integer],
    *,
    level: float,
) -> Moments:
    """List the moments from each note's onset to the latest at which it can end.

    Args:
        activity: (P, T) activations.
        row: (N,) of each note.
        column: (N,) at which it begins.
        stop: (N,) after its last moment.
        pitch: (N,) MIDI number.
        level: activation of a typical sounding moment.
    """
    n_columns = activity.shape[1]
    logs = np.log(np.maximum(activity / np.float32(level), np.float32(_FAINTEST)))
    every = np.log(np.maximum(activity.sum(axis=0) / np.float32(level), np.float32(_FAINTEST)))
    strongest = logs.max(axis=0)
    counts = np.maximum((stop - column + STEP - 1) // STEP, 1)
    first = np.concatenate([[0], np.cumsum(counts)]).astype(np.intp)
    note = np.repeat(np.arange(len(row)), counts)
    age = (np.arange(first[-1]) - first[note]) * STEP
    at = np.minimum(column[note] + age, n_columns - 1)
    key = row[note]
    start = np.clip(column[:, None] + np.arange(_LOUDEST_WITHIN), 0, n_columns - 1)
    peak = logs[row[:, None], start].max(axis=1)
    here = logs[key, at]
    found = [here - peak[note]]
    found += [logs[key, np.minimum(at + distance, n_columns - 1)] - here for distance in _DISTANCES]
    # Before its onset a note tells nothing of its decay.
    found += [here - logs[key, np.maximum(at - distance, column[note])] for distance in _DISTANCES]
    found += [every[np.minimum(at + distance, n_columns - 1)] - every[at] for distance in (8, 16)]
    found += [every[at] - every[np.maximum(at - 8, 0)], strongest[at] - here, np.log1p(age), pitch[note] / 88]
    return Moments(first=first, column=at, evidence=np.stack(found, axis=1).astype(np.float32))


def ends(moments: Moments, log_odds: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the column (N,) at which each note ends: the likeliest one, held before it and damped after.

    Args:
        moments: of N notes.
        log_odds: (M,) that the note is still held.
    """
    summed = np.concatenate([[0.0], np.cumsum(log_odds)])
    found = np.empty(len(moments.first) - 1, np.intp)
    for k, (start, stop) in enumerate(zip(moments.first[:-1], moments.first[1:], strict=True)):
        best = start + int(np.argmax(summed[start + 1 : stop + 1]))  # the last moment at which it is held
        found[k] = moments.column[best] + STEP
    return found
