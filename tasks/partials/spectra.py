"""How strong each harmonic of an instrument's notes is: a table a source of sound, and the mean of several.

Shapes: P pitches of an instrument's range, H harmonics, B bins.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from tasks.errors import DamagedData
from tasks.features.note_spectrum import pitch_to_hz
from tasks.instruments.notes import Notes, sorted_notes
from tasks.instruments.orchestra import ORCHESTRA

N_HARMONICS = 40
LEAST_DB = -60.0  # of a harmonic beside all of the note's together

_NOTE_S, _EVERY_S = 1.2, 2.0  # how long a note is held, and from one to the next
_FROM_S, _TO_S = 0.2, 1.1  # of a note, what is measured: after its attack
_VELOCITY = 88
_LOW_HARMONICS = 6  # up to here a harmonic is looked for within 3 % of its place, above within a third of f0
_NARROW, _WIDE, _WIDEST, _LEAST_HZ = 0.03, 0.35, 0.45, 8.0

Spectra = Mapping[str, NDArray[np.float32]]
"""Code of the orchestra to (P, H): amplitudes of harmonics 1 to H, each row of length 1."""


class Sampler(Protocol):
    """Plays notes by a General MIDI program, as `tasks.instruments.synth.Synthesizer` does."""

    def render(
        self, notes: Notes, controls: None, *, program: int, duration_s: float, may_be_loud: bool
    ) -> NDArray[np.float32]:
        """Return the sound (n,)."""


def pitches_of(code: str) -> NDArray[np.int64]:
    """Return the MIDI pitches (P,) of an instrument's range."""
    about = ORCHESTRA[code]
    return np.arange(about.lowest, about.highest + 1)


def measure(sampler: Sampler, *, sample_rate: int) -> dict[str, NDArray[np.float32]]:
    """Measure every instrument's harmonics (P, H) in decibels, at least `LEAST_DB`, from notes that are played.

    A note that a source does not have is given its neighbour's.

    Args:
        sampler: plays at ``sample_rate``.
        sample_rate: in Hz; harmonics above 0.475 of it read `LEAST_DB`.
    """
    found = {}
    for code, about in ORCHESTRA.items():
        pitches = pitches_of(code)
        onset_s = np.asarray(np.arange(len(pitches)) * _EVERY_S, np.float64)
        notes = sorted_notes(onset_s, onset_s + _NOTE_S, pitches, np.full(len(pitches), _VELOCITY))
        sound = sampler.render(notes, None, program=about.program, duration_s=len(pitches) * _EVERY_S, may_be_loud=True)
        starts = (onset_s + _FROM_S) * sample_rate
        length = round((_TO_S - _FROM_S) * sample_rate)
        rows = np.stack(
            [
                _harmonics(sound[round(start) : round(start) + length], f0_hz, sample_rate)
                for start, f0_hz in zip(starts, pitch_to_hz(pitches), strict=True)
            ]
        )
        sounds = np.flatnonzero(rows.any(axis=1))
        if not len(sounds):
            raise DamagedData(f"the source of sound plays no note of {about.name} (program {about.program})")
        nearest = sounds[np.abs(sounds[None] - np.arange(len(rows))[:, None]).argmin(axis=1)]
        found[code] = np.asarray(20 * np.log10(np.maximum(rows[nearest], 10 ** (LEAST_DB / 20))), np.float32)
    return found


def _harmonics(sound: NDArray[np.float32], f0_hz: float, sample_rate: int) -> NDArray[np.float64]:
    """Return the amplitudes (H,) of a note's harmonics, together of length 1; zeros of silence."""
    n_fft = 4 * len(sound)
    power = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), n_fft)) ** 2
    frequency_hz = np.fft.rfftfreq(n_fft, 1 / sample_rate)
    found = np.zeros(N_HARMONICS)
    for harmonic in range(1, N_HARMONICS + 1):
        at_hz = f0_hz * harmonic
        if at_hz > 0.475 * sample_rate:
            break
        half_hz = _NARROW * at_hz if harmonic < _LOW_HARMONICS else _WIDE * f0_hz
        half_hz = min(max(half_hz, _LEAST_HZ), _WIDEST * f0_hz)
        low, high = np.searchsorted(frequency_hz, (at_hz - half_hz, at_hz + half_hz))
        found[harmonic - 1] = np.sqrt(power[low:high].sum())
    length = float(np.linalg.norm(found))
    return found / length if length > 0 else found


def mean_spectra(tables: Sequence[Mapping[str, NDArray[np.float32]]], *, smoothing: float) -> dict[str, NDArray[Any]]:
    """Return the mean of several sources' tables in decibels as amplitudes, smoothed over neighbouring pitches.

    Args:
        tables: of `measure`; a source may lack an instrument that another has.
        smoothing: standard deviation over pitches, in semitones: samples change abruptly from key to key.

    Raises:
        ValueError: no source has an instrument.
    """
    from scipy.ndimage import gaussian_filter1d

    found = {}
    for code in ORCHESTRA:
        own = [table[code] for table in tables if code in table]
        if not own:
            raise ValueError(f"no source has {code}, expected every instrument of the orchestra")
        amplitude = 10 ** (gaussian_filter1d(np.mean(own, axis=0), smoothing, axis=0, mode="nearest") / 20)
        found[code] = np.asarray(amplitude / np.linalg.norm(amplitude, axis=1, keepdims=True), np.float32)
    return found


def spectra_to_bytes(spectra: Spectra) -> bytes:
    """Return a safetensors file of half floats: the same bytes every time."""
    return save({code: np.asarray(spectra[code], np.float16) for code in sorted(spectra)})


def spectra_from_bytes(content: bytes, where: str) -> dict[str, NDArray[np.float32]]:
    """Read what `spectra_to_bytes` wrote.

    Raises:
        DamagedData: it is no such file, or lacks an instrument.
    """
    try:
        arrays = load(content)
    except (SafetensorError, ValueError) as error:
        raise DamagedData(f"{where} is not a whole safetensors file: {' '.join(str(error).split())}") from None
    for code in ORCHESTRA:
        expected = (len(pitches_of(code)), N_HARMONICS)
        if code not in arrays or arrays[code].shape != expected or not np.isfinite(arrays[code]).all():
            raise DamagedData(f"{where}: expected the harmonics of {code}, shape {expected}: of another version?")
    return {code: np.asarray(arrays[code], np.float32) for code in ORCHESTRA}
