"""Factorization of a mix by tracked notes, whose spectra move towards the mix.

Harmonic non-negative matrix factorization (Raczyński, Ono & Sagayama 2007; Virtanen & Klapuri's source-filter form
2006) for the Kullback-Leibler divergence: a note's spectrum is a weight for each harmonic's peak. What the mix says of
one note's harmonics is pooled over the player's neighbouring pitches, and held to the table by a prior.

Shapes: K players, P pitches of a range, N of these that are played, O offsets in pitch, H harmonics, B bins,
T stft frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.partials.combs import Grid
from tasks.partials.params import PartialsParams
from tasks.partials.spectra import N_HARMONICS, pitches_of

Floats = NDArray[np.floating[Any]]

_FITTED_HARMONICS = 30  # of those above, too little is heard
_PLAYED = 0.05  # probability in some frame from which on a pitch takes part
_PROBABLE_FRAMES = 3  # over which a probability reaches
_NOISE_BINS = 9  # over which the noise's spectrum is smooth
_NOISE_LEVEL = 0.1
_FIXED_ITERATIONS = 3  # before spectra move, then every second one
_OTHERS_REACH = 1.5  # times the reach, for pitches that were not played
_LEAST_HEARD = 0.02  # of what is heard of the best known pitch
_TINY = 1e-9


@dataclass(frozen=True, kw_only=True)
class Adapted:
    """A factorized mix.

    Attributes:
        estimates: (K, B, T) magnitudes of each player, in all bins.
        noise: (B', T) magnitudes of no player, in the fitted bins.
        spectra: of each player (P, H), as they are in the mix.
    """

    estimates: Floats
    noise: Floats
    spectra: list[Floats]


class _Voice:
    """A player's notes: peaks, spectra and activations."""

    def __init__(
        self, code: str, probability: Floats, table: Floats, grid: Grid, params: PartialsParams, n_bins: int
    ) -> None:
        from scipy.ndimage import uniform_filter1d

        probable = uniform_filter1d(probability, _PROBABLE_FRAMES, axis=1)
        self.rows = np.flatnonzero(probable.max(axis=1) > _PLAYED)
        self.all_pitches, self.pitches = pitches_of(code), pitches_of(code)[self.rows]
        self.table = np.asarray(table, np.float32)
        self.initial = self.table[self.rows][:, :_FITTED_HARMONICS]
        self.spectra = self.initial.copy()
        self.offsets, self.grid, self.reach, self.hold = params.offsets, grid, params.reach, params.hold
        self.peaks = grid.peaks(self.pitches, offsets=self.offsets, n_harmonics=_FITTED_HARMONICS, n_bins=n_bins)
        self.probable = np.repeat(probable[self.rows], len(self.offsets), axis=0)
        self.activations: Floats = np.zeros_like(self.probable)  # (N * O, T)
        self.whole = self.table

    def atoms(self) -> Floats:
        """Return the notes' magnitudes (N * O, B)."""
        n_bins = self.peaks.shape[-1]
        found = np.einsum("nohb,nh->nob", self.peaks, self.spectra, optimize=True)
        return np.asarray(found.reshape(-1, n_bins), np.float32)

    def adapt(self, ratio: Floats) -> None:
        """Move the spectra by what the mix (B, T), over its estimate, has more or less of each harmonic."""
        n, n_offsets = len(self.pitches), len(self.offsets)
        heard = (ratio @ self.activations.T).reshape(-1, n, n_offsets)
        more = self.spectra * np.einsum("nohb,bno->nh", self.peaks, heard, optimize=True)
        strength = self.activations.reshape(n, n_offsets, -1).sum(axis=2)
        expected = self.initial * np.einsum("noh,no->nh", self.peaks.sum(axis=3), strength)
        change = self._pooled(self.pitches, self.reach, more, expected, least=0.0)
        moved = self.initial * change
        self.spectra = moved * (np.linalg.norm(self.initial, axis=1) / np.linalg.norm(moved, axis=1))[:, None]
        everywhere = self.table.copy()
        everywhere[:, :_FITTED_HARMONICS] *= self._pooled(
            self.all_pitches, _OTHERS_REACH * self.reach, more, expected, least=_LEAST_HEARD
        )
        self.whole = everywhere / np.linalg.norm(everywhere, axis=1, keepdims=True)

    def _pooled(
        self, pitches: NDArray[np.int64], reach: float, more: Floats, expected: Floats, *, least: float
    ) -> Floats:
        weight = np.exp(-0.5 * ((pitches[:, None] - self.pitches[None]) / reach) ** 2)
        heard, counted = weight @ more, weight @ expected
        total = counted.sum(axis=1, keepdims=True)
        prior = self.hold * np.maximum(total, least * total.max()) / _FITTED_HARMONICS + _TINY
        return np.asarray((heard + prior) / (counted + prior), np.float32)

    def estimate(self, n_bins: int) -> Floats:
        """Return the player's magnitudes (B, T) in ``n_bins`` bins, with the harmonics that were not fitted too."""
        spectra = self.table[self.rows].copy()
        spectra[:, :_FITTED_HARMONICS] = self.spectra
        found = np.zeros((n_bins, self.probable.shape[-1]), np.float32)
        for n in range(len(self.pitches)):  # one by one: peaks in all bins are large
            peaks = self.grid.peaks(self.pitches[[n]], offsets=self.offsets, n_harmonics=N_HARMONICS, n_bins=n_bins)[0]
            own = slice(n * len(self.offsets), (n + 1) * len(self.offsets))
            found += np.einsum("ohb,h->bo", peaks, spectra[n], optimize=True) @ self.activations[own]
        return found


def adapt(
    magnitudes: Floats,
    codes: Sequence[str],
    probabilities: Sequence[Floats],
    tables: Sequence[Floats],
    grid: Grid,
    params: PartialsParams,
    *,
    n_bins: int,
) -> Adapted:
    """Factorize a mix (B, T) by the notes that its players probably play.

    Args:
        magnitudes: (B, T) of the mix.
        codes: an instrument a player.
        probabilities: (P, T) of each player's pitches, as `tasks.partials.tracking.track` returns them.
        tables: (P, H) spectra of each player that adaptation begins from.
        grid: of the bins.
        params: of the factorization.
        n_bins: that are fitted, from the lowest on.
    """
    fitted = np.asarray(magnitudes[:n_bins], np.float32)
    voices = [
        _Voice(code, probability, table, grid, params, n_bins)
        for code, probability, table in zip(codes, probabilities, tables, strict=True)
    ]
    from scipy.ndimage import uniform_filter1d

    noise = uniform_filter1d(np.median(fitted, axis=1), _NOISE_BINS)[None] + np.float32(_TINY)  # (1, B)
    atoms = [voice.atoms() for voice in voices]
    ends = np.cumsum([len(one) for one in atoms])
    level = fitted.sum(axis=0) / len(codes)
    active = [
        voice.probable * level / (own.sum(axis=1) + _TINY)[:, None] + 1e-12
        for voice, own in zip(voices, atoms, strict=True)
    ]
    strength = np.concatenate([*active, np.full((1, fitted.shape[1]), _NOISE_LEVEL)]).astype(np.float32)
    for iteration in range(params.n_iterations):
        whole = np.concatenate([*atoms, noise])
        ratio = fitted / (whole.T @ strength + _TINY)
        strength *= (whole @ ratio) / (whole.sum(axis=1)[:, None] + _TINY)
        for voice, own in zip(voices, np.split(strength[:-1], ends[:-1]), strict=True):
            voice.activations = own
        if iteration >= _FIXED_ITERATIONS and iteration % 2:
            ratio = fitted / (whole.T @ strength + _TINY)
            for voice in voices:
                if len(voice.pitches):
                    voice.adapt(ratio)
            atoms = [voice.atoms() for voice in voices]
    return Adapted(
        estimates=np.stack([voice.estimate(len(magnitudes)) for voice in voices]),
        noise=noise.T @ strength[-1:],
        spectra=[voice.whole for voice in voices],
    )
