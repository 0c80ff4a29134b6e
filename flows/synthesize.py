"""Stage ``synthesize@FAMILY``: data/trained/FAMILY and the test takes' pictures -> data/synthesized/FAMILY."""

import sys
from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.run import Sections, Settings, one_at_a_time, progress_bar, run_stage
from tasks.families import load_family
from tasks.synthesize import SynthesizeParams, synthesize_family
from tasks.tools import check_tools

CHUNKED = Path("data/chunked")


@task(task_run_name="perform with {family}", persist_result=False, cache_policy=NO_CACHE)
def perform(family: str, params: SynthesizeParams) -> None:
    """Let one family perform every test take."""
    settings = Settings()
    performances = synthesize_family(
        family,
        data=CHUNKED / load_family(family).data,
        trained=Path("data/trained") / family,
        out=Path("data/synthesized") / family,
        params=params,
        accelerator=settings.accelerator,
        workers=settings.workers,
    )
    with progress_bar() as bar:
        shown = bar.add_task("synthesize", total=None)
        for _ in performances:
            bar.advance(shown)


@flow(name="synthesize", flow_run_name="synthesize {family}")
def synthesize(family: str, params: SynthesizeParams) -> None:
    """Give the silent test takes their sound."""
    check_tools(["ffmpeg", "fluidsynth", "soundfont"])
    with one_at_a_time(f"synthesize@{family}"):
        perform(family, params)


def main(family: str) -> int:
    """Run the stage of one family as dvc.yaml calls it."""
    sections: Sections = {"params": ("synthesize", SynthesizeParams)}
    return run_stage(synthesize, f"synthesize@{family}", sections, [family])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
