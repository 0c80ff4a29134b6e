"""Losses and optimizers of the separation networks.

Shapes: B mixes, S sources, C channels, n samples.
"""

from collections.abc import Iterable

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import ExponentialLR, LRScheduler, OneCycleLR

from models.wave_unet import WaveUnet, middle
from tasks.families.wave_unet.mixes import Batch
from tasks.families.wave_unet.params import WaveUnetParams

PADDED = 2  # samples on each side of the published targets that are zeros
SILENT_ERROR = 1e-3  # of mixes at level 1


def mix_loss(network: WaveUnet, batch: Batch, *, params: WaveUnetParams) -> Tensor:
    """Return the loss of a batch: the published summed squared error with slots, else `separation_loss`.

    Without conditions the targets take the order that fits the estimates best (permutation-invariant training: Yu et
    al., ICASSP 2017).
    """
    mix, conditions, targets = batch
    has_conditions = conditions.shape[1] > 0
    estimates = network(mix, conditions if has_conditions else None).float()
    if params.has_slots and has_conditions:
        edge = 0
        if params.fidelity == "original":  # targets of 16,384 samples are padded to the output's 16,389
            edge = min(PADDED, (estimates.shape[-1] - 1) // 2)
        targets = functional.pad(middle(targets, estimates.shape[-1] - 2 * edge), (edge, edge))
        error: Tensor = (estimates - targets).square().sum()
        return error
    targets = middle(targets, estimates.shape[-1])
    if not has_conditions:
        targets = best_order(estimates, targets)
    return separation_loss(estimates, targets)


def make_optimizer(
    parameters: Iterable[nn.Parameter], *, params: WaveUnetParams
) -> Optimizer | tuple[Optimizer, LRScheduler]:
    """Return the optimizer, the published one where the fidelity is, and its schedule."""
    if params.fidelity == "original":
        optimizer = Adam(parameters, lr=1e-5)
        return optimizer, ExponentialLR(optimizer, 0.96 ** (1 / 2000))
    if params.fidelity == "port":
        return Adam(parameters, lr=1e-4, weight_decay=5e-4)
    optimizer = Adam(parameters, lr=params.learning_rate)
    n_steps = max(1, params.n_steps // params.steps_per_epoch) * params.steps_per_epoch
    return optimizer, OneCycleLR(optimizer, params.learning_rate, total_steps=n_steps, pct_start=0.05)


def separation_loss(estimates: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of estimates (B, S, C, n): the mean over sources of their squared error, in dB of the mix.

    A logarithm a source: a soft player's error weighs as much as a loud one's, as it does in the figures. The error of
    a player who rests does not count once it is 30 dB below the mix.
    """
    return 10 * torch.log10((estimates - targets).square().mean(dim=(2, 3)) + SILENT_ERROR).mean()


def best_order(estimates: Tensor, targets: Tensor) -> Tensor:
    """Return the targets (B, S, C, n) in the order that fits the estimates best, item by item."""
    with torch.no_grad():
        costs = torch.stack(
            [(estimates - targets[:, [source]]).square().mean(dim=(2, 3)) for source in range(targets.shape[1])], dim=2
        )
        orders = [torch.from_numpy(linear_sum_assignment(cost)[1]) for cost in costs.cpu().double().numpy()]
    return torch.stack([sounds[order.to(sounds.device)] for sounds, order in zip(targets, orders, strict=True)])
