"""The sound of stems, read in blocks."""

import subprocess

import numpy as np
import pytest
import soundfile

from tasks.intake.stems import StemBlocks, StemSound, blocks_at, sound_at
from tasks.media.probe import NO_LIMITS
from tasks.media.process import MediaError
from tasks.media.sound import read_sound

RATE = 16_000


def noise(seed, n=3 * RATE, channels=1):
    return 0.1 * np.random.default_rng(seed).standard_normal((n, channels)).clip(-4, 4)


def wav(path, samples, *, rate=RATE, subtype="PCM_16"):
    soundfile.write(path, samples, rate, subtype=subtype)
    return StemSound(path=path)


def whole(sound):
    return np.concatenate(list(StemBlocks(sound, NO_LIMITS)))


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_stem_is_read_as_it_was_written(tmp_path, subtype, channels):
    samples = noise(1, 70_000, channels)
    sound = wav(tmp_path / "stem_1_vn.wav", samples, subtype=subtype)
    assert (StemBlocks(sound, NO_LIMITS).sample_rate, StemBlocks(sound, NO_LIMITS).channels) == (RATE, channels)
    np.testing.assert_allclose(whole(sound), samples, atol=1.5 / 32768)


def test_a_plain_wav_is_what_ffmpeg_decodes_of_it(tmp_path):
    sound = wav(tmp_path / "stem_1_vn.wav", noise(2))
    decoded = read_sound(sound.path, sample_rate=RATE, policy=NO_LIMITS).samples
    np.testing.assert_array_equal(whole(sound)[:, 0], decoded)


@pytest.mark.parametrize("suffix", [".aiff", ".w64"])
def test_a_stem_in_another_container_is_the_same(tmp_path, suffix):
    samples = noise(7)
    sound = wav(tmp_path / "stem_1_vn.wav", samples)
    other = tmp_path / f"stem_1_vn{suffix}"
    soundfile.write(other, samples, RATE, subtype="PCM_16")
    np.testing.assert_array_equal(whole(StemSound(path=other)), whole(sound))


def test_a_stem_is_resampled_and_mixed_down(tmp_path):
    time_s = np.arange(4 * 48_000) / 48_000
    left = 0.4 * np.sin(2 * np.pi * 500 * time_s)
    sound = wav(tmp_path / "stem_1_vn.wav", np.stack([left, 0 * left], axis=1), rate=48_000)
    made = sound_at(sound, NO_LIMITS, sample_rate=8_000, channels=1, n_samples=40_000)
    assert made.shape == (1, 40_000)
    expected = 0.2 * np.sin(2 * np.pi * 500 * np.arange(32_000) / 8_000)
    np.testing.assert_allclose(made[0, 200:31_800], expected[200:31_800], atol=2e-4)
    assert np.abs(made[0, 32_050:]).max() == 0  # it ends there


def test_fewer_channels_than_requested_is_one_clear_line(tmp_path):
    sound = wav(tmp_path / "stem_1_vn.wav", noise(4))
    with pytest.raises(
        MediaError, match=r"stem_1_vn.wav: has 1 channels, expected 2, or chunk.stem_channels: 1"
    ) as expected:
        list(blocks_at(sound, NO_LIMITS, sample_rate=RATE, channels=2))
    assert expected.value.kind == "FEWER_CHANNELS"


def test_each_stream_of_a_file_of_stems_is_its_own(tmp_path):
    path = tmp_path / "song.stem.mp4"
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y"]
    for frequency_hz in (300, 600, 900):
        command += ["-f", "lavfi", "-i", f"sine=frequency={frequency_hz}:sample_rate=16000:duration=1"]
    command += ["-map", "0:a", "-map", "1:a", "-map", "2:a", "-c:a", "aac", "-b:a", "128k", str(path)]
    subprocess.run(command, check=True, timeout=60)
    for stream, frequency_hz in enumerate((300, 600, 900)):
        samples = whole(StemSound(path=path, stream=stream))[2000:14_000, 0]
        spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
        assert np.argmax(spectrum) * RATE / len(samples) == pytest.approx(frequency_hz, abs=3)
    with pytest.raises(MediaError, match="holds 3 audio streams, expected at least 4"):
        StemBlocks(StemSound(path=path, stream=3), NO_LIMITS)
