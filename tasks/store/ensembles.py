"""Ensembles: several players, each with a sound and a video, and their mix.

A folder of ensembles holds ``TAKE/arrays.zarr`` for each take, ``takes.json`` and ``segments.parquet`` as one of
scores does. Players are numbered from 1 in the arrays' names (``stem_1``), and stand in that order here.

Shapes: K players, C channels, n samples, T pictures, H rows and W columns of a picture, F motion features.
"""

from collections.abc import Collection, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tasks.errors import DamagedData
from tasks.store.arrays import Arrays
from tasks.store.segments import ScoreSet, Segment
from tasks.takes import PARTS

PCM_SCALE = 32768.0  # 16 bits: the steps of a recorder's file, so that a mix stays the sum of its stems
N_PITCHES = 128
PICTURE_SIZE = 48  # rows and columns

Number = TypeVar("Number", bound=np.generic)


class EnsembleSet:
    """The takes of ``data/chunked/ensembles``: their names, split, segments, sounds and videos.

    Args:
        folder: the data set.
        instruments: only takes whose players all play one of these; None takes any. The name of a stem may be no
            instrument of an orchestra (``drums``).

    Attributes:
        folder: the data set.
        sample_rate: of all stems and mixes, in Hz.
        n_channels: of them.
        frame_rate: of motion, pictures and rolls, which begin at 0.0.
        n_motion: F.

    Raises:
        DamagedData: the index is missing or damaged, parts of the split share a piece or a segment, takes are stored
            at different rates, or there is no take.
    """

    def __init__(self, folder: Path, *, instruments: Collection[str] | None = None) -> None:
        self.folder = folder
        self._takes = ScoreSet(folder)
        self._opened: dict[str, Arrays] = {}
        self._kept = {
            take
            for part in PARTS
            for take in self._takes.takes(part)
            if instruments is None or set(self.instruments(take)) <= set(instruments)
        }
        self.sample_rate = int(self._shared("stem_rate"))
        self.n_channels = int(self._shared("n_channels"))
        self.frame_rate = Fraction(self._shared("frame_rate"))
        self.n_motion = int(self._shared("n_motion"))

    def takes(self, part: str) -> list[str]:
        """Return the names of a part's takes, sorted."""
        return [take for take in self._takes.takes(part) if take in self._kept]

    def piece(self, take: str) -> str:
        """Return the piece of a take.

        Raises:
            DamagedData: the index does not know the take.
        """
        return self._takes.piece(take)

    def instruments(self, take: str) -> tuple[str, ...]:
        """Return a code a player, in the players' order: two of one instrument are two."""
        return tuple(self._open(take).attributes["instruments"])

    def duration_s(self, take: str) -> float:
        """Return how long a take is on its mix's clock."""
        return self._takes.duration_s(take)

    def segments(self, part: str) -> list[Segment]:
        """Return a part's segments in order of take and time, counted in samples of the stems."""
        return [row for row in self._takes.segments(part) if row.take in self._kept]

    def stems(self, take: str) -> NDArray[np.float32]:
        """Return the sound of each player (K, C, n), in [-1, 1]."""
        arrays = self._open(take)
        return np.stack([_sound(arrays[f"stem_{number}"][:]) for number in self._numbers(take)])

    def mix(self, take: str) -> NDArray[np.float32]:
        """Return the sound of all players together (C, n), in [-1, 1]."""
        return _sound(self._open(take)["mix"][:])

    def motion(self, take: str) -> NDArray[np.float32]:
        """Return the motion features of each player's video (K, T, F); zeros for a player without one."""
        return self._of_players(take, "motion", (self.n_motion,), np.float32)

    def pictures(self, take: str) -> NDArray[np.uint8]:
        """Return each player's video (K, T, H, W) as luma; zeros for a player without one."""
        return self._of_players(take, "pictures", (PICTURE_SIZE, PICTURE_SIZE), np.uint8)

    def has_video(self, take: str) -> tuple[bool, ...]:
        """Return for each player whether they have a video."""
        arrays = self._open(take)
        return tuple(f"pictures_{number}" in arrays for number in self._numbers(take))

    def notes(self, take: str) -> tuple[NDArray[np.float64] | None, ...]:
        """Return each player's notes (M, 4): onset and offset in s, pitch, velocity; None where they are not known."""
        arrays = self._open(take)
        names = [f"notes_{number}" for number in self._numbers(take)]
        return tuple(arrays[name][:] if name in arrays else None for name in names)

    def rolls(self, take: str) -> NDArray[np.uint8]:
        """Return the velocity of the notes that sound in each picture's time (K, T, 128); zeros without notes."""
        n_frames = int(self._open(take).attributes["n_frames"])
        rolls = [note_roll(notes, n_frames=n_frames, frame_rate=self.frame_rate) for notes in self.notes(take)]
        return np.stack(rolls)

    def _of_players(self, take: str, name: str, shape: tuple[int, ...], dtype: type[Number]) -> NDArray[Number]:
        arrays = self._open(take)
        numbers = self._numbers(take)
        found: NDArray[Number] = np.zeros((len(numbers), int(arrays.attributes["n_frames"]), *shape), dtype)
        for at, number in enumerate(numbers):
            if f"{name}_{number}" in arrays:
                found[at] = arrays[f"{name}_{number}"][:]
        return found

    def _numbers(self, take: str) -> range:
        return range(1, len(self.instruments(take)) + 1)

    def _open(self, take: str) -> Arrays:
        if take not in self._opened:
            self._opened[take] = self._takes.open(take)
        return self._opened[take]

    def _shared(self, name: str) -> Any:
        takes = [take for part in PARTS for take in self.takes(part)]
        if not takes:
            raise DamagedData(f"{self.folder} has no ensembles, expected takes of several players")
        first = self._open(takes[0]).attributes[name]
        for take in takes:
            value = self._open(take).attributes[name]
            if value != first:
                raise DamagedData(f"{self.folder}: take {take} has {name} {value}, expected {first} as {takes[0]}")
        return first


def note_roll(notes: NDArray[np.float64] | None, *, n_frames: int, frame_rate: Fraction) -> NDArray[np.uint8]:
    """Draw notes over time.

    Args:
        notes: (M, 4) onset_s, offset_s, pitch, velocity; None where they are not known.
        n_frames: of the roll.
        frame_rate: of the roll, in Hz.

    Returns:
        (n_frames, 128): the velocity of the note of that pitch that sounds while the frame is shown, of the louder one
        where there are two; 0 where none does.
    """
    roll = np.zeros((n_frames, N_PITCHES), np.uint8)
    rate = float(frame_rate)
    for onset_s, offset_s, pitch, velocity in notes if notes is not None else ():
        # A note that is written to begin with a frame does so, whatever the last bit of its time is.
        first, end = int(np.floor(onset_s * rate + 1e-6)), int(np.ceil(offset_s * rate - 1e-6))
        frames = roll[max(first, 0) : max(end, first + 1, 0), int(pitch)]
        np.maximum(frames, np.uint8(np.clip(velocity, 1, 127)), out=frames)
    return roll


def slots(values: NDArray[Number], instruments: Sequence[str], order: Sequence[str]) -> NDArray[Number]:
    """Return a row for each instrument from a row for each player: those of one instrument are summed.

    Args:
        values: (K, ...), sounds or anything else that can be summed.
        instruments: a code a player.
        order: the instruments' codes, a slot each.

    Returns:
        (slots, ...), zeros for an instrument that no player has.

    Raises:
        ValueError: an instrument has no slot, or there is not one code a row.
    """
    if len(values) != len(instruments):
        raise ValueError(f"{len(values)} rows of {len(instruments)} players, expected one a player")
    slotted = np.zeros((len(order), *values.shape[1:]), values.dtype)
    for value, instrument in zip(values, instruments, strict=True):
        if instrument not in order:
            raise ValueError(f"instrument {instrument!r} has no slot, expected one of {', '.join(order)}")
        slotted[list(order).index(instrument)] += value
    return slotted


def _sound(pcm: NDArray[np.int16]) -> NDArray[np.float32]:
    return pcm.astype(np.float32) / np.float32(PCM_SCALE)
