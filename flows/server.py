"""One Prefect server for a whole ``dvc repro``.

A server start for each stage would cost minutes. The first flow starts a detached server on a free loopback port;
every flow holds a shared lock on ``users.lock`` while it runs, which the kernel frees even after kill -9; the
server leaves once it could have taken that lock for itself for 20 seconds. ``starting.lock`` serializes starts and
the leaving. A ``PREFECT_API_URL`` that is already set wins over all of this.
"""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from tasks.errors import ToolError

IDLE_S = 20.0
START_TIMEOUT_S = 120.0


@contextmanager
def prefect_server() -> Iterator[str]:
    """Hold the shared Prefect server open and yield its address, starting it when there is none.

    Raises:
        ToolError: it did not come up; the message names its log.
    """
    given = os.environ.get("PREFECT_API_URL")
    if given:
        yield given
        return
    home = Path(os.environ["PREFECT_HOME"]).resolve()
    home.mkdir(parents=True, exist_ok=True)
    with (home / "users.lock").open("a") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        with (home / "starting.lock").open("a") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            url = _running(home) or _start(home)
        yield url


def _running(home: Path) -> str | None:
    try:
        url = str(json.loads((home / "server.json").read_text())["url"])
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return url if is_healthy(url) else None


def is_healthy(url: str) -> bool:
    """Say whether a Prefect server answers at ``url``."""
    with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(f"{url}/health", timeout=5) as answer:  # noqa: S310 - loopback
        return bool(answer.status == 200)
    return False


def _start(home: Path) -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    log = home / "server.log"
    with log.open("ab") as output:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "flows.server", str(home), str(port)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, "PREFECT_HOME": str(home)},
        )
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and keeper.poll() is None:
        if is_healthy(url):
            (home / "server.json").write_text(json.dumps({"url": url, "pid": keeper.pid}))
            return url
        time.sleep(0.1)
    with suppress(ProcessLookupError):
        os.killpg(keeper.pid, signal.SIGKILL)
    raise ToolError(f"the Prefect server did not start within {START_TIMEOUT_S:.0f} s: see {log}")


def keep(home: Path, port: int) -> None:
    """Run the server until no flow has used it for ``IDLE_S``. The detached process's whole life."""
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"),
            *("--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"),
        ],
        env={**os.environ, "PREFECT_HOME": str(home), "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"},
    )
    idle_since: float | None = None
    with (home / "users.lock").open("a") as users, (home / "starting.lock").open("a") as starting:
        while server.poll() is None:
            time.sleep(1)
            if not _try_lock(users):
                idle_since = None
                continue
            fcntl.flock(users, fcntl.LOCK_UN)
            idle_since = idle_since or time.monotonic()
            if time.monotonic() - idle_since < IDLE_S or not _try_lock(starting):
                continue
            # A flow takes users.lock before starting.lock: with both in hand, nobody is on the way.
            if _try_lock(users):
                (home / "server.json").unlink(missing_ok=True)
                break
            fcntl.flock(starting, fcntl.LOCK_UN)
        server.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            server.wait(timeout=10)
        server.kill()


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    keep(Path(sys.argv[1]), int(sys.argv[2]))
