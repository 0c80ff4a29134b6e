import numpy as np
import pytest

from tasks.metrics.table import metric
from tasks.page.scores import Evaluation
from tasks.page.verdict import best_system, choose, headline

F1 = metric("onset_f1")
TAKES = [f"t{at}" for at in range(9)]


def evaluation(family: str, **systems: tuple[str, list[float]]) -> Evaluation:
    """Systems with their role and their onset F1 of each take."""
    columns = {
        "system": np.repeat(np.array(list(systems), object), len(TAKES)),
        "role": np.repeat(np.array([role for role, _ in systems.values()], object), len(TAKES)),
        "take": np.array(TAKES * len(systems), object),
        "piece": np.array(TAKES * len(systems), object),
        F1.key: np.concatenate([values for _, values in systems.values()]),
    }
    figures = {name: {F1.key: float(np.mean(values))} for name, (_, values) in systems.items()}
    return Evaluation(family=family, figures=figures, takes=columns)


RISING = [0.1 * at for at in range(9)]
BASE = evaluation(
    "base",
    mean=("reference", [0.0] * 9),
    nearest=("model", [0.2] * 9),
    silence=("idle", [0.9] * 9),
    bound=("bound", [1.0] * 9),
)
NET = evaluation("net", net=("model", RISING), blind=("model", [0.01] * 9))


def test_the_best_model_and_the_best_baseline_are_neither_bound_nor_idle():
    assert best_system([BASE, NET], F1, is_baseline=False) == (NET, "net")
    assert best_system([BASE, NET], F1, is_baseline=True) == (BASE, "nearest")
    assert best_system([BASE], F1, is_baseline=False) is None


def test_a_headline_is_the_best_model_over_the_best_baseline():
    found = headline("Keys", "keys", [BASE, NET], F1, n_resamples=50, seed=1)
    assert found is not None
    assert (found.system, found.baseline, found.n_takes, found.n_pieces) == ("net", "nearest", 9, 9)
    assert (found.value, found.baseline_value) == (pytest.approx(0.4), pytest.approx(0.2))
    assert found.lead is not None
    assert found.lead.difference == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.3, "is best; the best baseline, nearest, has 0.200"),
        (0.2001, "is no better than the best baseline, nearest"),
        (0.1, "is the best model, and worse than a baseline: nearest has 0.200"),
    ],
)
def test_a_headline_says_how_the_model_stands_beside_the_baseline(value, words):
    net = evaluation("net", net=("model", [value] * 9))
    found = headline("Keys", "keys", [BASE, net], F1, n_resamples=50, seed=1)
    assert found is not None
    assert found.stands == words
    alone = headline("Keys", "keys", [net], F1, n_resamples=50, seed=1)
    assert alone is not None
    assert alone.stands == "is best, and there is no baseline beside it"


def test_without_a_model_there_is_no_headline_and_without_a_baseline_no_lead():
    assert headline("Keys", "keys", [BASE], F1, n_resamples=50, seed=1) is None
    alone = headline("Keys", "keys", [NET], F1, n_resamples=50, seed=1)
    assert alone is not None
    assert (alone.baseline, alone.baseline_value, alone.lead) == ("", None, None)


@pytest.mark.parametrize(
    ("n_shown", "names"),
    [(1, ["t8"]), (2, ["t8", "t0"]), (3, ["t8", "t4", "t0"]), (5, ["t8", "t6", "t4", "t2", "t0"]), (20, TAKES[::-1])],
)
def test_best_median_and_worst_are_chosen_and_others_between(n_shown, names):
    assert [choice.name for choice in choose(TAKES, [BASE, NET], F1, n_shown=n_shown)] == names


def test_a_choice_says_why():
    ranks = [choice.rank for choice in choose(TAKES, [BASE, NET], F1, n_shown=3)]
    assert ranks == [f"{word} of 9 by Onset F1 of net" for word in ("best", "median", "worst")]


def test_takes_that_nothing_measured_stand_in_order_of_name():
    assert [choice.name for choice in choose(["b", "a"], [], F1, n_shown=5)] == ["a", "b"]
    assert {choice.rank for choice in choose(["b", "a"], [NET], F1, n_shown=5)} == {""}


def test_a_take_without_the_figure_is_not_the_best():
    assert [choice.name for choice in choose(["new", "t1"], [NET], F1, n_shown=1)] == ["t1"]
