"""Scores on the page: the films of drawn keyboards, and what each system made of them."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.instruments.keyboard import draw_keyboard, film_frames
from tasks.intake.notes import read_notes
from tasks.media.encode import encode_film
from tasks.page.figures import draw_still
from tasks.page.page import CatalogRow, Chapter, Film, ShownTake, picture_at
from tasks.page.performed import Reference, note_scores_picture, reference_card, system_card
from tasks.report import KindPart, Source, read_json
from tasks.store.audio import read_audio
from tasks.store.rendered import KeyStates, read_states
from tasks.store.tables import read_table

FILM = "film.mp4"
HEADLINES = ("onset_f1", "mr_stft")
"""What the systems are compared by in words, the first one in tables too."""


def report(source: Source) -> KindPart:
    """Write the media of the test takes, and return what the page shows of scores.

    Raises:
        DamagedData: a file is missing or is not what its stage writes.
        ToolError: ffmpeg is missing or did not write what was expected.
    """
    tested = {row.take: row for row in source.takes if row.part == "test"}
    shown = [(tested[choice.name], choice.rank) for choice in source.choose(list(tested))]
    with ThreadPoolExecutor(1) as pool:  # ffmpeg encodes films while pictures are drawn
        films = [pool.submit(_write_film, source.media(row.take), source, row) for row, _ in shown]
        takes = tuple(_shown_take(source, row, rank) for row, rank in shown)
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
        has_page=True,
    )
    return KindPart(
        title="Drawn keyboards",
        remarks={},
        pictures=(picture,) if picture is not None else (),
        details=(),
        takes=chapter if takes else None,
        examples=takes[:1],
        chapters=(),
    )


def _shown_take(source: Source, row: CatalogRow, rank: str) -> ShownTake:
    """Write the media of one test take, but for its film."""
    folder, rendered = source.media(row.take), source.data / "rendered"
    audio, sample_rate = read_audio(rendered / row.take / "audio.flac")
    reference = Reference(
        title=row.title,
        audio=audio,
        sample_rate=sample_rate,
        notes=read_notes(row.take, rendered),
        max_frequency_hz=source.params.max_frequency_hz,
        zoom_s=source.params.zoom_s,
    )
    sound, still = folder / "reference.flac", folder / "film.png"
    shutil.copyfile(rendered / row.take / "audio.flac", sound)
    draw_still(still, _fullest(read_states(row.take, rendered)))
    systems = (
        system_card(
            made,
            reference,
            folder,
            source.out,
            family=family,
            system=system,
            remark="upper bound" if source.role(family, system) == "bound" else "",
            figures=source.figures(family, system, row.take),
        )
        for family, system, made in source.systems(row.take)
    )
    return ShownTake(
        take=row.take,
        title=row.title,
        about=tuple(filter(None, (rank, row.composer))),
        duration_s=reference.duration_s,
        film=Film(
            src=(folder / FILM).relative_to(source.out).as_posix(),
            still=picture_at(still, source.out, f"The drawn keyboard of {row.title} with the most keys down", "film"),
        ),
        reference=reference_card(reference, folder, source.out, sound=sound),
        systems=tuple(systems),
    )


def _write_film(folder: Path, source: Source, row: CatalogRow) -> None:
    """Write the keyboard's film of a take, as long as its sound."""
    rendered, frame_rate = source.data / "rendered", source.params.frame_rate
    states = read_states(row.take, rendered)
    frames = film_frames(
        states.time_s,
        states.velocity,
        states.pedal,
        lit=states.lit,
        frame_rate=frame_rate,
        duration_s=read_json(rendered / row.take / "render.json")["duration_s"],
    )
    encode_film(folder / FILM, frames, frame_rate=frame_rate)


def _fullest(states: KeyStates) -> NDArray[np.uint8]:
    """Return the first of the pictures with the most keys down."""
    fullest = int(np.argmax(np.count_nonzero(states.velocity, axis=1)))
    one = slice(fullest, fullest + 1)
    picture: NDArray[np.uint8] = draw_keyboard(states.velocity[one], lit=states.lit, pedal=states.pedal[one])[0]
    return picture
