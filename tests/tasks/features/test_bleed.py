"""Bleed: a planted one is found again, and none is invented."""

import numpy as np
import pytest

from tasks.features.bleed import fit_bleed


def own_amplitudes(n_windows=400, n_notes=5):
    rng = np.random.default_rng(0)
    return rng.random((n_windows, n_notes)) * (rng.random((n_windows, n_notes)) < 0.2)


def test_a_planted_bleed_is_found():
    own = own_amplitudes()
    planted = np.eye(5)
    planted[0, 4], planted[2, 1] = 0.3, 0.1
    found = fit_bleed(own, own @ planted)
    np.testing.assert_allclose(found, planted, atol=0.02)
    assert (found >= 0).all()


def test_how_loud_a_room_makes_a_note_is_not_bleed():
    own = own_amplitudes()
    planted = np.eye(5)
    planted[0, 4] = 0.3
    louder = np.array([2.0, 0.5, 1.0, 1.0, 1.5])
    found = fit_bleed(own, own @ (planted * louder[:, None]))
    np.testing.assert_allclose(found, planted, atol=0.03)


def test_a_note_that_never_sounds_is_measured_as_itself():
    own = own_amplitudes()
    own[:, 3] = 0.0
    found = fit_bleed(own, own)
    np.testing.assert_allclose(found, np.eye(5), atol=1e-6)


def test_what_nobody_struck_is_no_bleed_of_those_that_are_silent():
    assert fit_bleed(np.zeros((10, 3)), np.ones((10, 3))).tolist() == np.eye(3).tolist()


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="expected equal"):
        fit_bleed(np.zeros((4, 2)), np.zeros((4, 3)))
