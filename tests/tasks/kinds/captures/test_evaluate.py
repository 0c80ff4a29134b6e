"""Scores of captures, camera by camera, whose figures are known beforehand."""

import json
from pathlib import Path

import numpy as np
import pytest

from tasks.errors import DamagedData
from tasks.evaluate import EvaluateParams, evaluate_family
from tasks.features.polyphony import TranscribeParams
from tasks.store.audio import write_flac
from tasks.store.tables import read_table

PARAMS = EvaluateParams(onset_tolerance_s=0.05, n_resamples=200, seed=1, museval_players=3)
TRANSCRIBE = TranscribeParams(
    threshold=0.5, restrike_gap_s=0.05, n_iterations=40, release_db=25.0, longest_note_s=15.0, floor_db=-120.0
)


SYSTEMS = ("mean_features", "nearest_features", "true_features")


@pytest.fixture(autouse=True)
def trained(captured):
    """Write what training says of each system: nothing of a frame rate."""
    Path("trained").mkdir()
    for system in SYSTEMS:
        Path(f"trained/{system}.json").write_text("{}")


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


def test_a_buzz_at_the_systems_own_frame_rate_and_levels_on_even_films_are_reported(captured):
    perform = captured
    for system in SYSTEMS:
        perform(system, late_s=0.0, louder=1.0)
    time_s = np.arange(8 * 8000) / 8000
    buzz = sum(0.02 * np.sin(2 * np.pi * 25 * number * time_s) for number in range(1, 60))
    write_flac(Path("synthesized/nearest_features/t/cam_b/audio.flac"), buzz.astype(np.float32), 8000)
    levels = {"nearest_features": {"black_level_dbfs": -120.0, "white_level_dbfs": -33.5}}
    Path("synthesized/levels.json").write_text(json.dumps(levels))
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
    for number, system in enumerate(SYSTEMS):
        perform(system, late_s=0.02 * number, louder=1.0)
    two = evaluate(), Path("evaluated/takes.parquet").read_bytes()
    assert (evaluate(workers=workers), Path("evaluated/takes.parquet").read_bytes()) == two


def test_a_system_that_left_a_view_out_is_named(captured):
    perform = captured
    for system in SYSTEMS:
        perform(system, late_s=0.0, louder=1.0)
    (Path("synthesized/nearest_features/t/cam_b/audio.flac")).unlink()
    with pytest.raises(DamagedData, match="nearest_features has 1 views of test takes, expected 2"):
        evaluate()
