"""Samples a second of the cached generator on one core, beside a pass over the receptive field for each sample.

The paper's sizes, 27 layers of 256 channels; CPU time of one thread, median of three. ``told by picture`` has the
encoder that runs once a picture, and all its work is counted. ``told by sample`` has the paper's encoder at audio
rate: that is as much arithmetic again as the decoder, in fp32 whatever the decoder's precision, and is counted too;
``blind`` is the decoder alone. With ``--trained data/trained/deepsynth --scores data/chunked/scores`` the loss of
the trained network on real test codes is measured in both precisions, by the generator itself.
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

from models.deepsynth import DeepSynth, DeepSynthConfig, receptive_field, teacher_forced
from models.generation import Generator, Kernel, Precision
from tasks.families.networks import load_network
from tasks.store.segments import ScoreSet

N_LAYERS, N_CHANNELS = 27, 256
SAMPLES_A_PICTURE = 500  # 8 changes of the keys a second at 4 kHz
EYES: dict[str, dict[str, Any]] = {
    "blind": {"use_video": False},
    "told by picture": {"video_rate": "picture", "n_changes": 16},
    "told by sample": {"video_rate": "audio"},
}


def paper_network(eyes: str) -> DeepSynth:
    """Return an untrained network of the paper's sizes."""
    torch.manual_seed(0)
    options = EYES[eyes]
    return DeepSynth(DeepSynthConfig(n_layers=N_LAYERS, n_channels=N_CHANNELS, frame_encoder="strip", **options)).eval()


def seconds_of(work: Callable[[], object], n_times: int = 3) -> float:
    """Return the median CPU time of some work."""
    taken = []
    for _ in range(n_times):
        start = process_time()
        work()
        taken.append(process_time() - start)
    return median(taken)


def film(n_streams: int, n_samples: int) -> dict[str, Tensor]:
    """Return pictures of random noise, and which stands at each sample: changes are spread over the streams."""
    n_pictures = n_samples // SAMPLES_A_PICTURE + 2
    rng = torch.Generator().manual_seed(1)
    pictures = torch.randint(0, 256, (n_pictures, 57, 780), generator=rng, dtype=torch.uint8)
    spread = torch.arange(n_streams)[:, None] * SAMPLES_A_PICTURE // n_streams
    return {"pictures": pictures, "shown": (torch.arange(n_samples) + spread) // SAMPLES_A_PICTURE}


def cached_rate(network: DeepSynth, n_streams: int, n_samples: int, kernel: Kernel, precision: Precision) -> float:
    """Return samples a second of all streams together."""
    chosen = np.random.default_rng(0).random((n_streams, n_samples))
    seen = film(n_streams, n_samples)
    generator = Generator(network, n_streams=n_streams, kernel=kernel, precision=precision)
    generator.generate(chosen, **seen)  # compiles, and fills the rings
    return n_streams * n_samples / seconds_of(lambda: generator.generate(chosen, **seen))


@torch.inference_mode()
def naive_rate(network: DeepSynth) -> float:
    """Return samples a second of the obvious loop: one fp32 pass over the receptive field for each sample."""
    reach = receptive_field(network.config.dilations)
    heard = torch.randint(0, 256, (1, reach))
    seen = film(1, reach)
    return 1 / seconds_of(lambda: torch.multinomial(torch.softmax(network(heard, **seen)[0, -1], dim=0), 1))


@torch.inference_mode()
def error_of_logits(network: DeepSynth, n_samples: int) -> float:
    """Return the largest difference between the compiled generator's logits and the uncached network's."""
    chosen = np.random.default_rng(0).random((1, n_samples))
    seen = film(1, n_samples)
    generator = Generator(network, n_streams=1, kernel="compiled")
    codes = generator.generate(chosen, **seen)
    expected = network(teacher_forced(torch.from_numpy(codes).long()), **seen)[:, -1].numpy()
    return float(np.abs(generator.logits - expected).max())


def forced_nats(network: DeepSynth, codes: NDArray[np.uint8], seen: dict[str, Tensor], precision: Precision) -> float:
    """Return the generator's mean nats per sample of codes (B, T) that it is made to say, in torch."""
    generator = Generator(network, n_streams=len(codes), kernel="torch", precision=precision)
    nats = []
    for t, said in enumerate(codes.T):
        now = {"pictures": seen["pictures"], "shown": seen["shown"][:, t : t + 1]}
        generator.generate(np.zeros((len(codes), 1)), **now)
        share = torch.log_softmax(torch.from_numpy(generator.logits.copy()), dim=1).numpy()
        nats.append(-share[np.arange(len(codes)), said])
        generator.force(said)
    return float(np.mean(nats))


def main() -> None:
    """Print rates, ratios to the naive loop, and errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trained", type=Path)
    parser.add_argument("--scores", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'':44} {'samples/s':>10} {'of naive':>9}")
    for eyes in EYES:
        network = paper_network(eyes)
        naive = naive_rate(network)
        print(f"{eyes + ', naive':44} {naive:10.1f}")
        ways: tuple[tuple[int, int, Kernel, Precision], ...] = (
            (1, 600, "compiled", "float32"),
            (256, 20, "torch", "bfloat16"),
        )
        for n_streams, n_samples, kernel, precision in ways:
            rate = cached_rate(network, n_streams, n_samples, kernel, precision)
            name = f"{eyes}, {n_streams} streams, {kernel} {precision}"
            print(f"{name:44} {rate:10.0f} {rate / naive:8.0f}x", flush=True)
        print(f"largest error of a logit, compiled: {error_of_logits(network, 200):.1e} (expected at most 2e-6)")
    if arguments.trained and arguments.scores:
        measure_trained(arguments.trained, ScoreSet(arguments.scores))


def measure_trained(trained: Path, scores: ScoreSet) -> None:
    """Print what rounding to bf16 costs a trained network on test codes."""
    stem = trained / "deepsynth_blind"
    network, _ = load_network(stem, lambda facts: DeepSynth(DeepSynthConfig(**facts["network"])), {})
    rows = scores.segments("test")[:32]
    codes = np.stack([scores.open(row.take)["codes"][row.start_sample :][:1000] for row in rows])
    nothing = {"pictures": torch.empty(0), "shown": torch.zeros(codes.shape, dtype=torch.long)}
    exact, rounded = (forced_nats(network, codes, nothing, precision) for precision in ("float32", "bfloat16"))
    print(f"held-out nats: float32 {exact:.4f}, bfloat16 {rounded:.4f}, change {rounded - exact:+.4f} (at most 0.005)")


if __name__ == "__main__":
    main()
