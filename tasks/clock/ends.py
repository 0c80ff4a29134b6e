"""The ends of what is heard: a buffer lost within seconds of one leaves too little behind it for a part of its own.

The windows that a map is settled on see mostly the side that is longer. Short windows at the ends alone see the other
one: what they contradict bounds the error there. Music may begin long after a recording does, and end long before it:
the ends are those of the windows that agree with the map, and what lies beyond them. In silence nothing is known.
"""

from dataclasses import dataclass

import numpy as np

from tasks.clock.fit import Times
from tasks.clock.windows import AGREES_S, Pair, Stretch, Windows, correlate_along

_WINDOWS_S = (1.0, 0.6)  # a loss some tenths of a second before the end fills no longer one
_REACH_S = 5.0  # from each end inwards: farther from it a step has a side of its own
_BEYOND_S = 60.0  # most that is looked through outwards: a recorder may run on for hours after the music
_CONTRADICTS = 0.6  # of a peak's height at the map: one of a tone's period is higher there


@dataclass(frozen=True, kw_only=True)
class Ends:
    """What short windows near the ends say.

    Attributes:
        against_s: (n,) middles of those whose sound contradicts the map, in the other's time, ascending.
        lag_s: (n,) how far from the map each one's peak lies.
        heard_s: from where to where both recordings surely have sound in common, in the other's time.
    """

    against_s: Times
    lag_s: Times
    heard_s: tuple[float, float]


def listen_at_the_ends(pair: Pair, stretches: list[Stretch], agrees_s: tuple[float, float]) -> Ends:
    """Hold short windows near the ends of what is heard against a map.

    Args:
        pair: the recordings.
        stretches: the map, in order of time.
        agrees_s: from where to where in the other's time long windows agree with it.
    """
    time_s, lag_s = [np.zeros(0)], [np.zeros(0)]
    first_s, last_s = agrees_s[::-1]  # by the end of the first short window with sound, and the begin of the last one
    for window_s in _WINDOWS_S:
        middle = _middles(stretches, agrees_s, window_s)
        if len(middle):
            windows = correlate_along(pair, stretches, middle, window_s)
            against = _contradicts(windows)
            time_s.append(middle[against])
            lag_s.append(windows.lag_s[against])
            with_sound = middle[windows.is_significant]
            first_s = min(first_s, float(with_sound.min(initial=np.inf)) + window_s / 2)
            last_s = max(last_s, float(with_sound.max(initial=-np.inf)) - window_s / 2)
    times, lags = np.concatenate(time_s), np.concatenate(lag_s)
    order = np.argsort(times, kind="stable")
    return Ends(
        against_s=times[order],
        lag_s=lags[order],
        heard_s=(first_s, last_s) if first_s < last_s else agrees_s,
    )


def _middles(stretches: list[Stretch], agrees_s: tuple[float, float], window_s: float) -> Times:
    """Return middles of windows within reach of an end, each inside of the first or the last stretch."""
    first, last = stretches[0], stretches[-1]
    begin, end = max(agrees_s[0], first.start_s), min(agrees_s[1], last.end_s)
    spots = []
    for low, high, is_end in (
        (max(first.start_s, begin - _BEYOND_S), min(first.end_s, begin + _REACH_S), False),
        (max(last.start_s, end - _REACH_S), min(last.end_s, end + _BEYOND_S), True),
    ):
        count = int((high - low - window_s) / (window_s / 2)) + 1
        steps = window_s / 2 * (1 + np.arange(max(count, 0)))
        spots.append(high - steps if is_end else low + steps)
    return np.unique(np.concatenate(spots))


def _contradicts(windows: Windows) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    away = np.abs(windows.lag_s) > AGREES_S
    return np.asarray(windows.is_significant & away & (windows.at_map < _CONTRADICTS * windows.height))
