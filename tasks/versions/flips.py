"""One test of many figures over the same pieces: which of them moved, all together.

Where two versions do the same, it is chance which of them is the old one on each piece. So the versions of each piece
are exchanged in every way, of all figures at once, and each figure's distance is held against the largest distance of
any figure. What figures have in common is in that: twenty that say one thing cost no more than one.

Source:
    Fisher 1935 (the test); Westfall and Young 1993, algorithm 2.8 (step-down, over the largest of the statistics);
    Romano and Wolf 2005 (which studentized statistics may be taken).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_PIECES = 6
"""With five pieces one exchange in 16 gives as large a distance as any: no figure could ever be called."""

_MOST_EXCHANGES = 4096  # up to 13 pieces all there are; of more pieces so many, drawn
_SEED = 0


@dataclass(frozen=True, kw_only=True)
class FlipTest:
    """Which of many figures moved.

    Attributes:
        p: (F,) how likely a figure's distance is beside all the others where no figure moved, in [0, 1].
        error: (F,) standard error of the sum over pieces.
        critical: how many of its own errors any sum has to be away from 0 to be called at the level.
    """

    p: NDArray[np.float64]
    error: NDArray[np.float64]
    critical: float


def flip_test(by_piece: Sequence[Mapping[str, float]], *, level: float) -> FlipTest:
    """Test figures over pieces, so that with probability ``level`` none is called where none moved.

    Args:
        by_piece: of each figure, the summed difference of each piece that has it; at least two pieces, one not 0.
        level: for `FlipTest.critical`, 0 to 1.
    """
    pieces = sorted({piece for sums in by_piece for piece in sums})
    places = {piece: place for place, piece in enumerate(pieces)}
    sums = np.zeros((len(pieces), len(by_piece)))
    for figure, own in enumerate(by_piece):
        sums[[places[piece] for piece in own], figure] = list(own.values())
    n_own = np.array([len(own) for own in by_piece], np.float64)
    squares = np.square(sums).sum(axis=0)

    def errors(moved: NDArray[np.float64]) -> NDArray[np.float64]:
        left = np.maximum(squares - np.square(moved) / n_own, 1e-12 * squares)
        return np.asarray(np.sqrt(n_own / (n_own - 1) * left), np.float64)

    moved = _signs(len(pieces)) @ sums  # (exchanges, F)
    away = np.abs(moved) / errors(moved)
    found = away[0] * (1 - 1e-9)  # the same distance, added up in another order
    p = np.empty(len(by_piece))
    largest = np.full(len(away), -np.inf)
    order = np.argsort(-away[0], kind="stable")
    for figure in order[::-1]:
        np.maximum(largest, away[:, figure], out=largest)
        p[figure] = (largest >= found[figure]).mean()
    p[order] = np.maximum.accumulate(p[order])
    critical = float(np.quantile(away.max(axis=1), level, method="higher"))
    return FlipTest(p=p, error=errors(moved[0]), critical=critical)


def _signs(n_pieces: int) -> NDArray[np.float64]:
    """Return exchanges (n, pieces) of 1 and -1, the first of which exchanges nothing."""
    n_all = 2 ** min(n_pieces - 1, 62)  # one piece may stay as it is: all exchanged is as far away
    if n_all <= _MOST_EXCHANGES:
        bits = np.arange(n_all)[:, None] >> np.arange(n_pieces) & 1
    else:
        bits = np.random.default_rng(_SEED).integers(2, size=(_MOST_EXCHANGES, n_pieces))
        bits[0] = 0
    return np.asarray(1.0 - 2.0 * bits, np.float64)
