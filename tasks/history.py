"""Verb ``history``: one figure through all versions that git has, with the data version that each rests on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from tasks.figures import METRICS, figure_names, figure_of, no_figure
from tasks.versions.commits import commits_that_changed, contents
from tasks.versions.history import WORKSPACE

DATA_FIGURES = METRICS / "data.json"
PLOT_SIZE = (9.0, 4.5)  # inches


@dataclass(frozen=True, kw_only=True)
class Point:
    """A figure in one version.

    Attributes:
        commit: the version's full hash, or `WORKSPACE`.
        at: when it was committed, ISO 8601; empty for the working tree.
        subject: first line of the commit's message.
        data_version: of its takes, or None where it does not say.
        value: the figure; None where the version has none of that name.
    """

    commit: str
    at: str
    subject: str
    data_version: str | None
    value: float | None


def history(name: str, *, root: Path = Path()) -> list[Point]:
    """Follow a figure through the commits that changed results, the oldest first; what stands here now comes last.

    The working tree counts when its figures are not those of the last commit.

    Args:
        name: ``FAMILY/SYSTEM/METRIC``, ``FAMILY/METRIC`` or ``data/METRIC``.
        root: folder of the project.

    Raises:
        FigureError: no version has such a figure.
        HistoryError: this is no repository of git, or it has no commit.
    """
    family = name.partition("/")[0]
    path = METRICS / f"{family}.json"
    commits = commits_that_changed(["dvc.lock", str(METRICS)], root=root)
    files = [f"{commit.commit}:./{file}" for commit in commits for file in (path, DATA_FIGURES)]
    # A name with a line break would be two requests to git, and no file of ours has one.
    texts = contents(files, root=root) if name.isprintable() else [None] * len(files)
    points: list[Point] = []
    known: dict[str, None] = {}
    for commit, figures, data in zip(commits, texts[::2], texts[1::2], strict=True):
        values = _values(figures)
        known |= dict.fromkeys(figure_names(values, family))
        points.append(
            Point(
                commit=commit.commit,
                at=commit.at,
                subject=commit.subject,
                data_version=_data_version(data),
                value=figure_of(values, name),
            )
        )
    here = [(root / file).read_bytes() if (root / file).is_file() else None for file in (path, DATA_FIGURES)]
    if here != texts[-2:]:
        values = _values(here[0])
        known |= dict.fromkeys(figure_names(values, family))
        value = figure_of(values, name)
        points.append(Point(commit=WORKSPACE, at="", subject="", data_version=_data_version(here[1]), value=value))
    if all(point.value is None for point in points):
        families = sorted(file.stem for file in (root / METRICS).glob("*.json"))
        raise no_figure(name, [*known] or [f"{one}/{one}/METRIC" for one in families])
    return points


def plot(points: Sequence[Point], name: str, out: Path) -> None:
    """Draw a figure over the versions that have it; a line marks where the data version changed.

    Args:
        points: of `history`.
        name: of the figure.
        out: .png, .svg or .pdf.

    Raises:
        ValueError: the file's suffix is none of these.
    """
    from matplotlib.figure import Figure

    if out.suffix not in (".png", ".svg", ".pdf"):
        raise ValueError(f"{out} ends in {out.suffix or 'nothing'}, expected .png, .svg or .pdf")
    rows = [(point, point.value) for point in points if point.value is not None]
    figure = Figure(figsize=PLOT_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.plot(range(len(rows)), [value for _, value in rows], marker="o", markersize=3)
    changes = [
        number for number, ((old, _), (new, _)) in enumerate(pairwise(rows), 1) if old.data_version != new.data_version
    ]
    for number in changes:
        label = "another data version" if number == changes[0] else None
        axes.axvline(number - 0.5, color="0.7", linewidth=0.8, zorder=0, label=label)
    shown = sorted({round(place * (len(rows) - 1) / 7) for place in range(8)})
    axes.set_xticks(shown, [_label(rows[number][0]) for number in shown], rotation=30, ha="right", fontsize=8)
    axes.set_ylabel(name.rpartition("/")[2])
    axes.set_title(name)
    if changes:
        axes.legend(frameon=False)
    figure.savefig(out, dpi=120)


def _label(point: Point) -> str:
    if point.commit == WORKSPACE:
        return WORKSPACE
    return f"{point.commit[:7]}\n{datetime.fromisoformat(point.at):%Y-%m-%d}"


def _values(text: bytes | None) -> Mapping[str, Any]:
    """Return what a file of figures holds; nothing where an early version had another layout."""
    try:
        found = json.loads(text or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, Mapping) else {}


def _data_version(text: bytes | None) -> str | None:
    found = _values(text).get("data_version")
    return None if found is None else str(found)
