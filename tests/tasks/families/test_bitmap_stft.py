"""How magnitudes become sound: those of a known sound give one like it, with phases found or borrowed."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from tasks.errors import ParamsError
from tasks.families.bitmap_stft import BitmapStftFamily, BitmapStftParams, SpectrumDecoder
from tasks.families.bitmaps.examples import FramePairs
from tasks.sound.frames import frame_magnitudes

RATE = 8_000


@pytest.fixture(scope="module")
def params(bitmap_params):
    return bitmap_params(BitmapStftParams, frame_rate="30", sample_rate=RATE, n_iterations=16, bank_s=60.0)


def music(seconds, rng, hz=(262.0, 330.0, 392.0, 523.0, 659.0)):
    """Sines of a pitch that changes every quarter of a second."""
    hz = np.repeat(rng.choice(hz, 4 * seconds), RATE // 4)
    return (0.3 * np.sin(2 * np.pi * np.cumsum(hz) / RATE)).astype(np.float32)


def pairs_of(sound, decoder, n_frames):
    return FramePairs(
        bitmaps=np.zeros((1, 8, 8), np.uint8),
        shown=np.zeros((n_frames, 1), np.int64),
        sound=np.pad(sound, decoder.cut.length),
        first=decoder.cut.first_samples(n_frames) + decoder.cut.length,
        length=decoder.cut.length,
    )


@pytest.fixture(scope="module")
def fitted(params):
    """Return what makes a decoder that is fitted to a sound, and the sound's pairs."""

    def make(sound, **changes):
        decoder = SpectrumDecoder(params.model_copy(update=changes))
        n_frames = int(len(sound) * decoder.cut.frame_rate / RATE)
        pairs = pairs_of(sound, decoder, n_frames)
        decoder.fit(pairs, seed=0)
        return decoder, pairs

    return make


def outputs_of(decoder, pairs):
    """What a network that knew everything would say."""
    return (decoder._compressed(torch.from_numpy(pairs.frames(slice(None)))) * decoder.scale).numpy()


def likeness(sound, other):
    """The correlation of two sounds' magnitudes."""
    rates = {"sample_rate": RATE, "frame_rate": Fraction(30), "n_fft": 1024}
    n = int(min(len(sound), len(other)) * 30 / RATE)
    return np.corrcoef(*(frame_magnitudes(one, n, **rates).ravel() for one in (sound, other)))[0, 1]


@pytest.mark.parametrize("rate", ["30", "25", "30000/1001"])
def test_windows_stand_around_the_middles_of_frames(rate, fitted):
    sound = music(3, np.random.default_rng(0))
    decoder, pairs = fitted(sound, frame_rate=rate, power=1.0)
    rates = {"sample_rate": RATE, "frame_rate": Fraction(rate), "n_fft": 1024}
    expected = frame_magnitudes(sound, len(pairs), **rates)
    found = decoder.magnitudes(outputs_of(decoder, pairs))
    # A frame's middle may fall between samples: the windows may be one apart.
    np.testing.assert_allclose(found[3:-3], expected[3:-3], atol=0.02 * expected.max())


@pytest.mark.parametrize("phase", ["griffin_lim", "neighbour"])
def test_magnitudes_of_music_sound_like_it(phase, fitted):
    rng = np.random.default_rng(1)
    decoder, _ = fitted(music(30, rng), phase=phase)
    other = music(4, rng)
    made = decoder.sound(outputs_of(decoder, pairs_of(other, decoder, 120)))
    assert len(made) == len(other)
    assert likeness(made, other) > 0.9


def test_the_neighbour_of_training_sound_is_that_sound(fitted):
    sound = music(20, np.random.default_rng(2), hz=np.random.default_rng(3).uniform(200, 900, 500))
    decoder, pairs = fitted(sound)
    found = decoder.neighbour(decoder.magnitudes(outputs_of(decoder, pairs)))
    assert len(found) == len(pairs) * RATE // 30
    inside = slice(RATE, -2 * RATE)
    assert np.corrcoef(found[inside], sound[: len(found)][inside])[0, 1] > 0.99


def test_what_is_below_nothing_is_silent(params, fitted):
    decoder, _ = fitted(music(5, np.random.default_rng(3)))
    for phase in ("griffin_lim", "neighbour"):
        decoder._params = params.model_copy(update={"phase": phase})
        assert not decoder.sound(np.full((30, decoder.n_outputs), -1.0, np.float32)).any()


def test_no_more_training_sound_is_kept_than_the_parameter_says(fitted):
    decoder, _ = fitted(music(5, np.random.default_rng(3)), bank_s=2.0)
    assert len(decoder.bank) == 2 * RATE
    decoder, _ = fitted(music(5, np.random.default_rng(3)), phase="griffin_lim")
    assert len(decoder.bank) == 0


def test_original_takes_the_published_rates(params):
    params = BitmapStftFamily().resolved(params.model_copy(update={"fidelity": "original", "hidden": [2048] * 3}))
    decoder = SpectrumDecoder(params)
    assert (decoder.cut.sample_rate, decoder.cut.length, decoder.n_outputs) == (30_720, 2048, 1025)
    np.testing.assert_array_equal(np.diff(decoder.cut.first_samples(9)), 1024)
    assert (params.power, params.batch_size, params.learning_rate) == (1.0, 100, 1e-4)
    network = BitmapStftFamily().make_network(params, n_inputs=4096, n_outputs=decoder.n_outputs)
    layers = [(4096, 2048), (2048, 2048), (2048, 2048), (2048, 1025)]
    assert sum(weight.numel() for weight in network.parameters()) == sum((a + 1) * b for a, b in layers)


def test_original_magnitudes_are_divided_by_the_largest(params):
    sound = music(5, np.random.default_rng(4))
    params = BitmapStftFamily().resolved(params.model_copy(update={"fidelity": "original"}))
    decoder = SpectrumDecoder(params)
    pairs = pairs_of(sound, decoder, 30)
    decoder.fit(pairs, seed=0)
    assert outputs_of(decoder, pairs).max() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"win_length": 400}, "win_length is 400, expected an even number of at least 534"),
        ({"win_length": 1023}, "win_length is 1023, expected an even number"),
        ({"power": 0.0}, "power is 0.0, expected above 0"),
        ({"n_iterations": 0}, "n_iterations is 0, expected at least 1"),
        ({"bank_s": 0.0}, "bank_s is 0.0, expected at least a window of 1024"),
    ],
)
def test_values_that_make_no_sense_are_named(change, message, params):
    with pytest.raises(ParamsError, match=message):
        BitmapStftFamily().resolved(params.model_copy(update=change))
