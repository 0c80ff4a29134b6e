"""The marimba: where its bars lie, which mallet strikes which of them, and how the mallets travel.

The marimba of 18 bars that has a family of models of its own bears the "black" notes from F sharp 4 to B flat 7.

Space is measured in centimetres: x grows to the right from the player's side, towards the high notes, y away from the
player, z upwards; the origin is the middle of the bars' upper faces.

Shapes: M mallets, S strokes of one mallet, T times.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tasks.instruments.notes import Notes

MARIMBA_18 = (66, 68, 70, 73, 75, 78, 80, 82, 85, 87, 90, 92, 94, 97, 99, 102, 104, 106)
HEAD_RADIUS_CM = 1.7
MOST_MALLETS = 4

_LOWEST, _HIGHEST = 65, 107  # F4 and B7: the naturals around the 18 bars; sizes go evenly from one to the other
_SLOT_CM = (5.6, 4.6)  # from a natural bar to the next one
_LENGTH_CM = (31.0, 16.0)
_WIDTH_OF_SLOT = 0.86  # the rest is a gap
_NATURALS = (0, 2, 4, 5, 7, 9, 11)

_TOGETHER_S = 0.035  # strokes closer than this are one chord, which needs a mallet a note
_FASTEST_CM_S = 400.0  # mean speed of a stroke's last part, downwards
_STROKE_S = 0.09  # that part
_REBOUND_S = 0.12
_TRAVEL_S = 0.6  # a player who has time goes late, and without haste
_REST_CM = 9.0  # height of a mallet that waits
_SWAY_CM = 0.35
_GRIP_CM = (0.0, -33.0, 11.0)  # from a mallet's tip to the hand that holds it
_BEAM = 24  # plans kept while strokes are shared out


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar, from above.

    Attributes:
        pitch: MIDI number.
        x_cm: its middle; in y it lies around 0.
        width_cm: across, in x.
        length_cm: along, in y; longer for lower notes.
    """

    pitch: int
    x_cm: float
    width_cm: float
    length_cm: float

    @property
    def corners_cm(self) -> NDArray[np.float64]:
        """Corners of the upper face (4, 2): low and near, high and near, high and far, low and far."""
        x, y = self.width_cm / 2, self.length_cm / 2
        return np.array([[self.x_cm - x, -y], [self.x_cm + x, -y], [self.x_cm + x, y], [self.x_cm - x, y]])


def bars_of(pitches: Sequence[int] = MARIMBA_18) -> tuple[Bar, ...]:
    """Return the bars in order of pitch; where a row of naturals would leave a gap, so does this one.

    Raises:
        ValueError: a pitch is natural or outside F4 to B7: this row has none.
    """
    slots = np.cumsum([0.0, *(_size(pitch, _SLOT_CM) for pitch in range(_LOWEST, _HIGHEST + 1) if _is_natural(pitch))])
    naturals = [pitch for pitch in range(_LOWEST, _HIGHEST + 1) if _is_natural(pitch)]
    middle = slots[-1] / 2
    bars = []
    for pitch in sorted(pitches):
        if _is_natural(pitch) or not _LOWEST < pitch < _HIGHEST:
            raise ValueError(f"pitch {pitch} has no bar, expected one of {MARIMBA_18}")
        bars.append(
            Bar(
                pitch=pitch,
                x_cm=float(slots[naturals.index(pitch + 1)] - middle),
                width_cm=_WIDTH_OF_SLOT * _size(pitch, _SLOT_CM),
                length_cm=_size(pitch, _LENGTH_CM),
            )
        )
    return tuple(bars)


def row_corners(bars: Sequence[Bar]) -> NDArray[np.float64]:
    """Return the corners around all bars (4, 2), in cm: low and near, high and near, high and far, low and far."""
    low, high = bars[0].corners_cm, bars[-1].corners_cm
    return np.array([low[0], high[1], high[2], low[3]])


@dataclass(frozen=True, kw_only=True)
class Mallet:
    """What one mallet strikes, and with that where it is at any time.

    Attributes:
        onset_s: when it strikes, rising, (S,).
        target_cm: where, (S, 3); z is 0.
        velocity: 1 to 127, (S,).
        home_cm: where it waits when it strikes nothing at all, (3,).
        phase: 0 to 1, of its sway.
    """

    onset_s: NDArray[np.float64]
    target_cm: NDArray[np.float64]
    velocity: NDArray[np.uint8]
    home_cm: NDArray[np.float64]
    phase: float

    def tip_at(self, time_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where the lowest point of the head is, (T, 3) in cm: on the bar, z exactly 0, at each onset."""
        time_s = np.asarray(time_s, np.float64)
        if not len(self.onset_s):
            return self._swaying(np.repeat(self.home_cm[None], len(time_s), axis=0), time_s)
        # A stroke long before and one long after, in the air: every moment lies between two strokes.
        far_s = 60.0
        onset_s = np.r_[self.onset_s[0] - far_s, self.onset_s, self.onset_s[-1] + far_s]
        where = np.concatenate([self.target_cm[:1], self.target_cm, self.target_cm[-1:]])
        force = np.r_[self.velocity[0], self.velocity, self.velocity[-1]] / 127.0
        row = np.clip(np.searchsorted(onset_s, time_s, side="right") - 1, 0, len(onset_s) - 2)
        since_s, until_s = time_s - onset_s[row], onset_s[row + 1] - time_s
        gap_s = onset_s[row + 1] - onset_s[row]

        stroke_s, rebound_s = np.minimum(_STROKE_S, 0.35 * gap_s), np.minimum(_REBOUND_S, 0.35 * gap_s)
        raised = np.minimum(4.0 + 14.0 * force[row + 1], _FASTEST_CM_S / 2 * stroke_s)
        bounced = np.minimum(np.minimum(3.0 + 8.0 * force[row], _REST_CM), _FASTEST_CM_S / 2 * rebound_s)
        rest_s = np.maximum(gap_s - stroke_s - rebound_s, 1e-9)
        # In between: from the rebound's height to the one that the next stroke falls from, late when there is time.
        late_s = np.minimum(rest_s, _TRAVEL_S)
        between = bounced + (raised - bounced) * _smooth(1 - (until_s - stroke_s) / late_s)
        down = raised * (1 - np.clip(1 - until_s / stroke_s, 0, 1) ** 2)
        up = bounced * (1 - np.clip(1 - since_s / rebound_s, 0, 1) ** 2)
        height = np.where(since_s < rebound_s, up, np.where(until_s < stroke_s, down, between))

        begin_s = np.maximum(0.1 * gap_s, gap_s - _TRAVEL_S)
        end_s = gap_s - np.minimum(0.12 * gap_s, 0.03)
        moved = _smooth((since_s - begin_s) / (end_s - begin_s))
        tip = where[row] + (where[row + 1] - where[row]) * moved[:, None]
        tip[:, 2] = height
        return self._swaying(tip, time_s)

    def _swaying(self, tip: NDArray[np.float64], time_s: NDArray[np.float64]) -> NDArray[np.float64]:
        # A hand is never quite still; where the mallet touches a bar the sway is nothing.
        loose = np.clip(tip[:, 2] / _REST_CM, 0, 1) * _SWAY_CM
        turn = 2 * np.pi * self.phase
        tip[:, 0] += loose * np.sin(2 * np.pi * 0.43 * time_s + turn)
        tip[:, 1] += loose * np.sin(2 * np.pi * 0.31 * time_s + 2 * turn)
        return tip


def plan_mallets(notes: Notes, bars: Sequence[Bar], *, n_mallets: int | None = None) -> tuple[Mallet, ...]:
    """Share the notes out to mallets: none strikes twice at a time, little travel, hands alternate, few crossings.

    Args:
        notes: what is struck; two notes of one pitch at one moment need two mallets.
        bars: the instrument's.
        n_mallets: 2 to 4; None takes as many as the fullest chord needs, at least 2.

    Returns:
        The mallets from left to right. A chord fuller than the mallets is struck by some of them twice in no time.

    Raises:
        ValueError: a note has no bar, or there are fewer than 2 or more than 4 mallets.
    """
    by_pitch = {bar.pitch: bar for bar in bars}
    for pitch in notes.pitch.tolist():
        if pitch not in by_pitch:
            raise ValueError(f"a note has pitch {pitch}, expected one of the bars' {sorted(by_pitch)}")
    if n_mallets is None:
        n_mallets = min(MOST_MALLETS, max(2, _fullest_chord(notes.onset_s)))
    if not 2 <= n_mallets <= MOST_MALLETS:
        raise ValueError(f"{n_mallets} mallets, expected 2 to {MOST_MALLETS}")
    x_cm = np.array([by_pitch[pitch].x_cm for pitch in notes.pitch.tolist()])
    width_cm = bars[-1].x_cm - bars[0].x_cm
    home_cm = [bars[0].x_cm + width_cm * (2 * mallet + 1) / (2 * n_mallets) for mallet in range(n_mallets)]
    player = _share_out(notes.onset_s, x_cm, home_cm)
    mallets = []
    for mallet in range(n_mallets):
        struck = notes.take(player == mallet)
        length_cm = np.array([by_pitch[pitch].length_cm for pitch in struck.pitch.tolist()])
        # Two mallets on one bar strike beside each other.
        aside = np.full(len(struck), (mallet % 2 - 0.5) * 0.22) * length_cm
        mallets.append(
            Mallet(
                onset_s=struck.onset_s,
                target_cm=np.stack([x_cm[player == mallet], aside, np.zeros(len(struck))], axis=1),
                velocity=struck.velocity,
                home_cm=np.array([home_cm[mallet], -6.0, _REST_CM]),
                phase=(mallet * 0.37) % 1.0,
            )
        )
    return tuple(mallets)


def hands_of(tips_cm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where each mallet is held, (M, T, 3), from where the tips are, (M, T, 3).

    Of four mallets two are in each hand, of three one is in the left. A hand rises by a third of what its mallets do:
    the wrist turns.
    """
    holders = {2: (0, 1), 3: (0, 1, 1), 4: (0, 0, 1, 1)}[len(tips_cm)]
    hands = np.empty_like(tips_cm)
    for hand in (0, 1):
        held = [mallet for mallet, holder in enumerate(holders) if holder == hand]
        middle = tips_cm[held].mean(axis=0)
        hands[held] = middle * (1.0, 0.5, 0.35) + _GRIP_CM
    return hands


def ringing(
    notes: Notes, bars: Sequence[Bar], time_s: NDArray[np.float64], *, decay_s: float = 0.18
) -> NDArray[np.float64]:
    """Return how strongly each bar still swings, (T, bars): up to 1 at a stroke, less by e each ``decay_s``, then 0."""
    swing = np.zeros((len(time_s), len(bars)))
    column = {bar.pitch: index for index, bar in enumerate(bars)}
    strokes = zip(notes.onset_s.tolist(), notes.pitch.tolist(), notes.velocity.tolist(), strict=True)
    for onset_s, pitch, velocity in strokes:
        first, last = np.searchsorted(time_s, [onset_s, onset_s + 6 * decay_s])
        fall = velocity / 127.0 * np.exp((onset_s - time_s[first:last]) / decay_s)
        np.maximum(swing[first:last, column[pitch]], fall, out=swing[first:last, column[pitch]])
    return swing


def _size(pitch: int, ends: tuple[float, float]) -> float:
    share = (pitch - _LOWEST) / (_HIGHEST - _LOWEST)
    return ends[0] + (ends[1] - ends[0]) * share


def _is_natural(pitch: int) -> bool:
    return pitch % 12 in _NATURALS


def _smooth(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 0 to 1 along the path of least jerk."""
    share = np.clip(share, 0.0, 1.0)
    eased: NDArray[np.float64] = share**3 * (10 - 15 * share + 6 * share**2)
    return eased


def _fullest_chord(onset_s: NDArray[np.float64]) -> int:
    onset_s = np.sort(onset_s)
    ends = np.searchsorted(onset_s, onset_s + _TOGETHER_S, side="right")
    return int((ends - np.arange(len(onset_s))).max(initial=0))


@dataclass(frozen=True)
class _Plan:
    """Some strokes assigned to mallets: the cost, which mallet struck, and where and when each mallet was last."""

    cost: float
    chosen: tuple[int, ...]
    x_cm: tuple[float, ...]
    last_s: tuple[float, ...]


def _share_out(onset_s: NDArray[np.float64], x_cm: NDArray[np.float64], home_cm: Sequence[float]) -> NDArray[np.intp]:
    """Return the mallet of each stroke, by a beam search over the strokes in order of time."""
    order = np.lexsort((x_cm, onset_s))
    plans = [_Plan(0.0, (), tuple(home_cm), (-1e3,) * len(home_cm))]
    for moment, x in zip(onset_s[order].tolist(), x_cm[order].tolist(), strict=True):
        nexts = [_with_stroke(plan, mallet, moment, x) for plan in plans for mallet in range(len(home_cm))]
        plans = sorted(nexts, key=lambda plan: (plan.cost, plan.chosen))[:_BEAM]
    mallet = np.zeros(len(onset_s), np.intp)
    mallet[order] = plans[0].chosen
    return mallet


def _with_stroke(plan: _Plan, mallet: int, moment: float, x: float) -> _Plan:
    gap_s = max(moment - plan.last_s[mallet], 1e-3)
    way_cm = abs(x - plan.x_cm[mallet])
    cost = way_cm / 25 + (way_cm / gap_s / 250) ** 2 + (0.14 / gap_s) ** 2
    if gap_s < _TOGETHER_S:
        cost += 1e4  # it is still on the bar that it has just struck
    where = (*plan.x_cm[:mallet], x, *plan.x_cm[mallet + 1 :])
    cost += 2.0 * sum(left > right + 0.5 for left, right in pairwise(where))
    when = (*plan.last_s[:mallet], moment, *plan.last_s[mallet + 1 :])
    return _Plan(plan.cost + cost, (*plan.chosen, mallet), where, when)
