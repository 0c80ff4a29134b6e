import pytest
import torch

from models.video_transcriber import VideoTranscriber, VideoTranscriberConfig

CONFIG = VideoTranscriberConfig(n_instruments=13, n_pitches=128, n_motion=4, n_filters=2, n_hidden=6, kernel=3)


@pytest.fixture
def transcriber():
    torch.manual_seed(0)
    return VideoTranscriber(CONFIG).eval()


def views(n_players=2, n_pictures=12):
    pictures = torch.randint(0, 256, (n_players, n_pictures, 48, 48), dtype=torch.uint8)
    portraits = torch.stack([pictures.float().median(dim=1).values, pictures.float().std(dim=1)], dim=1)
    return pictures, portraits, torch.randn(n_players, n_pictures, 4)


def test_it_predicts_an_instrument_a_player_and_notes_a_picture(transcriber):
    instruments, notes = transcriber(*views())
    assert instruments.shape == (2, 13)
    assert notes.shape == (2, 12, 130)


def test_untrained_it_predicts_hardly_any_note(transcriber):
    _, notes = transcriber(*views())
    assert torch.sigmoid(notes).mean() < 0.05


def test_a_player_is_transcribed_as_if_the_other_were_not_there(transcriber):
    pictures, portraits, motion = views()
    both = transcriber(pictures, portraits, motion)
    alone = transcriber(pictures[:1], portraits[:1], motion[:1])
    for found, expected in zip(both, alone, strict=True):
        torch.testing.assert_close(found[:1], expected, atol=1e-5, rtol=1e-4)


def test_another_lamp_changes_nothing_much(transcriber):
    pictures, portraits, motion = views()
    pictures = pictures.float()
    lamp = torch.tensor([10.0, 0.0])[:, None, None]  # makes nothing move
    bright = transcriber(pictures * 1.5 + 10, portraits * 1.5 + lamp, motion)
    plain = transcriber(pictures, portraits, motion)
    other = transcriber(255 - pictures, 255 - portraits, motion)
    for found, expected, different in zip(bright, plain, other, strict=True):
        assert (found - expected).abs().max() < 0.2 * (different - expected).abs().max()


def test_notes_follow_from_pictures_nearby_alone_once_the_instrument_is_known(transcriber):
    pictures, portraits, motion = views(1, 40)
    _, before = transcriber(pictures, portraits, motion)
    moved = motion.clone()
    moved[:, 30:] += 1
    _, after = transcriber(pictures, portraits, moved)
    assert torch.equal(before[:, : 30 - 2], after[:, : 30 - 2])  # two layers reach a picture each
    assert not torch.equal(before[:, 30:], after[:, 30:])
