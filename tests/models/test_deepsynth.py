import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from models.deepsynth import (
    AGES,
    MEMORIES,
    DeepSynth,
    DeepSynthConfig,
    PictureMemory,
    dilation_schedule,
    receptive_field,
    smooth_basis,
    teacher_forced,
)

TINY = DeepSynthConfig(n_layers=5, n_channels=8, n_features=16, frame_widths=(2, 4))
N_SAMPLES = 90
OPTIONS: list[dict[str, Any]] = [
    {},
    {"video_rate": "picture"},
    {"frame_encoder": "strip"},
    {"use_video": False},
    {"video_rate": "picture", "frame_encoder": "strip", "subtract_rest": True, "video_to_output": True},
    {"video_rate": "picture", "n_changes": 3},
]


def make(options: dict[str, Any] | None = None, seed: int = 0) -> DeepSynth:
    """Return a tiny network whose pictures matter about as much as its sound."""
    torch.manual_seed(seed)
    network = DeepSynth(replace(TINY, **(options or {}))).eval()
    if network.video is not None:
        for weight in network.video.frames.parameters():
            weight.data *= 3.0
    return network


def scene(n_streams: int = 2, n_samples: int = N_SAMPLES, n_pictures: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """Return codes (B, T), pictures (P, H, W) and which of them is shown (B, T), in order of time."""
    rng = torch.Generator().manual_seed(1)
    codes = torch.randint(0, 256, (n_streams, n_samples), generator=rng)
    pictures = torch.randint(0, 256, (n_pictures, 57, 780), generator=rng, dtype=torch.uint8)
    shown = torch.arange(n_samples) * n_pictures // n_samples
    return codes, pictures, shown.expand(n_streams, -1).contiguous()


@pytest.mark.parametrize(("n_layers", "n_samples", "paper_ms"), [(15, 575, 143), (20, 1026, 256), (27, 1534, 383)])
def test_receptive_field_is_the_one_deepsynth_reports_at_4_khz(n_layers: int, n_samples: int, paper_ms: int) -> None:
    assert receptive_field(dilation_schedule(n_layers)) == n_samples
    assert n_samples * 1000 // 4000 == paper_ms


def test_dilations_double_up_to_256_and_begin_again() -> None:
    assert dilation_schedule(11) == (1, 2, 4, 8, 16, 32, 64, 128, 256, 1, 2)


def test_an_output_depends_on_just_its_receptive_field() -> None:
    network = make({"use_video": False}).double()
    reach = receptive_field(network.config.dilations)
    inputs = network.embedding(torch.zeros(1, 80, dtype=torch.long)).detach().requires_grad_()
    total, _ = network.decoder(inputs, network.at_rest(1).decoder, [None] * network.config.n_layers)
    total[0, 79].sum().backward()
    assert inputs.grad is not None
    felt = inputs.grad[0].abs().sum(dim=1).nonzero().flatten().tolist()
    assert felt == list(range(80 - reach, 80))


@pytest.mark.parametrize("options", OPTIONS)
def test_no_output_knows_later_sound(options: dict[str, Any]) -> None:
    network = make(options)
    codes, pictures, shown = scene()
    changed = codes.clone()
    changed[:, 50:] = (changed[:, 50:] + 77) % 256
    before = network(teacher_forced(codes), pictures=pictures, shown=shown)
    after = network(teacher_forced(changed), pictures=pictures, shown=shown)
    torch.testing.assert_close(after[:, :51], before[:, :51], rtol=0, atol=0)  # logit 50 hears up to sample 49
    assert not torch.equal(after[:, 51], before[:, 51])


@pytest.mark.parametrize("options", [o for o in OPTIONS if o.get("use_video", True)])
def test_no_output_knows_pictures_shown_later(options: dict[str, Any]) -> None:
    network = make(options)
    codes, pictures, shown = scene()
    changed = pictures.clone()
    changed[4:] = 255 - changed[4:]
    first = int((shown[0] < 4).sum())  # the first sample under picture 4
    before = network(teacher_forced(codes), pictures=pictures, shown=shown)
    after = network(teacher_forced(codes), pictures=changed, shown=shown)
    torch.testing.assert_close(after[:, :first], before[:, :first], rtol=0, atol=1e-6)
    assert (after[:, first] - before[:, first]).abs().max() > 1e-5


def test_the_blind_twin_has_no_eyes() -> None:
    network = make({"use_video": False})
    codes, pictures, shown = scene()
    assert torch.equal(network(teacher_forced(codes)), network(teacher_forced(codes), pictures=pictures, shown=shown))
    assert not any("video" in name or "condition" in name for name in network.state_dict())


def test_a_network_with_eyes_asks_for_pictures() -> None:
    with pytest.raises(ValueError, match="pictures or shown missing"):
        make()(torch.zeros(1, 4, dtype=torch.long))


@pytest.mark.parametrize("options", OPTIONS)
def test_going_on_from_the_past_equals_one_go(options: dict[str, Any]) -> None:
    network = make(options)
    codes, pictures, shown = scene()
    heard = teacher_forced(codes)
    whole = network(heard, pictures=pictures, shown=shown)
    past, parts = network.at_rest(2), []
    for start, stop in [(0, 1), (1, 40), (40, 43), (43, 90)]:
        logits, past = network.advance(heard[:, start:stop], past, pictures=pictures, shown=shown[:, start:stop])
        parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=0, atol=2e-6)


def test_an_untrained_output_layer_of_zeros_loses_ln_256_nats() -> None:
    network = make()
    torch.nn.init.zeros_(network.output.weight)
    torch.nn.init.zeros_(network.output.bias)
    codes, pictures, shown = scene()
    logits = network(teacher_forced(codes), pictures=pictures, shown=shown)
    loss = functional.cross_entropy(logits.flatten(0, 1), codes.flatten())
    assert loss.item() == pytest.approx(5.5452, abs=5e-5)
    assert loss.item() == pytest.approx(math.log(256), abs=1e-6)


@pytest.mark.parametrize("frame_encoder", ["vgg", "strip"])
def test_encoding_each_picture_once_equals_encoding_one_for_every_sample(frame_encoder: str) -> None:
    network = make({"frame_encoder": frame_encoder})
    assert network.video is not None
    _, pictures, shown = scene(n_streams=1, n_samples=24)
    once = network.video.encode(pictures)[shown[0]]
    # A convolution over another number of pictures may sum in another order.
    torch.testing.assert_close(
        network.video.encode(pictures[shown[0]]), once, rtol=1e-4, atol=1e-4 * float(once.detach().abs().max())
    )


def test_projecting_each_picture_once_equals_projecting_every_sample_bit_for_bit() -> None:
    network = make({"video_rate": "picture"})
    told = torch.randn(6, TINY.n_channels)
    _, _, rows = scene()
    once, _ = network.project(told, rows)
    every, _ = network.project(told[rows], None)
    assert all(torch.equal(a, b) for a, b in zip(once, every, strict=True))


def test_the_paper_s_sizes_have_the_paper_s_multiplications_a_sample() -> None:
    network = DeepSynth(DeepSynthConfig(n_layers=27, n_channels=256, frame_encoder="strip", frame_widths=()))
    stack = 27 * (512 * 512 + 256 * 512)  # causal, then residual and skip
    head = 256 * 256 + 256 * 256
    matrices = {name: w.numel() for name, w in network.named_parameters() if name.endswith("weight")}
    conditioning = sum(n for name, n in matrices.items() if "condition" in name)
    decoder = sum(n for name, n in matrices.items() if name.startswith(("decoder", "hidden", "output")))
    assert decoder - conditioning == stack + head == 10_747_904
    assert conditioning == 27 * 256 * 512
    assert sum(n for name, n in matrices.items() if name.startswith("video.follow.stack")) == stack


def test_at_rest_the_keyboard_is_nothing_when_rest_is_subtracted() -> None:
    network = make({"frame_encoder": "strip", "subtract_rest": True})
    assert network.video is not None
    resting = torch.randint(0, 256, (57, 780), dtype=torch.uint8)
    network.video.rest.copy_(resting)
    looked = network.video.encode(resting[None])
    torch.nn.init.zeros_(network.video.frames.dense.weight)  # type: ignore[union-attr]
    assert torch.equal(network.video.encode(resting[None]), looked)


def test_a_key_keeps_its_place_in_the_strip() -> None:
    network = make({"frame_encoder": "strip", "video_rate": "picture"})
    assert network.video is not None
    pictures = torch.zeros(52, 57, 780, dtype=torch.uint8)
    for key in range(52):
        pictures[key, :, key * 15 : key * 15 + 15] = 255
    looks = network.video.encode(pictures)
    distances = torch.cdist(looks, looks) + torch.eye(52)
    assert distances.min() > 1e-4


def test_neighbouring_classes_start_as_neighbours_with_smooth_init() -> None:
    weight = make({"smooth_init": True}).embedding.weight.detach()
    steps = (weight[1:] - weight[:-1]).norm(dim=1)
    assert steps.max() < 0.3 * torch.cdist(weight, weight).max()


def test_smooth_functions_are_orthonormal() -> None:
    basis = smooth_basis(256, 64)
    torch.testing.assert_close(basis.T @ basis, torch.eye(64), rtol=0, atol=1e-5)


def test_video_gain_scales_what_enters_the_decoder_alone() -> None:
    options = {"video_to_output": True, "frame_encoder": "strip"}
    plain, loud = make(options), make({**options, "video_gain": 4.0})
    for name, weight in loud.state_dict().items():
        enters = "condition" in name or name.startswith("direct")
        assert torch.equal(weight, plain.state_dict()[name] * (4 if enters else 1)), name


@pytest.mark.parametrize(
    "wrong", [{"n_layers": 0}, {"n_channels": 0}, {"n_features": 0}, {"n_classes": 257}, {"n_classes": 1}]
)
def test_impossible_sizes_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"expected|at least"):
        replace(TINY, **wrong)


def test_every_weight_gets_a_gradient() -> None:
    network = make({"video_to_output": True})
    codes, pictures, shown = scene()
    logits = network(teacher_forced(codes), pictures=pictures, shown=shown)
    functional.cross_entropy(logits.flatten(0, 1), codes.flatten()).backward()
    # The last layer's residual goes nowhere: half of its rows learn nothing, none of its tensors is unused.
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def remembered(shown: list[int], features: list[float]) -> tuple[Tensor, Tensor]:
    """Return what a memory of one channel that notices rises knows at each sample: (T, memories), (T, 1) features."""
    config = replace(TINY, video_rate="picture", n_changes=1, n_features=1, n_channels=1 + len(MEMORIES))
    memory = PictureMemory(config)
    assert memory.change is not None
    torch.nn.init.ones_(memory.change.weight)
    for linear in (memory.enter, memory.dense):  # what is known comes out as it is
        torch.nn.init.eye_(linear.weight)
        torch.nn.init.zeros_(linear.bias)
    with torch.no_grad():
        told, rows, _ = memory(
            torch.tensor(features)[:, None], torch.tensor([shown]), memory.at_rest(1, torch.zeros(1))
        )
    known = told[rows[0]]
    return known[:, 1:], known[:, :1]


def test_a_memory_begins_with_what_was_noticed_and_fades_by_its_own_time() -> None:
    memories, features = remembered([0] * 100 + [1] * 5000, [0.0, 2.0])
    assert features.flatten().tolist() == [0.0] * 100 + [2.0] * 5000
    assert not memories[:100].any()
    for number, fade in enumerate(MEMORIES):
        for age in AGES:
            if age < 5000:
                assert memories[100 + age, number] == pytest.approx(2 * math.exp(-age / fade), rel=1e-4, abs=1e-12)


def test_a_memory_adds_up_and_a_fall_is_not_noticed_by_a_channel_for_rises() -> None:
    memories, _ = remembered([0] * 10 + [1] * 64 + [2] * 64 + [3] * 10, [0.0, 1.0, 3.0, 0.0])
    for number, fade in enumerate(MEMORIES):
        assert memories[74, number] == pytest.approx(2 + math.exp(-64 / fade), rel=1e-4)
        assert memories[138, number] == pytest.approx(2 * math.exp(-64 / fade) + math.exp(-128 / fade), rel=1e-4)


def test_the_first_picture_of_a_film_is_no_change() -> None:
    memories, _ = remembered([1] * 50, [0.0, 5.0])
    assert not memories.any()
