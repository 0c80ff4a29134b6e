"""Training mixes: made of training players anew in each step (mix and separate: Zhao et al., The Sound of Pixels).

Shapes: B mixes, K players, C channels, n samples, S sources, D features of a condition, T moments or pictures.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.video_transcriber import VideoTranscriber
from models.wave_unet import WaveUnetConfig
from tasks.families.separation import level_of, mixture_of
from tasks.families.wave_unet.conditions import conditions_of, on_grid, presence
from tasks.families.wave_unet.params import WaveUnetParams
from tasks.instruments.orchestra import SLOTS
from tasks.store.ensembles import EnsembleSet, slots

Batch = tuple[Tensor, Tensor, Tensor]
"""Mixes (B, C, n); conditions per player (B, K, D, T), or which slots play (B, 13), or nothing for a blind network
(B, 0); and the target sounds (B, S, C, n)."""


class Players:
    """One take's players as training needs them: sounds in 16 bits, and conditions.

    Attributes:
        conditions: (K, D, T) in half precision; D is 0 for a network with slots.
        levels: of the stems, as `level_of` has them.
        stems: (K, C, n).
        n_samples: n.
        mixture: without its arrays: what is kept in memory is small.
    """

    def __init__(
        self, data: EnsembleSet, take: str, params: WaveUnetParams, transcriber: VideoTranscriber | None
    ) -> None:
        mixture = mixture_of(data, take)
        stems = data.stems(take)
        self.conditions = np.zeros((len(stems), 0, 1), np.float32)
        if not params.has_slots:
            self.conditions = conditions_of(mixture, params.conditioned_on, transcriber, name=take).astype(np.float16)
        self.levels = [level_of(stem) for stem in stems]
        self.stems = np.rint(stems * 32767).astype(np.int16)
        self.n_samples = stems.shape[2]
        self.mixture = replace(
            mixture, audio=np.zeros((len(mixture.audio), 0), np.float32), motion=None, pictures=None, rolls=None
        )

    def stem(self, player: int, start: int, n_samples: int) -> NDArray[np.float32]:
        """Return a part of a player's sound (C, n_samples), zeros beyond its end."""
        found = self.stems[player, :, start : start + n_samples].astype(np.float32) / np.float32(32767)
        return np.pad(found, ((0, 0), (0, n_samples - found.shape[1])))


Row = tuple[Players, int, int]
"""A take, a player of it, and the first sample."""


class TrainingMixes:
    """The training players in memory, and the mixes that are made of them.

    Args:
        data: the ensembles; test takes are never opened.
        params: of the family.
        transcriber: of the players' videos; None where no condition needs it.
    """

    def __init__(self, data: EnsembleSet, params: WaveUnetParams, transcriber: VideoTranscriber | None) -> None:
        self._params = params
        self._takes: list[Players] = []
        train = data.takes("train")
        held_s = 0.0
        for row in np.random.default_rng(params.seed).permutation(len(train)):
            players = Players(data, train[row], params, transcriber)
            held_s += data.duration_s(train[row]) * len(players.stems)
            if self._takes and held_s > params.held_s:
                break
            self._takes.append(players)
        # The originals chose weights on the test set, which is closed here: the training takes stand for it.
        part = "train" if params.has_slots else "validation"
        self._validation = [Players(data, take, params, transcriber) for take in data.takes(part)]
        self._players = [(take, player) for take in self._takes for player in range(len(take.stems))]
        self._by_instrument: dict[str, list[tuple[Players, int]]] = {}
        for take, player in self._players:
            self._by_instrument.setdefault(take.mixture.instruments[player], []).append((take, player))

    def batch(self, rng: np.random.Generator, config: WaveUnetConfig, n_samples: int) -> Batch:
        """Draw mixes of ``n_samples``, all of the same number of players, for a network of ``config``."""
        params = self._params
        n_players = int(rng.choice(_numbers_of_players(params.max_players)))
        rows = [self._draw(rng, n_players, n_samples) for _ in range(params.batch_size)]
        return self._stack(rows, config, n_samples, rng)

    def validation(self, config: WaveUnetConfig, n_samples: int) -> list[Batch]:
        """Return mixes of the validation takes as they were played, a batch each, evenly over takes and time."""
        batches = []
        for number in range(self._params.n_validation_mixes):
            take = self._validation[number % len(self._validation)]
            n_each = -(-self._params.n_validation_mixes // len(self._validation))
            share = (number // len(self._validation) + 0.5) / n_each
            start = int(share * max(take.n_samples - n_samples, 0))
            rows = [(take, player, start) for player in range(min(len(take.stems), self._params.max_players))]
            batches.append(self._stack([rows], config, n_samples, None))
        return batches

    def _draw(self, rng: np.random.Generator, n_players: int, n_samples: int) -> list[Row]:
        params = self._params
        drawn: list[Row] = []
        if rng.random() < params.same_take:
            take = self._takes[rng.integers(len(self._takes))]
            start = int(rng.integers(max(take.n_samples - n_samples, 0) + 1))
            chosen = rng.permutation(len(take.stems))[:n_players]
            drawn = [(take, int(player), start) for player in chosen]
        while len(drawn) < n_players:
            pool = self._players
            if drawn and rng.random() < params.same_instrument:
                before, other, _ = drawn[-1]
                pool = self._by_instrument[before.mixture.instruments[other]]
            take, player = pool[rng.integers(len(pool))]
            drawn.append((take, player, int(rng.integers(max(take.n_samples - n_samples, 0) + 1))))
        return drawn

    def _stack(
        self,
        rows: Sequence[Sequence[Row]],
        config: WaveUnetConfig,
        n_samples: int,
        rng: np.random.Generator | None,
    ) -> Batch:
        """Return the mixes of rows of players; with ``rng`` gains are drawn, and who is silent."""
        mixes, conditions, targets = [], [], []
        for players in rows:
            stems = np.stack([take.stem(player, start, n_samples) for take, player, start in players])
            levels = np.array([take.levels[player] for take, player, _ in players])
            if rng is not None:
                gains = 10 ** (rng.uniform(-self._params.gain_db, self._params.gain_db, len(stems)) / 20)
                stems, levels = stems * gains[:, None, None].astype(np.float32), levels * gains
            silent = None
            if rng is not None and rng.random() < self._params.empty:
                silent = int(rng.integers(len(stems)))
                stems[silent], levels[silent] = 0.0, 0.0
            # A whole mix has level 1 as an input: this part of one is scaled by the expected level of its whole.
            stems = stems / np.float32(np.sqrt(np.square(levels).sum()))
            mixes.append(stems.sum(axis=0))
            condition, target = self._conditioned(players, stems, silent, config, n_samples)
            conditions.append(condition)
            targets.append(target)
        return tuple(torch.from_numpy(np.stack(part).astype(np.float32)) for part in (mixes, conditions, targets))  # type: ignore[return-value]

    def _conditioned(
        self,
        players: Sequence[Row],
        stems: NDArray[np.float32],
        silent: int | None,
        config: WaveUnetConfig,
        n_samples: int,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the condition and the targets (S, C, n) of a mix of ``stems``."""
        if config.per_player:
            condition = np.concatenate(
                [
                    on_grid(take.conditions[[player]], take.mixture, config.condition_hop, n_samples, start=start)
                    for take, player, start in players
                ]
            )
            if silent is not None:
                condition[silent] = 0
            return condition, stems
        codes = [take.mixture.instruments[player] for take, player, _ in players]
        if self._params.has_slots and config.n_conditions:
            is_overwritten = self._params.fidelity == "original"
            return presence(codes), overwritten_slots(stems, codes) if is_overwritten else slots(stems, codes, SLOTS)
        rest = np.zeros((config.n_sources - len(stems), *stems.shape[1:]), np.float32)
        return np.zeros(0, np.float32), np.concatenate([stems, rest])


def overwritten_slots(stems: NDArray[np.float32], codes: Sequence[str]) -> NDArray[np.float32]:
    """Return the published slots (13, C, n): of two players of one instrument the last one stays."""
    slotted = np.zeros((len(SLOTS), *stems.shape[1:]), np.float32)
    for stem, code in zip(stems, codes, strict=True):
        slotted[SLOTS.index(code)] = stem
    return slotted


def _numbers_of_players(max_players: int) -> list[int]:
    """Return the numbers of players that training mixes have, each as often as it is likely: small ones more."""
    return [n for n in range(2, max_players + 1) for _ in range(max(1, 6 - n))]
