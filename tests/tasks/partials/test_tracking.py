"""Players whose notes are known are tracked."""

import numpy as np
import pytest
from scipy.signal import stft

from tasks.partials.combs import Grid
from tasks.partials.spectra import pitches_of
from tasks.partials.tracking import track

RATE, N_FFT, HOP = 16_000, 1408, 352
N_BINS = 440


@pytest.fixture
def tracked(params, spectra):
    """Return a function that tracks a mix: the likeliest pitch (K, T) of each player, 0 for a rest."""

    def run(mix, codes, **changes):
        _, _, spectrum = stft(mix, nperseg=N_FFT, noverlap=N_FFT - HOP)
        grid = Grid(sample_rate=RATE, n_fft=N_FFT, tuning=0.0, spread_cents=params.spread_cents)
        atoms = [grid.notes(pitches_of(code), spectra[code], n_bins=N_BINS) for code in codes]
        found = track(
            np.abs(spectrum[:N_BINS]),
            codes,
            atoms,
            params.tracking.model_copy(update=changes),
            fit_weight=30.0,
            order=1.0,
        )
        assert all((one >= 0).all() and (one.sum(axis=0) < 1 + 1e-9).all() for one in found)
        return np.array(
            [
                np.where(one.sum(axis=0) > 0.5, pitches_of(code)[one.argmax(axis=0)], 0)
                for code, one in zip(codes, found, strict=True)
            ]
        )

    return run


def frames(pitches, n_frames):
    """Return the pitch (T,) that is played in the middle of each frame, and which frames are away from a change."""
    at = np.arange(n_frames) * HOP / RATE / 0.5
    index = np.minimum(at.astype(int), len(pitches) - 1)
    return np.array([pitch or 0 for pitch in pitches])[index], (at % 1 > 0.2) & (at % 1 < 0.8) & (at < len(pitches))


def test_two_players_notes_and_rests_are_found(play, tracked):
    parts = {"vn": [74, 76, None, 79], "vc": [48, None, 50, 43]}
    mix = play(parts["vn"], 2.4) + play(parts["vc"], 2.25)
    found = tracked(mix, tuple(parts))
    for own, pitches in zip(found, parts.values(), strict=True):
        expected, is_inside = frames(pitches, len(own))
        assert np.mean(own[is_inside] == expected[is_inside]) > 0.95


def test_three_players_are_tracked_too(play, tracked):
    parts = {"vn": [79, 81], "va": [65, 64], "vc": [45, 50]}
    found = tracked(sum(play(pitches, 2.0) for pitches in parts.values()), tuple(parts))
    for own, pitches in zip(found, parts.values(), strict=True):
        expected, is_inside = frames(pitches, len(own))
        assert np.mean(own[is_inside] == expected[is_inside]) > 0.9


def test_seven_players_are_tracked_with_fewer_candidates_each(play, tracked):
    codes = ("vn", "va", "vc", "fl", "cl", "bn", "hn")
    found = tracked(play([60, 64], 1.0), codes)
    assert found.shape[0] == 7
    for half, pitch in zip(np.array_split(found, 2, axis=1), (60, 64), strict=True):
        played = half[half > 0]
        assert len(played) > 0
        assert np.mean(played % 12 == pitch % 12) > 0.7  # one tone: whoever plays plays it, or an octave of it


def test_silence_is_nobodys_note(tracked):
    assert not tracked(np.zeros(RATE, np.float32), ("vn", "vc")).any()


def test_a_note_costs_so_that_noise_is_a_rest(tracked):
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    assert not tracked(noise, ("vn", "vc"), note_cost=30.0).any()
