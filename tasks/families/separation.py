"""What a family that separates is to the stages: fitted on ensembles, handed mixes, asked for a sound a player."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from tasks.families.base import Family
from tasks.params import Section
from tasks.store.ensembles import EnsembleSet

P = TypeVar("P", bound=Section)


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Several players heard at once, and what is known of each; K players, C channels, T pictures.

    Attributes:
        audio: (C, n) the mix.
        sample_rate: of it, in Hz.
        instruments: a code a player, in the players' order.
        motion: (K, T, F) what ``tasks.features.motion`` says of each player's view; None where nobody was filmed.
        pictures: (K, T, H, W) luma of each player's view; None where nobody was filmed.
        rolls: (K, T, 128) velocity of the notes that sound; None where there is no score.
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
    """What one system made of one mix.

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
    """One or more systems that take a mix apart.

    Attributes:
        unordered: systems that do not know which of their outputs is whose: heard and scored in the order that fits
            the truth best.
        sighted: systems that look at the players: whether they follow what they see is measured.
    """

    unordered: ClassVar[frozenset[str]] = frozenset()
    sighted: ClassVar[frozenset[str]] = frozenset()
    data = "ensembles"

    def only(self, system: str) -> Self:
        """Return the family with one of its systems alone: what the others need may not be known."""
        chosen = copy(self)
        vars(chosen)["systems"] = (system,)
        return chosen

    def shortest_s(self, trained: Path, system: str) -> float:  # noqa: ARG002
        """Return how long a mix must be at least for a trained system, in s."""
        return 0.0

    @abstractmethod
    def separate(
        self,
        trained: Path,
        mixtures: Mapping[str, Mixture],
        *,
        accelerator: str,
        truth: Mapping[str, NDArray[np.float32]] | None,
    ) -> Iterator[Separation]:
        """Take whole mixes apart: every system, every mix.

        Args:
            trained: what `fit` wrote.
            mixtures: by take.
            accelerator: as in `fit`.
            truth: for bounds alone, the stems (K, C, n) by take; with None those are left out.
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
