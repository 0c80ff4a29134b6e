"""Verb ``chunk``: pictures and features into Zarr, once, and the index of segments over them.

A score's pictures are drawn, a capture's are those of its cameras, each at its own moments on the master's clock. An
ensemble's sounds are its stems and their mix.

Segments overlap, so they are rows of an index (``segments.parquet``) and not copies. The split is by piece.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tasks.clock.fit import ClockFit
from tasks.clock.record import read_clocks
from tasks.instruments.keyboard import HEIGHT, WIDTH, Lit, draw_keyboard
from tasks.intake.ensemble import Ensemble, read_ensemble
from tasks.intake.pictures import iter_views
from tasks.intake.record import Capture, Device, read_capture
from tasks.intake.stems import sound_at
from tasks.media.probe import NO_LIMITS
from tasks.media.sound import iter_sound
from tasks.params import Section
from tasks.step import write_whole
from tasks.store.arrays import Arrays, Parts, open_arrays, write_arrays
from tasks.store.ensembles import PCM_SCALE
from tasks.store.segments import ChunkedTake, ScoreSet, Segment, segment_rows, write_segments
from tasks.store.tables import read_table
from tasks.takes import PARTS, SplitParams, Take, data_version, of_kind, split

RENDERED = Path("data/rendered")
EXTRACTED = Path("data/extracted")
INGESTED = Path("data/ingested")
SYNCHRONIZED = Path("data/synchronized")
NOTE_COLUMNS = ("onset_s", "offset_s", "pitch", "velocity")
MOST_SOUND = 1 << 20  # samples held at a time
HAIR = 1.01  # of full scale: a peak that resampling has raised
CHUNKS_DRAWN = 4  # at a time: pictures are 44 kB each, and a long take's would fill gigabytes

Margin = Annotated[float, Field(ge=0, lt=0.5)]


class ChunkParams(Section):
    """How a take is stored."""

    pictures_per_chunk: int  # what one read decompresses at least; 16 are about a second of music
    camera_width: int  # pixels of a capture's pictures
    camera_height: int
    camera_margins: tuple[Margin, Margin]  # shares of both that stay free beside an instrument whose corners are known
    sound_rate: Annotated[int, Field(ge=1000, le=192_000)]  # Hz, of a capture's sound
    stem_rate: Annotated[int, Field(ge=1000, le=192_000)]  # Hz, of an ensemble's stems and mix
    stem_channels: Annotated[int, Field(ge=1, le=8)]  # stems of more are mixed down to 1; those of fewer are refused


class SegmentParams(Section):
    """The training examples."""

    length_s: float
    hop_s: float


def chunk_take(take: Take, out: Path, params: ChunkParams) -> None:
    """Write ``arrays.zarr`` of one score take: pictures, their times and key states, codes, amplitudes."""
    states = read_table(RENDERED / take.name / "states.parquet")
    facts = json.loads((RENDERED / take.name / "render.json").read_text())
    features = open_arrays(EXTRACTED / take.name / "arrays.zarr")
    write_arrays(
        out / "arrays.zarr",
        {
            "amplitudes": features["amplitudes"][:],
            "codes": features["codes"][:],
            "picture_time_s": states["time_s"],
            "pictures": Parts(
                (len(states["velocity"]), HEIGHT, WIDTH),
                np.dtype(np.uint8),
                _pictures(states["velocity"], facts["lit"], CHUNKS_DRAWN * params.pictures_per_chunk),
            ),
            "velocities": states["velocity"],
        },
        chunk_lengths={
            "amplitudes": features["amplitudes"].chunk_length,
            "codes": features["codes"].chunk_length,
            "picture_time_s": 64 * params.pictures_per_chunk,
            "pictures": params.pictures_per_chunk,
            "velocities": 64 * params.pictures_per_chunk,
        },
        attributes={**features.attributes, "duration_s": facts["duration_s"], "lit": facts["lit"]},
    )


def chunk_capture(take: Take, out: Path, params: ChunkParams) -> None:
    """Write ``arrays.zarr`` of one capture: each camera's pictures and their times, codes, amplitudes, sound, notes.

    A camera that is not on the master's clock is left out. ``pictures_CAMERA`` are luma, (P, camera_height,
    camera_width), every picture that the camera took; ``time_s_CAMERA`` are seconds on the master's clock,
    before 0 where the camera began first. ``sound`` is the master's, mono, 16 bits, at ``sound_rate``; ``notes``
    (N, 4) are onset and offset on the master's clock in s, pitch and velocity, where MIDI was recorded with the take
    and each of its notes has a place on that clock.

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
        (n_samples,), np.dtype(np.int16), _sound(capture.device(master).path, params.sound_rate, n_samples)
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


def chunk_ensemble(take: Take, out: Path, params: ChunkParams) -> None:
    """Write ``arrays.zarr`` of one ensemble: ``stem_N`` and ``mix`` (channels, samples), and what is known of players.

    Sounds are 16 bits; when the mix, or a stem, would pass full scale, all are lowered by one gain (``gain_db``). Of
    the players who are seen ``motion_N`` (frames, numbers) and ``pictures_N`` (frames, 48, 48), of those whose notes
    are known ``notes_N`` (notes, 4): onset and offset in s, pitch, velocity. All begin at 0.0 of the mix.

    Raises:
        MediaError: ``FEWER_CHANNELS``, a stem has fewer than ``stem_channels``; a stem or the mix cannot be read.
        DamagedData: what the stages before wrote is missing or damaged.
    """
    ensemble = read_ensemble(take.name)
    features = open_arrays(EXTRACTED / take.name / "arrays.zarr")
    arrays: dict[str, NDArray[Any]] = {name: features[name][:] for name in features}
    chunk_lengths = {name: features[name].chunk_length for name in features}
    sounds, gain = _stems_and_mix(ensemble, params)
    arrays |= sounds
    for player in ensemble.players:
        if player.notes is not None:
            notes = read_table(player.notes)
            arrays[f"notes_{player.number}"] = np.stack(
                [np.asarray(notes[name], np.float64) for name in NOTE_COLUMNS], axis=1
            )
    channels = dict.fromkeys(sounds, 1)
    write_arrays(
        out / "arrays.zarr",
        arrays,
        chunk_lengths=dict.fromkeys(arrays, 4096) | channels | chunk_lengths,
        attributes={
            **features.attributes,
            "duration_s": ensemble.duration_s,
            "gain_db": round(20 * float(np.log10(gain)), 3),
            "instruments": [player.instrument for player in ensemble.players],
            "mix": "sum" if ensemble.mix is None else "file",
            "mixed_down": [one.number for one in ensemble.players if one.channels > params.stem_channels],
            "n_channels": params.stem_channels,
            "stem_rate": params.stem_rate,
        },
    )


def _stems_and_mix(ensemble: Ensemble, params: ChunkParams) -> tuple[dict[str, NDArray[np.int16]], float]:
    """Return stems and mix as they are stored, and the gain that keeps all of them below full scale."""
    n_samples = round(ensemble.duration_s * params.stem_rate)
    kept: dict[str, tuple[NDArray[np.int16], float]] = {}  # with the peak that it is stored against
    total = np.zeros((params.stem_channels, n_samples), np.float32)
    peak = 0.0
    for number, sound in enumerate(ensemble.sounds, start=1):
        is_mix = number > len(ensemble.players)
        audio = sound_at(
            sound, NO_LIMITS, sample_rate=params.stem_rate, channels=params.stem_channels, n_samples=n_samples
        )
        own = 1.0 if is_mix else ensemble.gain
        loudest = float(np.abs(audio).max(initial=0.0))
        peak = max(peak, own * loudest)
        if is_mix:
            total = audio
            break
        if ensemble.mix is None:
            total += audio
        headroom = max(loudest, 1.0) if loudest > HAIR else 1.0
        kept[f"stem_{number}"] = _pcm(audio / np.float32(headroom)), headroom
    peak = max(peak, float(np.abs(total).max(initial=0.0)))
    # A resampled peak may pass full scale by a hair: cut, as everywhere else.
    gain = 1.0 if peak <= HAIR else 1 / peak
    stems = {}
    for name, (stem, headroom) in kept.items():
        factor = gain * ensemble.gain * headroom
        stems[name] = stem if factor == 1.0 else _pcm(stem.astype(np.float32) * np.float32(factor / PCM_SCALE))
    return stems | {"mix": _pcm(total * np.float32(gain))}, gain


def _pcm(audio: NDArray[np.float32]) -> NDArray[np.int16]:
    steps = np.rint(audio * np.float32(PCM_SCALE)).clip(-32768, 32767)
    return np.asarray(steps, np.int16)


class _Film:
    """A camera's pictures as they are decoded, and then their times."""

    def __init__(self, device: Device, instrument: str, params: ChunkParams) -> None:
        self._device = device
        self._instrument = instrument
        self._params = params
        self._times: list[NDArray[np.float64]] = []

    def parts(self) -> Iterator[NDArray[np.uint8]]:
        n_at_a_time = self._params.pictures_per_chunk * CHUNKS_DRAWN
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


def _sound(path: Path, sample_rate: int, n_samples: int) -> Iterator[NDArray[np.int16]]:
    """Yield a file's sound in 16 bits, whole seconds at a time, cut or filled up to ``n_samples``.

    The codes' rate counts the samples: another rate may give a few more or less.
    """
    at_a_time = max(MOST_SOUND // sample_rate, 1) * sample_rate
    waiting = np.zeros(0, np.int16)
    n_given = 0
    for block in iter_sound(path, sample_rate=sample_rate, policy=NO_LIMITS, lenient=True):
        pcm = np.rint(np.clip(block, -1, 1) * 32767).astype(np.int16)
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
    notes = read_table(path)
    if len(notes["onset_s"]) != len(read_table(INGESTED / capture.take / "notes.parquet")["onset_s"]):
        return None  # a truth with holes would count what is right as wrong
    return np.stack([np.asarray(notes[name], np.float64) for name in NOTE_COLUMNS], axis=1)


def _pictures(velocity: NDArray[np.uint8], lit: Lit, n_at_a_time: int) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(velocity), n_at_a_time):
        yield draw_keyboard(velocity[start : start + n_at_a_time], lit=lit)


def index_takes(folder: Path, takes: Sequence[Take], split_params: SplitParams, params: SegmentParams) -> None:
    """Write ``takes.json`` and ``segments.parquet`` over the takes' arrays.

    A folder without takes has an index without rows: a project may have scores alone.

    Raises:
        ParamsError: a part of the split has too few pieces.
        LeakError: the parts are not disjoint.
    """
    parts = split(takes, split_params) if takes else {}
    chunked: dict[str, ChunkedTake] = {}
    segments: list[Segment] = []
    for take in takes:
        arrays = open_arrays(folder / take.name / "arrays.zarr")
        rate, n_samples = _samples(arrays)
        segments += segment_rows(
            take.name,
            take.piece,
            parts[take.name],
            take.digest,
            n_samples,
            length=round(params.length_s * rate),
            hop=round(params.hop_s * rate),
        )
        chunked[take.name] = ChunkedTake(
            piece=take.piece,
            part=parts[take.name],
            digest=take.digest,
            duration_s=float(arrays.attributes["duration_s"]),
        )
    described = {name: asdict(take) for name, take in sorted(chunked.items())}
    write_whole(folder / "takes.json", json.dumps(described, indent=1, sort_keys=True) + "\n")
    write_segments(folder / "segments.parquet", segments)


def _samples(arrays: Arrays) -> tuple[int, int]:
    """Return rate in Hz and number of the samples that segments are counted in: codes, or those of stems."""
    if "codes" in arrays:
        return int(arrays.attributes["code_rate"]), len(arrays["codes"])
    return int(arrays.attributes["stem_rate"]), arrays["mix"].shape[1]


def data_metrics(
    folder: Path, recorded: Path, together: Path, takes: Sequence[Take], n_quarantined: int
) -> dict[str, Any]:
    """Return what a data version is made of, for ``dvc metrics``: its name, counts, and lengths.

    Args:
        folder: the chunked scores; the minutes and segments of each part are theirs.
        recorded: the chunked captures.
        together: the chunked ensembles.
        takes: all that were accepted.
        n_quarantined: how many were not.
    """
    scores, films, groups = ScoreSet(folder), ScoreSet(recorded), ScoreSet(together)
    recorded_s = sum(films.duration_s(take) for part in PARTS for take in films.takes(part))
    together_s = sum(groups.duration_s(take) for part in PARTS for take in groups.takes(part))
    duration_s = {part: sum(scores.duration_s(take) for take in scores.takes(part)) for part in PARTS}
    return {
        "data_version": data_version(takes)[:16],
        "n_takes": len(takes),
        "n_captures": len(of_kind(takes, "captures")),
        "n_ensembles": len(of_kind(takes, "ensembles")),
        "n_pieces": len({take.piece for take in takes}),
        "n_quarantined": n_quarantined,
        "hours": round(sum(duration_s.values()) / 3600, 4),
        "capture_hours": round(recorded_s / 3600, 4),
        "ensemble_hours": round(together_s / 3600, 4),
        **{f"{part}_minutes": round(duration_s[part] / 60, 2) for part in PARTS},
        **{f"{part}_segments": len(scores.segments(part)) for part in PARTS},
    }
