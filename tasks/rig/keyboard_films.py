"""Films of keyboards as people make them, with the exact truth about each: tutorials, overhead films, and no keyboards.

``film_of`` draws a film of a kind by a seed: the same for the same arguments.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tasks.instruments.notes import Notes
from tasks.rig.films_without_notes import SILENT, silent_film
from tasks.rig.made_films import FilmTruth, Order
from tasks.rig.overhead_films import OVERHEADS, overhead_film
from tasks.rig.tutorial_films import TUTORIALS, tutorial_film

KINDS: dict[str, Callable[[Order], FilmTruth]] = {
    **dict.fromkeys(TUTORIALS, tutorial_film),
    **dict.fromkeys(OVERHEADS, overhead_film),
    **dict.fromkeys(SILENT, silent_film),
}


def film_of(kind: str, seed: int, folder: Path, *, score: Notes | None = None, duration_s: float = 12.0) -> FilmTruth:
    """Draw a film of a kind into ``folder``.

    Args:
        kind: one of ``KINDS``.
        seed: of everything that is drawn.
        folder: that exists; the film is ``KIND-SEED.mp4``.
        score: music that an excerpt is played of; None is random music.
        duration_s: of the film.

    Raises:
        ValueError: there is no such kind.
        ToolError: ffmpeg cannot write the film.
    """
    if kind not in KINDS:
        raise ValueError(f"no film of kind {kind!r}, expected one of {', '.join(KINDS)}")
    rng = np.random.default_rng([seed, *kind.encode()])
    path = folder / f"{kind}-{seed}.mp4"
    return KINDS[kind](Order(kind=kind, seed=seed, path=path, score=score, duration_s=duration_s, rng=rng))
