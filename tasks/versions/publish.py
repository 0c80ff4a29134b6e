"""A new data version leaves the working tree: a git commit of what DVC and the stages wrote, and dvc push."""

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from dvc.config import Config, ConfigError

from tasks.errors import PipelineError
from tasks.versions.history import LOCK, HistoryError, Version, git

KEEPER = "data/raw/.gitkeep"
PUSH_TIMEOUT_S = 6 * 3600


class PushError(PipelineError):
    """The remote did not take the data; it is kept here and the push can be repeated."""


def dirty_inputs(version: Version) -> list[str]:
    """List the files that results follow from and that differ from the last commit, sorted.

    A commit of dvc.lock beside them would name results that nobody could make from that commit.

    Args:
        version: the working tree.
    """
    inputs = {PurePosixPath(path) for path in (*version.hashes("deps"), "dvc.yaml", "params.yaml")}
    made = {PurePosixPath(path) for path in (*version.hashes("outs"), "data/raw", "data/promoted")}
    status = git(
        ["status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=all", "--", "."], root=version.root
    )
    changed = [PurePosixPath(entry[3:]) for entry in status.split("\0") if entry]
    return sorted(
        str(path)
        for path in changed
        if any(place in inputs for place in (path, *path.parents))
        and not any(place in made for place in (path, *path.parents))
    )


def commit_version(message: str, *, version: Version) -> str | None:
    """Commit what a new data version consists of, and nothing else that is dirty or staged.

    That is dvc.lock, data/raw.dvc, which weights are promoted, the results that git tracks, and the .gitignore files
    that DVC wrote beside others.

    Args:
        message: of the commit.
        version: the working tree.

    Returns:
        The commit's hash, or None where there was nothing to commit.

    Raises:
        HistoryError: git failed: no name is configured, a hook refused, or the repository is in the middle of a merge.
    """
    root = version.root
    tracked = git(
        ["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *version.hashes("outs")], root=root
    )
    beside = {PurePosixPath(path).parent / ".gitignore" for path in (*version.hashes("outs"), "data/raw")}
    wanted = [
        LOCK,
        "data/raw.dvc",
        "data/promoted",
        "data/metrics",
        *tracked.split("\0")[:-1],
        *sorted(str(path) for path in beside),
    ]
    paths = [path for path in wanted if (root / path).exists()]
    is_kept = bool(git(["ls-files", "--", KEEPER], root=root).strip())
    with tempfile.TemporaryDirectory() as scratch:
        # An index of its own: what the user has staged is neither committed nor lost.
        index = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
        git(["read-tree", "HEAD"], root=root, environment=index)
        git(["add", "--", *paths], root=root, environment=index)
        if not is_kept:
            git(["rm", "--cached", "--quiet", "--ignore-unmatch", "--", KEEPER], root=root, environment=index)
        if not git(["diff", "--cached", "--name-only", "HEAD"], root=root, environment=index).strip():
            return None
        git(["commit", "--quiet", "--no-edit", "--message", message], root=root, environment=index)
    git(["add", "--", *paths], root=root)
    return git(["rev-parse", "HEAD"], root=root).strip()


def default_remote(root: Path = Path()) -> str | None:
    """Return the name of the remote that `dvc push` sends to, or None where none is configured.

    Raises:
        HistoryError: DVC's configuration cannot be read.
    """
    try:
        config = Config(str((root / ".dvc").resolve()), validate=False)
    except ConfigError as error:
        raise HistoryError(f".dvc/config cannot be read: {' '.join(str(error).split())}") from None
    name = config.get("core", {}).get("remote")
    return str(name) if name else None


def push(*, everything: bool = False, root: Path = Path()) -> None:
    """Send this version's data to the default remote.

    Args:
        everything: send that of all commits: earlier versions may not have arrived.
        root: folder of the project.

    Raises:
        PushError: the remote did not take it; DVC's last line says why.
    """
    command = [sys.executable, "-m", "dvc", "push", "--quiet", *(["--all-commits"] if everything else [])]
    code, words = run_briefly(command, timeout_s=PUSH_TIMEOUT_S, root=root)
    if code:
        raise PushError(f"dvc push: {words or f'ended with {code}'}")


def run_briefly(
    command: Sequence[str],
    *,
    timeout_s: float,
    root: Path = Path(),
    given: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Run a command with a limit, and return its exit code and the last line of what it said in error.

    A command that is missing or too slow has code 127 or 124, as in a shell.

    Args:
        command: and its arguments.
        timeout_s: how long it may take.
        root: folder that it runs in.
        given: on its standard input.
        environment: all of it; None is this process's.
    """
    try:
        done = subprocess.run(
            list(command),
            cwd=root,
            check=False,
            input=given if given is not None else "",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_s,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return 124, f"did not end within {timeout_s:.0f} s"
    except OSError as error:
        return 127, f"{command[0]}: {error.strerror or error}"
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return done.returncode, lines[-1] if lines else ""
