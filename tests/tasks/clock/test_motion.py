"""A film of a ball that strikes at known moments, against the sound of the strokes."""

import numpy as np
import pytest

from tasks.clock.envelopes import EnvelopeParams, fit_envelopes
from tasks.clock.motion import HEIGHT, MIN_PICTURES, WIDTH, motion_flux, summed
from tasks.clock.onsets import FLUX_RATE, onset_flux

PARAMS = EnvelopeParams(max_drift_ppm=200, min_overlap_s=8, min_margin=1.3, min_peak=6, min_agreement=0.5)
DURATION_S = 40.0


def strokes(seed, duration_s=DURATION_S):
    """Moments of strokes like those of a person: uneven, none nearer than a fifth of a second."""
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.uniform(0.25, 1.6, int(duration_s / 0.9)))


def sound(moments_s, duration_s=DURATION_S, rate=16_000):
    rng = np.random.default_rng(0)
    audio = 1e-3 * rng.standard_normal(round(duration_s * rate))
    for moment_s in moments_s[moments_s < duration_s - 0.3]:
        at = round(moment_s * rate)
        audio[at : at + 4000] += 0.4 * rng.standard_normal(4000) * np.exp(-np.arange(4000) / 700)
    return audio.astype(np.float32)


def film(moments_s, *, delay_s=0.0, drift=0.0, rate=30.0, duration_s=30.0, seed=1, noise=2.0):
    """Yield a square that falls on each stroke and slowly rises; device time t is the world's t (1 + drift) + delay."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(duration_s * rate)) / rate
    world_s = time_s * (1 + drift) + delay_s
    for moment, at in zip(time_s, world_s, strict=True):
        until = np.min(moments_s[moments_s > at] - at, initial=9.0)
        since = np.min(at - moments_s[moments_s <= at], initial=9.0)
        height = 50 * min(until / 0.08, since / 0.4, 1.0)  # fast down, slowly up
        picture = 90 + noise * rng.standard_normal((HEIGHT, WIDTH))
        top = round(70 - height)
        picture[max(top - 12, 0) : top, 70:95] = 200
        yield picture.clip(0, 255).astype(np.uint8)[None], np.array([moment])


def place(audio, frames, duration_s=30.0):
    flux = motion_flux(frames, duration_s=duration_s).flux
    assert flux.shape == (2, round(duration_s * FLUX_RATE))
    reference = summed(onset_flux(audio, 16_000))
    return fit_envelopes(reference, flux[:1], fine=flux[1:], method="motion", systematic_ms=50.0, params=PARAMS)


@pytest.mark.parametrize(("delay_s", "drift", "rate"), [(3.2, 0.0, 30.0), (-2.5, 1e-4, 25.0), (6.0, -1e-4, 50.0)])
def test_a_silent_film_is_placed_within_its_error_bar(delay_s, drift, rate):
    moments_s = strokes(3)
    fit = place(sound(moments_s), film(moments_s, delay_s=delay_s, drift=drift, rate=rate))
    assert (fit.verdict, fit.method) == ("locked", "motion")
    time_s = np.linspace(0, 30, 50)
    wrong_ms = 1e3 * np.abs(fit.to_reference(time_s) - (time_s * (1 + drift) + delay_s))
    assert wrong_ms.max() < fit.error_ms < 100


def test_a_film_of_other_music_a_still_and_silence_do_not_lock():
    moments_s = strokes(4)
    for seed in range(5, 10):
        assert place(sound(moments_s), film(strokes(seed))).verdict != "locked"
    still = ((np.full((1, HEIGHT, WIDTH), 90, np.uint8), np.array([k / 30])) for k in range(900))
    found = place(sound(moments_s), still)
    assert (found.verdict, found.reason) == ("unrelated", "the device shows no onset")
    found = place(np.zeros(16_000 * 40, np.float32), film(moments_s))
    assert (found.verdict, found.reason) == ("unrelated", "the reference shows no onset")


def test_an_exact_loop_does_not_lock():
    moments_s = np.add.outer(2.0 * np.arange(20), [0.2, 0.5, 1.1, 1.4]).ravel()
    assert place(sound(moments_s), film(moments_s, delay_s=4.0)).verdict != "locked"


@pytest.mark.parametrize("n", [0, 1, 2, 3, 20, MIN_PICTURES - 1])
def test_a_film_of_few_pictures_shows_nothing(n):
    frames = film(strokes(3), rate=10.0, duration_s=n / 10)
    motion = motion_flux(frames, duration_s=2.0)
    assert motion.n_pictures == n
    assert not motion.flux.any()
    assert motion.flux.shape == (2, 200)


@pytest.mark.parametrize("duration_s", [0.01, 0.03, 0.05])
def test_onsets_of_next_to_no_time_are_as_long_as_it(duration_s):
    n = round(duration_s * FLUX_RATE)
    assert summed(np.ones((10, n), np.float32)).shape == (1, n)
    frames = film(strokes(3), rate=1000.0, duration_s=0.05)
    assert motion_flux(frames, duration_s=duration_s).flux.shape == (2, n)
