"""Verb ``extract``: what models are asked to predict, or given. Sound in, note amplitudes and mu-law codes out.

A score's sound is the one rendered; a capture's is its master's, so that features and frames share a clock. Note
amplitudes are those of the instrument's own notes; a capture of no instrument has codes alone. They follow the marimba
project's recipe, corrected (Hamming window over 3 frames, hop of one frame, true frequencies): row k covers frames k
to k + 2. Codes are DeepSynth's: resampled, companded, 256 classes.

Of an ensemble the players' views are decoded here, once, onto an even grid of the mix's clock, and described by what
moves in them.
"""

import json
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.clock.fit import ClockFit
from tasks.clock.record import read_clocks
from tasks.features.amplitudes import note_amplitudes, note_frequencies_hz
from tasks.features.cuts import cut_squares
from tasks.features.motion import N_MOTION, motion_features
from tasks.features.mu_law import mu_law_encode
from tasks.features.players import PlayersNotFound, find_players
from tasks.features.resample import resample
from tasks.instruments.keyboard import LOWEST_PITCH, N_KEYS
from tasks.intake.ensemble import Ensemble, read_ensemble
from tasks.intake.pictures import iter_views
from tasks.intake.record import Device, read_capture
from tasks.media.probe import NO_LIMITS
from tasks.media.process import MediaError
from tasks.media.sound import read_sound
from tasks.params import Section
from tasks.store.arrays import write_arrays
from tasks.store.audio import read_flac
from tasks.store.ensembles import PICTURE_SIZE
from tasks.store.views import pictures_at
from tasks.takes import Take

RENDERED = Path("data/rendered")
KEYBOARD_PITCHES = tuple(range(LOWEST_PITCH, LOWEST_PITCH + N_KEYS))
CAPTURE_RATE = 48_000  # Hz, that a capture's sound is read at
FRAMES_PER_CHUNK = 250  # ten seconds: a take's are read together
EARLY_S = 2e-6  # more than `pictures_at` takes for a rounding error
MOST_LOOKED_AT = 3000  # pictures that players are looked for in: two minutes at 25 a second
MOST_ROWS = 240  # of those


class ExtractParams(Section):
    """The features."""

    frame_rate: Fraction  # of the pictures that amplitudes are aligned to, as "25" or "30000/1001"
    code_rate: int  # Hz, of the mu-law codes
    n_classes: int  # of the codes
    players: Literal["own", "all"]  # whose cameras show an ensemble's players: their own, or that of all


def extract_take(take: Take, out: Path, params: ExtractParams) -> None:
    """Write ``arrays.zarr`` of one take: amplitudes (frames - 2, notes) float32 and codes (samples,) uint8.

    Of an ensemble: for each player N who is seen ``motion_N`` (frames, `N_MOTION`) float32 and the pictures that it is
    measured in, ``pictures_N`` (frames, 48, 48) uint8 luma.

    Raises:
        MediaError: a capture's sound cannot be read.
        DamagedData: what the stages before wrote is missing or damaged.
    """
    if take.kind == "ensemble":
        _extract_ensemble(read_ensemble(take.name), out, params)
        return
    audio, sample_rate, pitches = _captured(take) if take.kind == "capture" else _rendered(take)
    arrays: dict[str, NDArray[Any]] = {
        # The resampler may overshoot a full-scale peak by a hair; companding takes at most 1.
        "codes": mu_law_encode(np.clip(resample(audio, sample_rate, params.code_rate), -1, 1), params.n_classes)
    }
    if pitches:
        arrays["amplitudes"] = note_amplitudes(
            audio,
            sample_rate=sample_rate,
            frame_rate=params.frame_rate,
            frequency_hz=note_frequencies_hz(pitches),
            n_frames=int(len(audio) * params.frame_rate / sample_rate),
        )
    write_arrays(
        out / "arrays.zarr",
        arrays,
        chunk_lengths={"amplitudes": round(params.frame_rate), "codes": params.code_rate},
        attributes={
            "code_rate": params.code_rate,
            "frame_rate": str(params.frame_rate),
            "n_classes": params.n_classes,
            "pitches": list(pitches),
        },
    )


def _rendered(take: Take) -> tuple[NDArray[np.float32], int, tuple[int, ...]]:
    sample_rate = int(json.loads((RENDERED / take.name / "render.json").read_text())["sample_rate"])
    return read_flac(RENDERED / take.name / "audio.flac", sample_rate=sample_rate), sample_rate, KEYBOARD_PITCHES


def _captured(take: Take) -> tuple[NDArray[np.float32], int, tuple[int, ...]]:
    capture = read_capture(take.name)
    master, _ = read_clocks(take.name)
    # Ingest has found out what of it decodes; a recording that ends too early ends so here too.
    sound = read_sound(capture.device(master).path, sample_rate=CAPTURE_RATE, policy=NO_LIMITS, lenient=True)
    return sound.samples, CAPTURE_RATE, capture.pitches


def _extract_ensemble(ensemble: Ensemble, out: Path, params: ExtractParams) -> None:
    _, clocks = read_clocks(ensemble.take)
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
    """Return pictures (n_frames, 48, 48) of each player who is seen, by number; and why each other one is not."""
    views: dict[int, NDArray[np.uint8]] = {}
    unseen: dict[int, str] = {}
    size = (PICTURE_SIZE, PICTURE_SIZE)
    for player in ensemble.players:
        camera = player.camera
        if camera is None:
            unseen[player.number] = "no camera of his own"
        elif camera.name not in clocks:
            unseen[player.number] = f"{camera.name} is not on the clock of the mix"
        elif params.players == "own":
            shown = np.zeros((n_frames, *size), np.uint8)
            for frames, pictures in on_frames(
                camera, clocks[camera.name], size=size, n_frames=n_frames, rate=params.frame_rate
            ):
                shown[frames] = pictures
            views[player.number] = shown
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
    """Find the players in a camera's pictures and cut them apart: (n_players, n_frames, 48, 48).

    Raises:
        PlayersNotFound: fewer are seen.
    """
    size = _size_to_look_at(camera)
    # A long take is looked through twice: once for where its players are, with so many pictures as memory holds.
    step = -(-n_frames // MOST_LOOKED_AT)
    some = np.zeros((-(-n_frames // step), *size), np.uint8)
    for frames, pictures in on_frames(camera, clock, size=size, n_frames=n_frames, rate=rate):
        kept = np.arange(frames.start, frames.stop) % step == 0
        some[frames.start // step + (frames.start % step > 0) :][: int(kept.sum())] = pictures[kept]
    boxes = find_players(some, n_players)
    if step == 1:
        return cut_squares(some, boxes, size=PICTURE_SIZE)
    del some
    views = np.zeros((n_players, n_frames, PICTURE_SIZE, PICTURE_SIZE), np.uint8)
    for frames, pictures in on_frames(camera, clock, size=size, n_frames=n_frames, rate=rate):
        nearest = np.minimum((np.arange(frames.start, frames.stop) + step // 2) // step, boxes.shape[1] - 1)
        views[:, frames] = cut_squares(pictures, boxes[:, nearest], size=PICTURE_SIZE)
    return views


def _size_to_look_at(camera: Device) -> tuple[int, int]:
    """Return rows and columns of the pictures that players are looked for in: the camera's own, or less."""
    width, height = camera.crop[2:] if camera.crop is not None else _full_size(camera)
    scale = min(1.0, MOST_ROWS / height)
    return max(round(height * scale), 1), max(round(width * scale), 1)


def _full_size(camera: Device) -> tuple[int, int]:
    return int(camera.facts["video"]["width"]), int(camera.facts["video"]["height"])


def on_frames(
    camera: Device, clock: ClockFit, *, size: tuple[int, int], n_frames: int, rate: Fraction
) -> Iterator[tuple[slice, NDArray[np.uint8]]]:
    """Yield the picture that a camera shows at each frame of the master's clock: the last that had come up by then.

    Args:
        camera: the camera; its crop is kept, the whole of it scaled.
        clock: of the camera, against the master's.
        size: rows and columns of a picture.
        n_frames: of the master's clock, from 0.0 on.
        rate: of the frames, in Hz.

    Yields:
        Some frames at a time, in order, all of them in the end, and (n, *size) luma; before its first picture that
        one, behind its last one that.

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
        # Up to its own last picture a part says all; what is shown behind that the next part knows.
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
