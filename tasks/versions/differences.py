"""Differences: the figures of one family in two versions, row by row.

A row is a system on a take, or on a view of one (``TAKE/CAMERA``). A table is the columns of ``takes.parquet``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.intervals import CONFIDENCE, holm, least_difference, p_value, paired_test
from tasks.metrics.metric import Direction
from tasks.metrics.table import METRICS, within
from tasks.versions.causes import Changed
from tasks.versions.flips import LEAST_PIECES, flip_test

_METRICS = {metric.key: metric for metric in METRICS}

FROM_GIT = "figures from git: no interval, no takes"
WITHIN_SEEDS = "within what seeds move"
ONE_PIECE = "one piece"

Rows = Mapping[str, NDArray[Any]]
Verdict = Literal["better", "worse", "same", "open"]


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What seeds move in a figure: the spread of its values over trainings that differ in their seed alone.

    Attributes:
        error: standard error of the difference of two trainings.
        n_seeds: trainings behind it.
    """

    error: float
    n_seeds: int

    def p_value(self, difference: float) -> float:
        """Return how likely two seeds differ so much."""
        return p_value(difference, self.error, self.n_seeds - 1)


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
        low: lower end of its 95 % interval by itself, within what the metric can be; None with a single piece.
        high: upper end.
        error: standard error over pieces; None with a single piece.
        p: how likely a difference so large is where there is none, by itself; None where no value is better.
        p_joint: the same beside all the other figures of the comparison, and beyond what seeds move.
        seen_above: size of a difference that this number of pieces can show beside the other figures; None where it is
            larger than the metric can differ by: nothing can be shown.
        spread: standard deviation of both versions' figures over the takes: what a move is large or small beside.
        verdict: ``same`` when no take differs; ``better`` or ``worse`` where `p_joint` is at most 0.05 and the interval
            leaves 0 out.
        reason: why a verdict is open where that is not for want of pieces, or what the figures lack.
        moved: the takes that differ most.
        by_piece: of each piece, the summed difference over its takes.
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
    error: float | None
    p: float | None
    p_joint: float | None
    seen_above: float | None
    spread: float
    verdict: Verdict
    reason: str
    moved: tuple[Move, ...]
    by_piece: Mapping[str, float] = field(default_factory=dict, repr=False)


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
        own = pieces[chosen]
        test = paired_test(b - a, own, n_resamples=n_resamples, rng=np.random.default_rng(seed))
        p_values, gaps = test.p_values(), np.abs(b - a)
        of_piece, piece = np.unique(own, return_inverse=True)
        summed = np.zeros((len(of_piece), len(columns)))
        np.add.at(summed, piece, b - a)
        # Rows are in order of their names: so are those that moved equally far.
        largest = np.argsort(-gaps, axis=0, kind="stable")[:n_moved]
        means, spreads, kept = (a.mean(axis=0), b.mean(axis=0)), np.concatenate([a, b]).std(axis=0), names[chosen]
        for place, column in enumerate(columns):
            direction = _direction(keys[column])
            known = test.n_groups > 1
            low, high = _within(keys[column], float(test.low[place]), float(test.high[place]))
            moves = tuple(
                Move(take=str(kept[row]), piece=str(own[row]), old=float(a[row, place]), new=float(b[row, place]))
                for row in largest[:, place]
                if gaps[row, place]
            )
            found[column] = {
                "direction": direction,
                "n_takes": int(chosen.sum()),
                "n_pieces": test.n_groups,
                "old": float(means[0][place]),
                "new": float(means[1][place]),
                "difference": float(test.mean[place]),
                "low": low if known else None,
                "high": high if known else None,
                "error": float(test.error[place]) if known else None,
                "p": float(p_values[place]) if direction != "none" else None,
                "p_joint": None,
                "seen_above": None,
                "spread": float(spreads[place]),
                "verdict": "open" if gaps[:, place].any() else "same",
                "reason": "",
                "moved": moves,
                "by_piece": dict(zip(of_piece.tolist(), summed[:, place].tolist(), strict=True)),
            }
    for column in sorted(found):
        yield keys[column], found[column]


def mean_figures(table: Rows) -> dict[str, dict[str, float]]:
    """Return each system's mean figures, absolute where the best is 0; one without any value is left out."""
    found: dict[str, dict[str, float]] = {}
    for system in dict.fromkeys(table["system"].tolist()):
        values = {key: _read(key)(table[key][table["system"] == system]) for key in _figures(table)}
        found[system] = {key: float(np.nanmean(row)) for key, row in values.items() if np.isfinite(row).any()}
    return found


def figures_of_git(
    family: str, old: Mapping[str, Mapping[str, Any]], new: Mapping[str, Mapping[str, Any]]
) -> list[Difference]:
    """Compare the means that ``data/metrics/FAMILY.json`` of both versions hold: no take, and so no interval, is known.

    Args:
        family: its name.
        old: its figures in the old version, by system.
        new: those in the new one.
    """
    found = []
    for system in [name for name in new if name in old]:
        for key in [key for key in _METRICS if key in old[system] and key in new[system]]:
            a, b = (float(_read(key)(np.array(figures[system][key]))) for figures in (old, new))
            found.append(
                Difference(
                    family=family,
                    system=system,
                    role="",
                    metric=key,
                    direction=_direction(key),
                    n_takes=0,
                    n_pieces=0,
                    old=a,
                    new=b,
                    difference=b - a,
                    low=None,
                    high=None,
                    error=None,
                    p=None,
                    p_joint=None,
                    seen_above=None,
                    spread=0.0,
                    verdict="same" if a == b else "open",
                    reason="" if a == b else FROM_GIT,
                    moved=(),
                )
            )
    return found


def judge(
    rows: Sequence[Difference], noise: Mapping[tuple[str, str, str], Noise], luck: Mapping[str, str]
) -> list[Difference]:
    """Return the differences with the verdicts that hold jointly over all of them.

    A difference is called one where neither other pieces nor other seeds would make it so large. Over pieces, figures
    of at least six are tested together by exchanges (`tasks.versions.flips`), the others by Holm's procedure; the level
    is shared between both by how many figures there are of each (Bonferroni). What seeds would do is Holm's procedure
    over all of them. The larger of both p-values counts, and the figure's own interval has to leave 0 out: it is wary
    of skewed differences, which exchanges are not.

    Args:
        rows: of all families.
        noise: what seeds move, by family, system and metric, where that was measured.
        luck: families whose versions differ in nothing but what changes no data, parameter or code, with the reason:
            no difference of theirs is called one.
    """
    tested = [row for row in rows if row.p is not None and row.verdict != "same"]
    p_seeds = [
        noise[row.family, row.system, row.metric].p_value(row.difference)
        if (row.family, row.system, row.metric) in noise
        else 0.0
        for row in tested
    ]
    joint_seeds = holm(p_seeds)
    flipped = [place for place, row in enumerate(tested) if row.n_pieces >= LEAST_PIECES]
    others = [place for place, row in enumerate(tested) if row.n_pieces < LEAST_PIECES]
    p_pieces, seen = np.zeros(len(tested)), [np.inf] * len(tested)
    if flipped:
        share = len(flipped) / len(tested)
        test = flip_test([tested[place].by_piece for place in flipped], level=1 - (1 - CONFIDENCE) * share)
        p_pieces[flipped] = np.minimum(1.0, test.p / share)
        for place, error in zip(flipped, test.error, strict=True):
            seen[place] = max(test.critical * float(error) / tested[place].n_takes, _reach(tested[place]))
    if others:
        p_pieces[others] = np.minimum(
            1.0, holm([tested[place].p or 0.0 for place in others]) * len(tested) / len(others)
        )
        for place in others:
            row = tested[place]
            seen[place] = np.inf if row.error is None else least_difference(row.error, row.n_pieces - 1, len(tested))
    joint = {
        id(row): (seeds, max(pieces, seeds_joint), least)
        for row, seeds, pieces, seeds_joint, least in zip(
            tested, p_seeds, p_pieces.tolist(), joint_seeds.tolist(), seen, strict=True
        )
    }
    judged = []
    for row in rows:
        if id(row) not in joint:
            judged.append(row)
            continue
        seeds, p_joint, least = joint[id(row)]
        is_called = p_joint <= 1 - CONFIDENCE and _leaves_out_zero(row) and row.family not in luck
        if is_called:
            reason = ""
        elif row.family in luck:
            reason = luck[row.family]
        else:
            reason = WITHIN_SEEDS if seeds > 1 - CONFIDENCE else ONE_PIECE if row.n_pieces < 2 else ""
        sign = row.difference if row.direction == "higher" else -row.difference
        judged.append(
            replace(
                row,
                p_joint=float(p_joint),
                seen_above=_seen_above(row, least, noise.get((row.family, row.system, row.metric)), len(tested)),
                verdict=("better" if sign > 0 else "worse") if is_called else "open",
                reason=reason,
            )
        )
    return judged


def _reach(row: Difference) -> float:
    """Return how far a difference's interval reaches, on the side where the metric's range does not cut it."""
    if row.low is None or row.high is None:
        return np.inf
    return max(row.high - row.difference, row.difference - row.low)


def _leaves_out_zero(row: Difference) -> bool:
    return row.low is not None and row.high is not None and not row.low <= 0 <= row.high


def _seen_above(row: Difference, least: float, noise: Noise | None, n_figures: int) -> float | None:
    """Return above which size a difference would be called one, or None where the metric cannot differ by so much.

    Args:
        row: the difference.
        least: what its pieces can show.
        noise: of seeds.
        n_figures: that are called together.
    """
    if noise is not None:
        least = max(least, least_difference(noise.error, noise.n_seeds - 1, n_figures))
    low, high = _METRICS[row.metric].range()
    return least if least < high - low else None


def _within(key: str, low: float, high: float) -> tuple[float, float]:
    """Cut an interval to what the difference of two values of a metric can be."""
    if key not in _METRICS:
        return low, high
    return within(low, high, _METRICS[key].range())


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
