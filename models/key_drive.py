"""What the pictures give each single sample: a signal in phase with the strokes that they show.

DeepSynth's own conditioning is a state that stands for many samples. It can raise what the network finds probable, but
no waveform follows from it. A drive is coherent in phase: of each key the response that was learned for it, or its
oscillators. Shapes: P pictures, K keys, T samples; C columns of a drive.
"""

from collections.abc import Iterable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.key_response import KeyResponse
from models.key_states import KeyReader, Strokes, strokes_of
from models.oscillators import Oscillators


class KeyDrive(nn.Module):
    """Pictures in, responses or oscillators of the keys they show struck out. What it has learned are buffers."""

    def __init__(
        self, kind: Literal["oscillators", "response"], *, n_keys: int, n_columns: int, length: int, n_partials: int
    ) -> None:
        super().__init__()
        self.reader = KeyReader(n_keys, n_columns)
        self.response = KeyResponse(n_keys, length)
        self.oscillators = Oscillators(n_keys, n_partials) if kind == "oscillators" else None

    def strokes(self, pictures: Iterable[Tensor], first_sample: NDArray[np.int64], n_samples: int) -> Strokes:
        """Return the strokes that a film shows.

        Args:
            pictures: blocks (P, H, W) of all its pictures, 0 to 255.
            first_sample: (P,) at which each picture stands.
            n_samples: of the film.
        """
        depth, pedal = self.reader.read(pictures)
        return strokes_of(depth, pedal, first_sample, n_samples, same_luma=float(self.reader.threshold))

    def follow(self, strokes: Strokes, n_samples: int) -> "FilmDrive":
        """Return the drive of a film with these strokes."""
        return FilmDrive(self, strokes, n_samples)


class FilmDrive:
    """The drive of one film, computed where it is needed; before its first sample it is 0."""

    def __init__(self, keys: KeyDrive, strokes: Strokes, n_samples: int) -> None:
        self._keys, self._strokes = keys, strokes
        self._gains = keys.response.gains(strokes)
        self._fade = float(keys.response.fade)
        sounds = keys.oscillators is None
        self._sound = keys.response.sound(strokes, n_samples) if sounds else None

    def at(self, start: int, count: int) -> Tensor:
        """Return ``count`` samples from ``start`` on: (count,) amplitudes, or (count, C) oscillators."""
        missing = min(max(-start, 0), count)
        begin, n = max(start, 0), count - missing
        if self._sound is not None:
            part = self._sound[begin : begin + n]
            return torch.from_numpy(np.pad(part, (missing, n - len(part))))
        oscillators = self._keys.oscillators
        if oscillators is None:
            raise ValueError("a drive without responses has oscillators")
        some = self._near(begin, n)
        features = oscillators.features(some, self._keys.response.gains(some), self._fade, begin, n)
        return torch.from_numpy(np.pad(features, ((missing, 0), (0, 0))))

    def _near(self, begin: int, n: int) -> Strokes:
        """Return the strokes that may sound in these samples: those before their end."""
        last = int(np.searchsorted(self._strokes.start, begin + n))
        strokes = self._strokes
        return Strokes(
            key=strokes.key[:last],
            start=strokes.start[:last],
            release=strokes.release[:last],
            depth=strokes.depth[:last],
        )
