"""Versions that DVC really stored: what stays can be checked out, what goes was said before, nothing else goes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tasks.gc import BudgetError, collect
from tasks.versions.history import WORKSPACE
from tasks.versions.objects import ObjectsError, opened_shelves

pytestmark = pytest.mark.slow

CACHE, REMOTE = Path(".dvc/cache/files/md5"), Path("../remote/files/md5")


def run(*command, fails=False):
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert bool(done.returncode) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


def objects(folder):
    return {path.parent.name + path.name: path.stat().st_size for path in folder.glob("??/*")}


def stays(found):
    return {fate.subject or fate.name: fate.stays for fate in found.fates}


def checked_out(commit, tmp_path, *, by):
    """Check a version out in a copy of the project, by cache alone or by remote alone; return its weights."""
    copy = tmp_path / f"copy of {commit}"
    shutil.copytree(Path.cwd().parent, copy, symlinks=True)
    project = copy / "project"
    for folder in ("raw", "ingested", "chunked", "trained", "synthesized"):
        shutil.rmtree(project / "data" / folder, ignore_errors=True)
    config = project / ".dvc" / "config.local"
    config.write_text(config.read_text().replace(str(Path.cwd().parent), str(copy)))
    if by == "remote":
        shutil.rmtree(project / ".dvc" / "cache")
    else:
        shutil.rmtree(copy / "remote")
    run("git", "-C", str(project), "checkout", "-q", commit)
    run("dvc", "--cd", str(project), *(["pull"] if by == "remote" else ["checkout"]))
    lock = yaml.safe_load((project / "dvc.lock").read_text())
    assert all((project / out["path"]).exists() for stage in lock["stages"].values() for out in stage["outs"])
    return (project / "data" / "trained" / "net" / "weights").read_text()


def test_a_dry_run_says_what_goes_and_touches_nothing(shelved):
    before = objects(CACHE), objects(REMOTE)
    found = collect(keep=2, remote=True)
    assert stays(found) == {
        WORKSPACE: "stands here",
        "version 4": "last 2, branch main",
        "version 3": "last 2",
        "version 2": "",
        "version 1": "tag first",
    }
    assert [sweep.shelf for sweep in found.sweeps] == ["cache", "shelf"]
    assert all(sweep.n_objects > 0 for sweep in found.sweeps)
    assert found.dry_run
    assert (objects(CACHE), objects(REMOTE)) == before


def test_what_stays_can_be_checked_out_from_the_cache_alone_and_from_the_remote_alone(shelved, tmp_path):
    before = objects(CACHE), objects(REMOTE)
    promised = collect(keep=2, remote=True)
    done = collect(keep=2, remote=True, dry_run=False)
    assert done.sweeps == promised.sweeps
    for sweep, folder, had in zip(done.sweeps, (CACHE, REMOTE), before, strict=True):
        left = objects(folder)
        assert (len(had) - len(left), sum(left.values())) == (sweep.n_objects, sweep.n_bytes_left)
    one, _, three, four = shelved
    weights = {commit: checked_out(commit, tmp_path, by="cache") for commit in (one, three, four)}
    assert "width: 1" in weights[three]
    assert "width: 2" in weights[four]
    assert weights[three].count("arrays of") == 3
    shutil.rmtree(tmp_path / f"copy of {one}")
    assert checked_out(one, tmp_path, by="remote") == weights[one]
    assert "in sync" in run("dvc", "status", "-c")
    assert "up to date" in run("dvc", "status")
    again = collect(keep=2, remote=True)
    assert [sweep.n_objects for sweep in again.sweeps] == [0, 0]
    assert {fate.subject: fate.is_whole for fate in again.fates}["version 2"] is False
    run("git", "checkout", "-q", shelved[1])
    assert "version 2" not in run("dvc", "checkout", fails=True)


def test_a_budget_keeps_the_newest_that_fit_and_no_more(shelved):
    alone = collect(keep=1)
    [cache] = alone.sweeps
    assert stays(alone)["version 3"] == ""
    everything = collect(keep=1, budget_bytes=cache.n_bytes_left + cache.n_bytes)
    assert stays(everything)["version 2"] == stays(everything)["version 3"] == "fits the budget"
    # Version 3 shares its takes with version 4; its weights of 20 kB are what it needs besides.
    some = collect(keep=1, budget_bytes=cache.n_bytes_left + 25_000)
    assert (stays(some)["version 3"], stays(some)["version 2"]) == ("fits the budget", "")
    assert some.sweeps[0].n_bytes_left <= cache.n_bytes_left + 25_000


def test_a_budget_that_is_smaller_than_what_must_stay_is_one_line_and_nothing_goes(shelved):
    before = objects(CACHE)
    with pytest.raises(BudgetError, match=r"the budget is 1e-06 GB, but what must stay has .* GB in cache") as raised:
        collect(keep=1, budget_bytes=1_000, dry_run=False)
    assert "\n" not in str(raised.value)
    assert objects(CACHE) == before


def test_what_is_not_committed_yet_stays_and_what_was_never_committed_goes(shelved):
    Path("params.yaml").write_text("width: 3\n")
    run("dvc", "repro", "-q")
    Path("params.yaml").write_text("width: 4\n")
    run("dvc", "repro", "-q")
    found = collect(keep=4, dry_run=False)
    assert found.sweeps[0].n_bytes == found.sweeps[0].n_bytes_of_none > 10_000  # the weights of width 3 alone
    shutil.rmtree("data/trained")
    run("dvc", "checkout")
    assert "width: 4" in Path("data/trained/net/weights").read_text()


def test_an_experiment_stays_within_the_budget_and_goes_without_one(shelved):
    run("dvc", "exp", "run", "-q", "--name", "larger", "--set-param", "width=9")
    run("git", "checkout", "-q", "--", ".")
    run("dvc", "checkout", "-q")
    assert stays(collect(keep=4))["experiment larger"] == ""
    assert stays(collect(keep=4, budget_bytes=10**9))["experiment larger"] == "fits the budget"


def test_a_branch_of_its_own_results_stays(shelved):
    run("git", "branch", "side", shelved[1])
    assert stays(collect(keep=1))["version 2"] == "branch side"


def test_another_process_of_dvc_is_not_disturbed(shelved):
    script = (
        "import time; from dvc.repo import Repo, lock_repo\nwith lock_repo(Repo()): print(flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        holder.stdout.readline()
        with pytest.raises(ObjectsError, match="another process of DVC is at work here"):
            collect(keep=1, dry_run=False)
    finally:
        holder.kill()
        holder.wait()


def test_a_cache_outside_the_project_is_others_too(shelved, tmp_path):
    shutil.move(".dvc/cache", tmp_path / "common")
    with Path(".dvc/config.local").open("a") as config:
        config.write(f"[cache]\n    dir = {tmp_path / 'common'}\n")
    before = objects(tmp_path / "common/files/md5")
    assert collect(keep=1).sweeps[0].n_objects > 0
    with pytest.raises(ObjectsError, match=r"lies outside this project, and other projects or clones.*--shared"):
        collect(keep=1, dry_run=False)
    assert objects(tmp_path / "common/files/md5") == before
    collect(keep=1, shared=True, dry_run=False)
    assert len(objects(tmp_path / "common/files/md5")) < len(before)


def test_without_a_remote_or_a_project_it_says_what_to_do(shelved, tmp_path):
    Path(".dvc/config.local").unlink()
    with pytest.raises(ObjectsError, match="DVC has no default remote: set one with `dvc remote add -d NAME URL`"):
        collect(keep=1, remote=True)
    with (
        pytest.raises(ObjectsError, match="run this in a project that `dvc init` made"),
        opened_shelves(remote=False, root=tmp_path),
    ):
        pass
