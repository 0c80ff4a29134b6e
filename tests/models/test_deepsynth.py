import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from models.deepsynth import DeepSynth, teacher_forced
from models.deepsynth_config import DeepSynthConfig
from models.picture_encoder import AGES, MEMORIES, PictureMemory
from models.wavenet import dilation_schedule, receptive_field, smooth_basis

TINY = DeepSynthConfig(
    n_layers=5, n_channels=8, n_features=16, frame_widths=(2, 4), n_keys=3, n_partials=2, response_length=20
)
LOGISTICS: dict[str, Any] = {"output": "logistics", "n_past": 4, "n_taps": 6, "running_scale": True}
N_SAMPLES = 90
OPTIONS: list[dict[str, Any]] = [
    {},
    {"video_rate": "picture"},
    {"frame_encoder": "strip"},
    {"use_video": False},
    {"video_rate": "picture", "frame_encoder": "strip", "subtract_rest": True, "video_to_output": True},
    {"video_rate": "picture", "n_changes": 3},
    {"video_rate": "picture", "n_past": 6},
    {"use_video": False, **LOGISTICS},
    {"gates": False, "drive": "response"},
    {"video_rate": "picture", "drive": "oscillators"},
    {"gates": False, "drive": "oscillators", "drive_as": "mean", **LOGISTICS},
    {"video_rate": "picture", "drive": "response", "drive_as": "mean", **LOGISTICS},
    {"n_layers": 0, "gates": False, "drive": "response", "drive_as": "mean", **LOGISTICS},
]
SEES_PICTURES = [o for o in OPTIONS if o.get("use_video", True) and o.get("gates", True)]
DRIVEN = [o for o in OPTIONS if "drive" in o]


def make(options: dict[str, Any] | None = None, seed: int = 0) -> DeepSynth:
    """Return a tiny network whose pictures matter about as much as its sound."""
    torch.manual_seed(seed)
    network = DeepSynth(replace(TINY, **(options or {}))).eval()
    if network.video is not None:
        for weight in network.video.frames.parameters():
            weight.data *= 3.0
    for linear in (network.output, network.drive_mean):
        if linear is not None and not linear.weight.any():
            torch.nn.init.normal_(linear.weight, std=0.1)
    if network.config.n_taps:
        network.samples.taps.copy_(torch.randn(network.config.n_taps) / 10)
    return network


def scene(n_streams: int = 2, n_samples: int = N_SAMPLES, n_pictures: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """Return codes (B, T), pictures (P, H, W) and which of them is shown (B, T), in order of time."""
    rng = torch.Generator().manual_seed(1)
    codes = torch.randint(0, 256, (n_streams, n_samples), generator=rng)
    pictures = torch.randint(0, 256, (n_pictures, 57, 780), generator=rng, dtype=torch.uint8)
    shown = torch.arange(n_samples) * n_pictures // n_samples
    return codes, pictures, shown.expand(n_streams, -1).contiguous()


def drive_of(network: DeepSynth, n_streams: int = 2, n_samples: int = N_SAMPLES) -> Tensor | None:
    """Return a drive of the shape that a network takes."""
    if network.keys is None:
        return None
    columns = () if network.keys.oscillators is None else (network.keys.oscillators.n_features,)
    return torch.randn(n_streams, n_samples, *columns, generator=torch.Generator().manual_seed(2)) / 3


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
    drive = drive_of(network)
    before = network(teacher_forced(codes), pictures=pictures, shown=shown, drive=drive)
    after = network(teacher_forced(changed), pictures=pictures, shown=shown, drive=drive)
    # Output 50 is given samples up to 49.
    torch.testing.assert_close(after.outputs[:, :51], before.outputs[:, :51], rtol=0, atol=0)
    torch.testing.assert_close(after.known.mean[:, :51], before.known.mean[:, :51], rtol=0, atol=0)
    torch.testing.assert_close(after.known.scale[:, :51], before.known.scale[:, :51], rtol=0, atol=0)
    seen = [torch.cat([one.outputs[:, 51], one.known.mean[:, 51:52]], dim=1) for one in (before, after)]
    assert not torch.equal(*seen)


@pytest.mark.parametrize("options", SEES_PICTURES)
def test_no_output_knows_pictures_shown_later(options: dict[str, Any]) -> None:
    network = make(options)
    codes, pictures, shown = scene()
    changed = pictures.clone()
    changed[4:] = 255 - changed[4:]
    first = int((shown[0] < 4).sum())  # the first sample under picture 4
    drive = drive_of(network)
    before = network(teacher_forced(codes), pictures=pictures, shown=shown, drive=drive).outputs
    after = network(teacher_forced(codes), pictures=changed, shown=shown, drive=drive).outputs
    torch.testing.assert_close(after[:, :first], before[:, :first], rtol=0, atol=1e-6)
    assert (after[:, first] - before[:, first]).abs().max() > 1e-5


@pytest.mark.parametrize("options", DRIVEN)
def test_no_output_depends_on_a_later_drive_and_each_on_its_own(options: dict[str, Any]) -> None:
    network = make(options)
    codes, pictures, shown = scene()
    drive = drive_of(network)
    assert drive is not None
    changed = drive.clone()
    changed[:, 40:] *= -1
    before, after = (
        network(teacher_forced(codes), pictures=pictures, shown=shown, drive=one) for one in (drive, changed)
    )
    torch.testing.assert_close(after.outputs[:, :40], before.outputs[:, :40], rtol=0, atol=0)
    torch.testing.assert_close(after.known.mean[:, :40], before.known.mean[:, :40], rtol=0, atol=0)
    moved = after.known.mean if network.config.drive_as == "mean" else after.outputs
    was = before.known.mean if network.config.drive_as == "mean" else before.outputs
    assert (moved[:, 40] - was[:, 40]).abs().max() > 1e-4


@pytest.mark.parametrize("drive", ["none", "response", "oscillators"])
def test_the_twin_without_conditioning_takes_neither_pictures_nor_drive(drive: str) -> None:
    network = make({"use_video": False, "drive": drive, "drive_as": "mean", **LOGISTICS})
    codes, pictures, shown = scene()
    given = {"pictures": pictures, "shown": shown, "drive": torch.ones(2, N_SAMPLES)}
    alone, beside = network(teacher_forced(codes)), network(teacher_forced(codes), **given)
    assert torch.equal(alone.outputs, beside.outputs)
    assert torch.equal(alone.known.mean, beside.known.mean)
    assert not any("video" in name or "condition" in name or "keys" in name for name in network.state_dict())


def test_a_network_asks_for_what_it_is_conditioned_on() -> None:
    with pytest.raises(ValueError, match="pictures or shown missing"):
        make()(torch.zeros(1, 4, dtype=torch.long))
    with pytest.raises(ValueError, match="drive is missing: the network has oscillators"):
        make({"gates": False, "drive": "oscillators"})(torch.zeros(1, 4, dtype=torch.long))


def test_a_drive_as_mean_moves_the_mean_by_its_amplitude() -> None:
    network = make({"gates": False, "drive": "response", "drive_as": "mean", **LOGISTICS})
    network.samples.taps.zero_()
    codes, _, _ = scene()
    drive = drive_of(network)
    torch.testing.assert_close(network(teacher_forced(codes), drive=drive).known.mean, drive, rtol=0, atol=0)


def test_logistics_start_from_the_prediction_alone() -> None:
    torch.manual_seed(0)
    network = DeepSynth(replace(TINY, use_video=False, **LOGISTICS)).eval()
    codes, _, _ = scene()
    assert not network(teacher_forced(codes)).outputs.any()


@pytest.mark.parametrize("options", OPTIONS)
def test_going_on_from_the_past_equals_one_go(options: dict[str, Any]) -> None:
    network = make(options)
    codes, pictures, shown = scene()
    inputs, drive = teacher_forced(codes), drive_of(network)
    whole = network(inputs, pictures=pictures, shown=shown, drive=drive)
    past, parts = network.at_rest(2), []
    for start, stop in [(0, 1), (1, 40), (40, 43), (43, 90)]:
        now = slice(start, stop)
        part, past = network.advance(
            inputs[:, now],
            past,
            pictures=pictures,
            shown=shown[:, now],
            drive=None if drive is None else drive[:, now],
        )
        parts.append(part)
    outputs = torch.cat([part.outputs for part in parts], dim=1)
    torch.testing.assert_close(outputs, whole.outputs, rtol=0, atol=2e-6)
    mean = torch.cat([part.known.mean for part in parts], dim=1)
    torch.testing.assert_close(mean, whole.known.mean, rtol=0, atol=2e-6)


def test_an_untrained_output_layer_of_zeros_loses_ln_256_nats() -> None:
    network = make()
    torch.nn.init.zeros_(network.output.weight)
    torch.nn.init.zeros_(network.output.bias)
    codes, pictures, shown = scene()
    predicted = network(teacher_forced(codes), pictures=pictures, shown=shown)
    loss = network.nats(predicted, codes).mean()
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
    conditioning = torch.randn(6, TINY.n_channels)
    _, _, rows = scene()
    once, _ = network.project(conditioning, rows)
    every, _ = network.project(conditioning[rows], None)
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
    features = network.video.encode(pictures)
    distances = torch.cdist(features, features) + torch.eye(52)
    assert distances.min() > 1e-4


def test_neighbouring_classes_start_as_neighbours_with_smooth_init() -> None:
    weight = make({"smooth_init": True}).embedding.weight.detach()
    steps = (weight[1:] - weight[:-1]).norm(dim=1)
    assert steps.max() < 0.3 * torch.cdist(weight, weight).max()


@pytest.mark.parametrize("seed", range(3))
def test_no_class_is_the_likeliest_of_all_before_anything_is_learned(seed: int) -> None:
    """Smooth functions all start at 1, so without signs the first class wins for every input that is not negative."""
    network = make({"smooth_init": True, "output": "softmax", "n_channels": 64}, seed)
    hidden = torch.rand(2000, network.config.n_channels)
    likeliest = (hidden @ network.output.weight.detach().T).argmax(dim=1)
    assert torch.bincount(likeliest).max() < 0.5 * len(hidden)


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
    "wrong",
    [
        {"n_layers": -1},
        {"n_channels": 0},
        {"n_features": 0},
        {"n_classes": 257},
        {"n_classes": 1},
        {"n_past": 0},
        {"n_taps": -1},
        {"n_taps": 4},
        {"running_scale": True},
        {"drive_as": "mean"},
    ],
)
def test_impossible_sizes_and_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected|at least|need output logistics"):
        replace(TINY, **wrong)


@pytest.mark.parametrize("options", [{"video_to_output": True}, *(o for o in DRIVEN if o.get("n_layers", 1))])
def test_every_weight_gets_a_gradient(options: dict[str, Any]) -> None:
    network = make(options)
    codes, pictures, shown = scene()
    predicted = network(teacher_forced(codes), pictures=pictures, shown=shown, drive=drive_of(network))
    network.nats(predicted, codes).mean().backward()
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
        conditioning, rows, _ = memory(
            torch.tensor(features)[:, None], torch.tensor([shown]), memory.at_rest(1, torch.zeros(1))
        )
    known = conditioning[rows[0]]
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
