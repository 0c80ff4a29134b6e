"""The sound of stems and mixes, read in blocks at any rate.

Shapes: n samples, C channels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from tasks.media.channels import UsedChannels, every_channel
from tasks.media.probe import MediaPolicy, probe
from tasks.media.process import MediaError
from tasks.media.sound import SoundBlocks, used_channels
from tasks.store.audio import PcmWav, is_pcm_wav

BLOCK_LENGTH = 1 << 16  # samples of every stem at a time

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

    A WAV file of integer samples is read directly; any other file is decoded, leniently.

    Attributes:
        sample_rate: in Hz.
        channels: how many.
        codec: what it is stored as.
        container: format of the file.
        stream: which of the file's streams it is; None where no other program is needed to read it.
        truncated_at_s: where the sound ends, if that is before the end that the file declares; known once all is read.
        n_patched: samples that are not numbers and are zeros now; known once all is read.

    Raises:
        MediaError: as in `tasks.media.sound.SoundBlocks`; ``NO_AUDIO``, the file has no such stream.
        AudioError: as in `tasks.store.audio.PcmWav`.
    """

    def __init__(self, sound: StemSound, policy: MediaPolicy) -> None:
        self.truncated_at_s: float | None = None
        self.n_patched = 0
        self._path, self._policy = sound.path, policy
        self.stream: int | None = None
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
        self.stream = self._decoded.stream
        stream = next(one for one in facts.sounds if one.index == self.stream)
        self.sample_rate, self.channels = self._decoded.sample_rate, self._decoded.channels
        self.codec, self.container = stream.codec, facts.container

    def __iter__(self) -> Iterator[Block]:
        """Yield blocks in order of time."""
        if self._decoded is None:
            yield from self._plain
            return
        yield from self._decoded
        self.truncated_at_s = self._decoded.truncated_at_s
        self.n_patched = self._decoded.n_patched

    def used_channels(self) -> UsedChannels:
        """Return which channels are used where they become one; several are decoded once more to tell.

        Raises:
            MediaError: as the blocks do.
        """
        if self.channels == 1:
            return every_channel(1)
        return used_channels(self._path, policy=self._policy, stream=self.stream)


def blocks_at(
    sound: StemSound, policy: MediaPolicy, *, sample_rate: int, channels: int, alone: bool = False
) -> Iterator[Block]:
    """Yield a stem's sound in blocks at another rate, with its own channels or their mean.

    The mean is over all channels, dead ones too: mono stems add up to the mono mix only where one rule holds for all.

    Args:
        sound: the stem.
        policy: what it may cost.
        sample_rate: Hz.
        channels: as many as it has, or 1.
        alone: whether it need not add up with others: dead channels and those that cancel are left out.

    Raises:
        MediaError: it has other channels; or as in `StemBlocks`.
    """
    blocks = StemBlocks(sound, policy)
    if channels not in (1, blocks.channels):
        raise MediaError(
            f"{sound.path}: has {blocks.channels} channels, expected {channels}, or chunk.stem_channels: 1",
            kind="FEWER_CHANNELS" if blocks.channels < channels else "OTHER_CHANNELS",
        )
    used = blocks.used_channels() if alone else every_channel(blocks.channels)
    mixed = (used.mix(block) if channels < block.shape[1] else block for block in blocks)
    yield from resampled(mixed, blocks.sample_rate, sample_rate, channels)


def sound_at(
    sound: StemSound, policy: MediaPolicy, *, sample_rate: int, channels: int, n_samples: int
) -> NDArray[np.float32]:
    """Return all of a stem's sound (C, n_samples) at another rate, silent after its end.

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


def resampled(blocks: Iterator[Block], from_rate: int, to_rate: int, channels: int) -> Iterator[Block]:
    """Yield blocks (n, channels) at another sample rate in Hz."""
    if from_rate == to_rate:
        yield from blocks
        return
    # 16 bits hold no more than high quality keeps, at half the cost of the very highest.
    stream = soxr.ResampleStream(from_rate, to_rate, channels, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(block).reshape(-1, channels)
    yield stream.resample_chunk(np.zeros((0, channels), np.float32), last=True).reshape(-1, channels)
