"""When something happens in a film: where motion begins and where it ends, block by block.

Before a stroke a mallet or a finger starts to move, and at the stroke it stops or turns. The start shows most clearly
and identifies the stroke; the stop gives its time.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.clock.onsets import FLUX_RATE

WIDTH, HEIGHT = 160, 90  # pixels of the pictures that are analyzed
_BLOCK = 5  # pixels on a side
_STILL = 1.5  # luma levels that noise changes a block's mean by
_SMOOTH_S = 0.02
_LOCAL = 25  # changes of motion around one that it must stand out from
MIN_PICTURES = _LOCAL + 2  # a change of motion takes three pictures


@dataclass(frozen=True, kw_only=True)
class Motion:
    """What moves in a film.

    Attributes:
        flux: (2, n_steps) at FLUX_RATE, mean 0 and deviation 1: beginnings and ends; zeros when nothing ever moves, or
            fewer than ``MIN_PICTURES`` pictures show it.
        n_pictures: of the film.
    """

    flux: NDArray[np.float32]
    n_pictures: int


def motion_flux(parts: Iterable[tuple[NDArray[np.uint8], NDArray[np.float64]]], *, duration_s: float) -> Motion:
    """Return how much motion begins, and how much ends, at each moment of a film.

    Args:
        parts: (n, HEIGHT, WIDTH) pictures and (n,) their own times in s, in order.
        duration_s: of the film.
    """
    n_pictures = 0
    before: NDArray[np.float32] | None = None
    moved_before: NDArray[np.float32] | None = None
    times: list[float] = []
    changes: list[tuple[float, float]] = []
    last_s = 0.0
    for pictures, time_s in parts:
        for picture, moment_s in zip(pictures, time_s, strict=True):
            n_pictures += 1
            blocks = _blocks(picture)
            if before is not None:
                step_s = max(moment_s - last_s, 1e-3)
                # A block's change a second, without what noise does.
                moved = np.maximum(np.abs(blocks - before) - _STILL, 0) / np.float32(step_s)
                if moved_before is not None:
                    times.append((last_s + moment_s) / 2)
                    change = moved - moved_before
                    sides = np.sqrt(np.maximum(change, 0)).sum(), np.sqrt(np.maximum(-change, 0)).sum()
                    changes.append((float(sides[0]), float(sides[1])))
                moved_before = moved
            before, last_s = blocks, float(moment_s)
    n_steps = int(duration_s * FLUX_RATE)
    if n_pictures < MIN_PICTURES:
        return Motion(flux=np.zeros((2, n_steps), np.float32), n_pictures=n_pictures)
    grid_s = np.arange(n_steps) / FLUX_RATE
    rows = []
    for change in np.array(changes).T:
        local = np.convolve(change, np.ones(_LOCAL) / _LOCAL, "same")
        rows.append(_smooth(np.interp(grid_s, times, np.maximum(change - local, 0), left=0.0, right=0.0)))
    return Motion(flux=normalized(np.array(rows, np.float32)), n_pictures=n_pictures)


def normalized(flux: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return onset functions with mean 0 and deviation 1 in each row; a row without any is 0."""
    if not flux.shape[1]:
        return flux
    flux = flux - flux.mean(axis=1, keepdims=True)
    deviation = flux.std(axis=1, keepdims=True)
    return np.asarray(np.where(deviation > 1e-9, flux / np.maximum(deviation, 1e-9), 0), np.float32)


def summed(flux: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return onsets of sound in bands as one row, (1, n_steps), as coarse in time as those of a film."""
    return normalized(_smooth(np.maximum(flux, 0).sum(axis=0))[None].astype(np.float32))


def _smooth(values: NDArray[Any]) -> NDArray[np.float64]:
    half = round(_SMOOTH_S * FLUX_RATE)
    width = 2 * half + 1
    padded = np.pad(values, half)  # numpy's "same" is as long as the longer of both
    return np.asarray(np.convolve(padded, np.ones(width) / width, "valid"), np.float64)


def _blocks(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    rows, columns = picture.shape[0] // _BLOCK, picture.shape[1] // _BLOCK
    cut = picture[: rows * _BLOCK, : columns * _BLOCK].astype(np.float32)
    means: NDArray[np.float32] = cut.reshape(rows, _BLOCK, columns, _BLOCK).mean(axis=(1, 3))
    return means
