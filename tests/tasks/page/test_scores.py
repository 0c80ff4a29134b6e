from typing import Any

import numpy as np
import pytest

from tasks.metrics.intervals import paired_interval
from tasks.metrics.table import metric
from tasks.page.scores import (
    Cell,
    Evaluation,
    Part,
    Row,
    Table,
    figure_table,
    figures_of_take,
    parted_table,
    score_table,
)

METRICS = tuple(metric(key) for key in ("nats_per_sample", "onset_f1", "onset_lag_ms"))
ROLES = {"mean": "reference", "silent": "idle", "upper_bound": "bound"}

BY_TAKE = {  # system: nats of four takes
    "mean": [5.0, 5.1, 5.2, 5.3],
    "good": [4.0, 4.2, 4.1, 4.3],
    "same": [5.1, 5.0, 5.3, 5.2],
    "silent": [0.2, 0.2, 0.2, 0.2],
    "upper_bound": [0.1, 0.1, 0.1, 0.1],
}


def evaluation(family: str, *systems: str, **more: dict[str, Any]) -> Evaluation:
    takes = ["t1", "t2", "t3", "t4"]
    columns = {
        "system": np.repeat(np.array(systems, object), 4),
        "role": np.repeat(np.array([ROLES.get(system, "model") for system in systems], object), 4),
        "take": np.array(takes * len(systems), object),
        "piece": np.array(["p1", "p1", "p2", "p3"] * len(systems), object),
        "nats_per_sample": np.concatenate([BY_TAKE[system] for system in systems]),
    }
    figures = {
        system: {"nats_per_sample": float(np.mean(BY_TAKE[system])), **more.get(system, {})} for system in systems
    }
    return Evaluation(family=family, figures=figures, takes=columns)


def table_of(*evaluations: Evaluation) -> Table:
    table = score_table("T", evaluations, METRICS, n_resamples=200, seed=3)
    assert table is not None
    return table


def rows_of(*evaluations: Evaluation) -> dict[str, Row]:
    return {row.system: row for row in table_of(*evaluations).rows}


def cell(row: Row, key: str = "nats_per_sample") -> Cell:
    return next(cell for cell in row.cells if cell.metric.key == key)


ALL = (evaluation("base", "mean", "upper_bound"), evaluation("net", "good", "same"))


def test_a_bound_and_an_idle_system_are_never_the_best():
    rows = rows_of(evaluation("base", "mean", "silent", "upper_bound"), ALL[1])
    assert {name: row.role for name, row in rows.items()} == {"good": "model", "same": "model", **ROLES}
    assert [name for name, row in rows.items() if cell(row).is_best] == ["good"]


def test_roles_are_those_of_the_rows_not_of_the_names():
    family = evaluation("base", "mean", "good")
    other = {"mean": "model", "good": "reference"}
    roles = np.array([other[system] for system in family.takes["system"]], object)
    table = table_of(Evaluation(family="base", figures=family.figures, takes={**family.takes, "role": roles}))
    assert table.reference == "good"
    lead = next(cell(row).lead for row in table.rows if row.system == "mean")
    assert lead is not None
    assert lead.verdict == "worse"


def test_best_is_highest_where_higher_is_better():
    rows = rows_of(evaluation("net", "mean", "good", mean={"onset_f1": 0.2}, good={"onset_f1": 0.9}))
    assert cell(rows["good"], "onset_f1").is_best
    assert not cell(rows["mean"], "onset_f1").is_best


def test_a_lag_is_best_nearest_to_nothing():
    rows = rows_of(evaluation("net", "mean", "good", mean={"onset_lag_ms": -40.0}, good={"onset_lag_ms": 3.0}))
    assert cell(rows["good"], "onset_lag_ms").is_best


def test_what_looks_equal_is_equally_best():
    rows = rows_of(evaluation("net", "mean", "good", mean={"onset_f1": 0.90001}, good={"onset_f1": 0.90004}))
    assert cell(rows["good"], "onset_f1").is_best
    assert cell(rows["mean"], "onset_f1").is_best


def test_one_system_alone_is_not_the_best():
    assert not cell(rows_of(evaluation("net", "good"))["good"]).is_best


def test_a_lead_is_the_paired_interval_over_pieces_against_the_mean():
    lead = cell(rows_of(*ALL)["good"]).lead
    assert lead is not None
    expected = paired_interval(
        BY_TAKE["good"], BY_TAKE["mean"], ["p1", "p1", "p2", "p3"], n_resamples=200, rng=np.random.default_rng(3)
    )
    assert (lead.difference, lead.low, lead.high) == expected
    assert lead.verdict == "better"


@pytest.mark.parametrize(("system", "verdict"), [("good", "better"), ("same", "open")])
def test_a_verdict_needs_an_interval_without_zero(system, verdict):
    lead = cell(rows_of(*ALL)[system]).lead
    assert lead is not None
    assert lead.verdict == verdict


def test_more_nats_are_worse():
    worse = Evaluation(
        family="net",
        figures={"good": {"nats_per_sample": 7.0}},
        takes={**ALL[1].takes, "nats_per_sample": 3 + ALL[1].takes["nats_per_sample"]},
    )
    lead = cell(rows_of(ALL[0], worse)["good"]).lead
    assert lead is not None
    assert lead.verdict == "worse"


def test_an_interval_that_leaves_what_a_difference_can_be_is_not_known():
    f1 = {"onset_f1": np.array([0.0] * 4 + [0.2, 0.3, 0.9, 1.0])}
    both = evaluation("net", "mean", "good", mean={"onset_f1": 0.0}, good={"onset_f1": 0.6})
    lead = cell(
        rows_of(Evaluation(family="net", figures=both.figures, takes={**both.takes, **f1}))["good"], "onset_f1"
    ).lead
    assert lead is not None
    _, low, high = paired_interval(
        f1["onset_f1"][4:], f1["onset_f1"][:4], ["p1", "p1", "p2", "p3"], n_resamples=200, rng=np.random.default_rng(3)
    )
    assert low < -1
    assert high > 1
    assert (lead.is_known, lead.verdict) == (False, "open")


def test_systems_stand_in_the_order_of_their_figure_and_baselines_below_them():
    table = table_of(evaluation("base", "mean", "silent", "upper_bound"), evaluation("net", "same", "good"))
    assert [row.system for row in table.models] == ["good", "same", "upper_bound"]
    assert [row.system for row in table.baselines] == ["silent", "mean"]
    assert table.rows == table.models + table.baselines


def test_the_reference_has_no_difference_to_itself():
    assert cell(rows_of(*ALL)["mean"]).lead is None


def test_one_piece_gives_no_interval():
    one = evaluation("net", "mean", "good")
    alone = Evaluation(family="net", figures=one.figures, takes={**one.takes, "piece": np.full(8, "p", object)})
    assert cell(rows_of(alone)["good"]).lead is None


def test_takes_without_the_figure_are_left_out_of_the_pairs():
    columns = dict(ALL[1].takes)
    columns["nats_per_sample"] = columns["nats_per_sample"].copy()
    columns["nats_per_sample"][0] = np.nan
    lead = cell(rows_of(ALL[0], Evaluation(family="net", figures=ALL[1].figures, takes=columns))["good"]).lead
    assert lead is not None
    assert lead.difference == pytest.approx(np.mean([-0.9, -1.1, -1.0]))


def test_a_system_more_does_not_move_the_others_figures():
    alone = rows_of(ALL[0], evaluation("net", "good"))["good"]
    assert alone == rows_of(*ALL)["good"]


def test_a_figure_that_no_system_has_is_no_column():
    assert [found.metric.key for found in rows_of(*ALL)["mean"].cells] == ["nats_per_sample"]


def test_a_figure_that_one_system_lacks_is_empty():
    rows = rows_of(evaluation("net", "mean", "good", good={"onset_f1": 0.9}))
    assert cell(rows["mean"], "onset_f1").value is None


def test_nothing_evaluated_is_no_table():
    assert score_table("T", [], METRICS, n_resamples=10, seed=0) is None
    assert figure_table("T", [evaluation("net", "good")], [metric("onset_f1")]) is None


def test_a_remark_stands_beside_its_system_alone():
    table = score_table("T", ALL, METRICS, n_resamples=200, seed=3, remarks={"good": "in another order"})
    assert table is not None
    assert [row.system for row in table.rows if row.remark == "in another order"] == ["good"]


def test_figures_without_a_direction_have_no_best_and_details_no_intervals():
    systems = {"mean": {"comb_db": 3.0}, "good": {"comb_db": 1.0, "onset_f1": 0.5}}
    table = figure_table("T", [evaluation("net", *systems, **systems)], [metric("comb_db"), metric("onset_f1")])
    assert table is not None
    assert metric("comb_db").direction == "none"
    assert not any(cell.is_best or cell.lead for row in table.rows for cell in row.cells)


def test_details_leave_out_systems_without_any_of_their_figures():
    families = [evaluation("net", "mean", "good", good={"onset_f1": 0.5})]
    table = figure_table("T", families, [metric("onset_f1")])
    assert table is not None
    assert [row.system for row in table.rows] == ["good"]
    assert [row.system for row in table_of(*families).rows] == ["good", "mean"]


def test_parts_of_the_rows_have_a_column_each():
    takes = {
        "system": np.array(["mean"] * 4 + ["good"] * 4, object),
        "role": np.array(["reference"] * 4 + ["model"] * 4, object),
        "camera": np.array(["a", "b"] * 4, object),
        "onset_f1": np.array([0.2, 0.4, 0.4, np.nan, 1.0, 0.8, 1.0, 0.6]),
    }
    family = Evaluation(family="f", figures={"mean": {}, "good": {}}, takes=takes)
    parts = [
        Part(
            label=name,
            meaning=f"the views of {name}",
            holds=lambda columns, name=name: columns["camera"] == name,  # type: ignore[misc]
        )
        for name in ("a", "b", "c")
    ]
    table = parted_table("By camera", [family], metric("onset_f1"), parts)
    assert table is not None
    found = {row.system: {cell.metric.label: cell.value for cell in row.cells} for row in table.rows}
    assert found == {
        "mean": {"a": pytest.approx(0.3), "b": pytest.approx(0.4)},
        "good": {"a": pytest.approx(1.0), "b": pytest.approx(0.7)},
    }
    assert [column.meaning for column in table.metrics] == [f"Onset F1, mean over the views of {c}" for c in "ab"]
    assert len({column.key for column in table.metrics}) == 2
    assert [row.system for row in table.rows if any(cell.is_best for cell in row.cells)] == ["good"]
    assert parted_table("By camera", [family], metric("offset_f1"), parts) is None


def test_figures_of_a_take_are_its_own():
    families = [evaluation("base", "mean"), evaluation("net", "mean")]
    families[1].takes["nats_per_sample"][1] = 7.0
    chosen = {"system": "mean", "take": "t2"}
    assert figures_of_take(families, METRICS, family="net", **chosen) == (("NLL", "7.000 nats"),)
    assert figures_of_take(families, METRICS, family="base", **chosen) == (("NLL", "5.100 nats"),)
    assert figures_of_take(families, METRICS, family="none", **chosen) == ()
