"""What is whole is well; each kind of damage is named, with what to do."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.doctor import examine
from tasks.tools import TOOLS, running_tools


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Make a project of two takes and an empty DVC cache."""
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], check=True, timeout=60)
    for take in ("a", "b"):
        folder = Path("data/extracted") / take
        folder.mkdir(parents=True)
        (folder / "codes").write_bytes(take.encode() * 100)
        digest = hashlib.sha256(take.encode() * 100).hexdigest()
        receipt = {"key": "k", "outputs": {"codes": {"size": 100, "sha256": digest}}}
        (folder / "_receipt.json").write_text(json.dumps(receipt))
    Path("data/tools.json").write_text(json.dumps(running_tools(TOOLS)))
    return tmp_path


def wrong(*, deep=False):
    return [(finding.subject, finding.found) for finding in examine(deep=deep) if not finding.is_well]


def test_what_is_whole_is_well(project):
    assert wrong() == wrong(deep=True) == []
    assert [finding.found for finding in examine(deep=True)][1:] == [
        "2 takes are whole",
        "every object has its own md5",
    ]


def test_a_changed_and_an_unfinished_take_are_named_and_the_rest_is_still_looked_at(project):
    Path("data/extracted/a/codes").write_bytes(b"x" * 100)
    Path("data/extracted/b/_receipt.json").unlink()
    found = wrong()
    assert [subject for subject, _ in found] == ["data/extracted", "data/extracted"]
    assert "data/extracted/a/codes was changed after it was made" in found[0][1]
    assert "data/extracted/b has no _receipt.json" in found[1][1]


def test_what_only_the_disk_knows_is_found_by_reading_all(project):
    """Bytes that rot change neither size nor times; a memory that says so is believed, but for --deep."""
    assert wrong() == []
    path = Path("data/extracted/a/codes")
    memory = json.loads(Path(".audiate/verified/doctor.json").read_text())
    path.write_bytes(b"x" * 100)
    stat = path.stat()
    memory[str(path)][:4] = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
    Path(".audiate/verified/doctor.json").write_text(json.dumps(memory))
    assert wrong() == []
    assert [subject for subject, _ in wrong(deep=True)] == ["data/extracted"]


def test_a_damaged_object_of_dvcs_cache_is_found_by_reading_all(project):
    (project / "x").write_bytes(b"content")
    subprocess.run([sys.executable, "-m", "dvc", "add", "-q", "x"], check=True, timeout=60)
    [path] = Path(".dvc/cache/files/md5").glob("??/*")
    path.chmod(0o644)
    path.write_bytes(b"contend")
    path.chmod(0o444)
    assert wrong() == []
    [(subject, said)] = wrong(deep=True)
    assert subject == "cache"
    assert path.name in said


def test_another_tool_than_set_up_saw_is_named(project):
    tools = json.loads(Path("data/tools.json").read_text())
    Path("data/tools.json").write_text(json.dumps({**tools, "ffmpeg": "0.1"}))
    [(subject, said)] = wrong()
    assert subject == "tools"
    assert "ffmpeg is" in said
