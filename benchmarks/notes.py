"""Notes from sound: `audiate notes` beside basic-pitch on the same files.

    python -m benchmarks.notes --midi FOLDER --soundfont FILE --basic-pitch PYTHON

Single keys: every key of the piano at three velocities. Pieces: 40 s of pieces of a folder, with their pedal. Both
are played with TimGM6mb, which the decision was fitted to (on music made up for it, on no piece), and with the
SoundFont given, which nothing was fitted to. Score: onset F1 at 50 ms and the same pitch (mir_eval), mean over files.
basic-pitch runs with its own settings, in the environment whose python is given; ONNX is used where it is installed.
"""

import argparse
import hashlib
import json
import subprocess
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import mir_eval.transcription
import numpy as np
import soundfile
from numpy.typing import NDArray

from tasks.instruments.midi import Controls, MidiPolicy
from tasks.instruments.midi_reader import read_midi
from tasks.instruments.notes import Notes, sorted_notes
from tasks.instruments.synth import Synthesizer, find_soundfont
from tasks.metrics.notes import fundamental_hz
from tasks.notes import NotesParams, notes_of_file

SAMPLE_RATE = 44_100
EXCERPT_START_S = 20.0
EXCERPT_S = 40.0
LEAD_S = 0.25
VELOCITIES = (30, 64, 100)
KEY_EVERY_S = 0.7
POLICY = MidiPolicy(
    max_bytes=8_000_000, max_duration_s=7200, max_notes=200_000, hanging="close", overlap="cut", channels=16
)
PARAMS = NotesParams(
    threshold=0.5, restrike_gap_s=0.05, n_iterations=40, release_db=25.0, longest_note_s=15.0, floor_db=-120.0
)

BASIC_PITCH = """
import json, pathlib, sys, time
import basic_pitch
from basic_pitch.inference import Model, predict
onnx = pathlib.Path(basic_pitch.__file__).parent / "saved_models/icassp_2022/nmp.onnx"
try:
    import onnxruntime
    model = Model(onnx)
except ImportError:
    model = Model(basic_pitch.ICASSP_2022_MODEL_PATH)
found = {}
start = time.process_time()
for path in sys.argv[2:]:
    notes = predict(path, model)[2]
    found[path] = [[float(note[0]), float(note[1]), int(note[2])] for note in notes]
json.dump({"notes": found, "cpu_s": time.process_time() - start}, open(sys.argv[1], "w"))
"""


@dataclass(frozen=True, kw_only=True)
class Played:
    """A sound file and what was played in it."""

    path: Path
    notes: Notes


def single_keys() -> Iterable[tuple[str, Notes, None]]:
    """Yield every key at each velocity, one file a velocity, in a seeded order of keys."""
    for velocity in VELOCITIES:
        pitch = np.random.default_rng(velocity).permutation(np.arange(21, 109))
        onset_s = LEAD_S + KEY_EVERY_S * np.arange(88, dtype=np.float64)
        notes = sorted_notes(onset_s, onset_s + 0.5, pitch, np.full(88, velocity))
        yield f"keys at velocity {velocity}", notes, None


def excerpts(folder: Path, *, first: int, every: int) -> Iterable[tuple[str, Notes, Controls]]:
    """Yield 40 s of every so many pieces of a folder, sorted by name."""
    for path in sorted([*folder.rglob("*.mid"), *folder.rglob("*.midi")])[first::every]:
        score = read_midi(path, POLICY)
        start_s = min(EXCERPT_START_S, max(0.0, score.duration_s - EXCERPT_S))
        notes, controls = score.notes, score.controls
        notes = notes.take((notes.onset_s >= start_s) & (notes.onset_s < start_s + EXCERPT_S))
        moves = controls.time_s < start_s + EXCERPT_S
        shift_s = LEAD_S - start_s
        yield (
            path.stem,
            sorted_notes(notes.onset_s + shift_s, notes.offset_s + shift_s, notes.pitch, notes.velocity),
            # What happened to the pedal before the excerpt still holds in it.
            Controls(
                time_s=np.maximum(controls.time_s[moves] + shift_s, 0.0),
                control=controls.control[moves],
                value=controls.value[moves],
            ),
        )


def play(music: Iterable[tuple[str, Notes, Controls | None]], soundfont: Path, folder: Path) -> list[Played]:
    """Render music to files of a folder."""
    sha256 = hashlib.sha256(soundfont.read_bytes()).hexdigest()
    files = []
    with Synthesizer(soundfont, sha256=sha256, sample_rate=SAMPLE_RATE, gain=0.1) as synthesizer:
        for name, notes, controls in music:
            duration_s = float(notes.onset_s.max()) + 2.0
            audio = synthesizer.render(notes, controls, program=0, duration_s=duration_s)
            path = folder / f"{soundfont.stem} {name}.wav"
            soundfile.write(path, audio / np.abs(audio).max() * 0.5, SAMPLE_RATE)
            files.append(Played(path=path, notes=notes))
    return files


def onset_scores(notes: Notes, onset_s: NDArray[np.float64], pitch: NDArray[np.integer]) -> tuple[float, float, float]:
    """Return precision, recall and F1 of onsets with the same pitch."""
    if len(onset_s) == 0:
        return 0.0, 0.0, 0.0
    precision, recall, f1, _ = mir_eval.transcription.precision_recall_f1_overlap(
        np.stack([notes.onset_s, notes.onset_s + 1], axis=1),
        fundamental_hz(notes.pitch),
        np.stack([onset_s, onset_s + 1], axis=1),
        fundamental_hz(pitch),
        onset_tolerance=0.05,
        offset_ratio=None,
    )
    return precision, recall, f1


def run_basic_pitch(python: str, files: list[Played], folder: Path) -> tuple[dict[str, NDArray[np.float64]], float]:
    """Return rows of onset, offset and pitch for every file, and the seconds of CPU that all took."""
    out = folder / "basic_pitch.json"
    command = [python, "-c", BASIC_PITCH, str(out), *(str(played.path) for played in files)]
    subprocess.run(command, check=True, capture_output=True)
    told = json.loads(out.read_text())
    return {path: np.array(rows).reshape(-1, 3) for path, rows in told["notes"].items()}, told["cpu_s"]


def compare(title: str, files: list[Played], basic_pitch: str | None, folder: Path, *, every_file: bool) -> None:
    """Print what both find in the files."""
    sound_s = sum(soundfile.info(played.path).duration for played in files)
    start = time.process_time()
    found = [notes_of_file(played.path, instrument="piano", params=PARAMS) for played in files]
    ours_s = time.process_time() - start
    ours = [onset_scores(p.notes, f.onset_s, f.pitch) for p, f in zip(files, found, strict=True)]
    print(f"\n{title}: {len(files)} files, {sum(len(p.notes) for p in files)} notes, {sound_s:.0f} s")
    rows = {"audiate notes": (ours, ours_s)}
    if basic_pitch is not None:
        heard, theirs_s = run_basic_pitch(basic_pitch, files, folder)
        estimates = [heard[str(played.path)] for played in files]
        theirs = [
            onset_scores(p.notes, rows_[:, 0], rows_[:, 2].astype(int))
            for p, rows_ in zip(files, estimates, strict=True)
        ]
        rows["basic-pitch"] = (theirs, theirs_s)
    for name, (scores, cpu_s) in rows.items():
        precision, recall, f1 = np.mean(scores, axis=0)
        print(
            f"  {name:14} onset F1 {f1:.3f} (precision {precision:.3f}, recall {recall:.3f}),"
            f" {sound_s / cpu_s:.0f} x real time"
        )
    if every_file:
        for k, played in enumerate(files):
            print(f"    {played.path.stem:50} " + "  ".join(f"{rows[name][0][k][2]:.3f}" for name in rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--midi", type=Path, default=Path("data/sample/midi"), help="folder of pieces")
    parser.add_argument("--first", type=int, default=0, help="piece to begin with")
    parser.add_argument("--every", type=int, default=1, help="take every so many pieces")
    parser.add_argument("--soundfont", type=Path, help="SoundFont that nothing was fitted to")
    parser.add_argument("--basic-pitch", metavar="PYTHON", help="python of an environment with basic-pitch")
    parser.add_argument("--files", action="store_true", help="print every file's F1")
    options = parser.parse_args()
    soundfonts = [find_soundfont()] + ([options.soundfont] if options.soundfont else [])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for soundfont in soundfonts:
            for title, music in (
                ("single keys", single_keys()),
                (f"pieces of {options.midi.name}", excerpts(options.midi, first=options.first, every=options.every)),
            ):
                files = play(music, soundfont, folder)
                compare(f"{title}, {soundfont.stem}", files, options.basic_pitch, folder, every_file=options.files)


if __name__ == "__main__":
    main()
