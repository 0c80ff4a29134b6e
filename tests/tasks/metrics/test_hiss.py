"""Hiss that was planted, and sounds whose flatness is known."""

import numpy as np
import pytest
from scipy.stats import gmean

from tasks.metrics.hiss import CLEAR_S, hiss_scores
from tasks.metrics.sound import magnitudes

RATE = 4_000
LENGTH = 100  # samples of a frame of 25 ms
NOISE_FLATNESS = np.exp(-np.euler_gamma)  # the power of noise in a bin is exponentially distributed
RNG = np.random.default_rng(4)


def noise(n_samples, level_dbfs):
    return (10 ** (level_dbfs / 20) * RNG.standard_normal(n_samples)).astype(np.float32)


def tones(*spans_s, duration_s=10.0):
    """Make a tone of amplitude 0.1 that sounds in some spans and is digital silence else."""
    time_s = np.arange(round(duration_s * RATE)) / RATE
    on = np.any([(time_s >= start) & (time_s < end) for start, end in spans_s], axis=0)
    return (0.1 * np.sin(2 * np.pi * 440 * time_s) * on).astype(np.float32)


def test_a_planted_hiss_is_measured_in_rests_alone():
    truth = tones((1, 2), (4, 7))
    scores = hiss_scores(truth, truth + noise(len(truth), -50), sample_rate=RATE)
    assert scores["rest_level_dbfs"] == pytest.approx(-50, abs=0.2)
    assert scores["true_rest_level_dbfs"] == -120


def test_what_rings_shortly_after_a_tone_or_begins_before_it_is_no_hiss():
    truth = tones((1, 2), (4, 7))
    longer = tones((1 - 0.9 * CLEAR_S, 2 + 0.9 * CLEAR_S), (4, 7 + 0.9 * CLEAR_S))
    assert hiss_scores(truth, longer, sample_rate=RATE)["rest_level_dbfs"] == -120
    much_longer = tones((1, 2 + 2 * CLEAR_S), (4, 7))
    assert hiss_scores(truth, much_longer, sample_rate=RATE)["rest_level_dbfs"] > -50


@pytest.mark.parametrize("below_db", [55, 65])
def test_a_rest_is_60_db_below_the_loudest_frame(below_db):
    truth = tones((1, 2), (4, 7))
    truth = truth + np.float32(10 ** (-below_db / 20)) * tones((0, 10))
    scores = hiss_scores(truth, truth, sample_rate=RATE)
    assert ("rest_level_dbfs" in scores) == (below_db > 60)
    if below_db > 60:
        assert scores["rest_level_dbfs"] == pytest.approx(-20 - 3.0103 - below_db, abs=0.05)


def test_a_reference_that_never_rests_has_no_level_of_rests():
    truth = tones((0, 10))
    assert hiss_scores(truth, truth, sample_rate=RATE).keys() == {"spectral_flatness", "true_spectral_flatness"}


def test_white_noise_is_as_flat_as_theory_says_at_any_level_and_a_tone_is_not():
    truth = tones((0, 60), duration_s=60.0)
    for level_dbfs in (-20, -70):
        scores = hiss_scores(truth, noise(len(truth), level_dbfs), sample_rate=RATE)
        assert scores["spectral_flatness"] == pytest.approx(NOISE_FLATNESS, abs=0.01)
    assert scores["true_spectral_flatness"] < 1e-3


def test_flatness_is_the_geometric_over_the_arithmetic_mean_while_the_reference_sounds():
    truth = tones((2, 3))
    estimate = tones((0, 10)) + noise(len(truth), -50)
    estimate[: RATE * 3 // 2] = noise(RATE * 3 // 2, -20)  # before the reference begins to sound
    spectra = np.concatenate(list(magnitudes(estimate, window_length=2 * LENGTH, hop_length=LENGTH, n_fft=2 * LENGTH)))
    # Window k holds frames k - 1 and k: those from 81 to 119 lie in the tone.
    power = np.square(spectra[81:120])
    expected = (gmean(power, axis=1) / power.mean(axis=1)).mean()
    assert hiss_scores(truth, estimate, sample_rate=RATE)["spectral_flatness"] == pytest.approx(expected, rel=1e-6)


def test_silence_has_no_flatness_and_a_silent_reference_no_figure():
    truth, silence = tones((1, 2)), np.zeros(10 * RATE, np.float32)
    assert hiss_scores(truth, silence, sample_rate=RATE).keys() == {
        "rest_level_dbfs",
        "true_rest_level_dbfs",
        "true_spectral_flatness",
    }
    assert hiss_scores(silence, truth, sample_rate=RATE) == {}


@pytest.mark.parametrize("n_samples", [0, 1, LENGTH, 2 * LENGTH])
def test_a_sound_of_a_frame_or_two_is_measured_or_left_out(n_samples):
    truth = tones((0, 1))[:n_samples]
    assert len(hiss_scores(truth, truth, sample_rate=RATE)) == (2 if n_samples == 2 * LENGTH else 0)


def test_sounds_of_different_length_are_refused():
    with pytest.raises(ValueError, match=r"truth has shape \(8,\), estimate \(7,\)"):
        hiss_scores(np.zeros(8, np.float32), np.zeros(7, np.float32), sample_rate=RATE)
