"""Verb ``trace``: what a figure, a segment, a take or a file was made from, and what was made from it.

Receipts, the catalog, the indexes of chunk, the tables of evaluate and dvc.lock say it; no output is read for it, and
nothing is computed. What lies under ``data/`` is believed: `audiate doctor` says whether it is what its receipt says.
"""

import difflib
import glob
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.errors import DamagedData, PipelineError
from tasks.figures import figure_names, figure_of, no_figure, system_of
from tasks.intake.listed import listed_files
from tasks.step import json_sha256
from tasks.store.tables import read_table
from tasks.versions.history import WORKSPACE, NotCachedError, Version, read_version
from tasks.versions.stages import Stage, after, before, maker_of, read_stages

DATA = "data"
SHA256 = re.compile(r"[0-9a-f]{8,64}")
LEARNED = {"train": "trained on", "validation": "validated on", "test": "tested on"}

Direction = Literal["from", "into"]


class TraceError(PipelineError):
    """The name is none of anything here, or of several things."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """One thing that the subject was made from, or that was made from it.

    Attributes:
        direction: ``from`` or ``into``.
        what: its kind: ``recording``, ``receipt``, ``params``, ``code``, ``tool``, ``trained on``, ``segments``, ...
        name: of it: a path, a take, a figure.
        digest: sha256 of a recording, params or a digest of code, key of a receipt, DVC's md5 of an output.
        detail: more, in words.
    """

    direction: Direction
    what: str
    name: str
    digest: str = ""
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What is known of a subject.

    Attributes:
        subject: its full name.
        kind: ``figure``, ``segment``, ``take`` or ``file``.
        detail: what it is, in words.
        links: both ways, in the order of the pipeline.
    """

    subject: str
    kind: str
    detail: str
    links: tuple[Link, ...]


def trace(name: str, *, root: Path = Path()) -> Trace:
    """Find out what a name stands for, what that was made from and what was made from it.

    Args:
        name: a take; a figure, ``FAMILY/SYSTEM/METRIC`` or that and a take; an id of a segment or the sha256 of a
            recording, whole or their first 8 digits and more; a path under ``data/``, or a recording's file name.
        root: folder of the project.

    Raises:
        TraceError: it is none of these here, or it is several.
        FigureError: the family has no such figure.
        DamagedData: nothing was reproduced here, or an index cannot be read.
    """
    made = _Made(root)
    for look in (made.take, made.figure, made.digest, made.file):
        found = look(name)
        if found is not None:
            return found
    takes = difflib.get_close_matches(name, made.catalog, n=3, cutoff=0.5)
    near = f": is it {' or '.join(takes)}?" if takes else ""
    raise TraceError(
        f"{name!r} is no take, figure, segment or file here, expected TAKE, FAMILY/SYSTEM/METRIC, the first 8 digits "
        f"or more of a segment's id or of a recording's sha256, or a path under data/{near}"
    )


class _Made:
    """What lies here, read as far as a question needs it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def stages(self) -> dict[str, Stage]:
        try:
            text = (self.root / "dvc.lock").read_text(encoding="utf-8")
        except FileNotFoundError:
            raise DamagedData("dvc.lock is missing: nothing was reproduced here, run dvc repro") from None
        return read_stages(text, where="dvc.lock")

    @cached_property
    def catalog(self) -> dict[str, dict[str, Any]]:
        """The rows of the catalog by take."""
        rows = self._json(f"{DATA}/ingested/catalog.json", list)
        try:
            return {str(row["take"]): row for row in rows}
        except (TypeError, KeyError):
            raise DamagedData(f"{DATA}/ingested/catalog.json is not a catalog") from None

    @cached_property
    def tools(self) -> Mapping[str, str]:
        path = f"{DATA}/tools.json"
        return self._json(path, dict) if (self.root / path).is_file() else {}

    @cached_property
    def families(self) -> dict[str, str]:
        """The families that were trained, with the data set that each learned from."""
        found = {}
        for name, stage in self.stages.items():
            verb, _, family = name.partition("@")
            if verb == "train":
                sets = (PurePosixPath(path) for path in stage.deps)
                found[family] = next(path.name for path in sets if path.parent == PurePosixPath(f"{DATA}/chunked"))
        return found

    def index(self, data_set: str) -> Mapping[str, Mapping[str, Any]]:
        """Return what chunk says of the takes of a data set; nothing where it has none."""
        path = f"{DATA}/chunked/{data_set}/takes.json"
        return self._json(path, dict) if (self.root / path).is_file() else {}

    def learned(self, family: str) -> Mapping[str, Mapping[str, Any]]:
        """Return what the index said of the takes when a family was trained; that of now where nobody has it."""
        if family not in self._learned_from:
            try:
                self._learned_from[family] = self._version.index_of(family)
            except NotCachedError:
                self._learned_from[family] = self.index(self.families[family])
        return self._learned_from[family]

    @cached_property
    def _version(self) -> Version:
        return read_version(WORKSPACE, root=self.root)

    @cached_property
    def _learned_from(self) -> dict[str, Mapping[str, Mapping[str, Any]]]:
        return {}

    def segments(self, data_set: str, columns: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Return the index of a data set's segments."""
        return read_table(self.root / DATA / "chunked" / data_set / "segments.parquet", columns)

    def evaluated(self, family: str, columns: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Return the figures of a family take by take; nothing where it was not evaluated."""
        path = self.root / DATA / "evaluated" / family / "takes.parquet"
        return read_table(path, columns) if path.is_file() else {}

    def _json(self, path: str, kind: type) -> Any:
        try:
            found = json.loads((self.root / path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DamagedData(f"{path} is missing: run dvc repro, or dvc pull") from None
        except ValueError:
            raise DamagedData(f"{path} is not JSON") from None
        if not isinstance(found, kind):
            raise DamagedData(f"{path} holds a {type(found).__name__}, expected a {kind.__name__}")
        return found

    # -- what a name may stand for ------------------------------------------------------------------------------------

    def take(self, name: str) -> Trace | None:
        take, slash, view = name.partition("/")
        if take not in self.catalog:
            return None
        if slash:
            raise TraceError(f"{name} is a view ({view}) of a take, expected the take: audiate trace {take}")
        row = self.catalog[take]
        links = [*self._recordings([take]), *self._receipts(take), *self._rules(self._stages_of(take))]
        links += self._made_of(take)
        about = f"{row['kind']} of piece {row['piece']}, digest {row['digest']}, {row['duration_s']:.1f} s"
        return Trace(subject=take, kind="take", detail=about, links=tuple(links))

    def figure(self, name: str) -> Trace | None:
        family = name.partition("/")[0]
        path = f"{DATA}/metrics/{family}.json"
        if "/" not in name or not (self.root / path).is_file():
            return None
        values = self._json(path, dict)
        parts = name.split("/")
        for n_parts in range(len(parts), 1, -1):
            figure, row = "/".join(parts[:n_parts]), "/".join(parts[n_parts:])
            value = figure_of(values, figure)
            if value is not None:
                return self._figure(family, *system_of(values, figure), value, row)
        if family == DATA:  # figures of the data themselves are called as paths are
            return None
        raise no_figure(name, figure_names(values, family))

    def digest(self, name: str) -> Trace | None:
        """Find a segment by its id, or a recording by its sha256."""
        if not SHA256.fullmatch(name):
            return None
        found = [(data_set, row) for data_set in self._data_sets() for row in self._segment_rows(data_set, name)]
        paths = [file["path"] for row in self.catalog.values() for file in listed_files(row)]
        digests = [file["sha256"] for row in self.catalog.values() for file in listed_files(row)]
        files = [path for path, sha256 in zip(paths, digests, strict=True) if sha256.startswith(name)]
        if len(found) + len(files) > 1:
            names = [row["segment_id"] for _, row in found] + files
            raise TraceError(f"{name} begins {len(names)} names, expected more of it: {', '.join(names[:4])}")
        if files:
            return self.file(files[0])
        return self._segment(*found[0]) if found else None

    def file(self, name: str) -> Trace | None:
        path = self._path(name)
        media = [
            (take, file)
            for take, row in self.catalog.items()
            for file in listed_files(row)
            if path == file["path"] or name == PurePosixPath(file["path"]).name
        ]
        if len({file["path"] for _, file in media}) > 1:
            some = ", ".join(file["path"] for _, file in media[:4])
            raise TraceError(f"{name} is the name of {len(media)} recordings, expected the path of one: {some}")
        if media:
            [(take, file), *_] = media
            return self._recording(take, file)
        if path is None:
            return None
        stage = maker_of(path, self.stages)
        if stage is None or not (self.root / path).exists():
            return None
        return self._output(path, stage)

    def _path(self, name: str) -> str | None:
        """Return a path as dvc.lock writes it, or None where it is not under ``data/``."""
        try:
            path = (self.root / name).resolve().relative_to(self.root.resolve()).as_posix()
        except (ValueError, OSError):
            return None
        return path if path.startswith(f"{DATA}/") else None

    # -- what each was made from and into -----------------------------------------------------------------------------

    def _figure(self, family: str, system: str, metric: str, value: float, row: str) -> Trace:
        if not system:  # one of the data themselves
            stage = maker_of(f"{DATA}/metrics/{family}.json", self.stages)
            names = before(stage.name, self.stages) if stage else []
            links = [*self._recordings(self.catalog), *self._rules(names)]
            links += self._stages_after(stage.name) if stage else []
            return Trace(subject=f"{family}/{metric}", kind="figure", detail=f"{value:g}", links=tuple(links))
        table = self.evaluated(family)
        rows = self._rows(table, system, metric)
        subject, detail = f"{family}/{system}/{metric}", f"{value:g}, the mean over {len(rows)} rows"
        if row:
            rows = {name: found for name, found in rows.items() if row in (name, name.partition("/")[0])}
            if not rows:
                there = ", ".join(sorted(self._rows(table, system, metric))) or "none"
                raise TraceError(f"{subject} has no row for {row!r}, expected one of: {there}")
            subject += f"/{row}"
            detail = ", ".join(f"{found[0]:g}" for found in rows.values())
        links = [
            Link(
                direction="from",
                what="tested on",
                name=name,
                digest=self.catalog.get(name.partition("/")[0], {}).get("digest", ""),
                detail=f"{found[0]:g}, {found[1]} segments",
            )
            for name, found in rows.items()
        ]
        tested = dict.fromkeys(name.partition("/")[0] for name in rows)
        learned = {take: row["part"] for take, row in self.learned(family).items() if row["part"] != "test"}
        links += [
            Link(direction="from", what=LEARNED[part], name=take, digest=self.catalog.get(take, {}).get("digest", ""))
            for take, part in learned.items()
        ]
        links += self._recordings([*tested, *learned])
        links += [link for take in (*tested, *learned) for link in self._receipts(take)]
        links += self._computed_by(family)
        links += self._rules(before(f"evaluate@{family}", self.stages))
        links += [Link(direction="into", what="metrics", name=f"{DATA}/metrics/{family}.json")]
        links += self._stages_after(f"evaluate@{family}")
        return Trace(subject=subject, kind="figure", detail=detail, links=tuple(links))

    def _rows(self, table: Mapping[str, NDArray[Any]], system: str, metric: str) -> dict[str, tuple[float, int]]:
        """Return the value and the number of segments of each row that a system's figure rests on."""
        if metric not in table:  # a share of a figure, such as that by instrument: all rows of the system
            metric = metric.rpartition("/")[2]
        if metric not in table:
            return {}
        values = table[metric].astype(np.float64)
        return {
            str(table["take"][row]): (float(values[row]), len(table["segment_ids"][row]))
            for row in np.flatnonzero((table["system"] == system) & np.isfinite(values))
        }

    def _segment(self, data_set: str, row: Mapping[str, Any]) -> Trace:
        take, chosen = str(row["take"]), str(row["segment_id"])
        links = [*self._recordings([take]), *self._receipts(take), *self._rules(self._stages_of(take))]
        for family, kind in self.families.items():
            if kind != data_set:
                continue
            links += self._learned(family, take)
            links += self._figures(family, lambda _, ids: chosen in ids)
        links += self._report_of(take)
        detail = (
            f"{row['n_samples']} samples from {row['start_sample']} of take {take} in {row['part']}, "
            f"{DATA}/chunked/{data_set}"
        )
        return Trace(subject=chosen, kind="segment", detail=detail, links=tuple(links))

    def _recording(self, take: str, file: Mapping[str, Any]) -> Trace:
        path = str(file["path"])
        stage = maker_of(path, self.stages)
        links = []
        if stage is not None:  # a film of the virtual rig
            links += [*self._receipts(take, only={stage.name}), *self._rules(before(stage.name, self.stages))]
        links.append(Link(direction="into", what="take", name=take, digest=self.catalog[take]["digest"]))
        links += [
            Link(direction="into", what="receipt", name=link.name, digest=link.digest, detail=link.detail)
            for link in self._receipts(take)
            if stage is None or not link.name.startswith(tuple(stage.outs))
        ]
        links += self._made_of(take)
        detail = f"{file['role']} of take {take}, {file['size']} bytes, sha256 {file['sha256']}"
        return Trace(subject=path, kind="file", detail=detail, links=tuple(links))

    def _output(self, path: str, stage: Stage) -> Trace:
        parts = set(PurePosixPath(path).parts)
        takes = sorted(parts & self.catalog.keys())
        family = stage.name.partition("@")[2]
        earlier = before(stage.name, self.stages)
        links: list[Link] = []
        if family:
            verb = stage.name.partition("@")[0]
            learned = [
                (take, row["part"])
                for take, row in self.learned(family).items()
                if (row["part"] != "test" or verb != "train") and (not takes or take in takes or row["part"] != "test")
            ]
            links += [
                Link(
                    direction="from", what=LEARNED[part], name=take, digest=self.catalog.get(take, {}).get("digest", "")
                )
                for take, part in learned
            ]
            links += self._recordings(take for take, _ in learned)
            links += self._computed_by(family)
            links += self._rules(earlier)
        elif takes:
            links += self._recordings(takes)
            for take in takes:
                links += self._receipts(take, only=set(earlier))
            links += self._rules([name for name in earlier if name in self._stages_of(takes[0]) or name == stage.name])
        else:
            links += [*self._recordings(self.catalog), *self._rules(earlier)]
        links += self._stages_after(stage.name)
        if takes and not family:
            links += [
                Link(direction="into", what="receipt", name=link.name, digest=link.digest, detail=link.detail)
                for link in self._receipts(takes[0])
                if self._stage_of(link.name) in after(stage.name, self.stages)
            ]
            links += self._made_of(takes[0])
        return Trace(subject=path, kind="file", detail=f"made by {stage.name}", links=tuple(links))

    # -- the links ----------------------------------------------------------------------------------------------------

    def _recordings(self, takes: Iterable[str]) -> Iterator[Link]:
        for take in dict.fromkeys(takes):
            for file in listed_files(self.catalog.get(take, {})):
                detail = f"{file['role']} of {take}, {file['size']} bytes"
                yield Link(direction="from", what="recording", name=file["path"], digest=file["sha256"], detail=detail)

    def _receipts(self, take: str, *, only: set[str] | None = None) -> Iterator[Link]:
        """Yield the receipts of a take's folders, in the order of the stages that made them."""
        for name, stage in self.stages.items():
            if only is not None and name not in only:
                continue
            for out in stage.outs:
                folder = self.root / out / take
                if not (folder / "_receipt.json").is_file():
                    continue
                receipt = self._json(f"{out}/{take}/_receipt.json", dict)
                detail = f"{name}, {len(receipt.get('outputs', ()))} files"
                yield Link(
                    direction="from",
                    what="receipt",
                    name=f"{out}/{take}",
                    digest=str(receipt.get("key", "")),
                    detail=detail,
                )

    def _stages_of(self, take: str) -> list[str]:
        """Return the stages that made the folders of a take."""
        return list(dict.fromkeys(link.detail.partition(",")[0] for link in self._receipts(take)))

    def _stage_of(self, path: str) -> str:
        stage = maker_of(path, self.stages)
        return "" if stage is None else stage.name

    def _rules(self, stages: Sequence[str]) -> Iterator[Link]:
        """Yield the parameters, code, libraries and tools of stages."""
        rules: dict[tuple[str, str], Link] = {}
        for name in stages:
            for file, values in self.stages[name].params.items():
                for key, value in values.items():
                    code = file.endswith("code.json")
                    digest = value if isinstance(value, str) and SHA256.fullmatch(value) else json_sha256(value)
                    what = "code" if code else "params"
                    link = Link(direction="from", what=what, name=f"{file}:{key}", digest=digest, detail=name)
                    rules.setdefault((file, key), link)
        yield from sorted(rules.values(), key=lambda link: link.what, reverse=True)
        if any(f"{DATA}/tools.json" in self.stages[name].deps for name in stages):
            for tool, version in self.tools.items():
                yield Link(direction="from", what="tool", name=tool, detail=version)

    def _computed_by(self, family: str) -> Iterator[Link]:
        path = f"{DATA}/trained/{family}/computed_by.json"
        if (self.root / path).is_file():
            about = self._json(path, dict)
            libraries = ", ".join(f"{name} {version}" for name, version in about.get("libraries", {}).items())
            made = self.stages.get(f"train@{family}")
            digest = made.outs.get(f"{DATA}/trained/{family}", "") if made else ""
            yield Link(
                direction="from", what="weights", name=f"{DATA}/trained/{family}", digest=digest, detail=libraries
            )

    def _made_of(self, take: str) -> Iterator[Link]:
        """Yield what was made of a take once it was chunked."""
        data_set = f"{self.catalog[take]['kind']}s"
        part = str(self.index(data_set).get(take, {}).get("part", ""))
        if not part:
            return
        n_segments = int((self.segments(data_set, ["take"])["take"] == take).sum())
        yield Link(
            direction="into",
            what="segments",
            name=f"{DATA}/chunked/{data_set}",
            detail=f"{n_segments} segments of {take} in {part}",
        )
        for family, kind in self.families.items():
            if kind != data_set:
                continue
            yield from self._learned(family, take)
            yield from self._figures(family, lambda row, _: row.partition("/")[0] == take)
        for folder in sorted((self.root / DATA / "scored").glob(f"*/{glob.escape(take)}")):
            name = folder.relative_to(self.root).as_posix()
            yield Link(direction="into", what="scored", name=name, detail=f"by promoted {folder.parent.name}")
        yield from self._report_of(take)

    def _learned(self, family: str, take: str) -> Iterator[Link]:
        """Yield what a family's weights had of a take, where they had it: they may be behind their data."""
        part = str(self.learned(family).get(take, {}).get("part", ""))
        if not part:
            return
        out = f"{DATA}/trained/{family}"
        md5 = self.stages[f"train@{family}"].outs.get(out, "")
        yield Link(direction="into", what=LEARNED[part].replace(" on", " with"), name=out, digest=md5, detail=take)

    def _figures(self, family: str, rests_on: Callable[[str, Sequence[str]], bool]) -> Iterator[Link]:
        """Yield the systems of a family with rows that rest on something, by the row's name and its segments."""
        rows: dict[str, list[str]] = {}
        columns = ["system", "take", "segment_ids"]
        table = self.evaluated(family, columns)
        for system, row, ids in zip(*(table.get(name, ()) for name in columns), strict=True):
            if rests_on(row, ids):
                rows.setdefault(system, []).append(row)
        for system, names in rows.items():
            yield Link(direction="into", what="figures", name=f"{family}/{system}", detail=f"rows {', '.join(names)}")

    def _report_of(self, take: str) -> Iterator[Link]:
        path = f"{DATA}/report/media/{take}"
        if (self.root / path).is_dir():
            yield Link(direction="into", what="report", name=path)

    def _stages_after(self, name: str) -> Iterator[Link]:
        for later in after(name, self.stages):
            for out, md5 in self.stages[later].outs.items():
                yield Link(direction="into", what="output", name=out, digest=md5, detail=later)

    def _data_sets(self) -> list[str]:
        folder = self.root / DATA / "chunked"
        return sorted(path.parent.name for path in folder.glob("*/segments.parquet"))

    def _segment_rows(self, data_set: str, digits: str) -> list[dict[str, Any]]:
        table = self.segments(data_set)
        rows = [row for row, found in enumerate(table["segment_id"]) if found.startswith(digits)]
        return [{name: values[row] for name, values in table.items()} for row in rows]
