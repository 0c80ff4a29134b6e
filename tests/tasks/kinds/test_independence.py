"""A kind's code is its own: editing it changes no receipt of another kind."""

import shutil
from pathlib import Path

import pytest

from tasks import modules
from tasks.registry import KINDS, kind_module, kind_module_name, kinds_of

PROJECT = Path(__file__).resolve().parents[3]
ROOMS = Path("tasks/kinds")
MODULES = sorted((path.parent.name, path.stem) for path in (PROJECT / ROOMS).glob("*/*.py") if path.stem != "__init__")
PER_TAKE = ("film", "ingest")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Copy the project's code, and have digests taken of the copy."""
    for package in modules.PACKAGES:
        shutil.copytree(PROJECT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(modules, "PROJECT", tmp_path)
    return tmp_path


def digests():
    """Return the digest of each module of the kinds, as receipts have it."""
    project = modules.Project()
    names = [(module, kind_module_name(*module)) for module in MODULES]
    return {module: project.digest(name, scope=project.scope_of(name)) for module, name in names}


def test_an_edit_of_a_kinds_modules_changes_the_digests_of_that_kind_alone(project):
    before = digests()
    for kind in KINDS:
        for path in (project / ROOMS / kind).glob("*.py"):
            path.write_text(path.read_text() + "\nEDITED = True\n")
        after = digests()
        assert {module for module in MODULES if after[module] != before[module]} == {
            module for module in MODULES if module[0] == kind
        }
        before = after


@pytest.mark.parametrize("verb", PER_TAKE)
def test_the_work_on_a_take_stands_in_its_kinds_own_module(verb):
    # A receipt's key has the digest of the module that the function stands in.
    for kind in kinds_of(verb):
        assert getattr(kind_module(kind, verb), f"{verb}_take").__module__ == kind_module_name(kind, verb)
