"""Play the scores of this folder: ``scores/NAME.txt`` -> ``midi/NAME.mid``, the same bytes every time.

    python data/sample/perform_scores.py            all pieces of pieces.yaml
    python data/sample/perform_scores.py satie_...  only these
    python data/sample/perform_scores.py --folder data/sample/marimba   the marimba's, which lie in the same way
    python data/sample/perform_scores.py --folder data/sample/ensembles   those for several players

README.md beside this file explains the notation and how a performance is made from it.
"""

import argparse
import random
import re
import sys
import unicodedata
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import mido
import yaml

from tasks.errors import PipelineError
from tasks.instruments.orchestra import ORCHESTRA

HERE = Path(__file__).parent
SEED = 1
TICKS_PER_WHOLE = 4 * 480
PERCUSSION = 9  # the channel that people call 10
PIANO_PITCHES = range(21, 109)
PARTS = ("train", "validation", "test")
PROGRAMS = {"piano": 0, "marimba": 12}  # of general MIDI
ENSEMBLE = "ensemble"  # in place of an instrument: the score says who plays what
HEADERS = {
    *("key", "time", "tempo", "tempo_changes", "dynamics", "balance", "touch", "pedal", "pedal_track"),
    *("play", "lengths", "phrase", "human", "players"),
}

LEVELS = {"ppp": 30, "pp": 40, "p": 52, "mp": 62, "mf": 72, "f": 86, "ff": 100, "fff": 116}  # velocities
STEPS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
ALTERATIONS = {"#": 1, "##": 2, "b": -1, "bb": -2, "n": 0}
SHARPS = "fcgdaeb"
FIFTHS = ("Cb", "Gb", "Db", "Ab", "Eb", "Bb", "F", "C", "G", "D", "A", "E", "B", "F#", "C#", "G#", "D#", "A#")
MAJOR_SHARPS = {FIFTHS[sharps + 7]: sharps for sharps in range(-7, 8)}
MINOR_SHARPS = {FIFTHS[sharps + 10]: sharps for sharps in range(-7, 8)}

EVENT = re.compile(r"(?P<sounds>[^:~'>]+)(?::(?P<length>\d+)(?P<dots>\.{0,2}))?(?P<marks>[~'>]*)")
PITCH = re.compile(r"(?P<letter>[a-g])(?P<alteration>##|bb|[#bn])?(?P<octave>[0-8])")

# How a hand differs from a metronome. Times in seconds, velocities in MIDI's units; README.md has the reasons.
ARCH_TEMPO = 0.07  # slower by this at the ends of a phrase
ARCH_VELOCITY = 5.0  # louder by this in its middle
DRIFT_TEMPO = 0.02  # standard deviation of the slow wander of the tempo
DRIFT_KEPT = 0.85  # of the wander from one step of the tempo to the next
TOGETHER_S = 0.006  # standard deviation of a moment, all its notes alike
APART_S = 0.005  # standard deviation of each note of it
MELODY_LEAD_S = 0.012  # the highest note of a chord comes first
VELOCITY_SPREAD = 3.0  # standard deviation
BAR_ACCENT = 4.0
HIGH_LOUD_PER_OCTAVE = 1.5  # louder above middle C, softer below
ACCENT = 14.0
STACCATO = 0.45  # of the written length
LEGATO_OVERLAP_S = 0.025  # at most: fingers overlap when the touch is 1
DETACHED = 0.95  # touch of players in an ensemble: bow, breath and tongue part notes, and nothing overlaps
PARTED_S = 0.01  # from one note of a player to his next
LIFT_S = 0.06  # a key is up for this long before it is struck again: a whole picture at 25 a second
LEAD_IN = Fraction(1, 4)  # silence before the first bar
TAIL_S = 1.0  # silence after the last release

# A foot: the dampers fall just after the new harmony and rise again once the old one is gone.
PEDAL_FIRST_S = 0.05
PEDAL_UP_S = 0.03
PEDAL_DOWN_S = 0.14
PEDAL_RISE = ((0.0, 72), (0.015, 20), (0.03, 0))
PEDAL_FALL = ((0.0, 30), (0.02, 84), (0.045, 120))


class ScoreError(PipelineError):
    """A score that cannot be played as it is written; the message says where."""


@dataclass(frozen=True)
class Piece:
    """A row of pieces.yaml."""

    composer: str
    title: str
    source: str
    part: str
    instrument: str = "piano"


@dataclass(frozen=True)
class Event:
    """What one voice does at one moment: a note, a chord, or (without pitches) a rest. Length in whole notes."""

    length: Fraction
    pitches: tuple[int, ...]
    tied: bool = False  # to the next event of the voice, where it has the same pitch
    staccato: bool = False
    accent: bool = False


@dataclass(frozen=True)
class Note:
    """A written note after repeats and ties. Times in whole notes from the first bar."""

    onset: Fraction
    length: Fraction
    pitch: int
    voice: str
    staccato: bool = False
    accent: bool = False


@dataclass(frozen=True)
class Mark:
    """A value from a moment on, or, when ``gradual``, reached evenly from the mark before."""

    bar: int
    offset: Fraction  # whole notes into the bar
    value: float
    gradual: bool


@dataclass(frozen=True)
class Bar:
    """A bar as played; the same number comes again in a repeat."""

    number: int
    start: Fraction
    length: Fraction


@dataclass(frozen=True, kw_only=True)
class Score:
    """A score as written: bars by voice, and what its header says."""

    name: str
    key: str
    sharps: int
    is_minor: bool
    time: Fraction
    beats: tuple[int, int]  # numerator and denominator of the time signature
    tempo_unit: Fraction
    tempo: tuple[Mark, ...]  # tempo units a minute
    dynamics: Mapping[str, tuple[Mark, ...]]  # by voice; "" stands for every other voice
    balance: Mapping[str, float]
    touch: Mapping[str, float]
    pedal: tuple[tuple[int, int, Fraction], ...]  # first bar, last bar, length of each press
    own_pedal_track: bool
    phrase: int  # bars
    human: float
    players: Mapping[str, str]  # instrument's code by voice; empty where one instrument plays all voices
    bars: tuple[Bar, ...]  # in the order they are played
    voices: Mapping[str, Mapping[int, tuple[Event, ...]]]


@dataclass
class Track:
    """Events of one MIDI track: (tick, order among events of one tick, message)."""

    name: str
    events: list[tuple[int, int, mido.Message]] = field(default_factory=list)


# Reading


def pitch_of(word: str, *, sharps: int) -> int:
    """Return the MIDI pitch of a written note such as ``f4`` or ``bb3``; c4 is middle C, 60.

    Args:
        word: letter, accidental if any (``#``, ``b``, ``##``, ``bb``, ``n``), octave.
        sharps: sharps of the key signature, flats negative: they alter a letter without an accidental.

    Raises:
        ScoreError: not a note, or not on a piano.
    """
    match = PITCH.fullmatch(word)
    if match is None:
        raise ScoreError(f"{word!r} is not a note, expected one like c4, f#5 or bb3")
    letter = match["letter"]
    if match["alteration"]:
        alteration = ALTERATIONS[match["alteration"]]
    elif sharps >= 0:
        alteration = int(letter in SHARPS[:sharps])
    else:
        alteration = -int(letter in SHARPS[sharps:])
    pitch = 12 * (int(match["octave"]) + 1) + STEPS[letter] + alteration
    if pitch not in PIANO_PITCHES:
        raise ScoreError(f"{word!r} is pitch {pitch}, expected a piano key, {PIANO_PITCHES[0]} to {PIANO_PITCHES[-1]}")
    return pitch


def parse_bar(text: str, *, sharps: int, length: Fraction | None = None) -> tuple[list[Event], Fraction | None]:
    """Read the events between two bar lines.

    Args:
        text: words such as ``c4:4``, ``e4+g4:8.~``, ``r:2``, separated by blanks.
        sharps: sharps of the key signature, flats negative.
        length: of the event before on the same line, which a word without a length repeats.

    Returns:
        The events, and the length that the next bar of the line begins with.

    Raises:
        ScoreError: a word is not an event, or has no length to repeat.
    """
    events = []
    for word in text.split():
        match = EVENT.fullmatch(word)
        if match is None or (match["length"] and int(match["length"]) == 0):
            raise ScoreError(f"{word!r} is not a note, chord or rest")
        if match["length"]:
            length = Fraction(1, int(match["length"])) * (2 - Fraction(1, 2 ** len(match["dots"])))
        if length is None:
            raise ScoreError(f"{word!r} has no length, and none stands before it on this line")
        rest = match["sounds"] == "r"
        pitches = () if rest else tuple(pitch_of(note, sharps=sharps) for note in match["sounds"].split("+"))
        marks = match["marks"]
        if (rest and marks) or len(set(marks)) < len(marks) or len(set(pitches)) < len(pitches):
            raise ScoreError(f"{word!r}: a mark on a rest, or something written twice")
        events.append(Event(length, pitches, "~" in marks, "'" in marks, ">" in marks))
    return events, length


def parse_key(text: str) -> tuple[int, bool]:
    """Return the sharps (flats negative) and whether it is minor, of a key such as ``Eb major``.

    Raises:
        ScoreError: no such key.
    """
    tonic, _, mode = text.partition(" ")
    table = {"major": MAJOR_SHARPS, "minor": MINOR_SHARPS}.get(mode, {})
    if tonic not in table:
        raise ScoreError(f"key is {text!r}, expected one like 'G major' or 'F# minor'")
    return table[tonic], mode == "minor"


def parse_fraction(text: str) -> Fraction:
    """Return a positive fraction written like ``3/4``.

    Raises:
        ScoreError: it is not one.
    """
    if not re.fullmatch(r"[1-9]\d*/[1-9]\d*", text):
        raise ScoreError(f"{text!r} is not a length, expected one like 3/4")
    return Fraction(text)


def parse_items(text: str) -> list[tuple[str, str]]:
    """Split ``a b, c d`` into pairs.

    Raises:
        ScoreError: an item is not two words.
    """
    pairs = []
    for item in text.split(","):
        words = item.split()
        if len(words) == 2:
            pairs.append((words[0], words[1]))
        elif words:
            raise ScoreError(f"{item.strip()!r} is not a pair of words, expected one like '8 1/4'")
    return pairs


def parse_number(text: str) -> float:
    """Return a number.

    Raises:
        ScoreError: it is not one.
    """
    try:
        number = float(text)
    except ValueError:
        raise ScoreError(f"{text!r} is not a number") from None
    if not -1e6 < number < 1e6:  # written so that NaN is refused too
        raise ScoreError(f"{text!r} is not a number a score can mean")
    return number


def parse_marks(text: str, *, denominator: int, names: Mapping[str, float]) -> tuple[Mark, ...]:
    """Read ``1 mf, 8:3 <f``: values from a bar on (or its third beat), reached gradually after ``<``.

    Raises:
        ScoreError: an item is not a place and a value.
    """
    marks = []
    for place, value in parse_items(text):
        match = re.fullmatch(r"(\d+)(?::(\d+(?:\.\d+)?))?", place)
        if match is None or (match[2] and Fraction(match[2]) < 1):
            raise ScoreError(f"{place!r} is not a place, expected a bar, or a bar and a beat like 8:3")
        offset = (Fraction(match[2]) - 1) / denominator if match[2] else Fraction(0)
        word = value.removeprefix("<")
        number = names[word] if word in names else parse_number(word)
        if number <= 0:
            raise ScoreError(f"{value!r} is not a value, expected more than 0")
        marks.append(Mark(int(match[1]), offset, number, value.startswith("<")))
    if not marks or marks[0].gradual:
        raise ScoreError("marks begin with a gradual one or there are none: nothing to begin from")
    return tuple(marks)


def parse_range(text: str) -> tuple[int, int]:
    """Return first and last bar of ``5`` or ``5-8``.

    Raises:
        ScoreError: it is neither.
    """
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if match is None or int(match[2] or match[1]) < int(match[1]):
        raise ScoreError(f"{text!r} is not a range of bars, expected one like 5-8")
    return int(match[1]), int(match[2] or match[1])


def parse_score(text: str, name: str) -> Score:
    """Read a score.

    Args:
        text: header lines ``word: value``, a line ``---``, then lines ``voice: bar | bar |``; ``#`` begins a
            comment at the beginning of a line. README.md has the whole notation.
        name: for messages.

    Raises:
        ScoreError: with the line, what was found and what was expected.
    """
    header: dict[str, str] = {}
    body: list[tuple[int, str, str]] = []
    in_body = False
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        if line.strip() == "---":
            in_body = True
            continue
        word, colon, value = (part.strip() for part in line.partition(":"))
        if not colon or not value:
            raise ScoreError(f"{name}:{number}: found {line.strip()!r}, expected 'word: value'")
        if in_body:
            body.append((number, word, value))
        elif word.split(".")[0] not in HEADERS or word in header:
            raise ScoreError(f"{name}:{number}: header {word!r} is unknown or given twice")
        else:
            header[word] = value
    missing = {"key", "time", "tempo", "dynamics"} - set(header)
    if missing or not body:
        raise ScoreError(f"{name}: no {', '.join(sorted(missing)) or 'music'}")
    try:
        return _build_score(header, body, name)
    except ScoreError as error:
        raise error if str(error).startswith(f"{name}:") else ScoreError(f"{name}: {error}") from None


def _build_score(header: Mapping[str, str], body: Iterable[tuple[int, str, str]], name: str) -> Score:
    """Put together what :func:`parse_score` has split into lines."""
    sharps, is_minor = parse_key(header["key"])
    time = parse_fraction(header["time"])
    numerator, denominator = (int(number) for number in header["time"].split("/"))
    if denominator & (denominator - 1):
        raise ScoreError(f"time is {header['time']}, expected a power of two below")
    unit, _, speed = header["tempo"].partition("=")
    tempo_unit = parse_fraction(unit.strip())
    lengths = {int(parse_number(bar)): parse_fraction(length) for bar, length in parse_items(header.get("lengths", ""))}
    first_bar = 0 if 0 in lengths else 1

    voices = _read_voices(body, name, sharps=sharps, first_bar=first_bar)
    last_bar = max(max(bars) for bars in voices.values())
    for voice, bars in voices.items():
        if max(bars) != last_bar:
            raise ScoreError(f"{name}: {voice} has bars to {max(bars)}, expected to {last_bar} as in another voice")
        for number, events in bars.items():
            found = sum((event.length for event in events), Fraction(0))
            expected = lengths.get(number, time)
            if found != expected:
                raise ScoreError(f"{name}: bar {number} of {voice} lasts {found}, expected {expected}")

    played: list[Bar] = []
    start = Fraction(0)
    for span in header.get("play", f"{first_bar}-{last_bar}").split():
        first, last = parse_range(span)
        for number in range(first, last + 1):
            if not first_bar <= number <= last_bar:
                raise ScoreError(f"{name}: play names bar {number}, expected {first_bar} to {last_bar}")
            played.append(Bar(number, start, lengths.get(number, time)))
            start += played[-1].length

    phrase, human = parse_number(header.get("phrase", "4")), parse_number(header.get("human", "1"))
    if phrase < 1 or phrase != int(phrase) or human < 0:
        raise ScoreError(f"{name}: phrase is {phrase:g} bars and human {human:g}, expected at least 1 and 0")
    pedal_track = header.get("pedal_track", "shared")
    if pedal_track not in ("own", "shared"):
        raise ScoreError(f"{name}: pedal_track is {pedal_track!r}, expected 'own' or 'shared'")
    per_voice = {word.partition(".")[2]: text for word, text in header.items() if word.startswith("dynamics.")}
    named = {*per_voice} | {voice for word in ("balance", "touch") for voice, _ in parse_items(header.get(word, ""))}
    if not named <= set(voices):
        raise ScoreError(f"{name}: header names voices {sorted(named - set(voices))}, expected {sorted(voices)}")
    players = dict(parse_items(header.get("players", "")))
    if players and (set(players) != set(voices) or not set(players.values()) <= set(ORCHESTRA)):
        raise ScoreError(
            f"{name}: players are {players}, expected one of {', '.join(ORCHESTRA)} for each of {', '.join(voices)}"
        )
    tempo_marks = f"{first_bar} {speed.strip()}, {header.get('tempo_changes', '')}"
    return Score(
        name=name,
        key=header["key"],
        sharps=sharps,
        is_minor=is_minor,
        time=time,
        beats=(numerator, denominator),
        tempo_unit=tempo_unit,
        tempo=parse_marks(tempo_marks, denominator=denominator, names={}),
        dynamics={
            voice: parse_marks(text, denominator=denominator, names=LEVELS)
            for voice, text in {"": header["dynamics"], **per_voice}.items()
        },
        balance={voice: parse_number(value) for voice, value in parse_items(header.get("balance", ""))},
        touch={
            **dict.fromkeys(players, DETACHED),
            **{voice: parse_number(value) for voice, value in parse_items(header.get("touch", ""))},
        },
        pedal=tuple(
            (*parse_range(span), parse_fraction(length)) for span, length in parse_items(header.get("pedal", ""))
        ),
        own_pedal_track=pedal_track == "own",
        phrase=int(phrase),
        human=human,
        players=players,
        bars=tuple(played),
        voices={voice: voices[voice] for voice in players or voices},
    )


def _read_voices(
    body: Iterable[tuple[int, str, str]], name: str, *, sharps: int, first_bar: int
) -> dict[str, dict[int, tuple[Event, ...]]]:
    """Read the lines of music; a voice goes on from one of its lines to the next."""
    voices: dict[str, dict[int, tuple[Event, ...]]] = {}
    for line_number, voice, music in body:
        if not music.endswith("|"):
            raise ScoreError(f"{name}:{line_number}: {voice} does not end with a bar line")
        bars = voices.setdefault(voice, {})
        length: Fraction | None = None
        for text in music[:-1].split("|"):
            number = first_bar + len(bars)
            if text.strip() == "%":
                if number - 1 not in bars:
                    raise ScoreError(f"{name}:{line_number}: bar {number} of {voice} repeats a bar before the first")
                bars[number] = bars[number - 1]
                continue
            try:
                events, length = parse_bar(text, sharps=sharps, length=length)
            except ScoreError as error:
                raise ScoreError(f"{name}:{line_number}: bar {number} of {voice}: {error}") from None
            bars[number] = tuple(events)
    return voices


def written_notes(score: Score) -> list[Note]:
    """Return the notes in the order of playing: repeats written out, ties joined, a key once at a time.

    Two voices that meet on one key make one note: as long as the longer, with the marks of both. Players have an
    instrument each and meet on none.

    Raises:
        ScoreError: a tie leads to no note of the same pitch.
    """
    notes: dict[tuple[Fraction, int, str], Note] = {}
    for voice, bars in score.voices.items():
        held: dict[int, Note] = {}
        for bar in score.bars:
            onset = bar.start
            for event in bars[bar.number]:
                if held and not set(held) <= set(event.pitches):
                    raise ScoreError(f"{score.name}: a tie into bar {bar.number} of {voice} leads to no such note")
                going_on: dict[int, Note] = {}
                for pitch in event.pitches:
                    begun = held.get(pitch)
                    if begun is None:
                        note = Note(onset, event.length, pitch, voice, event.staccato, event.accent)
                    else:
                        note = replace(begun, length=begun.length + event.length)
                    if event.tied:
                        going_on[pitch] = note
                    else:
                        _add(notes, note, instrument=voice if score.players else "")
                held = going_on
                onset += event.length
        if held:
            raise ScoreError(f"{score.name}: {voice} ends with a tie that leads to nothing")
    return sorted(notes.values(), key=lambda note: (note.onset, note.pitch))


def _add(notes: dict[tuple[Fraction, int, str], Note], note: Note, *, instrument: str) -> None:
    """Add a note, or join it with the one that another voice has struck on this key at this moment."""
    place = (note.onset, note.pitch, instrument)
    other = notes.get(place)
    if other is not None:
        longer = max(note, other, key=lambda each: each.length)
        note = replace(longer, accent=note.accent or other.accent, staccato=note.staccato and other.staccato)
    notes[place] = note


# Performing


def bell(rng: random.Random) -> float:
    """Return a number spread like a normal one, standard deviation 1, never beyond 3.

    A sum of twelve uniform numbers: Python promises that ``random()`` stays the same over versions, and only that.
    """
    return max(-3.0, min(3.0, sum(rng.random() for _ in range(12)) - 6.0))


def value_at(points: Sequence[tuple[Fraction, Mark]], moment: Fraction) -> float:
    """Return the value that marks, placed at moments in order, give at a moment."""
    index = max(0, bisect_right(points, moment, key=lambda point: point[0]) - 1)
    start, mark = points[index]
    if index + 1 < len(points) and points[index + 1][1].gradual:
        end, target = points[index + 1]
        share = float((moment - start) / (end - start)) if end > start else 1.0
        return mark.value + min(1.0, max(0.0, share)) * (target.value - mark.value)
    return mark.value


def placed(marks: Iterable[Mark], bars: Iterable[Bar]) -> list[tuple[Fraction, Mark]]:
    """Return the marks at the moments they are played, once for every time their bar is."""
    by_bar: dict[int, list[Mark]] = defaultdict(list)
    for mark in marks:
        by_bar[mark.bar].append(mark)
    points = [(bar.start + mark.offset, mark) for bar in bars for mark in by_bar[bar.number]]
    return sorted(points, key=lambda point: point[0])


class Tempo:
    """The tempo map of a performance: one tempo for every half of the tempo's unit, in whole microseconds.

    Attributes:
        starts: tick at which each tempo begins.
        quarter_us: microseconds that a quarter lasts from there.
    """

    def __init__(self, score: Score, rng: random.Random) -> None:
        points = placed(score.tempo, score.bars)
        step = score.tempo_unit / 2
        self.starts: list[int] = [0]
        self.quarter_us: list[int] = []
        self._start_s: list[float] = [0.0]
        drift = 0.0
        for bar in score.bars:
            offset = Fraction(0)
            while offset < bar.length:
                middle = bar.start + offset + step / 2
                drift = DRIFT_KEPT * drift + (1 - DRIFT_KEPT**2) ** 0.5 * DRIFT_TEMPO * bell(rng)
                across = ((bar.number - 1) % score.phrase + float(offset / bar.length)) / score.phrase
                shape = 1 - score.human * (ARCH_TEMPO * (2 * across - 1) ** 2 - drift)
                units_a_minute = value_at(points, middle) * shape
                self._begin(LEAD_IN + bar.start + offset, 60e6 / units_a_minute / float(4 * score.tempo_unit))
                offset += step

    def _begin(self, moment: Fraction, quarter_us: float) -> None:
        """Add a tempo; the first one holds from the beginning of the lead-in."""
        rounded = round(quarter_us)
        if not self.quarter_us:
            self.quarter_us.append(rounded)
        elif rounded != self.quarter_us[-1]:
            tick = ticks(moment)
            self._start_s.append(self.seconds(tick))
            self.starts.append(tick)
            self.quarter_us.append(rounded)

    def seconds(self, tick: int) -> float:
        """Return the time of a tick."""
        index = bisect_right(self.starts, tick) - 1
        return self._start_s[index] + (tick - self.starts[index]) * self.quarter_us[index] * 4e-6 / TICKS_PER_WHOLE

    def tick(self, time_s: float) -> int:
        """Return the tick nearest to a time."""
        index = max(0, bisect_right(self._start_s, time_s) - 1)
        past_s = max(0.0, time_s - self._start_s[index])
        return self.starts[index] + round(past_s / (self.quarter_us[index] * 4e-6) * TICKS_PER_WHOLE)


def ticks(moment: Fraction) -> int:
    """Return the tick of a moment in whole notes.

    Raises:
        ScoreError: it falls between two ticks: the division of the file is too coarse for such a note.
    """
    tick = moment * TICKS_PER_WHOLE
    if tick.denominator != 1:
        raise ScoreError(f"a note begins or ends at {moment}, expected a multiple of 1/{TICKS_PER_WHOLE}")
    return int(tick)


@dataclass
class Struck:
    """A note as performed."""

    onset_s: float
    offset_s: float
    pitch: int
    velocity: int
    voice: str


def perform(score: Score, tempo: Tempo, rng: random.Random) -> list[Struck]:
    """Give the written notes their times and velocities, in order of onset."""
    levels = {voice: placed(marks, score.bars) for voice, marks in score.dynamics.items()}
    starts = [bar.start for bar in score.bars]
    notes = written_notes(score)
    highest: dict[Fraction, int] = {}
    for note in notes:
        highest[note.onset] = max(note.pitch, highest.get(note.onset, 0))
    together: dict[Fraction, float] = {onset: bell(rng) for onset in sorted(highest)}

    struck = []
    for note in notes:
        bar = score.bars[bisect_right(starts, note.onset) - 1]
        across = ((bar.number - 1) % score.phrase + float((note.onset - bar.start) / bar.length)) / score.phrase
        shape = ARCH_VELOCITY * (1 - (2 * across - 1) ** 2) + HIGH_LOUD_PER_OCTAVE * (note.pitch - 60) / 12
        shape += BAR_ACCENT * (note.onset == bar.start) + VELOCITY_SPREAD * bell(rng)
        velocity = value_at(levels.get(note.voice, levels[""]), note.onset) + score.balance.get(note.voice, 0.0)
        velocity += score.human * shape + ACCENT * note.accent

        shift_s = TOGETHER_S * together[note.onset] + APART_S * bell(rng)
        shift_s -= MELODY_LEAD_S * (note.pitch == highest[note.onset])
        begin_s = tempo.seconds(ticks(LEAD_IN + note.onset))
        end_s = tempo.seconds(ticks(LEAD_IN + note.onset + note.length))
        touch = score.touch.get(note.voice, 1.0)
        held_s = (end_s - begin_s) * (STACCATO if note.staccato else touch)
        overlap_s = 0.0 if note.staccato or touch < 1 else LEGATO_OVERLAP_S * rng.random()
        onset_s = begin_s + score.human * shift_s
        offset_s = begin_s + held_s + score.human * overlap_s
        struck.append(Struck(onset_s, offset_s, note.pitch, max(1, min(127, round(velocity))), note.voice))
    if score.players:
        for voice in score.players:
            mine = [note for note in struck if note.voice == voice]
            lift_keys(mine)
            part_notes(mine)
    else:
        lift_keys(struck)
    return sorted(struck, key=lambda each: (each.onset_s, each.pitch))


def lift_keys(struck: Iterable[Struck]) -> None:
    """Shorten notes so that every key is up before it is struck again, whichever voice strikes it."""
    by_pitch: dict[int, list[Struck]] = defaultdict(list)
    for note in struck:
        by_pitch[note.pitch].append(note)
    for same_key in by_pitch.values():
        same_key.sort(key=lambda note: note.onset_s)
        for note, following in pairwise(same_key):
            lift_s = min(LIFT_S, (following.onset_s - note.onset_s) / 2)
            note.offset_s = min(note.offset_s, following.onset_s - lift_s)


def part_notes(struck: Iterable[Struck]) -> None:
    """Shorten notes of a player so that each ends before another begins: he has one bow, or one breath."""
    in_order = sorted(struck, key=lambda note: note.onset_s)
    for note, following in pairwise(in_order):
        if following.onset_s - note.onset_s > 2 * PARTED_S:  # else they are struck together
            note.offset_s = min(note.offset_s, following.onset_s - PARTED_S)


def pedal_moves(score: Score, tempo: Tempo, rng: random.Random) -> list[tuple[float, int]]:
    """Return what the foot does, as (time_s, value of controller 64) in order of time."""
    presses: list[tuple[Fraction, Fraction]] = []
    for bar in score.bars:
        for first, last, length in score.pedal:
            if not first <= bar.number <= last:
                continue
            offset = Fraction(0)
            while offset < bar.length:
                end = min(offset + length, bar.length)
                presses.append((bar.start + offset, bar.start + end))
                offset = end
    moves: list[tuple[float, int]] = []
    previous_end: Fraction | None = None
    for index, (start, end) in enumerate(presses):
        start_s = tempo.seconds(ticks(LEAD_IN + start))
        down_s = PEDAL_DOWN_S if start == previous_end else PEDAL_FIRST_S
        down_s += score.human * TOGETHER_S * bell(rng)
        moves += [(start_s + down_s + after_s, value + rng.randrange(8)) for after_s, value in PEDAL_FALL]
        joined = index + 1 < len(presses) and presses[index + 1][0] == end
        # Between joined presses the foot waits for the new harmony; at an end it lifts with the hands.
        up_s = tempo.seconds(ticks(LEAD_IN + end)) + (PEDAL_UP_S if joined else 0.0)
        up_s += score.human * TOGETHER_S * bell(rng)
        moves += [(up_s + after_s, value) for after_s, value in PEDAL_RISE]
        previous_end = end
    return sorted(moves)


# Writing


def midi_file(score: Score, piece: Piece, *, seed: int = SEED) -> mido.MidiFile:
    """Perform a score.

    Args:
        score: what to play.
        piece: whose title, composer and source the file carries.
        seed: with the score's name it decides every deviation from the page.

    Returns:
        A file of format 1: a track of tempi and texts, one a voice, and one for the pedal when the score asks.

    Raises:
        ScoreError: as :func:`written_notes` and :func:`ticks`; or an ensemble without players, or players elsewhere.
    """
    if bool(score.players) != (piece.instrument == ENSEMBLE):
        raise ScoreError(f"{score.name}: {len(score.players)} players, but its instrument is {piece.instrument}")
    rng = random.Random(f"{seed} {score.name}")
    tempo = Tempo(score, rng)
    struck = perform(score, tempo, rng)
    moves = pedal_moves(score, tempo, rng)

    tracks = {voice: Track(voice) for voice in score.voices}
    first = next(iter(tracks.values()))
    channels = dict.fromkeys(tracks, 0)
    if score.players:
        channels = {voice: number + (number >= PERCUSSION) for number, voice in enumerate(tracks)}
        for voice, code in score.players.items():
            program = mido.Message("program_change", program=ORCHESTRA[code].program, channel=channels[voice])
            tracks[voice].events.append((0, 0, program))
    else:
        first.events.append((0, 0, mido.Message("program_change", program=PROGRAMS[piece.instrument])))
    for note in struck:
        onset = tempo.tick(note.onset_s)
        offset = max(onset + 1, tempo.tick(note.offset_s))
        events, channel = tracks[note.voice].events, channels[note.voice]
        events.append((onset, 2, mido.Message("note_on", note=note.pitch, velocity=note.velocity, channel=channel)))
        events.append((offset, 1, mido.Message("note_off", note=note.pitch, velocity=64, channel=channel)))
    pedal = Track("pedal") if score.own_pedal_track else first
    for time_s, value in moves:
        pedal.events.append((tempo.tick(time_s), 0, mido.Message("control_change", control=64, value=value)))

    last_s = max([note.offset_s for note in struck] + [time_s for time_s, _ in moves])
    end = max(tempo.tick(last_s + TAIL_S), tempo.starts[-1])  # a tempo may begin in the rests of the last bar
    conductor = conductor_track(score, piece, tempo, duration_s=tempo.seconds(end))
    played = [*tracks.values(), *([pedal] if pedal is not first else [])]
    file = mido.MidiFile(type=1, ticks_per_beat=TICKS_PER_WHOLE // 4)
    file.tracks = [midi_track(track, end) for track in [conductor, *played]]
    return file


def conductor_track(score: Score, piece: Piece, tempo: Tempo, *, duration_s: float) -> Track:
    """Make the track of texts, signatures and tempi."""
    minutes, seconds = divmod(round(duration_s), 60)
    texts = [
        mido.MetaMessage("text", text=plain(f"Composer: {piece.composer}")),
        mido.MetaMessage("copyright", text=plain(piece.source)),
        mido.MetaMessage("text", text=f"Duration: {minutes}:{seconds:02d} minutes"),
        mido.MetaMessage("time_signature", numerator=score.beats[0], denominator=score.beats[1]),
        mido.MetaMessage("key_signature", key=score.key.split()[0] + "m" * score.is_minor),
    ]
    track = Track(plain(piece.title), [(0, 0, text) for text in texts])
    for tick, quarter_us in zip(tempo.starts, tempo.quarter_us, strict=True):
        track.events.append((tick, 1, mido.MetaMessage("set_tempo", tempo=quarter_us)))
    return track


def midi_track(track: Track, end: int) -> mido.MidiTrack:
    """Put a track's events in order, each with the ticks since the one before."""
    messages = mido.MidiTrack([mido.MetaMessage("track_name", name=track.name)])
    now = 0
    for tick, _, message in sorted(track.events, key=lambda event: event[:2]):
        messages.append(message.copy(time=tick - now))
        now = tick
    messages.append(mido.MetaMessage("end_of_track", time=end - now))
    return messages


def plain(text: str) -> str:
    """Return a text in ASCII, accents dropped: a MIDI file does not say which encoding its texts have."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")


def read_pieces(path: Path = HERE / "pieces.yaml") -> dict[str, Piece]:
    """Read pieces.yaml.

    Raises:
        ScoreError: an entry lacks a word, has one too many, or is in an unknown part.
    """
    pieces = {}
    for name, row in yaml.safe_load(path.read_text(encoding="utf-8")).items():
        row = {"instrument": "piano", **row}
        known = set(row) == set(Piece.__annotations__) and row["part"] in PARTS
        known &= row["instrument"] in {*PROGRAMS, ENSEMBLE}
        if not re.fullmatch(r"[a-z0-9_]+", name) or not known:
            raise ScoreError(f"{path.name}: {name}: expected a lower_snake name, {', '.join(Piece.__annotations__)}")
        pieces[name] = Piece(**row)
    return pieces


def read_score(path: Path) -> Score:
    """Read a score's file.

    Raises:
        ScoreError: as :func:`parse_score`, or the file is not there.
    """
    if not path.is_file():
        raise ScoreError(f"{path} not found: every piece of pieces.yaml needs its score")
    return parse_score(path.read_text(encoding="utf-8"), path.stem)


def main() -> None:
    """Write the MIDI files of the pieces named on the command line, or of all."""
    parser = argparse.ArgumentParser(description="Play the scores of this folder.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="pieces to play (default: all)")
    parser.add_argument("--folder", type=Path, default=HERE, help="folder of pieces.yaml and of scores/")
    parser.add_argument("--out", type=Path, help="folder of the MIDI files (default: midi/ in FOLDER)")
    arguments = parser.parse_args()
    try:
        pieces = read_pieces(arguments.folder / "pieces.yaml")
        unknown = set(arguments.names) - set(pieces)
        if unknown:
            raise ScoreError(f"{', '.join(sorted(unknown))} not in pieces.yaml")
        for name in arguments.names or pieces:
            file = midi_file(read_score(arguments.folder / "scores" / f"{name}.txt"), pieces[name])
            path = (arguments.out or arguments.folder / "midi") / f"{name}.mid"
            file.save(path)
            sys.stdout.write(f"{file.length:6.1f} s {path.stat().st_size:7,} bytes  {name}\n")
    except PipelineError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
