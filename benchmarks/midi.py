"""Read MIDI files beside pretty_midi, its notes compared one by one: ``python -m benchmarks.midi --midi DIR``.

Without a folder the files are made here: études of random notes with a pedal, the same ones every time.
"""

import argparse
import time
import warnings
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pretty_midi

from tasks.instruments.midi import SUSTAIN, Controls, MidiPolicy, Score
from tasks.instruments.midi_reader import read_midi
from tasks.instruments.midi_writer import write_midi
from tasks.instruments.notes import sorted_notes

# Notes as they are written, which is what pretty_midi returns.
POLICY = MidiPolicy(
    max_bytes=8_000_000, max_duration_s=7200, max_notes=200_000, hanging="drop", overlap="keep", channels=16
)

Row = tuple[float, float, int, int]  # onset, offset, pitch, velocity


def make_files(folder: Path, *, n_files: int = 20, n_notes: int = 2500) -> None:
    rng = np.random.default_rng(0)
    for number in range(n_files):
        onset_s = np.arange(n_notes) * 0.1 + rng.uniform(0, 0.05, n_notes)
        notes = sorted_notes(
            onset_s,
            onset_s + rng.uniform(0.05, 0.9, n_notes),
            # A walk over ten notes, each of them in its own register: no key is struck while it is held.
            21 + 8 * (np.arange(n_notes) % 10) + rng.integers(0, 8, n_notes),
            rng.integers(20, 110, n_notes),
        )
        moves_s = np.arange(0, n_notes * 0.1, 1.0)
        pedal = Controls(
            time_s=moves_s,
            control=np.full(len(moves_s), SUSTAIN, np.uint8),
            value=np.where(np.arange(len(moves_s)) % 2 == 0, 127, 0).astype(np.uint8),
        )
        write_midi(folder / f"etude_{number:02}.mid", notes, pedal=pedal, title=f"Étude {number}")


def read_second(path: Path) -> pretty_midi.PrettyMIDI:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tempo events in later tracks
        return pretty_midi.PrettyMIDI(str(path))


def rows_of_score(score: Score) -> list[Row]:
    notes = score.notes
    columns = (notes.onset_s, notes.offset_s, notes.pitch, notes.velocity)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def rows_of_second(second: pretty_midi.PrettyMIDI) -> list[Row]:
    return [
        (note.start, note.end, note.pitch, note.velocity)
        for instrument in second.instruments
        if not instrument.is_drum
        for note in instrument.notes
        if 21 <= note.pitch <= 108
    ]


def in_microseconds(rows: list[Row]) -> Counter[Row]:
    def rounded(time_s: float) -> int:
        return round(time_s * 1e6 + 0.0003)  # many times are half microseconds, which would round both ways

    return Counter((rounded(on), rounded(off), pitch, velocity) for on, off, pitch, velocity in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--midi", type=Path, help="folder of MIDI files, read with the folders in it")
    folder = parser.parse_args().midi
    with TemporaryDirectory() as made:
        if folder is None:
            folder = Path(made)
            make_files(folder)
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".mid", ".midi"))
        compare(files)


def compare(files: list[Path]) -> None:
    read_midi(files[0], POLICY)  # whatever is done once is not timed
    read_second(files[0])

    began = time.process_time()
    scores = [read_midi(path, POLICY) for path in files]
    ours_s = time.process_time() - began
    began = time.process_time()
    seconds = [read_second(path) for path in files]
    theirs_s = time.process_time() - began

    n_notes = sum(len(score.notes) for score in scores)
    hours = sum(score.duration_s for score in scores) / 3600
    print(f"{len(files)} files, {n_notes} notes, {hours:.2f} h, one core")
    print(f"read_midi    {ours_s:6.2f} s CPU")
    print(f"pretty_midi  {theirs_s:6.2f} s CPU   {theirs_s / ours_s:.1f} times as long")

    n_equal = n_other_end = n_other = 0
    furthest_s = 0.0
    for score, second in zip(scores, seconds, strict=True):
        ours, theirs = rows_of_score(score), rows_of_second(second)
        equal = in_microseconds(ours) & in_microseconds(theirs)
        n_equal += equal.total()
        begins = Counter((on, pitch, velocity) for on, _, pitch, velocity in in_microseconds(ours).elements())
        begins &= Counter((on, pitch, velocity) for on, _, pitch, velocity in in_microseconds(theirs).elements())
        n_other_end += begins.total() - equal.total()
        n_other += max(len(ours), len(theirs)) - begins.total()
        ours_end, theirs_end = (max(row[1] for row in rows) for rows in (ours, theirs))
        furthest_s = max(furthest_s, abs(ours_end - theirs_end))
    n_met = sum(score.counts["overlapping"] for score in scores)
    print(f"notes equal to the microsecond: {n_equal}")
    print(f"only their ends differ: {n_other_end} ({n_met} notes' keys are struck again while they are held)")
    print(f"other differences: {n_other}")
    print(f"ends of the last notes differ by at most {furthest_s:.1e} s")

    moves = sum(int(np.count_nonzero(score.controls.control == SUSTAIN)) for score in scores)
    seen = sum(
        change.number == SUSTAIN
        for second in seconds
        for instrument in second.instruments
        for change in instrument.control_changes
    )
    n_sustained = sum(score.counts["sustained"] for score in scores)
    print(f"sustain pedal: {moves} movements, pretty_midi has {seen}; {n_sustained} notes sound on under it")

    errors_s = [score.declared_error_s for score in scores if score.declared_error_s is not None]
    if errors_s:
        within = ", ".join(f"{np.percentile(np.abs(errors_s), part):.1f} s for {part} %" for part in (50, 95, 100))
        print(f"declared durations: {len(errors_s)} files, off by at most {within}")


if __name__ == "__main__":
    main()
