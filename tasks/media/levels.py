"""How loud a recording is and what is wrong with it as a signal: silence, clipping, a constant, a dead channel."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.media.channels import SILENT, ChannelMeter, UsedChannels
from tasks.media.loudness import LoudnessMeter
from tasks.media.probe import MediaFacts, MediaPolicy
from tasks.media.sound import SoundBlocks

FULL = 0.999  # of full scale and more: clipped (16 bits end at 0.99997)
SILENT_DB = -120.0  # reported for digital silence, which has no level


@dataclass(frozen=True, kw_only=True)
class SoundFacts:
    """What was measured of a recording's sound, over all of its channels; levels are against full scale, 1.0.

    Attributes:
        duration_s: from the file's time zero.
        sample_rate: Hz.
        channels: how many.
        peak_db: of the largest sample; -120 for digital silence.
        rms_db: of the mean power of all channels; -120 for digital silence.
        constant: the mean sample of the channel where it is largest, sign kept: a microphone's is near 0.
        loudness_lufs: integrated (`tasks.media.loudness`); None for silence, and for less than 0.4 s.
        clipped: part of the samples at full scale.
        is_silent: no sample above -80 dB.
        channels_used: those that its sound is the mean of; its ``dead`` hold silence or a constant.
    """

    duration_s: float
    sample_rate: int
    channels: int
    peak_db: float
    rms_db: float
    constant: float
    loudness_lufs: float | None
    clipped: float
    is_silent: bool
    channels_used: UsedChannels


class SoundMeter:
    """Measures sound that comes in blocks."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._sample_rate = sample_rate
        self._n = 0
        self._peak = np.zeros(channels)
        self._sum = np.zeros(channels)
        self._power = np.zeros(channels)
        self._n_clipped = 0
        self._channels = ChannelMeter(channels)
        self._loudness = LoudnessMeter(sample_rate, channels)

    def add(self, block: NDArray[np.float32]) -> None:
        """Take the next samples, (n, channels).

        Raises:
            ValueError: a sample is no number.
        """
        if not len(block):
            return
        size = np.abs(block)
        peak = size.max(axis=0)
        if not np.isfinite(peak).all():
            raise ValueError("a sample is no number")
        self._channels.add(block)
        self._loudness.add(block)
        self._n += len(block)
        self._peak = np.maximum(self._peak, peak)
        self._sum += block.sum(axis=0, dtype=np.float64)
        self._power += np.einsum("nc,nc->c", block, block, dtype=np.float64)
        if peak.max() >= FULL:
            self._n_clipped += int((size >= FULL).sum())

    def facts(self) -> SoundFacts:
        """Return what was measured so far."""
        n, channels = max(self._n, 1), len(self._peak)
        means = self._sum / n
        peak = float(self._peak.max())
        is_silent = peak < SILENT
        return SoundFacts(
            duration_s=self._n / self._sample_rate,
            sample_rate=self._sample_rate,
            channels=channels,
            peak_db=_db(peak),
            rms_db=_db(math.sqrt(float(self._power.sum()) / (n * channels))),
            constant=float(means[np.argmax(np.abs(means))]),
            loudness_lufs=self._loudness.lufs(),
            clipped=self._n_clipped / (n * channels),
            is_silent=is_silent,
            channels_used=self._channels.used(),
        )


def notable_facts(found: SoundFacts, *, n_patched: int) -> dict[str, Any]:
    """Return the facts that only some recordings have: a loudness, the channels used where not all are, samples put in.

    Args:
        found: what was measured.
        n_patched: samples that are not numbers.
    """
    facts: dict[str, Any] = {}
    if found.loudness_lufs is not None:
        facts["loudness_lufs"] = round(found.loudness_lufs, 1)
    if not found.channels_used.is_all:
        facts["channels_used"] = list(found.channels_used.used)
        facts["channels_cancel"] = found.channels_used.cancels
    if n_patched:
        facts["not_finite"] = n_patched
    return facts


def sound_facts(samples: NDArray[np.float32], *, sample_rate: int) -> SoundFacts:
    """Measure sound, (n,) or (n, channels).

    Raises:
        ValueError: a sample is no number.
    """
    block = samples[:, None] if samples.ndim == 1 else samples
    meter = SoundMeter(sample_rate, block.shape[1])
    meter.add(block)
    return meter.facts()


@dataclass(frozen=True, kw_only=True)
class MeasuredSound:
    """A file's sound, decoded from end to end with its channels apart.

    Attributes:
        facts: its levels.
        remarks: as in `tasks.media.sound.DecodedSound`.
        stream: which of the file's streams it is.
        holes: as in `tasks.media.sound.DecodedSound`.
        n_patched: as in `tasks.media.sound.DecodedSound`.
        truncated_at_s: as in `tasks.media.sound.DecodedSound`.
    """

    facts: SoundFacts
    remarks: tuple[str, ...]
    stream: int
    holes: tuple[tuple[float, float], ...]
    n_patched: int
    truncated_at_s: float | None


def measure_sound(
    path: Path,
    *,
    policy: MediaPolicy,
    stream: int | None = None,
    lenient: bool = False,
    facts: MediaFacts | None = None,
) -> MeasuredSound:
    """Decode a recording's sound at its own rate, channels apart, measure it and keep nothing of it.

    Raises:
        MediaError: as in `tasks.media.sound.SoundBlocks`.
        ToolError: ffmpeg is not installed or did not do what was requested.
    """
    blocks = SoundBlocks(path, sample_rate=None, policy=policy, stream=stream, lenient=lenient, facts=facts, mix=False)
    meter = SoundMeter(blocks.sample_rate, blocks.channels)
    for block in blocks:
        meter.add(block)
    return MeasuredSound(
        facts=meter.facts(),
        remarks=blocks.remarks,
        stream=blocks.stream,
        holes=blocks.holes,
        n_patched=blocks.n_patched,
        truncated_at_s=blocks.truncated_at_s,
    )


def _db(amplitude: float) -> float:
    return max(20 * math.log10(amplitude), SILENT_DB) if amplitude > 0 else SILENT_DB
