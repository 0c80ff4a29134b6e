"""``audiate compare`` and ``audiate watch`` as commands: words, JSON and exit codes."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows import watch as watching
from flows.cli import app
from tasks.errors import PipelineError

RUNNER = CliRunner()


@pytest.fixture
def passes(monkeypatch):
    """Stand in for a pass, and remember how it was asked for."""
    asked = []

    def watch_once(inbox, **options):
        asked.append((str(inbox), options))
        return {"added": ["a"], "quarantined": [{"take": "b"}] if str(inbox) == "bad" else []}

    monkeypatch.setattr(watching, "watch_once", watch_once)
    return asked


def test_a_pass_is_asked_for_as_it_was_said_and_tells_json(passes):
    command = [
        "watch",
        "inbox",
        "--settle",
        "5",
        "--no-commit",
        "--no-push",
        "--notify",
        "mail -s 'new takes'",
    ]
    done = RUNNER.invoke(app, [*command, "--json"])
    assert (done.exit_code, json.loads(done.stdout)["added"]) == (0, ["a"])
    told = {"settle_s": 5.0, "commit": False, "push_data": False, "notify": ["mail", "-s", "new takes"], "train": False}
    assert passes == [("inbox", {**told, "quiet": True})]


def test_a_pass_that_quarantined_something_ends_with_3(passes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    Path("bad").mkdir()
    assert RUNNER.invoke(app, ["watch", "bad"]).exit_code == 3


def test_a_revision_that_is_none_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    done = RUNNER.invoke(app, ["compare", "absent", "WORKSPACE"])
    assert isinstance(done.exception, PipelineError)
    assert str(done.exception).startswith("'absent' is no version here, expected a commit, a tag, a branch, an experi")
