"""The sound of stems and mixes: read in blocks side by side, measured, and compared with one another.

Shapes: n samples, C channels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log10
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from tasks.media.levels import SoundMeter
from tasks.media.probe import MediaPolicy, probe
from tasks.media.process import MediaError
from tasks.media.sound import SoundBlocks
from tasks.store.audio import PcmWav, is_pcm_wav

BLOCK_LENGTH = 1 << 16  # samples of every stem at a time
LOWEST_DB = -120.0  # what is told of a residual that rounding hides

Block = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class StemSound:
    """Where the sound of a stem or of a mix is.

    Attributes:
        path: its file.
        stream: which of the file's audio streams, from 0 among these; None where there is but one.
    """

    path: Path
    stream: int | None = None


class StemBlocks:
    """A stem's sound in blocks (n, C) at its own rate; iterate once.

    A WAV file of whole numbers is read as it is; anything else is decoded, leniently.

    Attributes:
        sample_rate: in Hz.
        channels: how many.
        codec: what it is stored as.
        container: what in.
        truncated_at_s: where the sound ends when that is before the file says; known when all was read.

    Raises:
        MediaError: as in `tasks.media.sound.SoundBlocks`; ``NO_AUDIO``, the file has no such stream.
        AudioError: as in `tasks.store.audio.PcmWav`.
    """

    def __init__(self, sound: StemSound, policy: MediaPolicy) -> None:
        self.truncated_at_s: float | None = None
        self._decoded: SoundBlocks | None = None
        if sound.stream is None and is_pcm_wav(sound.path):
            self._plain = PcmWav(sound.path, block_length=BLOCK_LENGTH)
            self.sample_rate, self.channels = self._plain.sample_rate, self._plain.channels
            self.codec, self.container = self._plain.subtype.lower(), "wav"
            return
        facts = probe(sound.path, policy=policy)
        index = None
        if sound.stream is not None:
            if sound.stream >= len(facts.sounds):
                raise MediaError(
                    f"{sound.path}: holds {len(facts.sounds)} audio streams, expected at least {sound.stream + 1}",
                    kind="NO_AUDIO",
                )
            index = facts.sounds[sound.stream].index
        self._decoded = SoundBlocks(
            sound.path, sample_rate=None, policy=policy, stream=index, lenient=True, facts=facts, mix=False
        )
        stream = next(one for one in facts.sounds if one.index == self._decoded.stream)
        self.sample_rate, self.channels = self._decoded.sample_rate, self._decoded.channels
        self.codec, self.container = stream.codec, facts.container

    def __iter__(self) -> Iterator[Block]:
        """Yield blocks in order of time."""
        if self._decoded is None:
            yield from self._plain
            return
        yield from self._decoded
        self.truncated_at_s = self._decoded.truncated_at_s


def blocks_at(sound: StemSound, policy: MediaPolicy, *, sample_rate: int, channels: int) -> Iterator[Block]:
    """Yield a stem's sound in blocks at another rate, with its own channels or their mean.

    Args:
        sound: the stem.
        policy: what it may cost.
        sample_rate: Hz.
        channels: as many as it has, or 1.

    Raises:
        MediaError: it has other channels; or as in `StemBlocks`.
    """
    blocks = StemBlocks(sound, policy)
    if channels not in (1, blocks.channels):
        raise MediaError(
            f"{sound.path}: has {blocks.channels} channels, expected {channels}, or chunk.stem_channels: 1",
            kind="FEWER_CHANNELS" if blocks.channels < channels else "OTHER_CHANNELS",
        )
    mixed = (block.mean(axis=1, keepdims=True) if channels < block.shape[1] else block for block in blocks)
    yield from _resampled(mixed, blocks.sample_rate, sample_rate, channels)


def sound_at(
    sound: StemSound, policy: MediaPolicy, *, sample_rate: int, channels: int, n_samples: int
) -> NDArray[np.float32]:
    """Return a stem's sound whole (C, n_samples), silent behind its end, at another rate.

    Raises:
        MediaError: as in `blocks_at`.
    """
    whole = np.zeros((channels, n_samples), np.float32)
    at = 0
    for block in blocks_at(sound, policy, sample_rate=sample_rate, channels=channels):
        part = block[: n_samples - at].T
        whole[:, at : at + part.shape[1]] = part
        at += part.shape[1]
    return whole


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured of one stem.

    Attributes:
        facts: as the catalog keeps them of a microphone.
        duration_s: of its sound.
        is_silent: no sample is above -80 dB.
    """

    facts: dict[str, Any]
    duration_s: float
    is_silent: bool

    @property
    def truncated_at_s(self) -> float | None:
        """Where its sound ends when that is before its file says."""
        cut: float | None = self.facts["truncated_at_s"]
        return cut


class Measuring:
    """A stem that is measured while its blocks pass by."""

    def __init__(self, sound: StemSound, policy: MediaPolicy) -> None:
        self.blocks = StemBlocks(sound, policy)
        self._meter = SoundMeter(self.blocks.sample_rate, self.blocks.channels)

    def __iter__(self) -> Iterator[Block]:
        """Yield the stem's blocks."""
        for block in self.blocks:
            self._meter.add(block)
            yield block

    def measured(self) -> Measured:
        """Return what was measured, once all blocks have passed."""
        found = self._meter.facts()
        audio = {
            "codec": self.blocks.codec,
            "sample_rate": found.sample_rate,
            "channels": found.channels,
            "start_s": 0.0,
            "peak_db": round(max(found.peak_db, LOWEST_DB), 1),
            "clipped": round(found.clipped, 6),
            "dead_channels": list(found.dead_channels),
            "holes": [],
        }
        facts = {
            "container": self.blocks.container,
            "duration_s": found.duration_s,
            "video": None,
            "audio": audio,
            "truncated_at_s": self.blocks.truncated_at_s,
        }
        return Measured(facts=facts, duration_s=found.duration_s, is_silent=found.is_silent)


@dataclass(frozen=True, kw_only=True)
class MixFit:
    """How well a mix is the sum of its stems.

    Attributes:
        gain: that the sum is nearest to the mix with.
        residual_db: power of what the two then differ by, against the mix's; 0 where they have nothing in common.
    """

    gain: float
    residual_db: float


def measure_mix(stems: Sequence[Measuring], mix: Measuring) -> MixFit:
    """Read stems and mix side by side and compare their sum with it; where rates or channels differ, in mono.

    Raises:
        MediaError: one of them cannot be read.
    """
    rate = mix.blocks.sample_rate
    own = [(one.blocks.sample_rate, one.blocks.channels) for one in (*stems, mix)]
    alike = len(set(own)) == 1
    streams = [_converted(one, rate, alike=alike) for one in (*stems, mix)]
    both, made, heard = 0.0, 0.0, 0.0
    for *parts, mixed in side_by_side(streams):
        total = parts[0].astype(np.float64)
        for part in parts[1:]:
            total += part
        both += float(np.vdot(total, mixed))
        made += float(np.vdot(total, total))
        heard += float(np.vdot(mixed, mixed.astype(np.float64)))
    if not both > 0 or not heard > 0:
        return MixFit(gain=1.0, residual_db=0.0)
    left = max(heard - both * both / made, 0.0) / heard
    return MixFit(gain=both / made, residual_db=max(10 * log10(left), LOWEST_DB) if left > 0 else LOWEST_DB)


def side_by_side(streams: Sequence[Iterator[Block]], *, length: int = BLOCK_LENGTH) -> Iterator[list[Block]]:
    """Yield blocks of equal length from all, silent behind the end of those that end early.

    All have the same number of channels.
    """
    held: list[list[Block]] = [[] for _ in streams]
    open_ = [True] * len(streams)
    while True:
        for number, stream in enumerate(streams):
            while open_[number] and sum(map(len, held[number])) < length:
                block = next(stream, None)
                if block is None:
                    open_[number] = False
                else:
                    held[number].append(block)
        parts = [np.concatenate(blocks) if blocks else None for blocks in held]
        longest = max((min(len(part), length) for part in parts if part is not None), default=0)
        if not longest:
            return
        channels = next(part.shape[1] for part in parts if part is not None)
        given = []
        for number, part in enumerate(parts):
            whole = np.zeros((longest, channels), np.float32)
            if part is not None:
                whole[: len(part)] = part[:longest]
                held[number] = [part[longest:]] if len(part) > longest else []
            given.append(whole)
        yield given


def _converted(one: Measuring, rate: int, *, alike: bool) -> Iterator[Block]:
    if alike:
        return iter(one)
    return _mono_at(iter(one), one.blocks.sample_rate, rate)


def _mono_at(blocks: Iterator[Block], from_rate: int, to_rate: int) -> Iterator[Block]:
    return _resampled((block.mean(axis=1, keepdims=True) for block in blocks), from_rate, to_rate, 1)


def _resampled(blocks: Iterator[Block], from_rate: int, to_rate: int, channels: int) -> Iterator[Block]:
    if from_rate == to_rate:
        yield from blocks
        return
    # 16 bits hold no more than high quality keeps, at half the cost of the very highest.
    stream = soxr.ResampleStream(from_rate, to_rate, channels, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(block).reshape(-1, channels)
    yield stream.resample_chunk(np.zeros((0, channels), np.float32), last=True).reshape(-1, channels)
