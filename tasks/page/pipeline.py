"""The pipeline as a picture: stages of dvc.yaml in the order they run, and what each waits for."""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup, escape

from tasks.errors import DamagedData
from tasks.page.text import visible

_TEMPLATE = re.compile(r"\$\{\s*([A-Za-z0-9_.]+)\s*\}")

ROW_HEIGHT = 58
BOX_HEIGHT = 40
BOX_WIDTH = 134
LANE_WIDTH = 12
COPY_OFFSET = 4
N_LANE_COLOURS = 4


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage of dvc.yaml.

    Attributes:
        name: as ``dvc repro`` calls it.
        items: what a matrix runs it for, one name each; empty for a stage that runs once.
        outs: what it writes, with ``${item.family}`` left as it stands in the file.
        needs: stages that write a file that it reads or takes parameters from, in the order of the file.
    """

    name: str
    items: tuple[str, ...]
    outs: tuple[str, ...]
    needs: tuple[str, ...]


def read_stages(path: Path, *, params: Mapping[str, Any]) -> list[Stage]:
    """Read the stages in an order in which they can run, the file's own order where that leaves a choice.

    Args:
        path: dvc.yaml.
        params: what params.yaml holds, for a matrix that names a list there.

    Raises:
        DamagedData: the file is missing, is no dvc.yaml, or its stages wait for each other in a circle.
    """
    try:
        described = yaml.safe_load(path.read_text(encoding="utf-8"))
        stages: dict[str, Any] = dict(described["stages"])
        runs = {name: _runs(stage, params) for name, stage in stages.items()}
        outs = {name: _paths(stage, ("outs", "metrics", "plots")) for name, stage in stages.items()}
        written = {name: _instances(outs[name], runs[name].values()) for name in stages}
        read = {name: _instances(_read_paths(stage), runs[name].values()) for name, stage in stages.items()}
    except FileNotFoundError:
        raise DamagedData(f"{path} is missing, expected the stages of the pipeline") from None
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedData(f"{path} does not describe stages: {' '.join(str(error).split())}") from None
    needs = {
        name: tuple(other for other in stages if other != name and _overlap(read[name], written[other]))
        for name in stages
    }
    return [
        Stage(name=name, items=tuple(runs[name]), outs=outs[name], needs=needs[name]) for name in _in_order(needs, path)
    ]


def draw_pipeline(stages: Sequence[Stage]) -> Markup:
    """Draw stages below each other as inline SVG; its colours are the page's.

    An arrow straight down joins a stage with the one before it. What stages farther down need of a stage
    leaves it on the left, in one lane with a branch to each of them.
    """
    rows = {stage.name: row for row, stage in enumerate(stages)}
    far = {
        stage.name: ends
        for stage in stages
        if (ends := [rows[s.name] for s in stages if stage.name in s.needs and rows[s.name] > rows[stage.name] + 1])
    }
    lanes = _lanes([(rows[name], max(ends)) for name, ends in far.items()])
    left = 12 + LANE_WIDTH * (max(lanes, default=-1) + 1)
    parts = [
        _lane(left, lane, start=rows[name], ends=ends) for (name, ends), lane in zip(far.items(), lanes, strict=True)
    ]
    for stage in stages:
        row = rows[stage.name]
        if any(rows[need] == row - 1 for need in stage.needs):
            x, top = left + BOX_WIDTH // 2, _middle(row) - BOX_HEIGHT // 2
            start = top - (ROW_HEIGHT - BOX_HEIGHT)
            top -= COPY_OFFSET if len(stage.items) > 1 else 0
            parts.append(f'<path class="edge" d="M{x} {start}V{top - 6}"/><path class="head" d="M{x} {top}l-4 -7h8z"/>')
        parts.append(_box(stage, left, row))
    height = ROW_HEIGHT * len(stages) + 8
    words = escape("; ".join(_sentence(stage) for stage in stages))
    return Markup(  # noqa: S704 - every name in it went through escape()
        f'<svg class="dag" viewBox="0 0 {left + BOX_WIDTH + 235} {height}" role="img" '
        f'aria-labelledby="dag-title dag-words" xmlns="http://www.w3.org/2000/svg">'
        f'<title id="dag-title">Stages of the pipeline</title><desc id="dag-words">{words}</desc>'
        f"{''.join(parts)}</svg>"
    )


def _lane(left: int, lane: int, *, start: int, ends: Sequence[int]) -> str:
    x, top, colour = left - LANE_WIDTH * (lane + 1), _middle(start) + 9, f"lane{lane % N_LANE_COLOURS}"
    branches = [
        f'<path class="edge {colour}" d="M{x} {(y := _middle(end) - 7) - 6}Q{x} {y} {x + 6} {y}H{left - 5}"/>'
        f'<path class="head {colour}" d="M{left} {y}l-7 -4v8z"/>'
        for end in ends
    ]
    down = f"M{left} {top}H{x + 6}Q{x} {top} {x} {top + 6}V{_middle(max(ends)) - 13}"
    return f'<path class="edge {colour}" d="{down}"/>{"".join(branches)}'


def _box(stage: Stage, left: int, row: int) -> str:
    y, middle = _middle(row) - BOX_HEIGHT // 2, _middle(row)
    copies = (
        f'<rect class="box copy" x="{left + COPY_OFFSET}" y="{y - COPY_OFFSET}" width="{BOX_WIDTH}" '
        f'height="{BOX_HEIGHT}" rx="8"/>'
        if len(stage.items) > 1
        else ""
    )
    lines = [_shorten(_TEMPLATE.sub("…", out), 27) for out in stage.outs[:1]]
    if stage.items:
        lines.append(_shorten(", ".join(stage.items), 40))
    start = middle + 4 - 7 * (len(lines) - 1)
    beside = "".join(
        f'<text class="{"out" if index < len(stage.outs[:1]) else "items"}" '
        f'x="{left + BOX_WIDTH + 14}" y="{start + 14 * index}">{escape(visible(line))}</text>'
        for index, line in enumerate(lines)
    )
    return (
        f'{copies}<rect class="box" x="{left}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="8"/>'
        f'<text class="stage" x="{left + BOX_WIDTH // 2}" y="{middle + 5}" text-anchor="middle">'
        f"{escape(visible(_shorten(stage.name, 15)))}</text>{beside}"
    )


def _sentence(stage: Stage) -> str:
    after = f" needs {', '.join(stage.needs)}" if stage.needs else " needs no other stage"
    return str(visible(stage.name + after))


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _middle(row: int) -> int:
    return ROW_HEIGHT * row + ROW_HEIGHT // 2 + 4


def _lanes(spans: Sequence[tuple[int, int]]) -> list[int]:
    """Give each span of rows the innermost lane that no shorter span beside it uses."""
    chosen: dict[int, int] = {}
    for index in sorted(range(len(spans)), key=lambda i: (spans[i][1] - spans[i][0], spans[i])):
        top, bottom = spans[index]
        taken = {lane for other, lane in chosen.items() if top < spans[other][1] and spans[other][0] < bottom}
        chosen[index] = next(lane for lane in itertools.count() if lane not in taken)
    return [chosen[index] for index in range(len(spans))]


def _runs(stage: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return a label for each run of a stage, and what that run puts in place of its templates."""
    if "matrix" in stage:
        axes = {axis: _looked_up(values, params) for axis, values in stage["matrix"].items()}
        return {
            " ".join(map(str, choice)): {f"item.{axis}": str(value) for axis, value in zip(axes, choice, strict=True)}
            for choice in itertools.product(*axes.values())
        }
    if "foreach" not in stage:
        return {}
    over = _looked_up(stage["foreach"], params)
    if isinstance(over, Mapping):
        return {str(key): {"key": str(key), **_fields(item)} for key, item in over.items()}
    return {str(item): {"item": str(item)} for item in over}


def _fields(item: Any) -> dict[str, str]:
    """Return what a run puts in place of ``${item}``, or of its fields where it has some."""
    if not isinstance(item, Mapping):
        return {"item": str(item)}
    return {f"item.{name}": str(value) for name, value in item.items()}


def _looked_up(values: Any, params: Mapping[str, Any]) -> Any:
    """Return what a matrix runs over: as it stands, or what params.yaml has under the name it gives."""
    if not isinstance(values, str):
        return values
    found = _TEMPLATE.fullmatch(values)
    if found is None:
        raise ValueError(f"a matrix over {values!r}, expected a list")
    under: Any = params
    for key in found[1].split("."):
        under = under[key]
    return under


def _paths(stage: Mapping[str, Any], sections: Iterable[str]) -> tuple[str, ...]:
    body = stage.get("do", stage)
    entries = itertools.chain.from_iterable(body.get(section) or () for section in sections)
    # An entry with options is a mapping of one key: data/ingested: {persist: true}
    return tuple(str(entry if isinstance(entry, str) else next(iter(entry))) for entry in entries)


def _read_paths(stage: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a stage reads: its dependencies, and files that it takes parameters from beside params.yaml."""
    params = stage.get("do", stage).get("params") or ()
    return _paths(stage, ("deps",)) + tuple(path for entry in params if isinstance(entry, Mapping) for path in entry)


def _instances(paths: Iterable[str], items: Iterable[Mapping[str, str]]) -> set[Path]:
    filled = set()
    for path, item in itertools.product(paths, tuple(items) or ({},)):
        filled.add(Path(_TEMPLATE.sub(lambda found, item=item: item.get(found[1], found[0]), path)))  # type: ignore[misc]
    return filled


def _overlap(read: Iterable[Path], written: Iterable[Path]) -> bool:
    return any(
        there.is_relative_to(here) or here.is_relative_to(there)
        for here, there in itertools.product(read, tuple(written))
    )


def _in_order(needs: Mapping[str, Sequence[str]], path: Path) -> list[str]:
    order: list[str] = []
    while len(order) < len(needs):
        ready = next((name for name in needs if name not in order and set(needs[name]) <= set(order)), None)
        if ready is None:
            circle = ", ".join(name for name in needs if name not in order)
            raise DamagedData(f"{path}: {circle} wait for each other, expected no circle")
        order.append(ready)
    return order
