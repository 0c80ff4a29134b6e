"""Promoted weights on takes that they have not learned from: which, apart or not, and what is told of them."""

import json
from pathlib import Path

import numpy as np
import pytest

from flows import score as stage
from tasks import score as verb
from tasks.errors import DamagedData, ParamsError
from tasks.evaluate import EvaluateParams
from tasks.features.polyphony import TranscribeParams
from tasks.numerics import COMPUTED_BY
from tasks.promote import Promoted, shared_numerics
from tasks.score import Score, ScoreParams, headlines, read_scores, score_figures, score_take, takes_to_score
from tasks.store.segments import ScoreSet, lend_take, segment_rows, write_segments
from tasks.store.tables import write_table
from tasks.synthesize import SynthesizeParams
from tasks.takes import Take

PROMOTED = Promoted(
    family="toy",
    kind="scores",
    commit="0" * 40,
    data_version="v",
    params={},
    learned={"a": "song", "b": "dance"},
    files={"toy.safetensors": "1"},
)
PARAMS = ScoreParams(
    synthesize=SynthesizeParams(score_excerpt_s=None),
    evaluate=EvaluateParams(onset_tolerance_s=0.05, n_resamples=50, seed=1, museval_players=1),
    notes=TranscribeParams(
        threshold=0.5, restrike_gap_s=0.05, n_iterations=4, release_db=25.0, longest_note_s=15.0, floor_db=-120.0
    ),
)


def take(name, piece, kind="score"):
    return Take(name=name, kind=kind, piece=piece, part=None, digest=name, duration_s=1.0)


def to_score(*takes):
    return takes_to_score(PROMOTED, takes, code="c", accelerator="cpu")


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    verb.SCORED.mkdir(parents=True)
    folder = Path("data/chunked/scores")
    for name in ("new", "other"):
        (folder / name).mkdir(parents=True)
        (folder / name / "x").write_text(name)
    rows = [row for name in ("new", "other") for row in segment_rows(name, name, "train", name, 20, length=10, hop=10)]
    write_segments(folder / "segments.parquet", rows)
    about = {"piece": "", "part": "train", "digest": "", "duration_s": 1.0}
    index = {name: {**about, "piece": name, "digest": name} for name in ("new", "other")}
    (folder / "takes.json").write_text(json.dumps(index))
    return folder


def test_what_was_learned_is_not_scored_and_a_known_piece_stands_apart():
    takes = [take("z", "waltz"), take("a", "song"), take("song_again", "song"), take("film", "waltz", "capture")]
    assert [(row.name, row.apart) for row in to_score(*takes)] == [("song_again", True), ("z", False)]


def test_other_weights_and_other_learned_takes_have_another_digest():
    changed = {**vars(PROMOTED), "files": {"toy.safetensors": "2"}}
    assert len({PROMOTED.digest, Promoted(**changed).digest, Promoted(**{**vars(PROMOTED), "learned": {}}).digest}) == 3


def test_a_lent_take_is_the_only_one_and_is_for_testing(project, tmp_path):
    lend_take(project, "new", tmp_path / "lent")
    lent = ScoreSet(tmp_path / "lent")
    assert [lent.takes(part) for part in ("train", "validation", "test")] == [[], [], ["new"]]
    assert {row.take for row in lent.segments("test")} == {"new"}
    assert len(lent.segments("test")) == 2
    assert (tmp_path / "lent" / "new" / "x").read_text() == "new"
    assert ScoreSet(project).takes("train") == ["new", "other"]
    with pytest.raises(DamagedData, match="has no take absent"):
        lend_take(project, "absent", tmp_path / "again")


def test_a_score_has_the_tables_of_its_take_and_leaves_nothing_else(project, tmp_path, monkeypatch):
    asked = {}

    def synthesize_family(family, *, data, trained, out, **_):
        asked.update(family=family, trained=trained, takes=ScoreSet(data).takes("test"))
        yield "a performance"

    def evaluate_family(family, *, out, **_):
        out.mkdir()
        (out / "takes.parquet").write_text(family)

    monkeypatch.setattr(verb, "synthesize_family", synthesize_family)
    monkeypatch.setattr(verb, "evaluate_family", evaluate_family)
    (tmp_path / "out").mkdir()
    score_take(to_score(take("new", "new"))[0], tmp_path / "out", PARAMS)
    assert asked == {"family": "toy", "trained": Path("data/promoted/toy"), "takes": ["new"]}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["score.json", "takes.parquet"]
    assert list(verb.SCORED.iterdir()) == []


def test_a_family_that_sounds_nothing_of_a_take_has_no_row(project, monkeypatch):
    monkeypatch.setattr(verb, "synthesize_family", lambda *_, **__: iter(()))
    monkeypatch.setattr(verb, "evaluate_family", lambda *_, **__: pytest.fail("evaluated"))
    out = verb.SCORED / "toy" / "new"
    out.mkdir(parents=True)
    score_take(to_score(take("new", "new"))[0], out, PARAMS)
    assert [path.name for path in out.iterdir()] == ["score.json"]
    assert list(read_scores("toy")) == []


def put_score(name, *, apart, value):
    folder = verb.SCORED / "toy" / name
    folder.mkdir(parents=True)
    (folder / "score.json").write_text(json.dumps({"apart": apart}))
    columns = {"system": ["net", "plain"], "role": ["model", "reference"], "take": [f"{name}/top"] * 2}
    figures = {"onset_f1": np.array([value, 0.25]), "mr_stft": np.array([np.nan, 1.5])}
    write_table(folder / "takes.parquet", {**columns, "piece": [name] * 2, **figures})


def test_means_leave_out_what_stands_apart_and_what_has_no_value(project):
    put_score("new", apart=False, value=0.5)
    put_score("other", apart=False, value=0.75)
    put_score("known", apart=True, value=0.0)
    assert score_figures(["toy"]) == {
        "toy": {"net": {"onset_f1": 0.625}, "plain": {"mr_stft": 1.5, "onset_f1": 0.25}},
    }
    rows = list(read_scores("toy"))
    assert [(row.take, row.apart) for row in rows if row.system == "net"] == [
        ("known/top", True),
        ("new/top", False),
        ("other/top", False),
    ]


def test_a_night_is_told_the_first_headline_of_ranked_systems_on_what_came_in():
    def score(name, role="model", **figures):
        values = {"family": "toy", "system": "net", "piece": "p", "apart": False}
        return Score(**values, role=role, take=name, figures=figures)

    rows = [
        score("new/top", mr_stft=1.0, onset_f1=0.5),
        score("new/side", mr_stft=1.25),
        score("new/side", role="reference", onset_f1=1.0),
        score("before/top", onset_f1=0.5),
        score("new/low", sdr_db=1.0),
    ]
    found = headlines(rows, {"new"})
    assert [(row["take"], row["figure"], row["value"]) for row in found] == [
        ("new/top", "onset_f1", 0.5),
        ("new/side", "mr_stft", 1.25),
    ]


def put_numerics(family, networks):
    folder = Path("data/promoted") / family
    folder.mkdir(parents=True)
    (folder / COMPUTED_BY).write_text(json.dumps({"networks": networks}))


def test_one_process_scores_weights_of_one_kind_of_numerics(project):
    put_numerics("a", "portable")
    put_numerics("b", "portable")
    assert shared_numerics(["a", "b"]) == "portable"
    put_numerics("c", "fast")
    with pytest.raises(ParamsError, match=r"differ in numerics\.networks \(a portable, c fast\)"):
        shared_numerics(["a", "c"])


def test_the_stage_pins_them_before_a_family_is_loaded(project, monkeypatch):
    class PinnedError(Exception):
        pass

    def pin(networks):
        raise PinnedError(networks)

    put_numerics("a", "portable")
    monkeypatch.setattr(stage, "names", lambda: ["a"])
    monkeypatch.setattr(stage, "check_tools", lambda _: {})
    monkeypatch.setattr(stage, "pin_networks", pin)
    monkeypatch.setattr(stage, "read_promoted", lambda _: pytest.fail("loaded"))
    with pytest.raises(PinnedError, match="portable"):
        stage.score.fn(PARAMS.synthesize, PARAMS.evaluate, PARAMS.notes)
