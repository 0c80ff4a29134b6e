import numpy as np
import pytest

from tasks.clock.spectra import Sound, correlation, frequencies_hz, piece_length, window_spectra

RATE = 16_000


def sound(samples, sample_rate=RATE):
    return Sound(samples=samples, sample_rate=sample_rate, scale=1 / max(float(np.abs(samples).max()), 1e-9))


def noise(n_samples, seed=0):
    return np.random.default_rng(seed).standard_normal(n_samples).astype(np.float32)


@pytest.mark.parametrize(("sample_rate", "length"), [(16_000, 4096), (22_050, 4096), (44_100, 8192), (48_000, 16_384)])
def test_a_piece_is_about_a_quarter_of_a_second(sample_rate, length):
    assert piece_length(sample_rate) == length or abs(np.log2(length / sample_rate / 0.256)) <= 0.5
    assert 0.18 < piece_length(sample_rate) / sample_rate < 0.37
    hz = frequencies_hz(sample_rate)
    assert 100 <= hz[0] < 110
    assert 6400 < hz[-1] <= 6500


def test_a_right_map_has_phase_zero_and_lag_zero():
    world = noise(5 * RATE)
    pieces = np.array([[1.0, 1.2, 1.4]])
    spectra = window_spectra(sound(world), sound(world[RATE:]), pieces, pieces + 1.0)
    assert np.abs(np.angle(spectra)).max() < 1e-3
    lags = correlation(spectra, RATE, reach_s=0.06)
    assert lags.shape == (1, 2 * 960 + 1)
    assert int(np.argmax(lags)) == 960
    assert lags.max() > 20


def test_the_lag_is_how_late_the_reference_is_by_the_map():
    world = noise(5 * RATE)
    pieces = np.array([[1.0, 1.2, 1.4]])
    spectra = window_spectra(sound(world), sound(world[RATE:]), pieces, pieces + 1.0 - 0.01)
    assert int(np.argmax(correlation(spectra, RATE, reach_s=0.06))) - 960 == 160


def test_a_map_between_samples_is_followed_by_phase():
    hz = frequencies_hz(RATE)
    world = noise(5 * RATE)
    pieces = np.array([[1.0, 1.2, 1.4]])
    spectra = window_spectra(sound(world), sound(world[RATE:]), pieces, pieces + 1.0 + 0.3 / RATE)
    slope = np.polyfit(2 * np.pi * hz, np.unwrap(np.angle(spectra[0])), 1)[0]
    assert slope == pytest.approx(0.3 / RATE, abs=0.6e-6)


def test_unrelated_pieces_stay_within_chance():
    moments = np.arange(1, 31)[:, None] + np.array([0.0, 0.2, 0.4])
    spectra = window_spectra(sound(noise(33 * RATE, 1)), sound(noise(33 * RATE, 2)), moments, moments)
    lags = correlation(spectra, RATE, reach_s=0.06)
    assert 1.0 < lags.std() < 1.4  # neighbouring frequencies of a window are not quite independent
    assert np.abs(lags).max() < 7


def test_pieces_that_reach_out_of_a_recording_say_nothing():
    world = noise(2 * RATE)
    moments = np.array([[0.05], [1.0], [1.95], [-3.0], [7.0]])
    spectra = window_spectra(sound(world), sound(world), moments, moments)
    assert np.abs(spectra).max(axis=1).astype(bool).tolist() == [False, True, False, False, False]


def test_silence_gives_no_numbers_that_are_not_numbers():
    silent = sound(np.zeros(2 * RATE, np.float32))
    spectra = window_spectra(silent, silent, np.array([[1.0]]), np.array([[1.0]]))
    assert not spectra.any()
    assert not correlation(spectra, RATE, reach_s=0.06).any()
