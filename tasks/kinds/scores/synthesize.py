"""Verb ``synthesize`` for scores: the sound of drawn keyboards."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

from tasks.families.base import Film, Performance, VideoFamily
from tasks.instruments.keyboard import film_frames
from tasks.intake.notes import read_notes
from tasks.media.encode import encode_film, replace_sound
from tasks.step import whole_folder
from tasks.store.arrays import Arrays
from tasks.store.rendered import RENDERED
from tasks.store.segments import ScoreSet
from tasks.synthesize import write_performance, written


def synthesize(
    family: VideoFamily[Any, Any], *, data: Path, trained: Path, out: Path, accelerator: str, workers: int
) -> Iterator[Performance]:
    """Write ``SYSTEM/TAKE/`` of every test take; the arguments are those of `synthesize_family`.

    The video is the film as the simulator draws it, with the system's sound.

    Yields:
        Each performance once it is written.

    Raises:
        DamagedData: the data set or the weights are not whole.
        MediaError: ffmpeg did not write what was requested.
        ToolError: the disk is full.
    """
    scores = ScoreSet(data)
    takes = scores.takes("test")
    films = {take: film_of(scores.open(take)) for take in takes}
    truth = {take: read_notes(take, RENDERED) for take in takes}
    with whole_folder(out) as half, ThreadPoolExecutor(workers) as pool:
        silent = {take: pool.submit(_silent_video, scores.open(take), half / f"{take}.mp4") for take in takes}

        def write(performance: Performance) -> None:
            folder = half / performance.system / performance.take
            folder.mkdir(parents=True)
            write_performance(folder, performance)
            video = silent[performance.take].result()
            replace_sound(video, performance.audio, performance.sample_rate, folder / "video.mp4")

        yield from written(family.perform(trained, films, accelerator=accelerator, truth=truth), write, workers)
        for video in silent.values():
            video.result().unlink()


def film_of(arrays: Arrays) -> Film:
    """Return the silent film of a chunked take."""
    return Film(
        pictures=arrays["pictures"][:],
        time_s=arrays["picture_time_s"][:],
        duration_s=float(arrays.attributes["duration_s"]),
    )


def _silent_video(arrays: Arrays, path: Path) -> Path:
    frame_rate = Fraction(arrays.attributes["frame_rate"])
    frames = film_frames(
        arrays["picture_time_s"][:],
        arrays["velocities"][:],
        arrays["pedal"][:],
        lit=arrays.attributes["lit"],
        frame_rate=frame_rate,
        duration_s=float(arrays.attributes["duration_s"]),
    )
    encode_film(path, frames, frame_rate=frame_rate)
    return path
