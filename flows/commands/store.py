"""The store over years: where things come from, how figures moved, what is kept, and what must go."""

import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flows.commands import Json, app, print_json, print_table

SHOWN_DIGITS = 16
SHOWN_COMMIT = 9
SHOWN_SUBJECT = 60


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
    table = Table(
        Column("date", no_wrap=True), Column("commit", no_wrap=True), "data version", "value", "change", "subject"
    )
    last: float | None = None
    for point in points:
        change = "" if last is None or point.value is None else f"{point.value - last:+.6g}"
        value = "none" if point.value is None else f"{point.value:.6g}"
        table.add_row(
            point.at[:10], point.commit[:SHOWN_COMMIT], point.data_version or "", value, change, _short(point.subject)
        )
        last = last if point.value is None else point.value
    print_table(table)


@app.command()
def gc(
    keep: Annotated[int, typer.Option("--keep", min=1, help="Versions that stay whatever the budget.")] = 10,
    budget_gb: Annotated[
        float | None,
        typer.Option("--budget", min=0, metavar="GB", help="Older versions stay while they fit into this."),
    ] = None,
    remote: Annotated[bool, typer.Option("--remote", help="Clear DVC's default remote too.")] = False,
    shared: Annotated[
        bool, typer.Option("--shared", help="Clear a cache outside the project, which others may use, all the same.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove it; without --yes, only say what would be removed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Clear DVC's cache of old versions; what stands here, the last ones, tags and branches stay."""
    from rich.table import Column, Table

    from tasks.gc import GB, collect

    found = collect(
        keep=keep,
        budget_bytes=None if budget_gb is None else round(budget_gb * GB),
        remote=remote,
        shared=shared,
        dry_run=not yes,
        tell=lambda line: typer.echo(line, err=True),
    )
    n_runs = _trimmed_runs(found.oldest_kept) if yes else None
    if as_json:
        print_json({**asdict(found), "n_prefect_runs": n_runs})
        return
    places = ", ".join(sweep.shelf for sweep in found.sweeps)
    header = Column("date", no_wrap=True), Column("version", no_wrap=True), "becomes", f"own MB in {places}", "subject"
    table = Table(*header)
    for fate in found.fates:
        own_mb = ", ".join(f"{n_bytes / 1e6:.1f}" for n_bytes in fate.n_bytes.values())
        name = fate.name[:SHOWN_COMMIT]
        missing = "" if fate.is_whole else "not whole here"
        becomes = ", ".join(word for word in (fate.stays, missing) if word) or "UNREACHABLE"
        table.add_row(fate.at[:10], name, becomes, own_mb, _short(fate.subject))
    print_table(table)
    for sweep in found.sweeps:
        typer.echo(
            f"{sweep.shelf} ({sweep.where}): {sweep.n_objects} objects, {sweep.n_bytes / GB:.3f} GB "
            f"{'gone' if yes else 'would go'}, {sweep.n_bytes_of_none / GB:.3f} GB of them of runs that were never "
            f"committed; {sweep.n_bytes_left / GB:.3f} GB stay"
        )
    if n_runs is not None:
        typer.echo(f"Prefect: {n_runs} runs that ended before the oldest of the last {keep} versions were deleted")
    if not yes:
        typer.echo("nothing was removed: --yes does it, and deletes Prefect's runs from before the last versions")


def _trimmed_runs(before: str) -> int | None:
    from datetime import datetime

    from flows.runs import trim_runs

    return trim_runs(datetime.fromisoformat(before)) if before else None


@app.command()
def forget(
    takes: Annotated[list[str], typer.Argument(metavar="TAKE...", help="Takes of data/raw.")],
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Remove the models that learned from them, and what these made.")
    ] = False,
    everywhere: Annotated[
        bool, typer.Option("--everywhere", help="Remove their files from DVC's cache and remote too, of all versions.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove it; without --yes, only say what would be removed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Remove takes whose consent was withdrawn, and name the models that learned from them."""
    from rich.table import Column, Table

    from tasks.forget import forget as forget_takes

    found = forget_takes(
        takes,
        withdraw=withdraw,
        everywhere=everywhere,
        dry_run=not yes,
        tell=lambda line: typer.echo(line, err=True),
    )
    if as_json:
        print_json(asdict(found))
        return
    table = Table("what", "name", "becomes" if not yes else "became", title_justify="left")
    for path in (*found.paths, *found.memories):
        kind, what = ("memory", "cleared of it") if path in found.memories else ("data", "removed")
        table.add_row(kind, path, what)
    for model in found.models:
        table.add_row("model", model.family, f"{model.how} ({model.take})" + (", withdrawn" if withdraw else ""))
    for removal in found.removals:
        what = "removed" if everywhere else "kept"
        shared = f", {removal.n_shared} that others share stay" if removal.n_shared else ""
        table.add_row(
            "objects", f"{removal.n_objects} of {removal.shelf}", f"{what}, {removal.n_bytes / 1e6:.1f} MB{shared}"
        )
    print_table(table)
    if found.holdings:
        table = Table(Column("date", no_wrap=True), Column("version", no_wrap=True), "files", "objects", "subject")
        for holding in found.holdings:
            objects = ", ".join(f"{count} in {shelf}" for shelf, count in holding.n_objects.items())
            name = holding.name[:SHOWN_COMMIT]
            table.add_row(holding.at[:10], name, str(holding.n_files), objects, _short(holding.subject))
        print_table(table)
    for line in found.advice:
        typer.echo(line)
    if not yes:
        typer.echo("nothing was removed: --yes does it")


def _short(subject: str) -> str:
    return textwrap.shorten(subject, SHOWN_SUBJECT, placeholder=" ...")
