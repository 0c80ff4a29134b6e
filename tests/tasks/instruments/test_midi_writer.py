"""What is written as MIDI, read back by our reader and by pretty_midi."""

import numpy as np
import pretty_midi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.instruments.midi import Controls, MidiPolicy, Score
from tasks.instruments.midi_reader import read_midi
from tasks.instruments.midi_writer import write_midi
from tasks.instruments.notes import Notes, sorted_notes

POLICY = MidiPolicy(
    max_bytes=8_000_000, max_duration_s=7200.0, max_notes=200_000, hanging="close", overlap="cut", channels=16
)
USUAL = ("tracks", "tempo_events", "channels", "pedal_channels", "notes", "sustained")


def rows(score: Score) -> list[tuple[float, float, int, int]]:
    notes = score.notes
    columns = (notes.onset_s, notes.offset_s, notes.pitch, notes.velocity)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@st.composite
def written_notes(draw: st.DrawFn) -> Notes:
    """Draw notes on the grid of 0.1 ms, no key struck while it is held."""
    columns: list[tuple[float, float, int, int]] = []
    for pitch in draw(st.lists(st.integers(21, 108), min_size=1, max_size=4, unique=True)):
        now = 0
        spans = st.tuples(st.integers(0, 30_000), st.integers(1, 100_000), st.integers(1, 127))
        for gap, length, velocity in draw(st.lists(spans, min_size=1, max_size=6)):
            columns.append(((now + gap) / 10_000, (now + gap + length) / 10_000, pitch, velocity))
            now += gap + length
    onset, offset, pitch, velocity = (np.array(column) for column in zip(*columns, strict=True))
    return sorted_notes(onset, offset, pitch, velocity)


@st.composite
def pedals(draw: st.DrawFn) -> Controls:
    moves = st.tuples(st.integers(0, 500_000), st.sampled_from([64, 66, 67]), st.integers(0, 127))
    drawn = sorted(draw(st.lists(moves, max_size=8)), key=lambda move: move[0])
    return Controls(
        time_s=np.array([move[0] / 10_000 for move in drawn], np.float64),
        control=np.array([move[1] for move in drawn], np.uint8),
        value=np.array([move[2] for move in drawn], np.uint8),
    )


@settings(deadline=None)
@given(notes=written_notes(), pedal=pedals(), title=st.sampled_from([None, "Étude in C", "練習"]))
def test_reading_gives_back_what_was_written(tmp_path_factory, notes, pedal, title):
    path = tmp_path_factory.mktemp("midi") / "written.mid"
    write_midi(path, notes, pedal=pedal, title=title)
    score = read_midi(path, POLICY)
    for name in ("onset_s", "offset_s", "pitch", "velocity"):
        np.testing.assert_array_equal(getattr(score.notes, name), getattr(notes, name))
    for name, column in pedal.columns().items():
        np.testing.assert_array_equal(getattr(score.controls, name), column)
    assert (score.title, {name for name, count in score.counts.items() if count} - {*USUAL}) == (title, set())

    # Written again from what was read, dampers and all, it is the same file.
    again = path.with_name("again.mid")
    write_midi(again, score.notes, pedal=score.controls, title=score.title)
    assert again.read_bytes() == path.read_bytes()


def test_a_written_file_is_read_by_pretty_midi(tmp_path):
    notes = sorted_notes(np.array([0.25, 1.0]), np.array([0.75, 1.5]), np.array([60, 72]), np.array([1, 127]))
    write_midi(tmp_path / "two.mid", notes)
    (piano,) = pretty_midi.PrettyMIDI(str(tmp_path / "two.mid")).instruments
    assert [(n.start, n.end, n.pitch, n.velocity) for n in piano.notes] == rows(read_midi(tmp_path / "two.mid", POLICY))


def test_a_note_too_short_to_write_keeps_one_tick(tmp_path):
    notes = sorted_notes(np.array([1.0]), np.array([1.00001]), np.array([60]), np.array([64]))
    write_midi(tmp_path / "short.mid", notes)
    assert rows(read_midi(tmp_path / "short.mid", POLICY)) == [(1.0, 1.0001, 60, 64)]


@pytest.mark.parametrize(
    ("onset", "offset", "pitch", "velocity", "message"),
    [
        (
            [0.0, 0.5],
            [1.0, 2.0],
            [60, 60],
            [64, 64],
            "pitch 60 is struck at 0.5 s while it is held until 1.0 s",
        ),
        ([-0.1], [1.0], [60], [64], "onset at -0.1 s, expected 0 to 86400"),
        ([0.0], [np.nan], [60], [64], "offset at nan s"),
        ([0.0], [1.0], [128], [64], "pitch 128, expected 0 to 127"),
        ([0.0], [1.0], [60], [0], "velocity 0, expected 1 to 127"),
    ],
)
def test_notes_that_a_file_cannot_say_are_not_written(tmp_path, onset, offset, pitch, velocity, message):
    notes = sorted_notes(np.array(onset), np.array(offset), np.array(pitch), np.array(velocity))
    with pytest.raises(ValueError, match=message):
        write_midi(tmp_path / "wrong.mid", notes)
    assert not (tmp_path / "wrong.mid").exists()
