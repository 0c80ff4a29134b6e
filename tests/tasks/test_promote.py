"""Weights that serve, in a project that DVC really reproduced."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.errors import DamagedData, ParamsError, PipelineError
from tasks.promote import ABOUT, PROMOTED, check_expected, names, promote, read_promoted, serving, withdraw
from tasks.versions.history import WORKSPACE, read_version
from tasks.versions.publish import commit_version

DVC_YAML = """
stages:
  extract:
    cmd: mkdir -p data/extracted && echo one > data/extracted/one
    params: [extract]
    outs: [data/extracted]
  chunk:
    cmd: python chunk.py
    deps: [data/extracted, data/raw]
    params: [chunk, segments]
    outs: [data/chunked/scores, data/chunked/captures]
  train:
    foreach: [toy]
    do:
      cmd: python train.py
      deps: [data/chunked/scores]
      params: [train]
      outs: [data/trained/toy]
"""
CHUNK = """
import json, pathlib
takes = {path.stem: json.loads(path.read_text()) for path in pathlib.Path('data/raw').glob('*.json')}
for kind in ('scores', 'captures'):
    folder = pathlib.Path('data/chunked') / kind
    folder.mkdir(parents=True)
    (folder / 'takes.json').write_text(json.dumps(takes if kind == 'scores' else {}))
"""
TRAIN = """
import json, pathlib, yaml
folder = pathlib.Path('data/trained/toy')
(folder / 'curves').mkdir(parents=True)
(folder / 'toy.safetensors').write_text(str(yaml.safe_load(open('params.yaml'))['train']))
(folder / 'curves' / 'toy.csv').write_text('step')
(folder / 'computed_by.json').write_text(json.dumps({'networks': 'fast'}))
"""
PARAMS = "extract: {rate: 4000}\nchunk: {width: 192}\nsegments: {length_s: 1.0}\ntrain: {steps: %d}\n"
PARTS = {"a": "train", "b": "validation", "c": "test"}


def run(*command):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    names_of = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b.c", "GIT_COMMITTER_NAME": "a"}
    environment = {**os.environ, **names_of, "GIT_COMMITTER_EMAIL": "a@b.c", "PATH": path, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def commit(message):
    run("git", "add", "--all")
    run("git", "commit", "-q", "-m", message)


def add_take(name, part):
    Path(f"data/raw/{name}.json").write_text(json.dumps({"piece": f"piece_{name}", "part": part}))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make a project of two commits: the toy trained in 1 step, and in 2."""
    folder, before = tmp_path_factory.mktemp("promote"), Path.cwd()
    os.chdir(folder)
    try:
        run("git", "init", "-q")
        run("dvc", "init", "-q")
        for name, text in (("dvc.yaml", DVC_YAML), ("chunk.py", CHUNK), ("train.py", TRAIN)):
            Path(name).write_text(text)
        for folder_of in ("data/raw", "data/promoted", "data/metrics"):
            Path(folder_of).mkdir(parents=True)
        Path("data/promoted/.gitkeep").touch()
        Path("data/metrics/data.json").write_text('{"data_version": "0123456789abcdef"}')
        for name, part in PARTS.items():
            add_take(name, part)
        for steps in (1, 2):
            Path("params.yaml").write_text(PARAMS % steps)
            run("dvc", "repro", "-q")
            commit(f"{steps} steps")
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def project(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    for key, value in (("NAME", "a"), ("EMAIL", "a@b.c")):
        monkeypatch.setenv(f"GIT_AUTHOR_{key}", value)
        monkeypatch.setenv(f"GIT_COMMITTER_{key}", value)
    return tmp_path / "project"


def promoted(revision=WORKSPACE, **options):
    return promote("toy", read_version(revision), tell=print, **options)


@pytest.mark.usefixtures("project")
def test_a_version_is_promoted_and_another_takes_its_place():
    assert (names(), serving("toy")) == ([], Path("data/trained/toy"))
    done = promoted("HEAD~1")
    weights = PROMOTED / "toy" / "toy.safetensors"
    assert weights.read_text() == "{'steps': 1}"
    assert done == read_promoted("toy")
    assert done.commit == run("git", "rev-parse", "HEAD~1").strip()
    assert (done.kind, done.data_version) == ("scores", "0123456789abcdef")
    assert done.learned == {"a": "piece_a", "b": "piece_b"}  # c is for testing
    assert done.params == {"extract": {"rate": 4000}, "chunk": {"width": 192}, "segments": {"length_s": 1.0}}
    assert (names(), serving("toy")) == (["toy"], PROMOTED / "toy")
    promoted()
    assert weights.read_text() == "{'steps': 2}"
    assert run("git", "status", "--porcelain", "data/promoted").split() == [
        "??",
        "data/promoted/.gitignore",
        "??",
        "data/promoted/toy.dvc",
    ]


@pytest.mark.usefixtures("project")
def test_a_night_commits_which_weights_are_promoted():
    promoted()
    assert commit_version("a night", version=read_version(WORKSPACE)) is not None
    listed = run("git", "ls-files", "data/promoted").split()
    assert listed == ["data/promoted/.gitignore", "data/promoted/.gitkeep", "data/promoted/toy.dvc"]
    shutil.rmtree(PROMOTED / "toy")
    with pytest.raises(DamagedData, match=r"data/promoted/toy is missing, but .*toy\.dvc names it: run dvc pull"):
        names()
    run("dvc", "checkout", "-q")
    assert read_promoted("toy").files.keys() == {"toy.safetensors", "computed_by.json", "curves/toy.csv"}


@pytest.mark.usefixtures("project")
def test_what_was_trained_counts_and_not_what_the_folder_holds_now():
    weights = Path("data/trained/toy/toy.safetensors")
    weights.unlink()  # it may be a link into the cache
    weights.write_text("edited")
    promoted()
    assert (PROMOTED / "toy" / "toy.safetensors").read_text() == "{'steps': 2}"


@pytest.mark.usefixtures("project")
def test_a_dry_run_changes_nothing():
    assert promoted(dry_run=True).learned == {"a": "piece_a", "b": "piece_b"}
    assert [path.name for path in PROMOTED.iterdir()] == [".gitkeep"]


@pytest.mark.usefixtures("project")
def test_a_family_that_is_behind_its_data_is_promoted_from_the_revision_that_trained_it():
    add_take("d", "train")
    run("dvc", "repro", "-q", "chunk")
    with pytest.raises(PipelineError, match=r"toy of WORKSPACE was trained on an earlier data/chunked/scores"):
        promoted()
    assert "d" not in promoted("HEAD").learned
    assert read_version(WORKSPACE).behind() == {"toy": "data/chunked/scores"}
    assert read_version("HEAD").behind() == {}
    Path("params.yaml").write_text(PARAMS % 2 + "families: {tuba: scores}\n")
    assert read_version(WORKSPACE).behind() == {}  # params.yaml no longer names it


@pytest.mark.usefixtures("project")
def test_weights_that_were_changed_are_refused():
    promoted()
    folder = PROMOTED / "toy"
    (folder / "more").touch()
    with pytest.raises(DamagedData, match=r"toy/more is not of what was promoted"):
        serving("toy")
    (folder / "more").unlink()
    weights = folder / "toy.safetensors"
    weights.unlink()
    weights.write_text("{'steps': 3}")
    with pytest.raises(DamagedData, match=r"toy\.safetensors was changed after it was promoted: run dvc checkout"):
        read_promoted("toy")
    (folder / ABOUT).unlink()
    (folder / ABOUT).write_text("{}")
    with pytest.raises(DamagedData, match=r"promoted\.json cannot be read"):
        read_promoted("toy")


@pytest.mark.usefixtures("project")
def test_arrays_of_other_parameters_are_refused():
    done = promoted()
    check_expected(done, {"extract": {"rate": 4000}, "chunk": {"width": 192}, "segments": {"length_s": 1.0}})
    with pytest.raises(ParamsError, match=r"chunk\.width is 256, but the promoted toy expects 192: set it back"):
        check_expected(done, {"extract": {"rate": 4000}, "chunk": {"width": 256}, "segments": {"length_s": 1.0}})


@pytest.mark.usefixtures("project")
def test_a_promotion_is_taken_back():
    promoted()
    withdraw("toy")
    assert (names(), serving("toy")) == ([], Path("data/trained/toy"))
    with pytest.raises(PipelineError, match="toy is not promoted, expected one of none: there is none"):
        withdraw("toy")


@pytest.mark.usefixtures("project")
def test_a_family_that_was_never_trained_is_named_beside_those_that_were():
    with pytest.raises(ParamsError, match="HEAD has not trained 'tuba', expected one of toy"):
        promote("tuba", read_version("HEAD"), tell=print)


@pytest.mark.usefixtures("project")
def test_a_list_that_names_a_file_outside_its_folder_is_refused():
    """A remote's word: what is copied from it goes where the name says."""
    lock = Path("dvc.lock").read_text()
    content = json.dumps([{"relpath": "../../../out", "md5": "0" * 32}])
    md5 = hashlib.md5(content.encode()).hexdigest()  # noqa: S324 - DVC's name for it
    path = Path(".dvc/cache/files/md5") / md5[:2] / f"{md5[2:]}.dir"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    made = read_version(WORKSPACE).hashes("outs")["data/trained/toy"]
    Path("dvc.lock").write_text(lock.replace(made, f"{md5}.dir"))
    with pytest.raises(DamagedData, match=r"the list of data/trained/toy of WORKSPACE names '\.\./\.\./\.\./out'"):
        promoted()
    assert not (PROMOTED / "toy").exists()
