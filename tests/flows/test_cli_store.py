"""``audiate trace``, ``history``, ``gc`` and ``forget`` as commands: words, JSON and errors of one line."""

import json
import subprocess

import pytest
from typer.testing import CliRunner

from flows.cli import app
from tasks.errors import PipelineError

RUNNER = CliRunner()


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Stand in a repository of one commit with figures."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "metrics").mkdir(parents=True)
    (tmp_path / "data" / "metrics" / "net.json").write_text(json.dumps({"net": {"f1": 0.5}}))
    for command in (
        ["init", "-q"],
        ["add", "--all"],
        ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "one"],
    ):
        subprocess.run(["git", *command], check=True)
    return tmp_path


def test_history_is_a_table_for_people_and_json_for_programs(project):
    done = RUNNER.invoke(app, ["history", "net/f1"])
    assert (done.exit_code, "0.5" in done.stdout, "one" in done.stdout) == (0, True, True)
    [point] = json.loads(RUNNER.invoke(app, ["history", "net/f1", "--json"]).stdout)
    assert (point["value"], point["subject"], point["data_version"]) == (0.5, "one", None)


def test_a_plot_of_another_kind_is_wrong_use(project):
    done = RUNNER.invoke(app, ["history", "net/f1", "--plot", "x.txt"])
    assert done.exit_code == 2
    assert not (project / "x.txt").exists()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["trace", "a"], "data/ingested/catalog.json is missing"),
        (["history", "net/f2"], "'net/f2' is no figure, expected one such as net/net/f1"),
        (["gc", "--yes"], "run this in a project that `dvc init` made"),
        (["forget", "a/cam_x", "--yes"], "is a view (cam_x) of a take, expected the take: audiate forget a"),
    ],
)
def test_an_error_is_one_line_with_what_can_be_done(project, command, said):
    done = RUNNER.invoke(app, command)
    assert isinstance(done.exception, PipelineError)
    assert said in str(done.exception)
    assert "\n" not in str(done.exception)


def test_keeping_nothing_and_a_budget_below_nothing_are_wrong_use(project):
    assert RUNNER.invoke(app, ["gc", "--keep", "0"]).exit_code == 2
    assert RUNNER.invoke(app, ["gc", "--budget", "-1"]).exit_code == 2
