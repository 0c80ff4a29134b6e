"""Where a note may begin, and the evidence for and against it.

Shapes: F frequency bins, T spectrum columns, P pitches, N partials, C candidates.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from tasks.features.note_activity import Templates
from tasks.features.note_attack import EDGES_HZ, N_BANDS
from tasks.features.note_spectrum import Partials

Reduction = Callable[..., NDArray[np.float32]]

RISE_COLUMNS = 4  # a rise is measured over twice as many columns
FAINTEST_RISE = 0.006  # of the level of a typical sounding moment; fainter ones are no candidates
_SAME_RISE_COLUMNS = 9
_N_PARTIALS = 8  # looked at one by one
# Keys, in semitones from the candidate's, whose partials meet its own or whose lobes touch it.
_RELATIVES = (-28, -24, -19, -12, -7, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 7, 12, 19, 24)
_RISING_RELATIVES = (-24, -19, -12, -1, 1, 12, 19, 24)
# Keys below, with the partials (counted from 0) that the candidate does not share with them: they rise when the lower
# key was struck, and the candidate is its overtone.
_LOWER_KEYS = {12: (0, 2, 4), 19: (0, 1, 3, 4), 24: (0, 1, 2, 4)}
_BEFORE, _AFTER = (-8, -3), (2, 8)  # columns over which a partial's level is taken
_HALF_COLUMNS = np.arange(-12, 7)  # in which a stroke is looked for
_BAND_PITCHES = np.array([0, *(69 + 12 * np.log2(np.array(EDGES_HZ[1:-1]) / 440.0))])
_ABSENT = -8.0  # natural logarithm that stands for a key that is not there


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Moments at which a key's activation rises most, and the evidence for each.

    Attributes:
        row: (C,) which of the pitches.
        column: (C,) at which column it rises fastest.
        time_column: (C,) the same between columns, by a parabola.
        level: (C,) activation after the rise, over that of a typical sounding moment.
        evidence: (C, n) numbers for the decision; they do not depend on the recording's gain.
        names: of the n numbers.
    """

    row: NDArray[np.intp]
    column: NDArray[np.intp]
    time_column: NDArray[np.float64]
    level: NDArray[np.float32]
    evidence: NDArray[np.float32]
    names: tuple[str, ...]


def find_candidates(
    magnitudes: NDArray[np.float32],
    activity: NDArray[np.float32],
    growth: NDArray[np.float32],
    templates: Templates,
    partials: Partials,
    pitches: NDArray[np.integer],
) -> Candidates:
    """List every rise of every key with the evidence for a note.

    The evidence is: how far, how fast and from what the activation rises and how it lasts; the same beside the keys
    that share partials (octave, twelfth and their like: the ghosts) and beside all others at that moment; at each of
    the first eight partials, how far the spectrum itself rises, stands out from its neighbourhood, and is the key's
    own in the sum of all keys.
    """
    level = np.float32(templates.level)
    n_pitches = len(pitches)
    keys = activity[:n_pitches] / level
    spectrum = magnitudes / level
    n_columns = keys.shape[1]
    rise = np.zeros_like(keys)
    rise[:, RISE_COLUMNS:-RISE_COLUMNS] = keys[:, 2 * RISE_COLUMNS :] - keys[:, : -2 * RISE_COLUMNS]
    highest = rise == maximum_filter1d(rise, _SAME_RISE_COLUMNS, axis=1)
    row, column = np.nonzero(highest & (rise > FAINTEST_RISE))
    first = np.zeros_like(row)

    def around(
        x: NDArray[np.float32], rows: NDArray[np.intp], start: int, stop: int, how: Reduction
    ) -> NDArray[np.float32]:
        index = np.clip(column[:, None] + np.arange(start, stop), 0, n_columns - 1)
        return how(x[rows[:, None], index], axis=1)

    columns: dict[str, NDArray[np.floating]] = {}
    after = around(keys, row, 1, 9, np.max)
    log_after = _log(after)
    own_rise = rise[row, column]
    log_rise = _log(own_rise)
    columns["after"] = log_after
    columns["rise_ratio"] = log_after - _log(around(keys, row, -8, -3, np.mean))
    columns["rise"] = log_rise
    columns["rise_share"] = own_rise / (after + 1e-6)
    columns["lasts_100_ms"] = _log(around(keys, row, 8, 14, np.mean)) - log_after
    columns["lasts_200_ms"] = _log(around(keys, row, 16, 26, np.mean)) - log_after
    columns["lasts_400_ms"] = _log(around(keys, row, 34, 46, np.mean)) - log_after
    columns["dip"] = _log(around(keys, row, -6, 0, np.min)) - log_after
    columns["just_before"] = _log(around(keys, row, -15, -7, np.max)) - log_after
    columns["long_before"] = _log(around(keys, row, -45, -15, np.max)) - log_after
    fast = np.zeros_like(keys)
    fast[:, 1:-1] = keys[:, 2:] - keys[:, :-2]
    columns["fast_rise"] = _log(around(fast, row, -3, 4, np.max)) - log_rise

    strongest = keys.max(axis=0, keepdims=True)
    rising = np.maximum(rise, 0)
    all_rising = rising.sum(axis=0, keepdims=True)
    columns["beside_strongest"] = log_after - _log(around(strongest, first, 1, 9, np.max))
    columns["all_rising"] = _log(around(all_rising, first, -2, 3, np.max))
    columns["beside_rising"] = log_rise - _log(around(rising.max(axis=0, keepdims=True), first, -3, 4, np.max))
    columns["at_common_rise"] = _log(all_rising[0, column]) - _log(around(all_rising, first, -5, 6, np.max))

    near_rise = maximum_filter1d(rise, 7, axis=1)
    near_keys = maximum_filter1d(keys, 9, axis=1, origin=-4)
    row_of_pitch = np.full(256, -1)
    row_of_pitch[pitches] = np.arange(n_pitches)
    just_after = np.minimum(column + 1, n_columns - 1)
    for interval in _RELATIVES:
        relative = row_of_pitch[np.clip(pitches[row].astype(np.intp) + interval, 0, 255)]
        there = relative >= 0
        columns[f"key{interval:+d}"] = np.where(there, _log(near_keys[relative, just_after]) - log_after, _ABSENT)
        if interval in _RISING_RELATIVES:
            columns[f"rise{interval:+d}"] = np.where(there, _log(near_rise[relative, column]) - log_rise, _ABSENT)

    loudness = np.log(np.maximum(spectrum, np.float32(1e-5)))
    now, before = _mean_over(loudness, *_AFTER), _mean_over(loudness, *_BEFORE)
    heard_column = np.minimum(column + RISE_COLUMNS, n_columns - 1)
    model = templates.spectrum @ activity / level
    highest_bin = len(spectrum) - 1
    rises, stands = [], []
    for n in range(min(_N_PARTIALS, partials.bin.shape[1])):
        at, there = partials.bin[row, n], partials.present[row, n]
        here = now[at, column]
        beside = np.maximum(now[np.maximum(at - 3, 0), column], now[np.minimum(at + 3, highest_bin), column])
        rises.append(np.where(there, here - before[at, column], 0))
        stands.append(np.where(there, here - beside, 0))
        columns[f"partial{n + 1}_rise"] = rises[-1]
        columns[f"partial{n + 1}_stands_out"] = stands[-1]
        columns[f"partial{n + 1}_level"] = np.where(there, here, -10) - log_after
        modelled = model[at, heard_column]
        share = templates.spectrum[at, row] * keys[row, heard_column] / (modelled + 1e-9)
        columns[f"partial{n + 1}_share"] = np.where(there, share, -1)
        columns[f"partial{n + 1}_unexplained"] = np.where(there, _log(spectrum[at, heard_column]) - _log(modelled), 0)
    columns["n_rising"] = (np.stack(rises) > np.float32(0.3)).sum(axis=0)
    columns["n_standing_out"] = (np.stack(stands) > np.float32(0.5)).sum(axis=0)
    for interval, own in _LOWER_KEYS.items():
        lower = row_of_pitch[np.clip(pitches[row].astype(np.intp) - interval, 0, 255)]
        there = lower >= 0
        at = partials.bin[lower][:, [n for n in own if n < partials.bin.shape[1]]]
        rising = (now[at, column[:, None]] - before[at, column[:, None]]).mean(axis=1)
        columns[f"below{interval}_rise"] = np.where(there, rising, _ABSENT)
        columns[f"below{interval}_level"] = np.where(there, now[at, column[:, None]].mean(axis=1) - log_after, _ABSENT)
    columns |= _strokes(growth, column, pitches[row])
    columns["pitch"] = pitches[row] / 88
    columns["noise"] = _log((activity[n_pitches:].sum(axis=0) / level)[heard_column])
    return Candidates(
        row=row,
        column=column,
        time_column=column + _parabola_top(rise, row, column),
        level=after,
        evidence=np.stack(list(columns.values()), axis=1).astype(np.float32),
        names=tuple(columns),
    )


def _strokes(
    growth: NDArray[np.float32], column: NDArray[np.intp], pitch: NDArray[np.integer]
) -> dict[str, NDArray[np.floating]]:
    """Return how sharp a stroke is around each candidate, and where: in all bands, in the upper, in the key's own."""
    lowest = np.clip(np.searchsorted(_BAND_PITCHES, pitch, side="right") - 1, 0, N_BANDS - 1)
    padded = np.pad(growth, ((0, 2), (0, 0)))
    index = np.clip(2 * column[:, None] + _HALF_COLUMNS, 0, growth.shape[1] - 1)
    tracks = {
        "all": growth.sum(axis=0)[index],
        "upper": growth[N_BANDS // 2 :].sum(axis=0)[index],
        "own": (
            padded[lowest[:, None], index] + padded[lowest[:, None] + 1, index] + padded[lowest[:, None] + 2, index]
        ),
    }
    found: dict[str, NDArray[np.floating]] = {}
    for name, track in tracks.items():
        top = track.max(axis=1)
        found[f"stroke_{name}"] = top
        found[f"stroke_{name}_at"] = np.where(top > 0, _HALF_COLUMNS[track.argmax(axis=1)], 0)
        weight = np.maximum(track - top[:, None] / 2, 0)
        found[f"stroke_{name}_middle"] = (weight * _HALF_COLUMNS).sum(axis=1) / np.maximum(weight.sum(axis=1), 1e-6)
    for k in range(1, len(_HALF_COLUMNS), 3):
        found[f"stroke{_HALF_COLUMNS[k]:+d}"] = tracks["all"][:, k - 1 : k + 2].mean(axis=1)
    return found


def _mean_over(x: NDArray[np.float32], start: int, stop: int) -> NDArray[np.float32]:
    """Return the mean of columns ``start`` to ``stop - 1``, counted from each column; the edges repeat."""
    size = stop - start
    centred: NDArray[np.float32] = uniform_filter1d(x, size, axis=1, mode="nearest")
    return centred[:, np.clip(np.arange(x.shape[1]) + start + size // 2, 0, x.shape[1] - 1)]


def _log(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.log(np.maximum(x, np.float32(1e-4)))


def _parabola_top(x: NDArray[np.float32], row: NDArray[np.intp], column: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return how far from a highest column, in columns, the top of the parabola through it and its neighbours is."""
    left = x[row, np.maximum(column - 1, 0)].astype(np.float64)
    here = x[row, column].astype(np.float64)
    right = x[row, np.minimum(column + 1, x.shape[1] - 1)].astype(np.float64)
    bend = np.maximum(2 * here - left - right, 1e-12)
    top: NDArray[np.float64] = np.clip((right - left) / (2 * bend), -0.5, 0.5)
    return top
