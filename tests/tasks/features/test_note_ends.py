"""The end of a note is the likeliest one, and moments tell a damper from a decay."""

import numpy as np
import pytest

from tasks.features.note_ends import ENDS_NAMES, STEP, Moments, ends, moments_after


def moments_of(log_odds):
    counts = [len(one) for one in log_odds]
    first = np.concatenate([[0], np.cumsum(counts)])
    column = np.concatenate([50 + STEP * np.arange(n) for n in counts])
    return Moments(first=first, column=column, evidence=np.zeros((len(column), 0), np.float32))


@pytest.mark.parametrize(
    ("log_odds", "n_held"),
    [
        ([2, 2, -1, -1], 2),
        ([2, 2, -0.5, 2, -3, -3], 4),  # a short doubt in the middle of what is held
        ([-3, -3, -3], 1),  # a note lasts at least a moment
        ([1, 1, 1], 3),
    ],
)
def test_the_end_parts_what_is_held_from_what_is_damped(log_odds, n_held):
    assert ends(moments_of([log_odds]), np.array(log_odds, float)).tolist() == [50 + STEP * n_held]


def test_notes_end_each_for_itself():
    log_odds = [[2, -2, -2], [2, 2, -2]]
    found = ends(moments_of(log_odds), np.concatenate(log_odds).astype(float))
    assert found.tolist() == [50 + STEP, 50 + 2 * STEP]


def test_no_note_has_no_end():
    none = Moments(first=np.zeros(1, np.intp), column=np.zeros(0, np.intp), evidence=np.zeros((0, 3), np.float32))
    assert ends(none, np.zeros(0)).tolist() == []


def test_moments_show_the_decay_before_and_after():
    column = np.arange(200)
    track = np.exp(-0.01 * (column - 20)) * np.where(column > 100, np.exp(-0.1 * (column - 100)), 1) * (column >= 20)
    activity = np.stack([track, np.full(200, 1e-3)]).astype(np.float32)
    found = moments_after(activity, np.array([0]), np.array([20]), np.array([180]), np.array([60]), level=1.0)
    assert found.column.tolist() == list(range(20, 180, STEP))
    evidence = dict(zip(ENDS_NAMES, found.evidence.T, strict=True))
    at_damper = int(np.flatnonzero(found.column == 100)[0])
    assert evidence["last8"][at_damper] == pytest.approx(-0.08, abs=1e-3)
    assert evidence["next8"][at_damper] == pytest.approx(-0.88, abs=1e-3)
    assert evidence["level"][at_damper] == pytest.approx(-0.8, abs=1e-3)
    assert evidence["pitch"][0] == pytest.approx(60 / 88)


def test_gain_changes_nothing():
    activity = np.random.default_rng(0).random((3, 100)).astype(np.float32) + np.float32(0.1)
    where = (np.array([0, 2]), np.array([5, 40]), np.array([60, 90]), np.array([50, 70]))
    one = moments_after(activity, *where, level=1.0).evidence
    np.testing.assert_allclose(moments_after(activity * 8, *where, level=8.0).evidence, one, atol=1e-5)
