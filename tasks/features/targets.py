"""Targets that are computed from a take's sound: note amplitudes and mu-law codes.

Note amplitudes follow the marimba project's recipe, corrected: a Hamming window over 3 frames, a hop of one frame, true
frequencies; row k covers frames k to k + 2. Codes are DeepSynth's: resampled, companded, 256 classes.
"""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.features.amplitudes import note_amplitudes, note_frequencies_hz
from tasks.features.mu_law import mu_law_encode
from tasks.features.resample import resample
from tasks.store.arrays import write_arrays


def write_targets(
    path: Path,
    audio: NDArray[np.float32],
    *,
    sample_rate: int,
    pitches: Sequence[int],
    frame_rate: Fraction,
    code_rate: int,
    n_classes: int,
) -> None:
    """Write amplitudes (frames - 2, notes) float32 and codes (samples,) uint8 of a sound.

    Args:
        path: of the arrays.
        audio: (n,) mono in [-1, 1].
        sample_rate: of the sound, in Hz.
        pitches: MIDI numbers of the notes that amplitudes are measured of; without any there are codes alone.
        frame_rate: of the frames that amplitudes are aligned to, in Hz.
        code_rate: of the codes, in Hz.
        n_classes: of the codes.
    """
    arrays: dict[str, NDArray[Any]] = {
        # The resampler may overshoot a full-scale peak by a hair; companding takes at most 1.
        "codes": mu_law_encode(np.clip(resample(audio, sample_rate, code_rate), -1, 1), n_classes)
    }
    if pitches:
        arrays["amplitudes"] = note_amplitudes(
            audio,
            sample_rate=sample_rate,
            frame_rate=frame_rate,
            frequency_hz=note_frequencies_hz(pitches),
            n_frames=int(len(audio) * frame_rate / sample_rate),
        )
    write_arrays(
        path,
        arrays,
        chunk_lengths={"amplitudes": round(frame_rate), "codes": code_rate},
        attributes={
            "code_rate": code_rate,
            "frame_rate": str(frame_rate),
            "n_classes": n_classes,
            "pitches": list(pitches),
        },
    )
