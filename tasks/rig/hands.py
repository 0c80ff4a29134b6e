"""Two hands that play a piano: which finger strikes what, and where fingers, wrists and elbows are at each moment.

A hand goes to where its next keys are before they are struck; a finger is on its key before it begins to move, goes
down with it, stays while it is down, and rises. Space as in ``tasks.rig.piano``, centimetres.

Shapes: T moments, 5 fingers from the thumb on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from tasks.instruments.keyboard import IS_BLACK, LOWEST_PITCH
from tasks.instruments.notes import Notes
from tasks.rig.piano import DIP_CM, KEY_CM, SHARP_CM, key_columns_cm

_CHORD_S = 0.03  # strokes closer than this are one chord
_WIDEST_CM = 9.5 * KEY_CM  # that a hand can reach
_NEAREST_CM = 5 * KEY_CM  # between the middles of both hands
_FINGERS_CM = np.array([-2.1, -1.05, 0.0, 1.0, 1.95]) * KEY_CM  # of a right hand at rest, from its middle finger
_TIPS_CM = np.array([-5.6, -3.6, -3.0, -3.4, -4.6])  # y of fingertips on white keys
_ON_SHARP_CM = np.array([-1.0, 0.6, 0.9, 0.7, 0.2])  # y of fingertips on black keys
_FORWARD_CM = 2.2  # that a hand moves in for a black key
_HOVER_CM = 1.3  # of a finger that does not play, over the white keys
_COMES_S, _LIFTS_S = 0.11, 0.14  # that a finger takes to its key, and from it
_MOVES_S = 0.28  # that a hand takes to another place, where there is time
_HELD_COST, _MOVE_COST = 60.0, 0.3


@dataclass(frozen=True, kw_only=True)
class Hand:
    """A hand's places at each moment, cm.

    Attributes:
        is_right: or the left one.
        tips: of the fingers, (T, 5, 3).
        middles: their middle joints, (T, 5, 3).
        knuckles: where they leave the hand, (T, 5, 3).
        wrist: (T, 3).
        elbow: (T, 3).
    """

    is_right: bool
    tips: NDArray[np.float64]
    middles: NDArray[np.float64]
    knuckles: NDArray[np.float64]
    wrist: NDArray[np.float64]
    elbow: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Stroke:
    """A finger's stroke of a key."""

    finger: int  # 0 is the thumb
    key: int  # 0 to 87
    onset_s: float
    offset_s: float
    travel_s: float


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a hand's middle finger would rest from a moment on."""

    onset_s: float
    middle_cm: float
    forward_cm: float


@dataclass(frozen=True, kw_only=True)
class Fingering:
    """What one hand plays."""

    is_right: bool
    strokes: tuple[Stroke, ...]
    places: tuple[Place, ...]


def finger(notes: Notes, travel_s: NDArray[np.float64], *, home_cm: tuple[float, float]) -> list[Fingering]:
    """Share out notes to the fingers of a left and a right hand.

    Args:
        notes: that are played; one that no finger is free for is left out.
        travel_s: of each note's key, before the onset.
        home_cm: x of the hands before anything is played, the left one's first.
    """
    middle_x = key_columns_cm().mean(axis=1)
    at_cm = [float(home) for home in home_cm]
    strokes: tuple[list[Stroke], list[Stroke]] = ([], [])
    places = tuple([Place(onset_s=0.0, middle_cm=home, forward_cm=0.0)] for home in at_cm)
    for chord in _chords(notes):
        rows = np.array(chord)[np.argsort(notes.pitch[chord])]
        x = middle_x[notes.pitch[rows].astype(int) - LOWEST_PITCH]
        n_left = _split(x, at_cm)
        for side, own in enumerate((rows[:n_left], rows[n_left:])):
            if not len(own):
                continue
            own = own[:5]
            keys = notes.pitch[own].astype(int) - LOWEST_PITCH
            onset_s = float(notes.onset_s[own].min())
            held = {s.finger for s in strokes[side] if s.offset_s > onset_s - 0.01}
            fingers, middle_cm = _choose(middle_x[keys], at_cm[side], side == 1, held)
            at_cm[side] = middle_cm
            forward_cm = _FORWARD_CM if IS_BLACK[keys].any() else 0.0
            places[side].append(Place(onset_s=onset_s, middle_cm=middle_cm, forward_cm=forward_cm))
            strokes[side].extend(
                Stroke(
                    finger=number,
                    key=int(key),
                    onset_s=float(notes.onset_s[row]),
                    offset_s=float(notes.offset_s[row]),
                    travel_s=float(travel_s[row]),
                )
                for number, key, row in zip(fingers, keys, own, strict=True)
                if number not in held
            )
    return [Fingering(is_right=bool(side), strokes=tuple(strokes[side]), places=tuple(places[side])) for side in (0, 1)]


def place_hand(
    fingering: Fingering, time_s: NDArray[np.float64], *, reach_cm: float, lifted_cm: float, seed: int
) -> Hand:
    """Return where a hand is at moments.

    Args:
        fingering: what it plays.
        time_s: (T,), rising.
        reach_cm: by which this player's fingers strike farther in than others' do.
        lifted_cm: height that all is held above the keys; more than a key's dip presses none.
        seed: of its unrest.
    """
    side = 1.0 if fingering.is_right else -1.0
    middle, forward = _moved(fingering.places, time_s)
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 2 * np.pi, (5, 2))
    sway = 0.25 * np.sin(2 * np.pi * time_s[:, None] * rng.uniform(0.3, 0.9, 5) + phase[:, 0])
    rest = np.empty((len(time_s), 5, 3))
    rest[..., 0] = middle[:, None] + side * _FINGERS_CM
    rest[..., 1] = _TIPS_CM + reach_cm + forward[:, None]
    rest[..., 2] = _HOVER_CM + lifted_cm + sway + np.where(forward[:, None] > 0.5, 0.5 * SHARP_CM, 0.0)
    tips = rest.copy()
    x = key_columns_cm().mean(axis=1)
    for number in range(5):
        weights, targets = [], []
        for stroke in fingering.strokes:
            if stroke.finger == number:
                first, last = np.searchsorted(
                    time_s, [stroke.onset_s - stroke.travel_s - _COMES_S, stroke.offset_s + _LIFTS_S]
                )
                if first == last:
                    continue
                moment = time_s[first:last]
                comes = (moment - stroke.onset_s + stroke.travel_s) / _COMES_S + 1
                leaves = (stroke.offset_s + _LIFTS_S - moment) / _LIFTS_S
                weight = np.zeros(len(time_s))
                weight[first:last] = _smooth(np.minimum(np.clip(comes, 0, 1), np.clip(leaves, 0, 1)))
                dip = np.clip((moment - stroke.onset_s) / stroke.travel_s + 1, 0, 1) ** 2
                is_sharp = bool(IS_BLACK[stroke.key])
                target = np.zeros((len(time_s), 3))
                target[first:last, 0] = x[stroke.key]
                target[first:last, 1] = (_ON_SHARP_CM if is_sharp else _TIPS_CM)[number] + reach_cm
                target[first:last, 2] = (
                    (SHARP_CM if is_sharp else 0.0) + lifted_cm - (DIP_CM * dip if not lifted_cm else 0)
                )
                weights.append(weight)
                targets.append(target)
        if weights:
            weight, target = np.stack(weights), np.stack(targets)
            total = weight.sum(axis=0)
            weight = weight / np.maximum(total, 1.0)
            tips[:, number] += (weight[..., None] * (target - rest[:, number])).sum(axis=0)
    return _skeleton(fingering.is_right, tips, rest, middle, lifted_cm)


def _chords(notes: Notes) -> list[list[int]]:
    chords: list[list[int]] = []
    for row, onset_s in enumerate(notes.onset_s.tolist()):
        if chords and onset_s - notes.onset_s[chords[-1][0]] < _CHORD_S:
            chords[-1].append(row)
        else:
            chords.append([row])
    return chords


def _split(x: NDArray[np.float64], at_cm: Sequence[float]) -> int:
    """Return how many of the lowest keys the left hand takes."""
    costs = []
    for n_left in range(len(x) + 1):
        parts = (x[:n_left], x[n_left:])
        to = [part.mean() if len(part) else at for part, at in zip(parts, at_cm, strict=True)]
        cost = sum(abs(goal - at) for goal, at in zip(to, at_cm, strict=True))
        cost += sum(
            10.0 * max(0.0, np.ptp(part) - _WIDEST_CM) + 50.0 * max(0, len(part) - 5) for part in parts if len(part)
        )
        costs.append(cost + 3.0 * max(0.0, to[0] + _NEAREST_CM - to[1]))
    return int(np.argmin(costs))


def _choose(x: NDArray[np.float64], at_cm: float, is_right: bool, held: set[int]) -> tuple[list[int], float]:
    """Return the fingers for keys at rising x, and where the middle finger is then."""
    rest = _FINGERS_CM if is_right else -_FINGERS_CM
    order = range(5) if is_right else range(4, -1, -1)  # from the left
    best: tuple[float, list[int], float] = (np.inf, [], at_cm)
    for chosen in combinations(order, len(x)):
        offsets = rest[list(chosen)]
        middle = float(x.mean() - offsets.mean())
        cost = float(np.abs(x - middle - offsets).sum()) + _MOVE_COST * abs(middle - at_cm)
        cost += _HELD_COST * sum(number in held for number in chosen)
        if cost < best[0]:
            best = (cost, list(chosen), middle)
    return best[1], best[2]


def _moved(places: Sequence[Place], time_s: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a hand's middle and how far it is in, (T,) each: it stays, then goes to where it is needed next."""
    knots = [(places[0].onset_s - 1.0, places[0].middle_cm, places[0].forward_cm)]
    before = places[0]
    for place in places[1:]:
        gap_s = place.onset_s - before.onset_s
        arrives_s = place.onset_s - min(0.14, 0.35 * gap_s)
        leaves_s = max(arrives_s - _MOVES_S, before.onset_s + 0.2 * gap_s)
        knots += [(leaves_s, before.middle_cm, before.forward_cm), (arrives_s, place.middle_cm, place.forward_cm)]
        before = place
    at_s, middle, forward = np.array(knots).T
    near_s = time_s + np.array([[-0.03], [0.0], [0.03]])  # no hand starts or stops at once
    return np.interp(near_s, at_s, middle).mean(axis=0), np.interp(near_s, at_s, forward).mean(axis=0)


def _skeleton(
    is_right: bool,
    tips: NDArray[np.float64],
    rest: NDArray[np.float64],
    middle: NDArray[np.float64],
    lifted_cm: float,
) -> Hand:
    """Return a hand whose fingers end at ``tips``."""
    side = 1.0 if is_right else -1.0
    knuckles = np.empty_like(tips)
    spread = side * np.array([-1.25, -0.95, 0.0, 0.9, 1.75]) * 2.0
    stretched = tips - rest
    knuckles[..., 0] = middle[:, None] + spread + 0.25 * stretched[..., 0]
    knuckles[..., 1] = rest[:, 2:3, 1] - np.array([9.6, 6.6, 6.3, 6.7, 7.5]) + 0.4 * stretched[..., 1]
    knuckles[..., 2] = np.array([3.6, 5.0, 5.2, 4.9, 4.3]) + lifted_cm
    middles = 0.5 * (knuckles + tips)
    middles[..., 1] += 0.7
    middles[..., 2] += np.array([0.3, 1.6, 1.8, 1.6, 1.2])
    wrist = np.stack([middle - side * 0.6, rest[:, 2, 1] - 14.5, np.full(len(middle), 4.6 + lifted_cm)], axis=-1)
    body = side * 22.0
    elbow = np.stack(
        [middle + 0.6 * (body - middle), np.full(len(middle), -62.0), np.full(len(middle), lifted_cm)], axis=-1
    )
    return Hand(is_right=is_right, tips=tips, middles=middles, knuckles=knuckles, wrist=wrist, elbow=elbow)


def _smooth(share: NDArray[np.float64]) -> NDArray[np.float64]:
    eased: NDArray[np.float64] = share * share * (3 - 2 * share)
    return eased
