"""What two versions differ in, as one record: causes, differences with their verdicts, and where to listen."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tasks.versions.causes import Changed
from tasks.versions.differences import Difference
from tasks.versions.family_causes import FamilyCauses
from tasks.versions.moves import LargestMove, PartMove


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two versions.

    Attributes:
        name: as requested.
        commit: its full hash; None for files as they stand.
        data_version: of its takes; empty where neither its catalog nor its figures say.
        n_takes: that it accepted.
    """

    name: str
    commit: str | None
    data_version: str
    n_takes: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All that two versions differ in.

    Attributes:
        old: the one version.
        new: the other.
        added: takes that only the new one has.
        removed: takes that only the old one has.
        changed: takes of one name whose raw bytes, piece or part differ; old and new name what differs.
        quarantined: what the new one refuses and the old one did not: take, kind, reason.
        params: of params.yaml, by dotted name.
        packages: of constraints.txt.
        tools: whether ffmpeg, FluidSynth or the SoundFont are others.
        code: files of the project that results rest on and that differ.
        machines: what differs in the machines that trained, by families.
        only_old: families that only the old version evaluated, and ``only_new``.
        retired: families with results that params.yaml of the same version no longer names: they are not compared.
        systems: systems, ``FAMILY/SYSTEM``, that one version alone has, or whose role differs; old and new are roles.
        figures: keys that one version alone has, by families; they are not compared.
        unmatched: families without a row that both versions tested from the same bytes: nothing of theirs is compared.
        behind: families that the new version trained on an earlier data set than it has: their figures are of that one.
        left_out: takes that both tested, from different bytes: no figure of theirs is compared.
        from_git: families whose tables by take DVC's cache lacks: their means in git are compared, without intervals.
        takes_known: whether the catalogs of both versions are there; else no take is named as added or changed.
        causes: by families, what can have moved their figures.
        differences: of every figure of every system that both have.
        moves: the takes and views that moved most, with their sounds.
        parts: the notes, or the players of an ensemble, that moved most.
        unmeasured: families with a figure that is called better or worse, that were trained anew, and of which it was
            never measured what seeds move: another seed alone may have done it.
    """

    old: Side
    new: Side
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[Changed, ...]
    quarantined: tuple[Mapping[str, str], ...]
    params: tuple[Changed, ...]
    packages: tuple[Changed, ...]
    tools: bool
    code: tuple[str, ...]
    machines: tuple[Changed, ...]
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]
    retired: tuple[str, ...]
    systems: tuple[Changed, ...]
    figures: tuple[Changed, ...]
    unmatched: tuple[str, ...]
    behind: tuple[str, ...]
    left_out: tuple[str, ...]
    from_git: tuple[str, ...]
    takes_known: bool
    causes: tuple[FamilyCauses, ...]
    differences: tuple[Difference, ...]
    moves: tuple[LargestMove, ...]
    parts: tuple[PartMove, ...]
    unmeasured: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON's own types."""
        return asdict(self)
