"""Chunk one score: the pictures of its key states, and the targets of its sound."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.chunk import ChunkParams, DataFigures, hours
from tasks.extract import EXTRACTED
from tasks.instruments.keyboard import HEIGHT, WIDTH, draw_keyboard
from tasks.store.arrays import Arrays, Parts, open_arrays, write_arrays
from tasks.store.rendered import RENDERED, KeyStates, read_states
from tasks.store.segments import ScoreSet
from tasks.takes import PARTS, Take

TOOLS: tuple[str, ...] = ()

CHUNKS_DRAWN = 4  # at a time: pictures are 44 kB each, and a long take's would fill gigabytes


def inputs(take: Take) -> Sequence[Path]:
    """Return what the work reads: what render and extract wrote."""
    return [RENDERED / take.name, EXTRACTED / take.name]


def truth(take: Take) -> Sequence[Path]:
    """Return what a performance of the score is held against: its notes and its sound as they were rendered."""
    return [RENDERED / take.name]


def chunk_take(take: Take, out: Path, params: ChunkParams) -> None:
    """Write ``arrays.zarr`` of one score: pictures, their times, key states and pedal, codes, amplitudes.

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
            "pedal": states.pedal,
            "picture_time_s": states.time_s,
            "pictures": Parts(
                (len(states.velocity), HEIGHT, WIDTH),
                np.dtype(np.uint8),
                _pictures(states, CHUNKS_DRAWN * params.pictures_per_chunk),
            ),
            "velocities": states.velocity,
        },
        chunk_lengths={
            "amplitudes": features["amplitudes"].chunk_length,
            "codes": features["codes"].chunk_length,
            "pedal": 64 * params.pictures_per_chunk,
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


def _pictures(states: KeyStates, n_at_a_time: int) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(states.velocity), n_at_a_time):
        part = slice(start, start + n_at_a_time)
        yield draw_keyboard(states.velocity[part], lit=states.lit, pedal=states.pedal[part])
