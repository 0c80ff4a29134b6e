"""Where a keyboard lies in a film's pictures: from a place along and across its keys to pixels."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasks.keyboards.layout import BLACK_SHARE, Keys


@dataclass(frozen=True, kw_only=True)
class Place:
    """A keyboard's place in a picture.

    A point on the keys is (u, v): u in white keys from the left edge of the lowest key, v from 0 at the far ends of the
    keys to 1 at the white keys' front, as the player sees them.

    Attributes:
        keys: that it has.
        x: coefficients of x in pixels over 1, u, u^2, u^3, and those times v and v^2, (12,); 0 is the middle
            of the first pixel.
        y: of y, likewise.
        black_share: v of the black keys' front.
        black_shift: coefficients over 1, u, u^2 of how far a black key lies beside its place in the plan, in white
            keys: it is higher than the white ones, which moves it away from the camera's axis.
        upside_down: the picture shows the player's side at its top.
        mirrored: high keys lie to the player's left.
    """

    keys: Keys
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    black_share: float = BLACK_SHARE
    black_shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    upside_down: bool = False
    mirrored: bool = False

    def pixels(self, u: ArrayLike, v: ArrayLike) -> NDArray[np.float64]:
        """Return x and y in pixels of points (...,) on the keys, (..., 2)."""
        terms = _terms(np.asarray(u, np.float64), np.asarray(v, np.float64))
        return np.stack([terms @ self.x, terms @ self.y], axis=-1)

    @property
    def corners(self) -> NDArray[np.float64]:
        """Return the white keys' corners in pixels, (4, 2): from the player's far left clockwise, as in take.yaml."""
        n_white = self.keys.n_white
        return self.pixels([0, n_white, n_white, 0], [0, 0, 1, 1])

    @property
    def white_px(self) -> float:
        """Return the width of a white key in pixels, in the middle of the keyboard."""
        middle = self.keys.n_white / 2
        ends = self.pixels([middle - 0.5, middle + 0.5], [0.5, 0.5])
        return float(np.linalg.norm(ends[1] - ends[0]))

    def spans(self) -> NDArray[np.float64]:
        """Return where each key begins and ends in this picture, in white keys, (keys, 2): black ones as seen."""
        spans = self.keys.spans()
        is_black = np.array([pitch % 12 in (1, 3, 6, 8, 10) for pitch in self.keys.pitches])
        shift = np.polynomial.polynomial.polyval(spans[is_black].mean(axis=1), np.array(self.black_shift))
        spans[is_black] += shift[:, None]
        return spans

    def scaled(self, scale: float, *, left: float = 0.0, top: float = 0.0) -> "Place":
        """Return the place in a picture that was cut at (left, top) and then made ``scale`` times as large."""
        first = np.zeros(12)
        first[0] = 1.0
        x = (self.x + (0.5 - left) * first) * scale - 0.5 * first
        y = (self.y + (0.5 - top) * first) * scale - 0.5 * first
        return Place(
            keys=self.keys,
            x=x,
            y=y,
            black_share=self.black_share,
            black_shift=self.black_shift,
            upside_down=self.upside_down,
            mirrored=self.mirrored,
        )


def fitted(
    u: NDArray[np.float64], v: NDArray[np.float64], pixels: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the coefficients of x and y that put points (n,) at pixels (n, 2)."""
    terms = _terms(u, v)
    coefficients = np.asarray(np.linalg.lstsq(terms, pixels, rcond=None)[0], np.float64)
    return coefficients[:, 0], coefficients[:, 1]


def place_of_corners(keys: Keys, corners: NDArray[np.float64]) -> Place:
    """Return the place of a keyboard with corners (4, 2) in pixels, from the player's far left clockwise."""
    n_white = keys.n_white
    plan = np.array([[0, 0], [n_white, 0], [n_white, 1], [0, 1]], np.float32)
    homography = cv2.getPerspectiveTransform(plan, corners.astype(np.float32))
    u, v = (part.ravel() for part in np.meshgrid(np.linspace(0, n_white, 60), np.linspace(0, 1, 7)))
    pixels = cv2.perspectiveTransform(np.stack([u, v], axis=-1)[None], homography)[0]
    x, y = fitted(u, v, np.asarray(pixels, np.float64))
    along, across = corners[1] - corners[0], corners[3] - corners[0]
    return Place(
        keys=keys,
        x=x,
        y=y,
        upside_down=bool(across[1] < 0),
        mirrored=bool(along[0] * across[1] - along[1] * across[0] < 0),
    )


def _terms(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    u, v = np.broadcast_arrays(u, v)
    return np.stack([u**power * part for part in (1.0, v, v**2) for power in range(4)], axis=-1)
