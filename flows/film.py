"""Stage ``film``: data/sample -> data/filmed, virtual takes whose truth is known."""

import sys
from pathlib import Path

from prefect import flow

from flows.run import Summary, for_each_take, kind_work, one_at_a_time, run_stage
from tasks.film import FilmParams
from tasks.registry import kind_module, kinds_of


@flow(name="film", flow_run_name="film")
def film(params: FilmParams) -> Summary:
    """Record scores with cameras and microphones that do not exist."""
    with one_at_a_time("film"):
        return for_each_take(
            kind_work("film"),
            [take for kind in kinds_of("film") for take in kind_module(kind, "film").takes_to_film(params)],
            stage="film",
            out_dir=Path("data/filmed"),
            params=params.recording,
        )


def main() -> int:
    """Run the stage as dvc.yaml calls it."""
    return run_stage(film, "film", {"params": ("film", FilmParams)})


if __name__ == "__main__":
    sys.exit(main())
