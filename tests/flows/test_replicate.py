"""``audiate replicate`` on a project in which the stages have run: what seeds move, and what it is remembered by."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from flows.cli import app
from tasks.errors import ParamsError

RUNNER = CliRunner()
# Enough for some notes: a silent network has the same figures with every seed.
SMALL = {"n_hidden": 16, "n_steps": 100, "steps_per_epoch": 50, "learning_rate": 0.01}

pytestmark = pytest.mark.slow


@pytest.fixture
def project(finished):
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["families"] = {"piano_roll": "scores"}
    params["train"]["piano_roll"] |= SMALL
    Path("params.yaml").write_text(yaml.safe_dump(params))
    return finished


def replicate(*options):
    done = RUNNER.invoke(app, ["replicate", "piano_roll", "--seeds", "2", *options])
    assert done.exit_code == 0, done.output
    return done


def trained(done):
    """Return how many seeds were trained, by what was told."""
    return sum(line.startswith("replicate: ") for line in done.stderr.splitlines())


def test_a_value_a_seed_is_kept_and_only_what_follows_from_something_else_is_trained_again(project):
    first = replicate("--json")
    found = json.loads(first.stdout)
    assert found == json.loads(Path("data/replicates/piano_roll.json").read_text())
    assert found["seeds"] == [1, 2]
    figures = found["systems"]["piano_roll"]
    assert all(len(values) == 2 for values in figures.values())
    assert "onset_f1" in figures
    assert any(len(set(values)) == 2 for values in figures.values()), figures  # the seed reached the weights
    assert trained(first) == 2
    assert trained(replicate()) == 0
    assert [path for path in Path(".audiate/replicates").iterdir() if path.is_dir()] == []
    # Other pictures of the same recordings, as a change of render would give: only receipts tell.
    [take] = [name for name, row in index().items() if row["part"] == "train"]
    receipt = Path("data/chunked/scores") / take / "_receipt.json"
    (receipt.parent / "more").write_text("x")
    about = json.loads(receipt.read_text())
    sha256 = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    about["outputs"]["more"] = {"size": 1, "sha256": sha256}
    receipt.write_text(json.dumps(about))
    assert trained(replicate()) == 2


def index():
    return json.loads(Path("data/chunked/scores/takes.json").read_text())


def test_one_seed_has_no_spread(project):
    done = RUNNER.invoke(app, ["replicate", "piano_roll", "--seeds", "1"])
    assert isinstance(done.exception, ParamsError)
    assert "expected 2 or more: one value has no spread" in str(done.exception)
