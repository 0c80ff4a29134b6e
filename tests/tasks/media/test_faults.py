"""Files that are broken, odd or hostile: each is read by rule, or refused in a line. Names of tests tell the fault."""

import subprocess
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

from tasks.errors import ToolError
from tasks.media.encode import encode_sound
from tasks.media.pictures import check_film, iter_pictures
from tasks.media.probe import MediaPolicy, probe
from tasks.media.process import MediaError, run, running
from tasks.media.sound import HOLE_S, read_sound

POLICY = MediaPolicy(max_pixels=10**6, max_duration_s=60.0, max_bytes=10**8, max_streams=4, max_file_bytes=10**7)
RATE = 16_000
slow = pytest.mark.slow


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, arguments)], check=True, timeout=60)


def sweep(duration_s=4.0, rate=48_000):
    """A sound that is nowhere like itself."""
    t = np.arange(round(duration_s * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * (300 * t + 400 * t**2))).astype(np.float32)


def refusal(path, **changes):
    with pytest.raises(MediaError) as caught:
        read_sound(path, **({"sample_rate": RATE, "policy": POLICY} | changes))
    assert "\n" not in str(caught.value)
    return caught.value.kind


def read(path, **changes):
    return read_sound(path, **({"sample_rate": RATE, "policy": POLICY} | changes))


def later_s(found, whole):
    """Return by how much ``found`` is later than ``whole``, to a sample."""
    n = 1 << (len(found) + len(whole)).bit_length()
    lag = int(np.argmax(np.fft.irfft(np.fft.rfft(found, n) * np.conj(np.fft.rfft(whole, n)), n)))
    return (lag - n if lag > n // 2 else lag) / RATE


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Four seconds of pictures and a sweep; its header comes first."""
    folder = tmp_path_factory.mktemp("faults")
    encode_sound(folder / "a.wav", sweep(), sample_rate=48_000, codec="pcm_s16le")
    source = ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=4", "-i", folder / "a.wav")
    ffmpeg(*source, "-c:v", "libx264", "-c:a", "aac", "-movflags", "+faststart", folder / "film.mp4")
    return folder / "film.mp4"


@pytest.fixture(scope="module")
def wav(film):
    return film.with_name("a.wav")


def flipped(film, out, n_bytes, seed=0):
    """Spoil bytes of the streams, not of the header."""
    content = bytearray(film.read_bytes())
    start = content.index(b"mdat") + 8
    for place in np.random.default_rng(seed).integers(start, len(content), n_bytes):
        content[place] ^= 0xFF
    out.write_bytes(content)
    return out


def test_nothing_or_half_without_an_index_is_corrupt(film, tmp_path):
    ffmpeg("-i", film, "-c", "copy", tmp_path / "late.mp4")
    content = (tmp_path / "late.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(content[: len(content) // 2])
    (tmp_path / "none.mp4").touch()
    assert refusal(tmp_path / "half.mp4") == refusal(tmp_path / "none.mp4") == "CORRUPT_CONTAINER"


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=slow) for seed in range(1, 6))])
def test_spoilt_bytes_are_refused_or_leave_holes_and_move_nothing(film, tmp_path, seed):
    path = flipped(film, tmp_path / "spoilt.mp4", 30, seed)
    assert refusal(path) in {"DAMAGED_STREAM", "TRUNCATED"}
    kept = read(path, lenient=True)
    whole = read(film).samples
    n = min(len(whole), len(kept.samples))
    alike = np.zeros(n)
    for at in range(0, n - 800, 800):  # what decodes is where it was
        piece = whole[at : at + 800]
        alike[at : at + 800] = np.dot(piece, kept.samples[at : at + 800]) > 0.9 * np.dot(piece, piece)
    assert alike.mean() > 0.4
    assert all(0 <= start_s < end_s <= 4.1 and end_s - start_s > HOLE_S for start_s, end_s in kept.holes)
    for start_s, end_s in kept.holes:
        inside = kept.samples[round(start_s * RATE) + 40 : round(end_s * RATE) - 40]
        assert np.abs(inside).max(initial=0.0) < 1e-3


def test_sound_of_which_little_decodes_is_refused_however_lenient(tmp_path, wav):
    encode_sound(tmp_path / "a.flac", sweep(), sample_rate=48_000, codec="flac")
    content = bytearray((tmp_path / "a.flac").read_bytes())
    for place in range(9_000, len(content), 1_500):  # most blocks, not the head
        content[place] ^= 0xFF
    (tmp_path / "a.flac").write_bytes(content)
    assert refusal(tmp_path / "a.flac") in {"DAMAGED_STREAM", "TRUNCATED"}


def test_a_hole_is_told_and_what_follows_stays_at_its_time(tmp_path, wav):
    holed = tmp_path / "holed.mkv"
    ffmpeg("-i", wav, "-af", "aselect='not(between(t,1,1.5))'", "-c:a", "pcm_s16le", holed)
    found = read(holed)
    ((start_s, end_s),) = found.holes
    assert (start_s, end_s) == pytest.approx((1.0, 1.5), abs=0.045)  # in packets of 2048 samples
    whole = read(wav).samples
    late = slice(round(1.6 * RATE), 4 * RATE - 100)
    best = min(np.abs(found.samples[late] - np.roll(whole, shift)[late]).max() for shift in range(-10, 11))
    assert best < 0.2  # a container that counts in milliseconds may move it by half of one


def test_one_lost_packet_moves_nothing(film, tmp_path):
    """21 ms of AAC: less than any player compensates, and a thousand times the accuracy of a clock."""
    lost = tmp_path / "lost.mp4"
    ffmpeg("-i", film, "-map", "0:a", "-c", "copy", "-bsf:a", "noise=drop=eq(n\\,60)", lost)
    found, whole = read(lost, lenient=True), read(film).samples
    ((start_s, end_s),) = found.holes
    assert end_s - start_s == pytest.approx(1024 / 48_000, abs=1e-4)
    late = slice(round((end_s + 0.1) * RATE), round(3.8 * RATE))
    np.testing.assert_allclose(found.samples[late], whole[late], atol=1e-3)


@pytest.mark.parametrize("shift_s", [-0.7, *(pytest.param(shift_s, marks=slow) for shift_s in (-1.0, 0.3, 1.0))])
def test_sound_moved_against_the_pictures_is_moved_by_as_much(film, tmp_path, shift_s):
    moved = tmp_path / "moved.mov"
    ffmpeg("-i", film, "-itsoffset", shift_s, "-i", film, "-map", "0:v", "-map", "1:a", "-c", "copy", moved)
    first_s = next(iter_pictures(moved, width=64, height=48, policy=POLICY))[1][0]
    assert later_s(read(moved).samples, read(film).samples) - first_s == pytest.approx(shift_s, abs=1e-3)


def test_sound_and_pictures_keep_their_own_lengths(film, wav, tmp_path):
    short = tmp_path / "short.mp4"
    ffmpeg("-t", 2, "-i", film, "-i", wav, "-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "aac", short)
    assert check_film(short, POLICY).last_s == pytest.approx(2.0, abs=0.1)
    assert len(read(short).samples) / RATE == pytest.approx(4.0, abs=0.05)


def test_what_is_too_large_or_too_long_is_refused_before_it_is_decoded(film, wav):
    for name, limits, kind in (
        (film, {"max_file_bytes": 1000}, "TOO_LARGE"),
        (film, {"max_streams": 1}, "TOO_LARGE"),
        (wav, {"max_duration_s": 3.0}, "TOO_LONG"),
    ):
        assert refusal(name, policy=POLICY.model_copy(update=limits)) == kind


def test_a_file_that_does_not_tell_its_length_is_stopped_at_the_limit(film, tmp_path):
    live = tmp_path / "live.mkv"
    command = ["ffmpeg", "-v", "error", "-i", str(film), "-c", "copy", "-f", "matroska", "-live", "1", "-"]
    live.write_bytes(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
    assert probe(live, policy=POLICY).duration_s is None
    limits = POLICY.model_copy(update={"max_duration_s": 2.0})
    assert refusal(live, policy=limits) == "TOO_LONG"
    with pytest.raises(MediaError) as caught:
        check_film(live, limits)
    assert caught.value.kind == "TOO_LONG"


def test_a_program_that_does_not_end_is_stopped():
    with pytest.raises(ToolError, match="not done after 0 s"):
        run(["sleep", "30"], timeout_s=0.2)
    with pytest.raises(ToolError, match="not done after 0 s"), running(["sleep", "30"], timeout_s=0.2) as (process, _):
        process.wait(timeout=20)


def test_of_several_audio_streams_the_first_or_the_one_asked_for_is_read(wav, tmp_path):
    two = tmp_path / "two.mkv"
    ffmpeg("-i", wav, "-f", "lavfi", "-i", "sine=1000:d=2", "-map", 0, "-map", 1, "-c:a", "flac", two)
    assert [sound.index for sound in probe(two, policy=POLICY).sounds] == [0, 1]
    first, second = read(two), read(two, stream=1)
    assert (first.stream, second.stream) == (0, 1)
    assert len(second.samples) == pytest.approx(2 * RATE, abs=2)
    assert np.argmax(np.abs(np.fft.rfft(second.samples[:RATE]))) == 1000
    with pytest.raises(MediaError, match="stream 5 is no sound, expected one of 0, 1"):
        read(two, stream=5)


@pytest.mark.parametrize(
    ("channels", "rate"), [(6, 48_000), pytest.param(2, 192_000, marks=slow), pytest.param(1, 8_000, marks=slow)]
)
def test_dead_channels_are_left_out_of_the_mean(tmp_path, channels, rate):
    """Left only is as loud as it is, whatever else the file has room for."""
    audio = np.zeros((rate, channels), np.float32)
    audio[:, 0] = 0.6 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    encode_sound(tmp_path / "a.wav", audio, sample_rate=rate, codec="pcm_s24le")
    found = read(tmp_path / "a.wav").samples
    expected = 0.6 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    np.testing.assert_allclose(found[500:-500], expected[500:-500], atol=2e-3)


@pytest.mark.parametrize("value", [np.nan, pytest.param(np.inf, marks=slow), pytest.param(-np.inf, marks=slow)])
def test_what_is_no_number_is_refused_by_its_place_or_zeroed_and_counted(tmp_path, value):
    audio = sweep(1.0)
    audio[12_345] = value
    soundfile.write(tmp_path / "a.wav", audio, 48_000, subtype="FLOAT")
    with pytest.raises(MediaError, match=r"sample 12345 at 0\.257 s is no number"):
        read(tmp_path / "a.wav", sample_rate=48_000)
    kept = read(tmp_path / "a.wav", sample_rate=48_000, lenient=True)
    assert kept.n_patched == 1
    audio[12_345] = 0
    np.testing.assert_allclose(kept.samples, audio, atol=1e-6)


def test_silence_is_read_as_silence(tmp_path):
    encode_sound(tmp_path / "a.flac", np.zeros(48_000, np.float32), sample_rate=48_000, codec="flac")
    found = read(tmp_path / "a.flac")
    assert (len(found.samples), found.samples.any(), found.holes) == (RATE, False, ())


def test_ten_samples_are_ten_samples(tmp_path):
    encode_sound(tmp_path / "a.wav", sweep()[:10], sample_rate=48_000, codec="pcm_s16le")
    assert len(read(tmp_path / "a.wav", sample_rate=48_000).samples) == 10


def test_a_header_that_lies_is_found_out(wav, tmp_path):
    content = bytearray(wav.read_bytes())
    at = content.index(b"data") + 4
    size = int.from_bytes(content[at : at + 4], "little")
    # Written before the length was known: what is there counts.
    unknown = content[:at] + (0xFFFFFFF0).to_bytes(4, "little") + content[at + 4 :]
    (tmp_path / "unknown.wav").write_bytes(unknown)
    assert len(read(tmp_path / "unknown.wav", sample_rate=48_000).samples) == size // 2
    # Half of the bytes are gone.
    (tmp_path / "half.wav").write_bytes(content[: len(content) // 2])
    assert refusal(tmp_path / "half.wav") == "TRUNCATED"
    kept = read(tmp_path / "half.wav", lenient=True)
    assert kept.truncated_at_s == len(kept.samples) / RATE == pytest.approx(2.0, abs=0.01)
    # No rate.
    content[24:28] = bytes(4)
    (tmp_path / "still.wav").write_bytes(content)
    assert refusal(tmp_path / "still.wav") == "CORRUPT_CONTAINER"


@pytest.mark.parametrize(
    "text", ["ffconcat version 1.0\nfile a.wav\n", "#EXTM3U\n#EXTINF:4,\na.wav\n", "<?xml?><MPD/>"]
)
@pytest.mark.parametrize("name", ["list.mp4", "list.wav"])
def test_a_playlist_does_not_make_its_neighbour_heard(wav, tmp_path, text, name):
    (tmp_path / "a.wav").write_bytes(wav.read_bytes())
    (tmp_path / name).write_text(text)
    assert refusal(tmp_path / name) == "NOT_MEDIA"


def test_threads_do_not_disturb_each_other(film, wav):
    def work(_):
        shown = np.concatenate([p for p, _ in iter_pictures(film, width=16, height=12, policy=POLICY)])
        return read(wav).samples.tobytes(), shown.tobytes()

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(work, range(2)))
    assert len(set(found)) == 1
