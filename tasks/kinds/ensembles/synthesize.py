"""Verb ``synthesize`` for ensembles: the mixes of the test takes, separated by every system of a family."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.families.probes import probe_mixture, probes, write_causality
from tasks.families.separation import Separation, SeparationFamily
from tasks.families.stems import at_rate, write_separation
from tasks.metrics.causality import causality
from tasks.step import whole_folder
from tasks.store.ensembles import EnsembleSet
from tasks.synthesize import Lazy, SynthesizeParams


def synthesize(
    family: SeparationFamily[Any],
    *,
    data: Path,
    trained: Path,
    out: Path,
    params: SynthesizeParams,  # noqa: ARG001 - of scores
    accelerator: str,
    workers: int,  # noqa: ARG001 - other kinds need it
) -> Iterator[Separation]:
    """Write ``SYSTEM/TAKE/`` with the mix and each player's sound, as `tasks.families.stems` names them.

    Of systems that use video, probes of duets are separated too, and their figures written: `tasks.families.probes`.

    Yields:
        Each separation of a take once it is written.

    Raises:
        DamagedData: the data set or what was trained is not whole.
        ToolError: the disk is full.
    """
    ensembles = EnsembleSet(data)
    probed = probes(ensembles) if family.uses_video else {}
    names = {name: take for take in ensembles.takes("test") for name in (take, *probed.get(take, ()))}
    measured = _Probed(ensembles, probed)
    with whole_folder(out) as half:
        separations = family.separate(
            trained,
            Lazy(names, lambda name: probe_mixture(ensembles, name)),
            systems=family.systems,
            accelerator=accelerator,
            truth=Lazy(names, lambda name: ensembles.stems(names[name])),
        )
        for separation in separations:
            take = names[separation.take]
            if take in probed and separation.system in family.uses_video - family.unordered:
                measured.add(take, separation)
            if take == separation.take:
                folder = half / separation.system / take
                folder.mkdir(parents=True)
                write_separation(
                    folder,
                    separation,
                    mix=ensembles.mix(take),
                    sample_rate=ensembles.sample_rate,
                    instruments=ensembles.instruments(take),
                    truth=ensembles.stems(take) if separation.system in family.unordered else None,
                )
                yield separation
        if family.uses_video:
            write_causality(half, measured.figures)


class _Probed:
    """The figures of probed takes. Sounds are kept in memory only until a take's probes are complete.

    Attributes:
        figures: by system and take.
    """

    def __init__(self, ensembles: EnsembleSet, probed: dict[str, tuple[str, str]]) -> None:
        self.figures: dict[str, dict[str, dict[str, float]]] = {}
        self._ensembles, self._probed = ensembles, probed
        self._kept: dict[tuple[str, str], dict[str, NDArray[np.float32]]] = {}

    def add(self, take: str, separation: Separation) -> None:
        """Take up the separation of a take or of one of its probes."""
        stems = self._ensembles.stems(take)
        sounds = self._kept.setdefault((separation.system, take), {})
        sounds[separation.take] = at_rate(
            separation.stems, separation.sample_rate, self._ensembles.sample_rate, stems.shape[2]
        )
        if len(sounds) == 1 + len(self._probed[take]):
            swapped, blanked = self._probed[take]
            self.figures.setdefault(separation.system, {})[take] = causality(
                stems,
                self._ensembles.instruments(take),
                sounds=sounds[take],
                swapped=sounds[swapped],
                blanked=sounds[blanked],
            )
            del self._kept[separation.system, take]
