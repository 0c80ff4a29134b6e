"""A mixture of logistics over mu-law classes: what the network gives in place of a softmax.

A class has the share of the mixture between its edges (Salimans et al. 2017, PixelCNN++, section 2.1; here in
amplitude, where a linear prediction is linear, and not in the companded scale).

Shapes: B batch, T samples, M logistics.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from models.past_samples import Known, class_edges, class_width

N_LOGISTICS = 4
N_OUTPUTS = 3 * N_LOGISTICS  # log weight, offset in scales, log scale of each
FIRST_LOG_SCALES = (-1.0, -0.3, 0.3, 1.2)  # before training: one narrower than the running scale, one wide
WIDTH_OF_SCALE = math.sqrt(3) / math.pi  # of a logistic whose standard deviation is 1
LEAST_WIDTH = 0.1  # classes: a narrower logistic gives its class all the same
LEAST_SHARE = 1e-9
FAR = 30.0  # widths: all of a logistic but 1e-13 lies within
BEYOND = 1e9  # of full scale: the outer edges. Through infinite ones the gradient of a width is not a number


def mixture(outputs: Tensor, known: Known, n_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return log weights, means and widths of the logistics, (B, T, M) each, from outputs (B, T, 3 M)."""
    log_weight, offset, log_scale = outputs.chunk(3, dim=-1)
    scale = known.scale[..., None]
    mean = known.mean[..., None] + scale * offset
    first = torch.tensor(FIRST_LOG_SCALES, device=outputs.device)
    wide = scale * WIDTH_OF_SCALE * torch.exp((log_scale + first).clamp(-7, 7))
    least = LEAST_WIDTH * class_width(known.mean, n_classes)[..., None]
    return log_weight.log_softmax(dim=-1), mean, (wide.square() + least.square()).sqrt()


def mixture_nats(outputs: Tensor, known: Known, codes: Tensor, n_classes: int) -> Tensor:
    """Return the negative log likelihood of codes (B, T)."""
    log_weight, mean, width = mixture(outputs.float(), known, n_classes)
    edges = class_edges(n_classes).float().to(outputs.device)
    beyond = edges.new_full((1,), BEYOND)
    low = torch.cat([-beyond, edges])[codes][..., None]
    high = torch.cat([edges, beyond])[codes][..., None]
    # Beyond FAR sigmoids and their gradients are denormal numbers, which a CPU is a hundred times slower with.
    below, above = ((low - mean) / width).clamp(-FAR, FAR), ((high - mean) / width).clamp(-FAR, FAR)
    # On the side where both sigmoids are small their difference loses no digits.
    turned = below + above > 0
    below, above = torch.where(turned, -above, below), torch.where(turned, -below, above)
    share = (torch.sigmoid(above) - torch.sigmoid(below)).clamp(min=LEAST_SHARE)
    nats: Tensor = -torch.logsumexp(log_weight + share.log(), dim=-1)
    return nats


def mixture_shares(outputs: Tensor, known: Known, n_classes: int, temperature: float = 1.0) -> Tensor:
    """Return what lies below each class's upper edge, (B, T, K - 1): the cumulative distribution.

    ``temperature`` multiplies the widths: below 1 there is less noise around the same means.
    """
    log_weight, mean, width = mixture(outputs.double(), known, n_classes)
    edges = class_edges(n_classes).to(outputs.device)
    place = (edges[:, None] - mean[..., None, :]) / (width[..., None, :] * temperature)
    shares: Tensor = (log_weight.exp()[..., None, :] * torch.sigmoid(place)).sum(dim=-1)
    return shares


def softmax_nats(logits: Tensor, codes: Tensor) -> Tensor:
    """Return the negative log likelihood of codes (B, T) under a softmax of logits (B, T, K)."""
    nats = functional.cross_entropy(logits.float().flatten(0, 1), codes.flatten(), reduction="none")
    return nats.view_as(codes)
