"""Sound at another sample rate."""

import numpy as np
import soxr
from numpy.typing import NDArray


def resampled_length(n_samples: int, from_rate: int, to_rate: int) -> int:
    """Return how many samples ``resample`` makes: the first at or after the end of the sound is left out."""
    return -(-n_samples * to_rate // from_rate)


def resample(audio: NDArray[np.float32], from_rate: int, to_rate: int) -> NDArray[np.float32]:
    """Resample mono sound with soxr at its very high quality; sample 0 stays at time 0.

    A band-limited sound can rise above the samples it came from: the result may pass the peak of ``audio``
    a little, and what needs [-1, 1] must clip it.

    Args:
        audio: (n,) samples.
        from_rate: Hz, of ``audio``.
        to_rate: Hz, of the result.

    Returns:
        Exactly ``ceil(n * to_rate / from_rate)`` samples.

    Raises:
        ValueError: a rate is not positive, ``audio`` is not one-dimensional, or a sample is not a number.
        ArithmeticError: soxr returned another length or something that is not a number.
    """
    if from_rate < 1 or to_rate < 1:
        raise ValueError(f"cannot resample from {from_rate} to {to_rate} Hz")
    if audio.ndim != 1:
        raise ValueError(f"audio has shape {audio.shape}, expected one channel (n,)")
    if not np.isfinite(audio).all():
        raise ValueError(f"sample {int(np.argmin(np.isfinite(audio)))} is not a number")
    if from_rate == to_rate:
        return audio.astype(np.float32)
    expected = resampled_length(len(audio), from_rate, to_rate)
    made = soxr.resample(np.asarray(audio, np.float32), from_rate, to_rate, quality="VHQ")
    # Soxr rounds the length its own way, one sample off at most.
    if abs(len(made) - expected) > 1 or not np.isfinite(made).all():
        raise ArithmeticError(f"soxr made {len(made)} samples of {len(audio)}, expected {expected} finite ones")
    result = np.zeros(expected, np.float32)
    result[: len(made)] = made[:expected]
    return result
