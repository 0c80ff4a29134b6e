"""The index of training examples: segments of takes, and the split that no piece may cross.

A folder of score takes holds ``TAKE/arrays.zarr`` for each take, ``takes.json`` and ``segments.parquet``.
Pictures are stored once, where keys change; sound once, as mu-law codes. A segment is a place in both.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tasks.errors import DamagedData
from tasks.store.arrays import Arrays, open_arrays
from tasks.store.tables import Column, read_table, write_table
from tasks.takes import PARTS

ARRAYS = "arrays.zarr"


@dataclass(frozen=True, kw_only=True)
class ChunkedTake:
    """What ``takes.json`` says of a take.

    Attributes:
        piece: the composition, unit of the split.
        part: ``train``, ``validation`` or ``test``.
        digest: sha256 of the take's content; segment ids rest on it.
        duration_s: of its sound.
    """

    piece: str
    part: str
    digest: str
    duration_s: float


class Segment(NamedTuple):
    """A row of the index: ``n_samples`` samples of a take from ``start_sample`` on."""

    segment_id: str
    take: str
    piece: str
    part: str
    start_sample: int
    n_samples: int


def segment_rows(
    take: str, piece: str, part: str, digest: str, n_samples: int, *, length: int, hop: int
) -> list[Segment]:
    """Return the whole segments of a take, in order of time; what remains at its end makes none.

    Args:
        take: its name.
        piece: its piece.
        part: its part of the split.
        digest: sha256 of the take's content.
        n_samples: samples of its sound.
        length: samples of a segment.
        hop: samples from a segment's start to the next one's; less than ``length`` where they overlap.
    """
    if length < 1 or hop < 1:
        raise ValueError(f"segments of {length} samples every {hop}, expected at least 1 of both")
    return [
        Segment(segment_id(digest, start, length), take, piece, part, start, length)
        for start in range(0, n_samples - length + 1, hop)
    ]


def segment_id(digest: str, start_sample: int, n_samples: int) -> str:
    """Return the name of a segment: the same wherever the same samples of the same take are used."""
    return hashlib.sha256(f"{digest}:{start_sample}:{n_samples}".encode()).hexdigest()


def n_samples_left_out(n_samples: int, *, length: int, hop: int) -> int:
    """Return how many samples at a take's end no segment holds."""
    if n_samples < length:
        return n_samples
    return (n_samples - length) % hop


def write_segments(path: Path, segments: Sequence[Segment]) -> None:
    """Write the index, sorted by take and time: the same bytes for the same segments.

    Raises:
        DamagedData: a piece or a segment stands in two parts of the split.
        WriteError: the disk is full or the folder cannot be written to.
    """
    rows = sorted(segments, key=lambda row: (row.take, row.start_sample))
    check_disjoint(rows)
    columns: dict[str, Column] = {
        name: [getattr(row, name) for row in rows] for name in ("segment_id", "take", "piece", "part")
    }
    columns["start_sample"] = np.array([row.start_sample for row in rows], np.int64)
    columns["n_samples"] = np.array([row.n_samples for row in rows], np.int64)
    write_table(path, columns)


def lend_take(folder: Path, take: str, out: Path) -> None:
    """Write an index whose only take, for testing, is one of another data set, with a link to its arrays.

    Args:
        folder: the data set that has the take.
        take: its name.
        out: a folder that is made.

    Raises:
        DamagedData: the data set is damaged, or has no such take.
    """
    takes, name = _read_takes(folder / "takes.json"), "test"
    if take not in takes:
        raise DamagedData(f"{folder} has no take {take}")
    out.mkdir(parents=True)
    (out / take).symlink_to((folder / take).resolve(), target_is_directory=True)
    described = {take: asdict(replace(takes[take], part=name))}
    (out / "takes.json").write_text(json.dumps(described) + "\n", encoding="utf-8")
    rows = [row._replace(part=name) for row in _read_segments(folder / "segments.parquet") if row.take == take]
    write_segments(out / "segments.parquet", rows)


def check_disjoint(segments: Iterable[Segment]) -> None:
    """Refuse a split whose parts share a piece or a segment: a test would be of what was learned.

    Raises:
        DamagedData: names the piece, or the two takes of the same content.
    """
    by_piece: dict[str, Segment] = {}
    by_id: dict[str, Segment] = {}
    for row in segments:
        other = by_piece.setdefault(row.piece, row)
        if other.part != row.part:
            raise DamagedData(f"piece {row.piece} is in both {other.part} and {row.part}, expected one part")
        other = by_id.setdefault(row.segment_id, row)
        if other.part != row.part:
            raise DamagedData(
                f"takes {other.take} in {other.part} and {row.take} in {row.part} have the same content, "
                "expected one part: is it one recording under two pieces?"
            )


class ScoreSet:
    """The score takes of ``data/chunked/scores``: which there are, their split, their segments, their arrays.

    Raises:
        DamagedData: the index is missing or damaged, names a take outside the folder, or parts of the split
            share a piece or a segment.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._takes = _read_takes(folder / "takes.json")
        self._segments = _read_segments(folder / "segments.parquet")
        for row in self._segments:
            take = self._takes.get(row.take)
            if take is None or (take.piece, take.part) != (row.piece, row.part):
                raise DamagedData(
                    f"{folder}: segments.parquet has take {row.take} of piece {row.piece} in {row.part}, "
                    f"takes.json has {take}"
                )
        check_disjoint(self._segments)

    def takes(self, part: str) -> list[str]:
        """Return the names of a part's takes, sorted."""
        _check_part(part)
        return [name for name, take in sorted(self._takes.items()) if take.part == part]

    def piece(self, take: str) -> str:
        """Return the piece of a take.

        Raises:
            DamagedData: the index does not know the take.
        """
        return self._about(take).piece

    def part(self, take: str) -> str:
        """Return the part of the split that a take is in.

        Raises:
            DamagedData: the index does not know the take.
        """
        return self._about(take).part

    def duration_s(self, take: str) -> float:
        """Return how long a take's sound is.

        Raises:
            DamagedData: the index does not know the take.
        """
        return self._about(take).duration_s

    @property
    def code_rate(self) -> int:
        """Return the codes a second, in Hz, which all takes share.

        Raises:
            DamagedData: there is no take, or the first one's arrays are missing or damaged.
        """
        if not self._takes:
            raise DamagedData(f"{self.folder} has no takes")
        return int(self.open(min(self._takes)).attributes["code_rate"])

    def segments(self, part: str) -> list[Segment]:
        """Return a part's segments in order of take and time."""
        _check_part(part)
        return [row for row in self._segments if row.part == part]

    def open(self, take: str) -> Arrays:
        """Open a take's arrays.

        Raises:
            DamagedData: the take is unknown, or its arrays are missing or damaged.
        """
        self._about(take)
        return open_arrays(self.folder / take / ARRAYS)

    def _about(self, take: str) -> ChunkedTake:
        if take not in self._takes:
            raise DamagedData(f"{self.folder} has no take {take}")
        return self._takes[take]


def _read_takes(path: Path) -> dict[str, ChunkedTake]:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
        takes = {str(name): ChunkedTake(**take) for name, take in loaded.items()}
    except FileNotFoundError:
        raise DamagedData(f"{path} is missing") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise DamagedData(f"{path} is no index of takes: {error}") from error
    for name, take in takes.items():
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise DamagedData(f"{path} names take {name!r}, expected the name of a folder in it")
        if take.part not in PARTS:
            raise DamagedData(f"{path}: take {name} is in part {take.part!r}, expected one of {', '.join(PARTS)}")
    return takes


def _read_segments(path: Path) -> list[Segment]:
    columns = read_table(path, Segment._fields)
    return [Segment(*row) for row in zip(*(columns[name].tolist() for name in Segment._fields), strict=True)]


def _check_part(part: str) -> None:
    if part not in PARTS:
        raise ValueError(f"part {part!r}, expected one of {', '.join(PARTS)}")
