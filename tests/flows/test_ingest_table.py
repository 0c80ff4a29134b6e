"""What ``audiate ingest`` prints of a catalog."""

import json

from flows.commands import stages


def test_takes_of_every_kind_are_listed_and_notices_said(tmp_path, monkeypatch, capsys):
    rows = [
        {"take": "band", "part": None, "duration_s": 3.0, "n_notes": 0, "media": []},  # an ensemble has no counts
        {"take": "hands", "part": None, "duration_s": 60.0, "n_notes": 7, "media": [], "counts": {"sustained": 5}},
    ]
    rows[1]["notices"] = ["merged to one keyboard: 2 melodic channels, 7 notes, 0 doubled, 0 overlapping"]
    (tmp_path / "data" / "ingested").mkdir(parents=True)
    (tmp_path / "data" / "ingested" / "catalog.json").write_text(json.dumps(rows))
    (tmp_path / "data" / "ingested" / "quarantine.json").write_text("[]")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stages, "_repro", lambda *_, **__: None)
    stages.ingest()
    printed = capsys.readouterr().out
    assert "band" in printed
    assert "hands: merged to one keyboard: 2 melodic channels, 7 notes, 0 doubled, 0 overlapping" in printed
