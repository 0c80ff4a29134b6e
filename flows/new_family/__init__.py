"""A family to begin with: adapter, network, section and test, as files of the checkout that one stands in.

The texts beside this module are those of a family that runs: least squares from a camera's pictures to note amplitudes.
"""

import keyword
import re
from dataclasses import dataclass
from pathlib import Path
from string import Template

from tasks.errors import PipelineError
from tasks.step import write_whole

TEXTS = Path(__file__).parent
KIND = "captures"
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
MAX_LENGTH = 40
TABLE = Path("tasks/families/__init__.py")
SECTIONS = (Path("params.yaml"), Path("flows/presets/demo.yaml"))
ADAPTERS, NETWORKS, TESTS = Path("tasks/families"), Path("models"), Path("tests/tasks/families")

SECTION = """\
  $name:
    instrument: marimba-18
    cameras: .*  # regular expression for the whole name
    height: 16  # of the pictures that are the inputs
    width: 96
    ridge: 0.01  # what a squared weight costs, as a share of the mean squared input
    n_threads: 1  # of the CPU: another number may give other weights
    seed: 0
"""


@dataclass(frozen=True, kw_only=True)
class Scaffold:
    """What becomes of a checkout's files.

    Attributes:
        new: text by path of files that are made.
        edited: text by path of files that are replaced.
    """

    new: dict[Path, str]
    edited: dict[Path, str]


def plan_family(name: str, *, root: Path = Path()) -> Scaffold:
    """Return the files of a new family, and those of the checkout that must name it; nothing is written.

    Args:
        name: of the family and of its only system.
        root: the checkout.

    Raises:
        PipelineError: there is no checkout, the name cannot be one, or a family, a system or a file has it already.
    """
    for path in (TABLE, *SECTIONS):
        if not (root / path).is_file():
            raise PipelineError(f"{root / path} is missing: run new-family in a checkout of audiate's code")
    if not NAME.fullmatch(name) or len(name) > MAX_LENGTH or keyword.iskeyword(name):
        raise PipelineError(
            f"{name!r} cannot be a family's name: expected a small letter, then small letters, digits and single "
            f"underscores, {MAX_LENGTH} at most, and no word of Python"
        )
    for folder in (ADAPTERS, NETWORKS):
        for path in (root / folder / f"{name}.py", root / folder / name):
            if path.exists():
                raise PipelineError(f"{path} is there already: name the family otherwise")
    # A system's name stands in its family's code as a string; two systems of one name would share a row.
    for path in sorted((root / ADAPTERS).rglob("*.py")):
        if f'"{name}"' in path.read_text(encoding="utf-8"):
            raise PipelineError(f"{path} names {name!r} already: name the family otherwise")
    new = {
        ADAPTERS / f"{name}.py": _filled("adapter", name),
        NETWORKS / f"{name}.py": _filled("network", name),
        TESTS / f"test_{name}.py": _filled("test", name),
    }
    for path in new:
        if (root / path).exists():
            raise PipelineError(f"{root / path} is there already: name the family otherwise")
    edited = {TABLE: _with_row((root / TABLE).read_text(encoding="utf-8"), name)}
    for path in SECTIONS:
        edited[path] = _with_section((root / path).read_text(encoding="utf-8"), name, path)
    return Scaffold(new=new, edited=edited)


def write_family(scaffold: Scaffold, *, root: Path = Path()) -> None:
    """Write what was planned; where a file cannot be written, all are left as they were.

    Raises:
        PipelineError: a file cannot be written.
    """
    before = {path: (root / path).read_text(encoding="utf-8") for path in scaffold.edited}
    try:
        for path, text in (scaffold.new | scaffold.edited).items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            write_whole(root / path, text)
    except OSError as error:
        for path in scaffold.new:
            (root / path).unlink(missing_ok=True)
        for path, text in before.items():
            if (root / path).read_text(encoding="utf-8") != text:
                write_whole(root / path, text)
        raise PipelineError(f"{error.filename} cannot be written: {error.strerror}; nothing was changed") from error


def class_name(name: str) -> str:
    """Return a family's name as that of a class: ``my_net`` is ``MyNet``."""
    return "".join(word.capitalize() for word in name.split("_"))


def _filled(text: str, name: str) -> str:
    names = {"name": name, "Class": class_name(name), "Network": f"{class_name(name)}Map"}
    return Template((TEXTS / f"{text}.txt").read_text(encoding="utf-8")).substitute(names)


def _with_row(table: str, name: str) -> str:
    """Return the table of families with one row more, in order of name."""
    rows = re.findall(r'^        "([a-z0-9_]+)": .*\n', table, re.MULTILINE)
    row = f'        "{name}": "tasks.families.{name}:{class_name(name)}Family",\n'
    after = next((other for other in rows if other > name), None)
    found = (
        re.search(rf'^        "{after}": ', table, re.MULTILINE) if after else re.search(r"^    }", table, re.MULTILINE)
    )
    if not rows or found is None:
        raise PipelineError(f"{TABLE} has no table of families as it was written: add {row.strip()} by hand")
    return table[: found.start()] + row + table[found.start() :]


def _with_section(params: str, name: str, path: Path) -> str:
    """Return params with the family in the matrix and its section as the last one of ``train``."""
    for block, lines in (("families", f"  {name}: {KIND}\n"), ("train", Template(SECTION).substitute(name=name))):
        found = re.search(rf"^{block}:.*\n(?:[ \t#].*\n|\n(?=[ \t]))*", params, re.MULTILINE)
        if found is None or not params.endswith("\n"):
            raise PipelineError(f"{path} has no section {block}: write it anew by `audiate preset demo`")
        params = params[: found.end()] + lines + params[found.end() :]
    return params
