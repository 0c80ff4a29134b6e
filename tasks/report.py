"""Verb ``report``: everything that was made, on pages to look at and listen to.

They need no network: ``index.html`` has the results and a few examples, and links to a page for the test takes of each
kind, the clocks and the catalog. Style and script are inside, films, sounds and pictures beside them.
This module has what all kinds of data share. ``tasks.kinds.KIND.report`` has a kind's takes, media and tables.
"""

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from tasks.errors import DamagedData
from tasks.health import read_health
from tasks.metrics.metric import Metric
from tasks.metrics.table import METRICS, metric
from tasks.page.page import (
    Card,
    CatalogRow,
    Chapter,
    Entry,
    Listing,
    Page,
    Picture,
    Quarantined,
    Result,
    ShownTake,
    picture_at,
    render_pages,
)
from tasks.page.pipeline import draw_pipeline, read_stages
from tasks.page.scores import (
    Evaluation,
    Table,
    figure_table,
    figures_of_take,
    score_table,
    standing,
    tested_together,
)
from tasks.page.text import number
from tasks.page.verdict import Choice, Headline, best_system, choose, headline
from tasks.params import Section
from tasks.registry import KINDS, kind_module
from tasks.step import write_whole
from tasks.store.tables import read_table
from tasks.takes import read_catalog


class ReportParams(Section):
    """How the page shows what was made."""

    frame_rate: Fraction  # of the films with the reference sound
    max_frequency_hz: float  # top of every spectrogram
    max_takes: int  # test takes of a kind to play: best, median, worst, and others between; figures are over all
    zoom_s: float  # how much of a waveform is shown sample by sample
    n_resamples: int  # draws behind each interval
    seed: int  # of those draws


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a kind's part of the page is made from.

    Attributes:
        out: the page's folder.
        data: the folder that the stages write to.
        kind: of the takes.
        takes: all accepted takes of the kind, by name.
        families: that work on the kind, by name.
        evaluations: of those that were evaluated.
        headlines: figures that systems are compared by in words, the first one in tables too.
        params: of the stage.
    """

    out: Path
    data: Path
    kind: str
    takes: Sequence[CatalogRow]
    families: Sequence[str]
    evaluations: Sequence[Evaluation]
    headlines: Sequence[Metric]
    params: ReportParams

    def media(self, take: str) -> Path:
        """Make the folder beside the page for what is shown of a take, and return it."""
        folder = self.out / "media" / take
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def systems(self, name: str) -> list[tuple[str, str, Path]]:
        """Return family, system and folder of each system that has an output called ``name``, ``TAKE/CAMERA`` say.

        The better come first, baselines last.
        """
        found = [
            (family, folder.name, folder / name)
            for family in self.families
            for folder in folders(self.data / "synthesized" / family)
            if (folder / name).is_dir()
        ]
        places = {
            (one.family, system): standing(one, system, self.headlines[0])
            for one in self.evaluations
            for system in one.figures
        }
        return sorted(found, key=lambda one: places.get((one[0], one[1]), (1, math.inf)))

    def choose(self, names: Sequence[str]) -> list[Choice]:
        """Choose which of the test takes, or of their views, are shown: the best first."""
        most = max(tested_together(self.evaluations), key=lambda group: len(set(group[0].takes["take"])), default=[])
        return choose(names, most, self.headlines[0], n_shown=self.params.max_takes)

    def example(self, take: ShownTake) -> ShownTake:
        """Return a take with the best model by each headline and the best baseline that has a card.

        Of their pictures those are left that share the reference's axes.
        """
        models = (best_system(self.evaluations, metric, is_baseline=False) for metric in self.headlines)
        kept = {(one[0].family, one[1]) for one in models if one is not None}
        baselines = {
            (one.family, system) for one in self.evaluations for system in one.figures if one.is_baseline(system)
        }
        best = next((card for card in take.systems if (card.family, card.title) in baselines), None)
        shown = [card for card in take.systems if card is best or (card.family, card.title) in kept]
        return replace(take, systems=tuple(replace(card, pictures=_in_step(card)) for card in shown))

    def role(self, family: str, system: str) -> str:
        """Return a system's role; empty where it was not evaluated."""
        return next((one.role(system) for one in self.evaluations if one.family == family), "")

    def figures(self, family: str, system: str, take: str) -> tuple[tuple[str, str], ...]:
        """Return what was measured of one system on one take, ready to print."""
        metrics = metrics_of(self.kind)[""]
        return figures_of_take(self.evaluations, metrics, family=family, system=system, take=take)


@dataclass(frozen=True, kw_only=True)
class KindPart:
    """What a kind adds to the page; ``tasks.kinds.KIND.report.report`` makes it of a `Source`.

    Attributes:
        title: of its table of results.
        remarks: on systems of that table.
        pictures: below that table.
        details: tables beside those that the groups of metrics make.
        takes: its test takes to play; None where there are none.
        examples: those of them that tell most.
        chapters: more about its takes.
    """

    title: str
    remarks: Mapping[str, str]
    pictures: tuple[Picture, ...]
    details: tuple[Table, ...]
    takes: Chapter | None
    examples: tuple[ShownTake, ...]
    chapters: tuple[Chapter, ...]


def write_report(out: Path, *, data: Path, dvc_file: Path, all_params: Mapping[str, Any], params: ReportParams) -> None:
    """Write ``index.html``, the pages that it links to and their media; the same bytes for the same data.

    Args:
        out: an empty folder.
        data: the folder that the stages write to, with ingested, rendered, synchronized, chunked, trained, synthesized,
            evaluated and metrics in it. A family that is not there yet is not on the page.
        dvc_file: the stages.
        all_params: params.yaml: ``families`` gives the kind of each family, and the stages take values from it.
        params: its section ``report``.

    Raises:
        DamagedData: a file is missing or is not what its stage writes.
        ToolError: ffmpeg is missing or did not write what was expected.
    """
    families: Mapping[str, str] = all_params["families"]
    catalog = _read_catalog(data)
    results: list[Result] = []
    takes: list[Chapter] = []
    chapters: list[Chapter] = []
    headlines: list[Headline] = []
    examples: list[ShownTake] = []
    for kind in KINDS:
        module = kind_module(kind, "report")
        own = sorted(family for family, its_kind in families.items() if its_kind == kind)
        source = Source(
            out=out,
            data=data,
            kind=kind,
            takes=[row for row in catalog if row.kind == kind],
            families=own,
            evaluations=[_read_evaluation(data, family) for family in own if (data / "evaluated" / family).is_dir()],
            headlines=[metric(key) for key in module.HEADLINES],
            params=params,
        )
        part: KindPart = module.report(source)
        headlines += _headlines(source, part)
        examples += map(source.example, part.examples)
        results += list(_results(source, part))
        takes += [part.takes] if part.takes is not None else []
        chapters += part.chapters
    if not takes:
        takes = [Chapter(name="takes", title="Test takes", empty="No test take has been synthesized yet.")]
    page = Page(
        data_version=str(read_json(data / "metrics" / "data.json").get("data_version", "")),
        headlines=headlines,
        examples=examples,
        catalog=catalog,
        quarantined=_read_quarantined(data),
        pipeline=draw_pipeline(read_stages(dvc_file, params=all_params)),
        results=results,
        chapters=[*takes, _health(out, data), _training(out, data, sorted(families)), *chapters],
    )
    for name, html in render_pages(page).items():
        write_whole(out / name, html)


def metrics_of(kind: str) -> dict[str, list[Metric]]:
    """Return a kind's metrics by the title of their table, in the order of `METRICS`; "" is the main table."""
    grouped: dict[str, list[Metric]] = {"": []}
    for one in METRICS:
        if kind in one.kinds:
            grouped.setdefault(one.group, []).append(one)
    return grouped


def read_json(path: Path) -> Any:
    """Read a JSON file that a stage wrote.

    Raises:
        DamagedData: it is missing or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DamagedData(f"{path} is missing, expected what its stage writes") from None
    except ValueError as error:
        raise DamagedData(f"{path} is not JSON: {error}") from None


def folders(folder: Path) -> list[Path]:
    """Return the folders in a folder by name; none where it is missing. A name with a dot is what a kill left."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in found if path.is_dir() and not path.name.startswith("."))


def _in_step(card: Card) -> tuple[Picture, ...]:
    return tuple(picture for picture in card.pictures if picture.kind != "waveform")


def _headlines(source: Source, part: KindPart) -> Iterator[Headline]:
    for group, evaluations in enumerate(tested_together(source.evaluations)):
        for one in source.headlines:
            found = headline(
                _group_title(part, evaluations) if group else part.title,
                source.kind,
                evaluations,
                one,
                n_resamples=source.params.n_resamples,
                seed=source.params.seed,
            )
            if found is not None:
                yield found


def _group_title(part: KindPart, evaluations: Sequence[Evaluation]) -> str:
    return f"{part.title}: {', '.join(one.family for one in evaluations)}"


def _results(source: Source, part: KindPart) -> Iterator[Result]:
    for group, evaluations in enumerate(tested_together(source.evaluations)):
        grouped = metrics_of(source.kind)
        table = score_table(
            _group_title(part, evaluations) if group else part.title,
            evaluations,
            grouped.pop(""),
            n_resamples=source.params.n_resamples,
            seed=source.params.seed,
            remarks=part.remarks,
            headline=source.headlines[0],
        )
        if table is not None:
            more = (figure_table(title, evaluations, metrics) for title, metrics in grouped.items())
            details = (*(() if group else part.details), *(one for one in more if one is not None))
            yield Result(
                name=f"{source.kind}-{evaluations[0].family}" if group else source.kind,
                table=table,
                pictures=() if group else part.pictures,
                details=details,
            )


def _read_catalog(data: Path) -> list[CatalogRow]:
    folder = data / "ingested"
    takes = read_catalog(folder)
    about = {row["take"]: row for row in read_json(folder / "catalog.json")}
    chunked: dict[str, Any] = {}
    for kind in KINDS:
        if (data / "chunked" / kind).is_dir():
            chunked |= read_json(data / "chunked" / kind / "takes.json")
    return [
        CatalogRow(
            take=take.name,
            kind=take.data_set,
            piece=take.piece,
            part=chunked.get(take.name, {}).get("part", ""),
            composer=about[take.name].get("composer") or "",
            title=about[take.name].get("title") or take.name,
            duration_s=float(take.duration_s),
            n_notes=int(about[take.name]["n_notes"]),
        )
        for take in takes
    ]


def _read_quarantined(data: Path) -> list[Quarantined]:
    rows = read_json(data / "ingested" / "quarantine.json")
    found = [
        Quarantined(name=row.get("file") or row.get("take") or "", kind=row["kind"], reason=row["reason"])
        for row in rows
    ]
    return sorted(found, key=lambda row: (row.name, row.kind, row.reason))


def _read_evaluation(data: Path, family: str) -> Evaluation:
    path = data / "evaluated" / family / "takes.parquet"
    takes = read_table(path)
    if "role" not in takes:
        raise DamagedData(f"{path} has no column role: an older version wrote it, run audiate evaluate again")
    return Evaluation(family=family, figures=read_json(data / "metrics" / f"{family}.json"), takes=takes)


def _health(out: Path, data: Path) -> Chapter:
    """Draw how the notes cover pitches and velocities, and list what else the data is made of."""
    from tasks.page.figures import draw_coverage  # matplotlib is a second that only drawing needs

    health = read_health(data)
    pictures = []
    if len(health.pitch):
        path = out / "media" / "coverage.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_coverage(path, health.pitch, health.velocity)
        words = (
            f"How often each pitch is played at each velocity: {len(health.pitch)} notes, "
            f"{len(np.unique(health.pitch))} pitches from {health.pitch.min()} to {health.pitch.max()}"
        )
        pictures.append(picture_at(path, out, words, "coverage", "Notes by pitch (MIDI number) and velocity"))
    return Chapter(
        name="health",
        title="Health of the data",
        intro="What the stages recorded about the takes; audiate doctor prints the same counts. A residual is by how "
        "much a window of a device's recording strays from its clock: of the takes' 95th percentiles, the median and "
        "the largest.",
        listings=tuple(
            Listing(
                title=table.title,
                columns=table.columns,
                rows=tuple(tuple(Entry(text=text) for text in row) for row in table.rows),
            )
            for table in health.tables
        ),
        pictures=tuple(pictures),
        empty="Nothing was ingested yet.",
    )


def _training(out: Path, data: Path, families: Sequence[str]) -> Chapter:
    cards = tuple(card for family in families for card in _training_cards(out, data / "trained" / family))
    return Chapter(name="training", title="Training", cards=cards, empty="No system was trained in steps.")


def _training_cards(out: Path, trained: Path) -> Iterator[Card]:
    """Draw the loss of each system of a family that was trained in steps."""
    from tasks.page.figures import draw_losses  # matplotlib is a second that only drawing needs

    for path in sorted((trained / "curves").glob("*.csv")):
        columns = _read_curve(path)
        steps = columns.pop("step", [])
        curves = {
            name.replace("_", " "): _without_gaps(steps, values)
            for name, values in columns.items()
            if _is_loss(name, values)
        }
        if not curves:
            continue
        folder = out / "media" / "training"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{trained.name}.{path.stem}.png"
        draw_losses(file, curves)
        n_steps = number(max(steps), 0)
        best = {name: min(losses) for name, (_, losses) in curves.items()}
        lowest = ", ".join(f"{name} {number(value, 3)}" for name, value in sorted(best.items()))
        words, caption = (
            f"How the loss of {path.stem} fell over {n_steps} steps of training",
            f"{n_steps} steps; lowest {lowest}",
        )
        yield Card(title=path.stem, remark=trained.name, pictures=(picture_at(file, out, words, "loss", caption),))


def _read_curve(path: Path) -> dict[str, list[float]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    try:
        return {name: [float(row[name] or "nan") for row in rows] for name in (rows[0] if rows else {})}
    except (TypeError, ValueError) as error:
        raise DamagedData(f"{path} is not a curve: {error}") from None


def _is_loss(name: str, values: Sequence[float]) -> bool:
    return name.startswith(("train", "validation")) and any(math.isfinite(value) for value in values)


def _without_gaps(steps: Sequence[float], values: Sequence[float]) -> tuple[list[float], list[float]]:
    kept = [(step, value) for step, value in zip(steps, values, strict=True) if math.isfinite(value)]
    return [step for step, _ in kept], [value for _, value in kept]
