import math

import numpy as np
import pytest
import torch
from scipy.special import expit, logsumexp
from torch import Tensor

from models.logistics import (
    FIRST_LOG_SCALES,
    LEAST_WIDTH,
    N_LOGISTICS,
    N_OUTPUTS,
    mixture_nats,
    mixture_shares,
    softmax_nats,
)
from models.past_samples import Known, class_edges, class_values, class_width

ALL_CLASSES = torch.arange(256)[None]


def start(mean: float, scale: float, n_samples: int = 256) -> Known:
    return Known(torch.full((1, n_samples), mean), torch.full((1, n_samples), scale), torch.zeros(0))


def random_outputs(seed: int) -> Tensor:
    """Return the same random outputs for each of 256 samples."""
    return torch.randn(N_OUTPUTS, generator=torch.Generator().manual_seed(seed)).expand(1, 256, -1).contiguous()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("mean", "scale"), [(0.0, 0.05), (0.3, 1e-4), (-0.9, 0.3), (1.4, 0.02)])
def test_the_shares_of_all_classes_sum_to_1(mean: float, scale: float, seed: int) -> None:
    nats = mixture_nats(random_outputs(seed), start(mean, scale), ALL_CLASSES, 256)
    assert torch.exp(-nats.double()).sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_nats_are_those_of_a_direct_computation(seed: int) -> None:
    mean, scale = 0.1, 0.03
    outputs = random_outputs(seed)
    log_weight, offset, log_scale = outputs[0, 0].double().numpy().reshape(3, N_LOGISTICS)
    wide = scale * np.sqrt(3) / np.pi * np.exp(log_scale + np.array(FIRST_LOG_SCALES))
    width = np.sqrt(wide**2 + (LEAST_WIDTH * class_width(torch.tensor(mean).double(), 256).item()) ** 2)
    edges = np.concatenate([[-np.inf], class_edges(256).numpy(), [np.inf]])[:, None]
    weight = np.exp(log_weight - logsumexp(log_weight))
    share = (np.diff(expit((edges - mean - scale * offset) / width), axis=0) * weight).sum(axis=1)
    nats = mixture_nats(outputs, start(mean, scale), ALL_CLASSES, 256)[0].numpy()
    likely = share > 1e-5  # below, float32 and the least share show
    assert likely.sum() > 20
    np.testing.assert_allclose(nats[likely], -np.log(share[likely]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_cumulative_distribution_is_that_of_the_shares(seed: int) -> None:
    outputs, known = random_outputs(seed), start(-0.05, 0.02)
    below = mixture_shares(outputs, known, 256)[0, 0]
    shares = torch.exp(-mixture_nats(outputs, known, ALL_CLASSES, 256)[0].double())
    torch.testing.assert_close(below, shares.cumsum(dim=0)[:-1], rtol=0, atol=1e-5)
    assert (below.diff() >= 0).all()


@pytest.mark.parametrize("code", [1, 60, 128, 200, 254])
def test_a_narrow_logistic_in_the_middle_of_a_class_gives_it_nearly_all(code: int) -> None:
    outputs = torch.zeros(1, 1, N_OUTPUTS)
    outputs[..., 2 * N_LOGISTICS :] = -9
    known = start(class_values(256)[code].item(), 1e-5, 1)
    assert mixture_nats(outputs, known, torch.tensor([[code]]), 256).item() < 0.03
    assert mixture_nats(outputs, known, torch.tensor([[code - 1]]), 256).item() > 3


@pytest.mark.parametrize(("mean", "scale"), [(0.0, 1e-5), (1.5, 1e-5), (-40.0, 1.0), (0.0, 3.0)])
def test_far_tails_are_finite_and_so_are_their_gradients(mean: float, scale: float) -> None:
    outputs = random_outputs(0).requires_grad_()
    nats = mixture_nats(outputs, start(mean, scale), ALL_CLASSES, 256)
    assert nats.isfinite().all()
    assert nats.max() > 5
    nats.sum().backward()
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()
    assert outputs.grad[0, [0, -1]].abs().sum() + outputs.grad[0, 128].abs().sum() > 0


@pytest.mark.parametrize("mean", [-0.5, 0.0013, 0.7])
def test_at_temperature_0_the_class_of_the_mean_has_everything(mean: float) -> None:
    below = mixture_shares(torch.zeros(1, 1, N_OUTPUTS), start(mean, 0.1, 1), 256, temperature=1e-7)[0, 0]
    code = int(torch.bucketize(torch.tensor(mean, dtype=torch.float64), class_edges(256)))
    assert below[code - 1] == pytest.approx(0, abs=1e-6)
    assert below[code] == pytest.approx(1, abs=1e-6)


def test_a_temperature_multiplies_the_widths() -> None:
    outputs = torch.zeros(1, 1, N_OUTPUTS)
    twice = outputs.clone()
    twice[..., 2 * N_LOGISTICS :] = math.log(2)
    warm, wide = (mixture_shares(out, start(0, 0.1, 1), 256, t) for out, t in ((outputs, 2.0), (twice, 1.0)))
    torch.testing.assert_close(warm, wide, rtol=0, atol=1e-4)
    assert (warm - mixture_shares(outputs, start(0, 0.1, 1), 256)).abs().max() > 0.05


def test_softmax_nats_are_the_logarithms_of_the_shares() -> None:
    logits = torch.log(torch.tensor([[[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]]]))
    nats = softmax_nats(logits, torch.tensor([[2, 0]]))
    torch.testing.assert_close(nats, -torch.log(torch.tensor([[0.7, 0.5]])))
