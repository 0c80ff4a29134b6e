"""Note amplitudes to sound: for each row the grain of a bank whose own amplitudes are nearest.

Shapes: M rows of the bank, F rows requested, N notes, T samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
import scipy.signal
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from tasks.features.amplitudes import WINDOW_FRAMES
from tasks.sound.frames import join_windowed, longest_frame

BLOCK_GRAINS = 2048  # searched and joined at a time: bounds the memory of an hour-long take
GRAIN_FRAMES = 2

_PCM_16_SCALE = 32768


class Samples(Protocol):
    """One-dimensional sound that is read in slices: an array, or one that lies in a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its length, alone."""

    def __getitem__(self, key: slice) -> NDArray[np.generic]:
        """Return samples: floats of full scale 1, or 16-bit integers."""


@dataclass(frozen=True, kw_only=True)
class BankTake:
    """What one recording gives to a bank.

    Attributes:
        values: note amplitudes (F, N), as `note_amplitudes` measures them.
        sound: what they were measured in.
    """

    values: NDArray[np.floating]
    sound: Samples


class GrainBank:
    """Grains of recordings, two video frames long, found by the note amplitudes around their middle.

    A grain's row of amplitudes covers three frames; the grain is the inner two thirds of them. Sound is read when a
    grain is used, so that a bank of many hours may stay in its files.
    """

    def __init__(
        self, takes: Sequence[BankTake], *, frame_rate: Fraction, sample_rate: int, window_frames: int = WINDOW_FRAMES
    ) -> None:
        """Sort the rows of all takes for the search: 2 s for 10 hours of 18 notes.

        Args:
            takes: all with the same notes.
            frame_rate: rows a second, exact.
            sample_rate: Hz of the sound.
            window_frames: video frames in a row's window.

        Raises:
            ValueError: there is no row, takes differ in their notes, an amplitude is not a number, or a take's sound
                is more than a frame shorter than what its rows cover.
        """
        values = [np.asarray(take.values, np.float32) for take in takes]
        widths = {one.shape[1:] for one in values}
        if sum(map(len, values)) == 0 or len(widths) != 1 or len(next(iter(widths))) != 1:
            shapes = ", ".join(str(one.shape) for one in values[:5])
            raise ValueError(
                f"the bank's amplitudes have shapes {shapes}: expected (rows, notes), the same notes in all"
            )
        self.frame_rate, self.sample_rate, self.window_frames = frame_rate, sample_rate, window_frames
        self._takes = [take for take, one in zip(takes, values, strict=True) if len(one)]
        rows = [len(one) for one in values if len(one)]
        for take, n_rows in zip(self._takes, rows, strict=True):
            covered = round((n_rows + window_frames - 2) * sample_rate / frame_rate)
            if take.sound.shape[0] < covered:
                raise ValueError(
                    f"{n_rows} rows stand beside {take.sound.shape[0]} samples, expected at least {covered}: is the"
                    " sound of another take or another sample rate?"
                )
        self.values = np.concatenate(values)
        if not np.isfinite(self.values).all():
            row, column = np.argwhere(~np.isfinite(self.values))[0].tolist()
            raise ValueError(f"amplitude {column} in row {row} of the bank is {self.values[row, column]}")
        self._grain_length = longest_frame(sample_rate=sample_rate, frame_rate=frame_rate, n_hops=GRAIN_FRAMES)
        self._ends = np.cumsum(rows)
        self._firsts = self._ends - rows
        # Neither balanced nor shrunk: built in less time, and four times faster for rows that are mostly near 0.
        self._tree = cKDTree(self.values, balanced_tree=False, compact_nodes=False)

    def __len__(self) -> int:
        return len(self.values)

    def nearest(
        self, values: NDArray[np.floating], *, context: int = 0, n_candidates: int = 32, stay: float = 0.0
    ) -> NDArray[np.int64]:
        """Return for each row (F, N) the number of the bank's row that is nearest to it.

        Args:
            values: amplitudes, on the bank's scale.
            context: rows before and after that must agree too: of the ``n_candidates`` rows nearest by themselves,
                the one whose window of 2 context + 1 rows is nearest. 0 compares the row alone.
            n_candidates: for ``context``.
            stay: the grain that followed the last one in its recording is taken if its distance is at most
                1 + ``stay`` times that of the nearest: there are fewer joints. 0 takes the nearest always.

        Returns:
            (F,) row numbers, counted through all takes.
        """
        values = np.asarray(values, np.float32)
        if values.ndim != 2 or values.shape[1] != self.values.shape[1]:
            raise ValueError(f"amplitudes have shape {values.shape}, expected (rows, {self.values.shape[1]})")
        if not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0].tolist()
            raise ValueError(f"amplitude {column} in row {row} of {len(values)} is {values[row, column]}")
        if not len(values):
            return np.zeros(0, np.int64)
        k = min(n_candidates if context else 1, len(self))
        padded = np.pad(values, ((context, context), (0, 0)), mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * context + 1, axis=0).transpose(0, 2, 1)
        best, distance = np.empty(len(values), np.int64), np.empty(len(values))
        for start in range(0, len(values), BLOCK_GRAINS):
            block = slice(start, start + BLOCK_GRAINS)
            found = np.asarray(self._tree.query(values[block], k=k)[1], np.int64).reshape(-1, k)
            found.sort(axis=1)  # of equally near ones the first of the bank
            far = self._distance(windows[block], found)
            best[block] = np.take_along_axis(found, far.argmin(axis=1)[:, None], axis=1)[:, 0]
            distance[block] = far.min(axis=1)
        return self._staying(windows, best, distance, stay) if stay else best

    def _distance(self, windows: NDArray[np.float32], found: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the distance of windows (F, W, N) to those around rows of the bank (F, k), as (F, k)."""
        context = windows.shape[1] // 2
        take = np.searchsorted(self._ends, found, side="right")
        squares = np.zeros(found.shape)
        for place in range(windows.shape[1]):
            # Beyond a recording's ends its first and last rows are taken to go on.
            rows = np.clip(found + place - context, self._firsts[take], self._ends[take] - 1)
            squares += np.square(self.values[rows] - windows[:, place, None]).sum(axis=-1)
        return np.sqrt(squares)

    def _staying(
        self, windows: NDArray[np.float32], best: NDArray[np.int64], distance: NDArray[np.float64], stay: float
    ) -> NDArray[np.int64]:
        chosen = best.copy()
        ends = set(self._ends.tolist())
        for row in range(1, len(windows)):
            after = int(chosen[row - 1]) + 1
            if after in ends:
                continue
            if self._distance(windows[row : row + 1], np.array([[after]]))[0, 0] <= (1 + stay) * distance[row]:
                chosen[row] = after
        return chosen

    def grains(self, rows: NDArray[np.int64], late: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Return the sound of rows of the bank: (F, samples of two frames), around the middle of each row's window.

        ``late`` are samples by which each is read later, 0 for None. Outside a recording is silence.
        """
        out = np.zeros((len(rows), self._grain_length), np.float32)
        for grain, row in enumerate(rows.tolist()):
            out[grain] = self._read(row, 0 if late is None else int(late[grain]), self._grain_length)
        return out

    def _read(self, row: int, late: int, length: int) -> NDArray[np.float32]:
        take = int(np.searchsorted(self._ends, row, side="right"))
        early = Fraction(self.window_frames - GRAIN_FRAMES, 2)
        first = round((row - int(self._firsts[take]) + early) * self.sample_rate / self.frame_rate) + late
        samples = np.asarray(self._takes[take].sound[max(first, 0) : max(first + length, 0)])
        out = np.zeros(length, np.float32)
        at = max(-first, 0)
        out[at : at + len(samples)] = samples
        if samples.dtype.kind == "i":
            out /= _PCM_16_SCALE
        return out

    def _alignment(self, rows: NDArray[np.int64], align_s: float) -> NDArray[np.int64]:
        """Return by how many samples to read each grain later, so that its waves meet those of the grain before.

        Of all within ``align_s`` the place where the two halves that overlap are most alike; a grain that follows the
        one before in its recording stays with it.
        """
        reach = round(align_s * self.sample_rate)
        late = np.zeros(len(rows), np.int64)
        half = self._grain_length // 2
        ends = set(self._ends.tolist())
        for grain in range(1, len(rows)):
            row, before = int(rows[grain]), int(rows[grain - 1])
            if row == before + 1 and row not in ends:
                late[grain] = late[grain - 1]
                continue
            tail = self._read(before, int(late[grain - 1]), self._grain_length)[half:]
            around = self._read(row, -reach, len(tail) + 2 * reach).astype(np.float64)
            alike = scipy.signal.correlate(around, tail, "valid", method="fft")
            # Alike in shape, and not merely loud.
            loud = np.cumsum(np.square(np.append(0.0, around)))
            loud = np.sqrt(np.maximum(loud[len(tail) :] - loud[: -len(tail)], 1e-12))
            if alike.max() > 1e-9:
                late[grain] = int((alike / loud).argmax()) - reach
        return late

    def render(
        self,
        values: NDArray[np.floating],
        *,
        context: int = 0,
        n_candidates: int = 32,
        stay: float = 0.0,
        align_s: float = 0.0015,
    ) -> NDArray[np.float32]:
        """Return the sound of note amplitudes (F, N): their nearest grains, half overlapped under Hann windows.

        Args:
            values: as in `nearest`, as are ``context``, ``n_candidates`` and ``stay``.
            context: see there.
            n_candidates: see there.
            stay: see there.
            align_s: a grain may be read so much earlier or later, to where it is most alike to the grain before:
                tones of the two add up, and do not cancel. Half a period of the lowest note is enough (1.4 ms of
                the marimba's F sharp 4); 0 is off.

        Returns:
            (T,) samples, T = round((F + window_frames - 1) * sample_rate / frame_rate), as `render_additive`.

        Raises:
            ValueError: the amplitudes have other notes than the bank, or are not numbers.

        Source:
            The marimba project's nearest-neighbour synthesis, which it describes in a sentence after Owens et al. 2016.
        """
        chosen = self.nearest(values, context=context, n_candidates=n_candidates, stay=stay)
        n_samples = round((len(chosen) + self.window_frames - 1) * self.sample_rate / self.frame_rate)
        if not len(chosen):
            return np.zeros(0, np.float32)
        late = self._alignment(chosen, align_s) if align_s else np.zeros(len(chosen), np.int64)
        audio = np.zeros(n_samples, np.float32)
        early = Fraction(self.window_frames - GRAIN_FRAMES, 2) - 1
        for start in range(0, len(chosen), BLOCK_GRAINS):
            grains = self.grains(chosen[start : start + BLOCK_GRAINS], late[start : start + BLOCK_GRAINS])
            # A silent grain before and after: the first fades in, the last out, and blocks meet under two windows.
            sound = join_windowed(
                np.pad(grains, ((1, 1), (0, 0))),
                sample_rate=self.sample_rate,
                frame_rate=self.frame_rate,
                lead=Fraction(0),
            )
            first = round((start + early) * self.sample_rate / self.frame_rate)
            skipped = max(-first, 0)
            into = audio[first + skipped : first + len(sound)]
            into += sound[skipped : skipped + len(into)]
        return audio
