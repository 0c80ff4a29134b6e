"""Versions that DVC and git really made, read without checking anything out."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.errors import DamagedData
from tasks.versions.history import WORKSPACE, HistoryError, git, read_version

DVC_YAML = """
stages:
  make:
    cmd: python make.py
    deps: [make.py]
    outs: [data/made]
"""
MAKE = """
import pathlib
folder = pathlib.Path('data/made')
folder.mkdir(parents=True)
(folder / 'number.txt').write_text({!r})
(folder / 'inner').mkdir()
(folder / 'inner' / 'same.txt').write_text('same')
"""


def run(folder, *command):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def commit(folder, message):
    run(folder, "git", "add", "--all")
    run(folder, "git", "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", message)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make a project of three commits: nothing reproduced, number 1, number 2."""
    folder = tmp_path_factory.mktemp("history")
    run(folder, "git", "init", "-q")
    run(folder, "dvc", "init", "-q")
    commit(folder, "start")
    (folder / "dvc.yaml").write_text(DVC_YAML)
    for number in ("1", "2"):
        (folder / "make.py").write_text(MAKE.format(number))
        run(folder, "dvc", "repro", "-q")
        commit(folder, f"number {number}")
    return folder


@pytest.fixture
def project(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "project"))


def test_each_version_gives_its_own_result_and_the_checkout_stays_as_it_is(project):
    before = run(project, "git", "status", "--porcelain"), (project / "data/made/number.txt").stat().st_mtime_ns
    for revision, number in (("HEAD~1", "1"), ("HEAD", "2"), (WORKSPACE, "2")):
        assert read_version(revision, root=project).result("data/made", "number.txt").read_text() == number
    assert before == (
        run(project, "git", "status", "--porcelain"),
        (project / "data/made/number.txt").stat().st_mtime_ns,
    )


def test_a_version_is_read_when_the_working_tree_has_nothing_of_it(project):
    shutil.rmtree(project / "data")
    (project / "dvc.lock").unlink()
    assert read_version("HEAD", root=project).result("data/made", "inner/same.txt").read_text() == "same"
    with pytest.raises(HistoryError, match=r"WORKSPACE has no dvc\.lock: nothing was reproduced"):
        read_version(WORKSPACE, root=project)


def test_a_cache_that_lies_elsewhere_is_found(project, tmp_path):
    (project / ".dvc" / "cache").rename(tmp_path / "elsewhere")
    run(project, "dvc", "cache", "dir", "--local", str(tmp_path / "elsewhere"))
    assert read_version("HEAD~1", root=project).result("data/made", "number.txt").read_text() == "1"


def test_hashes_and_folders_are_those_of_the_lock(project):
    old, new = (read_version(revision, root=project) for revision in ("HEAD~1", "HEAD"))
    assert old.hashes("deps").keys() == {"make.py"}
    assert old.hashes("deps") != new.hashes("deps")
    assert old.folders("data") == new.folders("data") == ["made"]
    assert (old.text("make.py"), new.text("absent")) == (MAKE.format("1"), None)


@pytest.mark.parametrize("revision", ["absent", "--help", "HEAD^{tree}", "HEAD:dvc.lock", "", "-x;touch pwned"])
def test_what_is_no_commit_is_one_line(project, revision):
    with pytest.raises(HistoryError, match="is no version here") as caught:
        read_version(revision, root=project)
    assert "\n" not in str(caught.value)
    assert not (project / "pwned").exists()


def test_a_version_in_which_nothing_was_reproduced_says_so(project):
    with pytest.raises(HistoryError, match=r"HEAD~2 has no dvc\.lock: nothing was reproduced and committed there"):
        read_version("HEAD~2", root=project)


def test_a_result_that_the_cache_lacks_names_the_command_that_gets_it(project):
    shutil.rmtree(project / ".dvc" / "cache")
    with pytest.raises(HistoryError, match="`dvc fetch --all-commits data/made` gets it from the remote"):
        read_version("HEAD", root=project).result("data/made", "number.txt")


def test_a_result_and_a_file_that_the_version_never_had_say_so(project):
    version = read_version("HEAD", root=project)
    with pytest.raises(HistoryError, match="HEAD has no data/other"):
        version.result("data/other", "number.txt")
    with pytest.raises(HistoryError, match="data/made holds no other"):
        version.result("data/made", "other")


def test_a_cache_that_was_tampered_with_is_not_believed(project):
    version = read_version("HEAD", root=project)
    path = version.result("data/made", "number.txt")
    path.chmod(0o644)
    path.write_text("3")
    with pytest.raises(DamagedData, match="its md5 is not its name"):
        version.result("data/made", "number.txt")


def test_a_hash_that_is_a_path_leads_nowhere(project):
    lock = project / "dvc.lock"
    version = read_version("HEAD", root=project)
    lock.write_text(lock.read_text().replace(version.hashes("outs")["data/made"], "../../../../etc/passwd"))
    commit(project, "hostile")
    with pytest.raises(DamagedData, match="is no md5"):
        read_version("HEAD", root=project).result("data/made", "number.txt")


def test_gits_own_words_are_passed_on_in_one_line(tmp_path):
    with pytest.raises(HistoryError, match=r"git log: fatal: not a git repository") as caught:
        git(["log"], root=tmp_path)
    assert "\n" not in str(caught.value)
