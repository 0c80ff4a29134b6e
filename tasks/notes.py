"""Notes by hand: a sound file to the notes that are detected in it."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.errors import BadInput, PipelineError
from tasks.features.note_spectrum import Resonator, pitch_to_hz
from tasks.features.polyphony import LOWEST_RATE, TranscribeParams, transcribe
from tasks.instruments.midi_writer import write_midi
from tasks.instruments.notes import sorted_notes
from tasks.media.probe import NO_LIMITS
from tasks.media.sound import read_sound

LIMITS = NO_LIMITS.model_copy(update={"max_duration_s": 7200.0})  # a recording is held in memory
InstrumentName = Literal["piano", "marimba", "marimba-18"]


class NotesParams(TranscribeParams):
    """Section ``notes``: how sound becomes notes."""


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """What can be played.

    Attributes:
        pitches: MIDI numbers, ascending.
        resonator: what sounds.
    """

    pitches: tuple[int, ...]
    resonator: Resonator


INSTRUMENTS: dict[InstrumentName, Instrument] = {
    "piano": Instrument(pitches=tuple(range(21, 109)), resonator="string"),
    "marimba": Instrument(pitches=tuple(range(45, 97)), resonator="bar"),
    # The black keys from F sharp 4 to B flat 7 that the marimba recordings of Deep Auditory Hallucinations use.
    "marimba-18": Instrument(
        pitches=(66, 68, 70, 73, 75, 78, 80, 82, 85, 87, 90, 92, 94, 97, 99, 102, 104, 106), resonator="bar"
    ),
}


@dataclass(frozen=True, kw_only=True)
class FoundNotes:
    """Notes detected in a file, in order of onset, then pitch.

    Attributes:
        onset_s: (n,) when a note begins.
        offset_s: (n,) when it has died away.
        pitch: (n,) MIDI number.
        amplitude: (n,) of its strongest partial, full scale 1.
        velocity: (n,) an estimate; a note of median level is given 64.
        above_nyquist: pitches of the instrument that the file's sample rate cannot hold; they were not looked for.
        remarks: what of the file was chosen, left out or put in that nobody asked for, a line each.
    """

    onset_s: NDArray[np.float64]
    offset_s: NDArray[np.float64]
    pitch: NDArray[np.uint8]
    amplitude: NDArray[np.float64]
    velocity: NDArray[np.uint8]
    above_nyquist: tuple[int, ...]
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.onset_s)

    def as_json(self) -> dict[str, Any]:
        """Return ``{"notes": [{"pitch", "onset_s", "offset_s", "amplitude"}, ...], "remarks"}``, times to 0.1 ms."""
        rows = zip(self.pitch, self.onset_s, self.offset_s, self.amplitude, strict=True)
        return {
            "notes": [
                {
                    "pitch": int(pitch),
                    "onset_s": round(float(onset_s), 4),
                    "offset_s": round(float(offset_s), 4),
                    "amplitude": float(f"{amplitude:.4g}"),
                }
                for pitch, onset_s, offset_s, amplitude in rows
            ],
            "remarks": list(self.remarks),
        }

    def write_midi(self, path: Path) -> None:
        """Write the notes as MIDI; a key that is struck again ends before.

        Raises:
            PipelineError: the file cannot be written.
        """
        offset_s = self.offset_s.copy()
        for pitch in np.unique(self.pitch):
            rows = np.flatnonzero(self.pitch == pitch)  # in order of onset
            offset_s[rows[:-1]] = np.minimum(offset_s[rows[:-1]], self.onset_s[rows[1:]])
        with _written(path):
            write_midi(path, sorted_notes(self.onset_s, offset_s, self.pitch, self.velocity), title=path.stem)

    def write_csv(self, path: Path) -> None:
        """Write the notes with a head of ``onset_s,offset_s,pitch,velocity,amplitude``, in order of onset.

        Raises:
            PipelineError: the file cannot be written.
        """
        with _written(path), path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(("onset_s", "offset_s", "pitch", "velocity", "amplitude"))
            for note, velocity in zip(self.as_json()["notes"], self.velocity.tolist(), strict=True):
                rows.writerow((note["onset_s"], note["offset_s"], note["pitch"], velocity, note["amplitude"]))


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PipelineError(f"{path} cannot be written: {error.strerror}") from None


def notes_of_file(path: Path, *, instrument: InstrumentName, params: NotesParams) -> FoundNotes:
    """Find the notes in a sound file.

    Args:
        path: any recording; of a film its sound. What decodes of an unfinished or damaged one is used.
        instrument: what plays; only its pitches are looked for.
        params: see there.

    Raises:
        BadInput: the file cannot be used (see `tasks.media.sound.SoundBlocks`), or its sample rate is below 4 kHz
            (``LOW_RATE``).
    """
    sound = read_sound(path, sample_rate=None, policy=LIMITS, lenient=True)
    audio, sample_rate = sound.samples, sound.sample_rate
    if sample_rate < LOWEST_RATE:
        raise BadInput(f"{path}: sample rate is {sample_rate} Hz, expected at least {LOWEST_RATE}", kind="LOW_RATE")
    played = INSTRUMENTS[instrument]
    pitches = np.array(played.pitches, np.uint8)
    audible = pitch_to_hz(pitches) < sample_rate / 2
    found = transcribe(
        audio, sample_rate=sample_rate, pitches=pitches[audible], params=params, resonator=played.resonator
    )
    return FoundNotes(
        onset_s=found["onset_s"],
        offset_s=found["offset_s"],
        pitch=found["pitch"],
        amplitude=found["amplitude"],
        velocity=found["velocity"],
        above_nyquist=tuple(int(pitch) for pitch in pitches[~audible]),
        remarks=sound.remarks,
    )
