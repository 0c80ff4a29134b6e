"""The sound that a device of a rig records: through the room, on the device's own clock."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tasks.rig.clocks import DeviceClock
from tasks.rig.microphone import record, room_response
from tasks.rig.rigs import SoundDevice, Surroundings


def record_sound(
    dry: NDArray[np.float32],
    sample_rate: int,
    device: SoundDevice,
    surroundings: Surroundings,
    *,
    position_cm: tuple[float, float, float],
    clock: DeviceClock,
    duration_s: float,
    is_silent: bool = False,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], float]:
    """Return what a device records (n,), and the sound's time of flight to it in s.

    Args:
        dry: (n,) the sound at its source, from the world's time 0.
        sample_rate: Hz, of ``dry``.
        device: the microphone.
        surroundings: the room.
        position_cm: the microphone's place, from the middle of the instrument.
        clock: the device's.
        duration_s: of the recording, by that clock.
        is_silent: whether the device records nothing but its noise.
        rng: of the noise.
    """
    room = room_response(surroundings.room(position_cm), sample_rate=sample_rate)
    # ``record`` takes the time of flight out; in a room it is there.
    with_flight = replace(room, direct_s=room.direct_s - room.acoustic_delay_s)
    audio = record(
        np.zeros_like(dry) if is_silent else dry,
        sample_rate,
        duration_s=duration_s,
        clock=clock,
        room=with_flight,
        response=device.response,
        gain_control=device.gain_control,
        noise_db=device.noise_db,
        rate=device.sample_rate,
        rng=rng,
    )
    return audio, room.acoustic_delay_s
