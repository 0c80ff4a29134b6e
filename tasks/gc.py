"""Verb ``gc``: which versions' results stay in DVC's cache and remote, and which become unreachable.

What stands here, the last versions, every tag and every branch stay. Older versions stay as far as the budget lets
them, the newest first. Git forgets nothing: commits, parameters and figures of every version stay readable.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import PipelineError
from tasks.versions.history import WORKSPACE
from tasks.versions.objects import Lists, ObjectsError, Shelf, Stored, opened_shelves, stored_versions

GB = 10**9


class BudgetError(PipelineError):
    """The budget is smaller than what must stay."""


@dataclass(frozen=True, kw_only=True)
class Fate:
    """What becomes of a version.

    Attributes:
        name: a commit's full hash, ``WORKSPACE``, or the name of an experiment.
        at: when it was committed, ISO 8601; empty for the working tree.
        subject: first line of the commit's message.
        stays: why it stays; empty where it becomes unreachable.
        is_whole: whether all that it needs is in the cache or the remote now.
        n_bytes: of the objects that it alone needs among all versions, by shelf.
    """

    name: str
    at: str
    subject: str
    stays: str
    is_whole: bool
    n_bytes: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What goes from a shelf.

    Attributes:
        shelf: ``cache``, or the remote's name.
        where: its address.
        n_objects: that go.
        n_bytes: that they have.
        n_bytes_left: of what stays.
        n_bytes_of_none: of what goes, those that no version in git needs: of runs that were never committed.
    """

    shelf: str
    where: str
    n_objects: int
    n_bytes: int
    n_bytes_left: int
    n_bytes_of_none: int


@dataclass(frozen=True, kw_only=True)
class Collection:
    """What ``collect`` did, or would do: versions with what stands here first, then the newest first."""

    fates: tuple[Fate, ...]
    sweeps: tuple[Sweep, ...]
    dry_run: bool
    oldest_kept: str  # when the oldest of the last versions was committed, ISO 8601; empty where there is none


def collect(
    *,
    keep: int,
    budget_bytes: int | None = None,
    remote: bool = False,
    shared: bool = False,
    dry_run: bool = True,
    root: Path = Path(),
    tell: Callable[[str], None] = lambda _: None,
) -> Collection:
    """Remove from DVC's cache, and from its default remote, what no version that stays needs.

    Args:
        keep: how many versions of the history of HEAD stay whatever the budget; at least 1.
        budget_bytes: that the cache may have, and the remote too; older versions stay while they fit. Without one no
            older version stays.
        remote: clear the remote too.
        shared: clear the cache also where it lies outside the project: whatever else uses it loses what only it needs.
        dry_run: remove nothing.
        root: folder of the project.
        tell: is called with lines on what is done.

    Raises:
        BudgetError: what must stay is larger than the budget.
        ObjectsError: cache or remote cannot be used, another process of DVC is at work, or the cache lies outside the
            project and ``shared`` is off.
        HistoryError: this is no repository of git.
        DamagedData: the list of a folder, or a dvc.lock, cannot be read.
    """
    if keep < 1:
        raise ValueError(f"keep is {keep}, expected at least 1")
    with opened_shelves(remote=remote, root=root) as shelves:
        versions = stored_versions(root=root)
        counts = ", ".join(f"{len(shelf.sizes)} objects in {shelf.name}" for shelf in shelves)
        tell(f"gc: {len(versions)} versions, {counts}")
        lists = Lists(shelves)
        needed = [lists.objects(version.outs) for version in versions]
        reasons = _that_must_stay(versions, keep)
        kept = set().union(*(objects for objects, reason in zip(needed, reasons, strict=True) if reason))
        if budget_bytes is not None:
            _check_budget(kept, shelves, budget_bytes)
            kept = _fill(versions, needed, reasons, kept, shelves, budget_bytes)
        fates = _fates(versions, needed, reasons, shelves, lists)
        sweeps = tuple(_sweep(shelf, kept, needed) for shelf in shelves)
        if not dry_run:
            cache = Path(shelves[0].odb.path)
            if not shared and not cache.resolve().is_relative_to(root.resolve()):
                raise ObjectsError(
                    f"the cache {cache} lies outside this project, and other projects or clones that use it would lose "
                    "what only they need: --shared clears it all the same"
                )
            for shelf in shelves:
                shelf.remove(shelf.sizes.keys() - kept)
    last = [version.at for version, reason in zip(versions, reasons, strict=True) if reason.startswith("last ")]
    return Collection(fates=fates, sweeps=sweeps, dry_run=dry_run, oldest_kept=last[-1] if last else "")


def _that_must_stay(versions: Sequence[Stored], keep: int) -> list[str]:
    """Return why each version must stay; empty where it need not."""
    found = []
    n_on_head = 0
    for version in versions:
        n_on_head += version.is_on_head
        reasons = ["stands here"] if version.name == WORKSPACE else []
        if version.is_on_head and n_on_head <= keep:
            reasons.append(f"last {keep}")
        found.append(", ".join([*reasons, *version.refs]))
    return found


def _check_budget(kept: set[str], shelves: Sequence[Shelf], budget_bytes: int) -> None:
    for shelf in shelves:
        n_bytes = _bytes(kept, shelf)
        if n_bytes > budget_bytes:
            raise BudgetError(
                f"the budget is {budget_bytes / GB:g} GB, but what must stay has {n_bytes / GB:.3g} GB in "
                f"{shelf.name}: give more, keep fewer versions, or delete tags and branches that nobody needs"
            )


def _fill(
    versions: Sequence[Stored],
    needed: Sequence[set[str]],
    reasons: list[str],
    kept: set[str],
    shelves: Sequence[Shelf],
    budget_bytes: int,
) -> set[str]:
    """Add older versions, the newest first, each that fits; note why in ``reasons``; return what is kept then."""
    order = sorted(range(len(versions)), key=lambda place: versions[place].at, reverse=True)
    for place in order:
        if reasons[place]:
            continue
        more = kept | needed[place]
        if all(_bytes(more, shelf) <= budget_bytes for shelf in shelves):
            reasons[place] = "fits the budget"
            kept = more
    return kept


def _fates(
    versions: Sequence[Stored],
    needed: Sequence[set[str]],
    reasons: Sequence[str],
    shelves: Sequence[Shelf],
    lists: Lists,
) -> tuple[Fate, ...]:
    n_users: dict[str, int] = {}
    for objects in needed:
        for oid in objects:
            n_users[oid] = n_users.get(oid, 0) + 1
    there = set().union(*(shelf.sizes for shelf in shelves))
    return tuple(
        Fate(
            name=version.name,
            at=version.at,
            subject=version.subject,
            stays=reason,
            is_whole=_is_whole(version, lists, there),
            n_bytes={shelf.name: _bytes({oid for oid in objects if n_users[oid] == 1}, shelf) for shelf in shelves},
        )
        for version, objects, reason in zip(versions, needed, reasons, strict=True)
    )


def _is_whole(version: Stored, lists: Lists, there: set[str]) -> bool:
    """Say whether each folder of a version can be had, list and files; git holds the single files that are not."""
    folders = [oid for oid in version.outs.values() if oid.endswith(".dir")]
    return all((files := lists.files(oid)) is not None and there.issuperset(files.values()) for oid in folders)


def _sweep(shelf: Shelf, kept: set[str], needed: Sequence[set[str]]) -> Sweep:
    goes = shelf.sizes.keys() - kept
    return Sweep(
        shelf=shelf.name,
        where=str(shelf.odb.path),
        n_objects=len(goes),
        n_bytes=_bytes(goes, shelf),
        n_bytes_left=_bytes(kept, shelf),
        n_bytes_of_none=_bytes(goes - set().union(*needed), shelf),
    )


def _bytes(oids: set[str], shelf: Shelf) -> int:
    return sum(shelf.sizes.get(oid, 0) for oid in oids)
