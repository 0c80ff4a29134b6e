"""Write notes and pedals as Standard MIDI Files: the same bytes every time."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import mido
import numpy as np
from numpy.typing import NDArray

from tasks.instruments.midi import DEFAULT_TEMPO_US, N_CHANNELS, PERCUSSION_CHANNEL, Controls, Ticks
from tasks.instruments.notes import Notes

WRITTEN_DIVISION = 5000  # ticks a quarter note in files of ours: 0.1 ms a tick at the default tempo
TICKS_PER_S = WRITTEN_DIVISION * 1_000_000 // DEFAULT_TEMPO_US


def write_midi(path: Path, notes: Notes, *, pedal: Controls | None = None, title: str | None = None) -> None:
    """Write notes, and the pedals' movements, as a MIDI file of one track: the same bytes every time.

    Times are rounded to 0.1 ms; a note keeps at least one such tick. ``read_midi`` gives back what was written,
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
    """Write a track, and a channel, a player: the same bytes every time. ``read_tracks`` gives back what was written.

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
