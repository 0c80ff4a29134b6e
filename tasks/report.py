"""Verb ``report``: everything that was made, on one page to look at and listen to.

The page needs no network: ``index.html`` with its style and script inside, and films and pictures beside it.
"""

import csv
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.errors import DamagedData
from tasks.features.resample import resample
from tasks.instruments.keyboard import draw_keyboard, shown_at
from tasks.instruments.notes import Notes
from tasks.kinds.captures.played import played_notes
from tasks.media.encode import encode_film
from tasks.page.figures import (
    draw_losses,
    draw_note_scores,
    draw_notes,
    draw_spectrogram,
    draw_still,
    draw_waveforms,
    loudest_span_s,
)
from tasks.page.page import (
    Captured,
    CatalogRow,
    DeviceRow,
    Heard,
    Learned,
    Page,
    Performed,
    Picture,
    Refused,
    picture_at,
    render_page,
)
from tasks.page.pipeline import draw_pipeline, read_stages
from tasks.page.scores import UPPER_BOUNDS, Evaluation, score_tables
from tasks.page.separated import figures_of, separated_take
from tasks.page.text import number
from tasks.params import Section
from tasks.step import write_whole
from tasks.store.arrays import open_arrays
from tasks.store.audio import read_audio, write_flac
from tasks.store.tables import read_table
from tasks.store.views import ViewSet
from tasks.takes import TAKE_NAME

TRUE_FILM = "truth.mp4"


class ReportParams(Section):
    """How the page shows what was made."""

    frame_rate: Fraction  # of the films with the true sound
    max_frequency_hz: float  # top of every spectrogram
    max_takes: int  # test takes on the page, the first in order of name; the figures are over all of them
    zoom_s: float  # how much of a waveform is shown sample by sample
    n_resamples: int  # draws behind each interval
    seed: int  # of those draws


def write_report(out: Path, *, data: Path, dvc_file: Path, all_params: Mapping[str, Any], params: ReportParams) -> None:
    """Write ``index.html`` and its media; the same bytes for the same data.

    Args:
        out: an empty folder.
        data: the folder that the stages write to, with ingested, rendered, chunked, trained, synthesized,
            evaluated and metrics in it. A family that is not there yet is not on the page.
        dvc_file: the stages.
        all_params: params.yaml, for what the stages take from it.
        params: its section ``report``.

    Raises:
        DamagedData: a file is missing or is not what its stage writes.
        ToolError: ffmpeg is missing or did not write what was asked for.
    """
    catalog = _read_catalog(data)
    evaluations = _read_evaluations(data)
    test_takes = [row for row in catalog if row.part == "test" and row.kind == "score"]
    views = list(_performed_views(data, catalog))
    ensembles = [row for row in catalog if row.part == "test" and row.kind == "ensemble"]
    shown = test_takes[: params.max_takes]
    with ThreadPoolExecutor(1) as pool:  # ffmpeg encodes films while pictures are drawn
        films = [pool.submit(_write_film, out, data, row, frame_rate=params.frame_rate) for row in shown]
        page = Page(
            data_version=str(_read_json(data / "metrics" / "data.json").get("data_version", "")),
            catalog=catalog,
            refused=_read_refused(data),
            pipeline=draw_pipeline(read_stages(dvc_file, params=all_params)),
            scores=score_tables(evaluations, n_resamples=params.n_resamples, seed=params.seed),
            note_scores=_note_scores(out, data, evaluations),
            learned=list(_learned(out, data)),
            performed=[
                *(_performed(out, data, row, evaluations, params) for row in shown),
                *(
                    _performed_view(out, data, row, camera, evaluations, params)
                    for row, camera in views[: params.max_takes]
                ),
            ],
            n_test_takes=len(test_takes) + len(views),
            captured=[_captured(out, data, row) for row in catalog if row.kind == "capture"],
            separated=[
                separated_take(out, data, row, evaluations, max_frequency_hz=params.max_frequency_hz)
                for row in ensembles[: params.max_takes]
            ],
            n_test_ensembles=len(ensembles),
        )
        for film in films:
            film.result()
    write_whole(out / "index.html", render_page(page))


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DamagedData(f"{path} is missing, expected what its stage writes") from None
    except ValueError as error:
        raise DamagedData(f"{path} is not JSON: {error}") from None


def _read_catalog(data: Path) -> list[CatalogRow]:
    path = data / "ingested" / "catalog.json"
    described = _read_json(data / "chunked" / "scores" / "takes.json")
    for name in ("captures", "ensembles"):
        if (data / "chunked" / name).is_dir():
            described |= _read_json(data / "chunked" / name / "takes.json")
    rows = []
    for row in _read_json(path):
        if not TAKE_NAME.fullmatch(str(row.get("take"))):  # it becomes a folder's name
            raise DamagedData(f"{path}: take {row.get('take')!r} is no take's name")
        rows.append(
            CatalogRow(
                take=row["take"],
                kind=row["kind"],
                piece=row["piece"],
                part=described.get(row["take"], {}).get("part", ""),
                composer=row.get("composer") or "",
                title=row.get("title") or row["take"],
                duration_s=float(row["duration_s"]),
                n_notes=int(row["n_notes"]),
            )
        )
    return sorted(rows, key=lambda row: row.take)


def _read_refused(data: Path) -> list[Refused]:
    rows = _read_json(data / "ingested" / "quarantine.json")
    refused = [
        Refused(name=row.get("file") or row.get("take") or "", kind=row["kind"], reason=row["reason"]) for row in rows
    ]
    return sorted(refused, key=lambda row: (row.name, row.kind, row.reason))


def _read_evaluations(data: Path) -> list[Evaluation]:
    return [
        Evaluation(
            family=folder.name,
            figures=_read_json(data / "metrics" / f"{folder.name}.json"),
            takes=read_table(folder / "takes.parquet"),
        )
        for folder in _folders(data / "evaluated")
    ]


def _folders(folder: Path) -> list[Path]:
    # A name with a dot is what a killed stage left.
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in found if path.is_dir() and not path.name.startswith("."))


def _learned(out: Path, data: Path) -> Iterator[Learned]:
    """Draw the curve of each system that was trained in steps."""
    for family in _folders(data / "trained"):
        for path in sorted((family / "curves").glob("*.csv")):
            columns = _read_curve(path)
            steps = columns.pop("step", [])
            curves = {
                _words(name): _without_gaps(steps, values) for name, values in columns.items() if _is_loss(name, values)
            }
            if not curves:
                continue
            folder = out / "media" / "training"
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / f"{family.name}.{path.stem}.png"
            draw_losses(file, curves)
            best = {name: min(losses) for name, (_, losses) in curves.items()}
            lowest = ", ".join(f"{name} {number(value, 3)}" for name, value in sorted(best.items()))
            yield Learned(
                family=family.name,
                system=path.stem,
                curve=picture_at(file, out, f"Loss of {path.stem} over {number(max(steps), 0)} steps", "loss"),
                summary=f"{number(max(steps), 0)} steps; lowest {lowest}",
            )


def _read_curve(path: Path) -> dict[str, list[float]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    try:
        return {name: [float(row[name] or "nan") for row in rows] for name in (rows[0] if rows else {})}
    except (TypeError, ValueError) as error:
        raise DamagedData(f"{path} is not a curve: {error}") from None


def _is_loss(name: str, values: Sequence[float]) -> bool:
    return name.startswith(("train", "validation")) and any(math.isfinite(value) for value in values)


def _words(column: str) -> str:
    return column.replace("_", " ")


def _without_gaps(steps: Sequence[float], values: Sequence[float]) -> tuple[list[float], list[float]]:
    kept = [(step, value) for step, value in zip(steps, values, strict=True) if math.isfinite(value)]
    return [step for step, _ in kept], [value for _, value in kept]


def _performed(
    out: Path, data: Path, row: CatalogRow, evaluations: Sequence[Evaluation], params: ReportParams
) -> Performed:
    """Write the media of one test take, but for its film."""
    folder = out / "media" / row.take
    folder.mkdir(parents=True, exist_ok=True)
    audio, sample_rate = read_audio(data / "rendered" / row.take / "audio.flac")
    notes = Notes(**read_table(data / "ingested" / row.take / "notes.parquet"))
    duration_s = len(audio) / sample_rate
    film, poster = folder / TRUE_FILM, folder / "poster.png"
    draw_still(poster, _fullest(data / "rendered" / row.take))
    spectrogram, roll = folder / "truth.spectrogram.png", folder / "truth.notes.png"
    draw_spectrogram(spectrogram, audio, sample_rate=sample_rate, max_frequency_hz=params.max_frequency_hz)
    draw_notes(roll, notes, None, duration_s=duration_s)
    truth = Heard(
        system="",
        family="",
        label="",
        src=film.relative_to(out).as_posix(),
        is_video=True,
        poster=poster.relative_to(out).as_posix(),
        pictures=(
            picture_at(spectrogram, out, f"Spectrogram of the true sound of {row.title}", "spectrogram"),
            picture_at(roll, out, f"Piano roll of the {len(notes)} notes of {row.title}", "notes"),
        ),
        figures=(),
    )
    systems = [
        _heard(out, system, row, audio, sample_rate, notes, evaluations, params)
        for family in _folders(data / "synthesized")
        for system in _folders(family)
        if (system / row.take).is_dir()
    ]
    return Performed(
        take=row.take,
        camera="",
        title=row.title,
        composer=row.composer,
        duration_s=duration_s,
        truth=truth,
        systems=tuple(systems),
    )


def _performed_views(data: Path, catalog: Sequence[CatalogRow]) -> Iterator[tuple[CatalogRow, str]]:
    """Yield each test capture that a system performed, with the first camera by which it did."""
    for row in catalog:
        cameras = {
            camera.name
            for family in _folders(data / "synthesized")
            for system in _folders(family)
            for camera in _folders(system / row.take)
        }
        if row.kind == "capture" and cameras:
            yield row, min(cameras)


def _performed_view(
    out: Path, data: Path, row: CatalogRow, camera: str, evaluations: Sequence[Evaluation], params: ReportParams
) -> Performed:
    """Write the media of one camera of a test capture."""
    folder = out / "media" / row.take
    folder.mkdir(parents=True, exist_ok=True)
    views = ViewSet(data / "chunked" / "captures")
    view = views.view(row.take, camera)
    audio, sample_rate = views.sound(row.take)
    sound, poster = folder / "truth.flac", folder / "poster.png"
    write_flac(sound, audio, sample_rate)
    pictures = views.pictures(view)
    draw_still(poster, pictures[len(pictures) // 2])
    spectrogram = folder / "truth.spectrogram.png"
    draw_spectrogram(spectrogram, audio, sample_rate=sample_rate, max_frequency_hz=params.max_frequency_hz)
    drawn = [picture_at(spectrogram, out, f"Spectrogram of the true sound of {row.title}", "spectrogram")]
    notes = None
    if "amplitudes" in views.open(row.take):
        notes, roll = played_notes(view, views), folder / "truth.notes.png"
        draw_notes(roll, notes, None, duration_s=len(audio) / sample_rate)
        drawn.append(picture_at(roll, out, f"Piano roll of the {len(notes)} notes of {row.title}", "notes"))
    return Performed(
        take=row.take,
        camera=camera,
        title=row.title,
        composer=row.composer,
        duration_s=len(audio) / sample_rate,
        truth=Heard(
            system="",
            family="",
            label="",
            src=sound.relative_to(out).as_posix(),
            is_video=False,
            poster=poster.relative_to(out).as_posix(),
            pictures=tuple(drawn),
            figures=(),
        ),
        systems=tuple(
            _heard(out, system, row, audio, sample_rate, notes, evaluations, params, camera=camera)
            for family in _folders(data / "synthesized")
            for system in _folders(family)
            if (system / row.take / camera).is_dir()
        ),
    )


def _note_scores(out: Path, data: Path, evaluations: Sequence[Evaluation]) -> dict[str, list[Picture]]:
    """Draw, for each data set, how well each system found each note of all test takes; of captures by camera too."""
    drawn: dict[str, list[Picture]] = {}
    for name, kind in (("scores", "notes"), ("captures", "notes"), ("captures", "cameras")):
        counts: dict[str, dict[int, NDArray[np.int64]]] = {}
        for family in (one for one in evaluations if one.data == name):
            table = read_table(data / "evaluated" / family.family / "pitches.parquet")
            for system, take, pitch, *found in zip(
                *(table[key] for key in ("system", "take", "pitch", "tp", "fp", "fn")), strict=True
            ):
                row = f"{system} · {take.partition('/')[2]}" if kind == "cameras" else str(system)
                by_pitch = counts.setdefault(row, {})
                by_pitch[int(pitch)] = by_pitch.get(int(pitch), np.zeros(3, np.int64)) + np.array(found, np.int64)
        pitches = sorted({pitch for by_pitch in counts.values() for pitch in by_pitch})
        if not pitches:
            continue
        nothing = np.zeros(3, np.int64)
        shown = sorted(counts.items()) if kind == "cameras" else counts.items()
        rows = {
            row: np.array([_f1(*by_pitch.get(pitch, nothing).tolist()) for pitch in pitches]) for row, by_pitch in shown
        }
        path = out / "media" / f"{kind}.{name}.png"
        path.parent.mkdir(exist_ok=True)
        draw_note_scores(path, pitches, rows)
        words = f"Onset F1 of each of {len(pitches)} notes, for {', '.join(rows)}"
        drawn.setdefault(name, []).append(picture_at(path, out, words, kind))
    return drawn


def _f1(n_found: int, n_extra: int, n_missed: int) -> float:
    played = 2 * n_found + n_extra + n_missed
    return 2 * n_found / played if played else math.nan


def _heard(
    out: Path,
    system: Path,
    row: CatalogRow,
    true_audio: NDArray[np.float32],
    true_rate: int,
    true_notes: Notes | None,
    evaluations: Sequence[Evaluation],
    params: ReportParams,
    *,
    camera: str = "",
) -> Heard:
    """Copy what one system made of one take, or of one camera's film of it, and draw it."""
    made, name = system / row.take / camera, f"{system.parent.name}.{system.name}"
    folder = out / "media" / row.take
    audio, sample_rate = read_audio(made / "audio.flac")
    film = made / "video.mp4"
    source = film if film.exists() else made / "audio.flac"
    copy = folder / f"{name}{source.suffix}"
    shutil.copyfile(source, copy)
    spectrogram, waveform = folder / f"{name}.spectrogram.png", folder / f"{name}.waveform.png"
    draw_spectrogram(spectrogram, audio, sample_rate=sample_rate, max_frequency_hz=params.max_frequency_hz)
    draw_waveforms(
        waveform,
        resample(true_audio, true_rate, sample_rate),
        audio,
        sample_rate=sample_rate,
        zoom_start_s=loudest_span_s(true_audio, sample_rate=true_rate, length_s=params.zoom_s),
        zoom_s=params.zoom_s,
    )
    pictures = [
        picture_at(spectrogram, out, f"Spectrogram of what {system.name} made of {row.title}", "spectrogram"),
        picture_at(waveform, out, f"Waveforms of {row.title}: the truth, and {system.name} over it", "waveform"),
    ]
    if true_notes is not None and (made / "notes.parquet").exists():
        roll = folder / f"{name}.notes.png"
        estimate = Notes(**read_table(made / "notes.parquet"))
        draw_notes(roll, true_notes, estimate, duration_s=len(true_audio) / true_rate)
        words = f"Piano roll of {row.title}: the notes {system.name} found, missed and added"
        pictures.insert(1, picture_at(roll, out, words, "notes"))
    return Heard(
        system=system.name,
        family=system.parent.name,
        label="upper bound" if system.name in UPPER_BOUNDS else "",
        src=copy.relative_to(out).as_posix(),
        is_video=source is film,
        poster=(folder / "poster.png").relative_to(out).as_posix(),
        pictures=tuple(pictures),
        figures=figures_of(system, f"{row.take}/{camera}" if camera else row.take, evaluations),
    )


def _captured(out: Path, data: Path, row: CatalogRow) -> Captured:
    """Copy and draw what is known of a capture's clocks."""
    folder = out / "media" / row.take
    folder.mkdir(parents=True, exist_ok=True)
    clocks = data / "synchronized" / row.take
    facts = _read_json(clocks / "clock.json")
    shutil.copyfile(clocks / "residuals.png", folder / "residuals.png")
    chunked = data / "chunked" / "captures" / row.take / "arrays.zarr"
    views = []
    if chunked.exists():
        arrays = open_arrays(chunked)
        for camera in arrays.attributes["cameras"]:
            pictures = arrays[f"pictures_{camera}"]
            still = folder / f"{camera}.png"
            draw_still(still, pictures[len(pictures) // 2])
            views.append(picture_at(still, out, f"What {camera} sees in the middle of {row.title}", "view"))
    return Captured(
        take=row.take,
        title=row.title,
        duration_s=row.duration_s,
        devices=tuple(_device_rows(facts, read_table(clocks / "clock.parquet"))),
        views=tuple(views),
        residuals=picture_at(
            folder / "residuals.png", out, f"Residuals of the clocks of {row.title} over time", "residuals"
        ),
    )


def _device_rows(facts: Mapping[str, Any], table: Mapping[str, NDArray[Any]]) -> Iterator[DeviceRow]:
    """Yield a row a device; where a clock has several spans, the first one's delay and drift."""
    for name, about in sorted(facts["devices"].items()):
        first = int(np.flatnonzero(table["device"] == name)[0])
        n_spans = int((table["device"] == name).sum())
        shown = {
            key: number(float(table[key][first]), digits) if math.isfinite(table[key][first]) else ""
            for key, digits in (("delay_s", 5), ("drift_ppm", 2), ("residual_p95_ms", 3), ("error_ms", 2))
        }
        is_master = name == facts["master"]
        yield DeviceRow(
            device=name,
            verdict="master" if is_master else about["verdict"],
            method="" if is_master else about["method"],
            delay=shown["delay_s"] + (f" ({n_spans} spans)" if n_spans > 1 else ""),
            drift=shown["drift_ppm"],
            residual=shown["residual_p95_ms"],
            error=shown["error_ms"],
            reason=about["reason"],
        )


def _write_film(out: Path, data: Path, row: CatalogRow, *, frame_rate: Fraction) -> None:
    """Write the keyboard's film of a take with the true sound."""
    rendered, folder = data / "rendered" / row.take, out / "media" / row.take
    folder.mkdir(parents=True, exist_ok=True)
    audio, sample_rate = read_audio(rendered / "audio.flac")
    facts = _read_json(rendered / "render.json")
    states = read_table(rendered / "states.parquet")
    n_frames = max(1, round(Fraction(len(audio), sample_rate) * frame_rate))
    shown = shown_at(states["time_s"], rate=frame_rate, start=0, count=n_frames)
    encode_film(
        folder / TRUE_FILM,
        _drawn(states["velocity"], shown, lit=facts["lit"]),
        frame_rate=frame_rate,
        audio=audio,
        sample_rate=sample_rate,
    )


def _fullest(rendered: Path) -> NDArray[np.uint8]:
    """Return the first of the pictures with the most keys down."""
    velocity = read_table(rendered / "states.parquet")["velocity"]
    fullest = int(np.argmax(np.count_nonzero(velocity, axis=1)))
    lit = _read_json(rendered / "render.json")["lit"]
    picture: NDArray[np.uint8] = draw_keyboard(velocity[fullest : fullest + 1], lit=lit)[0]
    return picture


def _drawn(velocity: NDArray[np.uint8], shown: NDArray[np.intp], *, lit: Any) -> Iterator[NDArray[np.uint8]]:
    """Yield the picture of each tick, drawing each change once."""
    starts = np.flatnonzero(np.diff(shown, prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(shown)], strict=True):
        picture = draw_keyboard(velocity[shown[start] : shown[start] + 1], lit=lit)[0]
        for _ in range(start, end):
            yield picture
