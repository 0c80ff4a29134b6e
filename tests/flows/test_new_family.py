"""What ``audiate new-family`` writes is a family that runs, beside which no other one becomes stale."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flows.new_family import KIND, SECTIONS, TABLE, class_name, plan_family, write_family
from flows.presets import preset_text
from tasks.errors import PipelineError

PROJECT = Path(__file__).resolve().parents[2]
NEW = [f"{folder}tiny_squares.py" for folder in ("models/", "tasks/families/", "tests/tasks/families/test_")]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder with what new-family reads and edits, which the test stands in."""
    for path in (TABLE, *SECTIONS):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / path, tmp_path / path)
    shutil.copy(PROJECT / "tasks/families/capture_baselines.py", tmp_path / "tasks/families")
    (tmp_path / "models").mkdir()
    shutil.copy(PROJECT / "models/wave_unet.py", tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_three_files_are_new_and_three_name_the_family(checkout):
    before = contents(checkout)
    write_family(plan_family("tiny_squares"))
    after = contents(checkout)
    assert sorted(after.keys() - before.keys()) == NEW
    assert sorted(name for name in before if before[name] != after[name]) == sorted(map(str, (TABLE, *SECTIONS)))
    for name, text in before.items():  # lines are added, none is changed
        lines = iter(after[name].splitlines())
        assert all(line in lines for line in text.splitlines()), name
    old, new = (yaml.safe_load(text["params.yaml"]) for text in (before, after))
    assert new["families"] == old["families"] | {"tiny_squares": KIND}
    assert {**new["train"], "tiny_squares": None} == {**old["train"], "tiny_squares": None}
    assert {name: old[name] for name in old if name not in ("families", "train")} == {
        name: new[name] for name in new if name not in ("families", "train")
    }
    assert '"tiny_squares": "tasks.families.tiny_squares:TinySquaresFamily",' in after[str(TABLE)]


def test_params_yaml_stays_what_the_preset_is(checkout, monkeypatch):
    write_family(plan_family("tiny_squares"))
    monkeypatch.setattr("flows.presets.FOLDER", checkout / "flows/presets")
    assert Path("params.yaml").read_text() == preset_text("demo")


@pytest.mark.parametrize("name", ["aa", "zz"])
def test_rows_of_the_table_stay_in_order(checkout, name):
    write_family(plan_family(name))
    rows = [line.split('"')[1] for line in TABLE.read_text().splitlines() if line.startswith('        "')]
    assert rows == sorted(rows)
    assert name in rows


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Big", "cannot be a family's name"),
        ("a-b", "cannot be a family's name"),
        ("1st", "cannot be a family's name"),
        ("a__b", "cannot be a family's name"),
        ("../x", "cannot be a family's name"),
        ("lambda", "no word of Python"),
        ("x" * 41, "40 at most"),
        ("capture_baselines", "capture_baselines.py is there already"),
        ("wave_unet", "wave_unet.py is there already"),
        ("mean_features", "capture_baselines.py names 'mean_features' already"),
    ],
)
def test_a_name_that_cannot_be_or_is_taken_is_refused_and_nothing_is_written(checkout, name, words):
    before = contents(checkout)
    with pytest.raises(PipelineError, match=words):
        plan_family(name)
    assert contents(checkout) == before


def test_a_test_of_that_name_is_never_written_over(checkout):
    path = Path("tests/tasks/families/test_tiny_squares.py")
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(PipelineError, match="is there already"):
        plan_family("tiny_squares")
    assert path.read_text() == "mine"


def test_outside_a_checkout_that_is_said(tmp_path):
    with pytest.raises(PipelineError, match="run new-family in a checkout of audiate's code"):
        plan_family("tiny_squares", root=tmp_path)


def test_what_cannot_be_written_whole_is_not_written_at_all(checkout, monkeypatch):
    before = contents(checkout)
    planned = plan_family("tiny_squares")
    monkeypatch.setattr("flows.new_family.write_whole", fails_at(Path("params.yaml")))
    with pytest.raises(PipelineError, match="nothing was changed"):
        write_family(planned)
    assert contents(checkout) == before


def fails_at(name):
    def write(path, text):
        if path == name and "tiny_squares" in text:
            raise PermissionError(13, "Permission denied", str(path))
        path.write_text(text)

    return write


def test_a_class_is_named_as_python_names_classes():
    assert [class_name(name) for name in ("a", "tiny_squares", "net2_b")] == ["A", "TinySquares", "Net2B"]


@pytest.mark.slow
def test_its_test_passes_its_text_is_clean_and_no_other_family_is_stale(tmp_path):
    for name in ("flows", "tasks", "models", "tests/tasks/families"):
        shutil.copytree(PROJECT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("constraints.txt", "params.yaml", "pyproject.toml"):
        shutil.copy(PROJECT / name, tmp_path / name)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}

    def run(*arguments):
        command = [sys.executable, *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def keys():
        run("-m", "flows.code")
        return {
            name: key for name, key in json.loads((tmp_path / "data/code.json").read_text()).items() if name != "files"
        }

    before = keys()
    run("-c", "from flows.cli import main; main()", "new-family", "tiny_squares")
    after = keys()
    for stage, key in before.items():
        found = after[stage]
        if isinstance(key, dict):
            assert found.pop("tiny_squares")
        assert found == key, stage
    run("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/tasks/families/test_tiny_squares.py")
    if ruff := shutil.which("ruff", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"):
        new = [str(tmp_path / name) for name in NEW]
        for arguments in (["check"], ["format", "--check"]):
            checked = subprocess.run(
                [ruff, *arguments, *new], cwd=tmp_path, capture_output=True, text=True, check=False
            )
            assert checked.returncode == 0, checked.stdout
