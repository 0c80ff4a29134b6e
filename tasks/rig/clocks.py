"""Clocks of made-up devices: when in the world each of a device's moments is.

World time is the score's: what is played at 2.5 s happens at 2.5 s. This module does not depend on how
clocks are estimated, so that the truth it gives stands on its own.
"""

from dataclasses import replace
from typing import Annotated, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from tasks.instruments.notes import Notes
from tasks.params import Section

_MAX_ITERATIONS = 50

# 198 microphones of 20 dinners of about 2.5 hours each (Barker et al., CHiME-6 challenge, 2020; the edits that its
# synchronization publishes): quantiles of the drift's size, the one outlier, and how many lost or repeated blocks.
_FIELD_DRIFT = ((0.0, 0.5, 0.95, 1.0), (0.0, 7.7, 20.0, 30.0))  # part of the devices, ppm
_FIELD_OUTLIER, _FIELD_OUTLIER_PPM = 1 / 198, -872.0
_FIELD_LOSSY = 115 / 198
_FIELD_LOSSES_A_HOUR = 2347 / 115 / 2.5
_FIELD_LOST_S = (0.005, 0.1)
_FIELD_REPEATED = 0.2  # of the blocks; how many they are is not published, so this is a guess
_FIELD_APART_S = 2.0


class Wander(Section):
    """A clock that runs now ahead, now behind, as a sine: the world's time moves by up to ``amplitude_s``.

    Attributes:
        amplitude_s: largest lead and lag.
        period_s: of the sine, which is 0 at the device's time 0; so long that time never runs backwards.
    """

    amplitude_s: Annotated[float, Field(ge=0, le=1)]
    period_s: Annotated[float, Field(gt=0)]


class Drop(Section):
    """A block of the world that the device did not record, or recorded twice; its own time goes on as if nothing was.

    Attributes:
        at_s: the device's time at which the block is missing, or begins a second time.
        length_s: of the world's time; negative for a block that was recorded twice.
    """

    at_s: Annotated[float, Field(gt=0)]
    length_s: float

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.length_s == 0:
            raise ValueError("a block of length 0 is none")
        return self


class DeviceClock(Section):
    """A device's clock. Its time t is the world's ``start_s + (1 + drift) t + wander(t) + what was dropped before t``.

    A block that was recorded twice counts as dropped with a negative length.

    Attributes:
        start_s: the world's time at the device's time 0; may be negative.
        drift_ppm: parts in a million by which the world's time passes faster than the device's.
        wander: a slow swing around that, or None.
        dropped: blocks the device lost, in order of time.
    """

    start_s: float
    drift_ppm: Annotated[float, Field(ge=-10_000, le=10_000)]
    wander: Wander | None
    dropped: tuple[Drop, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(later.at_s <= earlier.at_s for earlier, later in zip(self.dropped[:-1], self.dropped[1:], strict=True)):
            raise ValueError("dropped blocks are not in order of time")
        if self.wander and 2 * np.pi * self.wander.amplitude_s / self.wander.period_s > 0.1:
            raise ValueError(f"a wander of {self.wander.amplitude_s} s in {self.wander.period_s} s is no clock's")
        return self

    def to_world(self, device_s: ArrayLike) -> NDArray[np.float64]:
        """Return the world's time at moments of the device's; at the moment of a drop, the time after it."""
        device = np.asarray(device_s, np.float64)
        lost = np.cumsum([0.0, *(drop.length_s for drop in self.dropped)])
        n_before = np.searchsorted([drop.at_s for drop in self.dropped], device, side="right")
        return np.asarray(self._smooth(device) + lost[n_before])

    def to_device(self, world_s: ArrayLike) -> NDArray[np.float64]:
        """Return the device's time at moments of the world's; all of a dropped block is the moment of its drop.

        Of a block that was recorded twice it is the time of the first recording.
        """
        world = np.asarray(world_s, np.float64)
        if not self.dropped:
            return self._smooth_inverse(world)
        at = np.array([drop.at_s for drop in self.dropped])
        lost = np.cumsum([0.0, *(drop.length_s for drop in self.dropped)])
        begins = self._smooth(at) + lost[:-1]  # of the dropped blocks, in the world
        n_begun = np.searchsorted(begins, world, side="right")
        device = self._smooth_inverse(world - lost[n_begun])
        earliest = np.append(-np.inf, at)[n_begun]
        return np.asarray(np.maximum(device, earliest))

    def duration_until(self, world_s: float) -> float:
        """Return how long the device has recorded at a moment of the world, by its own clock, in whole milliseconds."""
        return int(float(self.to_device([world_s])[0]) * 1000) / 1000

    def _smooth(self, device: NDArray[np.float64]) -> NDArray[np.float64]:
        world = self.start_s + device * (1 + self.drift_ppm * 1e-6)
        if self.wander:
            world = world + self.wander.amplitude_s * np.sin(2 * np.pi * device / self.wander.period_s)
        return np.asarray(world)

    def _smooth_inverse(self, world: NDArray[np.float64]) -> NDArray[np.float64]:
        rate = 1 + self.drift_ppm * 1e-6
        device = (world - self.start_s) / rate
        if not self.wander:
            return np.asarray(device)
        for _ in range(_MAX_ITERATIONS):  # each step leaves at most a ninth of the error
            step = (world - self._smooth(device)) / rate
            device = device + step
            if np.abs(step).max(initial=0.0) < 1e-12:
                break
        return np.asarray(device)


def field_clock(rng: np.random.Generator, *, start_s: float, duration_s: float) -> DeviceClock:
    """Draw a clock as those of real microphones are: a small drift, and blocks that were lost or recorded twice.

    Args:
        rng: of the draw.
        start_s: the world's time at the device's time 0.
        duration_s: of the recording, over which the blocks are spread evenly, at least 2 s apart.

    Source:
        The statistics of CHiME-6's 198 microphones; a block's length is log-uniform from 5 to 100 ms.
    """
    drift_ppm = float(rng.choice([-1, 1]) * np.interp(rng.random(), *_FIELD_DRIFT))
    if rng.random() < _FIELD_OUTLIER:
        drift_ppm = _FIELD_OUTLIER_PPM
    count = int(rng.poisson(_FIELD_LOSSES_A_HOUR * duration_s / 3600)) if rng.random() < _FIELD_LOSSY else 0
    at_s = np.sort(rng.uniform(_FIELD_APART_S, max(duration_s - _FIELD_APART_S, _FIELD_APART_S), count))
    at_s = at_s[np.diff(at_s, prepend=0.0) >= _FIELD_APART_S]
    shortest_s, longest_s = _FIELD_LOST_S
    length_s = np.exp(rng.uniform(np.log(shortest_s), np.log(longest_s), len(at_s)))
    length_s *= np.where(rng.random(len(at_s)) < _FIELD_REPEATED, -1, 1)
    dropped = tuple(Drop(at_s=float(at), length_s=float(length)) for at, length in zip(at_s, length_s, strict=True))
    return DeviceClock(start_s=start_s, drift_ppm=drift_ppm, wander=None, dropped=dropped)


def notes_on_clock(notes: Notes, clock: DeviceClock) -> Notes:
    """Return notes in the world's time as a device has them, in its own time."""
    return replace(
        notes,
        onset_s=clock.to_device(notes.onset_s),
        offset_s=clock.to_device(notes.offset_s),
        sounding_offset_s=clock.to_device(notes.sounding_offset_s),
    )
