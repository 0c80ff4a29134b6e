"""The commands of the command line, a module a subject; what they share stands here.

Heavy imports happen in the command that needs them: ``audiate --help`` imports neither Prefect nor PyTorch.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer.core import TyperGroup

from tasks.errors import PipelineError

if TYPE_CHECKING:
    from typer._click import Command, Context, HelpFormatter  # typer has its own copy of click

    from tasks.params import Section

S = TypeVar("S", bound="Section")

# What --help calls the commands of a module.
GROUPS = {
    "stages": "Pipeline (each runs its stage where something changed)",
    "recordings": "By hand, with or without a project",
    "intake": "Recordings",
    "versions": "Versions",
    "promotion": "Versions",
    "store": "Versions",
    "export": "Project",
    "new_family": "Project",
    "project": "Project",
}
ANYWHERE = {
    "preset",
    "perform",
    "notes",
    "evaluate-notes",
    "evaluate-stems",
    "audit",
    "sonify",
    "separate",
    "sync",
}  # commands that need no project
PROJECT_FILES = ("params.yaml", "dvc.yaml", "data", ".audiate", ".git")  # one of them makes a folder a project


class Verbs(TyperGroup):
    """The commands in groups; one that needs a project says so where there is none."""

    def format_commands(self, ctx: "Context", formatter: "HelpFormatter") -> None:  # noqa: ARG002 - click's own
        """Write each group with its commands."""
        groups: dict[str, list[tuple[str, str]]] = {title: [] for title in GROUPS.values()}
        width = formatter.width - 6 - max(map(len, self.commands))
        for name, command in self.commands.items():
            module = command.callback.__module__ if command.callback is not None else "project"
            groups[GROUPS[module.rpartition(".")[2]]].append((name, command.get_short_help_str(width)))
        for title, rows in groups.items():
            with formatter.section(title):
                formatter.write_dl(rows)

    def resolve_command(self, ctx: "Context", args: list[str]) -> "tuple[str | None, Command | None, list[str]]":
        """Find the command; refuse one that needs a project in a folder that is none."""
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and name not in ANYWHERE and "--help" not in rest:
            here = Path.cwd()
            if not any((here / file).exists() for file in PROJECT_FILES):
                raise PipelineError(
                    f"no audiate project here: {here} has no params.yaml; run {name} in a project's folder"
                )
        return name, command, rest


app = typer.Typer(
    cls=Verbs,
    help="Recordings of people playing instruments become models that give a silent video its sound.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

EXIT_FAILED = 1
EXIT_QUARANTINED = 3

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


def check_there(*paths: Path) -> None:
    """Refuse a path that does not exist, before a command imports what would read it.

    Raises:
        PipelineError: names the first one that is not there.
    """
    for path in paths:
        if not path.exists():
            raise PipelineError(f"{path}: No such file or directory")


def section_of(name: str, section: "type[S]") -> "S":
    """Return a section of params.yaml, which has known ones alone; outside a project that of the shipped preset."""
    from flows.presets import FOLDER, check_sections
    from tasks.params import PARAMS_FILE, read_params, section_values

    # Outside a project the shipped preset serves, so that a recording anywhere can be listened to.
    params = read_params(PARAMS_FILE if PARAMS_FILE.exists() else FOLDER / "demo.yaml")
    check_sections(params)
    return section.parse(section_values(params, name), name)


def print_json(value: Any) -> None:
    """Print JSON's own types for programs."""
    typer.echo(json.dumps(value, indent=1))


def print_table(table: Any) -> None:
    """Print a table of rich for people."""
    from rich.console import Console

    # Names and reasons are words, whatever brackets are in them.
    Console(markup=False, emoji=False).print(table)


def known_family(name: str | None) -> str | None:
    """Return a family's name as it is; another name is wrong use."""
    from tasks.families import FAMILIES

    if name is not None and name not in FAMILIES:
        raise typer.BadParameter(f"{name!r} is unknown, expected one of {', '.join(FAMILIES)}")
    return name


def known_separator(name: str | None) -> str | None:
    """Return the name of a family, or of the separator that needs no training, as it is; another is wrong use."""
    if name is None:
        return None
    from tasks.separate import PARTIALS

    return name if name == PARTIALS else known_family(name)
