"""How players of an ensemble move: arrays that follow from their notes, and sway that does not.

Bows turn with the notes and run faster for loud ones. The left hand, slides, valves and fingers follow the pitch. Wind
players breathe before a phrase and dip at every onset. At rests instruments sink. Motion is a little ahead of the
sound, as strokes are prepared. Lengths are in bodies: 1 is the height of a seated person.

Shapes: T moments.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.instruments.notes import Notes
from tasks.instruments.orchestra import ORCHESTRA

Floats = NDArray[np.float64]

N_KEYS = 6  # fingers of a woodwind player that are drawn

_LEAD_S = (0.03, 0.06)  # by which motion is ahead of the sound
_LEAD_SPREAD_S = 0.008
_PHRASE_GAP_S = 1.0  # a longer rest lets the instrument sink
_RAISED_S = (0.75, 0.2)  # before a phrase, from when to when the instrument comes up
_SUNK_S = (0.15, 0.85)  # after it
_LIFT_GAP_S = 0.25  # a shorter rest leaves the bow on the string
_DIP_S = 0.07  # until a dip is deepest
_SHIFT_S = 0.05  # that a hand or a slide takes to its next place
_BOW_S = (0.5, 1.3)  # bows a second of the softest and of the loudest note
_BREATH_S = 0.35
_SWAY = 0.014
_FIDGET = 0.02
_SEAT_SHIFT = 0.1  # by which a player moves their chair, at most

# Open strings, low to high.
_STRINGS: Mapping[str, tuple[int, ...]] = {
    "vn": (55, 62, 69, 76),
    "va": (48, 55, 62, 69),
    "vc": (36, 43, 50, 57),
    "db": (28, 33, 38, 43),
}
# Pitches of the natural notes that brass players bend down by slide or valves.
_NATURALS: Mapping[str, tuple[int, ...]] = {
    "tpt": (58, 65, 70, 74, 77, 82),
    "hn": (41, 48, 53, 57, 60, 65, 69, 72, 77),
    "tbn": (46, 53, 58, 62, 65, 70, 72),
    "tba": (34, 41, 46, 50, 53, 58),
}
_MOST_SEMITONES = 6  # that a slide or three valves lower
_VALVES = ((0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0), (0, 1, 1), (1, 0, 1), (1, 1, 1))  # by semitones lowered
_HALF_NECK = 8.0  # semitones after which half of the neck is left


@dataclass(frozen=True, kw_only=True)
class Moves:
    """What one player's body does at T moments.

    Attributes:
        raised: 0 the instrument is at rest, 1 it is played.
        touch: 0 the bow is off the string, 1 it is on it.
        bow: which part of the bow is on the string, 0 its frog, 1 its tip.
        string: which string is played, 0 the lowest, 1 the highest.
        reach: how far along neck or slide the hand is, 0 to 1.
        fingers: which of the valves or keys are down, 0 to 1 each, (T, keys).
        dip: how deep the player nods into the note, about 0 to 1.
        breath: how far the shoulders are raised before a phrase, 0 to 1.
        sway: where the body leans, x and y in bodies, (T, 2).
        seat: where the chair has moved, x in bodies.
    """

    raised: Floats
    touch: Floats
    bow: Floats
    string: Floats
    reach: Floats
    fingers: Floats
    dip: Floats
    breath: Floats
    sway: Floats
    seat: Floats


def moves_of(notes: Notes, instrument: str, time_s: Floats, *, seed: int) -> Moves:
    """Return how a player moves at moments T.

    Args:
        notes: of the player.
        instrument: code of the orchestra.
        time_s: the moments, rising, in the notes' time.
        seed: of the player's manner and of all motion that does not follow from the notes.
    """
    rng = np.random.default_rng(seed)
    vigour = float(rng.uniform(0.75, 1.25))
    order = np.argsort(notes.onset_s, kind="stable")
    onset_s, offset_s = notes.onset_s[order], notes.offset_s[order]
    pitch, loud = notes.pitch[order].astype(np.float64), notes.velocity[order] / 127.0
    lead_s = float(rng.uniform(*_LEAD_S))
    begin_s = onset_s - lead_s + np.clip(rng.normal(0, _LEAD_SPREAD_S, len(onset_s)), -0.02, 0.02)
    sway, seat = _idle(time_s, np.random.default_rng([seed, 1]))
    keys = N_KEYS if ORCHESTRA[instrument].group == "woodwind" else 3
    if not len(onset_s):
        still = np.zeros(len(time_s))
        return Moves(
            raised=still,
            touch=still,
            bow=still + 0.5,
            string=still,
            reach=still,
            fingers=np.zeros((len(time_s), keys)),
            dip=still,
            breath=still,
            sway=sway,
            seat=seat,
        )
    string, reach, fingers = _fingering(pitch, instrument, keys)
    phrases = _spans(onset_s, offset_s, _PHRASE_GAP_S)
    strokes = _spans(onset_s, offset_s, _LIFT_GAP_S)
    since = (time_s[:, None] - begin_s) / _DIP_S
    dip = (np.where(since > 0, since * np.exp(1 - np.clip(since, 0, 50)), 0) * loud**1.2).sum(axis=1)
    raised = _held(time_s, phrases, _RAISED_S, _SUNK_S)
    before = (phrases[:, 0] - lead_s - time_s[:, None]) / _BREATH_S
    return Moves(
        raised=raised,
        touch=_held(time_s, strokes, (0.14, 0.05), (0.03, 0.15)),
        bow=_bow(time_s, begin_s, offset_s - lead_s / 2, loud * vigour),
        string=_stepped(time_s, begin_s, string) * raised,
        reach=_stepped(time_s, begin_s, reach) * raised,
        fingers=np.stack([_stepped(time_s, begin_s, column) * raised for column in fingers.T], axis=1),
        dip=np.minimum(dip * vigour, 1.6),
        breath=np.clip(1 - np.abs(before - 1), 0, 1).max(axis=1),
        sway=sway,
        seat=seat,
    )


def _idle(time_s: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return sway (T, 2) and the seat's place (T,), which do not depend on notes."""
    hz, phase = rng.uniform(0.08, 0.45, (2, 3)), rng.uniform(0, 2 * np.pi, (2, 3))
    size = _SWAY * rng.uniform(0.5, 1.2, (2, 3)) * np.array([[1.0], [0.3]])
    waves = np.sin(2 * np.pi * hz * time_s[:, None, None] + phase) * size
    sway = waves.sum(axis=2)
    last_s = float(time_s[-1]) if len(time_s) else 0.0
    n_fidgets = int(rng.integers(0, 3 + int(last_s / 12)))
    for moment_s, x, y in zip(
        rng.uniform(0, max(last_s, 1.0), n_fidgets),
        rng.normal(0, _FIDGET, n_fidgets),
        rng.normal(0, _FIDGET / 2, n_fidgets),
        strict=True,
    ):
        sway += np.exp(-(((time_s - moment_s) / 0.35) ** 2))[:, None] * np.array([x, y])
    moved, at_s = float(rng.uniform(-_SEAT_SHIFT, _SEAT_SHIFT)), float(rng.uniform(2.0, max(last_s - 2.0, 3.0)))
    if rng.random() < 0.5:
        moved = 0.0
    seat = moved * eased(np.clip((time_s - at_s) / 1.2, 0, 1))
    return sway, seat


def _fingering(pitch: Floats, instrument: str, n_keys: int) -> tuple[Floats, Floats, Floats]:
    """Return for each note the string, the reach and which keys are down (notes, keys)."""
    keys = np.zeros((len(pitch), n_keys))
    if instrument in _STRINGS:
        opened = np.array(_STRINGS[instrument], np.float64)
        string = np.clip(np.searchsorted(opened, pitch, side="right") - 1, 0, len(opened) - 1)
        semitones = np.clip(pitch - opened[string], 0, 30)
        return string / (len(opened) - 1), 1 - 2 ** (-semitones / _HALF_NECK), keys
    if instrument in _NATURALS:
        naturals = np.array(_NATURALS[instrument])
        above = np.searchsorted(naturals, pitch, side="left")
        lowered = np.where(above < len(naturals), naturals[np.minimum(above, len(naturals) - 1)] - pitch, 0)
        steps = np.clip(lowered, 0, _MOST_SEMITONES).astype(int)
        return np.zeros(len(pitch)), steps / _MOST_SEMITONES, np.array(_VALVES, np.float64)[steps]
    closed = (n_keys - (pitch - ORCHESTRA[instrument].lowest) * 7 / 12 % (n_keys + 1)).round()
    keys = (np.arange(n_keys) < closed[:, None]).astype(np.float64)
    return np.zeros(len(pitch)), np.zeros(len(pitch)), keys


def _spans(onset_s: Floats, offset_s: Floats, gap_s: float) -> Floats:
    """Return begin and end (spans, 2) of notes that are not parted by more than a gap."""
    until = np.maximum.accumulate(offset_s)
    parted = np.flatnonzero(onset_s[1:] - until[:-1] > gap_s)
    begins, ends = np.append(0, parted + 1), np.append(parted, len(onset_s) - 1)
    return np.stack([onset_s[begins], until[ends]], axis=1)


def _held(time_s: Floats, spans: Floats, before_s: tuple[float, float], after_s: tuple[float, float]) -> Floats:
    """Return 1 within spans, 0 far from them, and the way up and down between."""
    up = (time_s[:, None] - (spans[:, 0] - before_s[0])) / (before_s[0] - before_s[1])
    down = (spans[:, 1] + after_s[1] - time_s[:, None]) / (after_s[1] - after_s[0])
    held: Floats = np.clip(np.minimum(up, down), 0, 1).max(axis=1)
    return held


def _bow(time_s: Floats, begin_s: Floats, end_s: Floats, loud: Floats) -> Floats:
    """Return which part of the bow is on the string: it turns with every note, and runs faster for a loud one."""
    knots_s, knots = [], []
    at, way = 0.1, 1.0
    for number, (begin, end, speed) in enumerate(
        zip(begin_s, end_s, _BOW_S[0] + (_BOW_S[1] - _BOW_S[0]) * loud, strict=True)
    ):
        until = min(end, begin_s[number + 1]) if number + 1 < len(begin_s) else end
        until = max(until, begin + 0.02)
        if number and begin - end_s[number - 1] > _PHRASE_GAP_S:
            at, way = 0.1, 1.0
        room = 0.95 - at if way > 0 else at - 0.05
        length = min(speed * (until - begin), room)
        knots_s += [begin, until]
        knots += [at, at + way * length]
        at, way = at + way * length, -way
    played: Floats = np.interp(time_s, np.maximum.accumulate(knots_s), knots)
    return played


def _stepped(time_s: Floats, begin_s: Floats, value: Floats) -> Floats:
    """Return a value that each note has, moved to within the last moment before it."""
    order = np.maximum.accumulate(begin_s)
    knots_s = np.stack([order - _SHIFT_S, order], axis=1)
    knots_s[1:, 0] = np.maximum(knots_s[1:, 0], order[:-1])
    knots = np.stack([np.append(value[:1], value[:-1]), value], axis=1)
    return np.interp(time_s, knots_s.ravel(), knots.ravel())


def eased(share: Floats) -> Floats:
    """Return a way from 0 to 1 that begins and ends slowly."""
    return share * share * (3 - 2 * share)
