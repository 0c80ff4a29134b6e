"""Sound to notes: which keys were struck, when, how loudly, and how long they sounded.

Five steps:

1. ``note_spectrum``: a log-frequency magnitude spectrum every 10 ms, windows shorter towards the treble.
2. ``note_activity``: non-negative factorization with one harmonic template a key, fitted to the recording.
3. ``note_evidence``: every rise of a key's activation is a candidate, with evidence for and against it.
4. A sum of decision trees weighs each candidate alone; ``note_context`` makes of that what the others say about it,
   and a second sum of trees decides. A third says how late the rise was seen. What passes becomes a note.
5. ``note_ends``: a fourth says at each moment whether the note is still held, by key or pedal.

The trees were fitted by ``benchmarks/fit_notes.py`` to music that the program makes up itself.

Shapes: F frequency bins, T spectrum columns, P pitches, C candidates.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tasks.features.decision_trees import DecisionTrees
from tasks.features.note_activity import Templates, activations, learn_templates
from tasks.features.note_attack import attacks
from tasks.features.note_context import context
from tasks.features.note_ends import ends, moments_after
from tasks.features.note_evidence import Candidates, find_candidates
from tasks.features.note_spectrum import (
    Partials,
    Resonator,
    SpectrumGrid,
    partials_of,
    pitch_to_hz,
    spectrum,
    spectrum_grid,
)
from tasks.features.resample import resample
from tasks.params import Section

Columns = dict[str, NDArray[Any]]
# What trees say: log odds of a note by its own evidence; by that and all others'; seconds by which it is seen late;
# log odds that it is still held.
Decision = Literal["alone", "together", "lateness", "held"]

ANALYSIS_RATE = 16_000  # Hz; partials above 8 kHz are little evidence
LOWEST_RATE = 4000  # Hz
SILENCE = 1e-5  # of full scale: a recording whose peak is lower has no notes
LEARNING_S = 60.0  # templates are learned from this much of a recording, evenly spread
_LEARNING_PIECE_S = 5.0
_BLOCK_S = 60.0  # worked on at a time, so that memory does not grow with the recording
_MARGIN_COLUMNS = 120  # around a block: more than a window and the farthest reach of evidence and of its context
LEAST_LOG_ODDS = -4.6  # of a candidate alone, about 1 in 100: what is less likely is not looked at again
_HISS_DB = -62.0  # of the recording's peak
SHORTEST_NOTE_S = 0.02
_REFERENCE_VELOCITY = 64  # of a note of median level: a recording does not show how loud the room was


class TranscribeParams(Section):
    """How sound becomes notes.

    Attributes:
        threshold: probability from which a candidate is a note.
        restrike_gap_s: two notes of one key are at least this far apart.
        n_iterations: steps of the factorization.
        release_db: a note ends at the latest where its activation is this far below its loudest.
        longest_note_s: a note ends after this long at the latest.
        floor_db: of full scale; what is found with its strongest partial below this level is no note.
    """

    threshold: float = Field(gt=0, lt=1)
    restrike_gap_s: float = Field(ge=0.02, le=1)
    n_iterations: int = Field(ge=1, le=1000)
    release_db: float = Field(gt=0, le=100)
    longest_note_s: float = Field(gt=0)
    floor_db: float = Field(ge=-200, le=0)


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """What a stretch of a recording shows: its candidates and, for their offsets, the activations.

    Attributes:
        candidates: whose columns count from ``start``.
        activity: (P, T) activations.
        level: activation of a typical sounding moment.
        start: column of the recording at which the stretch starts.
        core: first and last-but-one column of the stretch whose candidates count; the rest is margin.
    """

    candidates: Candidates
    activity: NDArray[np.float32]
    level: float
    start: int
    core: tuple[int, int]


def transcribe(
    audio: NDArray[np.float32],
    *,
    sample_rate: int,
    pitches: NDArray[np.integer],
    params: TranscribeParams,
    resonator: Resonator = "string",
) -> Columns:
    """Find the notes in a recording.

    Args:
        audio: (n,) mono samples, full scale 1.
        sample_rate: 4000 Hz or more; above 16 kHz the audio is resampled first.
        pitches: MIDI numbers that may occur, ascending, all with their fundamental below Nyquist.
        params: what counts as a note.
        resonator: what sounds: strings have a harmonic series, bars do not.

    Returns:
        Columns in order of onset, then pitch: ``onset_s``, ``offset_s`` (float64), ``pitch`` (uint8), ``amplitude``
        (float64, of the note's strongest partial: 0.5 for a sine of half of full scale) and ``velocity`` (uint8, an
        estimate: a note of median level is given 64).

    Raises:
        ValueError: the audio is not (n,) finite samples; the rate is too low; pitches are empty, not ascending, or
            one has its fundamental above Nyquist.
    """
    pitches = _checked(audio, sample_rate, pitches)
    peak = float(np.abs(audio).max(initial=0.0))
    if peak < SILENCE:
        return _as_columns(np.zeros(0), np.zeros(0), pitches[:0], np.zeros(0), np.zeros(0, np.uint8))
    onset_s, offset_s, pitch, amplitude = [], [], [], []
    for analysis, templates, grid in analyses(
        audio / np.float32(peak), sample_rate, pitches, resonator, params.n_iterations
    ):
        candidates = analysis.candidates
        probability, late_s = _weighed(analysis, resonator)
        chosen = _choose(candidates, probability, params, grid)
        end_column = _offsets(analysis, chosen, pitches, resonator, params, grid)
        inside = (candidates.column[chosen] >= analysis.core[0]) & (candidates.column[chosen] < analysis.core[1])
        chosen, end_column = chosen[inside], end_column[inside]
        row = candidates.row[chosen]
        seen_s = (analysis.start + candidates.time_column[chosen]) * grid.hop_s
        struck_s = np.maximum(seen_s - late_s[chosen], 0.0)
        onset_s.append(struck_s)
        offset_s.append(np.maximum((analysis.start + end_column) * grid.hop_s, struck_s + SHORTEST_NOTE_S))
        pitch.append(pitches[row])
        amplitude.append(candidates.level[chosen] * templates.level * templates.peak[row] * peak)
    level = np.concatenate(amplitude)
    heard = level >= 10 ** (params.floor_db / 20)
    return _as_columns(
        np.concatenate(onset_s)[heard],
        np.concatenate(offset_s)[heard],
        np.concatenate(pitch)[heard],
        level[heard],
        _velocity(level[heard]),
    )


def analyses(
    audio: NDArray[np.float32],
    sample_rate: int,
    pitches: NDArray[np.integer],
    resonator: Resonator,
    n_iterations: int,
) -> Iterator[tuple[Analysis, Templates, SpectrumGrid]]:
    """Yield what each minute of a recording shows, with the templates of the whole.

    Args:
        audio: (n,) samples with a peak of about 1.
        sample_rate: of the audio, Hz.
        pitches: checked MIDI numbers.
        resonator: what sounds.
        n_iterations: steps of the factorization.
    """
    if sample_rate > ANALYSIS_RATE:
        audio, sample_rate = resample(audio, sample_rate, ANALYSIS_RATE), ANALYSIS_RATE
    # The trees know recordings, which have noise; out of digital silence everything rises without bound.
    hiss = np.random.default_rng(0).standard_normal(len(audio), dtype=np.float32)
    audio = audio + np.float32(10 ** (_HISS_DB / 20)) * hiss
    grid = spectrum_grid(sample_rate)
    partials = partials_of(pitches, grid, resonator)
    n_columns = len(audio) // grid.hop_length + 1
    templates = _learn(audio, grid, partials, n_columns)
    block = round(_BLOCK_S / grid.hop_s)
    for first in range(0, n_columns, block):
        start = first - _MARGIN_COLUMNS
        stop = min(first + block, n_columns) + _MARGIN_COLUMNS
        magnitudes = spectrum(audio, grid, start=start, count=stop - start)
        activity = activations(magnitudes, templates, n_iterations=n_iterations)
        growth = attacks(audio, grid, start=start, count=stop - start)
        candidates = find_candidates(magnitudes, activity, growth, templates, partials, pitches)
        core = (_MARGIN_COLUMNS, stop - start - _MARGIN_COLUMNS)
        yield (
            Analysis(
                candidates=candidates, activity=activity[: len(pitches)], level=templates.level, start=start, core=core
            ),
            templates,
            grid,
        )


def weighed_alone(candidates: Candidates, resonator: Resonator) -> NDArray[np.float64]:
    """Return the log odds (C,) that each candidate is a note, by its own evidence."""
    return fitted_trees(resonator, "alone").total(candidates.evidence)


def in_context(analysis: Analysis, log_odds: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return which candidates are worth another look, and all evidence on them: their own and the others'."""
    found = context(analysis.candidates, log_odds, *analysis.activity.shape)
    likely = np.flatnonzero(log_odds > LEAST_LOG_ODDS)
    return likely, np.hstack([analysis.candidates.evidence[likely], found[likely]])


def _weighed(analysis: Analysis, resonator: Resonator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return for each candidate the probability of a note and how many seconds after its onset it is seen."""
    likely, evidence = in_context(analysis, weighed_alone(analysis.candidates, resonator))
    probability, late_s = np.zeros(len(analysis.candidates.row)), np.zeros(len(analysis.candidates.row))
    probability[likely] = fitted_trees(resonator, "together").probability(evidence)
    late_s[likely] = fitted_trees(resonator, "lateness").total(evidence)
    return probability, late_s


@cache
def fitted_trees(resonator: Resonator, what: Decision) -> DecisionTrees:
    """Return the trees fitted for one kind of instrument."""
    return DecisionTrees.load(trees_path(resonator, what))


def trees_path(resonator: Resonator, what: Decision) -> Path:
    """Return the file of the fitted trees."""
    return Path(__file__).with_name(f"polyphony_{resonator}_{what}.npz")


def _checked(audio: NDArray[np.float32], sample_rate: int, pitches: NDArray[np.integer]) -> NDArray[np.uint8]:
    if audio.ndim != 1:
        raise ValueError(f"audio has shape {audio.shape}, expected (n,): channels not mixed?")
    if not np.isfinite(audio).all():
        raise ValueError("audio has samples that are not numbers, expected finite ones")
    if sample_rate < LOWEST_RATE:
        raise ValueError(f"sample rate is {sample_rate} Hz, expected at least {LOWEST_RATE}")
    if len(pitches) == 0 or pitches.min() < 0 or pitches.max() > 127 or (np.diff(pitches.astype(int)) <= 0).any():
        raise ValueError("pitches are not ascending MIDI numbers from 0 to 127, at least one")
    highest_hz = float(pitch_to_hz(pitches[-1:])[0])
    if highest_hz >= sample_rate / 2:
        raise ValueError(
            f"pitch {pitches[-1]} is {highest_hz:.0f} Hz, expected below Nyquist, {sample_rate / 2:.0f} Hz"
        )
    checked: NDArray[np.uint8] = pitches.astype(np.uint8)
    return checked


def _learn(audio: NDArray[np.float32], grid: SpectrumGrid, partials: Partials, n_columns: int) -> Templates:
    """Learn templates from all of a recording, or from pieces evenly spread over a long one."""
    piece = round(_LEARNING_PIECE_S / grid.hop_s)
    n_pieces = round(LEARNING_S / _LEARNING_PIECE_S)
    if n_columns <= piece * n_pieces:
        return learn_templates(spectrum(audio, grid, start=0, count=n_columns), partials)
    starts = np.linspace(0, n_columns - piece, n_pieces).round().astype(int)
    pieces = [spectrum(audio, grid, start=int(start), count=piece) for start in starts]
    return learn_templates(np.hstack(pieces), partials)


def _choose(
    candidates: Candidates, probability: NDArray[np.float64], params: TranscribeParams, grid: SpectrumGrid
) -> NDArray[np.intp]:
    """Return the candidates that are notes, in order of key and time: the likeliest first, none too near another."""
    gap = params.restrike_gap_s / grid.hop_s
    likely = np.flatnonzero(probability >= params.threshold)
    taken: dict[int, list[float]] = {}
    chosen = []
    for index in likely[np.argsort(-probability[likely], kind="stable")]:
        others = taken.setdefault(int(candidates.row[index]), [])
        column = float(candidates.time_column[index])
        if all(abs(column - other) >= gap for other in others):
            others.append(column)
            chosen.append(index)
    order = np.array(chosen, np.intp)
    return order[np.lexsort((candidates.column[order], candidates.row[order]))]


def _offsets(
    analysis: Analysis,
    chosen: NDArray[np.intp],
    pitches: NDArray[np.uint8],
    resonator: Resonator,
    params: TranscribeParams,
    grid: SpectrumGrid,
) -> NDArray[np.float64]:
    """Return the column at which each chosen note, in order of key and time, is damped or struck again."""
    candidates, activity = analysis.candidates, analysis.activity
    row, column = candidates.row[chosen], candidates.column[chosen]
    if len(chosen) == 0:
        return np.zeros(0)
    n_columns = activity.shape[1]
    stop = np.minimum(column + round(params.longest_note_s / grid.hop_s), n_columns - 1)
    again = row[:-1] == row[1:]
    stop[:-1][again] = np.minimum(stop[:-1][again], column[1:][again])
    for k in range(len(row)):
        track = activity[row[k], column[k] : stop[k] + 1]
        loudest = int(track[:15].argmax())
        quiet = np.flatnonzero(track[loudest:] < track[loudest] * 10 ** (-params.release_db / 20))
        if len(quiet):
            stop[k] = column[k] + loudest + quiet[0]
    moments = moments_after(activity, row, column, stop, pitches[row], level=analysis.level)
    damped = ends(moments, fitted_trees(resonator, "held").total(moments.evidence))
    end: NDArray[np.float64] = np.maximum(np.minimum(damped, stop), candidates.time_column[chosen] + 1)
    return end


def _velocity(amplitude: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Estimate velocities: amplitude goes with the square of velocity in General MIDI synthesizers."""
    if len(amplitude) == 0:
        return np.zeros(0, np.uint8)
    velocity = _REFERENCE_VELOCITY * np.sqrt(amplitude / np.median(amplitude))
    whole: NDArray[np.uint8] = np.clip(np.rint(velocity), 1, 127).astype(np.uint8)
    return whole


def _as_columns(
    onset_s: NDArray[np.float64],
    offset_s: NDArray[np.float64],
    pitch: NDArray[np.uint8],
    amplitude: NDArray[np.float64],
    velocity: NDArray[np.uint8],
) -> Columns:
    order = np.lexsort((pitch, onset_s))
    return {
        "onset_s": onset_s[order],
        "offset_s": offset_s[order],
        "pitch": pitch[order],
        "amplitude": amplitude.astype(np.float64)[order],
        "velocity": velocity[order],
    }
