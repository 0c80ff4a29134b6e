"""Notes of a take, as ingest or render wrote them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.instruments.notes import Notes
from tasks.intake.record import INGESTED
from tasks.store.tables import read_table


def read_notes(take: str, folder: Path = INGESTED) -> Notes:
    """Read a take's notes: of ``data/ingested`` as its MIDI file has them, of ``data/rendered`` as they were played.

    Raises:
        DamagedData: the table is missing or damaged.
    """
    return Notes(**read_table(folder / take / "notes.parquet"))


def note_rows(path: Path) -> NDArray[np.float64]:
    """Read a table of notes as rows (n, 4): onset and offset in s, pitch, velocity.

    Raises:
        DamagedData: the table is missing or damaged, or lacks a column.
    """
    names = ("onset_s", "offset_s", "pitch", "velocity")
    notes = read_table(path, names)
    return np.stack([np.asarray(notes[name], np.float64) for name in names], axis=1)
