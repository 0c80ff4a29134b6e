"""Sound of recordings whose samples and times are known."""

import subprocess
import tracemalloc

import numpy as np
import pytest

from tasks.media.encode import encode_sound
from tasks.media.probe import MediaPolicy
from tasks.media.process import MediaError
from tasks.media.sound import iter_sound, read_sound

POLICY = MediaPolicy(
    max_pixels=4_000_000, max_duration_s=60.0, max_bytes=50_000_000, max_streams=16, max_file_bytes=10**9
)
RATE = 16_000
slow = pytest.mark.slow


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, arguments)], check=True, timeout=60)


def clicks(duration_s=4.0, rate=48_000, every_s=0.7):
    """Short bursts of noise at known moments, each unlike the others."""
    rng = np.random.default_rng(3)
    audio = np.zeros(round(duration_s * rate), np.float32)
    for start in np.arange(0.2, duration_s - 0.2, every_s):
        at = round(start * rate)
        audio[at : at + 2000] = (0.5 * rng.standard_normal(2000) * np.exp(-np.arange(2000) / 400)).clip(-1, 1)
    return audio


def delay_s(found, audio, rate=RATE):
    """Return by how much ``found`` is later than ``audio``, to a fraction of a sample."""
    n = 1 << (len(found) + len(audio)).bit_length()
    cross = np.fft.irfft(np.fft.rfft(found, n) * np.conj(np.fft.rfft(audio, n)), n)
    k = int(np.argmax(cross))
    left, top, right = cross[k - 1], cross[k], cross[(k + 1) % n]
    k = k - n if k > n // 2 else k
    return (k + 0.5 * (left - right) / (left - 2 * top + right)) / rate


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    encode_sound(folder / "a.wav", clicks(), sample_rate=48_000, codec="pcm_s16le")
    source = ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=4", "-i", folder / "a.wav")
    ffmpeg(*source, "-c:v", "libx264", "-c:a", "aac", folder / "film.mp4")
    return folder


@pytest.fixture(scope="module")
def plain(folder):
    return read_sound(folder / "a.wav", sample_rate=RATE, policy=POLICY).samples


def test_a_wav_comes_out_as_it_went_in(folder):
    found = read_sound(folder / "a.wav", sample_rate=48_000, policy=POLICY)
    assert (found.sample_rate, found.truncated_at_s) == (48_000, None)
    np.testing.assert_allclose(found.samples, clicks(), atol=1 / 32_000)


@pytest.mark.parametrize(
    ("name", "codec", "limit_s"),
    [
        ("a.flac", "flac", 1e-6),
        ("a.m4a", "aac", 5e-5),
        ("a.mp4", "aac", 5e-5),
        ("a.mkv", "aac", 0.022),  # Matroska as ffmpeg 5 writes it has no place for AAC's first block: it is heard
        ("a.opus", "opus", 1e-3),
        ("a.mkv", "opus", 1e-3),
        ("a.mp3", "mp3", 1e-3),
        ("b.wav", "pcm_s24le", 1e-6),
    ],
)
def test_no_codec_or_container_moves_the_sound(tmp_path, plain, name, codec, limit_s):
    encode_sound(tmp_path / name, clicks(), sample_rate=48_000, codec=codec)
    found = read_sound(tmp_path / name, sample_rate=RATE, policy=POLICY).samples
    assert abs(delay_s(found, plain)) < limit_s


@pytest.mark.parametrize("rate", [44_100, *(pytest.param(rate, marks=slow) for rate in (8_000, 32_000, 96_000))])
def test_no_sample_rate_moves_the_sound(tmp_path, folder, plain, rate):
    ffmpeg("-i", folder / "a.wav", "-ar", rate, tmp_path / "a.wav")
    assert abs(delay_s(read_sound(tmp_path / "a.wav", sample_rate=RATE, policy=POLICY).samples, plain)) < 2e-5


@pytest.mark.parametrize("suffix", ["mp4", pytest.param("mkv", marks=slow), pytest.param("mov", marks=slow)])
def test_all_streams_moved_changes_nothing_and_sound_moved_alone_moves_it(folder, tmp_path, plain, suffix):
    for shift_s in (0.4, 1.0):
        film = folder / "film.mp4"
        both, alone = tmp_path / f"both.{suffix}", tmp_path / f"alone.{suffix}"
        ffmpeg("-itsoffset", shift_s, "-i", film, "-c", "copy", both)
        ffmpeg("-i", film, "-itsoffset", shift_s, "-i", film, "-map", "0:v", "-map", "1:a", "-c", "copy", alone)
        limit_s = 1e-3  # where streams are copied their starts are rounded to milliseconds
        unmoved = delay_s(read_sound(film, sample_rate=RATE, policy=POLICY).samples, plain)
        assert abs(unmoved) < 5e-5
        moved = delay_s(read_sound(both, sample_rate=RATE, policy=POLICY).samples, plain)
        assert abs(moved - unmoved) < limit_s
        moved = delay_s(read_sound(alone, sample_rate=RATE, policy=POLICY).samples, plain)
        assert moved - unmoved == pytest.approx(shift_s, abs=limit_s)


def test_blocks_are_the_whole_and_memory_is_theirs(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "sine=440:d=59", "-ar", 48_000, tmp_path / "a.wav")
    tracemalloc.start()
    n = sum(len(block) for block in iter_sound(tmp_path / "a.wav", sample_rate=48_000, policy=POLICY))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert n == 59 * 48_000
    assert peak < 6_000_000


def test_a_truncated_recording_is_refused_or_kept_with_its_end(folder, tmp_path):
    fast = tmp_path / "fast.mp4"
    ffmpeg("-i", folder / "film.mp4", "-c", "copy", "-movflags", "+faststart", fast)
    data = fast.read_bytes()
    fast.write_bytes(data[: len(data) * 6 // 10])
    with pytest.raises(MediaError) as error:
        read_sound(fast, sample_rate=RATE, policy=POLICY)
    assert error.value.kind == "TRUNCATED"
    kept = read_sound(fast, sample_rate=RATE, policy=POLICY, lenient=True)
    assert 1.0 < kept.truncated_at_s < 3.5
    assert len(kept.samples) == pytest.approx(kept.truncated_at_s * RATE)


@pytest.mark.parametrize(("name", "codec"), [("a.flac", "flac"), ("a.mka", "flac"), ("a.mka", "wavpack")])
@pytest.mark.parametrize("at", [0.4, 0.7])
def test_a_flipped_bit_of_a_lossless_codec_is_a_hole_and_never_wrong_samples(tmp_path, name, codec, at):
    """The codec's own checksums tell; ffmpeg alone hands out what became of the samples."""
    noise = np.random.default_rng(5).normal(0, 0.1, 4 * 44_100).astype(np.float32)
    encode_sound(tmp_path / "a.wav", noise, sample_rate=44_100, codec="pcm_s16le")
    path = tmp_path / name
    ffmpeg("-i", tmp_path / "a.wav", "-c:a", codec, path)
    whole = read_sound(path, sample_rate=None, policy=POLICY)
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= 4
    path.write_bytes(data)
    with pytest.raises(MediaError, match="do not decode") as error:
        read_sound(path, sample_rate=None, policy=POLICY)
    assert error.value.kind == "DAMAGED_STREAM"
    kept = read_sound(path, sample_rate=None, policy=POLICY, lenient=True)
    assert not whole.holes
    ((start_s, end_s),) = kept.holes
    assert start_s - 0.1 <= 4 * at <= end_s + 0.1  # a block's place in the file and in time are not quite the same
    assert end_s - start_s < 1.1
    assert "1 hole in its sound is filled with silence" in kept.remarks
    before, after = round((start_s - 0.001) * 44_100), round((end_s + 0.001) * 44_100)
    np.testing.assert_array_equal(kept.samples[:before], whole.samples[:before])
    # Matroska counts times in ms: behind the hole the sound is as near to its place as that.
    late = 0 if name == "a.flac" else round(delay_s(kept.samples[after:], whole.samples[after:], 1))
    assert abs(late) <= 0.0005 * 44_100 + 1
    n = min(len(kept.samples), len(whole.samples)) - after - 50
    np.testing.assert_array_equal(
        kept.samples[after + 50 + late : after + late + n], whole.samples[after + 50 : after + n]
    )


@pytest.mark.parametrize("rate", [16_000, 22_050, 32_000, 44_100])
@pytest.mark.parametrize("codec", ["mp3", "m4a"])
def test_an_encoders_padding_is_no_truncation(tmp_path, codec, rate):
    path = tmp_path / f"a.{codec}"
    audio = clicks(3.0, rate)
    encode_sound(path, audio, sample_rate=rate, codec="mp3" if codec == "mp3" else "aac")
    found = read_sound(path, sample_rate=rate, policy=POLICY)
    assert len(found.samples) == pytest.approx(len(audio), abs=2 * 1152)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 9 // 10])
    with pytest.raises(MediaError):
        read_sound(path, sample_rate=rate, policy=POLICY)


def test_pictures_without_sound_say_so(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=1", tmp_path / "a.mp4")
    with pytest.raises(MediaError, match="holds no audio stream") as error:
        read_sound(tmp_path / "a.mp4", sample_rate=RATE, policy=POLICY)
    assert error.value.kind == "NO_AUDIO"
