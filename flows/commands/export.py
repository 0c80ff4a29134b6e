"""Data sets for other people's loaders."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from flows.commands import DryRun, Json, app, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

Name = TypeVar("Name", bound=str)


@app.command()
def export(
    form: Annotated[str, typer.Argument(metavar="FORMAT", help="webdataset, huggingface or npz.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A folder that is new or empty.")],
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="scores, captures or ensembles; repeat it; all if left out.")
    ] = None,
    part: Annotated[
        list[str] | None, typer.Option("--part", help="train, validation or test; repeat it; all if left out.")
    ] = None,
    as_json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Write the data sets for other loaders: tar shards, Parquet or npz files, with a data card (README.md)."""
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Column, Table

    from tasks.export import FORMATS, KINDS
    from tasks.export import export as export_sets
    from tasks.takes import PARTS

    known = _known([form], FORMATS, "FORMAT")
    with Console(stderr=True).status("reading") as status:
        written = export_sets(
            known[0],
            out,
            kinds=_known(kind or KINDS, KINDS, "--kind"),
            parts=_known(part or PARTS, PARTS, "--part"),
            tell=status.update,
            dry_run=dry_run,
        )
    if as_json:
        print_json({"format": form, "out": str(out), "dry_run": dry_run, "subsets": [asdict(one) for one in written]})
        return
    table = Table(Column("subset", overflow="fold"), "part", "takes", "examples", "hours", "GB, uncompressed")
    for one in written:
        about = "about " if dry_run else ""
        counts = str(len(one.takes)), str(one.n_examples), f"{one.hours:.3f}", f"{about}{one.n_bytes / 1e9:.3f}"
        table.add_row(one.name, one.part, *counts)
    print_table(table)
    typer.echo(f"{out} would be written" if dry_run else f"wrote {out}; {out / 'README.md'} is its data card")


def _known(names: "Sequence[str]", known: "Sequence[Name]", option: str) -> "list[Name]":
    """Return the names in the order in which they are known, each once; another one is wrong use."""
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"{name!r} is unknown, expected one of {', '.join(known)}", param_hint=option)
    return [name for name in known if name in names]
