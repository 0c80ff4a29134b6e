"""Sampling from a DeepSynth, one sample after the other, each layer's past kept in a ring (fast WaveNet).

Without rings every sample costs a pass over the whole receptive field. Two kernels, one result: a compiled loop
in fp32 that takes one stream after the other, for a few; and torch over all streams at once, for many.

Shapes: B streams, T samples, P pictures, R channels, N layers, K classes, D distinct rows of conditioning.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeVar, cast

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.deepsynth import SILENCE, DeepSynth, VideoEncoder

Kernel = Literal["compiled", "torch"]
Precision = Literal["float32", "bfloat16"]
Floats = NDArray[np.float32]

_CONDITION_BYTES = 256 << 20  # conditioning of all layers is worked out ahead in blocks of about this size
_BLOCK_LENGTH = 4096  # samples, where a picture has one row of conditioning
_PICTURES_AT_ONCE = 64
_AHEAD = 16  # samples whose distant past is multiplied at once, where the dilation reaches as far

_F = TypeVar("_F", bound=Callable[..., Any])


class Generator:
    """Samples from a DeepSynth: every call goes on where the last one ended.

    A stream's samples depend on its own uniforms and pictures alone. The compiled kernel computes each stream by
    itself; torch multiplies ``n_streams`` rows at once and rounds as that number has it, so the same samples come
    back for the same ``n_streams``, whatever the other streams hold.
    """

    def __init__(
        self,
        network: DeepSynth,
        *,
        n_streams: int,
        kernel: Kernel,
        precision: Precision = "float32",
        temperature: float = 1.0,
    ) -> None:
        """Start ``n_streams`` streams from silence.

        Args:
            network: with its weights, which are copied.
            n_streams: takes generated side by side.
            kernel: ``compiled`` for a few streams, on the CPU; ``torch`` for many, where the network is.
            precision: of torch's matrix products; the compiled kernel has float32 only.
            temperature: logits are divided by it: below 1 the likely gets likelier.

        Raises:
            ValueError: a value is out of range, or the kernel does not have the precision.
        """
        if n_streams < 1 or not 0 < temperature < math.inf:
            raise ValueError(f"{n_streams} streams at temperature {temperature}, expected 1 or more, above 0")
        if kernel == "compiled" and precision != "float32":
            raise ValueError(f"the compiled kernel computes in float32, found {precision}: use kernel torch")
        self.network = network
        self.n_streams = n_streams
        self._video = network.at_rest(n_streams).video
        self._rounds = precision == "bfloat16"
        self._decoder: _CompiledDecoder | _TorchDecoder
        if kernel == "compiled":
            self._decoder = _CompiledDecoder(network, n_streams, temperature)
        else:
            dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
            self._decoder = _TorchDecoder(network, n_streams, temperature, dtype)

    @torch.inference_mode()
    def generate(
        self, uniforms: NDArray[np.float64], *, pictures: Tensor | None = None, shown: Tensor | None = None
    ) -> NDArray[np.uint8]:
        """Draw T more samples of every stream.

        Args:
            uniforms: (B, T) in [0, 1): a sample is the class whose share of the cumulative distribution holds
                its uniform.
            pictures: (P, H, W) luma of all streams, 0 to 255; the twin without conditioning needs none.
            shown: (B, T) row of ``pictures`` at each sample.

        Returns:
            Codes (B, T).

        Raises:
            ValueError: the shapes do not belong together, or pictures are missing.
        """
        if uniforms.ndim != 2 or len(uniforms) != self.n_streams:
            raise ValueError(f"uniforms are {uniforms.shape}, expected ({self.n_streams}, samples)")
        n_samples = uniforms.shape[1]
        video, features = self.network.video, None
        if video is not None:
            if pictures is None or shown is None or tuple(shown.shape) != uniforms.shape:
                found = None if shown is None else tuple(shown.shape)
                raise ValueError(f"shown is {found}, expected {uniforms.shape} rows of pictures")
            features = torch.cat([video.encode(some) for some in torch.split(pictures, _PICTURES_AT_ONCE)])
        codes = np.empty(uniforms.shape, np.uint8)
        block = self._block_length()
        for start in range(0, n_samples, block):
            now = slice(start, start + block)
            gates = direct = rows = None
            if video is not None and features is not None and shown is not None:
                gates, direct, rows = self._conditions(video, features, shown[:, now])
            codes[:, now] = self._decoder.draw(uniforms[:, now], gates, direct, rows)
        return codes

    @property
    def logits(self) -> NDArray[np.float32]:
        """Return the logits (B, K) that the last samples were drawn from."""
        return self._decoder.logits

    def force(self, codes: NDArray[np.uint8]) -> None:
        """Go on as if ``codes`` (B,) had been drawn last: real sound to begin with, or to be measured on."""
        self._decoder.force(codes)

    def _conditions(self, video: VideoEncoder, features: Tensor, shown: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return what is added in the gates (D, N, 2R), in the output (D, R), and the row for each sample."""
        distinct, local = torch.unique(shown, return_inverse=True)
        with torch.autocast(shown.device.type, torch.bfloat16, enabled=self._rounds):
            conditioning, rows, self._video = video(features[distinct], local, self._video)
        conditioning = conditioning.float()
        if rows is None:
            rows = torch.arange(shown.numel(), device=shown.device).view_as(shown)
            conditioning = conditioning.flatten(0, 1)
        weights, n_layers = self.network.condition_weights(), self.network.config.n_layers
        gates = functional.linear(conditioning, torch.cat(weights[:n_layers])).view(len(conditioning), n_layers, -1)
        direct = None if self.network.direct is None else functional.linear(conditioning, weights[-1])
        return gates, direct, rows

    def _block_length(self) -> int:
        config = self.network.config
        if not config.use_video or config.video_rate == "picture":
            return _BLOCK_LENGTH
        bytes_a_sample = self.n_streams * config.n_layers * 2 * config.n_channels * 4
        return max(_CONDITION_BYTES // bytes_a_sample, 1)


class _TorchDecoder:
    """All streams at once: one matrix product per layer and sample, (B, 2R) by (2R, 2R)."""

    def __init__(self, network: DeepSynth, n_streams: int, temperature: float, dtype: torch.dtype) -> None:
        config = network.config
        self.dtype = dtype
        self.device = network.hidden.weight.device
        self.temperature = temperature
        self.dilations = config.dilations
        self.n_channels = config.n_channels

        def matrix(linear: torch.nn.Linear) -> tuple[Tensor, Tensor]:
            return linear.weight.detach().to(dtype).t().contiguous().t(), linear.bias.detach().to(dtype)

        layers = network.decoder.gated()
        self.causal = [matrix(layer.causal) for layer in layers]
        self.out = [matrix(layer.out) for layer in layers]
        self.hidden, self.output = matrix(network.hidden), matrix(network.output)
        self.embedding = network.embedding.weight.detach().clone()
        self.rings = [
            torch.zeros(d, n_streams, self.n_channels, dtype=dtype, device=self.device) for d in self.dilations
        ]
        self.last = torch.full((n_streams,), SILENCE, device=self.device)
        self.n_drawn = 0
        self.logits: Floats = np.zeros((n_streams, config.n_classes), np.float32)

    def force(self, codes: NDArray[np.uint8]) -> None:
        self.last = torch.from_numpy(codes.astype(np.int64)).to(self.device)

    def draw(
        self, uniforms: NDArray[np.float64], gates: Tensor | None, direct: Tensor | None, rows: Tensor | None
    ) -> NDArray[np.uint8]:
        chosen = torch.from_numpy(np.ascontiguousarray(uniforms.T)).to(self.device)  # (T, B)
        conditions = None if gates is None else gates.to(self.dtype).transpose(0, 1).contiguous()  # (N, D, 2R)
        codes = []
        for t, uniform in enumerate(chosen):
            row = None if rows is None else rows[:, t]
            logits = self._predict(conditions, direct, row)
            self.last = self._pick(logits, uniform)
            codes.append(self.last)
            self.n_drawn += 1
        if not codes:
            return np.empty((len(uniforms), 0), np.uint8)
        self.logits = logits.cpu().numpy()
        drawn: NDArray[np.uint8] = torch.stack(codes, dim=1).to(torch.uint8).cpu().numpy()
        return drawn

    def _predict(self, conditions: Tensor | None, direct: Tensor | None, row: Tensor | None) -> Tensor:
        x = self.embedding[self.last]  # (B, R) fp32: sums over layers are not rounded to the products' precision
        total = torch.zeros_like(x)
        for layer, ring in enumerate(self.rings):
            oldest = ring[self.n_drawn % self.dilations[layer]]
            now = x.to(self.dtype)
            gates = functional.linear(torch.cat([oldest, now], dim=1), *self.causal[layer])
            oldest.copy_(now)
            if conditions is not None and row is not None:
                gates += conditions[layer].index_select(0, row)
            filter_, gate = gates.chunk(2, dim=1)
            y = functional.linear(filter_.tanh().mul_(gate.sigmoid()), *self.out[layer])
            x = x + y[:, : self.n_channels]
            total += y[:, self.n_channels :]
        if direct is not None and row is not None:
            total += direct.index_select(0, row)
        hidden = functional.linear(total.relu_().to(self.dtype), *self.hidden)
        return functional.linear(hidden.relu_(), *self.output).float()

    def _pick(self, logits: Tensor, uniform: Tensor) -> Tensor:
        below = torch.softmax(logits.double() / self.temperature, dim=1).cumsum(dim=1)
        # The last sum may fall short of 1 by rounding.
        picked: Tensor = (below <= uniform[:, None]).sum(dim=1).clamp_(max=logits.shape[1] - 1)
        return picked


class _CompiledDecoder:
    """Each stream by itself: vectors by matrices, in one compiled loop over samples and layers."""

    def __init__(self, network: DeepSynth, n_streams: int, temperature: float) -> None:
        config = network.config
        self.temperature = temperature
        layers = network.decoder.gated()

        def array(tensor: Tensor) -> Floats:
            return np.array(tensor.detach().float().cpu().numpy(), order="C")

        def stacked(weights: list[Tensor]) -> Floats:
            return np.stack([array(weight) for weight in weights])

        # Inputs first, outputs last: a product is then a sum of rows, and its inner loop has no reduction.
        self.weights = (
            array(network.embedding.weight),  # (K, R)
            stacked([layer.causal.weight.t()[: config.n_channels] for layer in layers]),  # past: (N, R, 2R)
            stacked([layer.causal.weight.t()[config.n_channels :] for layer in layers]),  # now
            stacked([layer.causal.bias for layer in layers]),
            stacked([layer.out.weight.t() for layer in layers]),  # (N, R, 2R)
            stacked([layer.out.bias for layer in layers]),
            array(network.hidden.weight.t()),
            array(network.hidden.bias),
            array(network.output.weight.t()),
            array(network.output.bias),
            np.array(config.dilations, np.int64),
        )
        self.rings = np.zeros((n_streams, sum(config.dilations), config.n_channels), np.float32)
        self.logits = np.zeros((n_streams, config.n_classes), np.float32)
        self.ahead = np.zeros((n_streams, config.n_layers, _AHEAD, 2 * config.n_channels), np.float32)
        self.last = np.full(n_streams, SILENCE, np.int64)
        self.n_drawn = 0
        self.nothing = np.zeros((1, config.n_layers, 2 * config.n_channels), np.float32)

    def force(self, codes: NDArray[np.uint8]) -> None:
        self.last = codes.astype(np.int64)

    def draw(
        self, uniforms: NDArray[np.float64], gates: Tensor | None, direct: Tensor | None, rows: Tensor | None
    ) -> NDArray[np.uint8]:
        n_samples = uniforms.shape[1]
        codes: NDArray[np.uint8] = np.empty((len(self.rings), n_samples), np.uint8)
        conditions = self.nothing if gates is None else gates.float().cpu().numpy()
        n_rows, n_channels = len(conditions), self.rings.shape[2]
        direct_rows = np.zeros((n_rows, n_channels), np.float32)
        if direct is not None:
            direct_rows = direct.float().cpu().numpy()
        by_sample = np.zeros(uniforms.shape, np.int64) if rows is None else rows.cpu().numpy()

        def draw_stream(stream: int) -> None:
            _draw(
                codes[stream],
                np.ascontiguousarray(uniforms[stream]),
                np.ascontiguousarray(by_sample[stream]),
                np.ascontiguousarray(conditions),
                np.ascontiguousarray(direct_rows),
                self.rings[stream],
                self.ahead[stream],
                self.logits[stream],
                self.n_drawn,
                int(self.last[stream]),
                self.temperature,
                *self.weights,
            )

        with ThreadPoolExecutor(max_workers=torch.get_num_threads()) as pool:  # streams do not meet
            list(pool.map(draw_stream, range(len(uniforms))))
        if n_samples:
            self.last = codes[:, n_samples - 1].astype(np.int64)
        self.n_drawn += n_samples
        return codes


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
    rows: NDArray[np.int64],
    conditions: Floats,
    direct: Floats,
    rings: Floats,
    ahead: Floats,
    logits: Floats,
    n_drawn: int,
    last: int,
    temperature: float,
    embedding: Floats,
    causal_past: Floats,
    causal_now: Floats,
    causal_bias: Floats,
    out: Floats,
    out_bias: Floats,
    hidden: Floats,
    hidden_bias: Floats,
    output: Floats,
    output_bias: Floats,
    dilations: NDArray[np.int64],
) -> None:
    """Draw one stream's samples into ``codes``, and keep its past.

    ``rings`` (sum of dilations, R) hold each layer's last inputs. The weights do not fit in the cache, so reading
    them is what takes the time. A layer of dilation d has the older half of its next d inputs already: ``ahead``
    (N, _AHEAD, 2R) holds their products for up to _AHEAD samples, made in one reading of those weights.
    """
    n_channels = embedding.shape[1]
    n_layers = len(dilations)
    x = np.empty((1, n_channels), np.float32)
    gates = np.empty((1, 2 * n_channels), np.float32)
    gated = np.empty((1, n_channels), np.float32)
    y = np.empty((1, 2 * n_channels), np.float32)
    total = np.empty((1, n_channels), np.float32)
    middle = np.empty((1, n_channels), np.float32)
    outputs = logits.reshape((1, -1))
    power = np.empty(2 * n_channels, np.int32)
    scale = power.view(np.float32)
    one = np.float32(1)
    for t in range(len(codes)):
        row = rows[t]
        x[0] = embedding[last]
        total[0] = direct[row]
        first = 0
        for layer in range(n_layers):
            place = first + (n_drawn + t) % dilations[layer]
            first += dilations[layer]
            n_ahead = min(dilations[layer], _AHEAD)  # powers of 2: a run of places never wraps around the ring
            step = (n_drawn + t) % n_ahead
            if step == 0:
                ahead[layer, :n_ahead] = causal_bias[layer]
                _add_products(ahead[layer, :n_ahead], rings[place : place + n_ahead], causal_past[layer])
            rings[place] = x[0]
            for o in range(2 * n_channels):
                gates[0, o] = ahead[layer, step, o] + conditions[row, layer, o]
            _add_products(gates, x, causal_now[layer])
            # tanh(a) sigmoid(b) = (1 - exp(-2a)) / ((1 + exp(-2a)) (1 + exp(-b))); beyond 40 tanh is -1 in fp32.
            for o in range(n_channels):
                gates[0, o] = min(np.float32(-2) * gates[0, o], np.float32(40))
                gates[0, n_channels + o] = min(-gates[0, n_channels + o], np.float32(40))
            _exponential(gates[0], power, scale)
            for o in range(n_channels):
                e = gates[0, o]
                gated[0, o] = (one - e) / ((one + e) * (one + gates[0, n_channels + o]))
            y[0] = out_bias[layer]
            _add_products(y, gated, out[layer])
            for o in range(n_channels):
                x[0, o] += y[0, o]
                total[0, o] += y[0, n_channels + o]
        for o in range(n_channels):
            total[0, o] = max(total[0, o], np.float32(0))
        middle[0] = hidden_bias
        _add_products(middle, total, hidden)
        for o in range(n_channels):
            middle[0, o] = max(middle[0, o], np.float32(0))
        outputs[0] = output_bias
        _add_products(outputs, middle, output)
        last = _pick(logits, uniforms[t], temperature)
        codes[t] = last


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
