"""Verb ``add``: recordings come into data/raw, whole or not at all. What they are copied from is never written to.

A take is copied to ``data/incoming``, held against its source, and renamed into ``data/raw`` under DVC's lock; then
DVC records the folder. Killed at any moment, the next run clears what is half done and goes on from there.
"""

import dataclasses
import fcntl
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Literal

from tasks.errors import BadInput, contained
from tasks.ingest import (
    FILMED,
    RAW,
    SAMPLE,
    Candidate,
    Source,
    TakeParams,
    find_sources,
    hash_files,
    holding_of,
    in_order,
    ingest_kind,
    kind_of,
)
from tasks.instruments.midi_reader import read_midi, read_tracks
from tasks.intake.arrivals import Arrival, RefusedArrival, find_arrivals, refused_arrival
from tasks.intake.copies import Contents
from tasks.intake.describe import TakeFile, parse_take_file, read_take_file
from tasks.intake.devices import probe_device
from tasks.intake.folder import RECORDED, TAKE_FILE, Refused, device_of, is_of_an_ensemble, role_of, shown
from tasks.intake.originals import Originals
from tasks.step import Verified, file_sha256, named_error
from tasks.takes import Part
from tasks.versions.locks import Tell
from tasks.versions.raw import check_raw, is_recorded, only_one, writing_raw

INCOMING = Path("data/incoming")
REPLACED = INCOMING / ".replaced"
STATE = Path(".audiate")
PENDING = STATE / "adding"  # is there from the first rename until DVC has recorded it

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
class _Staged:
    row: AddRow
    folder: Path
    replaces: bool


class AddError(BadInput):
    """A take that does not come in: what was found and what was expected."""


def _no_report(_line: str) -> None:
    """Drop a line of progress."""


def add_takes(
    folders: Sequence[Path],
    *,
    params: TakeParams,
    dry_run: bool = False,
    replace: bool = False,
    wait: bool = True,
    tell: Tell = _no_report,
) -> AddSummary:
    """Take recordings in: check, copy, hash and record them.

    Each folder is a take's, or holds takes, MIDI files of pieces, or files in the marimba project's naming; a single
    recording or MIDI file is a take of its own, and so is each solo (``solo_CODE.mp4``) and each file of stems
    (``NAME.stem.mp4``). A take that stands in data/raw with the same files is known. One that has all of those files
    and more takes its place; one with others does so only with ``replace``.

    Args:
        folders: read, never written to.
        params: what is accepted; ingest decodes what is only probed here.
        dry_run: return what would happen, and write nothing.
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
    try:
        with only_one(STATE / "locks" / "add", what="add", wait=wait, tell=tell):
            if not wait:  # a stage at work is found before anything is copied, too
                with writing_raw(RAW, tell=tell, wait=False):
                    pass
            _tidy(tell)
            adding = _Adding(params, replace=replace, tell=tell)
            rows, staged = adding.stage(folders)
            adding.save()
            if staged or PENDING.exists() or not is_recorded(RAW):
                rows += _publish(staged, tell, wait=wait)
            shutil.rmtree(INCOMING, ignore_errors=True)
    except OSError as error:
        raise named_error(error, RAW) from error
    return AddSummary(rows=_by_take(rows), dry_run=False)


def _by_take(rows: Iterable[AddRow]) -> tuple[AddRow, ...]:
    return tuple(sorted(rows, key=lambda row: (row.take, row.device, row.source)))


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
        """Return what would become of each arrival."""
        rows = []
        for found in find_arrivals(folders, self.params.size, tell=self.tell):
            rows += [_refused_row(found)] if isinstance(found, RefusedArrival) else self._decide(found)[1]
        return rows

    def stage(self, folders: Sequence[Path]) -> tuple[list[AddRow], list[_Staged]]:
        """Copy each arrival that comes in to its place in data/incoming.

        Raises:
            ToolError: the disk is full.
        """
        rows: list[AddRow] = []
        staged: list[_Staged] = []
        for found in find_arrivals(folders, self.params.size, tell=self.tell):
            if isinstance(found, RefusedArrival):
                rows.append(_refused_row(found))
                continue
            arrival, decided = self._decide(found)
            rows += [row for row in decided if row.state != "added"]
            for row in decided:
                if row.state != "added":
                    continue
                try:
                    folder = self._copy(arrival)
                except BadInput as error:
                    rows.append(_refused_row(refused_arrival(arrival.source, error)))
                else:
                    staged.append(_Staged(row=row, folder=folder, replaces=row.kind != ""))
        return rows, staged

    def save(self) -> None:
        """Keep the digests of what has not changed since."""
        self.verified.save()
        self.streams.save()

    def _decide(self, arrival: Arrival) -> tuple[Arrival, list[AddRow]]:
        """Return the arrival with the files of it that can be used, and the rows on it and on its files."""

        def row(state: State, kind: str = "", reason: str = "") -> AddRow:
            return AddRow(take=arrival.name, state=state, kind=kind, reason=reason, source=shown(arrival.source))

        usable = arrival
        refused = list(arrival.refused)
        try:
            with contained(shown(arrival.source)):
                if self._is_known(arrival):  # without reading its files: most of what a schedule finds is known
                    rows = [row("known")]
                else:
                    described = _described(arrival)
                    usable, broken = self._probed(arrival)
                    refused += broken
                    candidate = Candidate(
                        where=shown(arrival.source), files=usable.files, refused=broken, described=described
                    )
                    kind = kind_of(candidate)
                    rows = [
                        row("known") if self._is_known(usable) else row("added", *self._place(usable, kind, described))
                    ]
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
        return usable, rows

    def _probed(self, arrival: Arrival) -> tuple[Arrival, list[Refused]]:
        """Probe every file; return the arrival without those that are broken, and these.

        Raises:
            BadInput: a stem is broken; without it the others are no ensemble.
        """
        kept: dict[str, Path] = {}
        broken: list[Refused] = []
        in_ensemble = any(map(is_of_an_ensemble, arrival.files))
        for name, path in arrival.files.items():
            role = role_of(name, in_ensemble=in_ensemble)
            device = device_of(name, in_ensemble=in_ensemble)
            try:
                if role == "score" and in_ensemble:
                    read_tracks(path, self.params.midi)
                elif role == "score":
                    for notice in read_midi(path, self.params.midi).notices:
                        self.tell(f"add: {shown(path)}: {notice}")
                elif role in RECORDED:
                    probe_device(path, role, policy=self.params.media)
                kept[name] = path
            except BadInput as error:
                if role == "stem":
                    raise
                broken.append(Refused(role=role, device=device, path=shown(path), kind=error.kind, reason=str(error)))
            except OSError as error:
                reason = f"{shown(path)} cannot be read: {error.strerror}"
                broken.append(Refused(role=role, device=device, path=shown(path), kind="UNREADABLE", reason=reason))
        return dataclasses.replace(arrival, files=kept), broken

    def _is_known(self, arrival: Arrival) -> bool:
        """Return whether all of it stands in data/raw already.

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

    def _place(self, arrival: Arrival, kind: str, described: TakeFile) -> tuple[str, str]:
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
        self._check_new(arrival, kind, described)
        self.claimed.add(name)
        return placed

    def _there(self, name: str) -> Source | None:
        return next((source for source in self.sources if source.name == name), None)

    def _digests_of(self, there: Source) -> dict[str, str]:
        return {Path(file).name: self.verified.sha256(Path(file)) for file in there.files}

    def _over(self, arrival: Arrival, old: dict[str, str], new: dict[str, str]) -> tuple[str, str]:
        """Return how an arrival takes the place of the take that has its name, by the digests of both.

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

    def _check_new(self, arrival: Arrival, kind: str, described: TakeFile) -> None:
        """Refuse a copy of another take, and a piece that stands in another part of the split.

        Raises:
            AddError: names the other take.
        """
        piece, part = described.piece or arrival.name, described.part
        fixed = self._parts.get(piece)
        if part is not None and fixed is not None and fixed[0] != part and fixed[1] != arrival.name:
            reason = f"{arrival.name} is of piece {piece} and fixes it to part {part}, expected {fixed[0]} as take "
            raise AddError(f"{reason}{fixed[1]} has it", kind="OTHER_PART")
        copied = self._originals.claim(ingest_kind(kind).holding(arrival.name, piece, arrival.files))
        if copied is not None:
            raise AddError(copied[1], kind=copied[0])
        if part is not None:
            self._parts.setdefault(piece, (part, arrival.name))

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


def _refused_row(refused: RefusedArrival) -> AddRow:
    return AddRow(state="quarantined", **dataclasses.asdict(refused))


def _described(arrival: Arrival) -> TakeFile:
    if TAKE_FILE in arrival.made:
        return parse_take_file(arrival.made[TAKE_FILE], name=TAKE_FILE)
    return read_take_file(arrival.files.get(TAKE_FILE))


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


def _publish(staged: Sequence[_Staged], tell: Tell, *, wait: bool) -> list[AddRow]:
    """Rename what is staged into data/raw and have DVC record it; return a row a take."""
    rows = []
    with writing_raw(RAW, tell=tell, wait=wait) as record:
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
