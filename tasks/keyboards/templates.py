"""What each key looks like when it is down: learned from a film's own clear notes, held to what keys have in common.

A white key changes where it is seen between its black neighbours, a black one at its edges; the farther from the
camera's axis, the more to one side. So over where a key is seen, its change is a line over its place along the
keyboard. The line is fitted to the keys that the film shows clearly. Keys that it does not show are taken from the
line; what was learned of a key and is unlike the line was no press of that key.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from tasks.keyboards.evidence import PER_WHITE, Evidence, seen_spans

_REACH = 1.0  # white keys beside a key in which it changes the picture
_NEIGHBOURS = 4  # keys on each side that may explain the same columns
_LEAST_NOISE = 0.8  # levels of luma
_CLEAR_TIMES = 6.0  # that a clear change is above the noise
_N_CLEAR = 2  # pictures that a key's template needs
_MOST_CLEAR = 60  # that it is learned from
_ROUNDS = 2  # of learning
_NEEDED_REACH = 1.5  # white keys on each side of a key that is held against the others
_SWEEPS = 12  # of the least squares
_ALONE = 0.35  # of a press, that neighbours may show in a clear picture
_LOUDEST_RIVAL = 0.85  # of a key's own change, that those beside it may show where it is never down alone
_BESIDE = 10  # columns on each side of where a key is seen, over which keys are compared
_LEANS = 3  # columns beside a black key in which it changes the picture most
_INSIDE = 12  # columns that what is seen of a key is stretched to
_FITS = 5  # of the line over the keys
_NEAR = 0.1  # half keyboards: keys within this count most
_N_NEAR = 5  # keys that count at least
_OTHER_SHAPE = 0.3  # that a key between other neighbours counts as farther away
_FAR = 0.01  # that all others count
_SMOOTH = 0.03  # that a slope along the keyboard is held back by, where there are few keys
_KNOWN = 0.35  # half keyboards: from keys within this it is known what a key looks like
_SUPPORT = 0.4  # of one key, that has to be that near for another's own template to be refused
_LEAST_LIKE = 0.5  # correlation of a key's template with the line, below which it is not the key's
_SIZES = (0.33, 3.0)  # of the line's size, within which a template is the key's


@dataclass(frozen=True)
class Presses:
    """How far each key is down in each picture.

    Attributes:
        amount: (T, K): 0 is up, 1 as far down as in its template.
        changes: (T, C) what is left of the luma's changes without drift and shadows.
        templates: (K, C).
        noise: (C,) of the changes.
    """

    amount: NDArray[np.float32]
    changes: NDArray[np.float32]
    templates: NDArray[np.float32]
    noise: NDArray[np.float32]


def presses_of(changes: NDArray[np.float32], evidence: Evidence) -> Presses:
    """Learn what each key looks like when it is down, and explain every picture by the keys.

    Args:
        changes: (T, C) of the keys' luma from idle.
        evidence: that they come from.
    """
    noise = _noise(changes)
    common = _Common(evidence)
    own = _first_templates(changes, noise, evidence)
    # A key that is down most of the time looks idle then, and changes when it comes up.
    turned = common.turned(own)
    own[turned] *= -1
    changes = changes + own[turned].sum(axis=0)
    templates, own = common.held(own)
    amount = _explained_by(changes, templates, noise)
    for _ in range(_ROUNDS):
        own = _learned_again(own, changes, amount, templates, noise, evidence)
        templates, own = common.held(own)
        amount = _explained_by(changes, templates, noise)
    return Presses(amount=amount, changes=changes, templates=templates, noise=noise)


def columns_of(evidence: Evidence, key: int, reach: float) -> slice:
    """Return the columns of a key and of so many white keys on each side of it."""
    first, last = evidence.spans[key]
    n_columns = len(evidence.still_profile)
    return slice(max(0, int(first - reach * PER_WHITE)), min(n_columns, int(np.ceil(last + reach * PER_WHITE))))


def needed(presses: Presses, evidence: Evidence, key: int, pictures: slice) -> float:
    """Return how much more of what pictures show around a key is left without it, as a share of what is left with it.

    Noise and templates that are a little wrong let a key beside one that is down seem to be a part of it.
    """
    columns = columns_of(evidence, key, _NEEDED_REACH)
    near = [
        other
        for other in range(max(0, key - _NEIGHBOURS - 1), min(len(presses.templates), key + _NEIGHBOURS + 2))
        if presses.templates[other].any()
    ]
    weighted = (presses.templates[near][:, columns] / presses.noise[columns]).T.astype(np.float64)
    seen = (presses.changes[pictures, columns].mean(axis=0) / presses.noise[columns]).astype(np.float64)
    rest = nnls(weighted, seen)[1] ** 2
    rest_without = nnls(np.delete(weighted, near.index(key), axis=1), seen)[1] ** 2
    return float((rest_without - rest) / max(rest, 1e-9))


def _noise(changes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the noise of each column, from pictures that follow each other."""
    steps = np.diff(changes[:: max(1, len(changes) // 4000)], axis=0)
    spread = 1.48 * np.median(np.abs(steps - np.median(steps, axis=0)), axis=0) / np.sqrt(2)
    return np.asarray(np.maximum(spread, _LEAST_NOISE), np.float32)


class _Common:
    """What keys of one colour have in common: their change over where they are seen, a line over the keyboard."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._n_columns = len(evidence.still_profile)
        seen = seen_spans(evidence.spans, evidence.is_black)
        self._at = np.concatenate(
            [
                seen[:, :1] + np.arange(-_BESIDE, 0),
                seen[:, :1] + (np.arange(_INSIDE) + 0.5) / _INSIDE * (seen[:, 1:] - seen[:, :1]) - 0.5,
                seen[:, 1:] + np.arange(_BESIDE),
            ],
            axis=1,
        )  # (K, grid) columns
        self._along = (seen.mean(axis=1) / self._n_columns - 0.5) * 2
        beside = np.pad(evidence.is_black, 1)
        self._shape = beside[:-2] + 2 * beside[2:]  # on which sides of a key there is a black one

    def held(self, own: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return templates (K, C): a key's own where it is like what is expected of it, else that; and the own ones.

        Args:
            own: (K, C); a row of zeros where a film does not show the key clearly.
        """
        made, kept = own.copy(), own.copy()
        for key, expected, support in self._all_expected(own):
            is_unlike = _likeness(self._grid(own[key], key), expected) < _LEAST_LIKE and support >= _SUPPORT
            if not own[key].any() or is_unlike:
                made[key] = self._columns(expected, key)
                kept[key] = 0.0
        return made, kept

    def turned(self, own: NDArray[np.float32]) -> NDArray[np.intp]:
        """Return the keys whose own templates are the opposite of what is expected.

        Far from all others only the shade is compared: edges differ along the keyboard.
        """
        shade = slice(_BESIDE + 2, _BESIDE + _INSIDE - 2)
        keys = []
        for key, expected, support in self._all_expected(own):
            grid = -self._grid(own[key], key)
            if support < _SUPPORT:
                grid, expected = np.full(2, grid[shade].mean()), np.full(2, expected[shade].mean())
            if _likeness(grid, expected) >= _LEAST_LIKE:
                keys.append(key)
        return np.array(keys, np.intp)

    def _all_expected(self, own: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float64], float]]:
        """Give keys with what is expected of them from the others of their colour, and how much of those is near."""
        has_own = np.asarray(own.any(axis=1), np.bool_)
        for is_black in (False, True):
            keys = np.flatnonzero(self._evidence.is_black == is_black)
            known = keys[has_own[keys]]
            if not len(known):
                continue
            grids = np.stack([self._grid(own[key], key) for key in known])
            weight = self._weights(grids, known)
            for key in keys.tolist():
                if len(known) > 1 or known[0] != key:
                    away = np.abs(self._along[known] - self._along[key])[known != key]
                    support = float((np.minimum(weight[known != key], 1.0) * np.exp(-((away / _KNOWN) ** 2))).sum())
                    yield key, self._expected(grids, known, weight, key), support

    def _weights(self, grids: NDArray[np.float64], known: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return how much each known key counts: one that is unlike the others near it counts little."""
        weight = np.ones(len(known))
        if len(known) < 2:
            return weight
        size = np.maximum(np.sqrt((grids**2).sum(axis=1)), 1e-6)
        for _ in range(_FITS):
            expected = np.stack([self._expected(grids, known, weight, key) for key in known])
            away = np.sqrt(((grids - expected) ** 2).sum(axis=1)) / np.maximum(size, np.sqrt((expected**2).sum(axis=1)))
            weight = 1 / (0.1 + (away / max(0.2, float(np.median(away)))) ** 2)
        return weight

    def _expected(
        self, grids: NDArray[np.float64], known: NDArray[np.intp], weight: NDArray[np.float64], key: int
    ) -> NDArray[np.float64]:
        """Return what a key looks like by a line through the others that are known, the nearer the more, (grid,)."""
        beside = self._along[known] - self._along[key]
        away = np.abs(beside) + _OTHER_SHAPE * (self._shape[known] != self._shape[key])
        width = max(_NEAR, float(np.sort(away[known != key])[min(_N_NEAR, (known != key).sum()) - 1]))
        near = weight * (known != key) * (np.exp(-((away / width) ** 2)) + _FAR)
        terms = np.stack([np.ones(len(known)), beside / width], axis=1)
        ridge = np.diag([1e-6, _SMOOTH * float(near.sum())])
        line = np.linalg.solve((terms * near[:, None]).T @ terms + ridge, (terms * near[:, None]).T @ grids)
        return np.asarray(line[0], np.float64)

    def _grid(self, template: NDArray[np.float32], key: int) -> NDArray[np.float64]:
        on_grid = np.interp(self._at[key], np.arange(self._n_columns), template, left=0.0, right=0.0)
        return np.asarray(on_grid, np.float64)

    def _columns(self, grid: NDArray[np.float64], key: int) -> NDArray[np.float32]:
        """Return a template (C,) of what is seen on a key's grid."""
        columns = np.arange(self._n_columns)
        return np.interp(columns, self._at[key], grid, left=0.0, right=0.0).astype(np.float32)


def _likeness(grid: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """Return the correlation of a template with what is expected; -1 where it is far smaller or greater."""
    size, expected_size = np.sqrt((grid**2).sum()), np.sqrt((expected**2).sum())
    if size == 0 or expected_size == 0 or not _SIZES[0] < size / expected_size < _SIZES[1]:
        return -1.0
    return float((grid * expected).sum() / (size * expected_size))


def _first_templates(
    changes: NDArray[np.float32], noise: NDArray[np.float32], evidence: Evidence
) -> NDArray[np.float32]:
    """Return templates from pictures in which a key changes more than the keys beside it, best of all alone."""
    seen = seen_spans(evidence.spans, evidence.is_black)
    seen[evidence.is_black] += np.array([-1, 1]) * _LEANS  # over its neighbours, when it goes down
    seen = np.rint(seen).astype(int)
    n_keys, n_columns = len(seen), changes.shape[1]
    first = np.clip(seen[:, 0], 0, n_columns - 1)
    own = [slice(begin, max(begin + 1, end)) for begin, end in zip(first.tolist(), seen[:, 1].tolist(), strict=True)]
    strength = np.stack([(np.abs(changes[:, key]) / noise[key]).mean(axis=1) for key in own], axis=1)  # (T, K)
    templates = np.zeros((n_keys, n_columns), np.float32)
    for key in range(n_keys):
        rival = strength[:, _beside(key, n_keys)].max(axis=1)
        is_clear = strength[:, key] > _CLEAR_TIMES
        for most_rival, reach in ((_ALONE, _REACH), (_LOUDEST_RIVAL, _REACH / 2)):
            clear = np.flatnonzero(is_clear & (rival < most_rival * strength[:, key]))
            if len(clear) >= _N_CLEAR:
                strongest = clear[np.argsort(strength[clear, key])[::-1]][: max(_N_CLEAR, len(clear) // 2)]
                columns = columns_of(evidence, key, reach)
                templates[key, columns] = _middle(changes[strongest, columns])
                break
    return templates


def _beside(key: int, n_keys: int) -> list[int]:
    return [near for near in range(key - 2, key + 3) if near != key and 0 <= near < n_keys]


def _middle(changes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the median over some of the pictures (n, C)."""
    return np.asarray(np.median(changes[:: max(1, len(changes) // _MOST_CLEAR)], axis=0), np.float32)


def _learned_again(
    own: NDArray[np.float32],
    changes: NDArray[np.float32],
    amount: NDArray[np.float32],
    templates: NDArray[np.float32],
    noise: NDArray[np.float32],
    evidence: Evidence,
) -> NDArray[np.float32]:
    """Return templates from what is left of pictures in which a key is down when the others are taken away.

    A key that is never down alone keeps its own of before.
    """
    n_keys = len(templates)
    made = own.copy()
    for key in range(n_keys):
        columns = columns_of(evidence, key, _REACH)
        size = float(np.sqrt(((templates[key, columns] / noise[columns]) ** 2).sum()))
        is_alone = (amount[:, _beside(key, n_keys)] < _ALONE).all(axis=1)
        clear = np.flatnonzero((amount[:, key] > 0.6) & is_alone)
        if len(clear) < _N_CLEAR or size < _CLEAR_TIMES:
            continue
        others = amount[clear].copy()
        others[:, key] = 0.0
        made[key] = 0.0
        made[key, columns] = _middle(changes[clear][:, columns] - others @ templates[:, columns])
    return made


def _explained_by(
    changes: NDArray[np.float32], templates: NDArray[np.float32], noise: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return non-negative amounts (T, K) of the templates that explain changes best."""
    weighted = templates / noise
    gram = weighted @ weighted.T
    seen = (changes / noise) @ weighted.T  # (T, K)
    amount = np.zeros_like(seen)
    for _ in range(_SWEEPS):
        for key in range(len(templates)):
            if gram[key, key] <= 0:
                continue
            near = slice(max(0, key - _NEIGHBOURS), key + _NEIGHBOURS + 1)
            rest = seen[:, key] - amount[:, near] @ gram[near, key] + amount[:, key] * gram[key, key]
            np.maximum(rest / gram[key, key], 0.0, out=amount[:, key])
    return amount
