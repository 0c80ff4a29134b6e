"""Scores on the page: the films of drawn keyboards, and what each system made of them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.instruments.keyboard import draw_keyboard, shown_at
from tasks.instruments.notes import Notes
from tasks.media.encode import encode_film
from tasks.page.figures import draw_still
from tasks.page.page import CatalogRow, Chapter, ShownTake
from tasks.page.performed import Reference, note_scores_picture, reference_card, system_card
from tasks.report import KindPart, Source, read_json
from tasks.store.audio import read_audio
from tasks.store.tables import read_table

REFERENCE_FILM = "reference.mp4"


def report(source: Source) -> KindPart:
    """Write the media of the test takes, and return what the page shows of scores.

    Raises:
        DamagedData: a file is missing or is not what its stage writes.
        ToolError: ffmpeg is missing or did not write what was expected.
    """
    tested = [row for row in source.takes if row.part == "test"]
    shown = tested[: source.params.max_takes]
    with ThreadPoolExecutor(1) as pool:  # ffmpeg encodes films while pictures are drawn
        films = [pool.submit(_write_film, source.media(row.take), source, row) for row in shown]
        takes = tuple(_shown_take(source, row) for row in shown)
        for film in films:
            film.result()
    picture = note_scores_picture(
        source.out / "media" / f"notes.{source.kind}.png",
        source.out,
        [read_table(source.data / "evaluated" / one.family / "pitches.parquet") for one in source.evaluations],
        row_of=lambda system, _: system,
        caption="Onset F1 of each note",
    )
    chapter = Chapter(
        name=source.kind,
        title="Drawn keyboards",
        intro="Each system predicts the sound from the silent video of a drawn keyboard.",
        takes=takes,
        n_takes=len(tested),
    )
    return KindPart(
        title="Drawn keyboards",
        remarks={},
        pictures=(picture,) if picture is not None else (),
        details=(),
        takes=chapter if takes else None,
        chapters=(),
    )


def _shown_take(source: Source, row: CatalogRow) -> ShownTake:
    """Write the media of one test take, but for its film."""
    folder, rendered = source.media(row.take), source.data / "rendered" / row.take
    audio, sample_rate = read_audio(rendered / "audio.flac")
    reference = Reference(
        title=row.title,
        audio=audio,
        sample_rate=sample_rate,
        notes=Notes(**read_table(source.data / "ingested" / row.take / "notes.parquet")),
        max_frequency_hz=source.params.max_frequency_hz,
        zoom_s=source.params.zoom_s,
    )
    poster = folder / "poster.png"
    draw_still(poster, _fullest(rendered))
    systems = (
        system_card(
            made,
            reference,
            folder,
            source.out,
            family=family,
            system=system,
            poster=poster,
            remark="upper bound" if source.role(family, system) == "bound" else "",
            figures=source.figures(family, system, row.take),
        )
        for family, system, made in source.systems(row.take)
    )
    return ShownTake(
        take=row.take,
        title=row.title,
        about=(row.composer,) if row.composer else (),
        duration_s=reference.duration_s,
        reference=reference_card(reference, folder, source.out, source=folder / REFERENCE_FILM, poster=poster),
        systems=tuple(systems),
    )


def _write_film(folder: Path, source: Source, row: CatalogRow) -> None:
    """Write the keyboard's film of a take with the reference sound."""
    rendered, frame_rate = source.data / "rendered" / row.take, source.params.frame_rate
    audio, sample_rate = read_audio(rendered / "audio.flac")
    facts = read_json(rendered / "render.json")
    states = read_table(rendered / "states.parquet")
    n_frames = max(1, round(Fraction(len(audio), sample_rate) * frame_rate))
    shown = shown_at(states["time_s"], rate=frame_rate, start=0, count=n_frames)
    encode_film(
        folder / REFERENCE_FILM,
        _drawn(states["velocity"], shown, lit=facts["lit"]),
        frame_rate=frame_rate,
        audio=audio,
        sample_rate=sample_rate,
    )


def _fullest(rendered: Path) -> NDArray[np.uint8]:
    """Return the first of the pictures with the most keys down."""
    velocity = read_table(rendered / "states.parquet")["velocity"]
    fullest = int(np.argmax(np.count_nonzero(velocity, axis=1)))
    lit = read_json(rendered / "render.json")["lit"]
    picture: NDArray[np.uint8] = draw_keyboard(velocity[fullest : fullest + 1], lit=lit)[0]
    return picture


def _drawn(velocity: NDArray[np.uint8], shown: NDArray[np.intp], *, lit: Any) -> Iterator[NDArray[np.uint8]]:
    """Yield the picture of each tick, drawing each change once."""
    starts = np.flatnonzero(np.diff(shown, prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(shown)], strict=True):
        picture = draw_keyboard(velocity[shown[start] : shown[start] + 1], lit=lit)[0]
        for _ in range(start, end):
            yield picture
