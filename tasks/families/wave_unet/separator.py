"""A trained network applied to whole mixes.

Shapes: K players, S sources, C channels, n samples.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.video_transcriber import VideoTranscriber
from models.wave_unet import SHARED_OVER, WaveUnet, WaveUnetConfig
from tasks.errors import BadInput
from tasks.families.networks import deterministic_torch, load_network
from tasks.families.separation import Mixture, level_of
from tasks.families.wave_unet.conditions import TRANSCRIBED, Condition, conditions_of, on_grid, presence
from tasks.families.wave_unet.transcriber import load_transcriber


class Separator:
    """A trained network with all that its conditions need."""

    def __init__(
        self,
        network: WaveUnet,
        facts: Mapping[str, Any],
        transcriber: VideoTranscriber | None,
        device: torch.device,
    ) -> None:
        self.network = network.to(device).eval()
        self.sample_rate = int(facts["sample_rate"])
        self.conditioned_on: tuple[Condition, ...] = tuple(facts["conditioned_on"])
        self.slots: tuple[str, ...] = tuple(facts["slots"])
        self.output_s = float(facts["output_s"])
        self.n_threads = int(facts["n_threads"])
        self.transcriber = transcriber
        self._device = device

    @classmethod
    def load(cls, trained: Path, system: str, device: torch.device) -> "Separator":
        """Read what `WaveUnetFamily.fit` wrote of a system.

        Raises:
            DamagedData: a file is missing, damaged or of an older version.
        """
        needed = {"conditioned_on": tuple, "slots": tuple, "sample_rate": int, "output_s": float, "n_threads": int}
        network, facts = load_network(
            trained / system, lambda facts: WaveUnet(WaveUnetConfig(**facts["network"])), needed
        )
        is_transcribed = TRANSCRIBED & set(facts["conditioned_on"]) and not facts["slots"]
        return cls(network, facts, load_transcriber(trained) if is_transcribed else None, device)

    def __call__(self, mixture: Mixture, *, name: str = "the mix") -> NDArray[np.float32]:
        """Return the estimated sounds of a mix (K, C, n), in the order of the players unless the network is blind.

        Raises:
            BadInput: ``OTHER_RATE``, ``OTHER_CHANNELS``, ``TOO_SHORT``, or ``NO_CONDITION``, a condition is not known.
        """
        config = self.network.config
        self._check(mixture, name)
        level = level_of(mixture.audio)
        conditions = self._conditions(mixture, name)
        with deterministic_torch(seed=0, n_threads=self.n_threads):
            estimates = separate_whole(
                self.network,
                torch.from_numpy(mixture.audio / np.float32(level)).to(self._device),
                None if conditions is None else conditions.to(self._device),
                n_output=round(self.output_s * self.sample_rate),
            )
        sounds: NDArray[np.float32] = estimates.cpu().numpy() * np.float32(level)
        if not config.n_conditions:
            return loudest(sounds, len(mixture.instruments))
        if self.slots:
            shared = [mixture.instruments.count(code) for code in mixture.instruments]
            sounds = np.stack(
                [sounds[self.slots.index(code)] / n for code, n in zip(mixture.instruments, shared, strict=True)]
            )
        return sounds

    def _check(self, mixture: Mixture, name: str) -> None:
        config, n_samples = self.network.config, mixture.audio.shape[1]
        if mixture.sample_rate != self.sample_rate:
            raise BadInput(f"{name} is at {mixture.sample_rate} Hz, expected {self.sample_rate} Hz", kind="OTHER_RATE")
        if len(mixture.audio) != config.n_channels:
            raise BadInput(
                f"{name} has {len(mixture.audio)} channels, expected {config.n_channels}", kind="OTHER_CHANNELS"
            )
        if n_samples < config.hop:
            raise BadInput(
                f"{name} lasts {n_samples / self.sample_rate:.3f} s, expected at least a window of "
                f"{config.hop / self.sample_rate:.3f} s",
                kind="TOO_SHORT",
            )

    def _conditions(self, mixture: Mixture, name: str) -> Tensor | None:
        """Return the condition over the whole mix with a batch of 1; None for a blind network."""
        config = self.network.config
        if not config.n_conditions:
            return None
        if self.slots:
            return torch.from_numpy(presence(mixture.instruments))[None]
        conditions = conditions_of(mixture, self.conditioned_on, self.transcriber, name=name)
        return torch.from_numpy(on_grid(conditions, mixture, config.condition_hop, mixture.audio.shape[1]))[None]


@torch.no_grad()
def separate_whole(network: WaveUnet, mix: Tensor, condition: Tensor | None, *, n_output: int) -> Tensor:
    """Separate a mix of any length in pieces without seams: they overlap by all that an output sample depends on.

    Args:
        network: in evaluation mode.
        mix: (C, n).
        condition: as `WaveUnet.forward` takes it, with a batch of 1, over the whole mix; or None.
        n_output: samples of a piece, about.

    Returns:
        (S, C, n), or (K, C, n) for a network with ``per_player``.
    """
    config, n_samples = network.config, mix.shape[-1]
    hop = max(1, round(n_output / config.hop)) * config.hop  # whole steps of the bottleneck: all pieces are in phase
    hop = min(hop, -(-n_samples // config.hop) * config.hop)
    # With context the input reaches beyond the output by itself, but not by what sharing the residual depends on.
    beside = SHARED_OVER // 2 if config.with_context and config.is_consistent else 0
    _, n_input, n_whole = config.lengths(hop + 2 * beside)
    margin = (n_input - n_whole) // 2 + beside if config.with_context else config.margin
    cut = beside if config.with_context else margin
    span = n_input if config.with_context else hop + 2 * margin
    n_pieces = -(-n_samples // hop)
    # The padding before the mix is a whole number of the condition's moments.
    ahead = -(-margin // config.condition_hop) * config.condition_hop
    padded = functional.pad(mix, (ahead, (n_pieces - 1) * hop + span - margin - n_samples))
    encoded = None if condition is None else network.encode_condition(condition)
    changes = encoded is not None and encoded.shape[-1] > 1
    if encoded is not None and changes:
        first = encoded[..., :1].expand(*encoded.shape[:-1], ahead // config.condition_hop)
        encoded = torch.cat([first, encoded], dim=-1)
    outputs = []
    for piece in range(n_pieces):
        start = piece * hop + ahead - margin
        own = encoded
        if encoded is not None and changes:
            rows = torch.arange(-(-span // config.condition_hop), device=encoded.device)
            rows = (rows + start // config.condition_hop).clamp(max=encoded.shape[-1] - 1)
            own = encoded[..., rows]
        output = network(padded[None, :, start : start + span], own, is_encoded=True)[0]
        outputs.append(output[..., cut : cut + hop])
    return torch.cat(outputs, dim=-1)[..., :n_samples]


def loudest(sounds: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    """Return the ``n`` loudest of sounds (S, C, n) in their order; with too few, silent ones are added."""
    if len(sounds) < n:
        return np.concatenate([sounds, np.zeros((n - len(sounds), *sounds.shape[1:]), np.float32)])
    energies = np.square(sounds, dtype=np.float64).sum(axis=(1, 2))
    return sounds[np.sort(np.argsort(-energies, kind="stable")[:n])]
