"""What is against the standard and has one meaning: read, counted and reported."""

import struct

import pytest

from tasks.instruments.midi import DEVIATIONS, MidiPolicy
from tasks.instruments.midi_reader import parse_midi

POLICY = MidiPolicy(max_bytes=10_000, max_duration_s=600.0, max_notes=100, hanging="close", overlap="cut", channels=16)
NOTE = bytes([0, 0x90, 60, 80, 0x83, 0x60, 0x80, 60, 64])  # 480 ticks
LATER = bytes([0x83, 0x60, 0x90, 62, 80, 0x83, 0x60, 0x80, 62, 64])
END = bytes([0, 0xFF, 0x2F, 0])


def chunk(body, name=b"MTrk"):
    return name + struct.pack(">L", len(body)) + body


def smf(*tracks, form=1, declared=None, division=480):
    n_tracks = len(tracks) if declared is None else declared
    return b"MThd" + struct.pack(">LHHH", 6, form, n_tracks, division) + b"".join(chunk(t + END) for t in tracks)


def read(data):
    score = parse_midi(data, POLICY, name="x.mid")
    notes = score.notes
    rows = list(zip(notes.onset_s.tolist(), notes.offset_s.tolist(), notes.pitch.tolist(), strict=True))
    return rows, score.deviations


FIRST, SECOND = (0.0, 0.5, 60), (0.5, 1.0, 62)
HARMLESS = {
    "format 0 with two tracks": (smf(NOTE, LATER, form=0), {"other_format": 1}),
    "format 2 with one track": (smf(NOTE + LATER[2:].join([b"\0", b""]), form=2), {"other_format": 1}),
    "one track too many counted": (smf(NOTE, LATER, declared=3), {"missing_tracks": 1}),
    "one track too few counted": (smf(NOTE, LATER, declared=1), {"uncounted_tracks": 1}),
    "no track counted": (smf(NOTE, LATER, declared=0), {"uncounted_tracks": 2}),
    "active sensing": (smf(b"\0\xfe" + NOTE + b"\0\xfe", LATER), {"system_messages": 2}),
    "a clock under a running status": (
        smf(bytes([0, 0x90, 60, 80, 0, 0xF8, 0x83, 0x60, 60, 0]), LATER),
        {"system_messages": 1},
    ),
    "song position, song select, tune request": (
        smf(b"\0\xf2\x01\x02\0\xf3\x05\0\xf6\0\xf1\x33" + NOTE, LATER),
        {"system_messages": 4},
    ),
    "a note-off's velocity over 127": (smf(NOTE[:-1] + b"\xff", LATER), {"unused_values": 1}),
    "a volume over 127": (smf(b"\0\xb0\x07\xff" + NOTE, LATER), {"unused_values": 1}),
    "pressure and pitch bend over 127": (
        smf(b"\0\xa0\x3c\xff\0\xd0\xff\0\xe0\xff\xff" + NOTE, LATER),
        {"unused_values": 3},
    ),
    "a meta event of no meaning": (smf(b"\0\xff\xf0\x02ab" + NOTE, LATER), {"unused_values": 1}),
}


@pytest.mark.parametrize(("data", "deviations"), HARMLESS.values(), ids=HARMLESS)
def test_a_harmless_deviation_is_read_and_counted(data, deviations):
    assert read(data) == ([FIRST, SECOND], deviations)


def test_every_deviation_of_a_files_bytes_is_tried():
    tried = {name for _, deviations in HARMLESS.values() for name in deviations}
    assert tried == {*DEVIATIONS} - {"lost_offs"}


def test_a_file_by_the_standard_deviates_in_nothing():
    assert read(smf(NOTE, LATER)) == ([FIRST, SECOND], {})


def test_chunks_and_bytes_behind_the_counted_tracks_are_passed_over():
    data = smf(NOTE, LATER) + chunk(b"alien", b"XFKM") + chunk(NOTE + END)
    assert read(data) == ([FIRST, SECOND], {})


def test_a_system_message_ends_a_running_status_and_a_clock_does_not():
    with pytest.raises(Exception, match="data byte 0x3c, expected a status") as refused:
        read(smf(bytes([0, 0x90, 60, 80, 0, 0xF6, 0x83, 0x60, 60, 0])))
    assert refused.value.kind == "BAD_EVENT"
