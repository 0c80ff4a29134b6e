"""Verb ``synthesize``: whole test takes by every system of a family.

From silent video to sound, or from the mix of an ensemble to a sound a player.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import Field

from tasks.families import load_family
from tasks.families.base import Performance
from tasks.params import Section
from tasks.registry import kind_module
from tasks.store.audio import write_flac
from tasks.store.tables import write_table

V = TypeVar("V")


class SynthesizeParams(Section):
    """How much of the test takes gets sound."""

    score_excerpt_s: Annotated[float, Field(gt=0)] | None  # from the start of each score's film; None takes all of it


def synthesize_family(
    name: str,
    *,
    data: Path,
    trained: Path,
    out: Path,
    params: SynthesizeParams,
    accelerator: str,
    workers: int,
) -> Iterator[Any]:
    """Write what every system of a family makes of the test takes; `tasks.kinds` has a module for each kind of data.

    Args:
        name: of the family.
        data: the data set of its kind.
        trained: its trained folder.
        out: a folder that is replaced: ``SYSTEM/TAKE/`` with sound, video, and notes where the system detects them.
        params: typed values of the section.
        accelerator: Lightning's word.
        workers: how many write files while the family makes what comes next.

    Yields:
        Each performance or separation once it is written.

    Raises:
        ParamsError: there is no such family.
        DamagedData: the data set or the weights are not whole.
        MediaError: ffmpeg did not write what was requested.
        ToolError: the disk is full.
    """
    family = load_family(name)
    work = kind_module(family.data, "synthesize").synthesize
    yield from work(
        family, data=data, trained=trained, out=out, params=params, accelerator=accelerator, workers=workers
    )


def written(
    performances: Iterator[Performance], write: Callable[[Performance], None], workers: int
) -> Iterator[Performance]:
    """Yield performances in their order, each once it is written, while others are written and the next is made.

    Memory holds two for each worker.
    """
    waiting: deque[tuple[Performance, Future[None]]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for performance in performances:
            waiting.append((performance, pool.submit(write, performance)))
            while len(waiting) >= 2 * workers:
                performance, written = waiting.popleft()
                written.result()
                yield performance
        for performance, written in waiting:
            written.result()
            yield performance
    finally:
        pool.shutdown(cancel_futures=True)  # when the stage is stopped, what is left is not written


class Lazy(Mapping[str, V]):
    """A mapping whose values are made when they are read: the films of all views do not fit in memory."""

    def __init__(self, names: Mapping[str, Any], make: Callable[[str], V]) -> None:
        self._names, self._make = names, make

    def __getitem__(self, name: str) -> V:
        if name not in self._names:
            raise KeyError(name)
        return self._make(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def write_performance(folder: Path, performance: Performance) -> None:
    """Write a performance's audio.flac, and notes.parquet and amplitudes.parquet where the system predicts them."""
    write_flac(folder / "audio.flac", performance.audio, performance.sample_rate)
    if performance.notes is not None:
        write_table(folder / "notes.parquet", performance.notes.columns())
    if performance.amplitudes is not None:
        amplitudes = performance.amplitudes
        write_table(
            folder / "amplitudes.parquet",
            {
                str(pitch): np.ascontiguousarray(amplitudes.values[:, row])
                for row, pitch in enumerate(amplitudes.pitches)
            },
        )
