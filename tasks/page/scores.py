"""The table of figures: every system beside the baselines, with what its lead over them is worth."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.amplitudes import SWEEP_TOLERANCES_S
from tasks.metrics.intervals import paired_interval

REFERENCE_SYSTEMS = ("mean", "mean_features")
"""What every other system of a table is compared with: the baseline that ignores the video."""

UPPER_BOUNDS = frozenset({"upper_bound", "true_features"})
"""Systems that were handed the true notes or amplitudes: shown, never ranked."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A figure of the table: its key in the metrics' files and what it means."""

    key: str
    label: str
    unit: str
    best: Literal["lowest", "highest", "nearest 0", "not ranked"]
    digits: int
    meaning: str

    def cost(self, value: float) -> float:
        """Return what is smaller for a better value."""
        return {"lowest": value, "highest": -value, "nearest 0": abs(value), "not ranked": 0.0}[self.best]


METRICS = (
    Metric(
        key="nats_per_sample",
        label="NLL",
        unit="nats",
        best="lowest",
        digits=3,
        meaning="held-out negative log likelihood of a sample, given the true ones before it",
    ),
    Metric(
        key="mr_stft",
        label="MR-STFT",
        unit="",
        best="lowest",
        digits=2,
        meaning="multi-resolution STFT distance: spectral convergence plus log magnitude",
    ),
    Metric(
        key="log_spectral_distance_db",
        label="LSD",
        unit="dB",
        best="lowest",
        digits=1,
        meaning="log-spectral distance, floor 80 dB below full scale",
    ),
    Metric(
        key="onset_f1",
        label="Onset F1",
        unit="",
        best="highest",
        digits=3,
        meaning="notes found with the right key and an onset within 50 ms",
    ),
    Metric(
        key="offset_f1",
        label="Offset F1",
        unit="",
        best="highest",
        digits=3,
        meaning="those whose release is right too, within 20 % of the note or 50 ms",
    ),
    Metric(
        key="velocity_f1",
        label="Velocity F1",
        unit="",
        best="highest",
        digits=3,
        meaning="those found whose loudness, scaled as a whole, is right within 10 %",
    ),
    Metric(
        key="velocity_mae",
        label="Velocity error",
        unit="",
        best="lowest",
        digits=1,
        meaning="mean absolute error of MIDI velocity over the notes found",
    ),
    Metric(
        key="amplitude_correlation",
        label="Amplitudes",
        unit="",
        best="highest",
        digits=3,
        meaning="correlation of the note amplitudes with those measured in the true sound, over all notes and frames",
    ),
    Metric(
        key="frame_f1",
        label="Frame F1",
        unit="",
        best="highest",
        digits=3,
        meaning="notes that are on, frame by frame",
    ),
    Metric(
        key="onset_coincidence",
        label="Coincidence",
        unit="",
        best="nearest 0",
        digits=3,
        meaning="correlation between the onsets of different notes; near 1 every note is played at once",
    ),
    Metric(
        key="onset_lag_ms",
        label="Onset lag",
        unit="ms",
        best="nearest 0",
        digits=1,
        meaning="median of how late the notes found are",
    ),
)

DETAILS: Mapping[str, tuple[Metric, ...]] = MappingProxyType(
    {
        "Onset F1 by tolerance": tuple(
            Metric(
                key=f"onset_f1_{ms}_ms",
                label=f"{ms} ms",
                unit="",
                best="highest",
                digits=3,
                meaning=f"notes found with the right key and an onset within {ms} ms",
            )
            for ms in (round(1000 * tolerance_s) for tolerance_s in SWEEP_TOLERANCES_S)
        ),
        "Amplitudes and onsets": (
            Metric(
                key="amplitude_rmse",
                label="Amplitude error",
                unit="",
                best="lowest",
                digits=5,
                meaning="root of the mean squared error of the note amplitudes, on their own scale",
            ),
            Metric(
                key="note_correlation",
                label="Notes' mean",
                unit="",
                best="highest",
                digits=3,
                meaning="correlation of a note's amplitudes with the true ones, mean of the notes that sound",
            ),
            Metric(
                key="worst_note_correlation",
                label="Worst note",
                unit="",
                best="highest",
                digits=3,
                meaning="the smallest of them",
            ),
            Metric(
                key="amplitude_lag_ms",
                label="Onset vectors' lag",
                unit="ms",
                best="nearest 0",
                digits=1,
                meaning="by how much the amplitudes' rises are late, all notes together",
            ),
            Metric(
                key="onset_coincidence",
                label="Coincidence",
                unit="",
                best="not ranked",
                digits=3,
                meaning="correlation between the onset vectors of different notes; near 1 every note is played at once",
            ),
            Metric(
                key="true_onset_coincidence",
                label="True coincidence",
                unit="",
                best="not ranked",
                digits=3,
                meaning="the same of what was really played",
            ),
            Metric(
                key="onset_precision",
                label="Onset precision",
                unit="",
                best="highest",
                digits=3,
                meaning="share of the notes found that were played, within 50 ms",
            ),
            Metric(
                key="onset_recall",
                label="Onset recall",
                unit="",
                best="highest",
                digits=3,
                meaning="share of the notes played that were found, within 50 ms",
            ),
        ),
        "Sound": (
            Metric(
                key="estimate_level_dbfs",
                label="Level",
                unit="dBFS",
                best="not ranked",
                digits=1,
                meaning="of the sound, its RMS against full scale",
            ),
            Metric(
                key="truth_level_dbfs",
                label="True level",
                unit="dBFS",
                best="not ranked",
                digits=1,
                meaning="the same of the true sound",
            ),
            Metric(
                key="comb_db",
                label="Comb",
                unit="dB",
                best="not ranked",
                digits=1,
                meaning="how far what sounds at multiples of the frame rate stands above its surroundings: a buzz",
            ),
            Metric(
                key="true_comb_db",
                label="True comb",
                unit="dB",
                best="not ranked",
                digits=1,
                meaning="the same of the true sound, which has it by chance alone",
            ),
            Metric(
                key="black_level_dbfs",
                label="On black",
                unit="dBFS",
                best="lowest",
                digits=1,
                meaning="how loud it is on a film that is all black; silence is -120",
            ),
            Metric(
                key="white_level_dbfs",
                label="On white",
                unit="dBFS",
                best="lowest",
                digits=1,
                meaning="how loud it is on a film that is all white",
            ),
        ),
    }
)
"""Figures of captures that stand in tables of their own, by their titles."""

BY_CAMERA = "Onset F1 by camera"


@dataclass(frozen=True, kw_only=True)
class Lead:
    """How much better or worse than the reference a system is, over the takes that both have.

    Attributes:
        difference: system minus reference, mean over takes.
        low: lower end of its 95 % interval.
        high: upper end.
        verdict: what the interval leaves open.
    """

    difference: float
    low: float
    high: float
    verdict: Literal["better", "worse", "open"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One figure of one system."""

    metric: Metric
    value: float | None
    is_best: bool
    lead: Lead | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One system of the table."""

    family: str
    system: str
    is_upper_bound: bool
    is_reference: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """The systems that were tested on the same data, beside each other.

    Attributes:
        name: ``scores`` or ``captures``.
        reference: the system that the others are compared with; empty where there is none.
        metrics: its columns: those that a system of it has.
        rows: its systems.
        title: of a table of details; empty for a table of results.
        details: more about the same systems.
    """

    name: Literal["scores", "captures"]
    reference: str
    metrics: tuple[Metric, ...]
    rows: tuple[Row, ...]
    title: str = ""
    details: tuple["Table", ...] = ()


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was measured of one family.

    Attributes:
        family: its name.
        figures: ``{system: {metric: value}}``, summed up over the test takes.
        takes: the same by take, in columns: system, take, piece, and one for each metric; of captures also camera, and
            take is ``TAKE/CAMERA`` there.
    """

    family: str
    figures: Mapping[str, Mapping[str, Any]]
    takes: Mapping[str, NDArray[Any]]

    @property
    def data(self) -> Literal["scores", "captures"]:
        """The data set that it was tested on."""
        return "captures" if "camera" in self.takes else "scores"


def score_tables(evaluations: Sequence[Evaluation], *, n_resamples: int, seed: int) -> list[Table]:
    """Return a table for each data set: what was tested on other takes is not to be compared.

    Args:
        evaluations: one for each family.
        n_resamples: draws of each interval.
        seed: of the draws, as in `score_rows`.
    """
    names: tuple[Literal["scores", "captures"], ...] = ("scores", "captures")
    tables = []
    for name in names:
        own = [one for one in evaluations if one.data == name]
        rows = score_rows(own, n_resamples=n_resamples, seed=seed)
        if rows:
            reference = next((row.system for row in rows if row.is_reference), "")
            metrics = tuple(cell.metric for cell in rows[0].cells)
            details = tuple(detail_tables(own)) if name == "captures" else ()
            tables.append(Table(name=name, reference=reference, metrics=metrics, rows=tuple(rows), details=details))
    return tables


def detail_tables(evaluations: Sequence[Evaluation]) -> Iterator[Table]:
    """Yield what else was measured of captures, camera by camera too; figures alone, without intervals."""
    cameras = sorted({str(camera) for family in evaluations for camera in family.takes["camera"]})
    by_camera = tuple(
        Metric(
            key=f"onset_f1 {camera}",
            label=camera,
            unit="",
            best="highest",
            digits=3,
            meaning=f"onset F1 within 50 ms of what {camera} films, mean over the takes",
        )
        for camera in cameras
    )
    parted = [
        replace(
            family,
            figures={
                system: {f"onset_f1 {camera}": _mean_of_camera(family, system, camera) for camera in cameras}
                for system in family.figures
            },
        )
        for family in evaluations
    ]
    titled = [(BY_CAMERA, by_camera, parted), *((title, metrics, evaluations) for title, metrics in DETAILS.items())]
    for title, metrics, families in titled:
        rows = _rows(families, metrics)
        if rows and rows[0].cells:
            shown = tuple(cell.metric for cell in rows[0].cells)
            yield Table(name="captures", reference="", metrics=shown, rows=tuple(rows), title=title)


def _mean_of_camera(family: Evaluation, system: str, camera: str) -> float:
    if "onset_f1" not in family.takes:
        return math.nan
    values = family.takes["onset_f1"][(family.takes["system"] == system) & (family.takes["camera"] == camera)]
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else math.nan


def score_rows(evaluations: Sequence[Evaluation], *, n_resamples: int, seed: int) -> list[Row]:
    """Return the table's rows, in the order of the families and of their systems.

    A metric that no system has is no column. The best of a column is the best among systems that were not
    handed the answer; where several share it, each is marked.

    Args:
        evaluations: one for each family.
        n_resamples: draws of each interval.
        seed: of the draws. Each interval has a generator of its own, so that a system more or less does
            not move the others' figures.
    """
    systems = [(family, system) for family in evaluations for system in family.figures]
    reference = next(((f, s) for f, s in systems if s in REFERENCE_SYSTEMS), None)

    def lead(family: Evaluation, system: str, metric: Metric) -> Lead | None:
        if reference is None or system in REFERENCE_SYSTEMS:
            return None
        return _lead(family, system, reference, metric, n_resamples=n_resamples, seed=seed)

    return _rows(evaluations, METRICS, lead)


def _rows(
    evaluations: Sequence[Evaluation],
    metrics: Sequence[Metric],
    lead: Callable[[Evaluation, str, Metric], Lead | None] = lambda *_: None,
) -> list[Row]:
    systems = [(family, system) for family in evaluations for system in family.figures]
    shown = [metric for metric in metrics if any(_value(f, s, metric) is not None for f, s in systems)]
    best = {metric.key: _best(systems, metric) for metric in shown}
    return [
        Row(
            family=family.family,
            system=system,
            is_upper_bound=system in UPPER_BOUNDS,
            is_reference=system in REFERENCE_SYSTEMS,
            cells=tuple(
                Cell(
                    metric=metric,
                    value=(value := _value(family, system, metric)),
                    is_best=value is not None and system not in UPPER_BOUNDS and _same(metric, value, best),
                    lead=lead(family, system, metric),
                )
                for metric in shown
            ),
        )
        for family, system in systems
    ]


def _value(family: Evaluation, system: str, metric: Metric) -> float | None:
    value = family.figures[system].get(metric.key)
    return float(value) if value is not None and math.isfinite(value) else None


def _best(systems: Sequence[tuple[Evaluation, str]], metric: Metric) -> float | None:
    if metric.best == "not ranked":
        return None
    ranked = [_value(f, s, metric) for f, s in systems if s not in UPPER_BOUNDS]
    values = [value for value in ranked if value is not None]
    # One system alone is not the best of anything.
    return min((metric.cost(value) for value in values), default=None) if len(values) > 1 else None


def _same(metric: Metric, value: float, best: Mapping[str, float | None]) -> bool:
    found = best[metric.key]
    return found is not None and round(metric.cost(value), metric.digits) == round(found, metric.digits)


def _lead(
    family: Evaluation, system: str, reference: tuple[Evaluation, str], metric: Metric, *, n_resamples: int, seed: int
) -> Lead | None:
    """Compare with the reference; None where they share no two pieces with this figure."""
    ours = _by_take(family, system, metric)
    theirs = _by_take(*reference, metric)
    both = sorted(ours.keys() & theirs.keys())
    pieces = [ours[take][0] for take in both]
    if len(set(pieces)) < 2:
        return None
    difference, low, high = paired_interval(
        [ours[take][1] for take in both],
        [theirs[take][1] for take in both],
        pieces,
        n_resamples=n_resamples,
        rng=np.random.default_rng(seed),
    )
    if low <= 0 <= high or metric.best == "nearest 0":
        return Lead(difference=difference, low=low, high=high, verdict="open")
    lower = high < 0
    verdict: Literal["better", "worse"] = "better" if lower == (metric.best == "lowest") else "worse"
    return Lead(difference=difference, low=low, high=high, verdict=verdict)


def _by_take(family: Evaluation, system: str, metric: Metric) -> dict[str, tuple[str, float]]:
    columns = family.takes
    if metric.key not in columns:
        return {}
    values = columns[metric.key].astype(np.float64)
    return {
        str(columns["take"][row]): (str(columns["piece"][row]), float(values[row]))
        for row in np.flatnonzero((columns["system"] == system) & np.isfinite(values))
    }
