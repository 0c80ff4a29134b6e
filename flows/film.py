"""Stage ``film``: data/sample -> data/filmed, virtual captures whose truth is known."""

import sys
from pathlib import Path

from prefect import flow

from flows.run import Summary, TakeWork, for_each_take, one_at_a_time, run_stage
from tasks.film import FilmParams, ensembles_to_film, film_take, takes_to_film
from tasks.tools import check_tools


@flow(name="film", flow_run_name="film")
def film(params: FilmParams) -> Summary:
    """Record scores with cameras and microphones that do not exist."""
    work = TakeWork(
        run=film_take,
        inputs=lambda take: [Path(take.midi)],
        tools=check_tools(["ffmpeg", "fluidsynth", "soundfont"]),
    )
    with one_at_a_time("film"):
        return for_each_take(
            lambda _: work,
            [*takes_to_film(params), *ensembles_to_film(params)],
            stage="film",
            out_dir=Path("data/filmed"),
            params=params.recording,
        )


def main() -> int:
    """Run the stage as dvc.yaml calls it."""
    return run_stage(film, "film", {"params": ("film", FilmParams)})


if __name__ == "__main__":
    sys.exit(main())
