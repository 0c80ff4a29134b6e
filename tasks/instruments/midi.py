"""Standard MIDI Files: what is said of them here, by readers and writers.

`tasks.instruments.midi_reader` reads them, `tasks.instruments.midi_writer` writes them.

Source:
    MIDI Manufacturers Association, Standard MIDI Files 1.0 (RP-001); MIDI 1.0 Detailed Specification 4.2.
"""

from dataclasses import dataclass, fields
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tasks.errors import BadInput
from tasks.instruments.notes import Notes
from tasks.params import Section

LOWEST_PITCH = 21  # A0
HIGHEST_PITCH = 108  # C8
N_CHANNELS = 16
PERCUSSION_CHANNEL = 9  # called 10 by people
SUSTAIN, SOSTENUTO, SOFT = 64, 66, 67  # the three pedals' controllers
PEDALS = (SUSTAIN, SOSTENUTO, SOFT)
PEDAL_DOWN = 64  # least value of a pressed sustain pedal
DEFAULT_TEMPO_US = 500_000  # microseconds a quarter note until a file says otherwise

Ticks = NDArray[np.int64]


class MidiError(BadInput):
    """A MIDI file that cannot be used.

    The message names the file, the byte, what stands there and what was expected. Kinds: ``UNREADABLE``,
    ``EMPTY``, ``TOO_LARGE``, ``BAD_HEADER``, ``BAD_DIVISION``, ``BAD_TEMPO``, ``BAD_EVENT``, ``TRUNCATED``,
    ``TOO_LONG``, ``TOO_MANY_NOTES``, ``NO_NOTES``, ``MANY_CHANNELS``,
    ``TOO_MANY_TRACKS``.
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
        channels: how many channels with notes one keyboard's file may have, percussion not among them: two hands. A
            file of more is refused, since a piano does not play what an orchestra does; 16 merges any.
    """

    max_bytes: Annotated[int, Field(ge=1)]
    max_duration_s: Annotated[float, Field(gt=0, le=86_400)]
    max_notes: Annotated[int, Field(ge=1)]
    hanging: Literal["close", "drop"]
    overlap: Literal["cut", "keep"]
    channels: Annotated[int, Field(ge=1, le=N_CHANNELS)]


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
            ``other_controls`` (controllers that are no pedal), ``unended_tracks`` (without an
            end-of-track event), ``ignored_bytes`` (after the end of a track, after the last track, in chunks
            of unknown kind).
        deviations: what is against the standard, has one meaning and was read; only what was met is there:
            ``missing_tracks`` (fewer than the header counts), ``uncounted_tracks`` (more), ``other_lengths`` (tracks
            that declare another length than they have, and end by their own event), ``unended_tracks`` (the same
            number as among the counts), ``behind_end`` (bytes of a track behind its end, not read), ``other_format``
            (0 with several tracks, 2 with one), ``tempi_elsewhere`` (tempo events in other tracks than the first, with
            another tempo), ``system_messages`` (of a wire, passed over), ``unused_values`` (over 127 where nothing
            rests on them), ``lost_offs`` (notes that only the next stroke of their key ended).
    """

    notes: Notes
    controls: Controls
    duration_s: float
    declared_duration_s: float | None
    title: str | None
    counts: dict[str, int]
    deviations: dict[str, int]

    @property
    def declared_error_s(self) -> float | None:
        """How much longer the file is than it says it is; None when it says nothing."""
        return None if self.declared_duration_s is None else self.duration_s - self.declared_duration_s

    @property
    def notices(self) -> list[str]:
        """What a person should know of the file before they trust it, a sentence each; of most files nothing."""
        found = []
        if self.counts["channels"] > 1:
            found.append(f"merged to one keyboard: {self.merged}")
        if self.deviations:
            met = ", ".join(f"{name} {count}" for name, count in self.deviations.items())
            found.append(f"read against the standard: {met}")
        return found

    @property
    def merged(self) -> str:
        """What merging the channels to one keyboard came to, for a message."""
        counts = self.counts
        return (
            f"{counts['channels']} melodic channels, {counts['notes']} notes, {counts['doubled']} doubled, "
            f"{counts['overlapping']} overlapping"
        )


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
    "tracks",
    "tempo_events",
    "channels",
    "pedal_channels",
    "notes",
    "hanging",
    "zero_length",
    "overlapping",
    "doubled",
    "stray_offs",
    "outside_keyboard",
    "percussion",
    "sustained",
    "other_controls",
    "unended_tracks",
    "ignored_bytes",
)
DEVIATIONS = (
    "missing_tracks",
    "uncounted_tracks",
    "other_lengths",
    "unended_tracks",
    "behind_end",
    "other_format",
    "tempi_elsewhere",
    "system_messages",
    "unused_values",
    "lost_offs",
)
