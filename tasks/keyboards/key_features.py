"""What a network reads notes from: for each key and moment, the classical reader's evidence and what it made of it.

Shapes: T pictures, G moments of an even grid, K keys, C columns of the evidence.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.instruments.notes import Notes
from tasks.keyboards.evidence import Evidence
from tasks.keyboards.layout import Keys
from tasks.keyboards.pressed import changes_of
from tasks.keyboards.read import Mode, notes_of
from tasks.keyboards.templates import Presses, columns_of, presses_of

FEATURES = (
    "amount",  # how far a key is down, by the least squares over all keys
    "amount one key below",
    "amount one key above",
    "amount two keys below",
    "amount two keys above",
    "own amount",  # how much of the key's own template alone is in the picture
    "likeness",  # correlation of what is seen around the key with what the keys explain
    "residual",  # of what is seen, without what the keys explain
    "energy",  # of what is seen
    "shade",  # mean change of luma over the key
    "chroma",  # distance from the idle key's colour
    "hidden",
    "template",  # how clear the key's template is over the noise
    "black",
    "keys down",  # at this moment
    "movement",  # mean change of all amounts since the picture before
    "reader's onset",
    "reader's onset beside",
    "reader's key held",
)
STEP_S = 0.02  # of the grid
READER_ONSET, READER_HELD = FEATURES.index("reader's onset"), FEATURES.index("reader's key held")
_ONSET_S = 0.02  # width of an onset on the grid
_MOST = 2.0
_NOISE_TIMES = 10.0  # the noise that is 1
_SHADE = 20.0  # levels of luma that are 1
_CHROMA = 14.0  # levels that are 1
_BESIDE = 0.4  # white keys beside a key that are looked at, as the reader does
_DOWN = 0.5


@dataclass(frozen=True, kw_only=True)
class KeyFeatures:
    """What a film shows of its keys, on an even grid of times.

    Attributes:
        values: (K, features, G); `FEATURES` names them.
        start_s: of the grid.
        mode: whether keys light up or are pressed.
        notes: that the classical reader reads.
    """

    values: NDArray[np.float32]
    start_s: float
    mode: Mode
    notes: Notes

    @property
    def time_s(self) -> NDArray[np.float64]:
        """The grid's moments, (G,)."""
        return np.asarray(self.start_s + STEP_S * np.arange(self.values.shape[2]), np.float64)


def key_features(evidence: Evidence, keys: Keys, *, duration_s: float, lead_s: float, velocity: int) -> KeyFeatures:
    """Return the features of a film, and what the classical reader makes of it.

    Args:
        evidence: of at least three pictures.
        keys: that it shows.
        duration_s: of the film; its notes end there.
        lead_s: the reader's, as `notes_of` takes it.
        velocity: the reader's, likewise.

    Raises:
        ValueError: there are fewer pictures.
    """
    if len(evidence.time_s) < 3:
        raise ValueError(f"evidence is of {len(evidence.time_s)} pictures, expected at least 3")
    mode, notes = notes_of(evidence, keys, duration_s=duration_s, lead_s=lead_s, velocity=velocity)
    at_pictures = _at_pictures(presses_of(changes_of(evidence), evidence), evidence)
    first_s, last_s = float(evidence.time_s[0]), float(evidence.time_s[-1])
    time_s = np.asarray(first_s + STEP_S * np.arange(int((last_s - first_s) / STEP_S) + 1), np.float64)
    values = np.zeros((len(evidence.spans), len(FEATURES), len(time_s)), np.float32)
    values[:, :READER_ONSET] = _on_grid(at_pictures, evidence.time_s, time_s)
    onset, held = on_grid(notes, keys, time_s)
    beside = np.pad(onset, ((1, 1), (0, 0)))
    values[:, READER_ONSET] = onset
    values[:, READER_ONSET + 1] = np.maximum(beside[:-2], beside[2:])
    values[:, READER_HELD] = held
    return KeyFeatures(values=values, start_s=first_s, mode=mode, notes=notes)


def on_grid(notes: Notes, keys: Keys, time_s: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return how near an onset of its key each moment is, 1 at one, and whether the key is held; both (K, G)."""
    onset = np.zeros((len(keys.pitches), len(time_s)), np.float32)
    held = np.zeros_like(onset)
    for start_s, end_s, pitch in zip(notes.onset_s, notes.offset_s, notes.pitch.tolist(), strict=True):
        key = int(pitch) - keys.lowest
        if not 0 <= key < len(onset):
            continue
        near = slice(*np.searchsorted(time_s, (start_s - 4 * _ONSET_S, start_s + 4 * _ONSET_S)).tolist())
        np.maximum(onset[key, near], np.exp(-(((time_s[near] - start_s) / _ONSET_S) ** 2)), out=onset[key, near])
        held[key, slice(*np.searchsorted(time_s, (start_s, end_s)).tolist())] = 1.0
    return onset, held


def _at_pictures(presses: Presses, evidence: Evidence) -> NDArray[np.float32]:
    """Return the features that are of pictures, (K, features, T)."""
    n_pictures, n_keys = presses.amount.shape
    amount = np.minimum(presses.amount, _MOST)
    explained = presses.amount @ presses.templates
    residual = (presses.changes - explained) / presses.noise
    seen, model = presses.changes / presses.noise, explained / presses.noise
    template = presses.templates / presses.noise
    beside = np.pad(amount, ((0, 0), (2, 2)))
    shown = evidence.is_shown
    idle = np.median(evidence.colour[shown], axis=0) if shown.any() else evidence.still_colour
    chroma = np.abs(evidence.colour[..., 1:] - idle[:, 1:]).sum(axis=-1)
    movement = np.abs(np.diff(amount, axis=0, prepend=amount[:1])).mean(axis=1) * _NOISE_TIMES
    down = (amount > _DOWN).sum(axis=1) / _NOISE_TIMES
    values = np.zeros((n_keys, READER_ONSET, n_pictures), np.float32)
    for key in range(n_keys):
        columns = columns_of(evidence, key, _BESIDE)
        first, last = evidence.spans[key]
        inside = slice(max(0, int(first)), max(1, int(np.ceil(last))))
        own, there = template[key], seen[:, columns]
        size = float((own**2).sum())
        products = (there * model[:, columns]).sum(axis=1)
        sizes = np.sqrt((there**2).sum(axis=1) * (model[:, columns] ** 2).sum(axis=1))
        values[key] = np.stack(
            [
                amount[:, key],
                *(beside[:, key + 2 + step] for step in (-1, 1, -2, 2)),
                np.clip(seen @ own / max(size, 1e-6), -_MOST, _MOST),
                products / np.maximum(sizes, 1e-6),
                _rms(residual[:, columns]),
                _rms(there),
                np.clip(presses.changes[:, inside].mean(axis=1) / _SHADE, -_MOST, _MOST),
                np.minimum(chroma[:, key] / _CHROMA, _MOST),
                evidence.hidden[:, key],
                np.full(n_pictures, min(np.log1p(np.sqrt(size)) / 2, _MOST)),
                np.full(n_pictures, evidence.is_black[key]),
                np.minimum(down, _MOST),
                np.minimum(movement, _MOST),
            ]
        )
    return values


def _rms(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the root mean square of rows, in units of the noise, (T,)."""
    return np.asarray(np.minimum(np.sqrt((values**2).mean(axis=1)) / _NOISE_TIMES, _MOST), np.float32)


def _on_grid(
    values: NDArray[np.float32], at_s: NDArray[np.float64], time_s: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return values (..., T) of pictures between them, (..., G)."""
    after = np.clip(np.searchsorted(at_s, time_s, side="right"), 1, len(at_s) - 1)
    share = ((time_s - at_s[after - 1]) / (at_s[after] - at_s[after - 1])).clip(0, 1).astype(np.float32)
    between: NDArray[np.float32] = values[..., after - 1] * (1 - share) + values[..., after] * share
    return between
