"""Running stages through DVC, so that dvc.lock stays true."""

import re
import subprocess
import sys
from collections.abc import Sequence

from tasks.errors import PipelineError
from tasks.versions.locks import release

_RUNS = re.compile(r"^Running stage '([^']+)':", re.MULTILINE)  # DVC's own words


def repro(
    stages: Sequence[str], *, single: bool = True, force: bool = False, dry: bool = False, quiet: bool = False
) -> list[str]:
    """Run DVC stages, so that dvc.lock stays true.

    Args:
        stages: their names, in the order in which they run; none means the whole pipeline.
        single: run these alone, without the stages that they rest on.
        force: run them though nothing changed.
        dry: say what would run.
        quiet: keep what DVC and the stages print away from standard output, for a caller that prints JSON.

    Returns:
        With ``dry`` and ``quiet`` the names of the stages that would run, in order; else none.

    Raises:
        PipelineError: a stage failed; it has printed why.
    """
    options = [*(["--single-item"] if single and stages else []), *(["--force"] if force else [])]
    options += ["--dry"] if dry else []
    command = [sys.executable, "-m", "dvc", "repro", *options, *stages]
    release(tell=lambda line: print(line, file=sys.stderr))  # noqa: T201
    planned = dry and quiet
    output = subprocess.PIPE if planned else sys.stderr if quiet else None
    done = subprocess.run(command, check=False, stdout=output, text=True)
    if done.returncode:
        raise PipelineError(f"{' '.join(['dvc repro', *stages])} ended with {done.returncode}: see the lines above")
    return _RUNS.findall(done.stdout) if planned else []
