"""Chunk one capture: each camera's pictures at their times on the master's clock, its sound, targets and notes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.chunk import ChunkParams, DataFigures, hours
from tasks.clock.fit import ClockFit
from tasks.clock.record import SYNCHRONIZED, read_clocks
from tasks.extract import EXTRACTED
from tasks.intake.notes import note_rows, read_notes
from tasks.intake.pictures import iter_views
from tasks.intake.record import INGESTED, Capture, Device, read_capture
from tasks.keyboards.stored import arrays_of, film_evidence, on_clock, place_of_facts
from tasks.media.probe import NO_LIMITS
from tasks.media.sound import FULL_SCALE, iter_sound
from tasks.store.arrays import Arrays, Parts, open_arrays, write_arrays
from tasks.store.segments import ScoreSet
from tasks.store.views import keyboard_array
from tasks.takes import Take

TOOLS = ("ffmpeg",)

FILMED = Path("data/filmed")
MAX_SAMPLES = 1 << 20  # of sound, held at a time
CHUNKS_DECODED = 4  # at a time


def inputs(take: Take) -> Sequence[Path]:
    """Return what the work reads: what ingest, synchronize and extract wrote, and the files of its devices."""
    master, _ = read_clocks(take.name)
    sound = read_capture(take.name).device(master).path
    files = sorted({sound, *_camera_paths(take)})
    return [INGESTED / take.name, SYNCHRONIZED / take.name, EXTRACTED / take.name, *files]


def truth(take: Take) -> Sequence[Path]:
    """Return what a performance of the capture is sounded with, and held against.

    That is what ingest wrote and the cameras' files; of a filmed take all of its folder, which holds its true notes.
    """
    filmed = FILMED / take.name
    if filmed.is_dir():
        return [INGESTED / take.name, filmed]
    return [INGESTED / take.name, *_camera_paths(take)]


def chunk_take(take: Take, out: Path, params: ChunkParams) -> None:
    """Write ``arrays.zarr`` of one capture: each camera's pictures and their times, codes, amplitudes, sound, notes.

    A camera that is not on the master's clock is left out. ``pictures_CAMERA`` are luma, (P, camera_height,
    camera_width), every picture that the camera took; ``time_s_CAMERA`` are seconds on the master's clock,
    before 0 where the camera began first. ``sound`` is the master's, mono, 16 bits, at ``sound_rate``; ``notes``
    (N, 4) are onset and offset on the master's clock in s, pitch and velocity, where MIDI was recorded with the take
    and each of its notes has a place on that clock. Of a piano's camera in which ingest found the keyboard there are
    also ``keyboard.CAMERA.ARRAY``, what its pictures show of the keys on that clock: the arrays of
    `tasks.keyboards.evidence.Evidence`. The keys are sampled where the film itself shows them, at its own size, since
    the small pictures have too few pixels a key.

    Raises:
        MediaError: a film or the sound cannot be read.
        DamagedData: what the stages before wrote is missing or damaged.
    """
    capture = read_capture(take.name)
    master, clocks = read_clocks(take.name)
    features = open_arrays(EXTRACTED / take.name / "arrays.zarr")
    names = [name for name in ("codes", "amplitudes") if name in features]
    arrays: dict[str, NDArray[Any] | Parts] = {name: features[name][:] for name in names}
    chunk_lengths = {name: features[name].chunk_length for name in names}
    duration_s = len(features["codes"]) / float(features.attributes["code_rate"])
    n_samples = round(duration_s * params.sound_rate)
    arrays["sound"] = Parts(
        (n_samples,), np.dtype(np.int16), _sound(capture.device(master), params.sound_rate, n_samples)
    )
    chunk_lengths["sound"] = params.sound_rate
    notes = _recorded_notes(capture)
    if notes is not None:
        arrays["notes"] = notes
        chunk_lengths["notes"] = 4096
    cameras = []
    shape = params.camera_height, params.camera_width
    for device in capture.devices:
        if device.role != "camera" or device.name not in clocks or not device.n_pictures:
            continue
        film = _Film(device, capture.instrument, params)
        pictures, times = f"pictures_{device.name}", f"time_s_{device.name}"
        arrays[pictures] = Parts((device.n_pictures, *shape), np.dtype(np.uint8), film.parts())
        # Written behind the pictures, in order of name: by then the times are known.
        arrays[times] = Parts((device.n_pictures,), np.dtype(np.float64), film.times(clocks[device.name]))
        chunk_lengths |= {pictures: params.pictures_per_chunk, times: 64 * params.pictures_per_chunk}
        keyboard = _keyboard(device, clocks[device.name])
        arrays |= keyboard
        chunk_lengths |= dict.fromkeys(keyboard, 64 * params.pictures_per_chunk)
        cameras.append(device.name)
    write_arrays(
        out / "arrays.zarr",
        arrays,
        chunk_lengths=chunk_lengths,
        attributes={
            **features.attributes,
            "camera_margins": list(params.camera_margins),
            "cameras": cameras,
            "duration_s": duration_s,
            "instrument": capture.instrument,
            "master": master,
            "rectified": [name for name in cameras if capture.device(name).corners is not None],
            "sound_rate": params.sound_rate,
        },
    )


def segment_clock(arrays: Arrays) -> tuple[int, int]:
    """Return rate in Hz and number of the samples that segments are counted in: the codes."""
    return int(arrays.attributes["code_rate"]), len(arrays["codes"])


def data_figures(data: ScoreSet, takes: Sequence[Take]) -> DataFigures:
    """Return number and hours of the captures."""
    return DataFigures(counts={"n_captures": len(takes)}, hours={"capture_hours": hours(data)})


def _camera_paths(take: Take) -> list[Path]:
    return [device.path for device in read_capture(take.name).devices if device.role == "camera"]


class _Film:
    """A camera's pictures as they are decoded, and then their times."""

    def __init__(self, device: Device, instrument: str, params: ChunkParams) -> None:
        self._device = device
        self._instrument = instrument
        self._params = params
        self._times: list[NDArray[np.float64]] = []

    def parts(self) -> Iterator[NDArray[np.uint8]]:
        n_at_a_time = self._params.pictures_per_chunk * CHUNKS_DECODED
        waiting: list[NDArray[np.uint8]] = []
        for pictures, time_s in iter_views(
            self._device,
            width=self._params.camera_width,
            height=self._params.camera_height,
            instrument=self._instrument,
            margins=self._params.camera_margins,
        ):
            self._times.append(time_s)
            waiting.append(pictures)
            together = np.concatenate(waiting)
            whole = len(together) // n_at_a_time * n_at_a_time
            if whole:
                yield together[:whole]
            waiting = [together[whole:]]
        if sum(map(len, waiting)):
            yield np.concatenate(waiting)

    def times(self, clock: ClockFit) -> Iterator[NDArray[np.float64]]:
        yield clock.to_reference(np.concatenate(self._times))


def _keyboard(device: Device, clock: ClockFit) -> dict[str, NDArray[Any]]:
    """Return what a camera's film shows of the keyboard that ingest found in it, by array; nothing where it found none.

    Args:
        device: the camera.
        clock: from the film's time to the master's.
    """
    found = device.facts.get("keyboard", {"found": False})
    if not found["found"]:
        return {}
    place = place_of_facts(found["place"], source=f"{INGESTED}, {device.path.name}")
    evidence = film_evidence(device.path, place, crop=device.crop, policy=NO_LIMITS)
    stored = arrays_of(on_clock(evidence, clock.to_reference(evidence.time_s)), place.keys)
    return {keyboard_array(device.name, name): array for name, array in stored.items()}


def _sound(device: Device, sample_rate: int, n_samples: int) -> Iterator[NDArray[np.int16]]:
    """Yield a device's sound in 16 bits, whole seconds at a time, cut or filled up to ``n_samples``.

    The codes' rate counts the samples: another rate may give a few more or less.
    """
    at_a_time = max(MAX_SAMPLES // sample_rate, 1) * sample_rate
    waiting = np.zeros(0, np.int16)
    n_given = 0
    for block in iter_sound(
        device.path, sample_rate=sample_rate, policy=NO_LIMITS, stream=device.sound_stream, lenient=True
    ):
        pcm = np.rint(np.clip(block, -1, 1) * FULL_SCALE).astype(np.int16)
        waiting = np.concatenate([waiting, pcm])[: n_samples - n_given]
        while len(waiting) >= at_a_time:
            yield waiting[:at_a_time]
            n_given += at_a_time
            waiting = waiting[at_a_time:]
    left = n_samples - n_given
    if left:
        yield np.pad(waiting[:left], (0, left - len(waiting[:left])))


def _recorded_notes(capture: Capture) -> NDArray[np.float64] | None:
    path = SYNCHRONIZED / capture.take / "notes.parquet"
    if capture.notes != "recorded" or not path.exists():
        return None
    notes = note_rows(path)
    # A reference with holes would count what is right as wrong.
    return notes if len(notes) == len(read_notes(capture.take)) else None
