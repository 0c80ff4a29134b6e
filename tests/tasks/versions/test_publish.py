"""A commit of a data version: what belongs to it and nothing that the user is at work on."""

import subprocess
import sys
from pathlib import Path

import pytest

from tasks.errors import PipelineError
from tasks.versions.history import HistoryError, read_version
from tasks.versions.publish import PushError, commit_version, default_remote, dirty_inputs, push, run_briefly

LOCK = """
stages:
  code:
    deps:
    - {{path: tasks, md5: a.dir}}
    outs:
    - {{path: data/code.json, md5: {md5}}}
  ingest:
    deps:
    - {{path: data/raw, md5: a.dir}}
    - {{path: data/sample/midi, md5: a.dir}}
    outs:
    - {{path: data/ingested, md5: {md5}.dir}}
  evaluate:
    outs:
    - {{path: data/evaluated/one, md5: {md5}.dir}}
    - {{path: data/metrics/one.json, md5: {md5}}}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "a")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "a@b.c")
    for folder in ("raw", "sample/midi", "metrics", "evaluated/one"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for name in ("data/raw/.gitkeep", "data/sample/midi/a.mid", "params.yaml", "dvc.yaml", "mine.py"):
        (tmp_path / name).write_text("old\n")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "ingest.py").write_text("old\n")
    (tmp_path / ".dvc").mkdir()
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "-q", "-m", "start")
    reproduced(tmp_path, "1")
    (tmp_path / "data" / "raw.dvc").write_text("outs: []\n")
    git(tmp_path, "rm", "-q", "--cached", "data/raw/.gitkeep")
    return tmp_path


def git(folder, *arguments):
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def reproduced(folder, number):
    """Write what `dvc repro` and `dvc add` leave."""
    (folder / "dvc.lock").write_text(LOCK.format(md5=number * 32))
    (folder / "data" / ".gitignore").write_text("/raw\n/ingested\n")
    (folder / "data" / "evaluated" / ".gitignore").write_text("/one\n")
    (folder / "data" / "metrics" / "one.json").write_text(number)
    (folder / "data" / "code.json").write_text(number)
    (folder / "data" / "evaluated" / "one" / "takes.parquet").write_text(number)


def workspace(folder):
    return read_version("WORKSPACE", root=folder)


def test_the_commit_holds_the_version_and_the_users_own_work_stays_as_it_was(project):
    (project / "mine.py").write_text("staged\n")
    git(project, "add", "mine.py")
    (project / "mine.py").write_text("staged and edited\n")
    (project / "untracked.py").write_text("x")
    before = git(project, "diff", "--cached", "--", "mine.py"), git(project, "diff", "--", "mine.py")
    made = commit_version("Take in a\n\n+ a", version=workspace(project))
    assert git(project, "rev-parse", "HEAD").strip() == made
    assert sorted(git(project, "show", "--name-status", "--format=", "HEAD").splitlines()) == [
        "A\tdata/.gitignore",
        "A\tdata/code.json",
        "A\tdata/evaluated/.gitignore",
        "A\tdata/metrics/one.json",
        "A\tdata/raw.dvc",
        "A\tdvc.lock",
        "D\tdata/raw/.gitkeep",
    ]
    assert git(project, "log", "-1", "--format=%B").strip() == "Take in a\n\n+ a"
    assert (git(project, "diff", "--cached", "--", "mine.py"), git(project, "diff", "--", "mine.py")) == before
    assert git(project, "status", "--porcelain").splitlines() == ["MM mine.py", "?? untracked.py"]


def test_the_same_version_is_not_committed_twice(project):
    assert commit_version("one", version=workspace(project))
    assert commit_version("two", version=workspace(project)) is None
    reproduced(project, "2")
    assert commit_version("three", version=workspace(project))
    assert git(project, "log", "--format=%s").split() == ["three", "one", "start"]


@pytest.mark.parametrize(
    ("path", "is_input"),
    [
        ("params.yaml", True),
        ("dvc.yaml", True),
        ("tasks/ingest.py", True),
        ("data/sample/midi/new.mid", True),
        ("mine.py", False),
        ("data/metrics/one.json", False),
        ("data/code.json", False),
        ("data/evaluated/one/takes.parquet", False),
    ],
)
def test_files_that_results_follow_from_are_told_when_they_are_not_committed(project, path, is_input):
    commit_version("one", version=workspace(project))
    assert dirty_inputs(workspace(project)) == []
    (project / path).write_text("new\n")
    assert dirty_inputs(workspace(project)) == ([path] if is_input else [])


def test_a_hook_that_refuses_leaves_index_and_tree_as_they_were(project):
    hook = project / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho not today >&2\nexit 1\n")
    hook.chmod(0o755)
    before = git(project, "status", "--porcelain")
    with pytest.raises(HistoryError, match="git commit: not today"):
        commit_version("one", version=workspace(project))
    assert git(project, "status", "--porcelain") == before


def test_a_committer_without_a_name_is_one_line(project, monkeypatch):
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.delenv(f"GIT_{who}_NAME")
        monkeypatch.delenv(f"GIT_{who}_EMAIL")
    monkeypatch.setenv("HOME", str(project))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    git(project, "config", "user.useConfigOnly", "true")
    with pytest.raises(HistoryError, match="Please tell me who you are") as caught:
        commit_version("one", version=workspace(project))
    assert "\n" not in str(caught.value)


def test_the_remote_is_the_default_one(project):
    assert default_remote(project) is None
    (project / ".dvc" / "config").write_text("['remote \"shelf\"']\n    url = /nowhere\n")
    assert default_remote(project) is None
    (project / ".dvc" / "config").write_text("[core]\n    remote = shelf\n['remote \"shelf\"']\n    url = /nowhere\n")
    assert default_remote(project) == "shelf"


def test_a_push_that_fails_says_why_in_one_line(tmp_path):
    with pytest.raises(PushError, match="dvc push: ") as caught:
        push(root=tmp_path)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, PipelineError)


def test_a_command_runs_without_a_shell_under_a_limit_and_its_last_line_is_kept(tmp_path):
    python = [sys.executable, "-c"]
    assert run_briefly([*python, "import sys; sys.exit(sys.stdin.read() != 'é')"], timeout_s=60, given="é") == (0, "")
    words = "import sys; print('one\\ntwo\\n', file=sys.stderr); sys.exit(3)"
    assert run_briefly([*python, words], timeout_s=60) == (3, "two")
    assert run_briefly([*python, "import time; time.sleep(60)"], timeout_s=0.2)[0] == 124
    assert run_briefly([str(tmp_path / "absent")], timeout_s=1) == (
        127,
        f"{tmp_path / 'absent'}: No such file or directory",
    )
    assert run_briefly(["$(touch pwned)"], timeout_s=1, root=tmp_path)[0] == 127
    assert not Path(tmp_path, "pwned").exists()
