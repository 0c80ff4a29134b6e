"""From bitmaps to sound: how fast the network is trained beside the published way, and every network on every video.

python -m benchmarks.bitmaps [--part speed videos] [--minutes 0.5] [--epochs 100] [--captures DIR] [--out DIR]

speed: 4096-1000-735 on made-up video: balls of light that fall on strings, at 30 pictures a second. Once as published
(Nesterov, 0.05, batches of 32 in order, unsigned samples), once as the adapter trains: Adam, batches drawn at random,
told by eigen-pictures. What is trained on those is folded into 4,096 inputs afterwards, and is the same network. Both
curves are written to DIR, errors are of the samples in [-1, 1] over all training frames. CPU time on one thread; a
whole half hour is extrapolated from the time of one epoch, for a step's time does not depend on how many there are.

videos: networks trained on all training takes of DIR (data/chunked/captures) and on one take each, heard on every
camera of the test takes: level against the truth, comb at the frame rate, distances, level on black and on white.
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import argparse  # noqa: E402
import csv  # noqa: E402
import json  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from fractions import Fraction  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from torch import Tensor  # noqa: E402

from flows.presets import preset_text  # noqa: E402
from models.bitmap_mlp import BitmapToPcm, BitmapToPcmConfig  # noqa: E402
from tasks.families.base import Film  # noqa: E402
from tasks.families.bitmap_mlp import BitmapMlpFamily, BitmapMlpParams, PcmVoice  # noqa: E402
from tasks.families.bitmap_stft import BitmapStftFamily, BitmapStftParams, SpectrumVoice  # noqa: E402
from tasks.families.bitmaps import Eye, Player, Strips, play  # noqa: E402
from tasks.metrics.frames import frame_rate_comb_db, level_dbfs  # noqa: E402
from tasks.metrics.sound import sound_scores  # noqa: E402
from tasks.store.segments import ScoreSet, write_segments  # noqa: E402
from tasks.store.views import View, ViewSet  # noqa: E402

SAMPLE_RATE = 22_050
FRAME_RATE = Fraction(30)
HOP = 735
SIZE = 64
PUBLISHED_CPU_MINUTES = 2000
WHOLE_MINUTES = 30
GOAL_TIMES_FASTER = 100
GOAL_ERROR = 1.05
GOAL_COMB_DB = 20
GOAL_LEVEL_DB = 3
GOAL_BLACK_DBFS = -60
N_COMPONENTS = 256


# --- speed ---


def made_up_video(minutes: float, seed: int = 0) -> Strips:
    """Balls of light that fall on twelve strings; what is struck sounds and dies away."""
    rng = np.random.default_rng(seed)
    n_frames = round(minutes * 60 * FRAME_RATE)
    n_strings = 12
    sound = np.zeros((n_frames + 1) * HOP, np.float32)
    x, y = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    pictures = np.full((n_frames, SIZE, SIZE), 30.0, np.float32)
    pictures += (20 * np.sin(x / 9) * np.cos(y / 7)).astype(np.float32)
    decay_s = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    for struck_s in np.sort(rng.uniform(0, minutes * 60, round(minutes * 60 * 3))):
        string, loud = int(rng.integers(n_strings)), rng.uniform(0.2, 1.0)
        hz = 220 * 2 ** (string / 6)
        tone = 0.12 * loud * np.exp(-decay_s / 0.4) * np.sin(2 * np.pi * hz * decay_s)
        begin = int(struck_s * SAMPLE_RATE)
        end = min(begin + len(tone), len(sound))
        sound[begin:end] += tone[: end - begin].astype(np.float32)
        for frame in range(int(struck_s * FRAME_RATE) - 8, int(struck_s * FRAME_RATE) + 9):
            if 0 <= frame < n_frames:
                away_s = abs(frame / float(FRAME_RATE) - struck_s)
                middle_x, middle_y = 4 + string * 5, 56 - away_s * 120 * loud
                pictures[frame] += 160 * np.exp(-((x - middle_x) ** 2 + (y - middle_y) ** 2) / 8)
    pictures += rng.normal(0, 2, pictures.shape).astype(np.float32)
    rows = np.arange(n_frames)
    return Strips(
        bitmaps=pictures.clip(0, 255).astype(np.uint8),
        seen=rows[:, None],
        sound=sound,
        first=rows * HOP,
        length=HOP,
    )


def published_way(strips: Strips, epochs: int) -> Iterator[tuple[int, float, float]]:
    """Yield epoch, CPU seconds of training so far, and error; only training is counted."""
    torch.manual_seed(0)
    network = BitmapToPcm(BitmapToPcmConfig(n_inputs=SIZE * SIZE, hidden=(1000,), n_outputs=HOP))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    bitmaps = strips.bitmaps.reshape(len(strips), -1)
    used_s = 0.0
    for epoch in range(1, epochs + 1):
        start = time.process_time()
        for at in range(0, len(strips), 32):
            rows = slice(at, at + 32)
            inputs = torch.from_numpy(bitmaps[rows]).float() / 255
            wanted = torch.from_numpy(strips.frames(rows)) / 2 + 0.5
            optimizer.zero_grad()
            (network(inputs) - wanted).square().mean().backward()
            optimizer.step()
        used_s += time.process_time() - start
        if epoch in (1, 2, 5) or epoch % 10 == 0 or epoch == epochs:
            error = error_of(strips, lambda rows: 2 * network(torch.from_numpy(bitmaps[rows]).float() / 255) - 1)
            yield epoch, used_s, error


def our_way(strips: Strips, epochs: int) -> Iterator[tuple[int, float, float, BitmapToPcm]]:
    """Yield the same, and the network folded to 4,096 inputs; finding the eigen-pictures is counted too."""
    torch.manual_seed(0)
    start = time.process_time()
    eye = Eye(size=SIZE, n_past=0, n_components=N_COMPONENTS, corrects=True)
    eye.fit(strips, seed=0)
    with torch.no_grad():
        told = torch.cat(
            [eye(torch.from_numpy(strips.stacks(slice(at, at + 512)))) for at in range(0, len(strips), 512)]
        )
    scale = 1 / float(np.sqrt(np.square(strips.sound).mean()))
    network = BitmapToPcm(BitmapToPcmConfig(n_inputs=N_COMPONENTS, hidden=(1000,), n_outputs=HOP))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    n_steps = len(strips) // 128
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(epochs * n_steps, 1))
    used_s = time.process_time() - start
    for epoch in range(1, epochs + 1):
        start = time.process_time()
        order = np.random.default_rng(epoch).permutation(len(strips))
        for step in range(n_steps):
            rows = order[step * 128 : (step + 1) * 128]
            wanted = torch.from_numpy(strips.frames(rows)) * scale
            optimizer.zero_grad()
            (network(told[torch.from_numpy(rows)]) - wanted).square().mean().backward()
            optimizer.step()
            schedule.step()
        used_s += time.process_time() - start
        folded = fold(network, eye, scale)
        flat = strips.bitmaps.reshape(len(strips), -1)
        error = error_of(strips, lambda rows, net=folded, seen=flat: net(torch.from_numpy(seen[rows]).float() / 255))
        yield epoch, used_s, error, folded


def fold(network: BitmapToPcm, eye: Eye, scale: float) -> BitmapToPcm:
    """Return the network of 4,096 inputs in [0, 1] that says the same."""
    folded = BitmapToPcm(BitmapToPcmConfig(n_inputs=SIZE * SIZE, hidden=(1000,), n_outputs=HOP))
    with torch.no_grad():
        basis = eye.basis * eye.scales[0]  # (components, pixels)
        weight = network.hidden[0].weight @ basis
        folded.hidden[0].bias.copy_(network.hidden[0].bias - weight @ eye.mean)
        # Each picture's mean luma is taken away before: that is linear too.
        folded.hidden[0].weight.copy_(weight - weight.mean(dim=1, keepdim=True))
        folded.say.weight.copy_(network.say.weight / scale)
        folded.say.bias.copy_(network.say.bias / scale)
    return folded


def error_of(strips: Strips, answer: Callable[[slice], Tensor]) -> float:
    """Return the mean squared error of all samples."""
    total = 0.0
    with torch.inference_mode():
        for at in range(0, len(strips), 512):
            rows = slice(at, at + 512)
            total += float((answer(rows) - torch.from_numpy(strips.frames(rows))).square().sum())
    return total / (len(strips) * HOP)


def speed(minutes: float, epochs: int, out: Path | None) -> dict[str, float]:
    strips = made_up_video(minutes)
    silence = float(np.square(strips.frames(slice(None))).mean())
    print(f"{minutes:g} minutes of video, {len(strips)} frames; the error of saying nothing is {silence:.3e}")
    published = []
    for row in published_way(strips, epochs):
        published.append(row)
        print(f"  published, epoch {row[0]:4}: {row[1]:7.1f} s of CPU, error {row[2]:.3e}", flush=True)
    wanted = GOAL_ERROR * published[-1][2]
    ours = []
    reached: tuple[int, float, float] | None = None
    network = None
    for epoch, used_s, error, folded in our_way(strips, 20):
        ours.append((epoch, used_s, error))
        print(f"  adapter,   epoch {epoch:4}: {used_s:7.1f} s of CPU, error {error:.3e}", flush=True)
        if reached is None and error <= wanted:
            reached, network = ours[-1], folded
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for name, curve in (("published", published), ("adapter", ours)):
            with (out / f"{name}.csv").open("w", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(("epoch", "cpu_s", "error"))
                writer.writerows(curve)
        print(f"curves: {out}/published.csv and adapter.csv")
    more = WHOLE_MINUTES / minutes
    whole_min = ours[-1][1] * more / 60
    times = PUBLISHED_CPU_MINUTES / whole_min
    goal = "" if times >= GOAL_TIMES_FASTER and ours[-1][2] <= wanted else "  MISSED"
    print(f"published settings, {epochs} epochs of half an hour: {published[-1][1] * more / 60:.0f} CPU minutes here")
    print(
        f"adapter, {len(ours)} epochs of half an hour: {whole_min:.1f} CPU minutes, extrapolated from {minutes:g}: "
        f"{times:.0f} times faster than {PUBLISHED_CPU_MINUTES} (goal {GOAL_TIMES_FASTER}), to "
        f"{ours[-1][2] / published[-1][2]:.2f} of the published way's error (goal {GOAL_ERROR}){goal}"
    )
    found = {"published_error": published[-1][2], "error": ours[-1][2], "silence": silence, "times_faster": times}
    if reached is not None and network is not None:
        n_weights = sum(weight.numel() for weight in network.parameters())
        print(f"its error is reached at epoch {reached[0]}, after {reached[1]:.1f} s; {n_weights:,} parameters")
    return found


# --- videos ---


def params_of(name: str, params_class: type, **changes: object) -> BitmapMlpParams | BitmapStftParams:
    import yaml

    values = yaml.safe_load(preset_text("demo"))["train"][name]
    return params_class.parse({**values, **changes}, name)


def with_one_take(source: Path, take: str, folder: Path) -> ScoreSet:
    """Make a data set whose training takes are one; nothing is copied."""
    takes = json.loads((source / "takes.json").read_text())
    for name, facts in takes.items():
        if facts["part"] != "train" or name == take:
            (folder / name).symlink_to((source / name).resolve())
    kept = {name: facts for name, facts in takes.items() if (folder / name).exists()}
    (folder / "takes.json").write_text(json.dumps(kept))
    whole = ScoreSet(source)
    rows = [row for part in ("train", "validation", "test") for row in whole.segments(part) if row.take in kept]
    write_segments(folder / "segments.parquet", rows)
    return ScoreSet(folder)


def film_of(views: ViewSet, view: View) -> Film:
    return Film(
        pictures=views.pictures(view)[:],
        time_s=views.time_s(view),
        duration_s=views.duration_s(view.take),
        camera=view.camera,
    )


def even_film(luma: int, like: Film) -> Film:
    """Two seconds of an even picture, with the noise of a level that cameras and encoders leave."""
    shape = (50, *like.pictures.shape[1:])
    noise = np.random.default_rng(0).integers(-1, 2, shape)
    pictures = (luma + noise).clip(0, 255).astype(np.uint8)
    return Film(pictures=pictures, time_s=np.arange(50) / 25, duration_s=2.0, camera="cam_even")


class Network:
    """A trained network and the ways in which it is heard."""

    def __init__(self, name: str, player: Player, params: BitmapMlpParams | BitmapStftParams, gain_db: float) -> None:
        self.name, self.player, self.params, self.gain = name, player, params, np.float32(10 ** (gain_db / 20))

    def renders(self) -> list[str]:
        if isinstance(self.params, BitmapStftParams):
            return ["griffin_lim", "neighbour"]
        return ["raw"] if self.params.fidelity == "original" else ["raw", "windowed", "granular"]

    def sound(self, film: Film, render: str) -> NDArray[np.float32]:
        voice = self.player.voice
        key = "phase" if isinstance(voice, SpectrumVoice) else "render"
        if isinstance(voice, PcmVoice | SpectrumVoice):
            voice._params = voice._params.model_copy(update={key: render})
        return np.clip(play(self.player, film, self.params) * self.gain, -1, 1)


def train(name: str, data: ScoreSet, family: BitmapMlpFamily | BitmapStftFamily, params: object) -> Network:
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        out.mkdir()
        family.fit(data, out, params=params, resume=Path(folder) / "resume", accelerator="cpu")
        player, asked, gain_db = family.load(out)
    print(f"trained {name} in {time.process_time() - start:.0f} s of CPU", flush=True)
    return Network(name, player, asked, gain_db)


def networks_of(captures: Path, n_single: int, scratch: Path) -> Iterator[Network]:
    whole = ScoreSet(captures)
    mlp, stft = BitmapMlpFamily(), BitmapStftFamily()
    original = params_of("bitmap_mlp", BitmapMlpParams, fidelity="original", n_steps=1200, steps_per_epoch=300)
    yield train("original", whole, mlp, original)
    yield train("all takes", whole, mlp, params_of("bitmap_mlp", BitmapMlpParams))
    # Neighbours are kept whatever phases are asked for.
    yield train("all takes, stft", whole, stft, params_of("bitmap_stft", BitmapStftParams, phase="neighbour"))
    for take in whole.takes("train")[:n_single]:
        folder = scratch / take
        folder.mkdir()
        params = params_of("bitmap_mlp", BitmapMlpParams, n_components=32)
        yield train(take, with_one_take(captures, take, folder), mlp, params)


def videos(captures: Path, n_single: int) -> list[dict[str, object]]:
    views = ViewSet(captures)
    tests = views.views("test")
    films = {view.name: film_of(views, view) for view in tests}
    rows: list[dict[str, object]] = []
    print(f"{'network':28} {'render':11} {'video':40} {'level':>7} {'comb':>6} {'mr-stft':>8} {'lsd':>6}")
    with tempfile.TemporaryDirectory() as scratch:
        for network in networks_of(captures, n_single, Path(scratch)):
            for render in network.renders():
                first = films[tests[0].name]
                black, white = (level_dbfs(network.sound(even_film(luma, first), render)) for luma in (16, 235))
                for view in tests:
                    truth, rate = views.sound(view.take)
                    sound = network.sound(films[view.name], render)
                    heard_rate = network.player.voice.cut.sample_rate
                    n = min(len(truth), len(sound))
                    scores = sound_scores(truth[:n], sound[:n], sample_rate=rate)
                    row = {
                        "network": network.name,
                        "render": render,
                        "video": view.name,
                        "take": view.take,
                        "level_db": scores["estimate_level_dbfs"] - scores["truth_level_dbfs"],
                        "comb_db": frame_rate_comb_db(sound, heard_rate, network.player.voice.cut.frame_rate),
                        "mr_stft": scores["mr_stft"],
                        "lsd_db": scores["log_spectral_distance_db"],
                        "black_dbfs": black,
                        "white_dbfs": white,
                    }
                    rows.append(row)
                    print(
                        f"{network.name:28} {render:11} {view.name:40} {row['level_db']:+7.1f} {row['comb_db']:6.1f} "
                        f"{row['mr_stft']:8.2f} {row['lsd_db']:6.1f}",
                        flush=True,
                    )
                print(f"{network.name:28} {render:11} black {black:.1f} dBFS, white {white:.1f} dBFS", flush=True)
    tell_goals(rows)
    return rows


def tell_goals(rows: list[dict[str, object]]) -> None:
    def some(network: str, render: str) -> list[dict[str, object]]:
        return [row for row in rows if (row["network"], row["render"]) == (network, render)]

    raw, windowed = some("original", "raw"), some("all takes", "windowed")
    below = min(float(a["comb_db"]) - float(b["comb_db"]) for a, b in zip(raw, windowed, strict=True))  # type: ignore[arg-type]
    takes = {str(row["take"]) for row in windowed}
    levels = [np.mean([float(row["level_db"]) for row in windowed if row["take"] == take]) for take in takes]  # type: ignore[arg-type]
    worst = float(np.abs(levels).max())
    loudest = max(float(windowed[0]["black_dbfs"]), float(windowed[0]["white_dbfs"]))  # type: ignore[arg-type]
    for text, is_reached in (
        (f"comb of the published way over ours, at least: {below:.1f} dB (goal {GOAL_COMB_DB})", below >= GOAL_COMB_DB),
        (
            f"level against the truth, a take's mean over cameras: {worst:.1f} dB (goal {GOAL_LEVEL_DB})",
            worst <= GOAL_LEVEL_DB,
        ),
        (f"black and white video: {loudest:.0f} dBFS (goal {GOAL_BLACK_DBFS})", loudest < GOAL_BLACK_DBFS),
    ):
        print(text + ("" if is_reached else "  MISSED"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="*", choices=("speed", "videos"), default=("speed", "videos"))
    parser.add_argument("--minutes", type=float, default=0.5, help="of made-up video")
    parser.add_argument("--epochs", type=int, default=100, help="of the published way")
    parser.add_argument("--captures", type=Path, default=Path("data/chunked/captures"))
    parser.add_argument("--single", type=int, default=2, help="networks trained on one take each")
    parser.add_argument("--out", type=Path, help="where curves are written")
    parser.add_argument("--json", type=Path, help="write the rows for programs")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, object] = {}
    if "speed" in asked.part:
        found["speed"] = speed(asked.minutes, asked.epochs, asked.out)
    if "videos" in asked.part:
        if (asked.captures / "takes.json").is_file():
            found["videos"] = videos(asked.captures, asked.single)
        else:
            print(f"{asked.captures} has no takes: run `audiate chunk` first, or name another with --captures")
    if asked.json is not None:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
