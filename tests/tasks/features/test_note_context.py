"""A candidate sees the odds of its relatives and of its own key, and nothing of what is out of reach."""

import numpy as np
import pytest

from tasks.features.note_context import CONTEXT_NAMES, context
from tasks.features.note_evidence import Candidates

N_PITCHES, N_COLUMNS = 60, 200


def seen(strokes):
    """Return the context of strokes (row, column, log odds), a column of evidence by name."""
    row, column, odds = (np.array(values) for values in zip(*strokes, strict=True))
    candidates = Candidates(
        row=row,
        column=column,
        time_column=column.astype(np.float64),
        level=np.ones(len(row), np.float32),
        evidence=np.zeros((len(row), 0), np.float32),
        names=(),
    )
    found = context(candidates, odds.astype(np.float64), N_PITCHES, N_COLUMNS)
    assert found.shape == (len(row), len(CONTEXT_NAMES))
    return dict(zip(CONTEXT_NAMES, found.T, strict=True))


@pytest.mark.parametrize("late", [-4, 0, 4])
def test_an_octave_below_that_is_struck_together_is_seen(late):
    found = seen([(30, 100, 1.0), (18, 100 + late, 3.5)])
    assert found["odds-12"][0] == 3.5
    assert found["odds+12"][1] == 1.0
    assert found["odds-12"][1] < -8


@pytest.mark.parametrize("late", [-5, 5])
def test_what_is_not_struck_together_is_not(late):
    assert seen([(30, 100, 1.0), (18, 100 + late, 3.5)])["odds-12"][0] < -8


def test_a_key_beyond_the_keyboard_differs_from_one_that_does_not_rise():
    found = seen([(5, 100, 1.0), (40, 100, 1.0)])
    assert found["odds-12"][0] < found["odds-12"][1]


def test_a_repeat_of_the_same_key_is_seen_by_both():
    found = seen([(30, 100, 1.0), (30, 106, 2.0)])
    assert found["own+1+8"].tolist() == [2.0, -9.0]
    assert found["own-8-1"].tolist() == [-9.0, 1.0]


def test_others_at_is_where_the_chord_was_struck():
    found = seen([(10, 100, 0.0), (20, 102, 9.0), (25, 102, 9.0)])
    assert found["others_at"][0] == pytest.approx(2.0, abs=0.01)
    assert found["struck_together"][0] == pytest.approx(np.log(3), abs=0.01)


def test_a_candidate_alone_sees_nobody():
    found = seen([(30, 100, 2.0)])
    assert found["log_odds"] == [2.0]
    assert found["others_at"] == found["struck_together"] == [0.0]
