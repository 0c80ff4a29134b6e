"""Evaluation on scores: each system's sound and notes beside the sound and the notes as they were rendered.

Every system is compared at the codes' rate, so that a figure means the same in every row. Notes are those that the
system predicts, else those that `tasks.features.polyphony` detects in its sound. Beside each result stands what it is
against another take, of another piece: with that one's pictures, and against its notes and its sound.

Where only the beginning of a take was given sound (``synthesize.score_excerpt_s``), its figures are of that excerpt:
the notes that begin in it, the true sound and the amplitudes of it, the ceiling and, as long, the control. Likelihoods
are always of all segments.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.evaluate import (
    EvaluateParams,
    TakeScores,
    above_first,
    by_system,
    difference_over_pieces,
    ids_by_take,
    means,
    rounded,
    score_by_take,
    write_takes,
)
from tasks.families.base import CodeFamily, VideoFamily
from tasks.features.amplitudes import note_amplitudes, note_frequencies_hz
from tasks.features.polyphony import TranscribeParams
from tasks.instruments.keyboard import LOWEST_PITCH, N_KEYS
from tasks.instruments.notes import Notes
from tasks.intake.notes import read_notes
from tasks.metrics.amplitudes import correlation_scores
from tasks.metrics.controls import ceiling_scores, control_scores, takes_of_other_pieces
from tasks.metrics.hiss import hiss_scores
from tasks.metrics.likelihood import nats_of_segments
from tasks.metrics.notes import Counts, note_scores, pitch_counts
from tasks.metrics.performances import at_rate, distances, is_excerpt, pitch_columns, transcribed_notes
from tasks.step import whole_folder
from tasks.store.audio import read_audio
from tasks.store.rendered import RENDERED
from tasks.store.segments import ScoreSet, Segment
from tasks.store.tables import read_table, write_table

KEYBOARD = np.arange(LOWEST_PITCH, LOWEST_PITCH + N_KEYS)

Scored = tuple[TakeScores, Mapping[int, Counts]]  # and hits and misses by pitch


@dataclass(frozen=True, kw_only=True)
class _Reference:
    """A test take as performances are held against it, at the codes' rate.

    Attributes:
        end_s: up to which it was performed and is scored; None where that is all of it.
        played: its notes.
        amplitudes: (F, N) of its true sound.
        ceiling: the score of the notes that are detected in its true sound.
    """

    end_s: float | None
    played: Notes
    amplitudes: NDArray[np.float32]
    ceiling: dict[str, float]


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
    takes = scores.takes("test")
    rows = scores.segments("test")
    ids = ids_by_take(rows)
    others = takes_of_other_pieces({take: scores.piece(take) for take in takes})
    nats, nats_other = _nats(family, trained, scores, rows, pictures_of=others, accelerator=accelerator)
    takes_of_rows = np.array([row.take for row in rows])
    limits: dict[str, Any] = {
        "onset_tolerance_s": params.onset_tolerance_s,
        "max_frequency_hz": scores.code_rate / 2,
    }

    def refer(take: str, jobs: Sequence[None]) -> list[_Reference]:
        performed = synthesized / family.systems[0] / take / "audio.flac"  # all systems perform equally much
        end_s = _end_of_excerpt_s(performed, scores.duration_s(take))
        played, truth = read_notes(take, RENDERED), _true_sound(take, scores.code_rate, end_s)
        if end_s is not None:
            played = played.until(end_s)
        found = transcribed_notes(truth, sample_rate=scores.code_rate, pitches=KEYBOARD, params=transcribe_params)
        ceiling = ceiling_scores(played, found, **limits)
        amplitudes = _amplitudes(truth, scores.code_rate, _frame_rate(scores, take))
        reference = _Reference(end_s=end_s, played=played, amplitudes=amplitudes, ceiling=ceiling)
        return [reference for _ in jobs]

    references = dict(zip(takes, score_by_take(refer, [(take, None) for take in takes], workers), strict=True))

    def score(take: str, systems: Sequence[str]) -> list[Scored]:
        reference = references[take]
        truth = _true_sound(take, scores.code_rate, reference.end_s)
        sounds = [at_rate(scores.code_rate, *read_audio(synthesized / name / take / "audio.flac")) for name in systems]
        scored: list[Scored] = []
        for system, sound, distance in zip(
            systems, sounds, distances(truth, sounds, sample_rate=scores.code_rate), strict=True
        ):
            both = min(len(truth), len(sound))
            figures = distance | hiss_scores(truth[:both], sound[:both], sample_rate=scores.code_rate)
            own = takes_of_rows == take
            if system in nats:
                other_pictures = nats_other[system][own] if system in nats_other else None
                figures |= nats_of_segments(nats[system][own], other_pictures)
            predicted = synthesized / system / take / "notes.parquet"
            notes = _notes(predicted, sound, sample_rate=scores.code_rate, params=transcribe_params)
            figures |= note_scores(reference.played, notes, **limits) | reference.ceiling
            amplitudes = _amplitudes(sound, scores.code_rate, _frame_rate(scores, take))
            both = min(len(reference.amplitudes), len(amplitudes))
            if both:
                figures |= correlation_scores(reference.amplitudes[:both], amplitudes[:both])
            if take in others:
                other = references[others[take]]
                figures |= control_scores(other.played, notes, other.amplitudes, amplitudes, **limits)
            found = TakeScores(
                system=system,
                role=family.role(system),
                take=take,
                piece=scores.piece(take),
                labels={"notes_from": "model" if predicted.exists() else "sound"},
                scores=figures,
                segment_ids=ids.get(take, []),
            )
            scored.append((found, pitch_counts(reference.played, notes, **limits)))
        return scored

    jobs = [(take, system) for system in family.systems for take in takes]
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
            | _picture_worth(own, params)
            | above_first(own, parted[family.systems[0]], "nats_per_sample", names=names, params=params)
        )
        for system, own in parted.items()
    }


def _nats(
    family: VideoFamily[Any, Any],
    trained: Path,
    scores: ScoreSet,
    rows: Sequence[Segment],
    *,
    pictures_of: Mapping[str, str],
    accelerator: str,
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    """Return the nats of each segment by system, and those with the pictures of other takes."""
    if not isinstance(family, CodeFamily):
        return {}, {}
    nats = family.nats(trained, scores, rows, accelerator=accelerator)
    if not family.conditioned or not pictures_of:
        return nats, {}
    return nats, family.nats(trained, scores, rows, accelerator=accelerator, pictures_of=pictures_of)


def _picture_worth(own: Sequence[TakeScores], params: EvaluateParams) -> dict[str, float]:
    measured = [one for one in own if "picture_worth" in one.scores]
    return difference_over_pieces(
        [one.scores["nats_other_pictures"] for one in measured],
        [one.scores["nats_per_sample"] for one in measured],
        [one.piece for one in measured],
        names=("picture_worth", "picture_worth_low", "picture_worth_high"),
        params=params,
    )


def _true_sound(take: str, sample_rate: int, end_s: float | None) -> NDArray[np.float32]:
    audio, rendered_rate = read_audio(RENDERED / take / "audio.flac")
    if end_s is not None:
        audio = audio[: round(end_s * rendered_rate)]
    return at_rate(sample_rate, audio, rendered_rate)


def _end_of_excerpt_s(performed: Path, duration_s: float) -> float | None:
    """Return where a performance of the beginning of a take ends; None where it is of all ``duration_s``."""
    audio, sample_rate = read_audio(performed)
    is_whole = not is_excerpt(len(audio), sample_rate, duration_s=duration_s)
    return None if is_whole else len(audio) / sample_rate


def _frame_rate(scores: ScoreSet, take: str) -> Fraction:
    return Fraction(scores.open(take).attributes["frame_rate"])


def _amplitudes(sound: NDArray[np.float32], sample_rate: int, frame_rate: Fraction) -> NDArray[np.float32]:
    """Return the amplitude of each key whose fundamental the sample rate holds, as ``extract`` measures them."""
    frequency_hz = note_frequencies_hz(KEYBOARD)
    return note_amplitudes(
        sound,
        sample_rate=sample_rate,
        frame_rate=frame_rate,
        frequency_hz=frequency_hz[frequency_hz < sample_rate / 2],
        n_frames=int(len(sound) * frame_rate / sample_rate),
    )


def _notes(predicted: Path, audio: NDArray[np.float32], *, sample_rate: int, params: TranscribeParams) -> Notes:
    if predicted.exists():
        return Notes(**read_table(predicted))
    return transcribed_notes(audio, sample_rate=sample_rate, pitches=KEYBOARD, params=params)
