"""Stretches of chunked scores as a DeepSynth reads them: codes, pictures, and what the pictures drive."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.deepsynth import SILENCE
from models.key_drive import FilmDrive
from tasks.instruments.keyboard import shown_at
from tasks.store.arrays import StoredArray
from tasks.store.segments import ScoreSet

PICTURES_AT_A_TIME = 128  # 44 kB each


@dataclass(frozen=True, kw_only=True)
class ScoreFilm:
    """A take's codes and its film: the pictures lie on disk, what is small is at hand."""

    codes: NDArray[np.uint8]
    picture_time_s: NDArray[np.float64]
    pictures: StoredArray

    def blocks(self) -> Iterator[Tensor]:
        """Yield all pictures, some at a time."""
        for start in range(0, len(self.picture_time_s), PICTURES_AT_A_TIME):
            yield torch.from_numpy(self.pictures[start : start + PICTURES_AT_A_TIME])


class ScoreFilms:
    """The takes of a data set, each opened once."""

    def __init__(self, data: ScoreSet) -> None:
        self._data = data
        self.code_rate = data.code_rate
        self._films: dict[str, ScoreFilm] = {}

    def __getitem__(self, take: str) -> ScoreFilm:
        if take not in self._films:
            arrays = self._data.open(take)
            self._films[take] = ScoreFilm(
                codes=arrays["codes"][:], picture_time_s=arrays["picture_time_s"][:], pictures=arrays["pictures"]
            )
        return self._films[take]


def first_samples(picture_time_s: NDArray[np.float64], *, rate: int, n_samples: int) -> NDArray[np.int64]:
    """Return the first sample at which each picture stands, ``n_samples`` for those after the end, (P,)."""
    shown = shown_at(picture_time_s, rate=Fraction(rate), start=0, count=n_samples)
    return np.searchsorted(shown, np.arange(len(picture_time_s))).astype(np.int64)


class Crops:
    """Reads stretches of takes: codes, the teacher-forced inputs, and the pictures shown: of a take or another."""

    def __init__(
        self,
        films: ScoreFilms,
        *,
        with_pictures: bool,
        drives: Mapping[str, FilmDrive] | None,
        pictures_of: Mapping[str, str] | None = None,
    ) -> None:
        """Read takes of ``films``.

        Args:
            films: the takes.
            with_pictures: whether the network's gates take pictures.
            drives: of the takes, by name, where the network takes one.
            pictures_of: that of `CodeFamily.nats`; ``drives`` must already be of those pictures.
        """
        self._films = films
        self._with_pictures = with_pictures
        self._drives = drives
        self._pictures_of = pictures_of or {}

    def batch(self, places: Sequence[tuple[str, int, int]]) -> dict[str, Tensor]:
        """Read stretches of equal length, each a take, a first sample and a number of samples.

        A stretch may begin before its take does: there it is silent, under the first picture.

        Returns:
            codes and inputs (B, T) uint8, each input the code before; where wanted, pictures (P, 57, 780) uint8 of all
            and shown (B, T), and drive (B, T) or (B, T, C).
        """
        codes, inputs, pictures, shown, drives = [], [], [], [], []
        n_pictures = 0
        for take, start, length in places:
            known = self._films[take].codes
            before = known[max(start - 1, 0) : start + length]
            missing = length + 1 - len(before)
            if missing:
                before = np.concatenate([np.full(missing, SILENCE, np.uint8), before])
            codes.append(before[1:])
            inputs.append(before[:-1])
            if self._with_pictures:
                film = self._films[self._pictures_of.get(take, take)]
                early = max(-start, 0)
                rows = shown_at(
                    film.picture_time_s, rate=Fraction(self._films.code_rate), start=start + early, count=length - early
                )
                rows = np.concatenate([np.full(early, rows[0]), rows])
                pictures.append(film.pictures[rows[0] : rows[-1] + 1])
                shown.append(rows - rows[0] + n_pictures)
                n_pictures += len(pictures[-1])
            if self._drives is not None:
                drives.append(self._drives[take].at(start, length))
        batch = {"codes": torch.from_numpy(np.stack(codes)), "inputs": torch.from_numpy(np.stack(inputs))}
        if self._with_pictures:
            batch["pictures"] = torch.from_numpy(np.concatenate(pictures))
            batch["shown"] = torch.from_numpy(np.stack(shown))
        if self._drives is not None:
            batch["drive"] = torch.stack(drives)
        return batch
