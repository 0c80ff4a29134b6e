"""The table of figures: every system beside the baselines, with what its lead over them is worth."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.instruments.orchestra import ORCHESTRA
from tasks.metrics.amplitudes import SWEEP_TOLERANCES_S
from tasks.metrics.intervals import paired_interval

REFERENCE_SYSTEMS = ("mean", "mean_features", "mix")
"""What every other system of a table is compared with: the baseline that ignores the video, or the mix as it is."""

UPPER_BOUNDS = frozenset({"upper_bound", "true_features", "ideal_ratio_mask"})
"""Systems that were handed the true notes, amplitudes or stems: shown, never ranked."""

NEVER_BEST = UPPER_BOUNDS | {"silent"}
"""Systems that are best at nothing: who was handed the truth, and silence, which leaks nothing."""

DataName = Literal["scores", "captures", "ensembles"]


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
    Metric(
        key="si_sdr_improvement_db",
        label="SI-SDRi",
        unit="dB",
        best="highest",
        digits=2,
        meaning="by how much a player's SI-SDR is above the one that the mix itself has, mean over the players",
    ),
    Metric(
        key="si_sdr_db",
        label="SI-SDR",
        unit="dB",
        best="highest",
        digits=2,
        meaning="scale-invariant signal-to-distortion ratio while a player plays, mean over the players",
    ),
    Metric(
        key="sdr_db",
        label="SDR",
        unit="dB",
        best="highest",
        digits=2,
        meaning="BSS Eval's signal-to-distortion ratio, median over the seconds in which all play",
    ),
    Metric(
        key="sir_db",
        label="SIR",
        unit="dB",
        best="highest",
        digits=2,
        meaning="BSS Eval's signal-to-interference ratio: to what is of the others",
    ),
    Metric(
        key="leakage_db",
        label="Leakage",
        unit="dB",
        best="lowest",
        digits=1,
        meaning="how loud a player's sound is while he rests, against the mix there, mean of all his rests",
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

PLAYERS_KEY = re.compile(r"si_sdr_improvement_(\d+)_players_db")
INSTRUMENT_KEY = re.compile(r"si_sdr_improvement_(.+)_db")
BY_PLAYERS = "SI-SDR improvement by players"
BY_INSTRUMENT = "SI-SDR improvement by instrument"

SEPARATION_DETAILS: Mapping[str, tuple[Metric, ...]] = MappingProxyType(
    {
        "BSS Eval, and the worst leakage": (
            Metric(
                key="isr_db",
                label="ISR",
                unit="dB",
                best="highest",
                digits=2,
                meaning="of BSS Eval's distortion, to what is the player's own but filtered",
            ),
            Metric(
                key="sar_db",
                label="SAR",
                unit="dB",
                best="highest",
                digits=2,
                meaning="of BSS Eval's distortion, to what is of nobody",
            ),
            Metric(
                key="leakage_worst_db",
                label="Worst leakage",
                unit="dB",
                best="lowest",
                digits=1,
                meaning="leakage in the worst quarter of a second of a take",
            ),
        ),
        "Do they follow what they see?": (
            Metric(
                key="swap_follows_db",
                label="Views exchanged",
                unit="dB",
                best="highest",
                digits=1,
                meaning="by how much each sound of a duet of one instrument comes nearer to the other player's once "
                "their views are exchanged: what follows the eye is far above 0",
            ),
            Metric(
                key="swap_against_labels_db",
                label="… against labels",
                unit="dB",
                best="not ranked",
                digits=1,
                meaning="the same of a duet of two instruments, whose labels stay: above 0 the eye outweighs them",
            ),
            Metric(
                key="blank_fades_db",
                label="View blanked",
                unit="dB",
                best="not ranked",
                digits=1,
                meaning="by how much a player fades once his view is black",
            ),
            Metric(
                key="blank_keeps_db",
                label="… of the other",
                unit="dB",
                best="not ranked",
                digits=1,
                meaning="by how much louder the other one becomes by that",
            ),
        ),
        "Beside the family's first system": (
            Metric(
                key="si_sdr_above_first_db",
                label="SI-SDR above it",
                unit="dB",
                best="not ranked",
                digits=2,
                meaning="SI-SDR less that of the family's first system, over the same takes",
            ),
            Metric(
                key="si_sdr_above_first_low_db",
                label="from",
                unit="dB",
                best="not ranked",
                digits=2,
                meaning="lower end of its 95 % interval over pieces",
            ),
            Metric(
                key="si_sdr_above_first_high_db",
                label="to",
                unit="dB",
                best="not ranked",
                digits=2,
                meaning="upper end of it",
            ),
        ),
    }
)
"""Figures of ensembles that stand in tables of their own, by their titles."""


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
    is_ordered_by_truth: bool = False  # its sounds belong to nobody, and were given to whom they fit best


@dataclass(frozen=True, kw_only=True)
class Table:
    """The systems that were tested on the same data, beside each other.

    Attributes:
        name: ``scores``, ``captures`` or ``ensembles``.
        reference: the system that the others are compared with; empty where there is none.
        metrics: its columns: those that a system of it has.
        rows: its systems.
        title: of a table of details; empty for a table of results.
        details: more about the same systems.
    """

    name: DataName
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
            take is ``TAKE/CAMERA`` there; of ensembles also n_players, same_instruments and ordered_by.
    """

    family: str
    figures: Mapping[str, Mapping[str, Any]]
    takes: Mapping[str, NDArray[Any]]

    @property
    def data(self) -> DataName:
        """The data set that it was tested on."""
        if "n_players" in self.takes:
            return "ensembles"
        return "captures" if "camera" in self.takes else "scores"


def score_tables(evaluations: Sequence[Evaluation], *, n_resamples: int, seed: int) -> list[Table]:
    """Return a table for each data set: what was tested on other takes is not to be compared.

    Args:
        evaluations: one for each family.
        n_resamples: draws of each interval.
        seed: of the draws, as in `score_rows`.
    """
    names: tuple[DataName, ...] = ("scores", "captures", "ensembles")
    details_of = {"captures": detail_tables, "ensembles": separation_tables}
    tables = []
    for name in names:
        own = [one for one in evaluations if one.data == name]
        rows = score_rows(own, n_resamples=n_resamples, seed=seed)
        if rows:
            reference = next((row.system for row in rows if row.is_reference), "")
            metrics = tuple(cell.metric for cell in rows[0].cells)
            details = tuple(details_of[name](own)) if name in details_of else ()
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


def separation_tables(evaluations: Sequence[Evaluation]) -> Iterator[Table]:
    """Yield what else was measured of ensembles: by number of players and instrument, and what follows the eye."""
    keys = {key for family in evaluations for figures in family.figures.values() for key in figures}
    counts = sorted(int(found[1]) for key in keys if (found := PLAYERS_KEY.fullmatch(key)))
    by_players = [
        _improvement(f"{count}_players", f"{count} players", f"of ensembles of {count}, mean over the takes")
        for count in counts
    ]
    by_players.append(_improvement("same_instruments", "Two alike", "of those in which two play one instrument"))
    words = {found[1] for key in keys if (found := INSTRUMENT_KEY.fullmatch(key))} - {"same_instruments"}
    names = {code: about.name for code, about in ORCHESTRA.items()} | {
        word: word for word in sorted(words - ORCHESTRA.keys()) if not PLAYERS_KEY.fullmatch(_improvement_key(word))
    }
    by_instrument = [
        _improvement(code, name, f"of those who play {name}, mean over the players") for code, name in names.items()
    ]
    titled = [(BY_PLAYERS, by_players), (BY_INSTRUMENT, by_instrument), *SEPARATION_DETAILS.items()]
    for title, metrics in titled:
        rows = _rows(evaluations, metrics)
        if rows and rows[0].cells:
            shown = tuple(cell.metric for cell in rows[0].cells)
            yield Table(name="ensembles", reference="", metrics=shown, rows=tuple(rows), title=title)


def _improvement(group: str, label: str, meaning: str) -> Metric:
    return Metric(
        key=_improvement_key(group),
        label=label,
        unit="dB",
        best="highest",
        digits=2,
        meaning=f"SI-SDR improvement {meaning}",
    )


def _improvement_key(group: str) -> str:
    return f"si_sdr_improvement_{group}_db"


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
            is_ordered_by_truth=_is_ordered_by_truth(family, system),
            cells=tuple(
                Cell(
                    metric=metric,
                    value=(value := _value(family, system, metric)),
                    is_best=value is not None and system not in NEVER_BEST and _same(metric, value, best),
                    lead=lead(family, system, metric),
                )
                for metric in shown
            ),
        )
        for family, system in systems
    ]


def _is_ordered_by_truth(family: Evaluation, system: str) -> bool:
    if "ordered_by" not in family.takes:
        return False
    return bool((family.takes["ordered_by"][family.takes["system"] == system] == "truth").any())


def _value(family: Evaluation, system: str, metric: Metric) -> float | None:
    value = family.figures[system].get(metric.key)
    return float(value) if value is not None and math.isfinite(value) else None


def _best(systems: Sequence[tuple[Evaluation, str]], metric: Metric) -> float | None:
    if metric.best == "not ranked":
        return None
    ranked = [_value(f, s, metric) for f, s in systems if s not in NEVER_BEST]
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
