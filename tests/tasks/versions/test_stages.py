"""Stages by dvc.lock: who feeds whom, whatever the order of the file."""

import pytest
import yaml

from tasks.errors import DamagedData
from tasks.versions.stages import after, before, maker_of, read_stages

ROWS = {
    "report": (["data/trained"], ["data/report"]),
    "train@b": (["data/chunked/x"], ["data/trained/b"]),
    "train@a": (["data/chunked/x"], ["data/trained/a"]),
    "chunk": (["data/raw", "data/code.json"], ["data/chunked/x", "data/chunked/y"]),
    "other": (["data/chunked/y/part"], ["data/other"]),
}


def lock(rows):
    stages = {
        name: {
            "cmd": name,
            "deps": [{"path": path, "md5": f"of {path}"} for path in deps],
            "outs": [{"path": path, "md5": f"of {path}"} for path in outs],
            "params": {"params.yaml": {name: 1}},
        }
        for name, (deps, outs) in rows.items()
    }
    return yaml.safe_dump({"schema": "2.0", "stages": stages}, sort_keys=False)


@pytest.fixture
def stages():
    return read_stages(lock(ROWS), where="dvc.lock")


def test_stages_come_in_the_order_in_which_they_run(stages):
    assert list(stages) == ["chunk", "train@b", "train@a", "other", "report"]
    assert stages["chunk"].outs["data/chunked/y"] == "of data/chunked/y"
    assert stages["train@a"].params == {"params.yaml": {"train@a": 1}}


def test_a_folder_that_holds_outputs_and_a_part_of_one_are_both_fed_by_them(stages):
    assert before("report", stages) == ["chunk", "train@b", "train@a", "report"]
    assert before("other", stages) == ["chunk", "other"]
    assert after("chunk", stages) == ["train@b", "train@a", "other", "report"]
    assert after("report", stages) == []


def test_a_file_is_made_by_the_stage_whose_output_holds_it_and_not_by_one_of_a_longer_name(stages):
    assert maker_of("data/chunked/x/take/arrays", stages).name == "chunk"
    assert maker_of("data/chunked/xy", stages) is None
    assert maker_of("data/raw/take", stages) is None


@pytest.mark.parametrize("text", ["", "{", "stages: 3", "stages: {a: {outs: [{md5: x}]}}", "<<<<<<< HEAD"])
def test_a_lock_that_is_none_is_named(text):
    with pytest.raises(DamagedData, match=r"dvc\.lock of abc cannot be read"):
        read_stages(text, where="dvc.lock of abc")


def test_stages_that_rest_on_each_other_are_named():
    with pytest.raises(DamagedData, match="stages a, b rest on each other"):
        read_stages(lock({"a": (["y"], ["x"]), "b": (["x"], ["y"])}), where="dvc.lock")
