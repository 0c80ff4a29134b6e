"""A made-up microphone: what a device with its own clock, room, response, gain control and noise records.

The truth that goes with a recording is that of the direct path with its time of flight taken out, so that a
device's clock is exactly its ``DeviceClock``; the time of flight stands apart, in `RoomResponse.acoustic_delay_s`.
For the same reason a response has no phase of its own unless it is requested.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pyroomacoustics
import scipy.signal
import soxr
from numpy.typing import NDArray
from pydantic import Field

from tasks.params import Section
from tasks.rig.clocks import DeviceClock

SPEED_OF_SOUND_M_S = 343.0

_OVERSAMPLING = 4  # of the sound that samples are read from between its own
_TAPS = np.arange(-2, 4)  # sixth-order Lagrange interpolation: exact to 0.1 % at 0.9 of the Nyquist frequency
_OTHERS = [np.delete(np.arange(len(_TAPS)), number) for number in range(len(_TAPS))]
_LAGRANGE = [np.float32(1 / np.prod(tap - _TAPS[others])) for tap, others in zip(_TAPS, _OTHERS, strict=True)]
_PART_LENGTH = 1 << 15  # samples read at a time
_RESPONSE_LENGTH = 2048  # taps of a device's response
_GAIN_STEP_S = 0.01
_QUIETEST = 1e-5  # level below which a gain control takes sound for silence

Audio = NDArray[np.float32]
Metres = tuple[float, float, float]


class Room(Section):
    """A rectangular room with one source and one microphone.

    Attributes:
        size_m: length, width and height.
        t60_s: time in which its sound falls by 60 dB, by Sabine's formula.
        source_m: where the instrument stands, from a corner.
        microphone_m: where the microphone stands.
        max_order: most reflections of one path; later sound is left out.
    """

    size_m: Metres
    t60_s: Annotated[float, Field(gt=0, le=5)]
    source_m: Metres
    microphone_m: Metres
    max_order: Annotated[int, Field(ge=0, le=60)]


@dataclass(frozen=True, kw_only=True)
class RoomResponse:
    """The sound of an impulse in a room.

    Attributes:
        impulse: (n,) samples; the direct path has its peak 1 at ``direct_s``.
        sample_rate: Hz.
        direct_s: where in ``impulse`` the direct path stands, not in general on a sample.
        acoustic_delay_s: time of flight of the direct path.
        direct_to_reverberant_db: energy of the direct path over that of the rest.
    """

    impulse: NDArray[np.float64]
    sample_rate: int
    direct_s: float
    acoustic_delay_s: float
    direct_to_reverberant_db: float


class Response(Section):
    """What a microphone and its electronics do to the spectrum.

    Attributes:
        low_hz: below it the sound falls by 12 dB an octave.
        high_hz: above it the sound falls by 24 dB an octave.
        bumps: (frequency in Hz, gain in dB, width in octaves) each.
        phase: ``zero`` moves nothing in time; ``minimum`` is what an analogue filter does, some microseconds
            that cannot be distinguished from a delay.
    """

    low_hz: Annotated[float, Field(gt=0)]
    high_hz: Annotated[float, Field(gt=0)]
    bumps: tuple[tuple[float, float, float], ...]
    phase: Literal["zero", "minimum"]


class GainControl(Section):
    """A device that turns itself up in soft passages and down in loud ones.

    Attributes:
        target_db: level that it wants, of full scale.
        max_gain_db: most that it turns up.
        attack_s: time constant of turning down.
        release_s: time constant of turning up.
    """

    target_db: Annotated[float, Field(le=0)]
    max_gain_db: Annotated[float, Field(ge=0)]
    attack_s: Annotated[float, Field(gt=0)]
    release_s: Annotated[float, Field(gt=0)]


def room_response(room: Room, *, sample_rate: int) -> RoomResponse:
    """Compute a room's response by the image-source method (pyroomacoustics).

    Raises:
        ValueError: the source or the microphone is outside, they coincide, or no wall absorbs enough for so
            short a reverberation.
    """
    source, microphone = np.array(room.source_m), np.array(room.microphone_m)
    for name, place in (("source", source), ("microphone", microphone)):
        if not ((place > 0) & (place < np.array(room.size_m))).all():
            raise ValueError(f"the {name} at {place.tolist()} m is not in a room of {room.size_m} m")
    distance_m = float(np.linalg.norm(source - microphone))
    if distance_m < 0.05:
        raise ValueError(f"source and microphone are {distance_m} m apart, expected at least 0.05 m")
    absorption, _ = pyroomacoustics.inverse_sabine(room.t60_s, room.size_m, c=SPEED_OF_SOUND_M_S)
    walls = pyroomacoustics.Material(absorption)
    shoebox = pyroomacoustics.ShoeBox(room.size_m, fs=sample_rate, materials=walls, max_order=room.max_order)
    shoebox.set_sound_speed(SPEED_OF_SOUND_M_S)
    shoebox.add_source(source)
    shoebox.add_microphone(microphone)
    shoebox.compute_rir()
    impulse = np.asarray(shoebox.rir[0][0], np.float64)
    flight_s = distance_m / SPEED_OF_SOUND_M_S
    # The package delays all by half of its fractional delay filter, and divides by 4 pi and the distance.
    direct_s = flight_s + pyroomacoustics.constants.get("frac_delay_length") // 2 / sample_rate
    impulse = impulse * distance_m
    direct_energy = 1.0  # of a band-limited impulse of peak 1
    rest = max(float((impulse**2).sum()) - direct_energy, 1e-12)
    return RoomResponse(
        impulse=impulse,
        sample_rate=sample_rate,
        direct_s=direct_s,
        acoustic_delay_s=flight_s,
        direct_to_reverberant_db=10 * math.log10(direct_energy / rest),
    )


def read_at(audio: Audio, sample_rate: int, time_s: NDArray[np.float64], *, rate: int) -> Audio:
    """Return a sound's values at any moments, as a device of nominal ``rate`` samples them: band-limited.

    Args:
        audio: (n,) samples, silent before and after.
        sample_rate: Hz, of ``audio``.
        time_s: (m,) moments, the first sample being at 0.
        rate: Hz; what is above half of it is taken out.
    """
    band = np.asarray(audio, np.float32)
    if rate < sample_rate:
        band = soxr.resample(band, sample_rate, rate, quality="VHQ")
        sample_rate = rate
    fine = soxr.resample(band, sample_rate, _OVERSAMPLING * sample_rate, quality="VHQ")
    margin = len(_TAPS)
    fine = np.pad(fine, margin)
    values = np.empty(len(time_s), np.float32)
    for first in range(0, len(time_s), _PART_LENGTH):
        position = time_s[first : first + _PART_LENGTH] * (_OVERSAMPLING * sample_rate) + margin
        position = np.clip(position, -_TAPS[0], len(fine) - 1 - _TAPS[-1])
        below = np.floor(position).astype(np.int64)
        away = (position - below).astype(np.float32) - _TAPS[:, None].astype(np.float32)  # (tap, sample)
        total = np.zeros(len(position), np.float32)
        for tap, scale, others in zip(_TAPS, _LAGRANGE, _OTHERS, strict=True):
            total += np.prod(away[others], axis=0) * scale * fine[below + tap]
        values[first : first + _PART_LENGTH] = total
    return values


def record(
    dry: Audio,
    sample_rate: int,
    *,
    duration_s: float,
    clock: DeviceClock,
    room: RoomResponse | None,
    response: Response | None,
    gain_control: GainControl | None,
    noise_db: float | None,
    rate: int,
    rng: np.random.Generator,
) -> Audio:
    """Record what happens in the world with one device.

    Args:
        dry: (n,) the world's sound at the source, from the world's time 0; silent before and after.
        sample_rate: Hz, of ``dry`` and of ``room``.
        duration_s: how long the device records, by its own clock.
        clock: when each of its samples is taken.
        room: between source and device; None is none.
        response: of the device; None is flat.
        gain_control: None is a fixed gain.
        noise_db: level of its noise over the recorded sound's own; None is none.
        rate: the device's nominal sample rate in Hz.
        rng: of the noise.

    Returns:
        ``round(duration_s * rate)`` samples, of peak 0.9 at most.

    Raises:
        ValueError: the room was computed for another sample rate.
    """
    device_s = np.arange(round(duration_s * rate)) / rate
    world_s = clock.to_world(device_s)
    sound = dry
    if room is not None:
        if room.sample_rate != sample_rate:
            raise ValueError(f"the room's response is at {room.sample_rate} Hz, the sound at {sample_rate} Hz")
        sound = scipy.signal.oaconvolve(dry, room.impulse.astype(np.float32))
        world_s = world_s + room.direct_s
    recorded = read_at(sound, sample_rate, world_s, rate=rate)
    if response is not None:
        recorded = _through(recorded, response, rate)
    if noise_db is not None:
        level = math.sqrt(float(np.mean(np.square(recorded, dtype=np.float64))))
        recorded = recorded + np.float32(level * 10 ** (noise_db / 20)) * _noise(len(recorded), rng)
    if gain_control is not None:
        recorded = recorded * _gains(recorded, gain_control, rate)
    peak = float(np.abs(recorded).max(initial=0.0))
    return np.asarray(recorded * np.float32(0.9 / peak) if peak > 0.9 else recorded, np.float32)


def _through(audio: Audio, response: Response, rate: int) -> Audio:
    """Apply a device's response."""
    frequency = np.fft.rfftfreq(_RESPONSE_LENGTH, 1 / rate)
    with np.errstate(divide="ignore"):
        magnitude = (
            1 / np.sqrt(1 + (response.low_hz / frequency) ** 4) / np.sqrt(1 + (frequency / response.high_hz) ** 8)
        )
        octaves = [np.log2(frequency / hz) for hz, _, _ in response.bumps]
    for away, (_, gain_db, width) in zip(octaves, response.bumps, strict=True):
        magnitude *= 10 ** (gain_db / 20 * np.exp(-0.5 * (away / (width / 2)) ** 2))
    if response.phase == "zero":
        taps = np.fft.fftshift(np.fft.irfft(magnitude)) * np.hanning(_RESPONSE_LENGTH + 1)[:-1]
        delay = _RESPONSE_LENGTH // 2
    else:
        # The minimum phase is the Hilbert transform of the log magnitude, made by folding the cepstrum.
        cepstrum = np.fft.irfft(np.log(np.maximum(magnitude, 1e-4)))
        fold = np.zeros(_RESPONSE_LENGTH)
        fold[[0, _RESPONSE_LENGTH // 2]], fold[1 : _RESPONSE_LENGTH // 2] = 1, 2
        taps = np.fft.irfft(np.exp(np.fft.rfft(cepstrum * fold)))
        delay = 0
    recorded: Audio = scipy.signal.oaconvolve(audio, taps.astype(np.float32))[delay : delay + len(audio)]
    return recorded


def _noise(n_samples: int, rng: np.random.Generator) -> Audio:
    """Return noise of level 1 that falls by 3 dB an octave, as rooms' and amplifiers' does, over a white floor."""
    white = rng.standard_normal(n_samples, dtype=np.float32)
    # Three poles and zeros that follow 1/f within 0.3 dB over three decades (P. Kellet's filter, economy form).
    pink = sum(
        (
            scipy.signal.lfilter([gain], [1, -pole], white)
            for pole, gain in ((0.99765, 0.0990460), (0.963, 0.2965164), (0.57, 1.0526913))
        ),
        start=0.1848 * white,
    )
    mixed = pink / pink.std() + 0.5 * rng.standard_normal(n_samples, dtype=np.float32)
    return np.asarray(mixed / max(float(mixed.std()), 1e-12), np.float32)


def _gains(audio: Audio, control: GainControl, rate: int) -> Audio:
    """Return a gain for each sample."""
    step = round(_GAIN_STEP_S * rate)
    n_steps = -(-len(audio) // step)
    blocks = np.pad(audio, (0, n_steps * step - len(audio))).reshape(n_steps, step)
    level_db = 20 * np.log10(np.sqrt(np.mean(np.square(blocks, dtype=np.float64), axis=1)) + _QUIETEST)
    wanted_db = np.minimum(control.target_db - level_db, control.max_gain_db)
    attack, release = (1 - math.exp(-_GAIN_STEP_S / time_s) for time_s in (control.attack_s, control.release_s))
    gain_db = np.empty(n_steps)
    now = float(np.median(wanted_db)) if n_steps else 0.0
    for number, wanted in enumerate(wanted_db):
        now += (attack if wanted < now else release) * (wanted - now)
        gain_db[number] = now
    middle = (np.arange(n_steps) + 0.5) * step
    return np.asarray(10 ** (np.interp(np.arange(len(audio)), middle, gain_db) / 20), np.float32)
