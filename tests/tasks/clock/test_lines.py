import numpy as np
import pytest

from tasks.clock.lines import envelope, find_lines, find_path, polish, robust_line

BIN_S = 0.0005
TIME_S = np.arange(20) * 2.0


def heights_along(bins, *, n_bins=241, high=8.0, seed=0):
    noise = np.random.default_rng(seed).uniform(0.5, 3.0, (len(bins), n_bins)).astype(np.float32)
    noise[np.arange(len(bins)), bins] = high
    return noise


def test_an_envelope_is_the_largest_magnitude_around_each_bin():
    lags = np.zeros((1, 41), np.float32)
    lags[0, 20], lags[0, 29] = 2.0, -3.0  # lag 0 and lag 9
    found = envelope(lags, 8)
    assert found.shape == (1, 5)
    assert found[0].tolist() == [0.0, 0.0, 2.0, 3.0, 0.0]


def test_the_line_is_found_and_the_best_one_elsewhere():
    bins = 120 + np.rint(10 + (TIME_S - TIME_S.mean()) * 1e-4 / BIN_S).astype(int)
    heights = heights_along(bins)
    heights[:, 160] = 5.0
    best, other = find_lines(heights, TIME_S, weight=np.ones(20), bin_s=BIN_S, max_slope=2e-4, apart_s=0.005)
    assert best.offset_s == pytest.approx(10 * BIN_S)
    assert best.slope == pytest.approx(1e-4, abs=2e-5)
    assert other.offset_s == pytest.approx(40 * BIN_S)
    assert best.height > 7 > 5.5 > other.height


def test_one_window_has_a_place_and_no_slope():
    best, _ = find_lines(
        heights_along([100]), np.zeros(1), weight=np.ones(1), bin_s=BIN_S, max_slope=1.0, apart_s=0.005
    )
    assert (best.offset_s, best.slope) == (-20 * BIN_S, 0.0)


def test_a_path_follows_a_curve_and_takes_a_jump_only_when_it_pays():
    curve = 120 + np.rint(12 * np.sin(np.arange(60) / 8)).astype(int)
    path = find_path(heights_along(curve), max_step=3, step_cost=1.0, jump_cost=12.0)
    assert path.tolist() == curve.tolist()
    stray = curve.copy()
    stray[30] = 220  # one window's wild peak
    path = find_path(heights_along(stray), max_step=3, step_cost=1.0, jump_cost=12.0)
    assert abs(path[30] - curve[30]) < 6
    stepped = np.where(np.arange(60) < 30, 60, 180)
    path = find_path(heights_along(stepped), max_step=3, step_cost=1.0, jump_cost=12.0)
    assert path.tolist() == stepped.tolist()


def test_wild_windows_do_not_bend_a_line():
    basis = np.column_stack([np.ones(20), TIME_S - TIME_S.mean()])
    lag_s = basis @ [1e-4, 2e-6]
    lag_s[[3, 9, 15]] += [0.004, -0.006, 0.003]
    values = robust_line(lag_s, np.ones(20), basis, tolerance_s=0.0005, prior=np.zeros((2, 2)))
    np.testing.assert_allclose(values, [1e-4, 2e-6], rtol=1e-3)


@pytest.mark.parametrize("polarity", [1, -1])
def test_phases_settle_a_line_far_below_a_sample(polarity):
    rng = np.random.default_rng(0)
    hz = np.linspace(100, 6500, 600)
    basis = np.column_stack([np.ones(20), TIME_S - TIME_S.mean()])
    truth = np.array([2e-5, 3e-7])
    noise = (rng.standard_normal((20, 600)) + 1j * rng.standard_normal((20, 600))) * 0.7
    spectra = (polarity * np.exp(-2j * np.pi * np.outer(basis @ truth, hz)) + noise).astype(np.complex64)
    found = polish(spectra, hz, basis, np.zeros(2), prior=np.zeros((2, 2)), polarity=polarity)
    deviation = np.sqrt(np.diag(found.covariance))
    assert deviation[0] < 1e-6
    assert (np.abs(found.values - truth) < 4 * deviation).all()
    np.testing.assert_allclose(found.lag_s, basis @ truth, atol=1e-5)
