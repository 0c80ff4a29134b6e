"""Note amplitudes and frames to sound: how much of the amplitudes comes back, and how fast, on one core.

python -m benchmarks.sonify [--features DIR] [--hours 10] [--json]
python -m benchmarks.sonify --partials

DIR holds the marimba project's ``*_audio_vectors.mat`` (``AUDIATE_BENCH_FEATURES`` names it too). ``--partials``
measures what `tasks.sound.additive.MARIMBA_PARTIALS` holds.
"""

import os

# Before numpy is imported: one core.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import argparse  # noqa: E402
import json  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from fractions import Fraction  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402

from tasks.features.amplitudes import note_amplitudes, note_frequencies_hz  # noqa: E402
from tasks.instruments.marimba import MARIMBA_18  # noqa: E402
from tasks.instruments.notes import Notes  # noqa: E402
from tasks.instruments.synth import SOUNDFONT_SHA256, Synthesizer, find_soundfont  # noqa: E402
from tasks.metrics.amplitudes import correlations, sounding  # noqa: E402
from tasks.sonify import read_amplitudes  # noqa: E402
from tasks.sound.additive import MARIMBA_PARTIALS, render_additive  # noqa: E402
from tasks.sound.frames import (  # noqa: E402
    cut_frames,
    frame_magnitudes,
    invert_magnitudes,
    join_granular,
    join_raw,
    join_windowed,
)
from tasks.sound.nearest import BankTake, GrainBank  # noqa: E402

FRAME_RATE = Fraction(25)
INTERPOLATED_GOAL, FITTED_GOAL = 0.95, 0.97
HELD_OUT = 2000  # rows asked for
NEPER_DB = 8.686


def strokes(n_rows: int, n_notes: int, seed: int = 0) -> np.ndarray:
    """Return made-up amplitudes: each note is struck every 4 s or so and dies away within some frames."""
    rng = np.random.default_rng(seed)
    struck = np.where(rng.uniform(size=(n_rows, n_notes)) < 0.01, rng.uniform(0.002, 0.02, (n_rows, n_notes)), 0)
    values = np.zeros((n_rows, n_notes))
    for row in range(n_rows):
        values[row] = np.maximum(struck[row], values[row - 1] * 0.7 if row else 0)
    return values


def round_trip(values: np.ndarray, *, sample_rate: int, fit_window: bool) -> np.ndarray:
    """Return the correlation of each note that sounds with what is measured of its sound."""
    audio = render_additive(
        values, MARIMBA_18, frame_rate=FRAME_RATE, sample_rate=sample_rate, fit_window=fit_window, peak_limit=None
    )
    again = note_amplitudes(
        audio,
        sample_rate=sample_rate,
        frame_rate=FRAME_RATE,
        frequency_hz=note_frequencies_hz(MARIMBA_18),
        n_frames=len(values) + 2,
    )
    return correlations(values, again)[sounding(values)]


def features(folder: Path) -> tuple[list[dict[str, object]], np.ndarray]:
    rows: list[dict[str, object]] = []
    matrices = []
    for path in sorted(folder.glob("*_audio_vectors.mat")):
        values = read_amplitudes(path, pitches=MARIMBA_18).values
        matrices.append(values)
        for fit_window, goal in ((False, INTERPOLATED_GOAL), (True, FITTED_GOAL)):
            each = round_trip(values, sample_rate=44_100, fit_window=fit_window)
            rows.append(
                {
                    "part": "features",
                    "case": f"{path.stem}, {'fitted' if fit_window else 'interpolated'}",
                    "n_notes": len(each),
                    "smallest_correlation": float(each.min()),
                    "mean_correlation": float(each.mean()),
                    "n_notes_below_goal": int((each < goal).sum()),
                    "goal": goal,
                }
            )
    if not matrices:
        raise SystemExit(f"{folder} holds no *_audio_vectors.mat")
    return rows, np.concatenate(matrices)


def tones() -> list[dict[str, object]]:
    """Count the pure tones, as the additive synthesis plays them, whose own note is the strongest."""
    rows: list[dict[str, object]] = []
    frequency_hz = note_frequencies_hz(MARIMBA_18)
    for sample_rate in (44_100, 48_000):
        n_ours = n_theirs = 0
        for note, pitch in enumerate(MARIMBA_18):
            audio = render_additive(np.full((6, 1), 0.01), (pitch,), frame_rate=FRAME_RATE, sample_rate=sample_rate)
            ours = note_amplitudes(
                audio, sample_rate=sample_rate, frame_rate=FRAME_RATE, frequency_hz=frequency_hz, n_frames=8
            )
            n_ours += int(ours[2].argmax() == note)
            # As published: 44,100 bins whatever the sample rate, bands of a semitone, counted from 1.
            window = audio[: 3 * sample_rate // 25 + 1]
            spectrum = np.abs(np.fft.rfft(window * np.hamming(len(window)), 44_100))
            low = np.rint(frequency_hz * (1 + 2 ** (-1 / 12)) / 2).astype(int) - 1
            high = np.rint(frequency_hz * (1 + 2 ** (1 / 12)) / 2).astype(int)
            theirs = [spectrum[a:b].max() for a, b in zip(low, high, strict=True)]
            n_theirs += int(np.argmax(theirs) == note)
        rows.append({"part": "tones", "case": f"{sample_rate} Hz", "found": n_ours, "found_as_published": n_theirs})
    return rows


def seconds(work: Callable[[], object], runs: int = 3) -> float:
    best = float("inf")
    for _ in range(runs):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def speed() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []

    def add(case: str, duration_s: float, work: Callable[[], object]) -> None:
        rows.append({"part": "speed", "case": case, "times_real_time": duration_s / seconds(work)})

    for name, pitches in (("18 notes", MARIMBA_18), ("88 notes", range(21, 109))):
        values = strokes(3000, len(pitches))
        for how, options in (
            ("interpolated", {}),
            ("fitted", {"fit_window": True}),
            ("fitted, partials", {"fit_window": True, "partials": MARIMBA_PARTIALS}),
        ):
            add(
                f"additive, {name}, {how}, 44,100 Hz",
                120.0,
                lambda v=values, p=pitches, o=options: render_additive(
                    v, p, frame_rate=FRAME_RATE, sample_rate=44_100, **o
                ),
            )
    frame_rate, n_frames = Fraction(30000, 1001), 900
    sound = np.random.default_rng(0).normal(scale=0.1, size=round(n_frames * 22_050 / frame_rate)).astype(np.float32)
    asked = {"sample_rate": 22_050, "frame_rate": frame_rate}
    frames, wide = cut_frames(sound, n_frames, **asked), cut_frames(sound, n_frames, n_hops=2, **asked)
    magnitudes = frame_magnitudes(sound, n_frames, n_fft=1024, **asked)
    duration_s = float(n_frames / frame_rate)
    add("frames, raw, 22,050 Hz", duration_s, lambda: join_raw(frames, **asked))
    add("frames, windowed", duration_s, lambda: join_windowed(wide, **asked))
    add("frames, granular", duration_s, lambda: join_granular(frames, rng=np.random.default_rng(0), **asked))
    add("frames, magnitudes by Griffin-Lim", duration_s, lambda: invert_magnitudes(magnitudes, **asked))
    add(
        "frames, magnitudes, a neighbour's phases",
        duration_s,
        lambda: invert_magnitudes(magnitudes, neighbour=sound, **asked),
    )
    return rows


def nearest(hours: float, values: np.ndarray | None, folder: Path) -> list[dict[str, object]]:
    """Time a bank of many hours; its sound lies in a file, 16 bits at 22,050 Hz."""
    n_rows = round(hours * 3600 * FRAME_RATE)
    rng = np.random.default_rng(0)
    if values is None:
        values = strokes(60_000, 18)
    asked, values = values[-HELD_OUT:], values[:-HELD_OUT]
    # Longer than what there is: again and again, each time played a little differently.
    bank = np.concatenate([values] * -(-n_rows // len(values)))[:n_rows]
    bank = (bank * np.exp(rng.normal(0, 0.15, bank.shape))).astype(np.float32)
    n_samples = (n_rows + 2) * 22_050 // 25
    sound = np.memmap(folder / "bank.pcm", np.int16, "w+", shape=(n_samples,))
    start = time.process_time()
    grains = GrainBank([BankTake(values=bank, sound=sound)], frame_rate=FRAME_RATE, sample_rate=22_050)
    built_s = time.process_time() - start
    rows: list[dict[str, object]] = []
    for how, options in (("the row alone", {}), ("2 rows on each side", {"context": 2}), ("staying", {"stay": 0.1})):
        find_s = seconds(lambda o=options: grains.nearest(asked, **o), 1)
        render_s = seconds(lambda o=options: grains.render(asked, **o), 1)
        rows.append(
            {
                "part": "nearest",
                "case": f"{hours:g} h of bank, {how}",
                "built_s": built_s,
                "ms_a_row": 1000 * find_s / len(asked),
                "times_real_time": float(len(asked) / FRAME_RATE) / render_s,
            }
        )
    return rows


def partials() -> list[dict[str, object]]:
    """Measure ratios, amplitudes and decays of the partials of the synthesizer's marimba, note by note."""
    sample_rate, at_s = 48_000, 0.1
    rows: list[dict[str, object]] = []
    with Synthesizer(find_soundfont(), sha256=SOUNDFONT_SHA256, sample_rate=sample_rate, gain=0.5) as synth:
        # Above these the SoundFont plays another sample, whose partials are 20 dB below.
        for pitch in MARIMBA_18[:10]:
            ends = np.array([at_s + 1.8])
            note = Notes(
                onset_s=np.array([at_s]),
                offset_s=ends,
                sounding_offset_s=ends,
                pitch=np.array([pitch], np.uint8),
                velocity=np.array([100], np.uint8),
            )
            audio = synth.render(note, None, program=12, duration_s=2.0).astype(np.float64)
            first = round(at_s * sample_rate)
            hz = float(note_frequencies_hz([pitch])[0])
            n_window = round(10 * sample_rate / hz)  # ten cycles
            window = np.hanning(n_window) / np.hanning(n_window).sum()
            moments = np.arange(first, first + round(0.4 * sample_rate), sample_rate // 1000)  # every ms
            windows = np.lib.stride_tricks.sliding_window_view(audio, n_window)[moments]
            struck = audio[first : first + round(0.08 * sample_rate)]
            loudest_db = 0.0
            for low, high in ((0.97, 1.03), (3.9, 4.1), (9.3, 9.8)):
                ratios = np.arange(low, high, 0.002)
                turns = np.outer(np.arange(len(struck)), ratios * hz / sample_rate)
                ratio = ratios[np.abs((struck * np.hanning(len(struck))) @ np.exp(-2j * np.pi * turns)).argmax()]
                wave = np.exp(-2j * np.pi * ratio * hz / sample_rate * np.arange(n_window))
                level_db = 20 * np.log10(2 * np.abs(windows @ (window * wave)) + 1e-9)
                peak = int(level_db.argmax())
                loudest_db = level_db[peak] if low < 1 else loudest_db
                fallen = np.flatnonzero(level_db[peak:] < level_db[peak] - NEPER_DB)
                rows.append(
                    {
                        "part": "partials",
                        "case": f"pitch {pitch}",
                        "ratio": float(ratio),
                        "amplitude": float(10 ** ((level_db[peak] - loudest_db) / 20)),
                        "decay_cycles": float(fallen[0] / 1000 * hz),
                    }
                )
    for partial, name in enumerate(("fundamental", "first partial", "second partial")):
        its = rows[partial : 3 * 10 : 3]
        median = {key: float(np.median([row[key] for row in its])) for key in ("ratio", "amplitude", "decay_cycles")}
        rows.append({"part": "partials", "case": f"median of the {name}", **median})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path, default=os.environ.get("AUDIATE_BENCH_FEATURES"))
    parser.add_argument("--hours", type=float, default=10.0, help="of the bank")
    parser.add_argument("--partials", action="store_true", help="measure the partials of a marimba, and nothing else")
    parser.add_argument("--json", action="store_true", help="print rows for programs")
    asked = parser.parse_args()
    if asked.partials:
        rows = partials()
    else:
        measured, real = features(Path(asked.features)) if asked.features else ([], None)
        with tempfile.TemporaryDirectory() as folder:
            rows = [*measured, *tones(), *speed(), *nearest(asked.hours, real, Path(folder))]
    if asked.json:
        print(json.dumps(rows))
        return
    for row in rows:
        figures = "  ".join(f"{key} {value:.4g}" for key, value in row.items() if isinstance(value, int | float))
        missed = "  MISSED" if row.get("n_notes_below_goal") or row.get("found", 18) != 18 else ""
        print(f"{row['case']:52} {figures}{missed}")


if __name__ == "__main__":
    main()
