"""What evaluation shares between kinds: the difference of a variant, and means."""

import pytest

from tasks.evaluate import EvaluateParams, TakeScores, above_first, means, rounded

PARAMS = EvaluateParams(onset_tolerance_s=0.05, n_resamples=200, seed=1, museval_players=3)


def scores_of(system, take, nats):
    return TakeScores(
        system=system,
        role="model",
        take=take,
        piece=take,
        labels={},
        scores={"nats_per_sample": nats, **({"onset_f1": 1.0} if take == "a" else {})},
        segment_ids=[],
    )


def test_a_variant_is_compared_with_the_familys_first_system_take_by_take():
    first = [scores_of("conditioned", take, nats) for take, nats in (("a", 1.0), ("b", 4.0), ("c", 2.0))]
    variant = [scores_of("blind", one.take, one.scores["nats_per_sample"] + 0.5) for one in first]
    names = ("mean", "low", "high")
    found = above_first(variant, first, "nats_per_sample", names=names, params=PARAMS)
    assert found == dict.fromkeys(names, 0.5)  # takes differ, the difference does not
    assert above_first(first, first, "nats_per_sample", names=names, params=PARAMS) == {}
    assert above_first(variant, first, "onset_f1", names=names, params=PARAMS) == {}  # one piece alone has it
    assert means(one.scores for one in variant) == {"nats_per_sample": pytest.approx(7 / 3 + 0.5), "onset_f1": 1.0}


def test_figures_of_groups_are_rounded_too():
    assert rounded({"mean": 1 / 3, "by_players": {"2": {"mean": 2 / 3}}}) == {
        "mean": 0.333333,
        "by_players": {"2": {"mean": 0.666667}},
    }
