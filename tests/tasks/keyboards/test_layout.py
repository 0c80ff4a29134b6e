"""Where keys lie, and what they are called."""

import numpy as np
import pytest

from tasks.keyboards.layout import BLACK_CENTRES, black_u, key_u, keys_between, name_of, pitch_named


def test_an_octave_is_its_own_mirror_image_about_its_d():
    mirrored = 3.0 - black_u(np.arange(-5, 10))
    np.testing.assert_allclose(np.sort(mirrored), black_u(np.arange(-8, 7)), atol=0.07)
    assert len(BLACK_CENTRES) == 5


def test_names_and_pitches_are_inverse():
    assert [pitch_named(name) for name in ("A0", "C4", "D4", "F#3", "Bb2", "C8")] == [21, 60, 62, 54, 46, 108]
    assert all(pitch_named(name_of(pitch)) == pitch for pitch in range(21, 109))


@pytest.mark.parametrize("name", ["H4", "C9", "A", "4", "", "Cb", "C##4"])
def test_a_name_of_no_key_is_refused(name):
    with pytest.raises(ValueError, match="is no key of a piano"):
        pitch_named(name)


def test_fifty_two_white_keys_from_an_a_are_all_88_keys():
    keys = keys_between(5, 56)
    assert (str(keys), keys.guessed, keys.n_white) == ("88 keys A0-C8", False, 52)
    assert key_u(21)[0] == 5.0
    assert keys.spans()[-1, 1] == 52.0


@pytest.mark.parametrize(
    ("first", "n_white", "expected"),
    [(0, 36, "61 keys C2-C7"), (2, 45, "76 keys E1-G7"), (0, 15, "25 keys C3-C5"), (14, 22, "37 keys C3-C6")],
)
def test_a_part_is_taken_for_the_keyboard_of_that_size_that_is_sold(first, n_white, expected):
    keys = keys_between(first, first + n_white - 1)
    assert (str(keys), keys.guessed, keys.n_white) == (expected, True, n_white)
