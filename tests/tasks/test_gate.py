"""What holds and what falls, by rules whose answer is known."""

from types import SimpleNamespace

import pytest

from tasks.errors import ParamsError
from tasks.gate import GateParams, decide
from tasks.score import Score


def rules(group, *, when_unsure="hold", **by_name):
    empty = {"figures": {}, "new_takes": {}, "when_unsure": when_unsure}
    found = {name.replace("__", "/"): values for name, values in by_name.items()}
    return GateParams.parse(empty | {group: found}, "gate")


def row(metric, old, new, verdict, *, system="net"):
    return SimpleNamespace(
        family="toy", system=system, metric=metric, old=old, new=new, verdict=verdict, n_pieces=3, n_takes=3
    )


def score(take, value, *, apart=False, metric="onset_f1"):
    return Score(family="toy", system="net", role="model", take=take, piece=take, apart=apart, figures={metric: value})


def decided(differences=(), scores=(), *, added=(), **given):
    comparison = SimpleNamespace(differences=differences, added=added)
    return decide(comparison, scores, rules(**given), families=["toy"])


@pytest.mark.parametrize(
    ("metric", "old", "new", "verdict", "state"),
    [
        ("onset_f1", 0.9, 0.86, "worse", "held"),  # within what is tolerated
        ("onset_f1", 0.9, 0.84, "worse", "fell"),
        ("onset_f1", 0.9, 0.84, "open", "unsure"),
        ("onset_f1", 0.84, 0.9, "better", "held"),
        ("mr_stft", 1.0, 1.06, "worse", "fell"),  # lower is better
        ("mr_stft", 1.06, 1.0, "better", "held"),
        ("level_difference_db", -1.0, 1.02, "worse", "held"),  # nearest 0 is best: 0.02 worse
        ("level_difference_db", 1.0, -1.1, "worse", "fell"),
    ],
)
def test_a_retrained_family_falls_when_a_figure_is_worse_by_more_than_is_tolerated_and_not_by_luck(
    metric, old, new, verdict, state
):
    found = decided(
        [row(metric, old, new, verdict)], group="figures", **{f"toy__net__{metric}": {"worse_by": 0.05, "limit": None}}
    )
    assert [one.state for one in found.decisions] == [state]
    assert found.holds == (state != "fell")


def test_where_it_may_be_luck_the_params_decide():
    given = {"toy__net__onset_f1": {"worse_by": 0.05, "limit": None}}
    differences = [row("onset_f1", 0.9, 0.5, "open")]
    assert decided(differences, group="figures", **given).holds
    fell = decided(differences, group="figures", when_unsure="fall", **given)
    assert not fell.holds
    assert (
        fell.fell[0].words
        == "0.900 to 0.500 over 3 pieces, worse by more than 0.05; its interval holds 0: it may be luck"
    )


def test_a_limit_holds_whatever_was_before():
    given = {"toy__net__onset_f1": {"worse_by": None, "limit": 0.8}}
    assert decided([row("onset_f1", 0.1, 0.8, "better")], group="figures", **given).holds
    assert not decided([row("onset_f1", 0.1, 0.79, "better")], group="figures", **given).holds


def test_a_figure_that_did_not_exist_then_is_told_and_decides_nothing():
    found = decided(group="figures", toy__net__onset_f1={"worse_by": 0.05, "limit": 0.5})
    assert [(one.state, one.words) for one in found.decisions] == [("missing", "not in both versions")]
    assert found.holds


def test_a_take_that_came_in_is_held_against_those_before_and_one_of_a_known_piece_is_not():
    scores = [score("a/top", 0.8), score("b/top", 0.6), score("new/top", 0.4), score("new/side", 0.66)]
    scores += [score("known/top", 0.0, apart=True)]
    given = {"toy__net__onset_f1": {"worse_by": 0.25, "limit": None}}
    found = decided(scores=scores, added=["new", "known"], group="new_takes", **given)
    assert [(one.of, one.state) for one in found.decisions] == [("new/top", "fell"), ("new/side", "held")]
    assert found.fell[0].words == "0.400 beside 0.700 on 2 takes or views before, worse by more than 0.25"
    alone = decided(scores=scores[2:], added=["new"], group="new_takes", **given)
    assert {one.state for one in alone.decisions if one.of != "known/top"} == {"missing"}
    assert decided(scores=scores, added=[], group="new_takes", **given).decisions == ()


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("tuba__net__onset_f1", {"worse_by": 0.1, "limit": None}, r"gate\.figures\.tuba/net/onset_f1: expected FAMILY"),
        ("toy__net__nonsense", {"worse_by": 0.1, "limit": None}, "expected FAMILY/SYSTEM/FIGURE"),
        ("toy__net__n_matched", {"worse_by": 0.1, "limit": None}, "no value of n_matched is better than another"),
        ("toy__net__onset_f1", {"worse_by": None, "limit": None}, "worse_by and limit are both empty"),
    ],
)
def test_a_rule_that_cannot_decide_is_refused(name, values, words):
    with pytest.raises(ParamsError, match=words):
        decided(group="figures", **{name: values})


def test_a_gate_without_rules_is_refused():
    with pytest.raises(
        ParamsError, match=r"gate has no rule: name figures as FAMILY/SYSTEM/FIGURE under gate\.figures"
    ):
        decided(group="figures")
