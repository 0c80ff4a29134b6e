"""What is against the standard and has one meaning: read, counted and reported."""

import struct
import time

import pytest

from tasks.instruments.midi import DEVIATIONS, MidiPolicy
from tasks.instruments.midi_reader import parse_midi, read_tracks

POLICY = MidiPolicy(max_bytes=10_000, max_duration_s=600.0, max_notes=100, hanging="close", overlap="cut", channels=16)
NOTE = bytes([0, 0x90, 60, 80, 0x83, 0x60, 0x80, 60, 64])  # 480 ticks
LATER = bytes([0x83, 0x60, 0x90, 62, 80, 0x83, 0x60, 0x80, 62, 64])
BOTH = NOTE + bytes([0]) + LATER[2:]
END = bytes([0, 0xFF, 0x2F, 0])


def chunk(body, name=b"MTrk", by=0):
    """Return a chunk that declares ``by`` more bytes than it has."""
    return name + struct.pack(">L", len(body) + by) + body


def smf(*tracks, form=1, declared=None, division=480):
    n_tracks = len(tracks) if declared is None else declared
    return header(n_tracks, form=form, division=division) + b"".join(chunk(t + END) for t in tracks)


def header(n_tracks, form=1, division=480):
    return b"MThd" + struct.pack(">LHHH", 6, form, n_tracks, division)


def tempo(delta, microseconds):
    return bytes([delta, 0xFF, 0x51, 3]) + microseconds.to_bytes(3, "big")


def read(data):
    score = parse_midi(data, POLICY, name="x.mid")
    notes = score.notes
    rows = list(zip(notes.onset_s.tolist(), notes.offset_s.tolist(), notes.pitch.tolist(), strict=True))
    return rows, score.deviations


FIRST, SECOND = (0.0, 0.5, 60), (0.5, 1.0, 62)
HARMLESS = {
    "format 0 with two tracks": (smf(NOTE, LATER, form=0), {"other_format": 1}),
    "format 2 with one track": (smf(BOTH, form=2), {"other_format": 1}),
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
    "a value over 127 of All Notes Off and of Reset All Controllers": (
        smf(NOTE + b"\0\xb0\x7b\xff\0\xb0\x79\xff", LATER),
        {"unused_values": 2},
    ),
    "a length that was never filled in": (header(1) + chunk(BOTH + END, by=-len(BOTH + END)), {"other_lengths": 1}),
    "the last track's length too large": (
        header(2) + chunk(NOTE + END) + chunk(LATER + END, by=9),
        {"other_lengths": 1},
    ),
    "a track's length too small": (header(2) + chunk(NOTE + END, by=-5) + chunk(LATER + END), {"other_lengths": 1}),
    "a track's length that reaches into the next": (
        header(2) + chunk(NOTE + END, by=4) + chunk(LATER + END),
        {"other_lengths": 1},
    ),
    "a track without an end": (header(2) + chunk(NOTE) + chunk(LATER + END), {"unended_tracks": 1}),
    "notes behind a track's end": (
        header(2) + chunk(NOTE + END + NOTE) + chunk(LATER + END),
        {"behind_end": len(NOTE)},
    ),
    "another tempo in another track, behind all notes": (
        smf(tempo(0, 500_000) + NOTE, LATER + tempo(0, 250_000)),
        {"tempi_elsewhere": 1},
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


@pytest.mark.parametrize("by", [-9, -1, 1, 9, 2**31])
def test_a_track_of_another_length_that_is_cut_is_refused(by):
    with pytest.raises(Exception, match=r"the event runs past|are left|behind a track") as refused:
        read(header(1) + chunk(BOTH, by=by))  # no event says where it ends
    assert refused.value.kind == "TRUNCATED"


@pytest.mark.parametrize(
    ("division", "ticks_a_second"), [(0xE828, 24 * 40), (0xE728, 1000), (0xE250, 2400), (0xE350, 30 * 80 / 1.001)]
)
def test_time_code_counts_frames_whatever_tempi_there_are(division, ticks_a_second):
    ((onset_s, offset_s, pitch),), deviations = read(
        smf(tempo(0, 250_000) + NOTE, tempo(0, 125_000), division=division)
    )
    assert (onset_s, pitch, deviations) == (0.0, 60, {})
    assert offset_s == pytest.approx(480 / ticks_a_second, rel=1e-12)


def test_tempi_of_every_track_count_and_those_that_differ_are_told():
    rows, deviations = read(smf(tempo(0, 500_000) + NOTE, bytes([0x83, 0x60, 0xFF, 0x51, 3, 3, 0xD0, 0x90]), LATER))
    assert rows == [FIRST, (0.5, 0.75, 62)]  # twice as fast from the second note on
    assert deviations == {"tempi_elsewhere": 1}
    assert read(smf(tempo(0, 500_000) + NOTE, tempo(0, 500_000) + LATER)) == ([FIRST, SECOND], {})


def test_a_file_inside_riff_is_read_as_it_stands(tmp_path):
    inner = smf(NOTE, LATER)
    listed = b"LIST" + struct.pack("<L", 3) + b"abc\0"
    body = b"RMID" + listed + b"data" + struct.pack("<L", len(inner)) + inner + b"DISP" + struct.pack("<L", 2) + b"xy"
    data = b"RIFF" + struct.pack("<L", len(body)) + body
    assert read(data) == ([FIRST, SECOND], {})
    path = tmp_path / "x.rmi"
    path.write_bytes(data)
    assert [len(track.score.notes) for track in read_tracks(path, POLICY)] == [1, 1]


def test_many_tracks_of_other_lengths_cost_no_more_than_their_bytes():
    tracks = 4000
    note = bytes([0, 0x9F, 60, 80, 1, 60, 0])
    policy = POLICY.model_copy(update={"max_bytes": 10**6, "max_notes": tracks})
    began = time.process_time()
    score = parse_midi(header(tracks) + chunk(note + END, by=-3) * tracks, policy, name="x.mid")
    assert score.deviations == {"other_lengths": tracks}
    assert time.process_time() - began < 1.0
