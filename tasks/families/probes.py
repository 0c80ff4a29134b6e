"""Probes of test duets: the same mix with changed videos shows whether a system's estimates follow the video.

A folder of separations has the figures that `tasks.metrics.causality` computes in ``causality.json``, by system and
take.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.errors import DamagedData
from tasks.families.separation import Mixture, mixture_of
from tasks.store.ensembles import EnsembleSet

Figures = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Figures of probes, by system, take and key."""

CAUSALITY = "causality.json"
SWAPPED, BLANKED = ".swapped/", ".blanked/"  # before a take's name, which never begins with a dot
MAX_PROBED = 2  # duets of one instrument, and as many of two: each is separated twice more


def probes(data: EnsembleSet) -> dict[str, tuple[str, str]]:
    """Return the names of the probes of each test duet that is probed: with swapped videos, and with a blank one.

    Probed are the first `MAX_PROBED` duets of one instrument, and as many of two, in order of name, that have videos
    of both players.
    """
    found: dict[bool, list[str]] = {True: [], False: []}
    for take in data.takes("test"):
        instruments = data.instruments(take)
        if len(instruments) == 2 and all(data.has_video(take)):
            found[len(set(instruments)) == 1].append(take)
    chosen = sorted(found[True][:MAX_PROBED] + found[False][:MAX_PROBED])
    return {take: (f"{SWAPPED}{take}", f"{BLANKED}{take}") for take in chosen}


def probe_mixture(data: EnsembleSet, name: str) -> Mixture:
    """Return the mix of a take or of a probe of it.

    In ``.swapped/TAKE`` each of two players has the other's motion, pictures and notes; the labels stay. In
    ``.blanked/TAKE`` the first player's are zero.
    """
    for prefix, change in ((SWAPPED, _swapped), (BLANKED, _blanked)):
        if name.startswith(prefix):
            mixture = mixture_of(data, name.removeprefix(prefix))
            return replace(
                mixture,
                motion=None if mixture.motion is None else change(mixture.motion),
                pictures=None if mixture.pictures is None else change(mixture.pictures),
                rolls=None if mixture.rolls is None else change(mixture.rolls),
            )
    return mixture_of(data, name)


def write_causality(folder: Path, figures: Figures) -> None:
    """Write the figures of probes."""
    (folder / CAUSALITY).write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")


def read_causality(folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Read the figures of probes, by system, take and key; nothing where no system uses video.

    Raises:
        DamagedData: the file is damaged.
    """
    path = folder / CAUSALITY
    if not path.exists():
        return {}
    try:
        found: dict[str, dict[str, dict[str, float]]] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DamagedData(f"{path} is not JSON: {error}") from None
    return found


def _swapped(values: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(values[::-1])


def _blanked(values: NDArray[Any]) -> NDArray[Any]:
    changed = values.copy()
    changed[0] = 0
    return changed
