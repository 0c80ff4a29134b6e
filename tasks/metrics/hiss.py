"""Noise in a generated sound: its level while the reference rests, and how flat its spectrum is.

The reference *sounds* in a frame of 25 ms where it is less than 60 dB below its loudest one. A *rest* is a frame at
least 0.2 s from any frame that sounds: what rings a little longer, or begins a little early, is no hiss. A rendered
score rests at its end at least, once its last note has faded.

Silence that went through 8-bit mu-law codes reads -81 dBFS: half a step beside 0.
"""

from functools import partial

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from tasks.metrics.metric import Metric
from tasks.metrics.sound import LEVEL_FLOOR_DBFS, level_dbfs, magnitudes

FRAME_S = 0.025
QUIET_DB = 60.0
"""A frame this far below the loudest one is silent."""

CLEAR_S = 0.2
"""A rest is at least this far from any frame that sounds."""

_level = partial(
    Metric, unit="dBFS", direction="none", digits=1, kinds=("scores",), group="Sound", source="RMS against full scale"
)
_flatness = partial(
    Metric,
    unit="",
    direction="none",
    digits=3,
    kinds=("scores",),
    group="Sound",
    source="Gray & Markel 1974",
    low=0.0,
    high=1.0,
)
METRICS = (
    _level(key="rest_level_dbfs", label="In rests", meaning="level of the sound while the reference rests: its hiss"),
    _level(key="true_rest_level_dbfs", label="True in rests", meaning="level of the reference in its own rests"),
    _flatness(
        key="spectral_flatness",
        label="Flatness",
        meaning="spectral flatness of the sound while the reference sounds: 0 for tones, 0.56 for white noise",
    ),
    _flatness(key="true_spectral_flatness", label="True flatness", meaning="the same of the reference"),
)


def hiss_scores(truth: NDArray[np.float32], estimate: NDArray[np.float32], *, sample_rate: int) -> dict[str, float]:
    """Measure the noise of a sound beside that of its reference.

    Args:
        truth: samples (n,) in [-1, 1].
        estimate: samples (n,) at the same rate.
        sample_rate: of both, in Hz.

    Returns:
        - `rest_level_dbfs`, `true_rest_level_dbfs`: level over all rests of ``truth``; left out where it never rests.
        - `spectral_flatness`, `true_spectral_flatness`: geometric over arithmetic mean of the power spectrum (Hann, 50
          ms, every 25 ms), mean over the windows in which ``truth`` sounds. Windows of a sound that are silent, below
          -120 dBFS in each bin, are left out, and so is the figure where all are.

        Empty for a silent ``truth``.

    Raises:
        ValueError: the lengths differ.
    """
    if truth.shape != estimate.shape or truth.ndim != 1:
        raise ValueError(f"truth has shape {truth.shape}, estimate {estimate.shape}: expected the same (n,)")
    length = round(FRAME_S * sample_rate)
    n_frames = len(truth) // length
    frames = [sound[: n_frames * length].reshape(n_frames, length) for sound in (truth, estimate)]
    levels = np.array([level_dbfs(frame) for frame in frames[0]])
    loudest = levels.max(initial=LEVEL_FLOOR_DBFS)
    if loudest <= LEVEL_FLOOR_DBFS:
        return {}
    sounds = levels > loudest - QUIET_DB
    reach = 2 * round(CLEAR_S / FRAME_S) + 1
    rests = ~scipy.ndimage.maximum_filter1d(sounds, reach, mode="constant", cval=False)
    scores = {}
    for prefix, sound, own in zip(("true_", ""), (truth, estimate), frames, strict=True):
        if rests.any():
            scores[f"{prefix}rest_level_dbfs"] = level_dbfs(own[rests].ravel())
        flatness = _flatness_of_windows(sound, length)[1:n_frames][sounds[1:] & sounds[:-1]]
        flatness = flatness[np.isfinite(flatness)]
        if len(flatness):
            scores[f"{prefix}spectral_flatness"] = float(flatness.mean())
    return scores


def _flatness_of_windows(audio: NDArray[np.float32], frame_length: int) -> NDArray[np.float64]:
    """Return the flatness of each window; window k holds frames k - 1 and k. NaN for a silent one."""
    floor = 10.0 ** (LEVEL_FLOOR_DBFS / 20.0)
    found = []
    window_length = 2 * frame_length
    for block in magnitudes(audio, window_length=window_length, hop_length=frame_length, n_fft=window_length):
        power = np.square(np.maximum(block, floor))
        flatness = np.exp(np.log(power).mean(axis=1)) / power.mean(axis=1)
        found.append(np.where(block.max(axis=1) > floor, flatness, np.nan))
    return np.concatenate(found)
