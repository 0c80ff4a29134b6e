"""Section ``train.keyboard_camera``."""

from typing import Annotated, Any, Literal

from pydantic import Field

from tasks.errors import ParamsError
from tasks.features.polyphony import TranscribeParams
from tasks.params import Section

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]


class ReaderParams(Section):
    """The classical reader's, as in ``perform.keyboard``.

    Attributes:
        lead_s: from when a pressed key is seen half way down to its sound.
        velocity: MIDI, of the middle of its notes.
    """

    lead_s: float
    velocity: Annotated[int, Field(ge=1, le=127)]


class KeyboardCameraParams(Section):
    """How notes are learned from films of pianos; `models.key_strokes.KeyStrokesConfig` explains the sizes.

    Attributes:
        cameras: regular expression of the cameras that are learned from.
        labels: ``recorded``, the MIDI that was recorded with a take, or what is detected in its sound where there is
            none; ``sound``, always that.
        transcription: how notes are detected in sound.
        held_out: last share of each training film that is validated on, where no take is for validation.
        sequence_s: length of a training example.
        active: share of the examples that show a key which is struck, or seems to be.
        onset_weight: what a moment at an onset counts more.
        gain: of the synthesizer.
    """

    cameras: str
    labels: Literal["recorded", "sound"]
    transcription: TranscribeParams
    reader: ReaderParams
    held_out: Annotated[float, Field(gt=0, lt=1)]
    sequence_s: Positive
    active: Annotated[float, Field(ge=0, le=1)]
    onset_weight: Annotated[float, Field(ge=0)]
    n_channels: Count
    kernel: Count
    dilations: Annotated[tuple[Count, ...], Field(min_length=1)]
    dropout: Share
    n_steps: Count
    steps_per_epoch: Count
    batch_size: Count
    learning_rate: Positive
    clip_norm: Positive
    weight_decay: Annotated[float, Field(ge=0)]
    precision: Any
    n_threads: Count
    gain: Annotated[float, Field(gt=0, le=10)]
    seed: int

    def check(self, section: str) -> None:
        """Refuse values that do not go together.

        Raises:
            ParamsError: names them.
        """
        if self.kernel % 2 == 0:
            raise ParamsError(f"{section}.kernel is {self.kernel}, expected an odd number")
        if self.n_steps % self.steps_per_epoch:
            raise ParamsError(
                f"{section}.n_steps is {self.n_steps}, expected a multiple of steps_per_epoch, {self.steps_per_epoch}"
            )
