"""Does a rectified picture show the instrument? Its bars have places, and between them there is a gap each."""

import numpy as np
from numpy.typing import NDArray

from tasks.instruments.marimba import bars_of, row_corners

SMOOTH_SHARE = 0.1  # of the width; slower changes across the picture are light and shadow
EDGE_SHARE = 0.05  # of the width, left out on each side, where such a mean has less to stand on
FULL_ROW = 0.9  # of the bars that the fullest row shows; rows that show fewer are left out

# The rig's marimbas reach 0.86 to 0.97 a picture, its keyboards 0.07. Of noise and stripes of any width and phase
# 999 in 1,000 stay below 0.48. A row that lies half a bar beside its place scores below 0.2.
MIN_MATCH = 0.5


def plan_match(pictures: NDArray[np.uint8], instrument: str, *, margins: tuple[float, float]) -> float | None:
    """Return how well what stands still in rectified pictures agrees with the plan of their instrument.

    It is the correlation, without its sign, of the luma across the picture with the plan's bars and gaps: bars may be
    lighter or darker than what lies below them.

    Args:
        pictures: (P, H, W), of any size; a median over some 32 of them leaves hands and mallets out.
        instrument: whose plan it is.
        margins: shares of width and height that `corner_places` leaves free on each side.

    Returns:
        0 to 1; None for an instrument whose bars have no places here.
    """
    if instrument != "marimba-18":
        return None
    some = pictures[np.unique(np.linspace(0, len(pictures) - 1, 32).astype(int))]
    still = np.median(some, axis=0)
    plan = _bars_in_picture(still.shape[0], still.shape[1], margins)
    bars_in_row = plan.sum(axis=1)
    rows = bars_in_row >= FULL_ROW * bars_in_row.max()
    seen, drawn = (_detail(np.asarray(luma[rows].mean(axis=0), np.float64)) for luma in (still, plan))
    size = float(np.sqrt((seen @ seen) * (drawn @ drawn)))
    return abs(float(seen @ drawn)) / size if size > 0 else 0.0


def _bars_in_picture(height: int, width: int, margins: tuple[float, float]) -> NDArray[np.float64]:
    """Return the share of each pixel's width that a bar covers, (height, width)."""
    bars = bars_of()
    outline = row_corners(bars)
    low, high = outline.min(axis=0), outline.max(axis=0)
    x_share, y_share = (
        ((np.arange(n) + 0.5) / n - margin) / (1 - 2 * margin)
        for n, margin in zip((width, height), margins, strict=True)
    )
    x_cm, y_cm = low[0] + x_share * (high[0] - low[0]), high[1] - y_share * (high[1] - low[1])
    pixel_cm = (high[0] - low[0]) / (1 - 2 * margins[0]) / width
    plan = np.zeros((height, width))
    for bar in bars:
        left, right = bar.x_cm - bar.width_cm / 2, bar.x_cm + bar.width_cm / 2
        inside = np.minimum(x_cm + pixel_cm / 2, right) - np.maximum(x_cm - pixel_cm / 2, left)
        plan += np.outer(np.abs(y_cm) < bar.length_cm / 2, np.clip(inside / pixel_cm, 0, 1))
    return plan


def _detail(luma: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what a moving mean leaves of a line across the picture."""
    half = max(1, round(SMOOTH_SHARE * len(luma) / 2))
    mean = np.convolve(np.pad(luma, half, mode="edge"), np.full(2 * half + 1, 1 / (2 * half + 1)), mode="valid")
    edge = max(1, round(EDGE_SHARE * len(luma)))
    detail: NDArray[np.float64] = (luma - mean)[edge:-edge]
    return detail
