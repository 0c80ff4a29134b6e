"""Stage ``score``: promoted weights on the takes that they have not learned from -> data/scored, and their figures."""

import json
import sys
from pathlib import Path

from prefect import flow

from flows.run import Sections, Settings, Summary, TakeWork, for_each_take, one_at_a_time, run_stage
from tasks.code import stage_digest
from tasks.errors import PipelineError
from tasks.evaluate import EvaluateParams
from tasks.families import families_of
from tasks.features.polyphony import TranscribeParams
from tasks.numerics import pin_networks
from tasks.params import read_params
from tasks.promote import check_expected, names, read_promoted, shared_numerics
from tasks.score import SCORED, ScoreParams, inputs, score_figures, score_take, takes_to_score
from tasks.step import prune, write_whole
from tasks.synthesize import SynthesizeParams
from tasks.takes import takes_of
from tasks.tools import check_tools

METRICS = Path("data/metrics/promoted.json")


@flow(name="score", flow_run_name="score")
def score(synthesize: SynthesizeParams, evaluate: EvaluateParams, notes: TranscribeParams) -> Summary:
    """Score every promoted family on what it has not learned from; only what is new is computed."""
    params = ScoreParams(synthesize=synthesize, evaluate=evaluate, notes=notes)
    work = TakeWork(run=score_take, inputs=inputs, tools=check_tools(["ffmpeg", "fluidsynth", "soundfont"]))
    families = names()
    pin_networks(shared_numerics(families))  # before a family is loaded: torch reads its settings when it is imported
    summaries: list[Summary] = []
    SCORED.mkdir(parents=True, exist_ok=True)
    with one_at_a_time("score"):
        takes = takes_of(Path("data/rendered"), Path("data/synchronized"), Path("data/extracted"))
        for family in families:
            promoted = read_promoted(family)
            check_expected(promoted, read_params())
            code = _code(family)
            own = takes_to_score(promoted, takes, code=code, accelerator=Settings().accelerator)
            summaries.append(for_each_take(lambda _: work, own, stage="score", out_dir=SCORED / family, params=params))
            if _code(family) != code:
                raise PipelineError(f"score: the code of {family} changed while the stage ran: run it again")
        prune(SCORED, families)
        write_whole(METRICS, json.dumps(score_figures(families), indent=1) + "\n")
    return Summary(
        stage="score",
        outcomes=tuple(outcome for done in summaries for outcome in done.outcomes),
        pruned=tuple(name for done in summaries for name in done.pruned),
    )


def _code(family: str) -> str:
    return stage_digest(f"synthesize@{family}", families_of(read_params()))


def main() -> int:
    """Run the stage as dvc.yaml calls it."""
    sections: Sections = {
        "synthesize": ("synthesize", SynthesizeParams),
        "evaluate": ("evaluate", EvaluateParams),
        "notes": ("notes", TranscribeParams),
    }
    return run_stage(score, "score", sections)


if __name__ == "__main__":
    sys.exit(main())
