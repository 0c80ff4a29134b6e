"""What ingest finds out of an ensemble's stems and mix: lengths, levels, whether the one is the sum of the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tasks.errors import BadInput
from tasks.intake.players import PlayerPlan
from tasks.intake.stems import Measured, Measuring, StemSound, measure_mix
from tasks.media.probe import MediaPolicy
from tasks.params import Section


class StemsError(BadInput):
    """Stems that do not belong together: which, what was found, what was expected."""


class EnsembleParams(Section):
    """What is accepted of an ensemble.

    Attributes:
        max_length_difference_s: a stem that ends so much before the longest one has the take refused; a shorter
            difference is silence.
        max_residual_db: what a mix may differ by from the sum of the stems, against its own power; where it does by
            more, the mix that is learned from and tested with is the sum.
    """

    max_length_difference_s: float
    max_residual_db: float


@dataclass(frozen=True, kw_only=True)
class MeasuredEnsemble:
    """What was measured.

    Attributes:
        stems: in the players' order.
        mix: of the mix; None where there is none.
        duration_s: of the longest stem.
        padded_s: by device, the silence behind the end of each shorter stem.
        about: what take.json says of the mix: ``source`` (``file`` or ``sum``), why, its gain.
        residual_db: by how much the mix is not the sum of its stems; None without a mix.
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
