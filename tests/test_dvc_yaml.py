"""dvc.yaml says what the code says: data as deps, and of the code each stage's own key."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tasks.code import stages, write_code
from tasks.families import load_family
from tasks.modules import Project

PROJECT = Path(__file__).resolve().parents[1]
TEXT = (PROJECT / "dvc.yaml").read_text()
YAML = yaml.safe_load(TEXT)
STAGES = YAML["stages"]
PARAMS = yaml.safe_load((PROJECT / "params.yaml").read_text())
CODE, TRUTH = "data/code.json", "data/truth.json"


def flat_stages():
    for name, stage in STAGES.items():
        if "foreach" not in stage:
            yield name, stage
            continue
        for family, kind in PARAMS["families"].items():
            text = yaml.safe_dump(stage["do"]).replace("${key}", family).replace("${item}", kind)
            yield f"{name}@{family}", yaml.safe_load(text)


FLAT = [pytest.param(name, stage, id=name) for name, stage in flat_stages()]
TRACKED = [param for param in FLAT if param.id != "code"]


def keys(stage, file):
    """Return the keys of a file of parameters that a stage tracks; those of params.yaml stand by themselves."""
    listed = stage.get("params", [])
    if file == "params.yaml":
        return [key for key in listed if isinstance(key, str)]
    return [key for entry in listed if isinstance(entry, dict) for key in entry.get(file, [])]


@pytest.mark.parametrize(("name", "stage"), TRACKED)
def test_a_stage_tracks_its_own_code_and_the_libraries(name, stage):
    adapters = ["synthesize"] if name == "score" else []  # it sounds every family in one process
    assert keys(stage, CODE) == [name.replace("@", "."), *adapters, "libraries"]


def test_the_stages_are_those_that_the_code_has_and_each_finds_its_key(tmp_path):
    write_code(PARAMS["families"], tmp_path / "code.json")
    code = json.loads((tmp_path / "code.json").read_text())
    assert {name for name in STAGES if name != "code"} == stages(Project()).keys()
    assert {name for name, of_family in stages(Project()).items() if of_family} == {
        name for name, stage in STAGES.items() if "foreach" in stage
    }
    for name, stage in flat_stages():
        for key in keys(stage, CODE):
            found = code
            for part in key.split("."):  # as DVC looks it up
                found = found[part]
            digests = list(found.values()) if isinstance(found, dict) else [found]
            assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests), name


@pytest.mark.parametrize(("name", "stage"), TRACKED)
def test_deps_are_data(name, stage):
    assert all(dep.startswith("data/") for dep in stage["deps"])


def test_the_code_is_all_the_packages_and_the_libraries_lock_file():
    assert STAGES["code"]["deps"] == ["flows", "tasks", "models", "constraints.txt", "params.yaml"]
    assert "__pycache__" in (PROJECT / ".dvcignore").read_text().split()


def test_the_file_stays_short_enough_to_be_read():
    assert len(TEXT.splitlines()) <= 260


def test_a_familys_kind_is_what_its_adapter_learns_from():
    kinds = {family: load_family(family).data for family in PARAMS["families"]}
    assert kinds == PARAMS["families"]
    assert set(kinds.values()) == {"scores", "captures", "ensembles"}


def test_another_capture_leaves_what_scores_trained_alone():
    """And a score leaves alone what captures trained: each family follows from its own kind's data and truth."""
    for name, stage in flat_stages():
        verb, _, family = name.partition("@")
        if not family:
            continue
        kind = PARAMS["families"][family]
        read = {dep for dep in stage["deps"] if not dep.endswith(f"/{family}")} - {"data/tools.json"}
        assert read == {f"data/chunked/{kind}"}, name
        assert keys(stage, TRUTH) == ([] if verb == "train" else [kind]), name


@pytest.mark.parametrize(("name", "stage"), FLAT)
def test_a_stage_is_one_verb(name, stage):
    verb, _, family = name.partition("@")
    assert stage["cmd"] == f"python -m flows.{verb} {family}".strip()
    assert (PROJECT / "flows" / f"{verb}.py").is_file()
    assert (PROJECT / "tasks" / f"{verb}.py").is_file()


def test_every_section_of_params_yaml_is_a_parameter_of_some_stage_but_those_of_commands_by_hand():
    used = {param.split(".")[0] for _, stage in flat_stages() for param in keys(stage, "params.yaml")}
    assert set(PARAMS) ^ used == {"perform", "separate", "compare", "gate", "search"}


def names_in(params):
    for name, values in params.items():
        yield name
        yield from names_in(values) if isinstance(values, dict) else ()


def test_no_parameter_has_a_name_that_dvcs_run_cache_leaves_out():
    """It would bring back what was made with another value of it."""
    assert not {"size", "nfiles"} & set(names_in(PARAMS))


def test_every_family_that_trains_has_its_curves_plotted():
    plotted = {name: set(plot["y"]) for group in YAML["plots"] for name, plot in group.items()}
    trained = {name for name, values in PARAMS["train"].items() if "n_steps" in values}
    assert set(plotted) == trained & PARAMS["families"].keys()
    closed_form = {"key_response", "keyboard_reader", "mean_keys", "true_keys"}  # trained by no steps
    for family, curves in plotted.items():
        systems = set(load_family(family).systems) - closed_form
        assert curves == {f"data/trained/{family}/curves/{system}.csv" for system in systems}


def test_a_familys_name_stands_in_its_own_files_only():
    """Besides its adapter, its networks, the table and the params, nothing knows a family's name."""
    project = Project()
    for family in ("deepsynth", "piano_roll"):
        adapter = f"tasks.families.{family}"
        imported = project.imports(adapter, scope=project.scope_of(adapter))
        networks = {project.modules[name] for name in imported if name.startswith("models.")}
        for path in [*PROJECT.glob("flows/**/*.py"), *PROJECT.glob("tasks/**/*.py"), *PROJECT.glob("models/*.py")]:
            relative = path.relative_to(PROJECT).as_posix()
            if relative in {"tasks/families/__init__.py", *networks} or family in {path.stem, path.parent.name}:
                continue
            assert not re.search(rf"\b{family}\b", path.read_text()), f"{relative} names {family}"
