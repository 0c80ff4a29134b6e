"""How loud a recording is for people: integrated loudness in LUFS (ITU-R BS.1770-4, gated as EBU R 128 has it)."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

_HOP_S, _HOPS_A_BLOCK = 0.1, 4  # blocks of 400 ms, three quarters of each in the next one
_OFFSET_LUFS = -0.691
_ABSOLUTE_LUFS, _RELATIVE_LU = -70.0, -10.0  # the gates


class LoudnessMeter:
    """Measures sound that comes in blocks; a number is kept for each tenth of a second.

    All channels count alike: microphones of one recorder are no loudspeakers around a listener.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._filters = k_weighting(sample_rate)
        self._states = [np.zeros((2, channels)) for _ in self._filters]
        self._hop = round(_HOP_S * sample_rate)
        self._rest = np.zeros((0, channels))
        self._powers: list[NDArray[np.float64]] = []

    def add(self, block: NDArray[np.float32]) -> None:
        """Take the next samples, (n, channels)."""
        weighted = block.astype(np.float64)
        for number, (forward, back) in enumerate(self._filters):
            weighted, self._states[number] = lfilter(forward, back, weighted, axis=0, zi=self._states[number])
        whole = np.concatenate([self._rest, weighted])
        n = len(whole) // self._hop
        hops = whole[: n * self._hop].reshape(n, self._hop, whole.shape[1])
        self._powers.append(np.einsum("nhc,nhc->n", hops, hops) / self._hop)
        self._rest = whole[n * self._hop :]

    def lufs(self) -> float | None:
        """Return the integrated loudness; None for silence, and for less than 400 ms."""
        powers = np.concatenate([np.zeros(0), *self._powers])
        if len(powers) < _HOPS_A_BLOCK:
            return None
        blocks = np.convolve(powers, np.full(_HOPS_A_BLOCK, 1 / _HOPS_A_BLOCK), "valid")
        heard = blocks[blocks > _power(_ABSOLUTE_LUFS)]
        if not len(heard):
            return None
        kept = heard[heard > heard.mean() * 10 ** (_RELATIVE_LU / 10)]
        return _OFFSET_LUFS + 10 * math.log10(float(kept.mean()))


def k_weighting(sample_rate: int) -> tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]:
    """Return BS.1770's two filters, a shelf for the head and a high-pass, for any rate: (forward, back) each.

    The recommendation prints their coefficients at 48 kHz; these are the analogue filters behind them (as libebur128
    has them), which give the same numbers there.
    """
    gain_db, shelf_hz, shelf_q = 3.999843853973347, 1681.974450955533, 0.7071752369554196
    pass_hz, pass_q = 38.13547087602444, 0.5003270373238773
    k = math.tan(math.pi * shelf_hz / sample_rate)
    high = 10 ** (gain_db / 20)
    band = high**0.4996667741545416
    scale = 1 + k / shelf_q + k * k
    shelf = (
        np.array([high + band * k / shelf_q + k * k, 2 * (k * k - high), high - band * k / shelf_q + k * k]) / scale,
        np.array([1.0, 2 * (k * k - 1) / scale, (1 - k / shelf_q + k * k) / scale]),
    )
    k = math.tan(math.pi * pass_hz / sample_rate)
    scale = 1 + k / pass_q + k * k
    high_pass = (
        np.array([1.0, -2.0, 1.0]),
        np.array([1.0, 2 * (k * k - 1) / scale, (1 - k / pass_q + k * k) / scale]),
    )
    return shelf, high_pass


def _power(lufs: float) -> float:
    return float(10 ** ((lufs - _OFFSET_LUFS) / 10))
