"""Chunk one ensemble: stems and mix, and what is known of each player."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.chunk import ChunkParams, DataFigures, hours
from tasks.extract import EXTRACTED
from tasks.intake.ensemble import Ensemble, read_ensemble
from tasks.intake.notes import note_rows
from tasks.intake.record import INGESTED
from tasks.intake.stems import sound_at
from tasks.media.probe import NO_LIMITS
from tasks.store.arrays import Arrays, open_arrays, write_arrays
from tasks.store.ensembles import PCM_SCALE
from tasks.store.segments import ScoreSet
from tasks.takes import Take

TOOLS = ("ffmpeg",)

OVERSHOOT = 1.01  # of full scale: a peak that resampling may have raised


def inputs(take: Take) -> Sequence[Path]:
    """Return what the work reads: what ingest and extract wrote, and the files of stems and mix."""
    return [INGESTED / take.name, EXTRACTED / take.name, *read_ensemble(take.name).sound_paths]


def truth(take: Take) -> Sequence[Path]:  # noqa: ARG001 - other kinds have files beside their arrays
    """Return nothing: the reference stems are among the chunked arrays."""
    return []


def chunk_take(take: Take, out: Path, params: ChunkParams) -> None:
    """Write ``arrays.zarr`` of one ensemble: ``stem_N`` and ``mix`` (channels, samples), and what is known of players.

    Sounds are 16 bits; when the mix, or a stem, would pass full scale, all are lowered by one gain (``gain_db``). Of
    the players with a view ``motion_N`` (frames, numbers) and ``pictures_N`` (frames, 48, 48), of those whose notes
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
            arrays[f"notes_{player.number}"] = note_rows(player.notes)
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


def segment_clock(arrays: Arrays) -> tuple[int, int]:
    """Return rate in Hz and number of the samples that segments are counted in: those of the mix."""
    return int(arrays.attributes["stem_rate"]), arrays["mix"].shape[1]


def data_figures(data: ScoreSet, takes: Sequence[Take]) -> DataFigures:
    """Return number and hours of the ensembles."""
    return DataFigures(counts={"n_ensembles": len(takes)}, hours={"ensemble_hours": hours(data)})


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
        headroom = max(loudest, 1.0) if loudest > OVERSHOOT else 1.0
        kept[f"stem_{number}"] = _pcm(audio / np.float32(headroom)), headroom
    peak = max(peak, float(np.abs(total).max(initial=0.0)))
    # A resampled peak may pass full scale by a hair: cut, as everywhere else.
    gain = 1.0 if peak <= OVERSHOOT else 1 / peak
    stems = {}
    for name, (stem, headroom) in kept.items():
        factor = gain * ensemble.gain * headroom
        stems[name] = stem if factor == 1.0 else _pcm(stem.astype(np.float32) * np.float32(factor / PCM_SCALE))
    return stems | {"mix": _pcm(total * np.float32(gain))}, gain


def _pcm(audio: NDArray[np.float32]) -> NDArray[np.int16]:
    steps = np.rint(audio * np.float32(PCM_SCALE)).clip(-32768, 32767)
    return np.asarray(steps, np.int16)
