import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.features.mu_law import mu_law_decode, mu_law_encode

SAMPLES = st.floats(-1, 1, width=32)


def test_silence_is_the_middle_class_and_full_scale_the_outer_ones():
    np.testing.assert_array_equal(mu_law_encode(np.float32([0, -1, 1])), [128, 0, 255])
    np.testing.assert_array_equal(mu_law_encode(np.float32([0, -1, 1]), 16), [8, 0, 15])


def test_levels_decode_to_those_of_the_wavenet_implementation():
    found = mu_law_decode(np.array([0, 1, 127, 128, 254, 255], np.uint8))
    expected = [-1.0, -0.9572737086635957, -8.621159565072034e-05, 8.621159565072034e-05, 0.9572737086635957, 1.0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.parametrize("n_classes", [2, 3, 16, 200, 255, 256])
def test_decoding_then_encoding_gives_every_class_back(n_classes):
    codes = np.arange(n_classes, dtype=np.uint8)
    np.testing.assert_array_equal(mu_law_encode(mu_law_decode(codes, n_classes), n_classes), codes)


@given(sample=SAMPLES)
def test_a_sample_comes_back_within_half_a_class(sample):
    code = mu_law_encode(np.float32([sample]))
    # Half a class is 1/255 of the companded range; its slope at the decoded sample or at the sample itself,
    # whichever is farther from silence, bounds what that is in sound.
    decoded = float(mu_law_decode(code)[0])
    farther = max(abs(sample), abs(decoded))
    assert abs(decoded - sample) <= (1 + 255 * farther) * np.log(256) / 255 / 255 * 1.0001


@given(samples=st.lists(SAMPLES, min_size=2, max_size=20))
def test_louder_is_never_a_lower_class_and_the_inverse_sound_is_the_mirrored_class(samples):
    ordered = np.sort(np.float32(samples))
    codes = mu_law_encode(ordered).astype(int)
    assert (np.diff(codes) >= 0).all()
    mirrored = mu_law_encode(-ordered).astype(int)
    # A sample on the border of two classes belongs to the upper one, and so does its mirror.
    assert np.isin(codes + mirrored, [255, 256]).all()


def test_classes_are_those_of_the_formula_in_float64_but_on_borders():
    sound = np.random.default_rng(0).uniform(-1, 1, 200_000).astype(np.float32)
    exact = (np.sign(sound) * np.log1p(255 * np.abs(sound.astype(np.float64))) / np.log(256) + 1) / 2 * 255
    off_border = np.abs((exact + 0.5) % 1 - 0.5) < 0.499
    assert off_border.mean() > 0.99
    np.testing.assert_array_equal(mu_law_encode(sound)[off_border], np.floor(exact + 0.5)[off_border])


def test_shapes_are_kept_and_nothing_is_nothing():
    assert mu_law_encode(np.zeros((3, 0, 2), np.float32)).shape == (3, 0, 2)
    sound = np.linspace(-1, 1, 150_000, dtype=np.float32).reshape(2, 3, -1)
    codes = mu_law_encode(sound)
    assert (codes.shape, codes.dtype) == (sound.shape, np.uint8)
    assert mu_law_decode(codes).shape == sound.shape
    np.testing.assert_array_equal(mu_law_encode(sound[:, :, ::-1]), codes[:, :, ::-1])


@pytest.mark.parametrize("value", [1.0001, -1.0001, 32767.0, np.nan, np.inf])
def test_samples_beyond_full_scale_are_refused(value):
    with pytest.raises(ValueError, match=r"expected at most 1\.0: integer PCM not scaled"):
        mu_law_encode(np.float32([0, value, 0]))


def test_codes_that_no_class_has_are_refused():
    with pytest.raises(ValueError, match="code 16 found, expected classes below 16"):
        mu_law_decode(np.uint8([0, 16]), 16)


@pytest.mark.parametrize("n_classes", [0, 1, 257])
def test_numbers_of_classes_that_a_byte_cannot_say_are_refused(n_classes):
    with pytest.raises(ValueError, match=f"n_classes is {n_classes}, expected 2 to 256"):
        mu_law_encode(np.zeros(1, np.float32), n_classes)
    with pytest.raises(ValueError, match=f"n_classes is {n_classes}, expected 2 to 256"):
        mu_law_decode(np.zeros(1, np.uint8), n_classes)
