"""Ingest an ensemble: several players with a stem each, perhaps a mix, cameras and notes.

A camera that cannot be used is refused by itself. The take goes on while all of its stems can be used.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.errors import BadInput, contained
from tasks.ingest import Candidate, IngestError, Source, TakeParams, check_has_recording, write_take
from tasks.instruments.notes import Notes
from tasks.intake.describe import TakeFile, check_views, read_take_file
from tasks.intake.folder import RECORDED, TAKE_FILE, Role, device_of, is_of_an_ensemble, role_of, shown
from tasks.intake.layouts import MIX
from tasks.intake.originals import Holding
from tasks.intake.quality import check_quality
from tasks.intake.rows import Row, device_row, media_row, missing_row, picture_sizes, refused_media, unread_row
from tasks.intake.stems import StemSound
from tasks.kinds.ensembles.measure import Measured, MeasuredEnsemble, measure_ensemble
from tasks.kinds.ensembles.players import PlayerPlan, notes_of_players, plan_players
from tasks.store.tables import write_table

TOOLS = ("ffmpeg",)

WAV_SUFFIXES = (".wav", ".wave")


def recognizes(candidate: Candidate) -> bool:
    """Return whether a file is a stem or a solo, or take.yaml lists players."""
    return bool(candidate.described.players) or any(map(is_of_an_ensemble, candidate.names))


def check(candidate: Candidate) -> None:
    """Refuse an ensemble without recordings, or whose files and take.yaml do not give each player a stem.

    Raises:
        BadInput: as in `plan_players`; ``NO_DEVICE``.
    """
    check_has_recording(candidate, in_ensemble=True)
    named = [path.with_name(name) for name, path in candidate.files.items()]  # as data/raw will have them
    plan_players(named, candidate.described, where=candidate.where)


def holding(name: str, piece: str, files: Mapping[str, Path]) -> Holding:
    """Return the recordings and the MIDI file.

    Compared is the mix, or without one the stems: a copy of a take holds what all of its players play. Ensembles of
    one piece may share a player's stem, as a quartet and a trio of the same players do.
    """
    roles = {path: role_of(file, in_ensemble=True) for file, path in files.items()}
    devices, stems, mix = (
        tuple(path for path, role in roles.items() if role in wanted) for wanted in (RECORDED, ("stem",), ("mix",))
    )
    compared = mix or stems or devices
    return Holding(
        name=name,
        piece=piece,
        devices=devices,
        score=next((path for path, role in roles.items() if role == "score"), None),
        compared=compared,
        # The one stream of a stem's WAV file is compared byte for byte, and by its sound.
        containers=tuple(path for path in compared if path.suffix.lower() not in WAV_SUFFIXES),
        may_share=True,
    )


def inputs(source: Source) -> Sequence[Path]:
    """Return the raw files."""
    return source.paths


def ingest_take(source: Source, out: Path, params: TakeParams) -> None:
    """Write ``take.json``, and ``notes_N.parquet`` of each player whose notes are known.

    Raises:
        BadInput: a stem or take.yaml cannot be used, or the stems do not belong together.
    """
    with contained(source.name):
        described = read_take_file(source.take_file)
        write_take(out, source, described, _facts(source, described, out, params))


def _facts(source: Source, described: TakeFile, out: Path, params: TakeParams) -> dict[str, Any]:
    files = source.paths
    folder = files[0].parent
    plans = plan_players(files, described, where=shown(folder))
    mixes = [path for path in files if _role(path) == "mix"]
    mix, mix_device = (StemSound(path=mixes[0]), MIX) if mixes else (None, None)
    if plans[0].sound.stream is not None:  # stems in one file: its first stream is the mix
        mix, mix_device = StemSound(path=plans[0].sound.path, stream=0), plans[0].stem
    measured = measure_ensemble(plans, mix, mix_device, policy=params.media, params=params.ensembles)
    rows = [unread_row(refused) for refused in source.refused]
    rows += _sound_rows(plans, measured, mixes, taken={row["device"] for row in rows})
    rows += [
        device_row(
            path,
            role=_role(path),
            device=_device(path),
            policy=params.media,
            params=params.captures,
            streams=described.streams.get(_device(path)),
        )
        for path in files
        if _role(path) in ("camera", "microphone")
    ]
    for row in rows:
        if row["state"] == "refused" and row["device"] in [plan.stem for plan in plans]:
            raise IngestError(str(row["reason"]), kind=str(row["kind"]))
    cameras = {row["device"] for row in rows if row["state"] == "used" and row["role"] == "camera"}
    notes, note_rows = _notes(source, described, plans, params)
    for number, played in enumerate(notes, start=1):
        if played is not None:
            write_table(out / f"notes_{number}.parquet", played.columns())
    rows += note_rows
    own = {plan.camera for plan in plans if plan.stem == plan.camera}
    named = {*described.cameras, *described.genlocked} - {row["device"] for row in rows}
    rows += [missing_row(folder, device) for device in sorted(named)]
    check_views(described.cameras, picture_sizes(rows), where=shown(folder))
    check_quality(rows, where=shown(folder), master=None, params=params.hold_back)
    return {
        "duration_s": measured.duration_s,
        "player": described.player,
        "instrument": {"name": "ensemble", "notes": []},
        "master": MIX,
        "notes": described.notes,
        "n_notes": sum(len(played) for played in notes if played is not None),
        "n_players": len(plans),
        "players": [
            {
                "number": number,
                "instrument": plan.instrument,
                "stem": plan.stem,
                "stream": plan.sound.stream,
                "camera": plan.camera if plan.camera in cameras else None,
                "notes": played is not None,
            }
            for number, (plan, played) in enumerate(zip(plans, notes, strict=True), start=1)
        ],
        "mix": measured.about,
        "mix_residual_db": measured.residual_db,
        "padded_s": measured.padded_s,
        "genlocked": sorted(({*described.genlocked} | own) & cameras),
        "media": sorted(rows, key=lambda row: (row["path"], row["device"])),
        "cameras": {name: view.model_dump(mode="json") for name, view in described.cameras.items() if name in cameras},
    }


def _sound_rows(
    plans: Sequence[PlayerPlan], measured: MeasuredEnsemble, mixes: Sequence[Path], *, taken: set[str]
) -> list[Row]:
    """Return the rows of the stems' files and of the mix; ``taken`` are the devices that have a row."""
    rows: list[Row] = []
    devices = set(taken)
    for plan, stem in zip(plans, measured.stems, strict=True):
        if plan.stem == plan.camera or plan.stem in devices:
            continue  # a solo has a camera's row, stems in one file have one row
        devices.add(plan.stem)
        rows.append(_sound_row(plan.sound.path) | {"facts": stem.facts, "flags": _flags(stem)})
    if mixes and measured.mix is not None:
        rows.append(_sound_row(mixes[0]) | {"facts": measured.mix.facts})
    return rows


def _sound_row(path: Path) -> Row:
    return media_row(path, role=_role(path), device=_device(path))


def _flags(stem: Measured) -> list[str]:
    audio = stem.facts["audio"]
    noted = {
        "silent": stem.is_silent,
        "truncated": stem.truncated_at_s is not None,
        "dead_channel": bool(audio["dead_channels"]),
        "channels_cancel": audio.get("channels_cancel", False),
        "not_finite": "not_finite" in audio,
    }
    return [flag for flag, is_so in noted.items() if is_so]


def _notes(
    source: Source, described: TakeFile, plans: Sequence[PlayerPlan], params: TakeParams
) -> tuple[list[Notes | None], list[Row]]:
    """Return the notes of each player, and the rows of the files that they are from."""
    lists = [path for path in source.paths if _role(path) == "notes"]
    paths = [*lists, *([source.score] if source.score is not None else [])]
    is_recorded = described.notes == "recorded"
    try:
        notes = notes_of_players(plans, source.score, params.midi, recorded=is_recorded)
    except BadInput as error:
        return [None] * len(plans), [
            refused_media(path, error.kind, str(error), role=_role(path), device=_device(path)) for path in paths
        ]
    rows = [_sound_row(path) for path in paths]
    for row in rows:
        if row["role"] == "score" and not is_recorded:
            reason = (
                f"{shown(row['path'])} is a score: its times are not the players', expected `notes: recorded` in "
                f"{TAKE_FILE}"
            )
            row |= {"state": "refused", "kind": "NOT_RECORDED", "reason": reason}
    return notes, rows


def _role(path: Path) -> Role:
    return role_of(path.name, in_ensemble=True)


def _device(path: Path) -> str:
    return device_of(path.name, in_ensemble=True)
