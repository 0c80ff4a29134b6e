"""Stage ``synchronize``: data/ingested, the captures' and the ensembles' media -> data/synchronized."""

import sys
from pathlib import Path

from prefect import flow

from flows.run import Summary, TakeWork, for_each_take, one_at_a_time, run_stage
from tasks.intake.ensemble import read_ensemble
from tasks.intake.record import read_capture
from tasks.synchronize import SynchronizeParams, synchronize_take
from tasks.takes import Take, of_kind, read_catalog
from tasks.tools import check_tools


@flow(name="synchronize", flow_run_name="synchronize")
def synchronize(params: SynchronizeParams) -> Summary:
    """Place the devices of every capture and of every ensemble on one clock."""
    work = TakeWork(run=synchronize_take, inputs=_inputs, tools=check_tools(["ffmpeg", "fluidsynth", "soundfont"]))
    with one_at_a_time("synchronize"):
        takes = read_catalog()
        return for_each_take(
            lambda _: work,
            [*of_kind(takes, "captures"), *of_kind(takes, "ensembles")],
            stage="synchronize",
            out_dir=Path("data/synchronized"),
            params=params,
        )


def _inputs(take: Take) -> list[Path]:
    ingested = Path("data/ingested") / take.name
    if take.kind == "capture":
        return [ingested, *read_capture(take.name).paths]
    ensemble = read_ensemble(take.name)
    free = [device.path for device in ensemble.devices if device.name not in ensemble.genlocked]
    return [ingested, *(sorted({*free, *ensemble.master_paths}) if free else [])]


def main() -> int:
    """Run the stage as dvc.yaml calls it."""
    return run_stage(synchronize, "synchronize", {"params": ("synchronize", SynchronizeParams)})


if __name__ == "__main__":
    sys.exit(main())
