"""Sampling with torch: all streams at once, where the network is.

Shapes: B streams, T samples, R channels, N layers, K classes, O outputs.
"""

from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.block_conditions import BlockConditions
from models.deepsynth import SILENCE, DeepSynth
from models.logistics import mixture
from models.past_samples import Known, class_edges


class TorchDecoder:
    """One matrix product per layer and sample, (B, 2R) by (2R, 2R)."""

    def __init__(self, network: DeepSynth, n_streams: int, temperature: float, dtype: torch.dtype) -> None:
        config = network.config
        self.dtype = dtype
        self.device = network.hidden.weight.device
        self.temperature = temperature
        self.n_classes = config.n_classes
        self.dilations = config.dilations
        self.n_channels = config.n_channels

        def matrix(linear: torch.nn.Linear) -> tuple[Tensor, Tensor]:
            return linear.weight.detach().to(dtype).t().contiguous().t(), linear.bias.detach().to(dtype)

        layers = network.decoder.gated()
        self.causal = [matrix(layer.causal) for layer in layers]
        self.out = [matrix(layer.out) for layer in layers]
        self.hidden, self.output = matrix(network.hidden), matrix(network.output)
        self.embedding = network.embedding.weight.detach().clone()
        self.samples, self.known = deepcopy(network.samples), deepcopy(network.known)
        self.edges = class_edges(config.n_classes).to(self.device)
        self.rings = [
            torch.zeros(d, n_streams, self.n_channels, dtype=dtype, device=self.device) for d in self.dilations
        ]
        self.past = self.samples.at_rest(n_streams, self.embedding)
        self.last = torch.full((n_streams,), SILENCE, device=self.device)
        self.n_drawn = 0
        self.outputs = torch.zeros(n_streams, network.output.out_features, device=self.device)
        nothing = torch.zeros(n_streams, device=self.device)
        self.start = Known(mean=nothing, scale=nothing, features=nothing)

    def last_outputs(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Return the outputs (B, O) that the last samples were drawn from, their mean and their scale (B,)."""
        return self.outputs.cpu().numpy(), self.start.mean.cpu().numpy(), self.start.scale.cpu().numpy()

    def force(self, codes: NDArray[np.uint8]) -> None:
        """Go on as if ``codes`` (B,) had been drawn last."""
        self.last = torch.from_numpy(codes.astype(np.int64)).to(self.device)

    def draw(self, uniforms: NDArray[np.float64], conditions: BlockConditions) -> NDArray[np.uint8]:
        """Draw the samples (B, T) of a block from uniforms (B, T)."""
        chosen = torch.from_numpy(np.ascontiguousarray(uniforms.T)).to(self.device)  # (T, B)
        gates = None if conditions.gates is None else conditions.gates.to(self.dtype).transpose(0, 1).contiguous()
        codes = []
        for t, uniform in enumerate(chosen):
            self._predict(t, conditions, gates)
            self.last = self._pick(uniform) if self.samples.predicts else self._pick_by_softmax(uniform)
            codes.append(self.last)
            self.n_drawn += 1
        if not codes:
            return np.empty((len(uniforms), 0), np.uint8)
        drawn: NDArray[np.uint8] = torch.stack(codes, dim=1).to(torch.uint8).cpu().numpy()
        return drawn

    def _predict(self, t: int, conditions: BlockConditions, gates: Tensor | None) -> None:
        """Work out ``outputs`` and ``start`` of sample t of a block; ``gates`` are (N, D, 2R)."""
        x = self.embedding[self.last]  # (B, R) fp32: sums over layers are not rounded to the products' precision
        if self.known is not None:
            amplitude = None if conditions.amplitude is None else conditions.amplitude[:, t : t + 1]
            known, self.past = self.samples(self.last[:, None], amplitude, self.past)
            self.start = Known(known.mean[:, 0], known.scale[:, 0], known.features[:, 0])
            x = x + self.known(self.start.features)
        if conditions.entering is not None:
            x = x + conditions.entering[:, t]
        row = None if conditions.rows is None else conditions.rows[:, t]
        total = torch.zeros_like(x)
        for layer, ring in enumerate(self.rings):
            oldest = ring[self.n_drawn % self.dilations[layer]]
            now = x.to(self.dtype)
            gate_input = functional.linear(torch.cat([oldest, now], dim=1), *self.causal[layer])
            oldest.copy_(now)
            if gates is not None and row is not None:
                gate_input += gates[layer].index_select(0, row)
            filter_, gate = gate_input.chunk(2, dim=1)
            y = functional.linear(filter_.tanh().mul_(gate.sigmoid()), *self.out[layer])
            x = x + y[:, : self.n_channels]
            total += y[:, self.n_channels :]
        if conditions.direct is not None and row is not None:
            total += conditions.direct.index_select(0, row)
        if conditions.leaving is not None:
            total += conditions.leaving[:, t]
        hidden = functional.linear(total.relu_().to(self.dtype), *self.hidden)
        self.outputs = functional.linear(hidden.relu_(), *self.output).float()

    def _pick_by_softmax(self, uniform: Tensor) -> Tensor:
        below = torch.softmax(self.outputs.double() / self.temperature, dim=1).cumsum(dim=1)
        # The last sum may fall short of 1 by rounding.
        picked: Tensor = (below <= uniform[:, None]).sum(dim=1).clamp_(max=self.n_classes - 1)
        return picked

    def _pick(self, uniform: Tensor) -> Tensor:
        """Return the least class below whose upper edge more than ``uniform`` of the mixture lies, by bisection."""
        log_weight, mean, width = mixture(self.outputs.double(), self.start, self.n_classes)
        weight, width = log_weight.exp(), width * self.temperature
        low = torch.zeros_like(self.last)
        high = torch.full_like(self.last, self.n_classes - 1)
        for _ in range((self.n_classes - 1).bit_length()):
            middle = (low + high) // 2
            # At the end low = high, which may be the last class: it has no upper edge, and stays.
            place = (self.edges[middle.clamp(max=len(self.edges) - 1), None] - mean) / width
            holds = (weight * torch.sigmoid(place)).sum(dim=1) > uniform
            low, high = torch.where(holds | (low == high), low, middle + 1), torch.where(holds, middle, high)
        return low
