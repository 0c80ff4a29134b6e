import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import DamagedData
from tasks.store.arrays import write_arrays
from tasks.store.segments import (
    ScoreSet,
    Segment,
    n_samples_left_out,
    segment_rows,
    write_segments,
)
from tasks.store.tables import write_table

TAKES = {
    "chorale": {"piece": "chorale", "part": "train", "digest": "d1", "duration_s": 11.0},
    "chorale_again": {"piece": "chorale", "part": "train", "digest": "d2", "duration_s": 5.0},
    "waltz": {"piece": "waltz", "part": "validation", "digest": "d3", "duration_s": 8.5},
    "etude": {"piece": "etude", "part": "test", "digest": "d4", "duration_s": 4.9},
}


def rows_of(takes):
    return [
        row
        for name, take in takes.items()
        for row in segment_rows(
            name,
            take["piece"],
            take["part"],
            take["digest"],
            int(take["duration_s"] * 4000),
            length=20_000,
            hop=12_000,
        )
    ]


def write_set(folder, takes, rows):
    (folder / "takes.json").write_text(json.dumps(takes))
    write_segments(folder / "segments.parquet", rows)


@pytest.fixture
def folder(tmp_path):
    write_set(tmp_path, TAKES, rows_of(TAKES))
    return tmp_path


def test_a_song_of_two_minutes_makes_the_39_segments_of_5_s_every_3_s():
    rows = segment_rows("a", "a", "train", "d", 120 * 4000, length=20_000, hop=12_000)
    assert len(rows) == 39  # the paper's 3,800 segments of about 100 songs


@given(n=st.integers(0, 300), length=st.integers(1, 40), hop=st.integers(1, 40))
def test_segments_are_whole_on_the_grid_and_what_is_left_out_is_counted(n, length, hop):
    rows = segment_rows("a", "p", "test", "d", n, length=length, hop=hop)
    assert [row.start_sample for row in rows] == [s for s in range(0, n, hop) if s + length <= n]
    end = rows[-1].start_sample + length if rows else 0
    assert n_samples_left_out(n, length=length, hop=hop) == n - end


def test_a_segments_id_is_of_the_takes_content_start_and_length_alone():
    first, second = segment_rows("a", "p", "train", "digest", 8, length=5, hop=3)
    assert second == Segment(hashlib.sha256(b"digest:3:5").hexdigest(), "a", "p", "train", 3, 5)
    renamed = segment_rows("b", "q", "test", "digest", 8, length=5, hop=3)
    assert [row.segment_id for row in renamed] == [first.segment_id, second.segment_id]


def test_parts_list_their_takes_and_segments_in_order(folder):
    scores = ScoreSet(folder)
    assert scores.takes("train") == ["chorale", "chorale_again"]
    assert scores.takes("test") == ["etude"]
    assert [(row.take, row.start_sample) for row in scores.segments("train")] == [
        ("chorale", 0),
        ("chorale", 12_000),
        ("chorale", 24_000),
        ("chorale_again", 0),
    ]
    assert [row.start_sample for row in scores.segments("validation")] == [0, 12_000]
    assert scores.segments("test") == []  # shorter than a segment
    assert scores.piece("chorale_again") == "chorale"


def test_the_order_in_which_segments_come_does_not_change_the_index(folder, tmp_path):
    write_segments(tmp_path / "other.parquet", rows_of(TAKES)[::-1])
    assert (tmp_path / "other.parquet").read_bytes() == (folder / "segments.parquet").read_bytes()


def test_arrays_are_opened_by_take_and_tell_the_rate_of_codes(folder):
    for name in TAKES:
        write_arrays(
            folder / name / "arrays.zarr",
            {"codes": np.arange(9, dtype=np.uint8)},
            chunk_lengths={"codes": 4},
            attributes={"code_rate": 4000},
        )
    assert ScoreSet(folder).open("waltz")["codes"][3] == 3
    assert ScoreSet(folder).code_rate == 4000
    with pytest.raises(DamagedData, match="has no take tango"):
        ScoreSet(folder).open("tango")


def test_an_unknown_part_is_refused(folder):
    with pytest.raises(ValueError, match="part 'valid', expected one of train, validation, test"):
        ScoreSet(folder).segments("valid")


def test_a_piece_in_two_parts_is_refused_when_written_and_when_read(tmp_path):
    leaking = {**TAKES, "chorale_again": {**TAKES["chorale_again"], "part": "test"}}
    with pytest.raises(DamagedData, match="piece chorale is in both train and test, expected one part"):
        write_set(tmp_path, leaking, rows_of(leaking))
    edit(tmp_path, leaking)
    with pytest.raises(DamagedData, match="piece chorale is in both train and test, expected one part"):
        ScoreSet(tmp_path)


def test_one_recording_under_two_pieces_in_two_parts_is_refused_when_written_and_when_read(tmp_path):
    leaking = {**TAKES, "waltz": {**TAKES["waltz"], "digest": "d1"}}
    with pytest.raises(DamagedData, match="takes chorale in train and waltz in validation have the same"):
        write_set(tmp_path, leaking, rows_of(leaking))
    edit(tmp_path, leaking)
    with pytest.raises(DamagedData, match="takes chorale in train and waltz in validation have the same"):
        ScoreSet(tmp_path)


def edit(folder, takes):
    """Write the index without the checks, as somebody might who edits it."""
    (folder / "takes.json").write_text(json.dumps(takes))
    rows = rows_of(takes)
    columns = {name: [row[i] for row in rows] for i, name in enumerate(Segment._fields[:4])}
    columns["start_sample"] = np.array([row.start_sample for row in rows])
    columns["n_samples"] = np.array([row.n_samples for row in rows])
    write_table(folder / "segments.parquet", columns)


def test_an_index_that_names_takes_otherwise_than_takes_json_is_refused(folder):
    (folder / "takes.json").write_text(json.dumps({**TAKES, "waltz": {**TAKES["waltz"], "part": "test"}}))
    with pytest.raises(DamagedData, match=r"segments\.parquet has take waltz of piece waltz in validation"):
        ScoreSet(folder)


@pytest.mark.parametrize("name", ["../../etc", "..", ".", "", "/etc", "a/b"])
def test_a_take_that_is_no_folder_of_the_set_is_refused(folder, name):
    (folder / "takes.json").write_text(json.dumps({**TAKES, name: TAKES["waltz"]}))
    with pytest.raises(DamagedData, match="expected the name of a folder in it"):
        ScoreSet(folder)


@pytest.mark.parametrize("text", ["", "[]", '{"a": {}}', '{"a": 3}', "null"])
def test_a_takes_json_that_says_something_else_is_damage(folder, text):
    (folder / "takes.json").write_text(text)
    with pytest.raises(DamagedData, match=r"takes\.json"):
        ScoreSet(folder)


def test_a_set_without_its_index_is_damage(folder):
    (folder / "segments.parquet").unlink()
    with pytest.raises(DamagedData, match=r"segments\.parquet is missing"):
        ScoreSet(folder)
    (folder / "takes.json").unlink()
    with pytest.raises(DamagedData, match=r"takes\.json is missing"):
        ScoreSet(folder)


def test_the_index_is_read_without_torch(folder):
    done = subprocess.run(
        [sys.executable, "-c", "import sys, tasks.store.segments; print('torch' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"
