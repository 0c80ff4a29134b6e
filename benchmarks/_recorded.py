"""What lies between an instrument and a file: room, distance, microphone, noise, gain, codec.

Every number is drawn from a generator; the same generator gives the same recording.
"""

import io

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import fftconvolve

Rng = np.random.Generator
SPEED_M_S = 343.0


def in_a_room(rng: Rng, audio: NDArray[np.float32], sample_rate: int, *, driest: bool = False) -> NDArray[np.float32]:
    """Return sound as a microphone in a room hears it: direct sound at its own time, early reflections, a tail.

    Args:
        rng: draws decay time (0.2 to 1.6 s, less in the treble), direct-to-reverberant ratio (-6 to 18 dB) and
            reflections.
        audio: (n,) samples.
        sample_rate: of the audio, Hz.
        driest: nearly no room.
    """
    response = room_response(rng, sample_rate)
    if driest:
        response[1:] *= np.float32(0.05)
    heard: NDArray[np.float32] = fftconvolve(audio, response)[: len(audio)].astype(np.float32)
    return heard


def room_response(rng: Rng, sample_rate: int) -> NDArray[np.float32]:
    """Draw an impulse response whose first sample is the direct sound, 1."""
    decay_s = float(np.exp(rng.uniform(np.log(0.2), np.log(1.6))))
    direct_db = rng.uniform(-6, 18)
    n = round(1.2 * decay_s * sample_rate)
    time_s = np.arange(n) / sample_rate
    tail = np.zeros(n)
    edges_hz = np.array([0.0, 250.0, 1000.0, 4000.0, np.inf])
    hz = np.fft.rfftfreq(n, 1 / sample_rate)
    for low_hz, high_hz, longer in zip(
        edges_hz[:-1], edges_hz[1:], rng.uniform((0.8, 0.9, 0.7, 0.4), (1.5, 1.1, 1.0, 0.8)), strict=True
    ):
        noise = np.fft.irfft(np.fft.rfft(rng.normal(size=n)) * ((hz >= low_hz) & (hz < high_hz)), n)
        tail += noise * 10 ** (-3 * time_s / (decay_s * longer))
    first = rng.uniform(0.005, 0.03)  # nothing comes before the first reflection
    tail *= np.clip((time_s - first) / 0.02, 0, 1)
    early = np.zeros(n)
    for _ in range(rng.integers(4, 16)):
        delay_s = rng.uniform(0.002, 0.06)
        at = round(delay_s * sample_rate)
        if at < n:
            early[at] += rng.choice([-1, 1]) * rng.uniform(0.2, 1.0) * 0.01 / (0.01 + delay_s)
    tail /= np.sqrt((tail**2).sum())
    early *= np.sqrt(rng.uniform(0.2, 2.0) / max(float((early**2).sum()), 1e-12))
    late = tail + early
    late *= 10 ** (-direct_db / 20) / np.sqrt((late**2).sum())
    late[0] += 1.0
    response: NDArray[np.float32] = late.astype(np.float32)
    return response


def through_a_microphone(rng: Rng, audio: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """Return sound with an uneven response, hiss, hum at times, slow changes of gain, at times a lossy codec."""
    spectrum = np.fft.rfft(audio)
    hz = np.fft.rfftfreq(len(audio), 1 / sample_rate)
    points = np.log(np.array([20, 60, 150, 400, 1000, 2500, 6000, 24000]))
    gain_db = np.interp(np.log(np.maximum(hz, 20)), points, rng.normal(0, 3.0, len(points)))
    gain_db -= 12 * np.log2(1 + (rng.uniform(10, 70) / np.maximum(hz, 1)) ** 2)  # small microphones have no bass
    sound: NDArray[np.float64] = np.fft.irfft(spectrum * 10 ** (gain_db / 20), len(audio))
    sound /= max(float(np.abs(sound).max()), 1e-9)
    if rng.random() < 0.3:
        sound = _levelled(rng, sound, sample_rate)
    loudest_db = 15 if rng.random() < 0.1 else 35
    noise = np.fft.rfft(rng.normal(size=len(sound)))
    noise *= np.minimum((hz / 200 + 0.05) ** (-rng.uniform(0, 1.0)), 30)  # rooms are louder in the bass
    hiss = np.fft.irfft(noise, len(sound))
    sound += hiss / hiss.std() * 10 ** (-rng.uniform(loudest_db, 85) / 20)
    if rng.random() < 0.1:
        time_s = np.arange(len(sound)) / sample_rate
        mains_hz = rng.choice([50, 60])
        for n in range(1, 5):
            sound += 10 ** (-rng.uniform(45, 80) / 20) * np.sin(2 * np.pi * n * mains_hz * time_s + rng.uniform(0, 6))
    heard = (sound * (0.5 / max(float(np.abs(sound).max()), 1e-9))).astype(np.float32)
    return _coded(heard, sample_rate) if rng.random() < 0.15 else heard


def _levelled(rng: Rng, sound: NDArray[np.float64], sample_rate: int) -> NDArray[np.float64]:
    """Return sound through an automatic gain: quickly down, slowly up."""
    hop = round(0.02 * sample_rate)
    n = -(-len(sound) // hop)
    level = np.sqrt((np.pad(sound, (0, n * hop - len(sound))).reshape(n, hop) ** 2).mean(axis=1))
    slow_up = np.exp(-0.02 / rng.uniform(0.5, 3.0))
    followed = np.empty(n)
    last = float(level.max())
    for k, here in enumerate(level):
        last = max(float(here), last * slow_up)
        followed[k] = last
    strength = rng.uniform(0.2, 0.7)
    gain = (np.maximum(followed, 1e-3)) ** -strength
    levelled: NDArray[np.float64] = sound * np.interp(np.arange(len(sound)) / hop, np.arange(n) + 0.5, gain)
    return levelled / max(float(np.abs(levelled).max()), 1e-9)


def _coded(sound: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """Return sound after Vorbis at a low rate."""
    file = io.BytesIO()
    soundfile.write(file, sound, sample_rate, format="OGG", subtype="VORBIS", compression_level=0.9)
    file.seek(0)
    decoded = np.zeros(len(sound), np.float32)
    found = soundfile.read(file, dtype="float32")[0][: len(sound)]
    decoded[: len(found)] = found
    return decoded
