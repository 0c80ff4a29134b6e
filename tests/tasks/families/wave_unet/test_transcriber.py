from fractions import Fraction

import numpy as np
import pytest
import torch

from models.video_transcriber import VideoTranscriber, VideoTranscriberConfig
from tasks.families.wave_unet.transcriber import N_NOTE_FEATURES, note_features, transcribe

N_MOTION = 3


def test_a_transcription_does_not_depend_on_where_the_video_is_cut(monkeypatch):
    torch.manual_seed(0)
    sizes = VideoTranscriberConfig(n_instruments=13, n_pitches=128, n_motion=N_MOTION, n_filters=2, n_hidden=4)
    transcriber = VideoTranscriber(sizes).eval()
    pictures = np.random.default_rng(0).integers(0, 256, (70, 48, 48)).astype(np.uint8)
    motion = np.zeros((70, N_MOTION), np.float32)
    _, whole = transcribe(transcriber, pictures, motion)
    monkeypatch.setattr("tasks.families.wave_unet.transcriber.PICTURES_AT_ONCE", 20)
    instruments, cut = transcribe(transcriber, pictures, motion)
    assert instruments.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(whole, cut, atol=1e-3)


def test_onsets_and_activity_stand_beside_the_pitches_and_a_repeated_note_begins_again():
    sounding = np.zeros((6, 128), np.bool_)
    sounding[1:5, 60] = True
    sounding[4, 64] = True
    notes = np.array([[0.04, 0.12, 60, 90], [0.12, 0.2, 60, 90], [0.16, 0.2, 64, 90], [0.5, 0.6, 64, 90]])
    features = note_features(sounding, notes, Fraction(25))
    assert features.shape == (6, N_NOTE_FEATURES)
    np.testing.assert_array_equal(features[:, :128], sounding)
    np.testing.assert_array_equal(features[:, 128], [0, 1, 0, 1, 1, 0])
    np.testing.assert_array_equal(features[:, 129], [0, 1, 1, 1, 1, 0])


def test_without_times_a_pitch_that_did_not_sound_begins():
    sounding = np.zeros((5, 128), np.bool_)
    sounding[1:4, 60] = True
    sounding[3:, 62] = True
    np.testing.assert_array_equal(note_features(sounding, None, Fraction(25))[:, 128], [0, 1, 0, 1, 0])
