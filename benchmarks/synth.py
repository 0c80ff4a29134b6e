"""Seconds of sound a second on one core, beside ``pretty_midi.fluidsynth`` on the same notes."""

import argparse
from pathlib import Path
from time import process_time
from types import SimpleNamespace

import numpy as np
import pretty_midi

from tasks.instruments.notes import Notes, sorted_notes
from tasks.instruments.synth import SOUNDFONT_SHA256, Synthesizer, find_soundfont

SAMPLE_RATE = 48000
TAIL_S = 2.0


def made_up_song() -> pretty_midi.PrettyMIDI:
    """Return two minutes of arpeggios with chords and pedal, for those who have no files at hand."""
    random = np.random.default_rng(0)
    song = pretty_midi.PrettyMIDI(initial_tempo=120)
    piano = pretty_midi.Instrument(0)
    for beat in range(960):
        start = beat / 8
        pitches = [36 + int(random.integers(0, 50))] + ([40, 47, 52] if beat % 8 == 0 else [])
        length_s = 1.0 if beat % 8 == 0 else 0.2
        piano.notes += [
            pretty_midi.Note(int(random.integers(30, 100)), pitch, start, start + length_s) for pitch in pitches
        ]
        if beat % 8 == 0:
            piano.control_changes.append(pretty_midi.ControlChange(64, 0, start))
            piano.control_changes.append(pretty_midi.ControlChange(64, 127, start + 0.05))
    song.instruments.append(piano)
    return song


def columns(song: pretty_midi.PrettyMIDI) -> tuple[Notes, SimpleNamespace]:
    notes = [note for instrument in song.instruments for note in instrument.notes]
    moves = [move for instrument in song.instruments for move in instrument.control_changes]
    moves.sort(key=lambda move: move.time)
    return sorted_notes(
        np.array([note.start for note in notes]),
        np.array([note.end for note in notes]),
        np.array([note.pitch for note in notes]),
        np.array([note.velocity for note in notes]),
    ), SimpleNamespace(
        time_s=np.array([move.time for move in moves]),
        control=np.array([move.number for move in moves], np.uint8),
        value=np.array([move.value for move in moves], np.uint8),
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--midi", type=Path, help="folder of MIDI files; without it, a made-up song")
    parser.add_argument("--every", type=int, default=25, help="of a folder, use every n-th file")
    arguments = parser.parse_args()
    if arguments.midi:
        files = sorted(arguments.midi.rglob("*.mid"))[:: arguments.every]
        songs = [pretty_midi.PrettyMIDI(str(file)) for file in files]
    else:
        songs = [made_up_song()]

    synthesizer = Synthesizer(find_soundfont(), sha256=SOUNDFONT_SHA256, sample_rate=SAMPLE_RATE, gain=1.0)
    seconds = ours = theirs = peak = 0.0
    for song in songs:
        notes, controls = columns(song)
        start = process_time()
        audio = synthesizer.render(notes, controls, program=0, duration_s=song.get_end_time() + TAIL_S)
        ours += process_time() - start
        start = process_time()
        song.fluidsynth(fs=SAMPLE_RATE)
        theirs += process_time() - start
        seconds += song.get_end_time()
        peak = max(peak, float(np.abs(audio).max()))
    print(f"synthesis of {len(songs)} songs, {seconds / 60:.0f} minutes, one core, real time times:", end=" ")
    print(
        f"audiate {seconds / ours:.0f}, pretty_midi {seconds / theirs:.0f}, ratio {theirs / ours:.2f};",
        end=" ",
    )
    print(f"loudest sample {peak:.3f} (goal 140)")


if __name__ == "__main__":
    main()
