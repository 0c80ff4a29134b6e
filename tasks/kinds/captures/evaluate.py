"""Evaluation on captures: each system's sound, notes and amplitudes for each camera of a take beside the reference.

A camera is a row of its own, ``TAKE/CAMERA``. Every system is compared at the rate of the master's sound; notes and
amplitudes count while the camera films. Notes are those that the system predicts, else those that
`tasks.features.polyphony` detects in its sound.
"""

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasks.errors import DamagedData
from tasks.evaluate import (
    EvaluateParams,
    TakeScores,
    by_system,
    ids_by_take,
    means,
    rounded,
    score_by_take,
    write_takes,
)
from tasks.families.base import LEVELS
from tasks.features.polyphony import TranscribeParams
from tasks.instruments.notes import Notes
from tasks.kinds.captures.played import played_notes
from tasks.metrics.amplitudes import amplitude_scores, onset_sweep
from tasks.metrics.frames import WINDOW_FRAMES, frame_rate_comb_db
from tasks.metrics.notes import Counts, note_scores, pitch_counts
from tasks.metrics.performances import at_rate, distances, pitch_columns, transcribed_notes
from tasks.step import whole_folder
from tasks.store.audio import read_audio
from tasks.store.segments import ScoreSet
from tasks.store.tables import read_table, write_table
from tasks.store.views import View, ViewSet

if TYPE_CHECKING:
    from tasks.families.base import VideoFamily

ON_SHARE = 0.05
"""Of a take's largest amplitude: a note is on in a frame from there."""

Scored = tuple[TakeScores, Mapping[int, Counts]]  # and hits and misses by pitch


def evaluate(
    family: "VideoFamily[Any, Any]",
    *,
    data: Path,
    trained: Path,
    synthesized: Path,
    out: Path,
    params: EvaluateParams,
    transcribe_params: TranscribeParams,
    workers: int,
    accelerator: str,  # noqa: ARG001 - other kinds need it
) -> dict[str, dict[str, Any]]:
    """Write ``takes.parquet`` and ``pitches.parquet``, and return each system's means over the test views.

    A family scores the views that it performed: it need not know every instrument.

    Raises:
        DamagedData: a system has performed no test view, or not those of the family's first system; or a performance is
            not whole.
        ToolError: the disk is full.
    """
    views = ViewSet(data)
    performed = _performed(family.systems, views, synthesized)
    frame_rates = {system: family.frame_rate(trained, system) for system in family.systems}
    levels = _levels(synthesized)
    ids = ids_by_take(ScoreSet(data).segments("test"))

    def score(take: str, performances: Sequence[tuple[str, View]]) -> list[Scored]:
        truth, rate = views.sound(take)
        folders = [synthesized / system / view.name for system, view in performances]
        sounds = [at_rate(rate, *read_audio(folder / "audio.flac")) for folder in folders]
        scored: list[Scored] = []
        for folder, (system, view), sound, distance in zip(
            folders, performances, sounds, distances(truth, sounds, sample_rate=rate), strict=True
        ):
            figures = distance | levels.get(system, {}) | _combs(truth, sound, rate, frame_rates[system])
            counts: Mapping[int, Counts] = {}
            if "amplitudes" in views.open(take):
                notes, amplitudes = _predicted(folder, sound, views, take, transcribe_params)
                played, counts = played_scores(view, views, notes, amplitudes, params=params)
                figures |= played
            found = TakeScores(
                system=system,
                role=family.role(system),
                take=view.name,
                piece=view.piece,
                labels={
                    "camera": view.camera,
                    "notes_from": "model" if (folder / "notes.parquet").exists() else "sound",
                },
                scores=figures,
                segment_ids=ids.get(take, []),
            )
            scored.append((found, counts))
        return scored

    jobs = [(view.take, (system, view)) for system in family.systems for view in performed[system]]
    scored = score_by_take(score, jobs, workers)
    with whole_folder(out) as half:
        write_takes(half, [found for found, _ in scored])
        rows_of_pitches = ((found.system, found.take, counts) for found, counts in scored)
        write_table(half / "pitches.parquet", pitch_columns(rows_of_pitches))
    parted = by_system(found for found, _ in scored)
    return {system: rounded(means(one.scores for one in own)) for system, own in parted.items()}


def played_scores(
    view: View,
    views: ViewSet,
    notes: Notes,
    amplitudes: NDArray[np.floating] | None,
    *,
    params: EvaluateParams,
) -> tuple[dict[str, float], dict[int, Counts]]:
    """Score notes, and note amplitudes if there are, that were estimated of a view, while its camera films.

    Args:
        view: whose instrument has notes.
        views: the data set.
        notes: on the master's clock.
        amplitudes: (F, n) on the scale of the reference, a column for each note of the instrument; or None.
        params: how they are scored.

    Returns:
        The figures by key, and hits, false alarms and misses of each pitch.
    """
    arrays = views.open(view.take)
    time_s = views.time_s(view)
    span_s = max(0.0, float(time_s[0])), min(views.duration_s(view.take), float(time_s[-1]))
    truth, notes = _between(played_notes(view, views), *span_s), _between(notes, *span_s)
    limits: dict[str, Any] = {
        "onset_tolerance_s": params.onset_tolerance_s,
        "max_frequency_hz": int(arrays.attributes["sound_rate"]) / 2,
    }
    scores = note_scores(truth, notes, **limits) | onset_sweep(truth, notes)
    if amplitudes is not None:
        reference = views.amplitudes(view.take)
        frame_rate = Fraction(arrays.attributes["frame_rate"])
        first, last = (int(moment * frame_rate) for moment in span_s)
        n_windows = min(len(reference), len(amplitudes))  # a duration's rounding may leave one more or less
        rows = slice(first + 1, min(max(last - 2, first + 2), n_windows))
        threshold = ON_SHARE * float(reference.max())
        scores |= amplitude_scores(reference[rows], amplitudes[rows], frame_rate=frame_rate, threshold=threshold)
    return scores, pitch_counts(truth, notes, **limits)


def _performed(systems: Sequence[str], views: ViewSet, synthesized: Path) -> dict[str, list[View]]:
    performed = {
        system: [view for view in views.views("test") if (synthesized / system / view.name / "audio.flac").exists()]
        for system in systems
    }
    expected = performed[systems[0]]
    for system, own in performed.items():
        if not own or own != expected:
            raise DamagedData(
                f"{synthesized / system} has {len(own)} views of test takes, expected {len(expected) or 1}"
            )
    return performed


def _levels(synthesized: Path) -> dict[str, dict[str, float]]:
    path = synthesized / LEVELS
    levels: dict[str, dict[str, float]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return levels


def _combs(
    truth: NDArray[np.float32], sound: NDArray[np.float32], sample_rate: int, frame_rate: Fraction | None
) -> dict[str, float]:
    """Measure the buzz at the frame rate; empty for a system without one, or for less than a second of sound."""
    if frame_rate is None or min(len(truth), len(sound)) < WINDOW_FRAMES * sample_rate / frame_rate + 1:
        return {}
    return {
        "comb_db": frame_rate_comb_db(sound, sample_rate, frame_rate),
        "true_comb_db": frame_rate_comb_db(truth, sample_rate, frame_rate),
    }


def _predicted(
    folder: Path, audio: NDArray[np.float32], views: ViewSet, take: str, params: TranscribeParams
) -> tuple[Notes, NDArray[np.floating] | None]:
    """Return the notes of a performance, and its note amplitudes (F, n) where the system predicts them."""
    attributes = views.open(take).attributes
    pitches = [int(pitch) for pitch in attributes["pitches"]]
    if (folder / "notes.parquet").exists():
        notes = Notes(**read_table(folder / "notes.parquet"))
    else:
        rate = int(attributes["sound_rate"])
        notes = transcribed_notes(audio, sample_rate=rate, pitches=np.array(pitches), params=params)
    if not (folder / "amplitudes.parquet").exists():
        return notes, None
    table = read_table(folder / "amplitudes.parquet", [str(pitch) for pitch in pitches])
    return notes, np.stack([table[str(pitch)] for pitch in pitches], axis=1)


def _between(notes: Notes, start_s: float, end_s: float) -> Notes:
    return notes.take((notes.onset_s >= start_s) & (notes.onset_s < end_s))
