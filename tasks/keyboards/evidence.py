"""What a film shows of a keyboard's keys, picture by picture: only that is kept, not the pictures.

Each picture is sampled where the keys' upper zone is, beyond the fingertips, and right above the keys, where bars fall
in films that teach pieces.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.keyboards.layout import is_black
from tasks.keyboards.place import Place

PER_WHITE = 16  # columns a white key
UPPER_ROWS = 11
_UPPER = (0.06, 0.56)  # from the keys' far ends to the black keys' front: beyond it there are fingers
BAR_ROWS = 16
_BAR_STEP_PX = 1.5  # between rows above the keys
_INSIDE = 0.3  # of a key's width that is left out on each side
_SHOWN = 0.5  # correlation of a picture's keys with the still picture's: below it they are not in view
_WINDOW_WHITES = 8
_BRIGHTNESS = (0.6, 1.6)  # of the still picture: outside of it a film fades
_UNMOVED = 0.985  # correlation with the still picture's keys, above which nothing has moved
_SEEN = 0.8  # below which a picture does not say where the keys are
_FOLLOWED = 0.9  # that a move has to reach
_FARTHEST = 2.0 * PER_WHITE  # columns: a camera that has moved by more is not followed
_MOVES = np.arange(-3.0, 3.01, 0.5)  # columns by which a nudged camera is searched for
_LATELY = 9  # pictures that a small move has to stay for
_LEAST_STEP = 0.05  # columns: a smaller move is not followed
_SHAKEN = 0.25  # columns from picture to picture, in the middle of the last ones
_SHAKEN_FITS = 2  # of a picture's place, then
_SMALL_FITS = 6
_EXPOSURE_FITS = 5
_BESIDE_LIGHT = 3.0  # levels, from which a column counts half
_UNLIKE = 20.0  # levels, from which a column shows something else than a move


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was seen of the keys.

    Shapes: T pictures, K keys, C columns (``PER_WHITE`` a white key), 3 planes (luma and two chroma).

    Attributes:
        time_s: (T,) of the pictures.
        colour: (T, K, 3) middle of each key's upper zone, its luma as light as in the still picture.
        profile: (T, C) middle luma of the upper zone's rows, as light as the still picture.
        bars: (T, BAR_ROWS, K) how far the rows above each key are from the still picture, from the keys upwards.
        hidden: (T, K) a key that is not in view.
        still_colour: (K, 3) and
        still_profile: (C,) of the still picture.
        spans: (K, 2) where each key begins and ends, in columns.
        is_black: (K,)
        moves: (T,) columns by which the keys have moved to the right since the still picture.
    """

    time_s: NDArray[np.float64]
    colour: NDArray[np.float32]
    profile: NDArray[np.float16]
    bars: NDArray[np.uint8]
    hidden: NDArray[np.bool_]
    still_colour: NDArray[np.float32]
    still_profile: NDArray[np.float32]
    spans: NDArray[np.float64]
    is_black: NDArray[np.bool_]
    moves: NDArray[np.float32]

    @property
    def is_shown(self) -> NDArray[np.bool_]:
        """Which pictures show at least half of the keys, (T,)."""
        shown: NDArray[np.bool_] = self.hidden.mean(axis=1) < 0.5
        return shown


def seen_spans(spans: NDArray[np.float64], is_black: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return where each key is seen, (K, 2): all of a black one, of a white one what lies between black neighbours.

    Args:
        spans: (K, 2) where each key begins and ends.
        is_black: (K,)
    """
    seen = spans.copy()
    black = spans[is_black]
    for key in np.flatnonzero(~is_black):
        first, last = spans[key]
        near = black[(black[:, 1] > first) & (black[:, 0] < last)]
        is_left = near.mean(axis=1) < (first + last) / 2
        seen[key] = max([first, *near[is_left, 1].tolist()]), min([last, *near[~is_left, 0].tolist()])
    return seen


class KeySampler:
    """Samples one place in pictures of one size.

    Args:
        place: of the keyboard, in pixels of the pictures that are sampled.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        n_white = place.keys.n_white
        self.spans = place.spans() * PER_WHITE
        self.is_black = np.array([is_black(pitch) for pitch in place.keys.pitches])
        self._n_columns = n_white * PER_WHITE
        u = (np.arange(self._n_columns) + 0.5) / PER_WHITE
        v = np.linspace(_UPPER[0], _UPPER[1], UPPER_ROWS) * place.black_share
        length_px = float(np.linalg.norm(place.pixels(n_white / 2, 1.0) - place.pixels(n_white / 2, 0.0)))
        above = -(np.arange(BAR_ROWS) + 1) * _BAR_STEP_PX / length_px
        points = place.pixels(u[None], np.concatenate([v, above])[:, None])
        self._x, self._y = points[..., 0].astype(np.float32), points[..., 1].astype(np.float32)
        step = np.gradient(self._x, axis=1), np.gradient(self._y, axis=1)
        self._step_x, self._step_y = step[0].astype(np.float32), step[1].astype(np.float32)
        self._inside = self._insides()

    def _insides(self) -> NDArray[np.intp]:
        """Return first and last column (not included) of what is surely seen of each key, (K, 2)."""
        inside = np.empty((len(self.spans), 2), np.intp)
        for key, (first, last) in enumerate(seen_spans(self.spans, self.is_black)):
            inset = _INSIDE * (last - first)
            begin = min(max(0, round(first + inset)), self._n_columns - 1)
            inside[key] = begin, min(max(begin + 1, round(last - inset)), self._n_columns)
        return inside

    def sample(self, picture: NDArray[np.uint8], move: float = 0.0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the upper zone (3, UPPER_ROWS, C) and the rows above the keys (3, BAR_ROWS, C) of a picture.

        Args:
            picture: (3, height, width).
            move: columns by which the keys lie further to the right of the keyboard.
        """
        x, y = self._x, self._y
        if move:
            x, y = x + np.float32(move) * self._step_x, y + np.float32(move) * self._step_y
        # The border is not 0: a keyboard at the picture's edge would end in black.
        planes = [
            cv2.remap(plane, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
            for plane in picture
        ]
        sampled = np.stack(planes)
        return sampled[:, :UPPER_ROWS], sampled[:, UPPER_ROWS:]

    def most_of_keys(self, columns: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the most of each key (..., K) over columns (..., C): text on a bar does not make a gap of it."""
        smooth = np.asarray((columns[..., :-1] + columns[..., 1:]) / 2, np.float32)
        ends = np.minimum(self._inside, smooth.shape[-1] - 1)
        ends[:, 1] = np.maximum(ends[:, 1], ends[:, 0] + 1)
        most: NDArray[np.float32] = np.maximum.reduceat(smooth, ends.ravel(), axis=-1)[..., ::2]
        return most

    def of_keys(self, columns: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mean of each key (..., K) of columns (..., C)."""
        total = np.zeros((*columns.shape[:-1], columns.shape[-1] + 1), np.float32)
        np.cumsum(columns, axis=-1, out=total[..., 1:])
        first, last = self._inside.T
        mean: NDArray[np.float32] = (total[..., last] - total[..., first]) / (last - first).astype(np.float32)
        return mean


def gather(
    pictures: Iterable[tuple[NDArray[np.uint8], NDArray[np.float64]]],
    still: NDArray[np.uint8],
    place: Place,
) -> Evidence:
    """Sample every picture of a film.

    Args:
        pictures: (n, 3, height, width) and (n,) their times in seconds, some at a time.
        still: (3, height, width) picture without hands.
        place: of the keyboard in these pictures.
    """
    sampler = KeySampler(place)
    upper, above = sampler.sample(still)
    columns = _middle(upper)
    still_profile = columns[0]
    still_colour = sampler.of_keys(columns).T
    still_above = above  # (3, BAR_ROWS, C)
    follower = _Follower(still_profile)
    windows = _Windows(sampler, still_profile)
    time_s, colour, bars, hidden, moves = [], [], [], [], []
    profile: list[NDArray[np.float16]] = []
    for some, some_s in pictures:
        for picture in some:
            upper, above = sampler.sample(picture, follower.move)
            columns = _middle(upper)
            if follower.update(columns[0]):
                upper, above = sampler.sample(picture, follower.move)
                columns = _middle(upper)
                for back, step in enumerate(reversed(follower.late), start=1):
                    profile[-back] = _shifted(profile[-back], step)
            for _ in range(_SHAKEN_FITS if follower.is_shaken else 0):
                follower.move += follower.rest(columns[0])
                columns = _middle(sampler.sample(picture, follower.move)[0])
            light, lift = follower.exposure(columns[0])
            seen = sampler.of_keys(columns).T
            seen[:, 0] = (seen[:, 0] - lift) / light
            colour.append(seen)
            profile.append(((columns[0] - lift) / light).astype(np.float16))
            away = sampler.most_of_keys(np.abs(above - still_above).sum(axis=0))
            bars.append(np.minimum(away, 255).astype(np.uint8))
            in_view = _BRIGHTNESS[0] < light < _BRIGHTNESS[1]
            hidden.append(windows.hidden(columns[0]) if in_view else np.ones(len(sampler.spans), bool))
            moves.append(follower.move)
        time_s.append(some_s)
    return Evidence(
        time_s=np.concatenate(time_s) if time_s else np.zeros(0),
        colour=np.array(colour, np.float32),
        profile=np.array(profile, np.float16),
        bars=np.array(bars, np.uint8),
        hidden=np.array(hidden, bool),
        still_colour=still_colour,
        still_profile=still_profile,
        spans=sampler.spans,
        is_black=sampler.is_black,
        moves=np.array(moves, np.float32),
    )


def alike(pictures: NDArray[np.uint8], still: NDArray[np.uint8], place: Place) -> NDArray[np.float64]:
    """Return the correlation of the keys in pictures (n, 3, height, width) with those in a still one, (n,)."""
    sampler = KeySampler(place)
    lines = np.stack([_middle(sampler.sample(picture)[0])[0] for picture in (still, *pictures)]).astype(np.float64)
    lines -= lines.mean(axis=1, keepdims=True)
    lines /= np.maximum(np.sqrt((lines**2).sum(axis=1, keepdims=True)), 1e-6)
    correlation: NDArray[np.float64] = lines[1:] @ lines[0]
    return correlation


def _shifted(line: NDArray[np.float16], step: float) -> NDArray[np.float16]:
    """Return what a line (C,) is where it is sampled so many columns further to the right."""
    columns = np.arange(len(line))
    return np.asarray(np.interp(columns + step, columns, line), np.float16)


def _middle(upper: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the median over rows of the upper zone, (planes, C): a fingertip in a part of it is left out."""
    return np.asarray(np.partition(upper, UPPER_ROWS // 2, axis=1)[:, UPPER_ROWS // 2], np.float32)


class _Follower:
    """Follows small moves of the camera along the keys, and its light.

    Attributes:
        move: columns by which the keys have moved to the right.
        late: by how much each of the pictures before the last one was off, oldest first, where that was seen too late.
    """

    def __init__(self, still: NDArray[np.float32]) -> None:
        self._still = still
        slope = np.gradient(still)
        self._slope = np.where(np.abs(slope) < 1e-3, np.float32(1e-3), slope).astype(np.float32)
        self._lately: deque[float] = deque(maxlen=_LATELY)
        self._places: deque[float] = deque(maxlen=_LATELY)
        self.move = 0.0
        self.late: list[float] = []

    @property
    def is_shaken(self) -> bool:
        """Whether the camera is held by hand: it has moved from most of the last pictures to the next."""
        away = np.abs(np.diff(self._places))
        return len(away) == _LATELY - 1 and float(np.median(away)) > _SHAKEN

    def update(self, line: NDArray[np.float32]) -> bool:
        """Say whether the keys have moved since the last picture, and note by how much."""
        alike = self._alike(line, 0.0)
        step = 0.0 if alike > _UNMOVED else self._step(line)
        self.late = []
        if step == 0 and alike < _SEEN:  # a picture of something else: where the keys are is not seen
            return False
        rest = step or self.rest(line)
        self._places.append(self.move + rest)
        if step == 0 and self.is_shaken:
            step = rest
        elif step == 0:
            self._lately.append(rest)
            step = self._settled()
            self.late = [one if abs(one) > _LEAST_STEP else 0.0 for one in list(self._lately)[:-1]] if step else []
        if step == 0 or abs(self.move + step) > _FARTHEST:
            return False
        self.move += step
        self._lately.clear()
        return True

    def _step(self, line: NDArray[np.float32]) -> float:
        alike = [self._alike(line, float(step)) for step in _MOVES]
        best = int(np.argmax(alike))
        return float(_MOVES[best]) if alike[best] >= _FOLLOWED and abs(_MOVES[best]) >= 1.0 else 0.0

    def _settled(self) -> float:
        """Return what most of the last pictures are off by; 0 where that is next to nothing."""
        settled = float(np.median(self._lately))
        return settled if len(self._lately) == _LATELY and abs(settled) > _LEAST_STEP else 0.0

    def rest(self, line: NDArray[np.float32]) -> float:
        """Return what is left of a move, in parts of a column: an eighth of one moves a black key's edge by levels."""
        light, lift = self.exposure(line)
        away = (line - np.float32(lift)) / np.float32(light) - self._still
        step = 0.0
        for _ in range(_SMALL_FITS):  # keys that are down change the picture too, but few of its columns
            rest = away + step * self._slope
            weight = (self._slope**2 / (1 + (rest / _UNLIKE) ** 2)).astype(np.float64)
            step = -float((weight * away / self._slope).sum() / weight.sum())
        return step

    def _alike(self, line: NDArray[np.float32], step: float) -> float:
        """Return the correlation of the still keys with keys that have moved by so many columns."""
        edge = round(-float(_MOVES[0])) + 1
        inner = self._still[edge:-edge]
        shifted = np.interp(np.arange(edge, len(line) - edge) + step, np.arange(len(line)), line)
        inner, shifted = inner - inner.mean(), shifted - shifted.mean()
        size = float(np.sqrt((inner**2).sum() * (shifted**2).sum()))
        return float((inner * shifted).sum()) / max(size, 1e-6)

    def exposure(self, line: NDArray[np.float32]) -> tuple[float, float]:
        """Return how light a picture is: the factor, and the levels on top of it, that make it of the still one.

        A camera that exposes anew changes black keys by another factor than white ones.
        """
        bright = self._still >= np.median(self._still)
        still, seen = self._still.astype(np.float64), line.astype(np.float64)
        apart = np.median(still[bright]) - np.median(still[~bright])
        light = float((np.median(seen[bright]) - np.median(seen[~bright])) / max(apart, 1.0))
        lift = float(np.median(seen[bright]) - light * np.median(still[bright]))
        for _ in range(_EXPOSURE_FITS):  # keys that are down are beside it
            weight = 1 / (1 + ((seen - light * still - lift) / _BESIDE_LIGHT) ** 2)
            total = weight.sum()
            middle, level = (weight * still).sum() / total, (weight * seen).sum() / total
            spread = (weight * (still - middle) ** 2).sum()
            light = float((weight * (still - middle) * (seen - level)).sum() / max(spread, 1e-6))
            lift = float(level - light * middle)
        return max(0.05, light), lift


class _Windows:
    """Tells which keys a picture does not show: where all around them looks unlike the still picture."""

    def __init__(self, sampler: KeySampler, still: NDArray[np.float32]) -> None:
        width = _WINDOW_WHITES * PER_WHITE
        middles = sampler.spans.mean(axis=1)
        first = np.clip(np.rint(middles - width / 2).astype(int), 0, max(0, len(still) - width))
        self._columns = first[:, None] + np.arange(min(width, len(still)))
        part = still[self._columns]
        self._still = part - part.mean(axis=1, keepdims=True)
        self._size = np.sqrt((self._still**2).sum(axis=1))

    def hidden(self, line: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return which keys are hidden, (K,)."""
        part = line[self._columns]
        part = part - part.mean(axis=1, keepdims=True)
        size = np.sqrt((part**2).sum(axis=1))
        alike = (part * self._still).sum(axis=1) / np.maximum(size * self._size, 1e-6)
        unseen: NDArray[np.bool_] = alike < _SHOWN
        return unseen
