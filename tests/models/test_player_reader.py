import pytest
import torch

from models.player_reader import PlayerReader, PlayerReaderConfig

CONFIG = PlayerReaderConfig(n_instruments=13, n_pitches=128, n_motion=4, n_filters=2, n_hidden=6, kernel=3)


@pytest.fixture
def reader():
    torch.manual_seed(0)
    return PlayerReader(CONFIG).eval()


def views(n_players=2, n_pictures=12):
    pictures = torch.randint(0, 256, (n_players, n_pictures, 48, 48), dtype=torch.uint8)
    return pictures, pictures.median(dim=1).values, torch.randn(n_players, n_pictures, 4)


def test_it_names_an_instrument_a_player_and_notes_a_picture(reader):
    instruments, notes = reader(*views())
    assert instruments.shape == (2, 13)
    assert notes.shape == (2, 12, 128)


def test_untrained_it_hears_hardly_any_note(reader):
    _, notes = reader(*views())
    assert torch.sigmoid(notes).mean() < 0.05


def test_one_player_is_read_as_if_the_other_were_not_there(reader):
    pictures, usual, motion = views()
    both = reader(pictures, usual, motion)
    alone = reader(pictures[:1], usual[:1], motion[:1])
    for found, expected in zip(both, alone, strict=True):
        torch.testing.assert_close(found[:1], expected, atol=1e-5, rtol=1e-4)


def test_another_lamp_changes_nothing_much(reader):
    pictures, usual, motion = views()
    bright = reader(pictures.float() * 1.5 + 10, usual.float() * 1.5 + 10, motion)
    plain = reader(pictures.float(), usual.float(), motion)
    other = reader(255 - pictures.float(), 255 - usual.float(), motion)
    for found, expected, unlike in zip(bright, plain, other, strict=True):
        assert (found - expected).abs().max() < 0.2 * (unlike - expected).abs().max()


def test_notes_follow_from_pictures_nearby_alone_once_the_instrument_is_known(reader):
    pictures, usual, motion = views(1, 40)
    _, before = reader(pictures, usual, motion)
    moved = motion.clone()
    moved[:, 30:] += 1
    _, after = reader(pictures, usual, moved)
    assert torch.equal(before[:, : 30 - 2], after[:, : 30 - 2])  # two layers reach a picture each
    assert not torch.equal(before[:, 30:], after[:, 30:])
