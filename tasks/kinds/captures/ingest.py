"""Ingest a capture: cameras and microphones, perhaps with a MIDI file.

A device that cannot be used is refused by itself. The take goes on while a camera or microphone is left.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.errors import BadInput, contained
from tasks.ingest import (
    Candidate,
    IngestError,
    Source,
    TakeParams,
    check_has_recording,
    write_score,
    write_take,
)
from tasks.instruments.midi import Score
from tasks.instruments.midi_reader import read_midi
from tasks.intake.describe import TakeFile, View, check_views, read_take_file
from tasks.intake.folder import RECORDED, device_of, role_of, shown
from tasks.intake.originals import Holding
from tasks.intake.quality import check_quality
from tasks.intake.rows import Row, device_row, media_row, missing_row, picture_sizes, refused_media, unread_row
from tasks.keyboards.picture import keys_alone, write_picture
from tasks.keyboards.read import Asked, find_in_film
from tasks.keyboards.stored import keyboard_picture, place_facts
from tasks.media.probe import probe
from tasks.step import file_sha256

TOOLS = ("ffmpeg",)

PIANO = "piano"
NO_KEYBOARD = "no keyboard"
"""The flag of a piano's camera in which no keyboard is found, or none that can be read: its facts say why."""


def recognizes(candidate: Candidate) -> bool:
    """Return whether a file is, or by its name should be, a recording."""
    return any(role_of(name) in RECORDED for name in candidate.names)


def check(candidate: Candidate) -> None:
    """Refuse a capture of which no recording can be used.

    Raises:
        IngestError: ``NO_DEVICE``.
    """
    check_has_recording(candidate, in_ensemble=False)


def holding(name: str, piece: str, files: Mapping[str, Path]) -> Holding:
    """Return the devices and the MIDI file; every device is compared with those of other takes."""
    devices = tuple(path for file, path in files.items() if role_of(file) in RECORDED)
    score = next((path for file, path in files.items() if role_of(file) == "score"), None)
    return Holding(name=name, piece=piece, devices=devices, score=score, compared=devices, containers=devices)


def inputs(source: Source) -> Sequence[Path]:
    """Return the raw files."""
    return source.paths


def ingest_take(source: Source, out: Path, params: TakeParams) -> None:
    """Write ``take.json``, a MIDI file's ``notes.parquet`` and ``controls.parquet``, and pictures of a piano's keys.

    Raises:
        BadInput: no device can be used, or take.yaml cannot.
    """
    with contained(source.name):
        described = read_take_file(source.take_file)
        write_take(out, source, described, _facts(source, described, out, params))


def _facts(source: Source, described: TakeFile, out: Path, params: TakeParams) -> dict[str, Any]:
    rows = [unread_row(refused) for refused in source.refused] + _device_rows(source, described, params)
    score, score_rows = _score(source, params)
    if score is not None:
        write_score(out, score)
    rows += score_rows
    used = {row["device"]: row for row in rows if row["state"] == "used" and row["role"] != "score"}
    if not used:
        reasons = [row["reason"] for row in rows if row["role"] in RECORDED]
        raise IngestError(f"no device can be used; {reasons[0]}", kind="NO_DEVICE")
    named = {*described.cameras, *described.streams, *([described.master] if described.master else [])}
    folder = source.paths[0].parent
    rows += [missing_row(folder, device) for device in sorted(named - {row["device"] for row in rows})]
    duration_s = max(row["facts"]["duration_s"] for row in used.values())
    for row in used.values():
        if row["facts"]["duration_s"] < duration_s * params.captures.short_fraction:
            row["flags"].append("short")
    check_views(described.cameras, picture_sizes(rows), where=shown(folder))
    check_quality(rows, where=shown(folder), master=described.master, params=params.hold_back)
    cameras = {name: view for name, view in described.cameras.items() if name in used}
    if described.instrument.name == PIANO:
        for name, row in used.items():
            if row["role"] == "camera" and row["facts"]["video"] is not None:
                cameras[name] = _with_keyboard(row, cameras.get(name, View()), out, params)
    return {
        "duration_s": duration_s,
        "title": score.title if score is not None else None,
        "player": described.player,
        "instrument": described.instrument.model_dump(mode="json"),
        "master": described.master if described.master in used else None,
        "notes": described.notes,
        "n_notes": len(score.notes) if score is not None else 0,
        "counts": score.counts if score is not None else {},
        **({"notices": score.notices} if score is not None and score.notices else {}),
        "media": sorted(rows, key=lambda row: (row["path"], row["device"])),
        "cameras": {name: view.model_dump(mode="json") for name, view in cameras.items()},
    }


def _with_keyboard(row: Row, view: View, out: Path, params: TakeParams) -> View:
    """Find the keyboard in a camera's film, and add it to the facts of its row.

    Corners that take.yaml names say where it is; else it is searched for. Its place stands in the facts, and
    ``keyboard_DEVICE.png`` shows it; where none can be read, the reason does, and the row is flagged: a camera that
    does not show the keys is no fault of the take.

    Returns:
        The camera's view, with the corners that were named or found.
    """
    path, facts = Path(row["path"]), row["facts"]
    try:
        found = find_in_film(
            path,
            probe(path, policy=params.media),
            policy=params.media,
            params=params.keyboards,
            asked=Asked(crop=view.crop, corners=view.corners),
        )
    except BadInput as error:
        facts["keyboard"] = {"found": False, "reason": str(error)}
        row["flags"].append(NO_KEYBOARD)
        return view
    score = None if view.corners is not None else round(found.score, 3)
    remarks = list(found.remarks)
    facts["keyboard"] = {"found": True, "score": score, "remarks": remarks, "place": place_facts(found.place)}
    write_picture(out / keyboard_picture(row["device"]), keys_alone(found))
    if view.corners is not None:
        return view
    far_left, far_right, near_right, near_left = ((round(x, 2), round(y, 2)) for x, y in found.place.corners.tolist())
    return view.model_copy(update={"corners": (far_left, far_right, near_right, near_left)})


def _device_rows(source: Source, described: TakeFile, params: TakeParams) -> list[Row]:
    rows = []
    first: dict[str, Path] = {}
    for path in source.paths:
        role, device = role_of(path.name), device_of(path.name)
        if role not in RECORDED:
            continue
        original = first.setdefault(file_sha256(path), path)
        if original != path:
            reason = f"{shown(path)} has the same bytes as {original.name}, expected a recording of its own"
            rows.append(refused_media(path, "DUPLICATE", reason, role=role, device=device))
        else:
            rows.append(
                device_row(
                    path,
                    role=role,
                    device=device,
                    policy=params.media,
                    params=params.captures,
                    streams=described.streams.get(device),
                )
            )
    return rows


def _score(source: Source, params: TakeParams) -> tuple[Score | None, list[Row]]:
    path = source.score
    if path is None:
        return None, []
    try:
        score = read_midi(path, params.midi)
    except BadInput as error:
        return None, [refused_media(path, error.kind, str(error), role="score", device=path.stem)]
    facts = {"container": "midi", "duration_s": score.duration_s, "video": None, "audio": None}
    return score, [media_row(path, role="score", device=path.stem) | {"facts": facts}]
