"""dvc.yaml says what the code says: DVC knows nothing of imports, and a missing dep leaves stale results."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from tasks.families import FAMILIES, load_family
from tasks.step import imported_modules, module_file

PROJECT = Path(__file__).resolve().parents[1]
YAML = yaml.safe_load((PROJECT / "dvc.yaml").read_text())
STAGES = YAML["stages"]
PARAMS = yaml.safe_load((PROJECT / "params.yaml").read_text())


def flat_stages():
    for name, stage in STAGES.items():
        if "foreach" not in stage:
            yield name, stage
            continue
        for family, files in PARAMS["families"].items():
            text = yaml.safe_dump(stage["do"]).replace("${key}", family)
            for kind, path in files.items():
                text = text.replace(f"${{item.{kind}}}", path)
            yield f"{name}@{family}", yaml.safe_load(text)


FLAT = [pytest.param(name, stage, id=name) for name, stage in flat_stages()]
PER_TAKE = [param for param in FLAT if "@" not in param.id]


def says_nothing(path):
    """A package's ``__init__.py`` with nothing but a docstring cannot change a result."""
    return path.name == "__init__.py" and all(isinstance(n, ast.Expr) for n in ast.parse(path.read_text()).body)


def imported_files(name):
    stage, _, family = name.partition("@")
    modules = set(imported_modules(f"flows.{stage}"))
    if family:
        modules |= set(imported_modules(FAMILIES[family].partition(":")[0]))
    paths = [module_file(module) for module in modules]
    return {path.relative_to(PROJECT).as_posix() for path in paths if not says_nothing(path)}


@pytest.mark.parametrize(("name", "stage"), FLAT)
def test_deps_name_every_module_the_stage_imports(name, stage):
    code = {dep for dep in stage["deps"] if dep.endswith(".py")}
    assert sorted(imported_files(name) - code) == []


@pytest.mark.parametrize(("name", "stage"), PER_TAKE)
def test_deps_name_no_module_the_stage_does_not_import(name, stage):
    code = {dep for dep in stage["deps"] if dep.endswith(".py")}
    assert sorted(code - imported_files(name)) == []


def test_a_family_depends_on_no_other_family():
    for name, stage in flat_stages():
        _, _, family = name.partition("@")
        others = {other for other in FAMILIES if family and other != family}
        own = {PARAMS["families"][family][kind] for kind in ("network", "generator")} if family else set()
        strangers = {f"tasks/families/{other}.py" for other in others}
        strangers |= {
            PARAMS["families"][o][k] for o in others & PARAMS["families"].keys() for k in ("network", "generator")
        }
        assert not (strangers - own - {"models/__init__.py"}) & set(stage["deps"]), name


def test_another_capture_leaves_what_scores_trained_alone():
    """And a score leaves alone what captures trained: each family's weights follow from its own data set."""
    stages = dict(flat_stages())
    kinds = {family: load_family(family).data for family in PARAMS["families"]}
    assert set(kinds.values()) == {"scores", "captures", "ensembles"}
    for family, kind in kinds.items():
        read = {dep for dep in stages[f"train@{family}"]["deps"] if dep.startswith("data/")}
        assert read == {f"data/chunked/{kind}"}, family


@pytest.mark.parametrize(("name", "stage"), FLAT)
def test_a_stage_is_one_verb(name, stage):
    verb, _, family = name.partition("@")
    assert stage["cmd"] == f"python -m flows.{verb} {family}".strip()
    assert (PROJECT / "flows" / f"{verb}.py").is_file()
    assert (PROJECT / "tasks" / f"{verb}.py").is_file()


def test_every_stage_depends_on_the_locked_libraries():
    assert all("constraints.txt" in stage["deps"] for _, stage in flat_stages())


def test_every_section_of_params_yaml_is_a_parameter_of_some_stage_but_those_of_commands_by_hand():
    used = {param.split(".")[0] for _, stage in flat_stages() for param in stage.get("params", [])}
    assert set(PARAMS) ^ used == {"perform", "separate", "compare", "search"}


def test_every_family_that_trains_has_its_curves_plotted():
    plotted = {name: set(plot["y"]) for group in YAML["plots"] for name, plot in group.items()}
    trained = {name for name, values in PARAMS["train"].items() if "n_steps" in values}
    assert set(plotted) == trained & PARAMS["families"].keys()
    for family, curves in plotted.items():
        assert curves == {f"data/trained/{family}/curves/{system}.csv" for system in load_family(family).systems}


def test_a_familys_name_stands_in_its_own_files_only():
    """Besides its adapter, its model files, the table and the params, nothing knows a family's name."""
    allowed = {"tasks/families/__init__.py", *(f["network"] for f in PARAMS["families"].values())}
    allowed |= {f["generator"] for f in PARAMS["families"].values()}
    for family in ("deepsynth", "piano_roll"):
        for path in [*PROJECT.glob("flows/**/*.py"), *PROJECT.glob("tasks/**/*.py"), *PROJECT.glob("models/*.py")]:
            relative = path.relative_to(PROJECT).as_posix()
            if relative in allowed or path.stem == family:
                continue
            assert not re.search(rf"\b{family}\b", path.read_text()), f"{relative} names {family}"
