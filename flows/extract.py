"""Stage ``extract``: data/rendered, data/synchronized, the captures' masters, the players' views -> data/extracted."""

import sys
from pathlib import Path

from prefect import flow

from flows.run import Summary, TakeWork, for_each_take, one_at_a_time, run_stage
from tasks.clock.record import read_clocks
from tasks.extract import ExtractParams, extract_take
from tasks.intake.ensemble import read_ensemble
from tasks.intake.record import read_capture
from tasks.takes import Take, takes_of
from tasks.tools import check_tools

RENDERED, SYNCHRONIZED = Path("data/rendered"), Path("data/synchronized")


@flow(name="extract", flow_run_name="extract")
def extract(params: ExtractParams) -> Summary:
    """Compute what models are asked to predict, or given, from every take's sound and an ensemble's views."""
    work = TakeWork(run=extract_take, inputs=_inputs, tools=check_tools(["ffmpeg"]))
    with one_at_a_time("extract"):
        return for_each_take(
            lambda _: work,
            takes_of(RENDERED, SYNCHRONIZED),
            stage="extract",
            out_dir=Path("data/extracted"),
            params=params,
        )


def _inputs(take: Take) -> list[Path]:
    if take.kind == "score":
        return [RENDERED / take.name]
    if take.kind == "ensemble":
        cameras = [device.path for device in read_ensemble(take.name).devices if device.role == "camera"]
        return [Path("data/ingested") / take.name, SYNCHRONIZED / take.name, *cameras]
    master, _ = read_clocks(take.name)
    sound = read_capture(take.name).device(master).path
    return [Path("data/ingested") / take.name, SYNCHRONIZED / take.name, sound]


def main() -> int:
    """Run the stage as dvc.yaml calls it."""
    return run_stage(extract, "extract", {"params": ("extract", ExtractParams)})


if __name__ == "__main__":
    sys.exit(main())
