"""Scores of performances that are known to be right, to be silent, or to be late."""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import yaml

from flows.presets import preset_text
from tasks.chunk import SegmentParams, index_takes
from tasks.evaluate import EvaluateParams, evaluate_family
from tasks.families.baselines import BaselinesParams
from tasks.families.deepsynth import DeepSynthFamily
from tasks.families.deepsynth.params import BLIND, LINEAR, PREDICTION, RESPONSE, SYSTEM, DeepSynthParams
from tasks.features.amplitudes import note_amplitudes, note_frequencies_hz
from tasks.features.polyphony import TranscribeParams
from tasks.features.resample import resample
from tasks.instruments.notes import sorted_notes
from tasks.intake.notes import read_notes
from tasks.kinds.scores.evaluate import KEYBOARD
from tasks.metrics.amplitudes import correlation_scores
from tasks.store.audio import read_audio, write_flac
from tasks.store.rendered import RENDERED
from tasks.store.segments import ScoreSet, write_segments
from tasks.store.tables import read_table, write_table
from tasks.takes import PARTS, SplitParams, read_catalog
from tasks.train import train_family

PARAMS = EvaluateParams(onset_tolerance_s=0.05, n_resamples=200, seed=1, museval_players=3)
TRANSCRIBE = TranscribeParams(
    threshold=0.5, restrike_gap_s=0.05, n_iterations=40, release_db=25.0, longest_note_s=15.0, floor_db=-120.0
)
BASELINES = BaselinesParams(n_fft=256, n_pictures=32, kept_s=0.2, grain_s=0.08, gain=1.0, program=0, seed=0)
SYSTEMS = ("mean", "silence", "nearest", "unigram", "upper_bound")
LATE_S = 0.02
OTHERS = {"take_2": "take_3", "take_3": "take_2"}  # each test take, and the one that it is confused with
SMALL = {
    "n_layers": 4,
    "n_channels": 8,
    "n_features": 8,
    "response_s": 0.5,
    "n_folds": 1,
    "n_past": 4,
    "n_taps": 16,
    "temperatures": [1.0],
    "n_steps": 4,
    "steps_per_epoch": 2,
    "batch_size": 2,
    "crop_s": 0.25,
    "lead_s": 0.064,
    "n_decays": 1,
    "n_warmup_steps": 1,
    "n_validation_segments": 2,
}


@pytest.fixture
def scores(chunked, notes_of):
    """Chunk four takes of a piece each, the last two for testing; return their folder."""
    for n, part in enumerate(("train", "validation", "test", "test")):
        rows = [(0.3 + 0.3 * i, 0.5 + 0.3 * i, 55 + 3 * i + n, 60 + 10 * i) for i in range(5)]
        chunked(f"take_{n}", notes_of(*rows, (1.9, 2.1, 108, 90)), part=part)  # 4,186 Hz: not in a sound at 4 kHz
    folder = Path("data/chunked/scores")
    split = SplitParams(salt="s", train_percent=60, validation_percent=20, min_pieces=1)
    index_takes(folder, read_catalog(), split, SegmentParams(length_s=1.0, hop_s=1.0))
    return folder


def train(family, params, scores):
    train_family(
        family,
        params,
        data=scores,
        out=Path("trained"),
        resume_root=Path("resume"),
        accelerator="cpu",
        networks="portable",
    )


def perform(system, take, sound, sample_rate, notes=None):
    folder = Path("synthesized") / system / take
    folder.mkdir(parents=True)
    write_flac(folder / "audio.flac", sound, sample_rate)
    if notes is not None:
        write_table(folder / "notes.parquet", notes.columns())


def evaluate(family, scores):
    return evaluate_family(
        family,
        data=scores,
        trained=Path("trained"),
        synthesized=Path("synthesized"),
        out=Path("evaluated"),
        params=PARAMS,
        transcribe_params=TRANSCRIBE,
        workers=2,
        accelerator="cpu",
    )


def true_sound(take):
    return read_audio(Path("data/rendered") / take / "audio.flac")


@pytest.fixture
def evaluated(scores):
    """Evaluate: `upper_bound` is the truth, `silence` is silent, `mean` is the truth 20 ms late at 8 kHz."""
    train("baselines", BASELINES, scores)
    for take in ("take_2", "take_3"):
        audio, rate = true_sound(take)
        truth = read_notes(take)
        late = resample(np.concatenate([np.zeros(round(LATE_S * rate), np.float32), audio])[: len(audio)], rate, 8_000)
        late_notes = sorted_notes(truth.onset_s + LATE_S, truth.offset_s + LATE_S, truth.pitch, truth.velocity)
        perform("upper_bound", take, audio, rate, truth)
        perform("mean", take, late, 8_000, late_notes)
        for system in ("silence", "nearest", "unigram"):
            perform(system, take, np.zeros_like(audio), rate)
    return evaluate("baselines", scores)


@pytest.fixture
def conditioned(scores):
    """Evaluate a network conditioned on pictures, with the true sound; its twin has that of the other take."""
    values = yaml.safe_load(preset_text("demo"))["train"]["deepsynth"]
    train("deepsynth", DeepSynthParams(**values | SMALL), scores)
    for take, other in OTHERS.items():
        for system in (SYSTEM, RESPONSE, LINEAR):
            perform(system, take, *true_sound(take))
        for system in (BLIND, PREDICTION):
            perform(system, take, *true_sound(other))
    return evaluate("deepsynth", scores)


def test_the_truth_is_perfect_silence_is_not_and_lateness_is_measured(evaluated):
    truth, late, silence = evaluated["upper_bound"], evaluated["mean"], evaluated["silence"]
    for figure in ("onset_f1", "offset_f1", "velocity_f1"):
        assert truth[figure] == 1.0
    for figure in ("mr_stft", "log_spectral_distance_db", "onset_lag_ms", "velocity_mae"):
        assert truth[figure] == 0.0
    assert truth["n_reference_left_out"] == 1.0  # above what 4,000 samples a second hold
    assert late["onset_lag_ms"] == pytest.approx(1000 * LATE_S, abs=0.2)
    assert late["onset_f1"] == 1.0
    assert late["mr_stft"] > 0.1
    assert (silence["onset_f1"], silence["spectral_convergence"]) == (0.0, 1.0)
    assert silence["n_estimate"] == 0.0
    assert "onset_precision" not in silence
    assert silence["estimate_level_dbfs"] == -120.0
    # Only a system that gives codes a probability has nats; it is no worse than uniform.
    assert [system for system in SYSTEMS if "nats_per_sample" in evaluated[system]] == ["unigram"]
    assert 0 < evaluated["unigram"]["nats_per_sample"] < np.log(256)


EXCERPT_S = 1.02  # the third note is down then, the fourth begins later; the two before are not cut


@pytest.fixture
def excerpts(scores):
    """Evaluate the first 1.02 s: `upper_bound` is the truth, with its notes, `nearest` the truth, `mean` silence."""
    train("baselines", BASELINES, scores)
    for take in ("take_2", "take_3"):
        audio, rate = true_sound(take)
        sound = audio[: round(EXCERPT_S * rate)]
        perform("upper_bound", take, sound, rate, read_notes(take, RENDERED).until(EXCERPT_S))
        perform("nearest", take, sound, rate)
        for system in ("mean", "silence", "unigram"):
            perform(system, take, np.zeros_like(sound), rate)
    return evaluate("baselines", scores)


def test_an_excerpt_is_held_against_the_same_excerpt_of_the_truth(excerpts):
    truth, sound, silence = excerpts["upper_bound"], excerpts["nearest"], excerpts["mean"]
    for figure in ("onset_f1", "offset_f1", "velocity_f1"):
        assert truth[figure] == 1.0
    for figure in ("mr_stft", "log_spectral_distance_db", "level_difference_db", "onset_lag_ms"):
        assert truth[figure] == 0.0
    for figure in ("amplitude_correlation", "note_correlation", "worst_note_correlation"):
        assert truth[figure] == pytest.approx(1.0, abs=1e-6)
    for figures in (truth, sound, silence):
        assert figures["n_reference"] == 3.0  # of the five notes; the two after the end are no misses
        assert figures["reference_onset_f1"] == sound["onset_f1"] > 0.7
    assert (silence["onset_f1"], silence["onset_recall"]) == (0.0, 0.0)


def test_the_control_is_as_long_as_the_excerpt(excerpts):
    rows = read_table(Path("evaluated/takes.parquet"))
    frequency_hz = note_frequencies_hz(KEYBOARD)

    def amplitudes(take):
        sound = resample(*true_sound(take), 4_000)[: round(4_000 * EXCERPT_S)]
        of_keys = {"frequency_hz": frequency_hz[frequency_hz < 2_000], "n_frames": int(25 * EXCERPT_S)}
        return note_amplitudes(sound, sample_rate=4_000, frame_rate=Fraction(25), **of_keys)

    for take, other in OTHERS.items():
        row = (rows["system"] == "upper_bound") & (rows["take"] == take)
        expected = correlation_scores(amplitudes(other), amplitudes(take))["note_correlation"]
        assert rows["other_note_correlation"][row] == pytest.approx([expected], abs=1e-6)
    assert excerpts["upper_bound"]["other_onset_f1"] == 0.0  # the two takes have no pitch in common


def test_likelihoods_of_an_excerpt_are_of_all_segments(excerpts, scores):
    rows = read_table(Path("evaluated/takes.parquet"))
    data = ScoreSet(scores)
    expected = [row.segment_id for row in data.segments("test") if row.take == "take_2"]
    of_take = (rows["system"] == "unigram") & (rows["take"] == "take_2")
    assert list(rows["segment_ids"][of_take][0]) == expected
    assert len(expected) * 1.0 > EXCERPT_S


def test_a_sample_less_is_no_excerpt(scores):
    train("baselines", BASELINES, scores)
    for take in ("take_2", "take_3"):
        audio, rate = true_sound(take)
        for system in SYSTEMS:
            perform(system, take, audio, rate)
    whole = evaluate("baselines", scores)
    shutil.rmtree("synthesized")
    for take in ("take_2", "take_3"):
        audio, rate = true_sound(take)
        for system in SYSTEMS:
            perform(system, take, audio[:-1], rate)
    shorter = evaluate("baselines", scores)
    for figure in ("reference_onset_f1", "n_reference", "other_onset_f1", "onset_f1"):
        assert whole["nearest"][figure] == shorter["nearest"][figure]


def test_every_row_names_the_segments_it_rests_on_and_where_its_notes_come_from(evaluated):
    rows = read_table(Path("evaluated/takes.parquet"))
    scores = ScoreSet(Path("data/chunked/scores"))
    expected = {
        take: [r.segment_id for r in scores.segments("test") if r.take == take] for take in scores.takes("test")
    }
    assert list(zip(rows["system"], rows["take"], strict=True)) == [(s, t) for s in SYSTEMS for t in expected]
    for take, ids in zip(rows["take"], rows["segment_ids"], strict=True):
        assert list(ids) == expected[take]
    assert all(expected.values())
    notes_from = dict(zip(rows["system"], rows["notes_from"], strict=True))
    assert notes_from == {s: "model" if s in ("mean", "upper_bound") else "sound" for s in SYSTEMS}


def test_every_row_has_the_role_that_the_family_declares(evaluated):
    rows = read_table(Path("evaluated/takes.parquet"))
    roles = dict(zip(rows["system"], rows["role"], strict=True))
    assert roles == {
        "mean": "reference",
        "silence": "idle",
        "nearest": "model",
        "unigram": "model",
        "upper_bound": "bound",
    }


def test_hits_and_misses_are_counted_by_pitch(evaluated):
    rows = read_table(Path("evaluated/pitches.parquet"))
    columns = [rows[name].tolist() for name in ("system", "take", "pitch", "tp", "fp", "fn")]
    counted = {row[:3]: row[3:] for row in zip(*columns, strict=True)}
    assert counted["upper_bound", "take_2", 57] == (1, 0, 0)
    assert counted["silence", "take_2", 57] == (0, 0, 1)
    assert ("silence", "take_2", 108) not in counted


def test_the_true_sound_is_at_the_ceiling_and_the_sound_of_another_take_is_that_one_s(conditioned):
    true, other = conditioned["deepsynth"], conditioned["deepsynth_blind"]
    assert true["onset_f1"] == true["reference_onset_f1"] == other["reference_onset_f1"] > 0.9
    assert true["level_difference_db"] == 0.0
    assert true["rest_level_dbfs"] == true["true_rest_level_dbfs"] < -80
    assert true["spectral_flatness"] == true["true_spectral_flatness"] < 0.2
    for name in ("amplitude_correlation", "note_correlation", "worst_note_correlation"):
        assert true[name] == pytest.approx(1.0, abs=1e-6)
    assert true["other_onset_f1"] == other["onset_f1"] == 0.0  # the two takes have no pitch in common
    assert other["other_onset_f1"] == other["reference_onset_f1"]
    assert other["other_note_correlation"] == pytest.approx(1.0, abs=1e-6)
    assert true["other_note_correlation"] < 0.8  # neighbouring keys at the same times
    assert other["note_correlation"] == pytest.approx(true["other_note_correlation"], abs=1e-6)


def test_the_pictures_of_another_piece_are_shown_to_what_is_conditioned_on_pictures_alone(conditioned, scores):
    data = ScoreSet(scores)
    segments = data.segments("test")
    family = DeepSynthFamily()
    expected = {
        name: family.nats(Path("trained"), data, segments, accelerator="cpu", pictures_of=pictures_of)["deepsynth"]
        for name, pictures_of in (("nats_per_sample", None), ("nats_other_pictures", OTHERS))
    }
    rows = read_table(Path("evaluated/takes.parquet"))
    takes = np.array([row.take for row in segments])
    for row in np.flatnonzero(rows["system"] == "deepsynth"):
        of_take = {name: nats[takes == rows["take"][row]].mean() for name, nats in expected.items()}
        assert {name: rows[name][row] for name in of_take} == of_take
        assert rows["picture_worth"][row] == of_take["nats_other_pictures"] - of_take["nats_per_sample"] != 0
    figures = conditioned["deepsynth"]
    assert figures["picture_worth"] == pytest.approx(
        figures["nats_other_pictures"] - figures["nats_per_sample"], abs=2e-6
    )
    assert figures["picture_worth_low"] < figures["picture_worth"] < figures["picture_worth_high"]
    blind = rows["system"] == "deepsynth_blind"
    for name in ("nats_other_pictures", "picture_worth"):
        assert np.isnan(rows[name][blind]).all()
    assert not [name for name in conditioned["deepsynth_blind"] if "picture" in name]
    assert "nats_per_sample" in conditioned["deepsynth_blind"]


def test_where_all_test_takes_are_of_one_piece_there_is_no_other_take(conditioned, scores):
    data = ScoreSet(scores)
    segments = [row for part in PARTS for row in data.segments(part)]
    write_segments(
        scores / "segments.parquet",
        [row._replace(piece="take_2") if row.take == "take_3" else row for row in segments],
    )
    index = json.loads((scores / "takes.json").read_text())
    index["take_3"]["piece"] = "take_2"
    (scores / "takes.json").write_text(json.dumps(index))
    figures = evaluate("deepsynth", scores)["deepsynth"]
    gone = {name for name in conditioned["deepsynth"] if name not in figures}
    assert gone == {
        "nats_other_pictures",
        "picture_worth",
        "picture_worth_low",
        "picture_worth_high",
        "other_onset_f1",
        "other_note_correlation",
    }
    assert figures["reference_onset_f1"] == conditioned["deepsynth"]["reference_onset_f1"]
