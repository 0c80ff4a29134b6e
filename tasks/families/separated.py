"""Scores of separations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.errors import DamagedData
from tasks.families.stems import at_rate, read_separation
from tasks.metrics.intervals import paired_interval
from tasks.metrics.separation import (
    Leakage,
    active_si_sdr_db,
    bss_eval_db,
    leakage,
    sdr_db,
)
from tasks.store.ensembles import EnsembleSet
from tasks.store.tables import write_table

IMPROVEMENT = "si_sdr_improvement_db"


@dataclass(frozen=True, kw_only=True)
class PlayerScores:
    """One player of one system's separation, scored; a figure that has no value is left out."""

    number: int
    instrument: str
    scores: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One system's separation of one take, scored.

    Attributes:
        system: the row in the tables.
        take: the mix's name.
        piece: its piece.
        ordered_by: ``system``, or ``truth`` where the best permutation was chosen.
        instruments: a code a player.
        scores: means over the players; a figure that has no value is left out.
        players: each one's.
        segment_ids: what the figures rest on.
    """

    system: str
    take: str
    piece: str
    ordered_by: str
    instruments: tuple[str, ...]
    scores: Mapping[str, float]
    players: tuple[PlayerScores, ...]
    segment_ids: Sequence[str]

    @property
    def same_instruments(self) -> bool:
        """Whether two players or more have one instrument."""
        return len(set(self.instruments)) < len(self.instruments)


def score_separation(
    data: EnsembleSet,
    take: str,
    folder: Path,
    *,
    system: str,
    ordered_by: str,
    known: Mapping[str, float],
    museval_players: int,
    segment_ids: Sequence[str],
) -> Evaluation:
    """Score what a system made of a take.

    Args:
        data: the data set.
        take: in it.
        folder: the system's sounds.
        system: its name.
        ordered_by: ``system`` or ``truth``.
        known: figures that were measured elsewhere.
        museval_players: mixes of so many at most get ISR, SIR and SAR, whose cost grows with the cube.
        segment_ids: of the take.

    Raises:
        DamagedData: the sounds are not whole, or not as long as the mix.
    """
    references, mix, rate = data.stems(take), data.mix(take), data.sample_rate
    instruments = data.instruments(take)
    made, made_rate = read_separation(folder, instruments)
    try:
        estimates = at_rate(made, made_rate, rate, mix.shape[1])
    except DamagedData as error:
        raise DamagedData(f"{folder}: {error}") from None
    if estimates.shape != references.shape:
        raise DamagedData(f"{folder} has sounds of {estimates.shape[1]} channels, expected {references.shape[1]}")
    by_player: list[dict[str, float]] = []
    leaks: list[Leakage] = []
    for reference, estimate in zip(references, estimates, strict=True):
        quality = active_si_sdr_db(reference, estimate, sample_rate=rate)
        leaks.append(leakage(reference, estimate, mix, sample_rate=rate))
        by_player.append(
            {
                "si_sdr_db": quality,
                IMPROVEMENT: quality - active_si_sdr_db(reference, mix, sample_rate=rate),
                "leakage_db": leaks[-1].mean_db,
                "leakage_worst_db": leaks[-1].worst_db,
            }
        )
    by_name = {"sdr_db": sdr_db(references, estimates, sample_rate=rate)}
    if len(instruments) <= museval_players:
        by_name |= bss_eval_db(references, estimates, sample_rate=rate) | by_name
    for name, values in by_name.items():
        for own, value in zip(by_player, values, strict=True):
            own[name] = float(value)
    scores = {name: _mean([own[name] for own in by_player]) for name in by_player[0]}
    # Of all pauses of all players: one who hardly ever rests counts by how much he does.
    together = Leakage(power=np.concatenate([leak.power for leak in leaks]))
    scores |= {"leakage_db": together.mean_db, "leakage_worst_db": together.worst_db, **known}
    return Evaluation(
        system=system,
        take=take,
        piece=data.piece(take),
        ordered_by=ordered_by,
        instruments=instruments,
        scores=_finite(scores),
        players=tuple(
            PlayerScores(number=number, instrument=instrument, scores=_finite(own))
            for number, (instrument, own) in enumerate(zip(instruments, by_player, strict=True), 1)
        ),
        segment_ids=segment_ids,
    )


def write_evaluations(out: Path, found: Sequence[Evaluation]) -> None:
    """Write ``takes.parquet``, a row a system and take, and ``players.parquet``, a row a player of them."""
    figures = sorted({name for one in found for name in one.scores})
    write_table(
        out / "takes.parquet",
        {
            "system": [one.system for one in found],
            "take": [one.take for one in found],
            "piece": [one.piece for one in found],
            "n_players": np.array([len(one.instruments) for one in found], np.int64),
            "same_instruments": np.array([one.same_instruments for one in found], np.bool_),
            "ordered_by": [one.ordered_by for one in found],
            **{name: np.array([one.scores.get(name, np.nan) for one in found]) for name in figures},
            "segment_ids": [list(one.segment_ids) for one in found],
        },
    )
    players = [(one, player) for one in found for player in one.players]
    figures = sorted({name for _, player in players for name in player.scores})
    write_table(
        out / "players.parquet",
        {
            "system": [one.system for one, _ in players],
            "take": [one.take for one, _ in players],
            "piece": [one.piece for one, _ in players],
            "player": np.array([player.number for _, player in players], np.int64),
            "instrument": [player.instrument for _, player in players],
            **{name: np.array([player.scores.get(name, np.nan) for _, player in players]) for name in figures},
        },
    )


def summed_up(
    own: Sequence[Evaluation], first: Sequence[Evaluation], *, n_resamples: int, seed: int
) -> dict[str, float]:
    """Return a system's means over the test takes; improvements by players, pairs and instruments too.

    Beside ``si_sdr_improvement_db`` stand ``si_sdr_improvement_2_players_db`` and so on,
    ``si_sdr_improvement_same_instruments_db`` of takes in which two have one instrument, and
    ``si_sdr_improvement_vn_db`` and so on, mean over the players of it. Beside its family's first system another one
    has ``si_sdr_above_first_db``, its own less the first one's, with the interval over pieces as ``_low`` and
    ``_high``.

    Args:
        own: the system's, one a take.
        first: its family's first system's, of the same takes.
        n_resamples: draws of the interval.
        seed: of them.
    """
    names = sorted({name for one in own for name in one.scores})
    means = {name: _mean([one.scores.get(name, np.nan) for one in own]) for name in names}
    stem = IMPROVEMENT.removesuffix("_db")
    groups = [(f"{stem}_{len(one.instruments)}_players_db", one.scores) for one in own]
    groups += [(f"{stem}_same_instruments_db", one.scores) for one in own if one.same_instruments]
    groups += [(f"{stem}_{player.instrument}_db", player.scores) for one in own for player in one.players]
    for name in sorted({name for name, _ in groups}):
        means[name] = _mean([scores.get(IMPROVEMENT, np.nan) for group, scores in groups if group == name])
    pairs = [(a, b) for a, b in zip(own, first, strict=True) if "si_sdr_db" in a.scores and "si_sdr_db" in b.scores]
    pieces = [a.piece for a, _ in pairs]
    if own[0].system != first[0].system and len(set(pieces)) > 1:
        # A variant beside the family's own system: the difference that only the same takes can show.
        difference, low, high = paired_interval(
            [a.scores["si_sdr_db"] for a, _ in pairs],
            [b.scores["si_sdr_db"] for _, b in pairs],
            pieces,
            n_resamples=n_resamples,
            rng=np.random.default_rng(seed),
        )
        means |= {
            "si_sdr_above_first_db": difference,
            "si_sdr_above_first_low_db": low,
            "si_sdr_above_first_high_db": high,
        }
    return {name: round(value, 6) for name, value in _finite(means).items()}


def _finite(scores: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in scores.items() if np.isfinite(value)}


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
