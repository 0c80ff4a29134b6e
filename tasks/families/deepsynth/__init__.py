"""Family ``deepsynth``: a WaveNet that is conditioned on the video, its twin without, and what they must beat.

All of them predict each mu-law code from those before it; ``deepsynth`` also from the pictures. ``deepsynth_blind``,
trained for as many steps on as many segments, shows what the pictures are worth. ``key_response`` is the sum of the
responses of the keys that the pictures show struck, and no network; ``key_response_linear`` adds to it a linear
prediction of what it leaves; ``linear_prediction`` is that prediction alone, without pictures.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tasks.families.base import CodeFamily, Film, Performance
from tasks.families.deepsynth.crops import ScoreFilms
from tasks.families.deepsynth.keys import learn_keys
from tasks.families.deepsynth.params import (
    BLIND,
    LINEAR,
    NETWORKS,
    PREDICTION,
    RESPONSE,
    SYSTEM,
    DeepSynthParams,
    check,
)
from tasks.families.deepsynth.sampling import load, response_sounds, sample_films
from tasks.families.deepsynth.training import fit_system, measure_nats
from tasks.families.networks import deterministic_torch
from tasks.instruments.notes import Notes
from tasks.params import Section
from tasks.store.segments import ScoreSet, Segment


class DeepSynthFamily(CodeFamily[DeepSynthParams, ScoreSet]):
    """DeepSynth's adapter: the network, its twin without conditioning, and the baselines of both."""

    params_class: ClassVar[type[Section]] = DeepSynthParams
    systems: ClassVar[tuple[str, ...]] = (SYSTEM, BLIND, RESPONSE, LINEAR, PREDICTION)
    conditioned: ClassVar[tuple[str, ...]] = (SYSTEM, LINEAR)
    data = "scores"

    def fit(self, data: ScoreSet, out: Path, *, params: DeepSynthParams, resume: Path, accelerator: str) -> None:
        """Find the keys and fit their responses, then train the networks and keep what does best on validation.

        Raises:
            ParamsError: a value makes no sense.
            TrainingDiverged: a loss is not finite.
        """
        check(params)
        with deterministic_torch(seed=params.seed, n_threads=params.n_threads):
            learned = learn_keys(ScoreFilms(data), data.takes("train"), params, cache=resume)
        for system in NETWORKS:
            fit_system(system, data, learned, out, params=params, resume=resume, accelerator=accelerator)

    def perform(
        self,
        trained: Path,
        films: Mapping[str, Film],
        *,
        accelerator: str,
        truth: Mapping[str, Notes] | None,  # noqa: ARG002 - no system is a bound
    ) -> Iterator[Performance]:
        """Sample every film's codes, one after the other, from its start to its end.

        Raises:
            DamagedData: what was trained is missing or damaged, or learned from pictures of another size.
        """
        for system in self.systems:
            network, facts = load(trained / (LINEAR if system == RESPONSE else system))
            make = response_sounds if system == RESPONSE else sample_films
            for take, audio in make(network, facts, films, accelerator=accelerator):
                yield Performance(system=system, take=take, audio=audio, sample_rate=facts["code_rate"], notes=None)

    def nats(
        self,
        trained: Path,
        data: ScoreSet,
        rows: Sequence[Segment],
        *,
        accelerator: str,
        pictures_of: Mapping[str, str] | None = None,
    ) -> dict[str, NDArray[np.float64]]:
        """Return the systems' mean nats per sample of each segment, each from a fresh start.

        Raises:
            DamagedData: what was trained is missing or damaged.
        """
        return {
            system: measure_nats(trained / system, data, rows, accelerator=accelerator, pictures_of=pictures_of)
            for system in (NETWORKS if pictures_of is None else self.conditioned)
        }
