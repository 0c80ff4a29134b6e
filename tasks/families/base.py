"""What a family is to the stages, and what films, performances and roles are."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from tasks.families.trained import load_facts
from tasks.instruments.notes import Notes
from tasks.params import Section

if TYPE_CHECKING:
    from tasks.store.segments import Segment
    from tasks.store.views import View, ViewSet

Role = Literal["model", "reference", "bound", "idle"]
"""What a system is in a table.

``model``: ranked. ``reference``: what every other system is compared with, the baseline that ignores the video or the
mix as it is. ``bound``: handed the truth, shown and never ranked. ``idle``: does nothing, and is best at nothing.
"""

LEVELS = "levels.json"
"""The level of each system's sound for a black and for a white film: beside its performances of captures."""

HEADROOM = 0.999  # of full scale: the level that sound above it is scaled to

P = TypeVar("P", bound=Section)
D = TypeVar("D")
"""A data set: ``ScoreSet``, ``ViewSet`` or ``EnsembleSet``."""


@dataclass(frozen=True, kw_only=True)
class Film:
    """A silent video: the changes of a drawn keyboard, or every picture that a camera took.

    Attributes:
        pictures: (P, H, W) luma: one per change of the keyboard (57 x 780), or those of a chunked view.
        time_s: (P,) when each picture comes up. A picture stays until the next. A drawing's first is 0.0; a camera may
            begin before its master (below 0) or after it.
        duration_s: how long the sound must be, from 0.0 on.
        camera: the device, where a camera took the film.
        instrument: what the film shows, where it is known.
        margins: shares of width and height beside a rectified instrument, where it is one.
        keyboard: what the film shows of a piano's keys, as the stage chunk stores it; None where that is not known.
    """

    pictures: NDArray[np.uint8]
    time_s: NDArray[np.float64]
    duration_s: float
    camera: str | None = None
    instrument: str | None = None
    margins: tuple[float, float] | None = None
    keyboard: Mapping[str, NDArray[Any]] | None = None

    def __post_init__(self) -> None:
        if len(self.pictures) != len(self.time_s) or not len(self.time_s):
            raise ValueError(f"a film has {len(self.pictures)} pictures at {len(self.time_s)} times, expected as many")
        starts_at_zero = self.time_s[0] == 0.0 or self.camera is not None
        if not starts_at_zero or (np.diff(self.time_s) <= 0).any() or not self.duration_s > 0:
            raise ValueError("a film's times must start at 0.0 and grow, and its duration be above 0")


@dataclass(frozen=True, kw_only=True)
class NoteAmplitudes:
    """The amplitude of each note of an instrument, window by window.

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
class CaptureTruth:
    """What is known of a captured take, for bounds alone.

    Attributes:
        amplitudes: as they were measured in its sound.
        notes: that were played.
    """

    amplitudes: NoteAmplitudes
    notes: Notes


@dataclass(frozen=True, kw_only=True)
class Performance:
    """What one system made of one film.

    Attributes:
        system: the row in the tables that made it.
        take: the film's name.
        audio: (n,) in [-1, 1], mono, ``round(duration_s * sample_rate)`` samples.
        sample_rate: of ``audio``, in Hz.
        notes: that the system detected; None where it predicts sound only.
        camera: the device that took the film, where there are several of one take.
        amplitudes: of the notes, as the system predicts them; None where it predicts none.
        gain_db: by which the sound was scaled to stay below full scale; 0 or less.
    """

    system: str
    take: str
    audio: NDArray[np.float32]
    sample_rate: int
    notes: Notes | None
    camera: str | None = None
    amplitudes: NoteAmplitudes | None = None
    gain_db: float = 0.0


def below_full_scale(audio: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Return sound, scaled where a sample is above full scale, and the gain in dB: 0 or less."""
    peak = float(np.abs(audio).max(initial=0.0))
    if not peak > 1.0:
        return audio, 0.0
    gain = HEADROOM / peak
    return (audio * np.float32(gain)).astype(np.float32), round(20 * float(np.log10(gain)), 3)


class Family(ABC, Generic[P, D]):
    """A kind of model: one or more systems that share data, parameters and code.

    Attributes:
        params_class: its section of params.yaml.
        systems: its rows in the tables, in order.
        roles: of the systems that are no models.
        data: the kind of data that it learns from and is tested on.
    """

    params_class: ClassVar[type[Section]]
    systems: ClassVar[tuple[str, ...]]
    roles: ClassVar[Mapping[str, Role]] = {}
    data: ClassVar[Literal["scores", "captures", "ensembles"]]

    @abstractmethod
    def fit(self, data: D, out: Path, *, params: P, resume: Path, accelerator: str) -> None:
        """Train every system and write ``SYSTEM.safetensors``, ``SYSTEM.json`` and ``curves/SYSTEM.csv``.

        Args:
            data: the data set of the family's kind. Takes for testing are never opened here.
            out: an empty folder.
            params: typed values of the family's section.
            resume: a folder outside the stage's outputs, named by the stage's key, where checkpoints survive
                a kill; made when needed, and deleted by the caller once the stage is finished.
            accelerator: Lightning's word: ``cpu``, ``gpu`` or ``auto``.

        Raises:
            ParamsError: values do not go together, or not with the data.
            DamagedData: the data set is not whole.
        """

    @classmethod
    def role(cls, system: str) -> Role:
        """Return what a system of the family is in a table."""
        return cls.roles.get(system, "model")


class VideoFamily(Family[P, D]):
    """A family that gives silent videos their sound."""

    @abstractmethod
    def perform(
        self,
        trained: Path,
        films: Mapping[str, Film],
        *,
        accelerator: str,
        truth: Mapping[str, Any] | None,
    ) -> Iterator[Performance]:
        """Make the sound of whole silent films: every system, every film of an instrument that it was trained on.

        Args:
            trained: what `fit` wrote.
            films: by take; those of captures by ``TAKE/CAMERA``.
            accelerator: as in `fit`.
            truth: for bounds alone, by film: the reference `Notes` of a score, the `CaptureTruth` of a
                capture; with None those systems are left out.

        Raises:
            DamagedData: what was trained is missing or damaged.
        """

    def frame_rate(self, trained: Path, system: str) -> Fraction | None:
        """Return at how many frames a second a trained system makes its sound; None where it has no such rate."""
        rate = load_facts(trained / system, {}).get("frame_rate")
        return None if rate is None else Fraction(rate)


class CodeFamily(VideoFamily[P, D]):
    """A family with systems that give the next mu-law code a probability.

    Attributes:
        conditioned: those of them whose probabilities are conditioned on the pictures.
    """

    conditioned: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def nats(
        self,
        trained: Path,
        data: D,
        rows: Sequence["Segment"],
        *,
        accelerator: str,
        pictures_of: Mapping[str, str] | None = None,
    ) -> dict[str, NDArray[np.float64]]:
        """Return the negative log likelihood of the reference codes, teacher-forced.

        Args:
            trained: what `fit` wrote.
            data: the takes that the segments lie in.
            rows: segments, as ``ScoreSet.segments`` lists them.
            accelerator: as in `fit`.
            pictures_of: by take, the take whose pictures are shown instead of its own, from its start on; where that
                one is shorter, its last picture stands. None, and for a take that it does not name: its own.

        Returns:
            Mean nats per sample of each segment, by system; systems that make no codes are not in it, and with
            ``pictures_of`` only those in `conditioned`: the others would have the same numbers.

        Raises:
            DamagedData: what was trained is missing or damaged.
        """


def film_of_view(views: "ViewSet", view: "View") -> Film:
    """Return a camera's pictures of a captured take, as a silent film."""
    attributes = views.open(view.take).attributes
    across, down = attributes["camera_margins"]
    return Film(
        pictures=views.pictures(view)[:],
        time_s=views.time_s(view),
        duration_s=views.duration_s(view.take),
        camera=view.camera,
        instrument=str(attributes["instrument"]),
        margins=(float(across), float(down)),
        keyboard=views.keyboard(view),
    )


def n_samples_of(film: Film, sample_rate: int) -> int:
    """Return how many samples the sound of ``film`` has."""
    return max(1, round(film.duration_s * sample_rate))
