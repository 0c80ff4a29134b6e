"""Where peaks stand, how wide they are, and the tuning that they tell."""

import numpy as np
import pytest
from scipy.signal import stft

from tasks.partials.combs import Grid, tuning_of

RATE, N_FFT = 16_000, 1408


@pytest.mark.parametrize("cents", [-40, 0, 25])
def test_the_tuning_is_that_of_what_is_played(play, cents):
    mix = play([60, 67, 64], 1.0, cents=cents) + play([76, 79, 72], 1.0, cents=cents)
    _, _, spectrum = stft(mix, nperseg=N_FFT, noverlap=N_FFT * 3 // 4)
    assert tuning_of(np.abs(spectrum), sample_rate=RATE, n_fft=N_FFT) * 100 == pytest.approx(cents, abs=5)


def test_silence_has_the_usual_tuning():
    assert tuning_of(np.zeros((N_FFT // 2 + 1, 9)), sample_rate=RATE, n_fft=N_FFT) == 0.0


def test_peaks_stand_at_the_harmonics_of_the_tuned_pitch_and_wider_ones_have_no_more_energy():
    grid = Grid(sample_rate=RATE, n_fft=4096, tuning=0.25, spread_cents=30.0)
    peaks = grid.peaks(np.array([69]), offsets=(0.0, 0.5), n_harmonics=12, n_bins=2049)[0]
    for offset, semitones in enumerate((0.25, 0.75)):
        at_hz = 440 * 2 ** (semitones / 12) * np.arange(1, 13)
        np.testing.assert_allclose(grid.frequency_hz[peaks[offset].argmax(axis=1)], at_hz, atol=RATE / 4096)
    energy = np.square(peaks[0]).sum(axis=1)
    np.testing.assert_allclose(energy, energy[0], rtol=0.05)
    assert peaks[0, 11].max() < 0.8 * peaks[0, 0].max()
