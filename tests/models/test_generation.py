from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.deepsynth import DeepSynth, DeepSynthConfig, receptive_field, teacher_forced
from models.generation import Generator, Kernel, Precision, _add_products, _exponential, _pick

N_SAMPLES = 70
EYES: list[dict[str, Any]] = [
    {"use_video": False},
    {"video_rate": "audio", "video_to_output": True},
    {"video_rate": "picture"},
    {"video_rate": "picture", "n_changes": 3, "video_to_output": True},
]
KERNELS: tuple[Kernel, ...] = ("compiled", "torch")


def make(options: dict[str, Any]) -> DeepSynth:
    torch.manual_seed(3)
    config = DeepSynthConfig(
        n_layers=12, n_channels=12, n_features=6, frame_encoder="strip", subtract_rest=True, **options
    )
    network = DeepSynth(config).eval()
    network.output.weight.data *= 3.0  # far from uniform, so that what was heard matters
    return network


def film(n_streams: int, n_samples: int = N_SAMPLES, n_pictures: int = 5) -> tuple[Tensor, Tensor]:
    """Return pictures of all streams, each its own, and which of them is shown (B, T)."""
    rng = torch.Generator().manual_seed(5)
    pictures = torch.randint(0, 256, (n_streams * n_pictures, 57, 780), generator=rng, dtype=torch.uint8)
    shown = torch.arange(n_samples) * n_pictures // n_samples
    return pictures, shown + torch.arange(n_streams)[:, None] * n_pictures


def uniforms(*seeds: int, n_samples: int = N_SAMPLES) -> NDArray[np.float64]:
    return np.stack([np.random.default_rng(seed).random(n_samples) for seed in seeds])


def naive(network: DeepSynth, chosen: NDArray[np.float64], pictures: Tensor, shown: Tensor) -> NDArray[np.uint8]:
    """Draw every sample from a pass over all samples before it."""
    codes = torch.zeros(chosen.shape, dtype=torch.long)
    for t in range(chosen.shape[1]):
        past = teacher_forced(codes)[:, : t + 1]
        logits = network(past, pictures=pictures, shown=shown[:, : t + 1])[:, t]
        below = torch.softmax(logits.double(), dim=1).cumsum(dim=1).numpy()
        codes[:, t] = torch.from_numpy((below <= chosen[:, t : t + 1]).sum(axis=1))
    return codes.numpy().astype(np.uint8)


@pytest.mark.parametrize("options", EYES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_samples_are_those_of_the_network_without_a_cache(kernel: Kernel, options: dict[str, Any]) -> None:
    network = make(options)
    pictures, shown = film(2)
    chosen = uniforms(1, 2)
    with torch.inference_mode():
        expected = naive(network, chosen, pictures, shown)
    codes = Generator(network, n_streams=2, kernel=kernel).generate(chosen, pictures=pictures, shown=shown)
    assert codes.dtype == np.uint8
    np.testing.assert_array_equal(codes, expected)
    assert len(np.unique(codes)) > 20


@pytest.mark.parametrize("options", EYES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_going_on_across_a_border_equals_one_go(kernel: Kernel, options: dict[str, Any]) -> None:
    network = make(options)
    pictures, shown = film(2, n_samples=540)  # beyond the receptive field
    chosen = uniforms(1, 2, n_samples=540)
    assert receptive_field(network.config.dilations) < 540
    whole = Generator(network, n_streams=2, kernel=kernel).generate(chosen, pictures=pictures, shown=shown)
    parts, generator = [], Generator(network, n_streams=2, kernel=kernel)
    for start, stop in [(0, 1), (1, 8), (8, 300), (300, 300), (300, 333), (333, 540)]:
        part = generator.generate(chosen[:, start:stop], pictures=pictures, shown=shown[:, start:stop])
        parts.append(part)
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_stream_does_not_hear_its_neighbours(kernel: Kernel) -> None:
    network = make(EYES[3])
    pictures, shown = film(3)
    together = Generator(network, n_streams=3, kernel=kernel).generate(
        uniforms(1, 2, 3), pictures=pictures, shown=shown
    )
    others = Generator(network, n_streams=3, kernel=kernel).generate(
        uniforms(8, 2, 9), pictures=pictures, shown=shown[[2, 1, 0]]
    )
    np.testing.assert_array_equal(others[1], together[1])
    assert not np.array_equal(others[0], together[0])


def test_compiled_streams_alone_and_together_are_the_same() -> None:
    network = make(EYES[3])
    pictures, shown = film(3)
    together = Generator(network, n_streams=3, kernel="compiled").generate(
        uniforms(1, 2, 3), pictures=pictures, shown=shown
    )
    alone = Generator(network, n_streams=1, kernel="compiled").generate(
        uniforms(2), pictures=pictures, shown=shown[1:2]
    )
    np.testing.assert_array_equal(alone[0], together[1])


def test_the_same_seed_gives_the_same_codes_and_another_seed_others() -> None:
    network = make({"use_video": False})
    first, again, other = (
        Generator(network, n_streams=1, kernel="compiled").generate(uniforms(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_cold_temperature_takes_the_likeliest_class(kernel: Kernel) -> None:
    network = make({"use_video": False})
    codes = Generator(network, n_streams=1, kernel=kernel, temperature=1e-4).generate(uniforms(1))
    logits = network(teacher_forced(torch.from_numpy(codes).long()))
    np.testing.assert_array_equal(codes, logits.argmax(dim=2).numpy())


def test_samples_follow_the_distribution() -> None:
    logits = np.log(np.array([0.1, 0.2, 0.3, 0.4], np.float32))
    places = (np.arange(1000) + 0.5) / 1000  # every share of the distribution, once
    counts = np.bincount([_pick(logits, place, 1.0) for place in places], minlength=4)
    np.testing.assert_allclose(counts, [100, 200, 300, 400], atol=1)
    assert _pick(logits, 0.0, 1.0) == 0
    assert _pick(logits, np.nextafter(1.0, 0.0), 1.0) == 3


def test_the_compiled_exponential_is_numpy_s() -> None:
    x = np.linspace(-86, 87, 100_001, dtype=np.float32)
    power = np.empty(len(x), np.int32)
    found = x.copy()
    _exponential(found, power, power.view(np.float32))
    np.testing.assert_allclose(found, np.exp(x.astype(np.float64)), rtol=3e-7)


def test_the_compiled_product_is_numpy_s() -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.random((3, 21), np.float32), rng.random((21, 10), np.float32)
    y = np.ones((3, 10), np.float32)
    _add_products(y, x, weight)
    np.testing.assert_allclose(y, 1 + x @ weight, rtol=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_at_the_paper_s_sizes_logits_are_the_network_s_within_2e_6(kernel: Kernel) -> None:
    torch.manual_seed(0)
    network = DeepSynth(
        DeepSynthConfig(n_layers=27, n_channels=256, frame_encoder="strip", video_rate="picture")
    ).eval()
    pictures, shown = film(1, n_samples=60)
    generator = Generator(network, n_streams=1, kernel=kernel)
    codes = generator.generate(uniforms(1, n_samples=60), pictures=pictures, shown=shown)
    with torch.inference_mode():
        heard = teacher_forced(torch.from_numpy(codes).long())
        expected = network(heard, pictures=pictures, shown=shown)[:, -1].numpy()
    np.testing.assert_allclose(generator.logits, expected, rtol=0, atol=2e-6)
    assert np.ptp(expected) > 0.01


def forced_nats(network: DeepSynth, codes: NDArray[np.uint8], kernel: Kernel, precision: Precision) -> float:
    """Return a generator's mean nats per sample of codes (B, T) that it is made to say."""
    generator = Generator(network, n_streams=len(codes), kernel=kernel, precision=precision)
    nats = []
    for said in codes.T:
        generator.generate(np.zeros((len(codes), 1)))
        share = torch.log_softmax(torch.from_numpy(generator.logits.copy()), dim=1).numpy()
        nats.append(-share[np.arange(len(codes)), said])
        generator.force(said)
    return float(np.mean(nats))


@pytest.mark.parametrize(
    ("kernel", "precision"), [("compiled", "float32"), ("torch", "float32"), ("torch", "bfloat16")]
)
def test_forced_codes_lose_what_the_network_loses(kernel: Kernel, precision: Precision) -> None:
    network = make({"use_video": False})
    codes = Generator(network, n_streams=4, kernel="torch").generate(uniforms(1, 2, 3, 4, n_samples=200))
    target = torch.from_numpy(codes).long()
    with torch.inference_mode():
        exact = torch.nn.functional.cross_entropy(
            network(teacher_forced(target)).flatten(0, 1), target.flatten()
        ).item()
    tolerance = 0.005 if precision == "bfloat16" else 1e-5
    assert forced_nats(network, codes, kernel, precision) == pytest.approx(exact, abs=tolerance)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_streams": 0}, "0 streams"),
        ({"temperature": 0.0}, "temperature 0.0"),
        ({"temperature": float("nan")}, "temperature nan"),
        ({"precision": "bfloat16"}, "float32"),
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Generator(make({"use_video": False}), **{"n_streams": 1, "kernel": "compiled", **wrong})


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    generator = Generator(make({}), n_streams=2, kernel="compiled")
    pictures, shown = film(2)
    with pytest.raises(ValueError, match=r"uniforms are \(1, 70\), expected \(2, samples\)"):
        generator.generate(uniforms(1), pictures=pictures, shown=shown)
    with pytest.raises(ValueError, match="shown is None"):
        generator.generate(uniforms(1, 2))
    with pytest.raises(ValueError, match=r"shown is \(2, 9\)"):
        generator.generate(uniforms(1, 2), pictures=pictures, shown=shown[:, :9])
