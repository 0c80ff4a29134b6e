"""What is done by hand with single recordings, in a project or out of one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands import (
    EXIT_QUARANTINED,
    Json,
    app,
    check_there,
    known_family,
    known_separator,
    print_json,
    print_table,
    section_of,
)

if TYPE_CHECKING:
    from tasks.perform import PerformParams, Region


@app.command()
def notes(
    audio: Annotated[Path, typer.Argument(help="Any recording; of a film the sound is taken.")],
    instrument: Annotated[str, typer.Option(help="piano, marimba, or marimba-18 (its black keys).")] = "piano",
    midi: Annotated[Path | None, typer.Option(metavar="OUT.mid", help="Write the notes as a MIDI file.")] = None,
    csv: Annotated[Path | None, typer.Option(metavar="OUT.csv", help="Write the notes as a CSV table.")] = None,
    as_json: Json = False,
) -> None:
    """List the notes of a recording."""
    check_there(audio)
    from rich.table import Table

    from tasks.notes import INSTRUMENTS, NotesParams, notes_of_file

    if instrument not in INSTRUMENTS:
        raise typer.BadParameter(f"{instrument!r}, expected one of {', '.join(INSTRUMENTS)}", param_hint="--instrument")
    found = notes_of_file(audio, instrument=instrument, params=section_of("notes", NotesParams))
    for path, write in ((midi, found.write_midi), (csv, found.write_csv)):
        if path is not None:
            write(path)
            typer.echo(f"wrote {path}: {len(found)} notes", err=True)
    if as_json:
        print_json(found.as_json())
        return
    if midi is not None or csv is not None:
        for words in found.remarks:
            typer.echo(words)
        return
    table = Table("onset s", "offset s", "pitch", "amplitude")
    for note in found.as_json()["notes"]:
        onset_s, offset_s = f"{note['onset_s']:.3f}", f"{note['offset_s']:.3f}"
        table.add_row(onset_s, offset_s, str(note["pitch"]), f"{note['amplitude']:.4f}")
    print_table(table)
    for words in found.remarks:
        typer.echo(words)


@app.command("evaluate-notes")
def evaluate_notes(
    folder: Annotated[Path, typer.Argument(help="Recordings, each beside its notes: piece.wav and piece.mid or .tsv.")],
    instrument: Annotated[str, typer.Option(help="piano, marimba, or marimba-18 (its black keys).")] = "piano",
    as_json: Json = False,
) -> None:
    """Score what notes finds on recordings whose notes are known."""
    check_there(folder)
    from rich.table import Table

    from tasks.evaluate_notes import known_recordings, score_notes, summary
    from tasks.notes import INSTRUMENTS, NotesParams

    if instrument not in INSTRUMENTS:
        raise typer.BadParameter(f"{instrument!r}, expected one of {', '.join(INSTRUMENTS)}", param_hint="--instrument")
    pairs, scores = known_recordings(folder), []
    for score in score_notes(pairs, instrument=instrument, params=section_of("notes", NotesParams)):
        scores.append(score)
        told = score.reason or f"onset F1 {score.figures.get('onset_f1', 0.0):.3f}"
        typer.echo(f"{len(scores)} of {len(pairs)}: {score.recording.relative_to(folder)}: {told}", err=True)
    means = summary(scores)
    if as_json:
        files = [
            {"recording": str(score.recording), "reference": str(score.reference), "reason": score.reason}
            | score.figures
            for score in scores
        ]
        print_json({"files": files, "mean": means})
    else:
        heads = {"onset_f1": "onset F1", "onset_f1_unbiased": "lag removed", "offset_f1": "and offset"}
        heads |= {"velocity_f1": "and velocity", "onset_lag_ms": "lag ms"}
        table = Table("recording", *heads.values())
        for score in scores:
            cells = (f"{score.figures[name]:.3f}" if name in score.figures else "" for name in heads)
            table.add_row(str(score.recording.relative_to(folder)), *cells)
        table.add_section()
        for title, end in (("mean", "mean"), ("95 %, low", "low"), ("95 %, high", "high")):
            if any(one[end] is not None for one in means.values()):
                table.add_row(title, *(f"{means[name][end]:.3f}" if name in means else "" for name in heads))
        print_table(table)
    if any(score.reason for score in scores):
        raise typer.Exit(EXIT_QUARANTINED)


@app.command("evaluate-stems")
def evaluate_stems(
    folder: Annotated[
        Path,
        typer.Argument(help="A folder a mix, with a stem a player: stem_1_vn.wav, stem_2_vc.wav, perhaps mix.wav."),
    ],
    as_json: Json = False,
) -> None:
    """Score what separate makes of mixes whose stems are known."""
    check_there(folder)
    from rich.table import Table

    from tasks.evaluate_stems import FIGURES, known_mixes, score_mixes, summary
    from tasks.separate import SeparateParams
    from tasks.synchronize import SynchronizeParams

    mixes, scores = known_mixes(folder), []
    for score in score_mixes(
        mixes,
        params=section_of("separate", SeparateParams),
        clock=section_of("synchronize", SynchronizeParams),
        progress=lambda _: None,
    ):
        scores.append(score)
        gains = ", ".join(f"{player.get('si_sdr_improvement_db', float('nan')):+.1f}" for player in score.players)
        told = score.reason or f"SI-SDR improvement {gains} dB"
        typer.echo(f"{len(scores)} of {len(mixes)}: {score.known.folder.relative_to(folder)}: {told}", err=True)
    means = summary(scores)
    if as_json:
        print_json({"mixes": [score.as_json() for score in scores], "mean": means})
    else:
        heads = ("SI-SDRi dB", "SI-SDR dB", "SDR dB", "SIR dB", "SAR dB")
        table = Table("mix", "player", *heads)
        for score in scores:
            for code, player in zip(score.known.instruments, score.players, strict=False):
                cells = (f"{player[name]:.1f}" if name in player else "" for name in FIGURES)
                table.add_row(str(score.known.folder.relative_to(folder)), code, *cells)
        table.add_section()
        for title in ("mean", "low", "high", "worst"):
            if any(one[title] is not None for one in means.values()):
                cells = (f"{means[name][title]:.1f}" if name in means else "" for name in FIGURES)
                table.add_row({"low": "95 %, low", "high": "95 %, high"}.get(title, title), "", *cells)
        print_table(table)
    if any(score.reason for score in scores):
        raise typer.Exit(EXIT_QUARANTINED)


@app.command()
def audit(
    folder: Annotated[
        Path, typer.Argument(help="Recordings beside their labels: piece.wav and piece.mid or .tsv; or takes.")
    ],
    instrument: Annotated[str, typer.Option(help="What plays the labels: piano or marimba.")] = "piano",
    tolerance: Annotated[
        float, typer.Option(metavar="MS", min=1.0, help="Labels farther than this from what is heard are off.")
    ] = 20.0,
    picture: Annotated[Path | None, typer.Option(metavar="OUT.png", help="Draw offsets and lags.")] = None,
    as_json: Json = False,
) -> None:
    """Hold labels against the sound that they are of: offset, drift, wrong pairs, missing ends."""
    check_there(folder)
    from rich.table import Table

    from tasks.audit import audit as audit_pairs
    from tasks.audit import draw_audit, folder_summary, labelled_recordings
    from tasks.synchronize import SynchronizeParams

    if instrument not in ("piano", "marimba"):
        raise typer.BadParameter(f"{instrument!r}, expected piano or marimba", param_hint="--instrument")
    pairs, found = labelled_recordings(folder), []
    params = section_of("synchronize", SynchronizeParams)
    for one in audit_pairs(pairs, instrument=instrument, params=params, tolerance_ms=tolerance):
        found.append(one)
        typer.echo(f"{len(found)} of {len(pairs)}: {one.recording.relative_to(folder)}: {one.reason}", err=True)
    found.sort(key=lambda one: one.recording)
    if picture is not None:
        draw_audit(found, picture)
        typer.echo(f"wrote {picture}", err=True)
    about = folder_summary(found)
    if as_json:
        print_json({"files": [one.as_json() for one in found], "folder": about})
    else:
        table = Table("recording", "verdict", "offset ms", "drift ppm", "heard")
        for one in found:
            offset = "" if one.offset_ms != one.offset_ms else f"{one.offset_ms:+.1f} ± {one.error_ms:.1f}"
            drift = "" if one.drift_ppm != one.drift_ppm else f"{one.drift_ppm:+.0f} ± {one.drift_error_ppm:.0f}"
            heard = "" if one.heard != one.heard else f"{one.heard:.0%}"
            table.add_row(str(one.recording.relative_to(folder)), one.verdict, offset, drift, heard)
        print_table(table)
        for one in found:
            if one.verdict != "agrees":
                typer.echo(f"{one.recording.relative_to(folder)}: {one.reason}")
        counts = ", ".join(f"{n} {verdict}" for verdict, n in about["counts"].items())
        typer.echo(f"{len(found)} pairs: {counts}")
        if about["is_constant"] and abs(about["offset_ms"]) > tolerance:
            typer.echo(f"all are off by about {about['offset_ms']:+.0f} ms: a constant of the folder")
    if any(one.verdict != "agrees" for one in found):
        raise typer.Exit(EXIT_QUARANTINED)


@app.command()
def perform(
    video: Annotated[
        Path,
        typer.Argument(help="A film of a piano's keys, lit or played; or, with --family, what that family reads."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The same pictures with sound: .mp4, .mov or .mkv.")
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(
            help="A trained family instead of the keyboard's reader and a synthesizer.", callback=known_family
        ),
    ] = None,
    crop: Annotated[
        str | None, typer.Option(metavar="X,Y,W,H", help="Look at this part of the picture only, in pixels.")
    ] = None,
    corners: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,...", help="Four corners of the instrument in pixels, the player's far left first, clockwise."
        ),
    ] = None,
    lowest: Annotated[
        str | None, typer.Option(metavar="D4", help="The lowest key in view, where not all 88 are.")
    ] = None,
    lead: Annotated[
        float | None,
        typer.Option(
            metavar="S", help="Seconds from a key half way down to its sound; by default that of params.yaml."
        ),
    ] = None,
    preview: Annotated[
        Path | None, typer.Option(metavar="KEYS.png", help="Draw the keys with their names, and stop.")
    ] = None,
    notes_out: Annotated[
        Path | None,
        typer.Option(
            "--notes", metavar="OUT.mid", help="Write the notes here; by default those of a keyboard go beside OUT."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Give a silent video its sound. A take.yaml beside a camera's file says where to look, unless an option does.

    Beside OUT its notes are written as OUT.mid, and a picture of the keys and what they play as OUT.png.
    """
    from dataclasses import replace

    if crop is not None and corners is not None:
        raise typer.BadParameter(
            "both are given, expected one: corners hold for all of the picture", param_hint="--crop"
        )
    if out is None and preview is None:
        raise typer.BadParameter("is missing: name the video that is written, as -o OUT.mp4", param_hint="--out")
    only_keyboards = {"--preview": preview, "--lowest": lowest, "--lead": lead}
    if family is not None and (given := [name for name, value in only_keyboards.items() if value is not None]):
        raise typer.BadParameter("is for the keyboard's own reader, not for a family", param_hint=given[0])
    area = None if crop is None else _numbers(crop, 4, "--crop")
    if area is not None and (min(area[:2]) < 0 or min(area[2:]) < 1):
        raise typer.BadParameter(f"{crop!r}, expected x,y,width,height in pixels", param_hint="--crop")
    at = None if corners is None else _numbers(corners, 8, "--corners")
    check_there(video)
    from tasks.chunk import ChunkParams
    from tasks.perform import PerformParams, region_of

    params = section_of("perform", PerformParams)
    region = region_of(video, margins=section_of("chunk", ChunkParams).camera_margins)
    if area is not None:
        x, y, width, height = map(int, area)
        region = replace(region, crop=(x, y, width, height), corners=None)
    if at is not None:
        region = replace(region, crop=None, corners=tuple(zip(at[::2], at[1::2], strict=True)))
    if family is None:
        _perform_keyboard(video, out, params, region, lowest, lead, preview, notes_out, as_json=as_json)
    elif out is not None:
        _perform_family(video, out, family, params, region, notes_out, as_json=as_json)


def _perform_keyboard(
    video: Path,
    out: Path | None,
    params: "PerformParams",
    region: "Region",
    lowest: str | None,
    lead_s: float | None,
    preview: Path | None,
    notes_out: Path | None,
    *,
    as_json: bool,
) -> None:
    from rich.console import Console

    from tasks.keyboards.layout import pitch_named
    from tasks.perform import asked_of, perform_keyboard, preview_keyboard

    try:
        pitch = None if lowest is None else pitch_named(lowest)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--lowest") from None
    asked = asked_of(video, region, lowest=pitch, lead_s=lead_s)
    with Console(stderr=True).status("reading the video") as status:
        if preview is not None:
            found = preview_keyboard(video, preview, params=params, asked=asked, progress=status.update)
        elif out is not None:
            midi, picture = notes_out or out.with_suffix(".mid"), out.with_suffix(".png")
            done, reading = perform_keyboard(
                video,
                out,
                params=params,
                asked=asked,
                notes_out=midi,
                picture_out=picture,
                progress=status.update,
            )
            found = reading.found
    corners = found.place.corners.round(1).tolist()
    facts = {"keys": str(found.place.keys), "lowest": found.place.keys.lowest, "corners": corners}
    if preview is not None:
        if as_json:
            print_json({"picture": str(preview), **facts, "remarks": list(found.remarks)})
            return
        typer.echo(f"wrote {preview}: keyboard: {found.place.keys}, {found.place.white_px:.0f} px a key")
        for words in found.remarks:
            typer.echo(words)
        return
    if as_json:
        written = {"video": str(out), "notes": str(midi), "picture": str(picture), "mode": reading.mode, **facts}
        written |= {"duration_s": done.duration_s, "n_notes": len(reading.notes), "gain_db": done.gain_db}
        print_json({**written, "hidden_s": list(reading.hidden_s), "remarks": list(reading.remarks)})
        return
    typer.echo(str(reading))
    for words in reading.remarks:
        typer.echo(words)
    typer.echo(f"wrote {out}: {done.duration_s:.1f} s; notes in {midi}, keys and notes in {picture}")


def _perform_family(
    video: Path,
    out: Path,
    family: str,
    params: "PerformParams",
    region: "Region",
    notes_out: Path | None,
    *,
    as_json: bool,
) -> None:
    from rich.console import Console

    from flows.run import Settings
    from tasks.perform import perform_video
    from tasks.promote import serving

    with Console(stderr=True).status("reading the video") as status:
        done = perform_video(
            video,
            out,
            family=family,
            trained=serving(family),
            params=params,
            accelerator=Settings().accelerator,
            progress=status.update,
            region=region,
            notes_out=notes_out,
        )
    n_notes = None if done.notes is None else len(done.notes)
    if as_json:
        facts = {"video": str(out), "system": done.system, "duration_s": done.duration_s, "n_notes": n_notes}
        print_json({**facts, "n_pictures": done.n_pictures, "n_decoded": done.n_decoded, "gain_db": done.gain_db})
        return
    played = "" if n_notes is None else f", {n_notes} notes"
    softer = f", {-done.gain_db:.1f} dB softer, to stay below full scale" if done.gain_db else ""
    typer.echo(
        f"wrote {out}: {done.duration_s:.1f} s by {done.system}, {done.n_pictures} pictures used{played}{softer}"
    )


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
        typer.Option("--out", "-o", help="16-bit .wav or .flac; by default the file's name with .wav, in this folder."),
    ] = None,
    method: Annotated[
        str,
        typer.Option(help="additive: a sine for each note; nearest: the most similar grains of a bank of recordings."),
    ] = "additive",
    bank: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="For nearest: sound files, folders of them, or data/chunked/captures."),
    ] = None,
    pitches: Annotated[
        str | None,
        typer.Option(help="marimba-18, piano, or MIDI numbers as 66,68,70; by default what the file or its size says."),
    ] = None,
    frame_rate: Annotated[
        str | None, typer.Option(help="Rows a second, as 25 or 30000/1001; by default the file's, or 25.")
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
    check_there(amplitudes, *(bank or ()))
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
        print_json({**facts, "peak": done.peak, "gain_db": done.gain_db})
        return
    softer = f", {-done.gain_db:.1f} dB softer than requested, to stay below full scale" if done.gain_db else ""
    typer.echo(f"wrote {path}: {done.duration_s:.1f} s, {len(done.pitches)} notes, {method}{softer}")


@app.command()
def separate(
    mix: Annotated[
        Path, typer.Argument(metavar="MIX", help="A recording of several players; of a video the sound is taken.")
    ],
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
        typer.Option(
            metavar="TAKE", help="A take of data/chunked/ensembles that has this mix, instead of --players and --video."
        ),
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(
            help="A trained family that separates, or partials. By default separate.family of params.yaml with videos "
            "or a take, and partials with the instruments alone or where that family is not trained.",
            callback=known_separator,
        ),
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="One of its systems; by default the first that what is given allows.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Folder of the stems; by default MIX_stems in this folder."),
    ] = None,
    sound_format: Annotated[str, typer.Option("--format", help="flac or wav, 16 bits.")] = "flac",
    as_json: Json = False,
) -> None:
    """Separate a mix: a sound for each player. The instruments are enough; videos help."""
    check_there(mix, *(video or ()))
    from rich.console import Console
    from rich.table import Table

    from flows.run import Settings
    from tasks.promote import serving
    from tasks.separate import FORMATS, PARTIALS, SeparateParams, method_for, players_named, separate_file
    from tasks.synchronize import SynchronizeParams

    if sound_format not in FORMATS:
        raise typer.BadParameter(f"{sound_format!r}, expected one of {', '.join(FORMATS)}", param_hint="--format")
    params = section_of("separate", SeparateParams)
    has_video = bool(video) or take is not None
    is_family = family != PARTIALS and (has_video or family is not None or system is not None)
    trained = serving(family or params.family) if is_family else Path()  # promoted weights are checked if used
    method = method_for(family=family, system=system, default=params.family, trained=trained, has_video=has_video)
    with Console(stderr=True).status("reading the mix") as status:
        done = separate_file(
            mix,
            out or Path(f"{mix.stem}_stems"),
            method=method,
            trained=trained,
            data=Path("data/chunked/ensembles"),
            params=params,
            clock=section_of("synchronize", SynchronizeParams),
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
        facts = {"mix": str(mix), "family": method.family, "system": done.system, "why": done.why}
        sound = {"duration_s": done.duration_s, "sample_rate": done.sample_rate, "channels": done.channels}
        print_json({**facts, **sound, "gain_db": done.gain_db, "stems": stems, "remarks": list(done.remarks)})
        return
    table = Table("player", "instrument", "level dBFS", "sure", "file")
    for stem in done.stems:
        sure = "" if stem.sureness is None else f"{stem.sureness:.0%}"
        table.add_row(str(stem.player), stem.instrument, f"{stem.level_dbfs:.1f}", sure, str(stem.path))
    print_table(table)
    for words in done.remarks:
        typer.echo(words)
    typer.echo(f"{done.duration_s:.1f} s at {done.sample_rate} Hz by {done.system} ({done.why})")


@app.command()
def sync(
    reference: Annotated[Path, typer.Argument(metavar="REF", help="The recording whose clock the others are put on.")],
    others: Annotated[list[Path], typer.Argument(metavar="OTHER...", help="Recordings of the same event.")],
    write: Annotated[
        Path | None,
        typer.Option(
            "--write", metavar="OUT.mkv", help="Write all recordings that were placed, aligned, side by side."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell when recordings began on another one's clock, how they drift, and how sure that is."""
    check_there(reference)
    from rich.console import Console
    from rich.table import Table

    from tasks.synchronize import SynchronizeParams, sync_files, write_aligned

    params = section_of("synchronize", SynchronizeParams)
    with Console(stderr=True).status("listening"):
        report = sync_files(reference, others, params=params)
        left_out = write_aligned(report, write) if write is not None else []
    shown = report.as_json()
    if as_json:
        print_json(shown)
    else:
        table = Table("file", "status", "delay s", "drift ppm", "error ms", "p95 ms", "by")
        reasons = []  # below the table: a terminal of 80 columns would break each into a column of syllables
        for row in shown["others"]:
            numbers = [
                "" if row.get(key) is None else f"{row[key]:.{digits}f}"
                for key, digits in (("delay_s", 6), ("drift_ppm", 2), ("error_ms", 2), ("residual_p95_ms", 3))
            ]
            why = row["reason"]
            if row["status"] == "ambiguous":
                why += ": " + ", ".join(f"{rival['delay_s']:.3f} s" for rival in row["rivals"][:5])
            name = Path(row["file"]).name
            table.add_row(name, row["status"], *numbers, row.get("method", ""))
            reasons.append(why if name in why.partition(": ")[0] else f"{name}: {why}")
        print_table(table)
        for line in reasons:
            typer.echo(line)
        for words in report.remarks:
            typer.echo(f"{reference.name}: {words}")
        if write is not None:
            typer.echo(f"wrote {write}" + (f", without {', '.join(map(str, left_out))}" if left_out else ""))
    if any(row["status"] == "unreadable" for row in shown["others"]):
        raise typer.Exit(EXIT_QUARANTINED)


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
