"""Stage ``render``: data/ingested -> data/rendered, for score takes."""

import sys
from pathlib import Path

from prefect import flow

from flows.run import Summary, TakeWork, for_each_take, one_at_a_time, run_stage
from tasks.render import RenderParams, render_take
from tasks.takes import of_kind, read_catalog
from tasks.tools import check_tools


@flow(name="render", flow_run_name="render")
def render(params: RenderParams) -> Summary:
    """Play every score on the simulated piano."""
    work = TakeWork(
        run=render_take,
        inputs=lambda take: [Path("data/ingested") / take.name],
        tools=check_tools(["fluidsynth", "soundfont"]),
    )
    with one_at_a_time("render"):
        return for_each_take(
            lambda _: work,
            of_kind(read_catalog(), "scores"),
            stage="render",
            out_dir=Path("data/rendered"),
            params=params,
        )


def main() -> int:
    """Run the stage as dvc.yaml calls it."""
    return run_stage(render, "render", {"params": ("render", RenderParams)})


if __name__ == "__main__":
    sys.exit(main())
