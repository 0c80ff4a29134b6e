"""The per-take stages on real MIDI files under Prefect: add, edit, delete, refuse, and a clean rebuild."""

import importlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

STAGES = ("ingest", "render", "extract", "chunk")
FOLDERS = ("data/ingested", "data/rendered", "data/extracted", "data/chunked/scores", "data/metrics")


def run(stage):
    """Run a stage in this process and return which takes it computed, reused and quarantined."""
    if stage == "extract":  # which looks for captures too, though here are none
        assert importlib.import_module("flows.synchronize").main() == 0
    assert importlib.import_module(f"flows.{stage}").main() == 0, stage
    return json.loads(Path(f".audiate/runs/{stage}.json").read_text())["takes"]


def run_all():
    return {stage: run(stage) for stage in STAGES}


def results(project):
    return {
        path.relative_to(project).as_posix(): path.read_bytes()
        for folder in FOLDERS
        for path in sorted((project / folder).rglob("*"))
        if path.is_file()
    }


def set_param(section, **values):
    params = yaml.safe_load(Path("params.yaml").read_text())
    params[section] |= values
    Path("params.yaml").write_text(yaml.safe_dump(params))


def test_a_take_more_is_one_take_computed_in_each_stage_and_equals_a_clean_rebuild(make_project, add_take):
    grown = make_project("grown")
    assert all(takes["computed"] == ["a", "b", "c"] for takes in run_all().values())
    assert all(takes["computed"] == [] for takes in run_all().values())
    add_take(grown, "new", 7)
    assert all(takes["computed"] == ["new"] for takes in run_all().values())
    clean = make_project("clean")
    add_take(clean, "new", 7)
    run_all()
    assert results(grown) == results(clean)


def test_a_take_that_goes_leaves_nothing_behind(make_project, add_take):
    project = make_project("shrunk")
    before = None
    for _ in range(2):
        run_all()
        before = before or results(project)
        midi = add_take(project, "passing", 8)
        run_all()
        shutil.rmtree(midi.parent)
    run_all()
    assert results(project) == before


@pytest.mark.parametrize(
    ("stage", "path", "damage"),
    [
        ("ingest", "data/ingested/b/notes.parquet", "delete"),
        ("render", "data/rendered/b/audio.flac", "truncate"),
        ("extract", "data/extracted/b/arrays.zarr/codes/c/0", "edit"),
        ("chunk", "data/chunked/scores/b", "delete"),
    ],
)
def test_a_damaged_output_is_noticed_and_made_again_with_the_same_bytes(make_project, stage, path, damage):
    project = make_project()
    run_all()
    before = results(project)
    damaged = project / path
    if damage == "delete":
        shutil.rmtree(damaged) if damaged.is_dir() else damaged.unlink()
    else:
        data = bytearray(damaged.read_bytes())
        data[len(data) // 2] ^= 1
        damaged.write_bytes(data[: len(data) // 2] if damage == "truncate" else data)
    assert run(stage)["computed"] == ["b"]
    assert results(project) == before


def test_a_corrupt_file_among_good_ones_changes_nothing_for_the_others(make_project, add_take):
    alone = make_project("alone")
    run_all()
    disturbed = make_project("disturbed")
    midi = add_take(disturbed, "broken", 9)
    midi.write_bytes(midi.read_bytes()[:60])
    ran = run_all()
    assert ran["ingest"]["quarantined"] == ["broken"]
    assert [ran[stage]["quarantined"] for stage in STAGES[1:]] == [[], [], []]
    row = json.loads((disturbed / "data/ingested/quarantine.json").read_text())[0]
    assert (row["take"], row["kind"]) == ("broken", "TRUNCATED")
    assert "broken.mid" in row["reason"]
    assert "byte" in row["reason"]
    differing = {path for path, data in results(disturbed).items() if results(alone).get(path) != data}
    assert differing == {"data/ingested/quarantine.json", "data/metrics/data.json"}


def copy_of(raw, good):
    shutil.copytree(good.parent, raw / "copy")


def link_to(raw, good):
    (raw / "link").symlink_to(good.parent)


def fifo(raw, good):
    (raw / "fifo").mkdir()
    os.mkfifo(raw / "fifo" / "x.mid")


def two_scores(raw, good):
    (raw / "two").mkdir()
    for name in ("x.mid", "y.mid"):
        (raw / "two" / name).touch()


def folder_called(name):
    return lambda raw, good: (raw / name).mkdir()


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        pytest.param(copy_of, "DUPLICATE", id="copy"),
        pytest.param(folder_called("empty"), "NOT_A_TAKE", id="empty"),
        pytest.param(folder_called("odd name\n"), "BAD_NAME", id="newline"),
        pytest.param(folder_called("-y"), "BAD_NAME", id="option"),
        pytest.param(folder_called("a"), "NAME_TAKEN", id="bundled name"),
        pytest.param(link_to, "NOT_A_FOLDER", id="link"),
        pytest.param(fifo, "NOT_A_FILE", id="fifo"),
        pytest.param(two_scores, "NOT_A_TAKE", id="two scores"),
    ],
)
def test_what_is_no_take_is_quarantined_with_its_reason(make_project, add_take, make, kind):
    project = make_project(pieces=("a",))
    make(project / "data" / "raw", add_take(project, "good", 1))
    assert sorted(run("ingest")["computed"])[:1] == ["a"]
    rows = json.loads((project / "data/ingested/quarantine.json").read_text())
    assert [row["kind"] for row in rows] == [kind]
    assert all(row["reason"].isprintable() for row in rows)


def test_too_much_bad_input_fails_the_stage(make_project, add_take, capsys):
    project = make_project(pieces=("a",))
    for number in range(3):
        add_take(project, f"bad{number}", number).write_bytes(b"MThd")
    set_param("ingest", max_bad_fraction=0.5)
    assert importlib.import_module("flows.ingest").main() == 1
    assert "3 of 4 takes cannot be used, expected at most ingest.max_bad_fraction = 0.5" in capsys.readouterr().err


def test_a_changed_parameter_makes_its_stage_and_those_behind_it_stale(make_project):
    make_project(pieces=("a", "b", "c"))
    run_all()
    set_param("extract", frame_rate="30000/1001")
    ran = run_all()
    assert [len(ran[stage]["computed"]) for stage in STAGES] == [0, 0, 3, 3]


@pytest.mark.parametrize("tool", ["fluidsynth", "soundfont"])
def test_another_tool_than_set_up_saw_stops_the_stage(make_project, capsys, tool):
    project = make_project(pieces=("a",))
    run("ingest")
    tools = json.loads((project / "data/tools.json").read_text())
    (project / "data/tools.json").write_text(json.dumps(tools | {tool: "another"}))
    assert importlib.import_module("flows.render").main() == 1
    error = capsys.readouterr().err
    assert f"{tool} is {tools[tool]}, but data/tools.json says another: run make setup" in error
    assert error.count("\n") == 1


def test_missing_takes_that_dvc_lists_are_asked_for(make_project, capsys):
    project = make_project(pieces=("a",))
    shutil.rmtree(project / "data/raw")
    (project / "data/raw.dvc").write_text("outs: []\n")
    assert importlib.import_module("flows.ingest").main() == 1
    assert "run dvc pull" in capsys.readouterr().err


def python(stage, project, **options):
    return subprocess.Popen(
        [sys.executable, "-m", f"flows.{stage}"], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["render", "extract", "chunk"])
def test_a_disk_that_fills_up_is_one_clear_line_and_the_rerun_completes(make_project, stage):
    project = make_project()
    run_all()
    before = results(project)
    shutil.rmtree(project / FOLDERS[STAGES.index(stage)])
    limit = 8 * 1024

    def fill_up():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    # Python itself would leave a bytecode file of 8 kB behind, and trip over it next time.
    failed = python(stage, project, preexec_fn=fill_up, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"})
    _, error = failed.communicate(timeout=120)
    said = error.decode().strip().splitlines()
    assert failed.returncode == 1
    assert len(said) == 1, error.decode()
    assert said[0].startswith(f"{stage}: take ")
    folder = project / FOLDERS[STAGES.index(stage)]
    assert [path.name for path in folder.iterdir() if path.is_dir()] == []
    run_all()
    assert results(project) == before


@pytest.mark.slow
def test_killed_at_random_moments_and_run_again_gives_the_same_bytes(make_project):
    project = make_project("killed")
    moments = random.Random(1)
    for stage in STAGES:
        for _ in range(4):
            worker = python(stage, project, start_new_session=True)
            time.sleep(moments.uniform(0.8, 3.0))
            os.killpg(worker.pid, signal.SIGKILL)
            worker.communicate()
        run(stage)
    killed = results(project)
    clean = make_project("clean")
    run_all()
    assert killed == results(clean)


@pytest.mark.slow
def test_two_dask_workers_make_the_same_bytes_and_each_computes(make_project, monkeypatch):
    from distributed import Client, LocalCluster

    threads = make_project("threads")
    run_all()
    dask = make_project("dask")
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        address = cluster.scheduler_address.removeprefix("tcp://")
        monkeypatch.setenv("AUDIATE_RUNNER", f"dask://{address}")
        run("ingest")
        run("render")
        tasks_done = client.run(lambda dask_worker: len(dask_worker.state.tasks) + dask_worker.state.executed_count)
        run("extract")
        run("chunk")
    assert results(dask) == results(threads)
    assert all(tasks_done.values()), tasks_done
