"""Verb ``separate``: separate one mix into a sound for each player, with or without videos of the players.

With videos or a take of the data set, a trained family separates. With the instruments alone, their partials do
(`tasks.partials`): nothing needs to be trained, and what a family's network does without videos is worse than nothing.
"""

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
from tasks.partials.params import PartialsParams
from tasks.partials.separation import LEAST_RATE, separate
from tasks.partials.spectra import spectra_from_bytes
from tasks.pretrained import read_pretrained
from tasks.registry import kind_module
from tasks.store.audio import write_channels
from tasks.synchronize import SynchronizeParams

FORMATS = ("flac", "wav")
PARTIALS = "partials"
"""The method that needs the instruments alone, where a family's name stands else."""
PARTIALS_FILE = "partials.safetensors"
SHORTEST_S = 0.5  # of a mix that partials separate
UNSURE = 0.5  # sureness below which a player's sound is called a guess
HARDLY_HEARD = 0.05  # share of the mix's energy below which a player may not be there
MUCH_UNEXPLAINED = 0.15  # share of the mix's energy
Remark = Callable[[str], None]
"""Takes one line about a change to the inputs or outputs that was not requested."""


class SeparateParams(Section):
    """The family for mixes with videos, the method for those without, and limits of a mix and its videos."""

    family: str  # when none is named, and there are videos
    partials: PartialsParams
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
        sureness: 0 to 1, how far the sound is the method's estimate; the rest is an equal share of the mix. None of a
            method that does not tell.
    """

    player: int
    instrument: str
    path: Path
    level_dbfs: float
    sureness: float | None


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
        why: the method was used.
    """

    system: str
    stems: tuple[Stem, ...]
    duration_s: float
    sample_rate: int
    channels: int
    gain_db: float
    remarks: tuple[str, ...]
    why: str


@dataclass(frozen=True, kw_only=True)
class Method:
    """What separates a mix.

    Attributes:
        family: that separates, or `PARTIALS`.
        why: in words.
    """

    family: str
    why: str


def method_for(*, family: str | None, system: str | None, default: str, trained: Path, has_video: bool) -> Method:
    """Return the best method that what is given allows.

    Args:
        family: requested; None leaves the choice.
        system: requested, of the family.
        default: the family for mixes with videos.
        trained: what its `fit` wrote.
        has_video: there are videos, or a take of the data set.
    """
    if family is not None or system is not None:
        return Method(family=family or default, why="as requested")
    if not has_video:
        return Method(family=PARTIALS, why="the instruments alone are known: there is no --video and no --take")
    if not any(trained.glob("*.safetensors")):
        return Method(family=PARTIALS, why=f"{default} is not trained here, so that no video is used")
    return Method(family=default, why="there are videos of the players")


def separate_file(
    mix: Path,
    out: Path,
    *,
    method: Method,
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
        method: a family that separates, or `PARTIALS`; of `method_for`.
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
        DamagedData: the family is not trained, or its files, the take's or those that come with audiate are damaged.
        PipelineError: ``out`` cannot be written.
    """
    if take is not None and (players is not None or videos):
        raise SeparateError(
            f"take {take} has players and videos of its own, expected no other players and videos",
            kind="PLAYERS_TWICE",
        )
    remarks: list[str] = []

    def remark(words: str) -> None:
        remarks.append(words)
        progress(words)

    adapter = _separator(method.family)
    if adapter is None and system is not None:
        raise ParamsError(f"{PARTIALS} has no system {system!r}, expected none")
    kind = kind_module(SeparationFamily.data, "separate")
    instruments: tuple[str, ...] = kind.instruments_of(mix, players=players, take=take, data=data)
    if adapter is None:
        made = _by_partials(mix, instruments, params, remark, progress)
    else:
        chosen = _system(adapter, method.family, system, has_video=bool(videos) or take is not None)

        def mixture(audio: NDArray[np.float32], rate: int) -> Any:
            if videos:
                progress("reading the videos")
            return kind.mixture_of_file(
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

        made = _by_family(adapter, chosen, mix, mixture, trained, params.media, accelerator, remark, progress)
    if not np.isfinite(made.stems).all():
        raise DamagedData(f"{made.system} made samples that are no numbers: its weights may be damaged")
    stems, gain_db = below_full_scale(made.stems)
    if gain_db:
        remark(f"all sounds are lowered by {-gain_db:.1f} dB, to stay below full scale")
    progress("writing the sounds")
    return SeparatedMix(
        system=made.system,
        stems=tuple(_write(out, instruments, stems, made, suffix)),
        duration_s=stems.shape[2] / made.sample_rate,
        sample_rate=made.sample_rate,
        channels=stems.shape[1],
        gain_db=gain_db,
        remarks=tuple(remarks),
        why=method.why,
    )


@dataclass(frozen=True, kw_only=True)
class _Made:
    """The sounds (K, C, n) of a system."""

    system: str
    stems: NDArray[np.float32]
    sample_rate: int
    sureness: tuple[float, ...] | None


def _separator(family: str) -> SeparationFamily[Any] | None:
    """Return the family's adapter; None of `PARTIALS`, which is no family."""
    if family == PARTIALS:
        return None
    adapter = load_family(family)
    if not isinstance(adapter, SeparationFamily):
        raise ParamsError(f"family {family} gives a video its sound, expected one that separates mixes")
    return adapter


def _by_family(
    adapter: SeparationFamily[Any],
    system: str,
    mix: Path,
    mixture: Callable[[NDArray[np.float32], int], Any],
    trained: Path,
    media: MediaPolicy,
    accelerator: str,
    remark: Remark,
    progress: Callable[[str], None],
) -> _Made:
    """Separate a mix by a system that was trained, at the rate and in the channels of its training.

    Args:
        mixture: makes of the mix's samples and rate what the family separates.
    """
    rate, channels = _trained_on(trained / system)
    progress("reading the mix")
    audio = _read_mix(mix, media, remark, rate=rate, channels=channels)
    duration_s = audio.shape[1] / rate
    shortest_s = max(adapter.shortest_s(trained, system), 1 / rate)
    if duration_s < shortest_s:
        raise SeparateError(
            f"{mix}: lasts {duration_s:.3f} s, expected at least {shortest_s:.3f} s, a window of {system}",
            kind="TOO_SHORT",
        )
    made = mixture(audio, rate)
    progress(f"{system} separates {duration_s:.1f} s")
    (separation,) = adapter.separate(trained, {mix.name: made}, systems=(system,), accelerator=accelerator, truth=None)
    if system in adapter.unordered:
        remark(f"{system} does not assign its sounds to players: they are in no order")
    stems = at_rate(separation.stems, separation.sample_rate, rate, audio.shape[1])
    return _Made(system=system, stems=stems, sample_rate=rate, sureness=None)


def _by_partials(
    mix: Path,
    instruments: tuple[str, ...],
    params: SeparateParams,
    remark: Remark,
    progress: Callable[[str], None],
) -> _Made:
    """Separate a mix by its players' partials, at its own rate and in its own channels."""
    spectra = spectra_from_bytes(read_pretrained(PARTIALS_FILE), PARTIALS_FILE)
    progress("reading the mix")
    audio, rate = _read_whole(mix, params.media, remark)
    if rate < LEAST_RATE:
        raise SeparateError(f"{mix}: has {rate} samples a second, expected at least {LEAST_RATE}", kind="LOW_RATE")
    duration_s = audio.shape[1] / rate
    if duration_s < SHORTEST_S:
        raise SeparateError(f"{mix}: lasts {duration_s:.3f} s, expected at least {SHORTEST_S:g} s", kind="TOO_SHORT")
    progress(f"{PARTIALS} separates {duration_s:.1f} s of {len(instruments)} players")
    parted = separate(
        audio,
        rate,
        instruments,
        spectra,
        params.partials,
        progress=lambda share: progress(f"{PARTIALS}: {share:.0%} of {duration_s:.1f} s"),
    )
    for code in sorted({one for one in instruments if instruments.count(one) > 1}):
        remark(
            f"the {instruments.count(code)} players of {ORCHESTRA[code].name} cannot be told apart by instruments "
            "alone: each has an equal share of what they play together"
        )
    if len(instruments) == 1:
        remark("one player was named: the sound is the mix")
    elif len(set(instruments)) > 1:
        unsure = [
            f"{number} ({code}) {sure:.0%}"
            for number, (code, sure) in enumerate(zip(instruments, parted.sureness, strict=True), 1)
            if sure < UNSURE
        ]
        if unsure:
            remark(f"not sure of player {', '.join(unsure)}: the rest of these sounds is an equal share of the mix")
        for number, (code, share) in enumerate(zip(instruments, parted.heard, strict=True), 1):
            if share < HARDLY_HEARD:
                remark(f"player {number} ({code}) is hardly heard: {share:.1%} of the mix's energy")
        if parted.unexplained > MUCH_UNEXPLAINED:
            remark(
                f"the players named explain {1 - parted.unexplained:.0%} of the mix's energy: others may play, or noise"
            )
    return _Made(system=PARTIALS, stems=parted.sounds, sample_rate=rate, sureness=parted.sureness)


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
        # What does not assign its sounds to players is used where it is named, and not else.
        models = [one for one in able if adapter.role(one) == "model" and one not in adapter.unordered]
        if not models:
            raise SeparateError(
                f"family {family} needs videos of the players: add --video or --take, or leave --family out",
                kind="NEEDS_VIDEO",
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


def _read_whole(path: Path, policy: MediaPolicy, remark: Remark) -> tuple[NDArray[np.float32], int]:
    """Return a mix (channels, n) as it is, and its rate in Hz."""
    blocks = SoundBlocks(path, sample_rate=None, policy=policy, lenient=True, mix=False)
    audio = np.ascontiguousarray(np.concatenate(list(blocks)).T, np.float32)
    for words in blocks.remarks:
        remark(f"of the mix {words}")
    if not audio.any():
        raise SeparateError(f"{path}: is silent throughout, expected a mix", kind="SILENT")
    return audio, blocks.sample_rate


def _read_mix(path: Path, policy: MediaPolicy, remark: Remark, *, rate: int, channels: int) -> NDArray[np.float32]:
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


def _write(out: Path, instruments: Sequence[str], stems: NDArray[np.float32], made: _Made, suffix: str) -> list[Stem]:
    if suffix not in FORMATS:
        raise ParamsError(f"format {suffix!r} is unknown, expected one of {', '.join(FORMATS)}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PipelineError(f"{out} cannot be made a folder: {error.strerror}") from None
    written = []
    for number, (instrument, stem) in enumerate(zip(instruments, stems, strict=True), 1):
        path = out / f"stem_{number}_{instrument}.{suffix}"
        write_channels(path, stem, made.sample_rate)
        written.append(
            Stem(
                player=number,
                instrument=instrument,
                path=path,
                level_dbfs=round(level_dbfs(stem.ravel()), 2),
                sureness=None if made.sureness is None else round(made.sureness[number - 1], 3),
            )
        )
    return written
