"""What separation families made of ensembles: its files, its figures, and whether it follows what was seen.

``SYSTEM/TAKE/`` holds ``mix.flac`` and ``stem_N_CODE.flac`` of each player N from 1 on. A system that does not know
whose its sounds are is put in the order that fits the true stems best before it is written.

Shapes: K players, C channels, n samples.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.errors import DamagedData
from tasks.families.separation import Mixture, Separation, mixture_of
from tasks.features.resample import resample
from tasks.metrics.intervals import paired_interval
from tasks.metrics.separation import (
    Leakage,
    active_si_sdr_db,
    best_permutation,
    bss_eval_db,
    leakage,
    sdr_db,
    si_sdr_db,
)
from tasks.metrics.sound import level_dbfs
from tasks.store.audio import read_channels, write_channels
from tasks.store.ensembles import EnsembleSet
from tasks.store.tables import write_table

MIX_FILE = "mix.flac"
CAUSALITY = "causality.json"
"""What sighted systems did when views were exchanged or blanked: figures by system and take."""

SWAPPED, BLANKED = ".swapped/", ".blanked/"  # before a take's name, which never begins with a dot
MAX_PROBED = 2  # duets of one instrument, and as many of two: whole takes are separated twice more for each
MAX_RESAMPLED = 1  # sample that a sound may be longer or shorter by after it was resampled
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


def stem_file(number: int, instrument: str) -> str:
    """Return the name of a player's file; numbers are from 1 on."""
    return f"stem_{number}_{instrument}.flac"


def write_separation(
    folder: Path,
    separation: Separation,
    *,
    mix: NDArray[np.float32],
    sample_rate: int,
    instruments: Sequence[str],
    truth: NDArray[np.float32] | None,
) -> None:
    """Write a sound a player, and the mix.

    Args:
        folder: an empty one.
        separation: of the mix; beyond full scale it is clipped, as a file must.
        mix: (C, n).
        sample_rate: of the mix and the truth, in Hz.
        instruments: a code a player.
        truth: (K, C, n), in whose order the sounds are put; None leaves them in theirs.

    Raises:
        ValueError: there is not one sound a player, or a sample is no number.
        WriteError: the disk is full or the folder cannot be written to.
    """
    n_players, n_channels = len(instruments), len(mix)
    if separation.stems.ndim != 3 or separation.stems.shape[:2] != (n_players, n_channels):
        raise ValueError(
            f"{separation.system} made sounds of shape {separation.stems.shape} of {separation.take}, expected "
            f"({n_players}, {n_channels}, samples)"
        )
    stems = separation.stems
    if truth is not None:
        order = best_permutation(truth, at_rate(stems, separation.sample_rate, sample_rate, truth.shape[2]))
        stems = stems[list(order)]
    write_channels(folder / MIX_FILE, mix, sample_rate)
    for number, (instrument, stem) in enumerate(zip(instruments, stems, strict=True), 1):
        write_channels(folder / stem_file(number, instrument), np.clip(stem, -1.0, 1.0), separation.sample_rate)


def read_separation(folder: Path, instruments: Sequence[str]) -> tuple[NDArray[np.float32], int]:
    """Read the sounds (K, C, n) that `write_separation` wrote, and their rate in Hz.

    Raises:
        DamagedData: one is missing, not whole, or unlike the others in length or rate.
    """
    read = [read_channels(folder / stem_file(*player)) for player in enumerate(instruments, 1)]
    first, sample_rate = read[0]
    for player, (stem, rate) in enumerate(read, 1):
        if (stem.shape, rate) != (first.shape, sample_rate):
            raise DamagedData(
                f"{folder}: player {player} has {stem.shape[1]} samples in {len(stem)} channels at {rate} Hz, "
                f"expected {first.shape[1]} in {len(first)} at {sample_rate} as player 1"
            )
    return np.stack([stem for stem, _ in read]), sample_rate


def at_rate(stems: NDArray[np.float32], from_rate: int, to_rate: int, n_samples: int) -> NDArray[np.float32]:
    """Return sounds (K, C, n) at another rate and of a known length, which resampling meets but for a sample.

    Raises:
        DamagedData: the length is another.
    """
    if from_rate != to_rate:
        flat = [resample(channel, from_rate, to_rate) for channel in stems.reshape(-1, stems.shape[2])]
        stems = np.stack(flat).reshape(*stems.shape[:2], -1)
    apart = n_samples - stems.shape[2]
    if abs(apart) > (MAX_RESAMPLED if from_rate != to_rate else 0):
        raise DamagedData(f"sounds have {stems.shape[2]} samples at {to_rate} Hz, expected {n_samples}")
    if apart > 0:
        stems = np.pad(stems, ((0, 0), (0, 0), (0, apart)))
    return stems[:, :, :n_samples]


def probes(data: EnsembleSet) -> dict[str, tuple[str, ...]]:
    """Return the mixes that tell whether a system follows what it sees, by the test duet that each is made of.

    Of duets of one instrument, and of duets of two, the first `MAX_PROBED` in order of name of which both players are
    seen.
    """
    found: dict[bool, list[str]] = {True: [], False: []}
    for take in data.takes("test"):
        instruments = data.instruments(take)
        if len(instruments) == 2 and all(data.seen(take)):
            found[len(set(instruments)) == 1].append(take)
    chosen = sorted(found[True][:MAX_PROBED] + found[False][:MAX_PROBED])
    return {take: (f"{SWAPPED}{take}", f"{BLANKED}{take}") for take in chosen}


def probe_mixture(data: EnsembleSet, name: str) -> Mixture:
    """Return the mix of a take or of a probe of it.

    ``.swapped/TAKE`` shows each of two players the other's motion, pictures and notes, and leaves the labels where they
    are; ``.blanked/TAKE`` shows the first one black, without notes.
    """
    for prefix, change in ((SWAPPED, _swapped), (BLANKED, _blanked)):
        if name.startswith(prefix):
            mixture = mixture_of(data, name.removeprefix(prefix))
            return replace(
                mixture,
                motion=None if mixture.motion is None else change(mixture.motion),
                pictures=None if mixture.pictures is None else change(mixture.pictures),
                rolls=None if mixture.rolls is None else change(mixture.rolls),
            )
    return mixture_of(data, name)


def _swapped(values: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(values[::-1])


def _blanked(values: NDArray[Any]) -> NDArray[Any]:
    changed = values.copy()
    changed[0] = 0
    return changed


def causality(
    truth: NDArray[np.float32],
    instruments: Sequence[str],
    *,
    sounds: NDArray[np.float32],
    swapped: NDArray[np.float32],
    blanked: NDArray[np.float32],
) -> dict[str, float]:
    """Measure whether a system's sounds (2, C, n) follow what it saw of a duet.

    Args:
        truth: (2, C, n).
        instruments: of both.
        sounds: what it made of the take.
        swapped: of the take with the views exchanged.
        blanked: of the take with the first player's view black.

    Returns:
        ``swap_follows_db``, for two of one instrument: by how much nearer (SI-SDR) each sound came to the *other* stem
        once the views were exchanged. Of two instruments, where the labels stay and contradict the views, that is
        ``swap_against_labels_db``. ``blank_fades_db``: by how much the blanked player's level fell, and
        ``blank_keeps_db``: by how much the other's changed. A figure without a value is left out.
    """
    name = "swap_follows_db" if instruments[0] == instruments[1] else "swap_against_labels_db"
    figures: dict[str, float] = {}
    if truth.any(axis=(1, 2)).all():
        moved = [
            si_sdr_db(truth[1 - k], swapped[k]) - si_sdr_db(truth[1 - k], sounds[k])
            for k in range(2)
            if swapped[k].any() and sounds[k].any()
        ]
        if len(moved) == 2:
            figures[name] = float(np.mean(moved))
    before, after = ([level_dbfs(one.ravel()) for one in heard] for heard in (sounds, blanked))
    figures["blank_fades_db"] = before[0] - after[0]
    figures["blank_keeps_db"] = after[1] - before[1]
    return figures


def read_causality(folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Read what `causality` measured, by system and take; nothing where no system looks.

    Raises:
        DamagedData: the file is damaged.
    """
    path = folder / CAUSALITY
    if not path.exists():
        return {}
    try:
        found: dict[str, dict[str, dict[str, float]]] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DamagedData(f"{path} is not JSON: {error}") from None
    return found


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
