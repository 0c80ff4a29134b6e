"""Takes: the catalog of what was accepted, its data version, and the split by piece."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from tasks.errors import DamagedData, ParamsError
from tasks.params import Section
from tasks.registry import KINDS
from tasks.step import json_sha256

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = get_args(Part)

# A take's name becomes a folder's name, a column's value and a part of a page: letters that need no quoting.
TAKE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class SplitParams(Section):
    """How pieces are shared out to training, validation and test."""

    salt: str  # another salt is another random split; a piece's part depends on nothing else
    train_percent: int
    validation_percent: int
    min_pieces: int  # in each part


@dataclass(frozen=True, kw_only=True)
class Take:
    """One accepted performance.

    Attributes:
        name: of the take and of its folders.
        kind: ``score`` is MIDI alone; ``capture`` is cameras and microphones, perhaps with MIDI; ``ensemble`` is
            several players with a stem each. The kinds are those of `tasks.registry`, in the singular.
        piece: the composition; all takes of a piece are in one part of the split.
        part: where ``pieces.yaml`` or ``take.yaml`` fixes the piece, or None: the split decides.
        digest: sha256 over the take's raw files.
        duration_s: until the last note has ended; of a capture, of its longest device; of an ensemble, of its mix.
    """

    name: str
    kind: str
    piece: str
    part: Part | None
    digest: str
    duration_s: float

    @property
    def data_set(self) -> str:
        """The kind's plural: the name of its data set, and of the folder of modules that work on it."""
        return f"{self.kind}s"


_FACTS = ("kind", "piece", "part", "digest", "duration_s")


def read_catalog(folder: Path = Path("data/ingested")) -> list[Take]:
    """Read the takes that ingest accepted, sorted by name.

    Raises:
        DamagedData: there is no catalog, or it is not one.
    """
    path = folder / "catalog.json"
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        takes = [Take(name=row["take"], **{key: row[key] for key in _FACTS}) for row in rows]
    except FileNotFoundError:
        raise DamagedData(f"{path} is missing: run audiate ingest first") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedData(f"{path} is not a catalog: {error}") from None
    for row in rows:
        name = row["take"]
        if f"{row['kind']}s" not in KINDS:
            known = ", ".join(kind.removesuffix("s") for kind in KINDS)
            raise DamagedData(f"{path}: take {name} is a {row['kind']!r}, expected one of {known}")
        if not isinstance(name, str) or not TAKE_NAME.fullmatch(name):  # it becomes the name of folders
            raise DamagedData(f"{path} names take {name!r}, expected letters, digits, '.', '_' and '-'")
    return sorted(takes, key=lambda take: take.name)


def takes_of(*folders: Path) -> list[Take]:
    """Read the catalog's takes that none of the stages before, which made these folders, has quarantined.

    Raises:
        DamagedData: there is no catalog, or a stage has not run.
    """
    refused: set[str] = set()
    for folder in folders:
        path = folder / "quarantine.json"
        try:
            refused |= {row["take"] for row in json.loads(path.read_text(encoding="utf-8"))}
        except FileNotFoundError:
            raise DamagedData(f"{path} is missing: run the stage that makes {folder} first") from None
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedData(f"{path} is no quarantine table: {error}") from None
    return [take for take in read_catalog() if take.name not in refused]


def data_version(takes: Iterable[Take]) -> str:
    """Return the sha256 over the sorted (take, digest) pairs: equal exactly when the same data was accepted."""
    return json_sha256(sorted([take.name, take.digest] for take in takes))


def part_of(piece: str, fixed: Part | None, params: SplitParams) -> Part:
    """Return a piece's part: the fixed one, or by its own hash, so that a new piece never moves an old one."""
    if fixed is not None:
        return fixed
    bucket = int.from_bytes(hashlib.sha256(f"{params.salt}{piece}".encode()).digest()) % 100
    if bucket < params.train_percent:
        return "train"
    return "validation" if bucket < params.train_percent + params.validation_percent else "test"


def split(takes: Sequence[Take], params: SplitParams) -> dict[str, Part]:
    """Return each take's part.

    Raises:
        ParamsError: a part has fewer than ``min_pieces`` pieces; the message proposes a salt that works.
    """
    fixed = fixed_parts(takes)
    parts = {piece: part_of(piece, part, params) for piece, part in fixed.items()}
    short = _short_part(parts, params)
    if short is not None:
        raise ParamsError(
            f"params.yaml: split.salt {params.salt!r} leaves {list(parts.values()).count(short)} of {len(parts)} "
            f"pieces for {short}, expected at least {params.min_pieces}{_proposal(fixed, params)}"
        )
    return {take.name: parts[take.piece] for take in takes}


def fixed_parts(takes: Iterable[Take]) -> dict[str, Part | None]:
    """Return every piece with the part that is fixed for it, if any.

    Raises:
        ParamsError: two takes fix different parts for one piece.
    """
    fixed: dict[str, Part | None] = {}
    for take in takes:
        other = fixed.setdefault(take.piece, take.part)
        if take.part is not None and other not in (None, take.part):
            raise ParamsError(f"piece {take.piece} is fixed to both {other} and {take.part}, expected one part")
        fixed[take.piece] = take.part or other
    return fixed


def _short_part(parts: Mapping[str, Part], params: SplitParams) -> Part | None:
    counts = {part: list(parts.values()).count(part) for part in PARTS}
    return next((part for part in PARTS if counts[part] < params.min_pieces), None)


def _proposal(fixed: Mapping[str, Part | None], params: SplitParams) -> str:
    for number in range(1, 1001):
        other = params.model_copy(update={"salt": f"{params.salt}-{number}"})
        parts = {piece: part_of(piece, part, other) for piece, part in fixed.items()}
        if _short_part(parts, params) is None:
            return f"; salt {other.salt!r} would do"
    return "; no salt will do: add pieces, or fix their parts in pieces.yaml"
