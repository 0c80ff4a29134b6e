"""Locks of killed processes: seen as theirs, released, and never taken from one that lives."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.doctor import examine
from tasks.versions.locks import holders, left_behind, release
from tasks.versions.repro import repro


def listed(tmp_dir, pid, *, mode="write"):
    row = {"pid": pid, "cmd": "dvc repro"}
    held = {"read": {}, "write": {}, mode: {"/data/raw": row if mode == "write" else [row]}}
    (tmp_dir / "rwlock").write_text(json.dumps(held))
    return tmp_dir / "rwlock"


def ended():
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.fixture
def sleeper():
    """Run a process that lives."""
    process = subprocess.Popen(["sleep", "100"])
    yield process.pid
    process.kill()
    process.wait()


@pytest.mark.parametrize("mode", ["read", "write"])
def test_a_process_that_lives_keeps_its_lock(tmp_path, sleeper, mode):
    path = listed(tmp_path, sleeper, mode=mode)
    before = path.read_bytes()
    assert left_behind(tmp_path) == []
    release(tmp_path)
    assert path.read_bytes() == before
    assert holders(tmp_path) == f"process {sleeper} (dvc repro)"


@pytest.mark.parametrize("mode", ["read", "write"])
def test_a_process_that_ended_holds_nothing(tmp_path, mode):
    pid = ended()
    path = listed(tmp_path, pid, mode=mode)
    told = []
    release(tmp_path, tell=told.append)
    assert told == [f"{path} names process {pid} (dvc repro), which has ended: released"]
    assert json.loads(path.read_text()) == {"read": {}, "write": {}}
    assert left_behind(tmp_path) == []


def test_a_number_that_another_process_has_since_got_is_not_its_holder(tmp_path, sleeper):
    """As after a restart of the machine: the list is older than the process of that number."""
    path = listed(tmp_path, sleeper)
    an_hour_ago = time.time() - 3600
    os.utime(path, (an_hour_ago, an_hour_ago))
    [line] = left_behind(tmp_path)
    assert f"process {sleeper} (dvc repro), which has ended" in line
    release(tmp_path)
    assert json.loads(path.read_text())["write"] == {}


@pytest.mark.parametrize(
    "text", ["", '{"read": {"/x": [', '{"/x": {}}', "[1]", '{"read": {}, "write": {"/x": {"pid": 1}}}']
)
def test_a_list_that_cannot_be_read_goes(tmp_path, text):
    (tmp_path / "rwlock").write_text(text)
    assert "cannot be read" in left_behind(tmp_path)[0]
    assert holders(tmp_path) == "another process of DVC"
    release(tmp_path)
    assert not (tmp_path / "rwlock").exists()


def test_without_a_list_nothing_is_held(tmp_path):
    assert left_behind(tmp_path) == []
    release(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Make a project of one stage, and a list of locks that DVC cannot read."""
    monkeypatch.chdir(tmp_path)
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, check=True, timeout=60)
    Path("dvc.yaml").write_text("stages:\n  made:\n    cmd: echo a > made\n    outs: [made]\n")
    Path(".dvc/tmp").mkdir(exist_ok=True)
    Path(".dvc/tmp/rwlock").write_text('{"read"')


@pytest.mark.usefixtures("project")
def test_stages_run_after_a_kill_that_tore_the_list(capfd):
    assert subprocess.run([sys.executable, "-m", "dvc", "repro", "-q"], check=False, timeout=60).returncode
    repro(["made"])
    assert Path("made").read_text() == "a\n"
    assert "cannot be read, a process was killed as it wrote it" in capfd.readouterr().err


@pytest.mark.usefixtures("project")
def test_the_doctor_names_locks_that_were_left_and_its_advice_frees_them():
    lock = Path(".git/index.lock")
    lock.touch()
    assert [found.advice for found in examine(deep=False) if found.subject == "locks"] == ["rm -f .dvc/tmp/rwlock"]
    os.utime(lock, (time.time() - 600,) * 2)
    found = [found for found in examine(deep=False) if found.subject == "locks"]
    assert "has stood for 10 minutes" in found[1].found
    for one in found:
        subprocess.run(one.advice, shell=True, check=True)  # noqa: S602 - what a user would type
    assert not [found for found in examine(deep=False) if found.subject == "locks"]
