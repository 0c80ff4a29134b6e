"""DVC's experiments: a stage run with other parameters in a folder of its own, beside the project and without a commit.

An experiment lives in git's refs under the commit that it started from. Its outputs are in DVC's cache.
"""

import re
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

from dvc.repo import Repo

from tasks.errors import PipelineError
from tasks.versions.history import git

POLL_S = 2.0
DONE = ("Success", "Failed")
_NAME = re.compile(r"[a-z0-9_-]+")


class ExperimentError(PipelineError):
    """DVC did not take an experiment, or its workers do not run."""


def queue_experiment(name: str, stage: str, changes: Mapping[str, object]) -> None:
    """Put an experiment behind those that wait: one stage, with some parameters changed.

    Args:
        name: small letters, digits, ``_`` and ``-``; no other experiment of this commit has it.
        stage: of dvc.yaml, run without the stages that it rests on.
        changes: dotted names of params.yaml and their values.

    Raises:
        ExperimentError: DVC refused; the message has its words.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"an experiment cannot be called {name!r}")
    values = [f"--set-param={key}={value!r}" for key, value in changes.items()]
    _dvc(["exp", "run", "--queue", "--name", name, *values, "--single-item", stage])


def run_experiments(names: Iterable[str], *, n_at_once: int) -> dict[str, str]:
    """Run what is queued, and wait for the named ones; return ``Success`` or ``Failed`` of each.

    Raises:
        ExperimentError: the workers ended before the experiments did.
    """
    wanted = set(names)
    with Repo() as repo:
        queue = repo.experiments.celery_queue
        n_idle = 0
        while wanted:
            found = {str(task["name"]): str(task["status"]) for task in queue.status() if task["name"] in wanted}
            if all(found.get(name) in DONE for name in wanted):
                return found
            if any(state == "Running" for state in found.values()):
                n_idle = 0
            elif n_idle % 10 == 0:
                # Workers leave when nothing waits, so a queue that stands still needs new ones.
                if n_idle >= 30:
                    waiting = ", ".join(sorted(name for name in wanted if found.get(name) not in DONE))
                    raise ExperimentError(f"DVC's workers do not run {waiting}: see dvc queue status")
                _dvc(["queue", "start", "--jobs", str(n_at_once)])
            n_idle += 1
            time.sleep(POLL_S)
    return {}


def experiment_refs() -> dict[str, str]:
    """Return the git ref of each experiment that started from the commit that is checked out, by name."""
    commit = git(["rev-parse", "HEAD"]).strip()
    refs = git(["for-each-ref", "--format=%(refname)", f"refs/exps/{commit[:2]}/{commit[2:]}"]).split()
    return {ref.rpartition("/")[2]: ref for ref in refs}


def forget_failed(names: Iterable[str]) -> None:
    """Take failed experiments out of DVC's list, so that they can be tried again."""
    with Repo() as repo:
        failed = [task["name"] for task in repo.experiments.celery_queue.status() if task["status"] == "Failed"]
    for name in set(failed) & set(names):
        _dvc(["queue", "remove", name])


def _dvc(arguments: list[str]) -> None:
    command: list[Any] = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        words = " ".join((done.stderr or done.stdout).split())
        raise ExperimentError(f"dvc {arguments[0]} {arguments[1]}: {words}")
