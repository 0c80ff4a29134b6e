"""Views: what one camera of one captured take saw, on the clock of the take's master.

Shapes: P pictures, H rows and W columns of a picture, F windows of three frames, n notes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasks.errors import DamagedData, ParamsError
from tasks.store.arrays import Arrays, StoredArray
from tasks.store.segments import ScoreSet

PCM_SCALE = 32767.0


@dataclass(frozen=True, kw_only=True)
class View:
    """One camera of one take.

    Attributes:
        take: its name.
        camera: the device, ``cam_top``.
        piece: of the take.
        part: of the split.
    """

    take: str
    camera: str
    piece: str
    part: str

    @property
    def name(self) -> str:
        """The view's name among films: ``TAKE/CAMERA``."""
        return f"{self.take}/{self.camera}"


class ViewSet:
    """The cameras of the takes in ``data/chunked/captures``.

    Args:
        folder: the data set.
        instrument: only takes of it; None takes any.
        cameras: regular expression that a camera's whole name matches.

    Raises:
        DamagedData: the index is missing or damaged.
        ParamsError: ``cameras`` is no regular expression.
    """

    def __init__(self, folder: Path, *, instrument: str | None = None, cameras: str = ".*") -> None:
        self.folder = folder
        self._takes = ScoreSet(folder)
        self._instrument = instrument
        self._opened: dict[str, Arrays] = {}
        try:
            self._cameras = re.compile(cameras)
        except re.error as error:
            raise ParamsError(f"cameras is {cameras!r}, expected a regular expression: {error}") from None

    def only(self, *, instrument: str | None = None, cameras: str = ".*") -> "ViewSet":
        """Return the views of one instrument and of some cameras; arguments and errors are those of the class."""
        return ViewSet(self.folder, instrument=instrument, cameras=cameras)

    def takes(self, part: str) -> list[str]:
        """Return the names of a part's takes that have a view, sorted."""
        return sorted({view.take for view in self.views(part)})

    def views(self, part: str) -> list[View]:
        """Return the views of a part, by take and camera."""
        return [
            View(take=take, camera=camera, piece=self._takes.piece(take), part=part)
            for take in self._takes.takes(part)
            if self._instrument in (None, self.open(take).attributes["instrument"])
            for camera in sorted(self.open(take).attributes["cameras"])
            if self._cameras.fullmatch(camera)
        ]

    def view(self, take: str, camera: str) -> View:
        """Return one view by name.

        Raises:
            DamagedData: the take is unknown, or no such camera of it is on the master's clock.
        """
        if camera not in self.open(take).attributes["cameras"]:
            raise DamagedData(f"{self.folder}: take {take} has no camera {camera}")
        return View(take=take, camera=camera, piece=self._takes.piece(take), part=self._takes.part(take))

    def open(self, take: str) -> Arrays:
        """Open a take's arrays.

        Raises:
            DamagedData: the take is unknown, or its arrays are missing or damaged.
        """
        if take not in self._opened:
            self._opened[take] = self._takes.open(take)
        return self._opened[take]

    def pictures(self, view: View) -> StoredArray:
        """Return a view's luma (P, H, W) uint8, read when it is sliced."""
        return self.open(view.take)[f"pictures_{view.camera}"]

    def time_s(self, view: View) -> NDArray[np.float64]:
        """Return when each picture comes up, in s on the master's clock (P,); before 0 where the camera began first."""
        times: NDArray[np.float64] = self.open(view.take)[f"time_s_{view.camera}"][:]
        return times

    def keyboard(self, view: View) -> dict[str, NDArray[Any]] | None:
        """Return what a view shows of a piano's keys, by array of `tasks.keyboards.stored`; None without a keyboard."""
        arrays = self.open(view.take)
        start = keyboard_array(view.camera, "")
        stored = {name.removeprefix(start): arrays[name][:] for name in arrays if name.startswith(start)}
        return stored or None

    def amplitudes(self, take: str) -> NDArray[np.float32]:
        """Return a take's note amplitudes (F, n); row k covers frames k to k + 2."""
        amplitudes: NDArray[np.float32] = self.open(take)["amplitudes"][:]
        return amplitudes

    def notes(self, take: str) -> dict[str, NDArray[np.float64]] | None:
        """Return onset_s, offset_s, pitch and velocity of what was recorded with a take; None without MIDI."""
        arrays = self.open(take)
        if "notes" not in arrays:
            return None
        columns = arrays["notes"][:].T
        return dict(zip(("onset_s", "offset_s", "pitch", "velocity"), columns, strict=True))

    def sound(self, take: str) -> tuple[NDArray[np.float32], int]:
        """Return the master's mono sound in [-1, 1] and its rate in Hz."""
        arrays = self.open(take)
        return arrays["sound"][:].astype(np.float32) / np.float32(PCM_SCALE), int(arrays.attributes["sound_rate"])

    def duration_s(self, take: str) -> float:
        """Return how long a take is on its master's clock."""
        return self._takes.duration_s(take)

    @property
    def pitches(self) -> tuple[int, ...]:
        """The notes of the instrument, as MIDI numbers; those of the takes for training and validation.

        Raises:
            DamagedData: there is no take with a view, or two takes have other notes.
        """
        return tuple(int(pitch) for pitch in self._shared("pitches"))

    @property
    def frame_rate(self) -> Fraction:
        """The rate of the amplitudes' frames, in Hz; raises as `pitches` does."""
        return Fraction(self._shared("frame_rate"))

    @property
    def instrument(self) -> str:
        """The name of what is played; raises as `pitches` does."""
        return str(self._shared("instrument"))

    @property
    def margins(self) -> tuple[float, float]:
        """Shares of width and height that are free beside the instrument; raises as `pitches` does."""
        across, down = self._shared("camera_margins")
        return float(across), float(down)

    def _shared(self, name: str) -> Any:
        takes = self.takes("train") + self.takes("validation") or self.takes("test")
        if not takes:
            raise DamagedData(f"{self.folder} has no view of instrument {self._instrument or 'any'}")
        values = {take: self.open(take).attributes[name] for take in takes}
        first = values[takes[0]]
        for take, value in values.items():
            if value != first:
                raise DamagedData(f"{self.folder}: take {take} has {name} {value}, expected {first} as {takes[0]}")
        return first


def keyboard_array(camera: str, name: str) -> str:
    """Return what an array of a camera's keyboard is called; no other array's name begins so, whatever the camera's."""
    return f"keyboard.{camera}.{name}"


def pictures_at(time_s: ArrayLike, moments_s: ArrayLike) -> NDArray[np.int64]:
    """Return which picture is shown at each moment: the last that came up by then, the first one before that.

    Args:
        time_s: when each picture comes up (P,), rising.
        moments_s: any shape, on the same clock.

    Raises:
        ValueError: there is no picture.
    """
    times = np.asarray(time_s, np.float64)
    if not len(times):
        raise ValueError("there is no picture, expected at least one")
    # A picture is meant to come up at a grid's moment: a rounding error must not hide it.
    shown = np.searchsorted(times, np.asarray(moments_s, np.float64) + 1e-6, side="right") - 1
    return np.asarray(np.maximum(shown, 0), np.int64)


def pictures_of_frames(time_s: ArrayLike, *, n_frames: int, frame_rate: Fraction) -> NDArray[np.int64]:
    """Return the picture that is shown at each frame of the master's clock, (n_frames,) indices.

    Those of frames k, k + 1 and k + 2 are the space-time stack of window k, as the amplitudes' windows cover them.
    """
    return pictures_at(time_s, [float(frame / frame_rate) for frame in range(n_frames)])


def check_disjoint_views(parts: Sequence[Sequence[View]]) -> None:
    """Refuse parts that share a take or a piece.

    Raises:
        DamagedData: names it.
    """
    for number, part in enumerate(parts):
        for other in parts[number + 1 :]:
            shared = {view.take for view in part} & {view.take for view in other}
            shared |= {view.piece for view in part} & {view.piece for view in other}
            if shared:
                raise DamagedData(f"{sorted(shared)[0]} is in two parts of the split, expected one")
