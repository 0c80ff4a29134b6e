"""A search over real DVC experiments whose best value is known: the loss is how far it is from that."""

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tasks.errors import ParamsError
from tasks.search import Range, SearchParams, _Experiments, promote, search
from tasks.store.segments import segment_rows, write_segments

BEST = 3e-3
DVC_YAML = """
stages:
  code:  # stands for the real one, which a search brings up to date first
    cmd: echo {} > code.json
    deps:
      - train.py
    outs:
      - code.json:
          cache: false
  train:
    foreach: ${families}
    do:
      cmd: python train.py ${key}
      deps:
        - train.py
      params:
        - train.${key}
      outs:
        - data/trained/${key}
"""
PARAMS_YAML = """
families: {piano_roll: scores}
numerics: {networks: portable}
train:
  piano_roll:
    learning_rate: 0.5  # far off
    n_steps: 400
    steps_per_epoch: 100
    inner: {width: 7}
"""
TRAIN = f"""
import math, pathlib, sys, yaml
own = yaml.safe_load(open("params.yaml"))["train"][sys.argv[1]]
away = abs(math.log10(own["learning_rate"] / {BEST}))
if away > 2.5:
    sys.exit("diverged")
curves = pathlib.Path("data/trained") / sys.argv[1] / "curves"
curves.mkdir(parents=True)
rows = [(step, away + abs(own["inner"]["width"] - 5) / 10 + 10 / step) for step in range(100, own["n_steps"] + 1, 100)]
text = "step,train_loss,validation_loss\\n" + "".join(f"{{s}},0,{{loss}}\\n" for s, loss in rows)
(curves / (sys.argv[1] + ".csv")).write_text(text)
"""
PARAMS = SearchParams(
    seed=1,
    n_at_once=2,
    first_rung=0.25,
    ranges={
        "piano_roll": {
            "learning_rate": Range(low=1e-6, high=1.0, log=True, whole=False),
            "inner.width": Range(low=1, high=9, log=False, whole=True),
        }
    },
)


def run(folder, *command):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def put_data(content="pictures"):
    """Store a data set of one training take that holds ``content``."""
    folder = Path("data/chunked/scores")
    (folder / "a").mkdir(parents=True, exist_ok=True)
    (folder / "a" / "arrays").write_text(content)
    outputs = {"arrays": {"size": len(content), "sha256": hashlib.sha256(content.encode()).hexdigest()}}
    (folder / "a" / "_receipt.json").write_text(json.dumps({"key": "k", "outputs": outputs}))
    index = {"a": {"piece": "a", "part": "train", "digest": "of the recording", "duration_s": 1.0}}
    (folder / "takes.json").write_text(json.dumps(index))
    write_segments(folder / "segments.parquet", segment_rows("a", "a", "train", "a", 8, length=4, hop=4))


@pytest.fixture
def make_project(monkeypatch):
    """Make projects whose only stage trains a family, committed, and go into the last one."""
    made = []

    def make(folder):
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        run(folder, "git", "init", "-q")
        run(folder, "git", "config", "user.name", "a")
        run(folder, "git", "config", "user.email", "a@b.c")
        run(folder, "dvc", "init", "-q")
        for name, text in (("dvc.yaml", DVC_YAML), ("params.yaml", PARAMS_YAML), ("train.py", TRAIN)):
            Path(name).write_text(text)
        put_data()
        Path(".gitignore").write_text("/data\n/.audiate\n")
        run(folder, "dvc", "repro", "-q", "-s", "code")
        run(folder, "git", "add", "--all")
        run(folder, "git", "commit", "-q", "-m", "start")
        made.append(folder)
        return folder

    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    yield make
    for folder in made:
        run(folder, "dvc", "queue", "stop", "--kill")


@pytest.fixture
def project(make_project, tmp_path):
    return make_project(tmp_path)


def searched(n_trials, **changes):
    told = []
    params = PARAMS.model_copy(update=changes)
    return search("piano_roll", n_trials, params=params, data=Path("data/chunked/scores"), tell=told.append)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_search_prunes_comes_near_the_best_value_and_is_not_run_twice(project):
    first = searched(6)
    assert {one.state for one in first.tried} >= {"full", "pruned"}
    # What trained in full has the loss of its own values; the first rung is worse by what fewer steps cost.
    for one in first.tried:
        if one.state == "full":
            assert one.first_loss - one.loss == pytest.approx(10 / 100 - 10 / 400)
    hopeless = [one.first_loss for one in first.tried if one.state == "pruned"]
    assert first.best.loss < min(hopeless)
    assert first.best.loss == min(one.loss for one in first.tried if one.state == "full")
    assert "far off" in Path("params.yaml").read_text()
    n_refs = len(run(project, "git", "for-each-ref", "refs/exps").splitlines())
    # Cut off and begun anew, it asks the same questions and knows the answers.
    shutil.rmtree(".audiate")
    again = searched(6)
    assert again.tried == first.tried
    assert len(run(project, "git", "for-each-ref", "refs/exps").splitlines()) == n_refs
    assert again.table.read_text().count("\n") == 7
    assert again.plot.read_bytes().startswith(b"\x89PNG")
    promote(again)
    text = Path("params.yaml").read_text()
    assert "# far off" in text
    promoted = yaml.safe_load(text)["train"]["piano_roll"]
    assert promoted["learning_rate"] == again.best.values["learning_rate"]
    assert promoted["inner"] == {"width": again.best.values["inner.width"]}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_at_once_find_elsewhere_what_one_at_a_time_finds_here(make_project, tmp_path):
    found = []
    for n_at_once in (2, 1):
        make_project(tmp_path / f"{n_at_once}_at_once")
        found.append(searched(3, n_at_once=n_at_once))
    assert repr(found[0].tried) == repr(found[1].tried)
    assert found[0].best == found[1].best


@pytest.fixture
def known_losses(tmp_path, monkeypatch):
    """Experiments that are not run: their loss is the one that ``train.py`` would write."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(PARAMS_YAML)
    put_data()

    def losses(self, proposed, *, share):
        away = [abs(math.log10(one["learning_rate"] / BEST)) for one in proposed]
        width = [abs(one["inner.width"] - 5) / 10 for one in proposed]
        return [a + w + 10 / (400 * share) if a <= 2.5 else math.nan for a, w in zip(away, width, strict=True)]

    monkeypatch.setattr("tasks.search._Experiments.losses", losses)
    monkeypatch.setattr("tasks.search.repro", lambda stages: None)


def test_one_seed_has_one_winner_however_many_run_at_once(known_losses):
    found = {n_at_once: searched(20, n_at_once=n_at_once) for n_at_once in (1, 2, 3, 8)}
    shown = {n_at_once: repr(one.tried) for n_at_once, one in found.items()}  # NaN is not equal to itself
    assert len(set(shown.values())) == 1
    assert repr(searched(20, seed=2).tried) != shown[2]
    assert found[2].best.loss < 0.4


def test_experiments_on_other_pictures_of_the_same_recordings_are_others(known_losses, monkeypatch):
    """The index says the same; what was stored of the take does not."""
    names = []
    losses = _Experiments.losses

    def noting(self, proposed, *, share):
        names.append({self._name(values) for values in proposed})
        return losses(self, proposed, share=share)

    monkeypatch.setattr("tasks.search._Experiments.losses", noting)
    index = Path("data/chunked/scores/takes.json").read_bytes()
    for content in ("pictures", "pixtures", "pictures"):
        put_data(content)
        searched(2)
    Path("params.yaml").write_text(PARAMS_YAML.replace("portable", "fast"))
    searched(2)
    assert Path("data/chunked/scores/takes.json").read_bytes() == index
    first = names[:: len(names) // 4]
    assert first[0] == first[2]
    assert not first[0] & first[1]
    assert not first[0] & first[3]


def test_a_longer_search_begins_with_the_shorter_one(known_losses):
    assert repr(searched(20).tried[:8]) == repr(searched(8).tried)


@pytest.mark.parametrize(
    ("family", "ranges", "said"),
    [
        ("piano_roll", {}, "search.ranges has no piano_roll"),
        ("piano_roll", {"depth": Range(low=1, high=2, log=False, whole=True)}, "depth is no parameter of train"),
        ("nobody", {}, "nobody"),
    ],
)
def test_what_cannot_be_searched_is_one_line(project, family, ranges, said):
    params = PARAMS.model_copy(update={"ranges": {"piano_roll": ranges}})
    with pytest.raises(ParamsError, match=said):
        search(family, 2, params=params, data=Path("data/chunked/scores"), tell=print)
