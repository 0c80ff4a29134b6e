"""Duets and trios for separation by labels alone: bundled parts, played as real players differ from a SoundFont.

A SoundFont's player has one tuning, no vibrato of their own, no room and one timbre. Here each player's sound is drawn:
tuning, vibrato, a slow wander of pitch, a smooth equalization, level, and one room for all. Nothing is taken from any
recording.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import yaml
from numpy.typing import NDArray

from tasks.features.resample import resample
from tasks.instruments.midi import MidiPolicy
from tasks.instruments.notes import Notes
from tasks.instruments.orchestra import ORCHESTRA, Player, read_players

SAMPLE_RATE = 16_000
DURATION_S = 20.0
POLICY = MidiPolicy(
    max_bytes=1 << 22, max_duration_s=600, max_notes=20_000, hanging="close", overlap="keep", channels=16
)
CASTS: tuple[tuple[str, ...], ...] = (
    ("vn", "vc"),
    ("vn", "va"),
    ("tpt", "tbn"),
    ("tpt", "hn"),
    ("va", "vc"),
    ("hn", "tba"),
    ("vn", "tpt"),
    ("fl", "cl"),
    ("ob", "bn"),
    ("vn", "va", "vc"),
    ("tpt", "hn", "tbn"),
    ("fl", "cl", "bn"),
)
RENDER_RATE = 2 * SAMPLE_RATE  # near that of most SoundFonts' samples
_OCTAVE = 12


class Sampler(Protocol):
    """Renders notes at `RENDER_RATE`, as `tasks.instruments.synth.Synthesizer` does."""

    def render(
        self, notes: Notes, controls: None, *, program: int, duration_s: float, may_be_loud: bool
    ) -> NDArray[np.float32]:
        """Return the sound (n,) of notes by a General MIDI program."""


@dataclass(frozen=True, kw_only=True)
class MadeMix:
    """A mix with its stems.

    Attributes:
        name: piece and cast.
        piece: the bundled piece.
        instruments: a code a player.
        stems: (K, n) as they are in the mix, with the room.
        sample_rate: in Hz.
    """

    name: str
    piece: str
    instruments: tuple[str, ...]
    stems: NDArray[np.float32]
    sample_rate: int

    @property
    def mix(self) -> NDArray[np.float32]:
        """The sum (n,) of the stems."""
        return np.asarray(self.stems.sum(axis=0), np.float32)


def made_mixes(
    sampler: Sampler, ensembles: Path, *, seed: int, n_mixes: int, is_plain: bool = False
) -> Iterator[MadeMix]:
    """Yield mixes of the bundled pieces, played by a SoundFont.

    Args:
        sampler: of `RENDER_RATE`.
        ensembles: the folder ``data/sample/ensembles``.
        seed: of all that is drawn; the first mixes are the same for any ``n_mixes``.
        n_mixes: how many.
        is_plain: each player as the SoundFont has them: no vibrato, room, equalization or tuning of their own.
    """
    pieces = sorted(yaml.safe_load((ensembles / "pieces.yaml").read_text(encoding="utf-8")))
    parts = {name: read_players(ensembles / "midi" / f"{name}.mid", POLICY) for name in pieces}
    for number in range(n_mixes):
        rng = np.random.default_rng((seed, number))
        cast = CASTS[number % len(CASTS)]
        able = [name for name in pieces if len(parts[name]) >= len(cast)]
        piece = able[int(rng.integers(len(able)))]
        yield _made(sampler, piece, _cast(parts[piece], cast, rng), rng, is_plain=is_plain)


def _cast(players: Sequence[Player], cast: Sequence[str], rng: np.random.Generator) -> list[Player]:
    """Give parts of a piece to instruments, high parts to the first, each moved by octaves into the range."""
    chosen = sorted(rng.permutation(len(players))[: len(cast)].tolist(), key=lambda n: -_height(players[n].notes))
    found: list[Player] = []
    for code, number in zip(cast, chosen, strict=True):
        about, notes = ORCHESTRA[code], players[number].notes
        aim = about.lowest + 0.42 * (about.highest - about.lowest)
        octaves = round((aim - _height(notes)) / _OCTAVE)
        if found and _height(notes) + _OCTAVE * octaves > _height(found[-1].notes):
            octaves -= 1  # who is named first has the upper part, as most scores have it
        pitch = notes.pitch.astype(np.int64) + _OCTAVE * octaves
        pitch += _OCTAVE * ((pitch < about.lowest).astype(np.int64) - (pitch > about.highest))
        found.append(Player(instrument=code, notes=replace(notes, pitch=pitch.astype(np.uint8))))
    return found


def _height(notes: Notes) -> float:
    return float(np.mean(notes.pitch))


def _made(
    sampler: Sampler, piece: str, players: Sequence[Player], rng: np.random.Generator, *, is_plain: bool
) -> MadeMix:
    rate = RENDER_RATE
    tuning_cents = float(rng.uniform(-25, 25))
    room = _room(rng, rate)
    stems = []
    for player in players:
        notes = player.notes.until(DURATION_S)
        about = ORCHESTRA[player.instrument]
        sound = sampler.render(notes, None, program=about.program, duration_s=DURATION_S, may_be_loud=True)
        if not is_plain:
            sound = _bent(sound, rate, tuning_cents + float(rng.uniform(-8, 8)), about.group, rng)
            sound = _coloured(sound, rate, rng)
            sound = _convolved(sound, room)
        sound = sound / max(float(np.sqrt(np.mean(sound**2))), 1e-9) * 10 ** (float(rng.uniform(-4, 4)) / 20)
        stems.append(resample(np.ascontiguousarray(sound, np.float32), rate, SAMPLE_RATE))
    of_all = np.stack(stems)
    of_all *= 0.5 / max(float(np.abs(of_all.sum(axis=0)).max()), 1e-9)
    codes = tuple(player.instrument for player in players)
    return MadeMix(
        name=f"{piece}_{'_'.join(codes)}",
        piece=piece,
        instruments=codes,
        stems=np.asarray(of_all, np.float32),
        sample_rate=SAMPLE_RATE,
    )


def _bent(
    sound: NDArray[np.float32], rate: int, cents: float, group: str, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Read a sound at a speed that wavers: tuning, vibrato of 4.5 to 6.5 Hz, a slow wander of some cents."""
    time_s = np.arange(len(sound)) / rate
    deepest = {"strings": 28.0, "woodwind": 14.0, "brass": 8.0}[group]
    depth = rng.uniform(0.2, 1.0) * deepest * _slow(rng, len(sound), rate, 0.7, low=0.1, high=1.0)
    phase = 2 * np.pi * np.cumsum(rng.uniform(4.5, 6.5) * _slow(rng, len(sound), rate, 0.5, low=0.9, high=1.1)) / rate
    pitch_cents = cents + depth * np.sin(phase) + _slow(rng, len(sound), rate, 1.5, low=-10, high=10)
    place = np.cumsum(2 ** (pitch_cents / 1200)) / rate
    return np.asarray(np.interp(np.minimum(place, time_s[-1]), time_s, sound), np.float32)


def _slow(
    rng: np.random.Generator, n_samples: int, rate: int, every_s: float, *, low: float, high: float
) -> NDArray[np.float64]:
    """Return values between two ends that are drawn now and then, and joined by lines."""
    knots = np.arange(0, n_samples / rate + 2 * every_s, every_s)
    return np.asarray(np.interp(np.arange(n_samples) / rate, knots, rng.uniform(low, high, len(knots))))


def _coloured(sound: NDArray[np.float32], rate: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Equalize by a smooth random curve, as bodies, microphones and distance do: some dB an octave, and resonances."""
    frequency_hz = np.fft.rfftfreq(2 * len(sound), 1 / rate)
    octave = np.log2(np.maximum(frequency_hz, 50.0) / 50.0)
    knots = np.arange(0, 10, 0.5)
    gain_db = np.interp(octave, knots, rng.normal(0, 3.5, len(knots))) + rng.normal(0, 1.0) * (octave - 4)
    return np.asarray(np.fft.irfft(np.fft.rfft(sound, 2 * len(sound)) * 10 ** (gain_db / 20))[: len(sound)], np.float32)


def _room(rng: np.random.Generator, rate: int) -> NDArray[np.float32]:
    """Return an impulse response: the direct sound, and noise that decays by 60 dB in 0.2 to 1.2 s."""
    t60_s = float(rng.uniform(0.2, 1.2))
    time_s = np.arange(round(t60_s * rate)) / rate
    tail = rng.normal(size=len(time_s)) * 10 ** (-3 * time_s / t60_s)
    tail *= 10 ** (rng.uniform(-16, -4) / 20) / max(float(np.linalg.norm(tail)), 1e-9)
    tail[: round(0.003 * rate)] = 0.0
    tail[0] = 1.0
    return np.asarray(tail, np.float32)


def _convolved(sound: NDArray[np.float32], room: NDArray[np.float32]) -> NDArray[np.float32]:
    from scipy.signal import oaconvolve

    return np.asarray(oaconvolve(sound, room)[: len(sound)], np.float32)
