"""The takes that folders and files outside of the project hold: which files make a take, and what each is called."""

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeGuard

from tasks.errors import BadInput, contained
from tasks.instruments.orchestra import instrument_named
from tasks.intake.datasets import RECORDED_PIANO, KnownFolder, is_recorded_piano, known_takes, plain_name
from tasks.intake.folder import (
    FILES_A_DEVICE,
    TAKE_FILE,
    FolderSize,
    Refused,
    Role,
    check_is_take,
    fault_of,
    is_of_an_ensemble,
    is_take_file,
    look_into,
    role_of,
    shown,
    sidecars,
)
from tasks.intake.layouts import MIX, STEM_STREAMS, ensemble_file
from tasks.media.formats import RECORDING_SUFFIXES, SOUND_SUFFIXES
from tasks.takes import TAKE_NAME

# The marimba recordings of Deep Auditory Hallucinations: seq6a_angle1.mp4 is camera 1 of take seq6a. Takes of one
# number were recorded in one go, so they are one piece: no part of a session is tested on another.
MARIMBA = re.compile(
    r"(?P<take>(?P<piece>seq\d+)[A-Za-z]*)_(?:angle(?P<camera>\d+)|audio)\.(?P<suffix>[A-Za-z0-9]{1,8})"
)
_PART_WORDS = (*STEM_STREAMS, MIX, "mixture", "vox", "voice", "guitar", "piano", "keys", "synth", "percussion")
MAX_DEPTH = 4  # of folders that hold nothing but folders
# Indices, descriptions and pictures, beside recordings or folders of them.
_DOCUMENT = re.compile(
    r".*\.(?:csv|tsv|json|xml|txt|md|rst|pdf|html?|docx?|odt|rtf|xlsx?|ods|bib|jpe?g|png|gif|tiff?|mat|lab|jams)"
    r"|licen[cs]e|readme|copying|authors|changelog|version|makefile",
    re.IGNORECASE,
)


class ArrivalError(BadInput):
    """A folder or file that is no take: what was found and what was expected."""


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A take as it lies outside.

    Attributes:
        name: the take's.
        source: the folder or file that was named.
        files: name in data/raw -> where it is copied from.
        made: name in data/raw -> bytes of a file that is not there and is written for it.
        refused: files that are left where they are.
    """

    name: str
    source: Path
    files: dict[str, Path]
    made: dict[str, bytes] = field(default_factory=dict)
    refused: tuple[Refused, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RefusedArrival:
    """A folder or file that is no take; all words are fit for a message.

    Attributes:
        take: the name that the take would have.
        source: the folder or file.
        kind: of what is wrong.
        reason: the same in words.
        device: the device that the file would be, where the rest of its take is none the worse.
    """

    take: str
    source: str
    kind: str
    reason: str
    device: str = ""


def find_arrivals(
    paths: Iterable[Path], size: FolderSize, *, tell: Callable[[str], None] = lambda _line: None
) -> Iterator[Arrival | RefusedArrival]:
    """List the takes that the named folders and files hold, and refuse what is none.

    A folder of several MIDI files without a recording or a take.yaml is a collection: each file of it is a take of its
    own, by the file's name. Scores of one name in different folders have the folder's name before their own.

    Args:
        paths: folders and files.
        size: of files; a larger one is refused unread.
        tell: is called with a line on each folder of which files of cameras and systems were left out.
    """
    found: list[Arrival | RefusedArrival] = []
    for path in paths:
        try:
            with contained(shown(path)):
                found += _arrivals_at(path, size, tell, depth=0)
        except BadInput as error:
            found.append(refused_arrival(path, error))
    folders: dict[str, set[Path]] = {}
    for one in found:
        if _is_loose_score(one):
            folders.setdefault(one.name, set()).add(one.source.resolve().parent)
    for one in found:
        yield _in_folder(one) if _is_loose_score(one) and len(folders[one.name]) > 1 else one


def _is_loose_score(found: Arrival | RefusedArrival) -> TypeGuard[Arrival]:
    """Return whether a take is a MIDI file that lies in no take's folder."""
    if isinstance(found, RefusedArrival) or role_of(found.source.name) != "score":
        return False
    return found.files.get(found.source.name) == found.source


def _in_folder(score: Arrival) -> Arrival | RefusedArrival:
    """Return the score with its folder's name before its own."""
    try:
        name = _take_name(f"{score.source.resolve().parent.name}_{score.name}", score.source)
    except BadInput as error:
        return refused_arrival(score.source, error)
    return replace(score, name=name)


def _arrivals_at(
    path: Path, size: FolderSize, tell: Callable[[str], None], *, depth: int
) -> Iterator[Arrival | RefusedArrival]:
    if path.is_symlink():
        raise ArrivalError(f"{shown(path)} is a link, expected the folder or file itself", kind="NOT_A_FILE")
    if not os.path.lexists(path):
        raise ArrivalError(f"{shown(path)} is not there, or in a folder that may not be read", kind="MISSING")
    if not _is_folder(path):
        yield from _loose_files([path], size)
        return
    try:
        listed = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise ArrivalError(f"{shown(path)} cannot be listed: {error.strerror}", kind="UNREADABLE") from None
    of_systems = sidecars(entry.name for entry in listed)
    inside = [entry for entry in listed if entry.name not in of_systems]
    ignored = [entry for entry in listed if entry.name in of_systems]
    if ignored:
        tell(f"{shown(path)}: {_some(ignored)} left out: of cameras and systems")
    known = known_takes(path, inside)
    if known:
        yield from (_known_arrival(path, take, size) for take in known)
        return
    roles = [role_of(entry.name) for entry in inside]
    is_marimba = any(MARIMBA.fullmatch(entry.name) for entry in inside)
    has_recordings = any(role in ("camera", "microphone") for role in roles)
    has_recordings |= any(is_of_an_ensemble(entry.name) and not _is_alone(entry.name) for entry in inside)
    is_take = has_recordings or any(is_take_file(entry.name) for entry in inside) or roles == ["score"]
    is_take |= _are_stems(inside)  # in a layout that is not known: it is refused with the names that would work
    are_takes = (
        is_marimba or bool(_pairs(inside)) or sum(_is_alone(entry.name) for entry in inside) > 1 or _are_pieces(inside)
    )
    holds_folders = all(_is_folder(entry) for entry in inside) and depth < MAX_DEPTH
    if is_take or (depth > 0 and not are_takes and not holds_folders) or not inside:
        yield _folder_arrival(path, size)
        return
    left_out = [entry for entry in inside if _DOCUMENT.fullmatch(entry.name) and not _is_folder(entry)]
    if left_out and len(left_out) < len(inside):
        inside = [entry for entry in inside if entry not in left_out]
        tell(f"{shown(path)}: {_some(left_out)} left out: no recording")
    for entry in inside:
        if not _is_folder(entry):
            continue
        try:
            with contained(shown(entry)):
                inner = list(_arrivals_at(entry, size, tell, depth=depth + 1))
            yield from inner
        except BadInput as error:
            yield refused_arrival(entry, error)
    yield from _loose_files([entry for entry in inside if not _is_folder(entry)], size)


def _some(paths: Sequence[Path]) -> str:
    """Return the first few names, for a message."""
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(shown(path.name) for path in paths[:3]) + more


def _is_alone(name: str) -> bool:
    """Return whether a file holds a take of its own, a solo or all stems of one, so that several are several takes."""
    named = ensemble_file(name)
    return named is not None and named.role in ("solo", "stems")


def _are_stems(inside: Sequence[Path]) -> bool:
    """Return whether a folder's recordings are, by their names, the parts of one piece: all of instruments or a mix."""
    sounds = [path for path in inside if path.suffix.lower() in SOUND_SUFFIXES]
    words = [" ".join(re.findall(r"[a-z]+", path.stem.lower())) for path in sounds]
    is_part = [word in _PART_WORDS or (word.isalpha() and instrument_named(word) is not None) for word in words]
    return len(words) > 1 and all(is_part) and not _pairs(inside)


def _are_pieces(inside: Sequence[Path]) -> bool:
    """Return whether a folder's files are several MIDI files and, by their names, no recording."""
    is_recorded = any(_is_alone(path.name) or path.suffix.lower() in RECORDING_SUFFIXES for path in inside)
    return not is_recorded and sum(role_of(path.name) == "score" for path in inside) > 1


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:  # in a folder that may be listed, and no more
        return False


def _folder_arrival(folder: Path, size: FolderSize) -> Arrival:
    found = look_into(folder, size)
    check_is_take(folder, found)
    files = {TAKE_FILE if path == found.take_file else path.name: path for path in found.files}
    return Arrival(name=_take_name(folder.resolve().name, folder), source=folder, files=files, refused=found.refused)


def _loose_files(paths: Sequence[Path], size: FolderSize) -> Iterator[Arrival | RefusedArrival]:
    """Make takes of files that lie in no take's folder: those of the marimba project together, any other alone."""
    together: dict[str, Arrival] = {}
    pairs = _pairs(paths)
    scores = {score: recording for recording, score in pairs.items()}
    for path in paths:
        try:
            named = MARIMBA.fullmatch(path.name)
            role: Role = role_of(path.name) if named is None else "camera" if named["camera"] else "microphone"
            fault = fault_of(path, size.score if role == "score" else size.media)
            if fault is not None:
                raise ArrivalError(fault[1], kind=fault[0])
            if path in scores and fault_of(scores[path], size.media) is None:
                continue  # comes with its recording
            if named is None:
                yield _single_file(path, role, pairs.get(path), size)
                continue
        except BadInput as error:
            yield refused_arrival(path, error)
            continue
        described = f"piece: {named['piece']}\ninstrument: marimba-18\n".encode()
        take = together.setdefault(
            named["take"], Arrival(name=named["take"], source=path.parent, files={}, made={TAKE_FILE: described})
        )
        device = f"cam_angle{named['camera']}" if named["camera"] else "mic_audio"
        if any(Path(name).stem == device for name in take.files):
            kind, reason = "NAME_TAKEN", f"{shown(path)}: {device} of {take.name} is there twice, expected one file"
            yield RefusedArrival(take=take.name, source=shown(path), kind=kind, reason=reason, device=device)
        else:
            take.files[f"{device}.{named['suffix']}"] = path
    yield from together.values()


def _pairs(paths: Sequence[Path]) -> dict[Path, Path]:
    """Return recordings with the MIDI file that has their name: X.wav beside X.mid; sound comes before a film."""
    scores = {path.stem.lower(): path for path in paths if role_of(path.name) == "score"}
    found: dict[str, Path] = {}
    for suffix in (*SOUND_SUFFIXES, *RECORDING_SUFFIXES):
        for path in paths:
            if path.suffix.lower() == suffix and role_of(path.name) == "other" and not _is_alone(path.name):
                found.setdefault(path.stem.lower(), path)
    return {path: scores[stem] for stem, path in found.items() if stem in scores}


def _known_arrival(folder: Path, take: KnownFolder, size: FolderSize) -> Arrival | RefusedArrival:
    """Return a take of a known data set, or why it is none."""
    try:
        name = _take_name(take.name, folder)
        if len(take.files) > FILES_A_DEVICE * size.devices:
            raise ArrivalError(f"{shown(folder)} holds {len(take.files)} recordings", kind="TOO_MANY")
        for path in take.files.values():
            fault = fault_of(path, size.score if role_of(path.name) == "score" else size.media)
            if fault is not None:
                raise ArrivalError(fault[1], kind=fault[0])
    except BadInput as error:
        return refused_arrival(folder, error)
    return Arrival(name=name, source=folder, files=dict(take.files), made=dict(take.made))


def _single_file(path: Path, role: Role, score: Path | None, size: FolderSize) -> Arrival:
    if _is_alone(path.name):
        plain = plain_name(path.name.rpartition(".")[0].removesuffix(".stem"))
        return Arrival(name=_take_name(plain, path), source=path, files={path.name: path})
    name = _take_name(path.stem, path)
    if role != "other":
        return Arrival(name=name, source=path, files={path.name: path})
    device = "mic_main" if path.suffix.lower() in SOUND_SUFFIXES else "cam_main"
    if not re.fullmatch(r"\.[A-Za-z0-9]{1,8}", path.suffix):
        raise ArrivalError(f"{shown(path)}: expected a recording, a .mid, or a folder of them", kind="NOT_A_TAKE")
    files = {f"{device}{path.suffix}": path}
    if score is None or fault_of(score, size.score) is not None:
        return Arrival(name=name, source=path, files=files)
    made = {TAKE_FILE: RECORDED_PIANO} if is_recorded_piano(path.name) else {}
    return Arrival(name=name, source=path, files={**files, score.name: score}, made=made)


def _take_name(name: str, path: Path) -> str:
    if not TAKE_NAME.fullmatch(name):
        reason = f"{shown(path)}: {name!a} is no take's name, expected letters, digits, '.', '_' and '-'"
        raise ArrivalError(reason, kind="BAD_NAME")
    return name


def refused_arrival(path: Path, error: BadInput) -> RefusedArrival:
    """Return a folder or file as a refused arrival, with the error's reason."""
    return RefusedArrival(take=shown(path.stem), source=shown(path), kind=error.kind, reason=str(error))
