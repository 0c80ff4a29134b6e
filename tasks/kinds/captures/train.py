"""Verb ``train`` for captures."""

from pathlib import Path

from tasks.store.views import ViewSet


def open_data(folder: Path) -> ViewSet:
    """Open the data set that families of captures are fitted to.

    Raises:
        DamagedData: the index is missing or damaged.
    """
    return ViewSet(folder)
