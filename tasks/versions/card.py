"""The data card of an export: counts, arrays, provenance, clocks, split and version, in words for those who get it."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tasks.errors import DamagedData
from tasks.intake.listed import listed_files
from tasks.step import json_sha256
from tasks.store.tables import read_table
from tasks.takes import PARTS, data_version, read_catalog
from tasks.versions.history import HistoryError, git

CATALOG = Path("data/ingested/catalog.json")
SYNCHRONIZED = Path("data/synchronized")
ORIGINS = {
    "data/sample": "bundled score, played by a synthesizer",
    "data/filmed": "simulated by audiate's virtual rig",
    "data/raw": "taken in by the project",
}
MEANINGS = {
    "pictures": "luma; of captures three frames that follow each other, of one camera",
    "codes": "mu-law codes of the sound",
    "amplitudes": "of each note, full scale 1; row k covers frames k to k + 2",
    "mix": "sound of all players, full scale 1",
    "stems": "sound of each player, full scale 1",
    "motion": "motion features of each player's video",
}
READING = {
    "webdataset": """import webdataset

for example in webdataset.WebDataset("{subset}/{part}-00000.tar").decode():
    example["json"]["take"], example["{array}.npy"].shape""",
    "huggingface": """import datasets

examples = datasets.load_dataset("/path/to/this/folder", "{subset}", split="{part}").with_format("numpy")
examples[0]["take"], examples[0]["{array}"].shape

# or with pyarrow alone, as nested lists:
import pyarrow.parquet

pyarrow.parquet.read_table("{subset}/{part}-00000.parquet", columns=["take", "piece"])""",
    "npz": """from pathlib import Path

import numpy as np

for path in sorted(Path("{subset}/{part}").glob("*/*.npz")):
    with np.load(path) as example:
        str(example["take"]), example["{array}"].shape""",
}


@dataclass(frozen=True, kw_only=True)
class ArrayFacts:
    """Shape and type of an array; a size of None differs between examples."""

    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True, kw_only=True)
class Subset:
    """One part of one subset of an export.

    Attributes:
        name: of its folder: the kind, of captures with the instrument.
        kind: of data.
        part: of the split.
        takes: that it holds examples of, sorted.
        pieces: of them, sorted.
        n_examples: segments; of captures for each camera.
        hours: of the takes' sound, each take once.
        n_bytes: of all arrays, uncompressed.
        arrays: of an example, by name.
    """

    name: str
    kind: str
    part: str
    takes: tuple[str, ...]
    pieces: tuple[str, ...]
    n_examples: int
    hours: float
    n_bytes: int
    arrays: Mapping[str, ArrayFacts]


def card_text(form: str, subsets: Sequence[Subset], *, project: Path) -> str:
    """Return the card in Markdown, with the header that Hugging Face's ``datasets`` reads the subsets from.

    Args:
        form: of the files: ``webdataset``, ``huggingface`` or ``npz``.
        subsets: what was written.
        project: where the catalog, the clocks and git's history are; what is not there is said to be unknown.
    """
    takes = sorted({take for subset in subsets for take in subset.takes})
    rows = _catalog(project)
    first = subsets[0]
    example = READING[form].format(subset=first.name, part=first.part, array=next(iter(first.arrays)))
    blocks = [
        _header(subsets) if form == "huggingface" else "",
        "# Training examples exported by audiate\n",
        f"{len(takes)} takes, {sum(subset.n_examples for subset in subsets)} examples, "
        f"{sum(subset.n_bytes for subset in subsets) / 1e9:.3f} GB of arrays before compression, as {form}.\n",
        "## What is in it\n",
        _table(
            ("subset", "part", "takes", "pieces", "examples", "hours"),
            [(s.name, s.part, len(s.takes), len(s.pieces), s.n_examples, f"{s.hours:.3f}") for s in subsets],
        ),
        "Hours count each take's sound once. An example is a segment of a take, of captures one for each camera; "
        "segments may overlap.\n",
        _table(("subset", "array", "shape", "type", "meaning"), _array_rows(subsets)),
        "A size of * differs between examples. Each example has the words `segment_id`, `take` and `piece`; those of "
        "captures have `camera`, those of ensembles `instruments`.\n",
        f"```python\n{example}\n```\n",
        "## Split\n",
        "By piece: no piece is in two parts, and no segment either.\n",
        "\n".join(f"- {part}: {', '.join(pieces)}" for part, pieces in _pieces(subsets).items()) + "\n",
        "## Where it is from\n",
        _provenance(takes, rows),
        "## Licences\n",
        _licences(takes, rows),
        "## Clocks\n",
        _clocks(takes, project),
        "## Version\n",
        _version(takes, rows, project),
    ]
    return "\n".join(block for block in blocks if block)


def _header(subsets: Sequence[Subset]) -> str:
    lines = ["---", "configs:"]
    for name in dict.fromkeys(subset.name for subset in subsets):
        lines += [f"- config_name: {name}", "  data_files:"]
        for subset in subsets:
            if subset.name == name:
                lines += [f"  - split: {subset.part}", f"    path: {name}/{subset.part}-*.parquet"]
    return "\n".join([*lines, "---", ""])


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)


def _array_rows(subsets: Sequence[Subset]) -> list[tuple[str, ...]]:
    rows = {}
    for subset in subsets:
        for name, facts in subset.arrays.items():
            shape = f"({', '.join('*' if size is None else str(size) for size in facts.shape)})"
            rows[subset.name, name] = (subset.name, f"`{name}`", shape, facts.dtype, MEANINGS[name])
    return [*rows.values()]


def _pieces(subsets: Sequence[Subset]) -> dict[str, list[str]]:
    found = {part: sorted({piece for s in subsets if s.part == part for piece in s.pieces}) for part in PARTS}
    return {part: pieces for part, pieces in found.items() if pieces}


def _catalog(project: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of the catalog by take; none where the project has no catalog."""
    path = project / CATALOG
    if not path.is_file():
        return {}
    read_catalog(path.parent)  # what is no catalog is refused
    return {row["take"]: row for row in json.loads(path.read_text(encoding="utf-8"))}


def _provenance(takes: Sequence[str], rows: Mapping[str, Mapping[str, Any]]) -> str:
    if not rows:
        return f"Not known: {CATALOG} was not there when this was exported.\n"
    counts = Counter(_origin(rows[take]) for take in takes if take in rows)
    labels = Counter(_labels(rows[take]) for take in takes if take in rows)
    lines = [f"- {count} takes: {origin}" for origin, count in sorted(counts.items())]
    return (
        "\n".join([*lines, *(f"- notes of {count} takes: {label}" for label, count in sorted(labels.items()))]) + "\n"
    )


def _origin(row: Mapping[str, Any]) -> str:
    path = str(listed_files(row)[0]["path"])
    return next((words for folder, words in ORIGINS.items() if path.startswith(f"{folder}/")), "another folder")


def _labels(row: Mapping[str, Any]) -> str:
    if row["kind"] == "score":
        return "those of its MIDI file"
    notes = row.get("notes")
    known = {"recorded": "recorded as MIDI with the take", "score": "those of a score that was followed"}
    return known.get(str(notes), "none were recorded")


def _licences(takes: Sequence[str], rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Say what takes name as their source: audiate itself asks for no licence."""
    sources: dict[str, list[str]] = {}
    for take in takes:
        sources.setdefault(str(rows.get(take, {}).get("source") or ""), []).append(take)
    silent = sources.pop("", [])
    lines = [f"- {words}: {', '.join(named)}" for words, named in sorted(sources.items())]
    if silent:
        lines.append(f"- {len(silent)} takes name none: {', '.join(silent)}")
    return (
        "What the takes name as source or licence; whoever passes this on has to see to the rights of all others.\n\n"
        + "\n".join(lines)
        + "\n"
    )


def _clocks(takes: Sequence[str], project: Path) -> str:
    """Say how well the devices of the takes were synchronized."""
    lines, verdicts = [], Counter[str]()
    errors: list[float] = []
    for take in takes:
        path = project / SYNCHRONIZED / take / "clock.parquet"
        if not path.is_file():
            continue
        table = read_table(path, ("device", "role", "verdict", "error_ms"))
        # A device has a row for each span of its clock.
        devices = {str(name): row for row, name in enumerate(table["device"]) if table["role"][row] != "master"}
        verdicts.update(str(table["verdict"][row]) for row in devices.values())
        errors += [float(table["error_ms"][row]) for row in devices.values() if table["verdict"][row] == "locked"]
    if not verdicts:
        return "No take of this export has several devices, or their clocks were not there when it was exported.\n"
    lines.append(
        "Devices on the clock of their take's master: " + ", ".join(f"{n} {v}" for v, n in sorted(verdicts.items()))
    )
    if errors:
        lines.append(
            f"Estimated error of those that are locked: median {np.median(errors):.3f} ms, largest {max(errors):.3f} ms"
        )
    return "".join(f"- {line}\n" for line in lines)


def _version(takes: Sequence[str], rows: Mapping[str, Mapping[str, Any]], project: Path) -> str:
    try:
        commit = git(["rev-parse", "HEAD"], root=project).strip()
        is_edited = bool(git(["status", "--porcelain", "--untracked-files=no"], root=project).strip())
        revision = f"git revision `{commit}`" + (", with changes that were not committed" if is_edited else "")
    except HistoryError:
        revision = "no git revision: the project is in no git repository"
    lines = [f"audiate {version('audiate')}", revision]
    if rows:
        lines.append(
            f"data version `{data_version(read_catalog(project / CATALOG.parent))}`: of all takes of the project"
        )
    lines.append(f"digest of the takes of this export `{_digest(takes, project)}`")
    return "".join(f"- {line}\n" for line in lines)


def _digest(takes: Sequence[str], project: Path) -> str:
    """Return the sha256 over the takes' names and contents, as a data version is one over the catalog's."""
    found: dict[str, str] = {}
    for path in sorted((project / "data/chunked").glob("*/takes.json")):
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
            found |= {take: str(about[take]["digest"]) for take in takes if take in about}
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedData(f"{path} is no index of takes: {error}") from None
    return json_sha256(sorted([take, digest] for take, digest in found.items()))
