"""Pedal moves of a score, as ingest wrote them."""

from pathlib import Path

from tasks.instruments.midi import Controls
from tasks.intake.record import INGESTED
from tasks.store.tables import read_table


def read_controls(take: str, folder: Path = INGESTED) -> Controls:
    """Read the pedal moves of a score, in the time of its MIDI file.

    Raises:
        DamagedData: the table is missing or damaged.
    """
    return Controls(**read_table(folder / take / "controls.parquet"))
