"""Family ``deepsynth``: a WaveNet that is conditioned on the video, and its twin without conditioning.

Both learn to predict each mu-law code from those before it; ``deepsynth`` also from the pictures. The twin,
trained for as many steps on as many segments, shows what the pictures are worth.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.deepsynth import SILENCE, DeepSynth, DeepSynthConfig
from models.generation import Generator, Kernel, Precision
from tasks.errors import ParamsError
from tasks.families.base import CodeFamily, Film, Performance, n_samples_of
from tasks.families.networks import deterministic_torch, load_network, save_network, torch_device
from tasks.families.trained import config_of
from tasks.features.mu_law import mu_law_decode
from tasks.instruments.keyboard import HEIGHT, N_KEYS, WIDTH, draw_keyboard, shown_at
from tasks.instruments.notes import Notes
from tasks.params import Section
from tasks.store.arrays import StoredArray
from tasks.store.segments import ScoreSet, Segment

SYSTEM, BLIND = "deepsynth", "deepsynth_blind"
SEGMENTS_AT_A_TIME = 4  # when a loss is only measured
_SAMPLING = ("temperature", "kernel", "n_streams", "generation_precision", "n_threads", "seed")  # kept with weights


class DeepSynthParams(Section):
    """The network (``models.deepsynth.DeepSynthConfig`` says what each option does), its training and its sampling."""

    n_layers: int
    n_channels: int
    n_features: int
    frame_encoder: Literal["vgg", "strip"]
    frame_widths: tuple[int, ...]
    video_rate: Literal["audio", "picture"]
    n_changes: int
    subtract_rest: bool
    video_to_output: bool
    video_gain: float
    smooth_init: bool

    n_steps: int
    steps_per_epoch: int  # between two validations
    batch_size: int  # segments
    crop_s: float | None  # of each segment, from a random place on; null is all of it
    learning_rate: float
    final_learning_rate: float
    n_decays: int  # equal steps, in ratio, from the first learning rate to the last; 7 for the paper's 20,000 batches
    n_warmup_steps: int  # of a learning rate that rises from near 0
    clip_norm: float
    l2: float  # times half the sum of squared weights, biases left out, in the loss
    n_validation_segments: int  # random ones, the same after every epoch
    precision: Literal["32-true", "bf16-mixed"]
    n_threads: int  # of the CPU: another number may give other weights
    seed: int

    temperature: float
    kernel: Kernel  # compiled: film by film, for a few; torch: many side by side
    n_streams: int  # films side by side in torch, empty places included, so that no film rounds another's sound
    generation_precision: Precision


class DeepSynthFamily(CodeFamily[DeepSynthParams, ScoreSet]):
    """DeepSynth's adapter: the network and its twin without conditioning."""

    params_class: ClassVar[type[Section]] = DeepSynthParams
    systems: ClassVar[tuple[str, ...]] = (SYSTEM, BLIND)
    conditioned: ClassVar[tuple[str, ...]] = (SYSTEM,)
    data = "scores"

    def fit(self, data: ScoreSet, out: Path, *, params: DeepSynthParams, resume: Path, accelerator: str) -> None:
        """Train both for the same steps on the same segments, and keep what does best on validation.

        Raises:
            ParamsError: a value makes no sense.
        """
        _check(params)
        for system in self.systems:
            fit_system(system, data, out, params=params, resume=resume, accelerator=accelerator)

    def perform(
        self,
        trained: Path,
        films: Mapping[str, Film],
        *,
        accelerator: str,
        truth: Mapping[str, Notes] | None,  # noqa: ARG002 - no system is a bound
    ) -> Iterator[Performance]:
        """Sample every film's codes, one after the other, from its start to its end.

        Raises:
            DamagedData: what was trained is missing or damaged.
        """
        names = sorted(films)
        for system in self.systems:
            network, facts = _load(trained / system)
            is_compiled = facts["kernel"] == "compiled"
            if not is_compiled:
                network = network.to(torch_device(accelerator))
            n_streams = 1 if is_compiled else facts["n_streams"]
            groups = [names[i : i + n_streams] for i in range(0, len(names), n_streams)]
            # The compiled kernel leaves Python's lock alone: films are drawn side by side, each by itself.
            n_workers = facts["n_threads"] if is_compiled else 1
            with deterministic_torch(seed=0, n_threads=facts["n_threads"]), ThreadPoolExecutor(n_workers) as pool:
                some = [{name: films[name] for name in group} for group in groups]
                for drawn in pool.map(partial(_draw, network, facts, n_streams=n_streams), some):
                    for take, codes in drawn.items():
                        audio = mu_law_decode(codes, network.config.n_classes)
                        yield Performance(
                            system=system, take=take, audio=audio, sample_rate=facts["code_rate"], notes=None
                        )

    def nats(
        self,
        trained: Path,
        data: ScoreSet,
        rows: Sequence[Segment],
        *,
        accelerator: str,
        pictures_of: Mapping[str, str] | None = None,
    ) -> dict[str, NDArray[np.float64]]:
        """Return the systems' mean nats per sample of each segment, each from a fresh start.

        Raises:
            DamagedData: what was trained is missing or damaged.
        """
        return {
            system: measure_nats(trained / system, data, rows, accelerator=accelerator, pictures_of=pictures_of)
            for system in (self.systems if pictures_of is None else self.conditioned)
        }


def fit_system(
    system: str, data: ScoreSet, out: Path, *, params: DeepSynthParams, resume: Path, accelerator: str
) -> None:
    """Train one system and write its weights, its config and its curve; the arguments are those of `fit`.

    The curve's training loss has the L2 term in it, its validation loss has not.
    """
    from tasks.families.training import fit_network  # Lightning's import outlasts what the other stages do

    with deterministic_torch(seed=params.seed, n_threads=params.n_threads):
        config = config_of(
            DeepSynthConfig, params, picture_height=HEIGHT, picture_width=WIDTH, use_video=system == SYSTEM
        )
        crops = _Crops(data, with_pictures=config.use_video)
        best = fit_network(
            _network(config),
            partial(training_loss, l2=params.l2),
            partial(_optimizer, params=params),
            _batch_maker(data, crops, params),
            _validation(data, crops, params),
            system=system,
            n_epochs=params.n_steps // params.steps_per_epoch,
            n_steps_per_epoch=params.steps_per_epoch,
            out=out,
            resume=resume,
            accelerator=accelerator,
            precision=params.precision,
            gradient_clip_norm=params.clip_norm,
            validation_loss=mean_nats,
        )
    sampling = {name: getattr(params, name) for name in _SAMPLING}
    save_network(out / system, best, {"network": asdict(config), "code_rate": data.code_rate, **sampling})


def measure_nats(
    stem: Path,
    data: ScoreSet,
    rows: Sequence[Segment],
    *,
    accelerator: str,
    pictures_of: Mapping[str, str] | None = None,
) -> NDArray[np.float64]:
    """Return a trained system's mean nats per sample of each segment, each from a fresh start.

    ``pictures_of`` is that of `CodeFamily.nats`.

    Raises:
        DamagedData: what was trained is missing or damaged.
    """
    device = torch_device(accelerator)
    network, facts = _load(stem)
    network = network.to(device)
    crops = _Crops(data, with_pictures=network.config.use_video, pictures_of=pictures_of)
    losses = [np.empty(0)]
    with torch.inference_mode(), deterministic_torch(seed=0, n_threads=facts["n_threads"]):
        for first in range(0, len(rows), SEGMENTS_AT_A_TIME):
            some = rows[first : first + SEGMENTS_AT_A_TIME]
            batch = crops.batch([(row.take, row.start_sample, row.n_samples) for row in some])
            nats = _nats(network, {name: tensor.to(device) for name, tensor in batch.items()})
            losses.append(nats.double().mean(dim=1).cpu().numpy())
    return np.concatenate(losses)


def mean_nats(network: DeepSynth, batch: Mapping[str, Tensor]) -> Tensor:
    """Return the mean negative log likelihood of a batch's codes, in nats."""
    return _nats(network, batch).mean()


def training_loss(network: DeepSynth, batch: Mapping[str, Tensor], *, l2: float) -> Tensor:
    """Return the mean nats of a batch's codes, and the L2 term."""
    return mean_nats(network, batch) + l2 * half_square_sum(network)


def _optimizer(
    parameters: Iterable[nn.Parameter], params: DeepSynthParams
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimizer = torch.optim.Adam(parameters, lr=params.learning_rate)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, partial(learning_rate_factor, params=params))


def learning_rate_factor(step: int, params: DeepSynthParams) -> float:
    """Return what the first learning rate is multiplied by at a step: a rise, then ``n_decays`` equal falls."""
    fall = min(step * (params.n_decays + 1) // params.n_steps, params.n_decays)
    ratio = params.final_learning_rate / params.learning_rate
    factor = ratio ** (fall / params.n_decays) if params.n_decays else 1.0
    return float(factor * min((step + 1) / (params.n_warmup_steps + 1), 1.0))


def half_square_sum(network: torch.nn.Module) -> Tensor:
    """Return half the sum of squared weights, biases left out: what L2 regularization multiplies."""
    squares = [w.square().sum() for name, w in network.named_parameters() if not name.endswith("bias")]
    return torch.stack(squares).sum() / 2


def _nats(network: DeepSynth, batch: Mapping[str, Tensor]) -> Tensor:
    """Return the negative log likelihood of every code, (B, T)."""
    codes = batch["codes"].long()
    logits = network(batch["inputs"].long(), pictures=batch.get("pictures"), shown=batch.get("shown"))
    nats = functional.cross_entropy(logits.float().flatten(0, 1), codes.flatten(), reduction="none")
    return nats.view_as(codes)


@dataclass(frozen=True, kw_only=True)
class _Take:
    """A take that crops are read from: its pictures lie on disk, what is small is at hand."""

    codes: NDArray[np.uint8]
    picture_time_s: NDArray[np.float64]
    pictures: StoredArray


class _Crops:
    """Reads stretches of takes: codes, the teacher-forced inputs, and the pictures shown: of a take or another."""

    def __init__(self, data: ScoreSet, *, with_pictures: bool, pictures_of: Mapping[str, str] | None = None) -> None:
        self._data = data
        self._with_pictures = with_pictures
        self._pictures_of = pictures_of or {}
        self._rate = Fraction(data.code_rate)
        self._takes: dict[str, _Take] = {}

    def batch(self, places: Sequence[tuple[str, int, int]]) -> dict[str, Tensor]:
        """Read stretches of equal length, each a take, a first sample and a number of samples.

        Returns:
            codes and inputs (B, T) uint8, each input the code before; if wanted, pictures (P, 57, 780) uint8 of all,
            and shown (B, T).
        """
        codes, inputs, pictures, shown = [], [], [], []
        n_pictures = 0
        for take, start, length in places:
            known = self._take(take)
            before = known.codes[max(start - 1, 0) : start + length]
            if start == 0:
                before = np.concatenate([np.array([SILENCE], np.uint8), before])
            codes.append(before[1:])
            inputs.append(before[:-1])
            if self._with_pictures:
                film = self._take(self._pictures_of.get(take, take))
                rows = shown_at(film.picture_time_s, rate=self._rate, start=start, count=length)
                pictures.append(film.pictures[rows[0] : rows[-1] + 1])
                shown.append(rows - rows[0] + n_pictures)
                n_pictures += len(pictures[-1])
        batch = {"codes": torch.from_numpy(np.stack(codes)), "inputs": torch.from_numpy(np.stack(inputs))}
        if self._with_pictures:
            batch["pictures"] = torch.from_numpy(np.concatenate(pictures))
            batch["shown"] = torch.from_numpy(np.stack(shown))
        return batch

    def _take(self, name: str) -> "_Take":
        if name not in self._takes:
            arrays = self._data.open(name)
            times_s = arrays["picture_time_s"][:]
            self._takes[name] = _Take(codes=arrays["codes"][:], picture_time_s=times_s, pictures=arrays["pictures"])
        return self._takes[name]


def _batch_maker(data: ScoreSet, crops: _Crops, params: DeepSynthParams) -> Any:
    segments = data.segments("train")
    if not segments:
        raise ParamsError("the training takes have no segment: each is shorter than segments.length_s")
    length = _crop_length(data, params, segments[0].n_samples)

    def make_batch(epoch: int, step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((params.seed, epoch, step))
        some = [segments[row] for row in rng.integers(len(segments), size=params.batch_size)]
        starts = [row.start_sample + int(rng.integers(row.n_samples - length + 1)) for row in some]
        return crops.batch([(row.take, start, length) for row, start in zip(some, starts, strict=True)])

    return make_batch


def _crop_length(data: ScoreSet, params: DeepSynthParams, n_samples: int) -> int:
    if params.crop_s is None:
        return n_samples
    length = round(params.crop_s * data.code_rate)
    if not 1 <= length <= n_samples:
        raise ParamsError(f"train.deepsynth.crop_s is {params.crop_s}, expected at most a segment, and a sample")
    return length


def _validation(data: ScoreSet, crops: _Crops, params: DeepSynthParams) -> list[dict[str, Tensor]]:
    """Return random validation segments, the same ones every time."""
    segments = data.segments("validation")
    if not segments:
        raise ParamsError("the validation takes have no segment: each is shorter than segments.length_s")
    rng = np.random.default_rng((params.seed, 1))
    n_drawn = min(params.n_validation_segments, len(segments))
    drawn = [segments[row] for row in sorted(rng.permutation(len(segments))[:n_drawn])]
    return [
        crops.batch([(row.take, row.start_sample, row.n_samples) for row in drawn[i : i + SEGMENTS_AT_A_TIME]])
        for i in range(0, n_drawn, SEGMENTS_AT_A_TIME)
    ]


def _draw(
    network: DeepSynth, facts: Mapping[str, Any], films: Mapping[str, Film], *, n_streams: int
) -> dict[str, NDArray[np.uint8]]:
    """Sample the codes of up to ``n_streams`` films side by side. Each has its own random numbers."""
    lengths = {take: n_samples_of(film, facts["code_rate"]) for take, film in films.items()}
    n_samples = max(lengths.values())
    uniforms = np.full((n_streams, n_samples), 0.5)
    shown = np.zeros((n_streams, n_samples), np.int64)
    n_pictures = 0
    for stream, (take, film) in enumerate(films.items()):
        name = int.from_bytes(hashlib.sha256(take.encode()).digest()[:8], "big")
        uniforms[stream] = np.random.default_rng((facts["seed"], name)).random(n_samples)
        rate = Fraction(facts["code_rate"])
        shown[stream] = n_pictures + shown_at(film.time_s, rate=rate, start=0, count=n_samples)
        n_pictures += len(film.pictures)
    generator = Generator(
        network,
        n_streams=n_streams,
        kernel=facts["kernel"],
        precision=facts["generation_precision"],
        temperature=facts["temperature"],
    )
    video: dict[str, Tensor] = {}
    if network.config.use_video:
        device = network.hidden.weight.device
        pictures = np.concatenate([film.pictures for film in films.values()])
        video = {"pictures": torch.from_numpy(pictures).to(device), "shown": torch.from_numpy(shown).to(device)}
    codes = generator.generate(uniforms, **video)
    return {take: codes[stream, : lengths[take]] for stream, take in enumerate(films)}


def _network(config: DeepSynthConfig) -> DeepSynth:
    """Make an untrained network that has the keyboard at rest."""
    network = DeepSynth(config)
    if network.video is not None and config.subtract_rest:
        rest = draw_keyboard(np.zeros((1, N_KEYS), np.uint8), lit="velocity")[0]
        network.video.rest.copy_(torch.from_numpy(rest))
    return network


def _check(params: DeepSynthParams) -> None:
    def refuse(name: str, expected: str) -> None:
        raise ParamsError(f"train.deepsynth.{name} is {getattr(params, name)}, expected {expected}")

    if params.steps_per_epoch < 1 or params.n_steps < 1 or params.n_steps % params.steps_per_epoch:
        refuse("n_steps", f"a multiple of steps_per_epoch, {params.steps_per_epoch}")
    for name in (
        "n_layers",
        "n_channels",
        "n_features",
        "batch_size",
        "n_validation_segments",
        "n_streams",
        "n_threads",
    ):
        if getattr(params, name) < 1:
            refuse(name, "at least 1")
    for name in ("n_changes", "n_decays", "n_warmup_steps", "l2"):
        if getattr(params, name) < 0:
            refuse(name, "at least 0")
    for name in ("learning_rate", "final_learning_rate", "clip_norm", "temperature"):
        if not getattr(params, name) > 0:
            refuse(name, "above 0")
    if params.kernel == "compiled" and params.generation_precision != "float32":
        refuse("generation_precision", "float32, which is all that kernel compiled knows")


def _load(stem: Path) -> tuple[DeepSynth, dict[str, Any]]:
    """Read a trained network and what its sampling needs; raises DamagedData."""
    needed: dict[str, Any] = dict.fromkeys(("code_rate", "n_streams", "n_threads", "seed"), int)
    needed |= {"temperature": float, "kernel": str, "generation_precision": str}
    return load_network(stem, lambda facts: DeepSynth(DeepSynthConfig(**facts["network"])), needed)
