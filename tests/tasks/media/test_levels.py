"""Signals whose levels are known by construction."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.media.encode import encode_sound
from tasks.media.levels import SoundMeter, measure_sound, sound_facts
from tasks.media.probe import MediaPolicy

RATE = 8_000
POLICY = MediaPolicy(max_pixels=10**6, max_duration_s=60.0, max_bytes=10**8, max_streams=16, max_file_bytes=10**8)


def tone(peak=0.5, duration_s=1.0):
    return (peak * np.sin(2 * np.pi * 500 * np.arange(round(duration_s * RATE)) / RATE)).astype(np.float32)


def test_a_tone_has_the_level_it_was_made_with():
    facts = sound_facts(tone(), sample_rate=RATE)
    assert facts.peak_db == pytest.approx(-6.02, abs=0.01)
    assert facts.rms_db == pytest.approx(-9.03, abs=0.01)
    assert (facts.duration_s, facts.channels, facts.clipped, facts.is_silent) == (1.0, 1, 0.0, False)
    assert abs(facts.constant) < 1e-6
    assert facts.loudness_lufs == pytest.approx(-9.7, abs=0.5)  # BS.1770 lets 500 Hz pass nearly as it is, less 0.7


def test_silence_is_silent_and_has_no_dead_channel():
    facts = sound_facts(np.zeros((RATE, 2), np.float32), sample_rate=RATE)
    assert (facts.peak_db, facts.rms_db, facts.is_silent, facts.channels_used.dead) == (-120.0, -120.0, True, ())


def test_a_dead_channel_is_named():
    both = np.stack([tone(), np.zeros(RATE, np.float32), tone()], axis=1)
    assert sound_facts(both, sample_rate=RATE).channels_used.dead == (1,)


def test_clipped_samples_are_counted():
    assert sound_facts(tone(2.0).clip(-1, 1), sample_rate=RATE).clipped == pytest.approx(2 / 3, abs=0.1)


def test_a_constant_is_told_with_its_sign():
    both = np.stack([tone(), tone() - 0.25], axis=1)
    assert sound_facts(both, sample_rate=RATE).constant == pytest.approx(-0.25, abs=1e-6)


def test_a_sample_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="no number"):
        sound_facts(np.array([0.0, np.nan], np.float32), sample_rate=RATE)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 300), max_size=6), st.integers(0, 10**6))
def test_how_sound_is_cut_into_blocks_changes_nothing(cuts, seed):
    samples = np.random.default_rng(seed).uniform(-1, 1, (300, 2)).astype(np.float32)
    meter = SoundMeter(RATE, 2)
    for block in np.split(samples, sorted(cuts)):
        meter.add(block)
    found, whole = meter.facts(), sound_facts(samples, sample_rate=RATE)
    assert (found.clipped, found.peak_db, found.duration_s) == (whole.clipped, whole.peak_db, whole.duration_s)
    assert (found.rms_db, found.constant) == pytest.approx((whole.rms_db, whole.constant), abs=1e-6)


def test_a_file_is_measured_with_its_channels_apart(tmp_path):
    """Left only, as a microphone in a stereo jack records: the mean would hide that the right one is dead."""
    both = np.stack([tone().clip(-0.5, 0.5), np.zeros(RATE, np.float32)], axis=1)
    encode_sound(tmp_path / "a.wav", both, sample_rate=RATE, codec="pcm_s16le")
    measured = measure_sound(tmp_path / "a.wav", policy=POLICY)
    assert (measured.facts.channels, measured.facts.sample_rate, measured.facts.channels_used.dead) == (2, RATE, (1,))
    assert measured.facts.peak_db == pytest.approx(-6.02, abs=0.01)
    assert (measured.holes, measured.n_patched, measured.truncated_at_s) == ((), 0, None)
