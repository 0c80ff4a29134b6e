"""The stages of dvc.yaml: each runs ``code``, then that stage through DVC."""

import json
from pathlib import Path
from typing import Annotated

import typer

from flows.commands import EXIT_QUARANTINED, DryRun, Json, app, known_family, print_json, print_table

Force = Annotated[bool, typer.Option("--force", help="Run though nothing changed.")]
FamilyName = Annotated[
    str | None, typer.Argument(help="One family; by default all of params.yaml.", callback=known_family)
]


@app.command()
def code(as_json: Json = False, force: Force = False, dry_run: DryRun = False) -> None:
    """Record which code each stage rests on: data/code.json."""
    _repro("code", as_json=as_json, force=force, dry=dry_run)
    if as_json and not dry_run:
        typer.echo(Path("data/code.json").read_text(encoding="utf-8"), nl=False)


@app.command()
def film(as_json: Json = False, force: Force = False, dry_run: DryRun = False) -> None:
    """Film the bundled pieces with virtual cameras and microphones, whose clocks and places are known."""
    _stage("film", as_json=as_json, force=force, dry=dry_run)


@app.command()
def ingest(as_json: Json = False, force: Force = False, dry_run: DryRun = False) -> None:
    """Read all takes: check every file, list what is accepted, and what is quarantined and why."""
    from rich.table import Table

    from tasks.intake.record import refused_devices

    _repro("ingest", as_json=as_json, force=force, dry=dry_run)
    if dry_run:
        return
    folder = Path("data/ingested")
    catalog = json.loads((folder / "catalog.json").read_text())
    quarantine = json.loads((folder / "quarantine.json").read_text())
    devices = [device for row in catalog for device in refused_devices(row)]
    if as_json:
        print_json({"takes": catalog, "quarantine": quarantine})
    else:
        table = Table("take", "composer", "part", "minutes", "notes", "pedalled")
        for row in catalog:
            minutes = f"{row['duration_s'] / 60:.2f}"
            pedal = str(row.get("counts", {}).get("sustained", ""))
            table.add_row(
                row["take"], row.get("composer", ""), row["part"] or "by hash", minutes, str(row["n_notes"]), pedal
            )
        print_table(table)
        for row in catalog:
            for notice in row.get("notices", ()):
                typer.echo(f"{row['take']}: {notice}")
        if quarantine or devices:
            bad = Table("quarantined", "kind", "reason")
            for row in quarantine:
                bad.add_row(row["take"], row["kind"], row["reason"])
            for device in devices:
                bad.add_row(f"{device.take}/{device.name}", device.kind, device.reason)
            print_table(bad)
    if quarantine or devices:
        raise typer.Exit(EXIT_QUARANTINED)


@app.command()
def render(
    preview: Annotated[
        str | None, typer.Option(metavar="TAKE", help="Write one rendered take as a video with sound; run nothing.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File of the preview; by default TAKE.mp4.")] = None,
    as_json: Json = False,
    force: Force = False,
    dry_run: DryRun = False,
) -> None:
    """Play every score on the simulated piano, or show one take as a video with sound."""
    if preview is None:
        _stage("render", as_json=as_json, force=force, dry=dry_run)
        return
    from fractions import Fraction

    from tasks.render import preview as write_preview

    path = out or Path(f"{preview}.mp4")
    write_preview(preview, path, frame_rate=Fraction(25))
    print_json({"video": str(path)}) if as_json else typer.echo(f"wrote {path}")


@app.command()
def synchronize(as_json: Json = False, force: Force = False, dry_run: DryRun = False) -> None:
    """Place the devices of every capture on one clock."""
    _stage("synchronize", as_json=as_json, force=force, dry=dry_run)


@app.command()
def extract(as_json: Json = False, force: Force = False, dry_run: DryRun = False) -> None:
    """Compute note amplitudes and mu-law codes of every take."""
    _stage("extract", as_json=as_json, force=force, dry=dry_run)


@app.command()
def chunk(as_json: Json = False, force: Force = False, dry_run: DryRun = False) -> None:
    """Store pictures, sound and features as arrays, and index the training examples."""
    _stage("chunk", as_json=as_json, force=force, dry=dry_run)


@app.command()
def train(family: FamilyName = None, as_json: Json = False, force: Force = False, dry_run: DryRun = False) -> None:
    """Train the families, or one of them."""
    _stage("train", family, as_json=as_json, force=force, dry=dry_run)


@app.command()
def synthesize(family: FamilyName = None, as_json: Json = False, force: Force = False, dry_run: DryRun = False) -> None:
    """Give the silent test takes their sound."""
    _stage("synthesize", family, as_json=as_json, force=force, dry=dry_run)


@app.command()
def evaluate(family: FamilyName = None, as_json: Json = False, force: Force = False, dry_run: DryRun = False) -> None:
    """Compare what was synthesized with the true sound and notes, take by take."""
    _stage("evaluate", family, as_json=as_json, force=force, dry=dry_run)


@app.command()
def report(as_json: Json = False, force: Force = False, dry_run: DryRun = False) -> None:
    """Make the page to look at and listen to: data/report/index.html."""
    _stage("report", as_json=as_json, force=force, dry=dry_run)


def _repro(stage: str, *, as_json: bool, force: bool, dry: bool) -> None:
    """Run ``code`` and a stage; of a dry run print the stages that would run, where JSON is expected."""
    from flows.presets import check_sections
    from tasks.families import families_of
    from tasks.params import read_params
    from tasks.versions.repro import repro

    params = read_params()  # an old params.yaml is one line here, and a page of DVC's words there
    check_sections(params)
    families_of(params)
    planned = repro(["code"] if stage == "code" else ["code", stage], force=force, dry=dry, quiet=as_json)
    if dry and as_json:
        print_json({"dry_run": True, "would_run": planned})


def _stage(stage: str, family: str | None = None, *, as_json: bool, force: bool, dry: bool) -> None:
    name = f"{stage}@{family}" if family else stage
    _repro(name, as_json=as_json, force=force, dry=dry)
    if as_json and not dry:
        pattern = f"{name}.json" if family else f"{stage}*.json"
        print_json([json.loads(path.read_text()) for path in sorted(Path(".audiate/runs").glob(pattern))])
