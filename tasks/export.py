"""Verb ``export``: data sets as files for other people's loaders, with a data card."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from tasks.errors import PipelineError
from tasks.step import whole_folder
from tasks.store.examples import Example, Examples, Kind, Part, examples_of
from tasks.store.segments import ScoreSet
from tasks.store.shards import example_bytes, write_npzs, write_parquets, write_tars
from tasks.store.views import ViewSet
from tasks.versions.card import ArrayFacts, Subset, card_text

Format = Literal["webdataset", "huggingface", "npz"]
FORMATS: tuple[Format, ...] = get_args(Format)
KINDS: tuple[Kind, ...] = get_args(Kind)
WRITERS: dict[Format, Callable[[Path, str, Iterator[Example]], list[str]]] = {
    "webdataset": write_tars,
    "huggingface": write_parquets,
    "npz": write_npzs,
}
CHUNKED = Path("data/chunked")
CARD = "README.md"


def export(
    form: Format,
    out: Path,
    *,
    kinds: Sequence[Kind],
    parts: Sequence[Part],
    project: Path = Path(),
    tell: Callable[[str], None] = lambda _: None,
    dry_run: bool = False,
) -> list[Subset]:
    """Write data sets with a data card, ``README.md``; one example is held at a time, or a row group of Parquet.

    Captures of several instruments have different amplitudes: each instrument is a subset of its own. A folder that is
    not finished is never left.

    Args:
        form: of the files.
        out: a folder that is new or empty.
        kinds: of data; one that has no takes in a part is left out there.
        parts: of the split.
        project: the folder of the project.
        tell: is given each take's name as it is begun.
        dry_run: count, and write nothing; sizes are then those of each part's first example times their number.

    Returns:
        What was written, by subset and part.

    Raises:
        PipelineError: ``out`` is not empty, or there is nothing to export.
        DamagedData: a data set is missing or damaged.
        WriteError: the disk is full or the folder cannot be written to.
    """
    if out.is_dir() and any(out.iterdir()):
        raise PipelineError(f"{out} is not empty: name a folder that is new, nothing is ever written over")
    if out.exists() and not out.is_dir():
        raise PipelineError(f"{out} is a file, expected a folder that is new")
    opened = [one for kind in kinds for part in parts for one in _opened(project, kind, part)]
    if not opened:
        raise PipelineError(f"{project / CHUNKED} has no takes of {', '.join(kinds)} in {', '.join(parts)}")
    if dry_run:
        return [_Counted(name, examples).planned(project) for name, examples in opened]
    written = []
    try:
        with whole_folder(out) as half:
            for name, examples in opened:
                (half / name).mkdir(exist_ok=True)
                counted = _Counted(name, examples, tell)
                WRITERS[form](half / name, examples.part, iter(counted))
                written.append(counted.subset(project))
            (half / CARD).write_text(card_text(form, written, project=project), encoding="utf-8")
    except OSError as error:
        raise PipelineError(f"{out} cannot be written: {error.strerror}") from error
    return written


def _opened(project: Path, kind: Kind, part: Part) -> Iterator[tuple[str, Examples]]:
    """Open a part of a data set, one after another for each instrument of captures."""
    folder = project / CHUNKED / kind
    if not ScoreSet(folder).takes(part):
        return
    if kind != "captures":
        named: dict[str, dict[str, Any]] = {kind: {}}
    else:
        views = ViewSet(folder)
        played = sorted({str(views.open(take).attributes["instrument"]) for take in views.takes(part)})
        named = {f"{kind}_{instrument}": {"instrument": instrument} for instrument in played}
    for name, options in named.items():
        examples = examples_of(kind, part, folder, **options)
        if len(examples):
            yield name, examples


class _Counted:
    """The examples of a part in their order, with what passed counted."""

    def __init__(self, name: str, examples: Examples, tell: Callable[[str], None] = lambda _: None) -> None:
        self._name, self._examples, self._tell = name, examples, tell
        self._n_bytes = 0
        self._arrays: dict[str, ArrayFacts] = {}

    def __iter__(self) -> Iterator[Example]:
        begun = ""
        for example in self._examples:
            if example["take"] != begun:
                begun = str(example["take"])
                self._tell(f"{self._name} {self._examples.part}: {begun}")
            self._count(example)
            yield example

    def subset(self, project: Path) -> Subset:
        """Say what passed."""
        return self._subset(project, self._n_bytes)

    def planned(self, project: Path) -> Subset:
        """Say what would pass, by the first example alone."""
        self._count(self._examples[0])
        return self._subset(project, self._n_bytes * len(self._examples))

    def _count(self, example: Example) -> None:
        self._n_bytes += example_bytes(example)
        for name, value in example.items():
            if isinstance(value, str):
                continue
            found = self._arrays.setdefault(name, ArrayFacts(shape=value.shape, dtype=value.dtype.name))
            if found.shape != value.shape:
                sizes = (size if size == other else None for size, other in zip(found.shape, value.shape, strict=True))
                self._arrays[name] = replace(found, shape=tuple(sizes))

    def _subset(self, project: Path, n_bytes: int) -> Subset:
        kind, part = self._examples.kind, self._examples.part
        index = ScoreSet(project / CHUNKED / kind)
        takes = tuple(self._examples.takes)
        return Subset(
            name=self._name,
            kind=kind,
            part=part,
            takes=takes,
            pieces=tuple(sorted({index.piece(take) for take in takes})),
            n_examples=len(self._examples),
            hours=sum(index.duration_s(take) for take in takes) / 3600,
            n_bytes=n_bytes,
            arrays=dict(self._arrays),
        )
