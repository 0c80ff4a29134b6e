"""Verb ``watch``: what has arrived in an inbox and settled, what became of it before, and what is reported about it.

The inbox belongs to whoever fills it: it is read, never written to. Whether something is taken in follows from what
data/raw and git hold; the memory kept here only spares reading and telling twice, and may be deleted.
"""

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tasks.add import AddRow
from tasks.errors import PipelineError
from tasks.intake.folder import shown
from tasks.step import Verified, json_sha256, write_whole
from tasks.versions.comparison import Comparison

HALF_SUFFIXES = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".download", ".filepart", ".!ut")
# rsync writes `.NAME.XXXXXX` and renames it once it is whole.
RSYNC_HALF = re.compile(r"\..+\.[A-Za-z0-9]{6}")
NAMED_IN_SUBJECT = 3


class InboxError(PipelineError):
    """The inbox is not there, is no folder, or cannot be listed."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Something in the inbox that may hold takes.

    Attributes:
        name: its path in the inbox, as it can be shown.
        path: where it is.
        files: path within it, size, mtime and ctime (ns), and kind of each file, sorted.
    """

    name: str
    path: Path
    files: tuple[tuple[str, int, int, int, str], ...]

    @property
    def signature(self) -> str:
        """Changes with any file's name, size or mtime."""
        return json_sha256([[name, size, mtime_ns, kind] for name, size, mtime_ns, _, kind in self.files])

    def digest(self, verified: Verified) -> str:
        """Return the sha256 over its name and its files' names and bytes; no regular file counts by its kind.

        The entry's own name is in it: the same bad bytes under another name are another take, and reported too.
        """
        files = [[name, kind, _sha256(self.path / name, kind, verified)] for name, *_, kind in self.files]
        return json_sha256([self.name, files])


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """An entry that is left for the next run."""

    name: str
    reason: str


@dataclass
class Memory:
    """What earlier runs found in the inbox.

    Attributes:
        folder: where it is kept.
        handled: digest of an entry -> its name and when it was taken in.
        quarantined: digest of an entry, or of a refusal of ingest -> what was refused and why.
        seen: name of an entry -> its signature and since when it has that.
    """

    folder: Path
    handled: dict[str, dict[str, Any]] = field(default_factory=dict)
    quarantined: dict[str, dict[str, Any]] = field(default_factory=dict)
    seen: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> "Memory":
        """Read what is there; a file that was cut short counts as empty."""
        return cls(folder, *(_read_mapping(folder / f"{name}.json") for name in ("handled", "quarantine", "seen")))

    def save(self) -> None:
        """Keep it for the next run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, rows in (("handled", self.handled), ("quarantine", self.quarantined), ("seen", self.seen)):
            write_whole(self.folder / f"{name}.json", json.dumps(rows, indent=1) + "\n")

    def settled(self, entries: Sequence[Entry], *, settle_s: float, now_s: float) -> tuple[list[Entry], list[Waiting]]:
        """Part the entries that nobody is writing any more from those that are left for the next run.

        An entry has settled when no file of it was written, made or renamed within ``settle_s``, or, where a clock
        is wrong, when it looks as it did at a run that long ago. One with a file that bears the name of a download
        or copy under way never has.

        Args:
            entries: what the inbox holds.
            settle_s: how long nothing may have changed.
            now_s: the time.
        """
        ready: list[Entry] = []
        waiting: list[Waiting] = []
        before, self.seen = self.seen, {}
        for entry in entries:
            signature = entry.signature
            known = before.get(entry.name, {})
            is_same = known.get("signature") == signature
            since_s = min(float(known["since_s"]), now_s) if is_same else now_s
            self.seen[entry.name] = {"signature": signature, "since_s": since_s}
            newest_s = max((max(mtime, ctime) for _, _, mtime, ctime, _ in entry.files), default=0) / 1e9
            half = next((name for name, *_ in entry.files if _is_half(name)), None)
            if half is not None:
                waiting.append(Waiting(name=entry.name, reason=f"{shown(half)} is still being copied"))
            elif not entry.files:
                waiting.append(Waiting(name=entry.name, reason="is empty"))
            elif now_s - newest_s >= settle_s or now_s - since_s >= settle_s:
                ready.append(entry)
            else:
                age_s = max(0.0, now_s - newest_s)
                waiting.append(
                    Waiting(name=entry.name, reason=f"changed {age_s:.0f} s ago, expected {settle_s:.0f} s of rest")
                )
        return ready, waiting


@dataclass(kw_only=True)
class Record:
    """What one run found and did; written beside the memory and given to the notification.

    Attributes:
        run: its name.
        inbox: that was looked into.
        added: takes that were taken in.
        quarantined: what was refused for the first time: take, kind, reason, source.
        waiting: what is left for the next run.
        old_version: data version of the last commit, if it has one.
        new_version: data version after this run.
        n_takes: that it has.
        commit: hash of the commit that was made.
        pushed: whether the remote has it; None where there is no remote or nothing to push.
        comparison: with the last data version.
        notes: lines for people.
        failed: why the run did not come to its end.
    """

    run: str
    inbox: str
    added: list[str] = field(default_factory=list)
    quarantined: list[dict[str, str]] = field(default_factory=list)
    waiting: list[dict[str, str]] = field(default_factory=list)
    old_version: str | None = None
    new_version: str | None = None
    n_takes: int = 0
    commit: str | None = None
    pushed: bool | None = None
    comparison: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)
    failed: str | None = None

    @property
    def is_news(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.added or self.quarantined or self.commit or self.pushed or self.notes or self.failed)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON's own types."""
        return asdict(self)


def find_entries(inbox: Path) -> list[Entry]:
    """List what may be taken in, in order of name.

    A folder that holds nothing but folders is looked into: each of them is an entry. Names with a leading dot are
    the system's.

    Raises:
        InboxError: the inbox cannot be listed.
    """
    if not inbox.is_dir():
        raise InboxError(f"{shown(inbox)} is no folder, expected the inbox that recordings arrive in")
    try:
        return sorted(_entries_in(inbox, inbox), key=lambda entry: entry.name)
    except OSError as error:
        raise InboxError(f"{shown(error.filename or inbox)} cannot be listed: {error.strerror}") from None


def remember(
    memory: Memory, entry: Entry, digest: str, rows: Sequence[AddRow], *, policy: str, at: str
) -> list[AddRow]:
    """Keep what became of an entry, and return the refusals that were not known.

    Args:
        memory: is added to.
        entry: what was offered to ``add``.
        digest: of the entry.
        rows: what ``add`` returned.
        policy: digest of what is accepted; under another one the entry is offered again.
        at: the time, in words.
    """
    refused = [row for row in rows if row.state == "quarantined"]
    memory.handled[digest] = {"entry": entry.name, "policy": policy, "at": at}
    known = memory.quarantined.get(digest)
    if not refused:
        return []
    reported = [_row_of(row) for row in refused]
    memory.quarantined[digest] = {"entry": entry.name, "rows": reported, "at": known["at"] if known else at}
    return refused if known is None or known["rows"] != reported else []


def is_handled(memory: Memory, digest: str, *, policy: str) -> bool:
    """Say whether these bytes were offered to ``add`` before, under the same rules."""
    return memory.handled.get(digest, {}).get("policy") == policy


def first_reported(memory: Memory, refused: Sequence[Mapping[str, str]], *, at: str) -> list[dict[str, str]]:
    """Return ingest's refusals that no run has reported yet, and remember them."""
    new = []
    for row in refused:
        kept = {key: str(row[key]) for key in ("take", "kind", "reason")}
        digest = json_sha256(kept)
        if digest not in memory.quarantined:
            memory.quarantined[digest] = {"entry": kept["take"], "rows": [kept], "at": at}
            new.append(kept)
    return new


def commit_message(record: Record, comparison: Comparison | None) -> str:
    """Say what came in: the subject names the takes, the body lists all that the data version changed by."""
    added = list(comparison.added) if comparison else record.added
    removed = list(comparison.removed) if comparison else []
    changed = [row.name for row in comparison.changed] if comparison else []
    words = [
        f"{verb} {_some(names)}"
        for verb, names in (("Take in", added), ("remove", removed), ("change", changed))
        if names
    ]
    if comparison is None and record.old_version is None:
        words = [f"First data version: {record.n_takes} takes"]
    subject = "; ".join(words) or f"Data version {record.new_version}"
    lines = [f"{sign} {name}" for sign, names in (("+", added), ("-", removed), ("~", changed)) for name in names]
    lines += [f"quarantined {row['take']}: {row['kind']}" for row in record.quarantined]
    lines.append(f"data version {record.old_version or 'none'} -> {record.new_version}")
    return "\n".join([subject[:1].upper() + subject[1:], "", *lines])


def _some(names: Sequence[str]) -> str:
    rest = len(names) - NAMED_IN_SUBJECT
    return ", ".join(names[:NAMED_IN_SUBJECT]) + (f" and {rest} more" if rest > 0 else "")


def _row_of(row: AddRow) -> dict[str, str]:
    return {"take": row.take, "kind": row.kind, "reason": row.reason, "source": row.source}


def _entries_in(folder: Path, inbox: Path) -> Iterator[Entry]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():
            inside = [inner for inner in path.iterdir() if not inner.name.startswith(".")]
            if inside and all(inner.is_dir() and not inner.is_symlink() for inner in inside):
                yield from _entries_in(path, inbox)
                continue
        yield Entry(name=shown(path.relative_to(inbox)), path=path, files=tuple(sorted(_files_of(path))))


def _files_of(path: Path) -> Iterator[tuple[str, int, int, int, str]]:
    if path.is_symlink() or not path.is_dir():
        yield _facts(path, "")
        return
    for parent, folders, names in os.walk(path, onerror=_raise):
        links = [name for name in folders if Path(parent, name).is_symlink()]
        for name in [*names, *links]:
            if name.startswith(".") and not RSYNC_HALF.fullmatch(name):
                continue
            file = Path(parent, name)
            yield _facts(file, file.relative_to(path).as_posix())


def _facts(path: Path, name: str) -> tuple[str, int, int, int, str]:
    found = path.lstat()
    kind = "file" if stat.S_ISREG(found.st_mode) else "link" if stat.S_ISLNK(found.st_mode) else "special"
    return name, found.st_size, found.st_mtime_ns, found.st_ctime_ns, kind


def _raise(error: OSError) -> None:
    raise error


def _sha256(path: Path, kind: str, verified: Verified) -> str:
    if kind != "file":
        return kind
    try:
        return verified.sha256(path)
    except OSError as error:
        return f"unreadable: {error.strerror}"


def _is_half(name: str) -> bool:
    last = name.rpartition("/")[2]
    return last.lower().endswith(HALF_SUFFIXES) or RSYNC_HALF.fullmatch(last) is not None or last.endswith("~")


def _read_mapping(path: Path) -> dict[str, dict[str, Any]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
