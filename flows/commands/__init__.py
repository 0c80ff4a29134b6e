"""The commands of the command line, a module a subject; what they share stands here.

Heavy imports happen in the command that needs them: ``audiate --help`` imports neither Prefect nor PyTorch.
"""

import json
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from tasks.params import Section

S = TypeVar("S", bound="Section")

app = typer.Typer(
    help="Recordings of people playing instruments become models that give a silent video its sound.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

EXIT_FAILED = 1
EXIT_QUARANTINED = 3

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would run, and run nothing.")]


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
