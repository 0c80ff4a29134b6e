"""Mu-law companding: sound as one of a few classes, finer where the ear is finer."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

BLOCK_LENGTH = 1 << 16  # samples at a time: intermediate arrays stay in the cache


def mu_law_encode(audio: NDArray[np.float32], n_classes: int = 256) -> NDArray[np.uint8]:
    """Compand audio and quantize it to class indices.

    Args:
        audio: samples in [-1, 1], any shape.
        n_classes: amplitude classes, 2 to 256.

    Returns:
        Indices in [0, n_classes), shape of ``audio``; silence is class ``n_classes // 2``.

    Raises:
        ValueError: a sample is outside [-1, 1] or not a number.

    Source:
        ITU-T G.711, mu = n_classes - 1. DeepSynth section 3.5 writes mu = 256 for 256 classes.
    """
    _check_classes(n_classes)
    peak = max(float(audio.max()), -float(audio.min())) if audio.size else 0.0
    if not peak <= 1.0:  # written so that NaN is refused too
        raise ValueError(f"audio peak is {peak}, expected at most 1.0: integer PCM not scaled?")
    samples = np.ascontiguousarray(audio).reshape(-1)
    classes = np.empty(len(samples), np.uint8)
    mu = n_classes - 1
    for start in range(0, len(samples), BLOCK_LENGTH):
        block = samples[start : start + BLOCK_LENGTH]
        companded = np.log1p(mu * np.abs(block)) / np.log1p(block.dtype.type(mu))  # [0, 1]
        np.copysign(companded, block, out=companded)
        classes[start : start + BLOCK_LENGTH] = np.floor((companded + 1) / 2 * mu + 0.5)
    return classes.reshape(audio.shape)


def mu_law_decode(codes: NDArray[np.uint8], n_classes: int = 256) -> NDArray[np.float32]:
    """Expand class indices to the sample in the middle of each class.

    Encoding the result gives ``codes`` back. Two classes lie around silence, which none decodes to.

    Args:
        codes: indices in [0, n_classes), any shape.
        n_classes: amplitude classes, 2 to 256.

    Returns:
        Samples in [-1, 1], shape of ``codes``.

    Raises:
        ValueError: an index is not below ``n_classes``.
    """
    _check_classes(n_classes)
    highest = int(codes.max()) if codes.size else 0
    if highest >= n_classes:
        raise ValueError(f"code {highest} found, expected classes below {n_classes}")
    samples: NDArray[np.float32] = _class_centres(n_classes)[codes]
    return samples


@cache
def _class_centres(n_classes: int) -> NDArray[np.float32]:
    mu = n_classes - 1
    companded = 2 * np.arange(n_classes) / mu - 1
    centres = np.sign(companded) * np.expm1(np.abs(companded) * np.log1p(mu)) / mu
    table: NDArray[np.float32] = centres.astype(np.float32)
    table.setflags(write=False)
    return table


def _check_classes(n_classes: int) -> None:
    if not 2 <= n_classes <= 256:
        raise ValueError(f"n_classes is {n_classes}, expected 2 to 256")
