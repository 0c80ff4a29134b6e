"""Evaluation on scores: each system's sound and notes beside the sound and the notes as they were rendered.

Every system is compared at the codes' rate, so that a figure means the same in every row. Notes are those that the
system predicts, else those that `tasks.features.polyphony` detects in its sound.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.evaluate import (
    EvaluateParams,
    TakeScores,
    above_first,
    by_system,
    ids_by_take,
    means,
    rounded,
    score_by_take,
    write_takes,
)
from tasks.families.base import CodeFamily, VideoFamily
from tasks.features.polyphony import TranscribeParams
from tasks.instruments.keyboard import LOWEST_PITCH, N_KEYS
from tasks.instruments.notes import Notes
from tasks.intake.notes import read_notes
from tasks.metrics.likelihood import nats_of_segments
from tasks.metrics.notes import Counts, note_scores, pitch_counts
from tasks.metrics.performances import at_rate, distances, pitch_columns, transcribed_notes
from tasks.step import whole_folder
from tasks.store.audio import read_audio
from tasks.store.rendered import RENDERED
from tasks.store.segments import ScoreSet
from tasks.store.tables import read_table, write_table

KEYBOARD = np.arange(LOWEST_PITCH, LOWEST_PITCH + N_KEYS)

Scored = tuple[TakeScores, Mapping[int, Counts]]  # and hits and misses by pitch


def evaluate(
    family: VideoFamily[Any, Any],
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
    """Write ``takes.parquet`` and ``pitches.parquet``, and return each system's means over the test takes.

    Raises:
        DamagedData: the data set, the weights or a performance are not whole.
        ToolError: the disk is full.
    """
    scores = ScoreSet(data)
    rows = scores.segments("test")
    ids = ids_by_take(rows)
    nats = family.nats(trained, scores, rows, accelerator=accelerator) if isinstance(family, CodeFamily) else {}
    takes_of_rows = np.array([row.take for row in rows])

    def score(take: str, systems: Sequence[str]) -> list[Scored]:
        truth = at_rate(scores.code_rate, *read_audio(RENDERED / take / "audio.flac"))
        sounds = [at_rate(scores.code_rate, *read_audio(synthesized / name / take / "audio.flac")) for name in systems]
        scored: list[Scored] = []
        for system, sound, distance in zip(
            systems, sounds, distances(truth, sounds, sample_rate=scores.code_rate), strict=True
        ):
            likelihood = nats_of_segments(nats[system][takes_of_rows == take]) if system in nats else {}
            limits: dict[str, Any] = {
                "onset_tolerance_s": params.onset_tolerance_s,
                "max_frequency_hz": scores.code_rate / 2,
            }
            predicted = synthesized / system / take / "notes.parquet"
            played = read_notes(take, RENDERED)
            notes = _notes(predicted, sound, sample_rate=scores.code_rate, params=transcribe_params)
            found = TakeScores(
                system=system,
                role=family.role(system),
                take=take,
                piece=scores.piece(take),
                labels={"notes_from": "model" if predicted.exists() else "sound"},
                scores=distance | likelihood | note_scores(played, notes, **limits),
                segment_ids=ids.get(take, []),
            )
            scored.append((found, pitch_counts(played, notes, **limits)))
        return scored

    jobs = [(take, system) for system in family.systems for take in scores.takes("test")]
    scored = score_by_take(score, jobs, workers)
    with whole_folder(out) as half:
        write_takes(half, [found for found, _ in scored])
        rows_of_pitches = ((found.system, found.take, counts) for found, counts in scored)
        write_table(half / "pitches.parquet", pitch_columns(rows_of_pitches))
    parted = by_system(found for found, _ in scored)
    names = ("nats_above_first", "nats_above_first_low", "nats_above_first_high")
    return {
        system: rounded(
            means(one.scores for one in own)
            | above_first(own, parted[family.systems[0]], "nats_per_sample", names=names, params=params)
        )
        for system, own in parted.items()
    }


def _notes(predicted: Path, audio: NDArray[np.float32], *, sample_rate: int, params: TranscribeParams) -> Notes:
    if predicted.exists():
        return Notes(**read_table(predicted))
    return transcribed_notes(audio, sample_rate=sample_rate, pitches=KEYBOARD, params=params)
