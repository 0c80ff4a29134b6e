"""Stage ``evaluate@FAMILY``: data/synthesized/FAMILY against the truth -> data/evaluated/FAMILY and its metrics."""

import sys
from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.run import Sections, Settings, one_at_a_time, run_stage
from tasks.evaluate import EvaluateParams, evaluate_family, write_metrics
from tasks.families import load_family
from tasks.features.polyphony import TranscribeParams

CHUNKED = Path("data/chunked")


@task(task_run_name="score {family}", persist_result=False, cache_policy=NO_CACHE)
def score(family: str, params: EvaluateParams, transcribe: TranscribeParams) -> None:
    """Score one family's performances."""
    settings = Settings()
    means = evaluate_family(
        family,
        data=CHUNKED / load_family(family).data,
        trained=Path("data/trained") / family,
        synthesized=Path("data/synthesized") / family,
        out=Path("data/evaluated") / family,
        params=params,
        transcribe_params=transcribe,
        workers=settings.workers,
        accelerator=settings.accelerator,
    )
    write_metrics(Path("data/metrics") / f"{family}.json", means)


@flow(name="evaluate", flow_run_name="evaluate {family}")
def evaluate(family: str, params: EvaluateParams, transcribe: TranscribeParams) -> None:
    """Hold a family's performances against the truth."""
    with one_at_a_time(f"evaluate@{family}"):
        score(family, params, transcribe)


def main(family: str) -> int:
    """Run the stage of one family as dvc.yaml calls it."""
    sections: Sections = {"params": ("evaluate", EvaluateParams), "transcribe": ("notes", TranscribeParams)}
    return run_stage(evaluate, f"evaluate@{family}", sections, [family])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
