"""Read Standard MIDI Files as performances on a piano, or track by track.

The reader walks the bytes itself, because the readers at hand accept too much and say too little: they build
a table of every tick (gigabytes for a file of 60 bytes), drop a note that was never ended without a word, and
lose a sustain pedal that stands in a track of its own. A good file's notes are those of pretty_midi, to the
tick, save where two voices of one track meet on a key; the tests and ``benchmarks/midi.py`` compare them. A
bad file is a `MidiError` that names the byte. pretty_midi refuses files of ten million ticks, and with them
fine divisions; here a file's length in seconds is limited, not its ticks.
"""

import stat
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.instruments.midi import (
    COUNTS,
    DEFAULT_TEMPO_US,
    DEVIATIONS,
    PEDALS,
    SUSTAIN,
    Controls,
    MidiError,
    MidiPolicy,
    Score,
    Ticks,
    TrackScore,
)
from tasks.instruments.midi_events import Walked, fault, walk_file
from tasks.instruments.midi_notes import LetGo, controllers, let_go, on_a_keyboard, pedal_releases, written_notes
from tasks.instruments.notes import sorted_notes

MAX_PARTS = 64  # tracks with notes that are read one by one


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
        return _track_scores(walk_file(data, policy), policy)
    except MidiError as error:
        raise MidiError(f"{name}: {error}", kind=error.kind) from None


def _track_scores(walked: Walked, policy: MidiPolicy) -> list[TrackScore]:
    found = []
    ends = let_go(controllers(walked.tracks))
    n_parts = sum(bool(track.message) for track in walked.tracks)
    if n_parts > MAX_PARTS:
        raise MidiError(f"{n_parts} tracks with notes, expected at most {MAX_PARTS}", kind="TOO_MANY_TRACKS")
    for track in walked.tracks:
        try:
            score = _score(replace(walked, tracks=[track], counts=Counter()), policy, ends)
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
        walked = walk_file(data, policy)
        return _of_one_keyboard(_score(walked, policy, let_go(controllers(walked.tracks))), policy)
    except MidiError as error:
        raise MidiError(f"{name}: {error}", kind=error.kind) from None


def _of_one_keyboard(score: Score, policy: MidiPolicy) -> Score:
    """Return a score of no more channels than one keyboard has.

    Raises:
        MidiError: ``MANY_CHANNELS``.
    """
    n_channels = score.counts["channels"]
    if n_channels <= policy.channels:
        return score
    raise MidiError(
        f"is of several instruments ({score.merged}), expected at most {policy.channels} channels: to have them merged "
        f"to one keyboard, set ingest.midi.channels to {n_channels}",
        kind="MANY_CHANNELS",
    )


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


def _tempo_map(walked: Walked, policy: MidiPolicy) -> _TempoMap:
    """Add up the tempo events of all tracks; refuse a file that is too long before its numbers overflow."""
    event_tick = np.array(walked.tempo_tick, np.int64)
    order = np.argsort(event_tick, kind="stable")
    tick = np.append(0, event_tick[order])
    tempo = np.append(DEFAULT_TEMPO_US, np.array(walked.tempo, np.int64)[order])
    if walked.frames_tempo_us is not None:  # time code, which no tempo moves
        tick, tempo = np.zeros(1, np.int64), np.array([walked.frames_tempo_us])
    last = max(walked.tracks, key=lambda track: track.end_tick)
    lasting = np.diff(tick, append=last.end_tick)
    duration_s = float(lasting.astype(np.float64) @ tempo) / (walked.division * 1_000_000)
    if duration_s > policy.max_duration_s:
        raise fault(
            "TOO_LONG",
            last.last_event,
            f"the last event of track {last.index} (tick {last.end_tick}) is at {duration_s:.1f} s "
            f"by the tempo map, expected at most {policy.max_duration_s:g} s",
        )
    return _TempoMap(tick, np.append(0, np.cumsum(lasting * tempo)[:-1]), tempo, walked.division)


def _count_tempi_elsewhere(walked: Walked) -> int:
    """Return how many tempo events outside of the first track have another tempo than that track there has."""
    n = walked.n_map_tempi
    tick, tempo = np.array(walked.tempo_tick, np.int64), np.array(walked.tempo, np.int64)
    last = np.searchsorted(np.append(0, tick[:n]), tick[n:], side="right") - 1
    return int(np.count_nonzero(np.append(DEFAULT_TEMPO_US, tempo[:n])[last] != tempo[n:]))


def _score(walked: Walked, policy: MidiPolicy, ends: LetGo) -> Score:
    counts = walked.counts
    tempo_map = _tempo_map(walked, policy)
    end_tick = max(track.end_tick for track in walked.tracks)
    written = written_notes(walked.tracks, ends, policy, counts)
    moves = controllers(walked.tracks)
    is_pedal = np.isin(moves.control, PEDALS)
    release = pedal_releases(written, moves, ends, end_tick)
    played, release = on_a_keyboard(written, release, end_tick, policy, counts)
    if not len(played.onset):
        if walked.missing_track is not None:
            raise MidiError(walked.missing_track, kind="TRUNCATED")
        met = ", ".join(
            f"{counts[name]} {name}" for name in ("percussion", "outside_keyboard", "zero_length", "hanging")
        )
        raise MidiError(f"no notes to play ({met}), expected at least 1", kind="NO_NOTES")
    counts.update(
        tracks=len(walked.tracks),
        tempo_events=len(walked.tempo),
        tempi_elsewhere=0 if walked.frames_tempo_us is not None else _count_tempi_elsewhere(walked),
        channels=len(np.unique(written.channel)),
        pedal_channels=len(np.unique(moves.channel[moves.control == SUSTAIN])),
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
            time_s=tempo_map.seconds(moves.tick[is_pedal]),
            control=moves.control[is_pedal].astype(np.uint8),
            value=moves.value[is_pedal].astype(np.uint8),
        ),
        duration_s=float(tempo_map.seconds(np.array([end_tick]))[0]),
        declared_duration_s=walked.declared_duration_s,
        title=walked.tracks[0].name,
        counts={name: counts[name] for name in COUNTS},
        deviations={name: counts[name] for name in DEVIATIONS if counts[name]},
    )
