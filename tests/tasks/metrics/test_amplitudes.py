"""Estimated note amplitudes beside true ones."""

from fractions import Fraction

import mir_eval.transcription
import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from tasks.instruments.notes import Notes
from tasks.metrics.amplitudes import (
    SWEEP_TOLERANCES_S,
    amplitude_scores,
    note_amplitude_scores,
    onset_sweep,
    onset_vectors,
    sounding,
)

PAL = Fraction(25)


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture
def truth(rng):
    """Six notes, struck at times of their own."""
    values = np.zeros((1000, 6))
    for note in range(6):
        for row in np.flatnonzero(rng.uniform(size=1000) < 0.04):
            values[row:, note] += rng.uniform(0.2, 1) * np.exp(-np.arange(1000 - row) / 4)
    return values


def scores(truth, estimate, threshold=0.1):
    return amplitude_scores(truth, estimate, frame_rate=PAL, threshold=threshold)


def test_the_truth_has_every_best_figure(truth):
    found = scores(truth, truth)
    assert found["amplitude_rmse"] == 0
    for name in ("amplitude_correlation", "note_correlation", "worst_note_correlation", "frame_f1"):
        assert found[name] == pytest.approx(1)
    assert found["amplitude_lag_ms"] == pytest.approx(0, abs=1)
    assert found["onset_coincidence"] == pytest.approx(found["true_onset_coincidence"])
    assert abs(found["true_onset_coincidence"]) < 0.1


def test_figures_equal_those_of_numpy_and_scikit_learn(truth, rng):
    estimate = np.maximum(truth + 0.1 * rng.normal(size=truth.shape), 0)
    found = scores(truth, estimate)
    assert found["amplitude_rmse"] == pytest.approx(np.sqrt(np.mean((truth - estimate) ** 2)))
    assert found["amplitude_correlation"] == pytest.approx(np.corrcoef(truth.ravel(), estimate.ravel())[0, 1])
    each = [np.corrcoef(truth[:, note], estimate[:, note])[0, 1] for note in range(6)]
    assert found["note_correlation"] == pytest.approx(np.mean(each))
    assert found["worst_note_correlation"] == pytest.approx(min(each))
    precision, recall, f1, _ = precision_recall_fscore_support(
        (truth >= 0.1).ravel(), (estimate >= 0.1).ravel(), average="binary"
    )
    assert (found["frame_precision"], found["frame_recall"], found["frame_f1"]) == pytest.approx(
        (precision, recall, f1)
    )
    by_pitch = note_amplitude_scores(truth, estimate, (60, 61, 62, 63, 64, 65))
    assert [by_pitch[pitch]["correlation"] for pitch in by_pitch] == pytest.approx(each)
    assert by_pitch[60]["rmse"] == pytest.approx(np.sqrt(np.mean((truth[:, 0] - estimate[:, 0]) ** 2)))


@pytest.mark.parametrize("rows", [-3, -1, 1, 4])
def test_a_planted_lag_is_found_late_being_positive(truth, rows):
    assert scores(truth, np.roll(truth, rows, axis=0))["amplitude_lag_ms"] == pytest.approx(40 * rows, abs=2)


@pytest.mark.parametrize("late_ms", [-12, 8, 20])
def test_a_lag_between_rows_is_found_between_them(rng, late_ms):
    strokes_s = rng.uniform(1, 39, 60)

    def swells(moments_s):
        return np.exp(-0.5 * ((np.arange(1000)[:, None] / 25 - moments_s) / 0.06) ** 2).sum(axis=1, keepdims=True)

    found = scores(swells(strokes_s), swells(strokes_s + late_ms / 1000))
    assert found["amplitude_lag_ms"] == pytest.approx(late_ms, abs=2)


def test_a_network_that_plays_every_note_at_once_is_told_by_coincidence(truth):
    together = np.repeat(truth.mean(axis=1, keepdims=True), 6, axis=1)
    assert scores(truth, together)["onset_coincidence"] == pytest.approx(1)


def test_a_constant_estimate_has_no_correlation_but_finds_no_note(truth):
    found = scores(truth, np.full(truth.shape, truth.mean()))
    assert "amplitude_correlation" not in found
    assert "amplitude_lag_ms" not in found
    assert "onset_coincidence" not in found
    assert found["note_correlation"] == 0


def test_a_silent_take_has_only_figures_that_mean_something():
    assert scores(np.zeros((10, 3)), np.zeros((10, 3))) == {"amplitude_rmse": 0.0}


def test_a_note_that_does_not_sound_is_left_out(truth):
    faint = truth.copy()
    faint[:, 2] *= 0.001
    assert sounding(faint).tolist() == [True, True, False, True, True, True]
    assert "correlation" not in note_amplitude_scores(faint, faint, range(6))[2]


def test_onset_vectors_are_rises_alone():
    np.testing.assert_array_equal(onset_vectors(np.array([[2.0], [5.0], [1.0], [1.5]]))[:, 0], [0, 3, 0, 0.5])


def notes_of(onset_s, pitch):
    onset_s = np.asarray(onset_s, np.float64)
    return Notes(
        onset_s=onset_s,
        offset_s=onset_s + 0.2,
        sounding_offset_s=onset_s + 0.2,
        pitch=np.asarray(pitch, np.uint8),
        velocity=np.full(len(onset_s), 64, np.uint8),
    )


def test_the_sweep_equals_mir_eval_at_each_tolerance(rng):
    onset_s, pitch = np.sort(rng.uniform(0, 60, 300)), rng.integers(60, 72, 300)
    reference = notes_of(onset_s, pitch)
    estimate = notes_of(onset_s + rng.normal(scale=0.04, size=300), pitch)
    found = onset_sweep(reference, estimate)
    assert list(found) == [f"onset_f1_{tolerance_ms}_ms" for tolerance_ms in (10, 20, 30, 50, 75, 100)]
    assert list(found.values()) == sorted(found.values())
    sides = [
        part
        for notes in (reference, estimate)
        for part in (
            np.stack([notes.onset_s, notes.offset_s], axis=1),
            440 * 2 ** ((notes.pitch.astype(float) - 69) / 12),
        )
    ]
    for tolerance_s, f1 in zip(SWEEP_TOLERANCES_S, found.values(), strict=True):
        theirs = mir_eval.transcription.precision_recall_f1_overlap(
            *sides, onset_tolerance=tolerance_s, offset_ratio=None
        )
        assert f1 == pytest.approx(theirs[2])


def test_the_sweep_of_nothing_is_empty():
    assert onset_sweep(notes_of([], []), notes_of([], [])) == {}


def test_what_does_not_fit_is_refused(truth):
    with pytest.raises(ValueError, match=r"shape \(1000, 6\), estimated \(999, 6\)"):
        scores(truth, truth[1:])
    broken = truth.copy()
    broken[4, 2] = np.inf
    with pytest.raises(ValueError, match="estimated amplitude of note 2 in row 4 is inf"):
        scores(truth, broken)
    with pytest.raises(ValueError, match="6 notes, 3 pitches"):
        note_amplitude_scores(truth, truth, (60, 61, 62))
