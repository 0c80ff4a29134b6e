"""Where an instrument and its notes lie in a picture that was rectified: a view from above, in the same band."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.instruments.marimba import MARIMBA_18, bars_of, row_corners


def corner_places(instrument: str, *, width: int, height: int, margins: tuple[float, float]) -> NDArray[np.float64]:
    """Return where an instrument's corners lie in a rectified picture (4, 2), from the far left clockwise.

    Args:
        instrument: the marimba of 18 bars keeps its shape, long bars to the left; any other becomes a rectangle.
        width: of the picture, in pixels.
        height: of the picture, in pixels.
        margins: shares of the width and of the height that stay free on each side.
    """
    if instrument == "marimba-18":
        outline = row_corners(bars_of())[::-1]  # far left first
        low, high = outline.min(axis=0), outline.max(axis=0)
        share = (outline - low) / (high - low)
        share[:, 1] = 1 - share[:, 1]  # far is up
    else:
        share = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    places: NDArray[np.float64] = np.asarray(margins) + share * (1 - 2 * np.asarray(margins))
    return places * (width, height) - 0.5


def note_columns(
    instrument: str, pitches: Sequence[int], *, width: int, margins: tuple[float, float]
) -> NDArray[np.float64]:
    """Return the column of a rectified picture, in pixels, that the middle of each note's bar or key lies in.

    For an instrument whose plan is not known the notes are spread evenly.
    """
    if instrument == "marimba-18" and set(pitches) <= set(MARIMBA_18):
        bars = bars_of()
        corners = row_corners(bars)
        low, high = corners[:, 0].min(), corners[:, 0].max()
        at = {bar.pitch: (bar.x_cm - low) / (high - low) for bar in bars}
        share = np.array([at[pitch] for pitch in pitches])
    else:
        share = (np.arange(len(pitches)) + 0.5) / max(len(pitches), 1)
    columns: NDArray[np.float64] = (margins[0] + share * (1 - 2 * margins[0])) * width - 0.5
    return columns
