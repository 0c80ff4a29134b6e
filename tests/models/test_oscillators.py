from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.key_response import INAUDIBLE, KeyResponse
from models.key_states import Strokes
from models.oscillators import Oscillators, strongest_partials

RATE = 4000
FADE = 0.99


def partial(frequency_hz: float, decay_s: float, n_samples: int = 8000, phase: float = 0.4) -> NDArray[np.float64]:
    time_s = np.arange(n_samples) / RATE
    return np.exp(-time_s / decay_s) * np.cos(2 * np.pi * frequency_hz * time_s + phase)


def strokes(*rows: tuple[int, int, int]) -> Strokes:
    key, start, release = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    return Strokes(key=key, start=start, release=release, depth=np.ones(len(rows), np.float32))


def tuned() -> Oscillators:
    """Return two keys of two partials each."""
    oscillators = Oscillators(2, 2)
    oscillators.steps.copy_(torch.tensor([[0.2, 0.41], [0.33, 0.66]]))
    oscillators.decays.copy_(torch.tensor([[1e-3, 2e-3], [5e-4, 3e-3]]))
    return oscillators


@pytest.mark.parametrize(("low", "high"), [(110.3, 331.7), (440.0, 1212.5), (27.5, 137.9)])
def test_frequency_and_decay_of_planted_partials_are_found(low: float, high: float) -> None:
    steps, decays = strongest_partials(partial(low, 0.8) + 0.4 * partial(high, 0.3), 2, RATE)
    np.testing.assert_allclose(steps * RATE / (2 * np.pi), [low, high], atol=0.3)
    np.testing.assert_allclose(1 / (decays * RATE), [0.8, 0.3], rtol=0.1)


def test_silence_has_no_partials() -> None:
    steps, decays = strongest_partials(np.zeros(1000), 3, RATE)
    assert not steps.any()
    assert not decays.any()


def test_each_key_is_tuned_by_its_own_response() -> None:
    response = KeyResponse(3, 8000)
    for key, frequency_hz in enumerate((220.0, 233.1)):  # the third key is silent
        response.responses[key] = torch.from_numpy(partial(frequency_hz, 1.0))
    oscillators = Oscillators(3, 1)
    oscillators.tune(response, RATE)
    np.testing.assert_allclose(oscillators.steps[:, 0].numpy() * RATE / (2 * np.pi), [220.0, 233.1, 0], atol=0.3)
    found = oscillators.features(strokes((2, 0, 100)), np.ones(1, np.float32), FADE, 0, 50)
    assert not found.any()


@pytest.mark.parametrize("start", [0, 1, 137, 2001])
def test_the_phase_at_a_stroke_is_0_whenever_it_comes(start: int) -> None:
    oscillators = tuned()
    found = oscillators.features(strokes((1, start, 9000)), np.array([0.7], np.float32), FADE, 0, 3000)
    np.testing.assert_allclose(found[start], [0, 0, 0, 0, 0.7, 0, 0.7, 0], atol=1e-7)
    assert not found[:start].any()
    early = oscillators.features(strokes((1, 0, 9000)), np.array([0.7], np.float32), FADE, 0, 900)
    np.testing.assert_array_equal(found[start : start + 900], early)


def test_features_are_the_partials_that_fade_once_released() -> None:
    release = 400
    found = tuned().features(strokes((0, 100, release)), np.array([0.5], np.float32), FADE, 0, 900)
    age = np.arange(900) - 100
    for m, (step, decay) in enumerate([(0.2, 1e-3), (0.41, 2e-3)]):
        gain = 0.5 * np.exp(-decay * age) * np.where(age < 300, 1.0, FADE ** (age - 299.0)) * (age >= 0)
        np.testing.assert_allclose(found[:, 2 * m], gain * np.cos(step * age), atol=1.1 * INAUDIBLE)
        np.testing.assert_allclose(found[:, 2 * m + 1], gain * np.sin(step * age), atol=1.1 * INAUDIBLE)


def test_where_a_film_is_cut_into_blocks_does_not_matter() -> None:
    struck, gains = strokes((0, 10, 300), (1, 55, 60), (0, 310, 900)), np.array([1.0, 0.4, 0.8], np.float32)
    oscillators = tuned()
    whole = oscillators.features(struck, gains, FADE, 0, 1000)
    borders = [0, 1, 12, 55, 300, 301, 700, 1000]
    parts = [oscillators.features(struck, gains, FADE, a, b - a) for a, b in pairwise(borders)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert whole.any()
