"""How players move: as their notes require, a little ahead of the sound, and no further than a body goes."""

from dataclasses import fields

import numpy as np
import pytest

from tasks.instruments.notes import sorted_notes
from tasks.instruments.orchestra import ORCHESTRA, SLOTS
from tasks.rig.moves import moves_of

RATE = 200.0
TIME_S = np.arange(int(12 * RATE)) / RATE
ONSET_S = np.array([2.0, 2.5, 3.0, 3.5, 8.0, 8.5])


def notes_of(pitches, velocity=90, length_s=0.4):
    n = len(pitches)
    return sorted_notes(ONSET_S[:n], ONSET_S[:n] + length_s, np.array(pitches), np.full(n, velocity))


def at(values, moment_s):
    return values[round(moment_s * RATE)]


NOTES = {code: notes_of([ORCHESTRA[code].lowest + step for step in (5, 12, 7, 14, 9, 6)]) for code in SLOTS}


@pytest.mark.parametrize("code", SLOTS)
def test_the_same_player_moves_the_same_and_within_the_ranges(code):
    one, other = (moves_of(NOTES[code], code, TIME_S, seed=4) for _ in range(2))
    for field in fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))
    for name in ("raised", "touch", "bow", "string", "reach", "fingers", "breath"):
        values = getattr(one, name)
        assert 0 <= values.min() <= values.max() <= 1, name


@pytest.mark.parametrize("code", SLOTS)
def test_an_instrument_sinks_at_long_rests_and_is_up_before_a_phrase_begins(code):
    moves = moves_of(NOTES[code], code, TIME_S, seed=4)
    assert at(moves.raised, 0.5) == at(moves.raised, 5.5) == at(moves.raised, 11.0) == 0
    assert min(at(moves.raised, 1.95), at(moves.raised, 3.2), at(moves.raised, 7.95)) == 1


def test_a_nod_begins_30_to_60_ms_before_its_onset_and_is_deeper_for_a_loud_note():
    depths = []
    for velocity in (40, 80, 120):
        moves = moves_of(notes_of([60], velocity), "tpt", TIME_S, seed=4)
        begin_s = TIME_S[np.flatnonzero(moves.dip > 0)[0]]
        assert 0.02 <= 2.0 - begin_s <= 0.075
        depths.append(moves.dip.max())
    assert depths == sorted(depths)
    assert depths[2] > 2 * depths[0]


def test_the_bow_turns_with_every_note_and_runs_faster_for_a_loud_one():
    moves = moves_of(notes_of([60, 60, 60, 60]), "vn", TIME_S, seed=4)
    middles = [np.gradient(moves.bow)[round((onset + 0.15) * RATE)] for onset in ONSET_S[:4]]
    assert np.sign(middles).tolist() == [1, -1, 1, -1]
    soft = moves_of(notes_of([60, 60], 30), "vn", TIME_S, seed=4)
    loud = moves_of(notes_of([60, 60], 120), "vn", TIME_S, seed=4)
    assert np.ptp(loud.bow) > 1.5 * np.ptp(soft.bow)
    assert at(loud.touch, 2.2) == 1
    assert at(loud.touch, 5.0) == 0


def test_the_left_hand_goes_up_the_neck_with_the_pitch_and_is_there_before_the_note():
    moves = moves_of(notes_of([76, 79, 83, 88]), "vn", TIME_S, seed=4)
    reaches = [at(moves.reach, onset) for onset in ONSET_S[:4]]
    assert reaches[0] == 0  # the open E string
    assert (np.diff(reaches) > 0.05).all()
    strings = moves_of(notes_of([55, 62, 69, 76]), "vn", TIME_S, seed=4).string
    np.testing.assert_allclose([at(strings, onset) for onset in ONSET_S[:4]], [0, 1 / 3, 2 / 3, 1])


def test_the_slide_is_in_the_position_that_trombonists_use():
    # First position: B flat, F; then A second, A flat third, G fourth, F sharp fifth, E seventh.
    pitches, positions = [58, 57, 56, 55, 54, 47], [1, 2, 3, 4, 5, 7]
    moves = moves_of(notes_of(pitches), "tbn", TIME_S, seed=4)
    np.testing.assert_allclose([at(moves.reach, onset) * 6 + 1 for onset in ONSET_S], positions)


def test_the_valves_are_those_that_trumpeters_press():
    # B flat open, A 2, A flat 1, G 1 and 2, F sharp 2 and 3, E 1 and 2 under the F above.
    pitches, valves = [70, 69, 68, 67, 66, 64], ["000", "010", "100", "110", "011", "010"]
    moves = moves_of(notes_of(pitches), "tpt", TIME_S, seed=4)
    pressed = ["".join(str(int(down)) for down in at(moves.fingers, onset)) for onset in ONSET_S]
    assert pressed == valves


def test_woodwind_fingers_change_with_the_pitch():
    moves = moves_of(notes_of([60, 64, 67, 71, 60, 64]), "cl", TIME_S, seed=4)
    pressed = [tuple(at(moves.fingers, onset)) for onset in ONSET_S]
    assert len(set(pressed[:4])) >= 3
    assert pressed[4:] == pressed[:2]


def test_sway_and_seat_know_nothing_of_the_notes():
    one = moves_of(notes_of([60, 62]), "ob", TIME_S, seed=9)
    other = moves_of(notes_of([80, 71, 90, 66, 70, 60], 30), "ob", TIME_S, seed=9)
    np.testing.assert_array_equal(one.sway, other.sway)
    np.testing.assert_array_equal(one.seat, other.seat)
    assert one.sway.std() > 0


def test_who_plays_nothing_rests():
    for code in SLOTS:
        moves = moves_of(notes_of([]), code, TIME_S, seed=9)
        assert not moves.raised.any()
        assert not moves.dip.any()
        assert not moves.breath.any()
        assert moves.sway.std() > 0
