"""What follows from the key reader's build, whatever its weights."""

from dataclasses import replace

import pytest
import torch

from models.piano_roll import KeyReader, KeyReaderConfig

# Five octaves of an invented keyboard: twelve keys of 10 pixels each, the odd ones dark.
CONFIG = KeyReaderConfig(
    height=57,
    width=600,
    key_column=tuple(range(5, 600, 10)),
    key_class=tuple(key % 12 for key in range(60)),
    n_rows=3,
    window_width=24,
    n_hidden=8,
)


@pytest.fixture
def reader():
    torch.manual_seed(0)
    return KeyReader(CONFIG).eval()


def keyboard(*pressed, luma=120):
    picture = torch.full((1, 57, 600), 230, dtype=torch.uint8)
    for key in range(60):
        if key % 2:
            picture[:, :, key * 10 : key * 10 + 10] = 20
        if key in pressed:
            picture[:, :, key * 10 : key * 10 + 10] = luma
    return picture


def read(reader, picture):
    with torch.inference_mode():
        return torch.stack(reader(picture))[:, 0]  # (2, 60)


def test_shapes_are_one_logit_and_one_velocity_a_key(reader):
    logit, velocity = reader(keyboard().repeat(3, 1, 1))
    assert logit.shape == velocity.shape == (3, 60)


def test_a_key_an_octave_higher_is_read_alike(reader):
    low, high = read(reader, keyboard(17)), read(reader, keyboard(29))
    torch.testing.assert_close(low[:, 17], high[:, 29])
    assert not torch.equal(low[:, 17], read(reader, keyboard())[:, 17])


def test_a_key_out_of_a_windows_sight_does_not_matter(reader):
    at_rest, elsewhere = read(reader, keyboard()), read(reader, keyboard(40))
    changed = (at_rest != elsewhere).any(dim=0).nonzero()[:, 0]
    assert changed.min() >= 38
    assert changed.max() <= 42


def test_rows_below_the_height_are_not_read(reader):
    lower = KeyReader(replace(CONFIG, height=55)).eval()
    lower.load_state_dict(reader.state_dict())
    dark = keyboard(7, 30)
    dark[:, 55:] = 16
    assert torch.equal(read(lower, dark), read(lower, keyboard(7, 30)))
    assert torch.equal(read(lower, dark), read(lower, dark[:, :55]))
    dark[:, 54:] = 16
    assert not torch.equal(read(lower, dark), read(lower, keyboard(7, 30)))


def test_exposure_falls_out(reader):
    picture = keyboard(7, 30).float()
    torch.testing.assert_close(read(reader, 0.7 * picture + 25), read(reader, picture), atol=1e-5, rtol=1e-4)


def test_a_picture_of_one_luma_is_read_without_dividing_by_zero(reader):
    assert torch.isfinite(read(reader, torch.full((1, 57, 600), 90, dtype=torch.uint8))).all()


def test_weights_do_not_grow_with_the_keyboard():
    n_weights = [
        sum(w.numel() for w in KeyReader(config).parameters())
        for config in (CONFIG, replace(CONFIG, key_column=CONFIG.key_column[:24], key_class=CONFIG.key_class[:24]))
    ]
    assert n_weights[0] == n_weights[1] == 3 * 24 * 8 + 8 + 12 * 8 + 8 * 8 + 8 + 8 * 2 + 2
