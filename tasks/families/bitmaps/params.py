"""Parameters of the families from bitmaps to sound, and the published values."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, ClassVar, Literal, TypeVar

from tasks.errors import ParamsError
from tasks.params import Section

ORIGINAL_FRAME_RATE = Fraction(30)  # that every video was taken to have


class BitmapParams(Section):
    """Parameters of both families. With ``fidelity: original`` published values replace those marked *."""

    renamed: ClassVar[Mapping[str, str]] = {"size": "side_px"}

    fidelity: Literal["corrected", "original"]
    cameras: str  # that are learned from and given sound: a regular expression for the whole name
    side_px: int  # of the input picture
    n_past: int  # * pictures before it that are inputs too, as changes from one to the next
    past_step: int  # frames from one of them to the next
    n_components: int  # * eigen-pictures whose weights are the inputs; 0 takes the pixels
    frame_rate: str  # * frames a second that the sound is made of
    sample_rate: int  # Hz
    hidden: list[int]  # units of each hidden layer
    silent_clip_s: float  # * of silent black pictures, and as much of white ones, in the training data
    jitter_contrast: float  # * contrast of training pictures varies by so much, 0 to 1
    noise_luma: float  # * standard deviation of noise added to training pictures, in levels
    n_frames: int  # kept in memory to train on, at most: 10 kB each
    n_validation_frames: int
    n_steps: int
    steps_per_epoch: int  # between two validations
    batch_size: int  # * frames
    learning_rate: float  # * falls to 0 over the steps, as half a cosine
    n_threads: int  # of the CPU: another number may give other weights
    seed: int


Q = TypeVar("Q", bound=BitmapParams)

# Hindle's numbers; learning rate, momentum and batch are those of nearly all the networks that were published.
ORIGINAL: Mapping[str, Any] = {
    "n_past": 0,
    "n_components": 0,
    "frame_rate": str(ORIGINAL_FRAME_RATE),
    "silent_clip_s": 0.0,
    "jitter_contrast": 0.0,
    "noise_luma": 0.0,
    "batch_size": 32,
    "learning_rate": 0.05,
}
ORIGINAL_MOMENTUM = 0.9


def check(params: BitmapParams, section: str) -> None:
    """Refuse values that make no sense.

    Raises:
        ParamsError: names the first one.
    """
    if params.steps_per_epoch < 1 or params.n_steps < 1 or params.n_steps % params.steps_per_epoch:
        raise ParamsError(
            f"{section}.n_steps is {params.n_steps}, expected a multiple of steps_per_epoch, {params.steps_per_epoch}"
        )
    for name in ("side_px", "past_step", "sample_rate", "batch_size", "n_frames", "n_validation_frames", "n_threads"):
        if getattr(params, name) < 1:
            raise ParamsError(f"{section}.{name} is {getattr(params, name)}, expected at least 1")
    for name in ("n_past", "n_components", "silent_clip_s", "jitter_contrast", "noise_luma"):
        if getattr(params, name) < 0:
            raise ParamsError(f"{section}.{name} is {getattr(params, name)}, expected at least 0")
    if any(units < 1 for units in params.hidden):
        raise ParamsError(f"{section}.hidden is {params.hidden}, expected at least 1 unit in each layer")
    frame_rate_of(params, section)


def frame_rate_of(params: BitmapParams, section: str) -> Fraction:
    """Return the frames a second, exact.

    Raises:
        ParamsError: it is no rate, or a frame would be shorter than a sample.
    """
    try:
        frame_rate = Fraction(params.frame_rate)
    except (ValueError, ZeroDivisionError):
        raise ParamsError(f"{section}.frame_rate is {params.frame_rate!r}, expected as 30 or 30000/1001") from None
    if not 0 < frame_rate <= params.sample_rate:
        raise ParamsError(
            f"{section}.frame_rate is {frame_rate}, expected above 0 and at most sample_rate, {params.sample_rate}"
        )
    return frame_rate
