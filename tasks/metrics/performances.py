"""A performance beside its reference: its sound, and the notes that were played in it.

What two kinds share: scores and captures, whose silent video a system gives a sound.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.features.polyphony import TranscribeParams, transcribe
from tasks.features.resample import resample
from tasks.instruments.notes import Notes, sorted_notes
from tasks.metrics.notes import Counts, fundamental_hz
from tasks.metrics.sound import scores_of_sounds
from tasks.store.tables import Column


def at_rate(rate: int, audio: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """Return sound (n,) of ``sample_rate`` at ``rate``, both in Hz."""
    return audio if sample_rate == rate else resample(audio, sample_rate, rate)


def is_excerpt(n_samples: int, sample_rate: int, *, duration_s: float) -> bool:
    """Return whether a sound of ``n_samples`` at ``sample_rate`` Hz ends before a take of ``duration_s`` does.

    A sample less is no excerpt: a rate that does not divide the duration leaves or lacks a part of one.
    """
    return n_samples + 1 < duration_s * sample_rate


def distances(
    truth: NDArray[np.float32], sounds: Sequence[NDArray[np.float32]], *, sample_rate: int
) -> list[dict[str, float]]:
    """Measure how far sounds are from the reference, over the samples that both have.

    A rate that does not divide the duration leaves a sample more.
    """
    lengths = [min(len(truth), len(sound)) for sound in sounds]
    # Systems that are not conditioned on the video make the same sound for every camera.
    contents = [hashlib.sha256(sound[:n].tobytes()).digest() for sound, n in zip(sounds, lengths, strict=True)]
    first = {content: row for row, content in reversed(list(enumerate(contents)))}
    found: dict[bytes, dict[str, float]] = {}
    for length in sorted(set(lengths)):
        some = [row for row in first.values() if lengths[row] == length]
        scored = scores_of_sounds(truth[:length], [sounds[row][:length] for row in some], sample_rate=sample_rate)
        found |= {contents[row]: scores for row, scores in zip(some, scored, strict=True)}
    return [found[content] for content in contents]


def transcribed_notes(
    audio: NDArray[np.float32], *, sample_rate: int, pitches: NDArray[np.integer], params: TranscribeParams
) -> Notes:
    """Return the notes that are detected in a sound (n,), for a system that predicts none.

    Args:
        audio: in [-1, 1].
        sample_rate: of it, in Hz.
        pitches: MIDI numbers of the instrument; those above half the sample rate are not looked for.
        params: of the detector.
    """
    columns = transcribe(
        audio, sample_rate=sample_rate, pitches=pitches[fundamental_hz(pitches) < sample_rate / 2], params=params
    )
    return sorted_notes(
        np.asarray(columns["onset_s"], np.float64),
        np.asarray(columns["offset_s"], np.float64),
        np.asarray(columns["pitch"], np.uint8),
        np.asarray(columns["velocity"], np.uint8),
    )


def pitch_columns(rows: Iterable[tuple[str, str, Mapping[int, Counts]]]) -> dict[str, Column]:
    """Return the columns of ``pitches.parquet``: hits, false alarms and misses of each pitch.

    Args:
        rows: (system, take, counts by pitch), one for each performance.
    """
    counted = [(system, take, pitch, one) for system, take, counts in rows for pitch, one in counts.items()]
    return {
        "system": [system for system, _, _, _ in counted],
        "take": [take for _, take, _, _ in counted],
        "pitch": np.array([pitch for _, _, pitch, _ in counted], np.int64),
        **{name: np.array([getattr(one, name) for *_, one in counted], np.int64) for name in ("tp", "fp", "fn")},
    }
