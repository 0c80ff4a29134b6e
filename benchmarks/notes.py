"""Notes from sound: `audiate notes` on sources it knows and on one it never heard, beside basic-pitch if wanted.

    python -m benchmarks.notes --midi FOLDER --salamander FOLDER --soundfont FILE [--basic-pitch PYTHON] [--write]

Single keys: every key of the piano at three velocities. Pieces: 25 s of every tenth piece of a folder, with their
pedal, as they are and in made-up rooms through made-up microphones (`_recorded`). They are played with TimGM6mb and
with Salamander's recorded keys, which the decisions were fitted to (on music made up for it, on no piece), and with
the SoundFont given, which nothing was fitted to. Score (mir_eval), mean over files with a 95 % bootstrap interval:
onsets at 50 ms with the same pitch; the same with each file's median timing error taken off; onsets and ends (within
50 ms or a fifth of the note). basic-pitch runs with its own settings, in the environment whose python is given; ONNX
is used where it is installed.
"""

import argparse
import hashlib
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import mir_eval.transcription
import numpy as np
import soundfile
from numpy.typing import NDArray

from benchmarks._recorded import in_a_room, through_a_microphone
from benchmarks._sampled_piano import SampledPiano, damped
from tasks.instruments.midi import Controls, MidiPolicy
from tasks.instruments.midi_reader import read_midi
from tasks.instruments.notes import Notes, sorted_notes
from tasks.instruments.synth import Synthesizer, find_soundfont
from tasks.metrics.notes import fundamental_hz
from tasks.notes import NotesParams, notes_of_file

SAMPLE_RATE = 44_100
EXCERPT_START_S = 20.0
EXCERPT_S = 25.0
LEAD_S = 0.25
ROOM_SEED = 7
BIAS_WITHIN_S = 0.12
RESULTS = Path(__file__).with_name("notes_results.md")
SCORES = ("precision", "recall", "onset", "unbiased", "ends", "bias_ms")
HEAD = (
    "| sound | by | files | notes | onset F1 | with the median error off | onset and end F1 | precision | recall"
    " | median error, ms | times real time |\n|---|---|---|---|---|---|---|---|---|---|---|"
)
VELOCITIES = (30, 64, 100)
KEY_EVERY_S = 0.7
POLICY = MidiPolicy(
    max_bytes=8_000_000, max_duration_s=7200, max_notes=200_000, hanging="close", overlap="cut", channels=16
)
PARAMS = NotesParams(
    threshold=0.4, restrike_gap_s=0.05, n_iterations=40, release_db=25.0, longest_note_s=15.0, floor_db=-120.0
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
    """A sound file, what was played in it, and when each note was damped."""

    path: Path
    notes: Notes
    damped_s: NDArray[np.float64]


def single_keys() -> Iterable[tuple[str, Notes, None]]:
    """Yield every key at each velocity, one file a velocity, in a seeded order of keys."""
    for velocity in VELOCITIES:
        pitch = np.random.default_rng(velocity).permutation(np.arange(21, 109))
        onset_s = LEAD_S + KEY_EVERY_S * np.arange(88, dtype=np.float64)
        notes = sorted_notes(onset_s, onset_s + 0.5, pitch, np.full(88, velocity))
        yield f"keys at velocity {velocity}", notes, None


def excerpts(folder: Path, *, first: int, every: int) -> Iterable[tuple[str, Notes, Controls]]:
    """Yield 25 s of every so many pieces of a folder, sorted by name."""
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


Player = Callable[[Notes, Controls | None, float], NDArray[np.float32]]


def soundfont_player(soundfont: Path) -> Player:
    """Return what plays notes with a SoundFont's first piano."""
    sha256 = hashlib.sha256(soundfont.read_bytes()).hexdigest()
    synthesizer = Synthesizer(soundfont, sha256=sha256, sample_rate=SAMPLE_RATE, gain=0.1)

    def play(notes: Notes, controls: Controls | None, duration_s: float) -> NDArray[np.float32]:
        return synthesizer.render(notes, controls, program=0, duration_s=duration_s)

    return play


def salamander_player(folder: Path) -> Player:
    """Return what plays notes with recorded keys."""
    piano = SampledPiano(folder, sample_rate=SAMPLE_RATE)

    def play(notes: Notes, controls: Controls | None, duration_s: float) -> NDArray[np.float32]:
        return piano.render(notes, controls, duration_s=duration_s)

    return play


def played_files(
    music: Iterable[tuple[str, Notes, Controls | None]], player: Player, folder: Path, *, in_rooms: bool
) -> list[Played]:
    """Render music to files of a folder."""
    files = []
    for number, (name, notes, controls) in enumerate(music):
        audio = player(notes, controls, float(notes.onset_s.max()) + 2.0)
        if in_rooms:
            rng = np.random.default_rng([ROOM_SEED, number])
            audio = through_a_microphone(rng, in_a_room(rng, audio, SAMPLE_RATE), SAMPLE_RATE)
        path = folder / f"{number:03d} {name}.wav"
        soundfile.write(path, audio / np.abs(audio).max() * 0.5, SAMPLE_RATE)
        end_s = len(audio) / SAMPLE_RATE
        files.append(Played(path=path, notes=notes, damped_s=np.minimum(damped(notes, controls), end_s)))
    return files


def scores(
    played: Played, onset_s: NDArray[np.float64], offset_s: NDArray[np.float64], pitch: NDArray[np.integer]
) -> dict[str, float]:
    """Return precision, recall and F1 of onsets, F1 with the median timing error taken off, F1 of onsets and ends."""
    if len(onset_s) == 0:
        return dict.fromkeys(SCORES, 0.0)
    reference = np.stack([played.notes.onset_s, np.maximum(played.damped_s, played.notes.onset_s + 0.01)], axis=1)
    reference_hz, found_hz = fundamental_hz(played.notes.pitch), fundamental_hz(pitch)
    found = np.stack([onset_s, offset_s], axis=1)

    def matched(found: NDArray[np.float64], tolerance_s: float, offset_ratio: float | None) -> list[tuple[int, int]]:
        pairs: list[tuple[int, int]] = mir_eval.transcription.match_notes(
            reference, reference_hz, found, found_hz, onset_tolerance=tolerance_s, offset_ratio=offset_ratio
        )
        return pairs

    def f1(pairs: list[tuple[int, int]]) -> float:
        return 2 * len(pairs) / (len(reference) + len(found))

    wide = matched(found, BIAS_WITHIN_S, None)
    bias_s = float(np.median([found[j, 0] - reference[i, 0] for i, j in wide])) if wide else 0.0
    onsets = matched(found, 0.05, None)
    return {
        "precision": len(onsets) / len(found),
        "recall": len(onsets) / len(reference),
        "onset": f1(onsets),
        "unbiased": f1(matched(found - bias_s, 0.05, None)),
        "ends": f1(matched(found, 0.05, 0.2)),
        "bias_ms": 1000 * bias_s,
    }


def run_basic_pitch(python: str, files: list[Played], folder: Path) -> tuple[dict[str, NDArray[np.float64]], float]:
    """Return rows of onset, offset and pitch for every file, and the seconds of CPU that all took."""
    out = folder / "basic_pitch.json"
    command = [python, "-c", BASIC_PITCH, str(out), *(str(played.path) for played in files)]
    subprocess.run(command, check=True, capture_output=True)
    told = json.loads(out.read_text())
    return {path: np.array(rows).reshape(-1, 3) for path, rows in told["notes"].items()}, told["cpu_s"]


def compare(title: str, files: list[Played], basic_pitch: str | None, folder: Path, *, every_file: bool) -> list[str]:
    """Score the files, print it, and return rows of a table."""
    sound_s = sum(soundfile.info(played.path).duration for played in files)
    start = time.process_time()
    found = [notes_of_file(played.path, instrument="piano", params=PARAMS) for played in files]
    rows = {
        "audiate notes": (
            [scores(p, f.onset_s, f.offset_s, f.pitch) for p, f in zip(files, found, strict=True)],
            time.process_time() - start,
        )
    }
    if basic_pitch is not None:
        heard, theirs_s = run_basic_pitch(basic_pitch, files, folder)
        estimates = [heard[str(played.path)] for played in files]
        theirs = [scores(p, e[:, 0], e[:, 1], e[:, 2].astype(int)) for p, e in zip(files, estimates, strict=True)]
        rows["basic-pitch"] = (theirs, theirs_s)
    lines = []
    for name, (scored, cpu_s) in rows.items():
        cells = [title, name, str(len(files)), str(sum(len(p.notes) for p in files))]
        for what in ("onset", "unbiased", "ends"):
            values = np.array([one[what] for one in scored])
            low, high = bootstrap_interval(values)
            cells.append(f"{values.mean():.3f} [{low:.3f}, {high:.3f}]")
        cells += [f"{np.mean([one[what] for one in scored]):.3f}" for what in ("precision", "recall")]
        cells += [f"{np.median([one['bias_ms'] for one in scored]):+.1f}", f"{sound_s / cpu_s:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    if every_file:
        for k, played in enumerate(files):
            print(f"    {played.path.stem:50} " + "  ".join(f"{rows[name][0][k]['onset']:.3f}" for name in rows))
    return lines


def bootstrap_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % interval of the mean over files drawn anew."""
    draws = np.random.default_rng(0).integers(len(values), size=(2000, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--midi", type=Path, default=Path("data/sample/midi"), help="folder of pieces")
    parser.add_argument("--first", type=int, default=0, help="piece to begin with")
    parser.add_argument("--every", type=int, default=10, help="take every so many pieces")
    parser.add_argument("--salamander", type=Path, help="folder with v1/ to v16/ of recorded keys")
    parser.add_argument("--soundfont", type=Path, help="SoundFont that nothing was fitted to")
    parser.add_argument("--basic-pitch", metavar="PYTHON", help="python of an environment with basic-pitch")
    parser.add_argument("--files", action="store_true", help="print every file's F1")
    parser.add_argument("--write", action="store_true", help=f"write the table to {RESULTS}")
    options = parser.parse_args()
    players = {"TimGM6mb (known)": soundfont_player(find_soundfont())}
    if options.salamander is not None:
        players["Salamander (known)"] = salamander_player(options.salamander)
    if options.soundfont is not None:
        players[f"{options.soundfont.stem} (unheard)"] = soundfont_player(options.soundfont)
    print(HEAD)
    lines = []
    for source, player in players.items():
        for what, in_rooms in (("single keys", False), ("pieces", False), ("pieces in rooms", True)):
            keys = what == "single keys"
            music = single_keys() if keys else excerpts(options.midi, first=options.first, every=options.every)
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary)
                files = played_files(music, player, folder, in_rooms=in_rooms)
                title = f"{source}, {what}"
                lines += compare(title, files, options.basic_pitch, folder, every_file=options.files)
    if options.write:
        command = f"python -m benchmarks.notes --midi {options.midi.name} --every {options.every} ..."
        RESULTS.write_text(
            f"# Notes from sound\n\n`{command}`; see its head for what is scored.\n\n{HEAD}\n" + "\n".join(lines) + "\n"
        )


if __name__ == "__main__":
    main()
