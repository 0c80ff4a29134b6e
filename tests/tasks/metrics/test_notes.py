import mir_eval.transcription
import mir_eval.transcription_velocity
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.instruments.notes import Notes, sorted_notes
from tasks.metrics.notes import Counts, fundamental_hz, match_notes, note_scores, pitch_counts


def notes(*rows: tuple[float, float, int, int]) -> Notes:
    columns = np.array(rows, np.float64).reshape(-1, 4)
    return sorted_notes(columns[:, 0], columns[:, 1], columns[:, 2].astype(int), columns[:, 3].astype(int))


def crowd(seed: int, n_notes: int) -> Notes:
    """Notes so dense that several of a pitch lie within the tolerance of each other."""
    rng = np.random.default_rng(seed)
    onset_s = np.sort(rng.uniform(0, 8, n_notes))
    return sorted_notes(
        onset_s,
        onset_s + rng.uniform(0.02, 1, n_notes),
        rng.integers(60, 66, n_notes),
        rng.integers(1, 128, n_notes),
    )


SCALE = notes((0.0, 0.4, 60, 40), (0.5, 0.9, 62, 60), (1.0, 1.4, 64, 80), (1.5, 1.9, 65, 100))


def test_notes_agree_with_themselves():
    scores = note_scores(SCALE, SCALE)
    assert {scores[f"{kind}_f1"] for kind in ("onset", "offset", "velocity")} == {1.0}
    assert (scores["velocity_mae"], scores["onset_lag_ms"]) == (0.0, 0.0)


def test_a_planted_delay_is_the_lag_and_changes_nothing_else():
    late = notes(*[(on + 0.03, off + 0.03, p, v) for on, off, p, v in rows_of(SCALE)])
    scores = note_scores(SCALE, late)
    assert scores["onset_lag_ms"] == pytest.approx(30.0)
    assert (scores["onset_f1"], scores["offset_f1"]) == (1.0, 1.0)
    assert note_scores(late, SCALE)["onset_lag_ms"] == pytest.approx(-30.0)


@pytest.mark.parametrize(("delay_s", "f1"), [(0.05, 1.0), (0.051, 0.0)])
def test_the_tolerance_counts_itself(delay_s, f1):
    late = notes(*[(on + delay_s, off + delay_s, p, v) for on, off, p, v in rows_of(SCALE)])
    assert note_scores(SCALE, late)["onset_f1"] == f1


def test_a_wider_tolerance_accepts_what_a_narrow_one_refuses():
    late = notes(*[(on + 0.09, off + 0.09, p, v) for on, off, p, v in rows_of(SCALE)])
    assert note_scores(SCALE, late, onset_tolerance_s=0.1)["onset_f1"] == 1.0
    assert note_scores(SCALE, late)["onset_f1"] == 0.0


def test_one_missed_and_one_invented_note_give_three_of_four():
    estimate = notes(*rows_of(SCALE)[:3], (1.5, 1.9, 66, 100))
    scores = note_scores(SCALE, estimate)
    assert [scores[f"onset_{rate}"] for rate in ("precision", "recall", "f1")] == [0.75, 0.75, 0.75]
    assert pitch_counts(SCALE, estimate) == {
        60: Counts(tp=1, fp=0, fn=0),
        62: Counts(tp=1, fp=0, fn=0),
        64: Counts(tp=1, fp=0, fn=0),
        65: Counts(tp=0, fp=0, fn=1),
        66: Counts(tp=0, fp=1, fn=0),
    }


def test_a_note_struck_twice_in_one_place_counts_once():
    twice = notes((0.0, 0.4, 60, 40), (0.01, 0.4, 60, 40))
    assert note_scores(notes((0.0, 0.4, 60, 40)), twice)["onset_precision"] == 0.5


def test_offset_f1_needs_the_release_and_onset_f1_does_not():
    held = notes(*[(on, off + 0.3, p, v) for on, off, p, v in rows_of(SCALE)])
    scores = note_scores(SCALE, held)
    assert (scores["onset_f1"], scores["offset_f1"]) == (1.0, 0.0)


def test_offset_is_the_key_and_not_the_pedal():
    pedalled = sorted_notes(SCALE.onset_s, SCALE.offset_s, SCALE.pitch, SCALE.velocity, SCALE.offset_s + 5)
    assert note_scores(SCALE, pedalled)["offset_f1"] == 1.0


def test_velocity_f1_forgives_a_scale_and_the_mean_error_does_not():
    quiet = notes(*[(on, off, p, v // 2) for on, off, p, v in rows_of(SCALE)])
    scores = note_scores(SCALE, quiet)
    assert scores["velocity_f1"] == 1.0
    assert scores["velocity_mae"] == np.mean([20, 30, 40, 50])


def test_velocity_f1_sees_loud_and_soft_exchanged():
    swapped = notes((0.0, 0.4, 60, 100), (0.5, 0.9, 62, 40), (1.0, 1.4, 64, 100), (1.5, 1.9, 65, 40))
    assert note_scores(SCALE, swapped)["velocity_f1"] < 0.5


def test_pitches_at_and_above_half_the_sample_rate_are_left_out_and_counted():
    # 2000 Hz, half of 4 kHz, lies between MIDI 95 (1975.53 Hz) and 96 (2093.0 Hz).
    high = notes((0, 1, 95, 64), (1, 2, 96, 64), (2, 3, 108, 64))
    scores = note_scores(high, notes((0, 1, 95, 64), (4, 5, 100, 64)), max_frequency_hz=2000.0)
    assert (scores["n_reference"], scores["n_reference_left_out"]) == (1, 2)
    assert (scores["n_estimate"], scores["n_estimate_left_out"]) == (1, 1)
    assert scores["onset_f1"] == 1.0
    assert set(pitch_counts(high, high, max_frequency_hz=2000.0)) == {95}


def test_a_pitch_exactly_at_the_limit_is_left_out():
    a4 = notes((0, 1, 69, 64))
    assert fundamental_hz(a4.pitch) == 440.0
    assert note_scores(a4, a4, max_frequency_hz=440.0)["n_reference_left_out"] == 1


NONE = notes()


@pytest.mark.parametrize(
    ("reference", "estimate", "present", "absent"),
    [
        (NONE, NONE, {}, {"onset_precision", "onset_recall", "onset_f1", "velocity_mae", "onset_lag_ms"}),
        (
            NONE,
            SCALE,
            {"onset_precision": 0, "onset_f1": 0},
            {"onset_recall", "velocity_mae", "onset_lag_ms"},
        ),
        (
            SCALE,
            NONE,
            {"onset_recall": 0, "onset_f1": 0},
            {"onset_precision", "velocity_mae", "onset_lag_ms"},
        ),
    ],
)
def test_a_figure_without_a_value_is_left_out(reference, estimate, present, absent):
    scores = note_scores(reference, estimate)
    assert absent.isdisjoint(scores)
    assert {name: scores[name] for name in present} == present
    assert all(np.isfinite(value) for value in scores.values())


@pytest.mark.parametrize("seed", range(4))
def test_counts_are_those_of_mir_eval_where_notes_crowd(seed):
    reference, estimate = crowd(seed, 200), crowd(seed + 100, 220)
    intervals = [np.stack([side.onset_s, side.offset_s], axis=1) for side in (reference, estimate)]
    hz = [fundamental_hz(side.pitch) for side in (reference, estimate)]
    scores = note_scores(reference, estimate)
    expected = mir_eval.transcription.evaluate(intervals[0], hz[0], intervals[1], hz[1])
    assert [scores[f"onset_{rate}"] for rate in ("precision", "recall", "f1")] == pytest.approx(
        [expected[f"{rate}_no_offset"] for rate in ("Precision", "Recall", "F-measure")]
    )
    assert [scores[f"offset_{rate}"] for rate in ("precision", "recall", "f1")] == pytest.approx(
        [expected[rate] for rate in ("Precision", "Recall", "F-measure")]
    )


def test_velocity_f1_is_that_of_mir_eval_where_the_matching_is_plain():
    rng = np.random.default_rng(5)
    reference = notes(*[(0.2 * k, 0.2 * k + 0.1, 60 + k % 12, 30 + k % 80) for k in range(200)])
    estimate = sorted_notes(
        reference.onset_s + rng.normal(0, 0.02, 200),
        reference.offset_s + 0.03,
        reference.pitch,
        np.clip(reference.velocity + rng.normal(0, 12, 200), 1, 127).astype(int),
    )
    sides = [
        (
            np.stack([side.onset_s, side.offset_s], axis=1),
            fundamental_hz(side.pitch),
            side.velocity.astype(float),
        )
        for side in (reference, estimate)
    ]
    sides[1][0][:, 0] = np.maximum(sides[1][0][:, 0], 0)  # mir_eval refuses a negative time
    _, _, f1, _ = mir_eval.transcription_velocity.precision_recall_f1_overlap(*sides[0], *sides[1], offset_ratio=None)
    assert 0.3 < f1 < 0.99
    assert note_scores(reference, estimate)["velocity_f1"] == pytest.approx(f1)


@given(st.integers(0, 1000), st.integers(0, 40), st.integers(0, 40))
def test_exchanging_the_sides_exchanges_precision_and_recall(seed, n_reference, n_estimate):
    reference, estimate = crowd(seed, n_reference), crowd(seed + 1, n_estimate)
    one, other = note_scores(reference, estimate), note_scores(estimate, reference)
    assert one.get("onset_precision") == other.get("onset_recall")
    assert one.get("onset_f1") == other.get("onset_f1")


def test_no_note_is_matched_twice():
    pairs = match_notes(crowd(1, 300), crowd(2, 300))
    assert len(pairs) > 50
    assert all(len(np.unique(side)) == len(side) for side in pairs.T)


def rows_of(side: Notes) -> list[tuple[float, float, int, int]]:
    return [
        (float(on), float(off), int(pitch), int(velocity))
        for on, off, pitch, velocity in zip(side.onset_s, side.offset_s, side.pitch, side.velocity, strict=True)
    ]
