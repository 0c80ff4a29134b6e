"""What a take's folder holds, by names and metadata alone: nothing is read or decoded here.

Devices are ``cam_NAME.EXT`` and ``mic_NAME.EXT``, in capitals too; beside them at most one MIDI file and a
``take.yaml``. A folder with stems is an ensemble's (`tasks.intake.layouts` has their names). What cameras and systems
leave beside recordings (`sidecars`) is none of it. Any other file is refused by name, and the rest is used.
"""

import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tasks.errors import BadInput
from tasks.intake.layouts import EnsembleFile, EnsembleRole, ensemble_file
from tasks.media.formats import RECORDING_SUFFIXES

TAKE_FILE = "take.yaml"
# The virtual rig writes these beside what it films: how it was filmed, and a receipt.
BESIDE = ("_receipt.json", "rig.yaml", "truth.json")
SCORE_SUFFIXES = (".mid", ".midi", ".kar", ".rmi", ".smf")  # karaoke is MIDI with words, .rmi is MIDI inside RIFF
DEVICE = re.compile(r"(?P<role>cam|mic)_[A-Za-z0-9_-]{1,60}")
DEVICE_FILE = re.compile(rf"(?P<device>{DEVICE.pattern})\.[A-Za-z0-9]{{1,8}}", re.IGNORECASE)
EXPECTED = (
    "a single .mid file, recordings cam_NAME.* and mic_NAME.*, or the stems of an ensemble stem_1_CODE.wav, "
    "stem_2_CODE.wav, ... (CODE is a player's instrument: vn, cello, drums), with mix.wav if there is one"
)
# Small pictures, proxies, subtitles, indices and checksums of cameras and editors; what systems write everywhere.
_SIDECAR = re.compile(
    r".*\.(?:thm|lrv|lrf|srt|vtt|xmp|bim|bdm|cpi|mpl|ppn|modd|moff|sfk|pek|pkf|cfa|reapeaks|asd|gpx|aae|sav"
    r"|idx|edl|cube|md5|sha1|sha256|sha512|sfv)|md5sums|sha\d{1,3}sums|indexervolumeguid|autorun\.inf|avf_info"
    r"|thumbs\.db|ehthumbs\.db|desktop\.ini|icon\r|mediapro\.xml|[a-z0-9]{1,8}m\d\d\.xml|__macosx|@eadir"
    r"|\$recycle\.bin|system volume information",
    re.IGNORECASE,
)
MAX_TAKE_FILE_BYTES = 65_536
FILES_A_DEVICE = 4  # of a take's folder at most: a stem with its notes, pitches and score

Role = Literal["camera", "microphone", "score", "other", "stem", "mix", "notes"]
RECORDED: tuple[Role, ...] = ("camera", "microphone", "stem", "mix")
_ENSEMBLE_ROLES: Mapping[EnsembleRole, Role] = {
    "stem": "stem",
    "stems": "stem",
    "mix": "mix",
    "view": "camera",
    "solo": "camera",
    "notes": "notes",
    "beside": "other",
}


class FolderError(BadInput):
    """A folder that cannot be listed, or holds no take: its name, what was found, what was expected."""


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A file that is not used, with the reason; the names are fit for a message."""

    role: Role
    device: str
    path: str
    kind: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class FolderSize:
    """How large a file, in bytes, and how many recordings of a folder may be before they are refused unread."""

    score: int
    media: int
    devices: int


@dataclass(frozen=True, kw_only=True)
class Found:
    """A take's folder.

    Attributes:
        devices: cameras and microphones by name, in order; of an ensemble its stems and its mix too.
        score: the MIDI file, if there is one.
        take_file: ``take.yaml``, if there is one.
        refused: what cannot be used, in order of name.
        is_ensemble: whether it holds stems or a solo.
        notes: of an ensemble, lists of a player's notes.
        ignored: names of what cameras and systems left there.
    """

    devices: tuple[Path, ...]
    score: Path | None
    take_file: Path | None
    refused: tuple[Refused, ...]
    is_ensemble: bool = False
    notes: tuple[Path, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def is_capture(self) -> bool:
        """Whether anything here is, or by its name should be, a recording."""
        return bool(self.devices) or any(row.role in ("camera", "microphone") for row in self.refused)

    @property
    def files(self) -> tuple[Path, ...]:
        """The raw files that the take consists of, in order of name."""
        others = [path for path in (self.score, self.take_file) if path is not None]
        return tuple(sorted((*self.devices, *self.notes, *others)))


def look_into(folder: Path, size: FolderSize) -> Found:
    """List a take's folder. Hidden files are none of it.

    Raises:
        FolderError: ``UNREADABLE``, it cannot be listed; ``TOO_MANY``, it holds more than a take; ``BAD_TAKE_FILE``,
            its take.yaml is no file of that kind.
    """
    try:
        listed = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise FolderError(f"{shown(folder)} cannot be listed: {error.strerror}", kind="UNREADABLE") from None
    ignored = sidecars(path.name for path in listed)
    paths = [path for path in listed if path.name not in ignored]
    is_ensemble = any(is_of_an_ensemble(path.name) for path in paths)
    n_recordings = sum(role_of(path.name, in_ensemble=is_ensemble) in RECORDED for path in paths)
    if n_recordings > size.devices or len(paths) > FILES_A_DEVICE * size.devices:
        raise FolderError(
            f"{shown(folder)} holds {n_recordings} recordings and {len(paths) - n_recordings} other files, expected at "
            f"most {size.devices} (ingest.max_devices) and {FILES_A_DEVICE} files for each: are these several takes?",
            kind="TOO_MANY",
        )
    devices: dict[str, Path] = {}
    notes: dict[str, Path] = {}
    scores: list[Path] = []
    take_file: Path | None = None
    refused: list[Refused] = []
    for path in paths:
        role = role_of(path.name, in_ensemble=is_ensemble)
        device = device_of(path.name, in_ensemble=is_ensemble)
        if path.name in BESIDE or (is_ensemble and role == "other" and ensemble_file(path.name) is not None):
            continue
        small = {"score": size.score, "notes": size.score, "other": MAX_TAKE_FILE_BYTES}
        fault = fault_of(path, small.get(role, size.media))
        if is_take_file(path.name) and take_file is None:
            if fault is not None:
                raise FolderError(fault[1], kind="BAD_TAKE_FILE" if fault[0] != "UNREADABLE" else "UNREADABLE")
            take_file = path
            continue
        if fault is None and role == "other":
            fault = "BAD_NAME", f"{shown(path)}: expected {TAKE_FILE}, {EXPECTED}"
        if fault is None and role == "score" and scores:
            fault = ("TWO_SCORES", f"{shown(path)} stands beside {shown(scores[0].name)}, expected one MIDI file")
        if fault is None and device in devices:
            fault = ("NAME_TAKEN", f"{shown(path)} stands beside {devices[device].name}, expected one file a device")
        if fault is None and is_ensemble:
            fault = _odd_one(path, devices.values())
        if fault is not None:
            refused.append(Refused(role=role, device=device, path=shown(path), kind=fault[0], reason=fault[1]))
        elif role == "score":
            scores.append(path)
        elif role == "notes":
            notes[device] = path
        else:
            devices[device] = path
    return Found(
        devices=tuple(devices.values()),
        score=scores[0] if scores else None,
        take_file=take_file,
        refused=tuple(refused),
        is_ensemble=is_ensemble,
        notes=tuple(notes.values()),
        ignored=tuple(shown(name) for name in sorted(ignored)),
    )


def check_is_take(folder: Path, found: Found) -> None:
    """Refuse a folder that holds neither recordings nor a single MIDI file.

    Raises:
        FolderError: ``NO_DEVICE``, it has recordings and none of them can be used; ``NOT_A_TAKE``, it holds none, nor
            a single MIDI file; or what is wrong with the one file that would be the take.
    """
    if found.is_capture:
        if not found.devices:
            raise FolderError(found.refused[0].reason, kind="NO_DEVICE")
        return
    if found.score is not None and not found.refused:
        return
    if len(found.refused) == 1 and found.score is None and found.refused[0].role == "score":
        raise FolderError(found.refused[0].reason, kind=found.refused[0].kind)
    names = [path.name for path in found.files] + [Path(row.path).name for row in found.refused]
    listed = ", ".join(ascii(name) for name in sorted(names)[:5]) or "nothing"
    raise FolderError(
        f"{shown(folder)} holds {listed}, expected {EXPECTED}",
        kind="NOT_A_TAKE",
    )


def is_of_an_ensemble(name: str) -> bool:
    """Return whether a file of this name makes its folder an ensemble's: a stem, or a solo."""
    named = _in_ensemble(name)
    return named is not None and named.role in ("stem", "stems", "solo")


def _odd_one(path: Path, others: Iterable[Path]) -> tuple[str, str] | None:
    """Return kind and reason of a recording that has no common clock with those beside it."""
    named = _in_ensemble(path.name)
    for other in others:
        beside = _in_ensemble(other.name)
        if named is None or beside is None or not {"solo", "stems"} & {named.role, beside.role}:
            continue
        what = "one solo" if "solo" in (named.role, beside.role) else "one file of stems"
        return "TWO_CLOCKS", f"{shown(path)} stands beside {shown(other.name)}, expected {what} a take, and no stems"
    return None


def fault_of(path: Path, max_bytes: int) -> tuple[str, str] | None:
    """Return kind and reason of a file that must not be opened, or cannot be; None of one that can be read.

    Opening a FIFO would block for ever and a link may lead anywhere, so neither is opened even once.
    """
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            what = {stat.S_IFDIR: "a folder", stat.S_IFLNK: "a link"}.get(stat.S_IFMT(found.st_mode), "a device")
            return "NOT_A_FILE", f"{shown(path)} is {what}, expected a regular file"
        if found.st_size > max_bytes:
            return "TOO_LARGE", f"{shown(path)}: {found.st_size} bytes, expected at most {max_bytes}"
        os.close(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK))
    except OSError as error:
        return "UNREADABLE", f"{shown(path)} cannot be read: {error.strerror}"
    return None


def role_of(name: str, *, in_ensemble: bool = False) -> Role:
    """Return what a file is by its name; some names mean something beside stems alone."""
    if name.lower().endswith(SCORE_SUFFIXES):
        return "score"
    found = DEVICE_FILE.fullmatch(name)
    if found is not None:
        return "camera" if found["role"].lower() == "cam" else "microphone"
    named = _in_ensemble(name) if in_ensemble else None
    return "other" if named is None else _ENSEMBLE_ROLES[named.role]


def device_of(name: str, *, in_ensemble: bool = False) -> str:
    """Return what a take calls a file of this name, fit for a message: ``cam_top``, ``stem_1_vn``."""
    named = _in_ensemble(name) if in_ensemble else None
    if named is not None:
        return named.device
    is_in_capitals = DEVICE_FILE.fullmatch(name) is not None and DEVICE.match(name) is None
    return shown(Path(name).stem.lower() if is_in_capitals else Path(name).stem)


def is_take_file(name: str) -> bool:
    """Return whether a file of this name describes its take."""
    return name.lower() in (TAKE_FILE, "take.yml")


def sidecars(names: Iterable[str]) -> frozenset[str]:
    """Return which files of a folder a camera, an editor or a system wrote beside recordings.

    They have names that are known for it, or a device's name beside a recording of that device, and are none.
    """
    named = list(names)
    recorded = {device_of(name) for name in named if _is_device(name) and is_recording(name)}
    return frozenset(
        name
        for name in named
        if _SIDECAR.fullmatch(name) or (_is_device(name) and not is_recording(name) and device_of(name) in recorded)
    )


def is_recording(name: str) -> bool:
    """Return whether a file has the name of a recording in a container that is read."""
    return name.lower().endswith(RECORDING_SUFFIXES)


def _is_device(name: str) -> bool:
    return DEVICE_FILE.fullmatch(name) is not None


def _in_ensemble(name: str) -> EnsembleFile | None:
    is_known = name.lower().endswith(SCORE_SUFFIXES) or DEVICE_FILE.fullmatch(name) is not None
    return None if is_known else ensemble_file(name)


def shown(path: str | Path) -> str:
    """Return a name for a message; invisible letters, and those that move a cursor, are replaced by their codes."""
    name = str(path)
    return name if name.isprintable() else ascii(name)[1:-1]
