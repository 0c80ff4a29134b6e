"""What each key sounds like from its stroke on: a causal convolution of the key states at the rate of the sound.

Each stroke starts the learned response of its key, as loud as a learned curve of the stroke's depth says; once
nothing holds the key it fades. In DeepSynth's terms this is the video encoder's causal convolution (section 3.3) with
one layer and a field of seconds instead of 383 ms: a departure, named in the tables. It is linear in the responses, so
they are fitted in closed form, by conjugate gradients.

Shapes: K keys, L samples of a response, S strokes, n samples of a take.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor, nn

from models.key_states import Strokes

INAUDIBLE = 1e-4  # -80 dB: where a response that fades is left out
RIDGE = 3e-3
N_ITERATIONS = 30  # of conjugate gradients from nothing
N_MORE_ITERATIONS = 15  # from what the keys share
N_ROUGH_ITERATIONS = 10  # while fading and loudness are found
N_SHARINGS = 3  # rounds of sharing between keys
REACH = 4  # keys on each side that a key may sound like
LEAST_LIKENESS = 0.7  # correlation with a neighbour's response, shifted to the key's pitch, below which none is shared
ENOUGH = 0.02  # squared gain after which a key's own strokes count for as much as its neighbours
OVERSAMPLING = 8
FADES_S = (0.02, 2.0)  # least and most time in which a released key fades by 60 dB
SHORT_S = 1.0  # of a response, while fading and loudness are found

Floats = NDArray[np.float32]
_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class StruckTake:
    """The strokes of a take and its sound (n,) in [-1, 1]."""

    strokes: Strokes
    sound: Floats


@dataclass(frozen=True, kw_only=True)
class Loudness:
    """Gain of a stroke by its depth: ((depth - rest) / (deepest - rest)) ** exponent."""

    rest: float
    deepest: float
    exponent: float

    def gain(self, depth: Floats) -> Floats:
        """Return the gain of strokes (S,)."""
        share = np.maximum(depth - self.rest, 1e-3 * self.deepest) / max(self.deepest - self.rest, 1e-9)
        gain: Floats = (share**self.exponent).astype(np.float32)
        return gain


class KeyResponse(nn.Module):
    """The responses of all keys, their fading and the loudness of a stroke. All of it is buffers."""

    responses: Tensor
    fade: Tensor
    loudness: Tensor

    def __init__(self, n_keys: int, length: int) -> None:
        super().__init__()
        self.register_buffer("responses", torch.zeros(n_keys, length))
        self.register_buffer("fade", torch.tensor(1.0))
        self.register_buffer("loudness", torch.tensor([0.0, 1.0, 1.0]))

    @property
    def curve(self) -> Loudness:
        """Return the loudness of a stroke by its depth."""
        rest, deepest, exponent = self.loudness.tolist()
        return Loudness(rest=rest, deepest=deepest, exponent=exponent)

    def gains(self, strokes: Strokes) -> Floats:
        """Return the gain of each stroke, (S,)."""
        return self.curve.gain(strokes.depth)

    def sound(self, strokes: Strokes, n_samples: int) -> Floats:
        """Return the sum of all responses, (n,)."""
        responses = self.responses.cpu().numpy()
        return _sum_responses(*_columns(strokes), self.gains(strokes), responses, _fading(float(self.fade)), n_samples)


def fit_key_response(
    takes: Sequence[StruckTake],
    *,
    n_keys: int,
    length: int,
    rate: int,
    n_threads: int,
    like: KeyResponse | None = None,
) -> KeyResponse:
    """Fit responses, fading and loudness to the sound of takes, in the sense of least squares.

    What the takes hardly tell of a key (it was never held so long) is taken from its neighbours, shifted to its pitch,
    where those that both are known sound alike.

    Args:
        takes: strokes and sound of the same rate.
        n_keys: keys; one without a stroke and without a neighbour alike stays silent.
        length: samples of a response.
        rate: of the sound, in Hz.
        n_threads: of the CPU.
        like: a response whose fading and loudness are taken instead of being found.

    Raises:
        ValueError: no take has a stroke.
    """
    depths = np.concatenate([take.strokes.depth for take in takes]) if takes else np.zeros(0, np.float32)
    if not len(depths):
        raise ValueError(f"{len(takes)} takes without a stroke, expected some to learn the keys' responses from")
    with ThreadPoolExecutor(n_threads) as pool:
        problem = _Problem(takes, Loudness(rest=0.0, deepest=float(depths.max()), exponent=2.0), n_keys, pool)
        short = min(length, round(SHORT_S * rate))
        nothing = np.zeros((n_keys, short), np.float32)
        if like is not None:
            problem = problem.with_loudness(like.curve)
            problem.fade = float(like.fade)
        else:
            problem = problem.with_loudness(_fitted_loudness(problem, problem.solve(nothing, N_ROUGH_ITERATIONS)))
            problem.fade = _best_fade(problem, nothing, rate)
            problem = problem.with_loudness(_fitted_loudness(problem, problem.solve(nothing, N_ROUGH_ITERATIONS)))
        responses = problem.solve(np.zeros((n_keys, length), np.float32))
        for _ in range(N_SHARINGS):
            if like is None:
                problem = problem.with_loudness(_fitted_loudness(problem, responses))
            shared = shared_responses(responses, problem.coverage(length))
            responses = problem.solve(shared, N_MORE_ITERATIONS)
    fitted = KeyResponse(n_keys, length)
    fitted.responses.copy_(torch.from_numpy(responses))
    fitted.fade.fill_(problem.fade)
    loudness = problem.loudness
    fitted.loudness.copy_(torch.tensor([loudness.rest, loudness.deepest, loudness.exponent]))
    return fitted


class _Problem:
    """Least squares: the responses whose sum is nearest to the takes' sound."""

    def __init__(self, takes: Sequence[StruckTake], loudness: Loudness, n_keys: int, pool: ThreadPoolExecutor) -> None:
        self.takes, self.loudness, self.n_keys, self._pool = takes, loudness, n_keys, pool
        self.fade = 0.9975
        self.gains = [loudness.gain(take.strokes.depth) for take in takes]

    def with_loudness(self, loudness: Loudness) -> "_Problem":
        changed = _Problem(self.takes, loudness, self.n_keys, self._pool)
        changed.fade = self.fade
        return changed

    def sounds(self, responses: Floats) -> Iterator[Floats]:
        """Yield the sum of responses of each take."""
        fading = _fading(self.fade)

        def one(number: int) -> Floats:
            strokes, n_samples = self.takes[number].strokes, len(self.takes[number].sound)
            return _sum_responses(*_columns(strokes), self.gains[number], responses, fading, n_samples)

        return self._pool.map(one, range(len(self.takes)))

    def gradient(self, residuals: Iterable[Floats], length: int) -> Floats:
        """Return the transposed operator's value, (K, L): what each response has in common with the residuals."""
        total, fading = np.zeros((self.n_keys, length), np.float32), _fading(self.fade)
        for take, gains, residual in zip(self.takes, self.gains, residuals, strict=True):
            _add_to_responses(*_columns(take.strokes), gains, residual, fading, total)
        return total

    def residuals(self, responses: Floats) -> Iterator[Floats]:
        for take, sound in zip(self.takes, self.sounds(responses), strict=True):
            yield take.sound - sound

    def solve(self, start: Floats, n_iterations: int = N_ITERATIONS) -> Floats:
        """Return the responses after conjugate gradients from ``start``, from which they are held back by a ridge."""
        length = start.shape[1]
        moved = np.zeros_like(start)
        left = self.gradient(self.residuals(start), length)
        direction = left.copy()
        square = _square(left)
        for _ in range(n_iterations):
            if square == 0:
                break
            image = self.gradient(self.sounds(direction), length) + np.float32(RIDGE) * direction
            step = np.float32(square / float(np.vdot(direction.astype(np.float64), image)))
            moved += step * direction
            left -= step * image
            before, square = square, _square(left)
            direction = left + np.float32(square / before) * direction
        solved: Floats = start + moved
        return solved

    def coverage(self, length: int) -> Floats:
        """Return by how much squared gain each sample of each response was played, (K, L)."""
        known, fading = np.zeros((self.n_keys, length), np.float32), _fading(self.fade)
        for take, gains in zip(self.takes, self.gains, strict=True):
            everywhere = np.ones(len(take.sound), np.float32)
            _add_to_responses(*_columns(take.strokes), gains**2, everywhere, fading**2, known)
        return known


def _square(values: Floats) -> float:
    return float(np.square(values.astype(np.float64)).sum())


def _best_fade(problem: _Problem, nothing: Floats, rate: int) -> float:
    """Return the fading a sample with the least residual, by golden section over the time of 60 dB."""
    golden = (5**0.5 - 1) / 2

    def fade(log_s: float) -> float:
        return float(10 ** (-3 / (10**log_s * rate)))

    def residual(log_s: float) -> float:
        problem.fade = fade(log_s)
        responses = problem.solve(nothing, N_ROUGH_ITERATIONS)
        return sum(_square(one) for one in problem.residuals(responses))

    low, high = np.log10(FADES_S)
    a, b = high - golden * (high - low), low + golden * (high - low)
    at_a, at_b = residual(a), residual(b)
    for _ in range(7):
        if at_a < at_b:
            high, b, at_b = b, a, at_a
            a = high - golden * (high - low)
            at_a = residual(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + golden * (high - low)
            at_b = residual(b)
    return fade((low + high) / 2)


def _fitted_loudness(problem: _Problem, responses: Floats) -> Loudness:
    """Return the curve of loudness that the strokes' own gains follow, each fitted to what the others leave."""
    depth, gain, weight = [], [], []
    for take, gains, residual in zip(problem.takes, problem.gains, problem.residuals(responses), strict=True):
        common, energy = _stroke_products(*_columns(take.strokes), gains, responses, _fading(problem.fade), residual)
        ratio = np.clip(1 + common / np.maximum(energy, 1e-12), 0.05, 20)
        depth.append(take.strokes.depth)
        gain.append(gains * ratio)
        weight.append(energy)
    depths, own_gains = np.concatenate(depth).astype(np.float64), np.concatenate(gain).astype(np.float64)
    weights = np.sqrt(np.concatenate(weight).astype(np.float64))
    deepest, shallowest = float(depths.max()), float(depths.min())
    if deepest - shallowest < 1e-3 * deepest:  # the picture shows no more than that a key is down
        return replace(problem.loudness, rest=0.0, deepest=deepest)
    found, least = problem.loudness, np.inf
    for rest in np.linspace(0.0, 0.995 * shallowest, 60):
        place = np.log((depths - rest) / (deepest - rest))
        columns = np.stack([place, np.ones_like(place)], axis=1) * weights[:, None]
        (exponent, _), error, *_ = np.linalg.lstsq(columns, np.log(own_gains) * weights, rcond=None)
        if len(error) and error[0] < least:
            least, found = error[0], Loudness(rest=float(rest), deepest=deepest, exponent=float(exponent))
    return found


def shared_responses(responses: Floats, known: Floats) -> Floats:
    """Return for each key the mean of its neighbours' responses, shifted to its pitch, (K, L).

    A neighbour counts by how alike both are where both are known, and nowhere where they are not alike
    (``LEAST_LIKENESS``). A key of which nothing is known is taken to be as like its neighbours as keys usually are.
    0 where no neighbour says anything.
    """
    n_keys = len(responses)
    sure = known / (known + ENOUGH)
    total, weight = np.zeros_like(responses), np.zeros_like(responses)
    fine = [_oversampled(response) for response in responses]
    likenesses = []
    is_known = [bool(of_key.any()) for of_key in sure]
    pairs = [(key, other) for key in range(n_keys) for other in _neighbours(key, n_keys) if is_known[other]]
    for key, other in sorted(pairs, key=lambda pair: not is_known[pair[0]]):  # those that are known first
        shifted, sure_there = _shifted(fine[other], sure[other], key - other)
        if is_known[key]:
            both = sure[key] * sure_there
            common = float((both * shifted * responses[key]).sum())
            theirs = float((both * shifted**2).sum())
            own = float((both * responses[key] ** 2).sum())
            if theirs <= 0 or own <= 0:
                continue
            likeness, louder = common / np.sqrt(theirs * own), common / theirs
            likenesses.append(likeness)
        else:
            likeness, louder = float(np.median(likenesses or [0.0])), 1.0
        if likeness < LEAST_LIKENESS:
            continue
        counts = sure_there * likeness**8 / (1 - min(likeness, 0.999) ** 2)
        total[key] += counts * shifted * louder
        weight[key] += counts
    return np.where(weight > 1e-3, total / np.maximum(weight, 1e-3), 0).astype(np.float32)


def _neighbours(key: int, n_keys: int) -> list[int]:
    return [other for other in range(max(key - REACH, 0), min(key + REACH + 1, n_keys)) if other != key]


def _shifted(fine: Floats, sure: Floats, semitones: int) -> tuple[NDArray[np.float64], Floats]:
    """Return an oversampled response ``semitones`` higher, and how well it is known there, (L,) each."""
    length = len(sure)
    place = np.arange(length) * 2 ** (semitones / 12)
    shifted = np.interp(place * OVERSAMPLING, np.arange(len(fine)), fine, right=0)
    sure_there: Floats = sure[np.minimum(place.astype(np.intp), length - 1)] * (place < length)
    return shifted, sure_there


def _oversampled(response: Floats) -> Floats:
    length = len(response)
    spectrum = np.fft.rfft(response, 2 * length)
    fine = np.fft.irfft(spectrum, 2 * length * OVERSAMPLING)[: length * OVERSAMPLING] * OVERSAMPLING
    return fine.astype(np.float32)


def _columns(strokes: Strokes) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    return strokes.key, strokes.start, strokes.release


def _compiled(**options: Any) -> Callable[[_F], _F]:
    return cast(Callable[[_F], _F], njit(cache=True, nogil=True, **options))


def _fading(fade: float) -> Floats:
    """Return the share that is left of a response 1, 2, ... samples after its release, until it is inaudible."""
    n = int(np.ceil(np.log(INAUDIBLE) / np.log(fade))) if fade < 1 else 0
    return (fade ** np.arange(1, n + 1)).astype(np.float32)


@_compiled(inline="always")
def _span(start: int, release: int, length: int, n_samples: int) -> tuple[int, int, int]:
    """Return the first sample of a stroke, the first at which it fades, and the first after its response or the end."""
    last = min(n_samples, start + length)
    return start, min(last, max(release, start)), last


@_compiled(fastmath={"contract"})
def _sum_responses(
    key: NDArray[np.int64],
    start: NDArray[np.int64],
    release: NDArray[np.int64],
    gains: Floats,
    responses: Floats,
    fading: Floats,
    n_samples: int,
) -> Floats:
    sound = np.zeros(n_samples, np.float32)
    length = responses.shape[1]
    for s in range(len(key)):
        k = key[s]
        first, held, last = _span(start[s], release[s], length, n_samples)
        gain = gains[s]
        for t in range(held - first):
            sound[first + t] += gain * responses[k, t]
        for t in range(min(last - held, len(fading))):
            sound[held + t] += gain * fading[t] * responses[k, held - first + t]
    return sound


@_compiled(fastmath={"contract"})
def _add_to_responses(
    key: NDArray[np.int64],
    start: NDArray[np.int64],
    release: NDArray[np.int64],
    gains: Floats,
    sound: Floats,
    fading: Floats,
    total: Floats,
) -> None:
    """Add the transpose of `_sum_responses` at ``sound`` to ``total`` (K, L)."""
    n_samples, length = len(sound), total.shape[1]
    for s in range(len(key)):
        k = key[s]
        first, held, last = _span(start[s], release[s], length, n_samples)
        gain = gains[s]
        for t in range(held - first):
            total[k, t] += gain * sound[first + t]
        for t in range(min(last - held, len(fading))):
            total[k, held - first + t] += gain * fading[t] * sound[held + t]


@_compiled(fastmath={"contract"})
def _stroke_products(
    key: NDArray[np.int64],
    start: NDArray[np.int64],
    release: NDArray[np.int64],
    gains: Floats,
    responses: Floats,
    fading: Floats,
    residual: Floats,
) -> tuple[Floats, Floats]:
    """Return each stroke's product with the residual, and with itself, (S,) each."""
    common, energy = np.zeros(len(key), np.float32), np.zeros(len(key), np.float32)
    n_samples, length = len(residual), responses.shape[1]
    for s in range(len(key)):
        k = key[s]
        first, held, last = _span(start[s], release[s], length, n_samples)
        for t in range(min(last - first, held - first + len(fading))):
            value = gains[s] * responses[k, t]
            if first + t >= held:
                value *= fading[first + t - held]
            common[s] += value * residual[first + t]
            energy[s] += value * value
    return common, energy
