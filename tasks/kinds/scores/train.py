"""Verb ``train`` for scores."""

from pathlib import Path

from tasks.store.segments import ScoreSet


def open_data(folder: Path) -> ScoreSet:
    """Open the data set that families of scores are fitted to.

    Raises:
        DamagedData: the index is missing or damaged.
    """
    return ScoreSet(folder)
