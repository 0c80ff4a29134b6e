"""Verb ``score``: what the promoted weights make of takes that they have not learned from, one take at a time.

A night scores what came in without training anything. A take whose piece the promoted weights learned from or were
tuned on stands apart: a figure of it says little about new music.
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tasks.evaluate import EvaluateParams, evaluate_family, means, rounded
from tasks.features.polyphony import TranscribeParams
from tasks.params import Section
from tasks.promote import PROMOTED, Promoted
from tasks.registry import kind_module
from tasks.store.segments import lend_take
from tasks.store.tables import read_table
from tasks.synthesize import SynthesizeParams, synthesize_family
from tasks.takes import Take

SCORED, CHUNKED = Path("data/scored"), Path("data/chunked")
ABOUT = "score.json"
HEADLINES = ("onset_f1", "si_sdr_improvement_db", "nats_per_sample", "mr_stft")


class ScoreParams(Section):
    """What sounding and evaluating a take follow from: the sections of those verbs."""

    synthesize: SynthesizeParams
    evaluate: EvaluateParams
    notes: TranscribeParams


@dataclass(frozen=True, kw_only=True)
class ScoredTake:
    """A take that promoted weights are tried on.

    Attributes:
        name: of the take.
        family: that is tried.
        kind: of its data.
        piece: of the take.
        apart: the weights learned from another take of the piece, or were tuned on one.
        weights: digest of what is promoted.
        code: digest of the family's code.
        accelerator: Lightning's word.
    """

    name: str
    family: str
    kind: str
    piece: str
    apart: bool
    weights: str
    code: str
    accelerator: str


@dataclass(frozen=True, kw_only=True)
class Score:
    """What one system reached on one take, or on a view of one (``TAKE/CAMERA``)."""

    family: str
    system: str
    role: str
    take: str
    piece: str
    apart: bool
    figures: Mapping[str, float]


def takes_to_score(promoted: Promoted, takes: Iterable[Take], *, code: str, accelerator: str) -> list[ScoredTake]:
    """Return the takes that promoted weights have not learned from and were not tuned on, by name.

    Args:
        promoted: the weights.
        takes: that were chunked.
        code: digest of the family's code.
        accelerator: Lightning's word.
    """
    return [
        ScoredTake(
            name=take.name,
            family=promoted.family,
            kind=promoted.kind,
            piece=take.piece,
            apart=take.piece in promoted.pieces,
            weights=promoted.digest,
            code=code,
            accelerator=accelerator,
        )
        for take in sorted(takes, key=lambda take: take.name)
        if take.data_set == promoted.kind and take.name not in promoted.learned
    ]


def inputs(take: ScoredTake) -> list[Path]:
    """Return what the score of a take follows from: weights, arrays, and what it is evaluated against."""
    truth: Sequence[Path] = kind_module(take.kind, "chunk").truth(take)
    return [CHUNKED / take.kind / take.name, *truth]


def score_take(take: ScoredTake, out: Path, params: ScoreParams) -> None:
    """Write the tables that ``evaluate`` makes of one take, and ``score.json``.

    The data set that sounding and evaluation are given has this take alone, as a test take. A family that does not
    know the take's instrument has no row.

    Raises:
        DamagedData: arrays, weights or what a family made are not whole.
        ToolError: the disk is full.
    """
    with TemporaryDirectory(prefix=".", suffix=".partial", dir=SCORED) as scratch:
        data = Path(scratch) / "data"
        lend_take(CHUNKED / take.kind, take.name, data)
        tables = sound_and_evaluate(
            take.family,
            data=data,
            trained=PROMOTED / take.family,
            folder=Path(scratch),
            params=params,
            accelerator=take.accelerator,
            workers=1,
        )
        for path in sorted(tables.iterdir()) if tables is not None else ():
            shutil.move(path, out / path.name)
    about = {key: value for key, value in asdict(take).items() if key != "accelerator"}
    (out / ABOUT).write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def sound_and_evaluate(
    family: str, *, data: Path, trained: Path, folder: Path, params: ScoreParams, accelerator: str, workers: int
) -> Path | None:
    """Let a family's weights sound the test takes of a data set, and evaluate that.

    Args:
        family: its name.
        data: the data set.
        trained: the weights.
        folder: that sounds and tables are written in.
        params: of both verbs.
        accelerator: Lightning's word.
        workers: threads.

    Returns:
        The folder of the tables; None where the family knows the instrument of no take.

    Raises:
        DamagedData: arrays, weights or what the family made are not whole.
        ToolError: the disk is full.
    """
    sounds, tables = folder / "synthesized", folder / "evaluated"
    made = synthesize_family(
        family,
        data=data,
        trained=trained,
        out=sounds,
        params=params.synthesize,
        accelerator=accelerator,
        workers=workers,
    )
    if not sum(1 for _ in made):
        return None
    evaluate_family(
        family,
        data=data,
        trained=trained,
        synthesized=sounds,
        out=tables,
        params=params.evaluate,
        transcribe_params=params.notes,
        workers=workers,
        accelerator=accelerator,
    )
    return tables


def read_scores(family: str) -> Iterator[Score]:
    """Yield what a family's promoted weights reached, by take and system.

    Raises:
        DamagedData: a table is damaged.
    """
    for folder in sorted(path for path in (SCORED / family).glob("*") if (path / ABOUT).is_file()):
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        if not (folder / "takes.parquet").exists():
            continue
        table = read_table(folder / "takes.parquet")
        figures = [name for name, values in table.items() if values.dtype.kind == "f"]
        for row in range(len(table["take"])):
            yield Score(
                family=family,
                system=str(table["system"][row]),
                role=str(table["role"][row]),
                take=str(table["take"][row]),
                piece=str(table["piece"][row]),
                apart=bool(about["apart"]),
                figures={name: float(table[name][row]) for name in figures if np.isfinite(table[name][row])},
            )


def headlines(scores: Iterable[Score], takes: Set[str]) -> list[dict[str, Any]]:
    """Return the figure that says most of each ranked system on some takes, of those in `HEADLINES` that it has.

    Args:
        scores: of any takes.
        takes: names; their views are taken too.
    """
    found = []
    for row in scores:
        key = next((name for name in HEADLINES if name in row.figures), None)
        if key is not None and row.role in ("", "model") and row.take.partition("/")[0] in takes:
            shown = {"family": row.family, "system": row.system, "take": row.take, "apart": row.apart}
            found.append({**shown, "figure": key, "value": round(row.figures[key], 4)})
    return found


def score_figures(families: Iterable[str]) -> dict[str, Any]:
    """Return the means over the takes that stand for new music, for ``dvc metrics``: by family and system."""
    found: dict[str, Any] = {}
    for family in families:
        rows = [row for row in read_scores(family) if not row.apart]
        found[family] = {
            system: rounded(means(row.figures for row in rows if row.system == system))
            for system in dict.fromkeys(row.system for row in rows)
        }
    return found
