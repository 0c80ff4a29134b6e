"""What a made film of a keyboard is ordered by, and the exact truth about it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.instruments.notes import Notes
from tasks.media.encode import encode_camera
from tasks.rig.frames import picture_times
from tasks.rig.music import excerpt_of, random_music

FIRST_S = 1.0  # before which no key moves
_LEAST_NOTES_A_SECOND = 1.0  # of an excerpt
_TIME_BASE = Fraction(1, 90_000)
_RATES = (Fraction(30), Fraction(25), Fraction(30000, 1001), Fraction(30), Fraction(60))


@dataclass(frozen=True, kw_only=True)
class FilmTruth:
    """The truth about a made film.

    Attributes:
        path: of the film.
        kind: what was made.
        seed: that it was drawn by.
        corners: of the keys in the first picture, pixels (4, 2), as the player sees them: far left, far right, near
            right, near left; None where the film shows no keyboard.
        first_pitch: of the lowest key that is drawn.
        n_keys: that are drawn.
        white_px: pixels from a white key to the next, on average.
        notes: on the clock that ``clock`` relates to the film's; keys go down before.
        time_s: when each picture that is shown appears.
        clock: the film's seconds a second of the notes.
        hidden_s: spans in which the keyboard, or a part of it, is not shown.
        moves: (seconds, pixels) of each move of the camera.
        is_lit: keys light up; else they are pressed.
    """

    path: Path
    kind: str
    seed: int
    corners: NDArray[np.float64] | None
    first_pitch: int
    n_keys: int
    white_px: float
    notes: Notes
    time_s: NDArray[np.float64]
    clock: float = 1.0
    hidden_s: list[tuple[float, float]] = field(default_factory=list)
    moves: list[tuple[float, float]] = field(default_factory=list)
    is_lit: bool = False


@dataclass(frozen=True, kw_only=True)
class Order:
    """What film is asked for.

    Attributes:
        kind: of film.
        seed: that it is drawn by.
        path: of the film.
        score: music that an excerpt is played of; None is random music.
        duration_s: of the film.
        rng: that draws it.
    """

    kind: str
    seed: int
    path: Path
    score: Notes | None
    duration_s: float
    rng: np.random.Generator

    def music(self, start_s: float, end_s: float, pitches: tuple[int, int], *, repeats: float = 0.12) -> Notes:
        """Draw what is played between two moments on these keys: lowest and highest pitch.

        Where the score has hardly a note there, it is random music.
        """
        if self.score is not None:
            latest_s = max(0.0, float(self.score.onset_s[-1]) - (end_s - start_s))
            from_s = float(self.rng.uniform(0, latest_s))
            to_s = from_s + end_s - start_s
            excerpt = excerpt_of(self.score, from_s=from_s, to_s=to_s, start_s=start_s, pitches=pitches)
            if len(excerpt) >= _LEAST_NOTES_A_SECOND * (end_s - start_s):
                return excerpt
        return random_music(self.rng, start_s=start_s, end_s=end_s, pitches=pitches, repeats=repeats)

    def picture_times(self, *, is_variable: bool = False, most_a_second: int = 60) -> list[Fraction]:
        """Draw the times of the film's pictures."""
        rates = [rate for rate in _RATES if rate <= most_a_second]
        rate = Fraction(30) if is_variable else rates[int(self.rng.integers(len(rates)))]
        return picture_times(self.duration_s, frame_rate=rate, rng=self.rng if is_variable else None)

    def write(
        self,
        pictures: Iterable[NDArray[np.uint8]],
        time_s: Sequence[Fraction],
        *,
        crf: int = 23,
        bit_rate: int | None = None,
    ) -> None:
        """Write the film, in colour."""
        encode_camera(
            self.path, pictures, time_s=time_s, time_base=_TIME_BASE, crf=crf, in_colour=True, bit_rate=bit_rate
        )
