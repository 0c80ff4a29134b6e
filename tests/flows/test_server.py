"""One Prefect server: started once however many need it, closed to everybody else, gone afterwards."""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from flows import server as serving
from flows.server import Server, ServerGoneError, is_healthy, prefect_server, running_server
from tasks.errors import PipelineError, ToolError

ASK = """
import sys, time
from flows.server import prefect_server
with prefect_server() as server:
    print(server.url, flush=True)
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


@pytest.mark.slow
def test_four_racing_starts_give_one_server_that_leaves_when_nobody_needs_it(tmp_path):
    askers = [ask(tmp_path) for _ in range(4)]
    urls = {asker.communicate(timeout=180)[0].strip() for asker in askers}
    assert len(urls) == 1
    assert len(keepers(tmp_path)) == 1
    assert wait_until(lambda: not keepers(tmp_path), 60)
    assert not (tmp_path / "server.json").exists()
    assert not (tmp_path / "server.secret").exists()


@pytest.mark.slow
def test_a_flow_killed_with_9_does_not_hold_the_server_and_a_dead_server_is_replaced(tmp_path):
    flow = ask(tmp_path, 600)
    first = flow.stdout.readline().strip()
    (keeper,) = keepers(tmp_path)
    flow.send_signal(signal.SIGKILL)
    flow.communicate()
    os.kill(keeper, signal.SIGKILL)
    assert wait_until(lambda: not is_healthy(first), 10), "the server outlived its keeper"
    second, _ = ask(tmp_path).communicate(timeout=180)
    assert second.strip()
    assert second.strip() != first
    assert wait_until(lambda: not keepers(tmp_path), 60)


@pytest.mark.slow
def test_a_server_that_is_too_busy_to_answer_is_waited_for_and_no_other_is_started_beside_it(tmp_path):
    flow = ask(tmp_path, 600)
    first = flow.stdout.readline().strip()
    (keeper,) = keepers(tmp_path)
    os.kill(keeper, signal.SIGSTOP)  # it holds its locks, and answers nobody
    asker = ask(tmp_path)
    try:
        time.sleep(7)  # more than an answer is waited for
        assert keepers(tmp_path) == [keeper]
    finally:
        os.kill(keeper, signal.SIGCONT)
    second, _ = asker.communicate(timeout=60)
    assert second.strip() == first
    flow.send_signal(signal.SIGKILL)
    flow.communicate()
    assert wait_until(lambda: not keepers(tmp_path), 60)


def test_an_address_that_is_set_wins_and_gets_no_secret_of_ours(monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    with prefect_server() as server:
        assert server == Server(url="http://127.0.0.1:1/api")
        assert dict(server.environment) == {"PREFECT_API_URL": "http://127.0.0.1:1/api"}


# A network with a proxy, which cannot reach this machine's loopback.


@pytest.mark.parametrize(
    ("given", "direct"),
    [
        ({}, "127.0.0.1,localhost"),
        ({"NO_PROXY": "lab.example"}, "lab.example,127.0.0.1,localhost"),
        ({"NO_PROXY": "a", "no_proxy": "b, c,localhost"}, "b,c,localhost,127.0.0.1"),
        ({"no_proxy": "*"}, "*"),
    ],
)
def test_a_proxy_is_not_asked_for_this_machine(given, direct):
    environment = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}
    program = "import os, flows, urllib.request as u; print(os.environ['NO_PROXY'], os.environ['no_proxy'], sep='|'); "
    program += "assert u.proxy_bypass('127.0.0.1:4200')"
    done = subprocess.run(
        [sys.executable, "-c", program], env={**environment, **given}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"{direct}|{direct}"


@pytest.mark.slow
def test_a_flow_runs_where_a_proxy_takes_every_address(tmp_path):
    """Port 9 of this machine refuses: what asks that proxy fails."""
    program = (
        "from flows.server import prefect_server\n"
        "from prefect import flow, task\n"
        "@task\n"
        "def double(number): return 2 * number\n"
        "@flow\n"
        "def work(): return double.submit(21).result()\n"
        "with prefect_server() as server, server.connected(): print(work())\n"
    )
    proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    kept = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}
    kept.pop("PREFECT_API_URL", None)
    environment = {**kept, **proxies, "ALL_PROXY": "socks5://127.0.0.1:9", "PREFECT_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=400)
    assert done.stdout.strip() == "42", done.stderr
    for keeper in keepers(tmp_path):
        os.kill(keeper, signal.SIGTERM)


# Who may not come in.


@pytest.fixture(scope="module")
def open_home():
    """Keep a server whose folder every user of the machine may look into."""
    folder = Path(tempfile.mkdtemp(prefix="audiate-server-", dir="/tmp"))
    folder.chmod(0o755)
    home = folder / "prefect"
    home.mkdir(mode=0o755)
    flow = ask(home, 600)
    url = flow.stdout.readline().strip()
    yield home, url
    flow.kill()
    flow.communicate()
    for keeper in keepers(home):
        os.kill(keeper, signal.SIGTERM)
    wait_until(lambda: not keepers(home), 30)
    shutil.rmtree(folder)


def as_nobody(*command):
    """Run a command as another user of this machine."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can act as another user")
    other = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs")
    return subprocess.run([*other, *command], cwd="/", capture_output=True, text=True, timeout=60)


def answer(url, path, *, secret=None, data=None, method=None, **headers):
    """Return the status and the headers of an answer."""
    given = {"Content-Type": "application/json", **headers}
    if secret is not None:
        given["Authorization"] = f"Basic {base64.b64encode(secret.encode()).decode()}"
    asked = urllib.request.Request(f"{url}{path}", data=data, headers=given, method=method)  # noqa: S310 - loopback
    try:
        with urllib.request.urlopen(asked, timeout=20) as found:  # noqa: S310
            return found.status, found.headers
    except urllib.error.HTTPError as error:
        return error.code, error.headers


@pytest.mark.slow
def test_another_user_cannot_read_the_secret(open_home):
    home, _ = open_home
    assert as_nobody("cat", home / "server.json").returncode == 0
    (keeper,) = keepers(home)
    for path in (home / "server.secret", f"/proc/{keeper}/environ"):
        done = as_nobody("cat", path)
        assert (done.returncode, done.stdout) == (1, ""), path
        assert "Permission denied" in done.stderr
    secret = (home / "server.secret").read_text()
    assert len(secret) > 40
    assert secret.encode() not in Path(f"/proc/{keeper}/cmdline").read_bytes()


REQUEST = """
import sys, urllib.error, urllib.request
asked = urllib.request.Request(sys.argv[1], data=b"{}", headers={"Content-Type": "application/json"})
try:
    print(urllib.request.urlopen(asked, timeout=20).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/flow_runs/", "/flow_runs/filter", "/deployments/filter", "/flows/"])
def test_another_user_can_neither_start_a_run_nor_look_at_one(open_home, path):
    _, url = open_home
    done = as_nobody("/usr/bin/env", "python3", "-c", REQUEST, f"{url}{path}")
    assert (done.stdout, done.stderr) == ("401\n", "")


@pytest.mark.slow
def test_who_has_the_secret_comes_in_and_health_is_open(open_home):
    home, url = open_home
    server = running_server(home)
    assert server.url == url
    assert answer(url, "/flow_runs/filter", data=b"{}", secret=server.secret)[0] == 200
    assert answer(url, "/flow_runs/filter", data=b"{}", secret=f"{server.secret}x")[0] == 401
    assert answer(url, "/health")[0] == 200


@pytest.mark.slow
def test_a_page_of_another_origin_reads_nothing(open_home):
    home, url = open_home
    secret = running_server(home).secret
    _, headers = answer(url, "/health", Origin="http://evil.example")
    assert headers["Access-Control-Allow-Origin"] is None
    _, headers = answer(url, "/flow_runs/filter", data=b"{}", secret=secret, Origin="http://evil.example")
    assert headers["Access-Control-Allow-Origin"] is None
    preflight = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    status, headers = answer(url, "/flow_runs/", method="OPTIONS", **preflight)
    assert (status, headers["Access-Control-Allow-Origin"]) == (400, None)


@pytest.mark.slow
@pytest.mark.parametrize("host", ["evil.example", "evil.example:4200", "127.0.0.1.evil.example"])
def test_a_name_that_points_to_this_machine_is_refused(open_home, host):
    home, url = open_home
    secret = running_server(home).secret
    assert answer(url, "/health", Host=host)[0] == 400
    assert answer(url, "/flow_runs/filter", data=b"{}", secret=secret, Host=host)[0] == 400


@pytest.mark.slow
def test_a_secret_that_others_may_have_written_is_not_used(open_home):
    home, _ = open_home
    secret = home / "server.secret"
    secret.chmod(0o644)
    assert running_server(home) is None
    secret.chmod(0o600)
    assert running_server(home) is not None


def test_who_took_the_port_of_a_dead_server_is_not_taken_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(serving, "is_healthy", lambda url: True)
    serving._new_secret(tmp_path)
    (tmp_path / "server.json").write_text(json.dumps({"url": "http://127.0.0.1:1/api"}))
    assert running_server(tmp_path) is None


def test_the_secret_is_not_shown_and_goes_to_children_alone(monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv(serving.AUTH, raising=False)
    server = Server(url="http://127.0.0.1:1/api", secret="a:b")  # noqa: S106 - none
    assert "a:b" not in repr(server)
    with server.inherited():
        assert os.environ[serving.AUTH] == "a:b"
    assert serving.AUTH not in os.environ
    assert "PREFECT_API_URL" not in os.environ


# A server that dies.


def test_a_server_that_dies_as_it_starts_is_told_at_once_with_its_last_line(tmp_path, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "no database")
    began = time.monotonic()
    with (
        pytest.raises(ToolError, match=r"^the Prefect server ended with \d+ as it started: .+: see ") as caught,
        prefect_server(),
    ):
        pytest.fail("it started")
    assert time.monotonic() - began < 60
    assert "\n" not in str(caught.value)


def test_a_server_that_does_not_come_to_answer_is_ended_and_told_how_far_it_came(tmp_path, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setattr(serving, "START_TIMEOUT_S", 0.2)
    # How far it comes within that time depends on how busy the machine is.
    far = r"(did not come to take a port|took its port and did not answer there)"
    said = rf"^the Prefect server {far} within 0 s: it said nothing: see "
    with pytest.raises(ToolError, match=said), prefect_server():
        pytest.fail("it started")
    assert wait_until(lambda: not keepers(tmp_path), 10)


GONE = Server(url="http://127.0.0.1:1/api")  # where nobody listens


def test_what_waits_for_a_dead_server_is_ended_in_one_line(monkeypatch):
    monkeypatch.setattr(serving, "GONE_CHECK_S", 0.05)
    began = time.monotonic()
    said = r"^the Prefect server at \S+ died; what was finished is kept, run it again"
    with pytest.raises(ServerGoneError, match=said), GONE.needed("ingest", patience_s=0.2):
        time.sleep(30)
    assert time.monotonic() - began < 5


def test_what_fails_by_itself_says_why_though_the_server_has_died():
    with pytest.raises(PipelineError, match="take a: no notes"), GONE.needed("ingest"):
        raise PipelineError("take a: no notes")


def test_an_interrupt_is_one_while_the_server_lives(monkeypatch):
    monkeypatch.setattr(Server, "is_gone", False)
    with pytest.raises(KeyboardInterrupt), GONE.needed("ingest"):
        raise KeyboardInterrupt
