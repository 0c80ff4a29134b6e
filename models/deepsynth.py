"""DeepSynth: a WaveNet that is conditioned on a keyboard's video (van den Oord 2016; DeepSynth sections 3.2-3.6).

Shapes: B batch, T audio samples, P distinct pictures, H x W luma pixels, L frame features, R channels.
Sound is channels-last (B, T, R): a causal convolution of width 2 is then one matrix product over [past, now].
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

FILTER_WIDTH = 2
MAX_DILATION = 256
SILENCE = 128  # mu-law class of 0.0: the input of the first sample
STRIP_ROWS, STRIP_WIDTH = 3, 3  # bands of rows, and pixels in a run of columns: five runs a white key
MEMORIES = tuple(16 * 2**k for k in range(9))  # samples until 1 / e is left; 4 ms to 1 s at 4 kHz
AGES = (0, *(4 * 2**k for k in range(13)))  # samples that a picture has stood when its features are worked out anew


def dilation_schedule(n_layers: int) -> tuple[int, ...]:
    """Return 1, 2, ... 256, 1, 2, ... for ``n_layers`` layers (DeepSynth section 3.2)."""
    cycle = MAX_DILATION.bit_length()
    return tuple(2 ** (layer % cycle) for layer in range(n_layers))


def receptive_field(dilations: Sequence[int]) -> int:
    """Return how many samples, the newest included, one output depends on."""
    return sum(dilations) * (FILTER_WIDTH - 1) + 1


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

    def __post_init__(self) -> None:
        if self.n_layers < 1 or self.n_channels < 1 or self.n_features < 1:
            raise ValueError(f"sizes must be at least 1, found {self}")
        if not 2 <= self.n_classes <= 256:
            raise ValueError(f"n_classes is {self.n_classes}, expected 2 to 256")

    @property
    def dilations(self) -> tuple[int, ...]:
        """Return the dilation of each layer."""
        return dilation_schedule(self.n_layers)


def smooth_basis(n_places: int, n_functions: int) -> Tensor:
    """Return (n_places, n_functions) cosines over the places, slowest first, each of norm 1.

    As many as there are places are orthogonal; more begin again.
    """
    place = (torch.arange(n_places) + 0.5) / n_places
    order = torch.arange(n_functions) % n_places
    basis = torch.cos(math.pi * place[:, None] * order)
    smooth: Tensor = basis / basis.norm(dim=0)
    return smooth


class GatedLayer(nn.Module):
    """Causal convolution of width 2 with a tanh-sigmoid gate, a residual and a skip output.

    Its dilation is the length of the past it is handed.
    """

    def __init__(self, n_channels: int, *, n_condition: int) -> None:
        super().__init__()
        self.causal = nn.Linear(2 * n_channels, 2 * n_channels)  # [past, now] -> [filter, gate]
        self.condition = nn.Linear(n_condition, 2 * n_channels, bias=False) if n_condition else None  # V
        self.out = nn.Linear(n_channels, 2 * n_channels)  # -> [residual, skip]

    def forward(self, x: Tensor, past: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Map x (B, T, R) to the next layer's x, the skip, and the past to go on with.

        Args:
            x: this layer's input.
            past: (B, dilation, R) its inputs before x.
            condition: (B, T, 2R) the conditioning, already projected, for both the filter and the gate.
        """
        n_samples = x.shape[1]
        whole = torch.cat([past, x], dim=1)  # (B, d + T, R)
        gates = self.causal(torch.cat([whole[:, :n_samples], x], dim=-1))  # (B, T, 2R)
        if condition is not None:
            gates = gates + condition
        filter_, gate = gates.chunk(2, dim=-1)  # (B, T, R) each
        residual, skip = self.out(torch.tanh(filter_) * torch.sigmoid(gate)).chunk(2, dim=-1)  # (B, T, R) each
        return x + residual, skip, whole[:, n_samples:]


class Stack(nn.Module):
    """Dilated gated layers one over the other; their skips are summed."""

    def __init__(self, config: DeepSynthConfig, *, n_condition: int) -> None:
        super().__init__()
        self.n_channels = config.n_channels
        self.layers = nn.ModuleList(GatedLayer(config.n_channels, n_condition=n_condition) for _ in config.dilations)

    def gated(self) -> list[GatedLayer]:
        """Return the layers as what they are."""
        return [cast(GatedLayer, layer) for layer in self.layers]

    def at_rest(self, n_streams: int, like: Tensor) -> list[Tensor]:
        """Return the past before the first sample: (B, dilation, R) zeros per layer."""
        return [
            like.new_zeros(n_streams, dilation, self.n_channels) for dilation in dilation_schedule(len(self.layers))
        ]

    def forward(
        self, x: Tensor, past: Sequence[Tensor], conditions: Sequence[Tensor | None]
    ) -> tuple[Tensor, list[Tensor]]:
        """Map x (B, T, R) to the sum of skips (B, T, R) and the past after the last sample."""
        total = torch.zeros_like(x)
        after = []
        for layer, before, condition in zip(self.gated(), past, conditions, strict=True):
            x, skip, left = layer(x, before, condition)
            total = total + skip
            after.append(left)
        return total, after


class VggEncoder(nn.Module):
    """(conv3, conv3, maxpool) per width, then two dense layers (DeepSynth section 3.3).

    The dense layers read every place of the last map: which key it is, is all that matters.
    """

    def __init__(self, config: DeepSynthConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        n_in, height, width = 1, config.picture_height, config.picture_width
        for n_out in config.frame_widths:
            layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU()]
            layers += [nn.Conv2d(n_out, n_out, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
            n_in, height, width = n_out, height // 2, width // 2
        self.convolutions = nn.Sequential(*layers)
        self.dense = nn.Sequential(
            nn.Linear(n_in * height * width, config.n_features),
            nn.ReLU(),
            nn.Linear(config.n_features, config.n_features),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """Map pictures (P, H, W) to features (P, L)."""
        maps = self.convolutions(pictures[:, None].contiguous(memory_format=torch.channels_last))
        features: Tensor = self.dense(maps.flatten(1))
        return features


class StripEncoder(nn.Module):
    """Means over bands of rows and runs of columns, then one dense layer."""

    def __init__(self, config: DeepSynthConfig) -> None:
        super().__init__()
        self.pool = (config.picture_height // STRIP_ROWS, STRIP_WIDTH)  # pixels under one mean
        n_runs = config.picture_width // STRIP_WIDTH
        self.dense = nn.Linear(STRIP_ROWS * n_runs, config.n_features)
        if config.smooth_init:
            # All bands alike; a key lights some five runs of a band, and should move its features by about 1.
            along = smooth_basis(n_runs, config.n_features) * math.sqrt(n_runs) / STRIP_WIDTH
            with torch.no_grad():
                self.dense.weight.copy_(along.T.repeat(1, STRIP_ROWS) / 5)

    def forward(self, pictures: Tensor) -> Tensor:
        """Map pictures (P, H, W) to features (P, L)."""
        strip = functional.avg_pool2d(pictures[:, None], self.pool)  # (P, 1, rows, runs)
        features: Tensor = self.dense(strip.flatten(1))
        return features


class PictureMemory(nn.Module):
    """Conditioning from pictures and the time since they changed, worked out once a picture and again while it stands.

    Where the picture changes, ``change`` channels detect by how much its features moved. Each is remembered by
    leaky integrators of 4 ms to 1 s. As memories fade they are worked out anew when the picture has stood 4, 8, 16 ...
    samples, so f' is piecewise constant, and known as a few rows a picture.
    """

    def __init__(self, config: DeepSynthConfig) -> None:
        super().__init__()
        self.n_changes = config.n_changes
        self.change = nn.Linear(config.n_features, config.n_changes, bias=False) if config.n_changes else None
        self.enter = nn.Linear(config.n_features + len(MEMORIES) * config.n_changes, config.n_channels)
        self.dense = nn.Linear(config.n_channels, config.n_channels)

    def at_rest(self, n_streams: int, like: Tensor) -> list[Tensor]:
        """Return the past before the first picture.

        That is: the features of the picture that stood, the memories when it came up, how long it has stood, and
        whether there was any.
        """
        return [
            like.new_zeros(n_streams, self.enter.in_features - len(MEMORIES) * self.n_changes),
            like.new_zeros(n_streams, len(MEMORIES), self.n_changes),
            like.new_full((n_streams,), AGES[-1], dtype=torch.long),
            like.new_zeros(n_streams, dtype=torch.bool),
        ]

    def forward(self, features: Tensor, shown: Tensor, past: Sequence[Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Map picture features (P, L) and which is shown (B, T) to rows of f' (D, R) and which holds (B, T)."""
        if self.change is None:
            return self.dense(torch.relu(self.enter(features))), shown, list(past)
        features = features.float()  # times are not rounded to the products' precision
        before, memory, stood, any_before = past
        n_streams, n_samples = shown.shape
        sample = torch.arange(n_samples, device=shown.device)
        is_new = functional.pad(shown[:, 1:] != shown[:, :-1], (1, 0), value=True)
        run = is_new.long().cumsum(dim=1) - 1  # (B, T): a run is a stretch under one picture
        n_runs = int(run.max()) + 1
        begin = torch.full((n_streams, n_runs), n_samples, device=shown.device)
        begin = begin.scatter_reduce(1, run, sample.expand_as(run), "amin")  # runs a stream lacks begin at the end
        picture = shown.gather(1, begin.clamp(max=n_samples - 1))
        of_runs = functional.embedding(picture, features)  # (B, runs, L)

        before = torch.where(any_before[:, None], before, of_runs[:, 0])
        # The picture that stood before may go on standing; in another batch it is rounded differently.
        same = any_before & torch.isclose(before, of_runs[:, 0], rtol=0, atol=1e-5).all(dim=1)
        begin[:, 0] = torch.where(same, -stood, 0)
        moved = of_runs - torch.cat([before[:, None], of_runs[:, :-1]], dim=1)
        detected = (
            torch.relu(self.change(moved)) * (1 - functional.pad(same[:, None].float(), (0, n_runs - 1)))[..., None]
        )

        # At its begin, a run remembers what was detected then and earlier, faded by the time since.
        fade = torch.tensor(MEMORIES, device=features.device, dtype=torch.float32)
        since = (begin[:, :, None] - begin[:, None, :]).float()  # (B, runs, runs)
        weight = torch.exp(-since.clamp(min=0)[..., None] / fade) * (since >= 0)[..., None]
        since_past = (begin + stood[:, None]).float()[..., None]  # (B, runs, 1)
        kept = torch.exp(-since_past / fade)[..., None] * memory[:, None]
        memories = torch.einsum("bijk,bjm->bikm", weight, detected) + kept  # (B, runs, memories, changes)

        standing = sample - begin.gather(1, run)  # (B, T)
        ages = torch.tensor(AGES, device=shown.device)
        age = torch.bucketize(standing, ages, right=True) - 1  # which of AGES it reached last
        rows = (torch.arange(n_streams, device=shown.device)[:, None] * n_runs + run) * len(AGES) + age
        used, local = torch.unique(rows, return_inverse=True)  # (D,), (B, T)
        place = used // len(AGES)
        faded = torch.exp(-ages[used % len(AGES)][:, None].float() / fade)[..., None]  # (D, memories, 1)
        remembered = (memories.flatten(0, 1)[place] * faded).flatten(1)
        inputs = torch.cat([of_runs.flatten(0, 1)[place], remembered], dim=1)
        stream, last = torch.arange(n_streams, device=shown.device), run[:, -1]
        after = [of_runs[stream, last], memories[stream, last], n_samples - begin[stream, last], torch.ones_like(same)]
        return self.dense(torch.relu(self.enter(inputs))), local, after


class AudioRateEncoder(nn.Module):
    """The paper's: picture features repeated for every sample, then a dilated causal stack."""

    def __init__(self, config: DeepSynthConfig) -> None:
        super().__init__()
        self.enter = nn.Linear(config.n_features, config.n_channels)
        self.stack = Stack(config, n_condition=0)

    def at_rest(self, n_streams: int, like: Tensor) -> list[Tensor]:
        """Return the past before the first picture."""
        return self.stack.at_rest(n_streams, like)

    def forward(
        self, features: Tensor, shown: Tensor, past: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor | None, list[Tensor]]:
        """Map picture features (P, L) and which is shown (B, T) to f' (B, T, R) at every sample."""
        x = functional.embedding(shown, self.enter(features))
        conditioning, after = self.stack(x, past, [None] * len(past))
        return conditioning, None, after


class VideoEncoder(nn.Module):
    """Pictures to the decoder's conditioning (f' of the paper). Each distinct picture is encoded once."""

    rest: Tensor

    def __init__(self, config: DeepSynthConfig) -> None:
        super().__init__()
        self.subtract_rest = config.subtract_rest
        if config.subtract_rest:
            self.register_buffer("rest", torch.zeros(config.picture_height, config.picture_width))
        self.frames = VggEncoder(config) if config.frame_encoder == "vgg" else StripEncoder(config)
        self.follow = AudioRateEncoder(config) if config.video_rate == "audio" else PictureMemory(config)

    def encode(self, pictures: Tensor) -> Tensor:
        """Map pictures (P, H, W), 0 to 255, to features (P, L)."""
        pictures = pictures.float()
        if self.subtract_rest:
            pictures = (pictures - self.rest).abs()
        features: Tensor = self.frames(pictures / 255)
        return features

    def forward(
        self, features: Tensor, shown: Tensor, past: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor | None, list[Tensor]]:
        """Return the decoder's conditioning from the pictures' features.

        Args:
            features: (P, L) from `encode`.
            shown: (B, T) row of ``features`` at each sample.
            past: from ``follow.at_rest`` or an earlier call.

        Returns:
            f', and where it holds: (B, T, R) and None, one row a sample; or (D, R) and the row of each sample
            (B, T). Then the past to go on with.
        """
        conditioning, rows, after = self.follow(features, shown, past)
        return conditioning, rows, after


@dataclass(frozen=True, kw_only=True)
class Past:
    """The state between two calls: the last ``dilation`` inputs of every layer, (B, dilation, R) each."""

    decoder: list[Tensor]
    video: list[Tensor]


class DeepSynth(nn.Module):
    """Silent keyboard video and the samples so far in, a distribution over the next sample's class out.

    ``pictures`` (P, H, W) holds the distinct pictures of the whole batch, 0 to 255, and ``shown`` (B, T) says
    which of them stands at each sample. The twin without conditioning takes neither.
    """

    def __init__(self, config: DeepSynthConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.n_channels
        self.embedding = nn.Embedding(config.n_classes, channels)  # = a 1x1 convolution over one-hot classes
        self.decoder = Stack(config, n_condition=channels if config.use_video else 0)
        self.hidden = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, config.n_classes)
        self.video = VideoEncoder(config) if config.use_video else None
        reaches_output = config.use_video and config.video_to_output
        self.direct = nn.Linear(channels, channels, bias=False) if reaches_output else None
        self.initialize()

    def initialize(self) -> None:
        """Initialize the weights that the options name; all others keep torch's usual initialization."""
        config = self.config
        with torch.no_grad():
            if config.smooth_init:
                # Each channel starts with another smooth function of the class, as loud as a random one.
                basis = smooth_basis(config.n_classes, config.n_channels)
                self.embedding.weight.copy_(basis * (math.sqrt(config.n_classes) / 2))
                self.output.weight.copy_(basis)
            for weight in self.condition_weights():
                weight.mul_(config.video_gain)

    def at_rest(self, n_streams: int) -> Past:
        """Return the past of ``n_streams`` streams before their first sample: zeros."""
        like = self.hidden.weight
        video = self.video
        return Past(
            decoder=self.decoder.at_rest(n_streams, like),
            video=[] if video is None else video.follow.at_rest(n_streams, like),
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

    def advance(
        self, inputs: Tensor, past: Past, *, pictures: Tensor | None = None, shown: Tensor | None = None
    ) -> tuple[Tensor, Past]:
        """Map teacher-forced inputs, after ``past``, to logits, and return the past to go on with.

        Args:
            inputs: (B, T) classes; ``inputs[:, t]`` is the sample *before* the one that logit t predicts.
            past: from `at_rest` or an earlier call.
            pictures: (P, H, W) luma, 0 to 255.
            shown: (B, T) row of ``pictures`` that stands at the sample that logit t predicts.

        Returns:
            Logits (B, T, n_classes), and the new past.

        Raises:
            ValueError: the network has a video encoder and no pictures are given.
        """
        conditions: Sequence[Tensor | None] = [None] * self.config.n_layers
        direct, video = None, past.video
        if self.video is not None:
            if pictures is None or shown is None:
                raise ValueError("pictures or shown missing: only a network with use_video false needs none")
            conditioning, rows, video = self.video(self.video.encode(pictures), shown, past.video)
            conditions, direct = self.project(conditioning, rows)
        total, left = self.decoder(self.embedding(inputs), past.decoder, conditions)
        if direct is not None:
            total = total + direct
        logits: Tensor = self.output(torch.relu(self.hidden(torch.relu(total))))
        return logits, Past(decoder=left, video=video)

    def forward(self, inputs: Tensor, *, pictures: Tensor | None = None, shown: Tensor | None = None) -> Tensor:
        """Map samples from a fresh start to logits (B, T, n_classes): `advance` from rest."""
        return self.advance(inputs, self.at_rest(len(inputs)), pictures=pictures, shown=shown)[0]


def teacher_forced(codes: Tensor) -> Tensor:
    """Shift codes (B, T) by a sample, silence first: the inputs with which the network predicts ``codes``."""
    return functional.pad(codes[:, :-1], (1, 0), value=SILENCE)
