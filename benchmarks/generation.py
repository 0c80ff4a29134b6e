"""Samples a second of the cached generator on one core, beside a pass over the receptive field for each sample.

CPU time of one thread, median of three. The paper's sizes are 27 layers of 256 channels: ``picture`` has the encoder
that runs once a picture, and all its work is counted; ``audio`` has the paper's encoder at audio rate, which is as much
arithmetic again as the decoder, in fp32 whatever the decoder's precision, and is counted too; ``unconditioned`` is the
decoder alone. ``small`` is a network of 9 layers of 64 channels with a linear prediction of 512 taps, 32 past samples,
the keys' responses in its mean and logistics. With ``--trained STEM --scores data/chunked/scores`` the loss of the
network of a likelihood alone (``STEM.safetensors``) on real test codes is measured in both precisions, by the generator
itself.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.deepsynth import DeepSynth, teacher_forced
from models.deepsynth_config import DeepSynthConfig
from models.generation import Generator, Kernel, Precision
from models.wavenet import receptive_field
from tasks.families.networks import load_network
from tasks.store.segments import ScoreSet

SAMPLES_A_PICTURE = 500  # 8 changes of the keys a second at 4 kHz
PAPER: dict[str, Any] = {"n_layers": 27, "n_channels": 256}
LOGISTICS: dict[str, Any] = {"output": "logistics", "n_past": 32, "n_taps": 512, "running_scale": True}
RESPONSE: dict[str, Any] = {"drive": "response", "drive_as": "mean", "n_keys": 88, "response_length": 1}
NETWORKS: dict[str, dict[str, Any]] = {
    "unconditioned": {**PAPER, "use_video": False},
    "picture": {**PAPER, "video_rate": "picture", "n_changes": 16},
    "audio": {**PAPER, "video_rate": "audio"},
    "small": {"n_layers": 9, "n_channels": 64, "video_rate": "picture", "n_changes": 16, **LOGISTICS, **RESPONSE},
}


def network_of(name: str) -> DeepSynth:
    """Return an untrained network, whose logistics follow its layers as a trained one's do."""
    torch.manual_seed(0)
    network = DeepSynth(DeepSynthConfig(frame_encoder="strip", **NETWORKS[name])).eval()
    if not network.output.weight.any():
        torch.nn.init.normal_(network.output.weight, std=0.1)
    network.samples.taps.normal_(std=0.01)
    return network


def seconds_of(work: Callable[[], object], n_times: int = 3) -> float:
    """Return the median CPU time of some work."""
    taken = []
    for _ in range(n_times):
        start = process_time()
        work()
        taken.append(process_time() - start)
    return median(taken)


def film(network: DeepSynth, n_streams: int, n_samples: int) -> dict[str, Tensor]:
    """Return pictures of random noise, and which stands at each sample: changes are spread over the streams.

    A network with a drive gets noise for it.
    """
    n_pictures = n_samples // SAMPLES_A_PICTURE + 2
    rng = torch.Generator().manual_seed(1)
    pictures = torch.randint(0, 256, (n_pictures, 57, 780), generator=rng, dtype=torch.uint8)
    spread = torch.arange(n_streams)[:, None] * SAMPLES_A_PICTURE // n_streams
    seen = {"pictures": pictures, "shown": (torch.arange(n_samples) + spread) // SAMPLES_A_PICTURE}
    if network.keys is not None:
        seen["drive"] = torch.randn(n_streams, n_samples, generator=rng) / 10
    return seen


def cached_rate(network: DeepSynth, n_streams: int, n_samples: int, kernel: Kernel, precision: Precision) -> float:
    """Return samples a second of all streams together."""
    chosen = np.random.default_rng(0).random((n_streams, n_samples))
    seen = film(network, n_streams, n_samples)
    generator = Generator(network, n_streams=n_streams, kernel=kernel, precision=precision)
    generator.generate(chosen, **seen)  # compiles, and fills the rings
    return n_streams * n_samples / seconds_of(lambda: generator.generate(chosen, **seen))


@torch.inference_mode()
def naive_rate(network: DeepSynth) -> float:
    """Return samples a second of the obvious loop: one fp32 pass over the receptive field for each sample."""
    reach = receptive_field(network.config.dilations)
    past = torch.randint(0, 256, (1, reach))
    seen = film(network, 1, reach)
    return 1 / seconds_of(lambda: network(past, **seen))


@torch.inference_mode()
def error_of_outputs(network: DeepSynth, n_samples: int) -> float:
    """Return the largest difference between the compiled generator's outputs and the uncached network's."""
    chosen = np.random.default_rng(0).random((1, n_samples))
    seen = film(network, 1, n_samples)
    generator = Generator(network, n_streams=1, kernel="compiled")
    codes = generator.generate(chosen, **seen)
    expected = network(teacher_forced(torch.from_numpy(codes).long()), **seen).outputs[:, -1].numpy()
    return float(np.abs(generator.outputs - expected).max())


def forced_nats(network: DeepSynth, codes: NDArray[np.uint8], precision: Precision) -> float:
    """Return the generator's mean nats per sample of codes (B, T) that it is forced to, in torch."""
    generator = Generator(network, n_streams=len(codes), kernel="torch", precision=precision)
    nats = []
    for forced in codes.T:
        generator.generate(np.zeros((len(codes), 1)))
        nats.append(network.nats(generator.predicted, torch.from_numpy(forced).long()[:, None]).mean().item())
        generator.force(forced)
    return float(np.mean(nats))


def main() -> None:
    """Print rates, ratios to the naive loop, and errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=NETWORKS, nargs="*", default=list(NETWORKS))
    parser.add_argument("--trained", type=Path)
    parser.add_argument("--scores", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'':50} {'samples/s':>10} {'of naive':>9}")
    for name in arguments.only:
        network = network_of(name)
        naive = naive_rate(network)
        print(f"{name + ', naive':50} {naive:10.1f}")
        ways: tuple[tuple[int, int, Kernel, Precision], ...] = (
            (1, 600 if network.config.n_channels > 64 else 8000, "compiled", "float32"),
            (256, 20, "torch", "bfloat16"),
        )
        for n_streams, n_samples, kernel, precision in ways:
            rate = cached_rate(network, n_streams, n_samples, kernel, precision)
            way = f"{name}, {n_streams} streams, {kernel} {precision}"
            print(f"{way:50} {rate:10.0f} {rate / naive:8.0f}x", flush=True)
        print(f"largest error of an output, compiled: {error_of_outputs(network, 200):.1e} (expected at most 2e-6)")
    if arguments.trained and arguments.scores:
        measure_trained(arguments.trained, ScoreSet(arguments.scores))


def measure_trained(stem: Path, scores: ScoreSet) -> None:
    """Print what rounding to bf16 costs a trained network on test codes."""
    network, _ = load_network(stem, lambda facts: DeepSynth(DeepSynthConfig(**facts["network"])), {})
    rows = scores.segments("test")[:32]
    codes = np.stack([scores.open(row.take)["codes"][row.start_sample :][:1000] for row in rows])
    exact, rounded = (forced_nats(network, codes, precision) for precision in ("float32", "bfloat16"))
    print(f"held-out nats: float32 {exact:.4f}, bfloat16 {rounded:.4f}, change {rounded - exact:+.4f} (at most 0.005)")


if __name__ == "__main__":
    main()
