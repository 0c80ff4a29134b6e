import numpy as np
import pytest

from tasks.families.separation import level_of


def test_a_level_scales_with_the_sound_and_is_never_zero():
    audio = np.random.default_rng(0).standard_normal((1, 1000)).astype(np.float32)
    assert level_of(0.25 * audio) == pytest.approx(0.25 * level_of(audio))
    assert level_of(np.zeros((1, 10), np.float32)) > 0
