from typing import Any

import numpy as np
import pytest

from tasks.metrics.intervals import paired_interval
from tasks.page.scores import (
    BY_CAMERA,
    BY_INSTRUMENT,
    BY_PLAYERS,
    DETAILS,
    METRICS,
    Cell,
    Evaluation,
    Row,
    score_rows,
    score_tables,
)

BY_TAKE = {  # system: nats of four takes
    "mean": [5.0, 5.1, 5.2, 5.3],
    "good": [4.0, 4.2, 4.1, 4.3],
    "same": [5.1, 5.0, 5.3, 5.2],
    "upper_bound": [0.1, 0.1, 0.1, 0.1],
}


def evaluation(family: str, *systems: str, **more: dict[str, Any]) -> Evaluation:
    takes = ["t1", "t2", "t3", "t4"]
    columns = {
        "system": np.repeat(np.array(systems, object), 4),
        "take": np.array(takes * len(systems), object),
        "piece": np.array(["p1", "p1", "p2", "p3"] * len(systems), object),
        "nats_per_sample": np.concatenate([BY_TAKE[system] for system in systems]),
    }
    figures = {
        system: {"nats_per_sample": float(np.mean(BY_TAKE[system])), **more.get(system, {})} for system in systems
    }
    return Evaluation(family=family, figures=figures, takes=columns)


def rows_of(*evaluations: Evaluation) -> dict[str, Row]:
    return {row.system: row for row in score_rows(evaluations, n_resamples=200, seed=3)}


def cell(row: Row, key: str = "nats_per_sample") -> Cell:
    return next(cell for cell in row.cells if cell.metric.key == key)


ALL = (evaluation("base", "mean", "upper_bound"), evaluation("net", "good", "same"))


def test_the_upper_bound_is_labelled_and_never_the_best():
    rows = rows_of(*ALL)
    assert rows["upper_bound"].is_upper_bound
    assert not cell(rows["upper_bound"]).is_best
    assert [name for name, row in rows.items() if cell(row).is_best] == ["good"]


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


def test_the_mean_leads_over_nobody():
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


def test_a_figure_that_nobody_has_is_no_column():
    assert [found.metric.key for found in rows_of(*ALL)["mean"].cells] == ["nats_per_sample"]


def test_a_figure_that_one_system_lacks_is_empty():
    rows = rows_of(evaluation("net", "mean", "good", good={"onset_f1": 0.9}))
    assert cell(rows["mean"], "onset_f1").value is None


def test_nothing_evaluated_is_an_empty_table():
    assert score_rows([], n_resamples=10, seed=0) == []


def test_every_figure_has_its_own_key_and_a_meaning():
    assert len({metric.key for metric in METRICS}) == len(METRICS)
    assert all(len(metric.meaning) > 10 for metric in METRICS)


def test_what_was_tested_on_other_takes_stands_in_a_table_of_its_own():
    def family(name: str, system: str, **columns: list[Any]) -> Evaluation:
        takes: dict[str, Any] = {"system": [system] * 4, "take": list("abcd"), "piece": list("pqrs"), **columns}
        figures = {system: {key: float(np.mean(values)) for key, values in columns.items() if key != "camera"}}
        return Evaluation(family=name, figures=figures, takes={key: np.array(values) for key, values in takes.items()})

    drawn = [family("base", "mean", onset_f1=[0.1] * 4), family("net", "net", onset_f1=[0.5] * 4)]
    camera = ["cam"] * 4
    filmed = [
        family("other", "mean_features", onset_f1=[0.2] * 4, camera=camera),
        family("eye", "eye", onset_f1=[0.3] * 4, camera=camera),
    ]
    tables = score_tables([filmed[0], drawn[0], filmed[1], drawn[1]], n_resamples=50, seed=0)
    leads = {
        table.name: {row.system: row.cells[0].lead and row.cells[0].lead.difference for row in table.rows}
        for table in tables
    }
    assert leads["scores"] == {"mean": None, "net": pytest.approx(0.4)}
    assert leads["captures"] == {"mean_features": None, "eye": pytest.approx(0.1)}
    assert [table.reference for table in tables] == ["mean", "mean_features"]
    assert score_tables([], n_resamples=10, seed=0) == []


def test_captures_have_tables_of_cameras_of_tolerances_and_of_what_is_heard_of_frames():
    takes = {
        "system": np.array(["mean_features"] * 4 + ["true_features"] * 4, object),
        "take": np.array(["t/a", "t/b", "u/a", "u/b"] * 2, object),
        "piece": np.array(["t", "t", "u", "u"] * 2, object),
        "camera": np.array(["a", "b"] * 4, object),
        "onset_f1": np.array([0.2, 0.4, 0.4, np.nan, 1.0, 1.0, 1.0, 1.0]),
    }
    more = {"onset_f1_10_ms": 0.1, "onset_f1_100_ms": 0.5, "comb_db": 7.0, "black_level_dbfs": -120.0}
    figures = {"mean_features": {"onset_f1": 0.3, **more}, "true_features": {"onset_f1": 1.0, "comb_db": -1.0}}
    (table,) = score_tables([Evaluation(family="f", figures=figures, takes=takes)], n_resamples=50, seed=0)
    shown = {
        detail.title: {
            row.system: {cell.metric.label: cell.value for cell in row.cells if cell.value is not None}
            for row in detail.rows
        }
        for detail in table.details
    }
    assert shown[BY_CAMERA] == {
        "mean_features": {"a": pytest.approx(0.3), "b": pytest.approx(0.4)},
        "true_features": {"a": 1.0, "b": 1.0},
    }
    assert shown["Onset F1 by tolerance"]["mean_features"] == {"10 ms": 0.1, "100 ms": 0.5}
    assert shown["Sound"]["mean_features"] == {"Comb": 7.0, "On black": -120.0}
    assert "Amplitudes and onsets" not in shown  # nobody has any of it
    assert not any(cell.is_best or cell.lead for detail in table.details for row in detail.rows for cell in row.cells)


def test_what_is_not_ranked_has_no_best_and_drawn_scores_have_no_details():
    families = [evaluation("net", "mean", "good", mean={"comb_db": 3.0}, good={"comb_db": 1.0})]
    assert score_tables(families, n_resamples=50, seed=0)[0].details == ()
    comb = next(metric for metric in DETAILS["Sound"] if metric.key == "comb_db")
    assert comb.best == "not ranked"
    assert comb.cost(3.0) == comb.cost(1.0)


def ensembles(family: str, **systems: dict[str, float]) -> Evaluation:
    """Return figures of four duets; a system that is called shuffled was put in order by the truth."""
    names = list(systems)
    values = np.concatenate([figures.get("si_sdr_db", np.nan) + np.arange(4.0) for figures in systems.values()])
    columns = {
        "system": np.repeat(np.array(names, object), 4),
        "take": np.array(["t1", "t2", "t3", "t4"] * len(names), object),
        "piece": np.array(["p1", "p1", "p2", "p3"] * len(names), object),
        "n_players": np.full(4 * len(names), 2),
        "ordered_by": np.repeat(np.array(["truth" if name == "shuffled" else "system" for name in names], object), 4),
        "si_sdr_db": values,
    }
    return Evaluation(family=family, figures=systems, takes=columns)


def test_ensembles_have_a_table_of_their_own_beside_the_mix():
    figures = {"si_sdr_db": 0.0, "si_sdr_improvement_2_players_db": 0.0}
    net = {"si_sdr_db": 9.0, "si_sdr_improvement_2_players_db": 9.0, "si_sdr_improvement_12_players_db": 7.0}
    net |= {
        "si_sdr_improvement_vc_db": 8.0,
        "si_sdr_improvement_drums_db": 2.0,
        "swap_follows_db": 20.0,
        "leakage_db": -30.0,
    }
    tables = score_tables(
        [
            ensembles("base", mix=figures, silent={"leakage_db": -100.0}, ideal_ratio_mask={"si_sdr_db": 20.0}),
            ensembles("net", seer=net, shuffled=net),
        ],
        n_resamples=100,
        seed=1,
    )
    assert [(table.name, table.reference) for table in tables] == [("ensembles", "mix")]
    rows = {row.system: row for row in tables[0].rows}
    assert rows["ideal_ratio_mask"].is_upper_bound
    assert [name for name, row in rows.items() if cell(row, "leakage_db").is_best] == ["seer", "shuffled"]
    assert [name for name, row in rows.items() if row.is_ordered_by_truth] == ["shuffled"]
    lead = cell(rows["seer"], "si_sdr_db").lead
    assert lead is not None
    assert (lead.difference, lead.verdict) == (9.0, "better")
    details = {table.title: [metric.label for metric in table.metrics] for table in tables[0].details}
    assert details[BY_PLAYERS] == ["2 players", "12 players"]
    assert details[BY_INSTRUMENT] == ["violoncello", "drums"]
    assert details["Do they follow what they see?"] == ["Views exchanged"]
