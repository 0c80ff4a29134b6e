"""The orchestra: the instruments of ensembles, which player has which, and which may replace another.

The thirteen instruments, their codes and their order are those of the University of Rochester Multi-Modal Music
Performance data set (Li et al. 2019, IEEE Transactions on Multimedia 21). Ranges are what orchestral players play,
sounding pitches (Adler, *The Study of Orchestration*); the highest fundamental is 3.1 kHz.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from tasks.errors import BadInput
from tasks.instruments.midi import MidiPolicy, TrackScore
from tasks.instruments.midi_reader import read_tracks
from tasks.instruments.notes import Notes

Group = Literal["strings", "woodwind", "brass"]

OCTAVE = 12
_MOST_OCTAVES = 3  # that a part is moved by
_LARGEST_STEP = 3  # semitones up or down that a piece is moved by as a whole
_EVENNESS = 2.0  # how strongly the instruments that were seldom cast are preferred


@dataclass(frozen=True, kw_only=True)
class OrchestraInstrument:
    """One of the thirteen.

    Attributes:
        code: two or three letters.
        name: in English.
        program: General MIDI number, from 0.
        lowest: MIDI pitch.
        highest: MIDI pitch.
        group: how it is played.
    """

    code: str
    name: str
    program: int
    lowest: int
    highest: int
    group: Group


@dataclass(frozen=True, kw_only=True)
class Player:
    """One player's part.

    Attributes:
        instrument: code of it.
        notes: what they play.
    """

    instrument: str
    notes: Notes


_INSTRUMENTS: tuple[tuple[str, str, int, int, int, Group], ...] = (
    ("bn", "bassoon", 70, 34, 74, "woodwind"),
    ("cl", "clarinet", 71, 50, 91, "woodwind"),
    ("db", "double bass", 43, 28, 62, "strings"),
    ("fl", "flute", 73, 60, 96, "woodwind"),
    ("hn", "horn", 60, 38, 77, "brass"),
    ("ob", "oboe", 68, 58, 91, "woodwind"),
    ("sax", "saxophone", 65, 49, 81, "woodwind"),
    ("tba", "tuba", 58, 28, 58, "brass"),
    ("tbn", "trombone", 57, 40, 72, "brass"),
    ("tpt", "trumpet", 56, 54, 82, "brass"),
    ("va", "viola", 41, 48, 88, "strings"),
    ("vc", "violoncello", 42, 36, 76, "strings"),
    ("vn", "violin", 40, 55, 100, "strings"),
)
ORCHESTRA: Mapping[str, OrchestraInstrument] = {
    code: OrchestraInstrument(code=code, name=name, program=program, lowest=lowest, highest=highest, group=group)
    for code, name, program, lowest, highest, group in _INSTRUMENTS
}
SLOTS = tuple(ORCHESTRA)

# Other programs that are one of the thirteen as well.
_PROGRAMS: Mapping[int, str] = {
    **{instrument.program: code for code, instrument in ORCHESTRA.items()},
    **dict.fromkeys((64, 65, 66, 67), "sax"),
    59: "tpt",
    69: "ob",
    72: "fl",
    110: "vn",
}  # muted trumpet, English horn, piccolo, fiddle
# What tracks are called, the first that fits: a bass clarinet is a clarinet, a contrabassoon a bassoon.
_NAMES: tuple[tuple[str, str], ...] = (
    ("bn", r"bassoon|fagott|basson|\bbsn"),
    ("cl", r"clarinet|klarinette|clarinette|clarinetto|\bclar"),
    ("sax", r"sax"),
    ("tbn", r"trombone|posaune|\btrb"),
    ("tba", r"tuba"),
    ("tpt", r"trumpet|trompete|trompette|tromba|cornet|\btrp"),
    ("hn", r"\bhorn|\bcorno|\bcor\b|french horn"),
    ("fl", r"flute|flauto|flöte|fl[uû]te|piccolo"),
    ("ob", r"oboe|hautbois|english horn"),
    ("vc", r"cello|\bvlc"),
    ("db", r"double ?bass|contrabass|kontrabass|contrabbasso|\bbass\b"),
    ("va", r"viola|bratsche|\balto\b|\bvla"),
    ("vn", r"violin|violon\b|violino|geige|fiddle|\bvln"),
)


def read_players(midi: Path, policy: MidiPolicy) -> list[Player]:
    """Read the players of a score: one a track with notes, in the order of the tracks.

    A track's instrument is that of its General MIDI program; where that is none of the thirteen, that of its name.

    Raises:
        BadInput: the file cannot be used, or a track's instrument is none of the thirteen.
    """
    return [
        Player(instrument=_instrument_of(track, f"{midi.name}: track {number}"), notes=track.score.notes)
        for number, track in enumerate(read_tracks(midi, policy), start=1)
    ]


def instrument_named(words: str) -> str | None:
    """Return the code of the instrument that a file or a track is named after, or None."""
    low = words.lower().replace("_", " ")
    for code in SLOTS:
        if re.search(rf"(?<![a-z]){code}(?![a-z])", low):
            return code
    return next((code for code, pattern in _NAMES if re.search(pattern, low)), None)


def instrument_code(word: str) -> str:
    """Return an instrument's code; of an instrument that is none of the orchestra's, the word in small letters."""
    if word.lower() in ORCHESTRA:
        return word.lower()
    return instrument_named(word) or re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-") or "other"


def _instrument_of(track: TrackScore, where: str) -> str:
    code = _PROGRAMS.get(track.program) if track.program is not None else None
    if code is None and track.name is not None:
        code = instrument_named(track.name)
    if code is None:
        raise BadInput(
            f"{where}: program {track.program} and name {track.name!r} are no instrument of the orchestra, "
            f"expected one of {', '.join(SLOTS)}",
            kind="UNKNOWN_INSTRUMENT",
        )
    return code


def recast(players: Sequence[Player], n_cast: Mapping[str, int], rng: np.random.Generator) -> list[Player]:
    """Give a piece to other instruments whose ranges hold its parts, moved by octaves, and all by one interval.

    Players of one instrument stay players of one instrument, and no others join them.

    Args:
        players: as written.
        n_cast: how often each instrument was cast before; seldom ones are preferred.
        rng: draws.

    Returns:
        The same players in the same order, with other instruments and pitches; their own where nothing else fits.
    """
    step = int(rng.integers(-_LARGEST_STEP, _LARGEST_STEP + 1))
    written = list(dict.fromkeys(player.instrument for player in players))
    cast: dict[str, tuple[str, dict[int, int]]] = {}
    for place in rng.permutation(len(written)).tolist():
        code = written[place]
        mine = [number for number, player in enumerate(players) if player.instrument == code]
        fitting = []
        for other in SLOTS:
            moves = {number: _move_into(players[number].notes, step, ORCHESTRA[other]) for number in mine}
            fits = {number: move for number, move in moves.items() if move is not None}
            taken = other in {chosen for chosen, _ in cast.values()}
            if len(fits) == len(mine) and not taken:
                fitting.append((other, fits))
        if not fitting:
            return list(players)
        weight = np.array([(1.0 + n_cast.get(other, 0)) ** -_EVENNESS for other, _ in fitting])
        cast[code] = fitting[int(rng.choice(len(fitting), p=weight / weight.sum()))]
    changed = []
    for number, player in enumerate(players):
        other, moves_of = cast[player.instrument]
        pitch = (player.notes.pitch.astype(np.int64) + moves_of[number]).astype(np.uint8)
        changed.append(Player(instrument=other, notes=replace(player.notes, pitch=pitch)))
    return changed


def _move_into(notes: Notes, step: int, instrument: OrchestraInstrument) -> int | None:
    """Return by how many semitones a part is to be moved to lie in the middle of a range, or None where it cannot."""
    low, high = int(notes.pitch.min()) + step, int(notes.pitch.max()) + step
    moves = [
        octaves * OCTAVE
        for octaves in range(-_MOST_OCTAVES, _MOST_OCTAVES + 1)
        if low + octaves * OCTAVE >= instrument.lowest and high + octaves * OCTAVE <= instrument.highest
    ]
    if not moves:
        return None
    middle = (instrument.lowest + instrument.highest) / 2
    return step + min(moves, key=lambda move: (abs((low + high) / 2 + move - middle), move))
