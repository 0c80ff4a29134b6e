"""The project itself: its params, its health, what its runs took."""

import json
from pathlib import Path
from typing import Annotated

import typer

from flows.commands import EXIT_FAILED, DryRun, Json, app, known_family, print_json, print_table, section_of
from tasks.errors import PipelineError


@app.command()
def preset(
    name: Annotated[str, typer.Argument(help="demo, study, study-8khz, study-16khz or paper")],
    force: Annotated[bool, typer.Option("--force", help="Replace a params.yaml that was edited, too.")] = False,
    as_json: Json = False,
) -> None:
    """Write params.yaml: demo takes minutes on 2 cores, study is for accuracy, paper has the published sizes."""
    from flows.presets import PRESETS, is_edited, write_preset

    path = Path("params.yaml")
    if name not in PRESETS:
        raise typer.BadParameter(f"{name!r} is unknown, expected one of {', '.join(PRESETS)}", param_hint="NAME")
    if not force and is_edited(path):
        raise PipelineError(
            f"{path} is no preset as it came, it was edited: --force replaces it, and its edits are lost"
        )
    write_preset(name, path)
    print_json({"preset": name, "path": str(path)}) if as_json else typer.echo(f"params.yaml is now preset {name}")


@app.command()
def timings(as_json: Json = False) -> None:
    """Show each stage's share of the last run."""
    from rich.table import Table

    rows = sorted(
        (json.loads(p.read_text()) for p in Path(".audiate/runs").glob("*.json")), key=lambda row: row["finished_at"]
    )
    if not rows:
        raise PipelineError("no stage has run here yet: run dvc repro first")
    if as_json:
        print_json(rows)
        return
    total_s = sum(row["wall_s"] for row in rows)
    table = Table("stage", "wall s", "share", "own CPU s", "takes")
    for row in rows:
        counts = ", ".join(f"{count} {state}" for state, count in row["counts"].items() if count)
        share = f"{100 * row['wall_s'] / total_s:.0f} %"
        table.add_row(row["stage"], f"{row['wall_s']:.1f}", share, f"{row['cpu_s']:.1f}", counts)
    table.add_row("all", f"{total_s:.1f}", "100 %", "", "")
    print_table(table)


@app.command()
def search(
    family: Annotated[str, typer.Argument(help="A family that trains in steps.", callback=known_family)],
    trials: Annotated[int, typer.Option("--trials", min=1, help="How many in all, those of an earlier search too.")],
    promote: Annotated[bool, typer.Option("--promote", help="Write the winner to params.yaml.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Look for the parameters that a family learns best with: Optuna proposes, DVC experiments train."""
    from rich.table import Table

    from tasks.families import load_family
    from tasks.search import SearchParams
    from tasks.search import promote as promote_winner
    from tasks.search import search as run_search

    params = section_of("search", SearchParams)
    if dry_run:
        ranges = params.ranges.get(family, {})
        if as_json:
            spans = {name: {"low": span.low, "high": span.high, "log": span.log} for name, span in ranges.items()}
            print_json({"dry_run": True, "family": family, "trials": trials, "ranges": spans})
            return
        for name, span in ranges.items():
            typer.echo(f"{name}: {span.low:g} to {span.high:g}{', log-uniform' if span.log else ''}")
        typer.echo(
            f"{trials} trials of train@{family}, {params.n_at_once} at once" if ranges else "nothing to look for"
        )
        return
    data = Path("data/chunked") / load_family(family).data
    found = run_search(family, trials, params=params, data=data, tell=lambda line: typer.echo(line, err=True))
    if promote:
        promote_winner(found)
    if as_json:
        rows = [{**vars(one), "values": dict(one.values)} for one in found.tried]
        print_json({"best": None if found.best is None else found.best.number, "trials": rows})
        return
    table = Table("trial", *(found.tried[0].values if found.tried else ()), "state", "first rung", "loss")
    for one in found.tried:
        star = "*" if found.best is not None and one.number == found.best.number else ""
        values = [f"{value:.4g}" for value in one.values.values()]
        table.add_row(f"{one.number}{star}", *values, one.state, f"{one.first_loss:.5g}", f"{one.loss:.5g}")
    print_table(table)
    typer.echo(f"{found.table}, {found.plot}" + ("; params.yaml has the winner" if promote else ""))


@app.command()
def doctor(
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every byte of all outputs and of DVC's cache once more.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say whether tools, takes and (--deep) the cache are what they were, exit 1 if not; and what the data holds."""
    from rich.table import Table

    from tasks.doctor import examine

    findings = examine(deep=deep, tell=lambda line: typer.echo(line, err=True))
    if as_json:
        print_json([{**vars(finding)} for finding in findings])
    else:
        table = Table("what", "state", "found", "what to do")
        for finding in findings:
            table.add_row(finding.subject, "well" if finding.is_well else "WRONG", finding.found, finding.advice)
        print_table(table)
    if not all(finding.is_well for finding in findings):
        raise typer.Exit(EXIT_FAILED)
