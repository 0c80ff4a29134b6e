"""Verb ``code``: which code each stage rests on, as one digest a stage in ``data/code.json``.

DVC knows nothing of imports. Each stage of dvc.yaml tracks its own key of this file as a parameter, so that an edit
reruns the stages that rest on what was edited, and no other. A stage computes its key again at its start and at its
end: what it made is refused when that is not the one in the file.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.errors import PipelineError
from tasks.modules import FAMILIES, LOCK_FILE, REGISTRY, Project, Scope
from tasks.step import write_whole

CODE_FILE = Path("data/code.json")
LIBRARIES, FILES = "libraries", "files"
_RUNS_STAGE = re.compile(r"^def main\((?P<family>family)?.*?\brun_stage\(", re.MULTILINE | re.DOTALL)


def write_code(families: Mapping[str, str], path: Path = CODE_FILE) -> None:
    """Write the digest of each stage, of the libraries' lock file, and of each file of the project.

    A stage that runs for each family has an object with a key a family: DVC finds ``train.NAME`` by its dot.

    Args:
        families: of the pipeline, each with its kind.
        path: where the file goes; it is left alone when it would be the same.
    """
    project = Project()
    files = {name: project.file_digest(name) for name in [LOCK_FILE, *project.files]}
    found: dict[str, Any] = {LIBRARIES: files[LOCK_FILE], FILES: files}
    for stage, is_of_family in stages(project).items():
        names = [f"{stage}@{family}" for family in families] if is_of_family else [stage]
        digests = {name.rpartition("@")[2]: stage_digest(name, families, project) for name in names}
        found[stage] = digests if is_of_family else digests[stage]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(found, indent=1, sort_keys=True) + "\n")


def stages(project: Project) -> dict[str, bool]:
    """Return the stages, which are the modules of `flows` whose ``main`` runs one: True where it takes a family."""
    flows = [name for name in project.modules if name.startswith("flows.") and name.count(".") == 1]
    mains = {name: _RUNS_STAGE.search(Path(project.files[project.modules[name]]).read_text("utf-8")) for name in flows}
    return {name.removeprefix("flows."): bool(main["family"]) for name, main in mains.items() if main is not None}


def stage_digest(stage: str, families: Mapping[str, str], project: Project | None = None) -> str:
    """Return the digest of the project files that a stage's results follow from.

    Args:
        stage: its name, and a family's behind ``@`` where it runs for each.
        families: of the pipeline, each with its kind.
        project: its files; by default as they stand now.

    Raises:
        PipelineError: there is no such stage or family.
    """
    project = project or Project()
    verb, _, family = stage.partition("@")
    roots = [f"flows.{verb}"]
    scope = Scope(kinds=tuple(project.rows(REGISTRY)))
    if family:
        if family not in families or family not in project.rows(FAMILIES):
            raise PipelineError(f"{verb} has no family {family!r}, expected one of {', '.join(families)}")
        roots.append(project.rows(FAMILIES)[family].partition(":")[0])
        scope = Scope(kinds=(families[family],), family=family)
    try:
        return project.digest(*roots, scope=scope)
    except ValueError as error:
        raise PipelineError(f"{stage} is no stage: {error}") from None


def check_code(stage: str, families: Mapping[str, str], path: Path = CODE_FILE) -> None:
    """Refuse to go on when the code or the libraries are not those that ``data/code.json`` was made from.

    Raises:
        PipelineError: they are not, or the file is missing or has no such stage.
    """
    verb, _, family = stage.partition("@")
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        key, libraries = kept[verb][family] if family else kept[verb], kept[LIBRARIES]
    except FileNotFoundError:
        raise PipelineError(f"{path} is missing: run `audiate code`, or `dvc repro`") from None
    except (ValueError, KeyError, TypeError):
        raise PipelineError(f"{path} says nothing of {stage}: run `audiate code`, or `dvc repro`") from None
    project = Project()
    if key != stage_digest(stage, families, project):
        raise PipelineError(f"its code is not what {path} was made from: run `audiate code`, or `dvc repro`")
    if libraries != project.file_digest(LOCK_FILE):
        raise PipelineError(f"constraints.txt is not what {path} was made from: run `audiate code`, or `dvc repro`")
