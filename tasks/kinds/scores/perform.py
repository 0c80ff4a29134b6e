"""Verb ``perform`` for families of scores: a video of the simulated keyboard, read as its changes."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np

from tasks.families.base import Film
from tasks.instruments.keyboard import HEIGHT, WIDTH
from tasks.media.pictures import DecodedFilm, read_film
from tasks.media.probe import MediaFacts
from tasks.perform import PerformParams, ReadFilm, Region


def read_video(
    video: Path,
    facts: MediaFacts,
    stem: Path,  # noqa: ARG001 - a drawn keyboard has one size
    *,
    params: PerformParams,
    region: Region | None,  # noqa: ARG001 - the keyboard fills the picture
    progress: Callable[[str], None],
) -> ReadFilm:
    """Read a video of the keyboard from above, as the simulator draws it; arguments as `tasks.perform` has them."""
    progress("reading the video")
    film, n_decoded = keyboard_film(video, facts, params)
    return ReadFilm(film=film, name=video.name, n_decoded=n_decoded)


def keyboard_film(video: Path, facts: MediaFacts, params: PerformParams) -> tuple[Film, int]:
    """Read a video of the simulated keyboard as its changes; return it and how many pictures were decoded."""
    size = None if facts.video is None else (facts.video.width, facts.video.height)
    decoded = read_film(
        video,
        width=WIDTH,
        height=HEIGHT,
        crop=None if size is None else keyboard_crop(*size),
        min_change=params.min_change,
        policy=params.media,
    )
    return film_of_video(decoded), decoded.n_decoded


def keyboard_crop(width: int, height: int) -> tuple[int, int] | None:
    """Return the part of a picture that is keyboard, when it has a row too many: H.264 needs an even height."""
    keyboard_height = round(Fraction(width * HEIGHT, WIDTH))
    return (width, keyboard_height) if keyboard_height + 1 == height else None


def film_of_video(decoded: DecodedFilm) -> Film:
    """Return a decoded video as a film of changes.

    A change that a picture shows first happened at some time since the picture before: the middle of the two is the
    nearest guess, so each picture but the first is put half a frame earlier than it was shown.
    """
    half_frame_s = float(1 / (2 * decoded.frame_rate))
    time_s = decoded.time_s - half_frame_s
    time_s[0] = 0.0
    keep = np.append(True, time_s[1:] > 0)  # a video may show its second picture within half of its average frame
    return Film(pictures=decoded.pictures[keep], time_s=time_s[keep], duration_s=decoded.duration_s)
