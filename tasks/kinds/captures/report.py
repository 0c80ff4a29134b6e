"""Captures on the page: test takes camera by camera, and the clocks of all devices."""

import math
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.intake.record import read_capture
from tasks.keyboards.layout import name_of
from tasks.keyboards.stored import keyboard_picture, place_of_facts
from tasks.kinds.captures.played import played_notes
from tasks.media.encode import encode_film
from tasks.metrics.table import metric
from tasks.page.figures import draw_still
from tasks.page.page import Card, CatalogRow, Chapter, Entry, Film, Listing, Picture, ShownTake, picture_at
from tasks.page.performed import Reference, note_scores_picture, reference_card, system_card
from tasks.page.scores import Part, Table, parted_table
from tasks.page.text import clock, number
from tasks.report import KindPart, Source, folders, read_json
from tasks.store.arrays import open_arrays
from tasks.store.audio import write_flac
from tasks.store.tables import read_table
from tasks.store.views import ViewSet, pictures_at

CLOCK_COLUMNS = (("delay_s", 5), ("drift_ppm", 2), ("residual_p95_ms", 3), ("error_ms", 2))
"""Columns of clock.parquet on the page, and their digits."""

HEADLINES = ("onset_f1",)
"""What the systems are compared by in words and in tables."""

STYLES = {"locked": "good", "followed": "good", "ambiguous": "weak", "unrelated": "weak"}
"""How a verdict on a device's clock is shown."""


def report(source: Source) -> KindPart:
    """Write the media of the test takes and of the clocks, and return what the page shows of captures.

    Raises:
        DamagedData: a file is missing or is not what its stage writes.
    """
    tested = {f"{row.take}/{camera}": (row, camera) for row, camera in _tested_views(source)}
    takes = tuple(_shown_take(source, *tested[choice.name], choice.rank) for choice in source.choose(list(tested)))
    chapter = Chapter(
        name=source.kind,
        title="Filmed captures",
        intro="Each system predicts the sound from the silent video of one camera.",
        takes=takes,
        n_takes=len(tested),
        has_page=True,
    )
    by_camera = _by_camera(source)
    return KindPart(
        title="Filmed captures, camera by camera",
        remarks={},
        pictures=tuple(_note_scores(source)),
        details=(by_camera,) if by_camera is not None else (),
        takes=chapter if takes else None,
        examples=(*takes[:1], *takes[1:][-1:]),  # the best and the worst
        chapters=(*_keyboards(source), *_clocks(source)),
    )


def _tested_views(source: Source) -> Iterator[tuple[CatalogRow, str]]:
    """Yield each take of which a system has made the sound, with the first camera by which one did."""
    for row in source.takes:
        cameras = {camera.name for _, _, made in source.systems(row.take) for camera in folders(made)}
        if cameras:
            yield row, min(cameras)


def _shown_take(source: Source, row: CatalogRow, camera: str, rank: str) -> ShownTake:
    """Write the media of one camera of a test take."""
    folder = source.media(row.take)
    views = ViewSet(source.data / "chunked" / source.kind)
    view = views.view(row.take, camera)
    audio, sample_rate = views.sound(row.take)
    reference = Reference(
        title=row.title,
        audio=audio,
        sample_rate=sample_rate,
        notes=played_notes(view, views) if "amplitudes" in views.open(row.take) else None,
        max_frequency_hz=source.params.max_frequency_hz,
        zoom_s=source.params.zoom_s,
    )
    sound, film, still = folder / "reference.flac", folder / "film.mp4", folder / "film.png"
    write_flac(sound, audio, sample_rate)
    pictures = views.pictures(view)
    draw_still(still, pictures[len(pictures) // 2])
    frame_rate = source.params.frame_rate
    moments_s = np.arange(round(reference.duration_s * frame_rate)) / float(frame_rate)
    encode_film(film, pictures[:][pictures_at(views.time_s(view), moments_s)], frame_rate=frame_rate)
    systems = (
        system_card(
            made,
            reference,
            folder,
            source.out,
            family=family,
            system=system,
            remark="upper bound" if source.role(family, system) == "bound" else "",
            figures=source.figures(family, system, view.name),
        )
        for family, system, made in source.systems(view.name)
    )
    return ShownTake(
        take=row.take,
        title=row.title,
        about=tuple(filter(None, (rank, row.composer, f"filmed by {camera}"))),
        duration_s=reference.duration_s,
        film=Film(
            src=film.relative_to(source.out).as_posix(),
            still=picture_at(still, source.out, f"{row.title} as {camera} filmed it, halfway through", "film"),
        ),
        reference=reference_card(reference, folder, source.out, sound=sound),
        systems=tuple(systems),
    )


def _by_camera(source: Source) -> Table | None:
    cameras = sorted({str(camera) for family in source.evaluations for camera in family.takes["camera"]})
    parts = [
        Part(
            label=camera,
            meaning=f"the views of {camera}",
            holds=lambda columns, camera=camera: columns["camera"] == camera,  # type: ignore[misc]
        )
        for camera in cameras
    ]
    return parted_table("Onset F1 by camera", source.evaluations, metric("onset_f1"), parts)


def _note_scores(source: Source) -> Iterator[Picture]:
    tables = [read_table(source.data / "evaluated" / one.family / "pitches.parquet") for one in source.evaluations]
    for name, row_of, caption in (
        ("notes", lambda system, _: system, "Onset F1 of each note"),
        ("cameras", lambda system, view: f"{system} · {view.partition('/')[2]}", "Onset F1 of each note by camera"),
    ):
        path = source.out / "media" / f"{name}.{source.kind}.png"
        picture = note_scores_picture(path, source.out, tables, row_of=row_of, caption=caption)
        if picture is not None:
            yield picture


def _clocks(source: Source) -> Iterator[Chapter]:
    """Copy and draw what is known of the clocks of each take that was synchronized."""
    synchronized = {row.take: source.data / "synchronized" / row.take for row in source.takes}
    shown = [row for row in source.takes if synchronized[row.take].is_dir()]
    if not shown:
        return
    rows = tuple(
        entries
        for row in shown
        for entries in _device_rows(
            row.title,
            read_json(synchronized[row.take] / "clock.json"),
            read_table(synchronized[row.take] / "clock.parquet"),
        )
    )
    texts, numbers = ("Take", "Device", "Verdict", "By"), ("Delay, s", "Drift, ppm", "p95, ms", "Error, ms")
    yield Chapter(
        name="clocks",
        title="Clocks",
        intro="The devices of a capture were started by hand, and each runs on its own clock. A delay is the time on "
        "the master's clock when a device's recording begins. A device that could not be synchronized is not in the "
        "training data.",
        listings=(
            Listing(
                columns=tuple([(name, False) for name in texts] + [(name, True) for name in numbers]),
                rows=rows,
            ),
        ),
        has_page=True,
        cards=tuple(_clock_card(source, row) for row in shown),
    )


def _keyboards(source: Source) -> Iterator[Chapter]:
    """Copy the pictures of the keyboards that ingest found in films of pianos, and say why where it found none."""
    pictures, rows = [], []
    for row in source.takes:
        for device in read_capture(row.take, source.data / "ingested").devices:
            keyboard = device.facts.get("keyboard")
            if keyboard is None:
                continue
            if keyboard["found"]:
                pictures.append(_keyboard(source, row, device.name, keyboard))
            else:
                why = str(keyboard["reason"]).removeprefix(f"{device.path}: ")
                rows.append((Entry(text=row.title), Entry(text=device.name, style="code"), Entry(text=why)))
    if not pictures and not rows:
        return
    columns = (("Take", False), ("Camera", False), ("Why no keyboard is read", False))
    yield Chapter(
        name="keyboards",
        title="Keyboards",
        intro="In a film of a piano the keys are found before they are read: in the picture that remains when all that "
        "moves is taken away. Where take.yaml names corners, these say where the keyboard is.",
        listings=(Listing(columns=columns, rows=tuple(rows)),) if rows else (),
        pictures=tuple(pictures),
        has_page=True,
    )


def _keyboard(source: Source, row: CatalogRow, camera: str, keyboard: Mapping[str, Any]) -> Picture:
    picture = source.media(row.take) / keyboard_picture(camera)
    shutil.copyfile(source.data / "ingested" / row.take / picture.name, picture)
    place = place_of_facts(keyboard["place"], source=f"{row.take}: {camera}")
    keys = f"{len(place.keys.pitches)} keys {name_of(place.keys.lowest)}-{name_of(place.keys.highest)}"
    how = "corners named in take.yaml" if keyboard["score"] is None else f"match {keyboard['score']:.2f} of 1"
    about = [f"{row.title}, {camera}: {keys}, {place.white_px:.0f} px a white key, {how}", *keyboard["remarks"]]
    words = f"The keys of {row.title} as {camera} shows them, outlined and named"
    return picture_at(picture, source.out, words, "keyboard", "; ".join(about))


def _clock_card(source: Source, row: CatalogRow) -> Card:
    folder = source.media(row.take)
    residuals = folder / "residuals.png"
    shutil.copyfile(source.data / "synchronized" / row.take / "residuals.png", residuals)
    words, caption = (
        f"By how many milliseconds each device of {row.title} strays from its clock, over time",
        "Residuals in ms over the master's time",
    )
    return Card(
        title=row.title,
        remark=f"{clock(row.duration_s)} · {row.take}",
        stills=tuple(_stills(source, row)),
        pictures=(picture_at(residuals, source.out, words, "residuals", caption),),
    )


def _stills(source: Source, row: CatalogRow) -> Iterator[Picture]:
    chunked = source.data / "chunked" / source.kind / row.take / "arrays.zarr"
    if not chunked.exists():
        return
    arrays = open_arrays(chunked)
    for camera in arrays.attributes["cameras"]:
        pictures = arrays[f"pictures_{camera}"]
        still = source.media(row.take) / f"{camera}.png"
        draw_still(still, pictures[len(pictures) // 2])
        yield picture_at(still, source.out, f"{row.title} as {camera} filmed it, halfway through", "view")


def _device_rows(
    title: str, facts: Mapping[str, Any], table: Mapping[str, NDArray[Any]]
) -> Iterator[tuple[Entry, ...]]:
    """Yield a row a device; where a clock has several spans, the first one's delay and drift."""
    for name, about in sorted(facts["devices"].items()):
        spans = np.flatnonzero(table["device"] == name)
        values = [(float(table[key][spans[0]]), digits) for key, digits in CLOCK_COLUMNS]
        shown = [number(value, digits) if math.isfinite(value) else "" for value, digits in values]
        shown[0] += f" ({len(spans)} spans)" if len(spans) > 1 else ""
        is_master = name == facts["master"]
        verdict = "master" if is_master else about["verdict"]
        yield (
            Entry(text=title),
            Entry(text=name, style="code"),
            Entry(text=verdict, style=STYLES.get(verdict, ""), note=about["reason"]),
            Entry(text="" if is_master else about["method"]),
            *(Entry(text=text) for text in shown),
        )
