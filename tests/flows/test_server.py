"""One Prefect server: started once however many ask, kept while somebody needs it, gone afterwards."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.server import prefect_server

pytestmark = pytest.mark.slow

ASK = """
import sys, time
from flows.server import prefect_server
with prefect_server() as url:
    print(url, flush=True)
    time.sleep(float(sys.argv[1]))
"""


def ask(home, seconds=0.0):
    environment = {**os.environ, "PREFECT_HOME": str(home)}
    environment.pop("PREFECT_API_URL", None)
    return subprocess.Popen(
        [sys.executable, "-c", ASK, str(seconds)], env=environment, stdout=subprocess.PIPE, text=True
    )


def keepers(home):
    """List the processes that keep a server for this home."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"flows.server" in command and os.fsencode(home) in command:
            found.append(int(folder.name))
    return found


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.5)
    return False


def test_four_racing_starts_give_one_server_that_leaves_when_nobody_needs_it(tmp_path):
    askers = [ask(tmp_path) for _ in range(4)]
    urls = {asker.communicate(timeout=180)[0].strip() for asker in askers}
    assert len(urls) == 1
    assert len(keepers(tmp_path)) == 1
    assert wait_until(lambda: not keepers(tmp_path), 60)
    assert not (tmp_path / "server.json").exists()


def test_a_flow_killed_with_9_does_not_hold_the_server_and_a_dead_server_is_replaced(tmp_path):
    flow = ask(tmp_path, 600)
    first = flow.stdout.readline().strip()
    (keeper,) = keepers(tmp_path)
    flow.send_signal(signal.SIGKILL)
    flow.communicate()
    os.killpg(keeper, signal.SIGKILL)
    second, _ = ask(tmp_path).communicate(timeout=180)
    assert second.strip()
    assert second.strip() != first
    assert wait_until(lambda: not keepers(tmp_path), 60)


def test_an_address_that_is_set_wins(monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    with prefect_server() as url:
        assert url == "http://127.0.0.1:1/api"
