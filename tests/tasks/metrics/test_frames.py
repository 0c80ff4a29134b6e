"""A comb that was planted, and sound without one."""

from fractions import Fraction

import numpy as np
import pytest

from tasks.metrics.frames import frame_rate_comb_db, level_dbfs

NTSC = Fraction(30000, 1001)


def noise(n_samples, level=0.05):
    return level * np.random.default_rng(5).normal(size=n_samples)


@pytest.mark.parametrize("frame_rate", [Fraction(25), Fraction(30), NTSC])
@pytest.mark.parametrize("wanted_db", [10.0, 20.0, 30.0])
def test_a_planted_comb_reads_its_power_over_that_of_noise(frame_rate, wanted_db):
    sample_rate, n_frames, level = 24_000, 900, 0.05
    n_samples = int(n_frames * sample_rate / frame_rate)  # a whole number for each of these rates
    # Noise of power level² has 2 level² / sample_rate a Hz; the five bins of a multiple are a sixth of the rate wide.
    noise_power = 5 * float(frame_rate) / 30 * 2 * level**2 / sample_rate
    spectrum = np.zeros(n_samples // 2 + 1, complex)
    multiples = np.arange(n_frames, n_samples // 2, n_frames)
    amplitude = np.sqrt(2 * noise_power * (10 ** (wanted_db / 10) - 1))
    spectrum[multiples] = amplitude * n_samples / 2 * np.exp(1j * np.arange(len(multiples)) ** 2)
    comb = np.fft.irfft(spectrum, n_samples)
    # The Hann window spreads the noise in a bin 1.5 times as wide as a line: over five bins that cancels.
    found_db = frame_rate_comb_db(comb + noise(n_samples, level), sample_rate, frame_rate)
    assert found_db == pytest.approx(wanted_db, abs=0.5)


@pytest.mark.parametrize("frame_rate", [Fraction(25), NTSC])
def test_noise_knows_nothing_of_the_frame_rate(frame_rate):
    assert frame_rate_comb_db(noise(60 * 22_050), 22_050, frame_rate) == pytest.approx(0, abs=0.3)


def test_silence_has_no_comb_and_a_level_at_the_floor():
    assert frame_rate_comb_db(np.zeros(22_050 * 2), 22_050, Fraction(30)) == 0
    assert level_dbfs(np.zeros(100, np.float32)) == -120


def test_the_scale_of_the_sound_does_not_matter():
    sound = noise(22_050 * 4)
    sound[::735] += 5.0
    loud = frame_rate_comb_db(sound, 22_050, Fraction(30))
    assert loud > 10
    assert frame_rate_comb_db(sound * 0.01, 22_050, Fraction(30)) == pytest.approx(loud, abs=1e-3)


def test_the_comb_of_another_frame_rate_is_not_seen():
    clicks = noise(22_050 * 20)
    clicks[::735] += 5.0  # 30 a second
    assert frame_rate_comb_db(clicks, 22_050, Fraction(30)) > 10
    assert abs(frame_rate_comb_db(clicks, 22_050, Fraction(23))) < 3


@pytest.mark.parametrize(
    ("audio", "frame_rate", "reason"),
    [
        (np.zeros(100), Fraction(30), "at least 22050 samples"),
        (np.zeros((30_000, 2)), Fraction(30), "one channel"),
        (np.full(30_000, np.nan), Fraction(30), "sample 0 of the audio is nan"),
        (np.zeros(30_000), Fraction(0), "frame rate is 0"),
        (np.zeros(30_000), Fraction(20_000), "frame rate is 20000"),
    ],
)
def test_what_cannot_be_measured_is_refused(audio, frame_rate, reason):
    with pytest.raises(ValueError, match=reason):
        frame_rate_comb_db(audio, 22_050, frame_rate)
