"""The clocks of a capture's devices as synchronize wrote them down."""

import json
from pathlib import Path

from tasks.clock.fit import ClockFit, Span, WindowTable
from tasks.errors import DamagedData
from tasks.store.tables import read_table

SYNCHRONIZED = Path("data/synchronized")


def read_clocks(take: str, folder: Path = SYNCHRONIZED) -> tuple[str, dict[str, ClockFit]]:
    """Return a capture's master, and the clock of each device that is locked, itself included.

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
        raise DamagedData(f"{folder / take} does not hold a capture's clocks: {error}") from None
