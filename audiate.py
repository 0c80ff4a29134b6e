"""audiate in Python: the notes of a recording, the clock of two, and data sets for networks of one's own.

    import audiate

    audiate.notes("take.wav").write_midi("take.mid")
    audiate.clock("mic_room.wav", "cam_top.mp4").delay_s
    for batch in audiate.loader("captures", "train", instrument="marimba-18"):
        batch["pictures"], batch["amplitudes"]  # (B, F, 3, H, W) uint8, (B, F, n) float32

Everything else is the command line's: ``audiate --help``. What is imported is imported when it is used.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.store.examples import Examples, Kind, Part, examples_of

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from tasks.clock.fit import ClockFit
    from tasks.notes import FoundNotes, InstrumentName

__all__ = ["Examples", "clock", "dataset", "loader", "notes"]


def notes(recording: str | Path, *, instrument: "InstrumentName" = "piano") -> "FoundNotes":
    """Find the notes in a recording, as ``audiate notes`` does.

    Args:
        recording: any recording; of a film its sound.
        instrument: ``piano``, ``marimba`` or ``marimba-18``.

    Returns:
        Onsets and offsets in seconds, MIDI pitches, amplitudes and velocities, (n,) each, in order of onset.

    Raises:
        MediaError: the recording cannot be read, or has no sound.
    """
    from flows.commands import section_of
    from tasks.notes import NotesParams, notes_of_file

    return notes_of_file(Path(recording), instrument=instrument, params=section_of("notes", NotesParams))


def clock(reference: str | Path, other: str | Path) -> "ClockFit":
    """Place a recording on the clock of another one, as ``audiate sync`` does.

    Args:
        reference: a recording with sound.
        other: a recording of the same, with sound or only pictures.

    Returns:
        ``verdict`` (``locked``, ``ambiguous``, ``unrelated``, ...), ``delay_s``, ``drift_ppm`` and ``spans``.

    Raises:
        MediaError: one of both cannot be read.
    """
    from flows.commands import section_of
    from tasks.clock.place import place_file
    from tasks.media.sound import read_pcm
    from tasks.synchronize import SynchronizeParams

    params = section_of("synchronize", SynchronizeParams)
    sound = read_pcm(Path(reference), sample_rate=params.sample_rate, policy=params.media)
    return place_file(Path(other), sound, params, params.media)


def dataset(kind: Kind, part: Part, *, project: str | Path = ".", **options: Any) -> Examples:
    """Open one part of a data set that the stage ``chunk`` made.

    Args:
        kind: ``scores``, ``captures`` or ``ensembles``.
        part: ``train``, ``validation`` or ``test``.
        project: the folder of a project.
        options: of captures ``instrument`` (needed where there are several) and ``cameras``, a regular expression; of
            scores ``picture_rate`` in Hz, 25 by default; of ensembles ``n_players``.

    Returns:
        Of scores ``pictures`` (T, H, W) uint8 at ``picture_rate`` and ``codes`` (N,) uint8, mu-law; of captures, for
        each camera, ``pictures`` (F, 3, H, W) uint8 and ``amplitudes`` (F, n) float32, row k over frames k to k + 2,
        and the word ``camera``; of ensembles ``mix`` (C, N) and ``stems`` (K, C, N) float32, ``motion`` (K, T, m)
        float32 and the word ``instruments``.

    Raises:
        DamagedData: the data set is missing or damaged.
        ParamsError: an instrument has to be named.
        TypeError: an option is none of this kind's.
        ValueError: there is no such kind or part.
    """
    return examples_of(kind, part, Path(project) / "data" / "chunked" / kind, **options)


def loader(
    kind: Kind,
    part: Part,
    *,
    batch_size: int = 8,
    seed: int = 0,
    n_workers: int = 0,
    project: str | Path = ".",
    **options: Any,
) -> "DataLoader[dict[str, Any]]":
    """Return a loader of batches: training shuffled by the seed, the other parts in their order.

    Arguments, arrays and errors are those of `dataset`; arrays become tensors with a first dimension more, of at most
    ``batch_size``. Arrays of several lengths (ensembles of two and of three players) stay a list.

    Args:
        kind: of data.
        part: of the split.
        batch_size: segments a batch.
        seed: of the order.
        n_workers: processes that read; 0 reads in this one.
        project: the folder of a project.
        options: as `dataset` has them.
    """
    import torch
    from torch.utils.data import DataLoader

    examples: Any = dataset(kind, part, project=project, **options)
    return DataLoader(
        examples,
        batch_size=batch_size,
        shuffle=part == "train",
        generator=torch.Generator().manual_seed(seed),
        num_workers=n_workers,
        collate_fn=_collated,
    )


def _collated(examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    import torch

    batch: dict[str, Any] = {}
    for name, value in examples[0].items():
        values = [example[name] for example in examples]
        if not isinstance(value, np.ndarray):
            batch[name] = values
        elif all(one.shape == value.shape for one in values):
            batch[name] = torch.from_numpy(np.stack(values))
        else:
            batch[name] = [torch.from_numpy(one) for one in values]
    return batch
