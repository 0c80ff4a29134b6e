"""Test ensembles on the page: the players, the mix, what each really played, and what every system took out."""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.families.stems import MIX_FILE, read_separation, stem_file
from tasks.instruments.orchestra import ORCHESTRA
from tasks.page.figures import draw_spectrograms, draw_stills
from tasks.page.page import CatalogRow, Parted, Picture, Separated, Voice, picture_at
from tasks.page.scores import METRICS, UPPER_BOUNDS, Evaluation
from tasks.page.text import number
from tasks.store.audio import write_channels
from tasks.store.ensembles import EnsembleSet
from tasks.store.tables import read_table

UNHEARD = frozenset({"mix", "silent"})
"""Systems in the table alone: the mix is heard beside the truth, and nothing needs no player."""


def separated_take(
    out: Path, data: Path, row: CatalogRow, evaluations: Sequence[Evaluation], *, max_frequency_hz: float
) -> Separated:
    """Write the media of one test ensemble.

    Args:
        out: the page's folder.
        data: what the stages wrote.
        row: the take.
        evaluations: of all families.
        max_frequency_hz: top of the spectrograms, where the sound has so much.

    Raises:
        DamagedData: a file is missing or is not what its stage writes.
    """
    folder = out / "media" / row.take
    folder.mkdir(parents=True, exist_ok=True)
    ensembles = EnsembleSet(data / "chunked" / "ensembles")
    instruments = ensembles.instruments(row.take)
    names = [f"{place} {_name(code)}" for place, code in enumerate(instruments, 1)]
    top_hz = min(max_frequency_hz, ensembles.sample_rate / 2)
    return Separated(
        take=row.take,
        title=row.title,
        composer=row.composer,
        duration_s=ensembles.duration_s(row.take),
        players=tuple(_name(code) for code in instruments),
        views=_views(out, folder, ensembles, row, names),
        truth=_truth(out, folder, ensembles, row, names, top_hz),
        systems=tuple(
            _parted(out, folder, system, row, instruments, names, evaluations, top_hz)
            for family in sorted(path for path in (data / "synthesized").glob("*") if path.is_dir())
            for system in sorted(path for path in family.glob("*") if path.is_dir())
            if (system / row.take / MIX_FILE).exists() and system.name not in UNHEARD
        ),
    )


def figures_of(system: Path, take: str, evaluations: Sequence[Evaluation]) -> tuple[tuple[str, str], ...]:
    """Return what was measured of one system on one take, ready to print."""
    family = next((found for found in evaluations if found.family == system.parent.name), None)
    if family is None:
        return ()
    rows = np.flatnonzero((family.takes["system"] == system.name) & (family.takes["take"] == take))
    shown = []
    for metric in METRICS:
        value = float(family.takes[metric.key][rows[0]]) if len(rows) and metric.key in family.takes else math.nan
        if math.isfinite(value):
            shown.append((metric.label, f"{number(value, metric.digits)} {metric.unit}".strip()))
    return tuple(shown)


def _views(out: Path, folder: Path, ensembles: EnsembleSet, row: CatalogRow, names: Sequence[str]) -> Picture | None:
    seen = ensembles.has_video(row.take)
    if not any(seen):
        return None
    pictures = ensembles.pictures(row.take)
    path = folder / "players.png"
    draw_stills(path, [views[len(views) // 2] for views, is_seen in zip(pictures, seen, strict=True) if is_seen])
    shown = ", ".join(name for name, is_seen in zip(names, seen, strict=True) if is_seen)
    return picture_at(path, out, f"The players of {row.title} in its middle: {shown}", "view")


def _truth(
    out: Path, folder: Path, ensembles: EnsembleSet, row: CatalogRow, names: Sequence[str], top_hz: float
) -> Parted:
    rate = ensembles.sample_rate
    sounds = {"mix": ensembles.mix(row.take)} | dict(zip(names, ensembles.stems(row.take), strict=True))
    voices = []
    for place, (name, sound) in enumerate(sounds.items()):
        path = folder / f"truth.{place}.flac"
        write_channels(path, sound, rate)
        voices.append(Voice(name=name, src=path.relative_to(out).as_posix(), figures=()))
    picture = folder / "truth.spectrograms.png"
    draw_spectrograms(picture, _drawn(sounds), sample_rate=rate, max_frequency_hz=top_hz)
    return Parted(
        system="",
        family="",
        label="",
        voices=tuple(voices),
        pictures=(picture_at(picture, out, f"Spectrograms of {row.title}: {', '.join(sounds)}", "spectrograms"),),
        figures=(),
    )


def _parted(
    out: Path,
    folder: Path,
    system: Path,
    row: CatalogRow,
    instruments: Sequence[str],
    names: Sequence[str],
    evaluations: Sequence[Evaluation],
    top_hz: float,
) -> Parted:
    """Copy what one system made of one mix, and draw it."""
    made = system / row.take
    family = system.parent.name
    players = made.parents[3] / "evaluated" / family / "players.parquet"
    quality = _by_player(players, system.name, row.take) if players.exists() else {}
    sounds, rate = read_separation(made, instruments)
    voices = []
    for place, (code, name) in enumerate(zip(instruments, names, strict=True), 1):
        copy = folder / f"{family}.{system.name}.{place}.flac"
        shutil.copyfile(made / stem_file(place, code), copy)
        value = quality.get(place, math.nan)
        figures = (("SI-SDR", f"{number(value, 1)} dB"),) if math.isfinite(value) else ()
        voices.append(Voice(name=name, src=copy.relative_to(out).as_posix(), figures=figures))
    picture = folder / f"{family}.{system.name}.spectrograms.png"
    draw_spectrograms(
        picture,
        _drawn(dict(zip(names, sounds, strict=True))),
        sample_rate=rate,
        max_frequency_hz=min(top_hz, rate / 2),
    )
    words = f"Spectrograms of what {system.name} took out of {row.title}: {', '.join(names)}"
    remarks = ["upper bound"] if system.name in UPPER_BOUNDS else []
    remarks += ["in the order that fits the truth"] if _is_ordered_by_truth(system, row.take, evaluations) else []
    return Parted(
        system=system.name,
        family=family,
        label=", ".join(remarks),
        voices=tuple(voices),
        pictures=(picture_at(picture, out, words, "spectrograms"),),
        figures=figures_of(system, row.take, evaluations),
    )


def _by_player(path: Path, system: str, take: str) -> dict[int, float]:
    table = read_table(path, ["system", "take", "player", "si_sdr_db"])
    own = (table["system"] == system) & (table["take"] == take)
    return dict(zip(table["player"][own].tolist(), table["si_sdr_db"][own].tolist(), strict=True))


def _is_ordered_by_truth(system: Path, take: str, evaluations: Sequence[Evaluation]) -> bool:
    for family in evaluations:
        if family.family == system.parent.name and "ordered_by" in family.takes:
            own = (family.takes["system"] == system.name) & (family.takes["take"] == take)
            return bool((family.takes["ordered_by"][own] == "truth").any())
    return False


def _drawn(sounds: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Return what is drawn of sounds (C, n): the mean of their channels, by the first letters of their names."""
    return {_short(name): np.asarray(sound.mean(axis=0), np.float32) for name, sound in sounds.items()}


def _short(name: str) -> str:
    place, _, word = name.partition(" ")
    code = next((code for code, about in ORCHESTRA.items() if about.name == word), word[:3])
    return f"{place} {code}" if word else name


def _name(code: str) -> str:
    return ORCHESTRA[code].name if code in ORCHESTRA else code
