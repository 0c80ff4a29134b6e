"""Partials of each key that start in phase at its stroke: tones for a network to make a key's sound from.

Frequencies and decays are those of the strongest partials in the keys' learned responses; amplitudes and phases are
left to the network. Shapes: K keys, M partials of a key, S strokes, T samples; features are 2 K M.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor, nn

from models.key_response import INAUDIBLE, KeyResponse
from models.key_states import Strokes

PADDING = 8  # times the length of a response: finer steps of frequency
APART_HZ = 15.0  # least distance of two partials of a key
SLOWEST_S = 20.0  # of a decay to 1 / e

Floats = NDArray[np.float32]
_F = TypeVar("_F", bound=Callable[..., Any])


class Oscillators(nn.Module):
    """Cosine and sine of each key's partials since its last strokes, as loud as these were, decaying and fading."""

    steps: Tensor
    decays: Tensor

    def __init__(self, n_keys: int, n_partials: int) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros(n_keys, n_partials))  # radians a sample
        self.register_buffer("decays", torch.zeros(n_keys, n_partials))  # of the logarithm, a sample

    @property
    def n_features(self) -> int:
        """Return how many features a sample has."""
        return 2 * self.steps.numel()

    def tune(self, response: KeyResponse, rate: int) -> None:
        """Take frequencies and decays of the strongest partials from learned responses.

        Args:
            response: of the keys.
            rate: of its samples, in Hz.
        """
        for key, sound in enumerate(response.responses.cpu().numpy().astype(np.float64)):
            steps, decays = strongest_partials(sound, self.steps.shape[1], rate)
            self.steps[key] = torch.from_numpy(steps)
            self.decays[key] = torch.from_numpy(decays)

    def features(self, strokes: Strokes, gains: Floats, fade: float, start: int, count: int) -> Floats:
        """Return the features of ``count`` samples from ``start`` on, (count, 2 K M)."""
        steps, decays = self.steps.cpu().numpy(), self.decays.cpu().numpy()
        found = np.zeros((count, self.n_features), np.float32)
        _oscillate(strokes.key, strokes.start, strokes.release, gains, steps, decays, fade, start, found)
        return found


def strongest_partials(sound: NDArray[np.float64], n: int, rate: int) -> tuple[Floats, Floats]:
    """Return step in radians and decay of the logarithm, a sample, of the n strongest partials, (n,) each.

    Partials that are not there have step and decay 0.
    """
    steps, decays = np.zeros(n, np.float32), np.zeros(n, np.float32)
    half = len(sound) // 2
    size = PADDING * len(sound)
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), size))
    apart = int(APART_HZ * size / rate)
    for partial in range(n):
        peak = int(np.argmax(spectrum))
        if spectrum[peak] <= 0 or not 0 < peak < len(spectrum) - 1:
            break
        left, middle, right = np.log(np.maximum(spectrum[peak - 1 : peak + 2], 1e-30))
        bend = left - 2 * middle + right
        place = peak + (0.5 * (left - right) / bend if bend < 0 else 0.0)
        step = 2 * np.pi * place / size
        turn = np.exp(-1j * step * np.arange(len(sound)))
        early, late = abs((sound[:half] * turn[:half]).sum()), abs((sound[half : 2 * half] * turn[:half]).sum())
        steps[partial] = step
        decays[partial] = np.clip(np.log(max(early, 1e-30) / max(late, 1e-30)) / half, 1 / (SLOWEST_S * rate), 0.01)
        spectrum[max(peak - apart, 0) : peak + apart + 1] = 0
    return steps, decays


@cast(Callable[[_F], _F], njit(cache=True, nogil=True))
def _oscillate(
    key: NDArray[np.int64],
    start: NDArray[np.int64],
    release: NDArray[np.int64],
    gains: Floats,
    steps: Floats,
    decays: Floats,
    fade: float,
    first: int,
    found: Floats,
) -> None:
    n_partials = steps.shape[1]
    for s in range(len(key)):
        k = key[s]
        for m in range(n_partials):
            if steps[k, m] == 0:
                continue
            column = 2 * (k * n_partials + m)
            for t in range(max(start[s] - first, 0), len(found)):
                age = first + t - start[s]
                gain = gains[s] * np.exp(-decays[k, m] * age)
                if first + t >= release[s]:
                    gain *= fade ** (first + t - max(release[s], start[s]) + 1)
                if gain < INAUDIBLE:
                    break
                phase = steps[k, m] * age
                found[t, column] += gain * np.cos(phase)
                found[t, column + 1] += gain * np.sin(phase)
