"""Which weights serve, and whether a version may pass."""

from typing import Annotated

import typer

from flows.commands import EXIT_FAILED, DryRun, Json, app, known_family, print_json, print_table, section_of


@app.command()
def promote(
    family: Annotated[
        str, typer.Argument(metavar="FAMILY", help="A family whose weights shall serve.", callback=known_family)
    ],
    revision: Annotated[
        str | None,
        typer.Option("--revision", metavar="REV", help="Weights of this git revision; by default those trained here."),
    ] = None,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take the family's promotion back.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Let a version's weights serve: perform, separate and the nights use them until others are promoted."""
    from dataclasses import asdict

    from tasks.promote import promote as promote_family
    from tasks.promote import withdraw as take_back
    from tasks.versions.history import WORKSPACE, read_version

    if withdraw:
        if not dry_run:
            take_back(family)
        print_json({"family": family, "withdrawn": not dry_run}) if as_json else typer.echo(
            f"{family} {'would be' if dry_run else 'is'} promoted no more; git rm data/promoted/{family}.dvc, commit"
        )
        return
    done = promote_family(
        family,
        read_version(revision or WORKSPACE),
        tell=lambda line: typer.echo(line, err=True),
        dry_run=dry_run,
    )
    if as_json:
        print_json({**asdict(done), "dry_run": dry_run})
        return
    commit = "not committed yet" if done.commit is None else f"commit {done.commit[:10]}"
    would = "would serve" if dry_run else "serves"
    typer.echo(
        f"{family} {would}: {commit}, data version {done.data_version}, learned from {len(done.learned)} takes of "
        f"{len(done.pieces)} pieces" + ("" if dry_run else f"; commit data/promoted/{family}.dvc")
    )


@app.command()
def score(
    as_json: Json = False,
    force: Annotated[bool, typer.Option("--force", help="Run though nothing changed.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Score the promoted weights on takes that they have not learned from."""
    from rich.table import Table

    from tasks.metrics.table import METRICS
    from tasks.promote import names
    from tasks.score import HEADLINES, read_scores
    from tasks.versions.repro import repro

    planned = repro(["code", "score"], force=force, dry=dry_run, quiet=as_json)
    if dry_run:
        if as_json:
            print_json({"dry_run": True, "would_run": planned})
        return
    rows = [row for family in names() for row in read_scores(family)]
    metrics = {metric.key: metric for metric in METRICS}
    if as_json:
        print_json([{**vars(row), "figures": dict(row.figures)} for row in rows])
        return
    table = Table("family", "system", "take", "", "figures")
    for row in rows:
        shown = [metrics[key] for key in HEADLINES if key in row.figures]
        words = ", ".join(f"{metric.label} {row.figures[metric.key]:.{metric.digits}f}" for metric in shown)
        if row.role in ("", "model"):
            table.add_row(row.family, row.system, row.take, "apart" if row.apart else "", words)
    print_table(table)


@app.command()
def gate(
    old: Annotated[str, typer.Argument(metavar="OLD", help="A git revision.")] = "HEAD",
    new: Annotated[str, typer.Argument(metavar="NEW", help="A git revision, or WORKSPACE.")] = "WORKSPACE",
    as_json: Json = False,
) -> None:
    """Decide by the rules of params.yaml whether the new version may pass; exit 1 when it may not."""
    from rich.table import Table

    from tasks.compare import CompareParams, compare_versions
    from tasks.families import families_of
    from tasks.gate import GateParams, decide
    from tasks.params import read_params
    from tasks.promote import names
    from tasks.score import read_scores
    from tasks.versions.history import read_version

    rules, families = section_of("gate", GateParams), families_of(read_params())
    comparison = compare_versions(read_version(old), read_version(new), section_of("compare", CompareParams))
    scores = (row for family in names() for row in read_scores(family))
    decided = decide(comparison, scores, rules, families=families)
    if as_json:
        print_json(decided.as_json())
    else:
        table = Table("figure", "of", "", "found")
        for one in decided.decisions:
            table.add_row(one.rule, one.of, one.state, one.words)
        print_table(table)
        typer.echo("the gate holds" if decided.holds else f"the gate fell: {len(decided.fell)} of its rules")
    if not decided.holds:
        raise typer.Exit(EXIT_FAILED)
