import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.errors import DamagedData
from tasks.health import HealthTable, read_health
from tasks.store.tables import write_table


def recording(device: str, role: str, *, peak_db: float, **more: Any) -> dict[str, Any]:
    sound = {"peak_db": peak_db, "clipped": 0.0, "dead_channels": [], "holes": [], **more}
    return {"device": device, "role": role, "path": device, "state": "used", "facts": {"audio": sound}}


def row(take: str, kind: str, **more: Any) -> dict[str, Any]:
    facts = {"take": take, "kind": kind, "piece": take, "part": None, "digest": "0" * 64, "duration_s": 60.0}
    return {**facts, "title": take, "media": [], **more}


def write_notes(path: Path, *pitches: int, velocity: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(path, {"pitch": np.array(pitches), "velocity": np.full(len(pitches), velocity)})


def write_clock(folder: Path, *devices: tuple[str, str, str, float]) -> None:
    folder.mkdir(parents=True)
    names = ("device", "role", "verdict", "residual_p95_ms")
    columns = {name: list(values) for name, values in zip(names, zip(*devices, strict=True), strict=True)}
    write_table(folder / "clock.parquet", {**columns, "residual_p95_ms": np.array(columns["residual_p95_ms"])})


@pytest.fixture
def data(tmp_path):
    """A score, two captures of one marimba and a duet, of which a device and a file were held back."""
    held = {"device": "cam_b", "role": "camera", "path": "b", "state": "set_aside", "kind": "TOO_SHORT"}
    rows = [
        row("air", "score"),
        row(
            "one",
            "capture",
            notes="recorded",
            player="Ada",
            instrument={"name": "marimba"},
            media=[
                recording("mic", "microphone", peak_db=-6.0, clipped=0.01, loudness_lufs=-20.3),
                {**held, "reason": "1 s"},
            ],
        ),
        row(
            "two",
            "capture",
            notes=None,
            instrument={"name": "marimba"},
            media=[recording("mic", "microphone", peak_db=-80.0, holes=[[1.0, 2.0]])],
        ),
        row(
            "duet",
            "ensemble",
            notes="score",
            players=[{"number": 1, "instrument": "vn"}, {"number": 2, "instrument": "vc"}],
        ),
    ]
    folder = tmp_path / "data"
    write_notes(folder / "ingested/air/notes.parquet", 60, 62, 60, velocity=80)
    write_notes(folder / "ingested/one/notes.parquet", 70, velocity=100)
    write_notes(folder / "ingested/duet/notes_1.parquet", 76, velocity=64)
    write_notes(folder / "ingested/duet/notes_2.parquet", 48, 50, velocity=64)
    (folder / "ingested/catalog.json").write_text(json.dumps(rows))
    refused = [
        {"take": "bad", "kind": "TRUNCATED", "reason": "3 bytes"},
        {"file": "x", "kind": "TRUNCATED", "reason": "0"},
    ]
    (folder / "ingested/quarantine.json").write_text(json.dumps(refused))
    (folder / "rendered/air").mkdir(parents=True)
    (folder / "rendered/air/render.json").write_text('{"peak": 0.5}')
    write_clock(
        folder / "synchronized/one",
        ("mic", "master", "locked", 0.0),
        ("cam", "camera", "locked", 1.0),
        ("cam", "camera", "locked", 1.0),  # a second span
    )
    write_clock(folder / "synchronized/two", ("mic", "master", "locked", 0.0), ("cam", "camera", "locked", 3.0))
    write_clock(folder / "synchronized/duet", ("cam", "camera", "unrelated", np.nan))
    (folder / "chunked/captures").mkdir(parents=True)
    (folder / "chunked/captures/takes.json").write_text('{"one": {"part": "train"}, "two": {"part": "test"}}')
    return folder


def table(data: Path, title: str) -> HealthTable:
    return next(table for table in read_health(data).tables if table.title == title)


def test_clocks_are_counted_by_device_once_a_take_without_the_master(data):
    assert table(data, "Clocks by device").rows == (("cam", "3", "2", "1 unrelated", "2.000", "3.000"),)


def test_levels_are_counted_by_kind_and_role(data):
    assert table(data, "Loudness, silence and clipping").rows == (
        ("capture, microphone", "2", "-20.3", "-43.0", "-80.0", "1", "1", "0", "1"),
        ("score, rendered", "1", "", "-6.0", "-6.0", "0", "0", "0", "0"),
    )


def test_notes_are_counted_by_instrument_and_each_player_has_their_own(data):
    assert table(data, "Pitches and velocities").rows == (
        ("marimba", "1", "1", "70", "70", "100", "100", "1"),
        ("score", "3", "2", "60", "62", "80", "80", "1"),
        ("vc", "2", "2", "48", "50", "64", "64", "1"),
        ("vn", "1", "1", "76", "76", "64", "64", "1"),
    )
    assert sorted(read_health(data).pitch) == [48, 50, 60, 60, 62, 70, 76]


def test_minutes_are_those_of_the_parts_and_of_takes_in_none(data):
    rows = {name: minutes for name, *minutes in table(data, "Minutes").rows}
    assert rows["marimba"] == ["1.0", "0.0", "1.0", "0.0"]
    assert rows["score"] == rows["vn"] == rows["vc"] == ["0.0", "0.0", "0.0", "1.0"]


def test_labels_say_where_notes_come_from(data):
    assert table(data, "Where the notes come from").rows == (
        ("capture", "none were recorded", "1"),
        ("capture, Ada", "MIDI recorded with the take", "1"),
        ("ensemble", "a score that was followed", "1"),
        ("score", "its MIDI file", "1"),
    )


def test_what_was_held_back_is_counted_with_a_reason(data):
    assert table(data, "Held back").rows == (
        ("device, set_aside: TOO_SHORT", "one, cam_b: 1 s", "1"),
        ("ingested: TRUNCATED", "bad: 3 bytes", "2"),
    )


def test_nothing_ingested_is_no_table_and_a_damaged_file_is_named(data, tmp_path):
    assert read_health(tmp_path / "none").tables == ()
    (data / "rendered/air/render.json").write_text("{")
    with pytest.raises(DamagedData, match=r"render\.json cannot be read"):
        read_health(data)
