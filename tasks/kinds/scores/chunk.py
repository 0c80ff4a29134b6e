"""Chunk one score: the pictures of its key states, and the targets of its sound."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.chunk import ChunkParams, DataFigures, hours
from tasks.extract import EXTRACTED
from tasks.instruments.keyboard import HEIGHT, WIDTH, Lit, draw_keyboard
from tasks.intake.record import INGESTED
from tasks.store.arrays import Arrays, Parts, open_arrays, write_arrays
from tasks.store.rendered import RENDERED, read_states
from tasks.store.segments import ScoreSet
from tasks.takes import PARTS, Take

TOOLS: tuple[str, ...] = ()

CHUNKS_DRAWN = 4  # at a time: pictures are 44 kB each, and a long take's would fill gigabytes


def inputs(take: Take) -> Sequence[Path]:
    """Return what the work reads: what render and extract wrote."""
    return [RENDERED / take.name, EXTRACTED / take.name]


def truth(take: Take) -> Sequence[Path]:
    """Return what a performance of the score is held against: its notes and its rendered sound."""
    return [INGESTED / take.name, RENDERED / take.name]


def chunk_take(take: Take, out: Path, params: ChunkParams) -> None:
    """Write ``arrays.zarr`` of one score: pictures, their times and key states, codes, amplitudes.

    Raises:
        DamagedData: what the stages before wrote is missing or damaged.
    """
    states = read_states(take.name)
    features = open_arrays(EXTRACTED / take.name / "arrays.zarr")
    write_arrays(
        out / "arrays.zarr",
        {
            "amplitudes": features["amplitudes"][:],
            "codes": features["codes"][:],
            "picture_time_s": states.time_s,
            "pictures": Parts(
                (len(states.velocity), HEIGHT, WIDTH),
                np.dtype(np.uint8),
                _pictures(states.velocity, states.lit, CHUNKS_DRAWN * params.pictures_per_chunk),
            ),
            "velocities": states.velocity,
        },
        chunk_lengths={
            "amplitudes": features["amplitudes"].chunk_length,
            "codes": features["codes"].chunk_length,
            "picture_time_s": 64 * params.pictures_per_chunk,
            "pictures": params.pictures_per_chunk,
            "velocities": 64 * params.pictures_per_chunk,
        },
        attributes={**features.attributes, "duration_s": states.duration_s, "lit": states.lit},
    )


def segment_clock(arrays: Arrays) -> tuple[int, int]:
    """Return rate in Hz and number of the samples that segments are counted in: the codes."""
    return int(arrays.attributes["code_rate"]), len(arrays["codes"])


def data_figures(data: ScoreSet, takes: Sequence[Take]) -> DataFigures:  # noqa: ARG001 - other kinds count them
    """Return the hours of all scores, and minutes and segments of each part of the split."""
    minutes = {part: round(sum(data.duration_s(take) for take in data.takes(part)) / 60, 2) for part in PARTS}
    return DataFigures(
        hours={"hours": hours(data)},
        parts={
            **{f"{part}_minutes": minutes[part] for part in PARTS},
            **{f"{part}_segments": len(data.segments(part)) for part in PARTS},
        },
    )


def _pictures(velocity: NDArray[np.uint8], lit: Lit, n_at_a_time: int) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(velocity), n_at_a_time):
        yield draw_keyboard(velocity[start : start + n_at_a_time], lit=lit)
