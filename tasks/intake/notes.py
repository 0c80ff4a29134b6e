"""Notes and pedals of a take, as ingest wrote them."""

from pathlib import Path

from tasks.instruments.midi import Controls
from tasks.instruments.notes import Notes
from tasks.intake.record import INGESTED
from tasks.store.tables import read_table


def read_notes(take: str, folder: Path = INGESTED) -> Notes:
    """Read a take's notes, in the time of its MIDI file.

    Raises:
        DamagedData: the table is missing or damaged.
    """
    return Notes(**read_table(folder / take / "notes.parquet"))


def read_controls(take: str, folder: Path = INGESTED) -> Controls:
    """Read the pedal moves of a score, in the time of its MIDI file.

    Raises:
        DamagedData: the table is missing or damaged.
    """
    return Controls(**read_table(folder / take / "controls.parquet"))
