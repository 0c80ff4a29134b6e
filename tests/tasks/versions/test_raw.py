"""data/raw under DVC's lock, with DVC itself on the other side."""

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from tasks.errors import DamagedData, PipelineError
from tasks.versions.raw import check_raw, is_recorded, only_one, writing_raw

RAW = Path("data/raw")
STAGE = """
import pathlib, time
raw = pathlib.Path("data/raw")
found = sorted(path.name for path in raw.iterdir() if path.is_dir())
pathlib.Path("started").touch()
while not pathlib.Path("go").exists():
    time.sleep(0.05)
assert found == sorted(path.name for path in raw.iterdir() if path.is_dir())
pathlib.Path("out").write_text(" ".join(found))
"""


def dvc(*arguments):
    return [sys.executable, "-m", "dvc", *arguments]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Stand in a project of DVC, without git."""
    (tmp_path / RAW).mkdir(parents=True)
    (tmp_path / ".dvcignore").write_text(".gitkeep\n")
    monkeypatch.chdir(tmp_path)
    subprocess.run(dvc("init", "-q", "--no-scm"), check=True, timeout=60)
    return tmp_path


def put(name):
    (RAW / name).mkdir()
    (RAW / name / "x.mid").write_text(name)


def quiet(line):
    pass


def test_what_is_there_is_recorded_and_what_is_recorded_is_known(project):
    assert is_recorded(RAW)
    put("one")
    assert not is_recorded(RAW)
    with writing_raw(RAW, tell=quiet) as record:
        put("two")
        record()
    assert is_recorded(RAW)
    [out] = yaml.safe_load(Path("data/raw.dvc").read_text())["outs"]
    assert (out["path"], out["nfiles"]) == ("raw", 2)
    shutil.rmtree(RAW / "two")
    assert not is_recorded(RAW)


def test_outside_of_a_project_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PipelineError, match="run this in a project that `dvc init` made"), writing_raw(RAW, tell=quiet):
        pass
    with pytest.raises(DamagedData, match="data/raw is missing: run this in the folder of the project"):
        check_raw(RAW)


def test_a_lock_is_free_again_when_its_holder_is_gone(tmp_path):
    child = os.fork()
    if not child:
        with only_one(tmp_path / "lock", what="x", wait=True, tell=quiet):
            os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    with only_one(tmp_path / "lock", what="x", wait=False, tell=quiet):
        assert (tmp_path / "lock").read_text() == f"process {os.getpid()}\n"


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_take_that_comes_while_a_stage_runs_comes_after_it_and_the_next_run_sees_it(project):
    put("one")
    with writing_raw(RAW, tell=quiet) as record:
        record()
    Path("stage.py").write_text(STAGE)
    stage = {"cmd": f"{sys.executable} stage.py", "deps": ["data/raw"], "outs": ["out"]}
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"ingest": stage}}))
    running = subprocess.Popen(dvc("repro", "-q"), stdout=-1, stderr=-1, text=True)
    deadline = time.monotonic() + 100
    while not Path("started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    said = []

    def arrive():
        with writing_raw(RAW, tell=said.append) as record:
            put("two")
            record()

    arriving = threading.Thread(target=arrive)
    arriving.start()
    while not said and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not (RAW / "two").exists()
    Path("go").touch()
    _, error = running.communicate(timeout=100)
    assert running.returncode == 0, error
    arriving.join(60)
    assert said[0].startswith(f"data/raw: waiting for process {running.pid} (")
    assert Path("out").read_text() == "one"
    subprocess.run(dvc("repro", "-q"), check=True, timeout=100)
    assert Path("out").read_text() == "one two"
