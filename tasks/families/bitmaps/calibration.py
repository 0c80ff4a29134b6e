"""Levels: the spread and the gain with which predicted sound is as loud as reference sound was."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.families.bitmaps.decoder import FRAMES_AT_A_TIME, FrameRegressor, SoundDecoder
from tasks.families.bitmaps.examples import FramePairs

MOST_RATIO = 3.0
RATIO_STEPS = 12


def loudest(decoder: SoundDecoder, pairs: FramePairs) -> NDArray[np.float32]:
    """Return the largest magnitude (K,) of each bin in frames of sound."""
    starts = range(0, len(pairs), FRAMES_AT_A_TIME)
    blocks = (decoder.reference_magnitudes(pairs.frames(slice(start, start + FRAMES_AT_A_TIME))) for start in starts)
    largest: NDArray[np.float32] = np.max([block.max(axis=0) for block in blocks], axis=0)
    return largest


def fit_ratio(regressor: FrameRegressor, pairs: FramePairs, spans: Sequence[slice]) -> float:
    """Return the ratio, from 1 to `MOST_RATIO`, that makes spectra as loud as they were: the mean over films, in dB.

    A gain would do the same for the level, but lift with it all the noise between the partials, and the pauses.
    """
    films, decoder = [], regressor.decoder
    for span in spans:
        predicted = decoder.magnitudes(regressor.predict(pairs.bitmaps, pairs.shown[span]))
        reference = decoder.reference_magnitudes(pairs.frames(span))
        if predicted.any() and reference.any():
            films.append((predicted, level_db(reference)))

    def misses_db(ratio: float) -> float:
        """Return by how much the films are too loud."""
        spread = ((decoder.spread(predicted, ratio), reference_db) for predicted, reference_db in films)
        return float(np.mean([(level_db(one) if one.any() else -np.inf) - wanted_db for one, wanted_db in spread]))

    low, high = 1.0, MOST_RATIO
    if not films or misses_db(low) >= 0:
        return low
    for _ in range(RATIO_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if misses_db(middle) < 0 else (low, middle)
    return low


def fit_gain_db(regressor: FrameRegressor, pairs: FramePairs, spans: Sequence[slice]) -> float:
    """Return the gain with which films of validation are as loud as they were: the mean over them, in dB.

    Films whose predicted or reference sound is silent are left out; without any other the gain is 0 dB.
    """
    differences_db = []
    for span in spans:
        predicted = regressor.decoder.sound(regressor.predict(pairs.bitmaps, pairs.shown[span]))
        first = pairs.first[span]
        reference = pairs.sound[first[0] : first[-1] + pairs.length]
        if predicted.any() and reference.any():
            differences_db.append(level_db(reference) - level_db(predicted))
    return float(np.mean(differences_db)) if differences_db else 0.0


def level_db(sound: NDArray[np.float32]) -> float:
    """Return the level of a sound that is not silent: 0 dB is the mean square 1."""
    return 10 * float(np.log10(np.square(sound, dtype=np.float64).mean()))
