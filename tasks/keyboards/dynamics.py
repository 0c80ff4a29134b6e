"""How hard keys were struck, from how long they take to go down.

A hammer of v m/s needs the key to travel for 89.96 v^-0.7147 ms (Goebl 2001, JASA 110, 563); MIDI velocity is about
52 + 25 log2 v (Goebl and Bresin 2003, JASA 114, 2273). Pictures that are 33 ms apart tell a travel of 25 to 160 ms
coarsely: over made films the estimates correlate with the true velocities by about 0.45. So only a part of an
estimate's distance from the film's middle is kept, and the middle itself is not read: how loud a piano is, no picture
tells.
"""

import numpy as np
from numpy.typing import NDArray

_TRAVELS_S = np.arange(0.015, 0.2, 0.005)
_AROUND_S = 0.03  # of the moment at which a key was seen half way, within which its middle lies
_MIDDLES = 13
_BEFORE_S, _AFTER_S = 0.18, 0.14  # of that moment, in which a travel is seen
_LEAST_PICTURES = 4
_KEPT = 0.3  # of an estimate's distance from the film's middle
_SOFTEST, _LOUDEST = 20, 120  # MIDI velocities that a travel is read as
_LEAST_NOTES = 8  # without which a film has no middle


def travel_s(line: NDArray[np.float32], time_s: NDArray[np.float64], onset_s: float) -> float:
    """Return how long a key took to go down, in seconds; NaN where too few pictures show it.

    Args:
        line: (n,) how far it was down: 0 is up, 1 is down.
        time_s: (n,) of the pictures.
        onset_s: when it was half way down.
    """
    seen = (time_s >= onset_s - _BEFORE_S) & (time_s <= onset_s + _AFTER_S)
    if seen.sum() < _LEAST_PICTURES:
        return float("nan")
    middles = onset_s + np.linspace(-_AROUND_S, _AROUND_S, _MIDDLES)
    ways = (time_s[seen] - middles[:, None])[None] / _TRAVELS_S[:, None, None] + 0.5
    error = ((np.clip(ways, 0, 1) - np.clip(line[seen], 0, 1.2)) ** 2).sum(axis=2)
    return float(_TRAVELS_S[np.unravel_index(int(error.argmin()), error.shape)[0]])


def velocities(travels_s: NDArray[np.float64], level: int) -> NDArray[np.int64]:
    """Return MIDI velocities of notes by their keys' travel.

    Args:
        travels_s: (n,) seconds; NaN where it is not known.
        level: velocity of a note in the film's middle, and of every note where too few travels are known.
    """
    hammers = (travels_s / 0.08996) ** (-1 / 0.7147)  # m/s
    estimate = np.clip(52 + 25 * np.log2(hammers), _SOFTEST, _LOUDEST)
    if np.isfinite(estimate).sum() < _LEAST_NOTES:
        return np.full(len(travels_s), level, np.int64)
    away = np.nan_to_num(estimate - np.nanmedian(estimate))
    return np.asarray(np.clip(np.rint(level + _KEPT * away), 1, 127), np.int64)
