"""DeepSynth's video encoder: pictures to the conditioning of the decoder's gates (DeepSynth sections 3.3 and 3.4).

Shapes: B batch, T audio samples, P distinct pictures, H x W luma pixels, L frame features, R channels, D distinct rows.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.deepsynth_config import DeepSynthConfig
from models.wavenet import Stack, smooth_basis

STRIP_ROWS, STRIP_WIDTH = 3, 3  # bands of rows, and pixels in a run of columns: five runs a white key
MEMORIES = tuple(16 * 2**k for k in range(9))  # samples until 1 / e is left; 4 ms to 1 s at 4 kHz
AGES = (0, *(4 * 2**k for k in range(13)))  # samples that a picture has stood when its features are worked out anew


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
        self.stack = Stack(config.n_layers, config.n_channels, n_condition=0)

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
