"""Stage ``code``: flows, tasks, models and the libraries' lock file -> data/code.json. Costs no Prefect."""

import sys

from flows.presets import check_sections
from tasks.code import write_code
from tasks.errors import PipelineError
from tasks.families import families_of
from tasks.params import read_params


def main() -> int:
    """Run the stage as dvc.yaml calls it."""
    try:
        params = read_params()
        check_sections(params)
        write_code(families_of(params))
    except PipelineError as error:
        print(f"code: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
