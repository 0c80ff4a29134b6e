"""The encoder of small pictures: a linear one, fitted to the training pictures before the network is trained."""

import numpy as np
import torch
from torch import Tensor, nn

from tasks.errors import ParamsError
from tasks.families.bitmaps.examples import FramePairs

MAX_EIGEN_PICTURES = 2048  # that the components are fitted to
LARGEST_INPUT = 2.0  # standard deviations, which inputs approach and do not exceed


class FrameEncoder(nn.Module):
    """Pictures to a network's inputs: their pixels or eigen-picture weights, and those of their changes.

    Attributes:
        corrects: whether mean luma is subtracted and inputs are centred, scaled and squashed; without, they are pixels.
    """

    mean: Tensor
    basis: Tensor
    mean_change: Tensor
    basis_of_changes: Tensor
    scales: Tensor

    def __init__(self, *, size: int, n_past: int, n_components: int, corrects: bool) -> None:
        super().__init__()
        self.size, self.n_past, self.n_components, self.corrects = size, n_past, n_components, corrects
        n_pixels = size * size
        self.register_buffer("mean", torch.zeros(n_pixels))  # of what is left of a picture without its mean luma
        self.register_buffer("basis", torch.zeros(n_components, n_pixels))
        self.register_buffer("mean_change", torch.zeros(n_pixels if n_past else 0))
        self.register_buffer("basis_of_changes", torch.zeros(n_components if n_past else 0, n_pixels))
        self.register_buffer("scales", torch.ones(2))  # of pictures and of changes

    @property
    def n_inputs(self) -> int:
        """Inputs of the network, I."""
        return (1 + self.n_past) * (self.n_components or self.size * self.size)

    def fit(self, pairs: FramePairs, *, seed: int) -> None:
        """Fit mean, components and scale to some pictures."""
        if not self.corrects:
            return
        rng = np.random.default_rng((seed, 2))
        rows = np.sort(rng.permutation(len(pairs))[:MAX_EIGEN_PICTURES])
        # The last change stands for the ones before: those are last changes of other frames.
        now, changes = self._pixels(torch.from_numpy(pairs.stacks(rows)[:, :2]))
        self.mean.copy_(now.mean(dim=0))
        if self.n_past:
            self.mean_change.copy_(changes[:, 0].mean(dim=0))
        if self.n_components:
            self.basis.copy_(_components(now - self.mean, self.n_components))
            if self.n_past:
                self.basis_of_changes.copy_(_components(changes[:, 0] - self.mean_change, self.n_components))
        weights, moved = self._projected(now, changes)
        self.scales[0] = 1 / weights.square().mean().sqrt().clamp(min=1e-6)
        if self.n_past:
            self.scales[1] = 1 / moved.square().mean().sqrt().clamp(min=1e-6)

    def forward(self, stacks: Tensor) -> Tensor:
        """Map luma (B, C, S, S) to inputs (B, I); where it corrects, even pictures of any luma have the same ones."""
        if not self.corrects:
            return stacks.float().flatten(1) / 255
        now, changes = self._pixels(stacks)
        weights, moved = self._projected(now, changes)
        inputs = torch.cat([weights * self.scales[0], moved.flatten(1) * self.scales[1]], dim=1)
        return LARGEST_INPUT * torch.tanh(inputs / LARGEST_INPUT)

    def _pixels(self, stacks: Tensor) -> tuple[Tensor, Tensor]:
        luma = stacks.float().flatten(2)  # (B, C, S * S)
        pixels = (luma - luma.mean(dim=2, keepdim=True)) / 255  # in this order an even picture leaves exactly nothing
        return pixels[:, 0], (pixels[:, :-1] - pixels[:, 1:]).abs()

    def _projected(self, now: Tensor, changes: Tensor) -> tuple[Tensor, Tensor]:
        now = now - self.mean
        if self.n_past:
            changes = changes - self.mean_change
        if not self.n_components:
            return now, changes
        return now @ self.basis.T, changes @ self.basis_of_changes.T


def _components(pixels: Tensor, n_components: int) -> Tensor:
    """Return the directions (n_components, S * S) along which pictures (N, S * S) vary most."""
    if min(pixels.shape) < n_components:
        raise ParamsError(
            f"n_components is {n_components}, expected at most {min(pixels.shape)}: "
            f"there are {len(pixels)} training pictures of {pixels.shape[1]} pixels"
        )
    _, _, directions = torch.svd_lowrank(pixels, q=n_components, niter=2)
    # A direction's sign is arbitrary: its largest pixel is made positive.
    largest = directions.abs().argmax(dim=0)
    return (directions * directions[largest, torch.arange(n_components)].sign()).T
