"""``audiate gate`` as a command: the exit code is the answer."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from typer.testing import CliRunner

from flows.cli import app
from tasks.errors import ParamsError

RUNNER = CliRunner()


def set_rules(**limits):
    params = {
        "families": {"piano_roll": "scores"},
        "compare": {"n_resamples": 10, "seed": 1, "n_moved": 1},
        "gate": {
            "figures": {
                f"piano_roll/piano_roll/{name}": {"worse_by": None, "limit": limit} for name, limit in limits.items()
            },
            "new_takes": {},
            "when_unsure": "hold",
        },
    }
    Path("params.yaml").write_text(yaml.safe_dump(params))


@pytest.fixture
def versions(tmp_path, monkeypatch):
    """Two versions whose onset F1 is known: the comparison itself has tests of its own."""
    row = SimpleNamespace(
        family="piano_roll", system="piano_roll", metric="onset_f1", old=0.75, new=0.5, verdict="open", n_pieces=2
    )
    found = SimpleNamespace(differences=(row,), added=())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tasks.versions.history.read_version", lambda name: name)
    monkeypatch.setattr("tasks.compare.compare_versions", lambda *_: found)


@pytest.mark.usefixtures("versions")
def test_the_gate_holds_with_0_and_falls_with_1():
    set_rules(onset_f1=0.5)
    done = RUNNER.invoke(app, ["gate"])
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "the gate holds")
    set_rules(onset_f1=0.6)
    done = RUNNER.invoke(app, ["gate", "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["holds"] is False
    set_rules()
    assert isinstance(RUNNER.invoke(app, ["gate"]).exception, ParamsError)
