"""Families that separate mixes: fitted on ensembles, they estimate a sound for each player of a mix.

Shapes: K players, C channels, n samples, T pictures, H rows and W columns of a picture, F motion features.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from tasks.families.base import Family
from tasks.params import Section
from tasks.store.ensembles import EnsembleSet

P = TypeVar("P", bound=Section)


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """The sound of several players together, and what is known of each.

    Attributes:
        audio: (C, n) the mix.
        sample_rate: of it, in Hz.
        instruments: a code a player, in the players' order.
        motion: (K, T, F) as ``tasks.features.motion`` describes each player's video; None without videos.
        pictures: (K, T, H, W) luma of each player's video; None without videos.
        rolls: (K, T, 128) velocity of the notes that sound; None without a score.
        frame_rate: of the three, from 0.0 of the mix on.
    """

    audio: NDArray[np.float32]
    sample_rate: int
    instruments: tuple[str, ...]
    motion: NDArray[np.float32] | None
    pictures: NDArray[np.uint8] | None
    rolls: NDArray[np.uint8] | None
    frame_rate: Fraction

    def __post_init__(self) -> None:
        if self.audio.ndim != 2 or not self.instruments:
            raise ValueError(
                f"a mix of shape {self.audio.shape} of {len(self.instruments)} players, expected (channels, samples)"
            )
        for name in ("motion", "pictures", "rolls"):
            found = getattr(self, name)
            if found is not None and len(found) != len(self.instruments):
                raise ValueError(f"{name} of {len(found)} players, expected {len(self.instruments)}")


@dataclass(frozen=True, kw_only=True)
class Separation:
    """One system's estimates for one mix.

    Attributes:
        system: the row in the tables that made it.
        take: the mix's name.
        stems: (K, C, n) a sound a player, in the players' order unless the system is one of ``unordered``.
        sample_rate: of them, in Hz.
    """

    system: str
    take: str
    stems: NDArray[np.float32]
    sample_rate: int


class SeparationFamily(Family[P, EnsembleSet]):
    """One or more systems that separate mixes.

    Attributes:
        unordered: systems whose outputs are not assigned to players: they are ordered as fits the true stems best
            before they are written and scored.
        uses_video: systems that are conditioned on the players' videos: whether their estimates follow the videos is
            measured.
    """

    unordered: ClassVar[frozenset[str]] = frozenset()
    uses_video: ClassVar[frozenset[str]] = frozenset()
    data = "ensembles"

    def shortest_s(self, trained: Path, system: str) -> float:  # noqa: ARG002
        """Return the shortest mix that a trained system can separate, in s."""
        return 0.0

    @abstractmethod
    def separate(
        self,
        trained: Path,
        mixtures: Mapping[str, Mixture],
        *,
        systems: Sequence[str],
        accelerator: str,
        truth: Mapping[str, NDArray[np.float32]] | None,
    ) -> Iterator[Separation]:
        """Separate whole mixes: every mix by every one of ``systems``.

        Args:
            trained: what `fit` wrote.
            mixtures: by take.
            systems: of the family; what the other ones need may be missing.
            accelerator: as in `fit`.
            truth: for bounds alone, the true stems (K, C, n) by take; with None those are left out.
        """


def mixture_of(data: EnsembleSet, take: str) -> Mixture:
    """Return the mix of a take and all that is known of its players."""
    return Mixture(
        audio=data.mix(take),
        sample_rate=data.sample_rate,
        instruments=data.instruments(take),
        motion=data.motion(take),
        pictures=data.pictures(take),
        rolls=data.rolls(take),
        frame_rate=data.frame_rate,
    )


def level_of(audio: NDArray[np.float32]) -> float:
    """Return the root mean square of a sound (C, n), at least 1e-5: networks take mixes divided by it."""
    return max(float(np.sqrt(np.mean(np.square(audio, dtype=np.float64)))), 1e-5)
