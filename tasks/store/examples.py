"""Training examples for PyTorch: segments read from Zarr on access, and space-time stacks.

Apart from the index (``segments``), so that what needs no tensors does not wait for torch.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from tasks.errors import DamagedData
from tasks.store.arrays import Arrays
from tasks.store.segments import ScoreSet

_TAKES_KEPT_OPEN = 32  # by each worker: handles and the times of pictures, no sound and no picture


class SegmentDataset(Dataset[dict[str, Tensor]]):
    """Segments of one part of the split, each read on access.

    Safe with any number of DataLoader workers: a take is opened by the process that reads it, and only a
    few stay open. Use ``collate_segments`` to batch, as segments differ in their number of pictures.

    An item, for a segment of S samples with a past of P samples:
        pictures: (C, 57, 780) uint8, those shown from the first sample of the past to the last of the
            segment, each once, in order of time.
        picture_index: (P + S,) int64, which of ``pictures`` is shown at each sample.
        codes: (P + S,) uint8 mu-law classes.
        frame_index: (F,) int64, which of ``pictures`` is shown at each video frame of the segment, that is,
            at the frames whose moment lies in it; ``stacks(pictures[frame_index])`` are its stacks.
        frame_start: () int64, the number in the take of the first of those frames: row
            ``frame_start + i`` of the take's amplitudes belongs to stack i.
    The past of a take's first segments reaches before its sound: silence, under its first picture.

    Several workers read at once when a ``DataLoader`` spawns them (``multiprocessing_context="spawn"``). A forked
    one inherits zarr's locks without the threads that hold them, and may wait for ever.
    """

    def __init__(self, scores: ScoreSet, part: str, *, n_past: int) -> None:
        """Name the segments; nothing is opened yet.

        Args:
            scores: where they are.
            part: ``train``, ``validation`` or ``test``.
            n_past: samples before each segment that its item begins with: what a causal model must have
                needed to predict the segment's first sample as well as its last.
        """
        if n_past < 0:
            raise ValueError(f"n_past is {n_past}, expected at least 0")
        self.scores = scores
        self.segments = scores.segments(part)
        self.n_past = n_past
        self._opened: _OpenTakes | None = None

    def __len__(self) -> int:
        return len(self.segments)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Read a segment.

        Raises:
            DamagedData: the arrays of its take are damaged, or shorter than the index says.
        """
        row = self.segments[index]
        take = self._take(row.take)
        stop = row.start_sample + row.n_samples
        if stop > len(take.codes):
            raise DamagedData(
                f"{self.scores.folder / row.take} has {len(take.codes)} samples, its segment ends at {stop}"
            )
        begin = row.start_sample - self.n_past
        samples = np.arange(begin, stop)
        frames = take.frames_between(row.start_sample, stop)
        by_sample = take.picture_at_samples(np.maximum(samples, 0))
        by_frame = take.picture_at_frames(np.arange(frames.start, frames.stop))
        first, last = int(by_sample[0]), int(max(by_sample[-1], by_frame[-1] if len(frames) else 0))
        codes = np.full(len(samples), take.n_classes // 2, np.uint8)
        codes[max(-begin, 0) :] = take.codes[max(begin, 0) : stop]
        return {
            "pictures": torch.from_numpy(take.pictures[first : last + 1]),
            "picture_index": torch.from_numpy(by_sample - first),
            "codes": torch.from_numpy(codes),
            "frame_index": torch.from_numpy(by_frame - first),
            "frame_start": torch.tensor(frames.start),
        }

    def _take(self, name: str) -> "_OpenTake":
        if self._opened is None:
            self._opened = _OpenTakes(self.scores)
        return self._opened.take(name)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is open: a spawned worker opens its own."""
        return {**self.__dict__, "_opened": None}


def collate_segments(items: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Batch segments of equal length: pictures one after the other, indices counted over all of them.

    Returns:
        pictures (sum of C, 57, 780); picture_index and codes (B, P + S); frame_index (B, F), cut to the
        fewest frames of the segments; frame_start (B,).
    """
    counts = [len(item["pictures"]) for item in items]
    first = np.cumsum([0, *counts[:-1]])
    n_frames = min(len(item["frame_index"]) for item in items)
    return {
        "pictures": torch.cat([item["pictures"] for item in items]),
        "picture_index": torch.stack(
            [item["picture_index"] + int(start) for item, start in zip(items, first, strict=True)]
        ),
        "codes": torch.stack([item["codes"] for item in items]),
        "frame_index": torch.stack(
            [item["frame_index"][:n_frames] + int(start) for item, start in zip(items, first, strict=True)]
        ),
        "frame_start": torch.stack([item["frame_start"] for item in items]),
    }


def stacks(frames: Tensor, n: int = 3) -> Tensor:
    """View frames (..., F, H, W) as space-time stacks (..., F - n + 1, n, H, W), without copying.

    Stack k is frames k to k + n - 1, the pictures of one row of note amplitudes.

    Raises:
        ValueError: there are fewer than n frames.
    """
    if frames.shape[-3] < n:
        raise ValueError(f"{frames.shape[-3]} frames, expected at least {n} for a stack")
    return frames.unfold(-3, n, 1).movedim(-1, -3)


class _OpenTakes:
    """The takes that one process has open, the least recently used closed first."""

    def __init__(self, scores: ScoreSet) -> None:
        self.take = lru_cache(maxsize=_TAKES_KEPT_OPEN)(lambda name: _OpenTake(scores.open(name)))


class _OpenTake:
    """A take's arrays, and the first sample and the first video frame that show each picture."""

    def __init__(self, arrays: Arrays) -> None:
        self.codes = arrays["codes"]
        self.pictures = arrays["pictures"]
        self.n_classes = int(arrays.attributes["n_classes"])
        self.sample_rate = Fraction(arrays.attributes["code_rate"])
        self.frame_rate = Fraction(arrays.attributes["frame_rate"])
        times_s = [Fraction(time_s) for time_s in arrays["picture_time_s"][:].tolist()]
        self._first_sample = np.array([ceil(time_s * self.sample_rate) for time_s in times_s], np.int64)
        self._first_frame = np.array([ceil(time_s * self.frame_rate) for time_s in times_s], np.int64)

    def picture_at_samples(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return which picture is shown at each sample."""
        return np.searchsorted(self._first_sample, samples, side="right").astype(np.int64) - 1

    def picture_at_frames(self, frames: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return which picture is shown at each video frame."""
        return np.searchsorted(self._first_frame, frames, side="right").astype(np.int64) - 1

    def frames_between(self, start_sample: int, stop_sample: int) -> range:
        """Return the video frames whose moment lies in [start, stop) samples."""
        frames_per_sample = self.frame_rate / self.sample_rate
        return range(ceil(start_sample * frames_per_sample), ceil(stop_sample * frames_per_sample))
