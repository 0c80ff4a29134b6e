"""Channel-mode messages, lost ends and overlaps: files are written by mido, answers are worked out by hand."""

import struct
import time
from io import BytesIO

import mido
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.instruments.midi import MidiError, MidiPolicy
from tasks.instruments.midi_reader import parse_midi, read_tracks

POLICY = MidiPolicy(
    max_bytes=8_000_000, max_duration_s=7200.0, max_notes=200_000, hanging="close", overlap="cut", channels=16
)
KEEP = POLICY.model_copy(update={"overlap": "keep"})
SUSTAIN = 64
END = 4000  # ticks; the file goes on for long, so that a note that is not ended is seen
LET_GO = (120, 123, 124, 125, 126, 127)


def on(tick, pitch=60, channel=0, velocity=64):
    return tick, mido.Message("note_on", note=pitch, velocity=velocity, channel=channel)


def off(tick, pitch=60, channel=0):
    return tick, mido.Message("note_off", note=pitch, velocity=0, channel=channel)


def control(tick, number, value=0, channel=0):
    return tick, mido.Message("control_change", control=number, value=value, channel=channel)


def written(*tracks):
    """Write tracks of (tick, message), in the order given where ticks are equal; each ends at tick END."""
    made = []
    for events in tracks:
        track, now = mido.MidiTrack(), 0
        for tick, message in [*sorted(events, key=lambda event: event[0]), (END, mido.MetaMessage("end_of_track"))]:
            track.append(message.copy(time=tick - now))
            now = tick
        made.append(track)
    file = BytesIO()
    mido.MidiFile(type=1, ticks_per_beat=500, tracks=made).save(file=file)  # 1000 ticks a second
    return file.getvalue()


def read(*tracks, policy=POLICY):
    return parse_midi(written(*tracks), policy, name="x.mid")


def ends(score):
    """Return (onset, pitch, when the key comes up, when the sound ends) in ticks."""
    notes = score.notes
    columns = (notes.onset_s * 1000, notes.pitch, notes.offset_s * 1000, notes.sounding_offset_s * 1000)
    return [tuple(round(float(value)) for value in row) for row in zip(*columns, strict=True)]


def spans(score):
    return [(onset, offset) for onset, _, offset, _ in ends(score)]


# Channel-mode messages


@pytest.mark.parametrize("number", LET_GO)
def test_every_key_of_a_channel_is_let_go_of(number):
    score = read([on(0, 60), on(100, 62), control(500, number), on(600, 64), control(900, number)])
    assert ends(score) == [(0, 60, 500, 500), (100, 62, 500, 500), (600, 64, 900, 900)]
    assert score.counts["hanging"] == score.counts["stray_offs"] == 0
    assert score.deviations == {}


@pytest.mark.parametrize("number", [121, 122, 119])
def test_other_controllers_end_no_note(number):
    score = read([on(0), control(500, number), off(900)])
    assert ends(score) == [(0, 60, 900, 900)]


@pytest.mark.parametrize("number", LET_GO)
def test_what_the_pedal_holds_sounds_on_unless_all_sound_is_off(number):
    score = read([control(0, SUSTAIN, 127), on(10), off(100), on(200, 62), control(500, number), control(800, SUSTAIN)])
    falls = 500 if number == 120 else 800
    assert ends(score) == [(10, 60, 100, falls), (200, 62, 500, falls)]


def test_after_all_sound_off_the_pedal_is_still_down():
    score = read([control(0, SUSTAIN, 127), on(10), control(100, 120), on(200), off(300), control(700, SUSTAIN)])
    assert ends(score) == [(10, 60, 100, 100), (200, 60, 300, 700)]


def test_reset_all_controllers_lifts_the_pedals_that_are_down_and_only_those():
    score = read(
        [
            *(control(0, 121), control(10, SUSTAIN, 127), control(10, 67, 90), on(20), off(100), control(500, 121)),
            *(on(600, 62), off(700, 62), control(800, 121)),
        ]
    )
    assert ends(score) == [(20, 60, 100, 500), (600, 62, 700, 700)]
    moves = zip(
        (score.controls.time_s * 1000).round().tolist(), score.controls.control, score.controls.value, strict=True
    )
    assert list(moves) == [(10, 64, 127), (10, 67, 90), (500, 64, 0), (500, 67, 0)]


def test_a_pedal_that_is_pressed_behind_a_reset_in_one_moment_is_down():
    score = read([on(0), control(50, SUSTAIN, 127), control(60, 121), control(60, SUSTAIN, 127), off(100)])
    assert ends(score) == [(0, 60, 100, END)]


def test_mode_messages_act_on_their_channel_in_every_track():
    hands = [on(0, 60), on(0, 48, 1), off(900, 48, 1)], [on(100, 72), off(3000, 72)], [control(500, 123)]
    expected = [(0, 48, 900, 900), (0, 60, 500, 500), (100, 72, 500, 500)]
    assert sorted(ends(read(*hands))) == expected
    assert sorted(ends(read(*hands[::-1]))) == expected


def test_a_note_that_begins_in_the_moment_of_a_let_go_is_kept_unless_its_own_track_lets_go_behind_it():
    assert spans(read([on(500), off(900)], [control(500, 123)])) == [(500, 900)]
    assert spans(read([control(500, 123), on(500), off(900)])) == [(500, 900)]
    score = read([on(500), control(500, 123), on(600, 62), off(700, 62)])
    assert (ends(score), score.counts["zero_length"]) == ([(600, 62, 700, 700)], 1)


def test_a_part_ends_where_another_track_lets_go_of_its_channel(tmp_path):
    path = tmp_path / "parts.mid"
    path.write_bytes(written([on(0), off(3000)], [on(0, 62, 1), off(100, 62, 1), control(500, 123)]))
    assert [spans(part.score) for part in read_tracks(path, POLICY)] == [[(0, 500)], [(0, 100)]]


def test_percussion_is_let_go_of_by_itself():
    assert spans(read([on(0), on(0, 40, 9), control(500, 123, channel=9), off(900)])) == [(0, 900)]


MOVES = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from(["on", "off", 64, 64, 120, 121, 123]), st.integers(0, 2)),
    min_size=1,
    max_size=25,
)


@settings(deadline=None)
@given(MOVES)
def test_modes_and_pedal_agree_with_a_piano_played_tick_by_tick(moves):
    """Ticks are all different, so that nothing rests on the order within one."""
    moves = sorted({tick: (what, value) for tick, what, value in moves}.items())
    events, held, sounding, is_down, expected = [], {}, {}, False, []
    for tick, (what, value) in moves:
        pitch = 60 + value
        if what == "on":
            if pitch in held:
                continue  # another test's
            events.append(on(tick, pitch))
            if pitch in sounding:
                expected[sounding.pop(pitch)][3] = tick
            held[pitch] = len(expected)
            expected.append([tick, pitch, END, END])
        elif what == "off":
            if pitch not in held:
                continue
            events.append(off(tick, pitch))
            row = held.pop(pitch)
            expected[row][2] = expected[row][3] = tick
            if is_down:
                sounding[pitch] = row
        else:
            events.append(control(tick, what, 127 if what == 64 and value else 0))
            if what in (120, 123):
                for pitch, row in held.items():
                    expected[row][2] = expected[row][3] = tick
                    if is_down and what == 123:
                        sounding[pitch] = row
                held.clear()
            if what == 64:
                is_down = bool(value)
            if what == 121:
                is_down = False
            if not is_down or what == 120:
                for row in sounding.values():
                    expected[row][3] = tick
                sounding.clear()
    for row in sounding.values():
        expected[row][3] = END
    events += [on(3000, 100), off(3001, 100)]
    expected.append([3000, 100, 3001, END if is_down else 3001])
    assert ends(read(events)) == [tuple(row) for row in sorted(expected)]


# A lost end


def repeated(n=8, *, lost=(), length=200):
    """A key struck n times, 400 ticks apart, held for ``length``; the ends of some strokes are lost."""
    events = []
    for number in range(n):
        events.append(on(number * 400))
        if number not in lost:
            events.append(off(number * 400 + length))
    return events


@pytest.mark.parametrize("policy", [POLICY, KEEP], ids=["cut", "keep"])
@pytest.mark.parametrize("length", [110, 200, 399])
@pytest.mark.parametrize("stray", [[], [off(3900)], [off(3900), off(3950)]], ids=["none", "one", "two"])
def test_a_lost_end_shifts_no_other_whatever_comes_at_the_end(policy, length, stray):
    right = spans(read(repeated(length=length)))
    score = read(repeated(lost=[2], length=length) + stray, policy=policy)
    assert spans(score) == [(800, 1200) if onset == 800 else (onset, offset) for onset, offset in right]
    assert score.deviations == {"lost_offs": 1}
    assert score.counts["overlapping"] == 1
    assert score.counts["stray_offs"] == len(stray)
    assert score.counts["hanging"] == 0


def test_a_lost_end_is_mended_before_keys_are_let_go_of():
    score = read([*repeated(lost=[0]), on(3500), control(3600, 123)])
    assert spans(score)[:2] == [(0, 400), (400, 600)]
    assert spans(score)[-1] == (3500, 3600)
    assert score.deviations == {"lost_offs": 1}


def test_the_last_end_lost_is_a_hanging_note():
    score = read(repeated(3, lost=[2]))
    assert spans(score) == [(0, 200), (400, 600), (800, END)]
    assert (score.counts["hanging"], score.deviations) == (1, {})


# Deliberate overlaps


def test_an_end_behind_the_next_stroke_of_the_same_moment_is_the_older_notes():
    legato = [on(0)] + [event for n in range(1, 6) for event in (on(n * 400), off(n * 400))] + [off(2400)]
    for policy in (POLICY, KEEP):
        score = read(legato, policy=policy)
        assert spans(score) == [(n * 400, n * 400 + 400) for n in range(6)]
        assert (score.deviations, score.counts["zero_length"]) == ({}, 0)


@pytest.mark.parametrize("reach", [1, 20, 90])
def test_a_legato_that_reaches_into_the_next_note_keeps_its_ends(reach):
    events = [event for n in range(6) for event in (on(n * 400), off(n * 400 + 400 + reach))]
    assert spans(read(events, policy=KEEP)) == [(n * 400, n * 400 + 400 + reach) for n in range(6)]
    cut = read(events)
    assert spans(cut) == [*((n * 400, n * 400 + 400) for n in range(5)), (2000, 2400 + reach)]
    assert (cut.counts["overlapping"], cut.deviations) == (5, {})


def test_two_voices_that_meet_on_a_key_keep_their_ends():
    events = [on(0), on(120), off(240), off(480)]
    assert spans(read(events, policy=KEEP)) == [(0, 240), (120, 480)]
    assert spans(read(events)) == [(0, 120), (120, 480)]


def test_strokes_under_a_long_note_of_the_same_key_keep_their_lengths():
    score = read([on(0), *repeated(4)[2:], off(2000)])
    assert spans(score) == [(0, 400), (400, 600), (800, 1000), (1200, 1400)]
    assert (score.deviations, score.counts["stray_offs"]) == ({"lost_offs": 1}, 1)


def test_two_channels_on_a_key_are_two_instruments_or_one_keyboard():
    events = [on(0), on(100, channel=1), off(300), off(500, channel=1)]
    assert sorted(spans(read(events, policy=KEEP))) == [(0, 300), (100, 500)]
    assert spans(read(events)) == [(0, 100), (100, 500)]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=2, max_size=12), st.data())
def test_any_one_lost_end_leaves_all_other_notes_as_they_were(played, data):
    events, right, now = [], [], 0
    for gap, length in played:
        events += [on(now + gap), off(now + gap + length)]
        right.append((now + gap, now + gap + length))
        now += gap + length
    lost = data.draw(st.integers(0, len(played) - 1))
    del events[2 * lost + 1]
    found = spans(read(events))
    assert found[:lost] + found[lost + 1 :] == right[:lost] + right[lost + 1 :]
    assert found[lost] == (right[lost][0], right[lost + 1][0] if lost + 1 < len(right) else END)


# Cost


ON, OFF, LET_GO_OF_ALL = b"\0\x90\x3c\x40", b"\1\x80\x3c\0", b"\1\xb0\x7b\0"
COSTLY = {
    "let go again and again": [ON, LET_GO_OF_ALL * 100_000],
    "many tracks let go of one another": [(ON + LET_GO_OF_ALL * 500)] * 200,
    "reset under pedals": [ON + OFF, b"\1\xb0\x40\x7f\1\xb0\x79\0" * 50_000],
    "one key held, let go and held": [(ON + ON + LET_GO_OF_ALL + OFF) * 20_000],
    "a legato without end": [ON + b"\0\x90\x3c\x40\1\x80\x3c\0" * 40_000],
}


@pytest.mark.parametrize("bodies", COSTLY.values(), ids=COSTLY)
def test_messages_by_the_hundred_thousand_are_read_in_seconds(bodies):
    data = b"MThd" + struct.pack(">LHHH", 6, 1, len(bodies), 500)
    data += b"".join(b"MTrk" + struct.pack(">L", len(body)) + body for body in bodies)
    began = time.process_time()
    parse_midi(data, POLICY, name="x.mid")
    assert time.process_time() - began < 2.0


# Many channels


def test_a_file_of_many_channels_is_refused_unless_it_is_asked_for_and_says_what_was_merged():
    """Twelve instruments play one key in turn, two of them at once, and two that overlap."""
    tracks = [[on(200 * n, 60, n + (n > 8)), off(200 * n + 100, 60, n + (n > 8))] for n in range(12)]
    tracks[1] = [on(0, 60, 1, velocity=90), off(50, 60, 1)]  # with the first
    tracks[3] = [on(500, 60, 3), off(650, 60, 3)]  # while the third (at 400) is struck: up at 500
    tracks[2] = [on(400, 60, 2), off(600, 60, 2)]
    data = written(*tracks)
    two_hands = POLICY.model_copy(update={"channels": 2})
    counted = "12 melodic channels, 11 notes, 1 doubled, 1 overlapping"
    with pytest.raises(MidiError) as refused:
        parse_midi(data, two_hands, name="band.mid")
    assert refused.value.kind == "MANY_CHANNELS"
    assert str(refused.value) == (
        f"band.mid: is of several instruments ({counted}), expected at most 2 channels: to have them merged to one "
        "keyboard, set ingest.midi.channels to 12"
    )
    assert parse_midi(data, POLICY, name="band.mid").notices == [f"merged to one keyboard: {counted}"]


def test_two_hands_are_one_keyboard_and_percussion_is_no_channel_of_it():
    two_hands = POLICY.model_copy(update={"channels": 2})
    score = read([on(0, 72), off(300, 72)], [on(0, 48, 1), off(300, 48, 1)], [on(0, 40, 9)], policy=two_hands)
    assert score.notices == ["merged to one keyboard: 2 melodic channels, 2 notes, 0 doubled, 0 overlapping"]
    assert read([on(0), off(300)], policy=two_hands).notices == []


def test_parts_that_are_read_one_by_one_may_be_many_and_not_endless(tmp_path):
    path = tmp_path / "band.mid"
    two_hands = POLICY.model_copy(update={"channels": 2})
    for n in (12, 64, 65):
        path.write_bytes(written(*([on(0, 60, 0), off(100, 60, 0)] for _ in range(n))))
        if n < 65:
            assert len(read_tracks(path, two_hands)) == n
    with pytest.raises(MidiError, match="65 tracks with notes, expected at most 64") as refused:
        read_tracks(path, two_hands)
    assert refused.value.kind == "TOO_MANY_TRACKS"
