"""Small pictures, and the frames of sound beside them."""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.errors import DamagedData
from tasks.families.bitmaps.params import BitmapParams
from tasks.features.resample import resample
from tasks.sound.frames import frame_boundaries
from tasks.store.views import ViewSet, pictures_at

PICTURES_AT_A_TIME = 256
EVEN_LUMA = ((0, 16), (255, 235))  # black and white, of the full range and as videos code them


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How sound is cut into frames.

    Attributes:
        sample_rate: Hz.
        frame_rate: frames a second, exact.
        length: samples of a cut.
        lead: frames by which a cut begins before its frame.
        unsigned: targets are (x + 32768) / 65536, and filled up with 0, full negative, at its end.
    """

    sample_rate: int
    frame_rate: Fraction
    length: int
    lead: Fraction
    unsigned: bool

    def first_samples(self, n_frames: int) -> NDArray[np.int64]:
        """Return where each of the frames is cut, (F,); the first ones may begin before the sound."""
        rates: dict[str, Any] = {"sample_rate": self.sample_rate, "frame_rate": self.frame_rate}
        return frame_boundaries(n_frames, **rates, lead=self.lead)[:-1]


@dataclass(frozen=True, kw_only=True)
class FramePairs:
    """Pictures, and frames of sound beside them.

    Attributes:
        bitmaps: (P, S, S) luma.
        shown: (F, C) the rows of ``bitmaps`` that each frame shows, its own first and then further into the past.
        sound: (T,) all sound, one recording after another.
        first: (F,) the sample of ``sound`` that each frame begins with.
        length: samples of a frame.
    """

    bitmaps: NDArray[np.uint8]
    shown: NDArray[np.int64]
    sound: NDArray[np.float32]
    first: NDArray[np.int64]
    length: int

    def __len__(self) -> int:
        return len(self.shown)

    def stacks(self, rows: NDArray[np.int64] | slice) -> NDArray[np.uint8]:
        """Return the pictures of some frames, (n, C, S, S)."""
        return self.bitmaps[self.shown[rows]]

    def frames(self, rows: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        """Return the sound of some frames, (n, L)."""
        frames: NDArray[np.float32] = self.sound[self.first[rows][:, None] + np.arange(self.length)]
        return frames


def small_bitmaps(pictures: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Average pictures (P, H, W) to squares (P, size, size); their sides are stretched to be equal."""
    found = np.empty((len(pictures), size, size), np.uint8)
    for row, picture in enumerate(pictures):
        cv2.resize(picture, (size, size), dst=found[row], interpolation=cv2.INTER_AREA)
    return found


def shown_in_time(time_s: NDArray[np.float64], n_frames: int, cut: Cut, params: BitmapParams) -> NDArray[np.int64]:
    """Return which pictures each frame of the sound shows, (F, C): in its middle, and in the past frames' middles."""
    before = params.n_past * params.past_step
    middle_s = (np.arange(-before, n_frames) + 0.5) / float(cut.frame_rate)
    shown = pictures_at(time_s, middle_s)
    backs = range(0, before + 1, params.past_step)
    return np.stack([shown[before - back : len(shown) - back] for back in backs], axis=1)


def gather(
    views: ViewSet, part: str, cut: Cut, params: BitmapParams, *, n_frames: int
) -> tuple[FramePairs, list[slice]]:
    """Read the pictures and sound of a part's cameras: an excerpt of each, equally long, when there are too many.

    Args:
        views: the cameras.
        part: of the split.
        cut: how sound is cut.
        params: typed values, as `BitmapFamily.resolved` returns them.
        n_frames: of all cameras together, at most.

    Returns:
        All frames, and which of them are each camera's.

    Raises:
        DamagedData: there is no camera, or none of its pictures has sound.
    """
    cameras = views.views(part)
    if not cameras:
        raise DamagedData(f"no take for {part} has a camera whose name matches {params.cameras!r}")
    rng = np.random.default_rng((params.seed, len(cameras)))
    bitmaps: list[NDArray[np.uint8]] = []
    shown: list[NDArray[np.int64]] = []
    first: list[NDArray[np.int64]] = []
    sounds: list[NDArray[np.float32]] = []
    begins: dict[str, tuple[int, int]] = {}  # of a take's sound among all: where, and how long
    n_pictures = n_sound = 0
    for view in cameras:
        if view.take not in begins:
            sound = stored_sound(*views.sound(view.take), cut)
            begins[view.take] = (n_sound + cut.length, len(sound) - 2 * cut.length)
            sounds.append(sound)
            n_sound += len(sound)
        start, length = begins[view.take]
        time_s = views.time_s(view)
        if params.fidelity == "original":  # numbered, from where the camera's own file begins
            rows_shown = np.arange(len(time_s))[:, None]
            at = cut.first_samples(len(time_s)) + round(float(time_s[0]) * cut.sample_rate)
            rows = np.flatnonzero((at >= 0) & (at < length))
        else:
            total = ceil(length * cut.frame_rate / cut.sample_rate)
            rows_shown = shown_in_time(time_s, total, cut, params)
            at = cut.first_samples(total)
            middle_s = (np.arange(total) + 0.5) / float(cut.frame_rate)
            rows = np.flatnonzero((middle_s >= time_s[0]) & (middle_s <= _end_s(time_s)))
        share = max(1, n_frames // len(cameras))
        if len(rows) > share:
            begin = int(rng.integers(len(rows) - share + 1))
            rows = rows[begin : begin + share]
        if not len(rows):
            continue
        rows_shown = rows_shown[rows]
        used = slice(int(rows_shown.min()), int(rows_shown.max()) + 1)
        bitmaps.append(_read_small(views.pictures(view), used, params.side_px))
        shown.append(rows_shown - used.start + n_pictures)
        first.append(at[rows] + start)
        n_pictures += len(bitmaps[-1])
    if not shown:
        raise DamagedData(f"no camera for {part} has pictures while there is sound")
    stops = np.cumsum([len(rows) for rows in shown])
    pairs = FramePairs(
        bitmaps=np.concatenate(bitmaps),
        shown=np.concatenate(shown),
        sound=np.concatenate(sounds),
        first=np.concatenate(first),
        length=cut.length,
    )
    return pairs, [slice(int(stop) - len(rows), int(stop)) for rows, stop in zip(shown, stops, strict=True)]


def with_silent_clips(pairs: FramePairs, *, clip_s: float, frame_rate: Fraction) -> FramePairs:
    """Add black pictures and white ones that are silent, ``clip_s`` seconds of each.

    Source:
        Hindle proposes it against a network whose output for white is loud.
    """
    lumas = [luma for both in EVEN_LUMA for luma in both]
    size = pairs.bitmaps.shape[1]
    n_each = round(clip_s * frame_rate / 2)
    even = np.repeat(np.array(lumas, np.uint8), size * size).reshape(len(lumas), size, size)
    rows = np.repeat(np.arange(len(lumas)), n_each) + len(pairs.bitmaps)
    return FramePairs(
        bitmaps=np.concatenate([pairs.bitmaps, even]),
        shown=np.concatenate([pairs.shown, np.repeat(rows[:, None], pairs.shown.shape[1], axis=1)]),
        sound=np.append(pairs.sound, np.zeros(pairs.length, np.float32)),
        first=np.append(pairs.first, np.full(len(rows), len(pairs.sound))),
        length=pairs.length,
    )


def stored_sound(sound: NDArray[np.float32], from_rate: int, cut: Cut) -> NDArray[np.float32]:
    """Return sound (T,) in [-1, 1] as the targets have it, with a frame before it and one after it.

    Those are silent, but for the one after unsigned sound, which is full negative as published.
    """
    if from_rate != cut.sample_rate:
        sound = resample(sound, from_rate, cut.sample_rate)
    silence = 0.5 if cut.unsigned else 0.0
    if cut.unsigned:
        sound = np.asarray(sound / 2 + 0.5, np.float32)
    return np.concatenate([np.full(cut.length, silence, np.float32), sound, np.zeros(cut.length, np.float32)])


def _end_s(time_s: NDArray[np.float64]) -> float:
    """Return when a camera's last picture goes: after as long as the others stood."""
    step_s = float(np.median(np.diff(time_s))) if len(time_s) > 1 else 0.0
    return float(time_s[-1]) + step_s


def _read_small(pictures: Any, rows: slice, size: int) -> NDArray[np.uint8]:
    starts = range(rows.start, rows.stop, PICTURES_AT_A_TIME)
    return np.concatenate(
        [small_bitmaps(pictures[start : min(start + PICTURES_AT_A_TIME, rows.stop)], size) for start in starts]
    )
