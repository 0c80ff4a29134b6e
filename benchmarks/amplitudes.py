"""Note amplitudes: the shipped function beside librosa, one core, and its error against a float64 transform.

python -m benchmarks.amplitudes [--json]
"""

import os

# Before numpy is imported: one core for both.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import argparse  # noqa: E402
import json  # noqa: E402
import statistics  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from fractions import Fraction  # noqa: E402
from functools import partial  # noqa: E402

import librosa  # noqa: E402
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from tasks.features.amplitudes import (  # noqa: E402
    first_samples_of_frames,
    note_amplitudes,
    note_frequencies_hz,
    window_length,
)

MARIMBA = [66, 68, 70, 73, 75, 78, 80, 82, 85, 87, 90, 92, 94, 97, 99, 102, 104, 106]
PIANO = list(range(21, 109))
DURATION_S = 120
N_FFT = 8192
RUNS = 7


def librosa_amplitudes(audio, *, sample_rate, frame_rate, frequency_hz):
    """What a user would write: a spectrum, and the nearest bin of each note."""
    spectrum = librosa.stft(
        audio,
        n_fft=N_FFT,
        hop_length=int(sample_rate / frame_rate),
        win_length=int(3 * sample_rate / frame_rate),
        window="hamming",
        center=False,
    )
    bins = np.rint(frequency_hz * N_FFT / sample_rate).astype(int)
    return np.abs(spectrum[bins]).T * (2 / sample_rate)


def cpu_seconds(*works: Callable[[], object]) -> list[float]:
    """Return the median CPU time of each, run in turns so that what else the machine does meets all alike."""
    times: list[list[float]] = [[] for _ in works]
    for run in range(RUNS + 1):  # the first to warm up
        for work, found in zip(works, times, strict=True):
            start = time.process_time()
            work()
            if run:
                found.append(time.process_time() - start)
    return [statistics.median(found) for found in times]


def exact_amplitudes(audio, *, sample_rate, frame_rate, frequency_hz, n_frames) -> NDArray[np.float64]:
    """Windows one by one in float64."""
    n = window_length(sample_rate=sample_rate, frame_rate=frame_rate)
    first = first_samples_of_frames(n_frames - 2, sample_rate=sample_rate, frame_rate=frame_rate)
    padded = np.pad(audio.astype(np.float64), (0, n))
    exponentials = np.exp(-2j * np.pi * np.outer(np.arange(n), frequency_hz) / sample_rate)
    windows = np.lib.stride_tricks.sliding_window_view(padded, n)[first] * np.hamming(n)
    return np.abs(windows @ exponentials) * (2 / sample_rate)


def measure() -> list[dict[str, float | str]]:
    rows = []
    rng = np.random.default_rng(0)
    for name, pitches in (("18 notes", MARIMBA), ("88 notes", PIANO)):
        for sample_rate, frame_rate in (
            (48000, Fraction(25)),
            (44100, Fraction(25)),
            (48000, Fraction(30000, 1001)),
            (44100, Fraction(30000, 1001)),
        ):
            audio = rng.uniform(-1, 1, DURATION_S * sample_rate).astype(np.float32)
            n_frames = int(DURATION_S * frame_rate)
            asked = {"sample_rate": sample_rate, "frame_rate": frame_rate}
            asked["frequency_hz"] = note_frequencies_hz(pitches)
            ours_s, librosa_s = cpu_seconds(
                partial(note_amplitudes, audio, n_frames=n_frames, **asked),
                partial(librosa_amplitudes, audio, **asked),
            )
            tone = 0.999 * np.sin(2 * np.pi * 440.0 * np.arange(10 * sample_rate) / sample_rate)
            tone = tone.astype(np.float32)
            n_frames = int(10 * frame_rate)
            error = np.abs(
                note_amplitudes(tone, n_frames=n_frames, **asked) - exact_amplitudes(tone, n_frames=n_frames, **asked)
            ).max()
            full_scale = 0.54 * window_length(sample_rate=sample_rate, frame_rate=frame_rate) / sample_rate
            n_window = window_length(sample_rate=sample_rate, frame_rate=frame_rate)
            useful_flop = 2 * 2 * len(pitches) * n_window * (DURATION_S * frame_rate)
            rows.append(
                {
                    "case": f"{name}, {sample_rate} Hz, {frame_rate} frames/s",
                    "times_real_time": DURATION_S / ours_s,
                    "librosa_times_real_time": DURATION_S / librosa_s,
                    "ratio": librosa_s / ours_s,
                    "gflop_per_s": float(useful_flop) / ours_s / 1e9,
                    "error_of_full_scale": float(error / full_scale),
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print rows for programs")
    asked = parser.parse_args()
    rows = measure()
    if asked.json:
        print(json.dumps(rows))
        return
    print(f"{'case':40} {'ours':>9} {'librosa':>9} {'ratio':>6} {'GFLOP/s':>8} {'error':>8}")
    for row in rows:
        print(
            f"{row['case']:40} {row['times_real_time']:8.0f}x {row['librosa_times_real_time']:8.0f}x "
            f"{row['ratio']:6.1f} {row['gflop_per_s']:8.1f} {row['error_of_full_scale']:8.1e}"
        )


if __name__ == "__main__":
    main()
