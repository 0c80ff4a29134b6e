"""What is whole is well; each kind of damage is named, and its advice, followed, leaves what was made."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.doctor import examine
from tasks.pretrained import PRETRAINED
from tasks.tools import TOOLS, running_tools

DVC_YAML = """
stages:
  code:  # stands for the real one, as the others do
    cmd: echo {} > data/code.json
    outs:
      - data/code.json:
          cache: false
  extract:
    cmd: python make.py extract
    deps: [make.py]
    outs:
      - data/extracted:
          persist: true
  train:
    foreach: ${families}
    do:
      cmd: python make.py train
      deps: [data/extracted]
      params:
        - train.${key}
      outs:
        - data/trained/${key}
      metrics:
        - data/metrics/${key}.json:
            cache: false
"""
# Takes are kept while they are whole, as stages do.
MAKE = """
import hashlib, json, pathlib, sys
def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
if sys.argv[1] == "extract":
    for take in "ab":
        folder, content = pathlib.Path("data/extracted") / take, take.encode() * 100
        outputs = {"codes": {"size": 100, "sha256": hashlib.sha256(content).hexdigest()}}
        files = {"codes": content, "_receipt.json": json.dumps({"key": "k", "outputs": outputs}).encode()}
        if not all((folder / name).is_file() for name in files):
            [write(folder / name, content) for name, content in files.items()]
else:
    write(pathlib.Path("data/trained/piano_roll/weights"), b"weights" * 100)
    write(pathlib.Path("data/trained/piano_roll/curves/loss.csv"), b"1,2,3")
    write(pathlib.Path("data/metrics/piano_roll.json"), b'{"f1": 0.5}')
"""
PARAMS_YAML = "families: {piano_roll: scores}\ntrain: {piano_roll: {n_steps: 1}}\n"
WEIGHTS = "data/trained/piano_roll/weights"
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def run(*command):
    environment = {**os.environ, "PATH": PATH, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("doctor")
    before = Path.cwd()
    os.chdir(folder)
    run("git", "init", "-q")
    run("git", "config", "user.name", "a")
    run("git", "config", "user.email", "a@b.c")
    run("dvc", "init", "-q")
    for name, text in (("dvc.yaml", DVC_YAML), ("make.py", MAKE), ("params.yaml", PARAMS_YAML)):
        Path(name).write_text(text)
    Path("data/raw/take").mkdir(parents=True)
    Path("data/raw/take/take.mid").write_bytes(b"midi" * 10)
    Path("data/tools.json").write_text(json.dumps(running_tools(TOOLS)))
    run("dvc", "add", "-q", "data/raw")
    run("dvc", "repro", "-q")
    run("git", "add", "--all")
    run("git", "commit", "-q", "-m", "made")
    os.chdir(before)
    return folder


@pytest.fixture
def project(made_once, tmp_path, monkeypatch):
    """Move into a project of two takes, a family and a raw take that DVC made, with its cache."""
    folder = shutil.copytree(made_once, tmp_path / "project", symlinks=True)
    monkeypatch.chdir(folder)
    return folder


def flip(path):
    """Change one bit of a file and leave its times, as a disk does."""
    stat = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(stat.st_mode)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def stored(path):
    """Return the object of DVC's cache that holds a file."""
    md5 = hashlib.md5(Path(path).read_bytes(), usedforsecurity=False).hexdigest()
    return Path(".dvc/cache/files/md5") / md5[:2] / md5[2:]


def list_of(name):
    """Return the object of DVC's cache that lists a folder."""
    listed = [path for path in Path(".dvc/cache/files/md5").glob("??/*.dir") if name in path.read_text()]
    [path] = listed
    return path


def contents():
    tracked = [path for top in ("data", ".dvc/cache/files") for path in Path(top).rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in tracked} | {"dvc.lock": Path("dvc.lock").read_bytes()}


def wrong(*, deep=False):
    return [(finding.subject, finding.found) for finding in examine(deep=deep) if not finding.is_well]


def test_what_is_whole_is_well(project):
    assert wrong() == wrong(deep=True) == []
    assert [(finding.subject, finding.found) for finding in examine(deep=True)][1 + len(PRETRAINED) :] == [
        ("dvc.lock", "5 outputs are as it says"),
        ("cache", "every object has its own md5"),
        ("data/extracted", "2 takes are whole"),
    ]


def test_weights_that_come_with_the_program_are_held_against_their_sums(project, monkeypatch):
    [said] = [one.found for one in examine(deep=False) if one.subject == "pretrained partials.safetensors"]
    assert said.endswith("bytes, as they came with audiate")
    monkeypatch.setattr("tasks.pretrained.FOLDER", project / "none")
    [said] = [found for subject, found in wrong() if subject == "pretrained partials.safetensors"]
    assert "cannot be read: No such file" in said


def test_without_deep_a_changed_and_an_unfinished_take_are_named_and_the_rest_is_still_looked_at(project):
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


def test_another_tool_than_set_up_saw_is_named(project):
    tools = json.loads(Path("data/tools.json").read_text())
    Path("data/tools.json").write_text(json.dumps({**tools, "ffmpeg": "0.1"}))
    [(subject, said)] = wrong()
    assert subject == "tools"
    assert "ffmpeg is" in said


def remove(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def both(path):
    flip(stored(path))
    flip(Path(path))


def lost(path):
    remove(stored(path))
    remove(Path(path))


# What is done to a project, and what of it is named.
DAMAGES = {
    "weights": (lambda: flip(Path(WEIGHTS)), [WEIGHTS]),
    "truncated": (lambda: Path(WEIGHTS).write_bytes(b"we"), [WEIGHTS]),
    "a take's file": (lambda: flip(Path("data/extracted/a/codes")), ["data/extracted/a/codes"]),
    "a receipt": (lambda: flip(Path("data/extracted/a/_receipt.json")), ["data/extracted/a/_receipt.json"]),
    "an extra file": (lambda: Path("data/extracted/a/more").touch(), ["data/extracted/a/more"]),
    "a file of no take": (lambda: Path("data/trained/piano_roll/more").touch(), ["data/trained/piano_roll/more"]),
    "two files": (
        lambda: [flip(Path(WEIGHTS)), remove(Path("data/trained/piano_roll/curves"))],
        ["data/trained/piano_roll/curves is missing", WEIGHTS],
    ),
    "a folder": (lambda: remove(Path("data/trained/piano_roll")), ["data/trained/piano_roll"]),
    "a take": (lambda: remove(Path("data/extracted/b")), ["data/extracted/b"]),
    "figures": (lambda: flip(Path("data/metrics/piano_roll.json")), ["data/metrics/piano_roll.json"]),
    "an original": (lambda: flip(Path("data/raw/take/take.mid")), ["data/raw/take/take.mid"]),
    "an object": (lambda: flip(stored(WEIGHTS)), ["it is data/trained/piano_roll/weights"]),
    "a lost object": (lambda: remove(stored(WEIGHTS)), ["weights): missing from DVC's cache"]),
    "a list": (lambda: flip(list_of("weights")), ["it is data/trained/piano_roll"]),
    "an original's object": (lambda: flip(stored("data/raw/take/take.mid")), ["it is data/raw/take/take.mid"]),
    "weights and their object": (lambda: both(WEIGHTS), [WEIGHTS, "it is data/trained/piano_roll/weights"]),
    "a take and its object": (lambda: both("data/extracted/a/codes"), ["data/extracted/a/codes", "/codes"]),
    "a lost take's file": (lambda: lost("data/extracted/a/codes"), ["data/extracted/a/codes", "missing from DVC's"]),
    "weights and another object": (
        lambda: [flip(stored(WEIGHTS)), flip(Path("data/trained/piano_roll/curves/loss.csv"))],
        ["loss.csv", "it is data/trained/piano_roll/weights"],
    ),
    "weights and their list": (
        lambda: [flip(list_of("weights")), flip(Path(WEIGHTS))],
        ["data/trained/piano_roll was changed", "it is data/trained/piano_roll"],
    ),
    "a former run": (
        lambda: next(Path(".dvc/cache/runs").glob("??/*/*")).write_text("cmd: x"),
        ["it belongs to another version"],
    ),
}


def follow_advice():
    """Do what is advised until nothing is wrong, and return how often that was."""
    for count in range(4):
        advice = dict.fromkeys(finding.advice for finding in examine(deep=True) if not finding.is_well)
        if not advice:
            return count
        run("bash", "-c", next(iter(advice)))
    return pytest.fail(f"still wrong: {wrong(deep=True)}")


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named_and_its_advice_leaves_what_was_made(project, damage):
    before = contents()
    harm, named = DAMAGES[damage]
    harm()
    found = [said for _, said in wrong(deep=True)]
    assert len(found) == len(named), found
    assert all(name in said for name, said in zip(named, found, strict=True)), found
    assert follow_advice() <= 2
    assert contents() == before


def test_a_take_that_was_damaged_is_made_anew_without_dvcs_cache_too(project):
    flip(Path("data/extracted/a/codes"))
    [finding] = [finding for finding in examine(deep=False) if not finding.is_well]
    run("bash", "-c", finding.advice)
    assert wrong(deep=True) == []


def test_the_remote_gives_back_what_the_cache_lost(project, tmp_path):
    run("dvc", "remote", "add", "-q", "-d", "store", str(tmp_path / "store"))
    run("dvc", "push", "-q")
    before = contents()
    for path in (WEIGHTS, "data/raw/take/take.mid"):
        both(path)
    Path("make.py").write_text("raise SystemExit('nothing is made anew')")
    assert follow_advice() <= 4
    Path("make.py").write_text(MAKE)
    assert contents() == before


def test_where_params_have_changed_nothing_is_recorded_as_made_from_them(project):
    """A commit of what lies here would call old weights those of the new parameters."""
    flip(stored(WEIGHTS))
    Path("params.yaml").write_text(PARAMS_YAML.replace("1", "2"))
    [finding] = [finding for finding in examine(deep=True) if not finding.is_well]
    assert "dvc commit" not in finding.advice
    assert finding.advice.endswith("audiate train piano_roll --force")


def test_an_original_that_is_nowhere_whole_is_asked_for_and_nothing_is_removed_that_is_whole(project):
    both("data/raw/take/take.mid")
    advice = {finding.advice for finding in examine(deep=True) if not finding.is_well}
    assert any("audiate add --replace" in line for line in advice)
    assert not any("rm -rf data/raw " in line for line in advice)


def test_a_fresh_clone_is_well_and_a_record_that_cannot_be_read_is_not(project, tmp_path, monkeypatch):
    run("git", "clone", "-q", ".", str(tmp_path / "clone"))
    shutil.copy("data/tools.json", tmp_path / "clone" / "data")
    monkeypatch.chdir(tmp_path / "clone")
    assert wrong(deep=True) == []
    Path("dvc.lock").write_text("{")
    [(subject, said)] = wrong(deep=True)
    assert subject == "dvc.lock"
    assert "cannot be listed" in said


def test_a_family_that_is_behind_its_data_is_well_and_told(shelved):
    assert not [found for found in examine(deep=False) if found.subject.startswith("data/trained")]
    take = Path("data/raw/a_new")
    take.mkdir()
    (take / "cam_x.mp4").write_text("new")
    for command in (["add", "-q", "data/raw"], ["repro", "-q", "chunk"]):
        subprocess.run([sys.executable, "-m", "dvc", *command], check=True, timeout=120)
    [told] = [found for found in examine(deep=False) if found.subject == "data/trained/net"]
    assert (told.is_well, told.advice) == (True, "audiate train net")
    assert told.found == "trained on an earlier data/chunked/scores than there is"


def test_the_health_of_the_data_is_told_and_not_judged(project):
    row = {"take": "air", "kind": "score", "piece": "air", "part": None, "digest": "0", "duration_s": 90.0, "media": []}
    folder = Path("data/ingested")
    folder.mkdir(exist_ok=True)
    (folder / "catalog.json").write_text(json.dumps([row]))
    found = {finding.subject: finding for finding in examine(deep=False)}
    minutes = found["Minutes: score"]
    assert (minutes.is_well, minutes.found) == (True, "Train 0.0, Validation 0.0, Test 0.0, In none 1.5")
    assert found["Where the notes come from: score"].found == "Notes its MIDI file, Number 1"
    (folder / "catalog.json").write_text("{")
    assert not next(finding for finding in examine(deep=False) if finding.subject == "health").is_well
