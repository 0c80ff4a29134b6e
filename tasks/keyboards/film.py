"""A film's pictures for the reader: the still one without hands, and all of them at a size that suits the keys."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.media.pictures import iter_colours
from tasks.media.probe import MediaFacts, MediaPolicy, VideoStream

_FIND_WIDTH = 1280  # pixels: of the still picture, at most
_STILL_PICTURES = 48  # of a film, that its still picture is the median of
_PASSED = 1800  # pictures between two words of progress


def still_size(stream: VideoStream) -> tuple[int, int]:
    """Return width and height of a film's still picture."""
    scale = min(1.0, _FIND_WIDTH / max(stream.width, stream.height))
    return max(2, round(stream.width * scale)), max(2, round(stream.height * scale))


def sampled_pictures(
    video: Path, facts: MediaFacts, stream: VideoStream, *, policy: MediaPolicy
) -> tuple[NDArray[np.uint8], int]:
    """Return pictures taken evenly over a film, (n, 3, height, width), and how many pictures it has.

    Every picture is decoded; memory does not grow with the film's length.
    """
    width, height = still_size(stream)
    kept: list[NDArray[np.uint8]] = []
    step, n_pictures = 1, 0
    for some, _ in iter_colours(video, width=width, height=height, policy=policy, facts=facts):
        for picture in some:
            if n_pictures % step == 0:
                kept.append(picture.copy())
                if len(kept) == 2 * _STILL_PICTURES:
                    kept, step = kept[::2], 2 * step
            n_pictures += 1
    return np.stack(kept), n_pictures


def median_picture(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the median of pictures (n, 3, height, width), some rows at a time."""
    made = np.empty(pictures.shape[1:], np.uint8)
    for row in range(0, pictures.shape[2], 64):
        made[:, row : row + 64] = np.median(pictures[:, :, row : row + 64], axis=0)
    return made


def with_progress(
    pictures: Iterator[tuple[NDArray[np.uint8], NDArray[np.float64]]],
    n_pictures: int,
    progress: Callable[[str], None],
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float64]]]:
    """Hand pictures on, and say now and then how many have passed."""
    passed = 0
    for some, time_s in pictures:
        yield some, time_s
        if (passed + len(some)) // _PASSED > passed // _PASSED:
            progress(f"reading the keys: {100 * (passed + len(some)) // max(1, n_pictures)} %")
        passed += len(some)
