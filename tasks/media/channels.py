"""Which channels of a recording are used: all of them, averaged, unless some are dead or they cancel each other.

This is the one place where channels become one. A cable with crossed wires inverts a channel, and the mean of it and
the other one is silence; a plug in a jack that is too wide leaves one channel without sound, or with a constant.

Shapes: n samples, C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SILENT = 1e-4  # -80 dB of full scale: what swings less is silence
# Power of the channels' mean over what it would be if they were independent: 1 + r for two of one level, r their
# correlation. Pairs of spaced microphones in one room have r about 0 or above; an inverted one has r near -1.
CANCELS = 0.25
CANCELLED = 0.2  # share of the power in blocks that cancel, from which on it does not matter that others do not
AS_STRONG = (
    0.99  # of the strongest channel's power: the first of those that are as strong is used, however it is rounded
)


@dataclass(frozen=True, kw_only=True)
class UsedChannels:
    """The channels that a recording's sound is the mean of.

    Attributes:
        used: their numbers from 0, ascending.
        n_channels: of the recording.
        dead: those that hold silence or a constant, while another one does not.
        cancels: whether the channels that are not dead cancel each other, all the time or in part of it, so that the
            strongest alone is used.
    """

    used: tuple[int, ...]
    n_channels: int
    dead: tuple[int, ...] = ()
    cancels: bool = False

    @property
    def is_all(self) -> bool:
        """Whether it is the mean of all channels."""
        return len(self.used) == self.n_channels

    @property
    def remark(self) -> str:
        """What is said to people, who count channels from 1; empty where all are used."""
        if self.is_all:
            return ""
        found = []
        if self.dead:
            found.append(f"{_listed(self.dead)} of {self.n_channels} {_verb(self.dead, 'holds', 'hold')} no sound")
        if self.cancels:
            live = [channel for channel in range(self.n_channels) if channel not in self.dead]
            found.append(f"{_listed(live)} cancel each other")
        return f"{' and '.join(found)}: {_listed(self.used)} {_verb(self.used, 'is', 'are')} used"

    def mix(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mean (n, 1) of the channels that are used, of a block (n, C)."""
        kept = block if self.is_all else block[:, list(self.used)]
        mixed: NDArray[np.float32] = kept.mean(axis=1, keepdims=True)
        return mixed


def every_channel(n_channels: int) -> UsedChannels:
    """Return all channels as those that are used."""
    return UsedChannels(used=tuple(range(n_channels)), n_channels=n_channels)


class ChannelMeter:
    """Measures how the channels of a recording go together; blocks come one after the other."""

    def __init__(self, channels: int) -> None:
        self._n = 0
        self._low = np.full(channels, np.inf)
        self._high = np.full(channels, -np.inf)
        self._sum = np.zeros(channels)
        self._products = np.zeros((channels, channels))
        self._power = self._cancelled = 0.0  # of all blocks, of those that cancel: a cable may be changed in between

    def add(self, block: NDArray[np.float32]) -> None:
        """Take the next samples (n, C), all finite."""
        if not len(block) or len(self._sum) == 1:
            return
        self._n += len(block)
        self._low = np.minimum(self._low, block.min(axis=0))
        self._high = np.maximum(self._high, block.max(axis=0))
        values = block.astype(np.float64)
        self._sum += values.sum(axis=0)
        products = values.T @ values
        self._products += products
        means = values.mean(axis=0)
        covariance = products / len(values) - np.outer(means, means)
        power = float(np.trace(covariance)) * len(values)
        self._power += power
        if covariance.sum() * len(values) < CANCELS * power:
            self._cancelled += power

    def used(self) -> UsedChannels:
        """Return which channels are used, by all samples so far."""
        n_channels = len(self._sum)
        every = tuple(range(n_channels))
        live = np.flatnonzero(self._high - self._low >= 2 * SILENT) if self._n else np.zeros(0, np.intp)
        if n_channels == 1 or not len(live):
            return every_channel(n_channels)
        dead = tuple(channel for channel in every if channel not in live)
        means = self._sum / self._n
        covariance = (self._products / self._n - np.outer(means, means))[np.ix_(live, live)]
        power = np.diag(covariance)
        cancels = covariance.sum() < CANCELS * power.sum() or self._cancelled >= CANCELLED * self._power
        if len(live) > 1 and cancels:
            strongest = int(live[np.argmax(power >= AS_STRONG * power.max())])
            return UsedChannels(used=(strongest,), n_channels=n_channels, dead=dead, cancels=True)
        return UsedChannels(used=tuple(live.tolist()), n_channels=n_channels, dead=dead)


def _listed(channels: Sequence[int]) -> str:
    numbers = [str(channel + 1) for channel in channels]
    words = numbers[0] if len(numbers) == 1 else f"{', '.join(numbers[:-1])} and {numbers[-1]}"
    return f"channel{'s' if len(numbers) > 1 else ''} {words}"


def _verb(channels: Sequence[int], one: str, several: str) -> str:
    return one if len(channels) == 1 else several
