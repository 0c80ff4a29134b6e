"""Verb ``add``: recordings come into data/raw, whole or not at all. What they are copied from is never written to.

A take is copied to ``data/incoming``, held against its source, and renamed into ``data/raw`` under DVC's lock; then
DVC records the folder. Killed at any moment, the next run clears what is half done and goes on from there.
"""

import dataclasses
import fcntl
import hashlib
import os
import re
import shutil
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Literal

from tasks.errors import BadInput
from tasks.ingest import (
    FILMED,
    RAW,
    RECORDED,
    SAMPLE,
    IngestError,
    Originals,
    Source,
    TakeParams,
    check_is_take,
    find_sources,
    hash_files,
    holding,
    holding_of,
    in_order,
)
from tasks.instruments.midi import read_midi
from tasks.intake.copies import Contents
from tasks.intake.describe import TakeFile, parse_take_file, read_take_file
from tasks.intake.devices import probe_device
from tasks.intake.folder import (
    TAKE_FILE,
    FolderSize,
    Refused,
    Role,
    device_of,
    fault_of,
    is_of_an_ensemble,
    look_into,
    role_of,
    shown,
)
from tasks.intake.layouts import ensemble_file
from tasks.intake.players import plan_players
from tasks.step import Verified, file_sha256, named_error
from tasks.takes import TAKE_NAME, Kind, Part
from tasks.versions.raw import Tell, check_raw, is_recorded, only_one, writing_raw

INCOMING = Path("data/incoming")
REPLACED = INCOMING / ".replaced"
STATE = Path(".audiate")
PENDING = STATE / "adding"  # is there from the first rename until DVC has recorded it

# The marimba recordings of Deep Auditory Hallucinations: seq6a_angle1.mp4 is camera 1 of take seq6a. Takes of one
# number were recorded in one go, so they are one piece: no part of a session is tested on another.
MARIMBA = re.compile(
    r"(?P<take>(?P<piece>seq\d+)[A-Za-z]*)_(?:angle(?P<camera>\d+)|audio)\.(?P<suffix>[A-Za-z0-9]{1,8})"
)
SOUND_SUFFIXES = (".wav", ".wave", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aac", ".m4a", ".aif", ".aiff")
FICLONE = 0x40049409  # ioctl of Linux: share the other file's blocks until one of them changes
COPIED_AT_ONCE = 1 << 20  # bytes

State = Literal["added", "known", "quarantined"]


@dataclass(frozen=True, kw_only=True)
class AddRow:
    """What became of a take, or of one file of it; all words are fit for a message.

    Attributes:
        take: the take's name.
        state: ``known`` is one that stands in data/raw already.
        kind: why it was quarantined, or ``REPLACED`` or ``EXTENDED`` where a take was there before.
        reason: the same in words.
        source: what it was read from.
        device: the file's device when the row is about one of the take's files.
    """

    take: str
    state: State
    kind: str = ""
    reason: str = ""
    source: str = ""
    device: str = ""


@dataclass(frozen=True, kw_only=True)
class AddSummary:
    """What ``add_takes`` did, or would do."""

    rows: tuple[AddRow, ...]
    dry_run: bool

    def counts(self) -> dict[str, int]:
        """Return how many takes were added and known, and how many takes and single files quarantined."""
        found = Counter(row.state for row in self.rows)
        return {"added": found["added"], "known": found["known"], "quarantined": found["quarantined"]}


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
class _Staged:
    row: AddRow
    folder: Path
    replaces: bool


class AddError(BadInput):
    """A take that does not come in: what was found and what was expected."""


def _say_nothing(_line: str) -> None:
    """Take a line that nobody asked for."""


def add_takes(
    folders: Sequence[Path],
    *,
    params: TakeParams,
    dry_run: bool = False,
    replace: bool = False,
    wait: bool = True,
    tell: Tell = _say_nothing,
) -> AddSummary:
    """Take recordings in: check, copy, hash and record them.

    Each folder is a take's, or holds takes, or files in the marimba project's naming; a single recording or MIDI
    file is a take of its own, and so is each solo (``solo_CODE.mp4``) and each file of stems (``NAME.stem.mp4``). A
    take that stands in data/raw with the same files is known. One that has all of those files and more takes its
    place; one with others does so only when ``replace`` says so.

    Args:
        folders: read, never written to.
        params: what is accepted; ingest decodes what is only probed here.
        dry_run: say what would happen, and write nothing.
        replace: let a take with other files take the place of the one that has its name.
        wait: for another ``add`` or a stage that reads data/raw.
        tell: is called with a line for people on what is waited for or copied.

    Raises:
        PipelineError: data/raw is missing, the disk is full, DVC or git failed, or ``wait`` is off and another run
            is at work.
    """
    check_raw(RAW)
    if dry_run:
        return AddSummary(rows=_by_take(_Adding(params, replace=replace, tell=tell).plan(folders)), dry_run=True)
    with only_one(STATE / "locks" / "add", what="add", wait=wait, tell=tell):
        _tidy(tell)
        adding = _Adding(params, replace=replace, tell=tell)
        rows, staged = adding.stage(folders)
        adding.save()
        if staged or PENDING.exists() or not is_recorded(RAW):
            rows += _publish(staged, tell)
        shutil.rmtree(INCOMING, ignore_errors=True)
    return AddSummary(rows=_by_take(rows), dry_run=False)


def _by_take(rows: Iterable[AddRow]) -> tuple[AddRow, ...]:
    return tuple(sorted(rows, key=lambda row: (row.take, row.device, row.source)))


def find_arrivals(paths: Iterable[Path], size: FolderSize) -> Iterator[Arrival | AddRow]:
    """List the takes that the named folders and files hold, and refuse what is none.

    Args:
        paths: folders and files.
        size: of files; a larger one is refused unread.
    """
    for path in paths:
        try:
            yield from _arrivals_at(path, size, is_inside=False)
        except BadInput as error:
            yield _refused_take(path, error)


def _arrivals_at(path: Path, size: FolderSize, *, is_inside: bool) -> Iterator[Arrival | AddRow]:
    if path.is_symlink():
        raise AddError(f"{shown(path)} is a link, expected the folder or file itself", kind="NOT_A_FILE")
    if not os.path.lexists(path):
        raise AddError(f"{shown(path)} is not there, or in a folder that may not be read", kind="MISSING")
    if not _is_folder(path):
        yield from _loose_files([path], size)
        return
    try:
        inside = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise AddError(f"{shown(path)} cannot be listed: {error.strerror}", kind="UNREADABLE") from None
    roles = [role_of(entry.name) for entry in inside]
    is_marimba = any(MARIMBA.fullmatch(entry.name) for entry in inside)
    has_recordings = any(role in ("camera", "microphone") for role in roles)
    has_recordings |= any(is_of_an_ensemble(entry.name) and not _is_alone(entry.name) for entry in inside)
    is_take = has_recordings or any(entry.name == TAKE_FILE for entry in inside) or roles == ["score"]
    n_alone = sum(_is_alone(entry.name) for entry in inside)
    if is_take or (is_inside and not is_marimba and n_alone < 2) or not inside:
        yield _folder_arrival(path, size)
        return
    for entry in inside:
        if not _is_folder(entry):
            continue
        try:
            yield from _arrivals_at(entry, size, is_inside=True)
        except BadInput as error:
            yield _refused_take(entry, error)
    yield from _loose_files([entry for entry in inside if not _is_folder(entry)], size)


def _is_alone(name: str) -> bool:
    """Say whether a file holds a take of its own, a solo or all stems of one, so that several are several takes."""
    named = ensemble_file(name)
    return named is not None and named.role in ("solo", "stems")


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:  # in a folder that may be listed, and no more
        return False


def _folder_arrival(folder: Path, size: FolderSize) -> Arrival:
    found = look_into(folder, size)
    check_is_take(folder, found)
    files = {path.name: path for path in found.files}
    return Arrival(name=_take_name(folder.resolve().name, folder), source=folder, files=files, refused=found.refused)


def _loose_files(paths: Sequence[Path], size: FolderSize) -> Iterator[Arrival | AddRow]:
    """Make takes of files that lie in no take's folder: those of the marimba project together, any other alone."""
    together: dict[str, Arrival] = {}
    for path in paths:
        try:
            named = MARIMBA.fullmatch(path.name)
            role: Role = role_of(path.name) if named is None else "camera" if named["camera"] else "microphone"
            fault = fault_of(path, size.score if role == "score" else size.media)
            if fault is not None:
                raise AddError(fault[1], kind=fault[0])
            if named is None:
                yield _single_file(path, role)
                continue
        except BadInput as error:
            yield _refused_take(path, error)
            continue
        said = f"piece: {named['piece']}\ninstrument: marimba-18\n".encode()
        take = together.setdefault(
            named["take"], Arrival(name=named["take"], source=path.parent, files={}, made={TAKE_FILE: said})
        )
        device = f"cam_angle{named['camera']}" if named["camera"] else "mic_audio"
        if any(Path(name).stem == device for name in take.files):
            kind, reason = "NAME_TAKEN", f"{shown(path)}: {device} of {take.name} is there twice, expected one file"
            yield AddRow(
                take=take.name, state="quarantined", kind=kind, reason=reason, source=shown(path), device=device
            )
        else:
            take.files[f"{device}.{named['suffix']}"] = path
    yield from together.values()


def _single_file(path: Path, role: Role) -> Arrival:
    if _is_alone(path.name):
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", path.name.rpartition(".")[0].removesuffix(".stem")).strip("_.-")
        return Arrival(name=_take_name(plain, path), source=path, files={path.name: path})
    name = _take_name(path.stem, path)
    if role != "other":
        return Arrival(name=name, source=path, files={path.name: path})
    device = "mic_main" if path.suffix.lower() in SOUND_SUFFIXES else "cam_main"
    if not re.fullmatch(r"\.[A-Za-z0-9]{1,8}", path.suffix):
        raise AddError(f"{shown(path)}: expected a recording, a .mid, or a folder of them", kind="NOT_A_TAKE")
    return Arrival(name=name, source=path, files={f"{device}{path.suffix}": path})


def _take_name(name: str, path: Path) -> str:
    if not TAKE_NAME.fullmatch(name):
        reason = f"{shown(path)}: {name!a} is no take's name, expected letters, digits, '.', '_' and '-'"
        raise AddError(reason, kind="BAD_NAME")
    return name


def _refused_take(path: Path, error: BadInput) -> AddRow:
    return AddRow(take=shown(path.stem), state="quarantined", kind=error.kind, reason=str(error), source=shown(path))


class _Adding:
    """One run: what is known of data/raw, and the decisions on each arrival."""

    def __init__(self, params: TakeParams, *, replace: bool, tell: Tell) -> None:
        self.params = params
        self.replace = replace
        self.tell = tell
        self.verified = Verified(STATE / "verified" / "add.json")
        self.streams = Contents(STATE / "verified" / "streams.json", params.media)
        self.sources, _ = find_sources(SAMPLE, FILMED, RAW, size=params.size)
        self.claimed: set[str] = set()

    def plan(self, folders: Sequence[Path]) -> list[AddRow]:
        """Say what would become of each arrival."""
        rows = []
        for found in find_arrivals(folders, self.params.size):
            rows += [found] if isinstance(found, AddRow) else self._decide(found)[1]
        return rows

    def stage(self, folders: Sequence[Path]) -> tuple[list[AddRow], list[_Staged]]:
        """Copy each arrival that comes in to its place in data/incoming.

        Raises:
            ToolError: the disk is full.
        """
        rows: list[AddRow] = []
        staged: list[_Staged] = []
        for found in find_arrivals(folders, self.params.size):
            if isinstance(found, AddRow):
                rows.append(found)
                continue
            arrival, decided = self._decide(found)
            rows += [row for row in decided if row.state != "added"]
            for row in decided:
                if row.state != "added":
                    continue
                try:
                    folder = self._copy(arrival)
                except BadInput as error:
                    rows.append(_refused_take(arrival.source, error))
                else:
                    staged.append(_Staged(row=row, folder=folder, replaces=row.kind != ""))
        return rows, staged

    def save(self) -> None:
        """Keep the digests of what has not changed since."""
        self.verified.save()
        self.streams.save()

    def _decide(self, arrival: Arrival) -> tuple[Arrival, list[AddRow]]:
        """Return the arrival with what is sound in it, and the rows on it and on its files."""

        def row(state: State, kind: str = "", reason: str = "") -> AddRow:
            return AddRow(take=arrival.name, state=state, kind=kind, reason=reason, source=shown(arrival.source))

        sound = arrival
        refused = list(arrival.refused)
        try:
            if self._is_known(arrival):  # without a look into its files: most of what a schedule finds is known
                rows = [row("known")]
            else:
                said = self._said(arrival)
                sound, broken = self._sound(arrival)
                refused += broken
                if self._kind(sound, said) == "ensemble":
                    plan_players([Path(name) for name in sound.files], said, where=shown(arrival.source))
                rows = [row("known") if self._is_known(sound) else row("added", *self._place(sound, said))]
        except BadInput as error:
            rows = [row("quarantined", error.kind, str(error))]
        rows += [
            AddRow(
                take=arrival.name,
                state="quarantined",
                kind=file.kind,
                reason=file.reason,
                source=file.path,
                device=file.device,
            )
            for file in refused
        ]
        return sound, rows

    def _kind(self, arrival: Arrival, said: TakeFile) -> Kind:
        if said.players or any(map(is_of_an_ensemble, arrival.files)):
            return "ensemble"
        return "capture" if any(role_of(name) in RECORDED for name in arrival.files) else "score"

    def _said(self, arrival: Arrival) -> TakeFile:
        if TAKE_FILE in arrival.made:
            return parse_take_file(arrival.made[TAKE_FILE], name=TAKE_FILE)
        return read_take_file(arrival.files.get(TAKE_FILE))

    def _sound(self, arrival: Arrival) -> tuple[Arrival, list[Refused]]:
        """Probe every file; return the arrival without those that are broken, and these.

        Raises:
            BadInput: nothing is left.
        """
        kept: dict[str, Path] = {}
        broken: list[Refused] = []
        together = any(map(is_of_an_ensemble, arrival.files))
        roles = {name: role_of(name, in_ensemble=together) for name in arrival.files}
        for name, path in arrival.files.items():
            role, device = roles[name], device_of(name, in_ensemble=together)
            try:
                if role == "score":
                    read_midi(path, self.params.midi)
                elif role in RECORDED:
                    probe_device(path, role, policy=self.params.media)
                kept[name] = path
            except BadInput as error:
                if role == "stem":  # without it the others are no ensemble
                    raise
                broken.append(Refused(role=role, device=device, path=shown(path), kind=error.kind, reason=str(error)))
            except OSError as error:
                reason = f"{shown(path)} cannot be read: {error.strerror}"
                broken.append(Refused(role=role, device=device, path=shown(path), kind="UNREADABLE", reason=reason))
        was_capture = any(role in RECORDED for role in roles.values())
        if was_capture and not any(roles[name] in RECORDED for name in kept):
            reasons = [file.reason for file in broken if file.role != "score"]
            raise IngestError(f"no device can be used; {reasons[0]}", kind="NO_DEVICE")
        if not was_capture and broken:
            raise AddError(broken[0].reason, kind=broken[0].kind)
        return Arrival(name=arrival.name, source=arrival.source, files=kept, made=arrival.made), broken

    def _is_known(self, arrival: Arrival) -> bool:
        """Say whether all of it stands in data/raw already.

        Raises:
            AddError: its name is that of a take elsewhere.
        """
        there = self._there(arrival.name)
        if there is None:
            return False
        if there.origin != "raw":
            reason = f"{shown(arrival.source)} has the name of a take in data/{there.origin}, expected another name"
            raise AddError(reason, kind="NAME_TAKEN")
        new, old = self._digests(arrival), self._digests_of(there)
        return new == old or (new.items() <= old.items() and not self.replace)

    def _place(self, arrival: Arrival, said: TakeFile) -> tuple[str, str]:
        """Return ``EXTENDED`` or ``REPLACED`` with its reason, or nothing for a take that is new.

        Raises:
            BadInput: it must not come in.
        """
        name = arrival.name
        if name in self.claimed:
            raise AddError(f"{name} comes twice in one run, expected one folder a take", kind="NAME_TAKEN")
        placed = "", ""
        if (RAW / name).exists():
            there = self._there(name)
            placed = self._over(arrival, self._digests_of(there) if there is not None else {}, self._digests(arrival))
        self._check_new(arrival, said)
        self.claimed.add(name)
        return placed

    def _there(self, name: str) -> Source | None:
        return next((source for source in self.sources if source.name == name), None)

    def _digests_of(self, there: Source) -> dict[str, str]:
        return {Path(file).name: self.verified.sha256(Path(file)) for file in there.files}

    def _over(self, arrival: Arrival, old: dict[str, str], new: dict[str, str]) -> tuple[str, str]:
        """Say how an arrival takes the place of the take that has its name, known by the digests of both.

        Raises:
            AddError: it must not.
        """
        more = ", ".join(sorted(new.keys() - old.keys()))
        if old and old.items() <= new.items():
            return "EXTENDED", f"{more} came to what was there"
        other = ", ".join(sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name)))
        if self.replace:
            return "REPLACED", f"was there with other files: {other}"
        raise AddError(
            f"{shown(arrival.source)}: {RAW / arrival.name} is there with other files ({other}), expected the same, "
            "more of them, another name, or --replace",
            kind="NAME_TAKEN",
        )

    def _digests(self, arrival: Arrival) -> dict[str, str]:
        try:
            read = {name: self.verified.sha256(path) for name, path in arrival.files.items()}
        except OSError as error:
            raise AddError(f"{shown(arrival.source)} cannot be read: {error.strerror}", kind="UNREADABLE") from None
        return read | {name: hashlib.sha256(data).hexdigest() for name, data in arrival.made.items()}

    def _check_new(self, arrival: Arrival, said: TakeFile) -> None:
        """Refuse a copy of another take, and a piece that stands in another part of the split.

        Raises:
            AddError: names the other take.
        """
        piece = said.piece or arrival.name
        fixed = self._parts.get(piece)
        if said.part is not None and fixed is not None and fixed[0] != said.part and fixed[1] != arrival.name:
            reason = f"{arrival.name} is of piece {piece} and asks for part {said.part}, expected {fixed[0]} as take "
            raise AddError(f"{reason}{fixed[1]} has it", kind="OTHER_PART")
        copied = self._originals.claim(holding(arrival.name, self._kind(arrival, said), piece, arrival.files))
        if copied is not None:
            raise AddError(copied[1], kind=copied[0])
        if said.part is not None:
            self._parts.setdefault(piece, (said.part, arrival.name))

    @cached_property
    def _originals(self) -> Originals:
        hash_files(self.sources, self.verified, self.streams, workers=os.cpu_count() or 1)
        originals = Originals(self.verified.sha256, self.streams)
        for source in in_order(self.sources):
            originals.claim(holding_of(source))
        return originals

    @cached_property
    def _parts(self) -> dict[str, tuple[Part, str]]:
        parts: dict[str, tuple[Part, str]] = {}
        for source in in_order(self.sources):
            if source.part is not None:
                parts.setdefault(source.piece, (source.part, source.name))
        return parts

    def _copy(self, arrival: Arrival) -> Path:
        """Copy a take to data/incoming, and hold the copy against its source.

        Raises:
            AddError: ``CHANGED``, the source was written to meanwhile; ``UNREADABLE``.
            ToolError: the disk is full.
        """
        folder = INCOMING / arrival.name
        self.tell(f"add: copying {arrival.name} ({len(arrival.files)} files)")
        try:
            folder.mkdir(parents=True)
            for name, data in arrival.made.items():
                with (folder / name).open("xb") as file:
                    file.write(data)
                    _flush(file)
            for name, path in arrival.files.items():
                _copy_file(path, folder / name, self.verified.sha256(path))
            _flush_folder(folder)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            named = named_error(error, folder)
            if named is not error:
                raise named from error
            raise AddError(f"{shown(arrival.source)} cannot be copied: {error.strerror}", kind="UNREADABLE") from None
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return folder


def _copy_file(source: Path, to: Path, sha256: str) -> None:
    """Copy a file, sharing its blocks where the file system can.

    Raises:
        AddError: ``CHANGED``, what was copied is not what was hashed before.
    """
    # Not through a link that has come in its place, and not waiting for a FIFO.
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file, to.open("xb") as copy:
        before = os.fstat(descriptor)
        try:
            fcntl.ioctl(copy.fileno(), FICLONE, descriptor)
        except OSError:  # another file system, or one that cannot
            shutil.copyfileobj(file, copy, COPIED_AT_ONCE)
        _flush(copy)
        after = os.fstat(descriptor)
    is_still = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    if not is_still or file_sha256(to) != sha256:
        raise AddError(f"{shown(source)} changed while it was copied, expected a finished recording", kind="CHANGED")


def _publish(staged: Sequence[_Staged], tell: Tell) -> list[AddRow]:
    """Rename what is staged into data/raw and have DVC record it; return a row a take."""
    rows = []
    with writing_raw(RAW, tell=tell) as record:
        PENDING.parent.mkdir(parents=True, exist_ok=True)
        PENDING.touch()
        for take in staged:
            target = RAW / take.row.take
            if target.exists() and not take.replaces:  # a bare cp, since it was decided
                reason = f"{target} appeared while the take was copied, expected none of that name: add it again"
                rows.append(dataclasses.replace(take.row, state="quarantined", kind="NAME_TAKEN", reason=reason))
                continue
            if target.exists():
                REPLACED.mkdir(parents=True, exist_ok=True)
                target.rename(REPLACED / take.row.take)
            take.folder.rename(target)
            rows.append(take.row)
        _flush_folder(RAW)
        record()
        PENDING.unlink()
    return rows


def _tidy(tell: Tell) -> None:
    """Clear what a killed run left in data/incoming; a take that it had moved aside goes back to its place."""
    aside = sorted(REPLACED.iterdir()) if REPLACED.is_dir() else []
    if any(not (RAW / folder.name).exists() for folder in aside):
        with writing_raw(RAW, tell=tell):
            for folder in aside:
                if not (RAW / folder.name).exists():
                    folder.rename(RAW / folder.name)
    shutil.rmtree(INCOMING, ignore_errors=True)


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
