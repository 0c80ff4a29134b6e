from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.signal import lfilter
from torch import Tensor

from models.deepsynth_config import DeepSynthConfig
from models.past_samples import (
    LEAST_SCALE,
    N_SCALARS,
    SCALE_LENGTH,
    SCALE_TIMES,
    Known,
    PastSamples,
    class_edges,
    class_values,
    class_width,
    companded,
    expanded,
    fit_taps,
)
from tasks.features.mu_law import mu_law_decode, mu_law_encode

WHOLE: dict[str, Any] = {"output": "logistics", "n_past": 4, "n_taps": 7, "running_scale": True}


def make(**options: Any) -> PastSamples:
    samples = PastSamples(DeepSynthConfig(n_layers=1, n_channels=1, **{**WHOLE, **options}))
    if samples.config.n_taps:
        samples.taps.copy_(torch.from_numpy(np.random.default_rng(1).normal(0, 0.2, samples.config.n_taps)))
    return samples


def known(samples: PastSamples, codes: Tensor, drive: Tensor | None = None) -> Known:
    return samples(codes, drive, samples.at_rest(len(codes), torch.zeros(1)))[0]


def noise(std: NDArray[np.float64], seed: int = 0) -> Tensor:
    """Return the codes (1, T) of noise of a standard deviation at each sample."""
    sound = np.clip(np.random.default_rng(seed).normal(0, 1, len(std)) * std, -1, 1)
    return torch.from_numpy(mu_law_encode(sound.astype(np.float32))).long()[None]


# Classes


def test_class_values_are_those_that_codes_are_decoded_to() -> None:
    np.testing.assert_allclose(class_values(256).numpy(), mu_law_decode(np.arange(256, dtype=np.uint8)), atol=1e-7)


def test_edges_part_the_classes_that_sound_is_encoded_to() -> None:
    edges = class_edges(256).numpy()
    step = 1e-5 * np.abs(edges) + 1e-8
    above, below = (mu_law_encode((edges + side * step).astype(np.float32)) for side in (1, -1))
    np.testing.assert_array_equal(below, np.arange(255))
    np.testing.assert_array_equal(above, np.arange(1, 256))


def test_companding_is_undone_by_expanding() -> None:
    amplitude = torch.linspace(-1, 1, 1001, dtype=torch.float64)
    torch.testing.assert_close(expanded(companded(amplitude, 256), 256), amplitude)


def test_the_width_of_a_class_is_the_distance_of_its_edges() -> None:
    width = class_width(class_values(256)[1:-1], 256)
    torch.testing.assert_close(width, class_edges(256).diff(), rtol=0.02, atol=0)


# A linear prediction


def autoregressive(taps: list[float], n_samples: int, seed: int = 0) -> NDArray[np.float64]:
    return lfilter([1.0], [1.0, *(-tap for tap in taps)], np.random.default_rng(seed).normal(0, 1, n_samples))


def test_the_taps_of_a_planted_process_are_found() -> None:
    planted = [1.6, -0.9, 0.1]
    taps = fit_taps([autoregressive(planted, 40_000, seed) for seed in (0, 1)], 6, window=40_000)
    np.testing.assert_allclose(taps, [*planted, 0, 0, 0], atol=0.03)


@pytest.mark.parametrize("n_taps", [1, 8, 64])
def test_a_fitted_predictor_is_stable(n_taps: int) -> None:
    time = np.arange(4000)
    tones = np.sin(0.1 * time) + 0.5 * np.sin(1.3 * time + 1) + 1e-4 * np.sin(2.9 * time)
    taps = fit_taps([tones], n_taps, window=1000)
    assert taps.any()
    assert np.abs(np.roots([1.0, *-taps.astype(np.float64)])).max() < 1


def test_a_loud_window_counts_as_much_as_a_soft_one() -> None:
    loud, soft = autoregressive([0.9], 20_000), 1e-3 * autoregressive([-0.9], 20_000)
    assert abs(fit_taps([np.concatenate([loud, soft])], 1, window=20_000)[0]) < 0.03
    assert fit_taps([loud], 1, window=20_000)[0] == pytest.approx(0.9, abs=0.03)


def test_silence_has_no_taps() -> None:
    np.testing.assert_array_equal(fit_taps([np.zeros(3000)], 4, window=1000), np.zeros(4))


# What is known of a sample


def direct(samples: PastSamples, codes: Tensor, drive: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and scale (T,) of one stream as their definitions say, in float64, one sample after the other."""
    sound = class_values(256)[codes[0]].numpy()
    driven, taps = drive[0].double().numpy(), samples.taps.double().numpy()
    decays = [np.exp(-np.arange(SCALE_LENGTH) / time) for time in SCALE_TIMES]
    left, errors, mean, scale = [0.0] * len(taps), [0.0] * SCALE_LENGTH, [], []
    drive_before = prediction = 0.0
    for sample, amplitude in zip(sound, driven, strict=True):
        left.insert(0, sample - drive_before)
        errors.insert(0, left[0] - prediction)
        prediction = float(np.dot(left[: len(taps)], taps))
        squares = np.square(errors[:SCALE_LENGTH])
        fast, slow = (np.sqrt(np.dot(squares, d) / d.sum() + LEAST_SCALE**2) for d in decays)
        mean.append(amplitude + prediction)
        scale.append(np.sqrt(fast * slow))
        drive_before = amplitude
    return np.array(mean), np.array(scale)


def test_mean_and_scale_are_those_of_their_definitions() -> None:
    samples, codes = make(), noise(np.full(1500, 0.1))
    drive = torch.from_numpy(np.random.default_rng(3).normal(0, 0.1, (1, 1500)).astype(np.float32))
    mean, scale = direct(samples, codes, drive)
    found = known(samples, codes, drive)
    np.testing.assert_allclose(found.mean[0], mean, atol=2e-6)
    np.testing.assert_allclose(found.scale[0], scale, rtol=2e-5)


def test_the_scale_follows_a_planted_step_of_noise() -> None:
    std = np.where(np.arange(6000) < 3000, 0.01, 0.1)
    found = known(make(n_taps=0), noise(std))
    assert found.scale[0, 1500:3000].mean() == pytest.approx(0.01, rel=0.1)
    assert found.scale[0, 4500:].mean() == pytest.approx(0.1, rel=0.1)
    fast_over_slow = found.features[0, :, -N_SCALARS]
    assert fast_over_slow[3005:3030].mean() > 0.5  # the fast scale has risen, the slow one not yet
    assert abs(fast_over_slow[4500:].mean()) < 0.1


def test_without_a_running_scale_it_is_the_same_always() -> None:
    scale = known(make(running_scale=False), noise(np.linspace(0, 0.3, 900))).scale
    assert scale.unique().numel() == 1


def test_features_begin_with_the_last_samples_the_newest_first() -> None:
    codes = noise(np.full(50, 0.3))
    features = known(make(), codes).features[0]
    place = 2 * codes[0].float() / 255 - 1
    torch.testing.assert_close(features[20, :4], place[17:21].flip(0), rtol=0, atol=1e-6)
    assert features.shape == (50, 4 + 4 + N_SCALARS)
    assert not features[0, 1:4].any()  # nothing was there before the first sample


@pytest.mark.parametrize("options", [{}, {"n_past": 1}, {"output": "softmax", "n_taps": 0, "running_scale": False}])
def test_nothing_is_known_from_later_samples_or_drives(options: dict[str, Any]) -> None:
    samples, codes = make(**options), noise(np.full(200, 0.2))
    drive = torch.full((1, 200), 0.1)
    before = known(samples, codes, drive)
    later, driven = codes.clone(), drive.clone()
    later[:, 100:] = 255 - later[:, 100:]
    driven[:, 100:] = -0.3
    after = known(samples, later, driven)
    for name in ("mean", "scale", "features"):
        assert torch.equal(getattr(after, name)[:, :100], getattr(before, name)[:, :100]), name
    assert not torch.equal(after.features[:, 100:], before.features[:, 100:])


@pytest.mark.parametrize("options", [{}, {"n_taps": 0}, {"output": "softmax", "n_taps": 0, "running_scale": False}])
def test_one_call_equals_many(options: dict[str, Any]) -> None:
    samples, codes = make(**options), noise(np.full(1200, 0.2)).reshape(2, 600)
    drive = torch.linspace(-0.5, 0.5, 1200).reshape(2, 600)
    whole = known(samples, codes, drive)
    past, parts = samples.at_rest(2, torch.zeros(1)), []
    for start, stop in [(0, 1), (1, 3), (3, 517), (517, 600)]:
        part, past = samples(codes[:, start:stop], drive[:, start:stop], past)
        parts.append(part)
    for name in ("mean", "scale", "features"):
        found = torch.cat([getattr(part, name) for part in parts], dim=1)
        torch.testing.assert_close(found, getattr(whole, name), rtol=0, atol=2e-6, msg=name)
    assert whole.features.std() > 0.1
