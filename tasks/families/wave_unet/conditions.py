"""Conditions: what is known of each player of a mix, as features over time.

Shapes: K players, D features of a condition, T pictures, n samples.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.video_transcriber import N_ACTIVITY, VideoTranscriber
from tasks.errors import BadInput
from tasks.families.separation import Mixture
from tasks.families.wave_unet.transcriber import N_NOTE_FEATURES, note_features, transcribe
from tasks.instruments.orchestra import SLOTS
from tasks.store.ensembles import N_PITCHES, slots

Condition = Literal["labels", "classifier", "motion", "onsets_video", "pitches_video", "score"]

# The surer one first.
INSTRUMENT_CONDITIONS: tuple[Condition, ...] = ("labels", "classifier")
PITCH_CONDITIONS: tuple[Condition, ...] = ("score", "pitches_video")
ONSET_CONDITIONS: tuple[Condition, ...] = ("onsets_video",)
TRANSCRIBED: frozenset[Condition] = frozenset({"classifier", "onsets_video", "pitches_video"})
"""Predicted by the video transcriber."""


def conditions_of(
    mixture: Mixture,
    conditioned_on: Sequence[Condition],
    transcriber: VideoTranscriber | None,
    *,
    name: str = "the mix",
) -> NDArray[np.float32]:
    """Return the condition of each player, a column a picture (K, D, T).

    Args:
        mixture: T is the number of its pictures; 1 where it has neither video nor score.
        conditioned_on: in the order of their features.
        transcriber: of videos; None where no condition is `TRANSCRIBED`.
        name: of the mix, for errors.

    Raises:
        BadInput: ``NO_CONDITION``, the mix has no video, or no score, of its players.
        ValueError: a condition is `TRANSCRIBED` and there is no transcriber.
    """
    needed = {
        "classifier": mixture.pictures,
        "motion": mixture.motion,
        "onsets_video": mixture.pictures if mixture.motion is not None else None,
        "pitches_video": mixture.pictures if mixture.motion is not None else None,
        "score": mixture.rolls,
    }
    for condition, found in needed.items():
        if condition in conditioned_on and found is None:
            source = "score" if condition == "score" else "video"
            raise BadInput(
                f"{name} has no {source} of its players, expected one: the network is conditioned on {condition}",
                kind="NO_CONDITION",
            )
    known = next((found for found in (mixture.motion, mixture.pictures, mixture.rolls) if found is not None), None)
    n_frames = 1 if known is None else known.shape[1]
    predicted: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    if TRANSCRIBED & set(conditioned_on):
        if transcriber is None or mixture.pictures is None:
            raise ValueError(f"conditioned on {', '.join(conditioned_on)} without a video transcriber")
        motion = np.zeros((len(mixture.pictures), n_frames, transcriber.config.n_motion), np.float32)
        motion = motion if mixture.motion is None else mixture.motion
        predicted = [transcribe(transcriber, *view) for view in zip(mixture.pictures, motion, strict=True)]
    parts = []
    for condition in conditioned_on:
        if condition == "labels":
            part = np.stack([presence([code]) for code in mixture.instruments])[:, :, None]
        elif condition == "classifier":
            part = np.stack([instruments for instruments, _ in predicted])[:, :, None]
        elif condition in ("onsets_video", "pitches_video"):
            part = np.stack([notes.T[-n_features([condition], 0) :] for _, notes in predicted])
        elif condition == "motion":
            part = np.asarray(mixture.motion, np.float32).transpose(0, 2, 1)
        else:
            rolls = np.zeros((0, 1, N_PITCHES), np.uint8) if mixture.rolls is None else mixture.rolls
            part = np.stack([note_features(roll > 0, None, mixture.frame_rate).T for roll in rolls])
        parts.append(np.broadcast_to(part, (*part.shape[:2], n_frames)))
    return np.concatenate(parts, axis=1).astype(np.float32)


def n_features(conditioned_on: Sequence[Condition], n_motion: int) -> int:
    """Return the number D of features that `conditions_of` returns for a player."""
    sizes = {
        "labels": len(SLOTS),
        "classifier": len(SLOTS),
        "motion": n_motion,
        "onsets_video": N_ACTIVITY,
        "pitches_video": N_NOTE_FEATURES,
        "score": N_NOTE_FEATURES,
    }
    return sum(sizes[condition] for condition in conditioned_on)


def on_grid(
    conditions: NDArray[np.float32], mixture: Mixture, hop_length: int, n_samples: int, *, start: int = 0
) -> NDArray[np.float32]:
    """Return conditions (K, D, T) at every ``hop_length``-th sample of a mix from sample ``start`` on."""
    rate = mixture.frame_rate / mixture.sample_rate
    moments = (start + np.arange(-(-n_samples // hop_length)) * hop_length) * rate.numerator // rate.denominator
    rows = np.minimum(moments, conditions.shape[-1] - 1)
    return conditions[..., rows]


def presence(instruments: Sequence[str]) -> NDArray[np.float32]:
    """Return 1 for each of the thirteen instruments that plays, and 0 for the others (13,), in the order of `SLOTS`."""
    return np.asarray(slots(np.ones(len(instruments), np.float32), instruments, SLOTS) > 0, np.float32)
