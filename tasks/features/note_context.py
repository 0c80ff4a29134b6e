"""What the other candidates say: how likely its relatives, its neighbours in time and its own key's repeats are.

A first sum of trees weighs each candidate alone. Here its log odds become evidence for the others: an octave is a
ghost or a note depending on whether the key below was struck, and one stroke is seen at times as two rises.

Shapes: C candidates, P pitches, T columns.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from tasks.features.note_evidence import Candidates

REACH_COLUMNS = 40
_SAME_TIME = 4  # columns to either side
_RELATIVES = (-31, -28, -24, -19, -16, -12, -7, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 7, 12, 16, 19, 24, 28)
_NO_ODDS = -9.0  # natural logarithm: nothing rises there
# Of the candidate's own key, in columns from it.
_OWN_KEY = ((-40, -16), (-15, -9), (-8, -1), (1, 8), (9, 15), (16, 40))
CONTEXT_NAMES = (
    "log_odds",
    *(f"odds{interval:+d}" for interval in _RELATIVES),
    *(f"own{start:+d}{stop:+d}" for start, stop in _OWN_KEY),
    *("struck_together", "others_at", "struck_nearby"),
)


def context(
    candidates: Candidates, log_odds: NDArray[np.float64], n_pitches: int, n_columns: int
) -> NDArray[np.float32]:
    """Return evidence (C, n) from the log odds of all candidates of a stretch, named ``CONTEXT_NAMES``.

    Args:
        candidates: of the stretch.
        log_odds: (C,) of each candidate alone.
        n_pitches: P, rows of the stretch.
        n_columns: T, its columns.
    """
    row, column = candidates.row, candidates.column
    odds = np.maximum(log_odds, _NO_ODDS).astype(np.float32)
    grid = np.full((n_pitches, n_columns), np.float32(_NO_ODDS))
    grid[row, column] = odds
    together = maximum_filter1d(grid, 2 * _SAME_TIME + 1, axis=1)
    columns = {"log_odds": odds}
    for interval in _RELATIVES:
        relative = row + interval
        there = (relative >= 0) & (relative < n_pitches)
        found = together[np.clip(relative, 0, n_pitches - 1), column]
        columns[f"odds{interval:+d}"] = np.where(there, found, np.float32(_NO_ODDS - 1))
    for start, stop in _OWN_KEY:
        steps = np.arange(start, stop + 1)
        index = column[:, None] + steps
        inside = (index >= 0) & (index < n_columns)
        found = np.where(inside, grid[row[:, None], np.clip(index, 0, n_columns - 1)], np.float32(_NO_ODDS))
        columns[f"own{start:+d}{stop:+d}"] = found.max(axis=1)
    probability = 1 / (1 + np.exp(-odds))
    time_column = candidates.time_column
    weight, moment = np.zeros(n_columns), np.zeros(n_columns)
    np.add.at(weight, column, probability)
    np.add.at(moment, column, probability * time_column)
    span = np.ones(2 * _SAME_TIME + 1)
    near_weight = np.convolve(weight, span, "same")[column] - probability
    near_moment = np.convolve(moment, span, "same")[column] - probability * time_column
    columns["struck_together"] = np.log1p(np.maximum(near_weight, 0)).astype(np.float32)
    others = near_moment / np.maximum(near_weight, 1e-3) - time_column
    columns["others_at"] = np.where(near_weight > 0.3, others, 0.0).astype(np.float32)
    density = np.convolve(weight, np.ones(2 * REACH_COLUMNS + 1), "same")[column]
    columns["struck_nearby"] = np.log1p(density).astype(np.float32)
    return np.stack([columns[name] for name in CONTEXT_NAMES], axis=1).astype(np.float32)
