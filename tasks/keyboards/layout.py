"""Where keys lie along a real keyboard, in white keys from the left edge of a C.

A white key is 23.5 mm wide and 150 mm long, a black one covers 95 of these: the same shares as in
`tasks.instruments.keyboard`, whose drawing gives the places of the black keys.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.instruments.keyboard import (
    BLACK_HEIGHT,
    BLACK_WIDTH,
    HEIGHT,
    HIGHEST_PITCH,
    LOWEST_PITCH,
    WHITE_WIDTH,
    key_columns,
)

OCTAVE_WHITES = 7
BLACK_SHARE = BLACK_HEIGHT / HEIGHT  # of a white key's length that a black key covers
BLACK_KEY_WIDTH = BLACK_WIDTH / WHITE_WIDTH  # in white keys
NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
BLACK_CLASSES = (1, 3, 6, 8, 10)
WHITE_CLASSES = (0, 2, 4, 5, 7, 9, 11)
_A0_U = 5.0  # the left edge of A0, in white keys from C0
_MIDDLE_PITCH = 64  # a partial keyboard is taken to lie around it
# The lowest pitch of keyboards that are sold, by the number of their keys.
_LOWEST_OF_SIZE = {25: 48, 32: 53, 37: 48, 44: 41, 49: 36, 54: 36, 61: 36, 73: 28, 76: 28, 88: LOWEST_PITCH}


def key_u(pitch: int) -> tuple[float, float]:
    """Return where a key of 88 begins and ends, in white keys from the left edge of C0."""
    left, end = key_columns()[pitch - LOWEST_PITCH] / WHITE_WIDTH
    return float(left) + _A0_U, float(end) + _A0_U


def _black_centres() -> NDArray[np.float64]:
    """Return the middles of an octave's black keys, in white keys from the left edge of its C, (5,)."""
    octave = 12 * 5
    return np.array([sum(key_u(octave + step)) / 2 - OCTAVE_WHITES * 4 for step in BLACK_CLASSES])


BLACK_CENTRES = _black_centres()


def black_u(number: NDArray[np.integer] | int) -> NDArray[np.float64]:
    """Return the middle of black keys, counted from the C# at u 0, in white keys; numbers below 0 lie left of it."""
    octave, step = np.divmod(np.asarray(number), 5)
    centres: NDArray[np.float64] = octave * OCTAVE_WHITES + BLACK_CENTRES[step]
    return centres


def is_black(pitch: int) -> bool:
    """Say whether a key is black."""
    return pitch % 12 in BLACK_CLASSES


def name_of(pitch: int) -> str:
    """Return a key's name, as ``C4`` for MIDI note 60."""
    return f"{NAMES[pitch % 12]}{pitch // 12 - 1}"


def pitch_named(name: str) -> int:
    """Return the MIDI note of a name as ``D4``, ``F#3`` or ``Bb2``.

    Raises:
        ValueError: it is none, or not one of a piano's 88.
    """
    letters, digits = name[:-1].strip(), name[-1:]
    step = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}.get(letters[:1].upper(), -99)
    step += {"": 0, "#": 1, "b": -1}.get(letters[1:], -99)
    pitch = 12 * (int(digits) + 1) + step if digits.isdigit() else -1
    if not LOWEST_PITCH <= pitch <= HIGHEST_PITCH:
        raise ValueError(f"{name!r} is no key of a piano, expected one from A0 to C8, as D4 or F#3")
    return pitch


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Which keys a keyboard has.

    Attributes:
        lowest: MIDI note of its lowest key, a white one.
        highest: of its highest key, a white one.
        guessed: the octave is a guess.
    """

    lowest: int
    highest: int
    guessed: bool

    @property
    def pitches(self) -> range:
        """MIDI notes of its keys."""
        return range(self.lowest, self.highest + 1)

    @property
    def n_white(self) -> int:
        """How many white keys it has."""
        return sum(not is_black(pitch) for pitch in self.pitches)

    def spans(self) -> NDArray[np.float64]:
        """Return where each key begins and ends, in white keys from the left edge of the lowest, (keys, 2)."""
        first = key_u(self.lowest)[0]
        return np.array([key_u(pitch) for pitch in self.pitches]) - first

    def __str__(self) -> str:
        return f"{len(self.pitches)} keys {name_of(self.lowest)}-{name_of(self.highest)}"


def keys_between(first_u: int, last_u: int) -> Keys:
    """Return the keys of white keys ``first_u`` to ``last_u``, counted from some C: all 88, or a guess."""
    n_white = last_u - first_u + 1
    step = WHITE_CLASSES[first_u % OCTAVE_WHITES]
    n_keys = _pitch_of_white(last_u) - _pitch_of_white(first_u) + 1
    if n_white == 52 and step == LOWEST_PITCH % 12:
        return Keys(lowest=LOWEST_PITCH, highest=HIGHEST_PITCH, guessed=False)
    lowest = _LOWEST_OF_SIZE.get(n_keys, -1)
    if lowest % 12 != step:
        wanted = _MIDDLE_PITCH - n_keys // 2
        lowest = step + 12 * round((wanted - step) / 12)
    while lowest < LOWEST_PITCH:
        lowest += 12
    while lowest + n_keys - 1 > HIGHEST_PITCH and lowest - 12 >= LOWEST_PITCH:
        lowest -= 12
    return Keys(lowest=lowest, highest=min(lowest + n_keys - 1, HIGHEST_PITCH), guessed=True)


def _pitch_of_white(number: int) -> int:
    octave, step = divmod(number, OCTAVE_WHITES)
    return 12 * octave + WHITE_CLASSES[step]
