"""A score and its performance in another tempo, both of made-up tones whose moments are known."""

import numpy as np
import pytest

from tasks.clock.score import follow_score, note_lags

RATE = 16_000


def sound(onset_s, pitch, *, decay_s=0.3, noise=1e-3, seed=0):
    rng = np.random.default_rng(seed)
    audio = noise * rng.standard_normal(round((onset_s[-1] + 2) * RATE))
    since = np.arange(RATE) / RATE
    for moment_s, note in zip(onset_s, pitch, strict=True):
        hz = 440 * 2 ** ((note - 69) / 12)
        tone = sum(np.sin(2 * np.pi * k * hz * since) / k for k in (1, 2, 3)) * np.exp(-since / decay_s)
        first = round(moment_s * RATE)
        audio[first : first + RATE] += 0.1 * tone
    return audio.astype(np.float32)


def score(seed=1, n=100):
    rng = np.random.default_rng(seed)
    return 0.5 + np.cumsum(rng.choice([0.2, 0.2, 0.4, 0.6], n)), rng.integers(50, 80, n)


def performance(onset_s, *, tempo=1.0, sway=0.0, start_s=1.0):
    """Return when notes are played whose tempo sways; a pause of 1.5 s is in the middle."""
    steps = np.diff(onset_s, prepend=onset_s[0]) * tempo * (1 + sway * np.sin(onset_s / 4))
    steps[len(steps) // 2] += 1.5
    return start_s + np.cumsum(steps)


def follow(recorded, rendered, onset_s, pitch):
    return follow_score(
        recorded, rendered, sample_rate=RATE, onset_s=onset_s, pitch=pitch, min_margin=1.3, min_agreement=0.5
    )


@pytest.mark.parametrize(("tempo", "sway"), [(1.0, 0.0), (0.7, 0.2), (1.6, 0.2)])
def test_notes_are_found_in_any_tempo_and_after_a_pause(tempo, sway):
    onset_s, pitch = score()
    heard_s = performance(onset_s, tempo=tempo, sway=sway)
    fit = follow(sound(heard_s, pitch, decay_s=0.15, noise=0.01, seed=2), sound(onset_s, pitch), onset_s, pitch)
    assert fit.verdict == "followed"
    wrong_ms = 1e3 * np.abs(fit.to_reference(onset_s) - heard_s)
    assert np.median(wrong_ms) < 10
    assert np.quantile(wrong_ms, 0.9) < 40
    assert (np.diff(fit.reference_s) >= 0).all()
    assert fit.lag_s.shape == onset_s.shape


def test_beyond_its_ends_the_tempo_goes_on():
    onset_s, pitch = score()
    fit = follow(sound(performance(onset_s, tempo=1.2), pitch), sound(onset_s, pitch), onset_s, pitch)
    last_s = fit.score_s[-1]
    tempo = np.diff(fit.reference_s[[0, -1]])[0] / last_s
    assert fit.to_reference(last_s + 10) - fit.to_reference(last_s) == pytest.approx(10 * tempo)


@pytest.mark.parametrize("seed", range(2, 8))
def test_the_score_of_another_piece_is_unrelated(seed):
    onset_s, pitch = score(seed)
    recorded = sound(performance(score()[0], tempo=1.1), score()[1])
    fit = follow(recorded, sound(onset_s, pitch), onset_s, pitch)
    assert fit.verdict == "unrelated"
    assert fit.margin < 1.3
    with pytest.raises(ValueError, match="the score is unrelated"):
        fit.to_reference(onset_s)


def test_the_score_backwards_and_transposed_is_unrelated():
    onset_s, pitch = score()
    recorded = sound(performance(onset_s), pitch)
    backwards_s = (onset_s[-1] + 0.5 - onset_s)[::-1]
    assert follow(recorded, sound(backwards_s, pitch[::-1]), backwards_s, pitch[::-1]).verdict == "unrelated"
    assert follow(recorded, sound(onset_s, pitch + 1), onset_s, pitch + 1).verdict == "unrelated"


@pytest.mark.parametrize("silent", ["recording", "score"])
def test_silence_and_what_is_too_short_say_so(silent):
    onset_s, pitch = score(n=10)
    music, silence = sound(onset_s, pitch), np.zeros(5 * RATE, np.float32)
    pair = (silence, music) if silent == "recording" else (music, silence)
    fit = follow(*pair, onset_s, pitch)
    assert (fit.verdict, fit.reason) == ("unrelated", f"the {silent} shows no onset")
    pair = (music[:100], music) if silent == "recording" else (music, music[:100])
    assert follow(*pair, onset_s, pitch).reason == f"the {silent} shows no onset"


def test_a_late_note_is_found_late_and_repeated_ones_are_not_taken_for_each_other():
    onset_s = np.array([1.0, 2.0, 3.0, 4.0, 4.1, 4.2, 6.0])
    pitch = np.array([60, 62, 64, 65, 65, 65, 67])
    heard_s = onset_s + np.array([0, 0, 0.03, 0, 0, 0, 0])
    lag_s = note_lags(
        sound(heard_s, pitch, seed=1),
        sound(onset_s, pitch),
        sample_rate=RATE,
        expected_s=onset_s,
        onset_s=onset_s,
        pitch=pitch,
    )
    assert np.isnan(lag_s[3:6]).all()
    np.testing.assert_allclose(lag_s[[0, 1, 2, 6]], [0, 0, 0.03, 0], atol=0.006)


def test_the_same_sound_gives_the_same_answer():
    onset_s, pitch = score(n=60)
    recorded, rendered = sound(performance(onset_s), pitch), sound(onset_s, pitch)
    one, two = follow(recorded, rendered, onset_s, pitch), follow(recorded, rendered, onset_s, pitch)
    assert one.reference_s.tobytes() == two.reference_s.tobytes()
