"""Ensembles on the page: the mix and its stems, and the stems that each system separated from the mix."""

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.families.stems import MIX_FILE, read_separation, stem_file
from tasks.instruments.orchestra import ORCHESTRA
from tasks.media.encode import encode_film
from tasks.metrics.table import metric
from tasks.page.figures import beside_each_other, draw_spectrograms, draw_still
from tasks.page.page import Card, CatalogRow, Chapter, Film, ShownTake, Sound, picture_at
from tasks.page.scores import Evaluation, Part, Table, parted_table
from tasks.page.text import number
from tasks.report import KindPart, Source
from tasks.store.audio import write_channels
from tasks.store.ensembles import EnsembleSet
from tasks.store.tables import read_table

HEADLINES = ("si_sdr_improvement_db",)
"""What the systems are compared by in words and in tables."""

QUALITY = metric("si_sdr_db")
IMPROVEMENT = metric("si_sdr_improvement_db")

ROLES_WITHOUT_CARDS = frozenset({"reference", "idle"})
"""Systems that are in the tables alone: the mix is beside the reference already, and silence needs no player."""

ORDERED = "in the order that fits the reference best"
"""On a system that does not know which of its sounds is whose."""


def report(source: Source) -> KindPart:
    """Write the media of the test takes, and return what the page shows of ensembles.

    Raises:
        DamagedData: a file is missing or is not what its stage writes.
    """
    tested = {row.take: row for row in source.takes if row.part == "test"}
    players = {
        one.family: read_table(source.data / "evaluated" / one.family / "players.parquet") for one in source.evaluations
    }
    takes = tuple(
        _shown_take(source, tested[choice.name], players, choice.rank) for choice in source.choose(list(tested))
    )
    chapter = Chapter(
        name=source.kind,
        title="Ensembles",
        intro="The mix of several players, and the sound of each player that a system separated from it. Baselines "
        "that return the mix or silence are in the table alone.",
        takes=takes,
        n_takes=len(tested),
        has_page=True,
    )
    ordered = {system for _, system, _ in _ordered_by_reference(source.evaluations)}
    details = (_by_players(source.evaluations), _by_instrument(source.evaluations, players))
    return KindPart(
        title="Ensembles, separated",
        remarks=dict.fromkeys(ordered, ORDERED),
        pictures=(),
        details=tuple(table for table in details if table is not None),
        takes=chapter if takes else None,
        examples=takes[:1],
        chapters=(),
    )


def _ordered_by_reference(evaluations: Sequence[Evaluation]) -> set[tuple[str, str, str]]:
    """Return family, system and take of each separation whose sounds were assigned to players by the reference."""
    return {
        (one.family, str(system), str(take))
        for one in evaluations
        for system, take, ordered_by in zip(*(one.takes[key] for key in ("system", "take", "ordered_by")), strict=True)
        if ordered_by == "truth"
    }


def _by_players(evaluations: Sequence[Evaluation]) -> Table | None:
    counts = sorted({int(count) for one in evaluations for count in one.takes["n_players"]})
    parts = [
        Part(
            label=f"{count} players",
            meaning=f"takes of {count} players",
            holds=lambda columns, count=count: columns["n_players"] == count,  # type: ignore[misc]
        )
        for count in counts
    ]
    alike = Part(
        label="Two alike",
        meaning="takes in which two players have the same instrument",
        holds=lambda columns: columns["same_instruments"].astype(np.bool_),
    )
    return parted_table("SI-SDR improvement by players", evaluations, IMPROVEMENT, [*parts, alike])


def _by_instrument(
    evaluations: Sequence[Evaluation], players: Mapping[str, Mapping[str, NDArray[Any]]]
) -> Table | None:
    found = {str(code) for columns in players.values() for code in columns["instrument"]}
    known = [code for code in ORCHESTRA if code in found]
    parts = [
        Part(
            label=_name(code),
            meaning=f"the players of {_name(code)}",
            holds=lambda columns, code=code: columns["instrument"] == code,  # type: ignore[misc]
        )
        for code in [*known, *sorted(found.difference(known))]
    ]
    by_player = [
        replace(
            one,
            takes={
                **players[one.family],
                "role": np.array([one.role(system) for system in players[one.family]["system"]]),
            },
        )
        for one in evaluations
    ]
    return parted_table("SI-SDR improvement by instrument", by_player, IMPROVEMENT, parts)


def _shown_take(
    source: Source, row: CatalogRow, players: Mapping[str, Mapping[str, NDArray[Any]]], rank: str
) -> ShownTake:
    """Write the media of one test take."""
    folder = source.media(row.take)
    ensembles = EnsembleSet(source.data / "chunked" / source.kind)
    instruments = ensembles.instruments(row.take)
    names = [f"{place} {_name(code)}" for place, code in enumerate(instruments, 1)]
    top_hz = min(source.params.max_frequency_hz, ensembles.sample_rate / 2)
    systems = (
        _system_card(source, made, row, instruments, names, _quality(players.get(family), system, row.take), top_hz)
        for family, system, made in source.systems(row.take)
        if (made / MIX_FILE).exists() and source.role(family, system) not in ROLES_WITHOUT_CARDS
    )
    return ShownTake(
        take=row.take,
        title=row.title,
        about=tuple(filter(None, (rank, row.composer, ", ".join(map(_name, instruments))))),
        duration_s=ensembles.duration_s(row.take),
        film=_film(source, folder, ensembles, row, names),
        reference=_reference_card(source, folder, ensembles, row, names, top_hz),
        systems=tuple(systems),
    )


def _reference_card(
    source: Source, folder: Path, ensembles: EnsembleSet, row: CatalogRow, names: Sequence[str], top_hz: float
) -> Card:
    rate = ensembles.sample_rate
    sounds = {"mix": ensembles.mix(row.take)} | dict(zip(names, ensembles.stems(row.take), strict=True))
    played = []
    for place, (name, sound) in enumerate(sounds.items()):
        path = folder / f"reference.{place}.flac"
        write_channels(path, sound, rate)
        src = path.relative_to(source.out).as_posix()
        played.append(Sound(src=src, words=f"{row.title}: {name} as it was played", name=name))
    picture = folder / "reference.spectrograms.png"
    draw_spectrograms(picture, _drawn(sounds), sample_rate=rate, max_frequency_hz=top_hz)
    words = f"Spectrograms of {row.title} as it was played, one below the other: {', '.join(sounds)}"
    return Card(
        title="Reference",
        remark="the mix, and the stem of each player",
        duration_s=ensembles.duration_s(row.take),
        sounds=tuple(played),
        pictures=(picture_at(picture, source.out, words, "spectrograms", "Spectrograms"),),
    )


def _film(source: Source, folder: Path, ensembles: EnsembleSet, row: CatalogRow, names: Sequence[str]) -> Film | None:
    """Write the film of all players who were filmed, side by side; None where nobody was."""
    filmed = ensembles.has_video(row.take)
    if not any(filmed):
        return None
    views = [views for views, is_filmed in zip(ensembles.pictures(row.take), filmed, strict=True) if is_filmed]
    film, still = folder / "film.mp4", folder / "film.png"
    draw_still(still, beside_each_other([pictures[len(pictures) // 2] for pictures in views]))
    encode_film(film, map(beside_each_other, zip(*views, strict=True)), frame_rate=ensembles.frame_rate)
    shown = ", ".join(name for name, is_filmed in zip(names, filmed, strict=True) if is_filmed)
    words = f"The players of {row.title} from left to right, halfway through: {shown}"
    return Film(src=film.relative_to(source.out).as_posix(), still=picture_at(still, source.out, words, "film"))


def _system_card(
    source: Source,
    made: Path,
    row: CatalogRow,
    instruments: Sequence[str],
    names: Sequence[str],
    quality_db: Mapping[int, float],
    top_hz: float,
) -> Card:
    """Copy what one system separated from one mix, and draw it."""
    family, system = made.parts[-3:-1]
    folder = source.media(row.take)
    sounds, rate = read_separation(made, instruments)
    played = []
    for place, (code, name) in enumerate(zip(instruments, names, strict=True), 1):
        copy = folder / f"{family}.{system}.{place}.flac"
        shutil.copyfile(made / stem_file(place, code), copy)
        value = quality_db.get(place, math.nan)
        figures = ((QUALITY.label, f"{number(value, 1)} {QUALITY.unit}"),) if math.isfinite(value) else ()
        src, words = copy.relative_to(source.out).as_posix(), f"{row.title}: {name} as {system} separated it"
        played.append(Sound(src=src, words=words, name=name, figures=figures))
    picture = folder / f"{family}.{system}.spectrograms.png"
    sounds_drawn = _drawn(dict(zip(names, sounds, strict=True)))
    draw_spectrograms(picture, sounds_drawn, sample_rate=rate, max_frequency_hz=min(top_hz, rate / 2))
    words = f"Spectrograms of the players of {row.title} as {system} separated them: {', '.join(names)}"
    remarks = [family]
    remarks += ["upper bound"] if source.role(family, system) == "bound" else []
    remarks += [ORDERED] if (family, system, row.take) in _ordered_by_reference(source.evaluations) else []
    return Card(
        title=system,
        remark=" · ".join(remarks),
        family=family,
        duration_s=sounds.shape[-1] / rate,
        sounds=tuple(played),
        figures=source.figures(family, system, row.take),
        pictures=(picture_at(picture, source.out, words, "spectrograms", "Spectrograms"),),
    )


def _quality(columns: Mapping[str, NDArray[Any]] | None, system: str, take: str) -> dict[int, float]:
    """Return the SI-SDR of each player, by number; nothing where the family was not evaluated."""
    if columns is None:
        return {}
    own = (columns["system"] == system) & (columns["take"] == take)
    return dict(zip(columns["player"][own].tolist(), columns[QUALITY.key][own].tolist(), strict=True))


def _drawn(sounds: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Return what is drawn of sounds (C, n): the mean of their channels, by the first letters of their names."""
    return {_short(name): np.asarray(sound.mean(axis=0), np.float32) for name, sound in sounds.items()}


def _short(name: str) -> str:
    place, _, word = name.partition(" ")
    code = next((code for code, about in ORCHESTRA.items() if about.name == word), word[:3])
    return f"{place} {code}" if word else name


def _name(code: str) -> str:
    return ORCHESTRA[code].name if code in ORCHESTRA else code
