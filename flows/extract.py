"""Stage ``extract``: data/rendered -> data/extracted."""

import sys
from pathlib import Path

from prefect import flow

from flows.run import Summary, for_each_take, one_at_a_time, run_stage
from tasks.extract import ExtractParams, extract_take
from tasks.takes import takes_of


@flow(name="extract", flow_run_name="extract")
def extract(params: ExtractParams) -> Summary:
    """Compute what models are asked to predict from every take's sound."""
    rendered = Path("data/rendered")
    with one_at_a_time("extract"):
        return for_each_take(
            extract_take,
            takes_of(rendered),
            stage="extract",
            out_dir=Path("data/extracted"),
            params=params,
            inputs=lambda take: [rendered / take.name],
        )


def main() -> int:
    """Run the stage as dvc.yaml calls it."""
    return run_stage(extract, "extract", {"params": ("extract", ExtractParams)})


if __name__ == "__main__":
    sys.exit(main())
