import os
import struct
import subprocess
import sys
import time
import tracemalloc
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import mido
import numpy as np
import pretty_midi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import BadInput
from tasks.instruments.midi import MidiError, MidiPolicy, Score
from tasks.instruments.midi_events import declared_duration_s
from tasks.instruments.midi_reader import parse_midi, read_midi

POLICY = MidiPolicy(
    max_bytes=8_000_000, max_duration_s=7200.0, max_notes=200_000, hanging="close", overlap="cut", channels=16
)
AS_WRITTEN = POLICY.model_copy(update={"hanging": "drop", "overlap": "keep"})
KINDS = {
    *("UNREADABLE", "EMPTY", "TOO_LARGE", "BAD_HEADER", "BAD_DIVISION", "BAD_TEMPO", "BAD_EVENT"),
    *("TRUNCATED", "TOO_LONG", "TOO_MANY_NOTES", "NO_NOTES"),
}

C4 = 60


def vlq(value: int) -> bytes:
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(value & 0x7F | 0x80)
    return bytes(reversed(digits))


def at(delta: int, *event: int) -> bytes:
    return vlq(delta) + bytes(event)


def on(delta: int, pitch: int = C4, velocity: int = 64, channel: int = 0) -> bytes:
    return at(delta, 0x90 | channel, pitch, velocity)


def off(delta: int, pitch: int = C4, channel: int = 0) -> bytes:
    return at(delta, 0x80 | channel, pitch, 0)


def sustain(delta: int, value: int, channel: int = 0) -> bytes:
    return at(delta, 0xB0 | channel, 64, value)


def meta(delta: int, kind: int, payload: bytes = b"") -> bytes:
    return at(delta, 0xFF, kind) + vlq(len(payload)) + payload


def tempo(delta: int, microseconds: int) -> bytes:
    return meta(delta, 0x51, microseconds.to_bytes(3, "big"))


END = meta(0, 0x2F)
HEADER = 14  # bytes before the first track
TRACK = HEADER + 8  # bytes before the first track's first event


def header(n_tracks: int = 1, *, form: int = 1, division: int = 480) -> bytes:
    return b"MThd" + struct.pack(">LHHH", 6, form, n_tracks, division)


def chunk(*events: bytes, name: bytes = b"MTrk") -> bytes:
    body = b"".join(events)
    return name + struct.pack(">L", len(body)) + body


def smf(*tracks: bytes, form: int = 1, division: int = 480) -> bytes:
    """Make a file of tracks given as the events of each, ends of track not among them."""
    return header(len(tracks), form=form, division=division) + b"".join(chunk(track, END) for track in tracks)


def riff(data: bytes, *, before: bytes = b"") -> bytes:
    """Put a file into RIFF, as ``.rmi`` files have it, behind other chunks of RIFF."""
    body = b"RMID" + before + b"data" + struct.pack("<L", len(data)) + data + bytes(len(data) % 2)
    return b"RIFF" + struct.pack("<L", len(body)) + body


def timed(events: list[tuple[int, bytes]]) -> bytes:
    """Make events of (tick, event without its time), in the order given where ticks are equal."""
    made, now = b"", 0
    for tick, event in sorted(events, key=lambda pair: pair[0]):
        made += vlq(tick - now) + event
        now = tick
    return made


def parse(data: bytes, policy: MidiPolicy = POLICY) -> Score:
    return parse_midi(data, policy, name="take.mid")


def rows(score: Score) -> list[tuple[float, float, int, int]]:
    notes = score.notes
    return list(
        zip(
            *(notes.onset_s.tolist(), notes.offset_s.tolist()),
            *(notes.pitch.tolist(), notes.velocity.tolist()),
            strict=True,
        )
    )


def ticks(seconds: np.ndarray, division: int = 480) -> list[int]:
    return np.rint(seconds * division * 2).astype(int).tolist()  # two quarter notes a second


def met(score: Score) -> dict[str, int]:
    """Return what was out of the ordinary."""
    usual = ("tracks", "tempo_events", "channels", "pedal_channels", "notes")
    return {name: count for name, count in score.counts.items() if count and name not in usual}


# The gate: one file for each fault


TEN_HOURS = 36_000
BAD_FILES = {
    "D1 zero byte": (b"", "EMPTY", "take.mid: 0 bytes, expected a MIDI file"),
    "D1 cut in the header": (smf(on(0))[:11], "TRUNCATED", "byte 11: the file ends in its header"),
    "D1 cut in the track": (
        smf(on(0) + off(480))[:-6],
        "TRUNCATED",
        "byte 18: chunk b'MTrk' declares 13 bytes (track 1 of 1), 7 are left",
    ),
    "D1 cut before the track with notes": (
        header(2) + chunk(END),
        "TRUNCATED",
        "byte 26: the file ends, expected track 2",
    ),
    "D1 cut in the next track's header": (
        header(2) + chunk(on(0), off(9), END) + b"MTrk\0",
        "TRUNCATED",
        "byte 34: the file ends, expected track 2 of 2",
    ),
    "D1 cut in an event": (
        header() + chunk(b"\x00\x90\x3c"),
        "TRUNCATED",
        f"byte {TRACK}: the event runs past",
    ),
    "D1 cut after a time": (header() + chunk(b"\x00"), "TRUNCATED", f"byte {TRACK}: the event runs past"),
    "D1 track of 4 GB": (
        header() + b"MTrk\xff\xff\xff\xff" + on(0) + off(480),
        "TRUNCATED",
        f"byte {HEADER + 4}: chunk b'MTrk' declares 4294967295 bytes (track 1 of 1), 9 are left",
    ),
    "D2 tempo 0": (
        smf(tempo(0, 0) + on(0) + off(480)),
        "BAD_TEMPO",
        f"byte {TRACK + 4}: tempo of 0 microseconds a quarter note, expected at least 1",
    ),
    "D2 tempo of 2 bytes": (smf(meta(0, 0x51, b"ab")), "BAD_TEMPO", "tempo of 2 bytes, expected 3"),
    "D2 division 0": (
        smf(on(0), division=0),
        "BAD_DIVISION",
        "byte 12: 0 ticks a quarter note, expected 1 to",
    ),
    "D3 23 frames a second": (
        smf(on(0), division=0xE928),
        "BAD_DIVISION",
        "byte 12: 0xe928 counts 40 ticks of 23 frames a second, expected 24, 25, 29 or 30 frames",
    ),
    "D3 no ticks a frame": (smf(on(0), division=0xE700), "BAD_DIVISION", "byte 12: 0xe700 counts 0 ticks of 25 frames"),
    "D4 9.9 million ticks": (
        smf(on(0) + off(9_900_000)),
        "TOO_LONG",
        "the last event of track 1 (tick 9900000) is at 10312.5 s by the tempo map, expected at most 7200 s",
    ),
    "D5 268 million ticks": (smf(on(0) + off(2**28 - 1)), "TOO_LONG", f"byte {TRACK + 11}: the last event"),
    "D5 time of 9 bytes": (
        smf(b"\x80" * 8 + b"\x00\x90\x3c\x40"),
        "BAD_EVENT",
        f"byte {TRACK}: a number of variable length has no end, expected 1 to 4 bytes",
    ),
    "D5 ten hours at 480": (smf(on(0) + off(TEN_HOURS * 960)), "TOO_LONG", "is at 36000.0 s"),
    "D6 ten hours at 24": (smf(on(0) + off(TEN_HOURS * 48), division=24), "TOO_LONG", "is at 36000.0 s"),
    "D6 by tempo alone": (smf(tempo(0, 2**24 - 1) + on(0) + off(960 * 480)), "TOO_LONG", "is at 16106.1 s"),
    "D6 numbers that overflow": (
        smf(tempo(0, 2**24 - 1) + on(0) + off(2**28 - 1) * 5000, division=1),
        "TOO_LONG",
        "is at 22517996",
    ),
    "D7 no running status": (
        smf(b"\x00\x3c\x40"),
        "BAD_EVENT",
        f"byte {TRACK + 1}: data byte 0x3c, expected a status (none is running)",
    ),
    "D7 none after system exclusive": (
        smf(on(0) + b"\x00\xf0\x01\xf7" + b"\x00\x3c\x40"),
        "BAD_EVENT",
        f"byte {TRACK + 9}: data byte 0x3c",
    ),
    "D7 data byte over 127": (
        smf(b"\x00\x90\x3c\xc8"),
        "BAD_EVENT",
        f"byte {TRACK + 3}: 0xc8 in an event of status 0x90, expected 0 to 127",
    ),
    "D7 program over 127": (smf(b"\x00\xc0\x80"), "BAD_EVENT", f"byte {TRACK + 2}: 0x80 in an event"),
    "D7 a status without a meaning": (
        smf(b"\x00\xf4\x01"),
        "BAD_EVENT",
        f"byte {TRACK + 1}: status 0xf4, not an event",
    ),
    "D7 song position without its data": (
        smf(b"\x00\xf2\x01\x90\x3c\x40"),
        "BAD_EVENT",
        f"byte {TRACK + 3}: 0x90 in system message 0xf2, expected 0 to 127",
    ),
    "D7 song position cut": (header() + chunk(b"\x00\xf2\x01"), "TRUNCATED", f"byte {TRACK}: the event runs past"),
    "D7 a pedal over 127": (
        smf(b"\x00\xb0\x40\xff"),
        "BAD_EVENT",
        f"byte {TRACK + 3}: 0xff in an event of status 0xb0, expected 0 to 127",
    ),
    "D7 a key over 127 goes up": (smf(b"\x00\x80\xff\x40"), "BAD_EVENT", f"byte {TRACK + 2}: 0xff in an event"),
    "D7 real time inside an event": (smf(b"\x00\x90\x3c\xf8\x40"), "BAD_EVENT", f"byte {TRACK + 3}: 0xf8 in an event"),
    "D8 only hanging at the end": (smf(on(480)), "NO_NOTES", "1 hanging"),
    "D9 only zero length": (smf(on(0) + off(0)), "NO_NOTES", "1 zero_length"),
    "D11 meta of 4 GB": (
        smf(b"\x00\xff\x01\x8f\xff\xff\xff\x7f"),
        "BAD_EVENT",
        f"byte {TRACK + 3}: a number of variable length has no end",
    ),
    "D11 meta of 256 MB": (
        smf(b"\x00\xff\x01\xff\xff\xff\x7f"),
        "TRUNCATED",
        f"byte {TRACK + 7}: meta event 0x01 declares 268435455 bytes, 4 are left in its track",
    ),
    "D11 system exclusive of 256 MB": (
        smf(b"\x00\xf0\xff\xff\xff\x7f"),
        "TRUNCATED",
        "system exclusive event declares 268435455 bytes",
    ),
    "D12 65535 tracks": (
        header(65535) + chunk(on(0), END),
        "TRUNCATED",
        "byte 30: the file ends, expected track 2 of 65535",
    ),
    "D12 no tracks": (header(0), "BAD_HEADER", "byte 10: 0 tracks, expected at least 1"),
    "D12 an uncounted track is cut": (
        header(1) + chunk(on(0), off(9), END) + b"MTrk\0\0\0\x09\0",
        "TRUNCATED",
        "byte 38: chunk b'MTrk' declares 9 bytes (track 2 of 1), 1 are left",
    ),
    "D13 too many notes": (
        smf((on(0) + off(1)) * 200_001),
        "TOO_MANY_NOTES",
        f"byte {TRACK + 200_000 * 8}: note 200001 in track 1, expected at most 200000",
    ),
    "D14 only outside the keyboard": (
        smf(on(0, 5) + off(480, 5) + on(0, 120) + off(480, 120)),
        "NO_NOTES",
        "no notes to play (0 percussion, 2 outside_keyboard, 0 zero_length, 0 hanging), expected at least 1",
    ),
    "only percussion": (smf(on(0, channel=9) + off(480, channel=9)), "NO_NOTES", "1 percussion"),
    "no notes at all": (smf(b""), "NO_NOTES", "expected at least 1"),
    "other magic": (b"OggS" + bytes(40), "BAD_HEADER", "byte 0: b'OggS', expected b'MThd'"),
    "RIFF of sound": (b"RIFF\x20\0\0\0WAVE" + bytes(32), "BAD_HEADER", "byte 0: b'RIFF', expected b'MThd'"),
    "RIFF without MIDI": (
        b"RIFF\x10\0\0\0RMIDLIST\4\0\0\0abcd",
        "TRUNCATED",
        "byte 24: the file ends, expected a chunk",
    ),
    "RIFF that is cut": (
        riff(smf(on(0) + off(480)))[:-6],
        "TRUNCATED",
        "byte 16: chunk b'data' declares 35 bytes (of a MIDI file inside RIFF), 30 are left",
    ),
    "RIFF of a bad file": (
        riff(smf(b"\x00\x90\x3c\xc8")),
        "BAD_EVENT",
        f"byte {20 + TRACK + 3}: 0xc8 in an event of status 0x90, expected 0 to 127",
    ),
    "header of 5 bytes": (
        b"MThd" + struct.pack(">LHHH", 5, 1, 1, 480),
        "BAD_HEADER",
        "byte 4: header of 5 bytes",
    ),
    "header of 9 bytes": (
        b"MThd" + struct.pack(">LHHH", 9, 1, 1, 480),
        "TRUNCATED",
        "declares 9 bytes, 6 are left",
    ),
    "format 2": (
        smf(on(0), on(0), form=2),
        "BAD_HEADER",
        "byte 8: format 2 (patterns without one timeline), expected 0 or 1",
    ),
    "format 9": (smf(on(0), form=9), "BAD_HEADER", "byte 8: format 9, expected 0 or 1"),
    "no chunk": (header() + b"\x00\x01\x02\x03" * 9, "BAD_HEADER", f"byte {HEADER}: chunk b'\\x00\\x01"),
    "too large": (smf(on(0)) + bytes(8_000_000), "TOO_LARGE", "8000030 bytes, expected at most 8000000"),
}


@pytest.mark.parametrize(("data", "kind", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_refused_with_its_kind_and_its_byte(data, kind, message):
    with pytest.raises(MidiError) as caught:
        parse(data)
    assert (caught.value.kind, isinstance(caught.value, BadInput)) == (kind, True)
    assert message in str(caught.value)
    assert str(caught.value).startswith("take.mid: ")
    assert "\n" not in str(caught.value)


def test_every_kind_that_bytes_can_have_is_tried():
    assert {kind for _, kind, _ in BAD_FILES.values()} == KINDS - {"UNREADABLE"}


def test_every_beginning_of_a_good_file_is_called_empty_or_truncated():
    data = smf(meta(0, 3, b"one") + tempo(0, 400_000), on(0) + off(200) + on(0, 62) + off(100, 62))
    for length in range(len(data)):
        with pytest.raises(MidiError) as caught:
            parse(data[:length])
        assert caught.value.kind == ("TRUNCATED" if length else "EMPTY")


def test_a_refusal_needs_little_time_and_memory():
    tracemalloc.start()
    began = time.process_time()
    for name in ("D4 9.9 million ticks", "D5 268 million ticks", "D6 ten hours at 24", "D11 meta of 256 MB"):
        with pytest.raises(MidiError):
            parse(BAD_FILES[name][0])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, str], ids=["folder", "pipe", "nothing"])
def test_what_is_no_file_is_unreadable_and_never_waited_for(tmp_path, make):
    path = tmp_path / "odd\nname.mid"
    make(path)
    with pytest.raises(MidiError, match=r"^'odd\\nname.mid': ") as caught:
        read_midi(path, POLICY)
    assert caught.value.kind == "UNREADABLE"


def test_a_large_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "large.mid"
    with path.open("wb") as file:
        file.truncate(10**12)  # a hole: takes no room
    with pytest.raises(MidiError, match=r"large.mid: 1000000000000 bytes, expected at most 8000000"):
        read_midi(path, POLICY)


# Notes


def test_tempo_events_and_notes_by_the_hundred_thousand_are_read_quickly():
    data = smf(tempo(1, 400_000) * 100_000, (on(0) + off(1)) * 200_000)
    began = time.process_time()
    score = parse(data)
    assert time.process_time() - began < 3.0
    assert (score.counts["tempo_events"], len(score.notes)) == (100_000, 200_000)


def test_a_note_never_ended_is_closed_with_its_track_or_dropped_and_counted():
    data = smf(on(0, 60) + on(240, 62) + off(240, 62))
    closed, dropped = parse(data), parse(data, POLICY.model_copy(update={"hanging": "drop"}))
    assert rows(closed) == [(0.0, 0.5, 60, 64), (0.25, 0.5, 62, 64)]
    assert rows(dropped) == [(0.25, 0.5, 62, 64)]
    assert met(closed) == met(dropped) == {"hanging": 1}


def test_a_lost_note_end_does_not_shift_the_ends_after_it():
    data = smf(on(0) + on(100) + off(50) + (on(50) + off(50)) * 3)
    score = parse(data)
    assert list(zip(ticks(score.notes.onset_s), ticks(score.notes.offset_s), strict=True)) == [
        *((0, 100), (100, 150)),
        *((200, 250), (300, 350), (400, 450)),
    ]
    assert met(score) == {"overlapping": 1}


def test_a_zero_length_note_is_left_out_and_counted():
    score = parse(smf(on(0, 60) + off(0, 60) + on(0, 62) + off(480, 62)))
    assert (rows(score), met(score)) == ([(0.0, 0.5, 62, 64)], {"zero_length": 1})


def test_a_stray_end_is_ignored_and_counted():
    score = parse(smf(off(0) + on(0) + off(480) + off(0)))
    assert (rows(score), met(score)) == ([(0.0, 0.5, C4, 64)], {"stray_offs": 2})


def test_a_key_struck_again_while_held_is_cut_or_kept():
    data = smf(on(0, velocity=50) + on(120, velocity=70) + off(120) + off(240))
    cut, kept = parse(data), parse(data, AS_WRITTEN)
    assert rows(cut) == [(0.0, 0.125, C4, 50), (0.125, 0.5, C4, 70)]
    assert rows(kept) == [(0.0, 0.25, C4, 50), (0.125, 0.5, C4, 70)]
    assert met(cut) == met(kept) == {"overlapping": 1}


def test_a_key_struck_twice_in_one_moment_is_one_note_the_louder_and_the_longer():
    right, left = on(0, velocity=50) + off(480), on(0, velocity=90, channel=1) + off(240, channel=1)
    cut, kept = parse(smf(right, left)), parse(smf(right, left), AS_WRITTEN)
    assert (rows(cut), met(cut)) == ([(0.0, 0.5, C4, 90)], {"doubled": 1})
    assert (sorted(rows(kept)), met(kept)) == ([(0.0, 0.25, C4, 90), (0.0, 0.5, C4, 50)], {})


def test_two_tracks_on_one_channel_each_end_their_own_notes():
    score = parse(smf(on(0) + off(960), on(240) + off(120)), AS_WRITTEN)
    assert [row[:2] for row in rows(score)] == [(0.0, 1.0), (0.25, 0.375)]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(60, 61), st.integers(0, 40), st.integers(0, 12)),
        min_size=1,
        max_size=25,
    )
)
def test_on_one_keyboard_a_key_is_never_struck_while_it_is_down(played):
    tracks = [
        timed(
            [
                event
                for channel, pitch, onset, length in played
                if channel == track
                for event in (
                    (onset, bytes((0x90 | channel, pitch, 64))),
                    (onset + length, bytes((0x80 | channel, pitch, 0))),
                )
            ]
        )
        for track in range(3)
    ]
    anchor = on(0, 70) + off(60, 70)
    score = parse(smf(*tracks, anchor, sustain(5, 127) + sustain(20, 0)))
    assert_playable(score)
    for pitch in (60, 61):
        mine = score.notes.take(score.notes.pitch == pitch)
        assert (np.diff(mine.onset_s) > 0).all()
        assert (mine.sounding_offset_s[:-1] <= mine.onset_s[1:]).all()


def test_notes_outside_the_keyboard_and_percussion_are_left_out_and_counted():
    edges = b"".join(on(0, pitch) + off(480, pitch) for pitch in (20, 21, 108, 109))
    score = parse(smf(edges, on(0, 40, channel=9) + off(9, 40, channel=9)))
    assert score.notes.pitch.tolist() == [21, 108]
    assert met(score) == {"outside_keyboard": 2, "percussion": 1}


def test_channels_and_programs_merge_to_one_keyboard():
    tracks = [
        at(0, 0xC0 | channel, 10 * channel) + on(0, 60 + channel, channel=channel) + off(480, 60 + channel, channel)
        for channel in range(9)
    ]
    score = parse(smf(*tracks))
    assert score.notes.pitch.tolist() == list(range(60, 69))
    assert (score.counts["channels"], met(score)) == (9, {})


def test_running_status_and_velocity_0_make_the_same_notes_as_full_events():
    full = smf(on(0) + off(480) + on(0, 62) + off(480, 62))
    running = smf(on(0) + at(480, C4, 0) + meta(0, 1, b"text") + at(0, 62, 64) + at(480, 62, 0))
    assert rows(parse(running)) == rows(parse(full))


def test_what_a_reader_should_pass_over_is_passed_over():
    plain = on(0) + off(480)
    odd = (
        at(0, 0xF0, 3, 1, 2, 0xF7) + at(0, 0xF7, 1, 9) + at(0, 0xE0, 0, 64) + at(0, 0xA0, C4, 9)
        + at(0, 0xD0, 9) + meta(0, 0x7F, b"vendor") + at(0, 0xB0, 7, 100) + plain
    )  # fmt: skip
    data = header() + chunk(b"alien", name=b"XFIH") + chunk(odd, END, b"after the end") + b"junk"
    score = parse(data)
    assert rows(score) == rows(parse(smf(plain)))
    assert met(score) == {"other_controls": 1, "ignored_bytes": 8 + 5 + 13 + 4}


def test_a_track_without_end_is_read_and_counted():
    score = parse(header() + chunk(on(0), off(480)))
    assert (rows(score), met(score)) == ([(0.0, 0.5, C4, 64)], {"unended_tracks": 1})


# The tempo map


def test_the_last_of_tempos_at_one_tick_holds_whatever_track_it_is_in():
    note = on(480) + off(480)
    score = parse(smf(tempo(480, 1_000_000), note + b"", tempo(480, 250_000)))
    assert rows(score) == [(0.5, 0.75, C4, 64)]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2000), st.integers(100_000, 2_000_000)), max_size=12),
    st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 500), st.integers(21, 108)), min_size=1, max_size=20),
    st.sampled_from([24, 96, 480, 960, 15360]),
)
def test_times_are_those_of_pretty_midi_and_of_exact_fractions(tempos, played, division):
    tempos = sorted(dict(tempos).items())  # one tempo a tick
    note_events, now = b"", 0
    for gap, length, pitch in played:  # one after the other: no reader disagrees about which end is whose
        note_events += on(gap, pitch) + off(length, pitch)
    data = smf(timed([(t, tempo(0, us)[1:]) for t, us in tempos]), note_events, division=division)
    score = parse(data, AS_WRITTEN)

    second = pretty_midi.PrettyMIDI(BytesIO(data))
    expected = sorted((n.start, n.end, n.pitch, n.velocity) for i in second.instruments for n in i.notes)
    np.testing.assert_allclose(rows(score), expected, rtol=0, atol=1e-9)

    def exact(tick: int) -> float:
        past, microseconds, total = 0, 500_000, Fraction(0)
        for change, next_microseconds in [*tempos, (tick, 0)]:
            total += Fraction((min(change, tick) - past) * microseconds, division * 1_000_000)
            past, microseconds = min(change, tick), next_microseconds
        return float(total)

    for (gap, length, _), row in zip(played, rows(score), strict=True):
        assert row[:2] == (exact(now + gap), exact(now + gap + length))  # to the last bit
        now += gap + length
    assert score.duration_s >= exact(now)


def test_times_are_those_of_mido():
    data = smf(
        tempo(0, 700_000) + tempo(333, 123_456) + tempo(1000, 999_999),
        on(100) + off(5000) + on(7, 62) + off(9, 62),
    )
    now, heard = 0.0, []
    for message in mido.MidiFile(file=BytesIO(data)):
        now += message.time
        if message.type in ("note_on", "note_off"):
            heard.append(now)
    score = parse(data)
    times = [time_s for row in rows(score) for time_s in row[:2]]
    assert times == pytest.approx(heard, abs=1e-9)
    assert score.duration_s == pytest.approx(now, abs=1e-9)


def test_a_fine_division_that_pretty_midi_refuses_is_read():
    data = smf(on(0) + off(32_000 * 2 * 600), division=32_000)  # ten minutes
    with pytest.raises(ValueError, match="likely corrupt"):
        pretty_midi.PrettyMIDI(BytesIO(data))
    assert rows(parse(data)) == [(0.0, 600.0, C4, 64)]


# The pedal


def sounding(score: Score, division: int = 480) -> list[tuple[int, int, int]]:
    notes = score.notes
    return list(
        zip(
            *(ticks(t, division) for t in (notes.onset_s, notes.offset_s, notes.sounding_offset_s)),
            strict=True,
        )
    )


def test_the_pedal_sustains_from_a_track_of_its_own_where_pretty_midi_loses_it():
    data = smf(b"", on(0) + off(100), sustain(50, 127) + sustain(350, 0))
    score = parse(data)
    assert sounding(score) == [(0, 100, 400)]
    assert (score.counts["sustained"], score.counts["pedal_channels"]) == (1, 1)
    assert score.controls.time_s.tolist() == [50 / 960, 400 / 960]
    assert (score.controls.control.tolist(), score.controls.value.tolist()) == ([64, 64], [127, 0])
    second = pretty_midi.PrettyMIDI(BytesIO(data))
    assert [len(instrument.control_changes) for instrument in second.instruments] == [0]


@pytest.mark.parametrize(
    ("pedal", "falls"),
    [
        ([(50, 64), (300, 63)], 300),  # 64 is down, 63 is up
        ([(50, 63), (300, 0)], 100),
        ([(50, 127), (100, 0)], 100),  # lifted with the key
        ([(100, 127), (300, 0)], 100),  # pressed with the key's end: too late
        ([(101, 127), (300, 0)], 100),
        ([(0, 127), (99, 0)], 100),
        ([(50, 127), (60, 90), (70, 127), (300, 20)], 300),  # pressed again while down
        ([(50, 127), (100, 0), (100, 127), (300, 0)], 100),  # changed with the key's end
        ([(50, 127), (99, 0), (99, 127), (300, 0)], 300),
        ([(50, 127)], 1000),  # never lifted: until the file ends
        ([(50, 127), (2000, 0)], 2000),
    ],
)
def test_the_pedal_holds_notes_whose_key_comes_up_while_it_is_down(pedal, falls):
    other = on(0, 90) + off(1000, 90)
    data = smf(on(0) + off(100), other, timed([(tick, bytes((0xB0, 64, value))) for tick, value in pedal]))
    assert sounding(parse(data))[0] == (0, 100, falls)


def test_a_note_under_the_pedal_is_cut_when_its_key_is_struck_again():
    data = smf(sustain(0, 127) + on(0) + off(100) + on(100) + off(100) + on(0, 62) + off(10, 62) + sustain(700, 0))
    assert sounding(parse(data)) == [(0, 100, 200), (200, 300, 1010), (300, 310, 1010)]


def test_a_pedal_holds_only_its_channel():
    data = smf(
        on(0, 60) + off(100, 60),
        on(0, 64, channel=1) + off(100, 64, 1),
        sustain(50, 127, 1) + sustain(350, 0, 1),
    )
    assert sounding(parse(data)) == [(0, 100, 100), (0, 100, 400)]


def test_with_overlaps_kept_only_the_same_channel_cuts_a_sustained_note():
    data = smf(sustain(0, 127) + on(0) + off(100) + sustain(800, 0), on(200, channel=1) + off(100, channel=1))
    assert sounding(parse(data)) == [(0, 100, 200), (200, 300, 300)]
    assert sounding(parse(data, AS_WRITTEN)) == [(0, 100, 900), (200, 300, 300)]


PEDAL = st.lists(st.tuples(st.integers(0, 60), st.sampled_from([0, 40, 63, 64, 127])), max_size=12)
PLAYED = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 12), st.integers(60, 62)), min_size=1, max_size=12)


@settings(deadline=None)
@given(PLAYED, PEDAL)
def test_the_pedal_agrees_with_a_piano_played_tick_by_tick(played, pedal):
    note_events, spans, now = b"", [], 0
    for gap, length, pitch in played:
        note_events += on(gap, pitch) + off(length, pitch)
        spans.append((now + gap, now + gap + length, pitch))
        now += gap + length
    pedal = sorted(pedal, key=lambda move: move[0])
    alone = smf(note_events, timed([(tick, bytes((0xB0, 64, value))) for tick, value in pedal]))
    end = max([now, *(tick for tick, _ in pedal)])

    def damper(onset: int, offset: int, pitch: int) -> int:
        again = min((later for later, _, other in spans if other == pitch and later > onset), default=end)
        down = False
        for tick in range(end + 1):
            moves = [value >= 64 for when, value in pedal if when == tick]
            if tick >= offset and (tick >= again or not down or not all(moves)):
                return tick
            if moves:
                down = moves[-1]
        return max(end, offset)

    expected = [(onset, offset, damper(onset, offset, pitch)) for onset, offset, pitch in spans]
    assert sounding(parse(alone)) == sorted(expected)


@settings(deadline=None)
@given(PLAYED, PEDAL)
def test_it_does_not_matter_which_track_of_its_channel_a_pedal_stands_in(played, pedal):
    notes, now = [], 0
    for gap, length, pitch in played:
        notes += [(now + gap, bytes((0x90, pitch, 64))), (now + gap + length, bytes((0x80, pitch, 0)))]
        now += gap + length
    moves = [(tick, bytes((0xB0, 64, value))) for tick, value in sorted(pedal, key=lambda move: move[0])]
    readings = [
        sounding(parse(smf(*tracks, form=form)))
        for tracks, form in [
            ((timed(notes), timed(moves)), 1),
            ((timed(moves), timed(notes)), 1),
            ((timed(notes + moves),), 0),
            ((timed(moves + notes),), 0),
        ]
    ]
    assert readings.count(readings[0]) == 4


# What the file says of itself


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Dauer: 1:36 Minuten\n", 96),
        ("Dauer: 2:56  Minuten\n", 176),
        ("Dauer:  2.:55 Minuten\n", 175),
        ("Dauer:1:20 Minuten\n", 80),
        ("Dauer: 1:31\n", 91),
        ("Dauer3:06  Minuten\n", 186),
        ("Dauer: 2:24. Minuten\n", 144),
        ("Dauer:  3: 15 Minuten\n", 195),
        ("Duration = 1:02:03", 3723),
        ("Präludium, Dauer: 12:44 Minuten", 764),
        ("Normierung: 23.12.2002\n", None),
        ("Takt 13: 6/4 statt 3/4", None),
        ("Dauer: 2:75", None),
        ("Dauer: 1:234", None),
        ("Dauer: lang", None),
        ("Ausdauer: 1:36", None),
        ("", None),
    ],
)
def test_a_declared_duration_is_read_in_the_forms_that_files_use(text, seconds):
    assert declared_duration_s(text.encode("latin-1")) == seconds


def test_looking_for_a_duration_takes_time_in_proportion_to_the_text():
    began = time.process_time()
    for text in (b"dauer" + b" " * 10**6, b"dauer " * 10**5, b"dauer 1" * 10**5, b"1" * 10**6):
        assert declared_duration_s(text) is None
    assert time.process_time() - began < 1.0


@settings(deadline=None)
@given(st.integers(1, 7000), st.integers(-60, 60))
def test_a_declared_duration_is_compared_and_never_refused(length_s, too_long_s):
    declared = max(length_s - too_long_s, 0)
    text = f"Dauer: {declared // 60}:{declared % 60:02} Minuten\n".encode()
    score = parse(smf(meta(0, 1, text), on(0) + off(960 * length_s)))
    assert (score.duration_s, score.declared_duration_s) == (length_s, declared)
    assert score.declared_error_s == length_s - declared


def test_a_file_that_declares_nothing_has_no_error():
    score = parse(smf(on(0) + off(480)))
    assert (score.declared_duration_s, score.declared_error_s, score.title) == (None, None, None)


@pytest.mark.parametrize(
    ("raw", "title"),
    [
        (b" Etueden \n Opus 109\x00", "Etueden Opus 109"),
        ("Prélude".encode(), "Prélude"),
        ("Prélude".encode("latin-1"), "Prélude"),
        (b" \x07 ", None),
    ],
)
def test_the_title_is_the_first_tracks_name_in_printable_letters(raw, title):
    assert parse(smf(meta(0, 3, raw), meta(0, 3, b"right hand") + on(0) + off(480))).title == title


# Hostile bytes


def assert_playable(score: Score) -> None:
    notes = score.notes
    assert len(notes) == score.counts["notes"] > 0
    assert all(len(column) == len(notes) for column in notes.columns().values())
    assert (notes.onset_s >= 0).all()
    assert (notes.offset_s > notes.onset_s).all()
    assert (notes.sounding_offset_s >= notes.offset_s).all()
    assert notes.sounding_offset_s.max() <= score.duration_s <= POLICY.max_duration_s
    assert (np.diff(notes.onset_s) >= 0).all()
    assert ((notes.pitch >= 21) & (notes.pitch <= 108)).all()
    assert ((notes.velocity >= 1) & (notes.velocity <= 127)).all()
    assert (np.diff(score.controls.time_s) >= 0).all()


def refusal(data: bytes) -> MidiError | None:
    """Return the error of a file that is refused, None after a look at the notes of one that is read."""
    try:
        score = parse(data)
    except MidiError as error:
        return error
    assert_playable(score)
    return None


def assert_read_or_refused(data: bytes) -> None:
    error = refusal(data)
    if error is not None:
        assert error.kind in KINDS
        assert str(error).isprintable()


GOOD = smf(
    meta(0, 3, b"Study") + meta(0, 1, b"Dauer: 0:05 Minuten\n") + tempo(0, 500_000) + tempo(960, 430_000),
    b"".join(on(60, 60 + step, 40 + step) + at(240, 60 + step, 0) for step in range(12)),
    b"".join(on(200, 40 + step, channel=1) + off(100, 40 + step, 1) for step in range(6)),
    (sustain(300, 127) + sustain(200, 0)) * 5 + at(10, 0xF0, 2, 5, 0xF7) + at(0, 0xC0, 3),
)


def test_the_good_file_is_good():
    score = parse(GOOD)
    assert_playable(score)
    assert (len(score.notes), score.title, score.declared_duration_s) == (18, "Study", 5.0)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["set", "insert", "delete", "cut"]),
            st.integers(0, len(GOOD) - 1),
            st.binary(min_size=1, max_size=6),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_any_change_of_bytes_gives_notes_or_a_named_refusal(changes):
    data = bytearray(GOOD)
    for change, place, new in changes:
        if change == "set":
            data[place : place + len(new)] = new
        elif change == "insert":
            data[place:place] = new
        elif change == "delete":
            del data[place : place + len(new)]
        else:
            del data[max(place, 1) :]
    assert_read_or_refused(bytes(data))


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_in_a_track_give_notes_or_a_named_refusal(body):
    assert_read_or_refused(header() + chunk(body))


@pytest.mark.slow
def test_ten_thousand_damaged_files_take_little_time_and_memory_each():
    rng = np.random.default_rng(0)
    tracemalloc.start()
    longest_s, largest = 0.0, 0
    n_read = 0
    for _ in range(10_000):
        data = np.frombuffer(GOOD, np.uint8).copy()
        places = rng.integers(0, len(data), rng.integers(1, 9))
        data[places] = rng.integers(0, 256, len(places))
        tracemalloc.reset_peak()
        before, began = tracemalloc.get_traced_memory()[0], time.process_time()
        error = refusal(data.tobytes())
        n_read += error is None
        assert error is None or error.kind in KINDS
        longest_s = max(longest_s, time.process_time() - began)
        largest = max(largest, tracemalloc.get_traced_memory()[1] - before)
    tracemalloc.stop()
    assert longest_s < 1.0
    assert largest < 300e6
    assert 1000 < n_read < 9000  # both ways were tried


# The kernel's own high-water mark: ru_maxrss begins with what the parent process used.
MEASURE = """
import sys, time
from pathlib import Path
from tasks.instruments.midi import MidiPolicy
from tasks.instruments.midi_reader import read_midi

def used():
    status = Path("/proc/self/status").read_text().split()
    return time.process_time(), int(status[status.index("VmHWM:") + 1]) * 1024

before = used()
policy = MidiPolicy.model_validate_json(sys.argv[2])
read_midi(Path(sys.argv[1]), policy)
print(*(after - begun for after, begun in zip(used(), before)))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        (on(0) + off(1)) * 199_000,
        off(1) + at(1, C4, 0) * 2_600_000,
        tempo(1, 400) * 1_100_000,
        meta(0, 1, b"dauer") * 800_000,
        on(0) * 199_000 + off(1) * 199_000,
        on(0) * 199_000,
    ],
    ids=["notes", "stray ends", "tempos", "texts", "one key held over and over", "never let go"],
)
def test_a_file_of_the_largest_size_takes_seconds_and_300_mb(tmp_path, body):
    path = tmp_path / "large.mid"
    path.write_bytes(smf(on(0, 90) + off(1, 90) + body))
    assert path.stat().st_size < POLICY.max_bytes
    command = [sys.executable, "-c", MEASURE, str(path), POLICY.model_dump_json()]
    measured = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    cpu_s, memory = (float(number) for number in measured.split())
    assert cpu_s < 15
    assert memory < 300e6
