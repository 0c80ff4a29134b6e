"""Stage ``chunk``: everything before it -> data/chunked, and the figures of the data version."""

import json
import sys
from pathlib import Path

from prefect import flow

from flows.run import Sections, Summary, TakeWork, for_each_take, one_at_a_time, run_stage
from tasks.chunk import (
    ChunkParams,
    SegmentParams,
    chunk_capture,
    chunk_ensemble,
    chunk_take,
    data_metrics,
    index_takes,
)
from tasks.intake.ensemble import read_ensemble
from tasks.intake.record import read_capture
from tasks.step import write_whole
from tasks.takes import SplitParams, Take, of_kind, read_catalog, takes_of
from tasks.tools import check_tools

SCORES, CAPTURES = Path("data/chunked/scores"), Path("data/chunked/captures")
ENSEMBLES = Path("data/chunked/ensembles")
INGESTED, RENDERED, EXTRACTED = Path("data/ingested"), Path("data/rendered"), Path("data/extracted")
SYNCHRONIZED = Path("data/synchronized")
METRICS = Path("data/metrics/data.json")


@flow(name="chunk", flow_run_name="chunk")
def chunk(params: ChunkParams, segments: SegmentParams, split: SplitParams) -> Summary:
    """Store every take's arrays once, then index the segments over them."""
    with one_at_a_time("chunk"):
        tools = check_tools(["ffmpeg"])
        takes = takes_of(RENDERED, SYNCHRONIZED, EXTRACTED)
        of_scores = for_each_take(
            lambda _: TakeWork(run=chunk_take, inputs=lambda take: [RENDERED / take.name, EXTRACTED / take.name]),
            of_kind(takes, "scores"),
            stage="chunk",
            out_dir=SCORES,
            params=params,
        )
        index_takes(SCORES, of_kind(takes, "scores"), split, segments)
        of_captures = for_each_take(
            lambda _: TakeWork(run=chunk_capture, inputs=_inputs, tools=tools),
            of_kind(takes, "captures"),
            stage="chunk",
            out_dir=CAPTURES,
            params=params,
        )
        index_takes(CAPTURES, of_kind(takes, "captures"), split, segments)
        of_ensembles = for_each_take(
            lambda _: TakeWork(run=chunk_ensemble, inputs=_inputs_of_ensemble, tools=tools),
            of_kind(takes, "ensembles"),
            stage="chunk",
            out_dir=ENSEMBLES,
            params=params,
        )
        refused = {outcome.name for outcome in of_ensembles.outcomes if outcome.state == "quarantined"}
        index_takes(
            ENSEMBLES, [take for take in of_kind(takes, "ensembles") if take.name not in refused], split, segments
        )
        n_quarantined = len(json.loads((INGESTED / "quarantine.json").read_text()))
        METRICS.parent.mkdir(parents=True, exist_ok=True)
        figures = data_metrics(SCORES, CAPTURES, ENSEMBLES, read_catalog(), n_quarantined)
        write_whole(METRICS, json.dumps(figures, indent=1) + "\n")
    return Summary(
        stage="chunk",
        outcomes=(*of_scores.outcomes, *of_captures.outcomes, *of_ensembles.outcomes),
        pruned=(*of_scores.pruned, *of_captures.pruned, *of_ensembles.pruned),
    )


def _inputs(take: Take) -> list[Path]:
    cameras = [device.path for device in read_capture(take.name).devices if device.role == "camera"]
    return [INGESTED / take.name, SYNCHRONIZED / take.name, EXTRACTED / take.name, *cameras]


def _inputs_of_ensemble(take: Take) -> list[Path]:
    return [INGESTED / take.name, EXTRACTED / take.name, *read_ensemble(take.name).sound_paths]


def main() -> int:
    """Run the stage as dvc.yaml calls it."""
    sections: Sections = {
        "params": ("chunk", ChunkParams),
        "segments": ("segments", SegmentParams),
        "split": ("split", SplitParams),
    }
    return run_stage(chunk, "chunk", sections)


if __name__ == "__main__":
    sys.exit(main())
