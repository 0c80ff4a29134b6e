import numpy as np
import pytest

from tasks.metrics.sound import FLOOR_DBFS, level_dbfs, scores_of_sounds, sound_scores, spectrogram_dbfs

RATE = 8000
DISTANCES = ("mr_stft", "spectral_convergence", "log_magnitude", "log_spectral_distance_db")


def sine(frequency_hz: float = 440.0, amplitude: float = 0.5, duration_s: float = 1.0) -> np.ndarray:
    time_s = np.arange(round(duration_s * RATE)) / RATE
    return (amplitude * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


def noise(seed: int = 0, amplitude: float = 0.1) -> np.ndarray:
    return (amplitude * np.random.default_rng(seed).standard_normal(RATE)).astype(np.float32)


SILENCE = np.zeros(RATE, np.float32)


@pytest.mark.parametrize("sound", [sine(), noise(), 1e-4 * noise()], ids=["sine", "noise", "below the floor"])
def test_a_sound_has_no_distance_to_itself(sound):
    scores = sound_scores(sound, sound, sample_rate=RATE)
    assert {scores[name] for name in DISTANCES if name in scores} == {0.0}


def test_silence_has_no_distance_to_silence_and_no_convergence():
    scores = sound_scores(SILENCE, SILENCE, sample_rate=RATE)
    assert scores == {
        "log_magnitude": 0.0,
        "log_spectral_distance_db": 0.0,
        "truth_level_dbfs": -120.0,
        "estimate_level_dbfs": -120.0,
        "level_difference_db": 0.0,
    }


def test_silence_does_not_look_like_full_scale():
    levels = spectrogram_dbfs(SILENCE, window_length=256, hop_length=64, n_fft=512)
    assert levels.shape[0] == 257
    assert set(np.unique(levels)) == {np.float32(FLOOR_DBFS)}


def test_a_full_scale_sine_peaks_at_zero_dbfs_in_its_bin():
    levels = spectrogram_dbfs(sine(1000, 1.0), window_length=256, hop_length=64, n_fft=512)
    assert levels[:, 60].argmax() == 1000 * 512 // RATE
    assert levels[:, 60].max() == pytest.approx(0.0, abs=0.01)


def test_spectrogram_frames_are_centred_on_their_sample():
    click = SILENCE.copy()
    click[30 * 64] = 1.0
    levels = spectrogram_dbfs(click, window_length=256, hop_length=64, n_fft=512)
    assert abs(levels.max(axis=0).argmax() - 30) <= 1


def test_a_wrong_sound_from_silence_is_finite_and_far():
    scores = sound_scores(SILENCE, noise(), sample_rate=RATE)
    assert "mr_stft" not in scores
    assert scores["log_spectral_distance_db"] > 30
    assert all(np.isfinite(value) for value in scores.values())


def test_silence_from_a_sound_has_convergence_one():
    scores = sound_scores(noise(), SILENCE, sample_rate=RATE)
    assert scores["spectral_convergence"] == pytest.approx(1.0)


def test_half_the_amplitude_is_a_known_distance():
    # This noise is far above the floor: every bin differs by half its magnitude, ln 2 or 6.02 dB.
    loud = noise()
    scores = sound_scores(loud, loud / 2, sample_rate=RATE)
    assert scores["spectral_convergence"] == pytest.approx(0.5, abs=1e-6)
    assert scores["log_magnitude"] == pytest.approx(np.log(2), rel=0.01)
    assert scores["log_spectral_distance_db"] == pytest.approx(6.0206, rel=0.01)
    assert scores["truth_level_dbfs"] - scores["estimate_level_dbfs"] == pytest.approx(6.0206, abs=1e-4)


def test_the_wrong_pitch_is_farther_than_the_wrong_phase():
    truth = sine(440)
    phase = np.roll(truth, 5)
    right, wrong = (sound_scores(truth, other, sample_rate=RATE)["mr_stft"] for other in (phase, sine(466.16)))
    assert wrong > 3 * right


@pytest.mark.parametrize(
    ("sound", "expected"),
    [
        (np.ones(100, np.float32), 0.0),
        (sine(500, 1.0), -3.0103),
        (sine(500, 0.1), -23.0103),
        (SILENCE, -120.0),
    ],
)
def test_level_is_of_the_rms_against_full_scale(sound, expected):
    assert level_dbfs(sound) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("n_samples", [1, 10, 79])
def test_a_sound_shorter_than_a_window_is_measured(n_samples):
    scores = sound_scores(noise()[:n_samples], noise(1)[:n_samples], sample_rate=RATE)
    assert scores["mr_stft"] > 0


def test_a_long_sound_is_the_same_in_blocks(monkeypatch):
    whole = sound_scores(noise(1), noise(2), sample_rate=RATE)
    monkeypatch.setattr("tasks.metrics.sound.BLOCK_BINS", 7)
    assert sound_scores(noise(1), noise(2), sample_rate=RATE) == pytest.approx(whole)


def test_a_sample_that_is_no_number_is_named_with_its_place():
    broken = noise()
    broken[123] = np.nan
    with pytest.raises(ValueError, match="estimate: sample 123 of 8000 is nan"):
        sound_scores(noise(), broken, sample_rate=RATE)


def test_sounds_of_different_length_are_refused():
    with pytest.raises(ValueError, match=r"truth has shape \(8000,\), estimate \(7999,\)"):
        sound_scores(noise(), noise()[1:], sample_rate=RATE)


def test_no_sound_at_all_is_refused():
    with pytest.raises(ValueError, match="at least a sample"):
        level_dbfs(np.zeros(0, np.float32))


def test_several_sounds_are_scored_as_each_alone():
    truth, others = noise(1), [noise(2), SILENCE, noise(1)]
    together = scores_of_sounds(truth, others, sample_rate=RATE)
    assert together == [sound_scores(truth, other, sample_rate=RATE) for other in others]
    assert together[2]["mr_stft"] == 0.0
    assert scores_of_sounds(truth, [], sample_rate=RATE) == []
