"""A project of three takes and one family, planted as the stages write it: everything is found from every name."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from tasks.errors import DamagedData
from tasks.figures import FigureError, figure_names, figure_of
from tasks.store.segments import segment_id, segment_rows, write_segments
from tasks.store.tables import write_table
from tasks.trace import TraceError, trace

PARTS = {"first": "train", "second": "validation", "third": "test"}
SHA256 = {name: number * 64 for name, number in zip(PARTS, "abc", strict=True)}
STAGES = {
    "ingest": ("data/raw", ["data/ingested"], ["data/tools.json"]),
    "extract": ("data/ingested", ["data/extracted"], []),
    "chunk": ("data/extracted", ["data/chunked/captures", "data/metrics/data.json"], []),
    "train@net": ("data/chunked/captures", ["data/trained/net"], []),
    "synthesize@net": ("data/trained/net", ["data/synthesized/net"], ["data/chunked/captures"]),
    "evaluate@net": ("data/synthesized/net", ["data/evaluated/net", "data/metrics/net.json"], []),
    "report": ("data/evaluated", ["data/report"], []),
}


def md5_of(path):
    return hashlib.md5(path.encode()).hexdigest()  # noqa: S324 - as DVC names it


def put(path, value):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))


def row(take):
    media = {"device": "cam", "path": f"data/raw/{take}/cam_{take}.mp4", "role": "camera", "size": 9}
    about = {"take": take, "kind": "capture", "piece": take, "part": PARTS[take], "digest": f"digest of {take}"}
    return about | {"duration_s": 2.0, "media": [media | {"sha256": SHA256[take]}]}


def stage(name, dep, outs, more):
    rows = [{"path": path, "md5": md5_of(path)} for path in (dep, *more)]
    key = name.replace("@", ".")
    params = {"params.yaml": {key: {"size": 1}}, "data/code.json": {key: "0" * 64, "libraries": "1" * 64}}
    made = [{"path": path, "md5": md5_of(path)} for path in outs]
    return {"cmd": f"python -m flows.{name}", "deps": rows, "params": params, "outs": made}


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put("dvc.lock", yaml.safe_dump({"stages": {name: stage(name, *about) for name, about in STAGES.items()}}))
    put("data/ingested/catalog.json", [row(take) for take in PARTS])
    put("data/tools.json", {"ffmpeg": "5.1"})
    segments = []
    for take, part in PARTS.items():
        for folder, made_by in (("ingested", "ingest"), ("extracted", "extract"), ("chunked/captures", "chunk")):
            put(f"data/{folder}/{take}/_receipt.json", {"key": f"{made_by} {take}", "outputs": {"x": {}}})
            put(f"data/{folder}/{take}/x", "x")
        segments += segment_rows(take, take, part, f"digest of {take}", 200, length=100, hop=100)
    write_segments(Path("data/chunked/captures/segments.parquet"), segments)
    index = {take: {"part": part, "piece": take, "digest": "d", "duration_s": 2.0} for take, part in PARTS.items()}
    put("data/chunked/captures/takes.json", index)
    put("data/metrics/net.json", {"net": {"f1": 0.5, "by_size": {"2": {"f1": 0.25}}}, "blind": {"f1": 0.125}})
    put("data/metrics/data.json", {"data_version": "v", "hours": 1.5})
    put("data/trained/net/computed_by.json", {"libraries": {"torch": "2.13"}})
    put("data/report/media/third/x.png", "x")
    ids = [found.segment_id for found in segments if found.take == "third"]
    Path("data/evaluated/net").mkdir(parents=True)
    write_table(
        Path("data/evaluated/net/takes.parquet"),
        {
            "system": ["net", "net", "blind"],
            "take": ["third/cam_a", "third/cam_b", "third/cam_a"],
            "f1": np.array([0.25, 0.75, 0.125]),
            "segment_ids": [ids[:1], ids[1:], ids],
        },
    )
    return tmp_path


def links(found, direction, what):
    return [link.name for link in found.links if (link.direction, link.what) == (direction, what)]


def test_a_take_that_trained_names_its_recording_its_receipts_and_the_family_but_no_figure(project):
    found = trace("first")
    assert (found.kind, found.subject) == ("take", "first")
    [recording] = [link for link in found.links if link.what == "recording"]
    assert (recording.name, recording.digest) == ("data/raw/first/cam_first.mp4", "a" * 64)
    receipts = [link for link in found.links if link.what == "receipt"]
    assert [link.digest for link in receipts] == ["ingest first", "extract first", "chunk first"]
    assert links(found, "from", "code") == [
        f"data/code.json:{key}" for key in ("ingest", "libraries", "extract", "chunk")
    ]
    assert links(found, "from", "tool") == ["ffmpeg"]
    assert links(found, "into", "trained with") == ["data/trained/net"]
    assert links(found, "into", "figures") == links(found, "into", "report") == []


def test_weights_that_are_behind_had_nothing_of_a_take_that_came_later(project):
    then = {"second": {"part": "validation"}}
    for content, name in ((json.dumps(then), "takes.json"), (None, ".dir")):
        text = content or json.dumps([{"relpath": "takes.json", "md5": md5_of(json.dumps(then))}])
        md5 = md5_of(text)
        put(f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}{'' if content else name}", text)
    stages = yaml.safe_load(Path("dvc.lock").read_text())
    stages["stages"]["train@net"]["deps"][0]["md5"] = f"{md5}.dir"
    put("dvc.lock", yaml.safe_dump(stages))
    assert links(trace("first"), "into", "trained with") == []
    assert links(trace("second"), "into", "validated with") == ["data/trained/net"]
    assert links(trace("net/net/f1"), "from", "trained on") == []


def test_what_promoted_weights_made_of_a_take_is_named(project):
    put("data/scored/net/third/score.json", {})
    assert links(trace("third"), "into", "scored") == ["data/scored/net/third"]
    assert links(trace("first"), "into", "scored") == []


def test_a_take_that_was_tested_names_each_system_with_its_rows(project):
    found = trace("third")
    rows = {link.name: link.detail for link in found.links if link.what == "figures"}
    assert rows == {"net/net": "rows third/cam_a, third/cam_b", "net/blind": "rows third/cam_a"}
    assert links(found, "into", "report") == ["data/report/media/third"]


def test_a_segment_names_only_the_rows_that_rest_on_it(project):
    chosen = segment_id("digest of third", 100, 100)
    found = trace(chosen[:12])
    assert (found.kind, found.subject) == ("segment", chosen)
    assert "100 samples from 100 of take third in test" in found.detail
    rows = {link.name: link.detail for link in found.links if link.what == "figures"}
    assert rows == {"net/net": "rows third/cam_b", "net/blind": "rows third/cam_a"}


@pytest.mark.parametrize("name", ["net/net/f1", "net/f1"])
def test_a_figure_names_what_it_was_learned_from_tested_on_and_followed(project, name):
    found = trace(name)
    assert (found.subject, found.detail) == ("net/net/f1", "0.5, the mean over 2 rows")
    assert links(found, "from", "trained on") == ["first"]
    assert links(found, "from", "validated on") == ["second"]
    assert links(found, "from", "tested on") == ["third/cam_a", "third/cam_b"]
    assert sorted(links(found, "from", "recording")) == [f"data/raw/{take}/cam_{take}.mp4" for take in PARTS]
    assert links(found, "from", "params")[-1] == "params.yaml:evaluate.net"
    assert "params.yaml:report" not in links(found, "from", "params")
    assert links(found, "into", "output") == ["data/report"]


def test_one_row_of_a_figure_is_traced_alone(project):
    found = trace("net/net/f1/third/cam_b")
    assert (found.detail, links(found, "from", "tested on")) == ("0.75", ["third/cam_b"])
    with pytest.raises(TraceError, match="has no row for 'first', expected one of: third/cam_a, third/cam_b"):
        trace("net/net/f1/first")


@pytest.mark.parametrize("name", ["data/raw/second/cam_second.mp4", "cam_second.mp4", "bbbbbbbb"])
def test_a_recording_is_found_by_its_path_its_name_and_its_sha256(project, name):
    found = trace(name)
    assert (found.kind, found.subject) == ("file", "data/raw/second/cam_second.mp4")
    assert [link.direction for link in found.links].count("from") == 0
    assert links(found, "into", "take") == ["second"]
    assert links(found, "into", "receipt") == [
        f"data/{x}/second" for x in ("ingested", "extracted", "chunked/captures")
    ]
    assert links(found, "into", "validated with") == ["data/trained/net"]


def test_a_file_in_the_middle_knows_both_ways(project):
    found = trace("data/extracted/first/x")
    assert links(found, "from", "receipt") == ["data/ingested/first", "data/extracted/first"]
    assert links(found, "into", "receipt") == ["data/chunked/captures/first"]
    assert links(found, "from", "params") == ["params.yaml:ingest", "params.yaml:extract"]
    assert "data/trained/net" in links(found, "into", "output")


def test_weights_come_from_what_taught_and_tuned_them_and_not_from_the_test(project):
    found = trace("data/trained/net/computed_by.json")
    assert links(found, "from", "trained on") == ["first"]
    assert links(found, "from", "validated on") == ["second"]
    assert links(found, "from", "tested on") == []
    assert links(trace("data/evaluated/net"), "from", "tested on") == ["third"]


def test_the_datas_own_figures_rest_on_every_recording(project):
    found = trace("data/hours")
    assert (found.subject, found.detail, len(links(found, "from", "recording"))) == ("data/hours", "1.5", 3)


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("third/cam_a", TraceError, "is a view .cam_a. of a take, expected the take: audiate trace third"),
        ("frist", TraceError, "is no take, figure, segment or file here.*is it first"),
        ("net/net/f2", FigureError, "no figure, expected one such as net/net/f1"),
        ("data/nothing", TraceError, "is no take"),
        ("../etc/passwd", TraceError, "is no take"),
        ("ffffffffff", TraceError, "is no take"),
    ],
)
def test_what_is_nothing_here_is_one_line_with_what_can_be_done(project, name, error, said):
    with pytest.raises(error, match=said) as raised:
        trace(name)
    assert "\n" not in str(raised.value)


def test_without_results_it_says_what_to_run(project):
    Path("dvc.lock").unlink()
    with pytest.raises(DamagedData, match="nothing was reproduced here, run dvc repro"):
        trace("first")


def test_figures_are_numbers_at_the_end_of_their_name():
    values = {"net": {"f1": 0.5, "by_size": {"2": {"f1": 0.25}}}, "blind": {"f1": 1}}
    assert figure_of(values, "net/net/by_size/2/f1") == figure_of(values, "net/by_size/2/f1") == 0.25
    assert figure_of(values, "net/blind/f1") == 1.0
    assert figure_of(values, "net/blind") is figure_of(values, "net/blind/f2") is None
    assert figure_names(values, "net") == ["net/net/f1", "net/net/by_size/2/f1", "net/blind/f1"]
