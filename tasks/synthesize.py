"""Verb ``synthesize``: whole test takes from silent video to sound, by every system of a family."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from tasks.families import load_family
from tasks.families.base import Film, Performance
from tasks.instruments.notes import Notes
from tasks.media.encode import encode_film, replace_sound
from tasks.render import film_frames, read_notes
from tasks.step import whole_folder
from tasks.store.arrays import Arrays
from tasks.store.audio import write_flac
from tasks.store.segments import ScoreSet
from tasks.store.tables import write_table


def synthesize_family(name: str, *, data: Path, trained: Path, out: Path, accelerator: str) -> Iterator[Performance]:
    """Write ``SYSTEM/TAKE/`` with audio.flac, video.mp4 and, when the system says what it played, notes.parquet.

    Yields:
        Each performance once it is written.

    Raises:
        DamagedData: the data set or the weights are not whole.
        MediaError: ffmpeg did not write what it was asked for.
        ToolError: the disk is full.
    """
    scores = ScoreSet(data)
    takes = scores.takes("test")
    films = {take: film_of(scores.open(take)) for take in takes}
    truth: dict[str, Notes] = {take: read_notes(take)[0] for take in takes}
    with whole_folder(out) as half:
        silent = {take: _silent_video(scores.open(take), half / f"{take}.mp4") for take in takes}
        for performance in load_family(name).perform(trained, films, accelerator=accelerator, truth=truth):
            folder = half / performance.system / performance.take
            folder.mkdir(parents=True)
            write_flac(folder / "audio.flac", performance.audio, performance.sample_rate)
            if performance.notes is not None:
                write_table(folder / "notes.parquet", performance.notes.columns())
            replace_sound(silent[performance.take], performance.audio, performance.sample_rate, folder / "video.mp4")
            yield performance
        for path in silent.values():
            path.unlink()


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
        lit=arrays.attributes["lit"],
        frame_rate=frame_rate,
        duration_s=float(arrays.attributes["duration_s"]),
    )
    encode_film(path, frames, frame_rate=frame_rate)
    return path
