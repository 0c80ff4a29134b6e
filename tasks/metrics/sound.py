"""How far a generated sound is from the true one, and how loud each is.

Every spectrum is scaled so that a sine of amplitude 1 reads 1, and every logarithm is taken above one
fixed floor against full scale, never against the loudest value of the sound at hand: silence reads -80 dB
and stays there, where a floor relative to its own peak would make it read full scale.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from tasks.metrics.metric import PERFORMED, Metric

WINDOWS_S = (0.010, 0.025, 0.050)
"""Window lengths of the multi-resolution distance: those of Parallel WaveGAN at its 24 kHz."""

LOG_SPECTRAL_WINDOW_S = 0.050
FLOOR_DBFS = -80.0
"""What one spectral bin reads at least. 16-bit rounding noise lies below it, 8-bit mu-law noise above."""

LEVEL_FLOOR_DBFS = -120.0
"""What a level reads at least; below half a step of 16 bit."""

BLOCK_BINS = 1 << 16  # of spectra at a time: half a megabyte

_distance = partial(
    Metric, unit="", direction="lower", kinds=PERFORMED, source="Yamamoto, Song & Kim 2020, equations 4 to 6", low=0.0
)
_level = partial(
    Metric, unit="dBFS", direction="none", digits=1, kinds=PERFORMED, group="Sound", source="RMS against full scale"
)
METRICS = (
    _distance(
        key="mr_stft",
        label="MR-STFT",
        digits=2,
        meaning="multi-resolution STFT distance: spectral convergence plus log magnitude",
    ),
    _distance(
        key="log_spectral_distance_db",
        label="LSD",
        unit="dB",
        digits=1,
        meaning="log-spectral distance, floor 80 dB below full scale",
        source="Gray & Markel 1976",
    ),
    _distance(
        key="spectral_convergence",
        label="Convergence",
        digits=3,
        group="Sound",
        meaning="norm of the difference of both magnitude spectra over the norm of the reference's",
    ),
    _distance(
        key="log_magnitude",
        label="Log magnitude",
        digits=3,
        group="Sound",
        meaning="mean absolute difference of the logarithms of both magnitude spectra",
    ),
    _level(key="estimate_level_dbfs", label="Level", meaning="level of the sound"),
    _level(key="truth_level_dbfs", label="True level", meaning="level of the reference"),
    _level(
        key="level_difference_db",
        label="Level difference",
        unit="dB",
        direction="nearest 0",
        meaning="level of the sound less that of the reference",
    ),
)


def level_dbfs(audio: NDArray[np.float32]) -> float:
    """Return the level of a sound: 20 log10 of its RMS, so a full-scale sine reads -3.01 and silence -120.

    Raises:
        ValueError: there are no samples, or one is not finite.
    """
    _check(audio, "audio")
    power = float(np.mean(np.square(audio, dtype=np.float64)))
    return 10.0 * float(np.log10(max(power, 10.0 ** (LEVEL_FLOOR_DBFS / 10.0))))


def sound_scores(truth: NDArray[np.float32], estimate: NDArray[np.float32], *, sample_rate: int) -> dict[str, float]:
    """Measure the distance of two sounds of the same length; every distance of a sound to itself is 0.

    With T and E the magnitude spectra of truth and estimate, one for each window length of `WINDOWS_S`
    (Hann, hop a fifth of the window, zero-padded to the next power of two above 1.6 windows):

    - `spectral_convergence`: norm of (T - E) over norm of T (Frobenius), mean over the windows.
    - `log_magnitude`: mean of |ln T - ln E| over bins and stft frames, mean over the windows.
    - `mr_stft`: the sum of both, the multi-resolution STFT distance.
    - `log_spectral_distance_db`: at 50 ms, sqrt(mean over bins of (20 log10 T/E)²), mean over stft frames.
    - `truth_level_dbfs`, `estimate_level_dbfs`: see `level_dbfs`; `level_difference_db`: estimate less truth.

    Logarithms are floored at `FLOOR_DBFS`. A silent truth (no bin above the floor) has nothing that a
    convergence could be relative to: `spectral_convergence` and `mr_stft` are left out then, and the other
    figures stand.

    Args:
        truth: samples (n,) in [-1, 1].
        estimate: samples (n,) at the same rate.
        sample_rate: of both.

    Raises:
        ValueError: the lengths differ, there are no samples, or one is not finite.

    Source:
        Yamamoto, Song & Kim 2020, "Parallel WaveGAN", equations 4-6 and table 1; as in auraloss. Departures:
        windows in seconds, so the figure means the same at any rate; the floor is fixed at -80 dBFS instead
        of a machine epsilon, so digital silence is not infinitely far from a quiet sound.
    """
    return scores_of_sounds(truth, [estimate], sample_rate=sample_rate)[0]


def scores_of_sounds(
    truth: NDArray[np.float32], estimates: Sequence[NDArray[np.float32]], *, sample_rate: int
) -> list[dict[str, float]]:
    """Measure the distance of each of several sounds to one truth, whose spectra are made once: see `sound_scores`."""
    _check(truth, "truth")
    for estimate in estimates:
        _check(estimate, "estimate")
        if truth.shape != estimate.shape:
            raise ValueError(f"truth has shape {truth.shape}, estimate {estimate.shape}: expected the same")
    compared = [
        _compare(truth, estimates, window_length=max(4, round(window_s * sample_rate))) for window_s in WINDOWS_S
    ]
    truth_level = level_dbfs(truth)
    found = []
    for estimate, at_each_window in zip(estimates, zip(*compared, strict=True), strict=True):
        fine = at_each_window[WINDOWS_S.index(LOG_SPECTRAL_WINDOW_S)]
        level = level_dbfs(estimate)
        scores = {
            "log_magnitude": float(np.mean([sums["log"] / sums["n_bins"] for sums in at_each_window])),
            "log_spectral_distance_db": float(fine["rms_db"] / fine["n_frames"]),
            "truth_level_dbfs": truth_level,
            "estimate_level_dbfs": level,
            "level_difference_db": level - truth_level,
        }
        if all(sums["peak"] > _floor() for sums in at_each_window):
            convergences = [np.sqrt(sums["difference"] / sums["power"]) for sums in at_each_window]
            scores["spectral_convergence"] = float(np.mean(convergences))
            scores["mr_stft"] = scores["spectral_convergence"] + scores["log_magnitude"]
        found.append(scores)
    return found


def spectrogram_dbfs(
    audio: NDArray[np.float32], *, window_length: int, hop_length: int, n_fft: int
) -> NDArray[np.float32]:
    """Return the level (n_fft // 2 + 1, stft frames) of each bin, at least `FLOOR_DBFS`.

    Stft frame k is centred on sample k * hop_length; the sound is silence outside.
    """
    blocks = [
        20.0 * np.log10(np.maximum(block, _floor()))
        for block in magnitudes(audio, window_length=window_length, hop_length=hop_length, n_fft=n_fft)
    ]
    return np.concatenate(blocks).T.astype(np.float32)


def _floor() -> float:
    return float(10.0 ** (FLOOR_DBFS / 20.0))


def _check(audio: NDArray[np.float32], name: str) -> None:
    if audio.ndim != 1 or not len(audio):
        raise ValueError(f"{name} has shape {audio.shape}, expected one channel with at least a sample")
    finite = np.isfinite(audio)
    if not finite.all():
        first = int(np.argmin(finite))
        raise ValueError(f"{name}: sample {first} of {len(audio)} is {audio[first]}, expected a finite number")


def magnitudes(
    audio: NDArray[np.float32], *, window_length: int, hop_length: int, n_fft: int
) -> Iterator[NDArray[np.float64]]:
    """Yield magnitudes (stft frames, bins) block by block: memory does not grow with the take, nor leave the cache.

    A sine of amplitude 1 reads 1. Stft frame k is centred on sample k * hop_length; the sound is silence outside.
    """
    import scipy.fft  # most modules that import this one want a level or the metrics
    import scipy.signal

    window = scipy.signal.get_window("hann", window_length)
    padded = np.pad(audio.astype(np.float64), window_length // 2 + 1)
    frames = sliding_window_view(padded, window_length)[::hop_length]
    n_frames = max(1, BLOCK_BINS // n_fft)
    block = np.zeros((n_frames, n_fft))
    for start in range(0, len(frames), n_frames):
        some = frames[start : start + n_frames]
        np.multiply(some, window, out=block[: len(some), :window_length])
        yield np.abs(scipy.fft.rfft(block[: len(some)])) * (2.0 / window.sum())


def _compare(
    truth: NDArray[np.float32], estimates: Sequence[NDArray[np.float32]], *, window_length: int
) -> list[dict[str, float]]:
    """Sum what the distances of each estimate at one window length are made of."""
    shape = {
        "window_length": window_length,
        "hop_length": max(1, window_length // 5),
        "n_fft": int(2 ** np.ceil(np.log2(1.6 * window_length))),
    }
    names = ("difference", "power", "log", "rms_db", "peak", "n_bins", "n_frames")
    of_each = [dict.fromkeys(names, 0.0) for _ in estimates]
    for true, *of_estimates in zip(*(magnitudes(one, **shape) for one in (truth, *estimates)), strict=True):
        power, peak = float(np.vdot(true, true)), float(true.max())
        true_log = np.log(np.maximum(true, _floor()))
        for sums, found in zip(of_each, of_estimates, strict=True):
            log_ratio = true_log - np.log(np.maximum(found, _floor()))
            sums["log"] += float(np.abs(log_ratio).sum())
            sums["rms_db"] += float(np.sqrt(np.square(log_ratio).mean(axis=1)).sum() * 20.0 / np.log(10.0))
            apart = np.subtract(true, found, out=found)
            sums["difference"] += float(np.vdot(apart, apart))
            sums["power"] += power
            sums["peak"] = max(sums["peak"], peak)
            sums["n_bins"] += true.size
            sums["n_frames"] += len(true)
    return of_each
