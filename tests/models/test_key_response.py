import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.key_response import (
    KeyResponse,
    Loudness,
    StruckTake,
    _add_to_responses,
    _columns,
    _fading,
    _sum_responses,
    fit_key_response,
    shared_responses,
)
from models.key_states import Strokes

RATE = 1000
LENGTH = 600
N_KEYS = 5
FADE = 10 ** (-3 / (0.15 * RATE))  # 60 dB in 150 ms
PLANTED = Loudness(rest=25.0, deepest=200.0, exponent=1.6)


def planted_responses() -> NDArray[np.float32]:
    """Return a sound of its own for each key: two decaying tones and a short noise."""
    rng = np.random.default_rng(1)
    time = np.arange(LENGTH)
    responses = []
    for key in range(N_KEYS):
        tone = np.sin(0.15 * (key + 1) ** 1.3 * time) * np.exp(-time / 250)
        overtone = 0.5 * np.sin(0.43 * (key + 2) * time + 1) * np.exp(-time / 120)
        responses.append(0.2 * (tone + overtone + rng.normal(0, 1, LENGTH) * np.exp(-time / 20)))
    return np.array(responses, np.float32)


def random_strokes(seed: int, n_samples: int, n_strokes: int = 30, n_keys: int = N_KEYS) -> Strokes:
    rng = np.random.default_rng(seed)
    start = np.sort(rng.integers(0, n_samples, n_strokes))
    release = np.minimum(start + rng.integers(20, 700, n_strokes), n_samples)
    depth = rng.uniform(60, PLANTED.deepest, n_strokes)
    depth[0] = PLANTED.deepest
    return Strokes(key=rng.integers(0, n_keys, n_strokes), start=start, release=release, depth=depth.astype(np.float32))


def played(responses: NDArray[np.float32], strokes: Strokes, n_samples: int) -> NDArray[np.float32]:
    """Return the sum of responses as it is defined, in float64."""
    sound = np.zeros(n_samples)
    gains = PLANTED.gain(strokes.depth)
    for key, start, release, gain in zip(strokes.key, strokes.start, strokes.release, gains, strict=True):
        age = np.arange(min(LENGTH, n_samples - start))
        faded = FADE ** np.maximum(age - (release - start) + 1, 0)
        sound[start : start + len(age)] += gain * faded * responses[key, : len(age)]
    return sound.astype(np.float32)


def test_the_sum_of_responses_is_as_it_is_defined() -> None:
    response, strokes = KeyResponse(N_KEYS, LENGTH), random_strokes(0, 5000)
    response.responses.copy_(torch.from_numpy(planted_responses()))
    response.fade.fill_(FADE)
    response.loudness.copy_(torch.tensor([PLANTED.rest, PLANTED.deepest, PLANTED.exponent]))
    expected = played(planted_responses(), strokes, 5000)
    assert expected.std() > 0.05
    # What is fainter than -80 dB is left out.
    np.testing.assert_allclose(response.sound(strokes, 5000), expected, atol=5e-4)


@pytest.mark.parametrize("seed", range(4))
def test_the_gradient_s_operator_is_the_transpose_of_the_sum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_samples, strokes = 3000, random_strokes(seed, 3000)
    responses = rng.normal(0, 1, (N_KEYS, LENGTH)).astype(np.float32)
    sound = rng.normal(0, 1, n_samples).astype(np.float32)
    gains, fading = PLANTED.gain(strokes.depth), _fading(FADE)
    back = np.zeros_like(responses)
    _add_to_responses(*_columns(strokes), gains, sound, fading, back)
    there = _sum_responses(*_columns(strokes), gains, responses, fading, n_samples)
    forward, backward = np.vdot(there.astype(float), sound), np.vdot(back.astype(float), responses)
    size = float(np.linalg.norm(there) * np.linalg.norm(sound))
    assert forward == pytest.approx(backward, abs=1e-6 * size)
    assert abs(forward) > 1e-4 * size


@pytest.fixture(scope="module")
def fitted() -> KeyResponse:
    takes = []
    for seed in range(10, 16):
        strokes = random_strokes(seed, 12_000, n_strokes=60)
        takes.append(StruckTake(strokes=strokes, sound=played(planted_responses(), strokes, 12_000)))
    return fit_key_response(takes, n_keys=N_KEYS, length=LENGTH, rate=RATE, n_threads=1)


def test_a_take_that_was_not_fitted_sounds_as_planted(fitted: KeyResponse) -> None:
    strokes = random_strokes(99, 12_000, n_strokes=60)
    truth = played(planted_responses(), strokes, 12_000)
    left = np.linalg.norm(fitted.sound(strokes, 12_000) - truth) / np.linalg.norm(truth)
    assert left < 0.05


def test_planted_responses_are_recovered(fitted: KeyResponse) -> None:
    truth = planted_responses()
    for key in range(N_KEYS):
        error = np.linalg.norm(fitted.responses[key].numpy() - truth[key])
        assert error < 0.1 * np.linalg.norm(truth[key]), key


def test_the_planted_fading_is_recovered(fitted: KeyResponse) -> None:
    fades_60_db_s = -3 / np.log10(float(fitted.fade)) / RATE
    assert fades_60_db_s == pytest.approx(0.15, rel=0.1)


def test_the_planted_loudness_is_recovered(fitted: KeyResponse) -> None:
    depth = np.linspace(60, 200, 15).astype(np.float32)
    np.testing.assert_allclose(fitted.curve.gain(depth), PLANTED.gain(depth), rtol=0.05)


def test_a_response_like_another_takes_its_fading_and_loudness(fitted: KeyResponse) -> None:
    strokes = random_strokes(5, 6000)
    take = StruckTake(strokes=strokes, sound=played(planted_responses(), strokes, 6000))
    other = fit_key_response([take], n_keys=N_KEYS, length=LENGTH, rate=RATE, n_threads=1, like=fitted)
    assert other.fade == fitted.fade
    assert torch.equal(other.loudness, fitted.loudness)
    assert not torch.equal(other.responses, fitted.responses)


def test_no_stroke_is_refused() -> None:
    nothing = Strokes(*(np.zeros(0, np.int64),) * 3, depth=np.zeros(0, np.float32))
    silent = StruckTake(strokes=nothing, sound=np.zeros(100, np.float32))
    for takes in ([], [silent, silent]):
        with pytest.raises(ValueError, match=f"{len(takes)} takes without a stroke, expected some"):
            fit_key_response(takes, n_keys=2, length=50, rate=RATE, n_threads=1)


def test_silence_has_silent_responses() -> None:
    strokes = random_strokes(0, 2000)
    take = StruckTake(strokes=strokes, sound=np.zeros(2000, np.float32))
    fitted = fit_key_response([take], n_keys=N_KEYS, length=100, rate=RATE, n_threads=1)
    assert not fitted.responses.any()


# What keys share


def tones(n_keys: int, length: int = 2000) -> NDArray[np.float32]:
    """Return tones a semitone apart that are one sound at other speeds, as long as speed 1 makes them."""
    speed = 2 ** (np.arange(n_keys)[:, None] / 12)
    place = speed * np.arange(length)
    return (np.sin(0.2 * place + 0.3) * np.exp(-place / 400)).astype(np.float32)


def test_a_key_without_strokes_gets_its_neighbours_response_a_semitone_off() -> None:
    truth = tones(5)
    known, learned = np.ones_like(truth), truth.copy()
    known[2], learned[2] = 0, 0
    found = shared_responses(learned, known)
    assert np.linalg.norm(found[2] - truth[2]) < 0.05 * np.linalg.norm(truth[2])
    assert np.linalg.norm(found[2] - truth[1]) > 0.5 * np.linalg.norm(truth[2])


def test_neighbours_that_are_alike_share_what_one_of_them_lacks() -> None:
    truth = tones(2)
    known, learned = np.ones_like(truth), truth.copy()
    known[0, 500:], learned[0, 500:] = 0, 0  # it was never held so long
    found = shared_responses(learned, known)
    assert np.linalg.norm(found[0, 500:1500] - truth[0, 500:1500]) < 0.05 * np.linalg.norm(truth[0, 500:1500])


def test_a_neighbour_s_response_is_shared_as_loud_as_the_key_s_own() -> None:
    truth = tones(2) * np.array([[1.0], [3.0]], np.float32)
    found = shared_responses(truth, np.ones_like(truth))
    assert np.linalg.norm(found[0]) == pytest.approx(np.linalg.norm(truth[0]), rel=0.02)


def test_keys_that_are_not_alike_share_nothing() -> None:
    noise = np.random.default_rng(0).normal(0, 1, (5, 2000)).astype(np.float32)
    known = np.ones_like(noise)
    known[2], noise[2] = 0, 0
    assert not shared_responses(noise, known).any()


def test_a_key_beyond_reach_shares_nothing() -> None:
    truth = tones(12)
    known, learned = np.zeros_like(truth), np.zeros_like(truth)
    known[:3], learned[:3] = 1, truth[:3]
    found = shared_responses(learned, known)
    assert found[5].any()
    assert not found[7:].any()
