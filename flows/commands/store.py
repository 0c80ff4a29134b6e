"""The store over years: where things come from, how figures moved, what is kept, and what must go."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flows.commands import Json, app, print_json, print_table

SHOWN_DIGITS = 16
SHOWN_COMMIT = 9


@app.command()
def trace(
    name: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="TAKE, FAMILY/SYSTEM/METRIC[/TAKE], a segment's id, a path in data/, or a recording's name or sha256.",
        ),
    ],
    as_json: Json = False,
) -> None:
    """Say what something was made from and what was made from it, both ways, from receipts and dvc.lock alone."""
    from rich.table import Table

    from tasks.trace import trace as trace_name

    found = trace_name(name)
    if as_json:
        print_json(asdict(found))
        return
    typer.echo(f"{found.kind} {found.subject}: {found.detail}")
    for direction, title in (("from", "made from"), ("into", "made into")):
        table = Table("what", "name", "digest", "detail", title=title, title_justify="left")
        for link in found.links:
            if link.direction == direction:
                table.add_row(link.what, link.name, link.digest[:SHOWN_DIGITS], link.detail)
        if table.row_count:
            print_table(table)


@app.command()
def history(
    metric: Annotated[
        str, typer.Argument(metavar="METRIC", help="FAMILY/SYSTEM/METRIC, FAMILY/METRIC, or data/METRIC.")
    ],
    plot: Annotated[Path | None, typer.Option("--plot", metavar="OUT", help="Draw it: .png, .svg or .pdf.")] = None,
    as_json: Json = False,
) -> None:
    """Follow a figure through all versions in git, with the data version of each."""
    from rich.table import Column, Table

    from tasks.history import history as history_of
    from tasks.history import plot as plot_points

    points = history_of(metric)
    if plot is not None:
        try:
            plot_points(points, metric, plot)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--plot") from None
    if as_json:
        print_json([asdict(point) for point in points])
        return
    subject = Column("subject", no_wrap=True, overflow="ellipsis")
    table = Table("date", "commit", "data version", "value", "change", subject)
    last: float | None = None
    for point in points:
        change = "" if last is None or point.value is None else f"{point.value - last:+.6g}"
        value = "none" if point.value is None else f"{point.value:.6g}"
        table.add_row(
            point.at[:10], point.commit[:SHOWN_COMMIT], point.data_version or "", value, change, point.subject
        )
        last = last if point.value is None else point.value
    print_table(table)
