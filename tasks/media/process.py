"""ffmpeg and ffprobe as processes: how they are called, stopped, and what they say when they fail.

Commands are lists that never see a shell. Files are named ``file:...``, so that no name is taken for an
option or a protocol. Demuxers and protocols are whitelisted: a playlist called ``x.mp4`` would open its
neighbours. An exit code of 0 proves nothing (a truncated file decodes with 0), so the callers compare what
came out with what was requested.
"""

import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tasks.errors import BadInput, ToolError
from tasks.media.formats import DEMUXERS

INSTALL = "install it with `apt-get install ffmpeg`"
SAFE_INPUT = {
    "protocol_whitelist": "file",
    "format_whitelist": ",".join(DEMUXERS),
}
START_S = 60.0  # allowed to any command before what its length explains
LONGEST_S = 6 * 3600.0  # no command is waited for longer
NAME_IN_HEX = "name-in-hex:"
LOGGED_ERROR = re.compile(rb"\[(?:error|fatal|panic)\] *(.*)")
# What ffmpeg logs, and what that means for the recording.
FAULTS = (
    (re.compile(rb"moov atom not found"), "its index is missing, so the recording was never finished"),
    (
        re.compile(rb"exceeds specified max pixel count|[Pp]icture size \d+x\d+ is invalid"),
        "its pictures are too large",
    ),
    (
        re.compile(rb"[Dd]ecoder .*not found|[Uu]nsupported codec|[Nn]o decoder|Decoder not found"),
        "no decoder reads it",
    ),
    (re.compile(rb"partial file"), "its end is missing"),
    (re.compile(rb"Permission denied"), "it may not be read"),
    (re.compile(rb"Invalid data found when processing input"), "it is damaged"),
)


class MediaError(BadInput):
    """A video that cannot be used: its name, what was found, what was expected."""


def ffmpeg_version() -> str:
    """Return the version of the ffmpeg that runs here, ``5.1.9-0+deb12u1``.

    Raises:
        ToolError: ffmpeg is not installed.
    """
    banner = run(["ffmpeg", "-version"], timeout_s=START_S).stdout
    found = re.match(rb"ffmpeg version (\S+)", banner)
    if found is None:
        raise ToolError(f"ffmpeg -version printed {banner[:60]!r}, expected `ffmpeg version ...`")
    return found[1].decode()


def run(command: list[str], *, timeout_s: float) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end.

    Raises:
        ToolError: the program is not installed, or is not done in time.
    """
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False)
    except FileNotFoundError:
        raise ToolError(f"{command[0]} is not installed: {INSTALL}") from None
    except subprocess.TimeoutExpired:
        raise ToolError(f"{command[0]} was not done after {timeout_s:.0f} s and was stopped") from None


@contextmanager
def running(
    command: list[str], *, timeout_s: float, feed: bool = False
) -> Iterator[tuple["subprocess.Popen[bytes]", IO[bytes]]]:
    """Run a command beside us, its log in a file, and stop it when the block ends or the time is up.

    Raises:
        ToolError: the program is not installed, or was stopped because its time was up.
    """
    with tempfile.TemporaryFile() as log:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if feed else subprocess.PIPE,
                stderr=log,
            )
        except FileNotFoundError:
            raise ToolError(f"{command[0]} is not installed: {INSTALL}") from None
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(timeout_s, stop)
        timer.start()
        try:
            yield process, log
            if late.is_set():
                raise ToolError(f"{command[0]} was not done after {timeout_s:.0f} s and was stopped")
        finally:
            timer.cancel()
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None and not pipe.closed:
                    pipe.close()


def opened(pipe: IO[bytes] | None) -> IO[bytes]:
    """Return a pipe that the process was started with."""
    if pipe is None:
        raise ValueError("the process was started without this pipe")
    return pipe


def url(path: Path) -> str:
    """Return the name under which ffmpeg takes any path for a file."""
    return f"file:{path}"


def token(path: Path) -> str:
    """Return a stand-in for ``url(path)``: ffmpeg-python cannot hold names that are not UTF-8."""
    return NAME_IN_HEX + os.fsencode(url(path)).hex()


def compiled(output: Any) -> list[str]:
    """Return the command of an ffmpeg-python output, with the names that the tokens stand for."""
    command: list[str] = output.compile()
    return [
        os.fsdecode(bytes.fromhex(word.removeprefix(NAME_IN_HEX))) if word.startswith(NAME_IN_HEX) else word
        for word in command
    ]


def shown(path: Path) -> str:
    """Return a path for a message: control characters and broken bytes as escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(path))


def clean(line: bytes) -> str:
    """Return a line of a log for a message."""
    text = line.decode("utf-8", "replace").strip()
    return "".join(c if c.isprintable() else "?" for c in text) or "no reason given"


def last_error(logged: bytes) -> str:
    """Return the last line that ffmpeg logged as an error, or its last line: of what we could not write."""
    errors = LOGGED_ERROR.findall(logged)
    return clean(errors[-1] if errors else (logged.strip().splitlines() or [b""])[-1])


def fault_of(logged: bytes, otherwise: str) -> str:
    """Return in our words what ffmpeg's log says of a file that it could not read.

    Its own lines hold addresses in memory, another one every run, and what only its authors understand.

    Args:
        logged: the log.
        otherwise: what is said where the log says nothing that is known here.
    """
    return next((words for pattern, words in FAULTS if pattern.search(logged)), otherwise)
