from math import ceil

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.features.resample import resample, resampled_length

RATES = st.sampled_from([4000, 8000, 11025, 16000, 22050, 30720, 44100, 48000, 96000])


@settings(max_examples=200, deadline=None)
@given(n=st.integers(0, 5000), from_rate=RATES, to_rate=RATES)
@example(n=1, from_rate=48000, to_rate=4000)
@example(n=1, from_rate=44100, to_rate=96000)
def test_the_length_is_exactly_the_samples_before_the_end(n, from_rate, to_rate):
    found = resample(np.zeros(n, np.float32), from_rate, to_rate)
    assert len(found) == ceil(n * to_rate / from_rate) == resampled_length(n, from_rate, to_rate)
    assert found.dtype == np.float32


@pytest.mark.parametrize(("from_rate", "to_rate"), [(48000, 4000), (44100, 48000), (8000, 22050)])
def test_a_tone_stays_the_same_tone_at_the_same_time(from_rate, to_rate):
    n = 2 * from_rate
    tone = np.sin(2 * np.pi * 440 * np.arange(n) / from_rate).astype(np.float32)
    found = resample(tone, from_rate, to_rate)
    expected = np.sin(2 * np.pi * 440 * np.arange(len(found)) / to_rate)
    inside = slice(to_rate // 4, -to_rate // 4)
    np.testing.assert_allclose(found[inside], expected[inside], atol=2e-6)


def test_a_tone_that_the_new_rate_cannot_hold_is_gone():
    tone = np.sin(2 * np.pi * 3000 * np.arange(48000) / 48000).astype(np.float32)
    assert np.abs(resample(tone, 48000, 4000)[1000:-1000]).max() < 1e-5


def test_the_same_rate_gives_the_same_samples_in_new_memory():
    sound = np.random.default_rng(0).uniform(-1, 1, 100).astype(np.float32)
    found = resample(sound, 8000, 8000)
    np.testing.assert_array_equal(found, sound)
    assert not np.shares_memory(found, sound)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_sample_that_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match="sample 1 is not a number"):
        resample(np.float32([0, value]), 8000, 4000)


@pytest.mark.parametrize(("from_rate", "to_rate"), [(0, 8000), (8000, 0), (8000, -1)])
def test_rates_that_are_not_positive_are_refused(from_rate, to_rate):
    with pytest.raises(ValueError, match=f"cannot resample from {from_rate} to {to_rate} Hz"):
        resample(np.zeros(3, np.float32), from_rate, to_rate)


def test_two_channels_are_refused():
    with pytest.raises(ValueError, match=r"shape \(3, 2\), expected one channel"):
        resample(np.zeros((3, 2), np.float32), 8000, 4000)
