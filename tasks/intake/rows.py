"""The rows of ``take.json`` on a take's files: what each is, whether it is used, and what was measured of it."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasks.errors import BadInput
from tasks.intake.describe import StreamsNamed
from tasks.intake.devices import CaptureParams, examine_device
from tasks.intake.folder import TAKE_FILE, Refused, Role, shown
from tasks.media.probe import MediaPolicy
from tasks.step import file_sha256

Row = dict[str, Any]


def media_row(path: Path, *, role: Role, device: str) -> Row:
    """Return the row of a file that is used, without facts."""
    return {
        "role": role,
        "device": device,
        "path": path.as_posix(),
        "sha256": file_sha256(path),
        "size": path.stat().st_size,
        "state": "used",
        "kind": "",
        "reason": "",
        "facts": None,
        "flags": [],
    }


def refused_media(path: Path, kind: str, reason: str, *, role: Role, device: str) -> Row:
    """Return the row of a file that was read and cannot be used."""
    return media_row(path, role=role, device=device) | {"state": "refused", "kind": kind, "reason": reason}


def device_row(
    path: Path,
    *,
    role: Role,
    device: str,
    policy: MediaPolicy,
    params: CaptureParams,
    streams: StreamsNamed | None = None,
) -> Row:
    """Decode a camera's or microphone's file; return its row, with its facts and flags or the reason of its refusal.

    Args:
        path: the file.
        role: what it is.
        device: what the take calls it.
        policy: what reading it may cost.
        params: what is accepted.
        streams: those that take.yaml names.
    """
    try:
        examined = examine_device(path, policy=policy, params=params, role=role, streams=streams)
    except BadInput as error:
        return refused_media(path, error.kind, str(error), role=role, device=device)
    return media_row(path, role=role, device=device) | {"facts": examined.facts, "flags": list(examined.flags)}


def picture_sizes(rows: Iterable[Row]) -> dict[str, tuple[int, int]]:
    """Return width and height in pixels of the upright picture of each camera that is used."""
    return {
        row["device"]: (row["facts"]["video"]["width"], row["facts"]["video"]["height"])
        for row in rows
        if row["state"] == "used" and row["role"] == "camera"
    }


def unread_row(refused: Refused) -> Row:
    """Return the row of a file that was refused unread: it has no digest."""
    return asdict(refused) | {"sha256": None, "size": None, "state": "refused", "facts": None, "flags": []}


def missing_row(folder: Path, device: str) -> Row:
    """Return the row of a device that take.yaml names and the folder does not hold."""
    reason = f"{TAKE_FILE} names {device}, but there is no {device}.* in {shown(folder)}"
    role: Role = "camera" if device.startswith("cam_") else "microphone"
    path = (folder / device).as_posix()
    return unread_row(Refused(role=role, device=device, path=path, kind="MISSING", reason=reason))
