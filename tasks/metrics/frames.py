"""Two faults of a sound that is made frame by frame: a buzz at the frame rate, and noise on a video that shows nothing.

`level_dbfs` of the sound for a black or a white video measures the second: a network that takes brightness for loudness
is loud on one of them.
"""

from fractions import Fraction
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.metric import Metric
from tasks.metrics.sound import LEVEL_FLOOR_DBFS, level_dbfs

__all__ = ["frame_rate_comb_db", "level_dbfs"]

WINDOW_FRAMES = 30
"""Frames in a window of the spectrum: as many bins lie between two multiples of the frame rate."""

TOOTH_BINS = 2  # on each side of a multiple: the main lobe of a Hann window
AROUND_BINS = (6, 15)  # from a multiple: its surroundings, up to halfway to the next

_filmed = partial(Metric, digits=1, kinds=("captures",), group="Sound")
_comb = partial(_filmed, unit="dB", direction="none", source="the buzz that Hindle describes")
_even = partial(_filmed, unit="dBFS", direction="lower", source="RMS against full scale")
METRICS = (
    _comb(
        key="comb_db",
        label="Comb",
        meaning="energy at multiples of the frame rate against its surroundings: a buzz",
    ),
    _comb(key="true_comb_db", label="True comb", meaning="the same of the reference, which has it by chance"),
    _even(key="black_level_dbfs", label="On black", meaning="level of the sound for a black video; silence is -120"),
    _even(key="white_level_dbfs", label="On white", meaning="level of the sound for a white video; silence is -120"),
)


def frame_rate_comb_db(audio: NDArray[np.floating], sample_rate: int, frame_rate: Fraction) -> float:
    """Return how far the energy at multiples of the frame rate stands above its surroundings, in dB.

    The power spectrum (Welch, Hann windows of 30 frames, half overlapped): power in the five bins at each multiple,
    summed over all multiples below half the sample rate, over the power of as many bins in between.

    Music has energy at multiples too, by chance: compare with the true sound's figure.

    Returns:
        About 0 for sound that knows nothing of the frame rate, silence included, whatever its level. Below 0 where
        what sounds loudest lies in between.

    Raises:
        ValueError: the sound is shorter than a window, is not one channel or not finite, or the frame rate is not
            above 0 and below half the sample rate.

    Source:
        The buzz that Hindle hears in frames joined without a window.
    """
    audio = np.asarray(audio)
    if frame_rate <= 0 or 2 * frame_rate >= sample_rate:
        raise ValueError(f"frame rate is {frame_rate}, expected above 0 and below half the sample rate {sample_rate}")
    n_window = round(WINDOW_FRAMES * sample_rate / frame_rate)
    if audio.ndim != 1 or len(audio) < n_window:
        raise ValueError(f"audio has shape {audio.shape}, expected one channel of at least {n_window} samples")
    finite = np.isfinite(audio)
    if not finite.all():
        raise ValueError(f"sample {int(np.argmin(finite))} of the audio is {audio[np.argmin(finite)]}")
    from scipy.signal import welch  # half a second that systems without a frame rate need not wait

    _, power = welch(audio.astype(np.float64), sample_rate, "hann", nperseg=n_window, detrend=False, scaling="spectrum")
    n_multiples = int((len(power) - 1 - AROUND_BINS[1]) // WINDOW_FRAMES)
    if n_multiples < 1:
        raise ValueError(f"no multiple of the frame rate {frame_rate} lies well below {sample_rate / 2} Hz")
    # A window is 30 frames up to half a sample, so multiples lie on bins: 0.1 of a bin away at 10 kHz.
    bin_of = np.rint(np.arange(1, n_multiples + 1) * float(frame_rate) * n_window / sample_rate).astype(np.int64)
    tooth = power[bin_of[:, None] + np.arange(-TOOTH_BINS, TOOTH_BINS + 1)].mean()
    far = np.arange(AROUND_BINS[0], AROUND_BINS[1] + 1)
    around = power[bin_of[:, None] + np.concatenate([-far, far])].mean()
    floor = 10.0 ** (LEVEL_FLOOR_DBFS / 10.0) / len(power)
    return float(10.0 * np.log10((tooth + floor) / (around + floor)))
