"""Sizes and options of DeepSynth: the paper's, and named departures from it."""

from dataclasses import dataclass
from typing import Literal

from models.wavenet import dilation_schedule


@dataclass(frozen=True, kw_only=True)
class DeepSynthConfig:
    """Sizes and named options. The first value of each option is the paper's; others are departures.

    Attributes:
        n_layers: gated layers of the decoder, and of the video encoder at ``video_rate`` audio.
        n_channels: residual, gate and skip channels of both stacks, and of the conditioning between them.
        n_classes: amplitude classes, at most 256.
        use_video: False makes the twin: the same decoder, without video.
        video_rate: ``audio``: a dilated causal stack runs over the features of every sample. ``picture``: dense
            layers run once a picture, and again while it stands (``PictureMemory``), which costs next to nothing.
        n_changes: at ``video_rate`` picture, channels that notice a picture's difference from the one before;
            each is remembered from 4 ms to 1 s. With 0 the conditioning has no trace of how long a key has been down.
        frame_encoder: ``vgg``: (conv3, conv3, maxpool) per width in ``frame_widths``, then dense. ``strip``: means
            over bands of rows and runs of columns, then one dense layer: a keyboard is one-dimensional, and a
            key keeps its place.
        n_features: features of a picture (l of the paper, which gives no number).
        frame_widths: channels of each VGG block; the paper gives none.
        subtract_rest: show how far each pixel is from the resting keyboard (buffer ``video.rest``) instead of the
            picture: what is not pressed is then 0, whatever its colour.
        video_to_output: let the video into the output's hidden layer too, beside the gates.
        video_gain: scale of the initial weights from video into gates and output; 1 is the usual initialization.
        gates: let the pictures' features into the decoder's gates, as the paper does.
        drive: what of the pictures reaches single samples. ``none`` is the paper's: the conditioning is a state that
            holds for many samples and has no phase. ``oscillators``: partials of each key that start in phase at its
            stroke; the network forms the tones from them. ``response``: the learned response of each key.
        drive_as: how the drive enters. ``code``: at the decoder's input and in the sum of skips, a response as the
            embedding of its class, oscillators as they are. ``mean``: it is added to the mean of the output's
            distribution; oscillators by learned weights.
        n_keys: that the pictures have been found to show.
        response_length: samples of a key's response.
        n_partials: oscillators of a key.
        output: ``softmax`` over the classes, or ``logistics``: a mixture of logistics over the same classes.
        n_past: past samples that enter the first layer; the paper's convolution of width 1 sees the last one.
        n_taps: of a linear prediction that the mean starts from.
        running_scale: let the logistics' scale start from how far the prediction was off lately.
        smooth_init: start from smooth functions of amplitude at input and output, and of the place along the
            keyboard in the strip, so that neighbours start as neighbours. The paper's are random.
    """

    n_layers: int
    n_channels: int
    n_classes: int = 256
    use_video: bool = True
    video_rate: Literal["audio", "picture"] = "audio"
    n_changes: int = 0
    frame_encoder: Literal["vgg", "strip"] = "vgg"
    n_features: int = 256
    frame_widths: tuple[int, ...] = (16, 32, 64, 64)
    picture_height: int = 57
    picture_width: int = 780
    subtract_rest: bool = False
    video_to_output: bool = False
    video_gain: float = 1.0
    smooth_init: bool = False
    gates: bool = True
    drive: Literal["none", "oscillators", "response"] = "none"
    drive_as: Literal["code", "mean"] = "code"
    n_keys: int = 0
    response_length: int = 0
    n_partials: int = 0
    output: Literal["softmax", "logistics"] = "softmax"
    n_past: int = 1
    n_taps: int = 0
    running_scale: bool = False

    def __post_init__(self) -> None:
        if self.n_layers < 0 or self.n_channels < 1 or self.n_features < 1:
            raise ValueError(f"sizes must be at least 1, found {self}")
        if not 2 <= self.n_classes <= 256:
            raise ValueError(f"n_classes is {self.n_classes}, expected 2 to 256")
        if self.output == "softmax" and (self.n_taps or self.running_scale or self.drive_as == "mean"):
            raise ValueError("a linear prediction, a running scale and drive_as mean need output logistics")
        if self.n_past < 1 or self.n_taps < 0:
            raise ValueError(f"n_past is {self.n_past} and n_taps {self.n_taps}, expected at least 1 and 0")

    @property
    def dilations(self) -> tuple[int, ...]:
        """Return the dilation of each layer."""
        return dilation_schedule(self.n_layers)

    @property
    def takes_drive(self) -> bool:
        """Return whether anything of the pictures reaches single samples."""
        return self.use_video and self.drive != "none"

    @property
    def takes_pictures(self) -> bool:
        """Return whether the pictures' features enter the gates."""
        return self.use_video and self.gates
