"""Verb ``ingest``: raw files in, notes and facts out. Originals are read, never touched.

A score take is one MIDI file: ``data/sample/midi/PIECE.mid``, or the single ``.mid`` in ``data/raw/TAKE/``. A capture
is a folder of recordings: ``data/raw/TAKE/`` or, of the virtual rig, ``data/filmed/TAKE/``. A folder with stems is an
ensemble (`tasks.intake.layouts` has their names).

Which folder is a take of a kind, and what is written of it, stands in ``tasks/kinds/KIND/ingest.py`` (`IngestKind`).
Here is what all kinds share: where takes come from, which are refused as copies, and the catalog.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import yaml
from pydantic import Field

from tasks.errors import BadInput, DamagedData, ParamsError, PipelineError, contained
from tasks.instruments.midi import MidiPolicy, Score
from tasks.intake.copies import Contents
from tasks.intake.describe import TakeFile, read_take_file
from tasks.intake.devices import CaptureParams
from tasks.intake.folder import (
    RECORDED,
    SCORE_SUFFIXES,
    FolderSize,
    Refused,
    check_is_take,
    is_take_file,
    look_into,
    role_of,
    shown,
)
from tasks.intake.originals import Holding, Originals
from tasks.intake.quality import HoldBackParams
from tasks.keyboards.params import FindParams
from tasks.media.probe import MediaPolicy
from tasks.params import Section
from tasks.registry import KINDS, kind_module
from tasks.step import RECEIPT, Outcome, Verified, file_sha256, json_sha256, read_receipt, write_whole
from tasks.store.tables import write_table
from tasks.takes import PARTS, TAKE_NAME, Part, Take, read_catalog

SAMPLE = Path("data/sample")
FILMED = Path("data/filmed")
RAW = Path("data/raw")

Origin = Literal["sample", "filmed", "raw"]
ORIGINS: tuple[Origin, ...] = ("sample", "filmed", "raw")  # of equal recordings the first one stays


class IngestError(BadInput):
    """A take of which nothing can be used."""


class EnsembleParams(Section):
    """What is accepted of an ensemble.

    Attributes:
        max_length_difference_s: a stem that ends so much before the longest one has the take refused; a shorter
            difference is silence.
        max_residual_db: power of the difference between the mix and the sum of the stems, over the mix's own power.
            Above it the sum takes the place of the mix, in training and in tests.
    """

    max_length_difference_s: float
    max_residual_db: float


class TakeParams(Section):
    """What is accepted of one take."""

    midi: MidiPolicy
    media: MediaPolicy
    captures: CaptureParams
    ensembles: EnsembleParams
    hold_back: HoldBackParams
    keyboards: FindParams  # in films of pianos
    max_devices: Annotated[int, Field(ge=1, le=10_000)]  # recordings of a take; a folder of more is refused unread

    @property
    def size(self) -> FolderSize:
        """How large a file, and how many, may be before it is refused unread."""
        return FolderSize(score=self.midi.max_bytes, media=self.media.max_file_bytes, devices=self.max_devices)


class IngestParams(TakeParams):
    """What is accepted."""

    max_bad_fraction: float  # of the takes found; more than this and the stage fails

    def of_a_take(self) -> TakeParams:
        """Return what the work on one take follows from: the fraction is not among it."""
        return TakeParams(**{name: getattr(self, name) for name in TakeParams.model_fields})


@dataclass(frozen=True, kw_only=True)
class Source:
    """One take as it was found, before any recording of it was read.

    Attributes:
        name: of the take.
        kind: of the take.
        origin: where it was found.
        files: the raw files that it consists of, in order of name.
        piece: the composition.
        part: where its piece is fixed in the split, if it is.
        about: composer, title, source, as far as they are known.
        refused: files of its folder that cannot be used.
    """

    name: str
    kind: str
    origin: Origin
    files: tuple[str, ...]
    piece: str
    part: Part | None
    about: tuple[tuple[str, str], ...] = ()
    refused: tuple[Refused, ...] = ()

    @property
    def data_set(self) -> str:
        """The kind's plural, by which `tasks.registry` has it."""
        return f"{self.kind}s"

    @property
    def paths(self) -> list[Path]:
        """The raw files, in order of name."""
        return [Path(file) for file in self.files]

    @property
    def score(self) -> Path | None:
        """The MIDI file, if there is one."""
        return next((path for path in self.paths if path.name.lower().endswith(SCORE_SUFFIXES)), None)

    @property
    def take_file(self) -> Path | None:
        """The take.yaml, if there is one."""
        return next((path for path in self.paths if is_take_file(path.name)), None)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What a folder holds, before the kind of its take is known.

    Attributes:
        where: the folder, fit for a message.
        files: name -> where the file is, of those that can be used.
        refused: the others.
        described: its take.yaml.
    """

    where: str
    files: Mapping[str, Path]
    refused: Sequence[Refused]
    described: TakeFile

    @property
    def names(self) -> list[str]:
        """The names of all files, those that cannot be used too."""
        return [*self.files, *(Path(row.path).name for row in self.refused)]


class IngestKind(Protocol):
    """What ``tasks/kinds/KIND/ingest.py`` has, beside ``inputs`` and ``TOOLS`` (`flows.run.kind_work`)."""

    def recognizes(self, candidate: Candidate) -> bool:
        """Return whether a folder holds a take of this kind, unless it is of a kind further down in the table."""

    def check(self, candidate: Candidate) -> None:
        """Refuse a folder of this kind that lacks something.

        Raises:
            BadInput: what is missing, or wrong with the names.
        """

    def holding(self, name: str, piece: str, files: Mapping[str, Path]) -> Holding:
        """Return what a take of this kind holds, given name -> path of its files."""

    def ingest_take(self, source: Source, out: Path, params: TakeParams) -> None:
        """Write ``take.json`` of one take, and tables of its notes where there are any.

        Raises:
            BadInput: the take cannot be used.
        """


def ingest_kind(kind: str) -> IngestKind:
    """Return a kind's module."""
    module: IngestKind = kind_module(kind, "ingest")
    return module


def kind_of(candidate: Candidate) -> str:
    """Return the kind of the take that a folder holds, in the plural.

    A kind further down in the table is more particular: an ensemble has what a capture has, a capture what a score has.

    Raises:
        BadInput: it lacks something that a take of its kind needs.
    """
    kind = next(kind for kind in reversed(KINDS) if ingest_kind(kind).recognizes(candidate))
    ingest_kind(kind).check(candidate)
    return kind


def check_has_recording(candidate: Candidate, *, in_ensemble: bool) -> None:
    """Refuse a folder of recordings of which none can be used.

    Raises:
        IngestError: ``NO_DEVICE``.
    """
    recordings = {name for name in candidate.names if role_of(name, in_ensemble=in_ensemble) in RECORDED}
    if recordings and not recordings & candidate.files.keys():
        reasons = [row.reason for row in candidate.refused if row.role != "score"]
        raise IngestError(f"no device can be used; {reasons[0]}", kind="NO_DEVICE")


def find_sources(
    sample: Path = SAMPLE, filmed: Path = FILMED, raw: Path = RAW, *, size: FolderSize
) -> tuple[list[Source], list[Outcome]]:
    """List the takes of all folders, and refuse what is no take.

    Args:
        sample: the bundled pieces.
        filmed: the captures of the virtual rig, a folder a take.
        raw: a folder a take.
        size: of files; a larger one is refused before it is read, even to hash it.

    Returns:
        The takes in order of name, and an outcome for each folder that cannot be one.

    Raises:
        ParamsError: pieces.yaml does not describe the bundled pieces.
        DamagedData: a filmed take was never finished.
    """
    sources = _sample_sources(sample)
    taken = {source.name: "a bundled piece" for source in sources}
    refused: list[Outcome] = []
    folders: tuple[tuple[Path, Origin], ...] = ((filmed, "filmed"), (raw, "raw"))
    for parent, origin in folders:
        for folder in sorted(parent.iterdir()) if parent.is_dir() else []:
            if folder.name == ".gitkeep" or (origin == "filmed" and not _is_a_take_of_the_rig(folder)):
                continue
            found = read_source(folder, origin, taken, size=size)
            if isinstance(found, Source):
                sources.append(found)
                taken[found.name] = "a filmed take"
            else:
                refused.append(found)
    return sorted(sources, key=lambda source: source.name), refused


def read_source(folder: Path, origin: Origin, taken: dict[str, str], *, size: FolderSize) -> Source | Outcome:
    """Read a take's folder, its take.yaml included, or return why it is none.

    Args:
        folder: the take's.
        origin: where it stands.
        taken: names that no take may have, with what has them.
        size: of files.
    """

    def refused(kind: str, reason: str) -> Outcome:
        return Outcome(name=shown(folder.name), state="quarantined", kind=kind, reason=reason)

    known_as = f"data/{origin}/{folder.name!a}"
    if not TAKE_NAME.fullmatch(folder.name):
        return refused("BAD_NAME", f"{known_as} is no take's name, expected letters, digits, '.', '_' and '-'")
    if folder.is_symlink() or not folder.is_dir():
        return refused("NOT_A_FOLDER", f"{known_as} is not a folder, expected one folder a take")
    if folder.name in taken:
        return refused("NAME_TAKEN", f"{known_as} has the name of {taken[folder.name]}, expected another name")
    try:
        with contained(known_as):
            found = look_into(folder, size)
            described = read_take_file(found.take_file)
            check_is_take(folder, found)
            files = {path.name: path for path in found.files}
            kind = kind_of(Candidate(where=shown(folder), files=files, refused=found.refused, described=described))
    except BadInput as error:
        return refused(error.kind, str(error))
    except OSError as error:
        return refused("UNREADABLE", f"{known_as} cannot be read: {error.strerror}")
    return Source(
        name=folder.name,
        kind=kind.removesuffix("s"),
        origin=origin,
        files=tuple(path.as_posix() for path in found.files),
        piece=described.piece or folder.name,
        part=described.part,
        refused=found.refused,
    )


def holding_of(source: Source) -> Holding:
    """Return what a take that was found holds."""
    return ingest_kind(source.data_set).holding(source.name, source.piece, {path.name: path for path in source.paths})


def check_filmed(sources: Iterable[Source], verified: Verified, filmed: Path = FILMED) -> None:
    """Hold the filmed takes against their receipts.

    Raises:
        DamagedData: a file of one was changed, added or lost since it was made.
    """
    for source in sources:
        if source.origin == "filmed":
            read_receipt(filmed / source.name, verified)


def hash_files(sources: Iterable[Source], verified: Verified, streams: Contents, *, workers: int) -> None:
    """Hash every file of the takes that changed since the last time, several at a time.

    Raises:
        PipelineError: a file went while this ran.
    """

    def look(path: Path, take: Holding) -> None:
        digest = verified.sha256(path)
        with suppress(BadInput), contained(shown(path)):  # met again, and that take's fault, when takes are compared
            if path in take.containers:
                streams.of(path, digest)
            if path in take.compared:
                streams.prints(path, digest)

    files = [(path, take) for source in sources for take in [holding_of(source)] for path in source.paths]
    with ThreadPoolExecutor(workers) as pool:
        try:
            for _ in pool.map(look, *zip(*files, strict=True)) if files else ():
                pass
        except FileNotFoundError as error:
            raise PipelineError(f"{shown(error.filename)} went while it was read: run again") from None


def refuse_copies(
    sources: Sequence[Source], sha256: Callable[[Path], str], streams: Contents | None = None
) -> tuple[list[Source], list[Outcome]]:
    """Part the takes from those that are an earlier one once more: a piece twice would leak over the split.

    A take is a copy when a recording of it has the same bytes as one of an earlier take, or the same streams in
    another container; a score, when its MIDI file has the same bytes as an earlier score's. Bundled pieces come
    first, then what was filmed, then data/raw, each by name. A capture may come with the MIDI file of a score
    when both are of one piece, and sound as another capture does (encoded anew, or a part of it) on the same terms.

    Args:
        sources: the takes.
        sha256: gives the digest of a file.
        streams: gives the digest of what a container holds; without it only bytes are compared.
    """
    originals = Originals(sha256, streams)
    kept, refused = [], []
    for source in in_order(sources):
        try:
            with contained(source.name):
                copied = originals.claim(holding_of(source))
        except BadInput as error:
            copied = (error.kind, str(error))
        if copied is None:
            kept.append(source)
        else:
            refused.append(Outcome(name=source.name, state="quarantined", kind=copied[0], reason=copied[1]))
    return sorted(kept, key=lambda source: source.name), sorted(refused, key=lambda outcome: outcome.name)


def in_order(sources: Iterable[Source]) -> list[Source]:
    """Return the takes in the order in which they have precedence: by origin, then by name."""
    return sorted(sources, key=lambda source: (ORIGINS.index(source.origin), source.name))


def refuse_other_parts(sources: Sequence[Source]) -> tuple[list[Source], list[Outcome]]:
    """Part the takes from those that fix another part of the split for a piece than an earlier take does."""
    fixed: dict[str, Source] = {}
    kept, refused = [], []
    for source in in_order(sources):
        earlier = fixed.setdefault(source.piece, source) if source.part is not None else source
        if earlier.part == source.part:
            kept.append(source)
            continue
        reason = (
            f"{source.name} is of piece {source.piece} and fixes it to part {source.part}, expected {earlier.part} as "
            f"take {earlier.name} has it"
        )
        refused.append(Outcome(name=source.name, state="quarantined", kind="OTHER_PART", reason=reason))
    return sorted(kept, key=lambda source: source.name), refused


def digest_of(files: Iterable[Path], sha256: Callable[[Path], str]) -> str:
    """Return a take's digest: sha256 over the names and digests of its raw files, in order of name."""
    return json_sha256([[path.name, sha256(path)] for path in sorted(files)])


def write_take(out: Path, source: Source, described: TakeFile, facts: Mapping[str, Any]) -> None:
    """Write ``take.json``: what all takes have, and the facts of this kind.

    The title is that of pieces.yaml, else of take.yaml, else of the facts, else the take's name.
    """
    about: dict[str, Any] = dict(source.about)
    title = about.pop("title", None) or described.title or facts.get("title") or source.name
    take = {
        "take": source.name,
        "kind": source.kind,
        "piece": source.piece,
        "part": source.part,
        "digest": digest_of(source.paths, file_sha256),
        **facts,
        "title": title,
        **about,
    }
    write_whole(out / "take.json", json.dumps(take, indent=1, sort_keys=True) + "\n")


def write_score(out: Path, score: Score) -> None:
    """Write the tables of a MIDI file's notes and controls."""
    write_table(out / "notes.parquet", score.notes.columns())
    write_table(out / "controls.parquet", score.controls.columns())


def write_catalog(out_dir: Path, names: Iterable[str]) -> list[Take]:
    """Write ``catalog.json``, one row a take in order of name, and return the takes.

    Where one take fixes the part of its piece, all takes of the piece have it here.
    """
    rows = [json.loads((out_dir / name / "take.json").read_text(encoding="utf-8")) for name in sorted(names)]
    parts = {row["piece"]: row["part"] for row in rows if row["part"] is not None}
    rows = [row | {"part": parts.get(row["piece"])} for row in rows]
    write_whole(out_dir / "catalog.json", json.dumps(rows, indent=1, sort_keys=True) + "\n")
    return read_catalog(out_dir)


def listing(raw: Path = RAW) -> list[tuple[str, int, int]]:
    """List every file under ``data/raw`` with size and mtime, to notice what arrives during a run."""
    files = sorted(path for path in raw.rglob("*") if path.name != ".gitkeep")
    return [(str(path), path.lstat().st_size, path.lstat().st_mtime_ns) for path in files if not path.is_dir()]


def _is_a_take_of_the_rig(folder: Path) -> bool:
    """Return whether this is a take, and not what a killed run left.

    Raises:
        DamagedData: a take that was never finished.
    """
    if folder.name.startswith(".") or not folder.is_dir():
        return False
    if not (folder / RECEIPT).is_file():
        raise DamagedData(f"{folder} has no {RECEIPT}: it was never finished, run audiate film")
    return True


def _sample_sources(sample: Path) -> list[Source]:
    path = sample / "pieces.yaml"
    try:
        pieces = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(pieces, dict):
        raise ParamsError(f"{path} holds {type(pieces).__name__}, expected a description of each piece")
    sources = []
    for midi in sorted((sample / "midi").glob("*.mid")):
        if not TAKE_NAME.fullmatch(midi.stem):
            raise ParamsError(f"{shown(midi)} is no take's name, expected letters, digits, '.', '_' and '-'")
        piece = pieces.get(midi.stem)
        if not isinstance(piece, dict) or piece.get("part") not in (*PARTS, None):
            raise ParamsError(
                f"{path}: {midi.stem} is {piece!r}, expected composer, title, source and a part of {PARTS}"
            )
        about = tuple((key, str(piece[key])) for key in ("composer", "title", "source") if key in piece)
        sources.append(
            Source(
                name=midi.stem,
                kind="score",
                origin="sample",
                files=(midi.as_posix(),),
                piece=midi.stem,
                part=piece.get("part"),
                about=about,
            )
        )
    return sources
