import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models import key_states
from models.key_states import KeyReader, Strokes, find_keys, strokes_of
from tasks.instruments.keyboard import IS_BLACK, N_KEYS, draw_keyboard

NEVER = (0, 1, 41, 60, 87)  # keys that no picture shows pressed
PRESSED = [key for key in range(N_KEYS) if key not in NEVER]
SAME_LUMA = 10.0


def states(n_pictures: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return velocities (P, 88) and pedals (P,) of random chords; the keys ``NEVER`` stay up."""
    rng = np.random.default_rng(seed)
    velocity = rng.integers(1, 128, (n_pictures, N_KEYS)) * (rng.random((n_pictures, N_KEYS)) < 0.06)
    velocity[:, list(NEVER)] = 0
    pedal = (rng.random(n_pictures) < 0.3).astype(np.uint8)
    pedal[0] = 0  # a film begins with the pedal up
    return velocity.astype(np.uint8), pedal


def pictures_of(velocity: NDArray[np.uint8], pedal: NDArray[np.uint8]) -> list[torch.Tensor]:
    return list(torch.split(torch.from_numpy(draw_keyboard(velocity, lit="velocity", pedal=pedal)), 64))


@pytest.fixture(scope="module")
def reader() -> KeyReader:
    return find_keys(lambda: pictures_of(*states(300, seed=0)))


def test_every_key_that_is_pressed_is_found_and_no_other(reader: KeyReader) -> None:
    assert len(reader.keys) == len(PRESSED)


def test_keys_and_their_depths_are_read_exactly_in_order_from_left_to_right(reader: KeyReader) -> None:
    velocity, pedal = states(80, seed=1)  # chords that were not in the pictures that keys were found in
    depth, _ = reader.read(pictures_of(velocity, pedal))
    drawn = np.where(velocity > 0, np.floor(40 + 1.25 * velocity.astype(float) + 0.5), 0)
    np.testing.assert_allclose(depth, drawn[:, PRESSED], atol=1e-3)
    assert np.count_nonzero(depth) > 300


def test_the_line_of_the_last_rows_is_found_as_the_pedal_and_no_key(reader: KeyReader) -> None:
    velocity, pedal = states(80, seed=2)
    _, down = reader.read(pictures_of(velocity, pedal))
    np.testing.assert_array_equal(down, pedal == 1)
    assert 10 < pedal.sum() < 70
    alone, down = reader.read(pictures_of(np.zeros((1, N_KEYS), np.uint8), np.ones(1, np.uint8)))
    assert not alone.any()
    assert down.all()


def test_the_pedal_is_found_among_keys_that_are_down_half_of_the_time() -> None:
    velocity, pedal = states(300, seed=5)
    busy = np.random.default_rng(6).random((300, 12)) < 0.45
    velocity[:, 42:54] = busy * 90
    drawn = pictures_of(velocity, pedal)
    found = find_keys(lambda: drawn)
    assert len(found.keys) == len(PRESSED)
    np.testing.assert_array_equal(found.read(drawn)[1], pedal == 1)


def test_a_pedal_that_is_down_in_most_pictures_is_up_in_the_first() -> None:
    velocity, pedal = states(300, seed=8)
    mostly = 1 - pedal
    mostly[0] = 0
    assert mostly.mean() > 0.6
    drawn = pictures_of(velocity, mostly)
    np.testing.assert_array_equal(find_keys(lambda: drawn).read(drawn)[1], mostly == 1)


def test_arms_on_half_of_the_keys_are_no_pedal() -> None:
    velocity, _ = states(300, seed=7)
    velocity[::20] = 100
    velocity[:, list(NEVER)] = 0
    reader = find_keys(lambda: pictures_of(velocity, np.zeros(300, np.uint8)))
    assert len(reader.keys) == len(PRESSED)
    assert not reader.pedal.any()


def test_without_a_pedal_in_the_pictures_none_is_ever_read() -> None:
    velocity, pedal = states(200, seed=3)
    reader = find_keys(lambda: pictures_of(velocity, np.zeros_like(pedal)))
    assert len(reader.keys) == len(PRESSED)
    assert not reader.read(pictures_of(velocity, pedal))[1].any()


def test_a_key_that_was_never_pressed_is_not_read(reader: KeyReader) -> None:
    velocity = np.zeros((1, N_KEYS), np.uint8)
    velocity[0, 41] = 100
    assert not reader.read(pictures_of(velocity, np.zeros(1, np.uint8)))[0].any()


def test_keys_that_are_all_lit_alike_are_found_too() -> None:
    velocity, pedal = states(300, seed=4)
    drawn = torch.from_numpy(draw_keyboard(velocity, lit="flat", pedal=pedal))
    reader = find_keys(lambda: [drawn])
    depth, _ = reader.read([drawn])
    np.testing.assert_array_equal(depth > 0, velocity[:, PRESSED] > 0)


def test_black_and_white_keys_are_both_among_them(reader: KeyReader) -> None:
    n_rows = (reader.keys.view(len(PRESSED), -1, 780).sum(dim=2) > 0).sum(dim=1).numpy()
    black = IS_BLACK[PRESSED]
    assert n_rows[black].max() < n_rows[~black].min()  # sharps end before the front of the white keys


def test_of_many_pictures_few_are_compared_and_a_key_that_is_pressed_once_is_among_those_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(key_states, "MAX_PICTURES", 40)
    monkeypatch.setattr(key_states, "FEW_PICTURES", 4)
    velocity, pedal = states(2000, seed=9)
    seldom = PRESSED[30]
    velocity[:, seldom] = 0
    velocity[777, seldom] = 90  # no multiple of 50
    blocks = pictures_of(velocity, pedal)
    rest, n_pictures, _ = key_states._rest(blocks)
    torch.testing.assert_close(rest, torch.cat([key_states.sampled_rows(block) for block in blocks]).median(dim=0)[0])
    assert n_pictures == 2000
    assert 40 < len(key_states._telling(blocks, rest, every=50)) < 500
    reader = find_keys(lambda: blocks)
    assert len(reader.keys) == len(PRESSED)
    np.testing.assert_array_equal(reader.read(blocks)[1], pedal == 1)


def test_pictures_that_show_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="no picture, expected some to find keys in"):
        find_keys(list)
    still = pictures_of(np.zeros((9, N_KEYS), np.uint8), np.zeros(9, np.uint8))
    with pytest.raises(ValueError, match="9 pictures show no key that moves"):
        find_keys(lambda: still)


# Strokes


def strokes(
    depth: list[list[float]] | list[float], pedal: list[bool] | None = None, *, step: int = 10
) -> list[tuple[int, int, int, float]]:
    """Return key, start, release and depth of each stroke of a film whose pictures stand for ``step`` samples."""
    states = np.array(depth, np.float32).reshape(len(depth), -1)
    down = np.zeros(len(states), bool) if pedal is None else np.array(pedal)
    first = np.arange(len(states), dtype=np.int64) * step
    return rows(strokes_of(states, down, first, len(states) * step, same_luma=SAME_LUMA))


def rows(found: Strokes) -> list[tuple[int, int, int, float]]:
    return [
        (int(key), int(start), int(release), float(depth))
        for key, start, release, depth in zip(found.key, found.start, found.release, found.depth, strict=True)
    ]


def test_a_stroke_lasts_from_the_first_picture_of_the_key_down_to_the_first_of_it_up() -> None:
    assert strokes([0, 50, 50, 50, 0, 0]) == [(0, 10, 40, 50.0)]


def test_a_key_that_is_up_between_is_struck_again() -> None:
    assert strokes([0, 50, 0, 50, 0]) == [(0, 10, 20, 50.0), (0, 30, 40, 50.0)]


def test_a_key_whose_depth_jumps_is_struck_again_and_one_that_a_codec_moves_is_not() -> None:
    assert strokes([50, 90, 0]) == [(0, 0, 10, 50.0), (0, 10, 20, 90.0)]
    assert strokes([50, 56, 49, 0]) == [(0, 0, 30, 50.0)]


def test_the_pedal_holds_what_is_released_while_it_is_down() -> None:
    assert strokes([50, 0, 0, 0, 0], [False, True, True, False, False]) == [(0, 0, 30, 50.0)]


def test_a_pedal_that_comes_after_the_release_holds_nothing() -> None:
    assert strokes([50, 0, 0, 0, 0], [False, False, True, True, False]) == [(0, 0, 10, 50.0)]


def test_a_key_that_is_held_when_the_pedal_comes_up_sounds_on() -> None:
    assert strokes([50, 50, 50, 0], [True, True, False, False]) == [(0, 0, 30, 50.0)]


def test_what_is_held_at_the_end_is_held_to_the_end() -> None:
    assert strokes([0, 50, 50]) == [(0, 10, 30, 50.0)]
    assert strokes([50, 0, 0], [True, True, True]) == [(0, 0, 30, 50.0)]


def test_strokes_stand_in_order_of_their_start_then_of_their_key() -> None:
    found = strokes([[0, 40, 0], [60, 40, 50], [0, 0, 50], [0, 30, 0]])
    assert found == [(1, 0, 20, 40.0), (0, 10, 20, 60.0), (2, 10, 30, 50.0), (1, 30, 40, 30.0)]


def test_a_film_in_which_nothing_moves_has_no_stroke() -> None:
    assert strokes([0, 0, 0]) == []


@given(data=st.data())
def test_states_to_strokes_to_states(data: st.DataObject) -> None:
    n_pictures, n_keys = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 3))
    chord = st.lists(st.sampled_from([0.0, 0.0, 30.0, 60.0, 90.0]), min_size=n_keys, max_size=n_keys)
    depth = np.array(
        data.draw(st.lists(chord, min_size=n_pictures, max_size=n_pictures)),
        np.float32,
    )
    pedal = np.array(data.draw(st.lists(st.booleans(), min_size=n_pictures, max_size=n_pictures)))
    lengths = data.draw(st.lists(st.integers(1, 50), min_size=n_pictures, max_size=n_pictures))
    ends = np.cumsum(lengths)
    found = strokes_of(depth, pedal, ends - lengths, int(ends[-1]), same_luma=SAME_LUMA)
    held = np.zeros((n_pictures, n_keys), bool)  # whether the key or the pedal holds it
    for picture in range(n_pictures):
        held[picture] = (depth[picture] > 0) | (pedal[picture] & held[max(picture - 1, 0)] & (picture > 0))
    shown = np.repeat(depth, lengths, axis=0)
    again, sounding = np.zeros_like(shown), np.zeros(shown.shape, bool)
    for key, start, release, luma in rows(found):
        assert shown[start, key] == luma
        sounding[start:release, key] = True
        again[start:, key] = luma
    np.testing.assert_array_equal(sounding, np.repeat(held, lengths, axis=0))
    np.testing.assert_array_equal(again[shown > 0], shown[shown > 0])  # the last stroke's depth, while it is down
