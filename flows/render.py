"""Stage ``render``: data/ingested -> data/rendered, for the kinds of takes that have no recording."""

import sys
from pathlib import Path

from prefect import flow

from flows.run import Summary, for_each_take, kind_work, one_at_a_time, run_stage
from tasks.registry import kinds_of
from tasks.render import RenderParams
from tasks.takes import read_catalog


@flow(name="render", flow_run_name="render")
def render(params: RenderParams) -> Summary:
    """Play every score on the simulated piano."""
    kinds = kinds_of("render")
    with one_at_a_time("render"):
        return for_each_take(
            kind_work("render"),
            [take for take in read_catalog() if take.data_set in kinds],
            stage="render",
            out_dir=Path("data/rendered"),
            params=params,
        )


def main() -> int:
    """Run the stage as dvc.yaml calls it."""
    return run_stage(render, "render", {"params": ("render", RenderParams)})


if __name__ == "__main__":
    sys.exit(main())
