"""Stage ``synchronize``: data/ingested and the captures' media -> data/synchronized."""

import sys
from pathlib import Path

from prefect import flow

from flows.run import Summary, for_each_take, one_at_a_time, run_stage
from tasks.captures.record import read_capture
from tasks.synchronize import SynchronizeParams, synchronize_take
from tasks.takes import captures, read_catalog
from tasks.tools import check_tools


@flow(name="synchronize", flow_run_name="synchronize")
def synchronize(params: SynchronizeParams) -> Summary:
    """Place the devices of every capture on one clock."""
    with one_at_a_time("synchronize"):
        return for_each_take(
            synchronize_take,
            captures(read_catalog()),
            stage="synchronize",
            out_dir=Path("data/synchronized"),
            params=params,
            inputs=lambda take: [Path("data/ingested") / take.name, *read_capture(take.name).paths],
            tools=check_tools(["ffmpeg", "fluidsynth", "soundfont"]),
        )


def main() -> int:
    """Run the stage as dvc.yaml calls it."""
    return run_stage(synchronize, "synchronize", {"params": ("synchronize", SynchronizeParams)})


if __name__ == "__main__":
    sys.exit(main())
