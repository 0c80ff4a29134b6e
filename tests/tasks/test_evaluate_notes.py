"""Recordings whose notes are known: pairs are found, tables are read, and the figures are those of what was played."""

import json
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from flows.cli import main
from tasks.errors import BadInput
from tasks.evaluate_notes import NotesScore, figures_of, known_recordings, reference_notes, summary
from tasks.instruments.notes import sorted_notes
from tasks.notes import FoundNotes

RATE = 16_000


def found(onset_s, offset_s, pitch):
    return FoundNotes(
        onset_s=np.array(onset_s, np.float64),
        offset_s=np.array(offset_s, np.float64),
        pitch=np.array(pitch, np.uint8),
        amplitude=np.full(len(pitch), 0.1),
        velocity=np.full(len(pitch), 64, np.uint8),
        above_nyquist=(),
    )


REFERENCE = sorted_notes(
    np.array([0.5, 1.0, 1.5]), np.array([0.9, 1.4, 1.9]), np.array([60, 62, 64], np.uint8), np.full(3, 64, np.uint8)
)


def test_a_detector_that_is_late_by_eighty_ms_scores_nothing_until_its_median_error_is_taken_off():
    figures = figures_of(REFERENCE, found([0.58, 1.08, 1.58], [0.98, 1.48, 1.98], [60, 62, 64]))
    assert (figures["onset_f1"], figures["onset_f1_unbiased"]) == (0.0, 1.0)


def test_what_was_played_scores_one_in_everything():
    figures = figures_of(REFERENCE, found(REFERENCE.onset_s, REFERENCE.offset_s, REFERENCE.pitch))
    assert all(figures[name] == 1.0 for name in ("onset_f1", "onset_f1_unbiased", "offset_f1"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tsv", "onset\toffset\tpitch\tvelocity\n0.5\t0.9\t60\t80\n\n0.25\t0.75\t48\t40\n"),
        ("a.csv", "0.5,0.9,60\n0.25,0.75,48\n"),
        ("a.txt", "0.5 0.9 60\n0.25 0.75 48\n"),
        ("a.csv", "\ufeffonset;offset;pitch\n0.5;0.9;60\n0.25;0.75;48\n"),
    ],
)
def test_tables_with_and_without_a_head_give_the_same_notes(name, text, tmp_path):
    (tmp_path / name).write_text(text, encoding="utf-8")
    notes = reference_notes(tmp_path / name)
    assert notes.onset_s.tolist() == [0.25, 0.5]
    assert notes.offset_s.tolist() == [0.75, 0.9]
    assert notes.pitch.tolist() == [48, 60]


@pytest.mark.parametrize(
    "row", ["0.9\t0.5\t60", "0.5\t0.9", "0.5\t0.9\t300", "0.5\t0.9\t60.5", "nan\t0.9\t60", "a\tb\tc"]
)
def test_a_row_that_is_no_note_is_named_by_its_line(row, tmp_path):
    (tmp_path / "a.tsv").write_text(f"0.1\t0.2\t50\n{row}\n")
    with pytest.raises(BadInput, match=r"line 2 is .*, expected onset and offset in seconds") as caught:
        reference_notes(tmp_path / "a.tsv")
    assert caught.value.kind == "BAD_TABLE"


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_in_words(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("any") / "a.tsv"
    path.write_text(text, encoding="utf-8", errors="replace")
    with suppress(BadInput):
        notes = reference_notes(path)
        assert len(notes) > 0
        assert (notes.offset_s > notes.onset_s).all()


def test_two_recordings_make_no_interval_and_three_do():
    def scores(n):
        return [
            NotesScore(recording=f"{i}.wav", reference=f"{i}.mid", figures={"onset_f1": 0.8 + i / 50}) for i in range(n)
        ]

    assert summary(scores(2))["onset_f1"] == {"mean": pytest.approx(0.81), "low": None, "high": None, "n": 2}
    three = summary(scores(3))["onset_f1"]
    assert three["low"] < three["mean"] < three["high"]


def test_an_interval_that_leaves_the_range_is_none():
    made = [
        NotesScore(recording=Path(str(f1)), reference=Path("a.mid"), figures={"onset_f1": f1, "onset_lag_ms": -f1})
        for f1 in (0.5, 0.98, 1.0)
    ]
    found = summary(made)
    assert (found["onset_f1"]["low"], found["onset_f1"]["high"]) == (None, None)
    assert found["onset_lag_ms"]["low"] < found["onset_lag_ms"]["high"]  # which may be negative


def test_a_folder_is_scored_and_a_file_that_is_none_is_told_while_the_others_go_on(tmp_path, capsys, monkeypatch):
    time_s = np.arange(2 * RATE) / RATE
    tone = sum(np.sin(2 * np.pi * 440 * k * (time_s - 0.5)) / k for k in range(1, 6)) * np.exp(-3 * (time_s - 0.5))
    deeper = tmp_path / "piano"
    deeper.mkdir()
    soundfile.write(deeper / "one.wav", 0.2 * tone * (time_s >= 0.5), RATE)
    (deeper / "one.tsv").write_text("0.5\t1.5\t69\n")
    (deeper / "two.wav").write_bytes(b"no sound at all")
    (deeper / "two.tsv").write_text("0.5\t1.5\t69\n")
    (tmp_path / "alone.wav").write_bytes(b"")
    assert [path.name for path, _ in known_recordings(tmp_path)] == ["one.wav", "two.wav"]
    monkeypatch.setattr(sys, "argv", ["audiate", "evaluate-notes", str(tmp_path), "--json"])
    with pytest.raises(SystemExit, match="3"):
        main()
    said = capsys.readouterr()
    files = json.loads(said.out)["files"]
    assert files[0]["onset_f1"] == 1.0
    assert "two.wav" in files[1]["reason"]
    assert "2 of 2" in said.err


def test_a_folder_without_pairs_is_told_what_is_expected(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"")
    with pytest.raises(BadInput, match="1 recordings, none beside a file of its notes"):
        known_recordings(tmp_path)
