"""A mix of known instruments, separated by their partials.

Nothing but the instruments' names is needed. Notes of all players are tracked together (`tasks.partials.tracking`) by
spectra of a table; a factorization (`tasks.partials.adaptation`) then moves these spectra to the mix, and both are done
once more. Masks share the mix. All is done more than once, with different weights of what is known beforehand; where
the results disagree, nobody is sure, and sounds are drawn towards equal shares of the mix.

Shapes: K players, V different voices, C channels, n samples, B bins, T stft frames, P pitches, H harmonics.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tasks.partials.adaptation import Adapted, adapt
from tasks.partials.combs import Grid, tuning_of
from tasks.partials.params import Member, PartialsParams
from tasks.partials.spectra import Spectra, pitches_of
from tasks.partials.tracking import track

Floats = NDArray[np.floating[Any]]

LEAST_RATE = 8000
OVERLAP_S = 2.0  # of two spans, in which one goes over into the next
_PITCHES = 128
_FLOOR = 1e-3  # of the mix's mean magnitude: where nobody's partials are, shares are equal


@dataclass(frozen=True, kw_only=True)
class Parted:
    """A separated mix.

    Attributes:
        sounds: (K, C, n), whose sum is about the mix: the less sure a player is, the nearer to an equal share.
        sureness: of each player, 0 to 1: the share of the masks, the rest is an equal share of the mix.
        heard: of each player, the share of the mix's energy that the masks give.
        unexplained: share of the mix's energy that no player's notes explain.
    """

    sounds: NDArray[np.float32]
    sureness: tuple[float, ...]
    heard: tuple[float, ...]
    unexplained: float


def separate(
    audio: NDArray[np.float32],
    sample_rate: int,
    instruments: Sequence[str],
    spectra: Spectra,
    params: PartialsParams,
    *,
    progress: Callable[[float], None] = lambda _: None,
) -> Parted:
    """Separate a mix span by span, so that a long one needs no more memory than its sounds.

    Players of one instrument get equal shares of what it plays; one player gets the mix.

    Args:
        audio: (C, n) the mix.
        sample_rate: in Hz, at least `LEAST_RATE`.
        instruments: a code a player.
        spectra: the table.
        params: of the method.
        progress: called with the share that is done.

    Raises:
        ValueError: the rate is too low, or the mix has no samples.
    """
    if sample_rate < LEAST_RATE or audio.ndim != 2 or not audio.size:
        raise ValueError(f"a mix of shape {audio.shape} at {sample_rate} Hz, expected (C, n) at {LEAST_RATE} or more")
    n_samples = audio.shape[1]
    codes = tuple(instruments)
    if len(set(codes)) == 1:
        sounds = np.repeat(audio[None] / np.float32(len(codes)), len(codes), axis=0)
        n = len(codes)
        return Parted(sounds=sounds, sureness=(1.0 if n == 1 else 0.0,) * n, heard=(1 / n,) * n, unexplained=0.0)
    overlap = round(OVERLAP_S * sample_rate)
    step = max(round(params.span_s * sample_rate), 2 * overlap)
    starts = list(range(0, max(n_samples - overlap, 1), step))
    sounds = np.zeros((len(codes), *audio.shape), np.float32)
    parts, energies = [], []
    for number, start in enumerate(starts):
        end = n_samples if start == starts[-1] else start + step + overlap
        part = _span(audio[:, start:end], sample_rate, codes, spectra, params)
        weight = np.ones(end - start, np.float32)
        rise = np.linspace(0, 1, overlap, endpoint=False, dtype=np.float32)
        if number:
            weight[:overlap] = rise
        if end < n_samples:
            weight[-overlap:] = 1 - rise
        sounds[..., start:end] += part.sounds * weight
        parts.append((part.sureness, part.heard, part.unexplained))
        energies.append(float(np.square(audio[:, start:end], dtype=np.float64).sum()))
        progress((number + 1) / len(starts))
    weights = np.asarray(energies) + 1e-30
    sureness, heard, unexplained = (np.average(values, axis=0, weights=weights) for values in zip(*parts, strict=True))
    return Parted(
        sounds=sounds,
        sureness=tuple(float(one) for one in sureness),
        heard=tuple(float(one) for one in heard),
        unexplained=float(unexplained),
    )


def _span(
    audio: NDArray[np.float32], sample_rate: int, codes: tuple[str, ...], spectra: Spectra, params: PartialsParams
) -> Parted:
    from scipy.signal import istft, stft

    hop = max(round(params.window_s * sample_rate / 4 / 16), 1) * 16
    n_fft = 4 * hop
    length = audio.shape[1]
    _, _, mix = stft(np.pad(audio, ((0, 0), (0, max(n_fft - length, 0)))), nperseg=n_fft, noverlap=n_fft - hop)
    magnitudes = np.abs(mix).mean(axis=0)
    # A product summed by two threads has other last bits than by one.
    with threadpool_limits(limits=1, user_api="blas"):
        fits = [fitted(magnitudes, sample_rate, n_fft, codes, spectra, params, member) for member in params.members]
    drafts = [[masks_of(one, codes, magnitudes, params.mask_power) for one in estimates] for estimates, _ in fits]
    power = np.square(magnitudes)
    masks, sureness = agreed(drafts, power, params)
    heard = np.einsum("kbt,bt->k", masks, power) / max(float(power.sum()), 1e-30)
    weight = np.asarray(sureness)[:, None, None]
    masks = weight * masks + (1 - weight) / len(codes)
    sounds = np.stack([istft(mask * mix, nperseg=n_fft, noverlap=n_fft - hop)[1][:, :length] for mask in masks])
    return Parted(
        sounds=np.asarray(sounds, np.float32),
        sureness=sureness,
        heard=tuple(float(one) for one in heard),
        unexplained=float(np.mean([unexplained for _, unexplained in fits])),
    )


def fitted(
    magnitudes: Floats,
    sample_rate: int,
    n_fft: int,
    codes: Sequence[str],
    spectra: Spectra,
    params: PartialsParams,
    member: Member,
) -> tuple[list[Floats], float]:
    """Track and adapt in turn.

    Returns:
        Each player's magnitudes (K, B, T) after each pass, and the share of the mix's energy that no note explains.
    """
    grid = Grid(
        sample_rate=sample_rate,
        n_fft=n_fft,
        tuning=tuning_of(magnitudes, sample_rate=sample_rate, n_fft=n_fft),
        spread_cents=params.spread_cents,
    )
    n_bins = int(np.searchsorted(grid.frequency_hz, min(params.top_hz, 0.5 * sample_rate)))

    def one_pass(to_track: list[Floats], to_adapt: list[Floats], weight: float) -> Adapted:
        atoms = [
            grid.notes(pitches_of(code), table, n_bins=n_bins) for code, table in zip(codes, to_track, strict=True)
        ]
        found = track(magnitudes[:n_bins], codes, atoms, params.tracking, fit_weight=weight, order=member.order)
        return adapt(magnitudes, codes, found, to_adapt, grid, params, n_bins=n_bins)

    tables = blended([np.asarray(spectra[code]) for code in codes], codes, member.likeness)
    passes = [one_pass(tables, tables, member.fit_weight)]
    for _ in range(params.n_passes - 1):
        tables = blended(passes[-1].spectra, codes, params.second_likeness)
        passes.append(one_pass(tables, passes[-1].spectra, params.tracking.second_fit_weight))
    return [one.estimates for one in passes], _unexplained(passes[-1], magnitudes[:n_bins])


def _unexplained(adapted: Adapted, magnitudes: Floats) -> float:
    explained = adapted.estimates.sum(axis=0)[: len(magnitudes)]
    power = np.square(magnitudes)
    left = power * (adapted.noise / (explained + adapted.noise + 1e-12)) ** 2
    return float(left.sum() / max(power.sum(), 1e-30))


def agreed(
    drafts: Sequence[Sequence[Floats]], power: Floats, params: PartialsParams
) -> tuple[Floats, tuple[float, ...]]:
    """Return the mean masks (K, B, T) of all members' last passes, and how sure each player's is.

    A player's disagreement is the mean distance of masks from their mean, weighted by the mix's energy, over the energy
    that the player has. The first passes count for it too: what adaptation changes is not sure either.

    Args:
        drafts: of each member, of each pass, masks (K, B, T).
        power: (B, T) of the mix.
        params: how sureness falls with disagreement.
    """
    last = np.mean([passes[-1] for passes in drafts], axis=0)
    every = [*drafts[0][:-1], *(passes[-1] for passes in drafts)]
    mean = np.mean(every, axis=0)
    apart = sum(np.einsum("kbt,bt->k", np.abs(one - mean), power) for one in every) / len(every)
    energy = np.einsum("kbt,bt->k", mean, power)
    disagreement = np.where(energy > 0, apart / np.maximum(energy, 1e-30), 0.0)
    sure = np.clip(params.surest - params.doubt * disagreement, params.least_sure, params.surest)
    return last, tuple(float(one) for one in sure)


def blended(tables: Sequence[Floats], codes: Sequence[str], likeness: float) -> list[Floats]:
    """Draw each player's spectra (P, H), in decibels, towards the mean of all players' at the same pitch.

    What notes sound is then decided by their partials, and less by what sets instruments apart in the table: a real
    instrument is not quite like it.
    """
    everywhere = []
    for table, code in zip(tables, codes, strict=True):
        own = pitches_of(code)
        rows = np.clip(np.arange(_PITCHES) - own[0], 0, len(own) - 1)
        everywhere.append(np.log(np.maximum(table, 1e-6))[rows])
    mean = np.mean(everywhere, axis=0)
    found = []
    for level, code in zip(everywhere, codes, strict=True):
        own = pitches_of(code)
        found.append(np.exp(likeness * level[own] + (1 - likeness) * mean[own]))
    return found


def masks_of(estimates: Floats, codes: Sequence[str], magnitudes: Floats, power: float) -> Floats:
    """Return masks (K, B, T) that share each bin; players of one instrument have equal ones."""
    strength = (estimates + _FLOOR * magnitudes.mean() + 1e-12) ** power
    masks = strength / strength.sum(axis=0)
    alike = np.array([[one == other for other in codes] for one in codes], float)
    return np.asarray(np.einsum("kj,jbt->kbt", alike / alike.sum(axis=1, keepdims=True), masks))
