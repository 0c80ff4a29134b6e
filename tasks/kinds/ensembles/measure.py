"""Measure an ensemble's stems and mix: lengths, levels, and whether the mix is the sum of the stems.

Shapes: n samples, C channels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log10
from typing import Any

import numpy as np

from tasks.errors import BadInput
from tasks.ingest import EnsembleParams
from tasks.intake.stems import BLOCK_LENGTH, Block, StemBlocks, StemSound, resampled
from tasks.kinds.ensembles.players import PlayerPlan
from tasks.media.channels import every_channel
from tasks.media.levels import SoundMeter, notable_facts
from tasks.media.probe import MediaPolicy

LOWEST_DB = -120.0  # reported for a residual below the rounding


class StemsError(BadInput):
    """Stems that do not belong together: which, what was found, what was expected."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured of one stem.

    Attributes:
        facts: as in the catalog's row of a microphone.
        duration_s: of its sound.
        is_silent: no sample is above -80 dB.
    """

    facts: dict[str, Any]
    duration_s: float
    is_silent: bool

    @property
    def truncated_at_s(self) -> float | None:
        """Where its sound ends, if that is before the end that its file declares."""
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
            "dead_channels": list(found.channels_used.dead),
            "holes": [],
        } | notable_facts(found, n_patched=self.blocks.n_patched)
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
        gain: of the sum, by least squares.
        residual_db: power of mix less sum at that gain, over the mix's; 0 where they have nothing in common.
    """

    gain: float
    residual_db: float


@dataclass(frozen=True, kw_only=True)
class MeasuredEnsemble:
    """What was measured.

    Attributes:
        stems: in the players' order.
        mix: of the mix; None where there is none.
        duration_s: of the longest stem.
        padded_s: by device, the silence after the end of each shorter stem.
        about: take.json's entry on the mix: ``source`` (``file`` or ``sum``), the reason, the gain.
        residual_db: power of mix less sum of the stems, over the mix's; None without a mix.
    """

    stems: tuple[Measured, ...]
    mix: Measured | None
    duration_s: float
    padded_s: dict[str, float]
    about: dict[str, Any]
    residual_db: float | None


def measure_ensemble(
    plans: Sequence[PlayerPlan],
    mix: StemSound | None,
    mix_device: str | None,
    *,
    policy: MediaPolicy,
    params: EnsembleParams,
) -> MeasuredEnsemble:
    """Read every stem and the mix once, side by side.

    Args:
        plans: the players.
        mix: the mix, if there is one.
        mix_device: what the take calls it.
        policy: what a file may cost.
        params: what is accepted.

    Raises:
        StemsError: ``UNEQUAL_STEMS``.
        BadInput: a file cannot be read.
    """
    stems = [Measuring(plan.sound, policy) for plan in plans]
    about: dict[str, Any] = {"source": "sum", "device": None, "stream": None, "gain": 1.0}
    residual_db, measured_mix = None, None
    if mix is None:
        for one in stems:
            for _ in one:
                pass
        about["reason"] = "there is no mix: it is the sum of the stems"
    else:
        mixed = Measuring(mix, policy)
        fit = measure_mix(stems, mixed)
        measured_mix, residual_db = mixed.measured(), round(fit.residual_db, 2)
        if fit.residual_db <= params.max_residual_db:
            about |= {"source": "file", "device": mix_device, "stream": mix.stream, "gain": round(fit.gain, 6)}
            about["reason"] = f"it is the sum of the stems but for {fit.residual_db:.1f} dB"
        else:
            about["reason"] = (
                f"{mix_device} differs from the sum of the stems by {fit.residual_db:.1f} dB of its power, expected at "
                f"most {params.max_residual_db:g}: the sum of the stems takes its place"
            )
    measured = tuple(one.measured() for one in stems)
    duration_s = max(one.duration_s for one in measured)
    padded_s = {}
    for plan, found in zip(plans, measured, strict=True):
        short_s = duration_s - found.duration_s
        if short_s > params.max_length_difference_s:
            raise StemsError(
                f"{plan.sound.path}: ends {short_s:.3f} s before the longest stem, expected at most "
                f"{params.max_length_difference_s:g} s (ingest.ensembles.max_length_difference_s)",
                kind="UNEQUAL_STEMS",
            )
        if short_s > 0:
            padded_s[plan.stem if plan.sound.stream is None else f"{plan.stem}:{plan.sound.stream}"] = round(short_s, 6)
    return MeasuredEnsemble(
        stems=measured,
        mix=measured_mix,
        duration_s=duration_s,
        padded_s=padded_s,
        about=about,
        residual_db=residual_db,
    )


def measure_mix(stems: Sequence[Measuring], mix: Measuring) -> MixFit:
    """Read stems and mix side by side, and fit the sum of the stems to the mix; in mono where rates or channels differ.

    Raises:
        MediaError: one of them cannot be read.
    """
    rate = mix.blocks.sample_rate
    own = [(one.blocks.sample_rate, one.blocks.channels) for one in (*stems, mix)]
    alike = len(set(own)) == 1
    streams = [_converted(one, rate, alike=alike) for one in (*stems, mix)]
    product, sum_power, mix_power = 0.0, 0.0, 0.0
    for *parts, mixed in side_by_side(streams):
        total = parts[0].astype(np.float64)
        for part in parts[1:]:
            total += part
        product += float(np.vdot(total, mixed))
        sum_power += float(np.vdot(total, total))
        mix_power += float(np.vdot(mixed, mixed.astype(np.float64)))
    if not product > 0 or not mix_power > 0:
        return MixFit(gain=1.0, residual_db=0.0)
    left = max(mix_power - product * product / sum_power, 0.0) / mix_power
    return MixFit(gain=product / sum_power, residual_db=max(10 * log10(left), LOWEST_DB) if left > 0 else LOWEST_DB)


def side_by_side(streams: Sequence[Iterator[Block]], *, length: int = BLOCK_LENGTH) -> Iterator[list[Block]]:
    """Yield blocks of equal length from all, silent after the end of those that end early.

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
    used = every_channel(one.blocks.channels)
    return resampled((used.mix(block) for block in one), one.blocks.sample_rate, rate, 1)
