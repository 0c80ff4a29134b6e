"""Notes: what was played, as arrays of equal length."""

from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

ONSET_TOLERANCE_S = 0.05
"""The field's usual tolerance of an onset (MIREX note tracking)."""


@dataclass(frozen=True, kw_only=True)
class Notes:
    """Notes of one take, in order of onset, then pitch.

    Attributes:
        onset_s: when the key goes down.
        offset_s: when the key comes up, later than the onset.
        sounding_offset_s: when the damper falls: ``offset_s``, or later under the sustain pedal.
        pitch: MIDI number; 69 is A4.
        velocity: 1 to 127.
    """

    onset_s: NDArray[np.float64]
    offset_s: NDArray[np.float64]
    sounding_offset_s: NDArray[np.float64]
    pitch: NDArray[np.uint8]
    velocity: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.onset_s)

    def columns(self) -> dict[str, NDArray[np.float64] | NDArray[np.uint8]]:
        """Return the arrays by name, as a table's columns."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Self:
        """Return the notes that a mask or an index picks."""
        return replace(
            self,
            onset_s=self.onset_s[rows],
            offset_s=self.offset_s[rows],
            sounding_offset_s=self.sounding_offset_s[rows],
            pitch=self.pitch[rows],
            velocity=self.velocity[rows],
        )

    def until(self, end_s: float) -> Self:
        """Return the notes that begin before ``end_s``; what is down or sounds then ends there."""
        begun = self.take(self.onset_s < end_s)
        return replace(
            begun,
            offset_s=np.minimum(begun.offset_s, end_s),
            sounding_offset_s=np.minimum(begun.sounding_offset_s, end_s),
        )


def sorted_notes(
    onset_s: NDArray[np.float64],
    offset_s: NDArray[np.float64],
    pitch: NDArray[np.integer],
    velocity: NDArray[np.integer],
    sounding_offset_s: NDArray[np.float64] | None = None,
) -> Notes:
    """Make notes in their order from columns in any order; without a pedal a note sounds while its key is down."""
    order = np.lexsort((pitch, onset_s))
    sounding = offset_s if sounding_offset_s is None else sounding_offset_s
    return Notes(
        onset_s=np.asarray(onset_s, np.float64)[order],
        offset_s=np.asarray(offset_s, np.float64)[order],
        sounding_offset_s=np.asarray(sounding, np.float64)[order],
        pitch=np.asarray(pitch, np.uint8)[order],
        velocity=np.asarray(velocity, np.uint8)[order],
    )
