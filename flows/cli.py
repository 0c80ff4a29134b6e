"""The command line: ``audiate VERB``. Heavy imports happen in the verb that needs them."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from tasks.errors import PipelineError

if TYPE_CHECKING:
    from tasks.params import Section

S = TypeVar("S", bound="Section")

app = typer.Typer(
    help="Recordings of people playing instruments become models that give a silent video its sound.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

EXIT_FAILED = 1
EXIT_QUARANTINED = 3

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table.")]
Force = Annotated[bool, typer.Option("--force", help="Run though nothing changed.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would run, and run nothing.")]
FamilyName = Annotated[str | None, typer.Argument(help="One family; all of them when left out.")]


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Set what holds for every verb."""
    if debug:
        os.environ["AUDIATE_DEBUG"] = "true"


@app.command()
def ingest(as_json: Json = False, force: Force = False, dry_run: DryRun = False) -> None:
    """Read the raw takes: notes, facts, catalog and quarantine."""
    from rich.table import Table

    _repro("ingest", as_json=as_json, force=force, dry=dry_run)
    if dry_run:
        return
    folder = Path("data/ingested")
    catalog = json.loads((folder / "catalog.json").read_text())
    quarantine = json.loads((folder / "quarantine.json").read_text())
    if as_json:
        _print_json({"takes": catalog, "quarantine": quarantine})
    else:
        table = Table("take", "composer", "part", "minutes", "notes", "pedalled")
        for row in catalog:
            minutes = f"{row['duration_s'] / 60:.2f}"
            pedal = str(row["counts"]["sustained"])
            table.add_row(
                row["take"], row.get("composer", ""), row["part"] or "by hash", minutes, str(row["n_notes"]), pedal
            )
        _print_table(table)
        if quarantine:
            bad = Table("quarantined", "kind", "reason")
            for row in quarantine:
                bad.add_row(row["take"], row["kind"], row["reason"])
            _print_table(bad)
    if quarantine:
        raise typer.Exit(EXIT_QUARANTINED)


@app.command()
def render(
    preview: Annotated[str | None, typer.Option(metavar="TAKE", help="Write PREVIEW.mp4 of one rendered take.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where the preview goes; TAKE.mp4 by default.")
    ] = None,
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
    _print_json({"video": str(path)}) if as_json else typer.echo(f"wrote {path}")


@app.command()
def extract(as_json: Json = False, force: Force = False, dry_run: DryRun = False) -> None:
    """Compute note amplitudes and mu-law codes of every take."""
    _stage("extract", as_json=as_json, force=force, dry=dry_run)


@app.command()
def chunk(as_json: Json = False, force: Force = False, dry_run: DryRun = False) -> None:
    """Store pictures and features in Zarr, and index the segments."""
    _stage("chunk", as_json=as_json, force=force, dry=dry_run)


@app.command()
def train(family: FamilyName = None, as_json: Json = False, force: Force = False, dry_run: DryRun = False) -> None:
    """Fit the families to the training takes."""
    _stage("train", family, as_json=as_json, force=force, dry=dry_run)


@app.command()
def synthesize(family: FamilyName = None, as_json: Json = False, force: Force = False, dry_run: DryRun = False) -> None:
    """Give the silent test takes their sound."""
    _stage("synthesize", family, as_json=as_json, force=force, dry=dry_run)


@app.command()
def evaluate(family: FamilyName = None, as_json: Json = False, force: Force = False, dry_run: DryRun = False) -> None:
    """Hold the performances against the truth."""
    _stage("evaluate", family, as_json=as_json, force=force, dry=dry_run)


@app.command()
def report(as_json: Json = False, force: Force = False, dry_run: DryRun = False) -> None:
    """Make the page to look at and listen to: data/report/index.html."""
    _stage("report", as_json=as_json, force=force, dry=dry_run)


@app.command()
def notes(
    audio: Annotated[Path, typer.Argument(help="WAV, FLAC, Ogg or MP3.")],
    instrument: Annotated[str, typer.Option(help="piano, marimba, or marimba-18 (its black keys).")] = "piano",
    as_json: Json = False,
) -> None:
    """List the notes that are heard in a recording."""
    from rich.table import Table

    from tasks.notes import INSTRUMENTS, NotesParams, notes_of_file

    if instrument not in INSTRUMENTS:
        raise typer.BadParameter(f"{instrument!r}, expected one of {', '.join(INSTRUMENTS)}", param_hint="--instrument")
    found = notes_of_file(audio, instrument=instrument, params=_section("notes", NotesParams))
    if as_json:
        _print_json(found.as_json())
        return
    table = Table("onset s", "offset s", "pitch", "amplitude")
    for note in found.as_json()["notes"]:
        onset_s, offset_s = f"{note['onset_s']:.3f}", f"{note['offset_s']:.3f}"
        table.add_row(onset_s, offset_s, str(note["pitch"]), f"{note['amplitude']:.4f}")
    _print_table(table)


@app.command()
def perform(
    video: Annotated[Path, typer.Argument(help="A silent video of the keyboard from above, as render draws it.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The same pictures with sound: .mp4, .mov or .mkv.")],
    family: Annotated[str | None, typer.Option(help="Who plays, once trained; perform.family when left out.")] = None,
    as_json: Json = False,
) -> None:
    """Give a silent video its sound."""
    from rich.console import Console

    from flows.run import Settings
    from tasks.perform import PerformParams, perform_video

    params = _section("perform", PerformParams)
    family = family or params.family
    with Console(stderr=True).status("reading the video") as status:
        done = perform_video(
            video,
            out,
            family=family,
            trained=Path("data/trained") / family,
            params=params,
            accelerator=Settings().accelerator,
            progress=status.update,
        )
    n_notes = None if done.notes is None else len(done.notes)
    if as_json:
        facts = {"video": str(out), "system": done.system, "duration_s": done.duration_s, "n_notes": n_notes}
        _print_json({**facts, "n_pictures": done.n_pictures, "n_decoded": done.n_decoded})
        return
    played = "" if n_notes is None else f", {n_notes} notes"
    typer.echo(f"wrote {out}: {done.duration_s:.1f} s by {done.system}, {done.n_pictures} pictures seen{played}")


@app.command()
def preset(name: Annotated[str, typer.Argument(help="demo, study or paper")]) -> None:
    """Write params.yaml: demo takes minutes on 2 cores, study is for accuracy, paper has the published sizes."""
    from flows.presets import write_preset

    write_preset(name, Path("params.yaml"))
    typer.echo(f"params.yaml is now preset {name}")


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
        _print_json(rows)
        return
    total_s = sum(row["wall_s"] for row in rows)
    table = Table("stage", "wall s", "share", "own CPU s", "takes")
    for row in rows:
        counts = ", ".join(f"{count} {state}" for state, count in row["counts"].items() if count)
        share = f"{100 * row['wall_s'] / total_s:.0f} %"
        table.add_row(row["stage"], f"{row['wall_s']:.1f}", share, f"{row['cpu_s']:.1f}", counts)
    table.add_row("all", f"{total_s:.1f}", "100 %", "", "")
    _print_table(table)


def main() -> None:
    """Run the command line; an error that has a name is one line."""
    try:
        app(prog_name="audiate")
    except PipelineError as error:
        if os.environ.get("AUDIATE_DEBUG", "").lower() in ("1", "true", "yes", "on"):
            raise
        typer.echo(f"audiate: {error}", err=True)
        sys.exit(EXIT_FAILED)


def _section(name: str, section: "type[S]") -> "S":
    from tasks.params import PARAMS_FILE, read_params, section_values

    # Outside a project the shipped preset serves, so that a recording anywhere can be listened to.
    path = PARAMS_FILE if PARAMS_FILE.exists() else Path(__file__).parent / "presets" / "demo.yaml"
    return section.parse(section_values(read_params(path), name), name)


def _repro(stage: str, *, as_json: bool, force: bool, dry: bool) -> None:
    from tasks.versions import repro

    repro([stage], force=force, dry=dry, quiet=as_json)


def _stage(stage: str, family: str | None = None, *, as_json: bool, force: bool, dry: bool) -> None:
    name = f"{stage}@{family}" if family else stage
    _repro(name, as_json=as_json, force=force, dry=dry)
    if as_json:
        pattern = f"{name}.json" if family else f"{stage}*.json"
        _print_json([json.loads(path.read_text()) for path in sorted(Path(".audiate/runs").glob(pattern))])


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1))


def _print_table(table: Any) -> None:
    from rich.console import Console

    # Names and reasons are words, whatever brackets are in them.
    Console(markup=False, emoji=False).print(table)
