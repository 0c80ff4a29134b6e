"""What a catalog says of the recordings of a take: names and digests, of this version or of an older one.

Nothing is opened by these paths: a reader that does goes through `tasks.intake.record`, which refuses those that lead
outside.
"""

from collections.abc import Mapping, Sequence
from typing import Any


def listed_files(row: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the files that a row of the catalog lists; none where an older version wrote none."""
    found: Sequence[Mapping[str, Any]] = row.get("media", ())
    return found
