"""Verb ``chunk``: pictures and sound into Zarr, once, and the index of segments over them.

Segments overlap, so they are rows of an index (``segments.parquet``) and not copies. The split is by piece.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from tasks.params import Section
from tasks.registry import KINDS, kind_module
from tasks.step import Verified, contents_digest, json_sha256, write_whole
from tasks.store.arrays import open_arrays
from tasks.store.segments import ChunkedTake, ScoreSet, Segment, segment_rows, write_segments
from tasks.takes import PARTS, Part, SplitParams, Take, data_version, split

Margin = Annotated[float, Field(ge=0, lt=0.5)]


class ChunkParams(Section):
    """How a take is stored."""

    pictures_per_chunk: int  # what one read decompresses at least; 16 are about a second of music
    camera_width: int  # pixels of a capture's pictures
    camera_height: int
    camera_margins: tuple[Margin, Margin]  # shares of both that stay free beside an instrument whose corners are known
    sound_rate: Annotated[int, Field(ge=1000, le=192_000)]  # Hz, of a capture's sound
    stem_rate: Annotated[int, Field(ge=1000, le=192_000)]  # Hz, of an ensemble's stems and mix
    stem_channels: Annotated[int, Field(ge=1, le=8)]  # stems of more are mixed down to 1; those of fewer are refused


class SegmentParams(Section):
    """The training examples."""

    length_s: float
    hop_s: float


@dataclass(frozen=True, kw_only=True)
class DataFigures:
    """What one kind adds to the figures of a data version.

    Attributes:
        counts: numbers of takes.
        hours: lengths of its data set.
        parts: what each part of the split holds.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    hours: Mapping[str, float] = field(default_factory=dict)
    parts: Mapping[str, float] = field(default_factory=dict)


def index_takes(
    folder: Path, takes: Sequence[Take], split_params: SplitParams, params: SegmentParams
) -> dict[str, Part]:
    """Write ``takes.json`` and ``segments.parquet`` over the takes' arrays.

    A folder without takes has an index without rows: a project may have one kind of takes alone.

    Args:
        folder: the data set, which holds ``TAKE/arrays.zarr`` of each take.
        takes: of one kind.
        split_params: how pieces are shared out.
        params: of the segments.

    Returns:
        Each take's part of the split.

    Raises:
        ParamsError: a part of the split has too few pieces.
        LeakError: the parts are not disjoint.
    """
    parts = split(takes, split_params) if takes else {}
    chunked: dict[str, ChunkedTake] = {}
    segments: list[Segment] = []
    for take in takes:
        arrays = open_arrays(folder / take.name / "arrays.zarr")
        rate, n_samples = kind_module(take.data_set, "chunk").segment_clock(arrays)
        segments += segment_rows(
            take.name,
            take.piece,
            parts[take.name],
            take.digest,
            n_samples,
            length=round(params.length_s * rate),
            hop=round(params.hop_s * rate),
        )
        chunked[take.name] = ChunkedTake(
            piece=take.piece,
            part=parts[take.name],
            digest=take.digest,
            duration_s=float(arrays.attributes["duration_s"]),
        )
    described = {name: asdict(take) for name, take in sorted(chunked.items())}
    write_whole(folder / "takes.json", json.dumps(described, indent=1, sort_keys=True) + "\n")
    write_segments(folder / "segments.parquet", segments)
    return parts


def truth_digest(test_takes: Sequence[Take], verified: Verified) -> str:
    """Return one digest of what test takes are evaluated against and sounded with, beside their chunked arrays.

    Each kind's module names these files and folders of a take (``truth``). The digest is the same exactly when the
    takes and the contents of all that is named are the same.

    Args:
        test_takes: of one kind.
        verified: which files are known.

    Raises:
        DamagedData: something that is named is missing, has no receipt, or differs from its receipt.
    """
    return json_sha256(
        {
            take.name: {
                path.as_posix(): contents_digest(path, verified)
                for path in kind_module(take.data_set, "chunk").truth(take)
            }
            for take in test_takes
        }
    )


def data_metrics(folder: Path, takes: Sequence[Take], n_quarantined: int) -> dict[str, Any]:
    """Return what a data version is made of, for ``dvc metrics``: its name, counts, and lengths.

    Args:
        folder: holds one data set for each kind.
        takes: all that were accepted.
        n_quarantined: how many were not.
    """
    figures: list[DataFigures] = [
        kind_module(kind, "chunk").data_figures(
            ScoreSet(folder / kind), [take for take in takes if take.data_set == kind]
        )
        for kind in KINDS
    ]
    return {
        "data_version": data_version(takes)[:16],
        "n_takes": len(takes),
        **{key: value for one in figures for key, value in one.counts.items()},
        "n_pieces": len({take.piece for take in takes}),
        "n_quarantined": n_quarantined,
        **{key: value for one in figures for key, value in one.hours.items()},
        **{key: value for one in figures for key, value in one.parts.items()},
    }


def hours(data: ScoreSet) -> float:
    """Return the length of a data set in hours, to 0.4 s."""
    return round(sum(data.duration_s(take) for part in PARTS for take in data.takes(part)) / 3600, 4)
