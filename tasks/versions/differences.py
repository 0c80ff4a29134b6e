"""Differences: the figures of one family in two versions, row by row.

A row is a system on a take, or on a view of one (``TAKE/CAMERA``). A table is the columns of ``takes.parquet``.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.intervals import paired_intervals
from tasks.metrics.metric import Direction
from tasks.metrics.table import METRICS
from tasks.versions.causes import Changed

_METRICS = {metric.key: metric for metric in METRICS}

Rows = Mapping[str, NDArray[Any]]
Verdict = Literal["better", "worse", "same", "open"]


@dataclass(frozen=True, kw_only=True)
class Move:
    """The figure of one take, or of one view, in both versions."""

    take: str
    piece: str
    old: float
    new: float


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One figure of one system in both versions, over the takes that both tested.

    Attributes:
        family: of the system.
        system: its name.
        role: what it is in a table; empty where both versions are too old to say.
        metric: the figure's key.
        direction: which values are better; with ``nearest 0`` absolute values are compared.
        n_takes: that both versions tested; views, where each camera of a take is a row.
        n_pieces: that these are performances of.
        old: mean over these takes.
        new: the same.
        difference: new minus old.
        low: lower end of its 95 % interval; None with a single piece.
        high: upper end.
        spread: standard deviation of the old figures over the takes: what a move is large or small beside.
        verdict: ``same`` when no take differs, ``open`` while the interval holds 0 or no value is better.
        moved: the takes that differ most.
    """

    family: str
    system: str
    role: str
    metric: str
    direction: Direction
    n_takes: int
    n_pieces: int
    old: float
    new: float
    difference: float
    low: float | None
    high: float | None
    spread: float
    verdict: Verdict
    moved: tuple[Move, ...]


def differences(
    family: str,
    old: Rows,
    new: Rows,
    *,
    takes: set[str],
    n_resamples: int,
    seed: int,
    n_moved: int,
) -> list[Difference]:
    """Compare each figure of each system, over the rows that both versions have.

    Args:
        family: its name.
        old: its rows in the old version.
        new: those in the new one.
        takes: that both versions have with the same bytes; rows of others are left out.
        n_resamples: draws behind an interval.
        seed: of these draws.
        n_moved: rows that moved most, kept for each figure.

    Returns:
        In the order of systems and of the table of metrics; empty where no row is in both.
    """
    keys = [key for key in _figures(new) if key in _figures(old)]
    keys.sort(key=lambda key: (list(_METRICS).index(key) if key in _METRICS else len(_METRICS), key))
    rows_of_old = {(s, t): row for row, (s, t) in enumerate(zip(old["system"], old["take"], strict=True))}
    roles = {system: _roles(new)[system] or _roles(old).get(system, "") for system in _roles(new)}
    found: list[Difference] = []
    for system in dict.fromkeys(new["system"]):
        pairs = [
            (rows_of_old[system, new["take"][row]], row)
            for row in np.flatnonzero(new["system"] == system)
            if (system, new["take"][row]) in rows_of_old and take_of(new["take"][row]) in takes
        ]
        if not pairs:
            continue
        before, after = np.array(pairs).T
        names, pieces = new["take"][after].astype(str), new["piece"][after].astype(str)
        order = np.argsort(names)
        a = np.stack([_read(key)(old[key][before][order]) for key in keys], axis=1)  # (takes, figures)
        b = np.stack([_read(key)(new[key][after][order]) for key in keys], axis=1)
        for key, values in _compare(keys, a, b, names[order], pieces[order], n_resamples, seed, n_moved):
            found.append(Difference(family=family, system=system, role=roles[system], metric=key, **values))
    return found


def _direction(key: str) -> Direction:
    """Return which values of a figure are better: none for a key that only older versions have."""
    return _METRICS[key].direction if key in _METRICS else "none"


def _read(key: str) -> Callable[[NDArray[Any]], NDArray[np.float64]]:
    nearest = _direction(key) == "nearest 0"
    return lambda values: np.abs(values.astype(np.float64)) if nearest else values.astype(np.float64)


def _compare(
    keys: Sequence[str],
    old: NDArray[np.float64],
    new: NDArray[np.float64],
    names: NDArray[np.str_],
    pieces: NDArray[np.str_],
    n_resamples: int,
    seed: int,
    n_moved: int,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the keys that a row of both versions has, with what a `Difference` says of them."""
    usable = np.isfinite(old) & np.isfinite(new)  # (takes, figures)
    found: dict[int, dict[str, Any]] = {}
    # Figures that exist for the same takes share their draws: hundreds of figures cost little more than one.
    for pattern in {tuple(usable[:, column]) for column in range(len(keys))}:
        chosen = np.array(pattern, bool)
        columns = [column for column in range(len(keys)) if tuple(usable[:, column]) == pattern]
        if not chosen.any():
            continue
        a, b = old[chosen][:, columns], new[chosen][:, columns]
        mean, low, high = paired_intervals(
            b - a, pieces[chosen], n_resamples=n_resamples, rng=np.random.default_rng(seed)
        )
        for place, column in enumerate(columns):
            direction = _direction(keys[column])
            ends = float(low[place]), float(high[place])
            moves = [
                Move(take=str(names[chosen][row]), piece=str(pieces[chosen][row]), old=float(x), new=float(y))
                for row, (x, y) in enumerate(zip(a[:, place], b[:, place], strict=True))
                if x != y
            ]
            moves.sort(key=lambda move: (-abs(move.new - move.old), move.take))
            found[column] = {
                "direction": direction,
                "n_takes": int(chosen.sum()),
                "n_pieces": len(set(pieces[chosen])),
                "old": float(a[:, place].mean()),
                "new": float(b[:, place].mean()),
                "difference": float(mean[place]),
                "low": ends[0] if math.isfinite(ends[0]) else None,
                "high": ends[1] if math.isfinite(ends[1]) else None,
                "spread": float(a[:, place].std()),
                "verdict": _verdict(*ends, direction, is_same=not moves),
                "moved": tuple(moves[:n_moved]),
            }
    for column in sorted(found):
        yield keys[column], found[column]


def _verdict(low: float, high: float, direction: Direction, *, is_same: bool) -> Verdict:
    if is_same:
        return "same"
    if direction == "none" or low <= 0 <= high:
        return "open"
    return "worse" if (high < 0) == (direction == "higher") else "better"


def take_of(row: str) -> str:
    """Return the take of a row: a view's is called ``TAKE/CAMERA``."""
    return row.partition("/")[0]


def _roles(table: Rows) -> dict[str, str]:
    roles = table.get("role", np.full(len(table["system"]), "", object))
    return dict(zip(table["system"].tolist(), roles.tolist(), strict=True))


def _figures(table: Rows) -> list[str]:
    """Return the columns that are figures: counts that describe a take are whole numbers."""
    return [key for key, values in table.items() if values.dtype.kind == "f"]


def changed_systems(family: str, old: Rows, new: Rows) -> Iterator[Changed]:
    """Yield the systems, ``FAMILY/SYSTEM``, that one version alone has, or whose role differs; old and new are roles.

    Versions from before systems had roles say that it was evaluated.
    """
    was, now = _roles(old), _roles(new)
    for system in [*now, *(name for name in was if name not in now)]:
        if system not in was or system not in now or (was[system] and now[system] and was[system] != now[system]):
            old_role, new_role = ((roles[system] or "evaluated") if system in roles else None for roles in (was, now))
            yield Changed(name=f"{family}/{system}", old=old_role, new=new_role)


def changed_figures(family: str, old: Rows, new: Rows) -> Iterator[Changed]:
    """Yield the family when one version alone has figures: old and new name their keys."""
    was, now = _figures(old), _figures(new)
    only = [[key for key in own if key not in other] for own, other in ((was, now), (now, was))]
    if only[0] or only[1]:
        yield Changed(name=family, old=", ".join(only[0]) or None, new=", ".join(only[1]) or None)
