"""A tutorial film: bars fall onto a drawn keyboard and light its keys while they sound.

A bar's lower edge reaches the keyboard at the onset, its upper edge at the offset; the key is lit between both. Where a
key is struck again at once it stays lit, and the line between two bars alone tells the stroke.

Pictures are (height, width, 3), blue, green, red.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.instruments.keyboard import IS_BLACK, LOWEST_PITCH, key_columns
from tasks.instruments.notes import Notes

_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_SUBPIXELS = 4  # bits
_GLOW_S = 0.12  # that a key glows after its onset
Colour = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Banner:
    """A box over the keys for a while, as a request to subscribe is.

    Attributes:
        start_s: when it appears.
        end_s: when it has gone.
        left: its left edge, as a share of the picture's width.
        width: of it, as a share.
    """

    start_s: float
    end_s: float
    left: float
    width: float


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a tutorial film looks like.

    Attributes:
        width: pixels, even.
        height: pixels, even.
        keys: first and last key drawn, 0 to 87, both white.
        left: of the keyboard, pixels; it ends as far from the right edge.
        top: of the keyboard, pixels.
        bottom: of the keyboard, pixels.
        fall_s: from the top of the picture to the keyboard.
        hues: colours of the bars and lit keys of the left and the right hand.
        split: first pitch of the right hand.
        background: behind the bars.
        gap: pixels between two bars of one key that touch.
        names: whether keys and bars carry their names.
        glow: whether a key glows where a bar meets it.
        white: colour of a white key.
        black_length: of a black key, as a share of a white one's.
        intro_s: how long a title stands, and from when the keyboard fades in for half a second; 0 is none.
        banner: over the keys, or None.
    """

    width: int
    height: int
    keys: tuple[int, int]
    left: float
    top: int
    bottom: int
    fall_s: float
    hues: tuple[Colour, Colour]
    split: int
    background: Colour
    gap: float
    names: bool
    glow: bool
    white: Colour
    black_length: float
    intro_s: float
    banner: Banner | None

    @cached_property
    def edges(self) -> NDArray[np.float64]:
        """Left and right edge of each of the 88 keys in pixels, (88, 2); beyond the picture for those not drawn."""
        columns = key_columns().astype(np.float64)
        first, last = columns[self.keys[0], 0], columns[self.keys[1], 1]
        edges: NDArray[np.float64] = self.left + (columns - first) * (self.width - 2 * self.left) / (last - first)
        return edges

    @property
    def white_px(self) -> float:
        """Pixels from a white key to the next."""
        return float(self.edges[self.keys[0], 1] - self.edges[self.keys[0], 0])

    def corners(self) -> NDArray[np.float64]:
        """Return the keyboard's corners (4, 2) in pixels, clockwise from the player's far left."""
        left, right = self.edges[self.keys[0], 0], self.edges[self.keys[1], 1]
        # Pixels count from the middle of the first one, edges from its left side.
        corners = np.array([[left, self.top], [right, self.top], [right, self.bottom], [left, self.bottom]])
        return corners - 0.5


class FallingNotes:
    """A tutorial film of a performance.

    Args:
        look: what it looks like.
        notes: those whose keys are drawn are shown.
        end_s: of the film.
    """

    def __init__(self, look: Look, notes: Notes, *, end_s: float) -> None:
        self.look = look
        self.end_s = end_s
        key = notes.pitch.astype(int) - LOWEST_PITCH
        self.notes = notes.take((key >= look.keys[0]) & (key <= look.keys[1]))
        self._keys = self.notes.pitch.astype(int) - LOWEST_PITCH
        self._speed = look.top / look.fall_s  # pixels a second
        self._still = self._draw_still()

    def picture(self, time_s: float) -> NDArray[np.uint8]:
        """Draw what is shown at a moment."""
        look = self.look
        if time_s < look.intro_s:
            return self._title()
        picture = self._still.copy()
        self._draw_bars(picture[: look.top], time_s)
        sounds = np.flatnonzero((self.notes.onset_s <= time_s) & (time_s < self.notes.offset_s))
        whites, blacks = (sounds[IS_BLACK[self._keys[sounds]] == black] for black in (False, True))
        for row in whites:
            self._draw_key(picture, int(self._keys[row]), self._hue(int(row)))
        covered = {neighbour for key in self._keys[whites].tolist() for neighbour in (key - 1, key + 1)}
        for key in sorted(covered):
            if look.keys[0] <= key <= look.keys[1] and IS_BLACK[key]:
                self._draw_key(picture, key, None)
        for row in blacks:
            self._draw_key(picture, int(self._keys[row]), self._hue(int(row)))
        if look.glow:
            for row in sounds:
                self._draw_glow(picture, int(row), time_s)
        if look.banner is not None and look.banner.start_s <= time_s < look.banner.end_s:
            self._draw_banner(picture, look.banner)
        if look.intro_s and time_s < look.intro_s + 0.5:
            share = (time_s - look.intro_s) / 0.5
            picture = np.asarray(cv2.convertScaleAbs(picture, alpha=share), np.uint8)
        return picture

    def hidden_s(self) -> list[tuple[float, float]]:
        """Return the spans in which the keyboard, or a part of it, is not shown."""
        look = self.look
        spans = [(0.0, look.intro_s + 0.5)] if look.intro_s else []
        return spans + ([(look.banner.start_s, look.banner.end_s)] if look.banner is not None else [])

    def _hue(self, row: int) -> Colour:
        return self.look.hues[int(self.notes.pitch[row] >= self.look.split)]

    def _draw_still(self) -> NDArray[np.uint8]:
        look = self.look
        picture = np.empty((look.height, look.width, 3), np.uint8)
        picture[:] = np.rint(look.background)
        for key in range(look.keys[0], look.keys[1] + 1):  # lanes of the octaves
            if (LOWEST_PITCH + key) % 12 in (0, 5):
                x = round(look.edges[key, 0])
                cv2.line(picture, (x, 0), (x, look.top), [min(255, value + 22) for value in look.background], 1)
        picture[look.top : look.bottom] = 12
        for black in (False, True):
            for key in range(look.keys[0], look.keys[1] + 1):
                if IS_BLACK[key] == black:
                    self._draw_key(picture, key, None)
        picture[look.top - 2 : look.top] = (30, 30, 120)  # the felt
        return picture

    def _draw_key(self, picture: NDArray[np.uint8], key: int, hue: Colour | None) -> None:
        look = self.look
        left, right = np.rint(look.edges[key]).astype(int).tolist()
        if IS_BLACK[key]:
            bottom = look.top + round((look.bottom - look.top) * look.black_length)
            picture[look.top : bottom, left:right] = 8
            body = (34.0, 32.0, 30.0) if hue is None else tuple(0.72 * value for value in hue)
            margin = max(1, round(look.white_px / 14))
            picture[look.top : bottom - 3 * margin, left + margin : right - margin] = np.rint(body)
            return
        picture[look.top : look.bottom, left : max(right - 1, left + 1)] = np.rint(look.white if hue is None else hue)
        rim = max(2, (look.bottom - look.top) // 18)
        picture[look.bottom - rim : look.bottom, left : right - 1] //= 2
        if look.names and not IS_BLACK[key]:
            self._write(picture, _NAMES[(LOWEST_PITCH + key) % 12], (left + right) / 2, look.bottom - 2 * rim)

    def _write(self, picture: NDArray[np.uint8], text: str, middle: float, base: float) -> None:
        (wide, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, self._label_size, 1)
        place = (round(middle - wide / 2), round(base))
        cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, self._label_size, (60, 50, 50), 1, cv2.LINE_AA)

    @property
    def _label_size(self) -> float:
        return max(0.25, self.look.white_px / 45)

    def _draw_bars(self, picture: NDArray[np.uint8], time_s: float) -> None:
        look, notes = self.look, self.notes
        shown = (notes.onset_s < time_s + look.fall_s) & (notes.offset_s > time_s)
        rows = np.flatnonzero(shown)
        scale = 2**_SUBPIXELS
        for row in rows[np.argsort(IS_BLACK[self._keys[rows]], kind="stable")].tolist():
            key = int(self._keys[row])
            left, right = look.edges[key]
            low = look.top - (notes.onset_s[row] - time_s) * self._speed
            high = look.top - (notes.offset_s[row] - time_s) * self._speed + look.gap
            if low - high < 1:
                continue
            inset = 0.08 * (right - left)
            outline = np.array([[left + inset, high], [right - inset, high], [right - inset, low], [left + inset, low]])
            corners = np.rint((outline - 0.5) * scale).astype(np.int32)
            shade = 0.72 if IS_BLACK[key] else 1.0
            hue = self._hue(row)
            cv2.fillConvexPoly(picture, corners, [shade * v for v in hue], cv2.LINE_AA, _SUBPIXELS)
            rim = [0.6 * shade * v for v in hue]
            cv2.polylines(picture, [corners], isClosed=True, color=rim, lineType=cv2.LINE_AA, shift=_SUBPIXELS)
            if look.names:
                self._write(picture, _NAMES[int(notes.pitch[row]) % 12], (left + right) / 2, low - 3)

    def _draw_glow(self, picture: NDArray[np.uint8], row: int, time_s: float) -> None:
        look = self.look
        left, right = look.edges[self._keys[row]]
        strength = 0.35 + 0.65 * max(0.0, 1 - (time_s - float(self.notes.onset_s[row])) / _GLOW_S)
        reach = round(0.7 * look.white_px)
        middle = round((left + right) / 2)
        rows = slice(max(look.top - reach, 0), look.top)
        columns = slice(max(middle - reach, 0), min(middle + reach, look.width))
        y, x = np.mgrid[rows, columns]
        fade = np.clip(1 - np.hypot(x - middle, y - look.top) / reach, 0, 1)[..., None] * strength
        lit = picture[rows, columns] + fade * (255.0 - picture[rows, columns])
        picture[rows, columns] = np.rint(lit)

    def _draw_banner(self, picture: NDArray[np.uint8], banner: Banner) -> None:
        look = self.look
        left, right = round(banner.left * look.width), round((banner.left + banner.width) * look.width)
        top = look.top - round(0.12 * look.height)
        bottom = look.top + round(0.75 * (look.bottom - look.top))
        picture[top:bottom, left:right] = (245, 245, 245)
        cv2.rectangle(picture, (left, top), (right, bottom), (40, 40, 200), 3)
        place = (left + 12, (top + bottom) // 2)
        size = look.width / 1100
        cv2.putText(picture, "Subscribe", place, cv2.FONT_HERSHEY_DUPLEX, size, (40, 40, 200), 1, cv2.LINE_AA)

    def _title(self) -> NDArray[np.uint8]:
        look = self.look
        picture = np.zeros((look.height, look.width, 3), np.uint8)
        place = (look.width // 5, look.height // 2)
        cv2.putText(picture, "Piano Tutorial", place, cv2.FONT_HERSHEY_DUPLEX, look.width / 500, (230, 230, 230), 2)
        return picture
