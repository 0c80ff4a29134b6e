"""Stems are measured side by side, and compared with their mix."""

import numpy as np
import pytest
import soundfile

from tasks.intake.stems import StemSound
from tasks.kinds.ensembles.measure import Measuring, measure_mix, side_by_side
from tasks.media.probe import NO_LIMITS

RATE = 16_000


def noise(seed, n=3 * RATE, channels=1):
    return 0.1 * np.random.default_rng(seed).standard_normal((n, channels)).clip(-4, 4)


def wav(path, samples, *, rate=RATE, subtype="PCM_16"):
    soundfile.write(path, samples, rate, subtype=subtype)
    return StemSound(path=path)


def fit(stems, mix):
    return measure_mix([Measuring(stem, NO_LIMITS) for stem in stems], Measuring(mix, NO_LIMITS))


def test_a_truncated_wav_is_read_as_far_as_it_goes(tmp_path):
    sound = wav(tmp_path / "stem_1_vn.wav", noise(3))
    sound.path.write_bytes(sound.path.read_bytes()[: 44 + 2 * RATE])
    one = Measuring(sound, NO_LIMITS)
    assert sum(map(len, one)) == RATE
    assert one.measured().truncated_at_s == pytest.approx(1.0, abs=0.05)


def test_a_mix_that_is_the_sum_differs_by_rounding_alone(tmp_path):
    stems = [noise(seed) for seed in (1, 2, 3)]
    sounds = [wav(tmp_path / f"stem_{n}_vn.wav", stem) for n, stem in enumerate(stems)]
    found = fit(sounds, wav(tmp_path / "mix.wav", sum(stems)))
    assert found.gain == pytest.approx(1.0, abs=1e-4)
    assert found.residual_db < -70


def test_the_gain_of_a_mix_is_found(tmp_path):
    stems = [noise(seed) for seed in (1, 2)]
    sounds = [wav(tmp_path / f"stem_{n}_vn.wav", stem) for n, stem in enumerate(stems)]
    found = fit(sounds, wav(tmp_path / "mix.wav", 0.5 * sum(stems)))
    assert found.gain == pytest.approx(0.5, abs=1e-4)
    assert found.residual_db < -65


def test_a_residual_is_the_power_of_what_is_not_the_stems(tmp_path):
    stems, other = [noise(1), noise(2)], noise(9)
    sounds = [wav(tmp_path / f"stem_{n}_vn.wav", stem) for n, stem in enumerate(stems)]
    found = fit(sounds, wav(tmp_path / "mix.wav", sum(stems) + 0.1 * other))
    # A tenth of one of three: 0.01 / (2 + 0.01) of the mix's power.
    assert found.residual_db == pytest.approx(10 * np.log10(0.01 / 2.01), abs=0.2)


@pytest.mark.parametrize("mix", ["silence", "another", "inverted"])
def test_a_mix_that_has_nothing_of_the_stems_is_no_mix(tmp_path, mix):
    stem = noise(1)
    samples = {"silence": 0 * stem, "another": noise(5), "inverted": -stem}[mix]
    found = fit([wav(tmp_path / "stem_1_vn.wav", stem)], wav(tmp_path / "mix.wav", samples))
    assert found.residual_db == pytest.approx(0.0, abs=0.01)


def test_stems_at_another_rate_are_compared_too(tmp_path):
    time_s, fine_s = np.arange(3 * RATE) / RATE, np.arange(3 * 48_000) / 48_000
    stem = wav(tmp_path / "stem_1_vn.wav", 0.3 * np.sin(2 * np.pi * 440 * fine_s), rate=48_000)
    mono = 0.3 * np.sin(2 * np.pi * 440 * time_s)
    found = fit([stem], wav(tmp_path / "mix.wav", np.stack([mono, mono], axis=1)))
    assert found.residual_db < -30
    assert found.gain == pytest.approx(1.0, abs=0.01)


def test_blocks_side_by_side_are_of_one_length_and_silent_behind_an_end():
    def stream(*lengths):
        return iter([np.full((n, 1), n, np.float32) for n in lengths])

    parts = list(side_by_side([stream(3, 4, 5), stream(2), iter([])], length=5))
    assert [[len(part) for part in row] for row in parts] == [[5, 5, 5], [5, 5, 5], [2, 2, 2]]
    assert np.concatenate([row[0] for row in parts])[:, 0].tolist() == [3] * 3 + [4] * 4 + [5] * 5
    assert np.concatenate([row[1] for row in parts])[:, 0].tolist() == [2, 2] + [0] * 10
