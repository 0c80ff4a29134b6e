"""The clocks of a take's devices: the tables that synchronize writes, and how they are read."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tasks.clock.fit import ClockFit, ScoreFit, Span, Times, WindowTable
from tasks.errors import DamagedData
from tasks.step import write_whole
from tasks.store.tables import read_table, write_table

SYNCHRONIZED = Path("data/synchronized")


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A device or a score with its clock; a device that could not be read is ``unrelated``.

    Attributes:
        name: ``cam_top``, or ``score``.
        role: what it is.
        fit: its clock.
        followed: of a score without a clock, the time of each note, where they could be followed.
    """

    name: str
    role: Literal["master", "camera", "microphone", "score"]
    fit: ClockFit
    followed: ScoreFit | None = None

    @property
    def verdict(self) -> str:
        """``locked``, ``ambiguous`` or ``unrelated``; ``followed`` where there is no clock, but each note's time."""
        return self.fit.verdict if self.followed is None else self.followed.verdict

    def to_master(self, time_s: Times) -> Times:
        """Return the master's time at moments of the device's or the score's.

        Raises:
            ValueError: it is neither locked nor followed.
        """
        return self.fit.to_reference(time_s) if self.followed is None else self.followed.to_reference(time_s)


def write_record(out: Path, master: str, duration_s: float, placed: Sequence[Placed]) -> None:
    """Write ``clock.parquet``, ``windows.parquet`` and ``clock.json`` of a take.

    Args:
        out: the take's folder.
        master: the device whose clock the take lives on.
        duration_s: of the master.
        placed: every device and score of the take, the master first.
    """
    rows = [row for one in placed for row in _span_rows(one)]
    write_table(out / "clock.parquet", {name: _column([row[name] for row in rows]) for name in rows[0]})
    windows = [(one, one.fit.windows) for one in placed]
    write_table(
        out / "windows.parquet",
        {
            "device": [one.name for one, table in windows for _ in range(len(table))],
            "time_s": np.concatenate([table.time_s for _, table in windows]),
            "residual_ms": np.concatenate([table.residual_ms for _, table in windows]),
            "used": np.concatenate([table.used for _, table in windows]),
        },
    )
    facts = {
        "master": master,
        "duration_s": duration_s,
        "devices": {
            one.name: {
                "role": one.role,
                "method": one.fit.method,
                "verdict": one.verdict,
                "reason": one.fit.reason,
                "heard_s": one.fit.heard_s,
                "rivals": [{"delay_s": rival.delay_s, "score": rival.score} for rival in one.fit.rivals],
            }
            for one in placed
        },
    }
    write_whole(out / "clock.json", json.dumps(facts, indent=1, sort_keys=True) + "\n")


def read_clocks(take: str, folder: Path = SYNCHRONIZED) -> tuple[str, dict[str, ClockFit]]:
    """Return a take's master, and the clock of each device that is locked, itself included.

    Raises:
        DamagedData: the tables are missing or damaged.
    """
    try:
        facts = json.loads((folder / take / "clock.json").read_text(encoding="utf-8"))
        table = read_table(folder / take / "clock.parquet")
        clocks = {}
        for name, about in facts["devices"].items():
            if about["verdict"] != "locked":
                continue
            at = [row for row, device in enumerate(table["device"]) if device == name]
            spans = tuple(
                Span(**{key: float(table[key][row]) for key in ("start_s", "end_s", "delay_s", "drift_ppm")})
                for row in at
            )
            clocks[name] = ClockFit(
                verdict="locked",
                reason=about["reason"],
                method=about["method"],
                reference_duration_s=float(facts["duration_s"]),
                duration_s=spans[-1].end_s,
                spans=spans,
                error_ms=float(table["error_ms"][at[0]]),
                windows=WindowTable.empty(),
            )
        return str(facts["master"]), clocks
    except FileNotFoundError as error:
        raise DamagedData(f"{error.filename} is missing: run audiate synchronize first") from None
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DamagedData(f"{folder / take} does not hold a take's clocks: {error}") from None


def _span_rows(one: Placed) -> list[dict[str, Any]]:
    fit = one.fit
    about = {
        "device": one.name,
        "role": one.role,
        "method": fit.method,
        "verdict": one.verdict,
        "residual_p50_ms": fit.residual_p50_ms,
        "residual_p95_ms": fit.residual_p95_ms,
        "error_ms": fit.error_ms,
        "margin": fit.margin,
        "coverage": fit.coverage,
    }
    nothing = {"start_s": np.nan, "end_s": np.nan, "delay_s": np.nan, "drift_ppm": np.nan}
    spans = [
        {"start_s": span.start_s, "end_s": span.end_s, "delay_s": span.delay_s, "drift_ppm": span.drift_ppm}
        for span in fit.spans
    ]
    return [about | span for span in spans or [nothing]]


def _column(values: list[Any]) -> Any:
    return values if isinstance(values[0], str) else np.array(values, np.float64)
