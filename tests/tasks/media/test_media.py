"""Videos are made here with ffmpeg's own generators, so their true times and contents are known."""

import hashlib
import json
import os
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tasks.errors import ToolError
from tasks.media.encode import encode_film, replace_sound
from tasks.media.pictures import read_film
from tasks.media.probe import MediaPolicy, probe
from tasks.media.process import MediaError, ffmpeg_version

POLICY = MediaPolicy(
    max_pixels=4_000_000, max_duration_s=60.0, max_bytes=50_000_000, max_streams=16, max_file_bytes=10**9
)
PLAIN = {"width": 156, "height": 58, "crop": None, "min_change": 0, "policy": POLICY}
RATE = Fraction(25)


def slow(value):
    """One of several values of which the fast tests try another."""
    return pytest.param(value, marks=pytest.mark.slow)


def run_ffmpeg(*arguments: str) -> None:
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *arguments], check=True, timeout=60)


def stripes(n_pictures, height=57, width=156):
    """Pictures with one dark stripe that moves every fourth picture."""
    pictures = np.full((n_pictures, height, width), 200, np.uint8)
    for k in range(n_pictures):
        left = k // 4 % 10 * 15
        pictures[k, :, left : left + 14] = 40
    return pictures


def tone(duration_s, sample_rate=48_000):
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(round(duration_s * sample_rate)) / sample_rate)).astype(np.float32)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def copied_pictures(path):
    """A digest of the video packets as they lie in the file."""
    command = ["ffmpeg", "-v", "error", "-i", f"file:{path}", "-map", "0:v", "-c", "copy", "-f", "md5", "-"]
    return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout


def sound_of(path):
    command = ["ffmpeg", "-v", "error", "-i", f"file:{path}", "-map", "0:a", "-ac", "1", "-f", "f32le", "-"]
    return np.frombuffer(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout, "<f4")


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Four seconds with sound; its header comes first, so that a piece of it can still be opened."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    encode_film(path, stripes(100), frame_rate=RATE, audio=tone(4.0), sample_rate=48_000)
    return path


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    """Two seconds of ffmpeg's counting test picture: every picture differs, none is stored as a copy."""
    path = tmp_path_factory.mktemp("moving") / "moving.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc=size=156x58:rate=30:duration=2", "-pix_fmt", "yuv420p", str(path))
    return path


def test_the_same_film_has_the_same_bytes(film, tmp_path):
    again = tmp_path / "again.mp4"
    encode_film(again, stripes(100), frame_rate=RATE, audio=tone(4.0), sample_rate=48_000)
    assert sha256(again) == sha256(film)


@pytest.mark.parametrize("rate", [slow(Fraction(25)), Fraction(30000, 1001), slow(Fraction(60))])
def test_a_films_times_are_its_ticks(rate, tmp_path):
    path = tmp_path / "film.mp4"
    assert encode_film(path, stripes(33), frame_rate=rate) == 33
    decoded = read_film(path, **PLAIN)
    assert decoded.n_decoded == 33
    np.testing.assert_allclose(decoded.time_s, np.arange(33) / float(rate), atol=1e-4)
    assert decoded.duration_s == pytest.approx(33 / float(rate), abs=1e-3)
    assert probe(path, policy=POLICY).video.frame_rate == rate


def test_luma_comes_back_as_it_was_drawn(tmp_path):
    """Neither writing nor reading stretches 16-235 to 0-255."""
    path = tmp_path / "film.mp4"
    drawn = np.repeat(np.array([[16, 60, 128, 200, 235, 0, 255, 16]], np.uint8), 32, axis=1)  # (1, 256)
    drawn = np.repeat(drawn, 58, axis=0)
    encode_film(path, [drawn] * 3, frame_rate=RATE)
    decoded = read_film(path, width=256, height=58, crop=None, min_change=0, policy=POLICY)
    inside = np.arange(256) % 32
    inside = (inside > 3) & (inside < 28)  # compression blurs the edges
    error = decoded.pictures[0, 4:-4].astype(int) - drawn[4:-4]
    assert np.abs(error[:, inside]).max() <= 4


def test_an_odd_height_gains_one_row_that_the_crop_takes_away(film):
    video = probe(film, policy=POLICY).video
    assert (video.width, video.height) == (156, 58)
    decoded = read_film(film, width=156, height=57, crop=(0, 0, 156, 57), min_change=0, policy=POLICY)
    error = decoded.pictures.astype(int) - stripes(100)
    assert np.abs(error).mean() < 1.0
    assert np.abs(error[:, -1]).mean() < 1.0  # the last row is the drawn one, not a blend


def test_unchanged_pictures_are_left_out_and_the_others_keep_their_times(film):
    decoded = read_film(film, width=156, height=57, crop=(0, 0, 156, 57), min_change=40, policy=POLICY)
    np.testing.assert_allclose(decoded.time_s, np.arange(25) * 4 / 25, atol=1e-6)
    assert decoded.n_decoded == 100


def test_a_variable_rate_stays_variable(tmp_path):
    path = tmp_path / "vfr.mp4"
    chosen = [0, 1, 2, 7, 8, 20, 21, 40]
    keep = "+".join(f"eq(n,{n})" for n in chosen)
    source = ["-f", "lavfi", "-i", "testsrc=size=156x58:rate=30:duration=2"]
    run_ffmpeg(*source, "-vf", f"select='{keep}'", "-vsync", "passthrough", "-pix_fmt", "yuv420p", str(path))
    np.testing.assert_allclose(read_film(path, **PLAIN).time_s, np.array(chosen) / 30, atol=1e-4)


def test_time_zero_is_the_earliest_start_of_a_stream(film, tmp_path):
    late = tmp_path / "late.mkv"
    run_ffmpeg(
        *["-itsoffset", "0.7", "-i", str(film), "-i", str(film)],
        *["-map", "0:v", "-map", "1:a", "-c", "copy", str(late)],
    )
    decoded = read_film(late, **PLAIN)
    assert decoded.time_s[0] == pytest.approx(0.7, abs=0.03)
    replace_sound(late, tone(4.0), 48_000, tmp_path / "new.mkv")
    assert read_film(tmp_path / "new.mkv", **PLAIN).time_s[0] == pytest.approx(decoded.time_s[0], abs=0.03)


def test_a_turned_video_is_read_as_it_is_seen(moving, tmp_path):
    path = tmp_path / "turned.mp4"
    run_ffmpeg("-i", str(moving), "-c", "copy", "-metadata:s:v", "rotate=90", str(path))
    video = probe(path, policy=POLICY).video
    assert (video.width, video.height) == (58, 156)
    upright = read_film(moving, **PLAIN).pictures[0]
    turned = read_film(path, width=58, height=156, crop=None, min_change=0, policy=POLICY).pictures[0]
    errors = [np.abs(np.rot90(upright, k).astype(int) - turned).mean() for k in (1, 3)]
    assert min(errors) < 4


def test_replacing_the_sound_copies_the_pictures(film, tmp_path):
    out = tmp_path / "out.mp4"
    before = sha256(film)
    replace_sound(film, tone(4.0, 16_000), 16_000, out)
    assert copied_pictures(out) == copied_pictures(film)
    assert sha256(film) == before
    heard = sound_of(out)
    assert len(heard) == pytest.approx(4 * 48_000, abs=1024)
    spectrum = np.abs(np.fft.rfft(heard[: 4 * 48_000] * np.hanning(min(len(heard), 4 * 48_000))))
    assert np.argmax(spectrum) / 4 == pytest.approx(440, abs=1)
    assert np.abs(heard[4_000:-4_000]).max() == pytest.approx(0.3, abs=0.05)


def test_sound_at_4_khz_becomes_sound_that_players_take(film, tmp_path):
    replace_sound(film, tone(4.0, 4_000), 4_000, tmp_path / "out.mp4")
    assert probe(tmp_path / "out.mp4", policy=POLICY).audio_rate == 48_000


def test_a_video_cannot_replace_itself(film):
    with pytest.raises(MediaError, match="another name") as caught:
        replace_sound(film, tone(4.0), 48_000, film)
    assert caught.value.kind == "SAME_FILE"


def test_a_name_without_a_known_suffix_is_refused(film, tmp_path):
    with pytest.raises(MediaError, match=r"\.mp4, \.mov, \.mkv") as caught:
        replace_sound(film, tone(4.0), 48_000, tmp_path / "out.gif")
    assert caught.value.kind == "UNKNOWN_FORMAT"
    assert list(tmp_path.iterdir()) == []


def refused(path, **changes):
    with pytest.raises(MediaError) as caught:
        read_film(path, **(PLAIN | changes))
    message = str(caught.value)
    assert "\n" not in message
    assert path.name.isprintable() is False or path.name in message
    return caught.value.kind


def test_an_empty_file_and_half_a_file_without_its_index_are_corrupt(moving, tmp_path):
    empty, half = tmp_path / "empty.mp4", tmp_path / "half.mp4"
    empty.touch()
    content = moving.read_bytes()
    assert content.index(b"moov") > len(content) / 2  # written last
    half.write_bytes(content[: len(content) // 2])
    assert refused(empty) == "CORRUPT_CONTAINER"
    assert refused(half) == "CORRUPT_CONTAINER"


@pytest.mark.parametrize("kept", [slow(0.3), 0.6, slow(0.9)])
def test_a_truncated_film_is_refused_though_ffmpeg_exits_with_0(kept, film, tmp_path):
    path = tmp_path / "cut.mp4"
    content = film.read_bytes()
    path.write_bytes(content[: round(len(content) * kept)])
    assert refused(path) == "TRUNCATED"


def test_a_truncated_matroska_is_refused(film, tmp_path):
    whole, path = tmp_path / "whole.mkv", tmp_path / "cut.mkv"
    run_ffmpeg("-i", str(film), "-c", "copy", str(whole))
    assert read_film(whole, **PLAIN).n_decoded == 100
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    assert refused(path) == "TRUNCATED"


def test_flipped_bits_are_noticed_though_ffmpeg_exits_with_0(moving, tmp_path):
    content = bytearray(moving.read_bytes())
    rng = np.random.default_rng(0)
    start = content.index(b"mdat") + 200
    for place in rng.integers(start, content.index(b"moov") - 10, 60):
        content[place] ^= 1 << int(rng.integers(8))
    path = tmp_path / "flipped.mp4"
    path.write_bytes(content)
    assert refused(path) in {"DAMAGED_STREAM", "TRUNCATED"}


def test_sound_alone_is_no_film(tmp_path):
    path = tmp_path / "sound.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=1", "-f", "mp4", str(path))
    assert refused(path) == "NO_VIDEO"


def test_a_film_without_sound_is_read(moving):
    assert probe(moving, policy=POLICY).audio_rate is None
    assert read_film(moving, **PLAIN).n_decoded == 60


@pytest.mark.parametrize(
    "playlist", ["ffconcat version 1.0\nfile {}\n", "#EXTM3U\n#EXTINF:4,\nfile://{}\n#EXT-X-ENDLIST\n"]
)
def test_a_playlist_called_mp4_does_not_open_its_neighbour(playlist, film, tmp_path):
    canary = tmp_path / "canary.mp4"
    canary.write_bytes(film.read_bytes())
    path = tmp_path / "list.mp4"
    path.write_text(playlist.format(canary.name if "concat" in playlist else canary))
    assert refused(path) == "NOT_MEDIA"
    with pytest.raises(MediaError):
        replace_sound(path, tone(1.0), 48_000, tmp_path / "out.mp4")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["canary.mp4", "list.mp4"]


@pytest.mark.parametrize(
    "name",
    [
        "-y.mp4",
        "concat:a|b.mp4",
        slow("%d.mp4"),
        slow("a'b\"c.mp4"),
        "$(touch pwned).mp4",
        slow("a\nb.mp4"),
        os.fsdecode(b"\xff\xfe.mp4"),
    ],
)
def test_any_name_is_only_a_name(name, film, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(film.read_bytes())
    assert read_film(Path(name), **PLAIN).n_decoded == 100
    assert [p.name for p in tmp_path.iterdir()] == [name]
    Path(name).write_bytes(b"")
    assert refused(Path(name)) == "CORRUPT_CONTAINER"


def test_any_name_can_be_written(film, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(b"-y %d $(touch pwned) \xff\n.mp4")
    replace_sound(film, tone(4.0), 48_000, Path(name))
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_links_pipes_and_folders_are_refused_at_once(film, tmp_path):
    link, pipe, folder = tmp_path / "link.mp4", tmp_path / "pipe.mp4", tmp_path / "folder.mp4"
    link.symlink_to(film)
    os.mkfifo(pipe)
    folder.mkdir()
    assert {refused(p) for p in (link, pipe, folder, tmp_path / "missing.mp4")} == {"NOT_A_FILE"}


def test_limits_are_kept(film, moving):
    assert refused(film, policy=POLICY.model_copy(update={"max_pixels": 5_000})) in {
        "TOO_LARGE",
        "CORRUPT_CONTAINER",  # ffprobe itself may refuse to open it
    }
    assert refused(film, policy=POLICY.model_copy(update={"max_duration_s": 3.0})) == "TOO_LONG"
    assert refused(moving, policy=POLICY.model_copy(update={"max_bytes": 156 * 58 * 20})) == "TOO_LARGE"


def test_a_missing_ffmpeg_says_what_to_install(film, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    for call in (
        ffmpeg_version,
        lambda: probe(film, policy=POLICY),
        lambda: encode_film(tmp_path / "x.mp4", stripes(2), frame_rate=RATE),
    ):
        with pytest.raises(ToolError, match="apt-get install ffmpeg") as caught:
            call()
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_encoding_that_fails_leaves_nothing(tmp_path):
    def pictures():
        yield from stripes(3)
        raise RuntimeError("the drawing failed")

    with pytest.raises(RuntimeError, match="drawing failed"):
        encode_film(tmp_path / "x.mp4", pictures(), frame_rate=RATE)
    with pytest.raises(ToolError, match="could not write"):
        encode_film(tmp_path / "no such folder" / "x.mp4", stripes(3), frame_rate=RATE)
    assert list(tmp_path.iterdir()) == []


def test_what_ffprobe_calls_the_film_is_what_was_asked_for(film):
    """An outside look at the same file."""
    command = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json", str(film)]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
    video, audio = told["streams"]
    assert (video["codec_name"], video["pix_fmt"], video["nb_read_frames"]) == ("h264", "yuv420p", "100")
    assert (audio["codec_name"], audio["sample_rate"], audio["channels"]) == ("aac", "48000", 1)
