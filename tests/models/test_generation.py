from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import block_conditions
from models.compiled_decoder import _add_products, _exponential, _pick, _pick_of_mixture
from models.deepsynth import DeepSynth, Predicted, teacher_forced
from models.deepsynth_config import DeepSynthConfig
from models.generation import Generator, Kernel, Precision
from models.logistics import N_LOGISTICS, N_OUTPUTS, mixture_shares
from models.past_samples import Known, class_edges
from models.wavenet import receptive_field

N_SAMPLES = 70
KERNELS: tuple[Kernel, ...] = ("compiled", "torch")
ALONE: dict[str, Any] = {"use_video": False}
LOGISTICS: dict[str, Any] = {"output": "logistics", "n_past": 32, "n_taps": 512, "running_scale": True}
PICTURES: list[dict[str, Any]] = [
    {"video_rate": "audio", "video_to_output": True},
    {"video_rate": "picture"},
    {"video_rate": "picture", "n_changes": 3, "video_to_output": True},
]
DRIVES: list[dict[str, Any]] = [
    {"gates": False, "drive": "response", "n_past": 8},
    {"video_rate": "picture", "drive": "oscillators", "video_to_output": True},
    {"gates": False, "drive": "oscillators", "output": "logistics", "n_taps": 16},
    {"gates": False, "drive": "oscillators", "drive_as": "mean", **LOGISTICS},
    {"video_rate": "picture", "n_changes": 3, "drive": "response", "drive_as": "mean", **LOGISTICS},
    {"video_rate": "audio", "drive": "response", **LOGISTICS, "n_past": 1},
    {"n_layers": 0, "gates": False, "drive": "response", "drive_as": "mean", **LOGISTICS},
    {"n_layers": 0, "video_rate": "picture"},
]
OPTIONS: list[dict[str, Any]] = [
    ALONE,
    {**ALONE, "n_past": 5},
    {**ALONE, **LOGISTICS},
    {**ALONE, "output": "logistics"},
    {**ALONE, "output": "logistics", "n_past": 3, "running_scale": True},
    *PICTURES,
    *DRIVES,
]
both_kernels = pytest.mark.parametrize("kernel", KERNELS)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Matrices are small here: threads would wait for each other longer than they work."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def every_option() -> Any:
    names = ["-".join(f"{value}" for value in options.values()) for options in OPTIONS]
    return pytest.mark.parametrize("options", OPTIONS, ids=names)


def make(options: dict[str, Any]) -> DeepSynth:
    torch.manual_seed(3)
    sizes = {"n_layers": 7, "n_channels": 12, "n_features": 6, "n_keys": 4, "n_partials": 2, "response_length": 9}
    config = DeepSynthConfig(**{"frame_encoder": "strip", "subtract_rest": True, **sizes, **options})
    network = DeepSynth(config).eval()
    with torch.no_grad():
        for linear in (network.output, network.drive_mean):
            if linear is not None and not linear.weight.any():
                torch.nn.init.normal_(linear.weight, std=0.1)
        network.output.weight *= 3.0  # far from uniform, so that the past matters
        if config.output == "logistics":
            network.output.bias[2 * N_LOGISTICS :] += 1.0  # wide, so that samples do not end in silence
        if config.n_taps:
            network.samples.taps.copy_(torch.randn(config.n_taps) / 40)
    return network


@dataclass(frozen=True)
class Seen:
    """What a network is conditioned on, (B, T)."""

    pictures: Tensor | None
    shown: Tensor | None
    drive: Tensor | None

    def part(self, start: int, stop: int) -> dict[str, Tensor | None]:
        shown, drive = (None if rows is None else rows[:, start:stop] for rows in (self.shown, self.drive))
        return {"pictures": self.pictures, "shown": shown, "drive": drive}

    def streams(self, *rows: int) -> dict[str, Tensor | None]:
        shown, drive = (None if one is None else one[list(rows)] for one in (self.shown, self.drive))
        return {"pictures": self.pictures, "shown": shown, "drive": drive}

    @property
    def whole(self) -> dict[str, Tensor | None]:
        return {"pictures": self.pictures, "shown": self.shown, "drive": self.drive}


def film(network: DeepSynth, n_streams: int, n_samples: int = N_SAMPLES, n_pictures: int = 5) -> Seen:
    """Return pictures of all streams, each its own, which of them is shown, and a drive: what the network takes."""
    rng = torch.Generator().manual_seed(5)
    pictures = shown = drive = None
    if network.video is not None:
        size = (n_streams * n_pictures, 57, 780)
        pictures = torch.randint(0, 256, size, generator=rng, dtype=torch.uint8)
        shown = torch.arange(n_samples) * n_pictures // n_samples + torch.arange(n_streams)[:, None] * n_pictures
    if network.keys is not None:
        oscillators = network.keys.oscillators
        columns = () if oscillators is None else (oscillators.n_features,)
        drive = torch.randn(n_streams, n_samples, *columns, generator=rng) / 3
    return Seen(pictures, shown, drive)


def uniforms(*seeds: int, n_samples: int = N_SAMPLES) -> NDArray[np.float64]:
    return np.stack([np.random.default_rng(seed).random(n_samples) for seed in seeds])


def shares_below(network: DeepSynth, predicted: Predicted, temperature: float = 1.0) -> NDArray[np.float64]:
    """Return the cumulative distribution (B, T, K - 1), each class evaluated."""
    if network.config.output == "logistics":
        return mixture_shares(predicted.outputs, predicted.known, network.config.n_classes, temperature).numpy()
    below = torch.softmax(predicted.outputs.double() / temperature, dim=-1).cumsum(dim=-1)
    return below[..., :-1].numpy()


def naive(network: DeepSynth, chosen: NDArray[np.float64], seen: Seen) -> NDArray[np.uint8]:
    """Draw every sample from a pass over all samples before it."""
    codes = torch.zeros(chosen.shape, dtype=torch.long)
    for t in range(chosen.shape[1]):
        predicted = network(teacher_forced(codes)[:, : t + 1], **seen.part(0, t + 1))
        below = shares_below(network, predicted)[:, t]
        codes[:, t] = torch.from_numpy((below <= chosen[:, t : t + 1]).sum(axis=1))
    return codes.numpy().astype(np.uint8)


@every_option()
def test_samples_are_those_of_the_network_without_a_cache(options: dict[str, Any]) -> None:
    network = make(options)
    seen, chosen = film(network, 2), uniforms(1, 2)
    with torch.inference_mode():
        expected = naive(network, chosen, seen)
    for kernel in KERNELS:
        codes = Generator(network, n_streams=2, kernel=kernel).generate(chosen, **seen.whole)
        assert codes.dtype == np.uint8
        np.testing.assert_array_equal(codes, expected, err_msg=kernel)
    assert len(np.unique(expected)) > 20


def forced_parts(
    generator: Generator, codes: NDArray[np.uint8], seen: Seen, borders: list[int]
) -> tuple[NDArray[np.uint8], list[Predicted]]:
    """Generate from border to border, with the last sample of each part replaced by that of ``codes``.

    Returns:
        The samples, and what each part's last one was predicted to be.
    """
    samples, predicted = codes.copy(), []
    chosen = uniforms(*range(len(codes)), n_samples=codes.shape[1])
    for start, stop in zip([0, *borders[:-1]], borders, strict=True):
        samples[:, start:stop] = generator.generate(chosen[:, start:stop], **seen.part(start, stop))
        predicted.append(generator.predicted)
        samples[:, stop - 1] = codes[:, stop - 1]
        generator.force(codes[:, stop - 1])
    return samples, predicted


@every_option()
@both_kernels
def test_forced_outputs_are_the_network_s_within_2e_6(kernel: Kernel, options: dict[str, Any]) -> None:
    network = make(options)
    # Beyond the layers' field, the taps and the errors of a running scale together, in odd parts.
    n_samples = 1100 if network.config.n_taps == 512 else 300
    borders = [*range(1, 20), 30, 57, 126, 127, *range(160, n_samples, 37), n_samples]
    assert n_samples > network.config.n_taps + 512 or receptive_field(network.config.dilations) < 200
    seen = film(network, 2, n_samples)
    rng = np.random.default_rng(0)
    codes = rng.integers(0, network.config.n_classes, (2, n_samples)).astype(np.uint8)
    samples, predicted = forced_parts(Generator(network, n_streams=2, kernel=kernel), codes, seen, borders)
    with torch.inference_mode():
        whole = network(teacher_forced(torch.from_numpy(samples).long()), **seen.whole)
    last = [border - 1 for border in borders]
    outputs = torch.cat([one.outputs for one in predicted], dim=1)
    torch.testing.assert_close(outputs, whole.outputs[:, last], rtol=0, atol=2e-6)
    if network.samples.predicts:
        mean, scale = (torch.cat([getattr(one.known, name) for one in predicted], dim=1) for name in ("mean", "scale"))
        torch.testing.assert_close(mean, whole.known.mean[:, last], rtol=0, atol=2e-6)
        torch.testing.assert_close(scale, whole.known.scale[:, last], rtol=0, atol=2e-6)
        assert (scale.std() > 0.01) == network.config.running_scale
    if network.config.n_layers:
        assert outputs.std(dim=1).max() > 0.01  # they follow the samples


@every_option()
@both_kernels
def test_going_on_across_a_border_equals_one_go(kernel: Kernel, options: dict[str, Any]) -> None:
    network = make(options)
    n_samples = 200
    seen, chosen = film(network, 2, n_samples), uniforms(1, 2, n_samples=n_samples)
    assert receptive_field(network.config.dilations) < n_samples
    whole = Generator(network, n_streams=2, kernel=kernel).generate(chosen, **seen.whole)
    parts, generator = [], Generator(network, n_streams=2, kernel=kernel)
    for start, stop in [(0, 1), (1, 8), (8, 130), (130, 130), (130, 147), (147, n_samples)]:
        parts.append(generator.generate(chosen[:, start:stop], **seen.part(start, stop)))
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


@pytest.mark.parametrize("options", [PICTURES[0], DRIVES[0], DRIVES[3]])
def test_blocks_of_bounded_memory_give_the_same_samples(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    network = make(options)
    seen, chosen = film(network, 2), uniforms(1, 2)
    whole = Generator(network, n_streams=2, kernel="compiled").generate(chosen, **seen.whole)
    assert block_conditions.block_length(network.config, 2) == block_conditions.LONGEST_BLOCK
    monkeypatch.setattr(block_conditions, "CONDITION_BYTES", 2 * 4 * 24 * 13)
    monkeypatch.setattr(block_conditions, "LONGEST_BLOCK", 17)
    length = block_conditions.block_length(network.config, 2)
    assert length == (1 if options is PICTURES[0] else 13 if options is DRIVES[0] else 17)
    np.testing.assert_array_equal(
        Generator(network, n_streams=2, kernel="compiled").generate(chosen, **seen.whole), whole
    )


@pytest.mark.parametrize("options", [PICTURES[2], DRIVES[4]])
@both_kernels
def test_a_stream_does_not_depend_on_its_neighbours(kernel: Kernel, options: dict[str, Any]) -> None:
    network = make(options)
    seen = film(network, 3)
    together = Generator(network, n_streams=3, kernel=kernel).generate(uniforms(1, 2, 3), **seen.whole)
    others = Generator(network, n_streams=3, kernel=kernel).generate(uniforms(8, 2, 9), **seen.streams(2, 1, 0))
    np.testing.assert_array_equal(others[1], together[1])
    assert not np.array_equal(others[0], together[0])


@pytest.mark.parametrize("options", [PICTURES[2], DRIVES[4]])
def test_compiled_streams_alone_and_together_are_the_same(options: dict[str, Any]) -> None:
    network = make(options)
    seen = film(network, 3)
    together = Generator(network, n_streams=3, kernel="compiled").generate(uniforms(1, 2, 3), **seen.whole)
    alone = Generator(network, n_streams=1, kernel="compiled").generate(uniforms(2), **seen.streams(1))
    np.testing.assert_array_equal(alone[0], together[1])


def test_the_same_seed_gives_the_same_codes_and_another_seed_others() -> None:
    network = make(ALONE)
    first, again, other = (
        Generator(network, n_streams=1, kernel="compiled").generate(uniforms(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@both_kernels
def test_a_cold_temperature_takes_the_likeliest_class(kernel: Kernel) -> None:
    network = make(ALONE)
    codes = Generator(network, n_streams=1, kernel=kernel, temperature=1e-4).generate(uniforms(1))
    logits = network(teacher_forced(torch.from_numpy(codes).long())).outputs
    np.testing.assert_array_equal(codes, logits.argmax(dim=2).numpy())


@both_kernels
def test_at_a_cold_temperature_logistics_of_one_mean_give_its_class(kernel: Kernel) -> None:
    network = make({**DRIVES[4]})
    torch.nn.init.zeros_(network.output.weight)
    torch.nn.init.zeros_(network.output.bias)
    seen = film(network, 1)
    codes = Generator(network, n_streams=1, kernel=kernel, temperature=1e-4).generate(uniforms(1), **seen.whole)
    known = network(teacher_forced(torch.from_numpy(codes).long()), **seen.whole).known
    expected = torch.bucketize(known.mean.double(), class_edges(256))
    np.testing.assert_array_equal(codes, expected.detach().numpy())
    assert len(np.unique(codes)) > 20


@pytest.mark.parametrize("temperature", [0.5, 2.0])
@pytest.mark.parametrize("options", [ALONE, DRIVES[4]])
@both_kernels
def test_the_temperature_is_that_of_the_distribution(
    kernel: Kernel, options: dict[str, Any], temperature: float
) -> None:
    network = make(options)
    seen, chosen = film(network, 1), uniforms(1)
    codes = Generator(network, n_streams=1, kernel=kernel, temperature=temperature).generate(chosen, **seen.whole)
    with torch.inference_mode():
        predicted = network(teacher_forced(torch.from_numpy(codes).long()), **seen.whole)
    expected = (shares_below(network, predicted, temperature) <= chosen[..., None]).sum(axis=-1)
    np.testing.assert_array_equal(codes, expected)
    plain = (shares_below(network, predicted) <= chosen[..., None]).sum(axis=-1)
    assert (codes != plain).mean() > 0.3


def test_samples_follow_the_distribution() -> None:
    logits = np.log(np.array([0.1, 0.2, 0.3, 0.4], np.float32))
    places = (np.arange(1000) + 0.5) / 1000  # every share of the distribution, once
    counts = np.bincount([_pick(logits, place, 1.0) for place in places], minlength=4)
    np.testing.assert_allclose(counts, [100, 200, 300, 400], atol=1)
    assert _pick(logits, 0.0, 1.0) == 0
    assert _pick(logits, np.nextafter(1.0, 0.0), 1.0) == 3


@pytest.mark.parametrize("n_classes", [2, 3, 100, 256])
def test_samples_follow_the_mixture(n_classes: int) -> None:
    rng = np.random.default_rng(n_classes)
    edges = class_edges(n_classes).numpy()
    places = (np.arange(500) + 0.5) / 500
    for _ in range(5):
        outputs = rng.normal(0, 1.5, N_OUTPUTS).astype(np.float32)
        mean, scale = np.float32(rng.normal(0, 0.3)), np.float32(10 ** rng.uniform(-4, 0))
        known = Known(torch.tensor([[mean]]), torch.tensor([[scale]]), torch.zeros(0))
        below = mixture_shares(torch.from_numpy(outputs)[None, None], known, n_classes, 0.8)[0, 0].numpy()
        found = [_pick_of_mixture(outputs, mean, scale, edges, place, 0.8) for place in places]
        np.testing.assert_array_equal(found, (below <= places[:, None]).sum(axis=1))
    assert _pick_of_mixture(outputs, mean, 10.0, edges, 0.0, 1.0) == 0
    assert _pick_of_mixture(outputs, mean, 10.0, edges, np.nextafter(1.0, 0.0), 1.0) == n_classes - 1


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


@both_kernels
def test_at_the_paper_s_sizes_logits_are_the_network_s_within_2e_6(kernel: Kernel) -> None:
    torch.manual_seed(0)
    network = DeepSynth(
        DeepSynthConfig(n_layers=27, n_channels=256, frame_encoder="strip", video_rate="picture")
    ).eval()
    seen = film(network, 1, n_samples=60)
    generator = Generator(network, n_streams=1, kernel=kernel)
    codes = generator.generate(uniforms(1, n_samples=60), **seen.whole)
    with torch.inference_mode():
        expected = network(teacher_forced(torch.from_numpy(codes).long()), **seen.whole).outputs[:, -1].numpy()
    np.testing.assert_allclose(generator.outputs, expected, rtol=0, atol=2e-6)
    assert np.ptp(expected) > 0.01


def forced_nats(network: DeepSynth, codes: NDArray[np.uint8], kernel: Kernel, precision: Precision) -> float:
    """Return a generator's mean nats per sample of codes (B, T) that it is forced to."""
    generator = Generator(network, n_streams=len(codes), kernel=kernel, precision=precision)
    nats = []
    for forced in codes.T:
        generator.generate(np.zeros((len(codes), 1)))
        nats.append(network.nats(generator.predicted, torch.from_numpy(forced).long()[:, None]).mean().item())
        generator.force(forced)
    return float(np.mean(nats))


@pytest.mark.parametrize("options", [ALONE, {**ALONE, **LOGISTICS}])
@pytest.mark.parametrize(
    ("kernel", "precision"), [("compiled", "float32"), ("torch", "float32"), ("torch", "bfloat16")]
)
def test_forced_codes_lose_what_the_network_loses(
    kernel: Kernel, precision: Precision, options: dict[str, Any]
) -> None:
    network = make(options)
    codes = Generator(network, n_streams=4, kernel="torch").generate(uniforms(1, 2, 3, 4, n_samples=200))
    target = torch.from_numpy(codes).long()
    with torch.inference_mode():
        exact = network.nats(network(teacher_forced(target)), target).mean().item()
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
        Generator(make(ALONE), **{"n_streams": 1, "kernel": "compiled", **wrong})


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    network = make({"drive": "oscillators"})
    generator = Generator(network, n_streams=2, kernel="compiled")
    seen = film(network, 2)
    with pytest.raises(ValueError, match=r"uniforms are \(1, 70\), expected \(2, samples\)"):
        generator.generate(uniforms(1), **seen.whole)
    with pytest.raises(ValueError, match="shown is None"):
        generator.generate(uniforms(1, 2))
    with pytest.raises(ValueError, match=r"shown is \(2, 9\)"):
        generator.generate(uniforms(1, 2), **seen.part(0, 9))
    with pytest.raises(ValueError, match=r"drive is None, expected \(2, 70, 16\)"):
        generator.generate(uniforms(1, 2), **{**seen.whole, "drive": None})
    with pytest.raises(ValueError, match=r"drive is \(2, 70\), expected \(2, 70, 16\)"):
        generator.generate(uniforms(1, 2), **{**seen.whole, "drive": torch.zeros(2, 70)})
