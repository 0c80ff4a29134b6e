"""The report as static pages: their parts, and their HTML.

A report has tables, chapters, takes, cards and pictures. It knows no kind of data: `tasks.report` and the kinds fill
them. The first page has the results and a few examples; a chapter that grows with the data has a page of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from tasks.metrics.metric import Metric
from tasks.page.axis import PLOT
from tasks.page.scores import Table
from tasks.page.text import clock, number, signed, visible
from tasks.page.verdict import Headline

TEMPLATES = Path(__file__).parent / "templates"
INDEX = "index.html"
CATALOG = "catalog.html"
PARTS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class CatalogRow:
    """A take that was accepted. ``part`` is empty where the take is in no data set."""

    take: str
    kind: str
    piece: str
    part: str
    composer: str
    title: str
    duration_s: float
    n_notes: int


@dataclass(frozen=True, kw_only=True)
class Quarantined:
    """A file or take that could not be used."""

    name: str
    kind: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image beside the page.

    Attributes:
        src: relative to the page.
        words: what it shows, for readers who cannot see it.
        kind: its style: ``spectrogram``, ``spectrograms``, ``notes``, ``waveform``, ``loss``, ``residuals``, ``view``,
            ``keyboard`` or ``stage``.
        caption: a few words above it; empty for none.
        width: in pixels, so that the page keeps the room before the image is loaded.
        height: in pixels.
    """

    src: str
    words: str
    kind: str
    caption: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Film:
    """A film without sound, that moves while a sound of its take plays.

    Attributes:
        src: relative to the page.
        still: a picture of it.
    """

    src: str
    still: Picture


@dataclass(frozen=True, kw_only=True)
class Sound:
    """A sound to play.

    Attributes:
        src: relative to the page.
        words: what it is, for readers who cannot see it.
        name: on its button.
        figures: names and values beside its name, ready to print.
    """

    src: str
    words: str
    name: str
    figures: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Card:
    """A box with a title: what one system made of a take, the reference, a training, a take's clocks.

    Attributes:
        title: a system's name, for example.
        remark: beside the title.
        family: of the system; empty where the card is no system's.
        duration_s: of its sounds and of the time axis of its pictures; 0 where it has no sound.
        stills: small pictures without a caption, first.
        sounds: one, or one for each player.
        figures: names and values, ready to print.
        pictures: from top to bottom.
    """

    title: str
    remark: str
    family: str = ""
    duration_s: float = 0.0
    stills: tuple[Picture, ...] = ()
    sounds: tuple[Sound, ...] = ()
    figures: tuple[tuple[str, str], ...] = ()
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ShownTake:
    """A test take on the page: the reference, and what each system made of it.

    Attributes:
        take: its name.
        title: of the piece.
        about: a few words each, between the title and the duration: why it is shown, composer, players, camera.
        duration_s: of the reference.
        film: of the performance; None where there is none.
        reference: what was played.
        systems: the better first, baselines last.
    """

    take: str
    title: str
    about: tuple[str, ...]
    duration_s: float
    film: Film | None
    reference: Card
    systems: tuple[Card, ...]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What stands in a field of a `Listing`.

    Attributes:
        text: may be empty.
        style: ``code``, ``good``, ``weak`` or none.
        note: shown when the pointer rests on it.
    """

    text: str
    style: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A table of facts that are not ranked.

    Attributes:
        columns: heading of each column, and whether it holds numbers.
        rows: an entry for each column.
        title: its heading; empty where it is the only table of its chapter.
    """

    columns: tuple[tuple[str, bool], ...]
    rows: tuple[tuple[Entry, ...], ...]
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """A section of the page with an entry in its contents.

    Attributes:
        name: its address in the page.
        title: its heading.
        intro: what a reader must know; may be empty.
        takes: test takes to play, all of them or some.
        n_takes: how many there are.
        listings: tables above the cards.
        pictures: below the tables.
        cards: side by side.
        empty: what to say where there is nothing to show.
        has_page: it stands on a page of its own, because it grows with the data.
    """

    name: str
    title: str
    intro: str = ""
    takes: tuple[ShownTake, ...] = ()
    n_takes: int = 0
    listings: tuple[Listing, ...] = ()
    pictures: tuple[Picture, ...] = ()
    cards: tuple[Card, ...] = ()
    empty: str = ""
    has_page: bool = False

    @property
    def file(self) -> str:
        """Return the name of the page that it stands on."""
        return f"{self.name}.html" if self.has_page else INDEX


@dataclass(frozen=True, kw_only=True)
class Result:
    """The figures of all systems that were tested on one kind of data.

    Attributes:
        name: of the kind.
        table: the figures that systems are compared by.
        pictures: below the table.
        details: more tables of the same systems.
    """

    name: str
    table: Table
    pictures: tuple[Picture, ...] = ()
    details: tuple[Table, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Page:
    """Everything on the pages.

    Attributes:
        data_version: short name of the data that the page was made from; empty where nothing recorded it.
        headlines: what the figures say, in words.
        examples: test takes that tell most, each with the best systems and the best baseline alone.
        catalog: what was accepted.
        quarantined: what was not.
        pipeline: the stages as SVG.
        results: one for each kind of data that has figures.
        chapters: between the results and the pipeline.
    """

    data_version: str
    headlines: Sequence[Headline]
    examples: Sequence[ShownTake]
    catalog: Sequence[CatalogRow]
    quarantined: Sequence[Quarantined]
    pipeline: Markup
    results: Sequence[Result]
    chapters: Sequence[Chapter]


def picture_at(path: Path, out: Path, words: str, kind: str, caption: str = "") -> Picture:
    """Describe a PNG beside the page.

    Args:
        path: the PNG.
        out: the page's folder.
        words: what it shows.
        kind: as in `Picture`.
        caption: as in `Picture`.
    """
    header = path.read_bytes()[16:24]  # of the IHDR chunk, which comes first in every PNG
    return Picture(
        src=path.relative_to(out).as_posix(),
        words=words,
        kind=kind,
        caption=caption,
        width=int.from_bytes(header[:4]),
        height=int.from_bytes(header[4:]),
    )


def render_pages(page: Page) -> dict[str, str]:
    """Return the HTML of every page by the name of its file: nothing on them is from elsewhere.

    Every name and message is escaped, and characters that cannot be seen are written as their codes.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=visible,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(clock=clock, number=number, signed=signed, url=quote)
    environment.globals.update(
        page=page,
        metrics=_metrics_shown(page.results),
        minutes=_minutes_by_part(page.catalog),
        plot_left=PLOT[0],
        plot_right=PLOT[1],
        # Ours, not data: they must not be escaped.
        style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),  # noqa: S704
        script=Markup((TEMPLATES / "report.js").read_text(encoding="utf-8")),  # noqa: S704
    )
    style = (TEMPLATES / "pipeline.css").read_text(encoding="utf-8")
    drawing = str(page.pipeline).replace(">", f"><style>{style}</style>", 1)  # an image has no style of the page's
    environment.globals["drawing"] = quote(drawing)
    own = {chapter.file: chapter for chapter in page.chapters if chapter.has_page}
    return {
        INDEX: environment.get_template("index.html").render(here=INDEX),
        CATALOG: environment.get_template("catalog.html").render(here=CATALOG),
        **{
            file: environment.get_template("chapter.html").render(here=file, chapter=chapter)
            for file, chapter in own.items()
        },
    }


def _metrics_shown(results: Sequence[Result]) -> Mapping[str, Metric]:
    """Return the metric of every column of every table, those of the main tables first."""
    tables = [result.table for result in results] + [table for result in results for table in result.details]
    shown: dict[str, Metric] = {}
    for table in tables:
        for metric in table.metrics:
            shown.setdefault(metric.key, metric)
    return shown


def _minutes_by_part(catalog: Sequence[CatalogRow]) -> Mapping[str, float]:
    minutes = dict.fromkeys(PARTS, 0.0)
    for row in catalog:
        if row.part in minutes:
            minutes[row.part] += row.duration_s / 60
    return minutes
