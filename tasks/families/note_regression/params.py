"""Parameters of networks from pictures to note amplitudes, and what the published code does instead."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tasks.errors import ParamsError
from tasks.params import Section

KERAS_LEARNING_RATE = 0.001

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
AtLeastZero = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class AugmentParams(Section):
    """Augmentation of training pictures, drawn for each sequence.

    Attributes:
        gain: contrast, up to this share more or less.
        brightness_luma: added to all of a picture, up to so much.
        shift: pixels, each way.
        blur: up to this share of each pixel comes from its neighbours.
        noise_luma: standard deviation, up to so much.
        mirror: share of the sequences whose note windows are mirrored.
    """

    gain: Share
    brightness_luma: AtLeastZero
    shift: Annotated[int, Field(ge=0, le=64)]
    blur: Share
    noise_luma: AtLeastZero
    mirror: Share


class NoteRegressionParams(Section):
    """Parameters that all of these families have.

    Attributes:
        fidelity: ``original`` keeps the defects of the published code, `Fidelity`.
        instrument: whose captures are learned from.
        cameras: regular expression of the cameras that are learned from.
        height: of the pictures, in pixels.
        width: of the pictures.
        input: ``picture``, all of it, or ``bars``, the window around each note's bar.
        window_width: of such a window, in pixels.
        subtract_still: pictures are differences to the film's median, the instrument at rest.
        sequence_length: windows of a training sequence.
        notes_per_sequence: whose windows are inputs of a training sequence, with ``bars``.
        target_power: amplitudes are learned to this power; below 1 soft notes count more.
        rise_weight: of the error of differences from one window to the next, beside that of the amplitudes.
        onset_weight: what a window around a stroke counts more than another in the loss.
        rare_notes: 0 draws strokes as often as they come, 1 each note equally often.
        n_steps: of training.
        steps_per_epoch: between two validations.
        batch_size: sequences.
        learning_rate: of Adam, the highest of its schedule; it falls to 0 along a cosine.
        clip_norm: of the gradient.
        weight_decay: decoupled from the gradient.
        augment: of the training pictures.
        precision: Lightning's; with ``bf16-mixed`` convolutions round to 8 bits of mantissa, weights do not.
        n_threads: of the CPU: another number may give other weights.
        seed: of everything that is drawn.
    """

    renamed: ClassVar[Mapping[str, str]] = {
        "sees": "input",
        "sees_age": "picture_age",
        "remembered_kernel": "recurrent_kernel",
    }
    original_names_its_optimizer: ClassVar[bool] = True
    """Whether the published code names its optimizer and never hands it over: Keras' own learning rate holds then."""

    fidelity: Literal["original", "corrected"]
    instrument: str
    cameras: str
    height: Count
    width: Count
    input: Literal["picture", "bars"]
    window_width: Count
    subtract_still: bool
    sequence_length: Count
    notes_per_sequence: Count
    target_power: Annotated[float, Field(gt=0, le=1)]
    rise_weight: AtLeastZero
    onset_weight: AtLeastZero
    rare_notes: Share
    n_steps: Count
    steps_per_epoch: Count
    batch_size: Count
    learning_rate: Annotated[float, Field(gt=0)]
    clip_norm: Annotated[float, Field(gt=0)]
    weight_decay: AtLeastZero
    augment: AugmentParams
    precision: Literal["32-true", "bf16-mixed"]
    n_threads: Count
    seed: int


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """What the published code does, kept with ``fidelity: original``.

    Attributes:
        lead_frames: a window's target is this many windows later than its pictures: its windows are counted from 1
            where the stacks are counted from 0.
        n_dropped: windows at the end of a take that never are a target.
        sequence_length: windows of a sequence; 1 leaves an LSTM nothing to remember.
        learning_rate: the highest of the schedule, or Keras' own.
        per_take_maximum: every take is divided by its own loudest amplitude, those for testing too.
        validates_on_training: there is no validation part.
    """

    lead_frames: int
    n_dropped: int
    sequence_length: int
    learning_rate: float
    per_take_maximum: bool
    validates_on_training: bool


CORRECTED = Fidelity(
    lead_frames=0,
    n_dropped=0,
    sequence_length=1,
    learning_rate=0.0,
    per_take_maximum=False,
    validates_on_training=False,
)
"""Nothing of the published code's defects, for a system that has neither sequences nor steps."""


def fidelity_of(params: NoteRegressionParams) -> Fidelity:
    """Return what the parameters say, or what the published code does instead."""
    if params.fidelity == "original":
        return Fidelity(
            lead_frames=1,
            n_dropped=1,
            sequence_length=1,
            learning_rate=KERAS_LEARNING_RATE if params.original_names_its_optimizer else params.learning_rate,
            per_take_maximum=True,
            validates_on_training=True,
        )
    return replace(CORRECTED, sequence_length=params.sequence_length, learning_rate=params.learning_rate)


def check(params: NoteRegressionParams, section: str) -> None:
    """Refuse values that do not go together.

    Raises:
        ParamsError: names the value.
    """
    if params.n_steps % params.steps_per_epoch:
        raise ParamsError(
            f"{section}.n_steps is {params.n_steps}, expected a multiple of steps_per_epoch, {params.steps_per_epoch}"
        )
    if params.input == "picture" and params.augment.mirror:
        raise ParamsError(
            f"{section}.augment.mirror is {params.augment.mirror}, expected 0 with input: picture: a mirrored picture "
            "has its low notes on the right"
        )
