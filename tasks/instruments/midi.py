"""Standard MIDI Files: a strict reader of piano performances, and a writer.

The reader walks the bytes itself, because the readers at hand accept too much and say too little: they build
a table of every tick (gigabytes for a file of 60 bytes), drop a note that was never ended without a word, and
lose a sustain pedal that stands in a track of its own. A good file's notes are those of pretty_midi, to the
tick, save where two voices of one track meet on a key; the tests and ``benchmarks/midi.py`` compare them. A
bad file is a `MidiError` that names the byte. pretty_midi refuses files of ten million ticks, and with them
fine divisions; here a file's length in seconds is limited, not its ticks.

Source:
    MIDI Manufacturers Association, Standard MIDI Files 1.0 (RP-001); MIDI 1.0 Detailed Specification 4.2.
"""

import re
import stat
import struct
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Literal

import mido
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tasks.errors import BadInput
from tasks.instruments.notes import Notes, sorted_notes
from tasks.params import Section

LOWEST_PITCH = 21  # A0
HIGHEST_PITCH = 108  # C8
N_CHANNELS = 16
PERCUSSION_CHANNEL = 9  # called 10 by people
SUSTAIN, SOSTENUTO, SOFT = 64, 66, 67  # the three pedals' controllers
PEDAL_DOWN = 64  # least value of a pressed sustain pedal

DEFAULT_TEMPO_US = 500_000  # microseconds a quarter note until a file says otherwise
NEVER = np.iinfo(np.int64).max  # a tick after every other

NOTE_OFF, NOTE_ON, CONTROL_CHANGE = 0x8, 0x9, 0xB
PROGRAM_CHANGE, CHANNEL_PRESSURE = 0xC, 0xD
SYSTEM_EXCLUSIVE, ESCAPE, META = 0xF0, 0xF7, 0xFF
TEXTS = range(0x01, 0x08)  # meta events that hold words
TRACK_NAME, END_OF_TRACK, SET_TEMPO = 0x03, 0x2F, 0x51

WRITTEN_DIVISION = 5000  # ticks a quarter note in files of ours: 0.1 ms a tick at the default tempo
TICKS_PER_S = WRITTEN_DIVISION * 1_000_000 // DEFAULT_TEMPO_US

Ticks = NDArray[np.int64]


class MidiError(BadInput):
    """A MIDI file that cannot be used.

    The message names the file, the byte, what stands there and what was expected. Kinds: ``UNREADABLE``,
    ``EMPTY``, ``TOO_LARGE``, ``BAD_HEADER``, ``BAD_DIVISION``, ``BAD_TEMPO``, ``BAD_EVENT``, ``TRUNCATED``,
    ``TOO_LONG``, ``TOO_MANY_NOTES``, ``NO_NOTES``.
    """


class MidiPolicy(Section):
    """Which MIDI files are accepted, and what becomes of notes that a keyboard cannot play as written.

    Attributes:
        max_bytes: a larger file is refused before it is read.
        max_duration_s: a file whose last event, by its tempo map, is later is refused; at most a day.
        max_notes: a file with more note-ons is refused.
        hanging: a note that is never ended is held until its track ends (``close``), or left out (``drop``).
        overlap: a key that is struck again while it is held was let go before: the earlier note is cut there,
            whatever track or channel strikes, and a key struck twice in one moment is one note, the louder
            and the longer of the two (``cut``, one keyboard). Or notes stay as they are written, each channel
            an instrument of its own (``keep``).
    """

    max_bytes: Annotated[int, Field(ge=1)]
    max_duration_s: Annotated[float, Field(gt=0, le=86_400)]
    max_notes: Annotated[int, Field(ge=1)]
    hanging: Literal["close", "drop"]
    overlap: Literal["cut", "keep"]


@dataclass(frozen=True, kw_only=True)
class Controls:
    """Movements of the pedals, in order of time.

    Attributes:
        time_s: when.
        control: controller number: 64 sustain, 66 sostenuto, 67 soft.
        value: 0 to 127; a sustain pedal is down from 64.
    """

    time_s: NDArray[np.float64]
    control: NDArray[np.uint8]
    value: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.time_s)

    def columns(self) -> dict[str, NDArray[np.float64] | NDArray[np.uint8]]:
        """Return the arrays by name, as a table's columns."""
        return {column.name: getattr(self, column.name) for column in fields(self)}


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a MIDI file says to a pianist.

    Attributes:
        notes: notes on the 88 keys, all channels but percussion.
        controls: pedals of the same channels, merged; where ``counts["pedal_channels"]`` is above 1 they are
            no longer one pedal, and only ``notes.sounding_offset_s`` knows which note was held by which.
        duration_s: time of the last event by the tempo map; no note and no pedal is later.
        declared_duration_s: what the file's own text says ("Dauer: 1:36 Minuten"), None when it says nothing.
        title: name of the first track, None when it has none.
        counts: what was met; every name is always there:
            ``tracks``, ``tempo_events``, ``channels`` (with notes), ``pedal_channels``, ``notes`` (kept),
            ``hanging`` (never ended), ``zero_length`` (ended where they began; left out),
            ``overlapping`` (key struck again before they ended), ``doubled`` (same key, same moment),
            ``stray_offs`` (an end without a beginning; ignored), ``outside_keyboard`` (not among the 88 keys;
            left out), ``percussion`` (channel 10; left out), ``sustained`` (they sound on under the pedal),
            ``other_controls`` (controllers that are no pedal; ignored), ``unended_tracks`` (without an
            end-of-track event), ``ignored_bytes`` (after the end of a track, after the last track, in chunks
            of unknown kind).
    """

    notes: Notes
    controls: Controls
    duration_s: float
    declared_duration_s: float | None
    title: str | None
    counts: dict[str, int]

    @property
    def declared_error_s(self) -> float | None:
        """How much longer the file is than it says it is; None when it says nothing."""
        return None if self.declared_duration_s is None else self.duration_s - self.declared_duration_s


@dataclass(frozen=True, kw_only=True)
class TrackScore:
    """What one track of a MIDI file says.

    Attributes:
        name: of the track, None when it has none.
        program: General MIDI number of the first instrument that it selects, from 0; None when it selects none.
        score: of the track alone.
    """

    name: str | None
    program: int | None
    score: Score


COUNTS = (
    *(
        "tracks",
        "tempo_events",
        "channels",
        "pedal_channels",
        "notes",
        "hanging",
        "zero_length",
        "overlapping",
    ),
    *(
        "doubled",
        "stray_offs",
        "outside_keyboard",
        "percussion",
        "sustained",
        "other_controls",
        "unended_tracks",
    ),
    "ignored_bytes",
)


def read_midi(path: Path, policy: MidiPolicy) -> Score:
    """Read a MIDI file.

    Raises:
        MidiError: the file cannot be read or used; see `MidiError` for the kinds.
    """
    name, data = _bytes_of(path, policy)
    return parse_midi(data, policy, name=name)


def read_tracks(path: Path, policy: MidiPolicy) -> list[TrackScore]:
    """Read the tracks of a MIDI file that hold notes, each for itself: a player each, where players have tracks.

    All keep the file's tempi. Where a key is struck again while it is down is settled within a track alone.

    Raises:
        MidiError: the file cannot be read or used, or no track holds a note.
    """
    name, data = _bytes_of(path, policy)
    try:
        return _track_scores(_walk_file(data, policy), policy)
    except MidiError as error:
        raise MidiError(f"{name}: {error}", kind=error.kind) from None


def _track_scores(walked: "_Walked", policy: MidiPolicy) -> list[TrackScore]:
    found = []
    for track in walked.tracks:
        try:
            score = _score(replace(walked, tracks=[track], counts=Counter()), policy)
        except MidiError as error:
            if error.kind != "NO_NOTES":
                raise
        else:
            found.append(TrackScore(name=track.name, program=track.program, score=score))
    if not found:
        raise MidiError(f"no notes in {len(walked.tracks)} tracks, expected at least 1", kind="NO_NOTES")
    return found


def _bytes_of(path: Path, policy: MidiPolicy) -> tuple[str, bytes]:
    """Return a file's name, as messages say it, and its bytes."""
    name = path.name if path.name.isprintable() else ascii(path.name)
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a named pipe would be waited for without end
            raise MidiError(f"{name}: not a regular file", kind="UNREADABLE")
        if found.st_size > policy.max_bytes:
            raise MidiError(f"{name}: {found.st_size} bytes, expected at most {policy.max_bytes}", kind="TOO_LARGE")
        return name, path.read_bytes()
    except OSError as error:
        raise MidiError(f"{name}: cannot be read: {error.strerror}", kind="UNREADABLE") from error


def parse_midi(data: bytes, policy: MidiPolicy, *, name: str) -> Score:
    """Read the bytes of a MIDI file; ``name`` begins every message.

    Raises:
        MidiError: the bytes are not a MIDI file that can be used.
    """
    try:
        return _score(_walk_file(data, policy), policy)
    except MidiError as error:
        raise MidiError(f"{name}: {error}", kind=error.kind) from None


# The gate: bytes to events


@dataclass
class _Track:
    """Events of one track that matter here; memory is bounded by the file's size, a few bytes an event."""

    index: int
    name: str | None = None
    program: int | None = None  # the first that it selects
    end_tick: int = 0
    last_event: int = 0  # byte
    tick: "array[int]" = field(default_factory=lambda: array("q"))  # of notes and controllers
    message: "array[int]" = field(default_factory=lambda: array("I"))  # status and two bytes: 0xSSAABB


@dataclass
class _Walked:
    """Events of a whole file."""

    division: int = 0  # ticks a quarter note
    tracks: list[_Track] = field(default_factory=list)
    tempo_tick: "array[int]" = field(default_factory=lambda: array("q"))
    tempo: "array[int]" = field(default_factory=lambda: array("q"))  # microseconds a quarter note
    declared_duration_s: float | None = None
    n_note_ons: int = 0
    counts: Counter[str] = field(default_factory=Counter)


def _fault(kind: str, byte: int, what: str) -> MidiError:
    return MidiError(f"byte {byte}: {what}", kind=kind)


def _walk_file(data: bytes, policy: MidiPolicy) -> _Walked:
    if not data:
        raise MidiError("0 bytes, expected a MIDI file", kind="EMPTY")
    if len(data) > policy.max_bytes:
        raise MidiError(f"{len(data)} bytes, expected at most {policy.max_bytes}", kind="TOO_LARGE")
    n_tracks, division, position = _header(data)
    walked = _Walked(division=division)
    while len(walked.tracks) < n_tracks:
        where = f"track {len(walked.tracks) + 1} of {n_tracks}"
        if position + 8 > len(data):
            raise _fault("TRUNCATED", position, f"the file ends, expected {where}")
        chunk = data[position : position + 4]
        length = int.from_bytes(data[position + 4 : position + 8], "big")
        start, end = position + 8, position + 8 + length
        if not (chunk.isascii() and chunk.isalnum()):
            raise _fault("BAD_HEADER", position, f"chunk {chunk!r}, expected b'MTrk' ({where})")
        if end > len(data):
            raise _fault(
                "TRUNCATED",
                position + 4,
                f"chunk {chunk!r} declares {length} bytes ({where}), {len(data) - start} are left",
            )
        if chunk == b"MTrk":
            walked.tracks.append(_walk_track(data[start:end], start, walked, policy))
        else:  # the standard requires readers to skip chunks of unknown type
            walked.counts["ignored_bytes"] += 8 + length
        position = end
    walked.counts["ignored_bytes"] += len(data) - position
    return walked


def _header(data: bytes) -> tuple[int, int, int]:
    """Return number of tracks, ticks a quarter note, and where the first track begins."""
    if data[:4] != b"MThd"[: len(data)]:
        hint = " (a MIDI file inside RIFF: unpack it first)" if data[:4] == b"RIFF" else ""
        raise _fault("BAD_HEADER", 0, f"{data[:4]!r}, expected b'MThd'{hint}")
    if len(data) < 14:
        raise _fault("TRUNCATED", len(data), "the file ends in its header, expected 14 bytes")
    length, form, n_tracks, division = struct.unpack(">LHHH", data[4:14])
    if length < 6:
        raise _fault("BAD_HEADER", 4, f"header of {length} bytes, expected 6")
    if 8 + length > len(data):
        raise _fault("TRUNCATED", 4, f"header declares {length} bytes, {len(data) - 8} are left")
    if form not in (0, 1):
        meaning = " (patterns without one timeline)" if form == 2 else ""
        raise _fault("BAD_HEADER", 8, f"format {form}{meaning}, expected 0 or 1")
    if n_tracks == 0 or (form == 0 and n_tracks != 1):
        expected = "1 in format 0" if form == 0 else "at least 1"
        raise _fault("BAD_HEADER", 10, f"{n_tracks} tracks, expected {expected}")
    if division & 0x8000:
        raise _fault("BAD_DIVISION", 12, f"0x{division:04x} counts SMPTE frames, expected ticks a quarter note")
    if division == 0:
        raise _fault("BAD_DIVISION", 12, "0 ticks a quarter note, expected 1 to 32767")
    return n_tracks, division, 8 + length


def _walk_track(chunk: bytes, start: int, walked: _Walked, policy: MidiPolicy) -> _Track:
    """Walk the events of one track; ``start`` is where its ``chunk`` stands in the file."""
    track = _Track(index=len(walked.tracks) + 1)
    add_tick, add_message = track.tick.append, track.message.append
    position = event = tick = status = 0
    n_note_ons = walked.n_note_ons
    try:
        while position < len(chunk):
            event = position
            byte = chunk[position]
            position += 1
            if byte < 0x80:  # nearly always: a quarter of a beat or less at the usual divisions
                tick += byte
            else:
                delta, position = _variable_length(chunk, event, start)
                tick += delta
            byte = chunk[position]
            if byte & 0x80:
                position += 1
                if byte < SYSTEM_EXCLUSIVE:
                    status = byte
                elif byte == META:  # leaves the running status alone, as every reader at hand does
                    ends_here = chunk[position] == END_OF_TRACK
                    position = _meta(chunk, position, start, tick, walked, track)
                    if ends_here:
                        break
                    continue
                elif byte in (SYSTEM_EXCLUSIVE, ESCAPE):
                    length, position = _variable_length(chunk, position, start)
                    _check_fits(chunk, position, length, start, "system exclusive event")
                    position += length
                    status = 0
                    continue
                else:
                    raise _fault("BAD_EVENT", start + position - 1, f"status 0x{byte:02x}, not an event of a MIDI file")
            elif not status:
                raise _fault(
                    "BAD_EVENT",
                    start + position,
                    f"data byte 0x{byte:02x}, expected a status (none is running)",
                )
            kind = status >> 4
            first = chunk[position]
            if kind in (PROGRAM_CHANGE, CHANNEL_PRESSURE):  # have one byte
                if first & 0x80:
                    raise _bad_data_byte(chunk, position, 1, start, status)
                if kind == PROGRAM_CHANGE and track.program is None:
                    track.program = first
                position += 1
                continue
            second = chunk[position + 1]
            if (first | second) & 0x80:
                raise _bad_data_byte(chunk, position, 2, start, status)
            position += 2
            if kind == NOTE_ON and second:
                n_note_ons += 1
                if n_note_ons > policy.max_notes:
                    raise _fault(
                        "TOO_MANY_NOTES",
                        start + event,
                        f"note {n_note_ons} in track {track.index}, expected at most {policy.max_notes}",
                    )
            if kind in (NOTE_OFF, NOTE_ON, CONTROL_CHANGE):
                add_tick(tick)
                add_message(status << 16 | first << 8 | second)
        else:
            walked.counts["unended_tracks"] += 1
    except IndexError:
        raise _fault(
            "TRUNCATED",
            start + event,
            f"the event runs past the end of track {track.index} at byte {start + len(chunk)}",
        ) from None
    walked.counts["ignored_bytes"] += len(chunk) - position
    walked.n_note_ons = n_note_ons
    track.end_tick, track.last_event = tick, start + event
    return track


def _bad_data_byte(chunk: bytes, position: int, n_bytes: int, start: int, status: int) -> MidiError:
    bad = next(place for place in range(position, position + n_bytes) if chunk[place] & 0x80)
    return _fault(
        "BAD_EVENT",
        start + bad,
        f"0x{chunk[bad]:02x} in an event of status 0x{status:02x}, expected 0 to 127",
    )


def _variable_length(chunk: bytes, position: int, start: int) -> tuple[int, int]:
    """Return a number of 7 bits a byte and the place after it."""
    value = 0
    for place in range(position, position + 4):
        byte = chunk[place]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + 1
    raise _fault("BAD_EVENT", start + position, "a number of variable length has no end, expected 1 to 4 bytes")


def _check_fits(chunk: bytes, position: int, length: int, start: int, what: str) -> None:
    if position + length > len(chunk):
        raise _fault(
            "TRUNCATED",
            start + position,
            f"{what} declares {length} bytes, {len(chunk) - position} are left in its track",
        )


def _meta(chunk: bytes, position: int, start: int, tick: int, walked: _Walked, track: _Track) -> int:
    """Take what a meta event says; return the place after it."""
    kind = chunk[position]
    if kind & 0x80:
        raise _fault("BAD_EVENT", start + position, f"meta event 0x{kind:02x}, expected 0 to 0x7f")
    length, payload = _variable_length(chunk, position + 1, start)
    _check_fits(chunk, payload, length, start, f"meta event 0x{kind:02x}")
    position = payload + length
    if kind == SET_TEMPO:
        if length != 3:
            raise _fault("BAD_TEMPO", start + payload, f"tempo of {length} bytes, expected 3")
        tempo = int.from_bytes(chunk[payload:position], "big")
        if not tempo:
            raise _fault("BAD_TEMPO", start + payload, "tempo of 0 microseconds a quarter note, expected at least 1")
        walked.tempo_tick.append(tick)
        walked.tempo.append(tempo)
    elif kind in TEXTS:
        text = chunk[payload:position]
        if walked.declared_duration_s is None:
            walked.declared_duration_s = declared_duration_s(text)
        if kind == TRACK_NAME and track.name is None:
            track.name = _title(text[:1000])
    return position


def _text(raw: bytes) -> str:
    """Decode words: files do not name their encoding, and what is not UTF-8 comes from Windows as a rule."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")


def _title(raw: bytes) -> str | None:
    words = "".join(letter if letter.isprintable() else " " for letter in _text(raw)).split()
    return " ".join(words) or None


# As found in real files: "Dauer: 1:36 Minuten", "Dauer:  3: 15 Minuten", "Dauer:  2.:55", "Dauer3:06".
DECLARED_DURATION = re.compile(
    rb"\b(?:dauer|duration)\s{0,3}[:=]?\s{0,3}"
    rb"(?:(\d{1,2})[\s.]{0,2}:\s{0,2})?(\d{1,3})[\s.]{0,2}:\s{0,2}([0-5]\d)(?![\d:])",
    re.IGNORECASE,
)


def declared_duration_s(text: bytes) -> float | None:
    """Return the duration that a text declares as ``Dauer`` or ``Duration`` [h:]m:ss, None without one."""
    match = DECLARED_DURATION.search(text)
    if match is None:
        return None
    hours, minutes, seconds = (int(group or 0) for group in match.groups())
    return float(hours * 3600 + minutes * 60 + seconds)


# From events to notes: in ticks, which are exact, until the last step


@dataclass(frozen=True)
class _TempoMap:
    """Stretches of constant tempo, in whole numbers: a tick of one microsecond a quarter note is the unit."""

    tick: Ticks  # where each begins
    start: Ticks  # when, in microseconds times ticks a quarter note
    tempo: Ticks  # microseconds a quarter note
    division: int  # ticks a quarter note

    def seconds(self, tick: Ticks) -> NDArray[np.float64]:
        """Return when ticks are, rounded once."""
        stretch = np.searchsorted(self.tick, tick, side="right") - 1
        exact = self.start[stretch] + (tick - self.tick[stretch]) * self.tempo[stretch]
        time_s: NDArray[np.float64] = exact / (self.division * 1_000_000)
        return time_s


def _tempo_map(walked: _Walked, policy: MidiPolicy) -> _TempoMap:
    """Add up the tempo events of all tracks; refuse a file that is too long before its numbers overflow."""
    event_tick = np.array(walked.tempo_tick, np.int64)
    order = np.argsort(event_tick, kind="stable")
    tick = np.append(0, event_tick[order])
    tempo = np.append(DEFAULT_TEMPO_US, np.array(walked.tempo, np.int64)[order])
    last = max(walked.tracks, key=lambda track: track.end_tick)
    lasting = np.diff(tick, append=last.end_tick)
    duration_s = float(lasting.astype(np.float64) @ tempo) / (walked.division * 1_000_000)
    if duration_s > policy.max_duration_s:
        raise _fault(
            "TOO_LONG",
            last.last_event,
            f"the last event of track {last.index} (tick {last.end_tick}) is at {duration_s:.1f} s "
            f"by the tempo map, expected at most {policy.max_duration_s:g} s",
        )
    return _TempoMap(tick, np.append(0, np.cumsum(lasting * tempo)[:-1]), tempo, walked.division)


@dataclass(frozen=True)
class _Written:
    """Notes and controllers as columns, in ticks."""

    onset: Ticks
    offset: Ticks
    channel: Ticks
    pitch: Ticks
    velocity: Ticks


def _score(walked: _Walked, policy: MidiPolicy) -> Score:
    counts = walked.counts
    tempo_map = _tempo_map(walked, policy)
    end_tick = max(track.end_tick for track in walked.tracks)
    written = _written_notes(walked.tracks, policy, counts)
    tick, channel, control, value = _controllers(walked.tracks)
    is_pedal = np.isin(control, (SUSTAIN, SOSTENUTO, SOFT))
    is_sustain = control == SUSTAIN
    release = _pedal_releases(written, tick[is_sustain], channel[is_sustain], value[is_sustain] >= PEDAL_DOWN, end_tick)
    played, release = _on_a_keyboard(written, release, end_tick, policy, counts)
    if not len(played.onset):
        met = ", ".join(
            f"{counts[name]} {name}" for name in ("percussion", "outside_keyboard", "zero_length", "hanging")
        )
        raise MidiError(f"no notes to play ({met}), expected at least 1", kind="NO_NOTES")
    counts.update(
        tracks=len(walked.tracks),
        tempo_events=len(walked.tempo),
        channels=len(np.unique(played.channel)),
        pedal_channels=len(np.unique(channel[is_sustain])),
        notes=len(played.onset),
        sustained=int(np.count_nonzero(release > played.offset)),
        other_controls=int(np.count_nonzero(~is_pedal)),
    )
    return Score(
        notes=sorted_notes(
            tempo_map.seconds(played.onset),
            tempo_map.seconds(played.offset),
            played.pitch,
            played.velocity,
            tempo_map.seconds(release),
        ),
        controls=Controls(
            time_s=tempo_map.seconds(tick[is_pedal]),
            control=control[is_pedal].astype(np.uint8),
            value=value[is_pedal].astype(np.uint8),
        ),
        duration_s=float(tempo_map.seconds(np.array([end_tick]))[0]),
        declared_duration_s=walked.declared_duration_s,
        title=walked.tracks[0].name,
        counts={name: counts[name] for name in COUNTS},
    )


def _controllers(tracks: list[_Track]) -> tuple[Ticks, Ticks, Ticks, Ticks]:
    """Return tick, channel, controller and value of all tracks in order of time, percussion left out."""
    tick = np.concatenate([np.array(track.tick, np.int64) for track in tracks])
    message = np.concatenate([np.array(track.message, np.int64) for track in tracks])
    rows = np.flatnonzero((message >> 20 == CONTROL_CHANGE) & (message >> 16 & 0xF != PERCUSSION_CHANNEL))
    rows = rows[np.argsort(tick[rows], kind="stable")]
    tick, message = tick[rows], message[rows]
    return tick, message >> 16 & 0xF, message >> 8 & 0xFF, message & 0xFF


def _written_notes(tracks: list[_Track], policy: MidiPolicy, counts: Counter[str]) -> _Written:
    """Pair what begins and ends notes, each track for itself: two hands may write to one channel."""
    onset, offset, key, velocity = (array("q") for _ in range(4))
    for track in tracks:
        if not track.message:
            continue
        message = np.array(track.message, np.int64)
        status, pitch = message >> 16, message >> 8 & 0xFF
        is_note = status >> 4 != CONTROL_CHANGE
        is_percussion = is_note & (status & 0xF == PERCUSSION_CHANNEL)
        is_outside = is_note & ~is_percussion & ((pitch < LOWEST_PITCH) | (pitch > HIGHEST_PITCH))
        begins = (status >> 4 == NOTE_ON) & (message & 0xFF > 0)  # a note-on of velocity 0 is a note-off
        counts["percussion"] += int(np.count_nonzero(begins & is_percussion))
        counts["outside_keyboard"] += int(np.count_nonzero(begins & is_outside))
        rows = is_note & ~is_percussion & ~is_outside
        events = zip(  # views, not lists: a list of a hostile file's events would be 30 times the file
            memoryview(np.array(track.tick, np.int64)[rows]),
            memoryview((message >> 8 & 0xFFF)[rows]),  # channel and pitch
            memoryview(np.where(begins, message & 0xFF, 0)[rows]),
            strict=True,
        )
        for note in _pairs(events, track.end_tick, policy, counts):
            for column, number in zip((onset, offset, key, velocity), note, strict=True):
                column.append(number)
    keys = np.array(key, np.int64)
    return _Written(
        np.array(onset, np.int64),
        np.array(offset, np.int64),
        keys >> 8,
        keys & 0xFF,
        np.array(velocity, np.int64),
    )


def _pairs(
    events: Iterator[tuple[int, int, int]], end_tick: int, policy: MidiPolicy, counts: Counter[str]
) -> Iterator[tuple[int, int, int, int]]:
    """Yield onset, offset, key and velocity of a track's notes from tick, key and velocity of its events.

    An end belongs to the note of its key that began first, so where two voices of one track meet on a key, it
    stays down until both let go. (pretty_midi ends both at the first end.) That would go wrong for the rest
    of the track once an end is lost: where a key never comes to rest again, an end ends all that it can.
    """
    moving: dict[int, tuple[list[tuple[int, int]], list[int]]] = {}  # key: begun, ended since it was at rest
    for tick, key, velocity in events:
        if velocity:
            moving.setdefault(key, ([], []))[0].append((tick, velocity))
            continue
        if key not in moving:
            counts["stray_offs"] += 1
            continue
        begun, ended = moving[key]
        ended.append(tick)
        if len(ended) == len(begun):
            del moving[key]
            for (onset, loudness), offset in zip(begun, ended, strict=True):
                if onset < offset:
                    yield onset, offset, key, loudness
                else:
                    counts["zero_length"] += 1
    for key, (begun, ended) in moving.items():
        for onset, loudness in begun:
            following = bisect_right(ended, onset)
            if following < len(ended):
                yield onset, ended[following], key, loudness
                continue
            counts["hanging"] += 1
            if policy.hanging == "close" and onset < end_tick:
                yield onset, end_tick, key, loudness


def _pedal_releases(written: _Written, tick: Ticks, channel: Ticks, down: NDArray[np.bool_], end_tick: int) -> Ticks:
    """Return when each note's damper falls by its channel's sustain pedal, whichever track moves it.

    The pedal holds a note when it is down just before the key comes up. A pedal that goes down in that very
    tick comes too late: so is it played, and so the order of tracks in the file does not matter. A pedal that
    never comes up holds until the file ends.
    """
    release = written.offset.copy()
    for number in np.unique(channel):
        mine = channel == number
        changes = np.flatnonzero(np.diff(down[mine].astype(np.int8), prepend=0))  # press, lift, press, ...
        moved = np.append(tick[mine][changes], np.full(len(changes) % 2, end_tick))
        pressed, lifted = moved[0::2], moved[1::2]
        if not len(pressed):
            continue
        rows = np.flatnonzero(written.channel == number)
        offset = written.offset[rows]
        last = np.searchsorted(pressed, offset, side="left") - 1  # the last press before the key comes up
        release[rows] = np.where(last >= 0, np.maximum(offset, lifted[last]), offset)
    return release


def _on_a_keyboard(
    written: _Written, release: Ticks, end_tick: int, policy: MidiPolicy, counts: Counter[str]
) -> tuple[_Written, Ticks]:
    """Settle what one key cannot do twice at once; return the notes and when their dampers fall.

    A string that is struck again no longer sounds from before: no note outlasts the next of its key, by
    pedal, and by ``policy.overlap`` no key is held over it either.
    """
    cut = policy.overlap == "cut"
    key = written.pitch if cut else written.channel << 7 | written.pitch
    stroke = key * (end_tick + 1) + written.onset  # keys, and within a key moments, in order
    strokes, which = np.unique(stroke, return_inverse=True)
    following = np.append(strokes, NEVER)[which + 1]
    next_onset = np.where(following // (end_tick + 1) == key, following % (end_tick + 1), NEVER)
    counts["overlapping"] += int(np.count_nonzero(written.offset > next_onset))
    counts["doubled"] += len(stroke) - len(strokes)
    if not cut:
        return written, np.maximum(written.offset, np.minimum(release, next_onset))
    order = np.lexsort((-written.velocity, stroke))  # the loudest of each stroke first
    first = np.flatnonzero(np.diff(stroke[order], prepend=-1))
    loudest = order[first]
    longest = np.maximum.reduceat(written.offset[order], first) if len(first) else written.offset
    last_release = np.maximum.reduceat(release[order], first) if len(first) else release
    played = _Written(
        written.onset[loudest],
        np.minimum(longest, next_onset[loudest]),
        written.channel[loudest],
        written.pitch[loudest],
        written.velocity[loudest],
    )
    return played, np.minimum(last_release, next_onset[loudest])


# The way back


def write_midi(path: Path, notes: Notes, *, pedal: Controls | None = None, title: str | None = None) -> None:
    """Write notes, and the pedals' movements, as a MIDI file of one track: the same bytes every time.

    Times are rounded to 0.1 ms; a note keeps at least one such tick. `read_midi` gives back what was written,
    ``sounding_offset_s`` too where ``pedal`` explains it. The file ends with its last event.

    Args:
        pedal: written as it stands, on the notes' channel.
        title: becomes the track's name.

    Raises:
        ValueError: a time is negative or not a number, a pitch or velocity is none of MIDI's, or a key is
            struck while it is held, which a single channel cannot say.
    """
    timed = _note_events(notes, channel=0)
    if pedal is not None:
        ticks = _written_ticks(pedal.time_s, "pedal movement")
        timed += [
            (tick, 1, mido.Message("control_change", control=int(control), value=int(value)))
            for tick, control, value in zip(ticks, pedal.control, pedal.value, strict=True)
        ]
    head = [mido.MetaMessage("track_name", name=title)] if title is not None else []
    _save(path, [_written_track([*head, mido.MetaMessage("set_tempo", tempo=DEFAULT_TEMPO_US)], timed)], kind=0)


def write_tracks(path: Path, tracks: Sequence[tuple[str, int, Notes]]) -> None:
    """Write a track, and a channel, a player: the same bytes every time. `read_tracks` gives back what was written.

    Args:
        path: a MIDI file.
        tracks: name, General MIDI program from 0, and notes of each; times as in `write_midi`.

    Raises:
        ValueError: as `write_midi`, or there are more tracks than the 15 channels that are not for percussion.
    """
    channels = [channel for channel in range(N_CHANNELS) if channel != PERCUSSION_CHANNEL]
    if len(tracks) > len(channels):
        raise ValueError(f"{len(tracks)} tracks, expected at most {len(channels)}")
    written = [_written_track([mido.MetaMessage("set_tempo", tempo=DEFAULT_TEMPO_US)], [])]
    for channel, (name, program, notes) in zip(channels, tracks, strict=False):
        head = [
            mido.MetaMessage("track_name", name=name),
            mido.Message("program_change", program=program, channel=channel),
        ]
        written.append(_written_track(head, _note_events(notes, channel=channel)))
    _save(path, written, kind=1)


def _note_events(notes: Notes, *, channel: int) -> list[tuple[int, int, Any]]:
    """Return (tick, order at one tick, message): at one tick a key comes up before it goes down again."""
    onset, offset = _written_ticks(notes.onset_s, "onset"), _written_ticks(notes.offset_s, "offset")
    offset = np.maximum(offset, onset + 1)
    _check_playable(notes, onset, offset)
    ends = [
        (tick, 0, mido.Message("note_off", note=int(p), channel=channel))
        for tick, p in zip(offset, notes.pitch, strict=True)
    ]
    begins = [
        (tick, 2, mido.Message("note_on", note=int(pitch), velocity=int(velocity), channel=channel))
        for tick, pitch, velocity in zip(onset, notes.pitch, notes.velocity, strict=True)
    ]
    return [*ends, *begins]


def _written_track(head: Sequence[Any], timed: Sequence[tuple[int, int, Any]]) -> mido.MidiTrack:
    track = mido.MidiTrack(head)
    now = 0
    for tick, _, message in sorted(timed, key=lambda event: event[:2]):
        track.append(message.copy(time=int(tick) - now))
        now = int(tick)
    return track


def _save(path: Path, tracks: Sequence[mido.MidiTrack], *, kind: int) -> None:
    file = mido.MidiFile(type=kind, ticks_per_beat=WRITTEN_DIVISION, tracks=tracks, charset="utf-8")
    written = BytesIO()
    file.save(file=written)
    path.write_bytes(written.getvalue())


def _written_ticks(time_s: NDArray[np.float64], what: str) -> Ticks:
    wrong = ~((time_s >= 0) & (time_s <= 86_400))  # written so that NaN is refused too
    if wrong.any():
        raise ValueError(f"{what} at {time_s[wrong][0]} s, expected 0 to 86400")
    return np.rint(time_s * TICKS_PER_S).astype(np.int64)


def _check_playable(notes: Notes, onset: Ticks, offset: Ticks) -> None:
    for name, column, least in (("pitch", notes.pitch, 0), ("velocity", notes.velocity, 1)):
        wrong = (column < least) | (column > 127)
        if wrong.any():
            raise ValueError(f"{name} {column[wrong][0]}, expected {least} to 127")
    order = np.lexsort((onset, notes.pitch))
    late = (np.diff(notes.pitch[order].astype(np.int64)) == 0) & (offset[order][:-1] > onset[order][1:])
    if late.any():
        held, struck = order[np.flatnonzero(late)[0] + np.array([0, 1])]
        raise ValueError(
            f"pitch {notes.pitch[held]} is struck at {notes.onset_s[struck]} s "
            f"while it is held until {notes.offset_s[held]} s"
        )
