"""What a take's receipt follows from: the code of its own kind alone."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tasks.modules import PROJECT
from tasks.registry import KINDS, kind_module, kind_module_name, kinds_of

VERBS = ("film", "ingest", "render", "synchronize", "extract", "chunk")
PRINT_KEYS = """
import json, sys
from pathlib import Path
from tasks.params import Section
from tasks.step import Job, Verified, job_key
from tasks.takes import Take

def key(module):
    def work(take, out, params): ...
    work.__module__ = module
    take = Take(name="a", kind="score", piece="a", part=None, digest="d", duration_s=1.0)
    job = Job(stage="s", item=take, work=work, params=Section(), inputs=(), out_dir=Path("out"))
    return job_key(job, Verified(Path("verified.json")))

print(json.dumps({module: key(module) for module in sys.argv[1:]}))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Copy the project's code."""
    folder = tmp_path_factory.mktemp("project")
    for package in ("flows", "tasks", "models"):
        shutil.copytree(PROJECT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "constraints.txt", folder)
    return folder


@pytest.fixture(scope="module")
def keys(project):
    """Return a function that computes a receipt's key for each kind and verb, from the copy's code as it is."""

    def run():
        modules = [f"tasks.kinds.{kind}.{verb}" for verb in VERBS for kind in kinds_of(verb)]
        environment = os.environ | {"PYTHONPATH": str(project)}
        command = [sys.executable, "-c", PRINT_KEYS, *modules]
        printed = subprocess.run(command, cwd=project, env=environment, check=True, capture_output=True, timeout=120)
        return json.loads(printed.stdout)

    return run


@pytest.fixture(scope="module")
def unedited(keys):
    return keys()


@pytest.mark.parametrize("kind", KINDS)
def test_an_edit_of_one_kinds_code_leaves_the_takes_of_all_others_as_they_were(project, keys, unedited, kind):
    before = {path: path.read_text() for path in (project / "tasks" / "kinds" / kind).glob("[a-z]*.py")}
    for path, text in before.items():
        path.write_text(text + "\nEDITED = True\n")
    changed = {module for module, key in keys().items() if key != unedited[module]}
    for path, text in before.items():
        path.write_text(text)
    assert changed == {module for module in unedited if module.startswith(f"tasks.kinds.{kind}.")}
    assert changed


@pytest.mark.parametrize("verb", VERBS)
def test_the_work_on_a_take_stands_in_the_module_of_its_kind(verb):
    # A key holds the digest of the module that the function stands in.
    for kind in kinds_of(verb):
        assert getattr(kind_module(kind, verb), f"{verb}_take").__module__ == kind_module_name(kind, verb)


def test_an_edit_of_what_all_kinds_share_makes_all_of_them_stale(project, keys, unedited):
    path = project / "tasks" / "chunk.py"
    text = path.read_text()
    path.write_text(text + "\nEDITED = True\n")
    changed = {module for module, key in keys().items() if key != unedited[module]}
    path.write_text(text)
    assert {module for module in unedited if module.endswith(".chunk")} <= changed
