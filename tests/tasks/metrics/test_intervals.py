import numpy as np
import pytest
import scipy.stats

from tasks.metrics.intervals import FEW_GROUPS_CONFIDENCE, holm, least_difference, p_value, paired_interval, paired_test

DRAWS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "heavy": lambda rng, n: rng.standard_t(3, size=n),
    "skewed": lambda rng, n: rng.exponential(size=n) - 1,
}


def paired_intervals(*arguments, **options):
    test = paired_test(*arguments, **options)
    return test.mean, test.low, test.high


def called_different(rng, *, n_pieces, draw, most_takes, n_pairs=1000):
    """Return the share of pairs without any difference whose interval leaves 0 out."""
    n_wrong = 0
    for _ in range(n_pairs):
        sizes = rng.integers(1, most_takes + 1, n_pieces)
        pieces = np.repeat(np.arange(n_pieces), sizes)
        difference = DRAWS[draw](rng, n_pieces)[pieces] + 0.5 * DRAWS[draw](rng, len(pieces))
        _, low, high = paired_intervals(difference, pieces, n_resamples=300, rng=rng)
        n_wrong += not low[0] <= 0 <= high[0]
    return n_wrong / n_pairs


@pytest.mark.parametrize("n_pieces", [3, 4, 6, 8, 20, 60])
@pytest.mark.parametrize("draw", ["normal", "heavy", "skewed"])
def test_of_a_thousand_pairs_without_a_difference_at_most_60_are_called_different(n_pieces, draw):
    rng = np.random.default_rng(n_pieces)
    assert called_different(rng, n_pieces=n_pieces, draw=draw, most_takes=3) <= 0.06


def test_a_planted_difference_is_found_and_enclosed():
    rng = np.random.default_rng(3)
    pieces = np.repeat(np.arange(12), 3)
    mean, low, high = paired_intervals(2 + 0.5 * rng.normal(size=36), pieces, n_resamples=2000, rng=rng)
    assert 1.5 < low[0] < mean[0] < high[0] < 2.5


def test_many_pieces_give_the_interval_of_the_normal_distribution():
    rng = np.random.default_rng(4)
    difference, pieces = rng.normal(size=3000), np.arange(3000) // 3
    means = difference.reshape(-1, 3).mean(axis=1)
    mean, low, high = paired_intervals(difference, pieces, n_resamples=4000, rng=np.random.default_rng(0))
    expected = scipy.stats.norm.interval(0.95, means.mean(), scipy.stats.sem(means))
    assert (low[0], high[0]) == pytest.approx(expected, abs=0.004)
    assert mean[0] == pytest.approx(means.mean())


def test_few_pieces_give_students_interval_at_its_wary_level():
    difference = np.array([1.0, 2.0, 4.0])
    error = scipy.stats.sem(difference)
    expected = scipy.stats.t.interval(FEW_GROUPS_CONFIDENCE, 2, difference.mean(), error)
    _, low, high = paired_intervals(difference, list("abc"), n_resamples=10, rng=np.random.default_rng(0))
    assert (low[0], high[0]) == pytest.approx(expected)


def test_every_figure_has_the_interval_that_it_has_alone():
    rng = np.random.default_rng(5)
    table, pieces = rng.normal(size=(30, 4)), np.arange(30) // 2
    together = paired_intervals(table, pieces, n_resamples=500, rng=np.random.default_rng(1))
    for column in range(4):
        alone = paired_intervals(table[:, column], pieces, n_resamples=500, rng=np.random.default_rng(1))
        assert [ends[0] for ends in alone] == pytest.approx([ends[column] for ends in together])


def test_a_figure_that_moved_in_one_piece_alone_stays_open_with_finite_ends():
    difference = np.array([1.0, *[0.0] * 7])
    _, low, high = paired_intervals(difference, range(8), n_resamples=200, rng=np.random.default_rng(0))
    assert -1 < low[0] < 0 < high[0] < 1


def test_scale_and_sign_go_through():
    rng = np.random.default_rng(6)
    difference, pieces = rng.normal(size=20), np.arange(20) // 2
    there = paired_intervals(difference, pieces, n_resamples=500, rng=np.random.default_rng(2))
    back = paired_intervals(-1000 * difference, pieces, n_resamples=500, rng=np.random.default_rng(2))
    assert [1000 * ends[0] for ends in there] == pytest.approx([-back[at][0] for at in (0, 2, 1)])


@pytest.mark.parametrize(("offset", "n"), [(0.0, 2), (0.25, 9), (1e9, 40)])
def test_a_difference_that_never_varies_has_no_width(offset, n):
    mean, low, high = paired_intervals(np.full(n, offset), range(n), n_resamples=10, rng=np.random.default_rng(0))
    assert (mean[0], low[0], high[0]) == (offset, offset, offset)


def test_one_piece_says_nothing_about_the_spread():
    mean, low, high = paired_intervals([1.0, 2.0], ["a", "a"], n_resamples=10, rng=np.random.default_rng(0))
    assert (mean[0], low[0], high[0]) == (1.5, -np.inf, np.inf)


@pytest.mark.parametrize(
    ("difference", "pieces", "message"),
    [
        ([1.0, np.nan], "ab", "take 1: difference is not finite"),
        ([1.0, 2.0], "a", "one row for each take"),
        ([], "", "one row for each take"),
    ],
)
def test_what_is_no_table_of_differences_is_refused(difference, pieces, message):
    with pytest.raises(ValueError, match=message):
        paired_intervals(difference, list(pieces), n_resamples=10, rng=np.random.default_rng(0))


def test_two_systems_are_compared_by_their_differences():
    rng = np.random.default_rng(8)
    a, b, pieces = rng.normal(size=20), rng.normal(size=20), np.arange(20) // 2
    one = paired_interval(a, b, pieces, n_resamples=500, rng=np.random.default_rng(0))
    many = paired_intervals(a - b, pieces, n_resamples=500, rng=np.random.default_rng(0))
    assert one == tuple(float(end[0]) for end in many)


def test_takes_of_one_piece_are_no_new_evidence():
    difference = np.random.default_rng(5).normal(size=8)
    once = paired_intervals(difference, range(8), n_resamples=500, rng=np.random.default_rng(0))
    often = paired_intervals(
        np.repeat(difference, 50), np.repeat(range(8), 50), n_resamples=500, rng=np.random.default_rng(0)
    )
    assert [end[0] for end in often] == pytest.approx([end[0] for end in once])


def test_one_piece_is_refused_where_two_systems_are_compared():
    with pytest.raises(ValueError, match="come from 1 piece, expected at least 2"):
        paired_interval([1, 2], [0, 0], ["a", "a"], n_resamples=10, rng=np.random.default_rng(0))


@pytest.mark.parametrize("n_pieces", [3, 8, 20])
@pytest.mark.parametrize(("draw", "most"), [("normal", 0.05), ("heavy", 0.05), ("skewed", 0.08)])
def test_of_sixty_figures_without_a_difference_hardly_ever_one_is_called(n_pieces, draw, most):
    rng, n_wrong, n_pairs = np.random.default_rng(n_pieces), 0, 150
    for _ in range(n_pairs):
        pieces = np.repeat(np.arange(n_pieces), rng.integers(1, 4, n_pieces))
        # Figures of one sound go together: they share half of their variance.
        alike = DRAWS[draw](rng, (n_pieces, 1)) + DRAWS[draw](rng, (n_pieces, 60))
        difference = alike[pieces] + 0.5 * DRAWS[draw](rng, (len(pieces), 60))
        test = paired_test(difference, pieces, n_resamples=1000, rng=rng)
        n_wrong += (holm(test.p_values()) <= 0.05).any()
    assert n_wrong / n_pairs <= most


def test_joint_p_values_are_holms():
    assert holm([0.01, 0.04, 0.03, 0.9]) == pytest.approx([0.04, 0.09, 0.09, 0.9])
    assert holm([0.5, 0.6]).tolist() == [1.0, 1.0]
    assert len(holm([])) == 0


def test_a_p_value_is_students():
    values = np.random.default_rng(2).normal(size=4) + 1
    assert p_value(values.mean(), scipy.stats.sem(values), 3) == pytest.approx(
        scipy.stats.ttest_1samp(values, 0).pvalue
    )
    assert (p_value(0.0, 0.0, 3), p_value(0.1, 0.0, 3), p_value(0.1, np.inf, 0)) == (1.0, 0.0, 1.0)


def test_a_difference_just_above_the_least_is_called_and_one_just_below_is_not():
    least = least_difference(0.2, 5, 30)
    assert 30 * p_value(1.001 * least, 0.2, 5) < 0.05 < 30 * p_value(0.999 * least, 0.2, 5)
