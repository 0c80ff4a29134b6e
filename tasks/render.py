"""Verb ``render``: the piano simulator. Notes in, the keyboard's pictures and a grand piano's sound out.

Both are made of notes on one grid of times (`tasks.instruments.grid`), so that a tone always begins at the same place
against its picture. The picture stream is stored as what determines it: the state of the 88 keys and the sustain pedal
at every change, 89 bytes a picture. Drawing it (`tasks.instruments.keyboard.draw_keyboard`) is for a score what
decoding a video is for a capture.
"""

from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tasks.errors import DamagedData
from tasks.instruments.grid import fine_step_s
from tasks.instruments.keyboard import film_frames
from tasks.media.encode import encode_film
from tasks.params import Section
from tasks.store.rendered import RENDERED, read_rendered_sound, read_states
from tasks.takes import TAKE_NAME


class RenderParams(Section):
    """The simulated piano."""

    sample_rate: int  # Hz, of the synthesis; FluidSynth takes 8,000 to 96,000
    code_rates: Annotated[tuple[int, ...], Field(min_length=1)]  # Hz, whose samples the grid of notes and pedals holds
    gain: float  # of the synthesizer, the same for all pieces, so that loudness between them is kept
    program: int  # general MIDI: 0 is the grand piano
    tail_s: float  # kept after the last note has ended
    restrike_gap_s: float  # for how long a key that is struck again is shown released before
    lit: Literal["flat", "velocity"]  # what a pressed key shows: that it is pressed, or also how hard it was struck
    pedal: Literal["drawn", "unseen"]  # whether the pictures show the sustain pedal

    @property
    def step_s(self) -> Fraction:
        """The step of the grid of notes and pedals in s."""
        return fine_step_s(self.sample_rate, self.code_rates, section="render")

    @model_validator(mode="after")
    def _grid_is_fine(self) -> Self:
        _ = self.step_s
        return self


def preview(take: str, path: Path, *, frame_rate: Fraction, folder: Path = RENDERED) -> None:
    """Write an mp4 of a rendered take with its sound, for people to look at.

    Raises:
        DamagedData: there is no such take.
        MediaError: ffmpeg is missing or did not write the expected film.
    """
    if not TAKE_NAME.fullmatch(take) or not (folder / take / "render.json").is_file():
        raise DamagedData(f"{folder} has no take {take!r}: is it a take's name, and has audiate render run?")
    states = read_states(take, folder)
    audio, sample_rate = read_rendered_sound(take, folder)
    pictures = film_frames(
        states.time_s,
        states.velocity,
        states.pedal,
        lit=states.lit,
        frame_rate=frame_rate,
        duration_s=states.duration_s,
    )
    encode_film(path, pictures, frame_rate=frame_rate, audio=audio, sample_rate=sample_rate)
