"""The report as one static page: what stands on it, and its HTML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from tasks.page.figures import PLOT
from tasks.page.scores import Metric, Table
from tasks.page.text import clock, number, signed, visible

TEMPLATES = Path(__file__).parent / "templates"
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
class Refused:
    """Something that was put aside instead of being ingested."""

    name: str
    kind: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image beside the page.

    Attributes:
        src: relative to the page.
        words: what it shows, for those who do not see it.
        kind: ``spectrogram``, ``notes``, ``waveform``, ``loss``, ``view`` or ``residuals``.
        width: in pixels, so that a page keeps the room before the image is there.
        height: in pixels.
    """

    src: str
    words: str
    kind: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What one system made of a take, or the truth: something to play, and pictures of it.

    Attributes:
        system: its name; empty for the truth.
        family: its family; empty for the truth.
        label: a remark beside the name: that it is an upper bound, that it is a baseline.
        src: a film with sound, or a sound.
        is_video: which of both.
        poster: a still of the film.
        pictures: from top to bottom.
        figures: names and values, ready to print.
    """

    system: str
    family: str
    label: str
    src: str
    is_video: bool
    poster: str
    pictures: tuple[Picture, ...]
    figures: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Performed:
    """A test take: the truth, and what each system made of it; of a capture, by one of its cameras."""

    take: str
    camera: str
    title: str
    composer: str
    duration_s: float
    truth: Heard
    systems: tuple[Heard, ...]


@dataclass(frozen=True, kw_only=True)
class Voice:
    """One player of an ensemble, heard alone.

    Attributes:
        name: his number and instrument.
        src: the sound; empty where it is the mix's or nothing at all.
        figures: names and values, ready to print.
    """

    name: str
    src: str
    figures: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Parted:
    """What one system made of a mix, or the truth: a sound a player, and pictures of all.

    Attributes:
        system: its name; empty for the truth.
        family: its family; empty for the truth.
        label: a remark beside the name.
        voices: a player each; of the truth the mix comes first.
        pictures: from top to bottom.
        figures: names and values, ready to print.
    """

    system: str
    family: str
    label: str
    voices: tuple[Voice, ...]
    pictures: tuple[Picture, ...]
    figures: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Separated:
    """A test ensemble: who plays, the mix and the true stems, and what each system made of the mix."""

    take: str
    title: str
    composer: str
    duration_s: float
    players: tuple[str, ...]
    views: Picture | None
    truth: Parted
    systems: tuple[Parted, ...]


@dataclass(frozen=True, kw_only=True)
class DeviceRow:
    """A device of a capture on its master's clock, ready to print; empty where it is not known."""

    device: str
    verdict: str
    method: str
    delay: str
    drift: str
    residual: str
    error: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Captured:
    """A capture: its devices' clocks, what its cameras see, and the residuals over time."""

    take: str
    title: str
    duration_s: float
    devices: tuple[DeviceRow, ...]
    views: tuple[Picture, ...]
    residuals: Picture


@dataclass(frozen=True, kw_only=True)
class Learned:
    """The training of one system."""

    family: str
    system: str
    curve: Picture
    summary: str


@dataclass(frozen=True, kw_only=True)
class Page:
    """Everything on the page.

    Attributes:
        data_version: short name of the data it was made from; empty when nobody wrote it down.
        catalog: what was accepted.
        refused: what was put aside.
        pipeline: the stages as SVG.
        scores: the tables of figures, one for each data set.
        note_scores: for each data set, pictures of how well each note was found; of captures, camera by camera too.
        learned: loss curves.
        performed: test takes, all of them or the first.
        n_test_takes: how many there are.
        captured: the captures, by name.
        separated: test ensembles, all of them or the first.
        n_test_ensembles: how many there are.
    """

    data_version: str
    catalog: Sequence[CatalogRow]
    refused: Sequence[Refused]
    pipeline: Markup
    scores: Sequence[Table]
    note_scores: Mapping[str, Sequence[Picture]]
    learned: Sequence[Learned]
    performed: Sequence[Performed]
    n_test_takes: int
    captured: Sequence[Captured]
    separated: Sequence[Separated] = ()
    n_test_ensembles: int = 0


def picture_at(path: Path, out: Path, words: str, kind: str) -> Picture:
    """Return a PNG beside the page as what the page says of it.

    Args:
        path: the PNG.
        out: the page's folder.
        words: what it shows.
        kind: as in `Picture`.
    """
    header = path.read_bytes()[16:24]  # of the IHDR chunk, which comes first in every PNG
    return Picture(
        src=path.relative_to(out).as_posix(),
        words=words,
        kind=kind,
        width=int.from_bytes(header[:4]),
        height=int.from_bytes(header[4:]),
    )


def render_page(page: Page) -> str:
    """Return the page's HTML: one file without scripts, styles or fonts from elsewhere.

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
    return environment.get_template("report.html").render(
        page=page,
        metrics=_metrics_shown(page.scores),
        minutes=_minutes_by_part(page.catalog),
        plot_left=PLOT[0],
        plot_right=PLOT[1],
        # Ours, not data: they must not be escaped.
        style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),  # noqa: S704
        script=Markup((TEMPLATES / "report.js").read_text(encoding="utf-8")),  # noqa: S704
    )


def _metrics_shown(tables: Sequence[Table]) -> Mapping[str, Metric]:
    """Return what every column of every table means, those of the results first."""
    shown: dict[str, Metric] = {}
    for one in [*tables, *(detail for table in tables for detail in table.details)]:
        for metric in one.metrics:
            shown.setdefault(metric.key, metric)
    return shown


def _minutes_by_part(catalog: Sequence[CatalogRow]) -> Mapping[str, float]:
    minutes = dict.fromkeys(PARTS, 0.0)
    for row in catalog:
        if row.part in minutes:
            minutes[row.part] += row.duration_s / 60
    return minutes
