import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import DamagedData
from tasks.store.audio import (
    AudioError,
    ClippingError,
    read_audio,
    read_channels,
    read_flac,
    write_channels,
    write_flac,
)

RATE = 48000


def noise(n, *shape):
    return np.random.default_rng(0).uniform(-1, 1, (n, *shape)).astype(np.float32)


def refusal(path, **limits):
    with pytest.raises(AudioError) as found:
        read_audio(path, **limits)
    assert str(path) in str(found.value)
    return found.value


def test_flac_comes_back_within_half_a_step_of_16_bits(tmp_path):
    sound = 0.99 * noise(300_000)
    write_flac(tmp_path / "a.flac", sound, RATE)
    found, rate = read_audio(tmp_path / "a.flac")
    assert (rate, found.dtype, found.shape) == (RATE, np.float32, sound.shape)
    assert np.abs(found - sound).max() <= 0.5 / 32768 + 1e-9
    assert soundfile.info(tmp_path / "a.flac").subtype == "PCM_16"


@settings(max_examples=30, deadline=None)
@given(steps=st.lists(st.integers(-32768, 32767), min_size=1, max_size=50))
def test_what_16_bits_can_say_comes_back_exactly(steps, tmp_path_factory):
    sound = (np.array(steps) / 32768).astype(np.float32)
    path = tmp_path_factory.mktemp("a") / "a.flac"
    write_flac(path, sound, RATE)
    np.testing.assert_array_equal(read_audio(path)[0], sound)


def test_the_same_sound_is_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_flac(tmp_path / name, noise(10_000), RATE)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_full_scale_is_kept_and_one_step_more_is_refused_with_its_place(tmp_path):
    write_flac(tmp_path / "a.flac", np.array([1.0, -1.0], np.float32), RATE)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.flac")[0], np.float32([32767 / 32768, -1.0]))
    loud = np.zeros(RATE, np.float32)
    loud[RATE // 2] = -1.25
    with pytest.raises(ClippingError, match=r"peaks at 1\.250 \(1\.9 dB too much\), first at 0\.500 s"):
        write_flac(tmp_path / "b.flac", loud, RATE)
    assert not (tmp_path / "b.flac").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_not_written(tmp_path, value):
    with pytest.raises(ValueError, match="sample 2 is"):
        write_flac(tmp_path / "a.flac", np.array([0, 0, value], np.float32), RATE)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_channels_become_their_mean_whatever_the_kind_of_file(tmp_path, suffix):
    time_s = np.arange(RATE) / RATE
    left, right = 0.5 * np.sin(2 * np.pi * 440 * time_s), 0.25 * np.sin(2 * np.pi * 440 * time_s)
    soundfile.write(tmp_path / f"a{suffix}", np.stack([left, right], 1), RATE)
    found, rate = read_audio(tmp_path / f"a{suffix}")
    assert rate == RATE
    n = min(len(found), len(left))
    assert np.corrcoef(found[2000 : n - 2000], left[2000 : n - 2000])[0, 1] > 0.999
    assert np.abs(found[2000 : n - 2000]).max() == pytest.approx(0.375, rel=0.05)


def test_silence_is_sound(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(100), RATE)
    assert not read_audio(tmp_path / "a.wav")[0].any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_no_number_is_named_with_its_place(tmp_path, value):
    sound = noise(RATE)
    sound[RATE // 4] = value
    soundfile.write(tmp_path / "a.wav", sound, RATE, subtype="FLOAT")
    error = refusal(tmp_path / "a.wav")
    assert error.kind == "NOT_FINITE"
    assert "sample 12000 (at 0.250 s)" in str(error)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_a_truncated_wav_is_noticed(tmp_path, subtype):
    soundfile.write(tmp_path / "a.wav", noise(16_000), RATE, subtype=subtype)
    whole = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(whole[: len(whole) // 2])
    error = refusal(tmp_path / "a.wav")
    assert error.kind == "TRUNCATED"
    assert "its header says" in str(error)


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0xFFFFFFF0, 0x7FFFFFFF])
def test_a_wav_from_a_pipe_which_does_not_know_its_length_is_read_whole(tmp_path, length):
    soundfile.write(tmp_path / "a.wav", noise(16_000), RATE)
    whole = bytearray((tmp_path / "a.wav").read_bytes())
    where = whole.index(b"data") + 4
    whole[where : where + 4] = struct.pack("<I", length)
    (tmp_path / "a.wav").write_bytes(whole)
    assert len(read_audio(tmp_path / "a.wav")[0]) == 16_000


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", b"RIFF\0\0\0\0WAVE", b"fLaC", b"MThd\0\0\0\6", b"#EXTM3U\nfile:///etc/hostname\n"]
)
def test_what_is_no_sound_is_unreadable(tmp_path, content):
    (tmp_path / "a.wav").write_bytes(content)
    assert refusal(tmp_path / "a.wav").kind == "UNREADABLE"


def test_a_wav_with_a_sample_rate_of_zero_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(100), RATE)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[24:28] = bytes(4)
    (tmp_path / "a.wav").write_bytes(content)
    assert refusal(tmp_path / "a.wav").kind in ("UNREADABLE", "EMPTY")


def test_a_file_without_samples_is_empty(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0), RATE)
    assert refusal(tmp_path / "a.wav").kind == "EMPTY"


def test_a_missing_file_and_a_folder_are_missing(tmp_path):
    assert refusal(tmp_path / "a.wav").kind == "MISSING"
    assert refusal(tmp_path).kind == "MISSING"


def test_a_long_file_is_refused_before_it_is_decoded(tmp_path):
    write_flac(tmp_path / "a.flac", np.zeros(10 * RATE, np.float32), RATE)
    error = refusal(tmp_path / "a.flac", max_duration_s=9.0)
    assert error.kind == "TOO_LONG"
    assert "is 10 s long, expected at most 9 s" in str(error)


def test_a_flipped_byte_and_a_cut_in_a_flac_are_noticed(tmp_path):
    path = tmp_path / "a.flac"
    write_flac(path, noise(40_000), RATE)
    whole = path.read_bytes()
    for where in np.linspace(100, len(whole) - 10, 20).astype(int):
        damaged = bytearray(whole)
        damaged[where] ^= 4
        path.write_bytes(damaged)
        assert refusal(path).kind in ("DAMAGED", "TRUNCATED", "UNREADABLE")
    for length in (len(whole) // 2, len(whole) - 100):
        path.write_bytes(whole[:length])
        assert refusal(path).kind in ("DAMAGED", "TRUNCATED", "UNREADABLE")


def test_a_damaged_or_foreign_file_of_another_stage_is_damaged_data(tmp_path):
    path = tmp_path / "a.flac"
    with pytest.raises(DamagedData, match="is missing"):
        read_flac(path, sample_rate=RATE)
    write_flac(path, noise(100), 8000)
    assert len(read_flac(path, sample_rate=8000)) == 100
    with pytest.raises(DamagedData, match="has 8000 samples a second, expected 48000"):
        read_flac(path, sample_rate=RATE)


@pytest.mark.parametrize("name", ["a.flac", "a.wav"])
def test_channels_come_back_each_as_it_was(tmp_path, name):
    steps = np.random.default_rng(1).integers(-32768, 32768, (2, 5000))
    sound = (steps / 32768).astype(np.float32)
    write_channels(tmp_path / name, sound, RATE)
    found, rate = read_channels(tmp_path / name)
    assert rate == RATE
    np.testing.assert_array_equal(found, sound)
    assert soundfile.info(tmp_path / name).format == name[2:].upper()


def test_channels_that_clip_are_refused_with_their_moment(tmp_path):
    sound = np.zeros((2, RATE), np.float32)
    sound[1, RATE // 2] = 1.5
    with pytest.raises(ClippingError, match=r"first at 0\.500 s"):
        write_channels(tmp_path / "a.flac", sound, RATE)
    with pytest.raises(ValueError, match="expected"):
        write_channels(tmp_path / "a.flac", sound[0], RATE)


def test_channels_of_a_damaged_file_are_refused(tmp_path):
    path = tmp_path / "a.flac"
    write_channels(path, np.ones((1, 5000), np.float32) * 0.1, RATE)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DamagedData, match=r"ends after|cannot be read"):
        read_channels(path)
    with pytest.raises(DamagedData, match="none"):
        read_channels(tmp_path / "none")
