"""From note amplitudes to notes and sound: the pickers of notes, how they are fitted, and a system's performance."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from tasks.errors import ParamsError
from tasks.families.base import Film, NoteAmplitudes, Performance, n_samples_of
from tasks.families.note_regression.examples import Example
from tasks.features.amplitudes import note_frequencies_hz
from tasks.features.note_picking import CAREFUL, PickedNotes, Picker, fit_picker, pick_notes
from tasks.instruments.notes import ONSET_TOLERANCE_S, Notes, sorted_notes
from tasks.sound.additive import render_additive
from tasks.store.views import ViewSet

SAMPLE_RATE = 22_050  # Hz, of the additive sound


def notes_of(picked: PickedNotes, pitches: Sequence[int]) -> Notes:
    """Return picked strokes as notes; a synthesizer's amplitude grows with the square of the velocity."""
    velocity = np.clip(np.rint(127 * np.sqrt(np.minimum(picked.amplitude, 1.0))), 1, 127).astype(np.uint8)
    return sorted_notes(picked.onset_s, picked.offset_s, np.asarray(pitches, np.uint8)[picked.note], velocity)


def within(notes: Notes, start_s: float, end_s: float) -> Notes:
    """Return the notes with an onset in [start_s, end_s)."""
    return notes.take((notes.onset_s >= start_s) & (notes.onset_s < end_s))


def filmed_span_s(film: Film) -> tuple[float, float]:
    """Return from when to when a film shows its take."""
    return max(0.0, float(film.time_s[0])), min(film.duration_s, float(film.time_s[-1]))


def onset_f1(references: Sequence[Notes], estimates: Sequence[Notes]) -> float:
    """Return onset F1 over takes together, 0 where there is no note at all.

    The same as by `tasks.metrics.notes.match_notes`, in a tenth of the time: pickers are tried by the hundred.
    """
    pairs = list(zip(references, estimates, strict=True))
    n_hit = sum(_n_hits(reference, estimate) for reference, estimate in pairs)
    n_both = sum(len(reference) + len(estimate) for reference, estimate in pairs)
    return 2 * n_hit / n_both if n_both else 0.0


def _n_hits(reference: Notes, estimate: Notes) -> int:
    """Count the notes of a largest matching: by pitch, the earliest two that can be matched are."""
    n_hits = 0
    for pitch in np.intersect1d(reference.pitch, estimate.pitch):
        reference_s = np.sort(reference.onset_s[reference.pitch == pitch]).tolist()
        estimate_s = np.sort(estimate.onset_s[estimate.pitch == pitch]).tolist()
        row = column = 0
        while row < len(reference_s) and column < len(estimate_s):
            late_s = round(estimate_s[column] - reference_s[row], 4)  # mir_eval compares so many digits
            if abs(late_s) <= ONSET_TOLERANCE_S:
                n_hits += 1
            row += late_s >= -ONSET_TOLERANCE_S
            column += late_s <= ONSET_TOLERANCE_S
    return n_hits


def reference_notes(data: ViewSet, take: str, *, maximum: float, picker: Picker) -> Notes:
    """Return a take's reference notes: the MIDI recorded with it, or else the strokes in its measured amplitudes."""
    recorded = data.notes(take)
    if recorded is not None:
        return sorted_notes(
            recorded["onset_s"],
            recorded["offset_s"],
            recorded["pitch"].astype(np.uint8),
            recorded["velocity"].astype(np.uint8),
        )
    amplitudes = data.amplitudes(take) / maximum
    return notes_of(pick_notes(amplitudes, frame_rate=data.frame_rate, picker=picker), data.pitches)


def fit_reference_picker(data: ViewSet, takes: Sequence[str], *, maximum: float) -> Picker:
    """Return the picker that finds the recorded notes of takes best in their measured amplitudes.

    Without a take whose notes were recorded there is nothing to fit it to: `CAREFUL` is returned.
    """
    known = [take for take in takes if data.notes(take) is not None]
    if not known:
        return CAREFUL
    references = [reference_notes(data, take, maximum=maximum, picker=CAREFUL) for take in known]
    amplitudes = [data.amplitudes(take) / maximum for take in known]
    return fit_picker(lambda picker: onset_f1(references, _picked(amplitudes, data, picker)))


def _picked(amplitudes: Sequence[NDArray[np.floating]], data: ViewSet, picker: Picker) -> list[Notes]:
    return [notes_of(pick_notes(one, frame_rate=data.frame_rate, picker=picker), data.pitches) for one in amplitudes]


def fit_picker_on(
    amplitudes: Sequence[NDArray[np.floating]],
    examples: Sequence[Example],
    data: ViewSet,
    *,
    maximum: float,
    reference_picker: Picker,
) -> Picker:
    """Return the picker that finds the reference notes of views best in the amplitudes (F, n) predicted for them."""
    references = []
    for one in examples:
        filmed = np.flatnonzero(one.inputs.is_filmed)
        span_s = filmed[0] / float(data.frame_rate), (filmed[-1] + 3) / float(data.frame_rate)
        references.append(
            within(reference_notes(data, one.view.take, maximum=maximum, picker=reference_picker), *span_s)
        )
    return fit_picker(lambda picker: onset_f1(references, _picked(amplitudes, data, picker)))


def performance_of(
    amplitudes: NDArray[np.float32],
    *,
    system: str,
    name: str,
    film: Film,
    maximum: float,
    picker: Picker,
    pitches: tuple[int, ...],
    frame_rate: Fraction,
    bleed: NDArray[np.float32] | None = None,
) -> Performance:
    """Return a performance from predicted note amplitudes (F, n), 1 for the loudest of training.

    Strokes are picked from the amplitudes as they are; the sound is made of them with their bleed, as it is measured.

    Args:
        amplitudes: as a system predicts them.
        system: the row in the tables.
        name: of the film, ``TAKE/CAMERA``.
        film: it.
        maximum: what an amplitude of 1 stands for.
        picker: of the notes.
        pitches: of the instrument.
        frame_rate: windows a second.
        bleed: (n, n), if the amplitudes are those of notes by themselves.
    """
    values = (amplitudes if bleed is None else amplitudes @ bleed) * np.float32(maximum)
    n_samples = n_samples_of(film, SAMPLE_RATE)
    audio = np.zeros(n_samples, np.float32)
    if len(values):
        sound = render_additive(values, pitches, frame_rate=frame_rate, sample_rate=SAMPLE_RATE)[:n_samples]
        audio[: len(sound)] = sound
    take, _, camera = name.partition("/")
    return Performance(
        system=system,
        take=take,
        audio=audio,
        sample_rate=SAMPLE_RATE,
        notes=notes_of(pick_notes(amplitudes, frame_rate=frame_rate, picker=picker), pitches),
        camera=camera or film.camera,
        amplitudes=NoteAmplitudes(values=values, pitches=pitches, frame_rate=frame_rate),
    )


def check_sounding(pitches: Sequence[int], instrument: str, section: str) -> None:
    """Refuse an instrument with notes that the sound's rate cannot hold.

    Raises:
        ParamsError: names them.
    """
    high = ", ".join(str(pitch) for pitch in pitches if note_frequencies_hz(pitch) >= SAMPLE_RATE / 2)
    if high:
        raise ParamsError(
            f"{section}.instrument is {instrument}, which has the notes {high}, expected notes below "
            f"{SAMPLE_RATE / 2:g} Hz, half of the rate that they are sounded at"
        )
