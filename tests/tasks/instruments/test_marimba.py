"""The marimba: bars where a real one has them, and mallets that are on a bar exactly when it sounds."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.instruments.marimba import MARIMBA_18, bars_of, hands_of, plan_mallets, ringing, row_corners
from tasks.instruments.midi import MidiPolicy
from tasks.instruments.midi_reader import read_midi
from tasks.instruments.notes import sorted_notes

BARS = bars_of()
SCORES = sorted((Path(__file__).parents[3] / "data/sample/marimba/midi").glob("*.mid"))
POLICY = MidiPolicy(max_bytes=10**6, max_duration_s=600, max_notes=10_000, hanging="close", overlap="cut", channels=16)


def played(*rows):
    onset_s, pitch = (np.array(column) for column in zip(*rows, strict=True))
    return sorted_notes(onset_s, onset_s + 0.1, pitch, np.full(len(pitch), 80))


scores = st.lists(
    st.tuples(st.floats(0.5, 8.0), st.sampled_from(MARIMBA_18)), min_size=1, max_size=30, unique_by=lambda row: row[0]
)


def test_the_18_bars_are_f_sharp_4_to_b_flat_7_in_groups_of_two_and_three():
    steps = [later - earlier for earlier, later in pairwise(MARIMBA_18)]
    assert (MARIMBA_18[0], MARIMBA_18[-1]) == (66, 106)
    assert steps == [2, 2, 3, 2, 3] * 3 + [2, 2]


def test_lower_bars_are_longer_and_wider_and_none_overlap():
    for low, high in pairwise(BARS):
        assert low.length_cm > high.length_cm
        assert low.width_cm > high.width_cm
        assert high.x_cm - low.x_cm > (low.width_cm + high.width_cm) / 2
    assert row_corners(BARS)[1, 0] - row_corners(BARS)[0, 0] == pytest.approx(122, abs=5)  # real ones: 1.2 m


def test_a_group_is_followed_by_a_gap_as_wide_as_a_bar():
    gap = {low.pitch % 12: high.x_cm - low.x_cm for low, high in pairwise(BARS[:6])}
    assert gap[10] > 1.8 * gap[6]  # B flat to D flat, F sharp to G sharp
    assert gap[3] > 1.8 * gap[1]


def test_a_natural_has_no_bar():
    with pytest.raises(ValueError, match="pitch 72"):
        bars_of([72])
    with pytest.raises(ValueError, match="pitch 72"):
        plan_mallets(played((1.0, 72)), BARS)


@pytest.mark.parametrize("score", SCORES, ids=lambda path: path.stem)
def test_at_every_onset_of_the_bundled_scores_a_mallet_is_on_the_bar(score):
    notes = read_midi(score, POLICY).notes
    mallets = plan_mallets(notes, BARS)
    assert 2 <= len(mallets) <= 4
    where = {bar.pitch: bar for bar in BARS}
    for onset_s, pitch in zip(notes.onset_s, notes.pitch.tolist(), strict=True):
        tips = np.stack([mallet.tip_at(np.array([onset_s]))[0] for mallet in mallets])
        on_bar = (np.abs(tips[:, 0] - where[pitch].x_cm) < 0.5) & (np.abs(tips[:, 2]) < 0.5)
        assert on_bar.any()


@pytest.mark.parametrize("score", SCORES, ids=lambda path: path.stem)
def test_no_mallet_touches_a_bar_that_does_not_sound(score):
    notes = read_midi(score, POLICY).notes
    time_s = np.arange(0, notes.offset_s.max() + 1, 0.002)
    for mallet in plan_mallets(notes, BARS):
        low = time_s[mallet.tip_at(time_s)[:, 2] < 0.2]
        nearest = np.abs(low[:, None] - mallet.onset_s).min(axis=1, initial=9.0)
        assert (nearest < 0.01).all()


@given(scores)
def test_each_stroke_is_of_one_mallet_and_hits_its_own_bar(rows):
    notes = played(*rows)
    mallets = plan_mallets(notes, BARS)
    struck = sorted(
        (onset_s, x) for mallet in mallets for onset_s, x in zip(mallet.onset_s, mallet.target_cm[:, 0], strict=True)
    )
    x_cm = {bar.pitch: bar.x_cm for bar in BARS}
    assert struck == sorted(zip(notes.onset_s, [x_cm[pitch] for pitch in notes.pitch.tolist()], strict=True))
    for mallet in mallets:
        np.testing.assert_array_equal(mallet.tip_at(mallet.onset_s), mallet.target_cm)


@given(scores)
def test_mallets_move_without_jumps_and_stay_above_the_bars(rows):
    onset_s = np.sort([onset_s for onset_s, _ in rows])
    for mallet in plan_mallets(played(*rows), BARS):
        gaps_s = np.diff(mallet.onset_s)
        if (gaps_s < 0.05).any():  # more at once than mallets can play
            continue
        time_s = np.arange(onset_s[0] - 1, onset_s[-1] + 1, 0.001)
        tip = mallet.tip_at(time_s)
        assert tip[:, 2].min() >= 0
        assert np.abs(np.diff(tip[:, 2])).max() <= 0.9  # 9 m/s
        way_cm = np.abs(np.diff(mallet.target_cm[:, 0])) / np.clip(gaps_s, 1e-9, 0.55)
        assert np.abs(np.diff(tip[:, 0])).max() <= 0.001 * 2.8 * way_cm.max(initial=20.0)


def test_a_roll_alternates_between_two_mallets():
    roll = played(*((1 + 0.08 * stroke, 82) for stroke in range(12)))
    left, right = plan_mallets(roll, BARS)
    assert len(left.onset_s) == len(right.onset_s) == 6
    assert np.diff(left.onset_s).min() == pytest.approx(0.16)


def test_a_chord_of_four_takes_four_mallets_from_left_to_right():
    mallets = plan_mallets(played((1.0, 66), (1.001, 75), (1.002, 90), (1.003, 102)), BARS)
    assert len(mallets) == 4
    x_cm = [mallet.target_cm[0, 0] for mallet in mallets]
    assert x_cm == sorted(x_cm)


def test_hands_hold_two_mallets_each_and_are_nearer_to_the_player():
    tips = np.random.default_rng(0).normal(0, 20, (4, 5, 3))
    hands = hands_of(tips)
    np.testing.assert_array_equal(hands[0], hands[1])
    np.testing.assert_array_equal(hands[2], hands[3])
    assert (hands[0, :, 1] < tips[:2, :, 1].mean(axis=0)).mean() > 0.5


def test_a_bar_rings_from_its_stroke_on_and_only_it():
    time_s = np.arange(0, 4, 0.01)
    swing = ringing(played((1.0, 70)), BARS, time_s, decay_s=0.2)
    assert np.flatnonzero(swing.any(axis=0)).tolist() == [2]
    assert not swing[time_s < 0.999].any()
    assert swing[100, 2] == pytest.approx(80 / 127)
    assert swing[120, 2] == pytest.approx(80 / 127 / np.e)
    assert not swing[time_s > 2.3].any()
