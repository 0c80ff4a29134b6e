import subprocess
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from tasks.instruments.keyboard import (
    FLAT_VELOCITY,
    HEIGHT,
    IS_BLACK,
    KEY_IDS,
    LOWEST_PITCH,
    N_KEYS,
    WIDTH,
    draw_keyboard,
    film_frames,
    key_columns,
    key_states,
    read_keyboard,
    read_pedal,
    shown_at,
    with_pedal,
)
from tasks.instruments.midi import Controls
from tasks.instruments.notes import Notes, sorted_notes

NTSC = Fraction(30000, 1001)
ALL_VELOCITIES = np.repeat(np.arange(128, dtype=np.uint8)[:, None], N_KEYS, axis=1)


def notes_of(*rows: tuple[float, float, int, int]) -> Notes:
    onset_s, offset_s, pitch, velocity = np.array(rows, float).reshape(-1, 4).T
    return sorted_notes(onset_s, offset_s, pitch.astype(int), velocity.astype(int))


def changes(notes: Notes, pitch: int, restrike_gap_s: float = 0.05) -> list[tuple[float, int]]:
    """Return (time, velocity) of the pictures in which a key is not as in the one before."""
    time_s, velocity = key_states(notes, restrike_gap_s=restrike_gap_s)
    key = velocity[:, pitch - LOWEST_PITCH]
    moved = np.flatnonzero(np.diff(key.astype(int), prepend=0))
    return [(float(time_s[row]), int(key[row])) for row in moved]


# Geometry


def test_fifty_two_white_keys_of_fifteen_pixels_fill_the_width():
    white = key_columns()[~IS_BLACK]
    assert white.tolist() == [[15 * n, 15 * n + 15] for n in range(52)]
    assert white[-1, 1] == WIDTH


def test_the_piano_has_thirty_six_black_keys_in_twos_and_threes():
    assert int(IS_BLACK.sum()) == 36
    names = "".join("b" if black else "w" for black in IS_BLACK)
    assert names == "wbw" + "wbwbwwbwbwbw" * 7 + "w"


def test_every_black_key_straddles_the_line_between_its_white_neighbours():
    columns = key_columns()
    for key in np.flatnonzero(IS_BLACK):
        line = columns[key - 1, 1]
        assert columns[key, 0] < line < columns[key, 1]
        assert columns[key + 1, 0] == line


def test_the_sharps_of_a_group_lean_outwards_and_mirror_each_other():
    left, right = key_columns().T
    centre = (left + right) / 2
    c4, f4 = 60 - LOWEST_PITCH, 65 - LOWEST_PITCH
    c_to_e, f_to_b = left[c4] + 22.5, left[f4] + 30.0  # middles of three and of four white keys
    assert centre[c4 + 1] - c_to_e == c_to_e - centre[c4 + 3]
    assert centre[f4 + 1] - f_to_b == f_to_b - centre[f4 + 5]
    assert centre[f4 + 3] == f_to_b
    assert centre[c4 + 1] < left[c4 + 2] < right[c4 + 2] < centre[c4 + 3] + 0.5  # outwards of the white lines


def test_every_key_owns_one_connected_part_inside_its_columns():
    for key, (left, right) in enumerate(key_columns()):
        lines, columns = np.nonzero(key == KEY_IDS)
        assert left <= columns.min()
        assert columns.max() < right
        assert len(lines) > 200


# Drawing


def drawn_by_hand(velocity: np.ndarray) -> np.ndarray:
    """Draw one keyboard with PIL, key by key from left to right."""
    image = Image.new("L", (780, 57), 16)
    pen = ImageDraw.Draw(image)

    def luma(key: int, rest: int, sign: int) -> int:
        struck = int(velocity[key])
        return rest + sign * int(40 + 1.25 * struck + 0.5) if struck else rest

    sharps: list[tuple[int, int]] = []
    x = 0
    for key in range(88):
        step = (21 + key) % 12
        if step in (1, 3, 6, 8, 10):
            sharps.append((key, x - 15 + {1: 10, 3: 12, 6: 9, 8: 11, 10: 13}[step]))
        else:
            pen.rectangle((x, 0, x + 13, 56), fill=luma(key, 235, -1))
            x += 15
    for key, left in sharps:
        pen.rectangle((left, 0, left + 7, 35), fill=16)
        pen.rectangle((left + 1, 0, left + 6, 34), fill=luma(key, 16, +1))
    return np.asarray(image)


def test_a_picture_is_pixel_for_pixel_the_one_that_pil_draws():
    random = np.random.default_rng(3)
    velocity = random.integers(0, 128, (20, N_KEYS)) * (random.random((20, N_KEYS)) < 0.3)
    velocity = velocity.astype(np.uint8)
    np.testing.assert_array_equal(draw_keyboard(velocity, lit="velocity"), [drawn_by_hand(row) for row in velocity])


def test_every_velocity_of_every_key_can_be_read_from_its_picture():
    pictures = draw_keyboard(ALL_VELOCITIES, lit="velocity")
    np.testing.assert_array_equal(read_keyboard(pictures), ALL_VELOCITIES)


def test_luma_rises_or_falls_strictly_with_velocity_over_a_wide_range_and_starts_apart_from_rest():
    pictures = draw_keyboard(ALL_VELOCITIES, lit="velocity").astype(int)
    for key in range(N_KEYS):
        luma = pictures[:, key == KEY_IDS]
        assert (luma == luma[:, :1]).all()  # one luma a key
        away = np.abs(luma[:, 0] - luma[0, 0])
        assert (np.diff(away) >= 1).all()
        assert away[1] >= 40
        assert away[127] - away[1] >= 150


def test_luma_stays_in_the_range_of_broadcast_video():
    pictures = draw_keyboard(ALL_VELOCITIES, lit="velocity")
    assert (pictures.min(), pictures.max()) == (16, 235)


def test_flat_light_has_one_luma_for_white_and_one_for_black_keys_at_any_velocity():
    pictures = draw_keyboard(ALL_VELOCITIES[1:], lit="flat")
    assert (pictures == pictures[0]).all()
    for black in (False, True):
        keys = np.flatnonzero(black == IS_BLACK)
        assert len(np.unique(pictures[0][np.isin(KEY_IDS, keys)])) == 1
    assert (read_keyboard(pictures[:1]) == FLAT_VELOCITY).all()


def test_a_key_lights_its_own_pixels_and_no_others():
    one_key = np.diag(np.full(N_KEYS, 70, np.uint8))
    rest = draw_keyboard(np.zeros((1, N_KEYS), np.uint8), lit="velocity")
    lit = draw_keyboard(one_key, lit="velocity") != rest
    for key in range(N_KEYS):
        np.testing.assert_array_equal(lit[key], key == KEY_IDS)


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.booleans())
def test_keys_velocities_and_pedal_are_read_back_from_any_picture(seed, share, is_down):
    """Also from one in which all keys are down, and as hard as can be."""
    random = np.random.default_rng(seed)
    hardest = random.integers(1, 128)
    velocity = (random.integers(1, hardest + 1, (3, N_KEYS)) * (random.random((3, N_KEYS)) < share)).astype(np.uint8)
    velocity[2] = 127
    pedal = np.array([is_down, not is_down, is_down], np.uint8)
    pictures = draw_keyboard(velocity, lit="velocity", pedal=pedal)
    np.testing.assert_array_equal(read_keyboard(pictures), velocity)
    assert read_pedal(pictures).tolist() == (pedal == 1).tolist()


def test_the_pedal_darkens_the_last_two_rows_and_nothing_else_and_up_it_is_no_other_picture():
    up = draw_keyboard(ALL_VELOCITIES, lit="velocity")
    down = draw_keyboard(ALL_VELOCITIES, lit="velocity", pedal=np.ones(128, np.uint8))
    np.testing.assert_array_equal(down[:, :55], up[:, :55])
    assert (down[:, 55:] == 16).all()
    np.testing.assert_array_equal(draw_keyboard(ALL_VELOCITIES, lit="velocity", pedal=np.zeros(128, np.uint8)), up)


def test_no_pedal_is_read_from_black_white_or_grey():
    flat = np.array([0, 16, 128, 235, 255], np.uint8)[:, None, None].repeat(HEIGHT, 1).repeat(WIDTH, 2)
    assert not read_pedal(flat).any()


def test_a_pedal_for_other_pictures_is_refused():
    with pytest.raises(ValueError, match=r"pedal is \(2,\) for velocity \(1, 88\), expected one a picture"):
        draw_keyboard(np.zeros((1, 88), np.uint8), lit="flat", pedal=np.zeros(2, np.uint8))
    with pytest.raises(ValueError, match=r"pictures are \(1, 56, 780\)"):
        read_pedal(np.zeros((1, 56, 780), np.uint8))


def test_no_pictures_are_drawn_as_an_empty_film():
    assert draw_keyboard(np.zeros((0, N_KEYS), np.uint8), lit="flat").shape == (0, HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("velocity", "lit", "message"),
    [
        (np.zeros((1, 87), np.uint8), "flat", r"uint8 \(1, 87\), expected uint8 \(C, 88\)"),
        (np.zeros((1, 88), np.int64), "flat", "velocity is int64"),
        (np.full((1, 88), 128, np.uint8), "flat", "reaches 128, expected at most 127"),
        (np.zeros((1, 88), np.uint8), "bright", "lit is 'bright'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(velocity, lit, message):
    with pytest.raises(ValueError, match=message):
        draw_keyboard(velocity, lit=lit)


def through_h264(pictures: np.ndarray) -> np.ndarray:
    """Compress pictures to a film of 25 frames a second and decode it."""
    even = np.pad(pictures, ((0, 0), (0, 1), (0, 0)))  # H.264 needs an even height
    raw = f"-f rawvideo -pix_fmt gray -s {WIDTH}x{HEIGHT + 1} -r 25 -i -"
    # Raw grey counts as full range: without this filter it would be squeezed into broadcast range once more.
    encode = f"ffmpeg -v error {raw} -vf scale=in_range=tv:out_range=tv -pix_fmt yuv420p -c:v libx264 -crf 18"
    decode = "ffmpeg -v error -i - -vf extractplanes=y -f rawvideo -"
    film = even.tobytes()
    for command in (f"{encode} -threads 1 -f matroska -", decode):
        film = subprocess.run(command.split(), input=film, capture_output=True, check=True).stdout
    return np.frombuffer(film, np.uint8).reshape(even.shape)[:, :HEIGHT]


def test_keys_velocities_and_pedal_can_be_read_through_h264():
    """The hardest film there is: in every frame other keys, 13 at a time, and the pedal anywhere."""
    random = np.random.default_rng(5)
    velocity = random.integers(1, 128, (50, N_KEYS)) * (random.random((50, N_KEYS)) < 0.15)
    pedal = (random.random(50) < 0.5).astype(np.uint8)
    decoded = through_h264(draw_keyboard(velocity.astype(np.uint8), lit="velocity", pedal=pedal))
    assert read_pedal(decoded).tolist() == (pedal == 1).tolist()
    read = read_keyboard(decoded).astype(int)
    np.testing.assert_array_equal(read > 0, velocity > 0)
    error = np.abs(read - velocity)[velocity > 0]
    assert error.mean() < 1
    assert error.max() <= 5


# Which picture, and when


def test_no_notes_are_one_picture_of_a_keyboard_at_rest():
    time_s, velocity = key_states(notes_of(), restrike_gap_s=0.05)
    assert time_s.tolist() == [0.0]
    assert not velocity.any()


def test_a_note_is_shown_from_its_onset_to_its_offset():
    assert changes(notes_of((1.25, 2.5, 60, 90)), 60) == [(1.25, 90), (2.5, 0)]


def test_the_first_picture_is_at_zero_and_shows_a_note_that_begins_there():
    time_s, velocity = key_states(notes_of((-0.0, 1.0, 21, 5), (0.5, 1.0, 108, 6)), restrike_gap_s=0.05)
    assert time_s.tolist() == [0.0, 0.5, 1.0]
    assert not np.signbit(time_s[0])
    assert velocity[:, [0, 87]].tolist() == [[5, 0], [5, 6], [0, 0]]


def test_simultaneous_changes_are_one_picture():
    chord = notes_of((1.0, 2.0, 60, 80), (1.0, 2.0, 64, 70), (2.0, 3.0, 67, 60))
    assert key_states(chord, restrike_gap_s=0.05)[0].tolist() == [0.0, 1.0, 2.0, 3.0]


def test_a_key_struck_again_while_down_lifts_before_the_new_onset():
    overlapping = notes_of((1.0, 3.0, 60, 80), (2.0, 4.0, 60, 40))
    assert changes(overlapping, 60, 0.25) == [(1.0, 80), (1.75, 0), (2.0, 40), (4.0, 0)]


def test_a_gap_that_is_too_short_is_widened_and_a_longer_one_left_alone():
    short = notes_of((1.0, 1.9375, 60, 80), (2.0, 3.0, 60, 80))
    assert changes(short, 60, 0.125) == [(1.0, 80), (1.875, 0), (2.0, 80), (3.0, 0)]
    long = notes_of((1.0, 1.5, 60, 80), (2.0, 3.0, 60, 80))
    assert changes(long, 60, 0.125) == [(1.0, 80), (1.5, 0), (2.0, 80), (3.0, 0)]


def test_a_lift_takes_at_most_half_of_the_note_before():
    trill = notes_of((1.0, 1.0625, 60, 80), (1.0625, 2.0, 60, 81))
    assert changes(trill, 60, 0.5) == [(1.0, 80), (1.03125, 0), (1.0625, 81), (2.0, 0)]


def test_without_a_gap_a_second_stroke_shows_by_its_velocity_alone():
    assert changes(notes_of((1, 2, 60, 80), (2, 3, 60, 81)), 60, 0.0) == [(1, 80), (2, 81), (3, 0)]
    assert changes(notes_of((1, 2, 60, 80), (2, 3, 60, 80)), 60, 0.0) == [(1, 80), (3, 0)]


def test_strokes_of_one_key_at_one_moment_are_the_hardest_and_longest_of_them():
    assert changes(notes_of((1, 2, 60, 80), (1, 3, 60, 30)), 60) == [(1, 80), (3, 0)]


def test_notes_outside_the_88_keys_have_no_picture():
    outside = notes_of((1.0, 2.0, 20, 80), (1.5, 2.5, 109, 80))
    assert len(key_states(outside, restrike_gap_s=0.05)[0]) == 1


def test_onsets_one_float_apart_still_end_in_the_second_stroke():
    first = 100.0
    second = float(np.nextafter(first, 200.0))
    assert changes(notes_of((first, second, 60, 80), (second, 101.0, 60, 90)), 60)[-2:] == [
        (second, 90),
        (101.0, 0),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((-1.0, 1.0, 60, 80), "lasts from -1.0 to 1.0 s"),
        ((1.0, 1.0, 60, 80), "lasts from 1.0 to 1.0 s"),
        ((np.nan, 1.0, 60, 80), "lasts from nan"),
        ((0.0, np.inf, 60, 80), "to inf s"),
        ((0.0, 1.0, 60, 0), "velocity 0, expected 1 to 127"),
        ((0.0, 1.0, 60, 128), "velocity 128"),
    ],
)
def test_impossible_notes_are_refused(row, message):
    with pytest.raises(ValueError, match=message):
        key_states(notes_of(row), restrike_gap_s=0.05)


@pytest.mark.parametrize("gap_s", [-0.01, np.nan, np.inf])
def test_an_impossible_gap_is_refused(gap_s):
    with pytest.raises(ValueError, match="restrike_gap_s"):
        key_states(notes_of(), restrike_gap_s=gap_s)


note_rows = st.tuples(st.floats(0, 5), st.floats(2**-20, 2), st.integers(58, 62), st.integers(1, 127)).map(
    lambda row: (row[0], row[0] + row[1], row[2], row[3])
)


@given(st.lists(note_rows, max_size=25), st.sampled_from([0.0, 0.03, 0.5]))
def test_every_picture_differs_from_the_one_before_and_every_stroke_is_shown(rows, gap_s):
    notes = notes_of(*rows)
    time_s, velocity = key_states(notes, restrike_gap_s=gap_s)
    assert time_s[0] == 0.0
    assert (np.diff(time_s) > 0).all()
    assert (np.diff(velocity.astype(int), axis=0) != 0).any(axis=1).all()
    assert not velocity[-1].any()  # all keys end up
    for onset_s, pitch in {(row[0], row[2]) for row in rows}:
        hardest = max(row[3] for row in rows if (row[0], row[2]) == (onset_s, pitch))
        at_onset = np.searchsorted(time_s, onset_s, side="right") - 1
        assert velocity[at_onset, pitch - LOWEST_PITCH] == hardest
        if gap_s and onset_s > 0:  # the picture before the onset shows the key up
            before = np.searchsorted(time_s, onset_s, side="left") - 1
            struck_just_before = any(row[2] == pitch and onset_s - 1e-9 < row[0] < onset_s for row in rows)
            assert struck_just_before or velocity[before, pitch - LOWEST_PITCH] == 0


# The pedal's pictures


def moves_of(*rows: tuple[float, int, int]) -> Controls:
    time_s, control, value = np.array(rows, float).reshape(-1, 3).T
    return Controls(time_s=time_s, control=control.astype(np.uint8), value=value.astype(np.uint8))


def test_pictures_change_when_keys_or_pedal_do_and_at_no_other_time():
    time_s, velocity = key_states(notes_of((1.0, 2.0, 60, 80)), restrike_gap_s=0.05)
    moves = moves_of((0.5, 64, 64), (0.75, 64, 127), (1.0, 66, 127), (1.5, 64, 63), (1.75, 64, 0), (2.0, 64, 100))
    time_s, velocity, pedal = with_pedal(time_s, velocity, moves)
    assert time_s.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert velocity[:, 60 - LOWEST_PITCH].tolist() == [0, 0, 80, 80, 0]
    assert pedal.tolist() == [0, 1, 1, 0, 1]
    assert (pedal.dtype, velocity.dtype) == (np.uint8, np.uint8)


def test_a_pedal_that_is_down_from_the_start_is_in_the_first_picture():
    time_s, _, pedal = with_pedal(np.zeros(1), np.zeros((1, N_KEYS), np.uint8), moves_of((0.0, 64, 127)))
    assert (time_s.tolist(), pedal.tolist()) == ([0.0], [1])


@pytest.mark.parametrize("controls", [None, moves_of(), moves_of((0.5, 67, 127), (0.6, 66, 127))])
def test_without_a_sustain_pedal_the_pictures_are_those_of_the_keys(controls):
    time_s, velocity = key_states(notes_of((1.0, 2.0, 60, 80)), restrike_gap_s=0.05)
    found = with_pedal(time_s, velocity, controls)
    np.testing.assert_array_equal(found[0], time_s)
    np.testing.assert_array_equal(found[1], velocity)
    assert found[2].tolist() == [0, 0, 0]


# Any rate, exactly


def shown_by_fractions(time_s: list[float], rate: Fraction, ticks: range) -> list[int]:
    """Choose with exact fractions: a picture is there when its time, or the rational it was rounded from, is."""

    def is_there(moment: float, tick: Fraction) -> bool:
        return Fraction(moment) <= tick or moment == tick.numerator / tick.denominator  # of integers: rounded once

    return [max(i for i, moment in enumerate(time_s) if is_there(moment, Fraction(k) / rate)) for k in ticks]


rates = st.one_of(
    st.sampled_from([Fraction(25), NTSC, Fraction(24000, 1001), Fraction(4000), Fraction(48000)]),
    st.fractions(Fraction(1, 50), 10**5, max_denominator=10**6),
    st.fractions(Fraction(1, 2), 1000, max_denominator=10**25),  # factors that no float64 holds
)


@settings(max_examples=300)
@given(rates, st.integers(0, 10**7), st.lists(st.tuples(st.integers(0, 40), st.integers(-2, 2)), max_size=12))
def test_the_picture_of_every_tick_is_the_one_that_exact_fractions_choose(rate, start, places):
    """Pictures lie on ticks, rounded to float64, or a few float64 steps beside them: the hard cases."""
    times = {0.0}
    for tick, steps in places:
        moment = np.float64(float((start + tick) / rate))
        for _ in range(abs(steps)):
            moment = np.nextafter(moment, np.inf if steps > 0 else -np.inf)
        times.add(max(0.0, float(moment)))
    time_s = np.array(sorted(times))
    shown = shown_at(time_s, rate=rate, start=start, count=42)
    assert shown.dtype == np.intp
    assert shown.tolist() == shown_by_fractions(list(time_s), rate, range(start, start + 42))


def test_an_hour_at_30000_1001_shows_every_picture_from_its_own_frame_on():
    frame = np.arange(0, 3600 * 30, 3)
    time_s = frame * 1001 / 30000  # rounded: about half lie just after their frame's true time
    shown = shown_at(time_s, rate=NTSC, start=0, count=int(frame[-1]) + 3)
    late = np.array([Fraction(float(t)) > Fraction(int(k) * 1001, 30000) for t, k in zip(time_s, frame, strict=True)])
    assert 0.2 < late.mean() < 0.8
    np.testing.assert_array_equal(shown[frame], np.arange(len(frame)))
    np.testing.assert_array_equal(shown[frame[1:] - 1], np.arange(len(frame) - 1))


def test_a_take_in_parts_shows_what_it_shows_in_one():
    time_s = np.array([0.0, 0.1, 0.3, 1.7, 2.0])
    whole = shown_at(time_s, rate=NTSC, start=0, count=90)
    parts = [shown_at(time_s, rate=NTSC, start=k, count=9) for k in range(0, 90, 9)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert shown_at(time_s, rate=NTSC, start=7, count=0).tolist() == []


@pytest.mark.parametrize(
    ("time_s", "ticks", "message"),
    [
        ([], (0, 1), "first picture"),
        ([0.5], (0, 1), "first picture is at .0.5. s, expected 0.0"),
        ([0.0], (-1, 1), "expected none before 0"),
    ],
)
def test_ticks_without_a_picture_are_refused(time_s, ticks, message):
    with pytest.raises(ValueError, match=message):
        shown_at(np.array(time_s), rate=Fraction(25), start=ticks[0], count=ticks[1])


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(7)])
def test_frames_at_any_rate_show_the_keys_of_their_moment(rate):
    time_s = np.array([0.0, 0.4, 0.41, 1.2])
    velocity = np.zeros((4, 88), np.uint8)
    velocity[1, 10], velocity[2, 20], velocity[3, 30] = 40, 80, 120
    pedal = np.array([0, 1, 1, 0], np.uint8)
    frames = list(film_frames(time_s, velocity, pedal, lit="velocity", frame_rate=rate, duration_s=2.0))
    assert len(frames) == round(2 * rate)
    shown = [np.flatnonzero(time_s <= float(Fraction(k) / rate))[-1] for k in range(len(frames))]
    np.testing.assert_array_equal(read_keyboard(np.stack(frames)), velocity[shown])
    np.testing.assert_array_equal(read_pedal(np.stack(frames)), pedal[shown] == 1)
