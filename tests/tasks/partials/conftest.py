"""Players whose partials are known."""

import numpy as np
import pytest
import yaml

from flows.presets import preset_text
from tasks.instruments.orchestra import ORCHESTRA
from tasks.partials.params import PartialsParams
from tasks.partials.spectra import N_HARMONICS, pitches_of

RATE = 16_000
SLOPES = {code: 0.6 + 0.15 * number for number, code in enumerate(ORCHESTRA)}
"""Exponent by which each instrument's harmonics fall."""


@pytest.fixture(scope="session")
def params():
    return PartialsParams.model_validate(yaml.safe_load(preset_text("demo"))["separate"]["partials"])


@pytest.fixture(scope="session")
def spectra():
    """Return a table in which an instrument's harmonics fall by its own exponent, at every pitch."""
    found = {}
    for code in ORCHESTRA:
        row = np.arange(1, N_HARMONICS + 1.0) ** -SLOPES[code]
        found[code] = np.tile(row / np.linalg.norm(row), (len(pitches_of(code)), 1)).astype(np.float32)
    return found


@pytest.fixture(scope="session")
def play():
    """Return a function that plays pitches one after another, None for a rest, with an exponent of its harmonics."""

    def played(pitches, slope, *, each_s=0.5, cents=0.0, rate=RATE):
        sounds = []
        for pitch in pitches:
            time_s = np.arange(round(each_s * rate)) / rate
            if pitch is None:
                sounds.append(np.zeros(len(time_s)))
                continue
            f0_hz = 440 * 2 ** ((pitch - 69 + cents / 100) / 12)
            n = min(N_HARMONICS, int(0.47 * rate / f0_hz))
            sound = sum(h**-slope * np.sin(2 * np.pi * h * f0_hz * time_s + h) for h in range(1, n + 1))
            fade = np.minimum(np.minimum(time_s, time_s[::-1]) / 0.02, 1)
            sounds.append(0.1 * sound * fade)
        return np.concatenate(sounds).astype(np.float32)

    return played
