"""Random music: within its keys and its time, and a key is up before it is struck again."""

import numpy as np
import pytest

from tasks.instruments.notes import sorted_notes
from tasks.rig.music import excerpt_of, held_till_struck_again, random_music, with_keys_released


def test_music_is_the_seeds_and_stays_on_its_keys_and_in_its_time():
    first, again, other = (
        random_music(np.random.default_rng(seed), start_s=1.0, end_s=8.0, pitches=(48, 84)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.onset_s, again.onset_s)
    assert len(first) != len(other) or (first.pitch != other.pitch).any()
    assert first.onset_s.min() >= 1.0
    assert first.offset_s.max() <= 8.0
    assert first.pitch.min() >= 48
    assert first.pitch.max() <= 84


def test_a_key_is_up_for_the_gap_before_every_stroke():
    notes = sorted_notes(np.array([1.0, 1.5, 1.55]), np.array([1.6, 1.9, 2.0]), np.array([60] * 3), np.array([80] * 3))
    released = with_keys_released(notes, gap_s=0.1)
    np.testing.assert_allclose(released.onset_s, [1.0, 1.5])  # the third comes before a key can be struck again
    np.testing.assert_allclose(released.offset_s, [1.4, 1.9])


def test_notes_last_until_their_key_is_struck_again_where_that_is_soon():
    notes = sorted_notes(np.array([1.0, 2.0, 5.0]), np.array([1.5, 2.5, 5.5]), np.array([60] * 3), np.array([80] * 3))
    np.testing.assert_allclose(held_till_struck_again(notes).offset_s, [2.0, 2.5, 5.5])


def test_an_excerpt_is_moved_and_cut():
    notes = sorted_notes(
        np.array([1.0, 2.0, 3.0]), np.array([1.5, 9.0, 3.5]), np.array([60, 62, 90]), np.array([80] * 3)
    )
    part = excerpt_of(notes, from_s=1.5, to_s=4.0, start_s=0.5, pitches=(21, 80))
    np.testing.assert_allclose((part.onset_s, part.offset_s), [[1.0], [3.0]])


def test_too_few_keys_are_refused():
    with pytest.raises(ValueError, match="two octaves"):
        random_music(np.random.default_rng(1), start_s=0.0, end_s=5.0, pitches=(60, 70))
