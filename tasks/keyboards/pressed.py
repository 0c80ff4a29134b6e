"""Keys that are pressed: notes of films of people playing, from how the keys' upper zone changes.

A key that sinks moves its edges and its shade. What it looks like then is learned for each key from the film's own
clear notes; each picture is explained by the keys that are down (non-negative least squares).
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from scipy.signal import find_peaks

from tasks.keyboards.dynamics import travel_s
from tasks.keyboards.evidence import PER_WHITE, Evidence
from tasks.keyboards.templates import Presses, columns_of, needed, presses_of

_SHADE_WHITES = 7  # white keys over which a shadow is even
_SHADE_BLACKS = 9  # black keys
_DRIFT_S = 40.0  # over which idle keys are taken to look the same
_REDRAWN = 2.0  # levels, by which most columns change at once where a film draws all of them anew
_REDRAWN_PICTURES = 8  # before and after, that are compared
_LEAST_STRETCH_S = 3.0  # between two such moments
_DRIFT_STEPS = 400  # pictures of such a stretch that are looked at
_DIP = 0.12  # of a press, by which a key comes up between two strokes at least
_DIP_TIMES = 6.0  # that this is above the noise of the amount
_DOWN, _UP = 0.5, 0.35  # of a press: a note begins above, and ends below
_LEAST_S = 0.045
_BRIEF_S = 0.1  # a note
_TOGETHER_S = 0.05
_MOST_TOGETHER = 6  # brief notes that hands play together
_LEAST_ALIKE = 0.55  # correlation of what is seen around a key with what is explained
_NEEDED = 0.5  # of what no key explains, that the others alone leave more
_NEEDED_PICTURES = 12  # of a press, from its beginning, in which that is seen
_SKIN = 14.0  # levels of chroma from idle: something covers the key


@dataclass(frozen=True)
class PressedNote:
    """A key that was pressed.

    Attributes:
        key: its row.
        onset_s: when it was half way down.
        offset_s: when it was most of the way up.
        travel_s: how long it took to go down; NaN where that is not seen.
        alike: correlation of what was seen with what is explained.
    """

    key: int
    onset_s: float
    offset_s: float
    travel_s: float
    alike: float


def pressed_notes(evidence: Evidence) -> list[PressedNote]:
    """Return every pressed key."""
    if len(evidence.time_s) < 3:
        return []
    presses = presses_of(changes_of(evidence), evidence)
    explained = presses.amount @ presses.templates
    notes = []
    for key in range(len(evidence.spans)):
        if not presses.templates[key].any():
            continue
        columns = columns_of(evidence, key, 0.4)
        up = 0
        for first, last in _held(presses.amount[:, key]):
            note = _note(presses, explained, evidence, key, columns, (up, first, last))
            up = last
            if note is not None:
                notes.append(note)
    return sorted(_without_jolts(notes), key=lambda note: (note.onset_s, note.key))


def _without_jolts(notes: list[PressedNote]) -> list[PressedNote]:
    """Leave out what no hands do: many keys down together for a few pictures. The camera was moved just then."""
    brief_s = np.array([note.onset_s for note in notes if note.offset_s - note.onset_s < _BRIEF_S])
    return [
        note
        for note in notes
        if note.offset_s - note.onset_s >= _BRIEF_S
        or (np.abs(brief_s - note.onset_s) < _TOGETHER_S).sum() <= _MOST_TOGETHER
    ]


def changes_of(evidence: Evidence) -> NDArray[np.float32]:
    """Return how the keys differ from idle, (T, C) in luma, without slow drift and even shadows; 0 where covered."""
    profile = evidence.profile.astype(np.float32)
    changes = np.zeros_like(profile)
    shown = np.flatnonzero(evidence.is_shown)
    if not len(shown):
        return changes
    changes[shown] = profile[shown] - _idle(profile, evidence, shown)
    changes -= _shadows(changes, evidence)
    covered = _covered(evidence)
    for key, (first, last) in enumerate(evidence.spans):
        columns = slice(max(0, int(first)), int(np.ceil(last)))
        changes[np.ix_(covered[:, key], np.arange(changes.shape[1])[columns])] = 0.0
    return changes


def _idle(profile: NDArray[np.float32], evidence: Evidence, shown: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return what the keys look like where they are up, for the pictures ``shown``; it may drift slowly.

    A compressed film keeps what hardly changes as it was, until a key picture draws all of it anew: from there on idle
    keys look another way.
    """
    whole = np.split(shown, _redrawn(profile[shown], evidence.time_s[shown], evidence.moves[shown]))
    return np.concatenate([_drifting(profile, evidence.time_s, part) for part in whole])


def _redrawn(profile: NDArray[np.float32], time_s: NDArray[np.float64], moves: NDArray[np.float32]) -> list[int]:
    """Return the pictures from which on most columns look another way though the camera has not moved, ascending."""
    n, width = len(profile), _REDRAWN_PICTURES
    if n < 2 * width:
        return []
    total = np.cumsum(np.concatenate([np.zeros((1, profile.shape[1])), profile]), axis=0)
    mean = (total[width:] - total[:-width]) / width  # of so many pictures, from each one on
    step = np.median(np.abs(mean[width:] - mean[:-width]), axis=1)  # at picture width, width + 1, ...
    step[moves[2 * width - 1 :] != moves[: -2 * width + 1]] = 0
    found: list[int] = []
    for at in np.argsort(-step, kind="stable").tolist():
        if step[at] < _REDRAWN:
            break
        edges = [0, *found, n - 1]
        if all(abs(time_s[at + width] - time_s[edge]) >= _LEAST_STRETCH_S for edge in edges):
            found.append(at + width)
    return sorted(found)


def _drifting(
    profile: NDArray[np.float32], time_s: NDArray[np.float64], shown: NDArray[np.intp]
) -> NDArray[np.float32]:
    n_stretches = max(1, round((time_s[shown[-1]] - time_s[shown[0]]) / _DRIFT_S))
    parts = np.array_split(shown, n_stretches)
    idle = np.stack([np.median(profile[part[:: max(1, len(part) // _DRIFT_STEPS)]], axis=0) for part in parts])
    middles = np.array([time_s[part].mean() for part in parts])
    where = np.clip(np.interp(time_s[shown], middles, np.arange(len(parts))), 0, len(parts) - 1)
    before = np.floor(where).astype(int)
    after = np.minimum(before + 1, len(parts) - 1)
    share = (where - before).astype(np.float32)[:, None]
    looks: NDArray[np.float32] = (1 - share) * idle[before] + share * idle[after]
    return looks


def _shadows(changes: NDArray[np.float32], evidence: Evidence) -> NDArray[np.float32]:
    """Return the part of changes (T, C) that is an even change of light over several keys, of white and of black ones.

    Black keys change by another factor than white ones: a gloss on them, or a camera that exposes anew until white
    keys are at full scale.
    """
    still = evidence.still_profile
    bright = float(np.quantile(still, 0.9))
    is_bright = still > 0.6 * bright
    n_white = changes.shape[1] // PER_WHITE
    has_bright = is_bright.reshape(n_white, PER_WHITE).any(axis=1)
    relative = np.where(is_bright, changes / np.maximum(still, 1.0), np.nan).reshape(-1, n_white, PER_WHITE)
    each = np.zeros((len(changes), n_white), np.float32)
    each[:, has_bright] = np.nanmedian(relative[:, has_bright], axis=2)
    shade = _even(each, np.arange(n_white) + 0.5, _SHADE_WHITES, changes.shape[1])
    spans = evidence.spans[evidence.is_black]
    if len(spans) < _SHADE_BLACKS:
        return shade * still
    middles = [slice(*np.rint(span.mean() + np.array([-0.25, 0.25]) * np.ptp(span)).astype(int)) for span in spans]
    each = np.stack([np.median(changes[:, middle], axis=1) for middle in middles], axis=1)
    dark = float(np.median([np.median(still[middle]) for middle in middles]))
    lift = _even(each, spans.mean(axis=1) / PER_WHITE, _SHADE_BLACKS, changes.shape[1])
    share = np.clip((still - dark) / max(bright - dark, 1.0), 0, 1).astype(np.float32)
    light: NDArray[np.float32] = share * shade * np.maximum(still, bright) + (1 - share) * lift
    return light


def _even(each: NDArray[np.float32], u: NDArray[np.float64], n_keys: int, n_columns: int) -> NDArray[np.float32]:
    """Return what so many keys (T, keys) at ``u`` white keys have in common, over columns (T, C)."""
    even = median_filter(each, size=(1, n_keys), mode="nearest")
    where = np.interp((np.arange(n_columns) + 0.5) / PER_WHITE, u, np.arange(len(u)))
    low = np.floor(where).astype(int)
    high = np.minimum(low + 1, len(u) - 1)
    share = (where - low).astype(np.float32)
    over: NDArray[np.float32] = (1 - share) * even[:, low] + share * even[:, high]
    return over


def _covered(evidence: Evidence) -> NDArray[np.bool_]:
    """Return which keys something of another colour lies over, or are not in view, (T, K)."""
    shown = evidence.is_shown
    idle = np.median(evidence.colour[shown], axis=0)
    chroma = np.abs(evidence.colour[..., 1:] - idle[:, 1:]).sum(axis=-1)
    covered: NDArray[np.bool_] = (chroma > _SKIN) | evidence.hidden
    return covered


def _held(line: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Return first and last (not included) picture of each press: above ``_DOWN``, until below ``_UP``.

    A key that comes up in part and goes down again is struck again.
    """
    above, held = line > _DOWN, line > _UP
    edges = np.diff(np.r_[False, held, False].astype(np.int8))
    presses = []
    least = max(_DIP, _DIP_TIMES * 1.48 * float(np.median(np.abs(np.diff(line[above])))) if above.sum() > 8 else _DIP)
    for first, last in zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True):
        if above[first:last].any():
            cuts = [first, *_dips(line, first, last, least), last]
            presses += [(begin, end) for begin, end in pairwise(cuts) if above[begin:end].any()]
    return presses


def _dips(line: NDArray[np.float32], first: int, last: int, least: float) -> list[int]:
    """Return pictures at which a line is lower than before and after by ``least``, relative to its height there."""
    lows, _ = find_peaks(-line[first:last], prominence=least * float(np.quantile(line[first:last], 0.8)))
    return [first + int(low) for low in lows]


def _note(
    presses: Presses,
    explained: NDArray[np.float32],
    evidence: Evidence,
    key: int,
    columns: slice,
    press: tuple[int, int, int],
) -> PressedNote | None:
    """Return the note of one press; None where what is seen is not the key's own look.

    Args:
        presses: of all keys.
        explained: (T, C) changes that they explain.
        evidence: of the film.
        key: its row.
        columns: that show it.
        press: the picture from which the key may rise, and the first and last (not included) in which it is held.
    """
    line, time_s = presses.amount[:, key], evidence.time_s
    up, first, last = press
    seen, model = presses.changes[first:last, columns], explained[first:last, columns]
    size = float(np.sqrt((seen**2).sum() * (model**2).sum()))
    alike = float((seen * model).sum()) / size if size > 0 else 0.0
    if (
        alike < _LEAST_ALIKE
        or needed(presses, evidence, key, slice(first, min(last, first + _NEEDED_PICTURES))) < _NEEDED
    ):
        return None
    full = max(float(np.quantile(line[first:last], 0.7)), _UP)
    is_again = first > 0 and line[first - 1] > _UP  # from a dip on
    # From the lowest picture on: what lies before it may be the end of the stroke before.
    begin = first if is_again else max(up, first - 4)
    begin += int(np.argmin(line[begin : first + 1]))
    low = float(line[begin]) if is_again else 0.0
    onset_s = _passed(line, time_s, begin, last, low + 0.5 * (full - low))
    offset_s = float(time_s[min(last, len(time_s) - 1)])
    if offset_s - onset_s < _LEAST_S:
        return None
    rising = slice(begin, last)
    return PressedNote(key, onset_s, offset_s, travel_s(line[rising] / full, time_s[rising], onset_s), alike)


def _passed(line: NDArray[np.float32], time_s: NDArray[np.float64], begin: int, last: int, level: float) -> float:
    """Return when a line has risen through a level for good before it is high, from picture ``begin`` on."""
    highest = begin + int(np.argmax(line[begin:last] >= 0.9 * line[begin:last].max()))
    under = np.flatnonzero(line[begin : highest + 1] < level)
    at = begin + int(under[-1]) + 1 if len(under) else begin
    if at == 0 or at == begin:
        return float(time_s[begin])
    low, high = float(line[at - 1]), float(line[at])
    share = (level - low) / (high - low) if high > low else 1.0
    return float(time_s[at - 1] + np.clip(share, 0, 1) * (time_s[at] - time_s[at - 1]))
