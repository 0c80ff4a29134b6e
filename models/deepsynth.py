"""DeepSynth: a WaveNet that is conditioned on a keyboard's video (van den Oord 2016; DeepSynth sections 3.2-3.6).

With the paper's options the video enters the gates alone, and a softmax over the classes comes out. The other options
are departures (`models.deepsynth_config`): a drive in phase with the strokes, and a mixture of logistics around a
linear prediction.

Shapes: B batch, T audio samples, P distinct pictures, H x W luma pixels, R channels, O outputs, C columns of a drive.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.deepsynth_config import DeepSynthConfig
from models.key_drive import KeyDrive
from models.logistics import N_OUTPUTS, mixture_nats, softmax_nats
from models.past_samples import Known, PastSamples, companded
from models.picture_encoder import VideoEncoder
from models.wavenet import Stack, smooth_basis

SILENCE = 128  # mu-law class of 0.0: the input of the first sample


@dataclass(frozen=True, kw_only=True)
class Past:
    """The state between two calls.

    Attributes:
        decoder: the last ``dilation`` inputs of every layer, (B, dilation, R) each.
        video: of the picture encoder.
        samples: of `PastSamples`.
    """

    decoder: list[Tensor]
    video: list[Tensor]
    samples: list[Tensor]


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """The distribution of each sample.

    Attributes:
        outputs: (B, T, O) logits of the classes, or parameters of the logistics.
        known: what the logistics start from.
    """

    outputs: Tensor
    known: Known


class DeepSynth(nn.Module):
    """Silent keyboard video and the samples so far in, a distribution over the next sample's class out.

    ``pictures`` (P, H, W) holds the distinct pictures of the whole batch, 0 to 255, and ``shown`` (B, T) says
    which of them stands at each sample; ``drive`` (B, T) or (B, T, C) is what `KeyDrive` made of whole films. The twin
    without conditioning takes none of them.
    """

    def __init__(self, config: DeepSynthConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.n_channels
        self.embedding = nn.Embedding(config.n_classes, channels)  # = a 1x1 convolution over one-hot classes
        self.samples = PastSamples(config)
        n_known = self.samples.n_features
        self.known = nn.Linear(n_known, channels) if n_known else None
        self.decoder = Stack(config.n_layers, channels, n_condition=channels if config.takes_pictures else 0)
        self.hidden = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, config.n_classes if config.output == "softmax" else N_OUTPUTS)
        self.video = VideoEncoder(config) if config.takes_pictures else None
        reaches_output = config.takes_pictures and config.video_to_output
        self.direct = nn.Linear(channels, channels, bias=False) if reaches_output else None
        self.keys: KeyDrive | None = None
        self.drive_in: nn.Module | None = None
        self.drive_out: nn.Module | None = None
        self.drive_mean: nn.Linear | None = None
        if config.use_video and config.drive != "none":
            self.keys = KeyDrive(
                config.drive,
                n_keys=config.n_keys,
                n_columns=config.picture_width,
                length=config.response_length,
                n_partials=config.n_partials,
            )
            n_columns = 0 if self.keys.oscillators is None else self.keys.oscillators.n_features
            if config.drive_as == "code" and n_columns:
                self.drive_in = nn.Linear(n_columns, channels, bias=False)
                self.drive_out = nn.Linear(n_columns, channels, bias=False)
            elif config.drive_as == "code":
                self.drive_in = nn.Embedding(config.n_classes, channels)
                self.drive_out = nn.Embedding(config.n_classes, channels)
            elif n_columns:
                self.drive_mean = nn.Linear(n_columns, 1, bias=False)
        self.initialize()

    def initialize(self) -> None:
        """Initialize the weights that the options name; all others keep torch's usual initialization."""
        config = self.config
        with torch.no_grad():
            if config.smooth_init:
                # Each channel starts with another smooth function of the class, as loud as a random one.
                basis = smooth_basis(config.n_classes, config.n_channels)
                loud = basis * (math.sqrt(config.n_classes) / 2)
                self.embedding.weight.copy_(loud)
                if config.output == "softmax":
                    # All cosines are 1 at class 0, and what they are multiplied by is never negative: without signs
                    # that class, which is full scale, would be the likeliest wherever the network is unsure.
                    signs = torch.randint(0, 2, (config.n_channels,)) * 2 - 1
                    self.output.weight.copy_(basis * signs)
                for table in (self.drive_in, self.drive_out):
                    if isinstance(table, nn.Embedding):
                        table.weight.copy_(loud)
            if config.output == "logistics":  # it starts from the prediction alone
                self.output.weight.zero_()
                self.output.bias.zero_()
            if self.drive_mean is not None:
                self.drive_mean.weight.zero_()
            for weight in self.condition_weights():
                weight.mul_(config.video_gain)

    def at_rest(self, n_streams: int) -> Past:
        """Return the past of ``n_streams`` streams before their first sample: zeros."""
        like = self.hidden.weight
        video = self.video
        return Past(
            decoder=self.decoder.at_rest(n_streams, like),
            video=[] if video is None else video.follow.at_rest(n_streams, like),
            samples=self.samples.at_rest(n_streams, like),
        )

    def project(self, conditioning: Tensor, rows: Tensor | None) -> tuple[list[Tensor], Tensor | None]:
        """Return what is added in each layer's gates (B, T, 2R), and in the output's hidden layer (B, T, R).

        Rows are projected once each, then repeated: the same numbers as the other way round, with less work.
        """
        added = [functional.linear(conditioning, weight) for weight in self.condition_weights()]
        if rows is not None:
            added = [functional.embedding(rows, table) for table in added]
        return added[: self.config.n_layers], (added[-1] if self.direct is not None else None)

    def condition_weights(self) -> list[Tensor]:
        """Return the weights V through which f' enters: each gated layer's, then the direct one if there is."""
        weights = [layer.condition.weight for layer in self.decoder.gated() if layer.condition is not None]
        return weights if self.direct is None else [*weights, self.direct.weight]

    def drive_rows(self, drive: Tensor) -> tuple[Tensor, Tensor]:
        """Return what a drive adds at the decoder's input and in the sum of its skips, (..., R) each."""
        if self.drive_in is None or self.drive_out is None:
            nothing = self.hidden.weight.new_zeros(())
            return nothing, nothing
        if isinstance(self.drive_in, nn.Embedding):
            drive = self._classes(drive)
        return self.drive_in(drive), self.drive_out(drive)

    def drive_amplitude(self, drive: Tensor) -> Tensor | None:
        """Return what a drive adds to the mean, (...); None where it does not."""
        if self.keys is None or self.config.drive_as == "code":
            return None
        return drive if self.drive_mean is None else self.drive_mean(drive)[..., 0]

    def _classes(self, amplitude: Tensor) -> Tensor:
        """Return the class of each amplitude."""
        place = (companded(amplitude.clamp(-1, 1), self.config.n_classes) + 1) / 2
        return (place * (self.config.n_classes - 1) + 0.5).floor().long()

    def advance(
        self,
        inputs: Tensor,
        past: Past,
        *,
        pictures: Tensor | None = None,
        shown: Tensor | None = None,
        drive: Tensor | None = None,
    ) -> tuple[Predicted, Past]:
        """Map teacher-forced inputs, after ``past``, to distributions, and return the past to go on with.

        Args:
            inputs: (B, T) classes; ``inputs[:, t]`` is the sample *before* the one that output t predicts.
            past: from `at_rest` or an earlier call.
            pictures: (P, H, W) luma, 0 to 255.
            shown: (B, T) row of ``pictures`` that stands at the sample that output t predicts.
            drive: (B, T) or (B, T, C) at that sample.

        Raises:
            ValueError: the network has a video encoder and no pictures are given, or a drive and none is given.
        """
        conditions: Sequence[Tensor | None] = [None] * self.config.n_layers
        direct, video = None, past.video
        if self.video is not None:
            if pictures is None or shown is None:
                raise ValueError("pictures or shown missing: only a network with use_video false needs none")
            conditioning, rows, video = self.video(self.video.encode(pictures), shown, past.video)
            conditions, direct = self.project(conditioning, rows)
        if self.keys is not None and drive is None:
            raise ValueError(f"drive is missing: the network has {self.config.drive}")
        amplitude = None if drive is None else self.drive_amplitude(drive)
        known, samples = self.samples(inputs, amplitude, past.samples)
        x = self.embedding(inputs)
        if self.known is not None:
            x = x + self.known(known.features)
        leaving = None
        if drive is not None:
            entering, leaving = self.drive_rows(drive)
            x = x + entering
        total, left = self.decoder(x, past.decoder, conditions)
        for added in (direct, leaving):
            if added is not None:
                total = total + added
        outputs: Tensor = self.output(torch.relu(self.hidden(torch.relu(total))))
        return Predicted(outputs=outputs, known=known), Past(decoder=left, video=video, samples=samples)

    def forward(
        self,
        inputs: Tensor,
        *,
        pictures: Tensor | None = None,
        shown: Tensor | None = None,
        drive: Tensor | None = None,
    ) -> Predicted:
        """Map samples from a fresh start to distributions: `advance` from rest."""
        return self.advance(inputs, self.at_rest(len(inputs)), pictures=pictures, shown=shown, drive=drive)[0]

    def nats(self, predicted: Predicted, codes: Tensor) -> Tensor:
        """Return the negative log likelihood of codes (B, T) under what was predicted of them."""
        if self.config.output == "softmax":
            return softmax_nats(predicted.outputs, codes)
        return mixture_nats(predicted.outputs, predicted.known, codes, self.config.n_classes)


def teacher_forced(codes: Tensor) -> Tensor:
    """Shift codes (B, T) by a sample, silence first: the inputs with which the network predicts ``codes``."""
    return functional.pad(codes[:, :-1], (1, 0), value=SILENCE)
