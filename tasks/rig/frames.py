"""When a camera takes its pictures, by its own clock."""

from fractions import Fraction

import numpy as np

_PHONE_TIME_BASE = Fraction(1, 90_000)
_JITTER = 0.12  # of a frame's time, standard deviation
_MOST_JITTER = 0.4
_LOST = 0.03  # share of pictures that a busy phone leaves out


def picture_times(duration_s: float, *, frame_rate: Fraction, rng: np.random.Generator | None) -> list[Fraction]:
    """Return the times of a camera's pictures in s, rising from 0.

    Args:
        duration_s: of the recording, by the device's clock.
        frame_rate: pictures a second, on average if the rate varies.
        rng: makes the rate vary as a phone's does: each picture comes a little early or late, and some never; None
            keeps the rate to the point.

    Raises:
        ValueError: there would be no picture, or the rate is not positive.
    """
    if frame_rate <= 0 or duration_s <= 0:
        raise ValueError(f"{duration_s} s at {frame_rate} pictures a second, expected both above 0")
    n_pictures = max(1, int(Fraction(duration_s) * frame_rate))
    if rng is None:
        return [number / frame_rate for number in range(n_pictures)]
    late = np.clip(rng.normal(0, _JITTER, n_pictures), -_MOST_JITTER, _MOST_JITTER)
    taken = rng.random(n_pictures) >= _LOST
    late[0], taken[0] = 0.0, True
    ticks_a_picture = float(1 / frame_rate / _PHONE_TIME_BASE)
    ticks = np.rint((np.arange(n_pictures) + late) * ticks_a_picture).astype(int)
    return [int(tick) * _PHONE_TIME_BASE for tick in ticks[taken]]


def time_base(frame_rate: Fraction, *, is_variable: bool) -> Fraction:
    """Return the unit in which a film's times are whole numbers."""
    return _PHONE_TIME_BASE if is_variable else Fraction(1, frame_rate.numerator)
