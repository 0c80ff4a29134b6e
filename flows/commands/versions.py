"""What became of the data, and what it changed."""

from typing import Annotated

import typer

from flows.commands import EXIT_FAILED, Json, app, print_json, print_table, section_of


@app.command()
def replicate(
    family: Annotated[str, typer.Argument(help="A family of params.yaml.")],
    seeds: Annotated[int, typer.Option("--seeds", help="How many, after the seed of params.yaml.")] = 5,
    as_json: Json = False,
) -> None:
    """Measure what seeds move in a family's figures: data/replicates/FAMILY.json, which compare uses."""
    import json
    from pathlib import Path

    from flows.run import Settings
    from tasks.families import load_family
    from tasks.params import read_params, section_values
    from tasks.replicate import Stages
    from tasks.replicate import replicate as work

    values = read_params()
    adapter, settings = load_family(family), Settings()
    named = {name: section_values(values, name) for name in ("synthesize", "evaluate", "notes")}
    path = work(
        family,
        seeds,
        params=adapter.params_class.parse(section_values(values, f"train.{family}"), f"train.{family}"),
        stages=Stages.parse({**named, "networks": section_values(values, "numerics.networks")}, "params.yaml"),
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
) -> None:
    """Tell what changed between two versions: takes, params, code, and every figure with its interval."""
    from rich.table import Table

    from tasks.compare import CompareParams, compare_versions, failing
    from tasks.versions.history import read_version
    from tasks.versions.show import advice, markdown_of, tables_of

    comparison = compare_versions(read_version(old), read_version(new), section_of("compare", CompareParams))
    failed = failing(comparison, fail_on or ())
    if as_json:
        print_json(comparison.as_json())
    elif markdown:
        typer.echo(markdown_of(comparison), nl=False)
    else:
        for found in tables_of(comparison):
            table = Table(*found.header, title=found.title, title_justify="left")
            for row in found.rows:
                table.add_row(*row)
            if found.rows:
                print_table(table)
        typer.echo(advice(comparison))
    if failed:
        first = failed[0]
        others = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        typer.echo(f"compare: {first.family}/{first.system}/{first.metric} is {first.verdict}{others}", err=True)
        raise typer.Exit(EXIT_FAILED)
