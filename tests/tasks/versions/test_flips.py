"""Figures tested together over pieces: exact p-values, and no more false alarms than the level."""

from itertools import product

import numpy as np
import pytest

from tasks.versions.flips import LEAST_PIECES, flip_test


def of_pieces(sums):
    """Return a figure's sums by piece."""
    return {f"p{number:02}": float(value) for number, value in enumerate(sums)}


def test_a_figure_that_moved_alike_everywhere_has_the_least_p_that_its_pieces_allow():
    test = flip_test([of_pieces([1.0, 1.1, 0.9, 1.2, 1.0, 0.8])], level=0.95)
    assert test.p[0] == pytest.approx(1 / 32)  # nothing or all exchanged, of 64 ways


def test_it_is_the_test_of_all_exchanges():
    sums = np.array([0.3, -0.1, 0.5, 0.2, 0.4, -0.2, 0.6])
    far = []
    for signs in product((1, -1), repeat=len(sums)):
        moved = sums * signs
        far.append(abs(moved.mean()) / moved.std(ddof=1))
    expected = np.mean(np.array(far) >= far[0] * (1 - 1e-12))
    assert flip_test([of_pieces(sums)], level=0.95).p[0] == pytest.approx(expected)


def test_what_moved_on_one_piece_alone_is_no_evidence():
    assert flip_test([of_pieces([5.0, 0, 0, 0, 0, 0, 0, 0])], level=0.95).p[0] == 1.0


def test_twenty_figures_that_say_one_thing_cost_no_more_than_one():
    rng = np.random.default_rng(1)
    sums = 0.8 + rng.normal(size=12)
    alone = flip_test([of_pieces(sums)], level=0.95)
    many = flip_test([of_pieces(sums * scale) for scale in np.linspace(0.1, 3, 20)], level=0.95)
    np.testing.assert_allclose(many.p, alone.p[0])
    assert many.critical == pytest.approx(alone.critical)


def test_a_figure_beyond_the_critical_distance_is_called_and_one_within_is_not():
    rng = np.random.default_rng(2)
    figures = [of_pieces(shift + rng.normal(size=10)) for shift in (0, 0, 0, 0.5, 3)]
    test = flip_test(figures, level=0.95)
    for figure, p, error in zip(figures, test.p, test.error, strict=True):
        is_far = abs(sum(figure.values())) > test.critical * error
        assert not is_far or p <= 0.05
    assert test.p[4] <= 0.05


def test_figures_need_not_have_the_same_pieces():
    rng = np.random.default_rng(3)
    scores = {f"score{k}": 1 + 0.1 * rng.normal() for k in range(12)}
    captures = {f"capture{k}": 0.5 * rng.normal() for k in range(6)}
    test = flip_test([scores, captures], level=0.95)
    assert test.p[0] < 0.01
    assert test.p[1] > 0.05


@pytest.mark.parametrize("n_pieces", [LEAST_PIECES, 12, 20])
def test_where_nothing_moved_one_comparison_in_twenty_calls_anything(n_pieces):
    """Heavy tails, and figures that follow each other; 400 comparisons of eight figures."""
    rng = np.random.default_rng(n_pieces)
    n_called = 0
    for _ in range(400):
        common = rng.standard_t(3, size=n_pieces)
        figures = [of_pieces(common * rng.uniform(0.5, 1) + rng.standard_t(3, size=n_pieces)) for _ in range(8)]
        n_called += flip_test(figures, level=0.95).p.min() <= 0.05
    assert n_called <= 34  # 20 are expected; more than 34 come by chance once in 1,000
