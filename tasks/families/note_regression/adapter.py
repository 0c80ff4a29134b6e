"""The adapter from a camera's pictures to note amplitudes, notes and sound."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tasks.errors import DamagedData, ParamsError
from tasks.families.base import Film, Performance, VideoFamily
from tasks.families.networks import deterministic_torch, load_network, save_network, torch_device
from tasks.families.note_regression.batches import Sampler, validation_batches
from tasks.families.note_regression.examples import Example, examples_of
from tasks.families.note_regression.inputs import (
    FilmInputs,
    PictureFormat,
    StackedFilm,
    n_windows_of,
    stack_film,
)
from tasks.families.note_regression.notes import (
    check_sounding,
    fit_picker_on,
    fit_reference_picker,
    performance_of,
)
from tasks.families.note_regression.params import NoteRegressionParams, check, fidelity_of
from tasks.families.trained import config_of
from tasks.features.bleed import fit_bleed
from tasks.features.note_picking import Picker
from tasks.instruments.plan import note_columns
from tasks.store.views import ViewSet, check_disjoint_views

WINDOWS_AT_A_TIME = 192
CONTEXT = 24  # windows before and behind those that are kept of a long film

P = TypeVar("P", bound=NoteRegressionParams)


def amplitude_loss(
    network: nn.Module, batch: Mapping[str, Tensor], *, target_power: float, rise_weight: float
) -> Tensor:
    """Return the weighted squared error of a batch's amplitudes, raised to a power, and of their rises.

    Args:
        network: from stacks to amplitudes.
        batch: as `Sampler.batch` returns it.
        target_power: that the targets are raised to.
        rise_weight: of the error of differences from one window to the next, which the picker of notes goes by.
    """
    estimate = network(batch["frames"], batch["ages"], batch["notes"], batch["mirrored"])  # (B, T, m)
    error = estimate - batch["target"] ** target_power
    weight = batch["weight"]
    loss: Tensor = (weight * error.square()).sum() / weight.sum()
    if rise_weight and error.shape[1] > 1:
        loss = loss + rise_weight * (weight[:, 1:] * error.diff(dim=1).square()).sum() / weight.sum()
    return loss


def make_optimizer(
    parameters: Iterable[nn.Parameter], params: NoteRegressionParams
) -> torch.optim.Optimizer | tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return Adam with decoupled weight decay and its rate over the steps; the original's rate is constant."""
    rate = fidelity_of(params).learning_rate
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=params.weight_decay)
    if params.fidelity == "original":
        return optimizer
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=params.learning_rate, total_steps=params.n_steps, pct_start=0.15
    )
    return optimizer, schedule


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """What a network is made for.

    Attributes:
        name: of the instrument.
        pitches: its notes.
        columns: of the notes' middles in the input pictures, in pixels.
    """

    name: str
    pitches: tuple[int, ...]
    columns: tuple[float, ...]


class NoteRegressionFamily(VideoFamily[P, ViewSet], Generic[P]):
    """The adapter that these families share.

    Attributes:
        network_class: the network, made from its config; of frames, ages, notes and which sequences are mirrored.
        config_class: its config, a dataclass of what JSON can hold.
        n_pictures: of a stack.
    """

    data = "captures"
    network_class: ClassVar[type[nn.Module]]
    config_class: ClassVar[type[Any]]
    n_pictures: ClassVar[int] = 3

    def network_config(self, params: P, instrument: Instrument) -> Any:
        """Return the network's config: sizes of the section, and what follows from the instrument."""
        is_bars = params.input == "bars"
        return config_of(
            self.config_class,
            params,
            n_notes=len(instrument.pitches),
            n_pictures=self.n_pictures,
            columns=instrument.columns if is_bars else (),
            window_width=params.window_width if is_bars else 0,
        )

    def make_network(self, config: Mapping[str, Any]) -> nn.Module:
        """Return an untrained network from its config as JSON holds it, lists as tuples."""
        return self.network_class(self.config_class(**config))

    def fit(self, data: ViewSet, out: Path, *, params: P, resume: Path, accelerator: str) -> None:
        """Train on the training views, keep the best on the validation views, fit the picker of notes there.

        Raises:
            ParamsError: a value makes no sense, or no view is left to learn from.
        """
        from tasks.families.training import fit_network  # Lightning's import outlasts what the other stages do

        system = self.systems[0]
        section = f"train.{system}"
        check(params, section)
        self.check_more(params)
        views = data.only(instrument=params.instrument, cameras=params.cameras)
        parts = {part: views.views(part) for part in ("train", "validation")}
        check_disjoint_views(list(parts.values()))
        for part, found in parts.items():
            if not found:
                raise ParamsError(
                    f"{section}: no {part} take of {params.instrument} has a camera like {params.cameras!r}"
                )
        fidelity = fidelity_of(params)
        pictures = config_of(PictureFormat, params, n_pictures=self.n_pictures)
        maximum = max(float(views.amplitudes(take).max()) for take in views.takes("train"))
        if not maximum > 0:
            raise ParamsError(f"{section}: every training take is silent")
        encoding = self.encoding(params)
        with deterministic_torch(seed=params.seed, n_threads=params.n_threads):
            training, validation = (
                examples_of(
                    views,
                    parts[part],
                    pictures=pictures,
                    maximum=maximum,
                    fidelity=fidelity,
                    onset_weight=params.onset_weight,
                    encode=lambda film: self.encode(film, encoding, accelerator=accelerator),
                )
                for part in ("train", "validation")
            )
        held_out = training if fidelity.validates_on_training else validation
        if not training or not held_out:
            raise ParamsError(
                f"{section}.sequence_length is {params.sequence_length}, expected at most what a take's camera films"
            )
        pitches = views.pitches
        check_sounding(pitches, params.instrument, section)
        columns = note_columns(views.instrument, pitches, width=params.width, margins=views.margins)
        with deterministic_torch(seed=params.seed, n_threads=params.n_threads):
            instrument = Instrument(name=views.instrument, pitches=pitches, columns=tuple(map(float, columns)))
            config = asdict(self.network_config(params, instrument))
            network = self.make_network(config)
            best = fit_network(
                network,
                partial(amplitude_loss, target_power=params.target_power, rise_weight=params.rise_weight),
                partial(make_optimizer, params=params),
                Sampler(training, params).batch,
                validation_batches(held_out, params),
                system=system,
                n_epochs=params.n_steps // params.steps_per_epoch,
                n_steps_per_epoch=params.steps_per_epoch,
                out=out,
                resume=resume,
                accelerator=accelerator,
                precision=params.precision,
                gradient_clip_norm=params.clip_norm,
            )
            network.load_state_dict(best)
            network = network.to(torch_device(accelerator)).eval()
            reference_picker = fit_reference_picker(views, views.takes("validation"), maximum=maximum)
            picker = _fit_picker(network, views, held_out, params, maximum=maximum, reference_picker=reference_picker)
            bleed = _fit_bleed(network, training, params)
        facts = {
            "network": config,
            "encoding": encoding,
            "pictures": asdict(pictures),
            "target_power": params.target_power,
            "sequence_length": fidelity.sequence_length,
            "maximum": maximum,
            "pitches": list(pitches),
            "frame_rate": str(views.frame_rate),
            "instrument": views.instrument,
            "picker": asdict(picker),
            "bleed": [[round(float(share), 6) for share in row] for row in bleed],
            "reference_picker": asdict(reference_picker),
            "learning_rate": fidelity.learning_rate,  # the one that was used
            "n_threads": params.n_threads,
        }
        save_network(out / system, network.state_dict(), facts)

    def perform(
        self,
        trained: Path,
        films: Mapping[str, Film],
        *,
        accelerator: str,
        truth: Mapping[str, Any] | None,  # noqa: ARG002 - no system is a bound
    ) -> Iterator[Performance]:
        """Predict the amplitudes of every film, pick the notes, and make the sound of one oscillator a note.

        Raises:
            DamagedData: what was trained is missing or damaged.
        """
        system = self.systems[0]
        network, facts = self.load(trained / system)
        network = network.to(torch_device(accelerator))
        for name, film in films.items():
            if film.instrument not in (None, facts["instrument"]):
                continue
            with deterministic_torch(seed=0, n_threads=facts["n_threads"]):
                amplitudes = self.amplitudes(network, facts, film, accelerator=accelerator)
            yield performance_of(
                amplitudes,
                system=system,
                name=name,
                film=film,
                maximum=facts["maximum"],
                bleed=facts["bleed"],
                picker=facts["picker"],
                pitches=facts["pitches"],
                frame_rate=facts["frame_rate"],
            )

    def check_more(self, params: P) -> None:
        """Refuse what one family cannot do; raises ParamsError."""

    def encoding(self, params: P) -> dict[str, Any]:  # noqa: ARG002 - of families that have one
        """Return how stacks are encoded before they are inputs of the network, as JSON holds it."""
        return {}

    def encode(self, film: StackedFilm, encoding: Mapping[str, Any], *, accelerator: str) -> FilmInputs:  # noqa: ARG002
        """Return the network's inputs of a film: its stacks, unless a family encodes them first."""
        return film

    def amplitudes(
        self, network: nn.Module, facts: Mapping[str, Any], film: Film, *, accelerator: str = "cpu"
    ) -> NDArray[np.float32]:
        """Return the amplitudes that a trained network predicts for a film (F, n), 1 for the loudest of training."""
        frame_rate = facts["frame_rate"]
        n_windows = n_windows_of(film.duration_s, frame_rate)
        stacked = stack_film(film, facts["pictures"], n_windows=n_windows, frame_rate=frame_rate)
        inputs = self.encode(stacked, facts["encoding"], accelerator=accelerator)
        found = predict(network, inputs, target_power=facts["target_power"], sequence_length=facts["sequence_length"])
        return found.reshape(n_windows, len(facts["pitches"]))

    def load(self, stem: Path) -> tuple[nn.Module, dict[str, Any]]:
        """Read a trained network and what was fitted beside it.

        Raises:
            DamagedData: a file is missing, or not what `fit` writes.
        """
        needed: dict[str, Callable[[Any], Any]] = {
            "maximum": float,
            "target_power": float,
            "sequence_length": int,
            "n_threads": int,
            "pitches": tuple,
            "encoding": dict,
            "bleed": _square,
            "picker": lambda found: Picker(**found),
            "pictures": lambda found: PictureFormat(**found),
            "frame_rate": Fraction,
        }
        network, facts = load_network(stem, lambda facts: self.make_network(facts["network"]), needed)
        if len(facts["bleed"]) != len(facts["pitches"]):
            raise DamagedData(
                f"{stem}.json has bleed of {len(facts['bleed'])} notes, expected {len(facts['pitches'])}: train the "
                "family again"
            )
        return network, facts


def _square(rows: Sequence[Sequence[float]]) -> NDArray[np.float32]:
    found = np.array(rows, np.float32)
    if found.ndim != 2 or len(set(found.shape)) != 1:
        raise ValueError(f"bleed has shape {found.shape}")
    return found


@torch.inference_mode()
def predict(
    network: nn.Module, inputs: FilmInputs, *, target_power: float, sequence_length: int | None = None
) -> NDArray[np.float32]:
    """Return the amplitudes (F, n) that a network predicts, 1 for the loudest of training; 0 where nothing was filmed.

    A long film is an input in parts that overlap, so memory does not grow with it.

    Args:
        network: in evaluation mode.
        inputs: of the film.
        target_power: that the network was trained on.
        sequence_length: 1 takes each window by itself, as the original does; None takes them in their order.
    """
    place = next(network.parameters()).device
    n_windows = len(inputs.is_filmed)
    found = []
    kept, context = (WINDOWS_AT_A_TIME, CONTEXT) if sequence_length != 1 else (WINDOWS_AT_A_TIME, 0)
    for start in range(0, n_windows, kept):
        first, last = max(start - context, 0), min(start + kept + context, n_windows)
        frames = torch.from_numpy(inputs.frames(first, last)).to(place)
        ages = torch.from_numpy(inputs.ages[first : last + inputs.n_more]).to(place)
        if sequence_length == 1:  # each window by itself
            frames = frames.unfold(0, inputs.n_more + 1, 1).movedim(-1, 1)
            ages = ages.unfold(0, inputs.n_more + 1, 1)
        else:
            frames, ages = frames[None], ages[None]
        made = network(frames, ages).flatten(0, 1).float().cpu().numpy()  # (windows, n)
        found.append(made[start - first : min(start + kept, n_windows) - first])
    amplitudes = np.concatenate(found) if found else np.zeros((0, 0), np.float32)
    amplitudes = np.maximum(amplitudes, 0) ** (1 / target_power)
    return np.where(inputs.is_filmed[:, None], amplitudes, 0).astype(np.float32)


def _fit_picker(
    network: nn.Module,
    data: ViewSet,
    examples: Sequence[Example],
    params: NoteRegressionParams,
    *,
    maximum: float,
    reference_picker: Picker,
) -> Picker:
    """Fit the picker to what the network predicts for the validation views."""
    fidelity = fidelity_of(params)
    length = 1 if fidelity.sequence_length == 1 else None
    found = [predict(network, one.inputs, target_power=params.target_power, sequence_length=length) for one in examples]
    return fit_picker_on(found, examples, data, maximum=maximum, reference_picker=reference_picker)


def _fit_bleed(network: nn.Module, examples: Sequence[Example], params: NoteRegressionParams) -> NDArray[np.float32]:
    """Fit the bleed to what the network predicts for one view of each training take; the original has none."""
    if params.fidelity == "original":
        return np.eye(examples[0].target.shape[1], dtype=np.float32)
    predicted, measured = [], []
    for one in {example.view.take: example for example in reversed(examples)}.values():
        filmed = one.inputs.is_filmed
        predicted.append(predict(network, one.inputs, target_power=params.target_power)[filmed])
        measured.append(one.target[filmed])
    return fit_bleed(np.concatenate(predicted), np.concatenate(measured))
