"""The bytes of a MIDI file as events: a strict walk that bounds what any file may cost.

What has one meaning is read though a standard forbids it, and counted; what is ambiguous or damaged is refused with
its byte.

Source:
    MIDI Manufacturers Association, Standard MIDI Files 1.0 (RP-001); MIDI 1.0 Detailed Specification 4.2.
"""

import re
import struct
from array import array
from collections import Counter
from dataclasses import dataclass, field

from tasks.instruments.midi import PEDALS, MidiError, MidiPolicy

NOTE_OFF, NOTE_ON, KEY_PRESSURE, CONTROL_CHANGE = 0x8, 0x9, 0xA, 0xB
PROGRAM_CHANGE, CHANNEL_PRESSURE, PITCH_BEND = 0xC, 0xD, 0xE
# System messages that belong on a wire, with their data bytes: each has its length, so that it can be passed over.
SYSTEM_DATA_BYTES = {0xF1: 1, 0xF2: 2, 0xF3: 1, 0xF6: 0, **dict.fromkeys(range(0xF8, 0xFF), 0)}
REALTIME = 0xF8
SYSTEM_EXCLUSIVE, ESCAPE, META = 0xF0, 0xF7, 0xFF
TEXTS = range(0x01, 0x08)  # meta events that hold words
TRACK_NAME, END_OF_TRACK, SET_TEMPO = 0x03, 0x2F, 0x51
# SMPTE time code: how many frames are counted as a second, and how long they last, in microseconds.
FRAMES = {24: (24, 1_000_000), 25: (25, 1_000_000), 29: (30, 1_001_000), 30: (30, 1_000_000)}  # 29: 30000/1001 Hz


@dataclass
class Track:
    """Events of one track that matter here; memory is bounded by the file's size, a few bytes an event."""

    index: int
    name: str | None = None
    program: int | None = None  # the first that it selects
    end_tick: int = 0
    last_event: int = 0  # byte
    end: int = 0  # byte behind its last event
    is_ended: bool = False  # by its own event
    tick: "array[int]" = field(default_factory=lambda: array("q"))  # of notes and controllers
    message: "array[int]" = field(default_factory=lambda: array("I"))  # status and two bytes: 0xSSAABB
    tempo_tick: "array[int]" = field(default_factory=lambda: array("q"))
    tempo: "array[int]" = field(default_factory=lambda: array("q"))  # microseconds a quarter note
    declared_duration_s: float | None = None
    n_note_ons: int = 0
    counts: Counter[str] = field(default_factory=Counter)


@dataclass
class Walked:
    """Events of a whole file."""

    division: int = 0  # ticks a quarter note; of a file that counts frames, ticks of a second of frames
    frames_tempo_us: int | None = None  # of such a file: how long that second is, whatever tempi stand there
    tracks: list[Track] = field(default_factory=list)
    tempo_tick: "array[int]" = field(default_factory=lambda: array("q"))
    tempo: "array[int]" = field(default_factory=lambda: array("q"))  # microseconds a quarter note
    n_map_tempi: int = 0  # of them in the first track, where the standard has the tempo map
    declared_duration_s: float | None = None
    missing_track: str | None = None  # where the file ends, and what the header lets expect there
    n_note_ons: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, track: Track) -> None:
        """Take a track as the next one of the file."""
        self.tracks.append(track)
        self.tempo_tick.extend(track.tempo_tick)
        self.tempo.extend(track.tempo)
        if len(self.tracks) == 1:
            self.n_map_tempi = len(track.tempo)
        if self.declared_duration_s is None:
            self.declared_duration_s = track.declared_duration_s
        self.n_note_ons += track.n_note_ons
        self.counts.update(track.counts)


def fault(kind: str, byte: int, what: str) -> MidiError:
    """Return an error that names a byte of the file."""
    return MidiError(f"byte {byte}: {what}", kind=kind)


def walk_file(data: bytes, policy: MidiPolicy) -> Walked:
    """Return the events of a whole file, which may stand inside RIFF (``.rmi``).

    Tracks are those that are there: one that the header counts too many is not missed where the file ends with a whole
    chunk, and one that it does not count is read. A track that declares another length than it has ends by its own
    end-of-track event, where another track or the file's end follows. Format 0 with several tracks is read as format 1,
    format 2 with one track as format 0. What was read against the standard is counted.

    Raises:
        MidiError: a byte that is ambiguous, or damage.
    """
    if not data:
        raise MidiError("0 bytes, expected a MIDI file", kind="EMPTY")
    if len(data) > policy.max_bytes:
        raise MidiError(f"{len(data)} bytes, expected at most {policy.max_bytes}", kind="TOO_LARGE")
    first, data = _inside_riff(data)
    form, n_tracks, division, position = _header(data, first)
    walked = Walked()
    walked.division, walked.frames_tempo_us = _time_base(division, first)
    tracks = walked.tracks
    while len(tracks) < n_tracks or data[position : position + 4] == b"MTrk":
        where = f"track {len(tracks) + 1} of {n_tracks}"
        if position == len(data) and 2 * len(tracks) >= n_tracks:  # with more missing than there, it was cut
            break
        if position + 8 > len(data):
            raise fault("TRUNCATED", position, f"the file ends, expected {where}")
        chunk = data[position : position + 4]
        length = int.from_bytes(data[position + 4 : position + 8], "big")
        if chunk == b"MTrk":
            position = _take_track(data, position + 8, length, where, walked, policy)
            continue
        if not (chunk.isascii() and chunk.isalnum()):
            raise fault("BAD_HEADER", position, f"chunk {chunk!r}, expected b'MTrk' ({where})")
        _check_is_whole(data, position + 8, length, where)
        walked.counts["ignored_bytes"] += 8 + length  # the standard requires readers to skip chunks of unknown type
        position += 8 + length
    if form == 2 and len(tracks) > 1:
        raise fault("BAD_HEADER", first + 8, "format 2 (patterns without one timeline), expected 0 or 1")
    walked.counts["ignored_bytes"] += len(data) - position
    walked.missing_track = f"byte {position}: the file ends, expected {where}" if len(tracks) < n_tracks else None
    walked.counts.update(
        missing_tracks=max(0, n_tracks - len(tracks)),
        uncounted_tracks=max(0, len(tracks) - n_tracks),
        other_format=int((form == 0 and len(tracks) > 1) or form == 2),
    )
    return walked


def _inside_riff(data: bytes) -> tuple[int, bytes]:
    """Return where the MIDI file begins, and the bytes to its end: of a file that is none in RIFF, all of them."""
    if data[:4] != b"RIFF" or data[8:12] != b"RMID":
        return 0, data
    position = 12
    while position + 8 <= len(data):
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        if data[position : position + 4] == b"data":
            _check_is_whole(data, position + 8, length, "of a MIDI file inside RIFF")
            return position + 8, data[: position + 8 + length]
        position += 8 + length + length % 2
    raise fault("TRUNCATED", len(data), "the file ends, expected a chunk b'data' with a MIDI file")


def _check_is_whole(data: bytes, start: int, length: int, where: str) -> None:
    if start + length > len(data):
        raise fault(
            "TRUNCATED",
            start - 4,
            f"chunk {data[start - 8 : start - 4]!r} declares {length} bytes ({where}), {len(data) - start} are left",
        )


def _header(data: bytes, first: int) -> tuple[int, int, int, int]:
    """Return format, number of tracks, the word that says how time is counted, and where the first track begins."""
    if data[first : first + 4] != b"MThd"[: len(data) - first]:
        raise fault("BAD_HEADER", first, f"{data[first : first + 4]!r}, expected b'MThd'")
    if len(data) < first + 14:
        raise fault("TRUNCATED", len(data), "the file ends in its header, expected 14 bytes")
    length, form, n_tracks, division = struct.unpack(">LHHH", data[first + 4 : first + 14])
    if length < 6:
        raise fault("BAD_HEADER", first + 4, f"header of {length} bytes, expected 6")
    after = first + 8 + length
    if after > len(data):
        raise fault("TRUNCATED", first + 4, f"header declares {length} bytes, {len(data) - first - 8} are left")
    if form > 2:
        raise fault("BAD_HEADER", first + 8, f"format {form}, expected 0 or 1")
    if n_tracks == 0 and data[after : after + 4] != b"MTrk":
        raise fault("BAD_HEADER", first + 10, "0 tracks, expected at least 1")
    return form, n_tracks, division, after


def _time_base(division: int, first: int) -> tuple[int, int | None]:
    """Return the ticks of a quarter note; or of a second of frames, and how long that lasts in microseconds."""
    if not division & 0x8000:
        if division == 0:
            raise fault("BAD_DIVISION", first + 12, "0 ticks a quarter note, expected 1 to 32767")
        return division, None
    frames, ticks = 0x100 - (division >> 8), division & 0xFF
    if frames not in FRAMES or not ticks:
        what = f"0x{division:04x} counts {ticks} ticks of {frames} frames a second"
        raise fault("BAD_DIVISION", first + 12, f"{what}, expected 24, 25, 29 or 30 frames")
    counted, lasting_us = FRAMES[frames]
    return counted * ticks, lasting_us


def _take_track(data: bytes, start: int, length: int, where: str, walked: Walked, policy: MidiPolicy) -> int:
    """Add the track whose events begin at ``start``; return where the next chunk does.

    Raises:
        MidiError: it is damaged, or neither its declared length nor its own end says where it ends.
    """
    end = start + length
    refused: MidiError | None = None
    try:
        _check_is_whole(data, start, length, where)
        track = _walk_track(data[start:end], start, walked, policy)
    except MidiError as error:
        if error.kind != "TRUNCATED":
            raise
        refused = error
    else:
        holds_another = track.end < end and data[track.end : track.end + 4] == b"MTrk"
        if not holds_another and (track.is_ended or _may_end(data, end)):
            track.counts.update(ignored_bytes=end - track.end, behind_end=end - track.end)
            walked.add(track)
            return end
    try:
        own = _walk_track(memoryview(data)[start:], start, walked, policy)  # not a copy for each track
        if own.is_ended and _may_end(data, own.end):
            own.counts["other_lengths"] += 1
            walked.add(own)
            return own.end
    except MidiError as error:
        refused = refused or error
    raise refused or fault(
        "TRUNCATED", end, f"{data[end : end + 4]!r} behind a track without an end ({where}), expected a chunk"
    )


def _may_end(data: bytes, position: int) -> bool:
    """Return whether a track may end here: before another chunk, at the end of the file, or before zeros."""
    name = data[position : position + 4]
    return not any(name) or (name.isascii() and name.isalnum())


def _walk_track(chunk: bytes | memoryview, start: int, walked: Walked, policy: MidiPolicy) -> Track:
    """Walk the events of the next track; ``start`` is where its ``chunk`` stands in the file."""
    track = Track(index=len(walked.tracks) + 1)
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
                    track.is_ended = chunk[position] == END_OF_TRACK
                    position = _meta(chunk, position, start, tick, track)
                    if track.is_ended:
                        break
                    continue
                elif byte in (SYSTEM_EXCLUSIVE, ESCAPE):
                    length, position = _variable_length(chunk, position, start)
                    _check_fits(chunk, position, length, start, "system exclusive event")
                    position += length
                    status = 0
                    continue
                elif byte in SYSTEM_DATA_BYTES:
                    for _ in range(SYSTEM_DATA_BYTES[byte]):
                        if chunk[position] & 0x80:
                            what = f"0x{chunk[position]:02x} in system message 0x{byte:02x}, expected 0 to 127"
                            raise fault("BAD_EVENT", start + position, what)
                        position += 1
                    if byte < REALTIME:  # only realtime messages leave the running status alone
                        status = 0
                    track.counts["system_messages"] += 1
                    continue
                else:
                    raise fault("BAD_EVENT", start + position - 1, f"status 0x{byte:02x}, not an event of a MIDI file")
            elif not status:
                raise fault(
                    "BAD_EVENT",
                    start + position,
                    f"data byte 0x{byte:02x}, expected a status (none is running)",
                )
            kind = status >> 4
            first = chunk[position]
            if kind in (PROGRAM_CHANGE, CHANNEL_PRESSURE):  # have one byte
                if first & 0x80:
                    if kind == PROGRAM_CHANGE:
                        raise _bad_data_byte(chunk, position, 1, start, status)
                    track.counts["unused_values"] += 1
                elif kind == PROGRAM_CHANGE and track.program is None:
                    track.program = first
                position += 1
                continue
            second = chunk[position + 1]
            if (first | second) & 0x80:
                if not _is_unused(kind, first):
                    raise _bad_data_byte(chunk, position, 2, start, status)
                track.counts["unused_values"] += 1
                second &= 0x7F
            position += 2
            if kind == NOTE_ON and second:
                n_note_ons += 1
                if n_note_ons > policy.max_notes:
                    raise fault(
                        "TOO_MANY_NOTES",
                        start + event,
                        f"note {n_note_ons} in track {track.index}, expected at most {policy.max_notes}",
                    )
            if kind in (NOTE_OFF, NOTE_ON, CONTROL_CHANGE):
                add_tick(tick)
                add_message(status << 16 | first << 8 | second)
        else:
            track.counts["unended_tracks"] += 1
    except IndexError:
        raise fault(
            "TRUNCATED",
            start + event,
            f"the event runs past the end of track {track.index} at byte {start + len(chunk)}",
        ) from None
    track.n_note_ons = n_note_ons - walked.n_note_ons
    track.end_tick, track.last_event, track.end = tick, start + event, start + position
    return track


def _is_unused(kind: int, first: int) -> bool:
    """Return whether a value over 127 changes nothing here: its event is as long with it, and is not looked at."""
    if kind == CONTROL_CHANGE:
        return first < 0x80 and first not in PEDALS
    return kind in (KEY_PRESSURE, PITCH_BEND) or (kind == NOTE_OFF and first < 0x80)


def _bad_data_byte(chunk: bytes | memoryview, position: int, n_bytes: int, start: int, status: int) -> MidiError:
    bad = next(place for place in range(position, position + n_bytes) if chunk[place] & 0x80)
    return fault(
        "BAD_EVENT",
        start + bad,
        f"0x{chunk[bad]:02x} in an event of status 0x{status:02x}, expected 0 to 127",
    )


def _variable_length(chunk: bytes | memoryview, position: int, start: int) -> tuple[int, int]:
    """Return a number of 7 bits a byte and the place after it."""
    value = 0
    for place in range(position, position + 4):
        byte = chunk[place]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + 1
    raise fault("BAD_EVENT", start + position, "a number of variable length has no end, expected 1 to 4 bytes")


def _check_fits(chunk: bytes | memoryview, position: int, length: int, start: int, what: str) -> None:
    if position + length > len(chunk):
        raise fault(
            "TRUNCATED",
            start + position,
            f"{what} declares {length} bytes, {len(chunk) - position} are left in its track",
        )


def _meta(chunk: bytes | memoryview, position: int, start: int, tick: int, track: Track) -> int:
    """Take what a meta event says; return the place after it."""
    kind = chunk[position]
    if kind & 0x80:  # of no meaning, but it says how long it is
        track.counts["unused_values"] += 1
    length, payload = _variable_length(chunk, position + 1, start)
    _check_fits(chunk, payload, length, start, f"meta event 0x{kind:02x}")
    position = payload + length
    if kind == SET_TEMPO:
        if length != 3:
            raise fault("BAD_TEMPO", start + payload, f"tempo of {length} bytes, expected 3")
        tempo = int.from_bytes(chunk[payload:position], "big")
        if not tempo:
            raise fault("BAD_TEMPO", start + payload, "tempo of 0 microseconds a quarter note, expected at least 1")
        track.tempo_tick.append(tick)
        track.tempo.append(tempo)
    elif kind in TEXTS:
        text = bytes(chunk[payload:position])
        if track.declared_duration_s is None:
            track.declared_duration_s = declared_duration_s(text)
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
