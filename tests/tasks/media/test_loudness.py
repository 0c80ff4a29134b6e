"""Loudness of sound whose answer the recommendation or the broadcasters' test signals give."""

import numpy as np
import pytest

from tasks.media.loudness import LoudnessMeter, k_weighting


def tone(level_db, duration_s, rate=48_000, hz=1000.0, channels=2):
    wave = 10 ** (level_db / 20) * np.sin(2 * np.pi * hz * np.arange(round(duration_s * rate)) / rate)
    return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


def measured(sound, rate=48_000, size=4096):
    meter = LoudnessMeter(rate, sound.shape[1])
    for first in range(0, len(sound), size):
        meter.add(sound[first : first + size])
    return meter.lufs()


def test_the_filters_are_the_recommendations_own_at_48_khz():
    """BS.1770-4, tables 1 and 2."""
    (shelf, shelf_back), (high_pass, high_pass_back) = k_weighting(48_000)
    np.testing.assert_allclose(shelf, [1.53512485958697, -2.69169618940638, 1.19839281085285], atol=1e-8)
    np.testing.assert_allclose(shelf_back, [1.0, -1.69065929318241, 0.73248077421585], atol=1e-8)
    np.testing.assert_allclose(high_pass, [1.0, -2.0, 1.0])
    np.testing.assert_allclose(high_pass_back, [1.0, -1.99004745483398, 0.99007225036621], atol=1e-8)


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000, 96_000])
def test_a_sine_of_full_scale_in_one_channel_is_3_lufs_down(rate):
    """BS.1770-4, annex 1: 0 dB at 997 Hz in one front channel reads -3.01 LKFS."""
    assert measured(tone(0.0, 5.0, rate, 997.0, channels=1), rate) == pytest.approx(-3.01, abs=0.05)


@pytest.mark.parametrize(
    ("parts", "lufs"),
    [
        ([(-23.0, 20.0)], -23.0),  # EBU Tech 3341, case 1
        ([(-33.0, 20.0)], -33.0),  # case 2
        ([(-36.0, 10.0), (-23.0, 60.0), (-36.0, 10.0)], -23.0),  # case 3: the relative gate
        ([(-72.0, 10.0), (-36.0, 10.0), (-23.0, 60.0), (-36.0, 10.0), (-72.0, 10.0)], -23.0),  # case 4: both gates
    ],
)
def test_the_broadcasters_signals_read_what_they_must(parts, lufs):
    assert measured(np.concatenate([tone(*part) for part in parts])) == pytest.approx(lufs, abs=0.1)


def test_blocks_of_any_size_are_the_whole():
    sound = np.random.default_rng(3).normal(0, 0.1, (30_000, 2)).astype(np.float32)
    assert measured(sound, size=777) == pytest.approx(measured(sound, size=30_000), abs=1e-9)


@pytest.mark.parametrize("sound", [np.zeros((48_000, 1)), np.zeros((0, 1)), np.ones((4_000, 1))])
def test_silence_and_less_than_a_block_have_none(sound):
    assert measured(sound.astype(np.float32)) is None
