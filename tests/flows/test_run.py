"""How a stage runs: by the code that it says, every take's result waited for, only what can pass tried again."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from prefect import flow

from flows.run import Settings, TakeWork, for_each_take, run_stage, runner
from flows.server import prefect_server
from tasks import modules, step
from tasks.code import write_code
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
        lambda item: TakeWork(run=work, inputs=lambda item: []),
        [Item(name=name) for name in "abc"],
        stage="a-stage",
        out_dir=Path("out"),
        params=params,
    )


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(step, "code_digest", lambda *modules: "code")
    ATTEMPTS.clear()

    def run(**params):
        with prefect_server() as server, server.connected():
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
    with pytest.raises(
        ParamsError, match=r"AUDIATE_RUNNER is 'ray://here', expected threads, dask://host:port or tls://"
    ):
        runner()


CODE = {
    "constraints.txt": "a==1\n",
    "flows/sing.py": "from tasks import sing\n\ndef main():\n    return run_stage(sing)\n",
    "flows/fit.py": "from tasks import sing\n\ndef main(family):\n    return run_stage(fit)\n",
    "tasks/registry.py": 'KINDS: tuple[str, ...] = ("scores",)\n',
    "tasks/families/__init__.py": (
        'FAMILIES: dict[str, str] = {"baselines": "tasks.families.baselines:Baselines", "deepsynth": "tasks.sing:S"}\n'
    ),
    "tasks/families/baselines.py": "",
    "tasks/sing.py": "",
    "tasks/other.py": "",
    "models/net.py": "",
    "params.yaml": "families: {baselines: scores}\n",
    "data/raw/.gitkeep": "",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Make the code of a small project that which is looked at, and write its data/code.json."""
    for name, text in CODE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(modules, "PROJECT", tmp_path)
    write_code({"baselines": "scores"})
    return tmp_path


@flow(name="sing")
def sing(edited=""):
    if edited:
        Path(edited).write_text("EDITED = 1\n")


def edit(path):
    Path(path).write_text("EDITED = 1\n")


ADVICE = "run `audiate code`, or `dvc repro`"
OTHER_CODE = f"its code is not what data/code.json was made from: {ADVICE}"


@pytest.mark.parametrize(
    ("edited", "words"),
    [
        ("tasks/sing.py", OTHER_CODE),
        ("constraints.txt", f"constraints.txt is not what data/code.json was made from: {ADVICE}"),
        ("data/code.json", f"data/code.json says nothing of sing: {ADVICE}"),
        ("tasks/other.py", ""),
        ("models/net.py", ""),
    ],
)
def test_a_stage_begins_by_the_code_that_data_code_json_has(project, capsys, edited, words):
    edit(edited)
    code = run_stage(sing, "sing", {})
    assert (code, capsys.readouterr().err) == ((1, f"sing: {words}\n") if words else (0, ""))
    assert Path(".audiate/runs/sing.json").exists() != bool(words)


def test_a_stage_without_data_code_json_says_how_to_make_it(project, capsys):
    Path("data/code.json").unlink()
    assert run_stage(sing, "sing", {}) == 1
    assert capsys.readouterr().err == f"sing: data/code.json is missing: {ADVICE}\n"


@pytest.mark.parametrize(("edited", "expected"), [("tasks/sing.py", 1), ("tasks/other.py", 0)])
def test_a_stage_whose_code_changed_while_it_ran_fails(project, capsys, edited, expected):
    assert run_stage(sing, "sing", {}, [edited]) == expected
    assert capsys.readouterr().err == (f"sing: {OTHER_CODE}\n" if expected else "")


@pytest.mark.parametrize(
    ("families", "family", "words"),
    [
        (
            "{baselines: captures}",
            "baselines",
            "params.yaml: families.baselines is captures, but it learns from scores",
        ),
        ("{baselines: scores}", "deepsynth", "data/code.json says nothing of fit@deepsynth: " + ADVICE),
        (
            "{baselines: {network: models/net.py}}",
            "baselines",
            "params.yaml: families.baselines lists files, as an old",
        ),
        ("{kazoo: scores}", "kazoo", "params.yaml: families.kazoo is unknown, expected one of baselines, "),
        ("{baselines: tapes}", "baselines", "params.yaml: families.baselines is 'tapes', expected one of scores, capt"),
        ("", "baselines", "params.yaml: section families is missing, expected lines such as `cnn_lstm: captures`"),
    ],
)
def test_a_family_that_params_yaml_has_wrong_is_one_line(project, capsys, families, family, words):
    Path("params.yaml").write_text(f"families: {families}\n")
    if "captures" in families:
        write_code({"baselines": "captures"})
        Path("data/trained/baselines").mkdir(parents=True)
        Path("data/trained/baselines/computed_by.json").write_text('{"networks": "fast"}')
    assert run_stage(sing, f"fit@{family}", {}) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"fit@{family}: {words}"), said
    assert said.count("\n") == 1
