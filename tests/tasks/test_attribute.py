"""A small pipeline of DVC's whose recordings and parameters both changed: reruns say what each of them moved."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tasks
from tasks.attribute import attribute
from tasks.compare import CompareParams, compare_versions
from tasks.errors import PipelineError
from tasks.versions.history import WORKSPACE, HistoryError, read_version

PARAMS = CompareParams(n_resamples=200, seed=1, n_moved=3)
DVC_YAML = """
stages:
  ingest:
    cmd: python make.py ingest
    deps: [data/sample]
    outs: [data/ingested]
  chunk:
    cmd: python make.py chunk
    deps: [data/ingested]
    outs: [data/chunked/scores]
  evaluate:
    foreach: {net: scores}
    do:
      cmd: python make.py evaluate
      deps: [data/chunked/scores]
      params: [train.net]
      outs: [data/evaluated/net]
"""
MAKE = """
import json, pathlib, sys, yaml
import numpy as np
sys.path.insert(0, SOURCES)
from tasks.store.tables import write_table

out = pathlib.Path({"ingest": "data/ingested", "chunk": "data/chunked/scores"}.get(sys.argv[1], "data/evaluated/net"))
out.mkdir(parents=True)
gain = float(pathlib.Path("data/sample/gain.txt").read_text())
names = [f"t{n}" for n in range(8)]
if sys.argv[1] == "ingest":
    facts = {"kind": "score", "part": "test", "duration_s": 1.0}
    rows = [{"take": name, "piece": name, "digest": "0", **facts} for name in names]
    rows.append({"take": "trained_on", "piece": "trained_on", "digest": str(gain), **facts})
    (out / "catalog.json").write_text(json.dumps(rows))
    (out / "quarantine.json").write_text("[]")
elif sys.argv[1] == "chunk":
    (out / "gain.txt").write_text(str(gain))
else:
    rate = yaml.safe_load(open("params.yaml"))["train"]["net"]["rate"]
    value = 0.3 + gain + rate + 0.01 * np.arange(8)
    write_table(out / "takes.parquet", {"system": ["s"] * 8, "take": names, "piece": names, "onset_f1": value})
"""


def run(folder, *command):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attribute")
    run(folder, "git", "init", "-q")
    run(folder, "dvc", "init", "-q")
    (folder / "dvc.yaml").write_text(DVC_YAML)
    (folder / "make.py").write_text(MAKE.replace("SOURCES", repr(str(Path(tasks.__file__).parents[1]))))
    (folder / ".gitignore").write_text("/.audiate\n")
    (folder / "data/sample").mkdir(parents=True)
    for gain, rate in ((0.0, 0.0), (0.25, -0.125), (0.25, -0.2)):
        (folder / "data/sample/gain.txt").write_text(str(gain))
        (folder / "params.yaml").write_text(f"families: {{net: scores}}\ntrain: {{net: {{rate: {rate}}}}}\n")
        run(folder, "dvc", "repro", "-q")
        run(folder, "git", "add", "--all")
        run(folder, "git", "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", f"{gain} {rate}")
    return folder


def attributed(project, old, new, family="net"):
    versions = [read_version(name, root=project) for name in (old, new)]
    comparison = compare_versions(*versions, PARAMS)
    return comparison, attribute(comparison, family, *versions, params=PARAMS, tell=lambda line: None)


def test_each_cause_alone_is_undone_and_what_it_moved_is_found(project):
    comparison, undone = attributed(project, "HEAD~2", "HEAD~1")
    assert comparison.causes[0].names == ("data", "params")
    (both,) = comparison.differences
    assert (both.difference, both.verdict) == (pytest.approx(0.125), "better")
    moved = {cause: found.differences[0] for cause, found in undone.items()}
    assert {cause: row.verdict for cause, row in moved.items()} == {"data": "better", "params": "worse"}
    assert moved["data"].difference == pytest.approx(0.25)
    assert moved["params"].difference == pytest.approx(-0.125)
    assert [found.causes[0].names for found in undone.values()] == [("data",), ("params",)]
    listed = subprocess.run(
        ["git", "worktree", "list"], cwd=project, capture_output=True, text=True, check=True, timeout=60
    )
    assert len(listed.stdout.splitlines()) == 1


def test_what_cannot_be_taken_apart_is_one_line(project):
    with pytest.raises(PipelineError, match="--attribute net: params differs, expected two or more causes"):
        attributed(project, "HEAD~1", "HEAD")
    with pytest.raises(PipelineError, match="--attribute other: not in both versions"):
        attributed(project, "HEAD~2", "HEAD", "other")
    with pytest.raises(HistoryError, match="both versions have to be commits of this repository"):
        attributed(project, "HEAD~2", WORKSPACE)
