import tracemalloc
from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal.windows import hamming

from tasks.features.amplitudes import (
    first_samples_of_frames,
    note_amplitudes,
    note_frequencies_hz,
    window_length,
)

MARIMBA = [66, 68, 70, 73, 75, 78, 80, 82, 85, 87, 90, 92, 94, 97, 99, 102, 104, 106]
PIANO = np.arange(21, 109)
NTSC = Fraction(30000, 1001)
RATES = [
    (48000, Fraction(25)),
    (44100, Fraction(25)),
    (48000, NTSC),
    (44100, NTSC),
    (44100, Fraction(24000, 1001)),
    (10000, Fraction(30)),
    (48000, Fraction(60)),
]


def exact(audio, sample_rate, frame_rate, frequency_hz, n_frames):
    """Windows one by one, in float64, from the definition."""
    n = int(3 * sample_rate / frame_rate)
    window = hamming(n, sym=True)
    exponentials = np.exp(-2j * np.pi * np.outer(np.arange(n), frequency_hz) / sample_rate)
    audio = np.pad(audio.astype(np.float64), (0, 3 * sample_rate))
    rows = []
    for frame in range(n_frames - 2):
        first = ceil(frame * sample_rate / frame_rate)
        rows.append(2 / sample_rate * np.abs(audio[first : first + n] * window @ exponentials))
    return np.array(rows)


def measured(audio, sample_rate, frame_rate, frequency_hz, n_frames):
    return note_amplitudes(
        audio, sample_rate=sample_rate, frame_rate=frame_rate, frequency_hz=frequency_hz, n_frames=n_frames
    )


def sine(frequency_hz, n, sample_rate):
    return np.sin(2 * np.pi * frequency_hz * np.arange(n) / sample_rate).astype(np.float32)


def test_the_notes_of_the_marimba_have_the_frequencies_of_its_table():
    table = "369.99 415.30 466.16 554.37 622.25 739.99 830.61 932.33 1108.73 1244.51 1479.98 1661.22 1864.66"
    table += " 2217.46 2489.02 2959.96 3322.44 3729.31"
    np.testing.assert_allclose(note_frequencies_hz(MARIMBA), [float(f) for f in table.split()], atol=0.005)


@pytest.mark.parametrize(("sample_rate", "frame_rate"), RATES)
@pytest.mark.parametrize("sound", ["noise", "sine", "offset"])
def test_the_error_is_below_a_millionth_of_full_scale(sample_rate, frame_rate, sound):
    n = 2 * sample_rate
    audio = {
        "noise": np.random.default_rng(0).uniform(-1, 1, n).astype(np.float32),
        "sine": sine(440, n, sample_rate),
        "offset": np.ones(n, np.float32),
    }[sound]
    frequency_hz = note_frequencies_hz(PIANO)
    n_frames = int(2 * frame_rate)
    expected = exact(audio, sample_rate, frame_rate, frequency_hz, n_frames)
    full_scale = 0.54 * window_length(sample_rate=sample_rate, frame_rate=frame_rate) / sample_rate
    found = measured(audio, sample_rate, frame_rate, frequency_hz, n_frames)
    assert (found.shape, found.dtype) == ((n_frames - 2, 88), np.float32)
    assert np.abs(found - expected).max() < 1e-6 * full_scale


@settings(max_examples=25, deadline=None)
@given(
    sample_rate=st.integers(1000, 20_000),
    frame_rate=st.fractions(Fraction(5), Fraction(120), max_denominator=1001),
    seed=st.integers(0, 9),
)
def test_frames_of_any_length_are_exact(sample_rate, frame_rate, seed):
    rng = np.random.default_rng(seed)
    audio = rng.uniform(-1, 1, sample_rate // 2).astype(np.float32)
    frequency_hz = rng.uniform(1, sample_rate / 2 - 1, 5)
    expected = exact(audio, sample_rate, frame_rate, frequency_hz, 12)
    full_scale = 0.54 * int(3 * sample_rate / frame_rate) / sample_rate
    found = measured(audio, sample_rate, frame_rate, frequency_hz, 12)
    assert np.abs(found - expected).max() < 1e-6 * full_scale


@pytest.mark.parametrize("sample_rate", [44100, 48000])
def test_18_of_18_pure_tones_are_found(sample_rate):
    frequency_hz = note_frequencies_hz(MARIMBA)
    for place, frequency in enumerate(frequency_hz):
        audio = sine(frequency, sample_rate // 2, sample_rate)
        found = measured(audio, sample_rate, Fraction(25), frequency_hz, 12)
        assert (found.argmax(axis=1) == place).all()


@pytest.mark.parametrize("sample_rate", [44100, 48000])
def test_a_full_scale_sine_gives_the_value_of_the_marimba_project(sample_rate):
    n = window_length(sample_rate=sample_rate, frame_rate=Fraction(25))
    found = measured(sine(1000, sample_rate, sample_rate), sample_rate, Fraction(25), np.array([1000.0]), 25)
    np.testing.assert_allclose(found, (0.54 * n - 0.46) / sample_rate, rtol=1e-4)
    assert round(float(found[0, 0]), 4) == 0.0648


@pytest.mark.parametrize("frame_rate", [Fraction(25), NTSC, Fraction(24000, 1001)])
def test_a_click_shows_in_the_three_windows_over_its_frame_for_an_hour(frame_rate):
    # Frame 100,000 is an hour in: a rounded hop would be off by more than a second at 29.97.
    frame = 100_000
    first = ceil(frame * 8000 / frame_rate)
    audio = np.zeros(first + 8000, np.float32)
    audio[first] = 1
    found = measured(audio, 8000, frame_rate, np.array([1000.0]), frame + 20)
    np.testing.assert_array_equal(np.flatnonzero(found[:, 0] > 1e-6), [frame - 2, frame - 1, frame])
    audio[[first - 1, first]] = 1, 0
    found = measured(audio, 8000, frame_rate, np.array([1000.0]), frame + 20)
    rows = set(np.flatnonzero(found[:, 0] > 1e-6))
    # A window whose three frames are one sample longer than it leaves out the last.
    assert {frame - 2, frame - 1} <= rows <= {frame - 3, frame - 2, frame - 1}


def test_frames_begin_at_the_first_sample_at_or_after_their_moment():
    found = first_samples_of_frames(6, sample_rate=48000, frame_rate=NTSC)
    np.testing.assert_array_equal(found, [0, 1602, 3204, 4805, 6407, 8008])
    hour = first_samples_of_frames(107_893, sample_rate=48000, frame_rate=NTSC)
    assert hour[-1] == ceil(Fraction(107_892 * 48000 * 1001, 30000))


def test_sound_that_ends_early_is_continued_with_silence():
    audio = sine(440, 10_000, 48000)
    frequency_hz = note_frequencies_hz([69])
    found = measured(audio, 48000, Fraction(25), frequency_hz, 20)
    padded = measured(np.pad(audio, (0, 48000)), 48000, Fraction(25), frequency_hz, 20)
    np.testing.assert_array_equal(found, padded)
    assert not found[6:].any()
    assert not measured(np.empty(0, np.float32), 48000, Fraction(25), frequency_hz, 20).any()


def test_amplitudes_do_not_depend_on_where_blocks_of_work_begin():
    audio = np.random.default_rng(0).uniform(-1, 1, 1200 * 320).astype(np.float32)
    frequency_hz = note_frequencies_hz(MARIMBA)
    whole = measured(audio, 8000, Fraction(25), frequency_hz, 1200)
    later = measured(audio[700 * 320 :], 8000, Fraction(25), frequency_hz, 500)
    np.testing.assert_allclose(whole[700:], later, atol=1e-8)


def test_amplitudes_grow_with_the_sound_and_are_even():
    audio = np.random.default_rng(0).uniform(-1, 1, 8000).astype(np.float32)
    frequency_hz = note_frequencies_hz(MARIMBA)
    found = measured(audio, 8000, Fraction(25), frequency_hz, 25)
    np.testing.assert_array_equal(measured(-audio, 8000, Fraction(25), frequency_hz, 25), found)
    np.testing.assert_array_equal(measured(audio / 2, 8000, Fraction(25), frequency_hz, 25), found / 2)


@pytest.mark.parametrize("n_frames", [0, 1, 2])
def test_fewer_than_three_frames_have_no_amplitude(n_frames):
    assert measured(np.zeros(9, np.float32), 8000, Fraction(25), np.array([440.0]), n_frames).shape == (0, 1)


def test_notes_above_half_the_sample_rate_are_refused_by_name():
    with pytest.raises(ValueError, match=r"frequencies 2093\.00, 4186\.01 Hz .* below 2000 Hz"):
        measured(np.zeros(9, np.float32), 4000, Fraction(25), note_frequencies_hz([69, 96, 108]), 5)


@pytest.mark.parametrize("frequency_hz", [0.0, -1.0, np.nan, 24_000.0])
def test_a_frequency_out_of_range_is_refused(frequency_hz):
    with pytest.raises(ValueError, match="cannot be measured at 48000 samples a second"):
        measured(np.zeros(9, np.float32), 48000, Fraction(25), np.array([440.0, frequency_hz]), 5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("frame_rate", [Fraction(25), NTSC])
def test_a_sample_that_is_no_number_is_refused_with_its_place(value, frame_rate):
    audio = np.zeros(48000, np.float32)
    audio[12_345] = value
    with pytest.raises(ValueError, match="sample 12345 of the sound is"):
        measured(audio, 48000, frame_rate, note_frequencies_hz(PIANO), 25)


def test_frames_shorter_than_a_sample_are_refused():
    with pytest.raises(ValueError, match="20 samples a second cannot be cut into 25 frames"):
        measured(np.zeros(9, np.float32), 20, Fraction(25), np.array([5.0]), 5)


@pytest.mark.parametrize("frame_rate", [Fraction(25), NTSC])
def test_memory_does_not_grow_with_the_take(frame_rate):
    audio = np.zeros(48000 * 300, np.float32)
    n_frames = int(300 * frame_rate)
    tracemalloc.start()
    try:
        found = measured(audio, 48000, frame_rate, note_frequencies_hz(PIANO), n_frames)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - found.nbytes < 30e6
