"""How a stage runs its takes: every result is asked for, only what can pass is tried again."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from prefect import flow
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.run import Settings, for_each_take, runner
from flows.server import prefect_server
from tasks import step
from tasks.errors import BadInput, ParamsError, PipelineError
from tasks.params import Section

ATTEMPTS: dict[str, int] = {}


class Params(Section):
    lost: tuple[str, ...] = ()  # whose worker is lost once
    broken: tuple[str, ...] = ()
    bad: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Item:
    name: str


def work(item, out, params):
    ATTEMPTS[item.name] = ATTEMPTS.get(item.name, 0) + 1
    if item.name in params.lost and ATTEMPTS[item.name] == 1:
        raise ConnectionError("the worker is gone")
    if item.name in params.broken:
        raise RuntimeError("a bug")
    if item.name in params.bad:
        raise BadInput("no notes", kind="NO_NOTES")
    (out / "name.txt").write_text(item.name)


@flow(name="a-stage")
def a_stage(params):
    return for_each_take(
        work,
        [Item(name=name) for name in "abc"],
        stage="a-stage",
        out_dir=Path("out"),
        params=params,
        inputs=lambda item: [],
    )


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(step, "code_digest", lambda *modules: "code")
    ATTEMPTS.clear()

    def run(**params):
        with prefect_server() as url, temporary_settings({PREFECT_API_URL: url}):
            return a_stage.with_options(task_runner=runner())(Params(**params))

    return run


def test_a_failed_take_fails_the_stage_after_the_others_were_finished(run):
    with pytest.raises(PipelineError, match=r"a-stage: take b: RuntimeError: a bug"):
        run(broken=("b",))
    assert sorted(path.name for path in Path("out").iterdir()) == ["a", "c"]
    assert ATTEMPTS == {"a": 1, "b": 1, "c": 1}


def test_what_can_pass_on_a_second_try_is_tried_again(run):
    assert run(lost=("b",)).counts()["computed"] == 3
    assert ATTEMPTS == {"a": 1, "b": 2, "c": 1}


def test_bad_input_is_counted_and_the_rest_goes_on(run):
    summary = run(bad=("a",))
    assert summary.counts() == {"computed": 2, "reused": 0, "quarantined": 1, "pruned": 0}
    assert summary.names() == ["b", "c"]
    assert '"kind": "NO_NOTES"' in Path("out/quarantine.json").read_text()


def test_a_second_run_computes_nothing(run):
    run()
    assert run().counts() == {"computed": 0, "reused": 3, "quarantined": 0, "pruned": 0}
    assert ATTEMPTS == {"a": 1, "b": 1, "c": 1}


def test_an_unknown_runner_is_refused(monkeypatch):
    monkeypatch.setenv("AUDIATE_RUNNER", "ray://here")
    assert Settings().runner == "ray://here"
    with pytest.raises(ParamsError, match=r"AUDIATE_RUNNER is 'ray://here', expected threads or dask://host:port"):
        runner()
