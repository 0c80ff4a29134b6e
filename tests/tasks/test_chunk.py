"""What models read: the pictures of a take's key states, its segments, and the figures of the data version."""

import json
from pathlib import Path

import numpy as np
import pytest

from tasks.chunk import SegmentParams, _recorded_notes, _sound, data_metrics, index_takes
from tasks.errors import ParamsError
from tasks.instruments.keyboard import draw_keyboard, read_keyboard
from tasks.intake.record import Capture
from tasks.store.arrays import open_arrays
from tasks.store.audio import read_audio
from tasks.store.segments import ScoreSet
from tasks.store.tables import read_table, write_table
from tasks.takes import SplitParams, data_version

SPLIT = SplitParams(salt="s", train_percent=60, validation_percent=20, min_pieces=1)
SEGMENTS = SegmentParams(length_s=1.0, hop_s=0.5)
SCORES = Path("data/chunked/scores")
CAPTURES = Path("data/chunked/captures")
ENSEMBLES = Path("data/chunked/ensembles")


def scale(notes_of, n_notes, first_pitch=48):
    return notes_of(*((0.3 + 0.2 * n, 0.45 + 0.2 * n, first_pitch + n, 20 + 5 * n) for n in range(n_notes)))


def test_pictures_show_the_key_states_and_a_long_take_is_not_cut(chunked, notes_of):
    chunked("a", scale(notes_of, 20), part="train")
    states = read_table(Path("data/rendered/a/states.parquet"))
    arrays = open_arrays(SCORES / "a" / "arrays.zarr")
    assert len(arrays["pictures"]) == 41  # two changes a note: many more than are drawn at a time
    np.testing.assert_array_equal(arrays["pictures"][:], draw_keyboard(states["velocity"], lit="velocity"))
    np.testing.assert_array_equal(read_keyboard(arrays["pictures"][:]), states["velocity"])
    np.testing.assert_array_equal(arrays["velocities"][:], states["velocity"])
    np.testing.assert_array_equal(arrays["picture_time_s"][:], states["time_s"])


def test_features_are_those_of_extract(chunked, notes_of):
    chunked("a", scale(notes_of, 3), part="train")
    extracted, arrays = open_arrays(Path("data/extracted/a/arrays.zarr")), open_arrays(SCORES / "a" / "arrays.zarr")
    for name in ("codes", "amplitudes"):
        np.testing.assert_array_equal(arrays[name][:], extracted[name][:])
    assert arrays.attributes == {**extracted.attributes, "duration_s": pytest.approx(1.85, abs=1e-3), "lit": "velocity"}


@pytest.fixture
def indexed(chunked, notes_of):
    """Index three takes of 3, 4 and 5 notes, one a part."""
    parts = ("train", "validation", "test")
    takes = [chunked(f"take_{n}", scale(notes_of, n + 3), part=part) for n, part in enumerate(parts)]
    index_takes(SCORES, takes, SPLIT, SEGMENTS)
    return takes


def test_segments_cover_a_take_at_the_hop_and_each_part_has_its_own(indexed):
    scores = ScoreSet(SCORES)
    # Takes last 0.3 + 0.2 (n - 1) + 0.15 s and a tail of 1 s: 1.85, 2.05, 2.25 s; at 4,000 Hz, a second every half.
    starts = {"train": [0, 2_000], "validation": [0, 2_000, 4_000], "test": [0, 2_000, 4_000]}
    for n, (part, expected) in enumerate(starts.items()):
        rows = scores.segments(part)
        assert [row.start_sample for row in rows] == expected
        assert {(row.take, row.n_samples) for row in rows} == {(f"take_{n}", 4_000)}
    ids = [row.segment_id for part in starts for row in scores.segments(part)]
    assert len(set(ids)) == len(ids)


def test_the_figures_of_a_data_version_are_those_of_its_takes(indexed):
    for folder in (CAPTURES, ENSEMBLES):
        folder.mkdir(parents=True)
        index_takes(folder, [], SPLIT, SEGMENTS)  # a project may have scores alone
    figures = data_metrics(SCORES, CAPTURES, ENSEMBLES, indexed, n_quarantined=2)
    assert figures["data_version"] == data_version(indexed)[:16]
    assert (figures["n_captures"], figures["capture_hours"]) == (0, 0)
    assert (figures["n_ensembles"], figures["ensemble_hours"]) == (0, 0)
    assert (figures["n_takes"], figures["n_pieces"], figures["n_quarantined"]) == (3, 3, 2)
    assert figures["hours"] == pytest.approx(6.15 / 3600, abs=1e-4)
    assert [figures[f"{part}_segments"] for part in ("train", "validation", "test")] == [2, 3, 3]
    minutes = [figures[f"{part}_minutes"] for part in ("train", "validation", "test")]
    assert minutes == pytest.approx([1.85 / 60, 2.05 / 60, 2.25 / 60], abs=0.006)


def test_a_part_without_pieces_stops_before_an_index_is_written(indexed):
    before = (SCORES / "takes.json").read_bytes()
    with pytest.raises(ParamsError, match="leaves 1 of 3 pieces for train, expected at least 2"):
        index_takes(SCORES, indexed, SPLIT.model_copy(update={"min_pieces": 2}), SEGMENTS)
    assert (SCORES / "takes.json").read_bytes() == before
    assert json.loads(before)["take_2"]["part"] == "test"


@pytest.mark.parametrize("n_samples", [700, 15_999, 16_000, 16_003])
def test_the_masters_sound_is_as_long_as_its_codes_whatever_its_rate_rounds_to(media, monkeypatch, n_samples):
    monkeypatch.setattr("tasks.chunk.MOST_SOUND", 5_000)  # more than one part
    path = media / "mic1.wav"
    parts = list(_sound(path, 1_000, n_samples // 16))
    made = np.concatenate(parts)
    assert (made.dtype, len(made)) == (np.int16, n_samples // 16)
    parts = list(_sound(path, 16_000, n_samples))
    assert all(len(part) % 16_000 == 0 for part in parts[:-1])
    made = np.concatenate(parts)
    truth, rate = read_audio(path)
    assert rate == 16_000
    n_both = min(n_samples, len(truth))
    np.testing.assert_allclose(made[:n_both] / 32767, truth[:n_both], atol=2e-4)
    assert not made[len(truth) :].any()


def test_recorded_notes_are_kept_when_all_of_them_are_on_the_masters_clock(project):
    def capture(notes):
        about = {"take": "a", "devices": (), "master": None, "instrument": "none", "pitches": (), "duration_s": 1.0}
        return Capture(**about, notes=notes)

    columns = {"onset_s": [0.5, 1.0], "offset_s": [0.7, 1.5], "pitch": [60, 62], "velocity": [90, 50]}
    arrays = {name: np.array(values) for name, values in columns.items()}
    for folder in ("ingested", "synchronized"):
        (Path("data") / folder / "a").mkdir(parents=True)
    assert _recorded_notes(capture("recorded")) is None  # no clock for them
    write_table(Path("data/ingested/a/notes.parquet"), arrays)
    write_table(Path("data/synchronized/a/notes.parquet"), arrays)
    np.testing.assert_allclose(_recorded_notes(capture("recorded")), [[0.5, 0.7, 60, 90], [1.0, 1.5, 62, 50]])
    assert _recorded_notes(capture("score")) is None  # it says what was meant, not what was played
    write_table(Path("data/synchronized/a/notes.parquet"), {name: values[:1] for name, values in arrays.items()})
    assert _recorded_notes(capture("recorded")) is None
