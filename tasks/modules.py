"""The project's modules: which ones a module rests on, and one digest over them for receipts and ``data/code.json``.

A module rests on what it imports, however deep and inside functions too, and on the data files beside it that it names.
Two tables name modules by strings: the kinds of data (`tasks.registry`) and the families (`tasks.families`). A lookup
counts as an import, but for the kinds and the family in question alone. The table itself is left out of its module's
digest, so that another row changes nothing for those that do not use it.

Nothing is imported, and only the tables are parsed: the digests of all stages cost a third of a CPU-second.
"""

import ast
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from tasks.errors import PipelineError

PACKAGES = ("flows", "tasks", "models")
PROJECT = Path(__file__).resolve().parents[1]
LOCK_FILE = "constraints.txt"
REGISTRY, FAMILIES = "tasks.registry", "tasks.families"
TABLES: Mapping[str, str] = {REGISTRY: "KINDS", FAMILIES: "FAMILIES"}
"""Module to its table of strings, which enters a digest by the rows in question alone."""

# An import statement begins a line, or stands behind ; or : on one. What looks like one in a text is counted as well:
# the price of not parsing a million and a half characters for each stage.
_IMPORT = re.compile(
    r"(?:^|[;:])[ \t]*(?:"
    r"from(?:[ \t]|\\\n)+(?P<source>[\w.]+)(?:[ \t]|\\\n)+import\b(?:[ \t]|\\\n)*"
    r"(?P<names>\((?:[^()#]|#[^\n]*)*\)|(?:[^\n;#\\]|\\\n)+)"
    r"|import(?:[ \t]|\\\n)+(?P<modules>(?:[^\n;#\\]|\\\n)+))",
    re.MULTILINE,
)
_COMMENT = re.compile(r"#[^\n]*")
_NAME = re.compile(r"(?P<name>[\w.]+)(?:\s+as\s+\w+)?")
# A call of kind_module, kind_work or kinds_of whose last argument is the verb: a literal, as a test says of all calls.
_LOOKUP = re.compile(r"\bkinds?_\w+\((?:[^()\"]|\([^()]*\))*\"(?P<verb>\w+)\"")
_OWN_PLACE = re.compile(r"(?<![.\w])__file__\b")
_TEXT = re.compile(r"\"([^\"\n]+)\"")
_FIELD = re.compile(r"\{[^{}]*\}")

Stat = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Scope:
    """The rows of the two tables that a digest follows.

    Attributes:
        kinds: kinds of data, in the table's order.
        family: a family; None where the code belongs to none.
    """

    kinds: tuple[str, ...]
    family: str | None = None


class Project:
    """The project's files as they stand at one moment."""

    @cached_property
    def files(self) -> dict[str, str]:
        """Folder and name of each module's file, and of each data file, by its path below the project."""
        found: dict[str, str] = {}
        for package in PACKAGES:
            for folder, folders, names in os.walk(PROJECT / package):
                folders[:] = sorted(name for name in folders if name != "__pycache__")
                below = os.path.relpath(folder, PROJECT)
                found |= {f"{below}/{name}": f"{folder}/{name}" for name in sorted(names) if name[0] != "."}
        return found

    @cached_property
    def modules(self) -> dict[str, str]:
        """The path of each module below the project, by its dotted name."""
        paths = [path for path in self.files if path.endswith(".py")]
        return {path[:-3].removesuffix("/__init__").replace("/", "."): path for path in paths}

    def rows(self, module: str) -> Mapping[str, str]:
        """Return the rows of a table of strings: the names of kinds, or each family with its class."""
        return self._source(module).rows

    def scope_of(self, module: str) -> Scope:
        """Return the scope of a module: its own kind's where it stands in the room of one, else that of all kinds."""
        parts = module.split(".")
        is_in_room = parts[:2] == ["tasks", "kinds"] and len(parts) > 2
        return Scope(kinds=(parts[2],) if is_in_room else tuple(self.rows(REGISTRY)))

    def imports(self, *modules: str, scope: Scope) -> list[str]:
        """Return the modules that ``modules`` rest on, themselves included, however deep, sorted by name.

        Raises:
            ValueError: one of them is not a module of the project.
        """
        for module in modules:
            if module not in self.modules:
                raise ValueError(f"{module} is not a module of {', '.join(PACKAGES)}")
        found: set[str] = set()
        waiting = list(modules)
        while waiting:
            name = waiting.pop()
            if name in found or name not in self.modules:
                continue
            found.add(name)
            source = self._source(name)
            waiting += source.imports
            waiting += [f"tasks.kinds.{kind}.{verb}" for verb in source.verbs for kind in scope.kinds]
            waiting += [name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1)]
        return sorted(found)

    def data_files(self, module: str) -> list[str]:
        """Return the data files that a module reads: beside it, or in a folder there, under a name that its text has.

        Only a module that knows where it stands, by ``__file__``, can read them.
        """
        names = self._source(module).data_names
        if names is None:
            return []
        folder = self.modules[module].rpartition("/")[0] + "/"
        beside = [path for path in self.files if path.startswith(folder) and not path.endswith(".py")]
        return [path for path in beside if names.fullmatch(path.removeprefix(folder).partition("/")[0])]

    def digest(self, *modules: str, scope: Scope) -> str:
        """Return one digest of every file that the modules rest on, themselves included.

        Raises:
            ValueError: one of them is not a module of the project.
        """
        names = self.imports(*modules, scope=scope)
        parts: dict[str, object] = {name: self._source(name).digest for name in names}
        for name in names:
            parts |= {path: self.file_digest(path) for path in self.data_files(name)}
        if scope.family is not None:
            parts[f"{FAMILIES}:{scope.family}"] = self.rows(FAMILIES).get(scope.family)
        parts["kinds"] = [
            kind for kind in scope.kinds if any(name.startswith(f"tasks.kinds.{kind}.") for name in names)
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def file_digest(self, path: str) -> str:
        """Return the digest of one file below the project."""
        return _read(f"{PROJECT}/{path}", stat_of(f"{PROJECT}/{path}"))

    def stats(self, module: str) -> dict[str, Stat]:
        """Return what the file system says of each module's file that a module rests on."""
        names = self.imports(module, scope=self.scope_of(module))
        return {path: stat_of(path) for path in (self.files[self.modules[name]] for name in names)}

    def _source(self, module: str) -> "_Source":
        path = self.files[self.modules[module]]
        return _parse(module, path, stat_of(path))


def code_digest(module: str) -> str:
    """Return the digest of a module's code as it was when this process first looked: what its results follow from."""
    with _LOOKING:
        if module not in _FIRST:
            project = Project()
            stats = project.stats(module)  # before the digest: an edit in between is one that is noticed
            _FIRST[module] = project.digest(module, scope=project.scope_of(module)), stats
    return _FIRST[module][0]


def check_unchanged(module: str) -> None:
    """Refuse to call something the result of a module that was edited since `code_digest` first looked at it.

    A module that it never looked at is believed.

    Raises:
        PipelineError: the module, or one that it rests on, is another one now.
    """
    digest, stats = _FIRST.get(module, ("", {}))
    touched = [path for path, stat in stats.items() if stat_of(path) != stat]
    project = Project()
    if touched and (module not in project.modules or project.digest(module, scope=project.scope_of(module)) != digest):
        raise PipelineError(f"{os.path.relpath(touched[0], PROJECT)} changed while the stage ran: run it again")


def stat_of(path: str) -> Stat:
    """Return what changes when a file is written: size, times and inode; nothing where it is gone."""
    try:
        stat = os.stat(path)  # noqa: PTH116 - thousands of times a stage, where pathlib costs four times as much
    except FileNotFoundError:
        return ()
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


@dataclass(frozen=True, kw_only=True)
class _Source:
    """What a module's text says: ``digest`` leaves the rows of a table out, ``data_names`` fits what it may read."""

    digest: str
    imports: tuple[str, ...]
    verbs: tuple[str, ...]
    data_names: re.Pattern[str] | None
    rows: Mapping[str, str]


_LOOKING = threading.Lock()
_FIRST: dict[str, tuple[str, dict[str, Stat]]] = {}


@lru_cache(maxsize=4096)
def _read(path: str, _stat: Stat) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@lru_cache(maxsize=4096)
def _parse(module: str, path: str, _stat: Stat) -> _Source:
    text = Path(path).read_text(encoding="utf-8")
    rows, rest = _cut(text, TABLES[module]) if module in TABLES else ({}, text)
    return _Source(
        digest=hashlib.sha256(rest.encode()).hexdigest(),
        imports=tuple(_imports(text)),
        verbs=tuple(sorted({found["verb"] for found in _LOOKUP.finditer(text)})),
        data_names=_data_names(text) if _OWN_PLACE.search(text) else None,
        rows=rows,
    )


def _imports(text: str) -> Iterator[str]:
    for found in _IMPORT.finditer(text):
        names = _NAME.finditer(_COMMENT.sub("", found["names"] or found["modules"]))
        if found["source"] is None:
            yield from (name["name"] for name in names)
        else:
            yield found["source"]
            yield from (f"{found['source']}.{name['name']}" for name in names)


def _data_names(text: str) -> re.Pattern[str]:
    """Return what fits each text in quotes; a field of an f-string stands for anything, but not all alone."""
    texts = sorted({found for found in _TEXT.findall(text) if _FIELD.sub("", found).strip(".")})
    return re.compile("|".join(".*".join(re.escape(part) for part in _FIELD.split(found)) for found in texts) or "(?!)")


def _cut(text: str, table: str) -> tuple[dict[str, str], str]:
    """Return the rows of a table, and the text without the assignment of it."""
    for node in ast.parse(text).body:
        target = node.target if isinstance(node, ast.AnnAssign) else None
        if not (isinstance(target, ast.Name) and target.id == table) or node.end_lineno is None:
            continue
        lines = text.splitlines(keepends=True)
        rest = "".join([*lines[: node.lineno - 1], *lines[node.end_lineno :]])
        for inner in ast.walk(node):
            if isinstance(inner, ast.Dict):
                return dict(ast.literal_eval(inner)), rest
            if isinstance(inner, ast.Tuple) and all(isinstance(one, ast.Constant) for one in inner.elts):
                return dict.fromkeys(ast.literal_eval(inner), ""), rest
    raise ValueError(f"{table} is no table of strings, expected an annotated dict or tuple of literals")
