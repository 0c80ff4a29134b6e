import numpy as np
import pytest
import scipy.stats

from tasks.metrics.intervals import paired_interval


def called_different(rng: np.random.Generator, *, n_groups: int, n_pairs: int, skewed: bool, unequal: bool) -> float:
    """Return the share of pairs without any difference whose interval leaves 0 out."""
    n_wrong = 0
    for _ in range(n_pairs):
        sizes = rng.integers(1, 6, n_groups) if unequal else np.full(n_groups, 2)
        groups = np.repeat(np.arange(n_groups), sizes)
        of_group = rng.exponential(size=n_groups) - 1 if skewed else rng.normal(size=n_groups)
        b = rng.normal(size=len(groups))
        a = b + of_group[groups] + 0.5 * rng.normal(size=len(groups))
        _, low, high = paired_interval(a, b, groups, n_resamples=400, rng=rng)
        n_wrong += not low <= 0 <= high
    return n_wrong / n_pairs


@pytest.mark.parametrize("n_groups", [2, 3, 5, 8, 20])
def test_of_a_thousand_pairs_without_a_difference_few_are_called_different(n_groups):
    share = called_different(np.random.default_rng(1), n_groups=n_groups, n_pairs=1000, skewed=False, unequal=False)
    assert share <= 0.07


@pytest.mark.parametrize("skewed", [False, True])
def test_pieces_with_more_takes_than_others_do_not_fool_it(skewed):
    share = called_different(np.random.default_rng(2), n_groups=8, n_pairs=1000, skewed=skewed, unequal=True)
    assert share <= 0.08


def test_a_planted_difference_is_found_and_enclosed():
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(12), 3)
    b = rng.normal(size=36)
    difference, low, high = paired_interval(b + 2 + 0.3 * rng.normal(size=36), b, groups, n_resamples=2000, rng=rng)
    assert 1.5 < low < difference < high < 2.5


def test_the_order_of_systems_only_turns_the_sign():
    rng = np.random.default_rng(4)
    a, b, groups = rng.normal(size=20), rng.normal(size=20), np.arange(20) // 2
    there = paired_interval(a, b, groups, n_resamples=500, rng=np.random.default_rng(0))
    back = paired_interval(b, a, groups, n_resamples=500, rng=np.random.default_rng(0))
    assert there == pytest.approx((-back[0], -back[2], -back[1]))


def test_takes_of_one_piece_are_no_new_evidence():
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=8), rng.normal(size=8)
    once = paired_interval(a, b, range(8), n_resamples=500, rng=np.random.default_rng(0))
    often = paired_interval(
        np.repeat(a, 50),
        np.repeat(b, 50),
        np.repeat(range(8), 50),
        n_resamples=500,
        rng=np.random.default_rng(0),
    )
    assert often == pytest.approx(once)


def test_few_pieces_give_students_interval():
    difference = np.array([1.0, 2.0, 4.0])
    expected = scipy.stats.t.interval(0.95, 2, difference.mean(), scipy.stats.sem(difference))
    _, low, high = paired_interval(difference, np.zeros(3), "abc", n_resamples=10, rng=np.random.default_rng(0))
    assert (low, high) == pytest.approx(expected)


def test_the_same_generator_gives_the_same_interval():
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=10), rng.normal(size=10)
    first, second = (paired_interval(a, b, range(10), n_resamples=100, rng=np.random.default_rng(7)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(("offset", "n"), [(0.0, 2), (0.25, 9)])
def test_a_difference_that_never_varies_has_no_width(offset, n):
    b = np.arange(n) / 4
    assert paired_interval(b + offset, b, range(n), n_resamples=10, rng=np.random.default_rng(0)) == (offset,) * 3


def test_one_piece_is_refused():
    with pytest.raises(ValueError, match="come from 1 piece, expected at least 2"):
        paired_interval([1, 2], [0, 0], ["a", "a"], n_resamples=10, rng=np.random.default_rng(0))


def test_a_missing_figure_is_refused_with_its_place():
    with pytest.raises(ValueError, match="take 1: difference is not finite"):
        paired_interval([1, np.nan], [0, 0], ["a", "b"], n_resamples=10, rng=np.random.default_rng(0))


def test_lengths_that_differ_are_refused():
    with pytest.raises(ValueError, match="one for each take"):
        paired_interval([1.0, 2.0], [0.0, 0.0], ["a"], n_resamples=10, rng=np.random.default_rng(0))
