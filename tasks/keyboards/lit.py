"""Keys that light up: notes of films that teach pieces, from the colour of each key and the bars that fall onto it."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tasks.keyboards.evidence import BAR_ROWS, Evidence

_CHROMA_WEIGHT = 1.0
_LUMA_WEIGHT = 0.6
_LEAST_LIT = 22.0  # levels from a key's idle colour
_NOISE_TIMES = 6.0  # that a lit key is above the noise of its own idle colour
_SAME_IDLE = 14.0  # levels by which keys of one kind differ in chroma when idle
_SAME_LUMA = 40.0
_LEAST_IDLE = 0.04  # of a film in which a key looks idle, for that to be its idle colour
_LEAST_S = 0.03  # a note's length
_BRIDGE_S = 0.02  # a key that is dark for no longer has stayed lit: an encoder's flicker
_LEAST_BAR = 25.0  # levels from the background
_GAP = 0.5  # of a bar's difference from the background, that is left in a gap between two bars
_MIDDLE_S = 0.045  # from a note's ends to a stroke inside of it
_SAME_STROKE_S = 0.05
_FALL_S = 0.6  # in which a bar falls past the rows above the keys, at most
_TOUCHED_S = 0.035  # after a key's light comes on, its bar's edge has passed them all
_SPREAD_S = 0.06  # by which bars that fall at one speed may differ
_COVERED_S = 0.2  # that a finger lies on a key before its light comes on, at most
_ON_TIME_S = 0.04  # within which a bar arrives at a key that lights up
_LEAST_ROWS = 4  # of the strip, that show an arrival
_LEAST_ARRIVALS = 5  # bars whose fall is measured


@dataclass(frozen=True)
class LitNote:
    """A key that was lit.

    Attributes:
        key: its row.
        onset_s: when its light came on.
        offset_s: when it went out.
        height: how far its colour was from idle, in levels.
        chroma: how far its chroma alone was.
        crispness: share of that height that the colour kept while lit; 1 for drawn light.
        rise_s: how long its light took to come on.
    """

    key: int
    onset_s: float
    offset_s: float
    height: float
    chroma: float
    crispness: float
    rise_s: float


def idle_colours(evidence: Evidence) -> NDArray[np.float32]:
    """Return each key's colour at rest, (K, 3): the most usual one, unless other keys of its kind say otherwise.

    A key that is lit most of the time looks idle in few pictures; those count when they look as its neighbours do.
    """
    shown = evidence.is_shown
    colour = evidence.colour[shown]
    usual = np.median(colour, axis=0)
    idle = usual.copy()
    for kind in (False, True):
        of_kind = np.flatnonzero(evidence.is_black == kind)
        chroma = np.median(usual[of_kind, 1:], axis=0)
        for place, key in enumerate(of_kind):
            near = of_kind[max(0, place - 4) : place + 5]
            luma = np.median(usual[near, 0])
            is_idle = np.abs(colour[:, key, 1:] - chroma).sum(axis=1) < _SAME_IDLE
            is_idle &= np.abs(colour[:, key, 0] - luma) < _SAME_LUMA
            if is_idle.mean() >= _LEAST_IDLE:
                idle[key] = np.median(colour[is_idle, key], axis=0)
    return idle


def distances(evidence: Evidence, idle: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how far each key's colour is from idle, in levels, (T, K); 0 where it is hidden."""
    away = evidence.colour - idle
    squared = _CHROMA_WEIGHT * (away[..., 1:] ** 2).sum(axis=-1) + (_LUMA_WEIGHT * away[..., 0]) ** 2
    squared[evidence.hidden] = 0.0
    return np.asarray(np.sqrt(squared), np.float32)


def lit_notes(evidence: Evidence) -> list[LitNote]:
    """Return every lit key, a note for each stretch of light."""
    if len(evidence.time_s) < 2:
        return []
    idle = idle_colours(evidence)
    away = distances(evidence, idle)
    chroma = np.sqrt(((evidence.colour - idle)[..., 1:] ** 2).sum(axis=-1))
    notes = []
    for key in range(away.shape[1]):
        line = away[:, key]
        noise = float(np.median(line))
        least = max(_LEAST_LIT, _NOISE_TIMES * noise if noise < 8 else _LEAST_LIT)
        for first, last in _stretches(line > least / 2, evidence.time_s):
            height = float(np.quantile(line[first:last], 0.8))
            if height < least:
                continue
            for begin, end in _stretches(line[first:last] > height / 2, evidence.time_s[first:last]):
                note = _note(line, chroma[:, key], key, first + begin, first + end, evidence.time_s, height)
                if note.offset_s - note.onset_s >= _LEAST_S:
                    notes.append(note)
    return sorted(notes, key=lambda note: (note.onset_s, note.key))


def _note(
    line: NDArray[np.float32],
    chroma: NDArray[np.float32],
    key: int,
    first: int,
    last: int,
    time_s: NDArray[np.float64],
    height: float,
) -> LitNote:
    """Return the note of pictures ``first`` to ``last`` (not included) of a key's lines."""
    half_frame_s = float(np.median(np.diff(time_s))) / 2
    inside = line[first:last]
    before = line[max(0, first - 6) : first + 1]
    rising = before[(before > 0.15 * height) & (before < 0.85 * height)]
    end_s = time_s[last] if last < len(time_s) else time_s[-1] + 2 * half_frame_s
    kept = inside[1:-1] if len(inside) > 4 else inside
    return LitNote(
        key=key,
        onset_s=max(0.0, float(time_s[first]) - half_frame_s),
        offset_s=float(end_s) - half_frame_s,
        height=height,
        chroma=float(np.median(chroma[first:last])),
        crispness=float(np.clip(np.quantile(kept, 0.1) / height, 0, 1)),
        rise_s=2 * half_frame_s * len(rising),
    )


def _stretches(is_lit: NDArray[np.bool_], time_s: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return first and last (not included) of each run, short breaks bridged."""
    edges = np.diff(np.r_[False, is_lit, False].astype(np.int8))
    runs = list(zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True))
    joined: list[tuple[int, int]] = []
    for first, last in runs:
        if joined and time_s[first] - time_s[joined[-1][1]] < _BRIDGE_S and first - joined[-1][1] < 2:
            joined[-1] = joined[-1][0], last
        else:
            joined.append((first, last))
    return joined


def with_restrikes(notes: list[LitNote], evidence: Evidence) -> list[LitNote]:
    """Split notes where a gap between two falling bars reaches a key that stays lit.

    Bars fall at one speed, which is measured from where they are before the keys light up. A note whose bar arrives
    later begins with its bar: a finger, whose colour may be the light's, lay on the key before.
    """
    falls = bar_falls(notes, evidence)
    if falls is None:
        return notes
    slope, start = falls
    made: list[LitNote] = []
    for early in notes:
        note = replace(early, onset_s=_arrival_s(early, evidence, falls))
        inside = np.flatnonzero((evidence.time_s > note.onset_s - 1.0) & (evidence.time_s < note.offset_s))
        strokes: list[float] = []
        for at in inside:
            for row in _gap_tops(evidence.bars[at, :, note.key]):
                arrival_s = float(evidence.time_s[at]) + start + slope * row
                if note.onset_s + _MIDDLE_S < arrival_s < note.offset_s - _MIDDLE_S:
                    strokes.append(arrival_s)
        made += _split(note, _gathered(strokes))
    return sorted(made, key=lambda note: (note.onset_s, note.key))


def _arrival_s(note: LitNote, evidence: Evidence, falls: tuple[float, float]) -> float:
    """Return when a note's bar arrives at its key, where that is later than the key's colour, else its onset."""
    slope, start = falls
    since, until = np.searchsorted(evidence.time_s, [note.onset_s - _FALL_S, note.onset_s + _COVERED_S])
    strip = evidence.bars[since:until, :, note.key].astype(np.float32)
    full = float(strip.max(initial=0.0))
    if len(strip) < 4 or full < _LEAST_BAR:
        return note.onset_s
    at, row = np.nonzero((strip[:-1] <= full / 2) & (strip[1:] > full / 2))
    late_s = evidence.time_s[since + at + 1] + start + slope * row - note.onset_s
    if (np.abs(late_s) <= _ON_TIME_S).sum() >= _LEAST_ROWS:
        return note.onset_s
    late_s = late_s[(late_s > _ON_TIME_S) & (late_s < _COVERED_S)]
    if len(late_s) < _LEAST_ROWS or note.onset_s + float(np.median(late_s)) > note.offset_s - _LEAST_S:
        return note.onset_s
    return note.onset_s + float(np.median(late_s))


def bar_falls(notes: list[LitNote], evidence: Evidence) -> tuple[float, float] | None:
    """Return how a bar falls: seconds a row of the strip above the keys, and seconds from row 0 to the light.

    None where no bars fall.
    """
    rows, delays = [], []
    for note in notes:
        until = int(np.searchsorted(evidence.time_s, note.onset_s + _TOUCHED_S))
        since = int(np.searchsorted(evidence.time_s, note.onset_s - _FALL_S))
        strip = evidence.bars[since:until, :, note.key].astype(np.float32)  # (t, rows)
        if len(strip) < 4:
            continue
        full = float(np.quantile(strip, 0.95))
        if full < _LEAST_BAR:
            continue
        is_bar = strip > full / 2
        for row in range(BAR_ROWS):
            # The last time that the bar's lower edge passed this row.
            rises = np.flatnonzero(~is_bar[:-1, row] & is_bar[1:, row])
            if len(rises):
                rows.append(row)
                delays.append(note.onset_s - float(evidence.time_s[since + int(rises[-1]) + 1]))
    if len(rows) < _LEAST_ARRIVALS * BAR_ROWS / 2:
        return None
    at_row, delay = np.array(rows), np.array(delays)
    known = np.unique(at_row)
    if len(known) < BAR_ROWS / 2:
        return None
    slope, start = np.polyfit(known, [np.median(delay[at_row == number]) for number in known], 1)
    spread = float(np.median(np.abs(delay - (start + slope * at_row))))
    if slope <= 0 or spread > _SPREAD_S:
        return None
    return float(slope), float(start)


def _gap_tops(strip: NDArray[np.uint8]) -> list[float]:
    """Return the rows in which the bar above a gap begins, for gaps whose both ends are in the strip."""
    full = float(strip.max())
    if full < _LEAST_BAR:
        return []
    level = strip.astype(np.float32)
    tops = []
    is_bar = level > 0.6 * full
    row = 0
    while row < BAR_ROWS:
        if not is_bar[row]:
            row += 1
            continue
        end = row
        while end < BAR_ROWS and is_bar[end]:
            end += 1
        after = end
        while after < BAR_ROWS and not is_bar[after]:
            after += 1
        if after < BAR_ROWS and level[end:after].min() < _GAP * full:
            tops.append(float(after))
        row = after
    return tops


def _gathered(strokes: list[float]) -> list[float]:
    """Return the middles of times that lie close together, where there are at least two pictures of them."""
    groups: list[list[float]] = []
    for stroke in sorted(strokes):
        if groups and stroke - groups[-1][-1] < _SAME_STROKE_S:
            groups[-1].append(stroke)
        else:
            groups.append([stroke])
    return [float(np.median(group)) for group in groups]


def _split(note: LitNote, strokes: list[float]) -> list[LitNote]:
    edges = [note.onset_s, *strokes, note.offset_s]
    return [replace(note, onset_s=begin, offset_s=end) for begin, end in pairwise(edges)]
