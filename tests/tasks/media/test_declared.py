"""What a container declares against what was decoded of it, and which of several streams is used."""

import struct
import subprocess

import numpy as np
import pytest
import soundfile

from tasks.clock.place import place_file
from tasks.errors import BadInput
from tasks.intake.describe import StreamsNamed, TakeFileError, parse_take_file
from tasks.intake.devices import CaptureParams, examine_device
from tasks.intake.layouts import ensemble_file
from tasks.media.formats import RECORDING_SUFFIXES, begins_as_media
from tasks.media.pictures import check_film, iter_colours, iter_pictures
from tasks.media.probe import NO_LIMITS, probe
from tasks.media.process import MediaError, fault_of
from tasks.media.sound import read_sound
from tasks.notes import NotesParams, notes_of_file

RATE = 16_000
slow = pytest.mark.slow
PARAMS = CaptureParams(lenient=True, min_duration_s=0.5, short_fraction=0.5, silence_db=-60.0)
FILM = ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=3")
CODED = ("-c:v", "mpeg4")


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, arguments)], check=True, timeout=60)


def examine(path, role="camera", **options):
    return examine_device(path, policy=NO_LIMITS, params=PARAMS, role=role, **options)


def noise(seed, duration_s=3.0):
    return (0.1 * np.random.default_rng(seed).standard_normal(round(duration_s * RATE))).astype(np.float32)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Silence, a noise and another one, each of 3 s."""
    folder = tmp_path_factory.mktemp("sounds")
    for name, samples in {"none": np.zeros(3 * RATE), "one": noise(1), "two": noise(2)}.items():
        soundfile.write(folder / f"{name}.wav", samples, RATE)
    return folder


def several(out, folder, *names):
    """A film with several streams of sound, in order, of FLAC."""
    given = [word for name in names for word in ("-i", folder / f"{name}.wav")]
    mapped = [word for number in range(len(names) + 1) for word in ("-map", number)]
    ffmpeg(*FILM, *given, *mapped, *CODED, "-c:a", "flac", out)
    return out


@pytest.mark.parametrize(
    ("names", "stream", "heard"),
    [
        (("none", "one", "two"), 2, "one"),
        (("one", "none"), 1, "one"),
        pytest.param(("none", "none"), 1, "none", marks=slow),
    ],
)
def test_of_several_streams_of_sound_the_first_that_has_some_is_used_and_told(tmp_path, sounds, names, stream, heard):
    film = several(tmp_path / "cam_a.mkv", sounds, *names)
    found = read_sound(film, sample_rate=None, policy=NO_LIMITS)
    whole, _ = soundfile.read(sounds / f"{heard}.wav", dtype="float32")
    assert found.stream == stream
    np.testing.assert_array_equal(found.samples, whole)
    assert f"stream {stream} is used" in found.remarks[0]
    assert examine(film).facts["audio"]["stream"] == stream


def test_a_stream_that_does_not_decode_is_passed_over(tmp_path, sounds):
    film = several(tmp_path / "cam_a.mkv", sounds, "one", "two")
    content = film.read_bytes()
    assert content.count(b"A_FLAC") == 2
    film.write_bytes(content.replace(b"A_FLAC", b"A_XYZW", 1))  # a codec that nobody knows
    found = read_sound(film, sample_rate=None, policy=NO_LIMITS)
    assert (found.stream, found.remarks[0]) == (
        2,
        "stream 2 is used, the first of 2 with sound (stream 1 does not decode)",
    )


def test_take_yaml_names_the_streams(tmp_path, sounds):
    film = several(tmp_path / "cam_a.mkv", sounds, "one", "two")
    described = parse_take_file(b"streams: {cam_a: {sound: 2, pictures: 0}}\n", name="take.yaml")
    assert described.streams == {"cam_a": StreamsNamed(sound=2, pictures=0)}
    assert examine(film).facts["audio"]["stream"] == 1
    assert examine(film, streams=described.streams["cam_a"]).facts["audio"]["stream"] == 2
    assert "damaged_audio" in examine(film, streams=StreamsNamed(sound=0)).flags
    with pytest.raises(BadInput, match=r"cam_a.mkv: stream 1 holds no pictures, expected one of 0") as refused:
        examine(film, streams=StreamsNamed(pictures=1))
    assert refused.value.kind == "NO_VIDEO"
    with pytest.raises(TakeFileError, match="streams"):
        parse_take_file(b"streams: {stem_1_vn: {sound: 1}}\n", name="take.yaml")


def test_a_cover_and_a_stream_that_does_not_decode_are_not_the_film(tmp_path):
    cover = ("-f", "lavfi", "-i", "testsrc2=s=320x240:r=1:d=1")
    ffmpeg(*cover, *FILM, "-map", 0, "-map", 1, "-c:v:0", "mjpeg", "-c:v:1", "libx264", tmp_path / "cam_a.mkv")
    facts = probe(tmp_path / "cam_a.mkv", policy=NO_LIMITS)
    assert (facts.video.index, facts.video.width, len(facts.videos)) == (1, 64, 2)
    assert examine(tmp_path / "cam_a.mkv").facts["video"]["n_pictures"] == 75
    named = examine(tmp_path / "cam_a.mkv", streams=StreamsNamed(pictures=0), role="camera").facts["video"]
    assert (named["stream"], named["width"]) == (0, 320)
    ffmpeg(*FILM, *FILM, "-map", 0, "-map", 1, "-c:v:0", "mpeg4", "-c:v:1", "libx264", tmp_path / "cam_b.mkv")
    content = (tmp_path / "cam_b.mkv").read_bytes()
    (tmp_path / "cam_b.mkv").write_bytes(content.replace(b"V_MPEG4/ISO/ASP", b"V_XYZW4/ISO/ASP"))
    assert probe(tmp_path / "cam_b.mkv", policy=NO_LIMITS).video.index == 1


def doubled(out):
    """75 pictures of which number 30 has the time of number 29."""
    ffmpeg(*FILM, *CODED, out.with_suffix(".mp4"))
    moved = "setts=pts='if(eq(N,30),PTS-512,PTS)':dts='if(eq(N,30),DTS-512,DTS)'"
    ffmpeg("-i", out.with_suffix(".mp4"), "-c", "copy", "-bsf:v", moved, out)
    return out


def test_a_time_stamp_that_comes_twice_loses_one_picture_and_no_camera(tmp_path):
    path = doubled(tmp_path / "cam_a.mkv")
    with pytest.raises(MediaError, match="picture 30 comes at") as refused:
        check_film(path, NO_LIMITS)
    assert refused.value.kind == "BAD_TIMESTAMPS"
    examined = examine(path)
    assert examined.facts["video"]["n_pictures"] == 74
    assert examined.facts["video"]["left_out"] == 1
    assert examined.facts["video"]["frame_rate"] == "25"
    assert "bad_timestamps" in examined.flags
    parts = list(iter_pictures(path, width=8, height=8, policy=NO_LIMITS, lenient=True))
    time_s = np.concatenate([time_s for _, time_s in parts])
    assert sum(len(pictures) for pictures, _ in parts) == len(time_s) == 74
    np.testing.assert_allclose(time_s, np.delete(np.arange(75), 30) / 25, atol=1e-3)
    parts = list(iter_colours(path, width=8, height=8, policy=NO_LIMITS))
    assert sum(len(pictures) for pictures, _ in parts) == 74
    assert parts[0][0].shape[1:] == (3, 8, 8)
    np.testing.assert_allclose(np.concatenate([part for _, part in parts]), time_s)


def test_a_film_whose_times_do_not_grow_is_refused_however_lenient(tmp_path, monkeypatch):
    ffmpeg(*FILM, *CODED, tmp_path / "a.mp4")
    monkeypatch.setattr("tasks.media.pictures._Stamps.take", lambda stamps, n: np.zeros(n))
    with pytest.raises(MediaError, match="the times of 74 of its 75 pictures") as refused:
        check_film(tmp_path / "a.mp4", NO_LIMITS, lenient=True)
    assert refused.value.kind == "BAD_TIMESTAMPS"


def test_a_length_that_is_not_declared_is_what_decodes(tmp_path):
    command = ["ffmpeg", "-v", "error", *FILM, *CODED, "-f", "matroska", "-live", "1", "-"]
    (tmp_path / "cam_a.mkv").write_bytes(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
    assert probe(tmp_path / "cam_a.mkv", policy=NO_LIMITS).duration_s is None
    assert examine(tmp_path / "cam_a.mkv").facts["duration_s"] == pytest.approx(3.0, abs=1e-6)
    assert check_film(tmp_path / "cam_a.mkv", NO_LIMITS).end_s == pytest.approx(3.0, abs=1e-6)


def test_subtitles_that_go_on_and_pictures_that_begin_late_are_no_truncation(tmp_path):
    (tmp_path / "a.srt").write_text("1\n00:00:09,000 --> 00:00:12,000\nB\n")
    ffmpeg(*FILM, "-i", tmp_path / "a.srt", *CODED, "-c:s", "srt", tmp_path / "sub.mkv")
    ffmpeg("-itsoffset", 1.5, *FILM, *CODED, "-copyts", tmp_path / "late.mkv")
    for name in ("sub", "late"):
        content = (tmp_path / f"{name}.mkv").read_bytes()
        assert b"DURATION" in content
        path = tmp_path / f"cam_{name}.mkv"
        path.write_bytes(content.replace(b"DURATION", b"DURATIOX"))  # as muxers write it that declare the whole alone
        assert probe(path, policy=NO_LIMITS).video.duration_s is None
        examined = examine(path)
        assert (examined.flags, examined.facts["truncated_at_s"]) == (("no_audio",), None)
        assert examined.facts["duration_s"] == pytest.approx(3.0, abs=2e-3)


def test_an_average_rate_that_is_wrong_is_told_beside_the_one_that_was_found(tmp_path):
    slow = ("-vf", "setpts=2*PTS", "-vsync", "passthrough")  # the header keeps its 25
    ffmpeg(*FILM, *slow, *CODED, tmp_path / "cam_a.mkv")
    found = examine(tmp_path / "cam_a.mkv")
    assert (found.facts["video"]["frame_rate"], found.facts["video"]["declared_rate"]) == ("25/2", "25")
    assert "declared_otherwise" in found.flags
    assert found.facts["duration_s"] == pytest.approx(6.0, abs=2e-3)


def test_a_picture_that_is_lost_in_the_middle_is_placed_there_and_ends_nothing(tmp_path):
    ffmpeg(*FILM, "-c:v", "mjpeg", tmp_path / "a.mkv")
    content = bytearray((tmp_path / "a.mkv").read_bytes())
    starts = [at for at in range(len(content)) if content[at : at + 4] == b"\xff\xd8\xff\xfe"]
    starts = starts or [at for at in range(len(content)) if content[at : at + 3] == b"\xff\xd8\xff"]
    assert len(starts) == 75
    content[starts[40] : starts[41] - 40] = bytes(starts[41] - 40 - starts[40])
    (tmp_path / "cam_a.mkv").write_bytes(content)
    found = examine(tmp_path / "cam_a.mkv")
    assert found.facts["video"]["n_pictures"] == 74
    assert found.facts["video"]["lost_s"] == [pytest.approx(1.6, abs=1e-3)]
    assert found.facts["truncated_at_s"] is None
    assert "lost_pictures" in found.flags


def test_sound_longer_than_its_header_says_is_used_whole(tmp_path):
    """An MP3 without the block that counts the others: its length is a guess from its first ones."""
    quiet, loud = np.zeros(2 * RATE, np.float32), noise(4, 60.0)
    soundfile.write(tmp_path / "a.wav", np.concatenate([quiet, loud]), RATE)
    ffmpeg("-i", tmp_path / "a.wav", "-c:a", "libmp3lame", "-q:a", "0", "-write_xing", "0", tmp_path / "mic_a.mp3")
    found = examine(tmp_path / "mic_a.mp3", role="microphone")
    assert found.facts["duration_s"] == pytest.approx(62.0, abs=0.2)
    assert "truncated" not in found.flags


def wav(path, size, n_samples=RATE):
    """A WAV file whose header counts ``size`` bytes."""
    soundfile.write(path, noise(3, n_samples / RATE), RATE, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = size.to_bytes(4, "little")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("size", [0, *(pytest.param(size, marks=slow) for size in (0xFFFFFFFF, 4 * RATE))])
def test_a_header_that_was_never_finished_is_the_same_to_all_verbs(tmp_path, size):
    path = wav(tmp_path / "mic_a.wav", size)
    params = NotesParams(
        threshold=0.5, restrike_gap_s=0.05, n_iterations=2, release_db=25.0, longest_note_s=15.0, floor_db=-120.0
    )
    expected = read_sound(path, sample_rate=RATE, policy=NO_LIMITS, lenient=True)
    assert len(expected.samples) == RATE
    (said,) = notes_of_file(path, instrument="marimba-18", params=params).remarks
    assert (said,) == expected.remarks
    examined = examine(path, role="microphone")
    assert examined.facts["duration_s"] == 1.0
    assert examined.flags == (("truncated",) if size == 4 * RATE else ("unfinished",))


def long_wav(path, form, *, counted, n_samples):
    """A WAV file for more than 4 GB: ``counted`` bytes of sound stand in its chunk ``ds64``."""
    sound = (noise(3, n_samples / RATE) * 32767).astype("<i2").tobytes()
    sizes = struct.pack("<QQQL", 0, counted, 0, 0)
    about = struct.pack("<HHLLHH", 1, 1, RATE, 2 * RATE, 2, 16)
    chunks = b"ds64" + struct.pack("<L", 28) + sizes + b"fmt " + struct.pack("<L", 16) + about
    path.write_bytes(form + b"\xff" * 4 + b"WAVE" + chunks + b"data" + b"\xff" * 4 + sound)
    return path


@pytest.mark.parametrize("form", [b"RF64", b"BW64"])
@pytest.mark.parametrize("counted", [0, RATE, 8 * RATE, 16 * RATE])
def test_what_a_long_wav_counts_is_held_against_what_follows(tmp_path, form, counted):
    """Of 4 s: none were counted, a part, all of them, or twice as many."""
    path = long_wav(tmp_path / "mic_a.wav", form, counted=counted, n_samples=4 * RATE)
    found = examine(path, role="microphone")
    assert found.facts["duration_s"] == 4.0
    flag = {8 * RATE: (), 16 * RATE: ("truncated",)}.get(counted, ("unfinished",))
    assert found.flags == flag


@pytest.mark.parametrize("before", [b"", b"\0"])
def test_a_header_that_counts_a_part_of_the_sound_is_unfinished_and_chunks_behind_the_sound_are_none(tmp_path, before):
    n_samples = 4 * RATE
    path = wav(tmp_path / "mic_a.wav", 2 * n_samples - 2 * RATE, n_samples=n_samples)  # as of a second ago
    assert len(read_sound(path, sample_rate=RATE, policy=NO_LIMITS).samples) == n_samples
    assert examine(path, role="microphone").flags == ("unfinished",)
    path = wav(tmp_path / "mic_b.wav", 2 * n_samples, n_samples=n_samples)
    path.write_bytes(path.read_bytes() + before + b"bext" + struct.pack("<L", 80_000) + bytes(80_000))
    assert len(read_sound(path, sample_rate=RATE, policy=NO_LIMITS).samples) == n_samples
    assert examine(path, role="microphone").flags == ()


def test_a_file_without_samples_says_so_and_nothing_of_the_decoders(tmp_path):
    path = wav(tmp_path / "mic_a.wav", 0, n_samples=0)
    with pytest.raises(MediaError) as refused:
        read_sound(path, sample_rate=RATE, policy=NO_LIMITS, lenient=True)
    assert str(refused.value) == f"{path}: holds no samples, expected sound"


@pytest.mark.parametrize("where", [b"mdat", pytest.param(b"moov", marks=slow)])
def test_reasons_are_our_words_the_same_every_run(tmp_path, sounds, where):
    ffmpeg(*FILM, "-i", sounds / "one.wav", *CODED, "-c:a", "aac", tmp_path / "a.mp4")
    content = bytearray((tmp_path / "a.mp4").read_bytes())
    at = content.index(where)
    content[at : at + 3000] = bytes(range(250)) * 12
    (tmp_path / "a.mp4").write_bytes(content)
    reasons = set()
    for _ in range(2):
        with pytest.raises(MediaError) as refused:
            check_film(tmp_path / "a.mp4", NO_LIMITS)
        reasons.add(str(refused.value).removeprefix(str(tmp_path)))
    (reason,) = reasons
    assert "0x" not in reason
    assert "[" not in reason


def test_what_the_log_says_is_told_in_our_words():
    assert fault_of(b"[mov @ 0x55] [error] moov atom not found\n", "?").startswith("its index is missing")
    assert fault_of(b"[Parsed_asetnsamples_1 @ 0x5] [verbose] whatever\n", "it is damaged") == "it is damaged"


def test_samples_that_are_not_numbers_are_counted_in_the_facts(tmp_path):
    samples = noise(6)
    samples[[100, 200, 300]] = np.nan, np.inf, -np.inf
    soundfile.write(tmp_path / "mic_a.wav", samples, RATE, subtype="FLOAT")
    examined = examine(tmp_path / "mic_a.wav", role="microphone")
    assert examined.facts["audio"]["not_finite"] == 3
    assert examined.flags == ("not_finite",)


def test_why_a_cameras_sound_is_not_used_is_kept(tmp_path, sounds):
    film = several(tmp_path / "cam_a.mkv", sounds, "one")
    film.write_bytes(film.read_bytes().replace(b"A_FLAC", b"A_XYZW"))
    examined = examine(film)
    assert "damaged_audio" in examined.flags
    assert "its sound does not decode" in examined.facts["audio_fault"]


SLOW = {".wave", ".aif", ".oga", ".m4v", ".3gp", ".webm", ".mpeg", ".m2ts", ".ts", ".flac", ".mp3", ".aac"}
SLOW |= {".mkv", ".avi", ".mov", ".opus", ".aifc", ".ogg", ".m4a", ".mka"}


@pytest.mark.parametrize(
    "suffix",
    [
        pytest.param(suffix, marks=slow) if suffix in SLOW else suffix
        for suffix in RECORDING_SUFFIXES
        if suffix not in (".bwf", ".rf64")  # other names of .wav, which ffmpeg does not write
    ],
)
def test_every_listed_container_is_read(tmp_path, sounds, suffix):
    codecs = {".webm": ("libvpx", "libopus"), ".avi": ("mpeg4", "mp3")}
    codecs |= dict.fromkeys((".mpg", ".mpeg", ".mts", ".m2ts", ".ts"), ("mpeg2video", "mp2"))
    video, audio = codecs.get(suffix, ("mpeg4", "aac"))
    path = tmp_path / f"a{suffix}"
    is_film = suffix in RECORDING_SUFFIXES[RECORDING_SUFFIXES.index(".mp4") :] and suffix != ".mka"
    if is_film:
        ffmpeg(*FILM, "-i", sounds / "one.wav", "-c:v", video, "-c:a", audio, "-ar", 48_000, path)
        assert probe(path, policy=NO_LIMITS).video is not None
    else:
        form = {".wave": ("-f", "wav"), ".aifc": ("-f", "aiff"), ".oga": ("-f", "ogg")}.get(suffix, ())
        ffmpeg("-i", sounds / "one.wav", *form, path)
        assert ensemble_file(f"stem_1_vn{suffix}").role == "stem"
    found = read_sound(path, sample_rate=RATE, policy=NO_LIMITS, lenient=True)
    assert len(found.samples) / RATE == pytest.approx(3.0, abs=0.15)
    assert np.abs(found.samples).max() > 0.1


def test_what_begins_otherwise_is_no_container():
    for head in (b"", b"RIFF\0\0\0\0ACON", b"FORM\0\0\0\0ILBM", b"\x89PNG", b"G" + bytes(300), b"#EXTM3U\n"):
        assert not begins_as_media(head)


def test_the_reason_of_sound_stands_beside_that_of_motion(tmp_path, sounds):
    from tasks.clock.envelopes import EnvelopeParams
    from tasks.clock.place import PlaceParams
    from tasks.clock.sound import ClockParams

    onsets = EnvelopeParams(max_drift_ppm=200, min_overlap_s=8.0, min_margin=1.3, min_peak=6.0, min_agreement=0.5)
    clock = ClockParams(max_drift_ppm=1500, min_overlap_s=5.0, min_margin=1.25, min_peak=7.0, min_agreement=0.5)
    params = PlaceParams(sample_rate=RATE, clock=clock, onsets=onsets)
    film = several(tmp_path / "cam_a.mkv", sounds, "one")
    film.write_bytes(film.read_bytes().replace(b"A_FLAC", b"A_XYZW"))
    fit = place_file(film, (3000 * noise(9, 20.0)).astype(np.int16), params, NO_LIMITS)
    assert fit.verdict == "unrelated"
    assert "its sound does not decode" in fit.reason
