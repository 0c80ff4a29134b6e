"""Family ``wave_unet``: mixes separated by a Wave-U-Net that is conditioned on the players.

``wave_unet`` estimates one sound for each player, from the mix and from the player's condition. ``wave_unet_blind`` is
the same backbone without conditions, trained for the same steps; its outputs have no order. With an instrument among
the conditions, masks are initialized by spectra of that instrument's notes, learned from the training stems.

``fidelity: original`` is vimss' TensorFlow code (Slizovskaia et al.: URMP, 13 slots), ``port`` its PyTorch port, both
with their defects. Original: two players of one instrument overwrite each other, labels are those of other items, the
loss counts padded targets. Port: all slots get one output, and the value that means "no conditioning" turns it on. Both
choose weights on the training takes, where the published code took the test set, which is never opened here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from models.wave_unet import WaveUnet
from tasks.families.networks import deterministic_torch, save_network, torch_device
from tasks.families.separation import Mixture, Separation, SeparationFamily
from tasks.families.trained import load_facts
from tasks.families.wave_unet.mixes import Batch, TrainingMixes
from tasks.families.wave_unet.note_spectra import learn_note_spectra
from tasks.families.wave_unet.params import BLIND, SYSTEM, WaveUnetParams, check, config_of, segment_samples
from tasks.families.wave_unet.separator import Separator
from tasks.families.wave_unet.training import make_optimizer, mix_loss
from tasks.families.wave_unet.transcriber import fit_transcriber
from tasks.instruments.orchestra import SLOTS
from tasks.params import Section
from tasks.store.ensembles import EnsembleSet


class WaveUnetFamily(SeparationFamily[WaveUnetParams]):
    """Two systems: with conditions, and blind."""

    params_class: ClassVar[type[Section]] = WaveUnetParams
    systems: ClassVar[tuple[str, ...]] = (SYSTEM, BLIND)
    unordered: ClassVar[frozenset[str]] = frozenset({BLIND})
    uses_video: ClassVar[frozenset[str]] = frozenset({SYSTEM})

    def fit(self, data: EnsembleSet, out: Path, *, params: WaveUnetParams, resume: Path, accelerator: str) -> None:
        """Train the video transcriber where a condition needs it, then both networks for the same steps.

        Raises:
            ParamsError: values contradict each other, or a part of the split has no take of the thirteen instruments.
        """
        ensembles = EnsembleSet(data.folder, instruments=SLOTS)
        check(params, ensembles)
        fit: dict[str, Any] = {"precision": params.precision, "out": out, "resume": resume, "accelerator": accelerator}
        with deterministic_torch(seed=params.seed, n_threads=params.n_threads):
            transcriber = None
            if params.needs_transcriber:
                transcriber = fit_transcriber(
                    ensembles,
                    params.transcriber,
                    steps_per_epoch=params.steps_per_epoch,
                    held_s=params.held_s,
                    seed=params.seed,
                    **fit,
                )
            mixes = TrainingMixes(ensembles, params, transcriber)
            for system in self.systems:
                network = _fit_system(system, ensembles, mixes, params, fit)
                facts = {
                    "network": asdict(network.config),
                    "conditioned_on": [] if system == BLIND else list(params.conditioned_on),
                    "sample_rate": ensembles.sample_rate,
                    "n_channels": ensembles.n_channels,
                    "slots": list(SLOTS) if params.has_slots else [],
                    "output_s": params.output_s,
                    "n_threads": params.n_threads,
                }
                save_network(out / system, network.state_dict(), facts)

    def shortest_s(self, trained: Path, system: str) -> float:
        """Return the length of a window of the network's bottleneck, in s."""
        facts = load_facts(trained / system, {"network": dict, "sample_rate": int})
        return float(2 ** int(facts["network"]["n_layers"]) / facts["sample_rate"])

    def separate(
        self,
        trained: Path,
        mixtures: Mapping[str, Mixture],
        *,
        systems: Sequence[str],
        accelerator: str,
        truth: Mapping[str, NDArray[np.float32]] | None,  # noqa: ARG002 - the estimates depend on the mix alone
    ) -> Iterator[Separation]:
        """Separate every mix by the networks.

        Raises:
            DamagedData: what was trained is missing, damaged or of an older version.
            BadInput: a mix has another rate or other channels than the training mixes, is too short, or a condition of
                its players is not known.
        """
        device = torch_device(accelerator)
        separators = {system: Separator.load(trained, system, device) for system in systems}
        for take, mixture in mixtures.items():
            for system, separator in separators.items():
                stems = separator(mixture, name=take)
                yield Separation(system=system, take=take, stems=stems, sample_rate=mixture.sample_rate)


def _fit_system(
    system: str, ensembles: EnsembleSet, mixes: TrainingMixes, params: WaveUnetParams, fit: Mapping[str, Any]
) -> WaveUnet:
    """Train one system's network and return it with the weights that did best on validation."""
    from tasks.families.training import fit_network  # Lightning's import outlasts what the other stages do

    torch.manual_seed(params.seed)
    config = config_of(params, system, n_channels=ensembles.n_channels, n_motion=ensembles.n_motion)
    n_samples = segment_samples(params, config, ensembles.sample_rate)
    network = WaveUnet(config)
    if network.spectral is not None and network.spectral.dictionary is not None:
        network.spectral.dictionary.spectra.copy_(learn_note_spectra(ensembles, config))

    def make_batch(epoch: int, step: int) -> Batch:
        return mixes.batch(np.random.default_rng((params.seed, epoch, step)), config, n_samples)

    best = fit_network(
        network,
        partial(mix_loss, params=params),
        partial(make_optimizer, params=params),
        make_batch,
        mixes.validation(config, n_samples),
        system=system,
        n_epochs=max(1, params.n_steps // params.steps_per_epoch),
        n_steps_per_epoch=params.steps_per_epoch,
        gradient_clip_norm=params.clip_norm,
        **fit,
    )
    network.load_state_dict(best)
    return network
