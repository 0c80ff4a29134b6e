"""Verb ``synthesize`` for scores: the sound of drawn keyboards."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from tasks.families.base import Film, Performance, VideoFamily
from tasks.instruments.keyboard import film_frames
from tasks.intake.notes import read_notes
from tasks.media.encode import encode_film, replace_sound
from tasks.step import whole_folder
from tasks.store.arrays import Arrays
from tasks.store.rendered import RENDERED
from tasks.store.segments import ScoreSet
from tasks.synthesize import SynthesizeParams, write_performance, written


def synthesize(
    family: VideoFamily[Any, Any],
    *,
    data: Path,
    trained: Path,
    out: Path,
    params: SynthesizeParams,
    accelerator: str,
    workers: int,
) -> Iterator[Performance]:
    """Write ``SYSTEM/TAKE/`` of every test take; the arguments are those of `synthesize_family`.

    The video is the film as the simulator draws it, with the system's sound. With ``score_excerpt_s`` film, sound and
    the notes that bounds are handed end there.

    Yields:
        Each performance once it is written.

    Raises:
        DamagedData: the data set or the weights are not whole.
        MediaError: ffmpeg did not write what was requested.
        ToolError: the disk is full.
    """
    scores = ScoreSet(data)
    takes = scores.takes("test")
    longest_s = params.score_excerpt_s
    films = {take: film_of(scores.open(take), longest_s) for take in takes}
    truth = {take: read_notes(take, RENDERED) for take in takes}
    if longest_s is not None:
        truth = {take: notes.until(longest_s) for take, notes in truth.items()}
    with whole_folder(out) as half, ThreadPoolExecutor(workers) as pool:
        silent = {
            take: pool.submit(_silent_video, scores.open(take), film, half / f"{take}.mp4")
            for take, film in films.items()
        }

        def write(performance: Performance) -> None:
            folder = half / performance.system / performance.take
            folder.mkdir(parents=True)
            write_performance(folder, performance)
            video = silent[performance.take].result()
            replace_sound(video, performance.audio, performance.sample_rate, folder / "video.mp4")

        yield from written(family.perform(trained, films, accelerator=accelerator, truth=truth), write, workers)
        for video in silent.values():
            video.result().unlink()


def film_of(arrays: Arrays, longest_s: float | None) -> Film:
    """Return the silent film of a chunked take; where it is longer than ``longest_s``, its first so many seconds."""
    time_s, duration_s = arrays["picture_time_s"][:], float(arrays.attributes["duration_s"])
    if longest_s is not None and longest_s < duration_s:
        time_s, duration_s = time_s[: np.searchsorted(time_s, longest_s)], longest_s
    return Film(pictures=arrays["pictures"][: len(time_s)], time_s=time_s, duration_s=duration_s)


def _silent_video(arrays: Arrays, film: Film, path: Path) -> Path:
    frame_rate, n_pictures = Fraction(arrays.attributes["frame_rate"]), len(film.time_s)
    frames = film_frames(
        film.time_s,
        arrays["velocities"][:n_pictures],
        arrays["pedal"][:n_pictures],
        lit=arrays.attributes["lit"],
        frame_rate=frame_rate,
        duration_s=film.duration_s,
    )
    encode_film(path, frames, frame_rate=frame_rate)
    return path
