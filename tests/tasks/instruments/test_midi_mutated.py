"""MIDI files changed at random, as ``benchmarks/fuzz.py --mutated`` does by the thousand, and a good one beside."""

import runpy
import time
from pathlib import Path

import numpy as np
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from tasks.instruments.midi import MidiPolicy
from tasks.instruments.midi_reader import parse_midi

POLICY = MidiPolicy(max_bytes=10**6, max_duration_s=7200, max_notes=10_000, hanging="close", overlap="cut", channels=16)
ROOT = Path(__file__).parents[3]
FUZZ = runpy.run_path(str(ROOT / "benchmarks" / "fuzz.py"))
mutated, read_as_midi = FUZZ["mutated"], FUZZ["read_as_midi"]
ORIGINALS = FUZZ["seeds"]("midi", ROOT / "data" / "sample")
GOOD = (ROOT / "data" / "sample" / "midi" / "etude_thirds.mid").read_bytes()
NOTES = parse_midi(GOOD, POLICY, name="good.mid").notes.columns()


@seed(13)
@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(ORIGINALS) - 1), st.integers(0, 2**32 - 1))
def test_a_changed_file_is_read_or_refused_in_words_and_changes_no_other(which, number):
    data = mutated(ORIGINALS[which], np.random.default_rng(number))
    began = time.process_time()
    read_as_midi(data)  # raises whatever is no `MidiError`, and for notes that cannot be
    assert time.process_time() - began < 5.0
    if number % 10 == 0:
        again = parse_midi(GOOD, POLICY, name="good.mid").notes.columns()
        assert all((again[name] == column).all() for name, column in NOTES.items())


def test_changed_files_are_both_read_and_refused():
    rng = np.random.default_rng(0)
    read = [read_as_midi(mutated(ORIGINALS[number % len(ORIGINALS)], rng)) for number in range(60)]
    assert 0 < sum(read) < len(read)
