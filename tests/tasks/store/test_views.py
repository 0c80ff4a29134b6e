"""Views of captured takes, and which picture is shown when."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tasks.errors import DamagedData, ParamsError
from tasks.store.arrays import write_arrays
from tasks.store.segments import segment_rows, write_segments
from tasks.store.views import View, ViewSet, check_disjoint_views, pictures_at, pictures_of_frames

PITCHES = [60, 62]


def store(folder: Path, takes: dict[str, dict]) -> Path:
    """Store takes as the chunk stage does; each says what is unlike the others."""
    index, segments = {}, []
    for name, changes in takes.items():
        attributes = {
            "code_rate": 100,
            "n_classes": 256,
            "pitches": PITCHES,
            "frame_rate": "25",
            "cameras": ["cam_top", "cam_side"],
            "rectified": ["cam_top"],
            "camera_margins": [0.05, 0.2],
            "instrument": "kalimba",
            "master": "mic_near",
            "duration_s": 2.0,
            "sound_rate": 1000,
        } | {key: value for key, value in changes.items() if key != "part"}
        arrays = {
            "codes": np.zeros(200, np.uint8),
            "amplitudes": np.full((48, len(attributes["pitches"])), 0.25, np.float32),
            "sound": np.array([0, 32767, -32767] + [0] * 1997, np.int16),
        }
        for number, camera in enumerate(attributes["cameras"]):
            arrays[f"pictures_{camera}"] = np.full((50, 4, 6), number, np.uint8)
            arrays[f"time_s_{camera}"] = np.arange(50) / 25 - 0.1 * number
        if "midi" in changes:
            arrays["notes"] = np.array([[0.5, 0.7, 60, 100], [1.0, 1.5, 62, 50]])
        write_arrays(
            folder / name / "arrays.zarr",
            arrays,
            chunk_lengths=dict.fromkeys(arrays, 64),
            attributes=attributes,
        )
        part = changes.get("part", "train")
        index[name] = {"piece": name, "part": part, "digest": name, "duration_s": 2.0}
        segments += segment_rows(name, name, part, name, 200, length=100, hop=100)
    (folder / "takes.json").write_text(json.dumps(index))
    write_segments(folder / "segments.parquet", segments)
    return folder


def test_views_are_the_cameras_that_a_filter_names(tmp_path):
    folder = store(
        tmp_path, {"a": {}, "b": {"cameras": ["cam_side"]}, "c": {"part": "test"}, "d": {"instrument": "gong"}}
    )
    names = [view.name for view in ViewSet(folder).views("train")]
    assert names == ["a/cam_side", "a/cam_top", "b/cam_side", "d/cam_side", "d/cam_top"]
    top = ViewSet(folder, instrument="kalimba", cameras="cam_t.*")
    assert [view.name for view in top.views("train")] == ["a/cam_top"]
    assert top.takes("train") == ["a"]
    assert [view.name for view in top.views("test")] == ["c/cam_top"]
    assert ViewSet(folder, cameras="top").views("train") == []  # the whole name


def test_what_a_view_holds_comes_back(tmp_path):
    views = ViewSet(store(tmp_path, {"a": {}, "b": {"midi": True}}))
    view = views.view("a", "cam_top")
    assert view == View(take="a", camera="cam_top", piece="a", part="train")
    assert views.pictures(view)[3:5].tolist() == np.zeros((2, 4, 6)).tolist()
    np.testing.assert_allclose(views.time_s(view), np.arange(50) / 25)
    assert views.amplitudes("a").shape == (48, 2)
    sound, rate = views.sound("a")
    assert (rate, sound[:3].tolist()) == (1000, [0.0, 1.0, -1.0])
    assert (views.pitches, views.frame_rate, views.instrument) == ((60, 62), Fraction(25), "kalimba")
    assert views.notes("a") is None
    recorded = views.notes("b")
    assert recorded["pitch"].tolist() == [60, 62]
    assert recorded["offset_s"].tolist() == [0.7, 1.5]


def test_what_is_not_there_is_named(tmp_path):
    views = ViewSet(store(tmp_path, {"a": {}, "b": {"pitches": [60, 62, 64]}}))
    with pytest.raises(DamagedData, match="take a has no camera cam_back"):
        views.view("a", "cam_back")
    with pytest.raises(DamagedData, match=r"take b has pitches \[60, 62, 64\], expected \[60, 62\] as a"):
        _ = views.pitches
    with pytest.raises(DamagedData, match="has no view of instrument gong"):
        _ = ViewSet(tmp_path, instrument="gong").pitches
    with pytest.raises(ParamsError, match="expected a regular expression"):
        ViewSet(tmp_path, cameras="cam_(")


def test_the_picture_at_a_moment_is_the_last_that_came_up():
    shown = pictures_at([0.0, 0.5, 1.0], [-1.0, 0.0, 0.49, 0.5, 0.99, 5.0])
    assert shown.tolist() == [0, 0, 0, 1, 1, 2]
    with pytest.raises(ValueError, match="there is no picture"):
        pictures_at([], [0.0])


@pytest.mark.parametrize("camera_rate", [24, 25, 30, 50])
def test_frames_show_pictures_that_are_younger_than_one_of_the_cameras_own_frames(camera_rate):
    times = np.arange(10 * camera_rate) / camera_rate - 0.013
    shown = pictures_of_frames(times, n_frames=200, frame_rate=Fraction(25))
    age_s = np.arange(200) / 25 - times[shown]
    assert (age_s >= 0).all()
    assert (age_s < 1 / camera_rate + 1e-9).all()


def test_a_grids_rounding_does_not_hide_a_picture():
    times = np.array([float(Fraction(k * 1001, 30_000)) for k in range(300)])
    shown = pictures_of_frames(times, n_frames=300, frame_rate=Fraction(30_000, 1001))
    assert shown.tolist() == list(range(300))


def test_parts_that_share_a_piece_are_refused():
    a = View(take="a_1", camera="cam_top", piece="a", part="train")
    b = View(take="a_2", camera="cam_top", piece="a", part="validation")
    c = View(take="c", camera="cam_top", piece="c", part="validation")
    check_disjoint_views([[a], [c]])
    with pytest.raises(DamagedData, match="a is in two parts of the split"):
        check_disjoint_views([[a], [c, b]])
