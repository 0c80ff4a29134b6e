"""The piano from above: which picture stands when, and what it looks like (DeepSynth sections 1 and 4).

A picture is the luma plane of a film, 780 x 57: 52 white keys of 15 pixels, black keys between them, no
chroma; its last two rows are dark while the sustain pedal is down. Only the moments where a key or the pedal
moves have a picture; ``shown_at`` says which one stands at any tick of any rate.

Shapes: C pictures, one for each change of the keys or the pedal.
"""

from collections.abc import Iterator
from fractions import Fraction
from math import ceil
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tasks.instruments.grid import nearest_points, times_s
from tasks.instruments.midi import PEDAL_DOWN, SUSTAIN, Controls
from tasks.instruments.notes import Notes

N_KEYS = 88
LOWEST_PITCH = 21  # A0
HIGHEST_PITCH = LOWEST_PITCH + N_KEYS - 1  # C8
WIDTH = 780  # pixels: 52 white keys of 15
HEIGHT = 57

WHITE_WIDTH = 15
BLACK_WIDTH = 8
BLACK_HEIGHT = 36  # of 57: a real sharp covers 95 of a white key's 150 mm
PEDAL_HEIGHT = 2  # of 57: the front edge of all white keys, dark while the pedal is down

# Where a sharp begins, counted from the left edge of the white key before it. The five parts of C to E and
# the seven of F to B share their width as on a real piano, so the outer sharps of a group lean outwards.
_SHARP_STARTS = {1: 10, 3: 12, 6: 9, 8: 11, 10: 13}  # C#, D#, F#, G#, A#

# Broadcast luma runs from 16 to 235. A lit key leaves its resting luma, the further the harder it was struck;
# steps above 1 keep any two velocities apart, and the hardest stroke ends 199 from rest.
_WHITE_UP = 235
_BLACK_UP = 16
_GAP = 16  # the dark lines between keys
_LIT_STEP = 40.0  # luma between a resting key and one struck as softly as can be
_LUMA_PER_VELOCITY = 1.25

FLAT_VELOCITY = 64  # ``lit="flat"`` draws every pressed key as if it had been struck with this velocity

_PEDAL_SHARE = 0.75  # of the light above them that the last rows keep at least while the pedal is up

Lit = Literal["flat", "velocity"]


def key_columns() -> NDArray[np.intp]:
    """Return where each key lies: (88, 2), first pixel column and the one past the last.

    White keys are 15 columns wide at their front, black keys 8; neighbours overlap, as they do on a piano.
    """
    columns = np.empty((N_KEYS, 2), np.intp)
    for key in range(N_KEYS):
        left, width = _key_left(key), BLACK_WIDTH if IS_BLACK[key] else WHITE_WIDTH
        columns[key] = left, left + width
    return columns


def _key_left(key: int) -> int:
    octave, step = divmod(LOWEST_PITCH + key, 12)
    white = 7 * octave + [0, 0, 1, 1, 2, 3, 3, 4, 4, 5, 5, 6][step]  # this key, or the one its sharp leans on
    lowest_white = 7 * (LOWEST_PITCH // 12) + 5  # A0 is the sixth of its octave
    return (white - lowest_white) * WHITE_WIDTH + _SHARP_STARTS.get(step, 0)


def _paint_key_ids() -> NDArray[np.uint8]:
    """Return which key each pixel of the picture belongs to, (57, 780); N_KEYS for the lines between keys."""
    ids = np.full((HEIGHT, WIDTH), N_KEYS, np.uint8)
    columns = key_columns()
    for key in np.flatnonzero(~IS_BLACK):
        left, end = columns[key]
        ids[:, left : end - 1] = key  # its last column is the line to the next key
    for key in np.flatnonzero(IS_BLACK):
        left, end = columns[key]
        ids[:BLACK_HEIGHT, left:end] = N_KEYS
        ids[: BLACK_HEIGHT - 1, left + 1 : end - 1] = key
    return ids


def _luma_table() -> NDArray[np.uint8]:
    """Return the luma of a key by its colour (0 white, 1 black) and velocity (0 at rest), (2, 128)."""
    contrast = np.floor(_LIT_STEP + _LUMA_PER_VELOCITY * np.arange(128) + 0.5)
    contrast[0] = 0.0
    return np.stack([_WHITE_UP - contrast, _BLACK_UP + contrast]).astype(np.uint8)


IS_BLACK: NDArray[np.bool_] = np.isin((LOWEST_PITCH + np.arange(N_KEYS)) % 12, list(_SHARP_STARTS))
KEY_IDS: NDArray[np.uint8] = _paint_key_ids()
_LUMA: NDArray[np.uint8] = _luma_table()

# The picture has few different rows: each is looked up once and then copied from its first line to its last.
_FIRST_LINES = np.flatnonzero(np.r_[True, np.any(KEY_IDS[1:] != KEY_IDS[:-1], axis=1)])
_LAST_LINES = np.r_[_FIRST_LINES[1:], HEIGHT]


def key_states(
    notes: Notes, *, restrike_gap_s: float, step_s: Fraction | None = None
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Turn notes into the pictures of their keys.

    Keys follow ``onset_s`` and ``offset_s``: a pedal holds the sound, not the key. A key that is struck again
    is up for ``restrike_gap_s`` before the new onset, or for half of the note before it if that is shorter,
    even where the notes touch or overlap; otherwise the picture could not show the second stroke. Strokes of
    one key at the same moment are one stroke, the hardest. Notes outside the 88 keys have no picture.

    Args:
        notes: in any order.
        restrike_gap_s: at least 0; 0 shows a second stroke by its velocity alone.
        step_s: of the grid that the notes are on. The moments before a second stroke are put on it too: the gap is
            rounded up to whole steps, half of a note down. A note of one step before a second stroke leaves no room:
            that stroke shows by its velocity alone.

    Returns:
        When each picture appears, (C,), strictly rising from exactly 0.0; and its keys, (C, 88): 0 is up, 1
        to 127 the velocity that the key was struck with.

    Raises:
        ValueError: a time is negative or not finite, an offset is not after its onset, a velocity is 0 or
            above 127.
    """
    if not (np.isfinite(restrike_gap_s) and restrike_gap_s >= 0):
        raise ValueError(f"restrike_gap_s is {restrike_gap_s}, expected a number of at least 0")
    _check_notes(notes)
    notes = notes.take((notes.pitch >= LOWEST_PITCH) & (notes.pitch <= HIGHEST_PITCH))
    key, press_s, release_s, velocity = _strokes(notes, restrike_gap_s, step_s)

    time_s = np.unique(np.concatenate([[0.0], press_s, release_s]))
    time_s[0] = 0.0  # never -0.0
    # Strokes of one key never overlap: add the velocity at the press, take it off at the release.
    change = np.zeros((len(time_s), N_KEYS), np.int16)
    np.add.at(change, (np.searchsorted(time_s, press_s), key), velocity)
    np.add.at(change, (np.searchsorted(time_s, release_s), key), -velocity)
    shows: NDArray[np.bool_] = np.any(change != 0, axis=1)
    shows[0] = True
    states = np.cumsum(change, axis=0, dtype=np.int16).astype(np.uint8)
    return time_s[shows], states[shows]


def _check_notes(notes: Notes) -> None:
    bad = ~((notes.onset_s >= 0) & (notes.offset_s > notes.onset_s) & np.isfinite(notes.offset_s))
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"note {row} lasts from {notes.onset_s[row]} to {notes.offset_s[row]} s, expected 0 <= onset < offset"
        )
    bad = (notes.velocity < 1) | (notes.velocity > 127)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"note {row} has velocity {notes.velocity[row]}, expected 1 to 127")


def _strokes(
    notes: Notes, restrike_gap_s: float, step_s: Fraction | None
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64], NDArray[np.int16]]:
    """Return key, press, release and velocity of every stroke; those of one key never overlap."""
    order = np.lexsort((notes.onset_s, notes.pitch))
    pitch, onset_s = notes.pitch[order], notes.onset_s[order]
    first = np.flatnonzero(np.r_[pitch[:1] > 0, (np.diff(pitch) != 0) | (np.diff(onset_s) != 0)])
    key = pitch[first].astype(np.intp) - LOWEST_PITCH
    press_s = onset_s[first]
    if not len(first):
        return key, press_s, press_s.copy(), np.zeros(0, np.int16)
    release_s = np.maximum.reduceat(notes.offset_s[order], first)
    velocity = np.maximum.reduceat(notes.velocity[order], first).astype(np.int16)

    again = np.flatnonzero(key[1:] == key[:-1])  # strokes that another one of the same key follows
    next_s = press_s[again + 1]
    held_until_s = np.minimum(release_s[again], next_s)
    if step_s is None:
        latest_s = next_s - np.minimum(restrike_gap_s, (held_until_s - press_s[again]) / 2)
    else:
        pressed, held_until, following = (nearest_points(t, step_s) for t in (press_s[again], held_until_s, next_s))
        gap = ceil(Fraction(restrike_gap_s) / step_s)
        latest_s = times_s(following - np.minimum(gap, (held_until - pressed) // 2), step_s)
    lifted_s = np.minimum(release_s[again], latest_s)
    # Onsets one float64 apart leave no number between them to lift at.
    release_s[again] = np.where(lifted_s > press_s[again], lifted_s, next_s)
    return key, press_s, release_s, velocity


def with_pedal(
    time_s: NDArray[np.float64], velocity: NDArray[np.uint8], controls: Controls | None
) -> tuple[NDArray[np.float64], NDArray[np.uint8], NDArray[np.uint8]]:
    """Add the pictures in which the sustain pedal moves to those in which keys move.

    Args:
        time_s: when the pictures of the keys appear, (C,), strictly rising, the first at 0.0.
        velocity: their keys, (C, 88).
        controls: pedals, in order of time; None shows the pedal up.

    Returns:
        When each picture appears, its keys, and whether its pedal is down (0 or 1), (C,): where both or only one of
        them moves, once each. Of several moves at one time the last one shows.
    """
    if controls is None:
        return time_s, velocity, np.zeros(len(time_s), np.uint8)
    moves = controls.control == SUSTAIN
    moved_s = np.maximum(controls.time_s[moves], 0.0)
    is_down = np.r_[False, controls.value[moves] >= PEDAL_DOWN]
    all_s = np.union1d(time_s, moved_s)
    keys = velocity[np.searchsorted(time_s, all_s, side="right") - 1]
    pedal = is_down[np.searchsorted(moved_s, all_s, side="right")].astype(np.uint8)
    shows = np.r_[True, (np.diff(pedal) != 0) | np.any(keys[1:] != keys[:-1], axis=1)]
    return all_s[shows], keys[shows], pedal[shows]


def draw_keyboard(
    velocity: NDArray[np.uint8], *, lit: Lit, pedal: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Draw the keyboard, as exact luma.

    Args:
        velocity: (C, 88), 0 for a key that is up, else 1 to 127. A picture takes 44 kB: draw long takes in
            parts.
        lit: ``"flat"`` gives all pressed white keys one luma and all pressed black keys one; with
            ``"velocity"`` the luma says how hard the key was struck, and ``read_keyboard`` reads it back.
        pedal: (C,), 1 where the sustain pedal is down: the last two rows are dark then; None draws it up.

    Returns:
        (C, 57, 780), luma 16 to 235.

    Raises:
        ValueError: the array is not (C, 88) of uint8 up to 127, there are not as many pedals, or ``lit`` is unknown.
    """
    if pedal is not None and pedal.shape != velocity.shape[:1]:
        raise ValueError(f"pedal is {pedal.shape} for velocity {velocity.shape}, expected one a picture")
    if velocity.dtype != np.uint8 or velocity.ndim != 2 or velocity.shape[1] != N_KEYS:
        raise ValueError(f"velocity is {velocity.dtype} {velocity.shape}, expected uint8 (C, {N_KEYS})")
    if velocity.max(initial=0) > 127:
        raise ValueError(f"velocity reaches {velocity.max()}, expected at most 127")
    if lit == "flat":
        velocity = np.where(velocity > 0, np.uint8(FLAT_VELOCITY), np.uint8(0))
    elif lit != "velocity":
        raise ValueError(f"lit is {lit!r}, expected 'flat' or 'velocity'")
    luma = np.full((len(velocity), N_KEYS + 1), _GAP, np.uint8)
    luma[:, :N_KEYS] = _LUMA[IS_BLACK.astype(np.intp), velocity]

    rows = np.take(luma, KEY_IDS[_FIRST_LINES], axis=1)  # (C, different rows, 780)
    pictures = np.empty((len(velocity), HEIGHT, WIDTH), np.uint8)
    for row, (first, last) in enumerate(zip(_FIRST_LINES, _LAST_LINES, strict=True)):
        pictures[:, first:last] = rows[:, row, None]
    if pedal is not None:
        pictures[pedal != 0, -PEDAL_HEIGHT:] = _GAP
    return pictures


def read_keyboard(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Read pressed keys and velocities from pictures: the inverse of ``draw_keyboard(..., lit="velocity")``.

    Each key is the mean over the part of it that no other key covers, so that it can also be read from a film
    that was compressed. Under ``lit="flat"`` every pressed key reads FLAT_VELOCITY. The pedal changes nothing here.

    Args:
        pictures: (C, 57, 780) luma.

    Returns:
        (C, 88): 0 where the key is up, else 1 to 127.
    """
    if pictures.shape[1:] != (HEIGHT, WIDTH):
        raise ValueError(f"pictures are {pictures.shape}, expected (C, {HEIGHT}, {WIDTH})")
    velocity = np.empty((len(pictures), N_KEYS), np.uint8)
    for key, (left, end) in enumerate(key_columns()):
        # Two pixels inside each edge: a codec blurs them.
        lines = slice(2, BLACK_HEIGHT - 3) if IS_BLACK[key] else slice(BLACK_HEIGHT + 2, HEIGHT - PEDAL_HEIGHT)
        inside = pictures[:, lines, left + 2 : end - 3]
        contrast = np.abs(inside.mean(axis=(1, 2)) - (_BLACK_UP if IS_BLACK[key] else _WHITE_UP))
        struck = np.clip(np.floor((contrast - _LIT_STEP) / _LUMA_PER_VELOCITY + 0.5), 1, 127)
        velocity[:, key] = np.where(contrast > _LIT_STEP / 2, struck, 0)
    return velocity


def read_pedal(pictures: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Read from pictures whether the sustain pedal is down.

    The last rows are compared with those above them, so that it can also be read from a film that was compressed or
    scaled, whatever keys are lit.

    Args:
        pictures: (C, 57, 780) luma.

    Returns:
        (C,), true where it is down.
    """
    if pictures.shape[1:] != (HEIGHT, WIDTH):
        raise ValueError(f"pictures are {pictures.shape}, expected (C, {HEIGHT}, {WIDTH})")
    # Between the black keys and the last rows; a codec blurs the lines beside an edge.
    rows = (slice(BLACK_HEIGHT + 2, HEIGHT - PEDAL_HEIGHT - 2), slice(HEIGHT - PEDAL_HEIGHT, HEIGHT))
    fronts, edge = (np.maximum(pictures[:, part].mean(axis=(1, 2)) - _GAP, 0) for part in rows)
    is_down: NDArray[np.bool_] = edge < _PEDAL_SHARE * fronts
    return is_down


def shown_at(time_s: NDArray[np.float64], *, rate: Fraction, start: int, count: int) -> NDArray[np.intp]:
    """Return which picture stands at each tick of a rate: the last one that has appeared by then.

    Tick k is at k / rate seconds. A picture whose time is the float64 nearest to that appears at the tick: no float64
    can say k / rate better, so a picture on a grid that the rate holds appears at the grid's own tick.

    Args:
        time_s: when the pictures appear, (C,), strictly rising, the first at 0.0.
        rate: ticks a second, a film's frame rate or a model's sample rate.
        start: the first tick.
        count: how many ticks.

    Returns:
        Indices into ``time_s``, (count,).

    Raises:
        ValueError: the first picture is not at 0.0, the rate is not positive, or a tick lies before 0.
    """
    if not len(time_s) or time_s[0] != 0.0:
        raise ValueError(f"the first picture is at {time_s[:1]} s, expected 0.0")
    if rate <= 0 or start < 0 or count < 0:
        raise ValueError(f"{count} ticks from {start} at rate {rate}, expected none before 0 and a rate above 0")
    numerator, denominator = rate.as_integer_ratio()
    if (start + count) * denominator < 2**53 and numerator < 2**53:
        tick_s = np.arange(start, start + count) * denominator / numerator
    else:  # factors that float64 cannot hold; Python divides integers of any size and rounds once
        tick_s = np.array([tick * denominator / numerator for tick in range(start, start + count)], np.float64)
    return np.searchsorted(time_s, tick_s, side="right") - 1


def film_frames(
    time_s: NDArray[np.float64],
    velocity: NDArray[np.uint8],
    pedal: NDArray[np.uint8],
    *,
    lit: Lit,
    frame_rate: Fraction,
    duration_s: float,
) -> Iterator[NDArray[np.uint8]]:
    """Yield the picture that is shown at each frame of a film; each change is drawn once.

    Args:
        time_s: when the pictures appear, (C,), strictly rising, the first at 0.0.
        velocity: (C, 88), as `draw_keyboard` takes it.
        pedal: (C,), as `draw_keyboard` takes it.
        lit: what a pressed key shows.
        frame_rate: of the film, in Hz.
        duration_s: of the film, which has at least one frame.

    Yields:
        (57, 780) luma.
    """
    n_frames = max(1, round(duration_s * frame_rate))
    drawn, picture = -1, None
    for index in shown_at(time_s, rate=frame_rate, start=0, count=n_frames):
        if index != drawn:
            one = slice(index, index + 1)
            picture, drawn = draw_keyboard(velocity[one], lit=lit, pedal=pedal[one])[0], index
        if picture is not None:
            yield picture
