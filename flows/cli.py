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
def code(as_json: Json = False, force: Force = False, dry_run: DryRun = False) -> None:
    """Record which code each stage rests on: data/code.json."""
    _repro("code", as_json=as_json, force=force, dry=dry_run)
    if as_json and not dry_run:
        typer.echo(Path("data/code.json").read_text(encoding="utf-8"), nl=False)


@app.command()
def film(as_json: Json = False, force: Force = False, dry_run: DryRun = False) -> None:
    """Record scores with virtual cameras and microphones, whose truth is known."""
    _stage("film", as_json=as_json, force=force, dry=dry_run)


@app.command()
def ingest(as_json: Json = False, force: Force = False, dry_run: DryRun = False) -> None:
    """Read the raw takes: notes, facts, catalog and quarantine."""
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
        _print_json({"takes": catalog, "quarantine": quarantine})
    else:
        table = Table("take", "composer", "part", "minutes", "notes", "pedalled")
        for row in catalog:
            minutes = f"{row['duration_s'] / 60:.2f}"
            pedal = str(row["counts"].get("sustained", ""))
            table.add_row(
                row["take"], row.get("composer", ""), row["part"] or "by hash", minutes, str(row["n_notes"]), pedal
            )
        _print_table(table)
        if quarantine or devices:
            bad = Table("quarantined", "kind", "reason")
            for row in quarantine:
                bad.add_row(row["take"], row["kind"], row["reason"])
            for device in devices:
                bad.add_row(f"{device.take}/{device.name}", device.kind, device.reason)
            _print_table(bad)
    if quarantine or devices:
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
def synchronize(as_json: Json = False, force: Force = False, dry_run: DryRun = False) -> None:
    """Place the devices of every capture on one clock."""
    _stage("synchronize", as_json=as_json, force=force, dry=dry_run)


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
    """List the notes of a recording."""
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
    video: Annotated[
        Path,
        typer.Argument(help="Any video; a family that learned from scores wants the keyboard as render draws it."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The same pictures with sound: .mp4, .mov or .mkv.")],
    family: Annotated[str | None, typer.Option(help="The family, once trained; perform.family when left out.")] = None,
    crop: Annotated[
        str | None, typer.Option(metavar="X,Y,W,H", help="Use this part of the picture only; as in take.yaml.")
    ] = None,
    corners: Annotated[
        str | None,
        typer.Option(metavar="X,Y,...", help="Four corners of the instrument, far left first, clockwise; as there."),
    ] = None,
    notes_out: Annotated[
        Path | None, typer.Option("--notes", metavar="OUT.mid", help="Write the detected notes.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Give a silent video its sound. The take.yaml beside a camera's file says where to look; options come first."""
    from dataclasses import replace

    from rich.console import Console

    from flows.run import Settings
    from tasks.chunk import ChunkParams
    from tasks.perform import PerformParams, perform_video, region_of

    params = _section("perform", PerformParams)
    family = family or params.family
    region = region_of(video, margins=_section("chunk", ChunkParams).camera_margins)
    if crop is not None:
        x, y, width, height = _numbers(crop, 4, "--crop")
        if min(x, y) < 0 or min(width, height) < 1:
            raise typer.BadParameter(f"{crop!r}, expected x,y,width,height in pixels", param_hint="--crop")
        region = replace(region, crop=(int(x), int(y), int(width), int(height)), corners=None)
    if corners is not None:
        at = _numbers(corners, 8, "--corners")
        region = replace(region, corners=tuple(zip(at[::2], at[1::2], strict=True)))
    with Console(stderr=True).status("reading the video") as status:
        done = perform_video(
            video,
            out,
            family=family,
            trained=Path("data/trained") / family,
            params=params,
            accelerator=Settings().accelerator,
            progress=status.update,
            region=region,
            notes_out=notes_out,
        )
    n_notes = None if done.notes is None else len(done.notes)
    if as_json:
        facts = {"video": str(out), "system": done.system, "duration_s": done.duration_s, "n_notes": n_notes}
        _print_json({**facts, "n_pictures": done.n_pictures, "n_decoded": done.n_decoded})
        return
    played = "" if n_notes is None else f", {n_notes} notes"
    typer.echo(f"wrote {out}: {done.duration_s:.1f} s by {done.system}, {done.n_pictures} pictures used{played}")


@app.command()
def sonify(
    amplitudes: Annotated[
        Path,
        typer.Argument(
            metavar="FEATURES",
            help="Note amplitudes: .parquet, .npy, .mat, or a take's folder or arrays.zarr.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="16-bit .wav or .flac; here, with the file's name and .wav, by default."),
    ] = None,
    method: Annotated[
        str, typer.Option(help="additive: a sine a note; nearest: the most alike grains of a bank of recordings.")
    ] = "additive",
    bank: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="For nearest: sound files, folders of them, or data/chunked/captures."),
    ] = None,
    pitches: Annotated[
        str | None,
        typer.Option(help="marimba-18, piano, or MIDI numbers as 66,68,70; by the file or its size when left out."),
    ] = None,
    frame_rate: Annotated[
        str | None, typer.Option(help="Rows a second, as 25 or 30000/1001; the file's, or 25, when left out.")
    ] = None,
    sample_rate: Annotated[
        int, typer.Option(help="Hz of the sound, and of all that is in a bank.", min=1000, max=192_000)
    ] = 44_100,
    fit_window: Annotated[
        bool, typer.Option("--fit-window", help="Undo the blur of the window that the amplitudes were measured with.")
    ] = False,
    partials: Annotated[str, typer.Option(help="What sounds above each fundamental: none or marimba.")] = "none",
    as_json: Json = False,
) -> None:
    """Make sound of a file of note amplitudes."""
    from fractions import Fraction

    from rich.console import Console

    from tasks.sonify import METHODS, PARTIALS, pitches_named, sonify_file

    for option, value, known in (("--method", method, METHODS), ("--partials", partials, tuple(PARTIALS))):
        if value not in known:
            raise typer.BadParameter(f"{value!r}, expected one of {', '.join(known)}", param_hint=option)
    if (method == "nearest") != bool(bank):
        raise typer.BadParameter("nearest needs one, additive has no use for one", param_hint="--bank")
    try:
        listed = None if pitches is None else pitches_named(pitches)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--pitches") from None
    try:
        rate = None if frame_rate is None else Fraction(frame_rate)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate is not None and not 0 < rate <= sample_rate:
        raise typer.BadParameter(f"{frame_rate!r}, expected a number above 0", param_hint="--frame-rate")
    named = amplitudes.parent if amplitudes.name == "arrays.zarr" else amplitudes
    path = out or Path(f"{named.stem}.wav")
    with Console(stderr=True).status("reading") as status:
        done = sonify_file(
            amplitudes,
            path,
            method=next(name for name in METHODS if name == method),
            bank=bank or (),
            pitches=listed,
            frame_rate=rate,
            sample_rate=sample_rate,
            fit_window=fit_window,
            partials=next(value for name, value in PARTIALS.items() if name == partials),
            progress=status.update,
        )
    if as_json:
        facts = {"sound": str(path), "method": method, "n_rows": done.n_rows, "pitches": list(done.pitches)}
        facts |= {"frame_rate": str(done.frame_rate), "duration_s": done.duration_s, "sample_rate": done.sample_rate}
        _print_json({**facts, "peak": done.peak, "gain_db": done.gain_db})
        return
    softer = f", {-done.gain_db:.1f} dB softer than requested, to stay below full scale" if done.gain_db else ""
    typer.echo(f"wrote {path}: {done.duration_s:.1f} s, {len(done.pitches)} notes, {method}{softer}")


@app.command()
def separate(
    mix: Annotated[Path, typer.Argument(metavar="MIX", help="A recording of several players; of a video its sound.")],
    players: Annotated[
        str | None,
        typer.Option(metavar="vn,vc,...", help="Instruments, by codes or names; by default those of the take.yaml."),
    ] = None,
    video: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="V",
            help="A video of all players, row by row, or one of each in their order; synchronized by its sound.",
        ),
    ] = None,
    take: Annotated[
        str | None,
        typer.Option(metavar="TAKE", help="A take of data/chunked/ensembles with this mix, instead of both."),
    ] = None,
    family: Annotated[
        str | None, typer.Option(help="A trained family that separates; by default separate.family of params.yaml.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="One of its systems; by default the first possible.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Folder of the stems; by default MIX_stems here.")
    ] = None,
    sound_format: Annotated[str, typer.Option("--format", help="flac or wav, 16 bits.")] = "flac",
    as_json: Json = False,
) -> None:
    """Separate a mix: a sound for each player."""
    from rich.console import Console
    from rich.table import Table

    from flows.run import Settings
    from tasks.separate import FORMATS, SeparateParams, players_named, separate_file
    from tasks.synchronize import SynchronizeParams

    if sound_format not in FORMATS:
        raise typer.BadParameter(f"{sound_format!r}, expected one of {', '.join(FORMATS)}", param_hint="--format")
    params = _section("separate", SeparateParams)
    family = family or params.family
    with Console(stderr=True).status("reading the mix") as status:
        done = separate_file(
            mix,
            out or Path(f"{mix.stem}_stems"),
            family=family,
            trained=Path("data/trained") / family,
            data=Path("data/chunked/ensembles"),
            params=params,
            clock=_section("synchronize", SynchronizeParams),
            accelerator=Settings().accelerator,
            progress=status.update,
            players=None if players is None else players_named(players),
            videos=video or (),
            take=take,
            system=system,
            suffix=sound_format,
        )
    if as_json:
        stems = [{**vars(stem), "path": str(stem.path)} for stem in done.stems]
        facts = {"mix": str(mix), "family": family, "system": done.system, "duration_s": done.duration_s}
        facts |= {"sample_rate": done.sample_rate, "channels": done.channels, "gain_db": done.gain_db}
        _print_json({**facts, "stems": stems, "remarks": list(done.remarks)})
        return
    table = Table("player", "instrument", "level dBFS", "file")
    for stem in done.stems:
        table.add_row(str(stem.player), stem.instrument, f"{stem.level_dbfs:.1f}", str(stem.path))
    _print_table(table)
    for words in done.remarks:
        typer.echo(words)
    typer.echo(f"{done.duration_s:.1f} s at {done.sample_rate} Hz by {done.system}")


@app.command()
def sync(
    reference: Annotated[Path, typer.Argument(metavar="REF", help="The recording whose clock the others are put on.")],
    others: Annotated[list[Path], typer.Argument(metavar="OTHER...", help="Recordings of the same event.")],
    write: Annotated[
        Path | None, typer.Option("--write", metavar="OUT.mkv", help="Write all that lock side by side, aligned.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell when recordings began on another one's clock, how they drift, and how sure that is."""
    from rich.console import Console
    from rich.table import Table

    from tasks.synchronize import SynchronizeParams, sync_files, write_aligned

    params = _section("synchronize", SynchronizeParams)
    with Console(stderr=True).status("listening"):
        report = sync_files(reference, others, params=params)
        left_out = write_aligned(report, write) if write is not None else []
    shown = report.as_json()
    if as_json:
        _print_json(shown)
    else:
        table = Table("file", "status", "delay s", "drift ppm", "error ms", "p95 ms", "by", "why")
        for row in shown["others"]:
            numbers = [
                "" if row.get(key) is None else f"{row[key]:.{digits}f}"
                for key, digits in (("delay_s", 6), ("drift_ppm", 2), ("error_ms", 2), ("residual_p95_ms", 3))
            ]
            why = row["reason"]
            if row["status"] == "ambiguous":
                why += ": " + ", ".join(f"{rival['delay_s']:.3f} s" for rival in row["rivals"][:5])
            table.add_row(Path(row["file"]).name, row["status"], *numbers, row.get("method", ""), why)
        _print_table(table)
        if write is not None:
            typer.echo(f"wrote {write}" + (f", without {', '.join(map(str, left_out))}" if left_out else ""))
    if any(row["status"] == "unreadable" for row in shown["others"]):
        raise typer.Exit(EXIT_QUARANTINED)


@app.command()
def add(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of takes, or single recordings.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Let a take with other files take another's place.")
    ] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Fail when another run is at work.")] = False,
    as_json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Take recordings in: check, copy, hash and record them in data/raw."""
    from dataclasses import asdict

    from rich.table import Table

    from tasks.add import add_takes
    from tasks.ingest import IngestParams

    params = _section("ingest", IngestParams).of_a_take()
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
        _print_json({"rows": [asdict(row) for row in summary.rows], "counts": counts, "dry_run": dry_run})
    else:
        table = Table("take", "device", "state", "kind", "reason")
        for row in summary.rows:
            table.add_row(row.take, row.device, row.state, row.kind, row.reason)
        _print_table(table)
        would = "would be " if dry_run else ""
        typer.echo(", ".join(f"{count} {would}{state}" for state, count in counts.items()))
    if counts["quarantined"]:
        raise typer.Exit(EXIT_QUARANTINED)


@app.command()
def watch(
    inbox: Annotated[Path, typer.Argument(metavar="INBOX", help="Folder that recordings arrive in; only read.")],
    serve: Annotated[
        bool, typer.Option("--serve", help="Go on by a schedule until stopped; once now without.")
    ] = False,
    interval_s: Annotated[float | None, typer.Option("--interval", help="Seconds between two runs.")] = None,
    cron: Annotated[str | None, typer.Option(help="Schedule as cron writes it: '0 2 * * *'.")] = None,
    settle_s: Annotated[
        float, typer.Option("--settle", help="Seconds that a folder must have stayed as it is.")
    ] = 60.0,
    commit: Annotated[bool, typer.Option(help="Make one git commit of each new data version.")] = True,
    push: Annotated[bool, typer.Option(help="Push the data where a remote is configured.")] = True,
    notify: Annotated[
        str | None, typer.Option(help="Command that is given what happened as JSON on its standard input.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Take in what has settled in a folder, reproduce, compare, commit and push: now, or every night."""
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
        )
        return
    done = watch_once(inbox, settle_s=settle_s, commit=commit, push_data=push, notify=command, quiet=as_json)
    if as_json:
        _print_json(done)
    if done["quarantined"]:
        raise typer.Exit(EXIT_QUARANTINED)


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

    comparison = compare_versions(read_version(old), read_version(new), _section("compare", CompareParams))
    if as_json:
        _print_json(comparison.as_json())
    elif markdown:
        typer.echo(markdown_of(comparison), nl=False)
    else:
        for found in tables_of(comparison):
            table = Table(*found.header, title=found.title, title_justify="left")
            for row in found.rows:
                table.add_row(*row)
            if found.rows:
                _print_table(table)
        typer.echo(advice(comparison))


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


@app.command()
def search(
    family: Annotated[str, typer.Argument(help="A family that trains in steps.")],
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

    params = _section("search", SearchParams)
    if dry_run:
        ranges = params.ranges.get(family, {})
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
        _print_json({"best": None if found.best is None else found.best.number, "trials": rows})
        return
    table = Table("trial", *(found.tried[0].values if found.tried else ()), "state", "first rung", "loss")
    for one in found.tried:
        star = "*" if found.best is not None and one.number == found.best.number else ""
        values = [f"{value:.4g}" for value in one.values.values()]
        table.add_row(f"{one.number}{star}", *values, one.state, f"{one.first_loss:.5g}", f"{one.loss:.5g}")
    _print_table(table)
    typer.echo(f"{found.table}, {found.plot}" + ("; params.yaml has the winner" if promote else ""))


@app.command()
def doctor(
    deep: Annotated[bool, typer.Option("--deep", help="Read every byte once more, DVC's cache too.")] = False,
    as_json: Json = False,
) -> None:
    """Say whether tools, takes and (with --deep) DVC's cache are what they were; exit 1 when one is not."""
    from rich.table import Table

    from tasks.doctor import examine

    findings = examine(deep=deep, tell=lambda line: typer.echo(line, err=True))
    if as_json:
        _print_json([{**vars(finding)} for finding in findings])
    else:
        table = Table("what", "state", "found", "what to do")
        for finding in findings:
            table.add_row(finding.subject, "well" if finding.is_well else "WRONG", finding.found, finding.advice)
        _print_table(table)
    if not all(finding.is_well for finding in findings):
        raise typer.Exit(EXIT_FAILED)


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
    from tasks.families import families_of
    from tasks.params import read_params
    from tasks.versions.repro import repro

    families_of(read_params())  # an old params.yaml is one line here, and a page of DVC's words there
    repro(["code"] if stage == "code" else ["code", stage], force=force, dry=dry, quiet=as_json)


def _stage(stage: str, family: str | None = None, *, as_json: bool, force: bool, dry: bool) -> None:
    name = f"{stage}@{family}" if family else stage
    _repro(name, as_json=as_json, force=force, dry=dry)
    if as_json:
        pattern = f"{name}.json" if family else f"{stage}*.json"
        _print_json([json.loads(path.read_text()) for path in sorted(Path(".audiate/runs").glob(pattern))])


def _numbers(text: str, n: int, option: str) -> list[float]:
    """Return the numbers between the commas of an option's value."""
    from math import isfinite

    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != n or not all(map(isfinite, numbers)):
        raise typer.BadParameter(f"{text!r}, expected {n} numbers with commas between them", param_hint=option)
    return numbers


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1))


def _print_table(table: Any) -> None:
    from rich.console import Console

    # Names and reasons are words, whatever brackets are in them.
    Console(markup=False, emoji=False).print(table)
