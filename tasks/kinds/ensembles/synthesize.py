"""Verb ``synthesize`` for ensembles: test mixes taken apart."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.families.separated import CAUSALITY, at_rate, causality, probe_mixture, probes, write_separation
from tasks.families.separation import Separation, SeparationFamily
from tasks.step import whole_folder
from tasks.store.ensembles import EnsembleSet
from tasks.synthesize import Lazy


def synthesize(
    family: SeparationFamily[Any],
    *,
    data: Path,
    trained: Path,
    out: Path,
    accelerator: str,
    workers: int,  # noqa: ARG001 - one separation is written at a time
) -> Iterator[Separation]:
    """Take the test mixes apart; of duets that a system looks at, also with their views exchanged and blanked.

    Sounds are kept in memory only until a duet's probes are done.
    """
    ensembles = EnsembleSet(data)
    probed = probes(ensembles) if family.sighted else {}
    names = {name: take for take in ensembles.takes("test") for name in (take, *probed.get(take, ()))}
    kept: dict[tuple[str, str], dict[str, NDArray[np.float32]]] = {}
    figures: dict[str, dict[str, dict[str, float]]] = {}
    with whole_folder(out) as half:
        separations = family.separate(
            trained,
            Lazy(names, lambda name: probe_mixture(ensembles, name)),
            accelerator=accelerator,
            truth=Lazy(names, lambda name: ensembles.stems(names[name])),
        )
        for made in separations:
            take = names[made.take]
            if take == made.take:
                folder = half / made.system / take
                folder.mkdir(parents=True)
                write_separation(
                    folder,
                    made,
                    mix=ensembles.mix(take),
                    sample_rate=ensembles.sample_rate,
                    instruments=ensembles.instruments(take),
                    truth=ensembles.stems(take) if made.system in family.unordered else None,
                )
            if take in probed and made.system in family.sighted - family.unordered:
                stems = ensembles.stems(take)
                sounds = kept.setdefault((made.system, take), {})
                sounds[made.take] = at_rate(made.stems, made.sample_rate, ensembles.sample_rate, stems.shape[2])
                swapped, blanked = probed[take]
                if len(sounds) == 3:
                    figures.setdefault(made.system, {})[take] = causality(
                        stems,
                        ensembles.instruments(take),
                        sounds=sounds[take],
                        swapped=sounds[swapped],
                        blanked=sounds[blanked],
                    )
                    del kept[made.system, take]
            if take == made.take:
                yield made
        if family.sighted:
            (half / CAUSALITY).write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")
