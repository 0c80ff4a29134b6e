"""Ingest a score: one MIDI file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.errors import contained
from tasks.ingest import Candidate, IngestError, Source, TakeParams, write_score, write_take
from tasks.instruments.midi_reader import read_midi
from tasks.intake.describe import read_take_file
from tasks.intake.folder import RECORDED, role_of
from tasks.intake.originals import Holding
from tasks.step import file_sha256

TOOLS: tuple[str, ...] = ()


def recognizes(candidate: Candidate) -> bool:
    """Return whether no file is a recording."""
    return not any(role_of(name) in RECORDED for name in candidate.names)


def check(candidate: Candidate) -> None:
    """Refuse a score with a file that cannot be used.

    Raises:
        IngestError: what is wrong with that file.
    """
    for row in candidate.refused:
        raise IngestError(row.reason, kind=row.kind)


def holding(name: str, piece: str, files: Mapping[str, Path]) -> Holding:
    """Return the MIDI file as all that the take holds."""
    score = next((path for file, path in files.items() if role_of(file) == "score"), None)
    return Holding(name=name, piece=piece, score=score)


def inputs(source: Source) -> Sequence[Path]:
    """Return the raw files."""
    return source.paths


def ingest_take(source: Source, out: Path, params: TakeParams) -> None:
    """Write ``take.json``, ``notes.parquet`` and ``controls.parquet``.

    Raises:
        BadInput: the MIDI file cannot be used.
    """
    path = source.score
    if path is None:
        raise ValueError(f"{source.name} is a score without a MIDI file")
    with contained(source.name):
        described = read_take_file(source.take_file)
        score = read_midi(path, params.midi)
        write_score(out, score)
        facts = {
            "duration_s": score.duration_s,
            "declared_duration_s": score.declared_duration_s,
            "declared_error_s": score.declared_error_s,
            "title": score.title,
            "n_notes": len(score.notes),
            "counts": score.counts,
            **({"notices": score.notices} if score.notices else {}),
            "media": [
                {"role": "score", "path": path.as_posix(), "sha256": file_sha256(path), "size": path.stat().st_size}
            ],
            **({"player": described.player} if described.player else {}),
        }
        write_take(out, source, described, facts)
