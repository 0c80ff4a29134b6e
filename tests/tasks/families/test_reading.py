from fractions import Fraction

import numpy as np
import pytest
import torch

from models.player_reader import PlayerReader, PlayerReaderConfig
from tasks.families.reading import N_SEEN, read_view, with_moments

N_MOTION = 3


def test_what_is_read_of_a_view_does_not_depend_on_where_it_is_cut(monkeypatch):
    torch.manual_seed(0)
    sizes = PlayerReaderConfig(n_instruments=13, n_pitches=128, n_motion=N_MOTION, n_filters=2, n_hidden=4)
    reader = PlayerReader(sizes).eval()
    pictures = np.random.default_rng(0).integers(0, 256, (70, 48, 48)).astype(np.uint8)
    motion = np.zeros((70, N_MOTION), np.float32)
    _, whole = read_view(reader, pictures, motion)
    monkeypatch.setattr("tasks.families.reading.READ_AT_ONCE", 20)
    instruments, cut = read_view(reader, pictures, motion)
    assert instruments.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(whole, cut, atol=1e-3)


def test_onsets_and_rests_are_told_beside_the_pitches_and_a_repeated_note_begins_again():
    sounding = np.zeros((6, 128), np.bool_)
    sounding[1:5, 60] = True
    sounding[4, 64] = True
    notes = np.array([[0.04, 0.12, 60, 90], [0.12, 0.2, 60, 90], [0.16, 0.2, 64, 90], [0.5, 0.6, 64, 90]])
    told = with_moments(sounding, notes, Fraction(25))
    assert told.shape == (6, N_SEEN)
    np.testing.assert_array_equal(told[:, :128], sounding)
    np.testing.assert_array_equal(told[:, 128], [0, 1, 0, 1, 1, 0])
    np.testing.assert_array_equal(told[:, 129], [0, 1, 1, 1, 1, 0])


def test_without_times_a_pitch_that_did_not_sound_begins():
    sounding = np.zeros((5, 128), np.bool_)
    sounding[1:4, 60] = True
    sounding[3:, 62] = True
    np.testing.assert_array_equal(with_moments(sounding, None, Fraction(25))[:, 128], [0, 1, 0, 1, 0])
