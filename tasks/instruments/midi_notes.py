"""Notes from the events of MIDI tracks: in ticks, which are exact.

Channel-mode messages (controllers 120 to 127) act on their channel, whatever track they stand in. All Notes Off (123),
and the changes of mode 124 to 127, which are one too, let go of every key of the channel: what the pedal holds sounds
on. All Sound Off (120) ends the sound as well. Reset All Controllers (121) lifts the pedals. Local Control (122) is of
a keyboard's own wires. How many voices a receiver then has (126, 127) is not a matter of keys.

Source:
    MIDI 1.0 Detailed Specification 4.2, Channel Mode Messages; RP-015, Response to Reset All Controllers.
"""

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.instruments.midi import (
    HIGHEST_PITCH,
    LOWEST_PITCH,
    N_CHANNELS,
    PEDAL_DOWN,
    PEDALS,
    PERCUSSION_CHANNEL,
    SUSTAIN,
    MidiPolicy,
    Ticks,
)
from tasks.instruments.midi_events import CONTROL_CHANGE, NOTE_ON, Track

NEVER = np.iinfo(np.int64).max  # a tick after every other
ALL_SOUND_OFF, RESET_ALL_CONTROLLERS, ALL_NOTES_OFF = 120, 121, 123  # those above 123 let go of all keys too
LET_GO = -1  # in place of a velocity: it ends all notes of its channel
LEGATO = 0.25  # notes of a legato overlap for less than this share of the time


@dataclass(frozen=True)
class Written:
    """Notes as columns, in ticks."""

    onset: Ticks
    offset: Ticks
    channel: Ticks
    pitch: Ticks
    velocity: Ticks


@dataclass(frozen=True)
class Moves:
    """Controllers of all tracks as columns, in order of time; percussion is left out."""

    tick: Ticks
    channel: Ticks
    control: Ticks
    value: Ticks


@dataclass(frozen=True)
class LetGo:
    """When all keys of a channel are let go of, and when all its sound ends: ticks in order, by channel."""

    keys: Mapping[int, Ticks]
    sound: Mapping[int, Ticks]


def let_go(moves: Moves) -> LetGo:
    """Return what a file's channel-mode messages end."""
    sound = moves.control == ALL_SOUND_OFF
    return LetGo(
        *(
            {int(channel): moves.tick[rows & (moves.channel == channel)] for channel in np.unique(moves.channel[rows])}
            for rows in (sound | (moves.control >= ALL_NOTES_OFF), sound)
        )
    )


def controllers(tracks: Sequence[Track]) -> Moves:
    """Return the controllers of all tracks; where controllers are reset, the pedals that were not up go up."""
    tick = np.concatenate([np.array(track.tick, np.int64) for track in tracks])
    message = np.concatenate([np.array(track.message, np.int64) for track in tracks])
    rows = np.flatnonzero((message >> 20 == CONTROL_CHANGE) & (message >> 16 & 0xF != PERCUSSION_CHANNEL))
    rows = rows[np.argsort(tick[rows], kind="stable")]
    tick, message = tick[rows], message[rows]
    moves = Moves(tick, message >> 16 & 0xF, message >> 8 & 0xFF, message & 0xFF)
    return _with_resets(moves) if (moves.control == RESET_ALL_CONTROLLERS).any() else moves


def _with_resets(moves: Moves) -> Moves:
    """Put a movement to 0 after each reset, for each pedal of its channel that is not at 0."""
    pedals = np.flatnonzero(np.isin(moves.control, (*PEDALS, RESET_ALL_CONTROLLERS)))
    value: dict[tuple[int, int], int] = {}
    after, lifted = array("q"), array("q")
    columns = (moves.channel[pedals].data, moves.control[pedals].data, moves.value[pedals].data)
    for row, channel, control, moved_to in zip(pedals.data, *columns, strict=True):
        if control != RESET_ALL_CONTROLLERS:
            value[channel, control] = moved_to
            continue
        for pedal in PEDALS:
            if value.pop((channel, pedal), 0):
                after.append(row)
                lifted.append(pedal)
    rows = np.array(after, np.int64)
    return Moves(
        np.insert(moves.tick, rows + 1, moves.tick[rows]),
        np.insert(moves.channel, rows + 1, moves.channel[rows]),
        np.insert(moves.control, rows + 1, np.array(lifted, np.int64)),
        np.insert(moves.value, rows + 1, 0),
    )


def written_notes(tracks: Sequence[Track], ends: LetGo, policy: MidiPolicy, counts: Counter[str]) -> Written:
    """Pair what begins and ends notes, each track for itself: two hands may write to one channel.

    Args:
        tracks: of the file, or one of them.
        ends: of the whole file: a channel's keys are let go of in every track.
        policy: what becomes of notes that are never ended.
        counts: what was met is added.
    """
    pairing = _Pairing(policy, counts)
    for track in tracks:
        if track.message:
            pairing.take(_note_events(track, ends, counts), track.end_tick)
    return pairing.written()


@dataclass(frozen=True)
class _Events:
    """What begins and ends the notes of a track, as columns in order of time."""

    tick: Ticks
    key: NDArray[np.int16]  # channel and pitch
    velocity: NDArray[np.int16]  # 0 ends a note, LET_GO all of the channel


def _note_events(track: Track, ends: LetGo, counts: Counter[str]) -> _Events:
    message = np.array(track.message, np.int64)
    status, first = message >> 16, message >> 8 & 0xFF
    is_control = status >> 4 == CONTROL_CHANGE
    is_percussion = status & 0xF == PERCUSSION_CHANNEL
    is_outside = ~is_control & ~is_percussion & ((first < LOWEST_PITCH) | (first > HIGHEST_PITCH))
    begins = (status >> 4 == NOTE_ON) & (message & 0xFF > 0)  # a note-on of velocity 0 is a note-off
    lets_go = is_control & ((first == ALL_SOUND_OFF) | (first >= ALL_NOTES_OFF))
    counts["percussion"] += int(np.count_nonzero(begins & is_percussion))
    counts["outside_keyboard"] += int(np.count_nonzero(begins & is_outside))
    rows = (~is_control | lets_go) & ~is_percussion & ~is_outside
    events = _Events(
        np.array(track.tick, np.int64)[rows],
        (message >> 8 & 0xFFF)[rows].astype(np.int16),
        np.where(lets_go, LET_GO, np.where(begins, message & 0xFF, 0))[rows].astype(np.int16),
    )
    return _with_other_tracks(events, ends) if ends.keys else events


def _with_other_tracks(events: _Events, ends: LetGo) -> _Events:
    """Put in where other tracks let go of the keys that are down: before what this track does in the same tick."""
    tick, key = [], []
    for channel, let_go_at in ends.keys.items():
        mine = events.key >> 8 == channel
        begun = events.tick[mine & (events.velocity > 0)]
        own = events.tick[mine & (events.velocity == LET_GO)]
        following = np.unique(np.searchsorted(let_go_at, begun, side="right"))  # the next one after each stroke
        others = np.setdiff1d(let_go_at[following[following < len(let_go_at)]], own)
        tick.append(others)
        key.append(np.full(len(others), channel << 8, np.int16))
    ticks, keys = np.concatenate(tick), np.concatenate(key)
    order = np.argsort(ticks, kind="stable")
    before = np.searchsorted(events.tick, ticks[order], side="left")
    return _Events(
        np.insert(events.tick, before, ticks[order]),
        np.insert(events.key, before, keys[order]),
        np.insert(events.velocity, before, np.int16(LET_GO)),
    )


class _Pairing:
    """Pairs what begins and ends the notes of each key, channel and track.

    Where two voices of one track meet on a key, an end belongs to the note that began first (pretty_midi ends both at
    the first end). That would go wrong for every later note once an end is lost. So where a key is struck three times
    and more before it comes to rest, or never does, a stroke ends the note before it, and an end the newest note; what
    is left over is counted. Unless it is a legato: notes that reach a little into the next.
    """

    def __init__(self, policy: MidiPolicy, counts: Counter[str]) -> None:
        self._policy, self._counts = policy, counts
        self._moving: list[dict[int, _Stretch]] = [{} for _ in range(N_CHANNELS)]  # by key, since it was at rest
        self._found = [array("q") for _ in range(4)]  # onset, offset, channel and pitch, velocity

    def written(self) -> Written:
        onset, offset, key, velocity = (np.array(column, np.int64) for column in self._found)
        return Written(onset, offset, key >> 8, key & 0xFF, velocity)

    def take(self, events: _Events, end_tick: int) -> None:
        """Take the events of a track, which ends at ``end_tick``."""
        # Views, not lists: a list of a hostile file's events would be 30 times the file.
        columns = events.tick.data, events.key.data, events.velocity.data
        for tick, key, velocity in zip(*columns, strict=True):
            moving = self._moving[key >> 8]
            if velocity > 0:
                moving.setdefault(key, _Stretch([], [])).begun.append((tick, velocity))
            elif velocity == LET_GO:
                for name, held in moving.items():
                    self._newest_first(name, held, tick)
                moving.clear()
            elif key not in moving:
                self._counts["stray_offs"] += 1
            else:
                self._end(moving, key, tick)
        for moving in self._moving:
            for name, held in moving.items():
                self._newest_first(name, held, end_tick, is_hanging=True)
            moving.clear()

    def _end(self, moving: "dict[int, _Stretch]", key: int, tick: int) -> None:
        stretch = moving[key]
        stretch.ended.append((tick, len(stretch.begun)))
        if len(stretch.ended) < len(stretch.begun):
            return
        del moving[key]
        if len(stretch.begun) < 3 or stretch.is_legato():
            for (onset, velocity), (offset, _) in zip(stretch.begun, stretch.ended, strict=True):
                self._add(onset, offset, key, velocity)
        else:
            self._newest_first(key, stretch, tick)

    def _newest_first(self, key: int, stretch: "_Stretch", end_tick: int, *, is_hanging: bool = False) -> None:
        """Give each stroke the ends that come while it is the newest; without one it ends where the next begins.

        Args:
            key: channel and pitch.
            stretch: since the key was at rest.
            end_tick: where the last stroke ends if no end of its own does it.
            is_hanging: whether nothing but the track's end does it.
        """
        ended = iter(stretch.ended)
        end = next(ended, None)
        first = 0
        while first < len(stretch.begun):
            onset = stretch.begun[first][0]
            last = first
            while last < len(stretch.begun) and stretch.begun[last][0] == onset:  # struck twice in one moment
                last += 1
            following = stretch.begun[last][0] if last < len(stretch.begun) else NEVER
            ends: list[int] = []
            # An end in the tick of the next stroke that stands behind it is meant for this one.
            while end is not None and (end[1] <= last or (not ends and end[0] <= following)):
                ends.append(end[0])
                end = next(ended, None)
            struck = stretch.begun[first:last]
            first = last
            if ends:
                self._counts["stray_offs"] += max(0, len(ends) - len(struck))
            elif following < NEVER:
                self._counts["lost_offs"] += len(struck)
                self._counts["overlapping"] += len(struck)
            elif is_hanging:
                self._counts["hanging"] += len(struck)
                if self._policy.hanging == "drop" or onset >= end_tick:
                    continue
            for place, (_, velocity) in enumerate(struck):
                offset = ends[min(place, len(ends) - 1)] if ends else min(following, end_tick)
                self._add(onset, offset, key, velocity)

    def _add(self, onset: int, offset: int, key: int, velocity: int) -> None:
        if onset < offset:
            for column, number in zip(self._found, (onset, offset, key, velocity), strict=True):
                column.append(number)
        else:
            self._counts["zero_length"] += 1


@dataclass
class _Stretch:
    """The strokes and ends of one key since it was at rest.

    Attributes:
        begun: tick and velocity of each stroke.
        ended: tick of each end, and how many strokes stand before it.
    """

    begun: list[tuple[int, int]]
    ended: list[tuple[int, int]]

    def is_legato(self) -> bool:
        """Return whether, from the second stroke to the last, notes are only a small part of the time two at once."""
        second, last = self.begun[1][0], self.begun[-1][0]
        overlapping, n_ended = 0, 0
        for place, (tick, _) in enumerate(self.begun[:-1], start=1):
            following = self.begun[place][0]
            while n_ended < len(self.ended) and self.ended[n_ended][1] <= place:
                if place - n_ended >= 2:
                    overlapping += self.ended[n_ended][0] - tick
                tick = self.ended[n_ended][0]
                n_ended += 1
            if place - n_ended >= 2:
                overlapping += following - tick
        return overlapping < LEGATO * (last - second)


def pedal_releases(written: Written, moves: Moves, ends: LetGo, end_tick: int) -> Ticks:
    """Return when each note's damper falls by its channel's sustain pedal, whichever track moves it.

    The pedal holds a note when it is down just before the key comes up. A pedal that goes down in that very
    tick comes too late: so is it played, and so the order of tracks in the file does not matter. A pedal that
    never comes up holds until the file ends. Where all sound of a channel ends, so does what a pedal holds.
    """
    rows = moves.control == SUSTAIN
    tick, channel, down = moves.tick[rows], moves.channel[rows], moves.value[rows] >= PEDAL_DOWN
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
    for number, silent_at in ends.sound.items():
        rows = np.flatnonzero(written.channel == number)
        following = np.append(silent_at, NEVER)[np.searchsorted(silent_at, written.offset[rows], side="left")]
        release[rows] = np.minimum(release[rows], following)
    return release


def on_a_keyboard(
    written: Written, release: Ticks, end_tick: int, policy: MidiPolicy, counts: Counter[str]
) -> tuple[Written, Ticks]:
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
    played = Written(
        written.onset[loudest],
        np.minimum(longest, next_onset[loudest]),
        written.channel[loudest],
        written.pitch[loudest],
        written.velocity[loudest],
    )
    return played, np.minimum(last_release, next_onset[loudest])
