"""A chunked score: the pictures of its key states, and its targets."""

from pathlib import Path

import numpy as np
import pytest

from tasks.instruments.keyboard import draw_keyboard, read_keyboard
from tasks.store.arrays import open_arrays
from tasks.store.tables import read_table

SCORES = Path("data/chunked/scores")


def scale(notes_of, n_notes, first_pitch=48):
    return notes_of(*((0.3 + 0.2 * n, 0.45 + 0.2 * n, first_pitch + n, 20 + 5 * n) for n in range(n_notes)))


def test_pictures_show_the_key_states_and_a_long_take_is_not_cut(chunked, notes_of):
    chunked("a", scale(notes_of, 20), part="train")
    states = read_table(Path("data/rendered/a/states.parquet"))
    arrays = open_arrays(SCORES / "a" / "arrays.zarr")
    assert len(arrays["pictures"]) == 41  # two changes a note: many more than are drawn at a time
    np.testing.assert_array_equal(arrays["pictures"][:], draw_keyboard(states["velocity"], lit="velocity"))
    np.testing.assert_array_equal(read_keyboard(arrays["pictures"][:]), states["velocity"])
    np.testing.assert_array_equal(arrays["velocities"][:], states["velocity"])
    np.testing.assert_array_equal(arrays["picture_time_s"][:], states["time_s"])


def test_features_are_those_of_extract(chunked, notes_of):
    chunked("a", scale(notes_of, 3), part="train")
    extracted, arrays = open_arrays(Path("data/extracted/a/arrays.zarr")), open_arrays(SCORES / "a" / "arrays.zarr")
    for name in ("codes", "amplitudes"):
        np.testing.assert_array_equal(arrays[name][:], extracted[name][:])
    # The last note ends at 0.85 s, halfway between two points of the grid, and the tail is 1 s.
    assert arrays.attributes == {**extracted.attributes, "duration_s": pytest.approx(1.852), "lit": "velocity"}
