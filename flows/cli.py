"""The command line: ``audiate VERB``."""

import os
import sys
from typing import Annotated

import typer

from flows.commands import EXIT_FAILED, app
from tasks.errors import PipelineError

# Importing a module adds its commands, in the order in which --help lists them.
from flows.commands import stages, recordings, intake, versions, promotion, store, project, export, new_family  # noqa: F401  # isort: skip


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"audiate {version('audiate')}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    _told: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Set what holds for every verb."""
    if debug:
        os.environ["AUDIATE_DEBUG"] = "true"


def main() -> None:
    """Run the command line; an error that has a name is one line."""
    try:
        app(prog_name="audiate")
    except PipelineError as error:
        if os.environ.get("AUDIATE_DEBUG", "").lower() in ("1", "true", "yes", "on"):
            raise
        typer.echo(f"audiate: {error}", err=True)
        sys.exit(EXIT_FAILED)
