"""A film as the inputs of a network: space-time stacks of pictures, or an image network's features of them."""

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.families.base import Film
from tasks.store.views import pictures_of_frames

STILL_PICTURES = 64  # of a film, whose median is the instrument at rest
DIFFERENCE_LUMA = 64.0  # luma levels that become 1


@dataclass(frozen=True, kw_only=True)
class PictureFormat:
    """The format of a network's input pictures; kept with its weights.

    Attributes:
        height: rows of a picture.
        width: columns.
        n_pictures: of a stack.
        subtract_still: whether pictures are differences to the film's median.
    """

    height: int
    width: int
    n_pictures: int
    subtract_still: bool


@dataclass(frozen=True, kw_only=True)
class StackedFilm:
    """A film as space-time stacks, window by window.

    Attributes:
        pictures: (P, H, W) luma.
        still: (H, W) float32, what is subtracted.
        shown: (F + C - 1,) which picture each frame shows; C of them make a window's stack.
        ages: (F + C - 1,) for how long that picture has been shown at the frame's moment, in frames.
        is_filmed: (F,) whether the camera was running during all of the window.
    """

    pictures: NDArray[np.uint8]
    still: NDArray[np.float32]
    shown: NDArray[np.int64]
    ages: NDArray[np.float32]
    is_filmed: NDArray[np.bool_]

    def frames(self, first: int, last: int) -> NDArray[np.float32]:
        """Return the frames of the stacks of windows ``first`` to ``last - 1``, (last - first + C - 1, H, W).

        A difference of `DIFFERENCE_LUMA` is 1.
        """
        shown = self.shown[first : last + self.n_more]
        return (self.pictures[shown] - self.still) / np.float32(DIFFERENCE_LUMA)

    @property
    def n_more(self) -> int:
        """How many frames there are more than windows."""
        return len(self.shown) - len(self.is_filmed)


@dataclass(frozen=True, kw_only=True)
class EncodedFilm:
    """A film as the features of its stacks.

    Attributes:
        features: (F, D).
        is_filmed: as in `StackedFilm`.
    """

    features: NDArray[np.float32]
    is_filmed: NDArray[np.bool_]
    n_more: ClassVar[int] = 0

    @property
    def ages(self) -> NDArray[np.float32]:
        """Zeros (F,): features have no ages."""
        return np.zeros(len(self.is_filmed), np.float32)

    def frames(self, first: int, last: int) -> NDArray[np.float32]:
        """Return the features of windows ``first`` to ``last - 1``."""
        return self.features[first:last]


FilmInputs = StackedFilm | EncodedFilm
"""What a network takes of a film."""


def stack_film(film: Film, pictures: PictureFormat, *, n_windows: int, frame_rate: Fraction) -> StackedFilm:
    """Return a film as space-time stacks, window by window of its master's clock.

    Args:
        film: with at least one picture.
        pictures: their format.
        n_windows: F, of three frames each.
        frame_rate: of the frames, in Hz.

    Raises:
        ValueError: the film has no picture.
    """
    luma = film.pictures
    if luma.shape[1:] != (pictures.height, pictures.width):
        size = (pictures.width, pictures.height)
        luma = np.stack([cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in luma])
    still = np.zeros(luma.shape[1:], np.float32)
    if pictures.subtract_still:
        spread = np.unique(np.linspace(0, len(luma) - 1, STILL_PICTURES).astype(int))
        still = np.median(luma[spread], axis=0).astype(np.float32)
    shown = pictures_of_frames(film.time_s, n_frames=n_windows + pictures.n_pictures - 1, frame_rate=frame_rate)
    moments_s = np.arange(len(shown)) / float(frame_rate)
    ages = np.clip((moments_s - film.time_s[shown]) * float(frame_rate), -2, 2).astype(np.float32)
    starts_s = moments_s[:n_windows]
    ends_s = starts_s + 3 / float(frame_rate)
    # The last picture is shown about as long as the others are.
    last_s = film.time_s[-1] + (np.median(np.diff(film.time_s)) if len(film.time_s) > 1 else 0.0)
    is_filmed = (starts_s >= film.time_s[0] - 1e-6) & (ends_s <= last_s + 1.5 / float(frame_rate))
    return StackedFilm(pictures=luma, still=still, shown=shown, ages=ages, is_filmed=is_filmed)


def n_windows_of(duration_s: float, frame_rate: Fraction) -> int:
    """Return how many windows of three frames a take of this length has."""
    return max(int(duration_s * frame_rate) - 2, 0)
