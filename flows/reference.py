"""Reference pages that are written from the code: ``python -m flows.reference`` writes them into docs/reference/."""

import inspect
import re
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from ruamel.yaml import YAML
from typer.main import get_command

from flows import presets
from tasks.chunk import ChunkParams, SegmentParams
from tasks.compare import CompareParams
from tasks.evaluate import EvaluateParams
from tasks.extract import ExtractParams
from tasks.families import FAMILIES, load_family
from tasks.film import FilmParams
from tasks.gate import GateParams
from tasks.ingest import IngestParams
from tasks.notes import NotesParams
from tasks.numerics import NumericsParams
from tasks.params import Section
from tasks.perform import PerformParams
from tasks.render import RenderParams
from tasks.report import ReportParams
from tasks.search import SearchParams
from tasks.separate import SeparateParams
from tasks.step import write_whole
from tasks.synchronize import SynchronizeParams
from tasks.synthesize import SynthesizeParams
from tasks.takes import SplitParams

FOLDER = Path("docs/reference")
UNITS = {"s": "s", "ms": "ms", "hz": "Hz", "db": "dB", "ppm": "ppm", "px": "pixels", "bytes": "bytes"}
RATES = ("sample_rate", "code_rate", "frame_rate", "sound_rate", "stem_rate")  # in Hz; a learning rate has no unit

SECTIONS: Mapping[str, type[Section]] = types.MappingProxyType(
    {
        "film": FilmParams,
        "ingest": IngestParams,
        "render": RenderParams,
        "synchronize": SynchronizeParams,
        "extract": ExtractParams,
        "chunk": ChunkParams,
        "segments": SegmentParams,
        "split": SplitParams,
        "numerics": NumericsParams,
        "synthesize": SynthesizeParams,
        "evaluate": EvaluateParams,
        "report": ReportParams,
        "notes": NotesParams,
        "perform": PerformParams,
        "separate": SeparateParams,
        "search": SearchParams,
        "compare": CompareParams,
        "gate": GateParams,
    }
)
"""The sections of params.yaml, but for ``families`` and ``train``, each with its class."""


def section_classes() -> dict[str, type[Section]]:
    """Return the class of each section, those of ``train`` by the family's name behind a dot."""
    return {**SECTIONS, **{f"train.{family}": load_family(family).params_class for family in FAMILIES}}


def cli_page() -> str:
    """Return the reference of the command line, from the app itself, in Markdown."""
    import flows.cli  # noqa: F401 - adds the commands
    from flows.commands import GROUPS, app

    root: Any = get_command(app)
    lines = [
        "# Command line",
        "",
        "Written from the app by `python -m flows.reference`.",
        "",
        "```",
        "audiate [--debug] [--version] VERB ...",
        "```",
        "",
        "Exit codes: 0 done, 1 failed, 2 wrong use, 3 done but something was quarantined. Errors are one line; "
        "`audiate --debug VERB` shows the traceback.",
        "",
    ]
    groups: dict[str, list[str]] = {title: [] for title in GROUPS.values()}
    for name, command in root.commands.items():
        groups[GROUPS[command.callback.__module__.rpartition(".")[2]]].append(name)
    for title, names in groups.items():
        lines += [f"## {title}", ""]
        for name in names:
            lines += [*_command(name, root.commands[name]), ""]
    return "\n".join(lines).rstrip() + "\n"


def _command(name: str, command: Any) -> Iterator[str]:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    usage = " ".join(["audiate", name, "[OPTIONS]", *(_metavar(one) for one in arguments)])
    yield f"### {name}"
    yield ""
    yield _escaped(" ".join((command.help or "").split()))
    yield ""
    yield f"`{usage}`"
    yield ""
    yield "| argument or option | meaning |"
    yield "|---|---|"
    for one in command.params:
        if one.name == "help":
            continue
        if one.param_type_name == "argument":
            shown = f"`{_metavar(one)}`"
        else:
            shown = ", ".join(f"`{option}`" for option in (*one.opts, *one.secondary_opts))
            if not one.is_flag:
                shown += f" `{_metavar(one)}`".replace("|", "\\|")
        words = _escaped(" ".join((one.help or "").split()))
        if one.default not in (None, False, (), []) and not callable(one.default) and not one.required:
            default = "on" if one.default is True else one.default
            words += f" Default: `{default}`."
        yield f"| {shown} | {words} |"


def _metavar(one: Any) -> str:
    """Return what stands for a value in a line of usage."""
    metavar = one.metavar or (one.name or "").upper()
    if one.param_type_name == "argument":
        return metavar if one.required else f"[{metavar.strip('[]')}]"
    return metavar


def params_page() -> str:
    """Return the reference of params.yaml, from its classes and preset ``demo``, in Markdown."""
    demo = YAML().load(presets.FOLDER / "demo.yaml")
    lines = [
        "# params.yaml",
        "",
        "Every value that a result follows from. Written from the classes that type them, and from preset `demo`, by "
        "`python -m flows.reference`. A key that is unknown or missing is refused in one line. What only says where "
        "work runs is no parameter: [settings](../promises.md#where-the-work-runs).",
        "",
        "`families` lists the families that are trained and compared, each with its kind of data: `scores`, "
        "`captures` or `ensembles`.",
        "",
    ]
    for name, section in section_classes().items():
        values = demo
        for part in name.split("."):
            values = values.get(part, {}) if values is not None else {}
        lines += [f"## {name}", "", _escaped(_first_paragraph(section)), ""]
        lines += ["| key | type | demo | meaning |", "|---|---|---|---|", *_rows(section, values, ""), ""]
    return "\n".join(lines).rstrip() + "\n"


def _rows(section: type[Section], values: Any, prefix: str) -> Iterator[str]:
    meanings = _meanings(section)
    for key, about in section.model_fields.items():
        value = values.get(key) if isinstance(values, Mapping) else None
        nested = _section_in(about.annotation)
        meaning = meanings.get(key) or _comment(values, key)
        if nested is not None and isinstance(value, Mapping) and set(value) == set(nested.model_fields):
            yield f"| `{prefix}{key}` | section | | {_escaped(meaning or _first_paragraph(nested))} |"
            yield from _rows(nested, value, f"{prefix}{key}.")
            continue
        words = _escaped(_type(about.annotation, about.metadata, unit=_unit(key)))
        shown = "" if value is None else f"`{_short(value)}`"
        yield f"| `{prefix}{key}` | {words} | {shown} | {_escaped(meaning)} |"


def _section_in(annotation: Any) -> type[Section] | None:
    found = [one for one in (annotation, *get_args(annotation)) if inspect.isclass(one) and issubclass(one, Section)]
    return found[0] if found else None


def _meanings(section: type[Section]) -> dict[str, str]:
    """Return what a class says of its fields: in the ``Attributes`` of its docstring, else behind the field."""
    found: dict[str, str] = {}
    for one in reversed(section.__mro__):
        if one is Section or not issubclass(one, Section):
            continue
        source = inspect.getsource(one)
        found |= dict(re.findall(r"^    (\w+): [^#\n]*?  # (.*)$", source, re.MULTILINE))
        _, _, attributes = inspect.cleandoc(one.__doc__ or "").partition("Attributes:\n")
        blocks = re.findall(r"^    (\w+): (.*(?:\n      .*)*)", attributes, re.MULTILINE)
        found |= {name: " ".join(text.split()) for name, text in blocks}
    return found


def _comment(values: Any, key: str) -> str:
    """Return the comment behind a key of a preset."""
    items = getattr(getattr(values, "ca", None), "items", {})
    tokens = [token for token in items.get(key) or () if token is not None]
    flat = [one for token in tokens for one in (token if isinstance(token, list) else [token])]
    lines = [line.strip() for token in flat for line in token.value.splitlines()[:1]]
    return next((line.lstrip("# ") for line in lines if line.startswith("#")), "")


def _first_paragraph(section: type[Section]) -> str:
    return " ".join(inspect.cleandoc(section.__doc__ or "").partition("\n\n")[0].split())


def _unit(key: str) -> str:
    """Return the unit that a key's last word names, or nothing."""
    if key in RATES:
        return "Hz"
    return UNITS.get(key.rpartition("_")[2], "") if "_" in key else ""


def _type(annotation: Any, metadata: Sequence[Any] = (), *, unit: str = "") -> str:
    """Return a type in words, with the unit and the limits of its values."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        return _type(arguments[0], annotation.__metadata__, unit=unit)
    if origin is Literal:
        words = " or ".join(str(one) for one in arguments)
    elif origin in (Union, types.UnionType):
        words = " or ".join("null" if one is type(None) else _type(one) for one in arguments)
    elif origin in (tuple, list):
        inside = [_type(one) for one in arguments if one is not Ellipsis]
        words = f"list of {inside[0]}" if Ellipsis in arguments or len(inside) == 1 else f"[{', '.join(inside)}]"
    elif origin is not None and issubclass(origin, Mapping):
        words = f"mapping of {_type(arguments[0])} to {_type(arguments[1])}"
    elif annotation is Any:
        words = "any"
    else:
        named = {"Fraction": "fraction", "str": "text", "int": "integer", "float": "number", "bool": "true or false"}
        words = named.get(annotation.__name__, annotation.__name__)
    words = f"{words}, {unit}" if unit else words
    limits = [limit for one in metadata for limit in _limits(one)]
    return f"{words}, {' and '.join(limits)}" if limits else words


def _limits(one: Any) -> Iterator[str]:
    for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
        if getattr(one, name, None) is not None:
            yield f"{sign} {getattr(one, name)}"
    for inner in getattr(one, "metadata", ()):
        yield from _limits(inner)


def _short(value: Any) -> str:
    text = str(_plain(value)).replace("'", "").replace("|", "\\|")
    return text if len(text) <= 60 else f"{text[:57]}..."


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


def _escaped(text: str) -> str:
    """Return words as they stand in a cell of a table."""
    return text.replace("``", "`").replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


PAGES = {"cli.md": cli_page, "params.md": params_page}


def main() -> int:
    """Write the pages."""
    for name, page in PAGES.items():
        write_whole(FOLDER / name, page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
