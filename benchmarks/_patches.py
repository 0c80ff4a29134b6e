"""Gravis UltraSound patches (.pat), as Debian's freepats has them: a sampler of sustained tones.

FluidSynth does not read them. They share no sample with the SoundFonts, so that they tell what an unheard source does.
The format: Gravis UltraSound SDK 2.22, appendix E.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.features.note_spectrum import pitch_to_hz
from tasks.instruments.notes import Notes

FILES = {
    40: "040_Violin",
    41: "040_Violin",  # there is no viola: a violin below its range
    42: "042_Cello",
    43: "042_Cello",  # nor a double bass
    56: "056_Trumpet",
    57: "057_Trombone",
    58: "058_Tuba",
    60: "060_French_Horn",
    65: "065_Alto_Sax",
    68: "068_Oboe",
    70: "070_Bassoon",
    71: "071_Clarinet",
    73: "073_Flute",
}
STAND_INS = ("va", "db")  # instruments that another one's patch plays
_HEADERS, _LAYER, _SAMPLE = 129 + 63, 47, 96  # bytes
_ATTACK_S, _RELEASE_S, _TAIL_S = 0.03, 0.04, 0.12


@dataclass(frozen=True, kw_only=True)
class _Sample:
    sound: NDArray[np.float64]
    loop: tuple[int, int] | None
    goes_back: bool  # at the loop's end, and forth at its start
    rate: int
    lowest_hz: float
    highest_hz: float
    root_hz: float


class PatchSampler:
    """Renders notes with the patches of a folder."""

    def __init__(self, folder: Path, sample_rate: int) -> None:
        self._folder, self._rate = folder, sample_rate
        self._samples: dict[int, list[_Sample]] = {}

    def render(
        self,
        notes: Notes,
        controls: None,  # noqa: ARG002
        *,
        program: int,
        duration_s: float,
        may_be_loud: bool,  # noqa: ARG002
    ) -> NDArray[np.float32]:
        """Return the sound (n,) of notes by one of `FILES`."""
        sound = np.zeros(round(duration_s * self._rate))
        for on_s, off_s, pitch, velocity in zip(
            notes.onset_s, notes.offset_s, notes.pitch, notes.velocity, strict=True
        ):
            start = round(on_s * self._rate)
            length = min(round((off_s - on_s + _TAIL_S) * self._rate), len(sound) - start)
            if length < 1:
                continue
            time_s = np.arange(length) / self._rate
            envelope = np.minimum(time_s / _ATTACK_S, 1) * np.exp(-np.maximum(time_s - (off_s - on_s), 0) / _RELEASE_S)
            gain = 0.3 * (float(velocity) / 127) ** 1.5
            sound[start : start + length] += gain * envelope * self._tone(program, int(pitch), length)
        return np.asarray(sound, np.float32)

    def _tone(self, program: int, pitch: int, length: int) -> NDArray[np.float64]:
        if program not in self._samples:
            self._samples[program] = _read(self._folder / f"{FILES[program]}.pat")
        hz = float(pitch_to_hz(np.array(pitch)))
        sample = min(
            self._samples[program],
            key=lambda one: (not one.lowest_hz <= hz <= one.highest_hz, abs(np.log(hz / one.root_hz))),
        )
        place = np.arange(length) * (hz / sample.root_hz * sample.rate / self._rate)
        if sample.loop is not None:
            start, end = sample.loop
            turn = place - start
            period = end - start
            turn = period - np.abs(turn % (2 * period) - period) if sample.goes_back else turn % period
            place = np.where(place > start, start + turn, place)
        return np.interp(place, np.arange(len(sample.sound)), sample.sound, right=0.0)


def _read(path: Path) -> list[_Sample]:
    content = path.read_bytes()
    n_samples, at = content[_HEADERS + 6], _HEADERS + _LAYER
    found = []
    for _ in range(n_samples):
        header = content[at : at + _SAMPLE]
        size, start, end, rate, lowest, highest, root = struct.unpack("<IIIHIII", header[8:34])
        modes = header[55]  # bits: 16 bits wide, unsigned, looped, back and forth
        wide, unsigned = modes & 1, modes & 2
        kind = {(0, 0): "i1", (0, 2): "u1", (1, 0): "<i2", (1, 2): "<u2"}[wide, unsigned]
        scale = 32768 if wide else 128
        raw = np.frombuffer(content[at + _SAMPLE : at + _SAMPLE + size], kind).astype(np.float64)
        sound = (raw - scale if unsigned else raw) / scale
        width = 2 if wide else 1
        loop = (start // width, min(end // width, len(sound) - 1))
        found.append(
            _Sample(
                sound=sound,
                loop=loop if modes & 4 and loop[1] - loop[0] > 4 else None,
                goes_back=bool(modes & 8),
                rate=rate,
                lowest_hz=lowest / 1000,
                highest_hz=highest / 1000,
                root_hz=root / 1000,
            )
        )
        at += _SAMPLE + size
    return found
