"""Verb ``evaluate``: how near the results of each system on the test takes are to the reference.

A module for each kind of data measures (`tasks.kinds`). Here stands what all kinds share. The result of a system on a
take, or on a view of one, is a row of ``takes.parquet``; means of these rows are a family's figures in
``data/metrics``.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from tasks.families import load_family
from tasks.features.polyphony import TranscribeParams
from tasks.metrics.intervals import paired_interval
from tasks.params import Section
from tasks.registry import kind_module
from tasks.step import write_whole
from tasks.store.segments import Segment
from tasks.store.tables import write_table

S = TypeVar("S")
J = TypeVar("J")


class EvaluateParams(Section):
    """How results are scored."""

    onset_tolerance_s: float
    n_resamples: int  # draws behind an interval
    seed: int  # of those draws
    museval_players: int  # in a mix at most, for museval's ISR, SIR and SAR: their cost grows with the cube


@dataclass(frozen=True, kw_only=True)
class TakeScores:
    """The figures of one system on one take.

    Attributes:
        system: its name.
        role: what it is in a table, as its family declares.
        take: the take's name; ``TAKE/CAMERA`` for a view.
        piece: of the take.
        labels: what else a row of the kind holds that is no figure: text, a count or a truth value by column.
        scores: by key of `tasks.metrics`; a figure that has no value is left out.
        segment_ids: the segments of the take, which the figures rest on.
    """

    system: str
    role: str
    take: str
    piece: str
    labels: Mapping[str, str | int | bool]
    scores: Mapping[str, float]
    segment_ids: Sequence[str]


def evaluate_family(
    name: str,
    *,
    data: Path,
    trained: Path,
    synthesized: Path,
    out: Path,
    params: EvaluateParams,
    transcribe_params: TranscribeParams,
    workers: int,
    accelerator: str,
) -> dict[str, dict[str, Any]]:
    """Write ``takes.parquet`` and a finer table, and return each system's figures over the test takes.

    The finer table is ``pitches.parquet``, and ``players.parquet`` for a family that separates.

    Raises:
        DamagedData: the data set, the weights or a result are not whole.
        ToolError: the disk is full.
    """
    family = load_family(name)
    figures: dict[str, dict[str, Any]] = kind_module(family.data, "evaluate").evaluate(
        family,
        data=data,
        trained=trained,
        synthesized=synthesized,
        out=out,
        params=params,
        transcribe_params=transcribe_params,
        workers=workers,
        accelerator=accelerator,
    )
    return figures


def score_by_take(score: Callable[[str, Sequence[J]], list[S]], jobs: Sequence[tuple[str, J]], workers: int) -> list[S]:
    """Score results, those of one take together.

    A take is shared by as many workers as there are: each of them reads and measures its reference once.

    Args:
        score: called with a take and some of its jobs, returns their scores in order.
        jobs: (take, what is scored) pairs.
        workers: threads.

    Returns:
        The scores in the order of ``jobs``.
    """
    rows: dict[str, list[int]] = {}
    for row, (take, _) in enumerate(jobs):
        rows.setdefault(take, []).append(row)
    shares = []
    for take, own in rows.items():
        size = ceil(len(own) / workers)
        shares += [(take, own[start : start + size]) for start in range(0, len(own), size)]
    # One share a worker fills the cores, and a product summed by two threads has other last bits than by one.
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        done = list(pool.map(lambda share: score(share[0], [jobs[row][1] for row in share[1]]), shares))
    found = dict(zip([row for _, own in shares for row in own], [one for ones in done for one in ones], strict=True))
    return [found[row] for row in range(len(jobs))]


def ids_by_take(rows: Iterable[Segment]) -> dict[str, list[str]]:
    """Return the ids of segments by take."""
    ids: dict[str, list[str]] = {}
    for row in rows:
        ids.setdefault(row.take, []).append(row.segment_id)
    return ids


def by_system(found: Iterable[TakeScores]) -> dict[str, list[TakeScores]]:
    """Return scores by system, in the order in which systems first occur."""
    parted: dict[str, list[TakeScores]] = {}
    for one in found:
        parted.setdefault(one.system, []).append(one)
    return parted


def means(scores: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each figure, in order of name, over those that have it."""
    values: dict[str, list[float]] = {}
    for one in scores:
        for name, value in one.items():
            values.setdefault(name, []).append(value)
    return {name: float(np.mean(values[name])) for name in sorted(values)}


def above_first(
    own: Sequence[TakeScores],
    first: Sequence[TakeScores],
    key: str,
    *,
    names: tuple[str, str, str],
    params: EvaluateParams,
) -> dict[str, float]:
    """Compare a system with the first one of its family, which it is a variant of, over the same takes.

    Args:
        own: the system's scores.
        first: those of the first system, in the same order.
        key: the figure that is compared.
        names: keys of the mean difference, and of the lower and upper end of its interval over pieces.
        params: draws of the interval.

    Returns:
        By name; empty for the first system itself, and where fewer than two pieces have the figure.
    """
    if own[0].system == first[0].system:
        return {}
    pairs = [(a, b) for a, b in zip(own, first, strict=True) if key in a.scores and key in b.scores]
    pieces = [a.piece for a, _ in pairs]
    return difference_over_pieces(
        [a.scores[key] for a, _ in pairs], [b.scores[key] for _, b in pairs], pieces, names=names, params=params
    )


def difference_over_pieces(
    a: Sequence[float],
    b: Sequence[float],
    pieces: Sequence[str],
    *,
    names: tuple[str, str, str],
    params: EvaluateParams,
) -> dict[str, float]:
    """Return the mean of a - b over takes, and its 95 % interval over pieces.

    Args:
        a: a figure, one for each take.
        b: what it is compared with, for the same takes.
        pieces: of these takes.
        names: keys of the mean difference, and of the lower and upper end of its interval.
        params: draws of the interval.

    Returns:
        By name; empty for fewer than two pieces, whose spread is unknown.
    """
    if len(set(pieces)) < 2:
        return {}
    rng = np.random.default_rng(params.seed)
    difference = paired_interval(a, b, pieces, n_resamples=params.n_resamples, rng=rng)
    return dict(zip(names, difference, strict=True))


def rounded(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return figures, and groups of figures, as they are written: with six digits behind the decimal point."""
    return {name: rounded(value) if isinstance(value, Mapping) else round(value, 6) for name, value in figures.items()}


def write_takes(out: Path, found: Sequence[TakeScores]) -> None:
    """Write ``takes.parquet``: a row for each system and take."""
    write_table(
        out / "takes.parquet",
        {
            **{name: [str(getattr(one, name)) for one in found] for name in ("system", "role", "take", "piece")},
            **{name: np.array([one.labels[name] for one in found]) for name in found[0].labels},
            **figure_columns([one.scores for one in found]),
            "segment_ids": [list(one.segment_ids) for one in found],
        },
    )


def figure_columns(rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Return a column for each figure, in order of name; NaN where a row has no value."""
    names = sorted({name for row in rows for name in row})
    return {name: np.array([row.get(name, np.nan) for row in rows]) for name in names}


def write_metrics(path: Path, figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the figures that ``dvc metrics`` compares, by system; figures of a group stand in objects of their own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(figures, indent=1) + "\n")
