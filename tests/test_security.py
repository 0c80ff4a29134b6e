"""Data that somebody else made is data: nothing in it is run, and no name in it leads out of its folder."""

import ast
import json
import pickle
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.errors import DamagedData, ParamsError
from tasks.families.trained import load_trained, save_trained
from tasks.families.training import fit_network
from tasks.features.decision_trees import DecisionTrees
from tasks.params import read_params
from tasks.store.arrays import open_arrays, write_arrays
from tasks.store.segments import ScoreSet
from tasks.takes import read_catalog

PROJECT = Path(__file__).resolve().parents[1]
SOURCES = sorted(
    path
    for folder in ("flows", "tasks", "models", "benchmarks", "data/sample")
    for path in (PROJECT / folder).rglob("*.py")
)

# Modules whose readers make any object that their input asks for.
FORBIDDEN_MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "subprocess.getoutput"}
FORBIDDEN_METHODS = {
    "load_from_checkpoint",
    "read_pickle",
    "to_pickle",
    "unsafe_load",
    "full_load",
    "create_subprocess_shell",
}
FORBIDDEN_ARGUMENTS = {("shell", True), ("allow_pickle", True), ("weights_only", False), ("typ", "unsafe")}


def dangers(source):
    """List what in a Python text could run what its data says."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            found += [name for name in names if name.split(".")[0] in FORBIDDEN_MODULES]
            if isinstance(node, ast.ImportFrom) and node.module == "yaml":
                found += [f"yaml.{alias.name}" for alias in node.names if "safe" not in alias.name.lower()]
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        given = {word.arg: word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)}
        found += [called] * (called in FORBIDDEN_CALLS or called.rpartition(".")[2] in FORBIDDEN_METHODS)
        found += [f"{called}({name}={value})" for name, value in given.items() if (name, value) in FORBIDDEN_ARGUMENTS]
        found += [called] * (called in ("torch.load", "trainer.fit") and given.get("weights_only") is not True)
        found += [called] * (called in ("yaml.load", "yaml.load_all") and "from ruamel.yaml import YAML" not in source)
        found += [called] * (called in ("np.load", "numpy.load") and given.get("allow_pickle") is not False)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_no_source_runs_what_its_data_says(path):
    assert dangers(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib",
        "import torch\ntorch.load(path)",
        "torch.load(path, weights_only=False)",
        "trainer.fit(module, ckpt_path=path)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "import yaml\nyaml.load(text, Loader=yaml.Loader)",
        "yaml.unsafe_load(text)",
        "from yaml import load",
        "YAML(typ='unsafe')",
        "eval(text)",
        "exec(text)",
        "os.system(text)",
        "subprocess.run(text, shell=True)",
        "Model.load_from_checkpoint(path)",
    ],
)
def test_the_search_finds_each_of_these(source):
    assert dangers(source)


class Canary:
    """Once unpickled, leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def hostile_files(canary):
    """Yield the bytes of files that run something when they are unpickled."""
    yield pickle.dumps(Canary(canary))
    path = canary.with_name("hostile")
    torch.save({"state_dict": Canary(canary)}, path)
    yield path.read_bytes()
    torch.save(Canary(canary), path, _use_new_zipfile_serialization=False)
    yield path.read_bytes()
    with path.open("wb") as file:
        np.savez(file, names=np.array([Canary(canary)], dtype=object))
    yield path.read_bytes()


def test_the_hostile_files_are_hostile(tmp_path):
    for content in hostile_files(tmp_path / "canary"):
        assert not (tmp_path / "canary").exists()
        (tmp_path / "file").write_bytes(content)
        with suppress(Exception):
            torch.load(tmp_path / "file", weights_only=False)
        with suppress(Exception):
            np.load(tmp_path / "file", allow_pickle=True)["names"]
        assert (tmp_path / "canary").exists()
        (tmp_path / "canary").unlink()


def test_a_trained_model_is_never_unpickled(tmp_path):
    for content in hostile_files(tmp_path / "canary"):
        save_trained(tmp_path / "model", {"w": np.zeros(3)}, {})
        (tmp_path / "model.safetensors").write_bytes(content)
        with pytest.raises(DamagedData, match=r"model\.safetensors is not a whole safetensors file: ") as caught:
            load_trained(tmp_path / "model", {})
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "canary").exists()


def test_the_checkpoint_of_an_interrupted_training_is_never_unpickled(tmp_path):
    checkpoint = tmp_path / "resume" / "line" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    for number, content in enumerate(hostile_files(tmp_path / "canary")):
        checkpoint.write_bytes(content)
        state = fit_network(
            torch.nn.Linear(1, 1),
            lambda line, batch: line(batch).square().mean(),
            lambda parameters: torch.optim.SGD(parameters, lr=0.1),
            lambda epoch, step: torch.ones(2, 1),
            [torch.ones(2, 1)],
            system="line",
            n_epochs=1,
            n_steps_per_epoch=1,
            out=tmp_path / str(number),
            resume=tmp_path / "resume",
            accelerator="cpu",
        )
        assert set(state) == {"weight", "bias"}
    assert not (tmp_path / "canary").exists()


def test_trees_with_objects_in_them_are_refused(tmp_path):
    *_, content = hostile_files(tmp_path / "canary")
    (tmp_path / "trees.npz").write_bytes(content)
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        DecisionTrees.load(tmp_path / "trees.npz")
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['touch canary']",
        "!!python/object/new:os.system ['touch canary']",
        "!!python/name:os.system",
        "!!python/module:os",
        "!unknown {a: 1}",
    ],
)
def test_a_tag_in_the_parameters_makes_no_object(tmp_path, monkeypatch, tag):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(f"ingest: {tag}\n")
    with pytest.raises(ParamsError, match=r"^params.yaml cannot be read: could not determine a constructor") as caught:
        read_params()
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


LEADS_OUTSIDE = ["../../x", "..", ".", "", "/etc", "a/b", "a\\b", "a\nb", "-rf", "a" * 101, None, 3.5, ["a"]]


@pytest.mark.parametrize("name", LEADS_OUTSIDE, ids=repr)
def test_a_take_of_the_catalog_is_the_name_of_a_folder_in_it(tmp_path, name):
    row = {"take": "a", "kind": "score", "piece": "a", "part": None, "digest": "0", "duration_s": 1.0}
    path = tmp_path / "catalog.json"
    path.write_text(json.dumps([row]))
    assert [take.name for take in read_catalog(tmp_path)] == ["a"]
    path.write_text(json.dumps([row, row | {"take": name}]))
    with pytest.raises(DamagedData, match=r"catalog\.json ") as caught:
        read_catalog(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../../x", "..", ".", "", "/etc", "a/b"])
def test_a_take_of_the_index_is_the_name_of_a_folder_in_it(tmp_path, name):
    about = {"piece": "a", "part": "train", "digest": "0", "duration_s": 1.0}
    (tmp_path / "takes.json").write_text(json.dumps({name: about}))
    with pytest.raises(DamagedData, match=r"takes\.json names take .*, expected the name of a folder in it"):
        ScoreSet(tmp_path)


@pytest.mark.parametrize("name", ["../secret.zarr/x", "../../etc", "/etc"])
def test_an_array_lies_in_its_own_folder(tmp_path, name):
    for folder in ("secret", "own"):
        write_arrays(tmp_path / f"{folder}.zarr", {"x": np.arange(4)}, chunk_lengths={"x": 4}, attributes={})
    path = tmp_path / "own.zarr" / "zarr.json"
    path.write_text(path.read_text().replace('"x"', json.dumps(name)))
    with pytest.raises(DamagedData, match=r"own\.zarr"):
        open_arrays(tmp_path / "own.zarr")


def test_a_media_path_of_a_take_is_read_in_one_place_that_refuses_what_leads_outside():
    # tests/tasks/intake/test_record.py has the paths.
    readers = [path for path in SOURCES if '["media"]' in path.read_text() or '.get("media"' in path.read_text()]
    intake = PROJECT / "tasks" / "intake"
    assert readers == [intake / "listed.py", intake / "record.py"]  # the first only tells what a catalog says
