"""Outputs that DVC really made, damaged where DVC does not look."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.errors import DamagedData
from tasks.versions.history import HistoryError
from tasks.versions.outputs import Difference, Output, Record

DVC_YAML = """
stages:
  make:
    cmd: python make.py
    deps: [make.py]
    params: [size]
    outs:
      - data/made
    metrics:
      - data/figure.json:
          cache: false
"""
MAKE = """
import pathlib
folder = pathlib.Path('data/made')
(folder / 'inner' / 'deep').mkdir(parents=True)
(folder / 'number.txt').write_text('one')
(folder / 'inner' / 'same.txt').write_text('same')
(folder / 'inner' / 'deep' / 'x.txt').write_text('xxx')
pathlib.Path('data/figure.json').write_text('{"figure": 1}')
"""


def run(folder, *command):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs")
    run(folder, "git", "init", "-q")
    run(folder, "git", "config", "user.name", "a")
    run(folder, "git", "config", "user.email", "a@b.c")
    run(folder, "dvc", "init", "-q")
    for name, text in (("dvc.yaml", DVC_YAML), ("make.py", MAKE), ("params.yaml", "size: 1\n")):
        (folder / name).write_text(text)
    (folder / ".dvcignore").write_text("__pycache__\n")
    (folder / "data" / "raw").mkdir(parents=True)
    (folder / "data" / "raw" / "take.mid").write_text("take")
    run(folder, "dvc", "add", "-q", "data/raw")
    run(folder, "dvc", "repro", "-q")
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "-q", "-m", "made")
    return folder


@pytest.fixture
def project(made_once, tmp_path):
    return shutil.copytree(made_once, tmp_path / "project", symlinks=True)


def flip(path):
    """Change one bit of a file, and leave its times, as a disk does."""
    stat = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(stat.st_mode)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def wrong(project):
    record = Record(project)
    return {
        str(found.path): found.state for output in record.outputs for found in record.differences(output)
    }, record.damaged()


def of_cache(project, content):
    return next(path for path in (project / ".dvc/cache/files/md5").glob("??/*") if path.read_bytes() == content)


def test_every_output_is_known_and_as_it_was_made(project):
    record = Record(project)
    assert [(str(output.path), output.stage, output.is_cached) for output in record.outputs] == [
        ("data/figure.json", "make", False),
        ("data/made", "make", True),
        ("data/raw", "data/raw.dvc", True),
    ]
    assert [output.is_source for output in record.outputs] == [False, False, True]
    assert wrong(project) == ({}, [])
    assert all(record.is_current(output.stage) for output in record.outputs)
    assert record.is_committed(record.outputs[0])
    assert not record.is_committed(record.outputs[1])
    assert not record.has_remote
    assert not record.is_empty


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda project: flip(project / "data/made/number.txt"), {"data/made/number.txt": "changed"}),
        (lambda project: flip(project / "data/figure.json"), {"data/figure.json": "changed"}),
        (lambda project: flip(project / "data/raw/take.mid"), {"data/raw/take.mid": "changed"}),
        (lambda project: (project / "data/made/inner/same.txt").unlink(), {"data/made/inner/same.txt": "missing"}),
        (lambda project: shutil.rmtree(project / "data/made/inner"), {"data/made/inner": "missing"}),
        (lambda project: shutil.rmtree(project / "data/made"), {"data/made": "missing"}),
        (lambda project: (project / "data/made/more").touch(), {"data/made/more": "extra"}),
    ],
)
def test_what_is_not_as_it_was_made_is_named(project, damage, named):
    damage(project)
    assert wrong(project) == (named, [])


def test_what_dvc_ignores_is_no_part_of_a_folder(project):
    (project / "data/made/__pycache__").mkdir()
    (project / "data/made/__pycache__/x.pyc").touch()
    assert wrong(project) == ({}, [])


def test_a_file_in_a_folders_place_and_a_link_to_nothing_are_changes(project):
    (project / "data/made/number.txt").unlink()
    (project / "data/made/number.txt").symlink_to("nowhere")
    shutil.rmtree(project / "data/raw")
    (project / "data/raw").touch()
    assert wrong(project)[0] == {"data/made/number.txt": "changed", "data/raw": "changed"}


def test_an_object_that_was_damaged_in_the_cache_is_found_though_dvc_calls_all_up_to_date(project):
    flip(of_cache(project, b"same"))
    [path] = wrong(project)[1]
    assert (project / path).read_bytes() != b"same"
    assert "up to date" in run(project, "dvc", "status")


def test_a_damaged_record_of_a_former_run_is_found(project):
    [path] = (project / ".dvc/cache/runs").glob("??/*/*")
    text = path.read_text()
    for damaged in (text.replace("make.py", "make.pz"), text[: len(text) // 2], ""):
        path.write_text(damaged)
        assert wrong(project) == ({}, [path.relative_to(project)])


def test_without_its_list_a_changed_folder_is_named_and_a_whole_one_is_whole(project):
    record = Record(project)
    made = record.outputs[1]
    (project / record.object(made.md5)).unlink()
    assert record.differences(made) == []
    assert list(record.objects(made).values()) == [Path("data/made")]
    flip(project / "data/made/number.txt")
    assert record.differences(made) == [Difference(path=Path("data/made"), state="changed")]


def test_a_clone_in_which_nothing_was_made_is_empty(project, tmp_path):
    run(tmp_path, "git", "clone", "-q", str(project), "clone")
    assert Record(tmp_path / "clone").is_empty


def test_other_parameters_are_not_those_of_the_record(project):
    (project / "params.yaml").write_text("size: 2\n")
    assert not Record(project).is_current("make")
    flip(project / "data/figure.json")
    (project / "params.yaml").write_text("size: 1\n")
    assert Record(project).is_current("make")


def test_what_cannot_be_read_is_one_line(project, tmp_path):
    (project / "dvc.lock").write_text("{")
    with pytest.raises(HistoryError, match="the outputs cannot be listed") as caught:
        Record(project)
    assert "\n" not in str(caught.value)
    with pytest.raises(HistoryError, match="the outputs cannot be listed"):
        Record(tmp_path)


def test_a_hash_that_is_a_path_and_a_list_that_leads_out_of_its_folder_are_refused(project):
    record = Record(project)
    with pytest.raises(DamagedData, match="expected an md5"):
        record.object("../../../etc/passwd")
    made = record.outputs[1]
    listed = json.dumps([{"md5": "0" * 32, "relpath": "../../x"}]).encode()
    md5 = hashlib.md5(listed, usedforsecurity=False).hexdigest() + ".dir"
    path = project / record.object(md5)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(listed)
    hostile = Output(path=made.path, stage=made.stage, md5=md5, is_cached=True)
    with pytest.raises(DamagedData, match=r"names '../../x', expected a file in it"):
        record.differences(hostile)
