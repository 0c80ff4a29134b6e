"""Parameters of family ``deepsynth``, and the network of each of its systems."""

from typing import Any, Literal

from models.deepsynth_config import DeepSynthConfig
from models.generation import Kernel, Precision
from tasks.errors import ParamsError
from tasks.families.trained import config_of
from tasks.instruments.keyboard import HEIGHT, WIDTH
from tasks.params import Section

SYSTEM, BLIND = "deepsynth", "deepsynth_blind"
RESPONSE, LINEAR, PREDICTION = "key_response", "key_response_linear", "linear_prediction"
NETWORKS = (SYSTEM, BLIND, LINEAR, PREDICTION)
"""Systems that give the next code a probability; ``key_response`` makes sound alone."""


class DeepSynthParams(Section):
    """The network (``models.deepsynth_config`` says what each option does), its training and its sampling."""

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
    gates: bool
    drive: Literal["none", "oscillators", "response"]
    drive_as: Literal["code", "mean"]
    response_s: float  # length of a key's response
    n_partials: int  # of a key, where the drive is oscillators
    n_folds: int  # of training takes: each take's drive was learned from the others; 1 learns it from all
    output: Literal["softmax", "logistics"]
    n_past: int
    n_taps: int
    running_scale: bool

    n_steps: int
    steps_per_epoch: int  # between two validations
    batch_size: int  # segments
    crop_s: float | None  # of each segment, from a random place on; null is all of it
    lead_s: float  # before each crop, whose samples are given and not scored
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

    temperatures: tuple[float, ...]  # of sampling; of several, the one whose sound is nearest on validation
    temperature_s: float  # of each validation take that it is chosen on
    kernel: Kernel  # compiled: film by film, for a few; torch: many side by side
    n_streams: int  # films side by side in torch, empty places included, so that no film rounds another's sound
    generation_precision: Precision


def network_config(system: str, params: DeepSynthParams, *, n_keys: int, code_rate: int) -> DeepSynthConfig:
    """Return the network of a system.

    The linear ones have no layers: the prediction, its running scale, and one mixture of logistics for all samples.

    Args:
        system: one of `NETWORKS`.
        params: of the family.
        n_keys: that were found in the pictures.
        code_rate: in Hz.
    """
    is_linear = system in (LINEAR, PREDICTION)
    changes: dict[str, Any] = {
        "use_video": system in (SYSTEM, LINEAR),
        "picture_height": HEIGHT,
        "picture_width": WIDTH,
        "n_keys": n_keys,
        "response_length": round(params.response_s * code_rate),
    }
    if is_linear:
        changes |= {
            "n_layers": 0,
            "n_channels": 1,
            "gates": False,
            "drive": "response",
            "drive_as": "mean",
            "output": "logistics",
            "n_past": 1,
            "n_taps": params.n_taps or DEFAULT_TAPS,
            "running_scale": True,
        }
    return config_of(DeepSynthConfig, params, **changes)


DEFAULT_TAPS = 512
"""Of the linear systems, where the network has no linear prediction of its own."""


def check(params: DeepSynthParams) -> None:
    """Refuse values that make no sense.

    Raises:
        ParamsError: names the value and what is expected.
    """

    def refuse(name: str, expected: str) -> None:
        raise ParamsError(f"train.deepsynth.{name} is {getattr(params, name)}, expected {expected}")

    if params.steps_per_epoch < 1 or params.n_steps < 1 or params.n_steps % params.steps_per_epoch:
        refuse("n_steps", f"a multiple of steps_per_epoch, {params.steps_per_epoch}")
    for name in (
        "n_layers",
        "n_channels",
        "n_features",
        "n_partials",
        "n_folds",
        "n_past",
        "batch_size",
        "n_validation_segments",
        "n_streams",
        "n_threads",
    ):
        if getattr(params, name) < 1:
            refuse(name, "at least 1")
    for name in ("n_changes", "n_decays", "n_warmup_steps", "n_taps", "lead_s", "l2"):
        if getattr(params, name) < 0:
            refuse(name, "at least 0")
    for name in ("learning_rate", "final_learning_rate", "clip_norm", "response_s", "temperature_s"):
        if not getattr(params, name) > 0:
            refuse(name, "above 0")
    if not params.temperatures or not min(params.temperatures) > 0:
        refuse("temperatures", "at least one, all above 0")
    if params.output == "softmax":
        for name, value in (("n_taps", 0), ("running_scale", False)):
            if getattr(params, name) != value:
                refuse(name, f"{value} with output softmax, which has no mean and no scale to start from")
        if params.drive != "none" and params.drive_as == "mean":
            refuse("drive_as", "code with output softmax, which has no mean")
    if params.kernel == "compiled" and params.generation_precision != "float32":
        refuse("generation_precision", "float32, which is all that kernel compiled knows")
