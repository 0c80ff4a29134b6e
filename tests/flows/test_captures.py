"""Captures on their way through ingest beside scores, under Prefect, and what arrives while it runs."""

import importlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

import flows.ingest
from tasks.step import file_sha256
from tasks.takes import data_version, read_catalog

STAGES = ("ingest", "render")


def run(stage):
    assert importlib.import_module(f"flows.{stage}").main() == 0, stage
    return json.loads(Path(f".audiate/runs/{stage}.json").read_text())["takes"]


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("media") / "cam.mp4"
    source = ("-f", "lavfi", "-i", "testsrc=size=64x48:rate=10:duration=1", "-f", "lavfi", "-i", "sine=duration=1")
    command = ["ffmpeg", "-nostdin", "-v", "error", *source, "-c:v", "mpeg4", "-c:a", "aac", str(path)]
    subprocess.run(command, check=True, timeout=60)
    return path


def put(project, name, recording, origin="raw"):
    folder = project / "data" / origin / name
    folder.mkdir(parents=True)
    shutil.copy(recording, folder / "cam_top.mp4")
    return folder


def test_a_capture_more_computes_no_score_again_and_is_a_new_data_version(make_project, recording):
    project = make_project()
    for stage in STAGES:
        run(stage)
    before = files(project / "data")
    scores = read_catalog()
    put(project, "new", recording)
    assert run("ingest")["computed"] == ["new"]
    for stage in STAGES[1:]:
        assert run(stage)["computed"] == []
    after = files(project / "data")
    assert {path for path in before if after.get(path) != before[path]} == {"ingested/catalog.json"}
    assert [take.name for take in read_catalog() if take.data_set == "captures"] == ["new"]
    assert [take for take in read_catalog() if take.kind == "score"] == scores
    assert data_version(read_catalog()) != data_version(scores)


def test_a_bare_copy_while_ingest_runs_fails_it_in_words_and_the_next_run_takes_it_in(
    make_project, recording, monkeypatch, capsys
):
    project = make_project(pieces=("a",))
    write_catalog = flows.ingest.write_catalog

    def late(*arguments):
        put(project, "late", recording)
        return write_catalog(*arguments)

    monkeypatch.setattr(flows.ingest, "write_catalog", late)
    assert flows.ingest.main() == 1
    assert capsys.readouterr().err == "ingest: data/raw changed while it was read: run again\n"
    monkeypatch.setattr(flows.ingest, "write_catalog", write_catalog)
    assert run("ingest")["computed"] == ["late"]
    assert [take.name for take in read_catalog()] == ["a", "late"]


def test_the_fraction_that_may_be_bad_computes_nothing_again(make_project):
    make_project(pieces=("a",))
    assert run("ingest")["computed"] == ["a"]
    path = Path("params.yaml")
    text = path.read_text()
    path.write_text(text.replace("max_bad_fraction: 0.9", "max_bad_fraction: 0.5"))
    assert path.read_text() != text
    assert run("ingest")["computed"] == []


def test_filmed_takes_are_ingested_and_held_against_their_receipts(make_project, recording, capsys):
    project = make_project(pieces=("a",))
    folder = put(project, "shot", recording, "filmed")
    film = folder / "cam_top.mp4"
    outputs = {film.name: {"size": film.stat().st_size, "sha256": file_sha256(film)}}
    (folder / "_receipt.json").write_text(json.dumps({"key": "k", "outputs": outputs}))
    assert run("ingest")["computed"] == ["a", "shot"]
    with film.open("ab") as file:
        file.write(b"more")
    assert flows.ingest.main() == 1
    assert "data/filmed/shot/cam_top.mp4 has" in capsys.readouterr().err
