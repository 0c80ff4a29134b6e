"""A capture as ingest recorded it: its devices, its instrument, and where their files are."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from tasks.errors import DamagedData

INGESTED = Path("data/ingested")


@dataclass(frozen=True, kw_only=True)
class Device:
    """A camera or microphone that can be used.

    Attributes:
        name: ``cam_top`` or ``mic_room``.
        role: what it is.
        path: its file.
        facts: what ingest measured of it.
        crop: x, y, width and height of the part that is used, in pixels of the upright picture; None for all.
        corners: of the instrument's plane, x and y in pixels of the upright picture, from the player's far left
            clockwise; None where they are not known.
    """

    name: str
    role: Literal["camera", "microphone"]
    path: Path
    facts: dict[str, Any]
    crop: tuple[int, int, int, int] | None
    corners: tuple[tuple[float, float], ...] | None = None

    @property
    def has_sound(self) -> bool:
        """Whether its file holds sound."""
        return self.facts["audio"] is not None

    @property
    def sound_stream(self) -> int | None:
        """Which of its file's streams its sound is; None where the file has one alone."""
        found = (self.facts["audio"] or {}).get("stream")
        return None if found is None else int(found)

    @property
    def picture_stream(self) -> int | None:
        """Which of its file's streams its pictures are; None where the file has one alone."""
        found = (self.facts["video"] or {}).get("stream")
        return None if found is None else int(found)

    @property
    def n_pictures(self) -> int:
        """How many pictures its file holds."""
        return 0 if self.facts["video"] is None else int(self.facts["video"]["n_pictures"])


@dataclass(frozen=True, kw_only=True)
class Capture:
    """A take that was recorded.

    Attributes:
        take: its name.
        devices: those that can be used, by name.
        master: the device that take.yaml names, if it does.
        instrument: name of what is played.
        pitches: its notes, as MIDI numbers; none where it is any video at all.
        notes: whether its MIDI file was ``recorded`` with it or is a ``score``; None when it has none.
        duration_s: of its longest device.
    """

    take: str
    devices: tuple[Device, ...]
    master: str | None
    instrument: str
    pitches: tuple[int, ...]
    notes: Literal["recorded", "score"] | None
    duration_s: float

    def device(self, name: str) -> Device:
        """Return a device by name."""
        return next(device for device in self.devices if device.name == name)

    @property
    def paths(self) -> list[Path]:
        """The files of all devices."""
        return [device.path for device in self.devices]


def read_capture(take: str, folder: Path = INGESTED) -> Capture:
    """Read what ingest recorded of a capture.

    Raises:
        DamagedData: its take.json is missing or is not what ingest writes, or names a file outside of the take's own
            folder.
    """
    path = folder / take / "take.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        devices = [
            Device(
                name=row["device"],
                role=row["role"],
                path=own_file(str(row["path"]), take, path),
                facts=row["facts"],
                crop=_crop(facts["cameras"].get(row["device"], {})),
                corners=_corners(facts["cameras"].get(row["device"], {})),
            )
            for row in facts["media"]
            if row["state"] == "used" and row["role"] in ("camera", "microphone")
        ]
        has_notes = any(row["state"] == "used" and row["role"] == "score" for row in facts["media"])
        return Capture(
            take=take,
            devices=tuple(sorted(devices, key=lambda device: device.name)),
            master=facts["master"],
            instrument=str(facts["instrument"]["name"]),
            pitches=tuple(facts["instrument"]["notes"]),
            notes=(facts["notes"] or "score") if has_notes else None,
            duration_s=float(facts["duration_s"]),
        )
    except FileNotFoundError:
        raise DamagedData(f"{path} is missing: run audiate ingest first") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedData(f"{path} does not describe a capture: {error}") from None


def used_rows(facts: Mapping[str, Any], take: str, path: Path) -> dict[str, tuple[Path, Any]]:
    """Return each used file of a take and what was measured of it, by device.

    Args:
        facts: the take's, as ``path`` holds them.
        take: its name.
        path: of its take.json, for the message.

    Raises:
        DamagedData: a file lies outside of the take's own folder.
    """
    return {
        row["device"]: (own_file(str(row["path"]), take, path), row["facts"])
        for row in facts["media"]
        if row["state"] == "used"
    }


@dataclass(frozen=True, kw_only=True)
class RefusedDevice:
    """A file of a take that is refused, with the reason."""

    take: str
    name: str
    kind: str
    reason: str


def refused_devices(row: Mapping[str, Any]) -> list[RefusedDevice]:
    """Return the files that a row of the catalog lists as refused."""
    return [
        RefusedDevice(take=row["take"], name=media["device"], kind=media["kind"], reason=media["reason"])
        for media in row["media"]
        if media.get("state") == "refused"
    ]


def own_file(name: str, take: str, path: Path) -> Path:
    """Return a path of take.json, or refuse one that is no file of the take's own: others may have written it."""
    parts = PurePosixPath(name).parts
    lies_in = "/".join(parts[:3]) in (f"data/raw/{take}", f"data/filmed/{take}")
    if len(parts) != 4 or not lies_in or ".." in parts or "/".join(parts) != name or not name.isprintable():
        raise DamagedData(f"{path} names {name!a}, expected a file in data/raw/{take} or data/filmed/{take}")
    return Path(name)


def _crop(view: dict[str, Any]) -> tuple[int, int, int, int] | None:
    crop = view.get("crop")
    if crop is None:
        return None
    x, y, width, height = crop
    return int(x), int(y), int(width), int(height)


def _corners(view: dict[str, Any]) -> tuple[tuple[float, float], ...] | None:
    corners = view.get("corners")
    if corners is None:
        return None
    if len(corners) != 4:
        raise ValueError(f"{len(corners)} corners, expected 4")
    return tuple((float(x), float(y)) for x, y in corners)


def quality_flags(take: str, ingested: Path = INGESTED) -> list[tuple[str, str]]:
    """Return device and flag of what is wrong with a take's recordings; one that is not used has its kind of fault."""
    found = []
    for row in json.loads((ingested / take / "take.json").read_text(encoding="utf-8"))["media"]:
        # A score's row has neither.
        refused = [str(row["kind"])] if row.get("state") == "refused" else []
        found += [(str(row["device"]), str(flag)) for flag in (*refused, *row.get("flags", []))]
    return found
