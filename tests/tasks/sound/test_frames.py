"""Frames of samples and of magnitudes, put together."""

from fractions import Fraction

import numpy as np
import pytest

from tasks.metrics.frames import frame_rate_comb_db, level_dbfs
from tasks.sound.frames import (
    cut_frames,
    frame_boundaries,
    frame_magnitudes,
    invert_magnitudes,
    join_granular,
    join_raw,
    join_windowed,
    longest_frame,
)

NTSC = Fraction(30000, 1001)
RATES = [(22_050, Fraction(30)), (22_050, NTSC), (44_100, Fraction(24_000, 1001)), (22_050, Fraction(60))]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_30_frames_a_second_at_22050_hz_are_735_samples_each():
    bounds = frame_boundaries(100, sample_rate=22_050, frame_rate=Fraction(30))
    np.testing.assert_array_equal(bounds, 735 * np.arange(101))
    assert longest_frame(sample_rate=22_050, frame_rate=Fraction(30)) == 735


def test_boundaries_do_not_drift_in_a_day():
    n_frames = 24 * 3600 * 30
    bounds = frame_boundaries(n_frames, sample_rate=22_050, frame_rate=NTSC)
    for frame in (1, 12_345, n_frames):
        assert bounds[frame] == int(Fraction(22_050) * frame / NTSC + Fraction(1, 2))
    # A rounded rate of 30 would be 86 s off.
    assert bounds[-1] - 735 * n_frames == pytest.approx(86.4 * 22_050, rel=1e-3)


@pytest.mark.parametrize(("sample_rate", "frame_rate"), RATES)
def test_raw_frames_give_back_the_sound_they_were_cut_from(rng, sample_rate, frame_rate):
    n_frames = 100
    sound = rng.normal(size=round(n_frames * sample_rate / frame_rate)).astype(np.float32)
    frames = cut_frames(sound, n_frames, sample_rate=sample_rate, frame_rate=frame_rate)
    assert frames.shape == (n_frames, longest_frame(sample_rate=sample_rate, frame_rate=frame_rate))
    np.testing.assert_array_equal(join_raw(frames, sample_rate=sample_rate, frame_rate=frame_rate), sound)


@pytest.mark.parametrize("lead", [Fraction(0), Fraction(1, 2), Fraction(1)])
@pytest.mark.parametrize(("sample_rate", "frame_rate"), RATES)
def test_windowed_frames_that_agree_give_back_the_sound(rng, sample_rate, frame_rate, lead):
    n_frames = 100
    sound = rng.normal(size=round(n_frames * sample_rate / frame_rate)).astype(np.float32)
    asked = {"sample_rate": sample_rate, "frame_rate": frame_rate, "lead": lead}
    frames = cut_frames(sound, n_frames, n_hops=2, **asked)
    np.testing.assert_allclose(join_windowed(frames, **asked), sound, atol=1e-6)


def test_windowed_frames_that_do_not_agree_meet_in_the_middle():
    frames = np.array([[0.0] * 20, [1.0] * 20, [0.0] * 20], np.float32)
    sound = join_windowed(frames, sample_rate=1000, frame_rate=Fraction(100), lead=Fraction(0))
    rise = np.sin(np.pi * (np.arange(10) + 0.5) / 20) ** 2
    np.testing.assert_allclose(sound, np.r_[np.zeros(10), rise, 1 - rise], atol=1e-6)


def test_frames_that_each_begin_anew_buzz_and_overlapped_ones_that_agree_do_not(rng):
    asked = {"sample_rate": 22_050, "frame_rate": Fraction(30)}
    sound = 0.2 * np.sin(2 * np.pi * 435 * np.arange(300 * 735) / 22_050) + 0.01 * rng.normal(size=300 * 735)
    begun_anew = np.tile(cut_frames(sound, 1, **asked), (300, 1))
    windowed = join_windowed(cut_frames(sound, 300, n_hops=2, lead=Fraction(1, 2), **asked), **asked)
    assert frame_rate_comb_db(join_raw(begun_anew, **asked), 22_050, Fraction(30)) > 40
    # 435 Hz is halfway between two multiples.
    assert frame_rate_comb_db(windowed, 22_050, Fraction(30)) < 0


def test_granular_sound_is_the_same_for_the_same_seed_and_as_loud_as_the_raw_one(rng):
    frames = 0.1 * rng.normal(size=(60, 735)).astype(np.float32)
    asked = {"sample_rate": 22_050, "frame_rate": Fraction(30)}
    one, two, other = (join_granular(frames, rng=np.random.default_rng(seed), **asked) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)
    assert len(one) == 60 * 735
    assert level_dbfs(one[22_050:]) == pytest.approx(level_dbfs(frames.ravel()), abs=1.5)


def peak_hz(sound, sample_rate):
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return spectrum.argmax() * sample_rate / len(sound)


@pytest.mark.parametrize("n_frames", [60, 240])
def test_pitch_of_granular_sound_is_the_playback_rates_and_only_the_originals_depends_on_the_length(n_frames):
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(735 * n_frames) / 22_050)
    asked = {"sample_rate": 22_050, "frame_rate": Fraction(30)}
    frames = cut_frames(tone, n_frames, **asked)

    def made(**options):
        return peak_hz(join_granular(frames, rng=np.random.default_rng(0), **asked, **options), 22_050)

    assert made() == pytest.approx(440, rel=0.04)
    assert made(playback_rate=2.0) == pytest.approx(880, rel=0.04)
    # Half of the clip's seconds: as it is for 2 s, two octaves up for 8 s.
    assert made(original=True) == pytest.approx(440 * n_frames / 60, rel=0.04)


@pytest.mark.parametrize("frame_rate", [Fraction(30), NTSC])
def test_a_tone_comes_back_from_its_magnitudes(frame_rate):
    n_frames = 60
    n_samples = round(n_frames * 22_050 / frame_rate)
    tone = (0.3 * np.sin(2 * np.pi * 440 * np.arange(n_samples) / 22_050)).astype(np.float32)
    asked = {"sample_rate": 22_050, "frame_rate": frame_rate}
    magnitudes = frame_magnitudes(tone, n_frames, n_fft=1024, **asked)
    assert magnitudes.shape == (60, 513)
    found = invert_magnitudes(magnitudes, **asked)
    assert len(found) == n_samples
    assert peak_hz(found, 22_050) == pytest.approx(440, abs=2)
    assert level_dbfs(found) == pytest.approx(level_dbfs(tone), abs=0.5)
    # Clips of 2 s end within a window of their ends; inside, no buzz.
    assert frame_rate_comb_db(found, 22_050, frame_rate) < 6


def test_magnitudes_of_a_sine_in_the_middle_of_a_bin_read_a_quarter_of_the_window():
    tone = np.sin(2 * np.pi * 100 / 1024 * np.arange(22_050))
    magnitudes = frame_magnitudes(tone, 30, sample_rate=22_050, frame_rate=Fraction(30), n_fft=1024)
    assert magnitudes[15, 100] == pytest.approx(256, rel=1e-3)


def test_with_its_own_phases_a_steady_sound_comes_back_as_it_was():
    tone = (0.3 * np.sin(2 * np.pi * 440 * np.arange(22_050) / 22_050)).astype(np.float32)
    asked = {"sample_rate": 22_050, "frame_rate": Fraction(30)}
    magnitudes = frame_magnitudes(tone, 30, n_fft=1024, **asked)
    found = invert_magnitudes(magnitudes, neighbour=tone, **asked)
    np.testing.assert_allclose(found[1000:-1000], tone[1000:-1000], atol=0.01)


@pytest.mark.parametrize("own_phases", [True, False])
def test_long_takes_are_inverted_in_blocks_that_are_not_heard(monkeypatch, own_phases):
    tone = (0.3 * np.sin(2 * np.pi * 440 * np.arange(66_150) / 22_050)).astype(np.float32)
    asked = {"sample_rate": 22_050, "frame_rate": Fraction(30), "neighbour": tone if own_phases else None}
    magnitudes = frame_magnitudes(tone, 90, n_fft=1024, sample_rate=22_050, frame_rate=Fraction(30))
    whole = invert_magnitudes(magnitudes, **asked)
    monkeypatch.setattr("tasks.sound.frames.BLOCK_HOPS", 64)
    found = invert_magnitudes(magnitudes, **asked)
    assert len(found) == len(whole)
    if own_phases:
        np.testing.assert_allclose(found[1000:-1000], tone[1000:-1000], atol=0.01)
    for first in range(1000, 65_000, 2000):
        assert level_dbfs(found[first : first + 2000]) == pytest.approx(level_dbfs(tone), abs=3)


def test_phases_of_a_shorter_sound_are_repeated():
    magnitudes = np.ones((30, 65), np.float32)
    asked = {"sample_rate": 8000, "frame_rate": Fraction(25)}
    found = invert_magnitudes(magnitudes, neighbour=np.random.default_rng(0).normal(size=500), **asked)
    assert len(found) == 30 * 320
    assert np.isfinite(found).all()
    with pytest.raises(ValueError, match="no sample"):
        invert_magnitudes(magnitudes, neighbour=np.zeros(0), **asked)


@pytest.mark.parametrize("neighbour", [None, np.ones(3)])
def test_a_clip_shorter_than_a_window_is_inverted_too(neighbour):
    found = invert_magnitudes(np.ones((1, 513)), sample_rate=22_050, frame_rate=Fraction(30), neighbour=neighbour)
    assert len(found) == 735
    assert np.isfinite(found).all()


def test_no_frame_is_no_sound():
    asked = {"sample_rate": 8000, "frame_rate": Fraction(25)}
    assert len(join_raw(np.zeros((0, 320)), **asked)) == 0
    assert len(join_windowed(np.zeros((0, 640)), **asked)) == 0
    assert len(join_granular(np.zeros((0, 320)), rng=np.random.default_rng(0), **asked)) == 0
    assert len(invert_magnitudes(np.zeros((0, 65)), **asked)) == 0


@pytest.mark.parametrize("frame_rate", [Fraction(0), Fraction(-1), Fraction(50_000)])
def test_frame_rates_that_make_no_sense_are_refused(frame_rate):
    with pytest.raises(ValueError, match="expected at least none, and a frame of at least a sample"):
        frame_boundaries(3, sample_rate=22_050, frame_rate=frame_rate)


def test_frames_that_are_too_short_or_no_numbers_are_refused():
    asked = {"sample_rate": 22_050, "frame_rate": NTSC}
    with pytest.raises(ValueError, match="at least 736 samples"):
        join_raw(np.zeros((3, 735)), **asked)
    with pytest.raises(ValueError, match="at least 1472 samples"):
        join_windowed(np.zeros((3, 1471)), **asked)
    with pytest.raises(ValueError, match="lead is 2 frames"):
        join_windowed(np.zeros((3, 1472)), lead=Fraction(2), **asked)
    frames = np.zeros((3, 736))
    frames[1, 5] = np.nan
    with pytest.raises(ValueError, match="sample 5 of frame 1 is nan"):
        join_raw(frames, **asked)
    with pytest.raises(ValueError, match="playback rate is 0"):
        join_granular(np.zeros((3, 736)), rng=np.random.default_rng(0), playback_rate=0, **asked)
    with pytest.raises(ValueError, match="numbers of at least 0"):
        invert_magnitudes(-np.ones((3, 65)), **asked)
