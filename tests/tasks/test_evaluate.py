"""Scores of performances that are known to be right, to be silent, or to be late."""

import json
from pathlib import Path

import numpy as np
import pytest

from tasks.chunk import SegmentParams, index_takes
from tasks.errors import DamagedData
from tasks.evaluate import EvaluateParams, TakeScores, above_first, evaluate_family, means
from tasks.families.baselines import BaselinesParams
from tasks.features.polyphony import TranscribeParams
from tasks.features.resample import resample
from tasks.instruments.notes import sorted_notes
from tasks.intake.notes import read_notes
from tasks.store.audio import read_audio, write_flac
from tasks.store.segments import ScoreSet
from tasks.store.tables import read_table, write_table
from tasks.takes import SplitParams, read_catalog
from tasks.train import train_family

PARAMS = EvaluateParams(onset_tolerance_s=0.05, n_resamples=200, seed=1, museval_players=3)
TRANSCRIBE = TranscribeParams(threshold=0.5, restrike_gap_s=0.05, n_iterations=40, release_db=25.0, longest_note_s=15.0)
BASELINES = BaselinesParams(n_fft=256, n_pictures=32, kept_s=0.2, grain_s=0.08, gain=1.0, program=0, seed=0)
SYSTEMS = ("mean", "silence", "nearest", "unigram", "upper_bound")
LATE_S = 0.02


@pytest.fixture
def evaluated(chunked, notes_of):
    """Evaluate: `upper_bound` is the truth, `silence` is silent, `mean` is the truth 20 ms late at 8 kHz."""
    for n, part in enumerate(("train", "validation", "test", "test")):
        rows = [(0.3 + 0.3 * i, 0.5 + 0.3 * i, 55 + 3 * i + n, 60 + 10 * i) for i in range(5)]
        chunked(f"take_{n}", notes_of(*rows, (1.9, 2.1, 108, 90)), part=part)  # 4,186 Hz: not in a sound at 4 kHz
    scores = Path("data/chunked/scores")
    catalog = read_catalog()
    split = SplitParams(salt="s", train_percent=60, validation_percent=20, min_pieces=1)
    index_takes(scores, catalog, split, SegmentParams(length_s=1.0, hop_s=1.0))
    train_family(
        "baselines",
        BASELINES,
        data=scores,
        out=Path("trained"),
        resume_root=Path("resume"),
        accelerator="cpu",
        networks="portable",
    )
    for take in ("take_2", "take_3"):
        audio, rate = read_audio(Path("data/rendered") / take / "audio.flac")
        truth = read_notes(take)
        late = resample(np.concatenate([np.zeros(round(LATE_S * rate), np.float32), audio])[: len(audio)], rate, 8_000)
        late_notes = sorted_notes(truth.onset_s + LATE_S, truth.offset_s + LATE_S, truth.pitch, truth.velocity)
        sounds = {
            "upper_bound": (audio, rate, truth),
            "mean": (late, 8_000, late_notes),
            **dict.fromkeys(("silence", "nearest", "unigram"), (np.zeros_like(audio), rate, None)),
        }
        for system, (sound, at, notes) in sounds.items():
            folder = Path("synthesized") / system / take
            folder.mkdir(parents=True)
            write_flac(folder / "audio.flac", sound, at)
            if notes is not None:
                write_table(folder / "notes.parquet", notes.columns())
    return evaluate_family(
        "baselines",
        data=scores,
        trained=Path("trained"),
        synthesized=Path("synthesized"),
        out=Path("evaluated"),
        params=PARAMS,
        transcribe_params=TRANSCRIBE,
        workers=2,
        accelerator="cpu",
    )


def test_the_truth_is_perfect_silence_is_not_and_lateness_is_told(evaluated):
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


def scores_of(system, take, nats):
    return TakeScores(
        system=system,
        role="model",
        take=take,
        piece=take,
        labels={},
        scores={"nats_per_sample": nats, **({"onset_f1": 1.0} if take == "a" else {})},
        segment_ids=[],
    )


def test_a_variant_is_compared_with_the_familys_first_system_take_by_take():
    first = [scores_of("conditioned", take, nats) for take, nats in (("a", 1.0), ("b", 4.0), ("c", 2.0))]
    variant = [scores_of("blind", one.take, one.scores["nats_per_sample"] + 0.5) for one in first]
    names = ("mean", "low", "high")
    found = above_first(variant, first, "nats_per_sample", names=names, params=PARAMS)
    assert found == dict.fromkeys(names, 0.5)  # takes differ, the difference does not
    assert above_first(first, first, "nats_per_sample", names=names, params=PARAMS) == {}
    assert above_first(variant, first, "onset_f1", names=names, params=PARAMS) == {}  # one piece alone has it
    assert means(one.scores for one in variant) == {"nats_per_sample": pytest.approx(7 / 3 + 0.5), "onset_f1": 1.0}


# Captures.


def evaluate(workers=2):
    return evaluate_family(
        "capture_baselines",
        data=Path("data/chunked/captures"),
        trained=Path("trained"),
        synthesized=Path("synthesized"),
        out=Path("evaluated"),
        params=PARAMS,
        transcribe_params=TRANSCRIBE,
        workers=workers,
        accelerator="cpu",
    )


def test_each_camera_of_a_capture_is_scored_while_it_films(captured):
    perform = captured
    perform("true_features", late_s=0.0, louder=1.0)
    perform("nearest_features", late_s=0.03, louder=2.0)
    perform("mean_features", late_s=0.07, louder=1.0)
    means = evaluate()
    perfect, late, later = means["true_features"], means["nearest_features"], means["mean_features"]
    assert perfect["onset_f1"] == perfect["frame_f1"] == 1.0
    assert perfect["amplitude_rmse"] == 0.0
    assert perfect["mr_stft"] < 1e-3  # both sounds are rounded to 16 bits
    assert late["onset_f1"] == 1.0
    assert late["onset_lag_ms"] == pytest.approx(30)
    assert (late["onset_f1_10_ms"], late["onset_f1_50_ms"]) == (0.0, 1.0)
    assert late["amplitude_correlation"] == pytest.approx(1.0)
    assert late["amplitude_rmse"] > 0
    assert (later["onset_f1"], later["onset_f1_100_ms"]) == (0.0, 1.0)
    rows = read_table(Path("evaluated/takes.parquet"))
    counted = dict(zip(rows["take"], rows["n_reference"], strict=True))
    assert counted == {"t/cam_a": 13.0, "t/cam_b": 9.0}  # the second one came at 2.25 s: four strokes were over
    assert set(rows["camera"]) == {"cam_a", "cam_b"}
    assert all(len(ids) == 2 for ids in rows["segment_ids"])


def test_a_buzz_at_the_systems_own_frame_rate_and_levels_on_even_films_are_told(captured):
    perform = captured
    for system in ("mean_features", "nearest_features", "true_features"):
        perform(system, late_s=0.0, louder=1.0)
    time_s = np.arange(8 * 8000) / 8000
    buzz = sum(0.02 * np.sin(2 * np.pi * 25 * number * time_s) for number in range(1, 60))
    write_flac(Path("synthesized/nearest_features/t/cam_b/audio.flac"), buzz.astype(np.float32), 8000)
    levels = {"nearest_features": {"black_level_dbfs": -120.0, "white_level_dbfs": -33.5}}
    Path("synthesized/levels.json").write_text(json.dumps(levels))
    Path("trained").mkdir()
    for system in ("mean_features", "nearest_features"):
        Path(f"trained/{system}.json").write_text(json.dumps({"frame_rate": "25"}))
    means = evaluate()
    rows = read_table(Path("evaluated/takes.parquet"))
    combs = dict(zip(zip(rows["system"], rows["camera"], strict=True), rows["comb_db"], strict=True))
    assert combs["nearest_features", "cam_b"] > 30  # as loud as the whole
    true_comb_db = means["nearest_features"]["true_comb_db"]
    assert combs["nearest_features", "cam_a"] == pytest.approx(true_comb_db, abs=1e-3)  # it is the true sound
    assert true_comb_db < 0
    assert "comb_db" not in means["true_features"]  # it does not say what it is made of
    assert means["nearest_features"]["white_level_dbfs"] == -33.5
    assert "black_level_dbfs" not in means["mean_features"]


@pytest.mark.parametrize("workers", [1, 3])
def test_takes_and_figures_are_the_same_however_many_work(captured, workers):
    perform = captured
    for number, system in enumerate(("mean_features", "nearest_features", "true_features")):
        perform(system, late_s=0.02 * number, louder=1.0)
    two = evaluate(), Path("evaluated/takes.parquet").read_bytes()
    assert (evaluate(workers=workers), Path("evaluated/takes.parquet").read_bytes()) == two


def test_a_system_that_left_a_view_out_is_named(captured):
    perform = captured
    for system in ("mean_features", "nearest_features", "true_features"):
        perform(system, late_s=0.0, louder=1.0)
    (Path("synthesized/nearest_features/t/cam_b/audio.flac")).unlink()
    with pytest.raises(DamagedData, match="nearest_features has 1 views of test takes, expected 2"):
        evaluate()
