"""Verb ``evaluate-notes``: score `audiate notes` on recordings whose notes are known.

A folder holds recordings, each beside a file of its notes with the same name: a MIDI file, or a table of onset and
offset in seconds and pitch (``.tsv`` or ``.csv``, a head is optional, further columns are passed over but a fourth,
velocity).
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tasks.errors import BadInput, PipelineError
from tasks.instruments.midi import MidiPolicy
from tasks.instruments.midi_reader import read_midi
from tasks.instruments.notes import Notes, sorted_notes
from tasks.media.formats import RECORDING_SUFFIXES
from tasks.media.process import shown
from tasks.metrics.intervals import paired_test
from tasks.metrics.notes import match_notes, note_scores
from tasks.notes import FoundNotes, InstrumentName, NotesParams, notes_of_file

MIDI_SUFFIXES = (".mid", ".midi")
TABLE_SUFFIXES = (".tsv", ".csv", ".txt")
BIAS_WITHIN_S = 0.12  # a file's median timing error is taken from notes whose onsets agree within this
LAG = "onset_lag_ms"
FIGURES = (
    "onset_f1",
    "onset_f1_unbiased",
    "offset_f1",
    "velocity_f1",
    "onset_precision",
    "onset_recall",
    LAG,
)
_POLICY = MidiPolicy(
    max_bytes=2**24, max_duration_s=86_400.0, max_notes=1_000_000, hanging="close", overlap="cut", channels=16
)
_VELOCITY = 64  # of a table without one
_N_RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class NotesScore:
    """How well the notes of one recording were found.

    Attributes:
        recording: the file.
        reference: the file with its notes.
        figures: those of `tasks.metrics.notes.note_scores`, and ``onset_f1_unbiased``: the onset F1 with the file's
            median timing error taken off, which a recorder's or a player piano's latency would be.
        reason: why there are none, else empty.
    """

    recording: Path
    reference: Path
    figures: dict[str, float]
    reason: str = ""


def known_recordings(folder: Path) -> list[tuple[Path, Path]]:
    """Return recordings of a folder, at any depth, with the file of their notes, in order of their paths.

    Raises:
        BadInput: ``NO_PAIRS``, no recording stands beside a file of its notes.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    notes = {path.with_suffix(""): path for path in files if path.suffix.lower() in TABLE_SUFFIXES}
    notes |= {path.with_suffix(""): path for path in files if path.suffix.lower() in MIDI_SUFFIXES}
    recordings = [path for path in files if path.suffix.lower() in RECORDING_SUFFIXES]
    pairs = [(path, notes[path.with_suffix("")]) for path in recordings if path.with_suffix("") in notes]
    if not pairs:
        raise BadInput(
            f"{shown(folder)}: {len(recordings)} recordings, none beside a file of its notes, expected pairs such as "
            "piece.wav and piece.mid (or .tsv, .csv)",
            kind="NO_PAIRS",
        )
    return pairs


def score_notes(
    pairs: Sequence[tuple[Path, Path]], *, instrument: InstrumentName, params: NotesParams
) -> Iterator[NotesScore]:
    """Find the notes of each recording and score them; a file that cannot be used has a reason and no figures.

    Args:
        pairs: recordings with the files of their notes.
        instrument: what plays.
        params: of the detection.
    """
    for recording, reference in pairs:
        try:
            figures = figures_of(
                reference_notes(reference), notes_of_file(recording, instrument=instrument, params=params)
            )
        except PipelineError as error:
            yield NotesScore(recording=recording, reference=reference, figures={}, reason=str(error))
        else:
            yield NotesScore(recording=recording, reference=reference, figures=figures)


def figures_of(reference: Notes, found: FoundNotes) -> dict[str, float]:
    """Return the figures of one recording; one that has no value is left out."""
    estimate = sorted_notes(found.onset_s, found.offset_s, found.pitch, found.velocity)
    figures = note_scores(reference, estimate)
    pairs = match_notes(reference, estimate, onset_tolerance_s=BIAS_WITHIN_S)
    if len(pairs):
        bias_s = float(np.median(estimate.onset_s[pairs[:, 1]] - reference.onset_s[pairs[:, 0]]))
        earlier = replace(
            estimate,
            onset_s=estimate.onset_s - bias_s,
            offset_s=estimate.offset_s - bias_s,
            sounding_offset_s=estimate.sounding_offset_s - bias_s,
        )
        figures["onset_f1_unbiased"] = note_scores(reference, earlier)["onset_f1"]
    return figures


def reference_notes(path: Path) -> Notes:
    """Read the notes that were played; under a pedal a note ends where its damper falls.

    Raises:
        BadInput: the file cannot be used (`MidiError`, or ``BAD_TABLE`` with the line).
    """
    if path.suffix.lower() in MIDI_SUFFIXES:
        notes = read_midi(path, _POLICY).notes
        return replace(notes, offset_s=notes.sounding_offset_s)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{shown(path)}: cannot be read as a table: {error}", kind="BAD_TABLE") from error
    delimiter = "\t" if "\t" in text else ";" if ";" in text else "," if "," in text else " "
    rows = []
    for number, cells in enumerate(csv.reader(text.splitlines(), delimiter=delimiter, skipinitialspace=True), start=1):
        if not any(cell.strip() for cell in cells):
            continue
        try:
            rows.append([float(cell) for cell in cells[:3]] + [float(cells[3]) if len(cells) > 3 else _VELOCITY])
        except ValueError:
            if rows or number > 1:
                raise _bad_row(path, number, cells) from None
            continue  # the head
        onset_s, offset_s, pitch, velocity = rows[-1] if len(cells) >= 3 else [np.nan] * 4
        if not (0 <= onset_s < offset_s < np.inf and 0 <= pitch <= 127 and pitch == round(pitch) and velocity >= 0):
            raise _bad_row(path, number, cells)
    if not rows:
        raise BadInput(f"{shown(path)}: holds no note", kind="BAD_TABLE")
    onset_s, offset_s, pitch, velocity = np.array(rows, np.float64).T
    return sorted_notes(onset_s, offset_s, pitch.astype(np.uint8), np.clip(velocity, 1, 127).astype(np.uint8))


def _bad_row(path: Path, number: int, cells: list[str]) -> BadInput:
    return BadInput(
        f"{shown(path)}: line {number} is {' '.join(cells)[:60]!r}, expected onset and offset in seconds, the offset "
        "later, and a MIDI pitch",
        kind="BAD_TABLE",
    )


def summary(scores: Sequence[NotesScore]) -> dict[str, dict[str, Any]]:
    """Return each figure's mean over recordings with its 95 % interval; two recordings make no interval.

    Returns:
        By figure: ``mean``, ``low``, ``high`` (None where there are fewer than three recordings, or the interval would
        leave what the figure can be) and ``n``.
    """
    made = {}
    for name in FIGURES:
        files = [str(score.recording) for score in scores if name in score.figures]
        values = np.array([score.figures[name] for score in scores if name in score.figures])
        if not len(values):
            continue
        low = high = None
        if len(values) > 2:
            test = paired_test(values, files, n_resamples=_N_RESAMPLES, rng=np.random.default_rng(0))
            low, high = float(test.low[0]), float(test.high[0])
            if name != LAG and not 0 <= low <= high <= 1:  # wider than a share can be: so few recordings show nothing
                low = high = None
        made[name] = {"mean": float(values.mean()), "low": low, "high": high, "n": len(values)}
    return made
