"""A keyboard's picture to its keys: one small network for every key, of a window of the same size.

The weights are shared along the keyboard, so a key that was seldom played is read as well as the others. What
differs between keys, the shape that their neighbours leave them, repeats each octave and is learned per
class.

Shapes: B pictures, K keys, R rows that a picture is averaged to, W columns of a window, H hidden features.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class KeyReaderConfig:
    """Sizes of a `KeyReader` and where the keys are.

    Attributes:
        height: that is read of a picture, in pixels from its top.
        width: of a picture, in pixels.
        key_column: (K,) the pixel column in the middle of each key.
        key_class: (K,) which keys have one shape: 0 to 11, the pitch class.
        n_rows: that a picture is averaged to.
        window_width: pixels; wide enough for resting neighbours.
        n_hidden: features of each hidden layer.
    """

    height: int
    width: int
    key_column: tuple[int, ...]
    key_class: tuple[int, ...]
    n_rows: int
    window_width: int
    n_hidden: int


class KeyReader(nn.Module):
    """Predicts for each key whether it is pressed, and how hard it was struck."""

    windows: Tensor
    key_class: Tensor

    def __init__(self, config: KeyReaderConfig) -> None:
        super().__init__()
        self.config = config
        n_inputs, n_classes = config.n_rows * config.window_width, max(config.key_class) + 1
        # The layers' names are those of the tensors in trained files.
        self.look = nn.Linear(n_inputs, config.n_hidden)
        self.shape = nn.Embedding(n_classes, config.n_hidden)
        self.think = nn.Linear(config.n_hidden, config.n_hidden)
        self.say = nn.Linear(config.n_hidden, 2)
        columns = torch.tensor(config.key_column)[:, None] + torch.arange(config.window_width)
        self.register_buffer("windows", columns, persistent=False)  # (K, W), in the padded picture
        self.register_buffer("key_class", torch.tensor(config.key_class), persistent=False)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Map luma (B, H, width), 0 to 255, to the keys; rows below the config's height are not read.

        Returns:
            The logit that a key is pressed, and the velocity if it is, 1.0 for 127: (B, K) each.
        """
        read = pictures[:, None, : self.config.height].float()
        rows = functional.adaptive_avg_pool2d(read, (self.config.n_rows, self.config.width))
        rows = rows[:, 0]  # (B, R, width)
        # The darkest and the lightest place are a black and a white key at rest: exposure falls out here.
        darkest, lightest = rows.amin(dim=(1, 2), keepdim=True), rows.amax(dim=(1, 2), keepdim=True)
        rows = (rows - darkest) / (lightest - darkest).clamp(min=1.0) - 0.5
        half = self.config.window_width // 2
        windows = functional.pad(rows, (half, half))[:, :, self.windows]  # (B, R, K, W)
        windows = windows.transpose(1, 2).flatten(2)  # (B, K, R * W)
        hidden = torch.relu(self.look(windows) + self.shape(self.key_class))  # (B, K, H)
        pressed, velocity = self.say(torch.relu(self.think(hidden))).unbind(dim=-1)
        return pressed, velocity
