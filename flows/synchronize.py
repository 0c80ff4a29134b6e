"""Stage ``synchronize``: data/ingested, the files of recorded takes -> data/synchronized."""

import sys
from pathlib import Path

from prefect import flow

from flows.run import Summary, for_each_take, kind_work, one_at_a_time, run_stage
from tasks.registry import kinds_of
from tasks.synchronize import SynchronizeParams
from tasks.takes import read_catalog


@flow(name="synchronize", flow_run_name="synchronize")
def synchronize(params: SynchronizeParams) -> Summary:
    """Place the devices of every recorded take on one clock."""
    kinds = kinds_of("synchronize")
    with one_at_a_time("synchronize"):
        return for_each_take(
            kind_work("synchronize"),
            [take for take in read_catalog() if take.data_set in kinds],
            stage="synchronize",
            out_dir=Path("data/synchronized"),
            params=params,
        )


def main() -> int:
    """Run the stage as dvc.yaml calls it."""
    return run_stage(synchronize, "synchronize", {"params": ("synchronize", SynchronizeParams)})


if __name__ == "__main__":
    sys.exit(main())
