"""Bleed: what of one note's sound is measured as another note's amplitude.

The first partial of a marimba's bar lies two octaves above it, where another bar may be, and a window of three frames
cannot keep low neighbours apart. A picture of one bar shows how that bar was struck; the amplitude that is measured
of it holds what other bars add, which the picture does not show.

Shapes: F windows, n notes.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

_STAY = 0.05  # of the mean energy of a note: how firmly a bleed without evidence stays at none


def fit_bleed(own: NDArray[np.floating], measured: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the bleed (n, n) of an instrument, with which ``own @ bleed`` is what would be measured.

    Row i is what a note i that is measured as 1 adds to each note: its own column is 1, nothing is negative, and
    without evidence a note adds nothing to others. It does not change how loud a note is measured by itself: that is a
    matter of the room and its microphone.

    Args:
        own: amplitudes of the notes by themselves (F, n), at least 0.
        measured: those that were measured (F, n).

    Raises:
        ValueError: shapes differ.
    """
    if own.shape != measured.shape or own.ndim != 2:
        raise ValueError(f"own amplitudes have shape {own.shape}, measured {measured.shape}: expected equal (F, n)")
    n = own.shape[1]
    stay = np.sqrt(_STAY * max(float(np.square(own).sum()) / n, 1e-12))
    known = np.concatenate([own.astype(np.float64), stay * np.eye(n)])
    wanted = np.concatenate([measured.astype(np.float64), stay * np.eye(n)])
    columns = [nnls(known, wanted[:, note])[0] for note in range(n)]
    bleed = np.stack(columns, axis=1)
    own_share = np.diagonal(bleed)[:, None]
    # A note that is measured as others alone is no evidence of its own bleed.
    bleed = np.where(own_share > 0.1, bleed / np.maximum(own_share, 0.1), np.eye(n))
    return bleed.astype(np.float32)
