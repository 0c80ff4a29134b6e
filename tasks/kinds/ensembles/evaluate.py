"""Evaluation on ensembles: each system's separated sounds beside the players' stems, at the mix's rate.

`tasks.metrics.separation` defines the figures. The sounds of a system that does not assign its outputs to players were
put in the order that fits the stems best when they were written: ``ordered_by`` is ``truth`` in its rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.errors import DamagedData
from tasks.evaluate import (
    EvaluateParams,
    TakeScores,
    above_first,
    by_system,
    figure_columns,
    ids_by_take,
    means,
    rounded,
    score_by_take,
    write_takes,
)
from tasks.families.probes import read_causality
from tasks.families.stems import at_rate, read_separation
from tasks.features.polyphony import TranscribeParams
from tasks.metrics.separation import Leakage, active_si_sdr_db, bss_eval_db, leakage, sdr_db
from tasks.step import whole_folder
from tasks.store.ensembles import EnsembleSet
from tasks.store.tables import write_table

if TYPE_CHECKING:
    from tasks.families.separation import SeparationFamily

IMPROVEMENT = "si_sdr_improvement_db"


@dataclass(frozen=True, kw_only=True)
class PlayerScores:
    """The figures of one player in one separation; a figure that has no value is left out."""

    number: int
    instrument: str
    scores: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class SeparationScores:
    """The figures of one system on one mix: means over the players, and each player's."""

    take: TakeScores
    players: tuple[PlayerScores, ...]

    @property
    def same_instruments(self) -> bool:
        """Whether two players or more have one instrument."""
        return len({player.instrument for player in self.players}) < len(self.players)


def evaluate(
    family: "SeparationFamily[Any]",
    *,
    data: Path,
    trained: Path,  # noqa: ARG001 - other kinds need it
    synthesized: Path,
    out: Path,
    params: EvaluateParams,
    transcribe_params: TranscribeParams,  # noqa: ARG001
    workers: int,
    accelerator: str,  # noqa: ARG001
) -> dict[str, dict[str, Any]]:
    """Write ``takes.parquet`` and ``players.parquet``, and return each system's means over the test takes.

    Improvements also stand by number of players, by instrument and for takes with two players of one instrument: see
    `means_of`.

    Raises:
        DamagedData: the data set or a separation is not whole.
        ToolError: the disk is full.
    """
    ensembles = EnsembleSet(data)
    probed = read_causality(synthesized)
    ids = ids_by_take(ensembles.segments("test"))

    def score(take: str, systems: Sequence[str]) -> list[SeparationScores]:
        return [
            score_separation(
                ensembles,
                take,
                synthesized / system / take,
                system=system,
                role=family.role(system),
                ordered_by="truth" if system in family.unordered else "system",
                known=probed.get(system, {}).get(take, {}),
                museval_players=params.museval_players,
                segment_ids=ids.get(take, []),
            )
            for system in systems
        ]

    jobs = [(take, system) for system in family.systems for take in ensembles.takes("test")]
    scored = score_by_take(score, jobs, workers)
    with whole_folder(out) as half:
        write_takes(half, [one.take for one in scored])
        _write_players(half, scored)
    parted = by_system(one.take for one in scored)
    names = ("si_sdr_above_first_db", "si_sdr_above_first_low_db", "si_sdr_above_first_high_db")
    return {
        system: rounded(
            means_of([one for one in scored if one.take.system == system])
            | above_first(own, parted[family.systems[0]], "si_sdr_db", names=names, params=params)
        )
        for system, own in parted.items()
    }


def score_separation(
    data: EnsembleSet,
    take: str,
    folder: Path,
    *,
    system: str,
    role: str,
    ordered_by: str,
    known: Mapping[str, float],
    museval_players: int,
    segment_ids: Sequence[str],
) -> SeparationScores:
    """Score what a system separated from a take.

    Args:
        data: the data set.
        take: in it.
        folder: the system's sounds.
        system: its name.
        role: what it is in a table.
        ordered_by: ``system`` or ``truth``: what gave the sounds their order.
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
    players = tuple(
        PlayerScores(number=number, instrument=instrument, scores=_finite(own))
        for number, (instrument, own) in enumerate(zip(instruments, by_player, strict=True), 1)
    )
    # Of all rests of all players: a player who hardly ever rests counts by how much they do.
    together = Leakage(power=np.concatenate([leak.power for leak in leaks]))
    scores = means(player.scores for player in players)
    scores |= _finite({"leakage_db": together.mean_db, "leakage_worst_db": together.worst_db})
    return SeparationScores(
        take=TakeScores(
            system=system,
            role=role,
            take=take,
            piece=data.piece(take),
            labels={
                "n_players": len(instruments),
                "same_instruments": len(set(instruments)) < len(instruments),
                "ordered_by": ordered_by,
            },
            scores={**scores, **known},
            segment_ids=segment_ids,
        ),
        players=players,
    )


def means_of(own: Sequence[SeparationScores]) -> dict[str, Any]:
    """Return a system's means over takes, and groups of them.

    Beside the figures stand ``by_players`` (``{"2": {...}, "4": {...}}``, by number of players) and ``by_instrument``
    (by code, over the players of that instrument), each with the mean SI-SDR improvement; ``same_instruments`` has that
    of the takes in which two players have one instrument. A group without the figure is left out.
    """
    by_players: dict[int, list[Mapping[str, float]]] = {}
    by_instrument: dict[str, list[Mapping[str, float]]] = {}
    for one in own:
        by_players.setdefault(len(one.players), []).append(one.take.scores)
        for player in one.players:
            by_instrument.setdefault(player.instrument, []).append(player.scores)
    groups: dict[str, Any] = {
        "by_players": {str(count): _improvement(by_players[count]) for count in sorted(by_players)},
        "by_instrument": {code: _improvement(by_instrument[code]) for code in sorted(by_instrument)},
        "same_instruments": _improvement([one.take.scores for one in own if one.same_instruments]),
    }
    return means(one.take.scores for one in own) | _without_empty(groups)


def _improvement(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return means({IMPROVEMENT: one[IMPROVEMENT]} for one in scores if IMPROVEMENT in one)


def _without_empty(groups: Mapping[str, Any]) -> dict[str, Any]:
    parted = {name: _without_empty(group) if isinstance(group, Mapping) else group for name, group in groups.items()}
    return {name: group for name, group in parted.items() if group != {}}


def _write_players(out: Path, scored: Sequence[SeparationScores]) -> None:
    """Write ``players.parquet``: a row for each player of each system and take."""
    rows = [(one.take, player) for one in scored for player in one.players]
    write_table(
        out / "players.parquet",
        {
            **{name: [str(getattr(take, name)) for take, _ in rows] for name in ("system", "take", "piece")},
            "player": np.array([player.number for _, player in rows], np.int64),
            "instrument": [player.instrument for _, player in rows],
            **figure_columns([player.scores for _, player in rows]),
        },
    )


def _finite(scores: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in scores.items() if np.isfinite(value)}
