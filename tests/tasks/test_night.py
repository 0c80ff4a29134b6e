"""What one night did, in each of its forms."""

import json

import numpy as np

from tasks.night import (
    Clock,
    Failure,
    Flag,
    Record,
    StageCost,
    clocks_of,
    commit_message,
    flags_of,
    markdown_of_night,
    stages_since,
)
from tasks.store.tables import write_table


def test_the_message_names_what_came_in_and_both_versions():
    record = Record(run="r", inbox="i", added=list("abcde"), old_version="1", new_version="2")
    record.quarantined = [{"take": "x", "kind": "TRUNCATED", "reason": "why"}]
    assert commit_message(record, None).splitlines() == [
        "Take in a, b, c and 2 more",
        "",
        "+ a",
        "+ b",
        "+ c",
        "+ d",
        "+ e",
        "quarantined x: TRUNCATED",
        "data version 1 -> 2",
    ]


def test_the_first_version_says_that_it_is_the_first():
    record = Record(run="r", inbox="i", new_version="2", n_takes=17)
    assert commit_message(record, None).splitlines() == ["First data version: 17 takes", "", "data version none -> 2"]


def put_take(folder, name, rows):
    (folder / name).mkdir(parents=True)
    (folder / name / "take.json").write_text(json.dumps({"media": rows}))


def row(device, *flags, kind=""):
    return {"device": device, "state": "refused" if kind else "used", "kind": kind, "flags": list(flags)}


def test_flags_name_the_device_and_a_refused_recording_counts_as_one(tmp_path):
    put_take(tmp_path, "b", [row("cam_top", "truncated", "short"), row("mic_near")])
    put_take(tmp_path, "a", [row("mic_far", kind="NO_AUDIO")])
    put_take(tmp_path, "other", [row("mic_far", "silent")])
    assert flags_of(["b", "a"], tmp_path) == [
        Flag(take="a", device="mic_far", flag="NO_AUDIO"),
        Flag(take="b", device="cam_top", flag="truncated"),
        Flag(take="b", device="cam_top", flag="short"),
    ]


def test_a_score_has_no_flags_and_no_clocks(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "take.json").write_text(json.dumps({"media": [{"path": "a.mid", "role": "score"}]}))
    assert (flags_of(["a"], tmp_path), clocks_of(["a"], tmp_path)) == ([], [])


def test_a_clock_has_the_largest_residual_of_its_spans_or_none(tmp_path):
    (tmp_path / "a").mkdir()
    devices = ["mic", "cam", "cam", "far"]
    write_table(
        tmp_path / "a" / "clock.parquet",
        {
            "device": np.array(devices, dtype=object),
            "verdict": np.array(["locked", "locked", "locked", "unrelated"], dtype=object),
            "residual_p95_ms": np.array([0.0, 0.25, 1.5, np.nan]),
        },
    )
    assert clocks_of(["a"], tmp_path) == [
        Clock(take="a", device="mic", verdict="locked", residual_p95_ms=0.0),
        Clock(take="a", device="cam", verdict="locked", residual_p95_ms=1.5),
        Clock(take="a", device="far", verdict="unrelated", residual_p95_ms=None),
    ]


def test_the_cost_counts_the_stages_of_this_night_alone_in_order(tmp_path):
    for stage, finished_at in (("render", 30.0), ("ingest", 20.0), ("film", 10.0)):
        about = {"stage": stage, "counts": {"computed": 1}, "wall_s": 2.04, "cpu_s": 1.0, "finished_at": finished_at}
        (tmp_path / f"{stage}.json").write_text(json.dumps(about))
    assert stages_since(15.0, tmp_path) == [
        StageCost(stage=stage, counts={"computed": 1}, wall_s=2.0, cpu_s=1.0) for stage in ("ingest", "render")
    ]


FULL = Record(
    run="r",
    inbox="i",
    added=["a"],
    quarantined=[{"take": "b", "kind": "TRUNCATED", "reason": "cut | short"}],
    waiting=[{"entry": "half", "reason": "b.part is still being copied"}],
    old_version="1",
    new_version="2",
    n_takes=3,
    verdict="71 of 76 figures are the same",
    flags=[Flag(take="a", device="cam_top", flag="truncated")],
    clocks=[
        Clock(take="a", device="cam_top", verdict="ambiguous", residual_p95_ms=None),
        Clock(take="a", device="mic", verdict="locked", residual_p95_ms=1.5),
    ],
    scores=[
        {"family": "net", "system": "net", "take": "a/cam_top", "apart": False, "figure": "onset_f1", "value": 0.25},
        {"family": "net", "system": "net", "take": "z/cam_top", "apart": True, "figure": "onset_f1", "value": 0.5},
    ],
    behind=["net"],
    gate={
        "holds": False,
        "decisions": [
            {"rule": "net/net/onset_f1", "of": "a/cam_top", "state": "fell", "words": "0.250 beside 0.750"},
            {"rule": "net/net/onset_f1", "of": "retrained", "state": "held", "words": "the same"},
        ],
    },
    stages=[StageCost(stage="ingest", counts={"computed": 1, "reused": 2}, wall_s=3.0, cpu_s=2.0)],
    failed="render: take a: no room",
    failure=Failure(stage="render", take="a", line="render: take a: no room"),
)


def test_the_commit_message_says_what_the_notification_says():
    assert commit_message(FULL, None).splitlines() == [
        "Take in a",
        "",
        "+ a",
        "quarantined b: TRUNCATED",
        "flagged a/cam_top: truncated",
        "clocks: 1 ambiguous, 1 locked; largest residual 1.50 ms (a/mic)",
        "clock a/cam_top: ambiguous",
        "net onset_f1 0.25 a/cam_top",
        "71 of 76 figures are the same",
        "the gate fell",
        "fell: net/net/onset_f1 of a/cam_top: 0.250 beside 0.750",
        "behind their data: net",
        "cost: 3 s in 1 stages, 2 s of CPU",
        "data version 1 -> 2",
    ]


def test_the_markdown_has_every_part_of_the_record():
    text = markdown_of_night(FULL, None)
    for line in (
        "- data version: 1 -> 2, 3 takes",
        "- verdict: 71 of 76 figures are the same",
        "- gate: the gate fell",
        "- behind their data: net",
        "| z/cam_top | net | net | net onset_f1 0.5 | piece is known |",
        "| net/net/onset_f1 | a/cam_top | fell | 0.250 beside 0.750 |",
        "- failed in: render, take a",
        "| b | TRUNCATED | cut \\| short |",
        "| a | cam_top | truncated |",
        "| a | cam_top | ambiguous |  |",
        "| a | mic | locked | 1.500 |",
        "| ingest | 1 | 2 |  | 3.0 | 2.0 |",
    ):
        assert line in text.splitlines(), line


def test_the_record_is_json_of_numbers_that_every_reader_takes():
    assert json.loads(json.dumps(FULL.as_json(), allow_nan=False))["failure"]["take"] == "a"
