"""The picture of health: what the data is made of, in tables that the page shows and ``audiate doctor`` prints.

It counts what the stages recorded. Nothing is measured anew, so that it costs a second.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.errors import DamagedData
from tasks.intake.listed import listed_files
from tasks.registry import KINDS
from tasks.store.tables import read_table
from tasks.takes import PARTS, read_catalog

SILENT_DBFS = -60.0
"""A recording whose loudest sample is below this holds no sound."""

LABELS = {
    "recorded": "MIDI recorded with the take",
    "score": "a score that was followed",
    None: "none were recorded",
}
"""Where the notes of a recording come from, by what its take says."""


@dataclass(frozen=True, kw_only=True)
class HealthTable:
    """Counts of one side of the data.

    Attributes:
        title: its heading.
        columns: heading of each column, and whether it holds numbers.
        rows: ready to print, the first column names the row.
    """

    title: str
    columns: tuple[tuple[str, bool], ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Health:
    """The tables, and the notes behind one of them.

    Attributes:
        tables: those that have a row.
        pitch: of every note of every take (n,), MIDI numbers.
        velocity: of the same notes (n,).
    """

    tables: tuple[HealthTable, ...]
    pitch: NDArray[np.int64]
    velocity: NDArray[np.int64]


def read_health(data: Path) -> Health:
    """Count what the stages below ``data`` have recorded; no tables where nothing was ingested.

    Raises:
        DamagedData: a file is not what its stage writes.
    """
    if not (data / "ingested" / "catalog.json").is_file():
        return Health(tables=(), pitch=np.zeros(0, np.int64), velocity=np.zeros(0, np.int64))
    read_catalog(data / "ingested")  # what is no catalog is refused
    rows: list[dict[str, Any]] = _read_json(data / "ingested" / "catalog.json")
    played = [one for row in rows for one in _played(data, row)]
    tables = (
        _table("Clocks by device", ("Device",), ("Takes", "Locked", "Other", "p95, ms", "Largest, ms"), _clocks(data)),
        _table(
            "Loudness, silence and clipping",
            ("Recordings",),
            (
                "Number",
                "Median loudness, LUFS",
                "Median peak, dBFS",
                "Softest peak, dBFS",
                "Silent",
                "Clipped",
                "Dead channels",
                "Gaps",
            ),
            _sound(data, rows),
        ),
        _table(
            "Pitches and velocities",
            ("Instrument",),
            ("Notes", "Pitches", "Lowest", "Highest", "Softest", "Loudest", "Velocities"),
            _coverage(played),
        ),
        _table("Minutes", ("Instrument",), (*(part.capitalize() for part in PARTS), "In none"), _minutes(data, rows)),
        _table("Where the notes come from", ("Takes", "Notes"), ("Number",), _labels(rows)),
        _table("Held back", ("What", "Why"), ("Number",), _held_back(data, rows)),
    )
    whole = [(pitch, velocity) for _, pitch, velocity in played]
    return Health(
        tables=tuple(table for table in tables if table.rows),
        pitch=np.concatenate([np.zeros(0, np.int64), *(pitch for pitch, _ in whole)]),
        velocity=np.concatenate([np.zeros(0, np.int64), *(velocity for _, velocity in whole)]),
    )


def _table(title: str, texts: Sequence[str], numbers: Sequence[str], rows: Iterable[tuple[str, ...]]) -> HealthTable:
    columns = (*((name, False) for name in texts), *((name, True) for name in numbers))
    return HealthTable(title=title, columns=columns, rows=tuple(rows))


def _clocks(data: Path) -> Iterator[tuple[str, ...]]:
    """Yield a row a device: its verdicts over all takes, and the 95th percentiles of the residuals of those locked."""
    verdicts: dict[str, Counter[str]] = defaultdict(Counter)
    residuals_ms: dict[str, list[float]] = defaultdict(list)
    for path in sorted((data / "synchronized").glob("*/clock.parquet")):
        if path.parent.name.startswith("."):  # what a kill left
            continue
        table = read_table(path)
        seen: set[str] = set()
        for device, role, verdict, residual_ms in zip(
            *(table[key].tolist() for key in ("device", "role", "verdict", "residual_p95_ms")), strict=True
        ):
            if role == "master" or device in seen:  # a row a span
                continue
            seen.add(device)
            verdicts[device][verdict] += 1
            if verdict == "locked" and math.isfinite(residual_ms):
                residuals_ms[device].append(residual_ms)
    for device, counts in sorted(verdicts.items()):
        own = residuals_ms[device]
        others = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()) if verdict != "locked")
        shown = (f"{median(own):.3f}", f"{max(own):.3f}") if own else ("", "")
        yield (device, str(counts.total()), str(counts["locked"]), others or "0", *shown)


def _sound(data: Path, rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Yield a row for the recordings of each kind and role, and for the rendered scores."""
    sounds: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        for file in listed_files(row):
            sound = (file.get("facts") or {}).get("audio")
            if sound is not None:
                sounds[f"{row['kind']}, {file['role']}"].append(sound)
        rendered = data / "rendered" / row["take"] / "render.json"
        if rendered.is_file():
            peak = float(_read_json(rendered)["peak"])
            sounds[f"{row['kind']}, rendered"].append({"peak_db": 20 * math.log10(peak) if peak > 0 else -math.inf})
    for name, own in sorted(sounds.items()):
        peaks_dbfs = [float(sound["peak_db"]) for sound in own if sound.get("peak_db") is not None]
        loudness_lufs = [float(sound["loudness_lufs"]) for sound in own if sound.get("loudness_lufs") is not None]
        yield (
            name,
            str(len(own)),
            f"{median(loudness_lufs):.1f}" if loudness_lufs else "",
            f"{median(peaks_dbfs):.1f}" if peaks_dbfs else "",
            f"{min(peaks_dbfs):.1f}" if peaks_dbfs else "",
            str(sum(peak < SILENT_DBFS for peak in peaks_dbfs)),
            *(str(sum(bool(sound.get(fact)) for sound in own)) for fact in ("clipped", "dead_channels", "holes")),
        )


def _played(data: Path, row: Mapping[str, Any]) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.int64]]]:
    """Yield instrument, pitches and velocities of each part of a take whose notes are known."""
    folder = data / "ingested" / row["take"]
    for number, instrument in _instruments(row):
        path = folder / (f"notes_{number}.parquet" if number else "notes.parquet")
        if path.is_file():
            notes = read_table(path)
            yield instrument, notes["pitch"].astype(np.int64), notes["velocity"].astype(np.int64)


def _instruments(row: Mapping[str, Any]) -> list[tuple[int, str]]:
    """Return number and instrument of each player; number 0 where a take has one part alone."""
    players = row.get("players")
    if players:
        return [(int(player["number"]), str(player["instrument"])) for player in players]
    return [(0, str((row.get("instrument") or {}).get("name") or row["kind"]))]


def _coverage(
    played: Sequence[tuple[str, NDArray[np.int64], NDArray[np.int64]]],
) -> Iterator[tuple[str, ...]]:
    for instrument in sorted({name for name, _, _ in played}):
        pitch = np.concatenate([one for name, one, _ in played if name == instrument])
        velocity = np.concatenate([one for name, _, one in played if name == instrument])
        if len(pitch):
            ends = (pitch.min(), pitch.max(), velocity.min(), velocity.max())
            counts = (len(pitch), len(np.unique(pitch)), *ends, len(np.unique(velocity)))
            yield (instrument, *map(str, counts))


def _minutes(data: Path, rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Yield a row an instrument: minutes in each part of the split, and of takes that are in no data set."""
    parts: dict[str, str] = {}
    for kind in KINDS:
        index = data / "chunked" / kind / "takes.json"
        if index.is_file():
            parts |= {take: about["part"] for take, about in _read_json(index).items()}
    minutes: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        for _, instrument in _instruments(row):
            minutes[instrument][parts.get(row["take"], "")] += row["duration_s"] / 60
    for instrument, own in sorted(minutes.items()):
        yield (instrument, *(f"{own[part]:.1f}" for part in (*PARTS, "")))


def _labels(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Yield who played and where the notes come from, with the number of takes."""
    counts = Counter(
        (
            f"{row['kind']}, {row['player']}" if row.get("player") else str(row["kind"]),
            LABELS.get(row["notes"], str(row["notes"])) if "notes" in row else "its MIDI file",
        )
        for row in rows
    )
    for (takes, label), count in sorted(counts.items()):
        yield takes, label, str(count)


def _held_back(data: Path, rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Yield kinds of takes, files and devices that were not used, with a reason of each."""
    found: dict[str, list[str]] = defaultdict(list)
    tables = ("ingested", "rendered", "synchronized", *(f"chunked/{kind}" for kind in KINDS))
    for name in tables:
        path = data / name / "quarantine.json"
        for row in _read_json(path) if path.is_file() else ():
            found[f"{name}: {row['kind']}"].append(f"{row.get('file') or row.get('take') or ''}: {row['reason']}")
    for row in rows:
        for file in listed_files(row):
            if file.get("state") not in (None, "used"):
                what = f"device, {file['state']}: {file.get('kind') or file['role']}"
                found[what].append(f"{row['take']}, {file.get('device') or file['path']}: {file.get('reason') or ''}")
    for what, reasons in sorted(found.items()):
        yield what, min(reasons), str(len(reasons))


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DamagedData(f"{path} cannot be read: {error}") from None
