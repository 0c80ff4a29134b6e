"""The grid of times that the synthesizer's blocks and every code rate share."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import ParamsError
from tasks.instruments.grid import controls_on_grid, fine_step_s, grid_step_s, largest_move_s, on_grid
from tasks.instruments.keyboard import LOWEST_PITCH, key_states, shown_at, with_pedal
from tasks.instruments.midi import Controls
from tasks.instruments.notes import Notes, sorted_notes
from tasks.instruments.synth import BLOCK_LENGTH
from tasks.render import RenderParams

STEP_S = Fraction(1, 250)
CODE_RATES = (4_000, 8_000, 16_000)


def notes_of(*rows):
    """Make notes of (onset s, offset s, pitch, velocity) and perhaps the damper's time."""
    columns = np.array([(*row, row[1])[:5] for row in rows], float).reshape(-1, 5).T
    onset_s, offset_s, pitch, velocity, sounding_offset_s = columns
    return sorted_notes(onset_s, offset_s, pitch.astype(int), velocity.astype(int), sounding_offset_s)


def moves_of(*rows):
    time_s, control, value = np.array(rows, float).reshape(-1, 3).T
    return Controls(time_s=time_s, control=control.astype(np.uint8), value=value.astype(np.uint8))


def rows_of(notes: Notes):
    columns = (notes.onset_s, notes.offset_s, notes.pitch, notes.velocity, notes.sounding_offset_s)
    return list(zip(*(column.tolist() for column in columns), strict=True))


# The step


@pytest.mark.parametrize(
    ("sample_rate", "code_rates", "expected"),
    [
        (48_000, CODE_RATES, Fraction(1, 250)),  # three blocks; 16, 32 and 64 samples of the codes
        (48_000, (4_000,), Fraction(1, 250)),
        (48_000, (12_000,), Fraction(1, 750)),  # a block is 16 samples
        (44_100, CODE_RATES, Fraction(16, 25)),
        (44_100, (11_025,), Fraction(16, 11_025)),
        (96_000, CODE_RATES, Fraction(1, 500)),
        (64_000, CODE_RATES, Fraction(1, 1000)),
        (32_000, CODE_RATES, Fraction(1, 500)),
        (24_000, CODE_RATES, Fraction(1, 125)),
        (16_000, CODE_RATES, Fraction(1, 250)),
        (8_000, CODE_RATES, Fraction(1, 125)),
    ],
)
def test_the_step_is_the_shortest_time_of_whole_blocks_and_whole_samples(sample_rate, code_rates, expected):
    step_s = grid_step_s(sample_rate, code_rates)
    assert step_s == expected
    periods_s = [Fraction(BLOCK_LENGTH, sample_rate), *(Fraction(1, rate) for rate in code_rates)]
    blocks = step_s / periods_s[0]
    assert all((step_s / period_s).denominator == 1 for period_s in periods_s)
    for fewer in range(1, int(blocks)):  # no smaller number of blocks would do
        assert any((fewer * periods_s[0] / period_s).denominator != 1 for period_s in periods_s)


@pytest.mark.parametrize(("sample_rate", "found"), [(44_100, "0.64"), (24_000, "0.008"), (8_000, "0.008")])
def test_a_grid_coarser_than_4_ms_is_refused_and_a_rate_proposed(sample_rate, found):
    message = (
        rf"^params\.yaml: render\.sample_rate {sample_rate} and render\.code_rates \[4000, 8000, 16000\] share a grid"
        rf" of {found} s, expected at most 0\.004 s: take sample_rate 48000, or other rates$"
    )
    with pytest.raises(ParamsError, match=message):
        fine_step_s(sample_rate, CODE_RATES, section="render")
    values = {"gain": 1.0, "program": 0, "tail_s": 1.0, "restrike_gap_s": 0.05, "lit": "velocity", "pedal": "drawn"}
    with pytest.raises(ParamsError, match=message):
        RenderParams.parse({"sample_rate": sample_rate, "code_rates": list(CODE_RATES), **values}, "render")


@pytest.mark.parametrize(("sample_rate", "code_rates"), [(0, (4_000,)), (48_000, (4_000, 0)), (48_000, (-4_000,))])
def test_rates_that_are_none_are_refused(sample_rate, code_rates):
    with pytest.raises(ValueError, match=r"expected all above 0$"):
        grid_step_s(sample_rate, code_rates)


# Notes


def test_times_go_to_the_nearest_point_and_from_halfway_to_the_later_one():
    notes = notes_of((0.1019, 0.2021, 60, 80, 0.3059), (0.126, 0.25, 61, 80))
    assert rows_of(on_grid(notes, STEP_S)) == [(0.1, 0.204, 60, 80, 0.304), (0.128, 0.252, 61, 80, 0.252)]


def test_a_note_shorter_than_a_step_lasts_one():
    notes = notes_of((0.1005, 0.1006, 60, 80), (0.2025, 0.2075, 61, 80), (0.302, 0.3021, 62, 80))
    moved = on_grid(notes, STEP_S)
    assert rows_of(moved) == [
        (0.1, 0.104, 60, 80, 0.104),
        (0.204, 0.208, 61, 80, 0.208),
        (0.304, 0.308, 62, 80, 0.308),
    ]
    time_s, velocity = key_states(moved, restrike_gap_s=0.05, step_s=STEP_S)
    assert np.count_nonzero(velocity, axis=0)[[39, 40, 41]].tolist() == [1, 1, 1]
    np.testing.assert_array_equal(shown_at(time_s, rate=Fraction(4000), start=400, count=33), [*[1] * 16, *[2] * 17])


def test_strokes_of_one_key_on_one_point_are_one_note_the_hardest_and_the_longest():
    notes = notes_of((0.1, 0.2, 60, 40, 0.9), (0.1015, 0.5, 60, 90), (0.1, 0.3, 61, 50), (0.106, 0.4, 60, 20))
    assert rows_of(on_grid(notes, STEP_S)) == [
        (0.1, 0.5, 60, 90, 0.9),
        (0.1, 0.3, 61, 50, 0.3),
        (0.108, 0.4, 60, 20, 0.4),  # a later stroke of the key is another note
    ]


def test_no_notes_are_none():
    assert len(on_grid(notes_of(), STEP_S)) == 0
    assert largest_move_s(notes_of(), None, STEP_S) == 0.0


def test_the_largest_move_is_that_of_any_onset_offset_or_pedal():
    notes = notes_of((0.1015, 0.2, 60, 80), (0.3, 0.4, 61, 80))
    assert largest_move_s(notes, None, STEP_S) == pytest.approx(0.0015)
    assert largest_move_s(notes, moves_of((0.2018, 64, 127)), STEP_S) == pytest.approx(0.0018)
    assert largest_move_s(notes_of((0.1, 0.1001, 60, 80)), None, STEP_S) == pytest.approx(0.0039)


rows = st.lists(
    st.tuples(st.floats(0, 3), st.floats(2**-20, 0.5), st.integers(60, 63), st.integers(1, 127), st.floats(0, 1)).map(
        lambda row: (row[0], row[0] + row[1], row[2], row[3], row[0] + row[1] + row[4])
    ),
    max_size=30,
)
steps = st.sampled_from([Fraction(1, 250), Fraction(1, 500), Fraction(1, 750), Fraction(16, 11_025)])
ROUNDING_S = 1e-12


@given(rows, steps)
def test_what_is_on_the_grid_stays_there(rows, step_s):
    once = on_grid(notes_of(*rows), step_s)
    assert rows_of(on_grid(once, step_s)) == rows_of(once)


@given(rows, steps)
def test_every_time_is_a_float64_nearest_to_a_whole_number_of_steps_and_offsets_come_after_onsets(rows, step_s):
    moved = on_grid(notes_of(*rows), step_s)
    points = []
    for times_s in (moved.onset_s, moved.offset_s, moved.sounding_offset_s):
        points.append([round(Fraction(time_s) / step_s) for time_s in times_s.tolist()])
        assert times_s.tolist() == [float(point * step_s) for point in points[-1]]
    onset, offset, sounding = np.array(points, int).reshape(3, -1)
    assert (offset > onset).all()
    assert (sounding >= offset).all()


@given(rows, steps)
def test_nothing_moves_by_more_than_half_a_step_but_what_was_too_short_and_no_stroke_is_lost(rows, step_s):
    notes, half_s = notes_of(*rows), float(step_s) / 2 + ROUNDING_S
    moved = on_grid(notes, step_s)
    for onset_s, offset_s, pitch, velocity, sounding_s in rows_of(notes):
        own = moved.take(moved.pitch == pitch)
        nearest = int(np.argmin(np.abs(own.onset_s - onset_s)))
        found = [n for n in (nearest - 1, nearest, nearest + 1) if 0 <= n < len(own)]
        kept = [n for n in found if abs(own.onset_s[n] - onset_s) <= half_s and own.velocity[n] >= velocity]
        assert any(
            own.offset_s[n] >= offset_s - half_s and own.sounding_offset_s[n] >= sounding_s - half_s for n in kept
        )
    sources = rows_of(notes)
    for onset_s, offset_s, pitch, velocity, _ in rows_of(moved):
        own = [row for row in sources if row[2] == pitch and abs(row[0] - onset_s) <= half_s]
        assert max(row[3] for row in own) >= velocity
        # The end is that of one of its strokes, or a step after the onset where they were too short.
        is_end = any(abs(row[1] - offset_s) <= half_s for row in own)
        assert is_end or offset_s == pytest.approx(onset_s + float(step_s))


@given(rows, steps)
def test_strokes_of_a_key_keep_their_order_and_none_is_doubled(rows, step_s):
    notes = notes_of(*rows)
    moved = on_grid(notes, step_s)
    for pitch in set(notes.pitch.tolist()):
        before, after = notes.onset_s[notes.pitch == pitch], moved.onset_s[moved.pitch == pitch]
        assert (np.diff(after) > 0).all()
        assert len(after) <= len(before)
        places = [int(np.argmin(np.abs(after - onset_s))) for onset_s in before]
        assert all(first <= second for first, second in pairwise(places))


# Pedals


def test_pedals_go_to_the_nearest_point_and_moves_on_one_point_keep_their_order():
    moves = moves_of((0.1, 64, 127), (0.2005, 64, 0), (0.2012, 64, 100), (0.2015, 67, 127), (0.3025, 64, 0))
    moved = controls_on_grid(moves, STEP_S)
    assert moved.time_s.tolist() == [0.1, 0.2, 0.2, 0.2, 0.304]
    assert moved.value.tolist() == [127, 0, 100, 127, 0]
    assert moved.control.tolist() == [64, 64, 64, 67, 64]


# Pictures


@given(rows, steps, st.sampled_from([0.0, 0.004, 0.05, 0.0501]), st.lists(st.floats(0, 3), max_size=8).map(sorted))
def test_every_picture_is_on_the_grid_and_every_code_rate_shows_it_at_the_grids_own_sample(rows, step_s, gap_s, pedal):
    notes = on_grid(notes_of(*rows), step_s)
    moves = controls_on_grid(moves_of(*((time_s, 64, 127 * (n % 2 == 0)) for n, time_s in enumerate(pedal))), step_s)
    time_s, velocity = key_states(notes, restrike_gap_s=gap_s, step_s=step_s)
    time_s, velocity, _ = with_pedal(time_s, velocity, moves)
    points = [round(Fraction(moment) / step_s) for moment in time_s.tolist()]
    assert time_s.tolist() == [float(point * step_s) for point in points]
    rate = 3 / step_s  # three samples a step
    shown = shown_at(time_s, rate=rate, start=0, count=3 * points[-1] + 1)
    np.testing.assert_array_equal(shown[[3 * point for point in points]], np.arange(len(points)))
    np.testing.assert_array_equal(shown[[3 * point - 1 for point in points[1:]]], np.arange(len(points) - 1))


@pytest.mark.parametrize(
    ("notes", "gap_s", "expected"),
    [
        # 50 ms are rounded up to 13 steps
        (((0.2, 0.6, 60, 80), (0.6, 0.8, 60, 90)), 0.05, [(0.2, 80), (0.548, 0), (0.6, 90), (0.8, 0)]),
        # half of three steps is rounded down
        (((0.2, 0.212, 60, 80), (0.212, 0.8, 60, 90)), 0.05, [(0.2, 80), (0.208, 0), (0.212, 90), (0.8, 0)]),
        # a note of one step leaves no room: its second stroke shows by its velocity
        (((0.2, 0.204, 60, 80), (0.204, 0.8, 60, 90)), 0.05, [(0.2, 80), (0.204, 90), (0.8, 0)]),
    ],
)
def test_a_key_lifts_on_the_grid_before_it_is_struck_again(notes, gap_s, expected):
    time_s, velocity = key_states(notes_of(*notes), restrike_gap_s=gap_s, step_s=STEP_S)
    key = velocity[:, 60 - LOWEST_PITCH]
    assert list(zip(time_s.tolist(), key.tolist(), strict=True))[1:] == expected


def test_of_several_moves_of_the_pedal_at_one_time_the_last_one_shows():
    moves = moves_of((0.1, 64, 127), (0.2, 64, 0), (0.2, 64, 127), (0.3, 64, 63), (0.3, 67, 127))
    rest = np.zeros((1, 88), np.uint8)
    time_s, velocity, pedal = with_pedal(np.zeros(1), rest, moves)
    assert list(zip(time_s.tolist(), pedal.tolist(), strict=True)) == [(0.0, 0), (0.1, 1), (0.3, 0)]
    assert velocity.shape == (3, 88)
