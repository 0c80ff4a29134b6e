"""What became of the data, and what it changed."""

from typing import Annotated

import typer

from flows.commands import Json, app, print_json, print_table, section_of


@app.command()
def compare(
    old: Annotated[str, typer.Argument(metavar="OLD", help="A git revision.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="A git revision, or WORKSPACE for what stands here.")],
    as_json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown instead of tables.")] = False,
) -> None:
    """Tell what changed between two data versions: takes, params, and every figure with its interval."""
    from rich.table import Table

    from tasks.compare import CompareParams, advice, compare_versions, markdown_of, tables_of
    from tasks.versions.history import read_version

    comparison = compare_versions(read_version(old), read_version(new), section_of("compare", CompareParams))
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
