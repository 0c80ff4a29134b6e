"""Figures by name: ``FAMILY/SYSTEM/METRIC`` is a number in ``data/metrics/FAMILY.json``.

``FAMILY/METRIC`` is the figure of the system that bears its family's name, and ``data/hours`` one of the data itself.
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from tasks.errors import PipelineError

METRICS = PurePosixPath("data/metrics")


class FigureError(PipelineError):
    """A name that is no figure's: what was found and which there are."""


def figure_of(values: Mapping[str, Any], name: str) -> float | None:
    """Return a figure of a family, or None where it has none of that name.

    Args:
        values: what ``data/metrics/FAMILY.json`` holds.
        name: of the figure, the family's name first.
    """
    family, *rest = name.split("/")
    for keys in (rest, [family, *rest]):
        found: Any = values
        for key in keys:
            found = found.get(key) if isinstance(found, Mapping) else None
        if isinstance(found, int | float) and not isinstance(found, bool):
            return float(found)
    return None


def system_of(values: Mapping[str, Any], name: str) -> tuple[str, str]:
    """Return the system and the metric of a figure that `figure_of` finds; the system is empty for the data's own."""
    family, *rest = name.split("/")
    if len(rest) > 1 and isinstance(values.get(rest[0]), Mapping):
        return rest[0], "/".join(rest[1:])
    return (family if isinstance(values.get(family), Mapping) else ""), "/".join(rest)


def figure_names(values: Mapping[str, Any], family: str) -> list[str]:
    """Return the names of all figures of a family, in order."""

    def below(place: str, found: Any) -> list[str]:
        if isinstance(found, Mapping):
            return [name for key, value in found.items() for name in below(f"{place}/{key}", value)]
        return [place] if isinstance(found, int | float) else []

    return below(family, values)


def no_figure(name: str, there: Sequence[str]) -> FigureError:
    """Return the error about a name that is no figure's, with those that are most like it."""
    near = difflib.get_close_matches(name, there, n=3, cutoff=0.5)
    hint = f"such as {', '.join(near)}" if near else "FAMILY/SYSTEM/METRIC, as data/metrics has them"
    return FigureError(f"{name!r} is no figure, expected one {hint}")
