"""Notes from note amplitudes: where an amplitude rises, something was struck.

A window of three frames slides over a stroke in steps of one frame: a note's amplitude rises for three or four windows,
each time by as much as the window weighs the stroke's moment. The middle of that rise, weighed by amplitude, is the
stroke's time to a fraction of a frame; and a stroke on a note that still rings rises too, if less.

Shapes: F windows, n notes, N notes that were found.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

WINDOW_FRAMES = 3
_LEFT = 0.1  # of its loudest: below it a note counts as over
LEVELS = (0.01, 0.03, 0.06, 0.1, 0.15)
RISES = (0.15, 0.25, 0.35, 0.5, 0.7, 1.0, 1.5)
MASKS = (0.0, 0.15, 0.3, 0.4, 0.5)
LAGS_S = tuple(round(0.005 * step, 3) for step in range(-8, 9))


@dataclass(frozen=True, kw_only=True)
class Picker:
    """When a rise is a stroke.

    Attributes:
        level: amplitude, relative to the loudest of training, below which differences mean little.
        rise: growth of ``log(1 + amplitude / level)`` over two windows that a stroke has at least.
        mask: a stroke below this share of the loudest one within a frame of it is that one's partials.
        lag_s: what is taken off every onset.
    """

    level: float
    rise: float
    mask: float = 0.0
    lag_s: float = 0.0


CAREFUL = Picker(level=0.1, rise=0.45, mask=0.3)
"""What counts as a stroke in true amplitudes before anything is fitted."""


@dataclass(frozen=True, kw_only=True)
class PickedNotes:
    """Strokes in order of time.

    Attributes:
        onset_s: from the first frame's beginning, (N,).
        offset_s: where the note has faded to a tenth or is struck again, (N,).
        note: index of each note, (N,).
        amplitude: that the note rose to, (N,).
    """

    onset_s: NDArray[np.float64]
    offset_s: NDArray[np.float64]
    note: NDArray[np.intp]
    amplitude: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.onset_s)


def pick_notes(amplitudes: NDArray[np.floating], *, frame_rate: Fraction, picker: Picker) -> PickedNotes:
    """Find the strokes in note amplitudes.

    Args:
        amplitudes: (F, n), at least 0, 1 for the loudest note of training; window k covers frames k to k + 2.
        frame_rate: windows a second.
        picker: when a rise is a stroke.

    Raises:
        ValueError: an amplitude is negative or no number.
    """
    if not (np.asarray(amplitudes) >= 0).all():  # written so that NaN is refused too
        raise ValueError("an amplitude is negative or no number, expected 0 or more")
    if not len(amplitudes):
        return PickedNotes(onset_s=np.zeros(0), offset_s=np.zeros(0), note=np.zeros(0, np.intp), amplitude=np.zeros(0))
    linear = np.pad(np.asarray(amplitudes, np.float64), ((2, 2), (0, 0)))
    growth = np.maximum(np.diff(linear, axis=0), 0)  # (F + 3, n): row r leads from window r - 2 to r - 1
    loud = np.diff(np.log1p(linear / picker.level), axis=0)
    rise = loud[:-1] + loud[1:]  # (F + 2, n): over the two steps r and r + 1
    higher = np.pad(rise, ((1, 1), (0, 0)), constant_values=-np.inf)
    is_peak = (rise > higher[:-2]) & (rise >= higher[2:]) & (rise >= picker.rise)
    step, note = np.nonzero(is_peak)
    # Four steps around the rise, as many as a window of three frames takes to pass a stroke.
    around = np.clip(step[:, None] + np.arange(-1, 3), 0, len(growth) - 1)
    weight = growth[around, note[:, None]]
    # What rose to another stroke's peak belongs to that one.
    middle_s = (around - 2 + (WINDOW_FRAMES + 1) / 2) / float(frame_rate)  # between the middles of both windows
    onset_s = (weight * middle_s).sum(axis=1) / np.maximum(weight.sum(axis=1), 1e-12) - picker.lag_s
    order = np.lexsort((note, onset_s))
    onset_s, note, step = np.maximum(onset_s[order], 0.0), note[order], step[order]
    amplitude = linear[np.clip(step[:, None] + np.arange(1, 4), 0, len(linear) - 1), note[:, None]].max(axis=1)
    loudest = np.zeros(len(linear) + 2)
    np.maximum.at(loudest, step + 1, amplitude)
    nearby = np.max([loudest[step], loudest[step + 1], loudest[step + 2]], axis=0) if len(step) else amplitude
    kept = amplitude >= picker.mask * nearby
    onset_s, note, amplitude = onset_s[kept], note[kept], amplitude[kept]
    return PickedNotes(
        onset_s=onset_s,
        offset_s=_offsets(linear[2:-2], onset_s, note, amplitude, float(frame_rate)),
        note=note,
        amplitude=amplitude,
    )


def fit_picker(
    score: Callable[[Picker], float],
    *,
    levels: Iterable[float] = LEVELS,
    rises: Iterable[float] = RISES,
    masks: Iterable[float] = MASKS,
    lags_s: Sequence[float] = LAGS_S,
) -> Picker:
    """Return the picker that scores best together with its neighbours.

    Args:
        score: of a picker, such as onset F1 over the validation takes.
        levels: that are tried.
        rises: that are tried with each level.
        masks: that are tried with each of both.
        lags_s: that are tried with the best of those three.
    """
    axes = (tuple(levels), tuple(rises), tuple(masks))
    scored = np.array([score(Picker(level=level, rise=rise, mask=mask)) for level, rise, mask in product(*axes)])
    # Few validation notes leave many pickers alike: the one whose neighbours do well too is the likeliest to last.
    smooth = uniform_filter(scored.reshape([len(axis) for axis in axes]), size=3, mode="nearest")
    level, rise, mask = (
        axis[row] for axis, row in zip(axes, np.unravel_index(smooth.argmax(), smooth.shape), strict=True)
    )
    best = Picker(level=level, rise=rise, mask=mask)
    shifted = [replace(best, lag_s=lag_s) for lag_s in lags_s]
    scored = np.array([score(picker) for picker in shifted])
    # The middle of the lags that do best: the farthest from where onsets fall out of tolerance.
    return shifted[_middle(np.flatnonzero(scored >= scored.max() - 1e-9))]


def _middle(rows: NDArray[np.intp]) -> int:
    return int(rows[(len(rows) - 1) // 2])


def _offsets(
    amplitudes: NDArray[np.float64],
    onset_s: NDArray[np.float64],
    note: NDArray[np.intp],
    amplitude: NDArray[np.float64],
    frame_rate: float,
) -> NDArray[np.float64]:
    n_windows = len(amplitudes)
    end_s = (n_windows + WINDOW_FRAMES - 1) / frame_rate
    offset_s = np.empty(len(onset_s))
    for row in range(len(onset_s)):
        after = min(int(onset_s[row] * frame_rate) + 1, n_windows)
        faded = np.flatnonzero(amplitudes[after:, note[row]] < _LEFT * amplitude[row])
        offset_s[row] = (after + faded[0] + WINDOW_FRAMES / 2) / frame_rate if len(faded) else end_s
        again = onset_s[row + 1 :][note[row + 1 :] == note[row]]
        if len(again):
            offset_s[row] = min(offset_s[row], again[0])
    least_s = 1e-3
    kept: NDArray[np.float64] = np.maximum(offset_s, onset_s + least_s)
    return kept
