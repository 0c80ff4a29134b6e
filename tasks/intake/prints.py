"""Recognizing one recording in two encodings: by the peaks of its spectrum and their times.

A codec, a container, another rate or level moves few of the strongest peaks, a cut moves all by one time. Another
performance moves each by its own, so it is not taken for a copy.

Source: Wang 2003, "An industrial-strength audio search algorithm" (pairs of peaks as hashes, and one offset that many
of them agree on).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from tasks.intake.stems import StemSound, blocks_at
from tasks.media.probe import MediaPolicy
from tasks.media.process import MediaError
from tasks.media.sound import iter_sound
from tasks.store.audio import AudioError, is_pcm_wav

SAMPLE_RATE = 8_000  # Hz: what every codec keeps
STEP = 128  # samples, 16 ms
_WINDOW = 512
_NEAR = (25, 31)  # steps and bins: a peak is the highest of so many around it
_LOUD_DB = 45.0  # below the loudest of the second around it, a peak is the codec's
_FLOOR = 3e-4  # of full scale: quieter peaks are noise
_N_PAIRS = 3  # a peak is paired with so many that follow
_MOST_STEPS = 127  # between the two of a pair: 2 s
# Of 2,145 pairs of recordings of different events, the likest had 11 pairs at one offset, or 3 % of the shorter one's.
# Copies at 24 to 64 kb/s, cut and 10 dB softer, had 10 to 50 %.
MIN_AGREEING = 25
MIN_SHARE = 0.1

Prints = NDArray[np.uint64]  # (n,): hash << 32 | step


def sound_prints(path: Path, *, policy: MediaPolicy) -> Prints:
    """Return a recording's prints, sorted by hash; none for one without sound, or whose sound does not decode.

    Args:
        path: any container read here.
        policy: what it may cost.
    """
    found: list[NDArray[np.int64]] = []
    before = np.zeros(0, np.float32)
    step = 0
    try:
        for block in _blocks(path, policy):
            samples = np.concatenate([before, block])
            n_steps = max(0, (len(samples) - _WINDOW) // STEP + 1)
            if n_steps:
                found.append(_peaks(samples, n_steps) + np.array([step, 0]))
            step += n_steps
            before = samples[n_steps * STEP :]
    except (MediaError, AudioError):
        return np.zeros(0, np.uint64)
    return _pairs(np.concatenate(found)) if found else np.zeros(0, np.uint64)


def _blocks(path: Path, policy: MediaPolicy) -> Iterator[NDArray[np.float32]]:
    if is_pcm_wav(path):
        for block in blocks_at(StemSound(path=path), policy, sample_rate=SAMPLE_RATE, channels=1, alone=True):
            yield block[:, 0]
    else:
        yield from iter_sound(path, sample_rate=SAMPLE_RATE, policy=policy, lenient=True)


def _peaks(samples: NDArray[np.float32], n_steps: int) -> NDArray[np.int64]:
    """Return step and bin of each peak, in order of time."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::STEP][:n_steps]
    shape = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
    level = np.abs(np.fft.rfft(windows * (shape * (2 / shape.sum())), axis=1)).astype(np.float32)
    level[:, :4] = 0  # hum and rumble
    around = scipy.ndimage.maximum_filter1d(level.max(axis=1), round(SAMPLE_RATE / STEP))
    highest = level == scipy.ndimage.maximum_filter(level, _NEAR)
    loud = level > np.maximum(_FLOOR, around * 10 ** (-_LOUD_DB / 20))[:, None]
    return np.argwhere(highest & loud)


def _pairs(peaks: NDArray[np.int64]) -> Prints:
    step, place = peaks.T
    prints = []
    for ahead in range(1, _N_PAIRS + 1):
        apart = step[ahead:] - step[:-ahead]
        near = apart <= _MOST_STEPS
        first, second = place[:-ahead][near], place[ahead:][near]
        prints.append((first << 16 | second << 7 | apart[near]) << 32 | step[:-ahead][near])
    return np.sort(np.concatenate(prints).astype(np.uint64))


class PrintIndex:
    """The prints of many takes, searched for those that a recording is a copy of."""

    def __init__(self) -> None:
        self._takes: list[str] = []
        self._sizes: list[int] = []
        self._blocks: list[tuple[Prints, NDArray[np.int64]]] = []  # sorted prints and the recording of each

    def add(self, take: str, prints: Prints) -> None:
        """Remember a recording of a take."""
        self._takes.append(take)
        self._sizes.append(len(prints))
        self._blocks.append((prints, np.full(len(prints), len(self._takes) - 1)))
        # Blocks of like size are merged, so that a search looks into few.
        while len(self._blocks) > 1 and len(self._blocks[-2][0]) < 2 * len(self._blocks[-1][0]):
            one, other = self._blocks.pop(), self._blocks.pop()
            prints = np.concatenate([one[0], other[0]])
            order = np.argsort(prints, kind="stable")
            self._blocks.append((prints[order], np.concatenate([one[1], other[1]])[order]))

    def copies_of(self, prints: Prints, *, but: str) -> Sequence[tuple[str, float]]:
        """Return the takes that hold the same sound, and the time in theirs at which it begins, in s.

        Args:
            prints: of the recording in question.
            but: a take that is left out.
        """
        recording, offset = self._agreeing(prints)
        if not len(recording):
            return []
        # Peaks fall on this step or the next one.
        key = recording << 34 | offset + (1 << 33)
        places, counts = np.unique(np.concatenate([key - 1, key, key + 1]), return_counts=True)
        found: dict[str, float] = {}
        for place, count in zip(places.tolist(), counts.tolist(), strict=True):
            which, start_s = place >> 34, ((place & (1 << 34) - 1) - (1 << 33)) * STEP / SAMPLE_RATE
            take = self._takes[which]
            enough = max(MIN_AGREEING, MIN_SHARE * min(len(prints), self._sizes[which]))
            if count >= enough and take != but:
                found.setdefault(take, start_s)
        return sorted(found.items())

    def _agreeing(self, prints: Prints) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return, for each print that is known, its recording and by how many steps it comes later there."""
        low = np.uint64(0xFFFFFFFF)
        recordings, offsets = [], []
        for known, recording in self._blocks:
            first = np.searchsorted(known, prints & ~low)
            n = np.searchsorted(known, prints | low, side="right") - first
            at = np.repeat(first - np.concatenate([[0], np.cumsum(n)[:-1]]), n) + np.arange(int(n.sum()))
            recordings.append(recording[at])
            offsets.append((known[at] & low).astype(np.int64) - np.repeat((prints & low).astype(np.int64), n))
        if not recordings:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        return np.concatenate(recordings), np.concatenate(offsets)
