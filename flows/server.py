"""One Prefect server for a whole ``dvc repro``, that answers nobody but this user.

A server start for each stage would cost minutes. The first flow starts a detached server on a free loopback port;
every flow holds a shared lock on ``users.lock`` while it runs, which the kernel frees even after kill -9; the
server leaves once it could have taken that lock for itself for 20 seconds. ``starting.lock`` serializes starts and
the leaving; the server holds ``alive.lock`` while it lives, so that whoever takes its port afterwards is not taken
for it. A ``PREFECT_API_URL`` that is already set wins over all of this.

Whoever reaches a Prefect API can run commands as its user, and loopback is open to every user of the machine and to
every page in a browser. So each server has a random secret, in a file that its user alone can read; requests without
it are refused, as are those with the name of another host, and no other origin may read an answer. The secret travels
by environment, never by argument, and never to a server that the user named.
"""

import fcntl
import json
import multiprocessing
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

from tasks.errors import PipelineError, ToolError
from tasks.step import write_whole

if TYPE_CHECKING:
    from starlette.types import ASGIApp
    from uvicorn import Server as WebServer

HOST = "127.0.0.1"
IDLE_S = 20.0
START_TIMEOUT_S = 300.0  # the first one makes its database, which takes minutes on a busy machine
LEAVE_TIMEOUT_S = 10.0
GONE_AFTER_S = 15.0
GONE_CHECK_S = 3.0
END_TIMEOUT_S = 20.0  # that a flow has to end by itself once its server is gone
AUTH = "PREFECT_API_AUTH_STRING"
SERVER_AUTH = "PREFECT_SERVER_API_AUTH_STRING"


class ServerGoneError(ToolError):
    """The Prefect server died while a flow needed it."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A Prefect server that flows can use.

    Attributes:
        url: of its API.
        secret: what requests must bear; None for a server that the user named, who configures that themselves.
    """

    url: str
    secret: str | None = field(default=None, repr=False)

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process needs to use this server."""
        return {"PREFECT_API_URL": self.url, **({} if self.secret is None else {AUTH: self.secret})}

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Have the flows and clients of this process use this server."""
        from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

        own = {} if self.secret is None else {PREFECT_API_AUTH_STRING: self.secret}
        with temporary_settings({PREFECT_API_URL: self.url, **own}):
            yield

    @contextmanager
    def inherited(self) -> Iterator[None]:
        """Have the processes that this one starts use this server."""
        with environment(**self.environment):
            yield

    @property
    def is_gone(self) -> bool:
        """Whether nothing takes connections where it was; a server that is only slow does."""
        parts = urlsplit(self.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            socket.create_connection((parts.hostname or HOST, port), timeout=5).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        return False

    @contextmanager
    def needed(self, what: str, *, patience_s: float = GONE_AFTER_S) -> Iterator[None]:
        """End the block, which the main thread runs, soon after the server has died.

        Prefect's engine would wait for it much longer, and end in a traceback. A block that does not end by itself
        in time ends with its process: what was finished stays, as after a kill.

        Args:
            what: needs it, for the message.
            patience_s: how long it may refuse connections; one that is only slow takes them.

        Raises:
            ServerGoneError: instead of what ended the block once the server had died, unless that has its own words.
        """
        error = ServerGoneError(f"the Prefect server at {self.url} died; what was finished is kept, run it again")
        is_over = threading.Event()
        watcher = threading.Thread(
            target=self._end_without, args=(is_over, patience_s, f"{what}: {error}"), daemon=True
        )
        watcher.start()
        try:
            yield
        except (Exception, KeyboardInterrupt) as cause:
            has_words = isinstance(cause.__cause__ or cause, PipelineError)
            if self.is_gone and not has_words:
                raise error from cause
            raise
        finally:
            is_over.set()

    def _end_without(self, is_over: threading.Event, patience_s: float, line: str) -> None:
        gone_since: float | None = None
        while not is_over.wait(GONE_CHECK_S):
            gone_since = (gone_since or time.monotonic()) if self.is_gone else None
            if gone_since is not None and time.monotonic() - gone_since >= patience_s:
                break
        else:
            return
        # A signal, not an exception: it also ends a wait for a lock.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        if not is_over.wait(END_TIMEOUT_S):
            print(line, file=sys.stderr, flush=True)  # noqa: T201
            for child in multiprocessing.active_children():
                child.kill()
            os._exit(1)


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set variables for this process and those that it starts, and set them back afterwards."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def prefect_server() -> Iterator[Server]:
    """Hold the shared Prefect server open and yield it, starting it when there is none.

    Raises:
        ToolError: it did not come up; the message has its last words and names its log.
    """
    given = os.environ.get("PREFECT_API_URL")
    if given:
        yield Server(url=given)
        return
    home = Path(os.environ["PREFECT_HOME"]).resolve()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (home / "users.lock").open("a") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        with (home / "starting.lock").open("a") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            server = _living(home) or _start(home)
        yield server


def running_server(home: Path) -> Server | None:
    """Return the server that flows with this ``PREFECT_HOME`` share, or None while there is none."""
    return _running(home.resolve()) if home.is_dir() else None


def is_healthy(url: str) -> bool:
    """Say whether a Prefect server answers at ``url``."""
    with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(f"{url}/health", timeout=5) as answer:  # noqa: S310 - loopback
        return bool(answer.status == 200)
    return False


def _living(home: Path) -> Server | None:
    """Return the server that lives, however long a busy machine lets it think; None where none lives.

    To start another beside it would take its record away, and nobody could find either.

    Raises:
        ToolError: it lives and does not answer.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while (server := _running(home)) is None:
        with (home / "alive.lock").open("a") as alive:
            if _try_lock(alive):
                return None
        if time.monotonic() > deadline:
            raise ToolError(
                f"a Prefect server lives in {home} and did not answer within {START_TIMEOUT_S:.0f} s: end the process "
                f"that holds alive.lock there, and see {home / 'server.log'}"
            )
        time.sleep(0.1)
    return server


def _running(home: Path) -> Server | None:
    with (home / "alive.lock").open("a") as alive:
        if _try_lock(alive):
            return None
    try:
        url = str(json.loads((home / "server.json").read_text())["url"])
    except (FileNotFoundError, ValueError, KeyError):
        return None
    secret = _read_secret(home)
    return Server(url=url, secret=secret) if secret is not None and is_healthy(url) else None


def _read_secret(home: Path) -> str | None:
    """Return the secret, or None where there is none that its user alone can have written and read."""
    try:
        descriptor = os.open(home / "server.secret", os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    with os.fdopen(descriptor, encoding="utf-8") as file:
        found = os.fstat(descriptor)
        return file.read() if found.st_uid == os.geteuid() and not found.st_mode & 0o077 else None


def _new_secret(home: Path) -> str:
    secret = f"audiate:{secrets.token_urlsafe(32)}"
    (home / "server.secret").unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(home / "server.secret", flags, 0o600), "w", encoding="utf-8") as file:
        file.write(secret)
    return secret


def _start(home: Path) -> Server:
    (home / "server.json").unlink(missing_ok=True)
    secret, log = _new_secret(home), home / "server.log"
    with log.open("ab") as output:
        began = output.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.server", str(home)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, "PREFECT_HOME": str(home), SERVER_AUTH: secret, AUTH: secret},
        )
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        server = _running(home)
        if server is not None:
            return server
        time.sleep(0.1)
    code = process.poll()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    lines = log.read_bytes()[began:].decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    if code is None:
        listens = (home / "server.json").exists()
        state = "took its port and did not answer there" if listens else "did not come to take a port"
        raise ToolError(f"the Prefect server {state} within {START_TIMEOUT_S:.0f} s: {last}: see {log}")
    raise ToolError(f"the Prefect server ended with {code} as it started: {last}: see {log}")


def create_app() -> "ASGIApp":
    """Return Prefect's server, which answers to the names of this machine alone.

    A page in a browser reaches loopback under a name of its own by letting that name point to it.
    """
    from prefect.server.api.server import create_app as create_prefect_app
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    return TrustedHostMiddleware(create_prefect_app(), allowed_hosts=[HOST, "localhost"], www_redirect=False)


def keep(home: Path) -> None:
    """Serve until no flow has used the server for ``IDLE_S``. The detached process's whole life."""
    from uvicorn import Config
    from uvicorn import Server as WebServer

    # Bound before its number is told: nobody else can take the port in between.
    with socket.socket() as listening, (home / "alive.lock").open("a") as alive:
        listening.bind((HOST, 0))
        fcntl.flock(alive, fcntl.LOCK_EX)
        origin = f"http://{HOST}:{listening.getsockname()[1]}"
        os.environ["PREFECT_API_URL"] = f"{origin}/api"
        os.environ["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] = origin
        config = Config(create_app, factory=True, log_level="warning", timeout_graceful_shutdown=round(LEAVE_TIMEOUT_S))
        server = WebServer(config)
        threading.Thread(target=_leave_when_idle, args=(home, server), daemon=True).start()
        write_whole(home / "server.json", json.dumps({"url": f"{origin}/api", "pid": os.getpid()}))
        server.run(sockets=[listening])


def _leave_when_idle(home: Path, server: "WebServer") -> None:
    idle_since: float | None = None
    with (home / "users.lock").open("a") as users, (home / "starting.lock").open("a") as starting:
        while True:
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
                break
            fcntl.flock(starting, fcntl.LOCK_UN)
        for name in ("server.json", "server.secret"):
            (home / name).unlink(missing_ok=True)
        server.should_exit = True
        time.sleep(2 * LEAVE_TIMEOUT_S)
        os._exit(0)  # what still runs then hangs


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
