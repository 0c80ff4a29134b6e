"""The page of a project whose families work on captures."""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from tasks.clock.fit import ClockFit, Span, WindowTable
from tasks.clock.record import Placed
from tasks.evaluate import EvaluateParams, evaluate_family, write_metrics
from tasks.features.polyphony import TranscribeParams
from tasks.keyboards.layout import Keys
from tasks.keyboards.place import place_of_corners
from tasks.keyboards.stored import place_facts
from tasks.report import ReportParams, write_report
from tasks.store.audio import read_audio
from tasks.synchronize import write_clocks

PARAMS = ReportParams(frame_rate=Fraction(25), max_frequency_hz=4000, max_takes=6, zoom_s=0.05, n_resamples=50, seed=1)
KEY_CORNERS = np.array([[20.0, 20.0], [1060.0, 20.0], [1060.0, 160.0], [20.0, 160.0]])  # 52 white keys of 20 pixels
FAMILIES = {"families": {"capture_baselines": "captures"}}


@pytest.fixture
def page(captured):
    """Evaluate three systems on a capture of two cameras, and write the page."""
    folder = "data/synthesized/capture_baselines"
    captured("true_features", late_s=0.0, louder=1.0, folder_of_systems=folder)
    captured("nearest_features", late_s=0.03, louder=2.0, folder_of_systems=folder)
    captured("mean_features", late_s=0.07, louder=1.0, folder_of_systems=folder)
    Path("trained").mkdir()
    for name in ("true", "nearest", "mean"):
        Path(f"trained/{name}_features.json").write_text("{}")
    means = evaluate_family(
        "capture_baselines",
        data=Path("data/chunked/captures"),
        trained=Path("trained"),
        synthesized=Path(folder),
        out=Path("data/evaluated/capture_baselines"),
        params=EvaluateParams(onset_tolerance_s=0.05, n_resamples=50, seed=1, museval_players=3),
        transcribe_params=TranscribeParams(
            threshold=0.5, restrike_gap_s=0.05, n_iterations=40, release_db=25.0, longest_note_s=15.0, floor_db=-120.0
        ),
        workers=1,
        accelerator="cpu",
    )
    write_metrics(Path("data/metrics/capture_baselines.json"), means)
    Path("data/metrics/data.json").write_text("{}")
    Path("data/chunked/scores").mkdir(parents=True)
    Path("data/chunked/scores/takes.json").write_text("{}")
    Path("data/ingested/t").mkdir(parents=True)
    keys = place_of_corners(Keys(lowest=21, highest=108, guessed=False), KEY_CORNERS)
    keyboards = {
        "cam_a": {"found": True, "score": 0.83, "remarks": ["seen from above"], "place": place_facts(keys)},
        "cam_b": {"found": False, "reason": "data/raw/t/cam_b.mp4: the keys are too small"},
    }
    media = [
        {
            "device": name,
            "role": "camera",
            "state": "used",
            "path": f"data/raw/t/{name}.mp4",
            "facts": {"keyboard": keyboard},
        }
        for name, keyboard in keyboards.items()
    ]
    about = {"media": media, "cameras": {}, "master": None, "notes": None, "duration_s": 8.0}
    Path("data/ingested/t/take.json").write_text(json.dumps(about | {"instrument": {"name": "piano", "notes": []}}))
    cv2.imwrite("data/ingested/t/keyboard_cam_a.png", np.full((30, 200, 3), 90, np.uint8))
    row = {
        "take": "t",
        "kind": "capture",
        "piece": "t",
        "part": "test",
        "digest": "0" * 64,
        "title": "Kalimba",
        "duration_s": 8.0,
        "n_notes": 13,
    }
    Path("data/ingested/catalog.json").write_text(json.dumps([row]))
    Path("data/ingested/quarantine.json").write_text("[]")
    clock = ClockFit(
        verdict="locked",
        reason="it is the clock",
        method="sound",
        reference_duration_s=8.0,
        duration_s=8.0,
        spans=(Span(start_s=0.0, end_s=8.0, delay_s=0.0, drift_ppm=0.0),),
        error_ms=0.0,
        windows=WindowTable.empty(),
    )
    Path("data/synchronized/t").mkdir(parents=True)
    write_clocks(Path("data/synchronized/t"), "mic_near", 8.0, [Placed(name="mic_near", role="master", fit=clock)])
    Path("dvc.yaml").write_text("stages: {}\n")
    out = Path("report")
    out.mkdir()
    write_report(out, data=Path("data"), dvc_file=Path("dvc.yaml"), all_params=FAMILIES, params=PARAMS)
    return out


def test_a_test_capture_is_shown_by_its_first_camera_beside_the_reference_and_scored_in_a_table_of_its_own(page):
    html = (page / "index.html").read_text()
    assert "filmed by cam_a" in (page / "captures.html").read_text()
    assert (page / "media/t/film.mp4").is_file()
    assert "reference system of the table (<b>mean_features</b>)" in html
    assert all(f'<span class="system">{name}_features</span>' in html for name in ("mean", "nearest", "true"))
    assert "upper bound, not ranked" in html
    audio, sample_rate = read_audio(page / "media/t/reference.flac")
    assert (len(audio), sample_rate) == (8 * 8000, 8000)
    made = {path.name.partition(".")[2] for path in (page / "media/t").glob("capture_baselines.*")}
    assert made >= {f"{name}_features.{kind}" for name in ("mean", "true") for kind in ("flac", "notes.png")}
    assert (page / "media/notes.captures.png").is_file()
    assert (page / "media/cameras.captures.png").is_file()
    assert not (page / "media/notes.scores.png").exists()
    for words in (
        "Onset F1 by camera",
        "Onset F1 by tolerance",
        "Amplitudes and onsets",
        "Onset F1 of each note by camera",
    ):
        assert words in html


def test_the_clocks_of_a_capture_are_listed_and_its_views_shown(page):
    clocks = (page / "clocks.html").read_text()
    for words in ("mic_near", "master", 'title="it is the clock"', "media/t/cam_a.png", "media/t/residuals.png"):
        assert words in clocks


def test_the_keyboard_that_was_found_is_shown_and_why_none_was_is_said(page):
    keyboards = (page / "keyboards.html").read_text()
    for words in (
        "Kalimba, cam_a: 88 keys A0-C8, 20 px a white key, match 0.83 of 1; seen from above",
        "media/t/keyboard_cam_a.png",
        "cam_b",
        "the keys are too small",
    ):
        assert words in keyboards
    assert "data/raw/t/cam_b.mp4" not in keyboards
    assert "keyboards.html" in (page / "index.html").read_text()


def test_a_project_whose_captures_no_system_performed_has_a_page_too(page):
    shutil.rmtree("data/synthesized")
    out = Path("again")
    out.mkdir()
    write_report(out, data=Path("data"), dvc_file=Path("dvc.yaml"), all_params=FAMILIES, params=PARAMS)
    assert "No test take has been synthesized yet" in (out / "index.html").read_text()
    assert {path.name for path in (out / "media/t").iterdir()} == {
        "residuals.png",
        "cam_a.png",
        "cam_b.png",
        "keyboard_cam_a.png",
    }
