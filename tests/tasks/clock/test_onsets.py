import numpy as np
import pytest

from tasks.clock.onsets import FLUX_RATE, N_BANDS, find_places, onset_flux

RATE = 16_000
SEARCH = {"max_drift_ppm": 1500.0, "min_overlap_s": 5.0, "n_places": 4}


def flux(n_steps, seed=0):
    rng = np.random.default_rng(seed)
    strokes = (rng.random((N_BANDS, n_steps)) < 0.03) * rng.exponential(5, (N_BANDS, n_steps))
    return (strokes - strokes.mean()).astype(np.float32)


@pytest.mark.parametrize("sample_rate", [16_000, 22_050, 48_000])
def test_an_onset_stands_at_its_time_in_every_band(sample_rate):
    sound = 1e-3 * np.random.default_rng(0).standard_normal(4 * sample_rate)
    sound[2 * sample_rate : 2 * sample_rate + sample_rate // 10] *= 300
    found = onset_flux(sound.astype(np.float32), sample_rate)
    assert found.shape == (N_BANDS, 4 * FLUX_RATE)
    assert (np.abs(found.argmax(axis=1) - 2 * FLUX_RATE) <= 2).all()
    np.testing.assert_allclose(found.mean(axis=1), 0, atol=0.1)


def test_neither_gain_nor_polarity_nor_the_type_changes_the_flux():
    sound = np.random.default_rng(0).standard_normal(3 * RATE).astype(np.float32)
    expected = onset_flux(sound, RATE)
    np.testing.assert_allclose(onset_flux(sound * np.float32(-1e-6), RATE), expected, atol=1e-2)
    whole = np.round(sound * 6000).astype(np.int16)
    np.testing.assert_allclose(onset_flux(whole, RATE), expected, atol=1e-2)


@pytest.mark.parametrize("sound", [np.zeros(RATE, np.float32), np.zeros(0, np.float32), np.ones(10, np.float32)])
def test_what_never_rises_has_no_flux(sound):
    assert not onset_flux(sound, RATE).any()


@pytest.mark.parametrize("start", [-900, 0, 700, 2400])
def test_the_best_place_is_the_right_one_on_either_side(start):
    world = flux(6000)
    best = find_places(world[:, 1500:4500], world[:, 1500 + start : 3000 + start], **SEARCH)[0]
    shared_s = (max(0, -start) + min(1500, 3000 - start)) / 2 / FLUX_RATE  # a drift may turn the line around it
    assert best.delay_s + best.drift_ppm * 1e-6 * shared_s == pytest.approx(start / FLUX_RATE, abs=0.015)


def test_a_drift_shows_at_the_ends_of_the_clip():
    world = flux(12_000)
    steps = np.rint(1000 + np.arange(8000) * (1 + 1.2e-3)).astype(np.int64)
    best = find_places(world, world[:, steps], **SEARCH)[0]
    middle_s = 40.0
    assert best.delay_s + best.drift_ppm * 1e-6 * middle_s == pytest.approx(10 + 1.2e-3 * middle_s, abs=0.015)
    assert best.drift_ppm == pytest.approx(1200, abs=300)


def test_places_of_a_loop_are_a_period_apart():
    world = np.tile(flux(200), 20)
    places = find_places(world, world[:, 600:1600], **SEARCH)
    assert all(round(place.delay_s * FLUX_RATE) % 200 == 0 for place in places)
    assert places[-1].score > 0.8 * places[0].score


def test_long_recordings_are_searched_by_parts_of_them():
    world = flux(80_000)
    assert find_places(world, world[:, 30_000:75_000], **SEARCH)[0].delay_s == 300.0


def test_a_recording_under_the_shortest_overlap_has_no_place():
    assert find_places(flux(400), flux(3000), **SEARCH) == []
