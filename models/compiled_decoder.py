"""Sampling in one compiled loop over samples and layers, in fp32: each stream by itself, vectors by matrices.

Shapes: B streams, T samples, R channels, N layers, K classes, O outputs, D distinct rows of conditioning; F features
of the past samples, n samples of a window of the past.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from models.block_conditions import BlockConditions
from models.deepsynth import SILENCE, DeepSynth
from models.logistics import FIRST_LOG_SCALES, LEAST_WIDTH, N_LOGISTICS, WIDTH_OF_SCALE
from models.past_samples import FIXED_SCALE, LEAST_SCALE, class_edges, companded

Floats = NDArray[np.float32]

_AHEAD = 16  # samples whose distant past is multiplied at once, where the dilation reaches as far
_LEAST_LOG, _MOST_LOG = -7.0, 7.0  # of a logistic's scale beside the running one

_F = TypeVar("_F", bound=Callable[..., Any])


class _Weights(NamedTuple):
    """Inputs first, outputs last: a product is then a sum of rows, and its inner loop has no reduction."""

    embedding: Floats  # (K, R)
    causal_past: Floats  # (N, R, 2R)
    causal_now: Floats  # (N, R, 2R)
    causal_bias: Floats  # (N, 2R)
    out: Floats  # (N, R, 2R)
    out_bias: Floats
    hidden: Floats  # (R, R)
    hidden_bias: Floats
    output: Floats  # (R, O)
    output_bias: Floats
    dilations: NDArray[np.int64]
    known: Floats  # (F, R); F is 0 where nothing of the past enters but the last sample
    known_bias: Floats


class _PastRule(NamedTuple):
    """What `PastSamples` computes from. Windows have the oldest sample first."""

    predicts: bool
    running_scale: bool
    n_past: int
    values: Floats  # (K,) amplitude of each class
    companded: Floats  # (K,) the same, companded
    taps: Floats  # (n,)
    fast: Floats  # (n,) weights of the running scale that forgets sooner
    slow: Floats
    edges: NDArray[np.float64]  # (K - 1,)


class _Windows(NamedTuple):
    """The past of one stream, then room for a block: what `PastSamples.at_rest` lists, in its order."""

    sounds: Floats  # (n_past - 1 + T,) companded
    left: Floats  # (n_taps - 1 + T,)
    errors: Floats  # (n of a running scale - 1 + T,)
    drives: Floats  # (1 + T,)
    predictions: Floats  # (1 + T,)


class _Given(NamedTuple):
    """`BlockConditions` of one stream. The last two are empty where there is no such thing."""

    rows: NDArray[np.int64]  # (T,)
    gates: Floats  # (D, N, 2R)
    direct: Floats  # (D, R)
    entering: Floats  # (T, R)
    leaving: Floats  # (T, R)


class CompiledDecoder:
    """All streams, each in a loop of its own; the weights are copied."""

    def __init__(self, network: DeepSynth, n_streams: int, temperature: float) -> None:
        config = network.config
        self.temperature = temperature
        self.weights, self.rule = _weights(network), _past_rule(network)
        self.rings = np.zeros((n_streams, sum(config.dilations), config.n_channels), np.float32)
        self.ahead = np.zeros((n_streams, config.n_layers, _AHEAD, 2 * config.n_channels), np.float32)
        self.past = [_array(rows) for rows in network.samples.at_rest(n_streams, network.hidden.weight)]
        self.outputs = np.zeros((n_streams, network.output.out_features), np.float32)
        self.start = np.zeros((n_streams, 2), np.float32)  # mean and scale
        self.last = np.full(n_streams, SILENCE, np.int64)
        self.n_drawn = 0

    def last_outputs(self) -> tuple[Floats, Floats, Floats]:
        """Return the outputs (B, O) that the last samples were drawn from, their mean and their scale (B,)."""
        return self.outputs, self.start[:, 0], self.start[:, 1]

    def force(self, codes: NDArray[np.uint8]) -> None:
        """Go on as if ``codes`` (B,) had been drawn last."""
        self.last = codes.astype(np.int64)

    def draw(self, uniforms: NDArray[np.float64], conditions: BlockConditions) -> NDArray[np.uint8]:
        """Draw the samples (B, T) of a block from uniforms (B, T)."""
        n_samples = uniforms.shape[1]
        n_layers, _, n_gates = self.weights.causal_past.shape
        codes: NDArray[np.uint8] = np.empty(uniforms.shape, np.uint8)
        gates = _given(conditions.gates, (1, n_layers, n_gates))
        direct = _given(conditions.direct, (len(gates), n_gates // 2))
        rows = np.zeros(uniforms.shape, np.int64) if conditions.rows is None else conditions.rows.cpu().numpy()
        no_drive = (len(uniforms), 0, n_gates // 2)
        entering, leaving = _given(conditions.entering, no_drive), _given(conditions.leaving, no_drive)
        amplitude = _given(conditions.amplitude, uniforms.shape)

        def draw_stream(stream: int) -> None:
            room = np.empty(n_samples, np.float32)
            windows = _Windows(*(np.concatenate([past[stream], room]) for past in self.past))
            windows.drives[1:] = amplitude[stream]
            given = _Given(np.ascontiguousarray(rows[stream]), gates, direct, entering[stream], leaving[stream])
            _draw(
                codes[stream],
                np.ascontiguousarray(uniforms[stream]),
                self.n_drawn,
                int(self.last[stream]),
                self.temperature,
                given,
                windows,
                self.rings[stream],
                self.ahead[stream],
                self.outputs[stream],
                self.start[stream],
                self.weights,
                self.rule,
            )
            for past, window in zip(self.past, windows, strict=True):
                past[stream] = window[n_samples:]

        with ThreadPoolExecutor(max_workers=torch.get_num_threads()) as pool:  # streams do not meet
            list(pool.map(draw_stream, range(len(uniforms))))
        if n_samples:
            self.last = codes[:, n_samples - 1].astype(np.int64)
        self.n_drawn += n_samples
        return codes


def _array(tensor: Tensor) -> Floats:
    return np.array(tensor.detach().float().cpu().numpy(), order="C")


def _given(tensor: Tensor | None, shape: tuple[int, ...]) -> Floats:
    """Return what a network takes as an array, zeros of ``shape`` where it takes nothing."""
    if tensor is None:
        return np.zeros(shape, np.float32)
    return np.ascontiguousarray(tensor.float().cpu().numpy())


def _weights(network: DeepSynth) -> _Weights:
    layers, n_channels = network.decoder.gated(), network.config.n_channels

    def stacked(weights: list[Tensor], *shape: int) -> Floats:
        rows = np.zeros((len(weights), *shape), np.float32)  # with an axis for no layer too
        for row, weight in zip(rows, weights, strict=True):
            row[:] = _array(weight)
        return rows

    known = network.known
    return _Weights(
        embedding=_array(network.embedding.weight),
        causal_past=stacked([layer.causal.weight.t()[:n_channels] for layer in layers], n_channels, 2 * n_channels),
        causal_now=stacked([layer.causal.weight.t()[n_channels:] for layer in layers], n_channels, 2 * n_channels),
        causal_bias=stacked([layer.causal.bias for layer in layers], 2 * n_channels),
        out=stacked([layer.out.weight.t() for layer in layers], n_channels, 2 * n_channels),
        out_bias=stacked([layer.out.bias for layer in layers], 2 * n_channels),
        hidden=_array(network.hidden.weight.t()),
        hidden_bias=_array(network.hidden.bias),
        output=_array(network.output.weight.t()),
        output_bias=_array(network.output.bias),
        dilations=np.array(network.config.dilations, np.int64),
        known=np.zeros((0, n_channels), np.float32) if known is None else _array(known.weight.t()),
        known_bias=np.zeros(n_channels, np.float32) if known is None else _array(known.bias),
    )


def _past_rule(network: DeepSynth) -> _PastRule:
    samples, config = network.samples, network.config
    weights = _array(samples.weights.flip(-1))
    return _PastRule(
        predicts=samples.predicts,
        running_scale=config.running_scale,
        n_past=config.n_past,
        values=_array(samples.values),
        companded=_array(companded(samples.values, config.n_classes)),
        taps=_array(samples.taps.flip(-1)),
        fast=weights[0],
        slow=weights[1],
        edges=class_edges(config.n_classes).numpy(),
    )


def _compiled(**options: Any) -> Callable[[_F], _F]:
    return cast(Callable[[_F], _F], njit(cache=True, nogil=True, **options))


@_compiled(fastmath={"contract", "nsz", "arcp"})
def _add_products(y: Floats, x: Floats, weight: Floats) -> None:
    """Add x (M, I) times weight (I, O) to y (M, O), reading the weights once for all M rows."""
    n_in, n_out = weight.shape
    whole = n_in - n_in % 8
    for i in range(0, whole, 8):
        for m in range(len(x)):
            x0, x1, x2, x3 = x[m, i], x[m, i + 1], x[m, i + 2], x[m, i + 3]
            x4, x5, x6, x7 = x[m, i + 4], x[m, i + 5], x[m, i + 6], x[m, i + 7]
            for o in range(n_out):
                low = weight[i, o] * x0 + weight[i + 1, o] * x1 + weight[i + 2, o] * x2 + weight[i + 3, o] * x3
                high = weight[i + 4, o] * x4 + weight[i + 5, o] * x5
                high += weight[i + 6, o] * x6 + weight[i + 7, o] * x7
                y[m, o] += low + high
    for i in range(whole, n_in):
        for m in range(len(x)):
            for o in range(n_out):
                y[m, o] += weight[i, o] * x[m, i]


@_compiled(fastmath={"contract", "nsz", "arcp"})
def _exponential(x: Floats, power: NDArray[np.int32], scale: Floats) -> None:
    """Replace x by exp(x), in loops that vectorize: exp(x) = 2^n exp(r), with 2^n made from its bits.

    ``power`` and ``scale`` are two names of the same memory, as long as ``x``.
    """
    for o in range(len(x)):
        bounded = min(max(x[o], np.float32(-87.0)), np.float32(88.0))
        n = np.floor(bounded * np.float32(1.4426950408889634) + np.float32(0.5))
        # ln 2 in two parts: the first has few bits, so that n times it is exact.
        r = bounded - n * np.float32(0.693359375) + n * np.float32(2.12194440054690583e-4)
        power[o] = (np.int32(n) + np.int32(127)) << np.int32(23)
        series = np.float32(1 / 720) + r * np.float32(1 / 5040)
        series = np.float32(1 / 120) + r * series
        series = np.float32(1 / 24) + r * series
        series = np.float32(1 / 6) + r * series
        series = np.float32(1 / 2) + r * series
        x[o] = np.float32(1) + r * (np.float32(1) + r * series)
    for o in range(len(x)):
        x[o] *= scale[o]


@_compiled(fastmath={"contract", "nsz", "arcp"})
def _draw(
    codes: NDArray[np.uint8],
    uniforms: NDArray[np.float64],
    n_drawn: int,
    last: int,
    temperature: float,
    given: _Given,
    windows: _Windows,
    rings: Floats,
    ahead: Floats,
    raw_outputs: Floats,
    start: Floats,
    weights: _Weights,
    rule: _PastRule,
) -> None:
    """Draw one stream's samples into ``codes``, and keep its past.

    ``rings`` (sum of dilations, R) hold each layer's last inputs. The weights do not fit in the cache, so reading
    them is what takes the time. A layer of dilation d has the older half of its next d inputs already: ``ahead``
    (N, _AHEAD, 2R) holds their products for up to _AHEAD samples, made in one reading of those weights.
    """
    n_channels = weights.embedding.shape[1]
    dilations = weights.dilations
    x = np.empty((1, n_channels), np.float32)
    gates = np.empty((1, 2 * n_channels), np.float32)
    gated = np.empty((1, n_channels), np.float32)
    y = np.empty((1, 2 * n_channels), np.float32)
    total = np.empty((1, n_channels), np.float32)
    middle = np.empty((1, n_channels), np.float32)
    features = np.empty((1, len(weights.known)), np.float32)
    outputs = raw_outputs.reshape((1, -1))
    power = np.empty(2 * n_channels, np.int32)
    scale = power.view(np.float32)
    one = np.float32(1)
    for t in range(len(codes)):
        row = given.rows[t]
        x[0] = weights.embedding[last]
        total[0] = given.direct[row]
        if features.shape[1]:
            _know_past(t, last, windows, rule, features[0], start)
            for o in range(n_channels):
                x[0, o] += weights.known_bias[o]
            _add_products(x, features, weights.known)
        if len(given.entering):
            for o in range(n_channels):
                x[0, o] += given.entering[t, o]
                total[0, o] += given.leaving[t, o]
        first = 0
        for layer in range(len(dilations)):
            place = first + (n_drawn + t) % dilations[layer]
            first += dilations[layer]
            n_ahead = min(dilations[layer], _AHEAD)  # powers of 2: a run of places never wraps around the ring
            step = (n_drawn + t) % n_ahead
            if step == 0:
                ahead[layer, :n_ahead] = weights.causal_bias[layer]
                _add_products(ahead[layer, :n_ahead], rings[place : place + n_ahead], weights.causal_past[layer])
            rings[place] = x[0]
            for o in range(2 * n_channels):
                gates[0, o] = ahead[layer, step, o] + given.gates[row, layer, o]
            _add_products(gates, x, weights.causal_now[layer])
            # tanh(a) sigmoid(b) = (1 - exp(-2a)) / ((1 + exp(-2a)) (1 + exp(-b))); beyond 40 tanh is -1 in fp32.
            for o in range(n_channels):
                gates[0, o] = min(np.float32(-2) * gates[0, o], np.float32(40))
                gates[0, n_channels + o] = min(-gates[0, n_channels + o], np.float32(40))
            _exponential(gates[0], power, scale)
            for o in range(n_channels):
                e = gates[0, o]
                gated[0, o] = (one - e) / ((one + e) * (one + gates[0, n_channels + o]))
            y[0] = weights.out_bias[layer]
            _add_products(y, gated, weights.out[layer])
            for o in range(n_channels):
                x[0, o] += y[0, o]
                total[0, o] += y[0, n_channels + o]
        for o in range(n_channels):
            total[0, o] = max(total[0, o], np.float32(0))
        middle[0] = weights.hidden_bias
        _add_products(middle, total, weights.hidden)
        for o in range(n_channels):
            middle[0, o] = max(middle[0, o], np.float32(0))
        outputs[0] = weights.output_bias
        _add_products(outputs, middle, weights.output)
        if rule.predicts:
            last = _pick_of_mixture(raw_outputs, start[0], start[1], rule.edges, uniforms[t], temperature)
        else:
            last = _pick(raw_outputs, uniforms[t], temperature)
        codes[t] = last


@_compiled(fastmath={"contract", "reassoc", "nsz"})
def _product(window: Floats, weights: Floats) -> np.float32:
    """Return the product of a window and weights of the same length, in partial sums side by side."""
    total = np.float32(0)
    for i in range(len(weights)):
        total += window[i] * weights[i]
    return total


@_compiled(fastmath={"contract", "reassoc", "nsz"})
def _mean_squares(errors: Floats, fast: Floats, slow: Floats) -> tuple[np.float32, np.float32]:
    """Return both weighted means of the squares of a window of errors."""
    soon, late = np.float32(0), np.float32(0)
    for i in range(len(fast)):
        square = errors[i] * errors[i]
        soon += fast[i] * square
        late += slow[i] * square
    return soon, late


@_compiled()
def _know_past(t: int, last: int, windows: _Windows, rule: _PastRule, features: Floats, start: Floats) -> None:
    """Fill what `PastSamples` knows of sample t of a block: ``features`` (F,), and ``start``, its mean and scale."""
    n_past, n_taps, n_errors = rule.n_past, len(rule.taps), len(rule.fast)
    windows.sounds[n_past - 1 + t] = rule.companded[last]
    at = 0
    if n_past > 1:
        for i in range(n_past):  # the newest first
            features[i] = windows.sounds[t + n_past - 1 - i]
        at = n_past
    if not rule.predicts:
        return
    left = rule.values[last] - windows.drives[t]
    windows.left[n_taps - 1 + t] = left
    prediction = _product(windows.left[t:], rule.taps)
    windows.errors[n_errors - 1 + t] = left - windows.predictions[t]
    windows.predictions[1 + t] = prediction
    mean = windows.drives[1 + t] + prediction
    soon = late = scale = FIXED_SCALE
    if rule.running_scale:
        fast, slow = _mean_squares(windows.errors[t:], rule.fast, rule.slow)
        soon, late = math.sqrt(fast + LEAST_SCALE**2), math.sqrt(slow + LEAST_SCALE**2)
        scale = math.sqrt(soon * late)
    for i in range(n_past):
        off = windows.errors[t + n_errors - 1 - i] / scale
        features[at + i] = min(max(off, -8.0), 8.0) / 2
    at += n_past
    mu = len(rule.edges)  # n_classes - 1
    inside = min(max(mean, -1.0), 1.0)
    features[at] = math.log(soon / late)
    features[at + 1] = math.log(scale / LEAST_SCALE) / 4 - 1
    features[at + 2] = math.copysign(math.log1p(mu * abs(inside)), inside) / math.log1p(mu)
    features[at + 3] = math.log(_class_width(mean, mu) / scale) / 2
    start[0], start[1] = mean, scale


@_compiled()
def _class_width(amplitude: float, mu: int) -> float:
    return (abs(amplitude) + 1 / mu) * (2 * math.log1p(mu) / mu)


@_compiled()
def _pick(logits: Floats, uniform: float, temperature: float) -> int:
    """Return the class whose share of the cumulative distribution holds ``uniform``."""
    highest = logits.max()
    whole = 0.0
    for k in range(len(logits)):
        whole += math.exp((logits[k] - highest) / temperature)
    left = uniform * whole
    for k in range(len(logits)):
        left -= math.exp((logits[k] - highest) / temperature)
        if left < 0:
            return k
    return len(logits) - 1


@_compiled()
def _pick_of_mixture(
    outputs: Floats, mean: float, scale: float, edges: NDArray[np.float64], uniform: float, temperature: float
) -> int:
    """Return the least class below whose upper edge more than ``uniform`` of the mixture lies, by bisection.

    The logistics are those of `logistics.mixture`, whose widths are multiplied by ``temperature``.
    """
    share, middle, width = np.empty(N_LOGISTICS), np.empty(N_LOGISTICS), np.empty(N_LOGISTICS)
    highest, whole = outputs[:N_LOGISTICS].max(), 0.0
    least = LEAST_WIDTH * _class_width(mean, len(edges))
    for m in range(N_LOGISTICS):
        share[m] = math.exp(outputs[m] - highest)
        whole += share[m]
        middle[m] = mean + scale * outputs[N_LOGISTICS + m]
        log_scale = min(max(outputs[2 * N_LOGISTICS + m] + FIRST_LOG_SCALES[m], _LEAST_LOG), _MOST_LOG)
        wide = scale * WIDTH_OF_SCALE * math.exp(log_scale)
        width[m] = math.sqrt(wide * wide + least * least) * temperature
    low, high = 0, len(edges)
    while low < high:
        k = (low + high) // 2
        below = 0.0
        for m in range(N_LOGISTICS):
            below += share[m] / (1 + math.exp(min((middle[m] - edges[k]) / width[m], 700.0)))
        if below > uniform * whole:
            high = k
        else:
            low = k + 1
    return low
