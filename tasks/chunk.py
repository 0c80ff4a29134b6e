"""Verb ``chunk``: pictures and features into Zarr, once, and the index of segments over them.

Segments overlap, so they are rows of an index (``segments.parquet``) and not copies. The split is by piece.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.instruments.keyboard import HEIGHT, WIDTH, Lit, draw_keyboard
from tasks.params import Section
from tasks.step import write_whole
from tasks.store.arrays import Parts, open_arrays, write_arrays
from tasks.store.segments import ChunkedTake, ScoreSet, Segment, segment_rows, write_segments
from tasks.store.tables import read_table
from tasks.takes import PARTS, SplitParams, Take, data_version, split

RENDERED = Path("data/rendered")
EXTRACTED = Path("data/extracted")
CHUNKS_DRAWN = 4  # at a time: pictures are 44 kB each, and a long take's would fill gigabytes


class ChunkParams(Section):
    """How a take is stored."""

    pictures_per_chunk: int  # what one read decompresses at least; 16 are about a second of music


class SegmentParams(Section):
    """The training examples."""

    length_s: float
    hop_s: float


def chunk_take(take: Take, out: Path, params: ChunkParams) -> None:
    """Write ``arrays.zarr`` of one score take: pictures, their times and key states, codes, amplitudes."""
    states = read_table(RENDERED / take.name / "states.parquet")
    facts = json.loads((RENDERED / take.name / "render.json").read_text())
    features = open_arrays(EXTRACTED / take.name / "arrays.zarr")
    write_arrays(
        out / "arrays.zarr",
        {
            "amplitudes": features["amplitudes"][:],
            "codes": features["codes"][:],
            "picture_time_s": states["time_s"],
            "pictures": Parts(
                (len(states["velocity"]), HEIGHT, WIDTH),
                np.dtype(np.uint8),
                _pictures(states["velocity"], facts["lit"], CHUNKS_DRAWN * params.pictures_per_chunk),
            ),
            "velocities": states["velocity"],
        },
        chunk_lengths={
            "amplitudes": features["amplitudes"].chunk_length,
            "codes": features["codes"].chunk_length,
            "picture_time_s": 64 * params.pictures_per_chunk,
            "pictures": params.pictures_per_chunk,
            "velocities": 64 * params.pictures_per_chunk,
        },
        attributes={**features.attributes, "duration_s": facts["duration_s"], "lit": facts["lit"]},
    )


def _pictures(velocity: NDArray[np.uint8], lit: Lit, n_at_a_time: int) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(velocity), n_at_a_time):
        yield draw_keyboard(velocity[start : start + n_at_a_time], lit=lit)


def index_takes(folder: Path, takes: Sequence[Take], split_params: SplitParams, params: SegmentParams) -> None:
    """Write ``takes.json`` and ``segments.parquet`` over the takes' arrays.

    Raises:
        ParamsError: a part of the split has too few pieces.
        LeakError: the parts are not disjoint.
    """
    parts = split(takes, split_params)
    chunked: dict[str, ChunkedTake] = {}
    segments: list[Segment] = []
    for take in takes:
        arrays = open_arrays(folder / take.name / "arrays.zarr")
        code_rate = int(arrays.attributes["code_rate"])
        segments += segment_rows(
            take.name,
            take.piece,
            parts[take.name],
            take.digest,
            len(arrays["codes"]),
            length=round(params.length_s * code_rate),
            hop=round(params.hop_s * code_rate),
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


def data_metrics(folder: Path, takes: Sequence[Take], n_quarantined: int) -> dict[str, Any]:
    """Return what a data version is made of, for ``dvc metrics``: its name, counts and minutes."""
    scores = ScoreSet(folder)
    duration_s = {part: sum(scores.duration_s(take) for take in scores.takes(part)) for part in PARTS}
    return {
        "data_version": data_version(takes)[:16],
        "n_takes": len(takes),
        "n_pieces": len({take.piece for take in takes}),
        "n_quarantined": n_quarantined,
        "hours": round(sum(duration_s.values()) / 3600, 4),
        **{f"{part}_minutes": round(duration_s[part] / 60, 2) for part in PARTS},
        **{f"{part}_segments": len(scores.segments(part)) for part in PARTS},
    }
