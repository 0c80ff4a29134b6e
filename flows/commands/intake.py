"""How recordings come in: by hand, and every night."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands import EXIT_QUARANTINED, DryRun, Json, app, check_there, print_json, print_table, section_of


@app.command()
def add(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of takes, or single recordings.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a take of the same name that has other files.")
    ] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Fail at once when another add or a stage is at work.")
    ] = False,
    as_json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Take recordings in: check, copy, hash and record them in data/raw."""
    if not any(folder.exists() for folder in folders):  # one of several that is missing is set aside
        check_there(*folders)
    from dataclasses import asdict

    from rich.table import Table

    from tasks.add import add_takes
    from tasks.ingest import IngestParams

    params = section_of("ingest", IngestParams).of_a_take()
    summary = add_takes(
        folders,
        params=params,
        dry_run=dry_run,
        replace=replace,
        wait=not no_wait,
        tell=lambda line: typer.echo(line, err=True),
    )
    counts = summary.counts()
    if as_json:
        print_json({"rows": [asdict(row) for row in summary.rows], "counts": counts, "dry_run": dry_run})
    else:
        table = Table("take", "device", "state", "kind", "reason")
        for row in summary.rows:
            table.add_row(row.take, row.device, row.state, row.kind, row.reason)
        print_table(table)
        would = "would be " if dry_run else ""
        typer.echo(", ".join(f"{count} {would}{state}" for state, count in counts.items()))
    if counts["quarantined"]:
        raise typer.Exit(EXIT_QUARANTINED)


@app.command()
def watch(
    inbox: Annotated[Path, typer.Argument(metavar="INBOX", help="Folder that recordings arrive in; only read.")],
    serve: Annotated[
        bool, typer.Option("--serve", help="Run by a schedule until stopped; without it once, now.")
    ] = False,
    interval_s: Annotated[float | None, typer.Option("--interval", help="Seconds between two runs.")] = None,
    cron: Annotated[str | None, typer.Option(help="Schedule as cron writes it: '0 2 * * *'.")] = None,
    settle_s: Annotated[float, typer.Option("--settle", help="Seconds that a folder must not have changed.")] = 60.0,
    commit: Annotated[bool, typer.Option(help="Make one git commit of each new data version.")] = True,
    push: Annotated[bool, typer.Option(help="Push the data where a remote is configured.")] = True,
    train: Annotated[
        bool, typer.Option("--train", help="Train every family anew; without it, promoted weights score what came in.")
    ] = False,
    notify: Annotated[
        str | None, typer.Option(help="Command that is given what happened as JSON on its standard input.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Take in what has settled in a folder, score it, compare, commit and push: now, or every night."""
    if not serve and notify is None:  # whoever is to be told is told of a missing inbox too
        check_there(inbox)
    import shlex

    from flows.watch import watch_forever, watch_once

    command = shlex.split(notify) if notify else []
    if serve:
        watch_forever(
            inbox,
            interval_s=interval_s,
            cron=cron,
            settle_s=settle_s,
            commit=commit,
            push_data=push,
            notify=command,
            train=train,
        )
        return
    done = watch_once(
        inbox, settle_s=settle_s, commit=commit, push_data=push, notify=command, train=train, quiet=as_json
    )
    if as_json:
        print_json(done)
    if done["quarantined"]:
        raise typer.Exit(EXIT_QUARANTINED)
