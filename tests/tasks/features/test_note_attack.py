"""A stroke stands where it was planted, whatever block it is measured in."""

import numpy as np
import pytest

from tasks.features.note_attack import EDGES_HZ, N_BANDS, attacks
from tasks.features.note_spectrum import spectrum_grid


def click(at_s, *, sample_rate=16_000, duration_s=2.0):
    rng = np.random.default_rng(0)
    time_s = np.arange(round(duration_s * sample_rate)) / sample_rate - at_s
    noise = rng.normal(size=len(time_s)) * np.exp(-np.maximum(time_s, 0) / 0.05) * (time_s >= 0)
    return (0.1 * noise).astype(np.float32)


@pytest.mark.parametrize("at_s", [0.3, 0.7025, 1.455])
def test_every_band_grows_most_where_a_click_begins(at_s):
    grid = spectrum_grid(16_000)
    growth = attacks(click(at_s), grid, start=0, count=200)
    assert growth.shape == (N_BANDS, 400)
    half_s = grid.hop_s / 2
    assert growth.argmax(axis=1) * half_s == pytest.approx(np.full(N_BANDS, at_s), abs=0.011)


def test_a_lasting_sine_grows_nowhere_but_at_its_beginning():
    grid = spectrum_grid(16_000)
    sine = np.sin(2 * np.pi * 700 * np.arange(32_000) / 16_000).astype(np.float32)
    growth = attacks(sine, grid, start=0, count=200)
    own = int(np.searchsorted(EDGES_HZ, 700)) - 1
    assert growth[own, 10:380].max() < 0.02


def test_silence_never_grows():
    assert not attacks(np.zeros(16_000, np.float32), spectrum_grid(16_000), start=-5, count=120).any()


def test_a_part_gives_what_the_whole_gives():
    grid = spectrum_grid(16_000)
    audio = click(0.9)
    whole = attacks(audio, grid, start=-20, count=220)
    part = attacks(audio, grid, start=40, count=50)
    np.testing.assert_allclose(part, whole[:, 120:220], atol=1e-5)


def test_bands_above_nyquist_stay_0():
    growth = attacks(click(0.5, sample_rate=4000), spectrum_grid(4000), start=0, count=100)
    assert not growth[-1].any()
    assert growth[0].any()
