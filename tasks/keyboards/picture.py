"""Pictures for people: the keys with their names on a film's picture, and beside them what they play."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.instruments.notes import Notes
from tasks.keyboards.layout import is_black, name_of
from tasks.keyboards.place import Place
from tasks.keyboards.read import FoundKeyboard
from tasks.media.process import MediaError, shown

_LEAST_WHITE_PX = 24.0  # pixels a white key in the picture that is drawn: names have to be readable
_LARGEST = 3.0  # times that the film's picture is made larger, at most
_BESIDE_WHITES = 2.0  # white keys' widths that are shown around the keyboard
_ROLL_HEIGHT = 420  # pixels
_WHITE_LINE, _BLACK_LINE = (60, 200, 60), (60, 120, 255)  # blue, green, red
_INK, _PAPER, _GRID = (40, 40, 40), (255, 255, 255), (225, 225, 225)
_NOTE_OF_WHITE, _NOTE_OF_BLACK = (190, 120, 40), (90, 60, 20)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_TICKS = (0.5, 1, 2, 5, 10, 30, 60, 300, 600)  # seconds between lines of the roll


def named_keys(found: FoundKeyboard) -> NDArray[np.uint8]:
    """Return the film's picture without hands, keys outlined and named, (height, width, 3) in blue, green, red."""
    scale, place = _drawn_size(found)
    planes = np.ascontiguousarray(found.still[[0, 2, 1]].transpose(1, 2, 0))  # OpenCV orders chroma red first
    picture = cv2.cvtColor(planes, cv2.COLOR_YCrCb2BGR)
    picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    spans = place.spans()
    for (first, last), pitch in zip(spans, place.keys.pitches, strict=True):
        end = place.black_share if is_black(pitch) else 1.0
        outline = place.pixels([first, last, last, first], [0.0, 0.0, end, end])
        colour = _BLACK_LINE if is_black(pitch) else _WHITE_LINE
        cv2.polylines(picture, [np.rint(outline).astype(np.int32)], True, colour, 1, cv2.LINE_AA)
    for (first, last), pitch in zip(spans, place.keys.pitches, strict=True):
        at = place.pixels((first + last) / 2, place.black_share * 0.8 if is_black(pitch) else 0.88)
        # Every white key has its letter, and each C its octave.
        name = name_of(pitch) if pitch % 12 == 0 else name_of(pitch)[:-1]
        size = 0.022 * place.white_px * (0.55 if is_black(pitch) else 0.8)
        colour = _PAPER if is_black(pitch) else _INK
        (width, height), _ = cv2.getTextSize(name, _FONT, size, 1)
        corner = round(float(at[0]) - width / 2), round(float(at[1]) + height / 2)
        cv2.putText(picture, name, corner, _FONT, size, colour, 1, cv2.LINE_AA)
    return np.asarray(picture, np.uint8)


def keys_alone(found: FoundKeyboard) -> NDArray[np.uint8]:
    """Return what `named_keys` does of the keyboard and a little around it, (height, width, 3)."""
    picture = named_keys(found)
    corners = _drawn_size(found)[1].corners
    beside = _BESIDE_WHITES * _drawn_size(found)[1].white_px
    (left, top), (right, bottom) = corners.min(axis=0) - beside, corners.max(axis=0) + beside
    height, width = picture.shape[:2]
    rows = slice(max(0, round(float(top))), min(height, round(float(bottom))))
    return picture[rows, max(0, round(float(left))) : min(width, round(float(right)))]


def keys_and_roll(found: FoundKeyboard, notes: Notes, duration_s: float) -> NDArray[np.uint8]:
    """Return the named keys with the notes below them: pitch from left to right, time downwards."""
    keys = named_keys(found)
    width = keys.shape[1]
    roll = np.full((_ROLL_HEIGHT, width, 3), _PAPER, np.uint8)
    step_s = next((tick for tick in _TICKS if duration_s / tick <= 12), _TICKS[-1])
    for moment_s in np.arange(0, duration_s, step_s):
        y = round(moment_s / duration_s * _ROLL_HEIGHT)
        cv2.line(roll, (0, y), (width, y), _GRID, 1)
        cv2.putText(roll, f"{moment_s:g} s", (2, y + 11), _FONT, 0.35, _INK, 1, cv2.LINE_AA)
    place = _drawn_size(found)[1]
    spans = np.sort(place.pixels(place.keys.spans(), 1.0)[..., 0], axis=1)  # below the keys, whichever way they lie
    for onset_s, offset_s, pitch in zip(notes.onset_s, notes.offset_s, notes.pitch.astype(int), strict=True):
        first, last = spans[pitch - found.place.keys.lowest]
        top, bottom = (round(moment_s / duration_s * _ROLL_HEIGHT) for moment_s in (onset_s, offset_s))
        colour = _NOTE_OF_BLACK if is_black(pitch) else _NOTE_OF_WHITE
        cv2.rectangle(roll, (round(first) + 1, top), (round(last) - 1, max(top + 1, bottom - 1)), colour, -1)
    return np.concatenate([keys, roll])


def write_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write a picture as PNG.

    Raises:
        MediaError: ``UNKNOWN_FORMAT``, the name does not end in ``.png``; ``NOT_A_FILE``, it cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise MediaError(f"{shown(path)}: expected a name in .png", kind="UNKNOWN_FORMAT")
    encoded = cv2.imencode(".png", picture)[1]
    try:
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        raise MediaError(f"{shown(path)}: cannot be written: {error.strerror}", kind="NOT_A_FILE") from None


def _drawn_size(found: FoundKeyboard) -> tuple[float, Place]:
    """Return how much larger the still picture is drawn, and the keyboard's place then."""
    place = found.frame.inside(found.place)
    scale = float(np.clip(_LEAST_WHITE_PX / place.white_px, 1.0, _LARGEST))
    return scale, place.scaled(scale)
