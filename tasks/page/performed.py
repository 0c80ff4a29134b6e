"""Test takes whose video a system gave its sound: its card beside the reference, and its F1 note by note."""

import math
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tasks.features.resample import resample
from tasks.instruments.notes import Notes
from tasks.metrics.performances import is_excerpt
from tasks.page.figures import draw_note_scores, draw_notes, draw_spectrogram, draw_waveforms, loudest_span_s
from tasks.page.page import Card, Picture, Sound, picture_at
from tasks.store.audio import read_audio
from tasks.store.tables import read_table


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What was played in a test take.

    Attributes:
        title: of the piece.
        audio: (n,) in [-1, 1].
        sample_rate: of ``audio``, in Hz.
        notes: None where they are not known.
        max_frequency_hz: top of every spectrogram.
        zoom_s: how much of a waveform is drawn sample by sample.
    """

    title: str
    audio: NDArray[np.float32]
    sample_rate: int
    notes: Notes | None
    max_frequency_hz: float
    zoom_s: float

    @property
    def duration_s(self) -> float:
        """How long the sound is."""
        return len(self.audio) / self.sample_rate

    def until(self, end_s: float) -> Self:
        """Return the beginning of it, up to ``end_s``."""
        notes = None if self.notes is None else self.notes.until(end_s)
        return replace(self, audio=self.audio[: round(end_s * self.sample_rate)], notes=notes)


def reference_card(reference: Reference, folder: Path, out: Path, *, sound: Path) -> Card:
    """Draw the reference.

    Args:
        reference: what was played.
        folder: for the pictures.
        out: the page's folder.
        sound: beside the page.
    """
    title, spectrogram, roll = reference.title, folder / "reference.spectrogram.png", folder / "reference.notes.png"
    draw_spectrogram(
        spectrogram,
        reference.audio,
        sample_rate=reference.sample_rate,
        max_frequency_hz=reference.max_frequency_hz,
    )
    pictures = [
        picture_at(spectrogram, out, f"Spectrogram of {title} as it was played", "spectrogram", "Spectrogram, Hz")
    ]
    if reference.notes is not None:
        draw_notes(roll, reference.notes, None, duration_s=reference.duration_s)
        words = f"Piano roll of {title}: the {len(reference.notes)} notes that were played"
        pictures.insert(0, picture_at(roll, out, words, "notes", "Piano roll"))
    return Card(
        title="Reference",
        remark="what was played",
        duration_s=reference.duration_s,
        sounds=(_sound(sound, out, f"{title} as it was played", "Reference"),),
        pictures=tuple(pictures),
    )


def system_card(
    made: Path,
    reference: Reference,
    folder: Path,
    out: Path,
    *,
    family: str,
    system: str,
    remark: str,
    figures: tuple[tuple[str, str], ...],
) -> Card:
    """Copy what one system made of a take, and draw it beside the reference; of an excerpt, beside the same excerpt.

    Args:
        made: the folder with its ``audio.flac``, and ``notes.parquet`` where it has one.
        reference: what was played.
        folder: for the copy and the pictures.
        out: the page's folder.
        family: the system's.
        system: its name.
        remark: beside its name; may be empty.
        figures: ready to print.

    Raises:
        DamagedData: a file is missing or not whole.
    """
    name, title = f"{family}.{system}", reference.title
    audio, sample_rate = read_audio(made / "audio.flac")
    duration_s, excerpt = len(audio) / sample_rate, ""
    if is_excerpt(len(audio), sample_rate, duration_s=reference.duration_s):
        reference, excerpt = reference.until(duration_s), f"first {duration_s:g} s"
    copy = folder / f"{name}.flac"
    shutil.copyfile(made / "audio.flac", copy)
    spectrogram, waveform = folder / f"{name}.spectrogram.png", folder / f"{name}.waveform.png"
    draw_spectrogram(spectrogram, audio, sample_rate=sample_rate, max_frequency_hz=reference.max_frequency_hz)
    draw_waveforms(
        waveform,
        resample(reference.audio, reference.sample_rate, sample_rate),
        audio,
        sample_rate=sample_rate,
        zoom_start_s=loudest_span_s(reference.audio, sample_rate=reference.sample_rate, length_s=reference.zoom_s),
        zoom_s=reference.zoom_s,
    )
    words = f"Waveforms of {title}: the sound of {system} over the reference"
    pictures = [
        picture_at(
            spectrogram,
            out,
            f"Spectrogram of the sound that {system} made of {title}",
            "spectrogram",
            "Spectrogram, Hz",
        ),
        picture_at(waveform, out, words, "waveform", "Waveform"),
    ]
    if reference.notes is not None and (made / "notes.parquet").exists():
        roll = folder / f"{name}.notes.png"
        estimate = Notes(**read_table(made / "notes.parquet"))
        draw_notes(roll, reference.notes, estimate, duration_s=reference.duration_s)
        words = f"Piano roll of {title}: the notes that {system} found, missed and added"
        pictures.insert(0, picture_at(roll, out, words, "notes", "Piano roll"))
    return Card(
        title=system,
        remark=" · ".join(filter(None, (family, remark, excerpt))),
        family=family,
        duration_s=duration_s,
        sounds=(_sound(copy, out, f"{title}, the sound that {system} made", system),),
        figures=figures,
        pictures=tuple(pictures),
    )


def note_scores_picture(
    path: Path,
    out: Path,
    tables: Iterable[Mapping[str, NDArray[Any]]],
    *,
    row_of: Callable[[str, str], str],
    caption: str,
) -> Picture | None:
    """Draw the onset F1 of each note over all test takes; None where no note was played or predicted.

    Args:
        path: the PNG.
        out: the page's folder.
        tables: columns of each family's ``pitches.parquet``: system, take, pitch, tp, fp, fn.
        row_of: the row of a system and a take, in which counts are added.
        caption: of the picture.
    """
    counts: dict[str, dict[int, NDArray[np.int64]]] = {}
    for table in tables:
        columns = [table[name].tolist() for name in ("system", "take", "pitch", "tp", "fp", "fn")]
        for system, take, pitch, *found in zip(*columns, strict=True):
            by_pitch = counts.setdefault(row_of(system, take), {})
            by_pitch[pitch] = by_pitch.get(pitch, np.zeros(3, np.int64)) + np.array(found, np.int64)
    pitches = sorted({pitch for by_pitch in counts.values() for pitch in by_pitch})
    if not pitches:
        return None
    nothing = np.zeros(3, np.int64)
    rows = {
        row: np.array([_f1(*by_pitch.get(pitch, nothing).tolist()) for pitch in pitches])
        for row, by_pitch in counts.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_note_scores(path, pitches, rows)
    words = f"Which of {len(pitches)} pitches are found: the onset F1 of each, for {', '.join(rows)}"
    return picture_at(path, out, words, "note-scores", caption)


def _sound(path: Path, out: Path, words: str, name: str) -> Sound:
    return Sound(src=path.relative_to(out).as_posix(), words=words, name=name)


def _f1(n_matched: int, n_extra: int, n_missed: int) -> float:
    n_notes = 2 * n_matched + n_extra + n_missed
    return 2 * n_matched / n_notes if n_notes else math.nan
