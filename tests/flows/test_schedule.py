"""A flow really run by Prefect's own scheduler, on a server of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.server import is_healthy

SERVE = """
from flows.ingest import ingest
from tasks.ingest import IngestParams
from tasks.params import read_params, section_values
params = IngestParams.parse(section_values(read_params(), "ingest"), "ingest")
ingest.serve(name="every-few-seconds", interval=3, limit=1, parameters={"params": params.model_dump()})
"""


def wait_until_healthy(url, seconds):
    deadline = time.monotonic() + seconds
    while not is_healthy(url) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert is_healthy(url)


@pytest.mark.slow
def test_ingest_runs_on_a_schedule_and_takes_in_what_arrived_between_two_runs(make_project, add_take, tmp_path):
    project = make_project(pieces=("a",))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "PREFECT_HOME": str(tmp_path / "home"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    log = (tmp_path / "log").open("wb")
    started = []

    def start(*command):
        started.append(
            subprocess.Popen(command, cwd=project, env=environment, stdout=log, stderr=log, start_new_session=True)
        )

    def catalog():
        path = project / "data" / "ingested" / "catalog.json"
        return [row["take"] for row in json.loads(path.read_text())] if path.exists() else []

    def wait_for(takes, seconds):
        deadline = time.monotonic() + seconds
        while catalog() != takes and time.monotonic() < deadline:
            assert all(process.poll() is None for process in started), Path(log.name).read_text()
            time.sleep(0.5)
        assert catalog() == takes, Path(log.name).read_text()

    try:
        start(sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app", "--port", str(port))
        wait_until_healthy(f"http://127.0.0.1:{port}/api", 120)
        start(sys.executable, "-c", SERVE)
        wait_for(["a"], 180)
        add_take(project, "later", 5)
        wait_for(["a", "later"], 180)
    finally:
        for process in reversed(started):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
        for process in started:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        log.close()


def processes_in(folder):
    """Return the command lines of the processes that work in a folder, by process id."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder:
                found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGKILL])
def test_a_watch_that_is_ended_ends_its_runner_and_its_server(tmp_path, kind):
    (tmp_path / "inbox").mkdir()
    (tmp_path / "data").mkdir()
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path / "home")}
    environment.pop("PREFECT_API_URL", None)
    with (tmp_path / "log").open("wb") as log:
        watch = subprocess.Popen(
            [Path(sys.executable).with_name("audiate"), "watch", "inbox", "--serve", "--cron", "0 0 29 2 *"],
            cwd=tmp_path,
            env=environment,
            stdout=log,
            stderr=log,
        )
    deadline = time.monotonic() + 120
    while len(processes_in(tmp_path)) < 3 and time.monotonic() < deadline:
        time.sleep(0.2)
    try:
        assert len(processes_in(tmp_path)) == 3, (tmp_path / "log").read_text()
        watch.send_signal(kind)
        assert watch.wait(timeout=60) == (0 if kind == signal.SIGTERM else -kind)
        deadline = time.monotonic() + 60
        while processes_in(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert processes_in(tmp_path) == {}
    finally:
        for process in processes_in(tmp_path):
            os.kill(process, signal.SIGKILL)
