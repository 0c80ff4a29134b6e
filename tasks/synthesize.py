"""Verb ``synthesize``: whole test takes from silent video to sound, by every system of a family."""

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tasks.captures.record import Device, read_capture
from tasks.families import load_family
from tasks.families.base import Family, Film, NoteAmplitudes, Performance, film_of_view
from tasks.instruments.notes import Notes
from tasks.media.encode import encode_film, replace_sound
from tasks.render import film_frames, read_notes
from tasks.step import whole_folder
from tasks.store.arrays import Arrays
from tasks.store.audio import write_flac
from tasks.store.segments import ScoreSet
from tasks.store.tables import write_table
from tasks.store.views import ViewSet

V = TypeVar("V")


def synthesize_family(name: str, *, data: Path, trained: Path, out: Path, accelerator: str) -> Iterator[Performance]:
    """Write ``SYSTEM/TAKE/`` with audio.flac, video.mp4 and, when the system says what it played, notes.parquet.

    A family that learns from captures is heard on every camera of the test takes: ``SYSTEM/TAKE/CAMERA/``, with
    amplitudes.parquet too when the system says how loud it sees each note. The video is the camera's own file.

    Yields:
        Each performance once it is written.

    Raises:
        DamagedData: the data set or the weights are not whole.
        MediaError: ffmpeg did not write what it was asked for.
        ToolError: the disk is full.
    """
    family = load_family(name)
    if family.data == "captures":
        yield from _synthesize_captures(family, data=data, trained=trained, out=out, accelerator=accelerator)
    else:
        yield from _synthesize_scores(family, data=data, trained=trained, out=out, accelerator=accelerator)


def _synthesize_scores(
    family: Family[Any], *, data: Path, trained: Path, out: Path, accelerator: str
) -> Iterator[Performance]:
    scores = ScoreSet(data)
    takes = scores.takes("test")
    films = {take: film_of(scores.open(take)) for take in takes}
    truth: dict[str, Notes] = {take: read_notes(take)[0] for take in takes}
    with whole_folder(out) as half:
        silent = {take: _silent_video(scores.open(take), half / f"{take}.mp4") for take in takes}
        for performance in family.perform(trained, films, accelerator=accelerator, truth=truth):
            folder = half / performance.system / performance.take
            folder.mkdir(parents=True)
            _write_performance(folder, performance)
            replace_sound(silent[performance.take], performance.audio, performance.sample_rate, folder / "video.mp4")
            yield performance
        for path in silent.values():
            path.unlink()


def _synthesize_captures(
    family: Family[Any], *, data: Path, trained: Path, out: Path, accelerator: str
) -> Iterator[Performance]:
    views = ViewSet(data)
    films = {view.name: view for view in views.views("test")}
    with whole_folder(out) as half:
        for performance in family.perform(
            trained,
            Lazy(films, lambda name: film_of_view(views, films[name])),
            accelerator=accelerator,
            truth=Lazy(films, lambda name: true_amplitudes(views, name)),
        ):
            camera = performance.camera or ""
            folder = half / performance.system / performance.take / camera
            folder.mkdir(parents=True)
            _write_performance(folder, performance)
            device = read_capture(performance.take).device(camera)
            time_s = views.time_s(films[f"{performance.take}/{camera}"])
            audio = on_cameras_clock(performance.audio, performance.sample_rate, device, time_s)
            replace_sound(device.path, audio, performance.sample_rate, folder / "video.mp4")
            yield performance


def film_of(arrays: Arrays) -> Film:
    """Return the silent film of a chunked take."""
    return Film(
        pictures=arrays["pictures"][:],
        time_s=arrays["picture_time_s"][:],
        duration_s=float(arrays.attributes["duration_s"]),
    )


def true_amplitudes(views: ViewSet, name: str) -> NoteAmplitudes | None:
    """Return the amplitudes that were measured of the view's take; None where its instrument has no notes."""
    take = name.partition("/")[0]
    arrays = views.open(take)
    if "amplitudes" not in arrays:
        return None
    return NoteAmplitudes(
        values=views.amplitudes(take),
        pitches=tuple(arrays.attributes["pitches"]),
        frame_rate=Fraction(arrays.attributes["frame_rate"]),
    )


def on_cameras_clock(
    audio: NDArray[np.float32], sample_rate: int, device: Device, time_s: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return sound that is on the master's clock as it goes with the camera's own file.

    Args:
        audio: (n,) from 0.0 on the master's clock.
        sample_rate: of both, in Hz.
        device: the camera.
        time_s: its pictures' times on the master's clock.

    Returns:
        As many samples as the file's pictures last, silent where the master had not begun or was over.
    """
    first_s, last_s = float(device.facts["video"]["first_s"]), float(device.facts["video"]["last_s"])
    rate = (time_s[-1] - time_s[0]) / (last_s - first_s) if last_s > first_s else 1.0
    frame_s = (last_s - first_s) / max(len(time_s) - 1, 1)
    own_s = np.arange(max(round((last_s + frame_s) * sample_rate), 1)) / sample_rate
    place = (time_s[0] + (own_s - first_s) * rate) * sample_rate
    # Clocks differ by some ten parts in a million: between two samples a straight line will do.
    return np.asarray(np.interp(place, np.arange(len(audio)), audio, left=0.0, right=0.0), np.float32)


class Lazy(Mapping[str, V]):
    """A mapping whose values are made when they are asked for: the films of all views do not fit in memory."""

    def __init__(self, names: Mapping[str, Any], make: Callable[[str], V]) -> None:
        self._names, self._make = names, make

    def __getitem__(self, name: str) -> V:
        if name not in self._names:
            raise KeyError(name)
        return self._make(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _write_performance(folder: Path, performance: Performance) -> None:
    write_flac(folder / "audio.flac", performance.audio, performance.sample_rate)
    if performance.notes is not None:
        write_table(folder / "notes.parquet", performance.notes.columns())
    if performance.amplitudes is not None:
        seen = performance.amplitudes
        write_table(
            folder / "amplitudes.parquet",
            {str(pitch): np.ascontiguousarray(seen.values[:, row]) for row, pitch in enumerate(seen.pitches)},
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
