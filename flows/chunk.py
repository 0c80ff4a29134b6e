"""Stage ``chunk``: data/rendered and data/extracted -> data/chunked/scores, and the figures of the data version."""

import json
import sys
from pathlib import Path

from prefect import flow

from flows.run import Sections, Summary, for_each_take, one_at_a_time, run_stage
from tasks.chunk import ChunkParams, SegmentParams, chunk_take, data_metrics, index_takes
from tasks.step import write_whole
from tasks.takes import SplitParams, takes_of

SCORES = Path("data/chunked/scores")
METRICS = Path("data/metrics/data.json")


@flow(name="chunk", flow_run_name="chunk")
def chunk(params: ChunkParams, segments: SegmentParams, split: SplitParams) -> Summary:
    """Store every take's arrays once, then index the segments over them."""
    ingested, rendered, extracted = Path("data/ingested"), Path("data/rendered"), Path("data/extracted")
    with one_at_a_time("chunk"):
        takes = takes_of(rendered, extracted)
        summary = for_each_take(
            chunk_take,
            takes,
            stage="chunk",
            out_dir=SCORES,
            params=params,
            inputs=lambda take: [rendered / take.name, extracted / take.name],
        )
        index_takes(SCORES, takes, split, segments)
        n_quarantined = len(json.loads((ingested / "quarantine.json").read_text()))
        METRICS.parent.mkdir(parents=True, exist_ok=True)
        write_whole(METRICS, json.dumps(data_metrics(SCORES, takes, n_quarantined), indent=1) + "\n")
    return summary


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
