"""Verb ``ingest``: raw files in, notes and facts out. Originals are read, never touched.

A score take is one MIDI file: ``data/sample/midi/PIECE.mid``, or the single ``.mid`` in ``data/raw/TAKE/``.
"""

import json
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from tasks.errors import ParamsError
from tasks.instruments.midi import MidiPolicy, read_midi
from tasks.params import Section
from tasks.step import Outcome, Verified, file_sha256, json_sha256, write_whole
from tasks.store.tables import write_table
from tasks.takes import PARTS, TAKE_NAME, Part, Take, read_catalog

SAMPLE = Path("data/sample")
RAW = Path("data/raw")


class IngestParams(Section):
    """What is accepted."""

    max_bad_fraction: float  # of the takes found; more than this and the stage fails
    midi: MidiPolicy


@dataclass(frozen=True, kw_only=True)
class Source:
    """One take as it was found, before anything of it was read."""

    name: str
    kind: Literal["score"]
    path: str  # of its MIDI file
    piece: str
    part: Part | None
    about: tuple[tuple[str, str], ...]  # composer, title, source, as far as they are known


def find_sources(sample: Path = SAMPLE, raw: Path = RAW, *, max_bytes: int) -> tuple[list[Source], list[Outcome]]:
    """List the takes of both folders, and refuse what is no take.

    Args:
        sample: the bundled pieces.
        raw: a folder a take.
        max_bytes: of a MIDI file; a larger one is refused before it is read, even to hash it.

    Returns:
        The takes in order of name, and an outcome for each thing that cannot be one.

    Raises:
        ParamsError: pieces.yaml does not describe the bundled pieces.
    """
    sources = _sample_sources(sample)
    taken = {source.name for source in sources}
    refused: list[Outcome] = []
    for folder in sorted(raw.iterdir()) if raw.is_dir() else []:
        if folder.name == ".gitkeep":
            continue
        found = _raw_source(folder, taken, max_bytes=max_bytes)
        if isinstance(found, Source):
            sources.append(found)
        else:
            refused.append(found)
    return sorted(sources, key=lambda source: source.name), refused


def refuse_copies(sources: Sequence[Source], verified: Verified) -> tuple[list[Source], list[Outcome]]:
    """Part the takes from those whose bytes an earlier one has: a piece twice would leak over the split."""
    first: dict[str, str] = {}
    kept, refused = [], []
    for source in sources:
        original = first.setdefault(verified.sha256(Path(source.path)), source.name)
        if original == source.name:
            kept.append(source)
        else:
            reason = f"{_shown(source.path)} has the same bytes as take {original}, expected one take a recording"
            refused.append(Outcome(name=source.name, state="quarantined", kind="DUPLICATE", reason=reason))
    return kept, refused


def ingest_take(source: Source, out: Path, params: IngestParams) -> None:
    """Write ``notes.parquet``, ``controls.parquet`` and ``take.json`` of one take.

    Raises:
        MidiError: the file cannot be used.
    """
    path = Path(source.path)
    score = read_midi(path, params.midi)
    sha256 = file_sha256(path)
    write_table(out / "notes.parquet", score.notes.columns())
    controls = score.controls
    write_table(
        out / "controls.parquet", {"time_s": controls.time_s, "control": controls.control, "value": controls.value}
    )
    about: dict[str, Any] = dict(source.about)
    media = [{"role": "score", "path": source.path, "sha256": sha256, "size": path.stat().st_size}]
    facts = {
        "take": source.name,
        "kind": source.kind,
        "piece": source.piece,
        "part": source.part,
        "digest": json_sha256([[path.name, sha256]]),
        "duration_s": score.duration_s,
        "declared_duration_s": score.declared_duration_s,
        "declared_error_s": score.declared_error_s,
        "title": about.pop("title", None) or score.title or source.name,
        **about,
        "n_notes": len(score.notes),
        "counts": score.counts,
        "media": media,
    }
    write_whole(out / "take.json", json.dumps(facts, indent=1, sort_keys=True) + "\n")


def write_catalog(out_dir: Path, names: Iterable[str]) -> list[Take]:
    """Write ``catalog.json``, one row a take in order of name, and return the takes."""
    rows = [json.loads((out_dir / name / "take.json").read_text()) for name in sorted(names)]
    write_whole(out_dir / "catalog.json", json.dumps(rows, indent=1, sort_keys=True) + "\n")
    return read_catalog(out_dir)


def listing(raw: Path = RAW) -> list[tuple[str, int, int]]:
    """List every file under ``data/raw`` with size and mtime, to notice what arrives during a run."""
    files = sorted(path for path in raw.rglob("*") if path.name != ".gitkeep")
    return [(str(path), path.lstat().st_size, path.lstat().st_mtime_ns) for path in files if not path.is_dir()]


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
            raise ParamsError(f"{_shown(midi)} is no take's name, expected letters, digits, '.', '_' and '-'")
        piece = pieces.get(midi.stem)
        if not isinstance(piece, dict) or piece.get("part") not in (*PARTS, None):
            raise ParamsError(
                f"{path}: {midi.stem} is {piece!r}, expected composer, title, source and a part of {PARTS}"
            )
        about = tuple((key, str(piece[key])) for key in ("composer", "title", "source") if key in piece)
        sources.append(
            Source(
                name=midi.stem, kind="score", path=midi.as_posix(), piece=midi.stem, part=piece.get("part"), about=about
            )
        )
    return sources


def _raw_source(folder: Path, taken: set[str], *, max_bytes: int) -> Source | Outcome:
    def refused(kind: str, reason: str) -> Outcome:
        return Outcome(name=_shown(folder.name), state="quarantined", kind=kind, reason=reason)

    shown = ascii(folder.name)
    if not TAKE_NAME.fullmatch(folder.name):
        return refused("BAD_NAME", f"data/raw/{shown} is no take's name, expected letters, digits, '.', '_' and '-'")
    if folder.is_symlink() or not folder.is_dir():
        return refused("NOT_A_FOLDER", f"data/raw/{shown} is not a folder, expected one folder a take")
    if folder.name in taken:
        return refused("NAME_TAKEN", f"data/raw/{shown} has the name of a bundled piece, expected another name")
    files = sorted(path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())
    scores = [path for path in files if path.suffix.lower() in (".mid", ".midi")]
    if len(scores) != 1 or len(files) != 1:
        listed = ", ".join(ascii(path.name) for path in files[:5]) or "nothing"
        return refused("NOT_A_SCORE", f"data/raw/{shown} holds {listed}, expected a single .mid file")
    found = scores[0].lstat()
    if not stat.S_ISREG(found.st_mode):
        return refused("NOT_A_FILE", f"{_shown(scores[0])} is a link or a device, expected a regular file")
    if found.st_size > max_bytes:
        return refused("TOO_LARGE", f"{_shown(scores[0])}: {found.st_size} bytes, expected at most {max_bytes}")
    return Source(name=folder.name, kind="score", path=scores[0].as_posix(), piece=folder.name, part=None, about=())


def _shown(path: str | Path) -> str:
    """Return a name for a message: one with letters that cannot be seen, or that move a cursor, as their codes."""
    name = str(path)
    return name if name.isprintable() else ascii(name)[1:-1]
