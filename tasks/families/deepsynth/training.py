"""Training of DeepSynth's networks, and the likelihood that they give to the codes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.deepsynth import DeepSynth
from models.deepsynth_config import DeepSynthConfig
from tasks.errors import ParamsError
from tasks.families.deepsynth.crops import Crops, ScoreFilms
from tasks.families.deepsynth.keys import LearnedKeys, drives_of, fill_keys, fit_prediction, training_drives
from tasks.families.deepsynth.params import LINEAR, PREDICTION, DeepSynthParams, network_config
from tasks.families.deepsynth.sampling import best_temperature, load
from tasks.families.networks import deterministic_torch, save_network, torch_device
from tasks.instruments.keyboard import N_KEYS, draw_keyboard
from tasks.store.segments import ScoreSet, Segment

SEGMENTS_AT_A_TIME = 4  # when a loss is only measured
SAMPLING = ("kernel", "n_streams", "generation_precision", "n_threads", "seed")  # kept with the weights


def fit_system(
    system: str,
    data: ScoreSet,
    learned: LearnedKeys,
    out: Path,
    *,
    params: DeepSynthParams,
    resume: Path,
    accelerator: str,
) -> None:
    """Train one system and write its weights, its config and its curve; other arguments are those of `fit`.

    The curve's training loss has the L2 term in it, its validation loss has not.
    """
    from tasks.families.training import fit_network  # Lightning's import outlasts what the other stages do

    films = ScoreFilms(data)
    train, held_out = data.takes("train"), data.takes("validation")
    with deterministic_torch(seed=params.seed, n_threads=params.n_threads):
        network = _network(network_config(system, params, n_keys=len(learned.reader.keys), code_rate=data.code_rate))
        drives, held_drives = None, None
        if network.keys is not None:
            fill_keys(network.keys, learned, data.code_rate)
            drives = training_drives(films, train, network.keys, learned)
            held_drives = drives_of(films, held_out, network.keys)
        fit_prediction(network, films, train, drives or {})
        with_pictures = network.config.takes_pictures
        make_batch, describe = _batches(data, Crops(films, with_pictures=with_pictures, drives=drives), params)
        lead = round(params.lead_s * data.code_rate)
        best = fit_network(
            network,
            partial(training_loss, l2=params.l2, lead=lead),
            partial(_optimizer, params=params),
            make_batch,
            _validation(data, Crops(films, with_pictures=with_pictures, drives=held_drives), params),
            system=system,
            n_epochs=params.n_steps // params.steps_per_epoch,
            n_steps_per_epoch=params.steps_per_epoch,
            out=out,
            resume=resume,
            accelerator=accelerator,
            precision="32-true" if system in (LINEAR, PREDICTION) else params.precision,
            gradient_clip_norm=params.clip_norm,
            validation_loss=mean_nats,
            describe=describe,
        )
        network.load_state_dict(best)
        facts = {"network": asdict(network.config), "code_rate": data.code_rate}
        facts |= {name: getattr(params, name) for name in SAMPLING}
        temperature = best_temperature(network.eval(), facts, films, held_out, params, accelerator=accelerator)
    save_network(out / system, best, {**facts, "temperature": temperature})


def measure_nats(
    stem: Path,
    data: ScoreSet,
    rows: Sequence[Segment],
    *,
    accelerator: str,
    pictures_of: Mapping[str, str] | None = None,
) -> NDArray[np.float64]:
    """Return a trained system's mean nats per sample of each segment, each from a fresh start.

    The drive follows the whole film up to the segment: what has been struck before it sounds on.
    ``pictures_of`` is that of `CodeFamily.nats`.

    Raises:
        DamagedData: what was trained is missing or damaged.
    """
    device = torch_device(accelerator)
    network, facts = load(stem)
    films = ScoreFilms(data)
    losses = [np.empty(0)]
    with torch.inference_mode(), deterministic_torch(seed=0, n_threads=facts["n_threads"]):
        drives = None
        if network.keys is not None:
            drives = drives_of(films, sorted({row.take for row in rows}), network.keys, pictures_of=pictures_of)
        network = network.to(device)
        crops = Crops(films, with_pictures=network.config.takes_pictures, drives=drives, pictures_of=pictures_of)
        for first in range(0, len(rows), SEGMENTS_AT_A_TIME):
            some = rows[first : first + SEGMENTS_AT_A_TIME]
            batch = crops.batch([(row.take, row.start_sample, row.n_samples) for row in some])
            nats = _nats(network, {name: tensor.to(device) for name, tensor in batch.items()})
            losses.append(nats.double().mean(dim=1).cpu().numpy())
    return np.concatenate(losses)


def mean_nats(network: DeepSynth, batch: Mapping[str, Tensor]) -> Tensor:
    """Return the mean negative log likelihood of a batch's codes, in nats."""
    return _nats(network, batch).mean()


def training_loss(network: DeepSynth, batch: Mapping[str, Tensor], *, l2: float, lead: int) -> Tensor:
    """Return the mean nats of a batch's codes after the first ``lead`` ones, and the L2 term."""
    return _nats(network, batch)[:, lead:].mean() + l2 * half_square_sum(network)


def half_square_sum(network: nn.Module) -> Tensor:
    """Return half the sum of squared weights, biases left out: what L2 regularization multiplies."""
    squares = [w.square().sum() for name, w in network.named_parameters() if not name.endswith("bias")]
    return torch.stack(squares).sum() / 2


def learning_rate_factor(step: int, params: DeepSynthParams) -> float:
    """Return what the first learning rate is multiplied by at a step: a rise, then ``n_decays`` equal falls."""
    fall = min(step * (params.n_decays + 1) // params.n_steps, params.n_decays)
    ratio = params.final_learning_rate / params.learning_rate
    factor = ratio ** (fall / params.n_decays) if params.n_decays else 1.0
    return float(factor * min((step + 1) / (params.n_warmup_steps + 1), 1.0))


def _optimizer(
    parameters: Iterable[nn.Parameter], params: DeepSynthParams
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimizer = torch.optim.Adam(parameters, lr=params.learning_rate)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, partial(learning_rate_factor, params=params))


def _nats(network: DeepSynth, batch: Mapping[str, Tensor]) -> Tensor:
    """Return the negative log likelihood of every code, (B, T)."""
    predicted = network(
        batch["inputs"].long(),
        pictures=batch.get("pictures"),
        shown=batch.get("shown"),
        drive=batch.get("drive"),
    )
    return network.nats(predicted, batch["codes"].long())


def _batches(
    data: ScoreSet, crops: Crops, params: DeepSynthParams
) -> tuple[Callable[[int, int], dict[str, Tensor]], Callable[[int, int], str]]:
    """Return what makes the batch of an epoch and step, and what names the segments in it."""
    segments = data.segments("train")
    if not segments:
        raise ParamsError("the training takes have no segment: each is shorter than segments.length_s")
    length = _crop_length(data, params, segments[0].n_samples)
    lead = round(params.lead_s * data.code_rate)

    def drawn(epoch: int, step: int) -> list[tuple[Segment, int]]:
        rng = np.random.default_rng((params.seed, epoch, step))
        some = [segments[row] for row in rng.integers(len(segments), size=params.batch_size)]
        return [(row, row.start_sample + int(rng.integers(row.n_samples - length + 1))) for row in some]

    def make_batch(epoch: int, step: int) -> dict[str, Tensor]:
        return crops.batch([(row.take, start - lead, lead + length) for row, start in drawn(epoch, step)])

    def describe(epoch: int, step: int) -> str:
        return ", ".join(f"{row.segment_id} ({row.take} from sample {start})" for row, start in drawn(epoch, step))

    return make_batch, describe


def _crop_length(data: ScoreSet, params: DeepSynthParams, n_samples: int) -> int:
    if params.crop_s is None:
        return n_samples
    length = round(params.crop_s * data.code_rate)
    if not 1 <= length <= n_samples:
        raise ParamsError(f"train.deepsynth.crop_s is {params.crop_s}, expected at most a segment, and a sample")
    return length


def _validation(data: ScoreSet, crops: Crops, params: DeepSynthParams) -> list[dict[str, Tensor]]:
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


def _network(config: DeepSynthConfig) -> DeepSynth:
    """Make an untrained network that has the keyboard at rest."""
    network = DeepSynth(config)
    if network.video is not None and config.subtract_rest:
        rest = draw_keyboard(np.zeros((1, N_KEYS), np.uint8), lit="velocity")[0]
        network.video.rest.copy_(torch.from_numpy(rest))
    return network
