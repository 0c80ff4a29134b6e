"""What seeds move: figures of a family trained with several seeds, kept in git."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tasks.errors import DamagedData
from tasks.versions.differences import Noise
from tasks.versions.history import Version

REPLICATES = "data/replicates"  # not in data/metrics, which the report depends on


def read_noise(version: Version, families: Iterable[str]) -> dict[tuple[str, str, str], Noise]:
    """Return what seeds move in each figure, by family, system and metric, of the families for which that is kept.

    Raises:
        DamagedData: a file does not list values by seed.
    """
    found = {}
    for family in families:
        path = f"{REPLICATES}/{family}.json"
        text = version.text(path)
        if text is None:
            continue
        try:
            said = json.loads(text)
            for system, figures in said["systems"].items():
                for metric, values in figures.items():
                    found[family, system, metric] = _noise(np.array(values, float), len(said["seeds"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedData(f"{path} of {version.name} does not list values by seed: {error}") from None
    return found


def replicates_text(seeds: Iterable[int], systems: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the file of a family's figures: a value a seed, by system and metric."""
    return json.dumps({"seeds": list(seeds), "systems": systems}, indent=1, sort_keys=True) + "\n"


def _noise(values: "np.ndarray[Any, np.dtype[np.float64]]", n_seeds: int) -> Noise:
    if values.shape != (n_seeds,) or n_seeds < 2 or not np.isfinite(values).all():
        raise ValueError(
            f"{values.shape[0] if values.ndim else 0} values of {n_seeds} seeds, expected 2 or more, finite"
        )
    # Two trainings differ by the root of 2 times what one varies by.
    return Noise(error=float(np.sqrt(2) * values.std(ddof=1)), n_seeds=n_seeds)
