"""Extract one ensemble: each player's pictures on an even grid of the mix's clock, and what moves in them.

A player's view is that of their own camera, or is cut from the pictures of the camera that shows all players.
"""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.clock.fit import ClockFit
from tasks.clock.record import SYNCHRONIZED, read_clocks
from tasks.extract import ExtractParams
from tasks.features.cuts import cut_squares
from tasks.features.motion import N_MOTION, motion_features
from tasks.features.players import PlayersNotFound, find_players
from tasks.intake.ensemble import Ensemble, read_ensemble
from tasks.intake.pictures import iter_views
from tasks.intake.record import INGESTED, Device
from tasks.media.process import MediaError
from tasks.store.arrays import write_arrays
from tasks.store.ensembles import PICTURE_SIZE
from tasks.store.views import pictures_at
from tasks.takes import Take

TOOLS = ("ffmpeg",)

FRAMES_PER_CHUNK = 250  # ten seconds: a take's are read together
EARLY_S = 2e-6  # more than `pictures_at` takes for a rounding error
MAX_SEARCHED = 3000  # pictures that players are searched for in: two minutes at 25 a second
MAX_ROWS = 240  # of those


def inputs(take: Take) -> Sequence[Path]:
    """Return what the work reads: what ingest and synchronize wrote, and the cameras' files."""
    cameras = [device.path for device in read_ensemble(take.name).devices if device.role == "camera"]
    return [INGESTED / take.name, SYNCHRONIZED / take.name, *cameras]


def extract_take(take: Take, out: Path, params: ExtractParams) -> None:
    """Write ``arrays.zarr`` of one ensemble.

    For each player N with a view ``motion_N`` (frames, `N_MOTION`) float32 and the pictures that it is measured in,
    ``pictures_N`` (frames, 48, 48) uint8 luma. The attribute ``unseen`` holds why each other player has none.

    Raises:
        MediaError: a camera's film cannot be read.
        DamagedData: what the stages before wrote is missing or damaged.
    """
    ensemble = read_ensemble(take.name)
    _, clocks = read_clocks(take.name)
    n_frames = int(ensemble.duration_s * params.frame_rate + Fraction(1, 1_000_000))
    views, unseen = _players_views(ensemble, clocks, n_frames, params)
    arrays: dict[str, NDArray[Any]] = {}
    for number, pictures in sorted(views.items()):
        arrays[f"pictures_{number}"] = pictures
        arrays[f"motion_{number}"] = motion_features(pictures)
    write_arrays(
        out / "arrays.zarr",
        arrays,
        chunk_lengths=dict.fromkeys(arrays, FRAMES_PER_CHUNK),
        attributes={
            "duration_s": ensemble.duration_s,
            "frame_rate": str(params.frame_rate),
            "n_frames": n_frames,
            "n_motion": N_MOTION,
            "unseen": {str(number): reason for number, reason in unseen.items()},
        },
    )


def _players_views(
    ensemble: Ensemble, clocks: Mapping[str, ClockFit], n_frames: int, params: ExtractParams
) -> tuple[dict[int, NDArray[np.uint8]], dict[int, str]]:
    """Return pictures (n_frames, 48, 48) of each player with a view, by number; and why each other one has none."""
    views: dict[int, NDArray[np.uint8]] = {}
    unseen: dict[int, str] = {}
    size = (PICTURE_SIZE, PICTURE_SIZE)
    for player in ensemble.players:
        camera = player.camera
        if camera is None:
            unseen[player.number] = "no camera of their own"
        elif camera.name not in clocks:
            unseen[player.number] = f"{camera.name} is not on the clock of the mix"
        elif params.players == "own":
            view = np.zeros((n_frames, *size), np.uint8)
            for frames, pictures in _on_frames(
                camera, clocks[camera.name], size=size, n_frames=n_frames, rate=params.frame_rate
            ):
                view[frames] = pictures
            views[player.number] = view
    shared = ensemble.camera_of_all
    wanted = [player.number for player in ensemble.players if player.number not in views]
    if not wanted or shared is None or shared.name not in clocks:
        if params.players == "all":
            unseen |= dict.fromkeys(wanted, "no camera of all is on the clock of the mix")
        return views, unseen
    try:
        cut = _cut_from(shared, clocks[shared.name], len(ensemble.players), n_frames, params.frame_rate)
    except PlayersNotFound as error:
        return views, unseen | dict.fromkeys(wanted, f"{shared.name}: {error}")
    views |= {number: cut[number - 1] for number in wanted}
    return views, {number: reason for number, reason in unseen.items() if number not in wanted}


def _cut_from(camera: Device, clock: ClockFit, n_players: int, n_frames: int, rate: Fraction) -> NDArray[np.uint8]:
    """Find the players in a camera's pictures and cut out each one: (n_players, n_frames, 48, 48).

    Raises:
        PlayersNotFound: fewer are found.
    """
    size = _searched_size(camera)
    # A long take is decoded twice: the first time to find its players, with as many pictures as memory holds.
    step = -(-n_frames // MAX_SEARCHED)
    some = np.zeros((-(-n_frames // step), *size), np.uint8)
    for frames, pictures in _on_frames(camera, clock, size=size, n_frames=n_frames, rate=rate):
        kept = np.arange(frames.start, frames.stop) % step == 0
        some[frames.start // step + (frames.start % step > 0) :][: int(kept.sum())] = pictures[kept]
    boxes = find_players(some, n_players)
    if step == 1:
        return cut_squares(some, boxes, size=PICTURE_SIZE)
    del some
    views = np.zeros((n_players, n_frames, PICTURE_SIZE, PICTURE_SIZE), np.uint8)
    for frames, pictures in _on_frames(camera, clock, size=size, n_frames=n_frames, rate=rate):
        nearest = np.minimum((np.arange(frames.start, frames.stop) + step // 2) // step, boxes.shape[1] - 1)
        views[:, frames] = cut_squares(pictures, boxes[:, nearest], size=PICTURE_SIZE)
    return views


def _searched_size(camera: Device) -> tuple[int, int]:
    """Return rows and columns of the pictures that players are searched for in: the camera's own, or fewer."""
    width, height = camera.crop[2:] if camera.crop is not None else _full_size(camera)
    scale = min(1.0, MAX_ROWS / height)
    return max(round(height * scale), 1), max(round(width * scale), 1)


def _full_size(camera: Device) -> tuple[int, int]:
    return int(camera.facts["video"]["width"]), int(camera.facts["video"]["height"])


def _on_frames(
    camera: Device, clock: ClockFit, *, size: tuple[int, int], n_frames: int, rate: Fraction
) -> Iterator[tuple[slice, NDArray[np.uint8]]]:
    """Yield the picture that a camera shows at each frame of the master's clock: the last that has appeared by then.

    Args:
        camera: the camera; its crop is kept, the whole of it scaled.
        clock: of the camera, against the master's.
        size: rows and columns of a picture.
        n_frames: of the master's clock, from 0.0 on.
        rate: of the frames, in Hz.

    Yields:
        A slice of frames and their pictures (n, *size) luma, in order, all frames in the end. Frames before the
        camera's first picture show that one, frames behind its last one show the last.

    Raises:
        MediaError: the film cannot be read, or holds no picture.
    """
    moments_s = np.array([float(frame / rate) for frame in range(n_frames)])
    at = 0
    last: tuple[NDArray[np.uint8], NDArray[np.float64]] | None = None
    for pictures, time_s in iter_views(camera, width=size[1], height=size[0], instrument="", margins=(0.0, 0.0)):
        known, known_s = pictures, clock.to_reference(time_s)
        if last is not None:
            known, known_s = np.concatenate([last[0], known]), np.concatenate([last[1], known_s])
        # A part determines the frames up to its own last picture; the next part those behind it.
        end = int(np.searchsorted(moments_s, known_s[-1] - EARLY_S))
        for start in range(at, end, FRAMES_PER_CHUNK):
            stop = min(start + FRAMES_PER_CHUNK, end)
            yield slice(start, stop), known[pictures_at(known_s, moments_s[start:stop])]
        at = max(at, end)
        last = known[-1:], known_s[-1:]
    if last is None:
        raise MediaError(f"{camera.path}: holds no picture that decodes", kind="DAMAGED_STREAM")
    for start in range(at, n_frames, FRAMES_PER_CHUNK):
        end = min(start + FRAMES_PER_CHUNK, n_frames)
        yield slice(start, end), np.repeat(last[0], end - start, axis=0)
