"""Scores of performances that are known to be right, to be silent, or to be late."""

from pathlib import Path

import numpy as np
import pytest

from tasks.chunk import SegmentParams, index_takes
from tasks.evaluate import EvaluateParams, evaluate_family
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
