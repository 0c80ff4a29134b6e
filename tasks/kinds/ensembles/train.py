"""Verb ``train`` for ensembles."""

from pathlib import Path

from tasks.store.ensembles import EnsembleSet


def open_data(folder: Path) -> EnsembleSet:
    """Open the data set that families of ensembles are fitted to.

    Raises:
        DamagedData: the index is missing or damaged.
    """
    return EnsembleSet(folder)
