"""Verb ``synthesize``: whole test takes by every system of a family.

From silent video to sound, or from the mix of an ensemble to a sound a player.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tasks.families import load_family
from tasks.families.base import LEVELS, Family, Film, NoteAmplitudes, Performance, film_of_view
from tasks.families.separation import Separation
from tasks.instruments.notes import Notes
from tasks.intake.record import Device, read_capture
from tasks.media.encode import encode_film, replace_sound
from tasks.metrics.sound import level_dbfs
from tasks.registry import kind_module
from tasks.render import film_frames, read_notes
from tasks.step import whole_folder
from tasks.store.arrays import Arrays
from tasks.store.audio import write_flac
from tasks.store.segments import ScoreSet
from tasks.store.tables import write_table
from tasks.store.views import ViewSet

EVEN_LUMA = {"black": 0, "white": 255}
EVEN_S = 3.0

V = TypeVar("V")


def synthesize_family(
    name: str, *, data: Path, trained: Path, out: Path, accelerator: str, workers: int
) -> Iterator[Performance | Separation]:
    """Write ``SYSTEM/TAKE/`` with audio.flac, video.mp4 and, when the system says what it played, notes.parquet.

    A family that learns from captures is heard on every camera of the test takes: ``SYSTEM/TAKE/CAMERA/``, with
    amplitudes.parquet too when the system says how loud it sees each note. The video is the camera's own file. How loud
    it is on films that show nothing, all black and all white, is written to ``levels.json``.

    What is written of ensembles: `tasks.kinds.ensembles.synthesize`.

    So many ``workers`` write files while the family performs on.

    Yields:
        Each performance or separation once it is written.

    Raises:
        DamagedData: the data set or the weights are not whole.
        MediaError: ffmpeg did not write what it was asked for.
        ToolError: the disk is full.
    """
    family = load_family(name)
    if family.data == "ensembles":
        yield from kind_module(family.data, "synthesize").synthesize(
            family, data=data, trained=trained, out=out, accelerator=accelerator, workers=workers
        )
    elif family.data == "captures":
        yield from _synthesize_captures(
            family, data=data, trained=trained, out=out, accelerator=accelerator, workers=workers
        )
    else:
        yield from _synthesize_scores(
            family, data=data, trained=trained, out=out, accelerator=accelerator, workers=workers
        )


def _synthesize_scores(
    family: Family[Any], *, data: Path, trained: Path, out: Path, accelerator: str, workers: int
) -> Iterator[Performance]:
    scores = ScoreSet(data)
    takes = scores.takes("test")
    films = {take: film_of(scores.open(take)) for take in takes}
    truth: dict[str, Notes] = {take: read_notes(take)[0] for take in takes}
    with whole_folder(out) as half, ThreadPoolExecutor(workers) as pool:
        silent = {take: pool.submit(_silent_video, scores.open(take), half / f"{take}.mp4") for take in takes}

        def write(performance: Performance) -> None:
            folder = half / performance.system / performance.take
            folder.mkdir(parents=True)
            _write_performance(folder, performance)
            video = silent[performance.take].result()
            replace_sound(video, performance.audio, performance.sample_rate, folder / "video.mp4")

        yield from _written(family.perform(trained, films, accelerator=accelerator, truth=truth), write, workers)
        for video in silent.values():
            video.result().unlink()


def _synthesize_captures(
    family: Family[Any], *, data: Path, trained: Path, out: Path, accelerator: str, workers: int
) -> Iterator[Performance]:
    views = ViewSet(data)
    films = {view.name: view for view in views.views("test")}
    even = even_films(views)
    levels: dict[str, dict[str, float]] = {}
    with whole_folder(out) as half:

        def write(performance: Performance) -> None:
            if f"{performance.take}/{performance.camera}" in even:
                return
            camera = performance.camera or ""
            folder = half / performance.system / performance.take / camera
            folder.mkdir(parents=True)
            _write_performance(folder, performance)
            device = read_capture(performance.take).device(camera)
            time_s = views.time_s(films[f"{performance.take}/{camera}"])
            audio = on_cameras_clock(performance.audio, performance.sample_rate, device, time_s)
            replace_sound(device.path, audio, performance.sample_rate, folder / "video.mp4")

        performances = family.perform(
            trained,
            Lazy(films | even, lambda name: even[name] if name in even else film_of_view(views, films[name])),
            accelerator=accelerator,
            truth=Lazy(films | even, lambda name: None if name in even else true_amplitudes(views, name)),
        )
        for performance in _written(performances, write, workers):
            if f"{performance.take}/{performance.camera}" not in even:
                yield performance
                continue
            figure, level = f"{performance.take.removeprefix('.')}_level_dbfs", level_dbfs(performance.audio)
            found = levels.setdefault(performance.system, {})
            found[figure] = max(level, found.get(figure, level))
        (half / LEVELS).write_text(json.dumps(levels, indent=1, sort_keys=True) + "\n")


def _written(
    performances: Iterator[Performance], write: Callable[[Performance], None], workers: int
) -> Iterator[Performance]:
    """Yield performances in their order, each once it is written, while others are written and the next is made.

    Memory holds two for each worker.
    """
    waiting: deque[tuple[Performance, Future[None]]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for performance in performances:
            waiting.append((performance, pool.submit(write, performance)))
            while len(waiting) >= 2 * workers:
                performance, written = waiting.popleft()
                written.result()
                yield performance
        for performance, written in waiting:
            written.result()
            yield performance
    finally:
        pool.shutdown(cancel_futures=True)  # who is stopped does not write what is left


def even_films(views: ViewSet) -> dict[str, Film]:
    """Return a black and a white film of each test instrument, by ``.black/INSTRUMENT``, which no take is called."""
    made = {}
    for view in views.views("test"):
        arrays = views.open(view.take)
        across, down = arrays.attributes["camera_margins"]
        instrument, frame_rate = str(arrays.attributes["instrument"]), Fraction(arrays.attributes["frame_rate"])
        time_s = np.arange(round(EVEN_S * frame_rate)) / float(frame_rate)
        for name, luma in EVEN_LUMA.items():
            made[f".{name}/{instrument}"] = Film(
                pictures=np.full((len(time_s), *views.pictures(view).shape[1:]), luma, np.uint8),
                time_s=time_s,
                duration_s=EVEN_S,
                camera=view.camera,
                instrument=instrument,
                margins=(float(across), float(down)),
            )
    return made


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
