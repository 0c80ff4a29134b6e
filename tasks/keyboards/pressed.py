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

from tasks.keyboards.evidence import PER_WHITE, Evidence

_REACH = 1.0  # white keys beside a key in which it changes the picture
_NEIGHBOURS = 4  # keys on each side that may explain the same columns
_SHADE_WHITES = 7  # white keys over which a shadow is even
_DRIFT_S = 40.0  # over which idle keys are taken to look the same
_DRIFT_STEPS = 400  # pictures of such a stretch that are looked at
_LEAST_NOISE = 0.8  # levels of luma
_CLEAR_TIMES = 6.0  # that a clear change is above the noise
_N_CLEAR = 2  # pictures that a key's template needs
_MOST_CLEAR = 60  # that it is learned from
_ROUNDS = 2  # of learning
_SWEEPS = 12  # of the least squares
_ALONE = 0.35  # of a press, that neighbours may show in a clear picture
_LOUDEST_RIVAL = 0.85  # of a key's own change, that those beside it may show where it is never down alone
_OTHER_SHAPE = 9  # keys by which one of another shape counts as farther away
_DIP = 0.12  # of a press, by which a key comes up between two strokes at least
_DIP_TIMES = 6.0  # that this is above the noise of the amount
_DOWN, _UP = 0.5, 0.35  # of a press: a note begins above, and ends below
_LEAST_S = 0.045
_LEAST_ALIKE = 0.55  # correlation of what is seen around a key with what is explained
_SKIN = 14.0  # levels of chroma from idle: something covers the key


@dataclass(frozen=True)
class PressedNote:
    """A key that was pressed.

    Attributes:
        key: its row.
        onset_s: when it was half way down.
        offset_s: when it was most of the way up.
        rise_s: how long it took from a fifth to four fifths of the way.
        alike: correlation of what was seen with what is explained.
    """

    key: int
    onset_s: float
    offset_s: float
    rise_s: float
    alike: float


@dataclass(frozen=True)
class Presses:
    """How far each key is down in each picture.

    Attributes:
        amount: (T, K): 0 is up, 1 as far down as in its template.
        changes: (T, C) what is left of the luma's changes without drift and shadows.
        templates: (K, C).
        noise: (C,) of the changes.
    """

    amount: NDArray[np.float32]
    changes: NDArray[np.float32]
    templates: NDArray[np.float32]
    noise: NDArray[np.float32]


def pressed_notes(evidence: Evidence) -> list[PressedNote]:
    """Return every pressed key."""
    if len(evidence.time_s) < 3:
        return []
    presses = presses_of(evidence)
    explained = presses.amount @ presses.templates
    notes = []
    for key in range(len(evidence.spans)):
        if not presses.templates[key].any():
            continue
        columns = _columns(evidence, key, 0.4)
        up = 0
        for first, last in _held(presses.amount[:, key]):
            note = _note(presses, explained, evidence, key, columns, (up, first, last))
            up = last
            if note is not None:
                notes.append(note)
    return sorted(notes, key=lambda note: (note.onset_s, note.key))


def changes_of(evidence: Evidence) -> NDArray[np.float32]:
    """Return how the keys differ from idle, (T, C) in luma, without slow drift and even shadows; 0 where covered."""
    profile = evidence.profile.astype(np.float32)
    shown = np.flatnonzero(evidence.is_shown)
    changes = np.zeros_like(profile)
    if not len(shown):
        return changes
    duration_s = evidence.time_s[shown[-1]] - evidence.time_s[shown[0]]
    n_stretches = max(1, round(duration_s / _DRIFT_S))
    parts = np.array_split(shown, n_stretches)
    idle = np.stack([np.median(profile[part[:: max(1, len(part) // _DRIFT_STEPS)]], axis=0) for part in parts])
    middles = np.array([evidence.time_s[part].mean() for part in parts])
    where = np.clip(np.interp(evidence.time_s[shown], middles, np.arange(len(parts))), 0, len(parts) - 1)
    before = np.floor(where).astype(int)
    after = np.minimum(before + 1, len(parts) - 1)
    share = (where - before).astype(np.float32)[:, None]
    changes[shown] = profile[shown] - (1 - share) * idle[before] - share * idle[after]
    changes -= _shadows(changes, evidence.still_profile)
    covered = _covered(evidence)
    for key, (first, last) in enumerate(evidence.spans):
        columns = slice(max(0, int(first)), int(np.ceil(last)))
        changes[np.ix_(covered[:, key], np.arange(changes.shape[1])[columns])] = 0.0
    return changes


def _shadows(changes: NDArray[np.float32], still: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the part of changes (T, C) that is an even change of light over several white keys."""
    is_bright = still > 0.6 * float(np.quantile(still, 0.9))
    n_white = changes.shape[1] // PER_WHITE
    relative = np.where(is_bright, changes / np.maximum(still, 1.0), np.nan)
    with np.errstate(all="ignore"):
        each = np.nanmedian(relative.reshape(len(changes), n_white, PER_WHITE), axis=2)
    each = np.nan_to_num(each)
    even = median_filter(each, size=(1, _SHADE_WHITES), mode="nearest")
    columns = (np.arange(changes.shape[1]) + 0.5) / PER_WHITE - 0.5
    low = np.clip(np.floor(columns).astype(int), 0, n_white - 1)
    high = np.minimum(low + 1, n_white - 1)
    share = (columns - low).clip(0, 1).astype(np.float32)
    shade: NDArray[np.float32] = ((1 - share) * even[:, low] + share * even[:, high]) * still
    return shade


def _covered(evidence: Evidence) -> NDArray[np.bool_]:
    """Return which keys something of another colour lies over, or are not in view, (T, K)."""
    shown = evidence.is_shown
    idle = np.median(evidence.colour[shown], axis=0)
    chroma = np.abs(evidence.colour[..., 1:] - idle[:, 1:]).sum(axis=-1)
    covered: NDArray[np.bool_] = (chroma > _SKIN) | evidence.hidden
    return covered


def presses_of(evidence: Evidence) -> Presses:
    """Learn what each key looks like when it is down, and explain every picture by the keys."""
    changes = changes_of(evidence)
    noise = _noise(changes)
    learned = _first_templates(changes, noise, evidence)
    amount = _explained_by(changes, learned.templates, noise)
    for _ in range(_ROUNDS):
        learned = _learned_again(changes, amount, learned, noise, evidence)
        amount = _explained_by(changes, learned.templates, noise)
    return Presses(amount=amount, changes=changes, templates=learned.templates, noise=noise)


def _noise(changes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the noise of each column, from pictures that follow each other."""
    steps = np.diff(changes[:: max(1, len(changes) // 4000)], axis=0)
    spread = 1.48 * np.median(np.abs(steps - np.median(steps, axis=0)), axis=0) / np.sqrt(2)
    return np.asarray(np.maximum(spread, _LEAST_NOISE), np.float32)


def _columns(evidence: Evidence, key: int, reach: float) -> slice:
    first, last = evidence.spans[key]
    n_columns = len(evidence.still_profile)
    return slice(max(0, int(first - reach * PER_WHITE)), min(n_columns, int(np.ceil(last + reach * PER_WHITE))))


@dataclass(frozen=True)
class _Learned:
    """Templates (K, C), and which keys' are their own (K,), not borrowed from another key."""

    templates: NDArray[np.float32]
    is_own: NDArray[np.bool_]


def _first_templates(changes: NDArray[np.float32], noise: NDArray[np.float32], evidence: Evidence) -> _Learned:
    """Return templates from pictures in which a key changes more than the keys beside it, best of all alone."""
    n_keys = len(evidence.spans)
    strength = np.stack(
        [
            (np.abs(changes[:, own]) / noise[own]).mean(axis=1)
            for own in (_columns(evidence, k, 0.0) for k in range(n_keys))
        ],
        axis=1,
    )  # (T, K)
    templates = np.zeros((n_keys, changes.shape[1]), np.float32)
    for key in range(n_keys):
        rival = strength[:, _beside(key, n_keys)].max(axis=1)
        is_clear = strength[:, key] > _CLEAR_TIMES
        for most_rival, reach in ((_ALONE, _REACH), (_LOUDEST_RIVAL, _REACH / 2)):
            clear = np.flatnonzero(is_clear & (rival < most_rival * strength[:, key]))
            if len(clear) >= _N_CLEAR:
                strongest = clear[np.argsort(strength[clear, key])[::-1]][: max(_N_CLEAR, len(clear) // 2)]
                columns = _columns(evidence, key, reach)
                templates[key, columns] = _middle(changes[strongest, columns])
                break
    return _borrowed(templates, evidence)


def _beside(key: int, n_keys: int) -> list[int]:
    return [near for near in range(key - 2, key + 3) if near != key and 0 <= near < n_keys]


def _middle(changes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the median over some of the pictures (n, C)."""
    return np.asarray(np.median(changes[:: max(1, len(changes) // _MOST_CLEAR)], axis=0), np.float32)


def _borrowed(templates: NDArray[np.float32], evidence: Evidence) -> _Learned:
    """Return templates in which a key that has none has that of the nearest key of its kind, in its own octave or not.

    Keys an octave apart have the same neighbours.
    """
    is_own = np.asarray(templates.any(axis=1), np.bool_)
    known = np.flatnonzero(is_own)
    made = templates.copy()
    for key in np.flatnonzero(~is_own):
        alike = known[evidence.is_black[known] == evidence.is_black[key]]
        if not len(alike):
            continue
        away = np.abs(alike - key) + np.where((alike - key) % 12 == 0, 0, _OTHER_SHAPE)
        donor = alike[away.argmin()]
        step = round(float(evidence.spans[key].mean() - evidence.spans[donor].mean()))
        moved = np.roll(templates[donor], step)
        outside = np.ones(len(moved), bool)
        outside[_columns(evidence, int(key), _REACH)] = False
        moved[outside] = 0.0
        made[key] = moved
    return _Learned(made, is_own)


def _learned_again(
    changes: NDArray[np.float32],
    amount: NDArray[np.float32],
    learned: _Learned,
    noise: NDArray[np.float32],
    evidence: Evidence,
) -> _Learned:
    """Return templates from what is left of pictures in which a key is down when the others are taken away."""
    templates = learned.templates
    made = np.where(learned.is_own[:, None], templates, np.float32(0.0))
    n_keys = len(templates)
    for key in range(n_keys):
        columns = _columns(evidence, key, _REACH)
        size = float(np.sqrt(((templates[key, columns] / noise[columns]) ** 2).sum()))
        is_alone = (amount[:, _beside(key, n_keys)] < _ALONE).all(axis=1)
        clear = np.flatnonzero((amount[:, key] > 0.6) & is_alone)
        if len(clear) < _N_CLEAR or size < _CLEAR_TIMES:
            continue
        others = amount[clear].copy()
        others[:, key] = 0.0
        made[key] = 0.0
        made[key, columns] = _middle(changes[clear][:, columns] - others @ templates[:, columns])
    return _borrowed(made, evidence)


def _explained_by(
    changes: NDArray[np.float32], templates: NDArray[np.float32], noise: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return non-negative amounts (T, K) of the templates that explain changes best."""
    weighted = templates / noise
    gram = weighted @ weighted.T
    seen = (changes / noise) @ weighted.T  # (T, K)
    amount = np.zeros_like(seen)
    for _ in range(_SWEEPS):
        for key in range(len(templates)):
            if gram[key, key] <= 0:
                continue
            near = slice(max(0, key - _NEIGHBOURS), key + _NEIGHBOURS + 1)
            rest = seen[:, key] - amount[:, near] @ gram[near, key] + amount[:, key] * gram[key, key]
            np.maximum(rest / gram[key, key], 0.0, out=amount[:, key])
    return amount


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
    if alike < _LEAST_ALIKE:
        return None
    full = float(np.quantile(line[first:last], 0.7))
    is_again = first > 0 and line[first - 1] > _UP  # from a dip on
    # From the lowest picture on: what lies before it may be the end of the stroke before.
    begin = first if is_again else max(up, first - 4)
    begin += int(np.argmin(line[begin : first + 1]))
    low = float(line[begin]) if is_again else 0.0
    fifth_s, onset_s, most_s = (
        _passed(line, time_s, begin, last, low + share * (full - low)) for share in (0.2, 0.5, 0.8)
    )
    offset_s = float(time_s[min(last, len(time_s) - 1)])
    if offset_s - onset_s < _LEAST_S:
        return None
    return PressedNote(key, onset_s, offset_s, most_s - fifth_s, alike)


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
