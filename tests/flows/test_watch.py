"""The steps of a watch as plain functions; and runs that died, a server that was away, a whole night, for real."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
import yaml

from flows import watch as watching
from flows.server import is_healthy, prefect_server
from tasks.add import AddRow, AddSummary
from tasks.errors import ParamsError
from tasks.night import Failure, Record
from tasks.score import Score
from tasks.versions.publish import PushError

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def record():
    return Record(run="run", inbox="inbox")


@pytest.fixture
def project(make_project):
    folder = make_project(pieces=("a",))
    (folder / "inbox").mkdir()
    return folder


@pytest.fixture
def offered(monkeypatch):
    """Stand in for ``add``: takes in every folder, refuses those called bad, and remembers what it was offered."""
    seen = []

    def add_takes(folders, *, params, tell):
        (folder,) = folders
        seen.append(folder.name)
        state, kind = ("quarantined", "TRUNCATED") if "bad" in folder.name else ("added", "")
        return AddSummary(rows=(AddRow(take=folder.name, state=state, kind=kind, reason=kind.lower()),), dry_run=False)

    monkeypatch.setattr(watching, "add_takes", add_takes)
    return seen


def arrive(name, content="x"):
    folder = Path("inbox") / name
    folder.mkdir(exist_ok=True)
    (folder / "a.mid").write_text(content)


def take_in(record):
    watching.take_in(Path("inbox"), 0.0, record)


def test_what_settled_is_offered_once_and_what_is_refused_is_told_once(project, offered):
    arrive("good")
    arrive("bad")
    first, second = Record(run="1", inbox="inbox"), Record(run="2", inbox="inbox")
    take_in(first)
    take_in(second)
    assert offered == ["bad", "good"]
    assert (first.added, [row["kind"] for row in first.quarantined]) == (["good"], ["TRUNCATED"])
    assert (second.added, second.quarantined, second.is_news) == ([], [], False)
    kept = json.loads(Path(".audiate/watch/quarantine.json").read_text())
    assert [row["entry"] for row in kept.values()] == ["bad"]


def test_a_bad_folder_that_changes_is_offered_again(project, offered):
    arrive("bad")
    take_in(Record(run="1", inbox="inbox"))
    arrive("bad", content="mended")
    take_in(Record(run="2", inbox="inbox"))
    assert offered == ["bad", "bad"]


def test_other_rules_of_what_is_accepted_offer_all_of_it_again(project, offered):
    arrive("bad")
    take_in(Record(run="1", inbox="inbox"))
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["ingest"]["midi"]["max_bytes"] += 1
    Path("params.yaml").write_text(yaml.safe_dump(params))
    again = Record(run="2", inbox="inbox")
    take_in(again)
    assert (offered, again.quarantined) == (["bad", "bad"], [])  # the same fault of the same bytes is no news


def test_what_is_still_copied_is_left_alone_and_said(project, offered, record, capsys):
    arrive("half")
    Path("inbox/half/b.mid.part").touch()
    take_in(record)
    assert offered == []
    assert record.waiting == [{"entry": "half", "reason": "b.mid.part is still being copied"}]
    assert "left for the next run: half" in capsys.readouterr().err


def test_the_gate_decides_on_what_came_in_and_its_word_is_in_the_record(project, record, monkeypatch, capsys):
    row = {"family": "net", "system": "net", "role": "model", "piece": "p", "apart": False}
    scores = [Score(**row, take=take, figures={"onset_f1": f1}) for take, f1 in (("old/a", 0.75), ("new/a", 0.25))]
    monkeypatch.setattr(watching, "names", lambda: ["net"])
    monkeypatch.setattr(watching, "read_scores", lambda family: scores)
    monkeypatch.setattr(watching, "read_version", lambda name: SimpleNamespace(behind=lambda: {"net": "data"}))
    monkeypatch.setattr(watching, "families_of", lambda params: {"net": "captures"})
    params = yaml.safe_load(Path("params.yaml").read_text())
    rules = {"net/net/onset_f1": {"worse_by": 0.25, "limit": None}}
    params["gate"] = {"figures": {}, "new_takes": rules, "when_unsure": "hold"}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    record.added = ["new"]
    watching.decide_on(record, None)
    assert (record.gate, record.scores) == (None, [])  # the same data version: nothing came in
    watching.decide_on(record, SimpleNamespace(differences=(), added=("new",)))
    assert (record.behind, [one["take"] for one in record.scores]) == (["net"], ["new/a"])
    assert record.gate["holds"] is False
    assert "the gate fell: net/net/onset_f1 of new/a: 0.250 beside 0.750" in capsys.readouterr().err


def test_nothing_is_committed_on_top_of_parameters_that_are_not_committed(project, record, monkeypatch):
    record.old_version, record.new_version = "1", "2"
    monkeypatch.setattr(watching, "read_version", lambda name: name)
    monkeypatch.setattr(watching, "dirty_inputs", lambda version: ["params.yaml", "a", "b", "c"])
    monkeypatch.setattr(watching, "commit_version", lambda *_args, **_more: pytest.fail("committed"))
    watching.commit_new(record, None)
    assert record.notes == ["not committed: params.yaml, a, b and 1 more differ from the last commit"]


def test_the_same_data_version_is_no_commit(project, record, monkeypatch):
    record.old_version = record.new_version = "1"
    monkeypatch.setattr(watching, "commit_version", lambda *_args, **_more: pytest.fail("committed"))
    watching.commit_new(record, None)


def test_a_push_that_failed_is_made_up_for_by_the_next_run_with_all_that_is_missing(project, monkeypatch):
    pushed = []
    monkeypatch.setattr(watching, "read_version", lambda name: name)
    monkeypatch.setattr(watching, "dirty_inputs", lambda version: [])
    monkeypatch.setattr(watching, "commit_version", lambda message, version: "0" * 40)
    monkeypatch.setattr(watching, "default_remote", lambda: "shelf")

    def fail(*, everything):
        raise PushError("dvc push: no route")

    monkeypatch.setattr(watching, "push", fail)
    for number in (1, 2):
        made = Record(run="r", inbox="i", old_version=str(number), new_version=str(number + 1))
        watching.commit_new(made, None)
        with pytest.raises(PushError):
            watching.push_new(made)
        assert made.pushed is False
    monkeypatch.setattr(watching, "push", lambda *, everything: pushed.append(everything))
    idle, later = Record(run="r", inbox="i"), Record(run="r", inbox="i")
    watching.push_new(idle)
    watching.push_new(later)
    assert (pushed, idle.pushed, later.pushed) == ([True], True, None)


def test_without_a_remote_nothing_is_pushed(project, record, monkeypatch):
    monkeypatch.setattr(watching, "default_remote", lambda: None)
    watching._keep_unpushed(["1"])
    watching.push_new(record)
    assert record.pushed is None


def test_the_notification_gets_all_of_it_and_its_failure_is_told_and_not_fatal(project, record):
    record.added = ["a"]
    keep = "import pathlib, sys; pathlib.Path('got.json').write_text(sys.stdin.read())"
    watching._tell(record, None, [sys.executable, "-c", keep])
    assert json.loads(Path("got.json").read_text())["added"] == ["a"]
    watching._tell(record, None, [sys.executable, "-c", "import sys; sys.exit('no network')"])
    assert "failed (1): no network" in record.notes[0]
    assert json.loads(Path(".audiate/watch/run.json").read_text())["notes"] == record.notes


def test_the_notification_gets_no_key_to_the_server(project, record, monkeypatch):
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "audiate:key")
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "audiate:key")
    record.added = ["a"]
    keep = "import json, os, pathlib; pathlib.Path('got.json').write_text(json.dumps(dict(os.environ)))"
    watching._tell(record, None, [sys.executable, "-c", keep])
    got = json.loads(Path("got.json").read_text())
    assert got["PATH"] == os.environ["PATH"]
    assert [name for name in got if name.startswith("PREFECT_") or "audiate:key" in got[name]] == []


def test_a_run_cannot_choose_the_command_that_is_told():
    assert "notify" not in watching.watch.parameters.properties


def test_a_run_in_which_nothing_happened_tells_nobody(project, record):
    watching._tell(record, None, [sys.executable, "-c", "raise SystemExit(1)"])
    assert not Path(".audiate/watch").exists()


def test_a_run_is_dead_when_nobody_holds_its_lock(project):
    run_id = uuid4()
    with watching._alive(run_id):
        assert not watching._has_died(run_id, is_late=True)
    assert [watching._has_died(run_id, is_late=late) for late in (False, True)] == [False, True]
    (watching.ALIVE / str(run_id)).touch()  # as a kill -9 leaves it
    assert watching._has_died(run_id, is_late=False)


@pytest.mark.parametrize(("interval_s", "cron"), [(None, None), (5.0, "0 2 * * *")])
def test_a_watch_that_serves_wants_one_schedule(interval_s, cron):
    with pytest.raises(ParamsError, match="either --interval SECONDS or --cron LINE"):
        watching.watch_forever(
            Path(), interval_s=interval_s, cron=cron, settle_s=1, commit=True, push_data=True, notify=[]
        )


def test_prefect_yaml_names_this_flow_and_its_own_parameters():
    (deployment,) = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]
    assert deployment["entrypoint"] == "flows.watch.watch"
    assert set(deployment["parameters"]) == set(watching.watch.parameters.properties)
    # A limit that the server keeps is held by a run that died.
    assert "concurrency_limit" not in deployment


@pytest.mark.slow
def test_runs_that_died_are_marked_and_missed_ones_dropped(project):
    from prefect.client.orchestration import get_client
    from prefect.states import Pending, Running, Scheduled

    now = datetime.now(UTC)
    with prefect_server() as server, server.connected(), get_client(sync_client=True) as client:
        flow_id = client.create_flow(watching.watch)
        deployment = client.create_deployment(flow_id, name=f"watch-{uuid4()}")
        made = {}
        for name, state in (
            ("own", Running()),
            ("died", Running()),
            ("alive", Running()),
            ("elsewhere", Running()),
            ("began just now", Pending()),
            ("missed", Scheduled(scheduled_time=now - timedelta(hours=2))),
            ("also missed", Scheduled(scheduled_time=now - timedelta(hours=1))),
            ("to come", Scheduled(scheduled_time=now + timedelta(hours=1))),
        ):
            run = client.create_flow_run_from_deployment(deployment, name=name, state=state)
            made[name] = run.id
        watching.ALIVE.mkdir(parents=True)
        (watching.ALIVE / str(made["died"])).touch()
        with watching._alive(made["alive"]):
            watching.retire_runs(made["own"])
        found = {name: client.read_flow_run(run_id).state.type.value for name, run_id in made.items()}
    assert found == {
        "own": "RUNNING",
        "died": "CRASHED",
        "alive": "RUNNING",
        "elsewhere": "RUNNING",
        "began just now": "PENDING",
        "missed": "CANCELLED",
        "also missed": "CANCELLED",
        "to come": "SCHEDULED",
    }


class Served:
    """A server of one's own and a watch on a schedule over a project whose one stage can be held up."""

    def __init__(self, folder, interval_s):
        self.folder, self.interval_s = folder, interval_s
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.log = (folder.parent / "log").open("ab")
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AUDIATE_")},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PREFECT_HOME": str(folder.parent / "own_prefect"),
            "PREFECT_API_URL": self.url,
            "PREFECT_RUNNER_POLL_FREQUENCY": "1",
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        }
        self.processes = []

    def start(self, *command):
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=self.log,
            stderr=self.log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def start_server(self):
        uvicorn = ("uvicorn", "--factory", "prefect.server.api.server:create_app", "--port", str(self.port))
        process = self.start(sys.executable, "-m", *uvicorn)
        self.wait(lambda: is_healthy(self.url), 120)
        return process

    def start_watch(self):
        parameters = {"inbox": "inbox", "settle_s": 0, "commit": False, "push_data": False, "train": True}
        given = json.dumps({"supervisor": os.getpid(), "interval": self.interval_s, "parameters": parameters})
        return self.start(sys.executable, "-c", watching.SERVE, given)

    def runs(self):
        asked = urllib.request.Request(  # noqa: S310 - loopback
            f"{self.url}/flow_runs/filter",
            data=json.dumps(
                {
                    "flows": {"name": {"any_": ["watch"]}},
                    "flow_runs": {"state": {"type": {"not_any_": ["SCHEDULED"]}}},
                    "limit": 200,
                }
            ).encode(),
            headers={"Content-Type": "application/json"},
        )
        # a server that has just begun answers late on a busy machine: the wait's own limit ends the test
        with urllib.request.urlopen(asked, timeout=90) as answer:  # noqa: S310
            return {run["id"]: SimpleNamespace(**run) for run in json.loads(answer.read())}

    def of_type(self, *types):
        return {run_id for run_id, run in self.runs().items() if run.state_type in types}

    def wait(self, condition, seconds):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, Path(self.log.name).read_text(errors="replace")[-5000:]
            time.sleep(0.3)

    def stop(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
        for process in self.processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        self.log.close()


STAGE = """
import json, pathlib, time
while pathlib.Path("hold").exists():
    pathlib.Path("held").touch()
    time.sleep(0.1)
out = pathlib.Path("data/ingested")
out.mkdir(parents=True, exist_ok=True)
names = sorted(path.name for path in pathlib.Path("data/raw").iterdir() if path.name != ".gitkeep")
facts = {"kind": "score", "part": None, "digest": "0", "duration_s": 1.0}
(out / "catalog.json").write_text(json.dumps([{"take": name, "piece": name, **facts} for name in names]))
(out / "quarantine.json").write_text("[]")
"""
DVC_YAML = """
stages:
  ingest:
    cmd: python stage.py
    deps: [data/raw, stage.py]
    outs:
      - data/ingested:
          persist: true
"""


def run_in(folder, *command):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_after_a_kill_and_three_missed_periods_one_run_catches_up_and_marks_the_dead_one(project, add_take):
    (project / "stage.py").write_text(STAGE)
    (project / "dvc.yaml").write_text(DVC_YAML)
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["compare"] = {"n_resamples": 10, "seed": 1, "n_moved": 1}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    (project / "data" / "raw" / ".gitkeep").touch()
    run_in(project, "git", "init", "-q")
    run_in(project, "dvc", "init", "-q")
    (project / "hold").touch()
    midi = add_take(project, "late", 5)
    midi.parent.rename(project / "inbox" / "late")
    served = Served(project, interval_s=4)
    try:
        server = served.start_server()
        watch = served.start_watch()
        served.wait((project / "held").exists, 180)
        (dead,) = served.of_type("RUNNING")
        pid = int((project / ".audiate" / "locks" / "watch").read_text().split()[1])
        for process in (watch.pid, pid):
            os.kill(process, signal.SIGKILL)
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(timeout=20)
        (project / "hold").unlink()  # what the dead run had started ends by itself
        time.sleep(3 * served.interval_s)  # the periods that are missed
        served.start_server()
        back = datetime.now(UTC).isoformat()
        served.start_watch()
        served.wait(lambda: served.of_type("COMPLETED"), 180)
        runs = served.runs()
        caught_up = [
            run
            for run in runs.values()
            if run.expected_start_time < back and run.state_type in ("COMPLETED", "RUNNING", "PENDING")
        ]
        assert len(caught_up) <= 1
        assert runs[dead].state_type == "CRASHED"
        assert [row["take"] for row in json.loads((project / "data/ingested/catalog.json").read_text())] == ["late"]
    finally:
        served.stop()


@pytest.mark.slow
def test_a_short_night_fired_by_prefects_own_scheduler(tmp_path):
    """Good, broken and half-copied takes and nothing; what must hold then stands in benchmarks/watch.py."""
    command = [sys.executable, "-m", "benchmarks.watch", "--runs", "4", "--rebuild", "last", "--keep", str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=380, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\nok ") == 7


def test_after_a_crash_all_takes_since_the_last_commit_are_told(tmp_path, monkeypatch, record):
    monkeypatch.chdir(tmp_path)
    for take in ("before", "now"):
        (tmp_path / "data" / "ingested" / take).mkdir(parents=True)
        row = {"device": "cam_top", "state": "used", "flags": ["truncated"]}
        (tmp_path / "data" / "ingested" / take / "take.json").write_text(json.dumps({"media": [row]}))
    record.added, record.old_version = ["now"], "1"
    comparison = SimpleNamespace(added=("before", "now"))
    watching.look_at_what_came(record, comparison, commit=False)
    assert record.added == ["now"]  # without commits, each run tells what it took in itself
    watching.look_at_what_came(record, comparison, commit=True)
    assert record.added == ["before", "now"]
    assert [(row.take, row.device, row.flag) for row in record.flags] == [
        ("before", "cam_top", "truncated"),
        ("now", "cam_top", "truncated"),
    ]


def test_a_failure_names_the_stage_the_take_and_its_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dvc = "dvc repro ended with 255: see the lines above"
    assert watching._failure(dvc, 10.0) == Failure(stage=None, take=None, line=dvc)
    stage = tmp_path / ".audiate" / "stage.json"
    stage.parent.mkdir()
    about = {"stage": "render", "began_at": 11.0, "take": "a", "line": "render: take a: no room"}
    stage.write_text(json.dumps(about))
    assert watching._failure(dvc, 10.0) == Failure(stage="render", take="a", line="render: take a: no room")
    assert watching._failure(dvc, 12.0).stage is None  # of an earlier run
    stage.write_text(json.dumps(about | {"take": None, "line": None}))
    assert watching._failure(dvc, 10.0).line == f"render: it was killed; {dvc}"
