"""Stage ``chunk``: everything before it -> data/chunked, data/truth.json, and the figures of the data version."""

import json
import sys
from pathlib import Path

from prefect import flow

from flows.run import STATE, Sections, Summary, for_each_take, kind_work, one_at_a_time, run_stage
from tasks.chunk import ChunkParams, SegmentParams, data_metrics, index_takes, truth_digest
from tasks.registry import KINDS
from tasks.step import Verified, write_whole
from tasks.takes import SplitParams, read_catalog, takes_of

CHUNKED, INGESTED = Path("data/chunked"), Path("data/ingested")
TRUTH, METRICS = Path("data/truth.json"), Path("data/metrics/data.json")


@flow(name="chunk", flow_run_name="chunk")
def chunk(params: ChunkParams, segments: SegmentParams, split: SplitParams) -> Summary:
    """Store every take's arrays once, then index the segments over them."""
    summaries: list[Summary] = []
    truth: dict[str, str] = {}
    with one_at_a_time("chunk"):
        takes = takes_of(Path("data/rendered"), Path("data/synchronized"), Path("data/extracted"))
        verified = Verified(STATE / "verified" / "truth.json")
        for kind in KINDS:
            own = [take for take in takes if take.data_set == kind]
            done = for_each_take(kind_work("chunk"), own, stage="chunk", out_dir=CHUNKED / kind, params=params)
            whole = set(done.names())
            kept = [take for take in own if take.name in whole]
            parts = index_takes(CHUNKED / kind, kept, split, segments)
            truth[kind] = truth_digest([take for take in kept if parts[take.name] == "test"], verified)
            summaries.append(done)
        verified.save()
        write_whole(TRUTH, json.dumps(truth, indent=1, sort_keys=True) + "\n")
        n_quarantined = len(json.loads((INGESTED / "quarantine.json").read_text()))
        METRICS.parent.mkdir(parents=True, exist_ok=True)
        write_whole(METRICS, json.dumps(data_metrics(CHUNKED, read_catalog(), n_quarantined), indent=1) + "\n")
    return Summary(
        stage="chunk",
        outcomes=tuple(outcome for done in summaries for outcome in done.outcomes),
        pruned=tuple(name for done in summaries for name in done.pruned),
    )


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
