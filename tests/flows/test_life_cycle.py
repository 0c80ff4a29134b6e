"""The per-take stages on real files under Prefect, for each kind: add, edit, delete, damage, kill, and a clean rebuild.

Each test moves into a copy of a project that was built from nothing, with three takes of each kind. What it ends with
is held against those bytes: they are the clean rebuild.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import soundfile

from tasks.store.ensembles import EnsembleSet
from tasks.takes import data_version, read_catalog

STAGES = ("ingest", "render", "synchronize", "extract", "chunk")
MADE = ("ingested", "rendered", "synchronized", "extracted", "chunked", "metrics", "truth.json")  # in data


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What is known of a kind: the stages that work on its takes, one of them, and where that one comes from."""

    stages: list[str]
    take: str
    source: str


KINDS = {
    "scores": Kind(stages=["ingest", "render", "extract", "chunk"], take="b", source="sample/midi/b.mid"),
    "captures": Kind(
        stages=["ingest", "synchronize", "extract", "chunk"], take="capture_train", source="raw/capture_train"
    ),
    "ensembles": Kind(stages=["ingest", "synchronize", "extract", "chunk"], take="duet_train", source="raw/duet_train"),
}
# Those of the damage that differ by what reads them: a table, sound, arrays, a whole folder.
DAMAGE = [
    ("ingest", "ingested/b/notes.parquet", "delete"),
    ("ingest", "ingested/duet_train/take.json", "edit"),
    ("render", "rendered/b/audio.flac", "truncate"),
    ("synchronize", "synchronized/capture_train/clock.json", "edit"),
    ("synchronize", "synchronized/duet_train/clock.parquet", "delete"),
    ("extract", "extracted/b/arrays.zarr/codes/c/0", "edit"),
    ("extract", "extracted/duet_train/arrays.zarr/motion_1/c/0/0", "truncate"),
    ("chunk", "chunked/scores/b", "delete"),
    ("chunk", "chunked/captures/capture_train/arrays.zarr/sound/c/0", "truncate"),
    ("chunk", "chunked/ensembles/duet_train/arrays.zarr/stem_2/c/0/0", "edit"),
    ("chunk", "chunked/ensembles/duet_train", "delete"),
]


@pytest.fixture
def results(contents):
    """Return a function that reads all that the stages wrote in a project."""

    def read(project):
        found = contents(project / "data")
        return {path: data for path, data in found.items() if path.split("/")[0] in MADE}

    return read


def unmake(project):
    """Take a project back to what it was before the first stage."""
    for name in MADE:
        made = project / "data" / name
        shutil.rmtree(made) if made.is_dir() else made.unlink()


def computed(ran):
    """Return the stages in which takes were computed, by take: a whole life cycle in one line."""
    found = {}
    for stage, takes in ran.items():
        for name in takes["computed"]:
            found.setdefault(name, []).append(stage)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_take_more_is_computed_in_its_kinds_stages_alone_and_when_it_goes_nothing_stays(
    project, put, run_all, results, kind
):
    before, catalog = results(project), read_catalog()
    put[kind](project, "new", 7)
    assert computed(run_all()) == {"new": KINDS[kind].stages}
    grown = results(project)
    # Beside its own files only the lists of all takes are others, and those of its kind: no other kind's index is.
    shared = {"ingested/catalog.json", "metrics/data.json"}
    shared |= {f"chunked/{kind}/{name}" for name in ("takes.json", "segments.parquet")}
    assert {path for path in before if grown.get(path) != before[path]} == shared
    assert all("/new/" in path for path in grown.keys() - before.keys())
    assert [take for take in read_catalog() if take.name != "new"] == catalog
    assert data_version(read_catalog()) != data_version(catalog)
    shutil.rmtree(project / "data/raw/new")
    assert computed(run_all()) == {}
    assert results(project) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_take_that_went_and_came_back_is_computed_alone_and_equals_a_clean_rebuild(
    project, tmp_path, set_param, run_all, results, kind
):
    before, one = results(project), KINDS[kind]
    set_param("split", min_pieces=0)  # the take may be the only one of its part
    assert computed(run_all()) == {}
    (project / "data" / one.source).rename(tmp_path / "kept")
    assert computed(run_all()) == {}
    assert not [path for path in results(project) if one.take in path.split("/")]
    (tmp_path / "kept").rename(project / "data" / one.source)
    assert computed(run_all()) == {one.take: one.stages}
    assert results(project) == before


@pytest.mark.parametrize(("stage", "path", "damage"), DAMAGE)
def test_a_damaged_output_is_noticed_and_made_again_with_the_same_bytes(
    project, run, takes, results, stage, path, damage
):
    before, damaged = results(project), project / "data" / path
    if damage == "delete":
        shutil.rmtree(damaged) if damaged.is_dir() else damaged.unlink()
    else:
        data = bytearray(damaged.read_bytes())
        data[len(data) // 2] ^= 1
        damaged.write_bytes(data[: len(data) // 2] if damage == "truncate" else data)
    assert results(project) != before
    assert run(stage) == 0
    assert takes(stage)["computed"] == [name for name in path.split("/") if name in {k.take for k in KINDS.values()}]
    assert results(project) == before


def test_another_stem_is_another_take_and_another_film_is_no_other_sound(project, run_all):
    folder = project / "data/raw/duet_train"
    stems, _ = soundfile.read(folder / "stem_1_vn.wav")
    soundfile.write(folder / "stem_1_vn.wav", stems[::-1], 16_000, subtype="PCM_16")
    # Its clock needs no sound, and its digest changed: all of what follows from the take is made again.
    assert computed(run_all()) == {"duet_train": KINDS["ensembles"].stages}
    assert json.loads(Path("data/ingested/duet_train/take.json").read_text())["mix"]["source"] == "sum"


def test_mono_stems_are_set_aside_in_words_where_two_channels_are_asked_for(project, set_param, run_all):
    set_param("chunk", stem_channels=2)
    set_param("split", min_pieces=0)
    ran = run_all()
    assert ran["chunk"]["quarantined"] == ["duet_test", "duet_train", "duet_validation"]
    rows = json.loads((project / "data/chunked/ensembles/quarantine.json").read_text())
    assert {row["kind"] for row in rows} == {"FEWER_CHANNELS"}
    assert "has 1 channels, expected 2, or chunk.stem_channels: 1" in rows[0]["reason"]
    assert json.loads((project / "data/chunked/ensembles/takes.json").read_text()) == {}


def test_what_each_kind_has_lies_in_its_own_data_set(project):
    for kind, one in KINDS.items():
        listed = json.loads((project / "data/chunked" / kind / "takes.json").read_text())
        assert len(listed) == 3
        assert one.take in listed
    assert EnsembleSet(Path("data/chunked/ensembles")).takes("train") == ["duet_train"]
    assert json.loads(Path("data/metrics/data.json").read_text())["n_ensembles"] == 3


def test_a_project_of_one_kind_has_an_index_without_rows_of_each_other(make_project, run_all):
    make_project()
    assert computed(run_all()) == dict.fromkeys("abc", KINDS["scores"].stages)
    for kind in ("captures", "ensembles"):
        assert json.loads(Path(f"data/chunked/{kind}/takes.json").read_text()) == {}
    assert json.loads(Path("data/metrics/data.json").read_text())["n_ensembles"] == 0


def test_a_changed_parameter_makes_its_stage_and_those_behind_it_stale(project, set_param, run_all):
    set_param("extract", frame_rate="30000/1001")
    assert sorted(computed(run_all()).values()) == [["extract", "chunk"]] * 9


def test_a_corrupt_file_among_good_ones_changes_nothing_for_the_others(project, put, run_all, results):
    before = results(project)
    midi = put["scores"](project, "broken", 9)
    midi.write_bytes(midi.read_bytes()[:60])
    ran = run_all()
    assert {stage: takes["quarantined"] for stage, takes in ran.items() if takes["quarantined"]} == {
        "ingest": ["broken"]
    }
    assert computed(ran) == {}
    row = json.loads((project / "data/ingested/quarantine.json").read_text())[0]
    assert (row["take"], row["kind"]) == ("broken", "TRUNCATED")
    assert "broken.mid" in row["reason"]
    assert "byte" in row["reason"]
    after = results(project)
    assert {path for path, data in after.items() if before.get(path) != data} == {
        "ingested/quarantine.json",
        "metrics/data.json",
    }


@pytest.mark.slow
def test_killed_at_random_moments_and_run_again_gives_the_same_bytes(project, run, results):
    before, moments = results(project), random.Random(1)
    unmake(project)
    for stage in STAGES:
        for _ in range(4):
            worker = subprocess.Popen(
                [sys.executable, "-m", f"flows.{stage}"],
                cwd=project,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            time.sleep(moments.uniform(0.8, 3.5))
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
        assert run(stage) == 0
    assert results(project) == before


@pytest.mark.slow
def test_two_dask_workers_make_the_same_bytes_and_each_computes(project, run, results, monkeypatch):
    from distributed import Client, LocalCluster

    before = results(project)
    unmake(project)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        address = cluster.scheduler_address.removeprefix("tcp://")
        monkeypatch.setenv("AUDIATE_RUNNER", f"dask://{address}")
        assert [run(stage) for stage in STAGES[:2]] == [0, 0]
        tasks_done = client.run(lambda dask_worker: len(dask_worker.state.tasks) + dask_worker.state.executed_count)
        assert [run(stage) for stage in STAGES[2:]] == [0, 0, 0]
    assert results(project) == before
    assert all(tasks_done.values()), tasks_done
