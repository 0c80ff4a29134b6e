"""What a module rests on, in a project of a few files whose answer is known, and in this one by another way."""

import ast
import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from tasks import modules
from tasks.errors import PipelineError
from tasks.modules import Project, Scope

PROJECT = Path(__file__).resolve().parents[2]
FILES = {
    "constraints.txt": "a==1\n",
    "flows/__init__.py": "",
    "flows/sing.py": 'from tasks.sing import sing\n\ndef main():\n    return run_stage(sing, kind_work("sing"))\n',
    "flows/fit.py": "from tasks.fit import fit\n\ndef main(family):\n    return run_stage(fit, family)\n",
    "flows/tool.py": "def main():\n    return 0\n",
    "tasks/__init__.py": '"""Work."""\n',
    "tasks/registry.py": 'KINDS: tuple[str, ...] = (\n    "scores",\n    "captures",\n)\n\ndef kind_module(): ...\n',
    "tasks/families/__init__.py": (
        "FAMILIES: Mapping[str, str] = MappingProxyType(\n"
        '    {\n        "roll": "tasks.families.roll:Roll",\n        "wave": "tasks.families.wave:Wave",\n    }\n)\n\n'
        "def load_family(name): ...\n"
    ),
    "tasks/families/roll.py": "from models.roll import Net\n",
    "tasks/families/wave.py": "from models import wave\n",
    "tasks/sing.py": (
        "from tasks.registry import kind_module\n\n"
        "def sing(take):\n"
        "    from tasks.voice import (  # (why not)\n        pitch,  # of it\n        range_of as span,\n    )\n"
        '    return kind_module(take.kind(), "sing").sing_take(take)\n'
    ),
    "tasks/fit.py": (
        "from tasks.families import load_family\n\n"
        'def fit(family):\n    return kind_module(family.data, "fit").open_data(family)\n'
    ),
    "tasks/kinds/__init__.py": "",
    "tasks/kinds/scores/__init__.py": "",
    "tasks/kinds/scores/sing.py": "import tasks.sing, tasks.noun.paper as paper\n",
    "tasks/kinds/scores/fit.py": "",
    "tasks/kinds/captures/__init__.py": "",
    "tasks/kinds/captures/sing.py": "if True: from tasks.noun import camera\n",
    "tasks/kinds/captures/fit.py": "",
    "tasks/noun/__init__.py": "",
    "tasks/noun/camera.py": "from tasks.noun.lens \\\n    import focus\n",
    "tasks/noun/lens.py": 'HERE = Path(__file__).with_name(f"lens_{kind}.npz")\n',
    "tasks/noun/lens_wide.npz": "1",
    "tasks/noun/paper.py": 'SHEETS = Path(__file__).parent / "sheets"\nOTHER = "lens_wide.npz"[1:]\n',
    "tasks/noun/sheets/a4.html": "<p>",
    "tasks/noun/unread.npz": "1",
    "tasks/voice.py": "",
    "models/__init__.py": "",
    "models/roll.py": "",
    "models/wave.py": "",
}
SING = {"flows", "flows.sing", "tasks", "tasks.sing", "tasks.voice", "tasks.registry", "tasks.kinds", "tasks.noun"}
ALL = Scope(kinds=("scores", "captures"))


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Write the small project, and make it the one that is looked at."""
    monkeypatch.setattr(modules, "PROJECT", tmp_path)
    monkeypatch.setattr(modules, "_FIRST", {})
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def digests():
    """Return a digest a stage, family and room of the small project."""
    project = Project()
    found = {"sing": project.digest("flows.sing", scope=ALL)}
    for family, kind in (("roll", "scores"), ("wave", "captures")):
        scope = Scope(kinds=(kind,), family=family)
        found[f"fit@{family}"] = project.digest("flows.fit", f"tasks.families.{family}", scope=scope)
    for kind in ALL.kinds:
        room = f"tasks.kinds.{kind}.sing"
        found[kind] = project.digest(room, scope=project.scope_of(room))
    return found


def changed(before):
    return {name for name, digest in digests().items() if digest != before[name]}


def test_imports_are_followed_into_functions_rooms_and_packages_however_they_are_written(root):
    found = Project().imports("flows.sing", scope=ALL)
    rooms = {f"tasks.kinds.{kind}{name}" for kind in ALL.kinds for name in ("", ".sing")}
    assert set(found) == SING | rooms | {"tasks.noun.paper", "tasks.noun.camera", "tasks.noun.lens"}
    assert found == sorted(found)


def test_a_room_rests_on_its_own_kind_and_a_family_on_its_own_adapter(root):
    project = Project()
    room = set(project.imports("tasks.kinds.scores.sing", scope=project.scope_of("tasks.kinds.scores.sing")))
    assert not {name for name in room if name.startswith("tasks.kinds.captures")}
    assert not {"tasks.noun.camera", "tasks.noun.lens"} & room
    family = set(project.imports("flows.fit", "tasks.families.roll", scope=Scope(kinds=("scores",), family="roll")))
    assert "models.roll" in family
    assert "tasks.kinds.scores.fit" in family
    assert not {"models.wave", "tasks.families.wave", "tasks.kinds.captures.fit"} & family


def test_data_files_are_those_that_a_module_names_beside_itself(root):
    project = Project()
    assert project.data_files("tasks.noun.lens") == ["tasks/noun/lens_wide.npz"]
    assert project.data_files("tasks.noun.paper") == ["tasks/noun/lens_wide.npz", "tasks/noun/sheets/a4.html"]
    assert project.data_files("tasks.noun.camera") == []  # it does not know where it stands


@pytest.mark.parametrize(
    ("path", "stale"),
    [
        ("tasks/voice.py", {"sing", "scores"}),
        ("tasks/kinds/captures/sing.py", {"sing", "captures"}),
        ("tasks/noun/paper.py", {"sing", "scores"}),
        ("tasks/noun/sheets/a4.html", {"sing", "scores"}),
        ("tasks/noun/lens.py", {"sing", "captures"}),
        ("tasks/noun/unread.npz", set()),
        ("tasks/kinds/scores/fit.py", {"fit@roll"}),
        ("models/wave.py", {"fit@wave"}),
        ("models/__init__.py", {"fit@roll", "fit@wave"}),
        ("flows/tool.py", set()),
        ("constraints.txt", set()),  # a key of its own
    ],
)
def test_an_edit_changes_the_digests_of_those_that_rest_on_the_file(root, path, stale):
    before = digests()
    (root / path).write_text((root / path).read_text() + "# edited\n")
    assert changed(before) == stale
    (root / path).write_text(FILES[path])
    assert changed(before) == set()


def edit(root, path, old, new):
    text = (root / path).read_text()
    assert old in text
    (root / path).write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("path", "old", "new", "stale"),
    [
        ("tasks/registry.py", '"captures",\n', '"captures",\n    "keyboards",\n', set()),
        ("tasks/families/__init__.py", "    {\n", '    {\n        "toy": "tasks.families.toy:Toy",\n', set()),
        ("tasks/families/__init__.py", "roll:Roll", "roll:Better", {"fit@roll"}),
        ("tasks/families/__init__.py", "def load_family(name)", "def load_family(its)", {"fit@roll", "fit@wave"}),
        ("tasks/registry.py", "def kind_module()", "def kind_module(x)", {"sing", "scores"}),
    ],
)
def test_a_row_of_a_table_concerns_those_that_it_names(root, path, old, new, stale):
    before = digests()
    edit(root, path, old, new)
    assert changed(before) == stale


def test_a_new_kind_with_a_room_concerns_the_stage_and_no_other_kind(root):
    before = digests()
    edit(root, "tasks/registry.py", '"captures",\n', '"captures",\n    "keyboards",\n')
    (root / "tasks/kinds/keyboards").mkdir()
    (root / "tasks/kinds/keyboards/sing.py").write_text("")
    project = Project()
    assert project.digest("flows.sing", scope=Scope(kinds=tuple(project.rows("tasks.registry")))) != before["sing"]
    assert changed(before) == set()


def test_what_is_no_module_of_the_project_is_refused():
    with pytest.raises(ValueError, match=r"numpy is not a module of flows, tasks, models"):
        modules.code_digest("numpy")


def test_code_that_changed_under_a_running_stage_is_noticed_and_named(root):
    room = "tasks.kinds.scores.sing"
    first = modules.code_digest(room)
    modules.check_unchanged(room)
    (root / "tasks/noun/paper.py").touch()  # the same bytes
    modules.check_unchanged(room)
    (root / "tasks/noun/paper.py").write_text("EDITED = 1\n")
    with pytest.raises(PipelineError, match=r"^tasks/noun/paper\.py changed while the stage ran: run it again$"):
        modules.check_unchanged(room)
    assert modules.code_digest(room) == first  # what the process was started with
    (root / "tasks/kinds/scores/sing.py").unlink()
    with pytest.raises(PipelineError, match="changed while the stage ran"):
        modules.check_unchanged(room)


def parsed(name, path):
    """Return what a module imports and the verbs that it looks up, by Python's own parser."""
    names, verbs = set(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in ("kind_module", "kind_module_name", "kind_work", "kinds_of"):
                last = node.args[-1]
                is_registry = name == "tasks.registry" or (name, node.func.id) == ("flows.run", "kind_module")
                assert isinstance(last, ast.Constant) != is_registry, f"{path}:{node.lineno}: a computed verb"
                verbs |= {last.value} if isinstance(last, ast.Constant) else set()
        elif isinstance(node, ast.Attribute) and node.attr == "import_module":
            assert name in modules.TABLES, f"{path}:{node.lineno}: a module loaded by name"
    return names, verbs


def test_what_the_quick_scan_finds_in_this_project_is_what_the_parser_finds():
    project = Project()
    assert len(project.modules) > 150
    for name, path in project.modules.items():
        names, verbs = parsed(name, PROJECT / path)
        source = project._source(name)
        # Its own name may stand in a text that looks like an import.
        assert set(source.imports) & project.modules.keys() - {name} == names & project.modules.keys() - {name}, path
        assert set(source.verbs) == verbs, path


def test_every_data_file_of_the_packages_is_read_by_a_module_that_is_found():
    project = Project()
    read = {path for name in project.modules for path in project.data_files(name)}
    # No stage reads the weights that come with the program: tests/tasks/test_pretrained.py holds them to their list.
    files = {path for path in project.files if not path.endswith(".py") and not path.startswith("models/pretrained/")}
    assert read == files


IMPORT_ALL = """
import importlib, json, os, sys
import prefect, numpy  # once, for all children
for names in json.loads(sys.argv[1]):
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0, names
        continue
    for name in names:
        importlib.import_module(name)
    print(json.dumps([name for name in sys.modules if name.split(".")[0] in ("flows", "tasks", "models")]), flush=True)
    os._exit(0)
"""


@pytest.mark.slow
def test_what_python_imports_for_a_stage_is_among_what_it_rests_on():
    """With the rooms and the adapter that it looks up; what is imported inside a function, Python does not show."""
    project, scope = Project(), Scope(kinds=tuple(Project().rows("tasks.registry")))
    families = [entry.partition(":")[0] for entry in project.rows("tasks.families").values()]
    by_hand = ("flows.cli", "flows.commands")
    roots = [[name] for name in project.modules if name.startswith("flows.") and not name.startswith(by_hand)]
    roots += [[name] for name in project.modules if name.startswith("tasks.kinds.") and name.count(".") == 3]
    roots += [["flows.evaluate", family] for family in families]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, json.dumps(roots)],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(roots)
    for names, line in zip(roots, lines, strict=True):
        assert set(json.loads(line)) <= set(project.imports(*names, scope=scope)), names


def test_an_edit_of_one_kinds_room_leaves_the_works_of_the_others_as_they_were():
    """By the real rooms: no work on a take rests on another kind's."""
    project = Project()
    rooms = [name for name in project.modules if name.startswith("tasks.kinds.") and name.count(".") == 3]
    kinds = {name.split(".")[2] for name in rooms}
    assert kinds == set(project.rows("tasks.registry"))
    for room in rooms:
        kind = room.split(".")[2]
        strangers = [f"tasks.kinds.{other}." for other in kinds - {kind}]
        found = project.imports(room, scope=project.scope_of(room))
        assert not [name for name in found for prefix in strangers if name.startswith(prefix)], room


def test_families_rest_on_no_other_family_and_on_their_own_kind_alone():
    project = Project()
    adapters = {name: entry.partition(":")[0] for name, entry in project.rows("tasks.families").items()}
    for name, adapter in adapters.items():
        found = set(project.imports("flows.evaluate", adapter, scope=Scope(kinds=("scores",), family=name)))
        assert not found & (set(adapters.values()) - {adapter}), name
        assert not [module for module in found if module.startswith(("tasks.kinds.captures", "tasks.kinds.ensembles"))]


def test_the_digests_are_sorted_by_nothing_that_differs_between_machines(root):
    before = digests()
    for path in sorted(root.rglob("*"), reverse=True):
        if path.is_file():
            os.utime(path, (1, 1))
    assert changed(before) == set()
    names = list(Project().files)
    assert all(first != second for first, second in pairwise(names))
