"""How strongly each key sounds at each moment: non-negative factorization over harmonic templates.

A spectrum V (F, T) is taken apart as V = W H. Each column of W belongs to one key and is a weighted sum of that
key's partials, so it can only have that key's harmonics; the weights are learned from the recording itself, pulled
towards a first guess. A few wide columns take what has no pitch: hammers, pedals, hiss.

Shapes: F frequency bins, T spectrum columns, P pitches, N partials.

Source:
    Harmonic templates with learned weights: Vincent, Bertin and Badeau, "Adaptive harmonic spectral decomposition for
    multiple pitch estimation", 2010. Multiplicative steps for the beta divergence with the exponent that makes each
    one a descent: Fevotte and Idier, 2011. beta = 1/2 weighs quiet partials more than Kullback-Leibler does.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.features.note_spectrum import Partials

N_NOISE = 10
N_LEARNING_ITERATIONS = 30
_FIXED_ITERATIONS = 5  # activations settle before the weights may move
_PULL = 0.02  # of the first guess, in shares of the evidence that an average pitch has
_TINY = np.float32(1e-9)


@dataclass(frozen=True, kw_only=True)
class Templates:
    """Columns of W.

    Attributes:
        spectrum: (F, P + N_NOISE) each of sum 1; the pitches first, then noise.
        peak: (P,) largest value of each pitch's column.
        level: activation of a typical sounding moment of this recording; what others are measured by.
    """

    spectrum: NDArray[np.float32]
    peak: NDArray[np.float32]
    level: float


def learn_templates(magnitudes: NDArray[np.float32], partials: Partials) -> Templates:
    """Fit the weights of the partials to a recording's spectrum (F, T)."""
    weight, columns = _columns(partials, partials.weight)
    first_guess = weight.copy()
    W = np.hstack([columns, _noise(len(magnitudes))])
    n_pitches = len(weight)
    H = np.full((W.shape[1], magnitudes.shape[1]), magnitudes.mean(), np.float32)
    pull = np.float32(_PULL * np.sqrt(magnitudes.mean()) * magnitudes.size / n_pitches)
    for iteration in range(N_LEARNING_ITERATIONS):
        H *= _step(magnitudes, W, H)
        if iteration < _FIXED_ITERATIONS:
            continue
        M = W @ H + _TINY
        root = np.sqrt(M)
        wanted = (magnitudes / (M * root)) @ H[:n_pitches].T  # (F, P)
        given = (1 / root) @ H[:n_pitches].T
        above = np.einsum("pnf,fp->pn", partials.response, wanted, optimize=True)
        below = np.einsum("pnf,fp->pn", partials.response, given, optimize=True)
        weight = (weight * above + pull * first_guess) / (below + pull)
        weight, columns = _columns(partials, weight)
        W[:, :n_pitches] = columns
    strongest = H[:n_pitches].max(axis=0)
    level = float((strongest.astype(np.float64) ** 2).sum() / max(float(strongest.sum()), 1e-30))
    return Templates(spectrum=W, peak=W[:, :n_pitches].max(axis=0), level=level)


def activations(magnitudes: NDArray[np.float32], templates: Templates, *, n_iterations: int) -> NDArray[np.float32]:
    """Return H (P + N_NOISE, T): how much of each template every column of the spectrum holds.

    Columns are independent of each other: a part of a recording gives the same as the whole.
    """
    W = templates.spectrum
    H = np.repeat(magnitudes.mean(axis=0, keepdims=True), W.shape[1], axis=0) + _TINY
    for _ in range(n_iterations):
        H *= _step(magnitudes, W, H)
    return H


def _step(V: NDArray[np.float32], W: NDArray[np.float32], H: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the factor by which H comes nearer for beta = 1/2."""
    M = W @ H + _TINY
    root = np.sqrt(M)
    ratio: NDArray[np.float32] = (W.T @ (V / (M * root))) / (W.T @ (1 / root) + _TINY)
    return np.cbrt(ratio) ** 2


def _columns(partials: Partials, weight: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weights scaled so that each pitch's column sums to 1, and the columns (F, P)."""
    columns = np.einsum("pn,pnf->fp", weight, partials.response, optimize=True)
    total = columns.sum(axis=0) + np.float32(1e-12)
    return (weight / total[:, None]).astype(np.float32), (columns / total).astype(np.float32)


def _noise(n_bins: int) -> NDArray[np.float32]:
    """Return N_NOISE wide overlapping triangles over the bins, (F, N_NOISE), each of sum 1."""
    centre = np.linspace(0, n_bins - 1, N_NOISE)
    triangle = np.maximum(0, 1 - np.abs(np.arange(n_bins)[:, None] - centre) / (n_bins / (N_NOISE - 1)))
    noise: NDArray[np.float32] = ((triangle + 1e-6) / (triangle + 1e-6).sum(axis=0)).astype(np.float32)
    return noise
