"""Where two versions differ most: takes and views with their sounds, notes, and players of an ensemble."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.store.tables import read_table
from tasks.versions.differences import Difference, Move, Rows, take_of
from tasks.versions.history import HistoryError, Version

EVALUATED = "data/evaluated"
SYNTHESIZED = "data/synthesized"
PLAYERS_FIGURE = "si_sdr_db"
_SOUND = ".flac"


@dataclass(frozen=True, kw_only=True)
class LargestMove:
    """A take or a view that moved far, beside how far takes are apart.

    Attributes:
        family: of the system.
        system: its name.
        metric: the figure that moved most.
        take: a view is called ``TAKE/CAMERA``.
        old: the figure in the old version.
        new: in the new one.
        old_sounds: files of the system's sound in the old version, in DVC's cache or the working tree; empty where
            neither has them.
        new_sounds: those of the new one.
    """

    family: str
    system: str
    metric: str
    take: str
    old: float
    new: float
    old_sounds: tuple[str, ...]
    new_sounds: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PartMove:
    """What moved far within the takes: a note over all of them, or a player of one.

    Attributes:
        family: of the system.
        system: its name.
        part: ``note 60``, with its MIDI number, or ``TAKE player 1 (vn)``.
        metric: ``note_f1``, over all its notes in the takes that both versions tested, or the players' figure.
        old: its value in the old version.
        new: in the new one.
    """

    family: str
    system: str
    part: str
    metric: str
    old: float
    new: float


def largest_moves(rows: Sequence[Difference], old: Version, new: Version, *, n_moved: int) -> tuple[LargestMove, ...]:
    """Return, for each family, the takes that moved most beside how far apart takes are, each by its largest move."""
    moves = [(row, move) for row in rows if row.direction != "none" and row.spread > 0 for move in row.moved]
    moves.sort(key=lambda found: -abs(found[1].new - found[1].old) / found[0].spread)
    largest: dict[tuple[str, str], tuple[Difference, Move]] = {}
    for row, move in moves:
        largest.setdefault((row.family, move.take), (row, move))
    found = []
    for family in dict.fromkeys(row.family for row in rows):
        own = [one for (name, _), one in largest.items() if name == family][:n_moved]
        sounds = [version.files(f"{SYNTHESIZED}/{family}") if own else {} for version in (old, new)]
        for row, move in own:
            paths = [_sounds(files, f"{row.system}/{move.take}/") for files in sounds]
            found.append(
                LargestMove(
                    family=family,
                    system=row.system,
                    metric=row.metric,
                    take=move.take,
                    old=move.old,
                    new=move.new,
                    old_sounds=paths[0],
                    new_sounds=paths[1],
                )
            )
    return tuple(found)


def part_moves(family: str, old: Version, new: Version, *, takes: set[str], n_moved: int) -> list[PartMove]:
    """Return the notes, or the players, of one family that moved most; none where the versions have no such table.

    Args:
        family: its name.
        old: the one version.
        new: the other.
        takes: that both versions have with the same bytes.
        n_moved: how many.
    """
    for name, values_of in (("pitches.parquet", _notes), ("players.parquet", _players)):
        try:
            tables = [read_table(version.result(f"{EVALUATED}/{family}", name)) for version in (old, new)]
        except HistoryError:
            continue
        rows = [set(zip(table["system"].tolist(), table["take"].tolist(), strict=True)) for table in tables]
        both = {row for row in rows[0] & rows[1] if take_of(row[1]) in takes}
        metric, was = values_of(tables[0], both)
        _, now = values_of(tables[1], both)
        found = [
            PartMove(family=family, system=system, part=part, metric=metric, old=was[system, part], new=value)
            for (system, part), value in now.items()
            if (system, part) in was and was[system, part] != value
        ]
        found.sort(key=lambda move: (-abs(move.new - move.old), move.system, move.part))
        return found[:n_moved]
    return []


def _sounds(files: Mapping[str, Path], prefix: str) -> tuple[str, ...]:
    own = sorted(name for name in files if name.startswith(prefix) and name.endswith(_SOUND))
    return tuple(files[name].as_posix() for name in own if "/" not in name[len(prefix) :])


def _notes(table: Rows, rows: set[tuple[str, str]]) -> tuple[str, dict[tuple[str, str], float]]:
    counts: dict[tuple[str, str], NDArray[Any]] = {}
    kept = zip(*(table[name].tolist() for name in ("system", "take", "pitch", "tp", "fp", "fn")), strict=True)
    for system, take, pitch, *found in kept:
        if (system, take) in rows:
            counts[system, f"note {pitch}"] = counts.get((system, f"note {pitch}"), 0) + np.array(found)
    # A note that is neither played nor estimated has no F1.
    return "note_f1", {part: float(2 * n[0] / (2 * n[0] + n[1] + n[2])) for part, n in counts.items() if n.sum()}


def _players(table: Rows, rows: set[tuple[str, str]]) -> tuple[str, dict[tuple[str, str], float]]:
    kept = zip(
        *(table[name].tolist() for name in ("system", "take", "player", "instrument", PLAYERS_FIGURE)), strict=True
    )
    return PLAYERS_FIGURE, {
        (system, f"{take} player {player} ({instrument})"): value
        for system, take, player, instrument, value in kept
        if (system, take) in rows and np.isfinite(value)
    }
