"""Which recordings hold their whole take back: too bad to learn from without a person having looked at them."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import Field

from tasks.errors import BadInput
from tasks.params import Section

Share = Annotated[float, Field(ge=0, le=1)]


class QualityError(BadInput):
    """A take is held back because of the quality of one of its recordings."""


class HoldBackParams(Section):
    """What holds a take back; otherwise a recording is only flagged.

    Attributes:
        truncated: a device of which more than this share of its declared length is missing; 1 never holds back.
        clipped: a device of whose samples more than this share is clipped; 1 never holds back.
        silent: a device without sound above ``captures.silence_db``.
        master_missing: the device that take.yaml names as the master is missing or cannot be used.
    """

    truncated: Share
    clipped: Share
    silent: bool
    master_missing: bool


def check_quality(rows: Iterable[Mapping[str, Any]], *, where: str, master: str | None, params: HoldBackParams) -> None:
    """Hold a take back where a recording of it is as bad as the parameters say.

    Args:
        rows: of the take's files, as in take.json.
        where: the take's folder, for the message.
        master: the device that take.yaml names.
        params: what holds it back.

    Raises:
        QualityError: ``TRUNCATED``, ``CLIPPED``, ``SILENT`` or ``MASTER_MISSING``.
    """
    used = [row for row in rows if row["state"] == "used" and row["facts"] is not None]
    for row in used:
        name, facts = f"{where}/{row['device']}", row["facts"]
        declared_s, end_s = facts.get("declared_s"), facts.get("truncated_at_s")
        # Without an end that was cut off the header alone says otherwise: that is a flag.
        if declared_s is not None and end_s is not None and 1 - end_s / declared_s > params.truncated:
            raise QualityError(
                f"{name}: ends at {end_s:.3f} s of the {declared_s:.3f} s that its header declares: more is missing "
                f"than ingest.hold_back.truncated = {params.truncated} allows",
                kind="TRUNCATED",
            )
        clipped = (facts.get("audio") or {}).get("clipped", 0.0)
        if clipped > params.clipped:
            raise QualityError(
                f"{name}: {clipped:.4f} of its samples are clipped, expected at most ingest.hold_back.clipped = "
                f"{params.clipped}",
                kind="CLIPPED",
            )
        if params.silent and "silent" in row["flags"]:
            raise QualityError(f"{name}: is silent, expected sound: see ingest.hold_back.silent", kind="SILENT")
    if params.master_missing and master is not None and master not in {row["device"] for row in used}:
        raise QualityError(
            f"{where}: its master {master} is missing or cannot be used, expected the device that take.yaml names: see "
            "ingest.hold_back.master_missing",
            kind="MASTER_MISSING",
        )
