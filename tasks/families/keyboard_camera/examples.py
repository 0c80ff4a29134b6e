"""Training examples of films of pianos: a key's features over some seconds, and when it was struck and held."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tasks.families.keyboard_camera.params import KeyboardCameraParams
from tasks.features.polyphony import transcribe
from tasks.instruments.notes import Notes, sorted_notes
from tasks.keyboards.key_features import FEATURES, READER_ONSET, STEP_S, KeyFeatures, key_features, on_grid
from tasks.keyboards.layout import Keys
from tasks.keyboards.stored import keyboard_of
from tasks.store.views import View, ViewSet

_SEEMS_DOWN = 0.3  # of a press: the reader's evidence of a key that may be struck


@dataclass(frozen=True, kw_only=True)
class Example:
    """A film whose notes are known.

    Attributes:
        keys: that it shows.
        features: of the film, or of a part of it.
        notes: that were played while it was filmed.
        target: (K, 2, G) how near an onset each moment is, and whether the key is held.
    """

    keys: Keys
    features: KeyFeatures
    notes: Notes
    target: NDArray[np.float32]


def example_of(views: ViewSet, view: View, params: KeyboardCameraParams) -> Example | None:
    """Return a view as a training example; None where no keyboard was found, or its keys light up.

    Raises:
        DamagedData: an array is missing or damaged.
    """
    stored = views.keyboard(view)
    if stored is None or len(stored["time_s"]) < 3:
        return None
    evidence, keys = keyboard_of(stored)
    features = key_features(
        evidence,
        keys,
        duration_s=views.duration_s(view.take),
        lead_s=params.reader.lead_s,
        velocity=params.reader.velocity,
    )
    return None if features.mode == "lit" else example(keys, features, labels_of(views, view.take, keys, params))


def example(keys: Keys, features: KeyFeatures, notes: Notes) -> Example:
    """Return a film and the notes of its take as an example; notes outside of the film are left out."""
    time_s = features.time_s
    filmed = notes.take((notes.onset_s >= time_s[0]) & (notes.onset_s < time_s[-1]))
    target = np.stack(on_grid(filmed, keys, time_s), axis=1)
    return Example(keys=keys, features=features, notes=filmed, target=target)


def labels_of(views: ViewSet, take: str, keys: Keys, params: KeyboardCameraParams) -> Notes:
    """Return the notes of a take on its master's clock: those that were recorded, else those detected in its sound."""
    columns = views.notes(take) if params.labels == "recorded" else None
    if columns is None:
        sound, rate = views.sound(take)
        pitches = np.array(keys.pitches, np.uint8)
        sounding = pitches[440 * 2 ** ((pitches.astype(np.float64) - 69) / 12) < rate / 2]
        columns = transcribe(sound, sample_rate=rate, pitches=sounding, params=params.transcription)
    return sorted_notes(
        np.asarray(columns["onset_s"], np.float64),
        np.asarray(columns["offset_s"], np.float64),
        np.asarray(columns["pitch"], np.uint8),
        np.asarray(columns["velocity"], np.uint8),
    )


def parted(one: Example, held_out: float) -> tuple[Example, Example]:
    """Return the first part of an example, and its last share ``held_out``."""
    n_moments = one.target.shape[2]
    border = round(n_moments * (1 - held_out))

    def part(moments: slice) -> Example:
        start_s = one.features.start_s + STEP_S * moments.start
        end_s = one.features.start_s + STEP_S * moments.stop
        reader = one.features.notes
        features = KeyFeatures(
            values=one.features.values[:, :, moments],
            start_s=start_s,
            mode=one.features.mode,
            notes=reader.take((reader.onset_s >= start_s) & (reader.onset_s < end_s)),
        )
        within = (one.notes.onset_s >= start_s) & (one.notes.onset_s < end_s)
        return Example(keys=one.keys, features=features, notes=one.notes.take(within), target=one.target[:, :, moments])

    return part(slice(0, border)), part(slice(border, n_moments))


class Sampler:
    """Draws training batches: a function of seed, epoch and step alone."""

    def __init__(self, examples: Sequence[Example], params: KeyboardCameraParams) -> None:
        self._examples = examples
        self._params = params
        self._active = [_active_keys(one) for one in examples]
        self._length = min(round(params.sequence_s / STEP_S), *(one.target.shape[2] for one in examples))

    def batch(self, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """Return features (B, features, G) and targets (B, 2, G) of keys that are drawn."""
        rng = np.random.default_rng((self._params.seed, epoch, step))
        drawn = [self._sequence(rng) for _ in range(self._params.batch_size)]
        features, targets = (torch.from_numpy(np.stack(part)) for part in zip(*drawn, strict=True))
        return features, targets

    def _sequence(self, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        number = int(rng.integers(len(self._examples)))
        one, active = self._examples[number], self._active[number]
        if len(active) and rng.random() < self._params.active:
            key = int(active[int(rng.integers(len(active)))])
        else:
            key = int(rng.integers(len(one.target)))
        start = int(rng.integers(one.target.shape[2] - self._length + 1))
        moments = slice(start, start + self._length)
        return one.features.values[key, :, moments], one.target[key, :, moments]


def validation_batches(examples: Sequence[Example]) -> list[tuple[Tensor, Tensor]]:
    """Return the active keys of each example, one batch each; of an example without any all of its keys."""
    batches = []
    for one in examples:
        keys = _active_keys(one)
        keys = keys if len(keys) else np.arange(len(one.target))
        batches.append((torch.from_numpy(one.features.values[keys]), torch.from_numpy(one.target[keys])))
    return batches


def _active_keys(one: Example) -> NDArray[np.intp]:
    """Return the keys that are struck, or that seem to be."""
    values = one.features.values
    seems = np.maximum(values[:, READER_ONSET], values[:, FEATURES.index("amount")]).max(axis=1) > _SEEMS_DOWN
    return np.flatnonzero(seems | (one.target[:, 0].max(axis=1) > 0))
