"""Verb ``synthesize`` for captures: the sound of what cameras filmed."""

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.families.base import LEVELS, CaptureTruth, Film, NoteAmplitudes, Performance, VideoFamily, film_of_view
from tasks.intake.record import Device, read_capture
from tasks.kinds.captures.played import played_notes
from tasks.media.encode import replace_sound
from tasks.metrics.sound import level_dbfs
from tasks.step import whole_folder
from tasks.store.views import ViewSet
from tasks.synthesize import Lazy, SynthesizeParams, write_performance, written

EVEN_LUMA = {"black": 0, "white": 255}
EVEN_S = 3.0


def synthesize(
    family: VideoFamily[Any, Any],
    *,
    data: Path,
    trained: Path,
    out: Path,
    params: SynthesizeParams,  # noqa: ARG001 - of scores
    accelerator: str,
    workers: int,
) -> Iterator[Performance]:
    """Write ``SYSTEM/TAKE/CAMERA/`` of every camera of the test takes; the arguments are those of `synthesize_family`.

    The video is the camera's own file with the system's sound. ``levels.json`` holds the level of each system's sound
    for films that show nothing, all black and all white.

    Yields:
        Each performance once it is written.

    Raises:
        DamagedData: the data set or the weights are not whole.
        MediaError: ffmpeg did not write what was requested.
        ToolError: the disk is full.
    """
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
            write_performance(folder, performance)
            device = read_capture(performance.take).device(camera)
            time_s = views.time_s(films[f"{performance.take}/{camera}"])
            audio = on_cameras_clock(performance.audio, performance.sample_rate, device, time_s)
            replace_sound(device.path, audio, performance.sample_rate, folder / "video.mp4")

        performances = family.perform(
            trained,
            Lazy(films | even, lambda name: even[name] if name in even else film_of_view(views, films[name])),
            accelerator=accelerator,
            truth=Lazy(films | even, lambda name: None if name in even else truth_of(views, name)),
        )
        for performance in written(performances, write, workers):
            if f"{performance.take}/{performance.camera}" not in even:
                yield performance
                continue
            figure, level = f"{performance.take.removeprefix('.')}_level_dbfs", level_dbfs(performance.audio)
            found = levels.setdefault(performance.system, {})
            found[figure] = max(level, found.get(figure, level))
        (half / LEVELS).write_text(json.dumps(levels, indent=1, sort_keys=True) + "\n")


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


def truth_of(views: ViewSet, name: str) -> CaptureTruth | None:
    """Return what is known of the take of a view; None where its instrument has no notes."""
    take, _, camera = name.partition("/")
    arrays = views.open(take)
    if "amplitudes" not in arrays:
        return None
    amplitudes = NoteAmplitudes(
        values=views.amplitudes(take),
        pitches=tuple(arrays.attributes["pitches"]),
        frame_rate=Fraction(arrays.attributes["frame_rate"]),
    )
    return CaptureTruth(amplitudes=amplitudes, notes=played_notes(views.view(take, camera), views))


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
