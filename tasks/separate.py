"""Verb ``separate``: separate one mix into a sound for each player, with or without videos of the players."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.errors import BadInput, DamagedData, ParamsError, PipelineError
from tasks.families import load_family
from tasks.families.base import below_full_scale
from tasks.families.separation import SeparationFamily
from tasks.families.stems import at_rate
from tasks.families.trained import load_facts
from tasks.features.resample import resample
from tasks.instruments.orchestra import ORCHESTRA, instrument_code
from tasks.media.channels import ChannelMeter
from tasks.media.probe import MediaPolicy
from tasks.media.sound import SoundBlocks
from tasks.metrics.sound import level_dbfs
from tasks.params import Section
from tasks.registry import kind_module
from tasks.store.audio import write_channels
from tasks.synchronize import SynchronizeParams

FORMATS = ("flac", "wav")
Remark = Callable[[str], None]
"""Takes one line about a change to the inputs or outputs that was not requested."""


class SeparateParams(Section):
    """The default family, and limits of a mix and its videos."""

    family: str  # when none is named
    media: MediaPolicy


class SeparateError(BadInput):
    """A mix, or a description of its players, that cannot be used."""


@dataclass(frozen=True, kw_only=True)
class Stem:
    """A player's sound that was written.

    Attributes:
        player: the number, from 1.
        instrument: code.
        path: the file.
        level_dbfs: of the sound, its RMS against full scale.
    """

    player: int
    instrument: str
    path: Path
    level_dbfs: float


@dataclass(frozen=True, kw_only=True)
class SeparatedMix:
    """The result of a separation.

    Attributes:
        system: that separated the mix.
        stems: a file a player.
        duration_s: of each.
        sample_rate: of each, in Hz.
        channels: of each.
        gain_db: of all, to stay below full scale; 0 or less.
        remarks: changes to the mix, the videos or the sounds that were not requested, a line each.
    """

    system: str
    stems: tuple[Stem, ...]
    duration_s: float
    sample_rate: int
    channels: int
    gain_db: float
    remarks: tuple[str, ...]


def separate_file(
    mix: Path,
    out: Path,
    *,
    family: str,
    trained: Path,
    data: Path,
    params: SeparateParams,
    clock: SynchronizeParams,
    accelerator: str,
    progress: Callable[[str], None],
    players: Sequence[str] | None = None,
    videos: Sequence[Path] = (),
    take: str | None = None,
    system: str | None = None,
    suffix: str = "flac",
) -> SeparatedMix:
    """Write ``out/stem_N_CODE.flac`` for each player of a mix.

    The players are those of ``players``, of ``take``, or of the take.yaml beside the mix. The mix is resampled to the
    family's rate; several channels become one for a family of one (`tasks.media.channels`). Both is remarked upon.

    Args:
        mix: a recording; of a video its sound.
        out: a folder, made when needed.
        family: one that separates.
        trained: what the family's `fit` wrote.
        data: the ensembles that ``take`` is one of.
        params: typed values of the ``separate`` section.
        clock: how a video with sound is synchronized with the mix.
        accelerator: Lightning's word.
        progress: called with a few words at the start of each step.
        players: instruments' codes or names, in the order of the players.
        videos: one a player in their order, or one of all players, in which they stand in that order row by row, from
            left to right. A video without sound, or with another sound than the mix's, begins with the mix.
        take: of the data set, with its players, videos and notes; the mix is as long.
        system: of the family; by default the first model whose inputs are there.
        suffix: ``flac`` or ``wav``, of 16 bits.

    Raises:
        SeparateError: ``UNKNOWN_INSTRUMENT``, ``NO_PLAYERS``, ``TOO_SHORT``, ``LOW_RATE``, ``MONO``, ``OTHER_LENGTH``,
            ``VIDEOS``, ``NEEDS_VIDEO``, ``CHANNELS``, ``SILENT``, ``PLAYERS_TWICE``.
        PlayersNotFound: fewer players are detected than were named.
        MediaError: the mix or a video cannot be used.
        ParamsError: the family or the system is unknown, or does not separate mixes.
        DamagedData: the family is not trained, or its files or the take's are damaged.
        PipelineError: ``out`` cannot be written.
    """
    adapter = load_family(family)
    if not isinstance(adapter, SeparationFamily):
        raise ParamsError(f"family {family} gives a video its sound, expected one that separates mixes")
    if take is not None and (players is not None or videos):
        raise SeparateError(
            f"take {take} has players and videos of its own, expected no other players and videos",
            kind="PLAYERS_TWICE",
        )
    remarks: list[str] = []

    def remark(words: str) -> None:
        remarks.append(words)
        progress(words)

    kind = kind_module(adapter.data, "separate")
    instruments: tuple[str, ...] = kind.instruments_of(mix, players=players, take=take, data=data)
    chosen = _system(adapter, family, system, has_video=bool(videos) or take is not None)
    rate, channels = _trained_on(trained / chosen)
    progress("reading the mix")
    audio = _read_mix(mix, rate, channels, params.media, remark)
    duration_s = audio.shape[1] / rate
    shortest_s = max(adapter.shortest_s(trained, chosen), 1 / rate)
    if duration_s < shortest_s:
        raise SeparateError(
            f"{mix}: lasts {duration_s:.3f} s, expected at least {shortest_s:.3f} s, a window of {chosen}",
            kind="TOO_SHORT",
        )
    if videos:
        progress("reading the videos")
    mixture = kind.mixture_of_file(
        mix,
        audio,
        rate,
        instruments=instruments,
        take=take,
        data=data,
        videos=videos,
        media=params.media,
        clock=clock,
        remark=remark,
    )
    progress(f"{chosen} separates {duration_s:.1f} s of {len(instruments)} players")
    (separation,) = adapter.separate(
        trained, {mix.name: mixture}, systems=(chosen,), accelerator=accelerator, truth=None
    )
    if chosen in adapter.unordered:
        remark(f"{chosen} does not assign its sounds to players: they are in no order")
    stems = at_rate(separation.stems, separation.sample_rate, rate, audio.shape[1])
    if not np.isfinite(stems).all():
        raise DamagedData(f"{chosen} made samples that are no numbers: its weights may be damaged")
    stems, gain_db = below_full_scale(stems)
    if gain_db:
        remark(f"all sounds are lowered by {-gain_db:.1f} dB, to stay below full scale")
    progress("writing the sounds")
    return SeparatedMix(
        system=chosen,
        stems=tuple(_write(out, instruments, stems, rate, suffix)),
        duration_s=duration_s,
        sample_rate=rate,
        channels=channels,
        gain_db=gain_db,
        remarks=tuple(remarks),
    )


def players_named(text: str) -> tuple[str, ...]:
    """Return the codes of instruments that are written with commas between them, as codes or names.

    Raises:
        SeparateError: ``UNKNOWN_INSTRUMENT``, names it and the codes there are.
    """
    return tuple(known_instrument(word.strip()) for word in text.split(","))


def known_instrument(word: str) -> str:
    """Return the code of an instrument from its code or name.

    Raises:
        SeparateError: ``UNKNOWN_INSTRUMENT``, names it and the codes there are.
    """
    code = instrument_code(word) if word else ""
    if code not in ORCHESTRA:
        known = ", ".join(f"{code} ({about.name})" for code, about in ORCHESTRA.items())
        raise SeparateError(f"instrument {word!r} is unknown, expected one of {known}", kind="UNKNOWN_INSTRUMENT")
    return code


def _system(adapter: SeparationFamily[Any], family: str, system: str | None, *, has_video: bool) -> str:
    """Return the requested system, or by default the first model whose inputs are there."""
    offered = [one for one in adapter.systems if adapter.role(one) != "bound"]
    able = [one for one in offered if has_video or one not in adapter.uses_video]
    if system is None:
        models = [one for one in able if adapter.role(one) == "model"]
        if not models:
            raise SeparateError(
                f"family {family} needs videos of the players: add --video or --take", kind="NEEDS_VIDEO"
            )
        return models[0]
    if system not in offered:
        raise ParamsError(f"family {family} has no system {system!r} to use here, expected one of {', '.join(offered)}")
    if system not in able:
        raise SeparateError(f"{system} needs videos of the players: add --video or --take", kind="NEEDS_VIDEO")
    return system


def _trained_on(stem: Path) -> tuple[int, int]:
    """Return rate and channels of a system's training mixes.

    Raises:
        DamagedData: the system is not trained, or its description lacks them.
    """
    facts = load_facts(stem, {"sample_rate": int, "n_channels": int})
    rate, channels = facts["sample_rate"], facts["n_channels"]
    if rate < 1 or channels < 1:
        raise DamagedData(f"{stem}.json has {channels} channels at {rate} Hz, expected at least 1 of both")
    return rate, channels


def _read_mix(path: Path, rate: int, channels: int, policy: MediaPolicy, remark: Remark) -> NDArray[np.float32]:
    """Return a mix (channels, n) at the system's rate."""
    blocks = SoundBlocks(path, sample_rate=None, policy=policy, lenient=True, mix=False)
    if blocks.sample_rate < rate:
        raise SeparateError(
            f"{path}: has {blocks.sample_rate} samples a second, expected at least {rate} as in training",
            kind="LOW_RATE",
        )
    if blocks.channels < channels:
        raise SeparateError(
            f"{path}: has {blocks.channels} channel, expected at least {channels} as in training", kind="MONO"
        )
    meter = ChannelMeter(blocks.channels)
    parts = []
    for block in blocks:
        meter.add(block)
        parts.append(block)
    audio = np.concatenate(parts).T  # (channels of the file, n)
    for words in blocks.remarks:
        remark(f"of the mix {words}")
    if len(audio) > channels:
        if channels > 1:
            raise SeparateError(
                f"{path}: has {len(audio)} channels, expected {channels} as in training", kind="CHANNELS"
            )
        used = meter.used()
        remark(f"of the mix {used.remark}" if used.remark else f"the mix's {len(audio)} channels are averaged")
        audio = used.mix(audio.T).T
    if blocks.sample_rate != rate:
        remark(f"resampled from {blocks.sample_rate} to {rate} Hz: frequencies above {rate / 2:g} Hz are left out")
        audio = np.stack([resample(np.ascontiguousarray(one), blocks.sample_rate, rate) for one in audio])
    if not audio.any():
        raise SeparateError(f"{path}: is silent throughout, expected a mix", kind="SILENT")
    return np.ascontiguousarray(audio, np.float32)


def _write(out: Path, instruments: Sequence[str], stems: NDArray[np.float32], rate: int, suffix: str) -> list[Stem]:
    if suffix not in FORMATS:
        raise ParamsError(f"format {suffix!r} is unknown, expected one of {', '.join(FORMATS)}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PipelineError(f"{out} cannot be made a folder: {error.strerror}") from None
    written = []
    for number, (instrument, stem) in enumerate(zip(instruments, stems, strict=True), 1):
        path = out / f"stem_{number}_{instrument}.{suffix}"
        write_channels(path, stem, rate)
        written.append(
            Stem(player=number, instrument=instrument, path=path, level_dbfs=round(level_dbfs(stem.ravel()), 2))
        )
    return written
