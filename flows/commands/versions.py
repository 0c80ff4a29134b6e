"""What became of the data, and what it changed."""

from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands import EXIT_FAILED, Json, app, known_family, print_json, print_table, section_of

if TYPE_CHECKING:
    from tasks.versions.show import Table


@app.command()
def replicate(
    family: Annotated[str, typer.Argument(help="A family of params.yaml.", callback=known_family)],
    seeds: Annotated[int, typer.Option("--seeds", help="How many, after the seed of params.yaml.")] = 5,
    as_json: Json = False,
) -> None:
    """Measure what seeds move in a family's figures: data/replicates/FAMILY.json, which compare uses."""
    import json
    from pathlib import Path

    from flows.run import Settings
    from tasks.families import load_family
    from tasks.numerics import NumericsParams, pin_networks
    from tasks.params import read_params, section_values
    from tasks.replicate import replicate as work
    from tasks.score import ScoreParams

    values = read_params()
    networks = section_of("numerics", NumericsParams).networks
    pin_networks(networks)  # before the family is loaded
    adapter, settings = load_family(family), Settings()
    named = {name: section_values(values, name) for name in ("synthesize", "evaluate", "notes")}
    path = work(
        family,
        seeds,
        params=adapter.params_class.parse(section_values(values, f"train.{family}"), f"train.{family}"),
        stages=ScoreParams.parse(named, "params.yaml"),
        networks=networks,
        data=Path("data/chunked") / adapter.data,
        accelerator=settings.accelerator,
        workers=settings.workers,
        tell=lambda line: typer.echo(line, err=True),
    )
    if as_json:
        print_json(json.loads(path.read_text(encoding="utf-8")))
    else:
        typer.echo(f"wrote {path}: commit it, and compare tells what seeds move from what changed")


@app.command()
def compare(
    old: Annotated[
        str,
        typer.Argument(metavar="OLD", help="A commit, tag, branch, DVC experiment, or folder of another project."),
    ],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The same, or WORKSPACE for what stands here.")],
    as_json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown instead of tables.")] = False,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            metavar="worse|different|FAMILY/SYSTEM/METRIC",
            help="Exit with 1 when any figure is called worse, any is called different, or that figure is worse.",
        ),
    ] = None,
    attributed: Annotated[
        str | None,
        typer.Option(
            "--attribute",
            metavar="FAMILY",
            callback=known_family,
            help="Rerun a family of NEW with OLD's params, and with OLD's recordings, and tell what each one moved.",
        ),
    ] = None,
) -> None:
    """Tell what changed between two versions: takes, params, code, and every figure with its interval."""
    from tasks.attribute import attribute
    from tasks.compare import CompareParams, compare_versions, failing
    from tasks.versions.history import read_version
    from tasks.versions.show import advice, markdown_of, tables_of, undone_table

    versions, params = (read_version(old), read_version(new)), section_of("compare", CompareParams)
    comparison = compare_versions(*versions, params)
    failed = failing(comparison, fail_on or ())
    undone = {}
    if attributed is not None:
        undone = attribute(
            comparison, attributed, *versions, params=params, tell=lambda line: typer.echo(line, err=True)
        )
    effects = [undone_table(cause, attributed or "", found) for cause, found in undone.items()]
    if as_json:
        effects_of = {cause: found.as_json()["differences"] for cause, found in undone.items()}
        print_json({**comparison.as_json(), **({"attributed": effects_of} if undone else {})})
    elif markdown:
        typer.echo(markdown_of(comparison, effects), nl=False)
    else:
        for table in [*tables_of(comparison), *effects]:
            _print(table)
        typer.echo(advice(comparison))
    if failed:
        first = failed[0]
        others = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        typer.echo(f"compare: {first.family}/{first.system}/{first.metric} is {first.verdict}{others}", err=True)
        raise typer.Exit(EXIT_FAILED)


def _print(table: "Table") -> None:
    from rich.table import Table as Grid

    grid = Grid(*table.header, title=table.title, title_justify="left")
    for row in table.rows:
        grid.add_row(*row)
    if table.rows:
        print_table(grid)
