"""Performances of the right take and of another one, beside their control and their ceiling."""

import numpy as np
import pytest

from tasks.instruments.notes import sorted_notes
from tasks.metrics.controls import ceiling_scores, control_scores, takes_of_other_pieces

LIMITS = {"onset_tolerance_s": 0.05, "max_frequency_hz": 2000.0}


def notes(*onset_s, pitch=60):
    onset_s = np.array(onset_s, np.float64)
    return sorted_notes(
        onset_s, onset_s + 0.2, np.full(len(onset_s), pitch, np.uint8), np.full(len(onset_s), 80, np.uint8)
    )


NONE = notes()


def test_the_other_take_is_the_next_one_of_another_piece_in_a_circle():
    assert takes_of_other_pieces({"c": "r", "a": "p", "b": "q"}) == {"a": "b", "b": "c", "c": "a"}
    assert takes_of_other_pieces({"a_1": "a", "a_2": "a", "b": "b"}) == {"a_1": "b", "a_2": "b", "b": "a_1"}
    assert takes_of_other_pieces({"a_1": "a", "a_2": "a"}) == {}
    assert takes_of_other_pieces({"a": "a"}) == takes_of_other_pieces({}) == {}


def test_the_ceiling_is_the_f1_of_what_was_detected_in_the_true_sound():
    assert ceiling_scores(notes(1, 2, 3), notes(1, 2.01), **LIMITS) == {"reference_onset_f1": pytest.approx(0.8)}
    assert ceiling_scores(notes(1, pitch=108), notes(1), **LIMITS) == {"reference_onset_f1": 0.0}  # 4,186 Hz
    assert ceiling_scores(NONE, NONE, **LIMITS) == {}


def test_a_performance_of_another_take_shows_in_its_control():
    rng = np.random.default_rng(0)
    own, other = rng.uniform(size=(2, 200, 5))
    played = notes(1, 2, 3)
    assert control_scores(played, played, other, other, **LIMITS) == {
        "other_onset_f1": 1.0,
        "other_note_correlation": pytest.approx(1.0),
    }
    apart = control_scores(played, notes(1.5, 2.5), other, own, **LIMITS)
    assert apart["other_onset_f1"] == 0.0
    assert abs(apart["other_note_correlation"]) < 0.2


def test_frames_that_both_have_are_correlated():
    other = np.random.default_rng(0).uniform(size=(200, 5))
    longer = np.concatenate([other, np.zeros((50, 5))])
    for pair in ((other, longer), (longer, other)):
        assert control_scores(NONE, NONE, *pair, **LIMITS) == {"other_note_correlation": pytest.approx(1.0)}
    assert control_scores(NONE, NONE, other, other[:0], **LIMITS) == {}
