"""Training and validation batches of sequences of windows."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tasks.families.note_regression.examples import Example
from tasks.families.note_regression.inputs import DIFFERENCE_LUMA
from tasks.families.note_regression.params import AugmentParams, NoteRegressionParams, fidelity_of


class Sampler:
    """Draws training batches: a function of seed, epoch and step alone."""

    def __init__(self, examples: Sequence[Example], params: NoteRegressionParams) -> None:
        self._examples = examples
        self._params = params
        self._length = fidelity_of(params).sequence_length
        self._n_notes = examples[0].target.shape[1]
        owners = [np.full(len(one.strokes), row) for row, one in enumerate(examples)]
        self._owner = np.concatenate(owners)
        self._stroke = np.concatenate([one.strokes for one in examples])
        count = np.bincount(self._stroke[:, 1], minlength=self._n_notes)
        share = np.maximum(count[self._stroke[:, 1]], 1.0) ** -params.rare_notes
        self._chance = share / share.sum() if len(share) else share

    def batch(self, epoch: int, step: int) -> dict[str, Tensor]:
        """Return a batch of sequences.

        Returns:
            frames (B, T + C - 1, H, W) and their ages (B, T + C - 1), target and weight (B, T, m), the notes (B, m),
            and which sequences are mirrored (B,).
        """
        rng = np.random.default_rng((self._params.seed, epoch, step))
        drawn = [self._sequence(rng) for _ in range(self._params.batch_size)]
        frames = torch.from_numpy(np.stack([one[0] for one in drawn]))
        return {
            "frames": augmented(frames, rng, self._params.augment),
            "ages": torch.from_numpy(np.stack([one[4] for one in drawn])),
            "target": torch.from_numpy(np.stack([one[1] for one in drawn])),
            "weight": torch.from_numpy(np.stack([one[2] for one in drawn])),
            "notes": torch.from_numpy(np.stack([one[3] for one in drawn])),
            "mirrored": torch.from_numpy(rng.random(len(drawn)) < self._params.augment.mirror),
        }

    def _sequence(
        self, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
        T = self._length
        note = None
        if len(self._owner) and rng.random() < 0.8:
            row = int(rng.choice(len(self._owner), p=self._chance))
            one = self._examples[self._owner[row]]
            window, note = (int(value) for value in self._stroke[row])
            start = window - int(rng.integers(T))
        else:
            one = self._examples[int(rng.integers(len(self._examples)))]
            start = int(rng.integers(len(one.target)))
        filmed = np.flatnonzero(one.inputs.is_filmed)
        start = int(np.clip(start, filmed[0], max(filmed[-1] + 1 - T, filmed[0])))
        rows = np.arange(start, start + T)
        notes = self._notes(rng, one, rows, note)
        ages = one.inputs.ages[start : start + T + one.inputs.n_more]
        return one.inputs.frames(start, start + T), one.target[rows][:, notes], one.weight[rows][:, notes], notes, ages

    def _notes(
        self, rng: np.random.Generator, one: Example, rows: NDArray[np.int64], first: int | None
    ) -> NDArray[np.int64]:
        if self._params.input == "picture":
            return np.arange(self._n_notes)
        m = min(self._params.notes_per_sequence, self._n_notes)
        sounding = one.target[rows].max(axis=0)
        # Half of the notes sound, the rest are any: most bars rest most of the time.
        order = np.argsort(-(sounding + 1e-3 * rng.random(self._n_notes)))
        chosen = list(dict.fromkeys([*([] if first is None else [first]), *order[: m // 2].tolist()]))
        rest = [note for note in rng.permutation(self._n_notes).tolist() if note not in chosen]
        return np.array((chosen + rest)[:m], np.int64)


def augmented(frames: Tensor, rng: np.random.Generator, params: AugmentParams) -> Tensor:
    """Give frames (B, T, H, W) another exposure, place, softness and noise, drawn for each of the B."""
    B = len(frames)
    if frames.ndim != 4:  # features are no pictures
        return frames

    def drawn(low: float, high: float) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, (B, 1, 1, 1)).astype(np.float32))

    made = frames
    if params.shift:
        moves = rng.integers(-params.shift, params.shift + 1, (B, 2)).tolist()
        made = torch.stack([torch.roll(one, (dy, dx), (-2, -1)) for one, (dy, dx) in zip(made, moves, strict=True)])
    if params.blur:
        beside = (torch.roll(made, 1, -1) + torch.roll(made, -1, -1)) / 4
        beside = beside + (torch.roll(made, 1, -2) + torch.roll(made, -1, -2)) / 4
        made = torch.lerp(made, beside, drawn(0.0, params.blur))
    made = made * (1 + drawn(-params.gain, params.gain))
    made = made + drawn(-params.brightness_luma, params.brightness_luma) / DIFFERENCE_LUMA
    if params.noise_luma:
        noise = torch.randn(made.shape, generator=torch.Generator().manual_seed(int(rng.integers(2**62))))
        made = made + noise * drawn(0.0, params.noise_luma) / DIFFERENCE_LUMA
    return made


def validation_batches(examples: Sequence[Example], params: NoteRegressionParams) -> list[dict[str, Tensor]]:
    """Return all of the validation views once, in sequences of the training length, not augmented."""
    T = fidelity_of(params).sequence_length
    n_notes = examples[0].target.shape[1]
    batches = []
    for one in examples:
        rows = np.flatnonzero(one.inputs.is_filmed)
        starts = rows[0] + T * np.arange(len(rows) // T)
        for group in range(0, len(starts), params.batch_size):
            windows = starts[group : group + params.batch_size, None] + np.arange(T)
            B = len(windows)
            firsts = [int(row[0]) for row in windows]
            frames = np.stack([one.inputs.frames(first, first + T) for first in firsts])
            ages = np.stack([one.inputs.ages[first : first + T + one.inputs.n_more] for first in firsts])
            batches.append(
                {
                    "frames": torch.from_numpy(frames),
                    "ages": torch.from_numpy(ages),
                    "target": torch.from_numpy(one.target[windows]),
                    "weight": torch.from_numpy(one.weight[windows]),
                    "notes": torch.arange(n_notes).expand(B, -1).contiguous(),
                    "mirrored": torch.zeros(B, dtype=torch.bool),
                }
            )
    return batches
