"""What every family is to the stages: fitted, heard on silent films, scored in nats if it makes codes."""

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes

from tasks.errors import DamagedData
from tasks.instruments.notes import Notes
from tasks.params import Section

if TYPE_CHECKING:
    from tasks.store.segments import ScoreSet, Segment
    from tasks.store.views import View, ViewSet

Role = Literal["model", "reference", "bound", "idle"]
"""What a system is in a table.

``model``: ranked. ``reference``: what every other system is compared with, the baseline that ignores the video or the
mix as it is. ``bound``: handed the truth, shown and never ranked. ``idle``: does nothing, and is best at nothing.
"""

VALIDATION_LOSS = "validation_loss"
"""What a `TrainingModule`'s ``validation_step`` logs."""

LEVELS = "levels.json"
"""How loud each system was on a black and on a white film: beside its performances of captures."""

P = TypeVar("P", bound=Section)


@dataclass(frozen=True, kw_only=True)
class Film:
    """A silent video: the changes of a drawn keyboard, or every picture that a camera took.

    Attributes:
        pictures: (P, H, W) luma: one per change of the keyboard (57 x 780), or those of a chunked view.
        time_s: (P,) when each picture comes up. A picture stays until the next. A drawing's first is 0.0; a camera may
            begin before its master (below 0) or after it.
        duration_s: how long the sound must be, from 0.0 on.
        camera: the device, where a camera took the film.
        instrument: what is seen, where it is known.
        margins: shares of width and height beside a rectified instrument, where it is one.
    """

    pictures: NDArray[np.uint8]
    time_s: NDArray[np.float64]
    duration_s: float
    camera: str | None = None
    instrument: str | None = None
    margins: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if len(self.pictures) != len(self.time_s) or not len(self.time_s):
            raise ValueError(f"a film has {len(self.pictures)} pictures at {len(self.time_s)} times, expected as many")
        starts_at_zero = self.time_s[0] == 0.0 or self.camera is not None
        if not starts_at_zero or (np.diff(self.time_s) <= 0).any() or not self.duration_s > 0:
            raise ValueError("a film's times must start at 0.0 and grow, and its duration be above 0")


@dataclass(frozen=True, kw_only=True)
class NoteAmplitudes:
    """How loud each note of an instrument is, window by window.

    Attributes:
        values: (F, n) at least 0, as ``extract`` measures them; window k covers frames k to k + 2.
        pitches: (n,) MIDI numbers.
        frame_rate: windows a second.
    """

    values: NDArray[np.float32]
    pitches: tuple[int, ...]
    frame_rate: Fraction

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != len(self.pitches):
            raise ValueError(f"amplitudes are {self.values.shape}, expected (windows, {len(self.pitches)})")


@dataclass(frozen=True, kw_only=True)
class Performance:
    """What one system made of one film.

    Attributes:
        system: the row in the tables that made it.
        take: the film's name.
        audio: (n,) in [-1, 1], mono, ``round(duration_s * sample_rate)`` samples.
        sample_rate: of ``audio``, in Hz.
        notes: what the system says was played; None where it makes sound only.
        camera: the device whose film it saw, where there are several of one take.
        amplitudes: of the notes, as the system sees them; None where it does not say.
    """

    system: str
    take: str
    audio: NDArray[np.float32]
    sample_rate: int
    notes: Notes | None
    camera: str | None = None
    amplitudes: NoteAmplitudes | None = None


class Family(ABC, Generic[P]):
    """A kind of model: one or more systems that share data, parameters and code.

    Attributes:
        params_class: its section of params.yaml.
        systems: its rows in the tables, in order.
        roles: of the systems that are no models.
        data: the data set that it learns from and is tested on: drawn scores, captures of several cameras, ensembles.
    """

    params_class: ClassVar[type[Section]]
    systems: ClassVar[tuple[str, ...]]
    roles: ClassVar[Mapping[str, Role]] = {}
    data: ClassVar[Literal["scores", "captures", "ensembles"]] = "scores"

    @abstractmethod
    def fit(self, data: "ScoreSet", out: Path, *, params: P, resume: Path, accelerator: str) -> None:
        """Train every system and write ``SYSTEM.safetensors``, ``SYSTEM.json`` and ``curves/SYSTEM.csv``.

        Args:
            data: the training and validation takes; test takes are never opened here.
            out: an empty folder.
            params: typed values of the family's section.
            resume: a folder outside the stage's outputs, named by the stage's key, where checkpoints survive
                a kill; made when needed, and deleted by the caller once the stage is finished.
            accelerator: Lightning's word: ``cpu``, ``gpu`` or ``auto``.
        """

    @abstractmethod
    def perform(
        self,
        trained: Path,
        films: Mapping[str, Film],
        *,
        accelerator: str,
        truth: Mapping[str, Any] | None,
    ) -> Iterator[Performance]:
        """Give whole silent films their sound: every system of every film.

        Args:
            trained: what `fit` wrote.
            films: by take; those of captures by ``TAKE/CAMERA``.
            accelerator: as in `fit`.
            truth: for bounds alone, by film: the `Notes` really played of a score, the `NoteAmplitudes` of
                a capture; with None those are left out.
        """

    @classmethod
    def role(cls, system: str) -> Role:
        """Return what a system of the family is in a table."""
        return cls.roles.get(system, "model")

    def frame_rate(self, trained: Path, system: str) -> Fraction | None:
        """Return at how many frames a second a trained system makes its sound; None where it does not say."""
        described = trained / f"{system}.json"
        if not described.exists():
            return None
        facts = json.loads(described.read_text(encoding="utf-8"))
        told = facts.get("frame_rate", facts.get("asked", {}).get("frame_rate"))
        return None if told is None else Fraction(told)

    def nats(
        self,
        trained: Path,  # noqa: ARG002 - for those that make codes
        data: "ScoreSet",  # noqa: ARG002
        rows: Sequence["Segment"],  # noqa: ARG002
        *,
        accelerator: str,  # noqa: ARG002
    ) -> dict[str, NDArray[np.float64]]:
        """Return each system's negative log likelihood of the true codes, teacher-forced.

        Args:
            trained: what `fit` wrote.
            data: the takes that the segments lie in.
            rows: segments, as ``ScoreSet.segments`` lists them.
            accelerator: as in `fit`.

        Returns:
            Mean nats per sample of each segment, by system; systems that make no codes are not in it, and most
            families have none that do.
        """
        return {}


class TrainingModule(torch.nn.Module, ABC):
    """What `tasks.families.training.fit_module` trains: Lightning's methods without Lightning.

    Its import takes longer than what most stages do, and only a training needs it.

    Attributes:
        write_log: where `log` goes while the module is trained.
    """

    write_log: Callable[..., None] | None = None

    @abstractmethod
    def training_step(self, batch: Any, step: int) -> torch.Tensor:
        """Return the loss of a batch."""

    @abstractmethod
    def validation_step(self, batch: Any, step: int) -> None:
        """Log the loss of a batch as `VALIDATION_LOSS`."""

    @abstractmethod
    def configure_optimizers(self) -> Any:
        """Return the optimizer, and its schedule, in one of Lightning's forms."""

    def log(self, name: str, value: torch.Tensor, *, batch_size: int | None = None) -> None:
        """Note a figure of a step: its mean over the examples of an epoch is what counts."""
        if self.write_log is not None:
            self.write_log(name, value, batch_size=batch_size)


def film_of_view(views: "ViewSet", view: "View") -> Film:
    """Return what a camera saw of a captured take, as a silent film."""
    attributes = views.open(view.take).attributes
    across, down = attributes["camera_margins"]
    return Film(
        pictures=views.pictures(view)[:],
        time_s=views.time_s(view),
        duration_s=views.duration_s(view.take),
        camera=view.camera,
        instrument=str(attributes["instrument"]),
        margins=(float(across), float(down)),
    )


def n_samples_of(film: Film, sample_rate: int) -> int:
    """Return how many samples the sound of ``film`` has."""
    return max(1, round(film.duration_s * sample_rate))


def save_network(stem: Path, state: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> None:
    """Write weights to ``stem.safetensors`` and their config to ``stem.json``, same bytes every time.

    Args:
        stem: the path without its suffix, ``out / SYSTEM``.
        state: tensors by name, on any accelerator.
        config: what JSON can hold: sizes, fitted thresholds.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(state.items())}
    text = json.dumps(config, indent=1, sort_keys=True, allow_nan=False) + "\n"
    stem.parent.mkdir(parents=True, exist_ok=True)
    # Neither flushed nor renamed here: the stage writes into a sibling folder that becomes the family's when whole.
    stem.with_name(f"{stem.name}.safetensors").write_bytes(tensors_to_bytes(tensors))
    stem.with_name(f"{stem.name}.json").write_text(text)


def load_network(stem: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what `save_network` wrote. Nothing is unpickled.

    Raises:
        DamagedData: a file is missing, truncated, or not what its suffix says.
    """
    weights, config = stem.with_name(f"{stem.name}.safetensors"), stem.with_name(f"{stem.name}.json")
    try:
        state = tensors_from_bytes(weights.read_bytes())
    except FileNotFoundError:
        raise DamagedData(f"{weights} is missing: train the family first") from None
    except (SafetensorError, ValueError) as error:
        raise DamagedData(f"{weights} is not a whole safetensors file: {' '.join(str(error).split())}") from None
    try:
        values = json.loads(config.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DamagedData(f"{config} is missing: train the family first") from None
    except ValueError as error:
        raise DamagedData(f"{config} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise DamagedData(f"{config} holds {type(values).__name__}, expected an object")
    return state, values


def fill_network(network: torch.nn.Module, state: Mapping[str, torch.Tensor], *, source: Path) -> None:
    """Give ``network`` the weights of ``state``, read from ``source``.

    Raises:
        DamagedData: a weight is missing, unknown, of another shape, or not finite.
    """
    wanted = network.state_dict()
    if strange := sorted(wanted.keys() ^ state.keys()):
        where = "missing from the file" if strange[0] in wanted else "unknown to the network"
        raise DamagedData(f"{source}: weight {strange[0]} is {where}")
    for name, tensor in state.items():
        if tensor.shape != wanted[name].shape:
            found, expected = tuple(tensor.shape), tuple(wanted[name].shape)
            raise DamagedData(f"{source}: weight {name} has shape {found}, expected {expected}")
        if not torch.isfinite(tensor).all():
            raise DamagedData(f"{source}: weight {name} is not finite")
    network.load_state_dict(dict(state))


def write_curve(path: Path, columns: Sequence[str], rows: Iterable[Sequence[float | int | None]]) -> None:
    """Write a training curve as CSV: a line per validation, empty where a value was not measured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow("" if v is None else v if isinstance(v, int) else f"{v:.6g}" for v in row)


def torch_device(accelerator: str) -> torch.device:
    """Return where Lightning's word puts a network: ``cpu``, ``gpu``, or ``auto``, a GPU if there is one."""
    if accelerator == "gpu" or (accelerator == "auto" and torch.cuda.is_available()):
        return torch.device("cuda")
    return torch.device("cpu")


@contextmanager
def deterministic_torch(*, seed: int, n_threads: int) -> Iterator[None]:
    """Let torch give the same numbers every time inside the block, and leave its state as it was.

    Weights are drawn from torch's global generator, so that is forked for the block. One CPU thread count
    gives one result; on a GPU, kernels without a deterministic form still run.
    """
    threads = torch.get_num_threads()
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    warned_only = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic  # a property of a module: mypy does not see it
    was_filled = memory.fill_uninitialized_memory
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.set_num_threads(n_threads)
        torch.use_deterministic_algorithms(mode=not torch.cuda.is_available())
        # Nothing here reads what it has not written, and filling every new tensor costs a tenth of a step.
        memory.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(mode=was_deterministic, warn_only=warned_only)
            memory.fill_uninitialized_memory = was_filled
