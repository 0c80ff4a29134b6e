"""Stage ``ingest``: data/sample, data/filmed and data/raw -> data/ingested."""

import sys
from pathlib import Path

from prefect import flow

from flows.run import STATE, Settings, Summary, for_each_take, kind_work, one_at_a_time, run_stage
from tasks.errors import DamagedData, PipelineError
from tasks.ingest import (
    RAW,
    IngestParams,
    check_filmed,
    find_sources,
    hash_files,
    listing,
    refuse_copies,
    refuse_other_parts,
    write_catalog,
)
from tasks.intake.copies import Contents
from tasks.step import Verified

INGESTED = Path("data/ingested")


@flow(name="ingest", flow_run_name="ingest")
def ingest(params: IngestParams) -> Summary:
    """Read every raw take once, and write the catalog of those that can be used."""
    with one_at_a_time("ingest"):
        if RAW.with_suffix(".dvc").exists() and not RAW.is_dir():
            raise DamagedData(f"{RAW} is missing, but {RAW}.dvc lists takes: run dvc pull")
        before = listing()
        found, refused = find_sources(size=params.size)
        hashed = Verified(STATE / "verified" / "raw.json")
        streams = Contents(STATE / "verified" / "streams.json", params.media)
        hash_files(found, hashed, streams, workers=Settings().workers)
        check_filmed(found, hashed)
        originals, copies = refuse_copies(found, hashed.sha256, streams)
        sources, other_parts = refuse_other_parts(originals)
        hashed.save()
        streams.save()
        summary = for_each_take(
            kind_work("ingest"),
            sources,
            stage="ingest",
            out_dir=INGESTED,
            params=params.of_a_take(),
            refused=[*refused, *copies, *other_parts],
        )
        write_catalog(INGESTED, summary.names())
        if listing() != before:
            raise PipelineError(f"{RAW} changed while it was read: run again")
    bad = summary.counts()["quarantined"]
    if bad > params.max_bad_fraction * len(summary.outcomes):
        raise PipelineError(
            f"{bad} of {len(summary.outcomes)} takes cannot be used, "
            f"expected at most ingest.max_bad_fraction = {params.max_bad_fraction}: see {INGESTED / 'quarantine.json'}"
        )
    return summary


def main() -> int:
    """Run the stage as dvc.yaml calls it."""
    return run_stage(ingest, "ingest", {"params": ("ingest", IngestParams)})


if __name__ == "__main__":
    sys.exit(main())
