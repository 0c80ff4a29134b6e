"""The stage ``code`` under DVC itself: dvc.yaml as it is, with stages that cost nothing in place of the real ones."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tasks.code import LIBRARIES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

PROJECT = Path(__file__).resolve().parents[1]
FAMILIES = {"baselines": "scores", "cnn_lstm": "captures"}
STAGES = ["film", "ingest", "render", "synchronize", "extract", "chunk", "report"]
STAGES += [f"{verb}@{family}" for verb in ("train", "synthesize", "evaluate") for family in FAMILIES]
# What a stage does here: it holds its code against data/code.json as `run_stage` does, and writes its outs.
STAND_IN = """
import sys
from pathlib import Path
import yaml
from tasks.code import check_code
from tasks.errors import PipelineError
from tasks.families import families_of
from tasks.params import read_params
verb, family = sys.argv[1], "".join(sys.argv[2:])
name = f"{verb}@{family}" if family else verb
families = families_of(read_params())
try:
    check_code(name, families)
except PipelineError as error:
    sys.exit(f"{name}: {error}")
stage = yaml.safe_load(Path("dvc.yaml").read_text())["stages"][verb]
for entry in [*stage.get("do", stage).get("outs", []), *stage.get("do", stage).get("metrics", [])]:
    path = Path((entry if isinstance(entry, str) else next(iter(entry))).replace("${key}", family))
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        path.write_text('{"scores": "1", "captures": "1", "ensembles": "1"}')
    else:
        path.mkdir(exist_ok=True)
        (path / "made.txt").write_text(name)
"""


class Scratch:
    """A project with this checkout's code and dvc.yaml, under its own git and DVC."""

    def __init__(self, folder):
        self.folder = folder
        for package in ("flows", "tasks", "models", ".dvc"):
            ignored = shutil.ignore_patterns("__pycache__", "cache", "tmp")
            shutil.copytree(PROJECT / package, folder / package, ignore=ignored)
        for name in ("constraints.txt", ".dvcignore", ".gitignore"):
            shutil.copy(PROJECT / name, folder / name)
        described = yaml.safe_load(
            (PROJECT / "dvc.yaml").read_text().replace("python -m flows.", "python stand_in.py ")
        )
        described["stages"]["code"]["cmd"] = "python -m flows.code"
        del described["plots"]
        (folder / "dvc.yaml").write_text(yaml.safe_dump(described, sort_keys=False))
        (folder / "stand_in.py").write_text(STAND_IN)
        params = yaml.safe_load((PROJECT / "params.yaml").read_text())
        (folder / "params.yaml").write_text(yaml.safe_dump({**params, "families": FAMILIES}))
        for path in {dep for stage in described["stages"].values() for dep in stage.get("deps", [])}:
            if path.startswith(("data/sample", "data/raw", "data/tools")):
                made = folder / path if path.endswith((".yaml", ".json")) else folder / path / "a.mid"
                made.parent.mkdir(parents=True, exist_ok=True)
                made.write_text("{}")
        self.run("git", "init", "-q")
        self.commit()

    def run(self, *command, code=0):
        environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == code, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout + done.stderr

    def commit(self):
        self.run("git", "add", "--all")
        self.run("git", "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "--allow-empty", "-m", "a")

    def ran(self, *command):
        """Run a command, and return the stages that DVC ran for it."""
        return {line.split("'")[1] for line in self.run(*command).splitlines() if line.startswith("Running stage '")}

    def keys(self):
        """Return the key of each stage in data/code.json."""
        code = json.loads((self.folder / "data" / "code.json").read_text())
        found = {}
        for name in STAGES:
            verb, _, family = name.partition("@")
            found[name] = code[verb][family] if family else code[verb]
        return found | {LIBRARIES: code[LIBRARIES]}

    def edit(self, path, old=None, new=""):
        text = (self.folder / path).read_text()
        assert old is None or old in text
        (self.folder / path).write_text(f"{text}\n# edited\n" if old is None else text.replace(old, new, 1))

    def reproduced(self):
        """Run ``dvc repro``; return the stages that ran, and those whose key changed by it."""
        before = self.keys()
        ran = self.ran("dvc", "repro")
        return ran, {name for name, key in self.keys().items() if key != before[name]}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    project = Scratch(tmp_path_factory.mktemp("code") / "project")
    assert project.ran("dvc", "repro") == {"code", *STAGES}
    project.commit()
    return project


def of(*verbs):
    return {f"{verb}@{family}" for verb in verbs for family in FAMILIES}


def test_nothing_to_do_is_nothing_run(scratch):
    assert scratch.ran("dvc", "repro") == set()


@pytest.mark.parametrize(
    ("path", "stale"),
    [
        ("tasks/rig/scene.py", {"film"}),
        ("tasks/families/cnn_lstm.py", {"train@cnn_lstm", "synthesize@cnn_lstm", "evaluate@cnn_lstm"}),
        ("tasks/kinds/captures/train.py", {"train@cnn_lstm"}),
        ("tasks/kinds/scores/render.py", {"render"}),
        ("tasks/kinds/ensembles/evaluate.py", set()),  # no family of ensembles is in this pipeline
        ("tasks/page/templates/report.css", {"report"}),
        ("flows/evaluate.py", of("evaluate")),
        ("flows/commands/stages.py", set()),
        ("tasks/compare.py", set()),
    ],
)
def test_repro_after_an_edit_reruns_exactly_the_stages_whose_key_changed(scratch, path, stale):
    scratch.edit(path)
    ran, changed = scratch.reproduced()
    assert changed == stale
    assert ran == {"code"} | stale


def test_an_edit_that_all_rest_on_reruns_all_and_one_of_the_libraries_too(scratch):
    scratch.edit("constraints.txt")
    ran, changed = scratch.reproduced()
    assert (ran, changed) == ({"code", *STAGES}, {LIBRARIES})
    scratch.edit("flows/run.py")
    ran, changed = scratch.reproduced()
    assert (ran, changed) == ({"code", *STAGES}, set(STAGES))


def test_a_line_more_in_the_tables_of_families_and_kinds_makes_nothing_stale(scratch):
    scratch.edit(
        "tasks/families/__init__.py", '"baselines": ', '"toy": "tasks.families.toy:Toy",\n        "baselines": '
    )
    scratch.edit("tasks/registry.py", '"ensembles")', '"ensembles", "keyboards")')
    assert scratch.reproduced() == ({"code"}, set())


def test_repro_of_one_stage_runs_code_and_what_it_rests_on(scratch):
    scratch.edit("tasks/rig/scene.py")
    scratch.edit("tasks/page/templates/report.css")
    assert scratch.ran("dvc", "repro", "train@cnn_lstm") == {"code", "film"}
    assert scratch.ran("dvc", "repro") == {"report"}


def test_a_single_stage_runs_by_what_data_code_json_says_and_is_refused_when_the_code_is_another(scratch):
    scratch.edit("tasks/rig/scene.py")
    assert scratch.ran("dvc", "repro", "-s", "film") == set()  # DVC looks at the key, which `code` has not renewed
    before = scratch.run("git", "hash-object", "dvc.lock")
    words = scratch.run("dvc", "repro", "-s", "-f", "film", code=255)
    assert "film: its code is not what data/code.json was made from: run `audiate code`, or `dvc repro`" in words
    assert scratch.run("git", "hash-object", "dvc.lock") == before
    command = [sys.executable, "-c", "from flows.cli import main; main()"]
    assert scratch.ran(*command, "film") == {"code", "film"}
    assert scratch.ran(*command, "film") == set()
    assert scratch.ran(*command, "code") == set()


def test_experiments_run_the_stages_of_edited_code_and_no_other(scratch):
    scratch.commit()
    scratch.edit("tasks/families/cnn_lstm.py")
    stale = {"train@cnn_lstm", "synthesize@cnn_lstm", "evaluate@cnn_lstm"}
    assert scratch.ran("dvc", "exp", "run") == {"code"} | stale
    scratch.commit()
    scratch.edit("tasks/kinds/captures/train.py")
    # Git ignores data/tools.json, which set-up writes: an experiment in a folder of its own is given a copy.
    scratch.run("dvc", "exp", "run", "--queue", "--name", "queued", "--copy-paths", "data/tools.json")
    scratch.run("git", "checkout", "-q", ".")
    before = scratch.keys()
    scratch.run("dvc", "exp", "run", "--run-all")
    assert "Success" in scratch.run("dvc", "queue", "status"), scratch.run("dvc", "queue", "logs", "queued")
    assert scratch.keys() == before  # it worked in a folder of its own
    scratch.run("dvc", "exp", "apply", "queued")
    after = scratch.keys()
    assert {name for name in after if after[name] != before[name]} == {"train@cnn_lstm"}
    assert scratch.ran("dvc", "repro") == set()
