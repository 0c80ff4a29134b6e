"""Verb ``separate``: take one mix apart, by ear, or by ear and eye."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.clock.fit import ClockFit
from tasks.errors import BadInput, DamagedData, ParamsError, PipelineError
from tasks.families import load_family
from tasks.families.separated import at_rate
from tasks.families.separation import Mixture, SeparationFamily, mixture_of
from tasks.families.trained import load_facts
from tasks.features.cuts import cut_squares
from tasks.features.motion import motion_features
from tasks.features.players import find_players
from tasks.features.resample import resample
from tasks.instruments.orchestra import ORCHESTRA
from tasks.intake.describe import read_take_file
from tasks.intake.folder import TAKE_FILE
from tasks.intake.players import instrument_code
from tasks.media.pictures import iter_pictures
from tasks.media.probe import MediaPolicy, probe
from tasks.media.process import MediaError
from tasks.media.sound import SoundBlocks
from tasks.metrics.sound import level_dbfs
from tasks.params import Section
from tasks.store.audio import write_channels
from tasks.store.ensembles import PICTURE_SIZE, EnsembleSet
from tasks.store.views import pictures_at
from tasks.synchronize import SynchronizeParams, sync_files

FRAME_RATE = Fraction(25)  # of views that are read here, as the extract stage has them
MOST_ROWS = 240  # of the pictures that players are looked for in
FORMATS = ("flac", "wav")
HEADROOM = 0.999  # of full scale, that a mix's sounds are lowered to when one of them would pass it
SAME_LENGTH_S = 0.1  # that a mix may be longer or shorter than the take it is said to be
LATE_S = 0.5  # that a view may begin late, or end early, without a word


class SeparateParams(Section):
    """What a mix and its videos may be."""

    family: str  # that takes it apart when none is named
    media: MediaPolicy


class SeparateError(BadInput):
    """A mix, or what is said of its players, that cannot be used."""


@dataclass(frozen=True, kw_only=True)
class Stem:
    """A player's sound that was written.

    Attributes:
        player: his number, from 1.
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
    """What came of a mix.

    Attributes:
        system: that took it apart.
        stems: a file a player.
        duration_s: of each.
        sample_rate: of each, in Hz.
        channels: of each.
        gain_db: that all were lowered by to stay below full scale; 0 or less.
        remarks: what was done to the mix or the views that nobody asked for, in words.
    """

    system: str
    stems: tuple[Stem, ...]
    duration_s: float
    sample_rate: int
    channels: int
    gain_db: float
    remarks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What is seen of the players, a row each, at `FRAME_RATE`."""

    pictures: NDArray[np.uint8]  # (K, T, H, W)
    motion: NDArray[np.float32]  # (K, T, F)


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
    """Write ``out/stem_N_CODE.flac`` of each player that is heard in a mix.

    Who plays is said by ``players``, by ``take``, or by the take.yaml beside the mix. The mix is resampled to the rate
    that the family learned at; a mix of several channels is averaged for a family of one. Both is remarked upon.

    Args:
        mix: a recording; of a video its sound.
        out: a folder, made when needed.
        family: one that separates.
        trained: what the family's `fit` wrote.
        data: the ensembles that ``take`` is one of.
        params: typed values of the ``separate`` section.
        clock: how a video that has a sound is placed on the mix's clock by it.
        accelerator: Lightning's word.
        progress: is told what begins, in a few words.
        players: instruments' codes or names, in the order of the players.
        videos: one a player in their order, or one of all, in which they stand in that order row by row, from left to
            right. One without a sound, or whose sound is not the mix's, begins with the mix.
        take: of the data set, whose players, views and notes are known; the mix is as long.
        system: of the family; left out the first one that can do with what is known.
        suffix: ``flac`` or ``wav``, of 16 bits.

    Raises:
        SeparateError: ``UNKNOWN_INSTRUMENT``, ``NO_PLAYERS``, ``TOO_SHORT``, ``LOW_RATE``, ``MONO``, ``OTHER_LENGTH``,
            ``VIDEOS``, ``NOTHING_SEEN``, ``CHANNELS``, ``SILENT``, ``TWICE_SAID``.
        PlayersNotFound: fewer players are seen than were named.
        MediaError: the mix or a video cannot be used.
        ParamsError: the family or the system is unknown, or separates nothing.
        DamagedData: the family is not trained, or its files or the take's are damaged.
        PipelineError: ``out`` cannot be written.
    """
    adapter = load_family(family)
    if not isinstance(adapter, SeparationFamily):
        raise ParamsError(f"family {family} gives films their sound, expected one that separates mixes")
    if take is not None and (players is not None or videos):
        raise SeparateError(
            f"take {take} says who plays and shows them, expected no players and no videos beside it", kind="TWICE_SAID"
        )
    remarks: list[str] = []

    def remark(words: str) -> None:
        remarks.append(words)
        progress(words)

    ensembles = EnsembleSet(data) if take is not None else None
    instruments = _instruments(mix, players, take, ensembles)
    chosen = _system(adapter, family, system, sees=bool(videos) or take is not None)
    rate, channels = _learned(trained / chosen)
    progress("reading the mix")
    audio = _read_mix(mix, rate, channels, params.media, remark)
    duration_s = audio.shape[1] / rate
    shortest_s = max(adapter.shortest_s(trained, chosen), 1 / rate)
    if duration_s < shortest_s:
        raise SeparateError(
            f"{mix}: lasts {duration_s:.3f} s, expected at least {shortest_s:.3f} s, a window of {chosen}",
            kind="TOO_SHORT",
        )
    mixture = Mixture(
        audio=audio,
        sample_rate=rate,
        instruments=instruments,
        motion=None,
        pictures=None,
        rolls=None,
        frame_rate=FRAME_RATE,
    )
    if ensembles is not None and take is not None:
        length_s = ensembles.duration_s(take)
        if abs(length_s - duration_s) > SAME_LENGTH_S:
            raise SeparateError(
                f"{mix}: lasts {duration_s:.3f} s, take {take} {length_s:.3f} s: expected its mix", kind="OTHER_LENGTH"
            )
        mixture = replace(mixture_of(ensembles, take), audio=audio, sample_rate=rate)
    elif videos:
        progress("looking at the players")
        placed = [(video, _clock(mix, video, params.media, clock, remark)) for video in videos]
        seen = _look(placed, len(instruments), duration_s, params.media, remark)
        mixture = replace(mixture, motion=seen.motion, pictures=seen.pictures)
    progress(f"{chosen} takes {duration_s:.1f} s of {len(instruments)} players apart")
    separations = adapter.only(chosen).separate(trained, {mix.name: mixture}, accelerator=accelerator, truth=None)
    made = next((one for one in separations if one.system == chosen), None)
    if made is None:
        raise DamagedData(f"{chosen} of {family} made nothing of {mix}, expected a sound a player")
    if chosen in adapter.unordered:
        remark(f"{chosen} does not know whose its sounds are: they stand in no order")
    stems = at_rate(made.stems, made.sample_rate, rate, audio.shape[1])
    if not np.isfinite(stems).all():
        raise DamagedData(f"{chosen} made samples that are no numbers: are its weights damaged?")
    peak = float(np.abs(stems).max(initial=0.0))
    gain = 1.0 if peak <= 1.0 else HEADROOM / peak
    if gain < 1:
        remark(f"all sounds are {-20 * np.log10(gain):.1f} dB softer than they came out, to stay below full scale")
    progress("writing the sounds")
    return SeparatedMix(
        system=chosen,
        stems=tuple(_write(out, instruments, stems * np.float32(gain), rate, suffix)),
        duration_s=duration_s,
        sample_rate=rate,
        channels=channels,
        gain_db=round(20 * float(np.log10(gain)), 3),
        remarks=tuple(remarks),
    )


def players_named(text: str) -> tuple[str, ...]:
    """Return the codes of instruments that are written with commas between them, as codes or names.

    Raises:
        SeparateError: ``UNKNOWN_INSTRUMENT``, names it and the codes there are.
    """
    words = [word.strip() for word in text.split(",")]
    return tuple(_code(word) for word in words)


def _code(word: str) -> str:
    code = instrument_code(word) if word else ""
    if code not in ORCHESTRA:
        known = ", ".join(f"{code} ({about.name})" for code, about in ORCHESTRA.items())
        raise SeparateError(f"instrument {word!r} is unknown, expected one of {known}", kind="UNKNOWN_INSTRUMENT")
    return code


def _instruments(
    mix: Path, players: Sequence[str] | None, take: str | None, ensembles: EnsembleSet | None
) -> tuple[str, ...]:
    if ensembles is not None and take is not None:
        return ensembles.instruments(take)
    if players is not None:
        named = tuple(_code(word) for word in players)
        if not named:
            raise SeparateError("nobody plays, expected at least one player", kind="NO_PLAYERS")
        return named
    path = mix.parent / TAKE_FILE
    said = read_take_file(path).players if path.is_file() else ()
    if not said:
        raise SeparateError(
            f"{mix}: nobody says who plays, expected --players, --take, or players in a {TAKE_FILE} beside it",
            kind="NO_PLAYERS",
        )
    return tuple(_code(player.instrument) for player in said)


def _system(adapter: SeparationFamily[Any], family: str, system: str | None, *, sees: bool) -> str:
    """Return the system that was asked for, or the first that can do with what is known."""
    able = [one for one in adapter.systems if adapter.role(one) != "bound" and (sees or one not in adapter.sighted)]
    if system is None:
        at_work = [one for one in able if adapter.role(one) == "model"]
        if not at_work:
            raise SeparateError(
                f"family {family} looks at the players, expected --video or --take", kind="NOTHING_SEEN"
            )
        return at_work[0]
    if system not in adapter.systems or adapter.role(system) == "bound":
        raise ParamsError(
            f"family {family} has no system {system!r} that knows no truth, expected one of "
            f"{', '.join(one for one in adapter.systems if adapter.role(one) != 'bound')}"
        )
    if system not in able:
        raise SeparateError(f"{system} looks at the players, expected --video or --take", kind="NOTHING_SEEN")
    return system


def _learned(stem: Path) -> tuple[int, int]:
    """Return rate and channels of what a system learned from.

    Raises:
        DamagedData: it is not trained, or does not say.
    """
    facts = load_facts(stem, {"sample_rate": int, "n_channels": int})
    rate, channels = facts["sample_rate"], facts["n_channels"]
    if rate < 1 or channels < 1:
        raise DamagedData(f"{stem}.json says {channels} channels at {rate} Hz, expected at least 1 of both")
    return rate, channels


def _read_mix(
    path: Path, rate: int, channels: int, policy: MediaPolicy, remark: Callable[[str], None]
) -> NDArray[np.float32]:
    """Return a mix (channels, n) at the rate that is wanted."""
    blocks = SoundBlocks(path, sample_rate=None, policy=policy, lenient=False, mix=False)
    if blocks.sample_rate < rate:
        raise SeparateError(
            f"{path}: has {blocks.sample_rate} samples a second, expected at least {rate}, which was learned from",
            kind="LOW_RATE",
        )
    if blocks.channels < channels:
        raise SeparateError(
            f"{path}: has {blocks.channels} channel, expected at least {channels}, which were learned from",
            kind="MONO",
        )
    audio = np.concatenate(list(blocks)).T  # (channels of the file, n)
    if blocks.holes:
        remark(f"the mix has {len(blocks.holes)} holes, silent here")
    if len(audio) > channels:
        if channels > 1:
            raise SeparateError(
                f"{path}: has {len(audio)} channels, expected {channels}, which were learned from", kind="CHANNELS"
            )
        remark(f"the mean of the mix's {len(audio)} channels is taken apart")
        audio = audio.mean(axis=0, keepdims=True)
    if blocks.sample_rate != rate:
        remark(f"resampled from {blocks.sample_rate} to {rate} Hz, what is above {rate / 2:g} Hz is left out")
        audio = np.stack([resample(np.ascontiguousarray(one), blocks.sample_rate, rate) for one in audio])
    if not audio.any():
        raise SeparateError(f"{path}: is silent throughout, expected a mix", kind="SILENT")
    return np.ascontiguousarray(audio, np.float32)


def _clock(
    mix: Path, video: Path, policy: MediaPolicy, params: SynchronizeParams, remark: Callable[[str], None]
) -> ClockFit | None:
    """Return the clock of a video against the mix's by what it heard; None where it begins with the mix."""
    if probe(video, policy=policy).audio is None:
        return None
    (placed,) = sync_files(mix, [video], params=params).others
    if placed.fit is None or placed.fit.verdict != "locked":
        remark(f"{video.name} is taken to begin with the mix: by its sound it cannot be placed, {placed.reason}")
        return None
    return placed.fit


def _look(
    videos: Sequence[tuple[Path, ClockFit | None]],
    n_players: int,
    duration_s: float,
    policy: MediaPolicy,
    remark: Callable[[str], None],
) -> _Seen:
    if len(videos) not in (1, n_players):
        raise SeparateError(
            f"{len(videos)} videos of {n_players} players, expected one of all or one of each", kind="VIDEOS"
        )
    n_frames = max(int(duration_s * FRAME_RATE), 1)
    if len(videos) == n_players:
        size = (PICTURE_SIZE, PICTURE_SIZE)
        pictures = np.stack([_on_grid(*video, size, n_frames, policy, remark) for video in videos])
    else:
        ((video, clock),) = videos
        facts = probe(video, policy=policy)
        if facts.video is None:
            raise MediaError(f"{video}: holds no video stream", kind="NO_VIDEO")
        scale = min(1.0, MOST_ROWS / facts.video.height)
        size = (max(round(facts.video.height * scale), 1), max(round(facts.video.width * scale), 1))
        all_of_them = _on_grid(video, clock, size, n_frames, policy, remark)
        boxes = find_players(all_of_them, n_players)
        pictures = cut_squares(all_of_them, boxes, size=PICTURE_SIZE)
    return _Seen(pictures=pictures, motion=np.stack([motion_features(view) for view in pictures]))


def _on_grid(
    video: Path,
    clock: ClockFit | None,
    size: tuple[int, int],
    n_frames: int,
    policy: MediaPolicy,
    remark: Callable[[str], None],
) -> NDArray[np.uint8]:
    """Return the pictures (n_frames, *size) that are shown at `FRAME_RATE`; the nearest where there is none."""
    if n_frames * size[0] * size[1] > policy.max_bytes:
        raise MediaError(
            f"{video}: {n_frames} pictures of {size[1]}x{size[0]}, expected at most {policy.max_bytes} bytes of them",
            kind="TOO_LARGE",
        )
    end_s = n_frames / float(FRAME_RATE)
    pictures: list[NDArray[np.uint8]] = []
    times: list[NDArray[np.float64]] = []
    for some, own_s in iter_pictures(video, width=size[1], height=size[0], policy=policy):
        some_s = own_s if clock is None else clock.to_reference(own_s)
        wanted = some_s <= end_s
        pictures.append(some[wanted])
        times.append(some_s[wanted])
        if not wanted.all():
            break
    time_s = np.concatenate(times)
    if len(time_s) < 2:
        raise MediaError(
            f"{video}: holds {len(time_s)} pictures of the mix's time, expected a film", kind="ONE_PICTURE"
        )
    if time_s[0] > LATE_S:
        remark(f"{video.name} begins {time_s[0]:.1f} s after the mix: its first picture stands there")
    missing_s = end_s - time_s[-1] - 1 / float(FRAME_RATE)
    if missing_s > LATE_S:
        remark(f"{video.name} ends {missing_s:.1f} s before the mix: its last picture stands there")
    moments_s = np.arange(n_frames) / float(FRAME_RATE)
    return np.concatenate(pictures)[pictures_at(time_s, moments_s)]


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
