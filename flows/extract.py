"""Stage ``extract``: data/rendered, data/synchronized, the files of recorded takes -> data/extracted."""

import sys
from pathlib import Path

from prefect import flow

from flows.run import Summary, for_each_take, kind_work, one_at_a_time, run_stage
from tasks.extract import ExtractParams
from tasks.takes import takes_of


@flow(name="extract", flow_run_name="extract")
def extract(params: ExtractParams) -> Summary:
    """Compute every take's targets and features."""
    with one_at_a_time("extract"):
        return for_each_take(
            kind_work("extract"),
            takes_of(Path("data/rendered"), Path("data/synchronized")),
            stage="extract",
            out_dir=Path("data/extracted"),
            params=params,
        )


def main() -> int:
    """Run the stage as dvc.yaml calls it."""
    return run_stage(extract, "extract", {"params": ("extract", ExtractParams)})


if __name__ == "__main__":
    sys.exit(main())
