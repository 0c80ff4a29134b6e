"""The notes of all players of a mix, tracked together: for each player and frame, the probability of each pitch.

A player plays one note or none. A state is one of these for each player; it is as likely as its notes' spectra fit the
frame together. Players move independently of one another, so that forward and backward sums over all states factorize.
After Duan, Han & Pardo, Multi-pitch streaming of harmonic sound mixtures (2014), whose constraints on streams (one note
at a time, timbre, continuity in pitch) are kept, while here a factorial hidden Markov model decides on all at once.

Shapes: K players, P pitches of a player's range, B bins, T stft frames, M candidates, S states.
"""

from collections.abc import Sequence
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.instruments.orchestra import ORCHESTRA
from tasks.partials.params import TrackingParams
from tasks.partials.spectra import pitches_of

Floats = NDArray[np.floating[Any]]

MIDDLE = 0.45  # of a range, where an instrument plays most
_MOST_STATES = 1000  # where players are many, fewer candidates are considered for each
_SALIENCE_ITERATIONS = 30
_PITCHES = 128
_LEAST_ENERGY = 0.02  # of a loud frame's: below it a frame counts less
_ENERGY_FRAMES = 5  # over which a frame's energy is averaged
_CANDIDATE_FRAMES = 3
_LOUD_PERCENTILE = 95
_FULL_ORDER = 10.0  # semitones between the middles of two ranges from which on the order counts whole
_RIDGE = 1e-3  # of the fit: two players' spectra of one pitch are nearly the same
_LEAST_CHANCE = 1e-7
_AT_A_TIME = 2_000_000  # numbers of the fit


def track(
    magnitudes: Floats,
    codes: Sequence[str],
    atoms: Sequence[Floats],
    params: TrackingParams,
    *,
    fit_weight: float,
    order: float,
) -> list[Floats]:
    """Return for each player the probability (P, T) of each pitch of the range; what is missing to 1 is a rest's.

    Args:
        magnitudes: (B, T) of the mix.
        codes: an instrument a player.
        atoms: of each player, the magnitudes (P, B) of each note.
        params: of the model.
        fit_weight: nats for a frame that notes explain whole.
        order: nats, at most, in each frame against the higher instrument's playing below the lower one.
    """
    spectrum = np.asarray(magnitudes, np.float64) ** params.compression
    compressed = [np.asarray(one, np.float64) ** params.compression for one in atoms]
    unit = np.concatenate([one / np.maximum(np.linalg.norm(one, axis=1, keepdims=True), 1e-12) for one in compressed])
    first = np.cumsum([0, *(len(one) for one in atoms)])
    fits, gram = unit @ spectrum, unit @ unit.T
    pitches = [pitches_of(code) for code in codes]
    n_states_each = _candidates_each(len(codes), params.n_candidates)
    candidates = _candidates(fits, gram, pitches, first, n_states_each - 1)
    states = np.array(list(product(range(n_states_each), repeat=len(codes))))  # (S, K); the last of each is a rest
    energy = _smooth(np.square(spectrum).sum(axis=0)[None], _ENERGY_FRAMES)[0]
    floor = _LEAST_ENERGY * np.percentile(energy, _LOUD_PERCENTILE) + 1e-12
    chosen = np.stack([of_one[states[:, k]] for k, of_one in enumerate(candidates)], axis=1)  # (S, K, T)
    score = fit_weight * _explained(chosen, fits, gram, first) / np.maximum(energy, floor)
    height = [_height(code, params) for code in codes]
    for k, own in enumerate(height):
        prior = np.append(params.range_weight * own - params.note_cost, 0.0)
        score += prior[chosen[:, k]]
    score += _order(codes, pitches, chosen, order, params.order_width)
    likelihood = np.exp(score - score.max(axis=0)).reshape(*(n_states_each,) * len(codes), -1)
    steps = []
    for of_one, own in zip(candidates, height, strict=True):
        moves = _moves(own, params)
        steps.append(moves[of_one.T[:-1, :, None], of_one.T[1:, None, :]])  # (T - 1, M + 1, M + 1)
    joint = _smoothed(likelihood, steps)  # (T, M + 1, ...)
    found: list[Floats] = []
    for k, (of_one, own) in enumerate(zip(candidates, height, strict=True)):
        marginal = joint.sum(axis=tuple(1 + other for other in range(len(codes)) if other != k))  # (T, M + 1)
        probability = np.zeros((len(own) + 1, len(marginal)))
        np.put_along_axis(probability, of_one, marginal.T, axis=0)
        found.append(probability[:-1])
    return found


def middle_of(code: str) -> float:
    """Return the pitch that an instrument plays most."""
    about = ORCHESTRA[code]
    return about.lowest + MIDDLE * (about.highest - about.lowest)


def _candidates_each(n_players: int, n_candidates: int) -> int:
    """Return how many notes, and the rest, are considered for each player."""
    return max(min(n_candidates + 1, int(_MOST_STATES ** (1 / n_players) + 1e-9)), 2)


def _candidates(
    fits: Floats, gram: Floats, pitches: Sequence[NDArray[np.int64]], first: NDArray[np.int64], n_candidates: int
) -> list[NDArray[np.int64]]:
    """Return indices (M + 1, T) of each player's likeliest pitches; the last is one past the range, a rest.

    Which pitches sound is estimated by a non-negative fit of all notes of all players at once, whoever plays them.
    """
    strength = np.maximum(fits, 1e-9)
    for _ in range(_SALIENCE_ITERATIONS):
        strength = strength * fits / (gram @ strength + 1e-9)
    of_pitch: Floats = np.zeros((_PITCHES, fits.shape[1]))
    for own, (start, end) in zip(pitches, pairwise(first), strict=True):
        of_pitch[own] += strength[start:end]
    of_pitch = _smooth(of_pitch, _CANDIDATE_FRAMES)
    found = []
    for own in pitches:
        best = np.argsort(-of_pitch[own], axis=0, kind="stable")[:n_candidates]
        found.append(np.concatenate([best, np.full((1, best.shape[1]), len(own))]))
    return found


def _smooth(values: Floats, n_frames: int) -> Floats:
    from scipy.ndimage import uniform_filter1d

    return np.asarray(uniform_filter1d(values, n_frames, axis=1))


def _explained(chosen: NDArray[np.int64], fits: Floats, gram: Floats, first: NDArray[np.int64]) -> Floats:
    """Return the energy (S, T) of each frame that the notes of each state explain, with gains that are not negative."""
    n_states, n_players, n_frames = chosen.shape
    length = np.diff(first)[:, None]
    found = np.empty((n_states, n_frames))
    at_a_time = max(_AT_A_TIME // (n_states * n_players**2), 1)
    for start in range(0, n_frames, at_a_time):
        some = chosen[:, :, start : start + at_a_time]
        sounds = np.moveaxis(some < length, 2, 0)  # (t, S, K)
        rows = np.moveaxis(np.minimum(some, length - 1) + first[:-1, None], 2, 0)
        frames = np.arange(start, start + len(rows))
        fit = fits[rows, frames[:, None, None]].reshape(-1, n_players)
        products = gram[rows[..., :, None], rows[..., None, :]].reshape(-1, n_players, n_players)
        found[:, frames] = _fit_energy(sounds.reshape(-1, n_players), fit, products).reshape(-1, n_states).T
    return found


def _fit_energy(sounds: NDArray[np.bool_], fit: Floats, products: Floats) -> Floats:
    """Return the energy (n,) that fits (n, K) of notes that sound explain; a note of negative gain is left out."""
    n_players = sounds.shape[1]
    eye = np.eye(n_players)
    energy = np.zeros(len(sounds))
    rest = np.arange(len(sounds))
    for _ in range(n_players):
        both = sounds[:, :, None] & sounds[:, None, :]
        matrix = products * both + np.where(sounds[:, :, None], _RIDGE, 1.0) * eye
        target = fit * sounds
        gain = np.linalg.solve(matrix, target[..., None])[..., 0]
        energy[rest] = (target * gain).sum(axis=1)  # of the solution, which is a projection
        again = (gain < 0).any(axis=1)
        if not again.any():
            break
        rest, fit, products, sounds = rest[again], fit[again], products[again], (sounds & (gain >= 0))[again]
    return energy


def _height(code: str, params: TrackingParams) -> Floats:
    """Return the logarithm, up to a constant, of how often an instrument plays each pitch of its range."""
    about = ORCHESTRA[code]
    width = params.range_width * (about.highest - about.lowest)
    return -0.5 * ((pitches_of(code) - middle_of(code)) / width) ** 2


def _order(
    codes: Sequence[str], pitches: Sequence[NDArray[np.int64]], chosen: NDArray[np.int64], order: float, width: float
) -> Floats:
    """Return nats (S, T), at most 0, against states in which a higher instrument plays below a lower one."""
    found = np.zeros((chosen.shape[0], chosen.shape[2]))
    padded = [np.append(own, 0) for own in pitches]
    for upper, lower in product(range(len(codes)), repeat=2):
        apart = middle_of(codes[upper]) - middle_of(codes[lower])
        if apart <= 1.0:
            continue
        over = padded[upper][chosen[:, upper]] - padded[lower][chosen[:, lower]]
        both = (chosen[:, upper] < len(pitches[upper])) & (chosen[:, lower] < len(pitches[lower]))
        weight = order * min(apart / _FULL_ORDER, 1.0)
        found -= np.where(both, weight * np.logaddexp(0.0, -over / width), 0.0)
    return found


def _moves(height: Floats, params: TrackingParams) -> Floats:
    """Return the probability (P + 1, P + 1) of each move from one frame to the next; the last state is a rest."""
    n = len(height)
    apart = np.abs(np.arange(n)[:, None] - np.arange(n)[None])
    jump = np.where(apart > 0, np.exp(-apart / params.interval), 0.0)
    jump /= jump.sum(axis=1, keepdims=True)
    often = np.exp(height) / np.exp(height).sum()
    found = np.zeros((n + 1, n + 1))
    found[:n, :n] = (1 - params.change - params.rest) * np.eye(n) + params.change * jump
    found[:n, n] = params.rest
    found[n, :n] = params.start * often
    found[n, n] = 1 - params.start
    return np.maximum(found, _LEAST_CHANCE)


def _smoothed(likelihood: Floats, steps: Sequence[Floats]) -> Floats:
    """Return the probability (T, M + 1, ...) of each joint state, given all frames (forward and backward sums)."""
    n_frames = likelihood.shape[-1]
    by_frame = np.moveaxis(likelihood, -1, 0)
    forward, backward = np.empty(by_frame.shape), np.empty(by_frame.shape)
    forward[0] = by_frame[0] / by_frame[0].sum()
    backward[-1] = 1.0
    for t in range(1, n_frames):
        message = forward[t - 1]
        for step in steps:  # each contraction takes the first axis away and puts the new one last
            message = np.tensordot(message, step[t - 1], axes=(0, 0))
        message = message * by_frame[t]
        forward[t] = message / max(float(message.sum()), np.finfo(float).tiny)
    for t in range(n_frames - 2, -1, -1):
        message = backward[t + 1] * by_frame[t + 1]
        for step in steps:
            message = np.tensordot(message, step[t], axes=(0, 1))
        backward[t] = message / max(float(message.sum()), np.finfo(float).tiny)
    joint = forward * backward
    total = joint.reshape(n_frames, -1).sum(axis=1).reshape(n_frames, *(1,) * len(steps))
    return np.asarray(joint / np.maximum(total, np.finfo(float).tiny))
