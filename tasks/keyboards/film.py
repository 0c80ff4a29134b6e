"""A film's pictures for the reader: the still one without hands, and all of them at a size that suits the keys."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, lcm
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.keyboards.place import Place
from tasks.media.pictures import iter_colours
from tasks.media.probe import MediaFacts, MediaPolicy, VideoStream

_WIDTH = 1280  # pixels: of the pictures that are read, at most
_STILL_PICTURES = 48  # of a film, that its still picture is the median of
_ABOVE = 0.4  # of the keys' length, that is read beyond their far ends: there bars fall
_COARSEST = 64  # pixels: the most that a band's edge may be moved by, to lie on a whole row of the smaller picture
_PASSED = 300  # pictures between two words of progress


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The part of an upright picture that is read, and its size then.

    Attributes:
        crop: x, y, width and height in pixels of the picture.
        width: that it is read with.
        height: likewise.
    """

    crop: tuple[int, int, int, int]
    width: int
    height: int

    @property
    def scale(self) -> float:
        """Pixels that are read a pixel of the picture."""
        return self.width / self.crop[2]

    def inside(self, place: Place) -> Place:
        """Return a place in the picture as it lies in what is read."""
        return place.scaled(self.scale, left=self.crop[0], top=self.crop[1])

    def outside(self, place: Place) -> Place:
        """Return a place in what is read as it lies in the picture."""
        return place.scaled(1 / self.scale, left=-self.crop[0] * self.scale, top=-self.crop[1] * self.scale)


def whole_frame(stream: VideoStream, crop: tuple[int, int, int, int] | None) -> Frame:
    """Return the frame of all of a picture, or of a crop."""
    crop = crop or (0, 0, stream.width, stream.height)
    scale = min(1.0, _WIDTH / max(crop[2], crop[3]))
    return Frame(crop=crop, width=max(2, round(crop[2] * scale)), height=max(2, round(crop[3] * scale)))


def keyboard_band(frame: Frame, place: Place) -> tuple[Frame, slice]:
    """Return the rows of a frame that show a keyboard and what is above it, as a frame, and which rows these are.

    Args:
        frame: of the still picture.
        place: of the keyboard in the pixels of that.
    """
    middle = np.linspace(0, place.keys.n_white, 9)
    y = place.pixels(middle[:, None], np.array([-_ABOVE, 1.1]))[..., 1]
    scale = Fraction(frame.width, frame.crop[2])
    step = lcm(2, scale.denominator) if Fraction(frame.height, frame.crop[3]) == scale else frame.crop[3]
    first = floor(max(0.0, float(y.min())) / scale / step) * step
    last = min(frame.crop[3], ceil(float(y.max()) / scale / step) * step)
    if step > _COARSEST or last - first < step or last % step:
        return frame, slice(0, frame.height)
    rows = slice(int(first * scale), int(last * scale))
    x, top, width, _ = frame.crop
    return Frame(crop=(x, top + first, width, last - first), width=frame.width, height=rows.stop - rows.start), rows


def still_pictures(
    video: Path, facts: MediaFacts, frame: Frame, *, policy: MediaPolicy
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return pictures taken evenly over a film, (n, 3, height, width), and their times; memory stays as it is."""
    stream = facts.video
    if stream is None:
        raise ValueError(f"{video} holds no video stream")
    duration_s = stream.duration_s or facts.duration_s or 0.0
    n_expected = stream.n_declared or round(duration_s * float(stream.frame_rate))
    every = max(1, n_expected // _STILL_PICTURES)
    kept: list[tuple[NDArray[np.uint8], float]] = []
    step, n_given = 1, 0
    parts = iter_colours(
        video, width=frame.width, height=frame.height, policy=policy, crop=frame.crop, facts=facts, every=every
    )
    for some, some_s in parts:
        for picture, at_s in zip(some, some_s.tolist(), strict=True):
            if n_given % step == 0:
                kept.append((picture.copy(), at_s))
                if len(kept) == 2 * _STILL_PICTURES:
                    kept, step = kept[::2], 2 * step
            n_given += 1
    return np.stack([picture for picture, _ in kept]), np.array([at_s for _, at_s in kept])


def median_picture(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the median of pictures (n, 3, height, width), some rows at a time."""
    made = np.empty(pictures.shape[1:], np.uint8)
    middle = len(pictures) // 2
    for row in range(0, pictures.shape[2], 64):
        made[:, row : row + 64] = np.partition(pictures[:, :, row : row + 64], middle, axis=0)[middle]
    return made


def all_pictures(
    video: Path, facts: MediaFacts, frame: Frame, *, policy: MediaPolicy, progress: Callable[[str], None]
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float64]]]:
    """Give every picture of a film within a frame, and say now and then how many have passed."""
    duration_s = facts.duration_s or 0.0
    passed = 0
    parts = iter_colours(video, width=frame.width, height=frame.height, policy=policy, crop=frame.crop, facts=facts)
    for some, time_s in parts:
        yield some, time_s
        if (passed + len(some)) // _PASSED > passed // _PASSED and duration_s:
            progress(f"reading the keys: {min(100, 100 * time_s[-1] / duration_s):.0f} %")
        passed += len(some)
