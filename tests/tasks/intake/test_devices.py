"""What is in a camera's or a microphone's file, of files made here."""

import subprocess

import pytest

from tasks.errors import BadInput
from tasks.intake.devices import CaptureParams, examine_device, probe_device
from tasks.media.probe import MediaPolicy

POLICY = MediaPolicy(max_pixels=10**6, max_duration_s=60, max_bytes=10**8, max_streams=4, max_file_bytes=10**7)
PARAMS = CaptureParams(lenient=True, min_duration_s=0.5, short_fraction=0.5, silence_db=-60.0)
STRICT = PARAMS.model_copy(update={"lenient": False})
PICTURES = ("-f", "lavfi", "-i", "testsrc=size=64x48:rate=30000/1001:duration=2")
TONE = ("-f", "lavfi", "-i", "aevalsrc=0.5*sin(2000*t):duration=2:sample_rate=16000")


def make(path, *arguments):
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", *arguments, "-fflags", "+bitexact", str(path)]
    subprocess.run(command, check=True, timeout=60)
    return path


def examine(path, params=PARAMS):
    return examine_device(path, policy=POLICY, params=params)


def kind_of(path, params=PARAMS):
    with pytest.raises(BadInput) as refused:
        examine(path, params)
    assert path.name in str(refused.value)
    assert "\n" not in str(refused.value)
    return refused.value.kind


def test_a_cameras_facts_are_those_it_was_made_with(tmp_path):
    path = make(tmp_path / "cam_a.mp4", *PICTURES, *TONE, "-c:v", "mpeg4", "-c:a", "aac")
    examined = examine(path)
    video, audio = examined.facts["video"], examined.facts["audio"]
    assert (video["width"], video["height"], video["frame_rate"]) == (64, 48, "30000/1001")
    assert (video["n_pictures"], video["first_s"], video["is_variable"]) == (60, pytest.approx(0, abs=1e-3), False)
    assert video["last_s"] == pytest.approx(59 * 1001 / 30000, abs=1e-3)
    assert (audio["sample_rate"], audio["channels"], audio["codec"]) == (16_000, 1, "aac")
    assert audio["peak_db"] == pytest.approx(-6, abs=1.5)
    assert examined.facts["duration_s"] == pytest.approx(2.0, abs=0.1)
    assert examined.flags == ()


def test_sound_that_begins_later_keeps_its_start(tmp_path):
    path = make(tmp_path / "cam_a.mkv", *PICTURES, "-itsoffset", "0.7", *TONE, "-c:v", "mpeg4", "-c:a", "pcm_s16le")
    facts = examine(path).facts
    assert facts["audio"]["start_s"] == pytest.approx(0.7, abs=2e-3)
    assert facts["duration_s"] == pytest.approx(2.7, abs=0.05)


def test_a_camera_without_sound_and_one_with_silence_are_flagged(tmp_path):
    mute = make(tmp_path / "cam_a.mp4", *PICTURES, "-c:v", "mpeg4")
    assert examine(mute).flags == ("no_audio",)
    assert examine(mute).facts["audio"] is None
    silence = ("-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono", "-t", "2")
    assert examine(make(tmp_path / "mic_a.wav", *silence)).flags == ("silent",)


def test_a_camera_without_pictures_and_a_microphone_without_sound_are_refused(tmp_path):
    assert kind_of(make(tmp_path / "cam_a.mp4", *TONE, "-c:a", "aac")) == "NO_VIDEO"
    assert kind_of(make(tmp_path / "mic_a.mp4", *PICTURES, "-c:v", "mpeg4")) == "NO_AUDIO"


def test_a_microphone_that_also_filmed_is_a_microphone(tmp_path):
    facts = examine(make(tmp_path / "mic_a.mp4", *PICTURES, *TONE, "-c:v", "mpeg4", "-c:a", "aac")).facts
    assert facts["video"] is None
    assert facts["audio"]["channels"] == 1


@pytest.mark.parametrize("role", ["cam", "mic"])
def test_a_file_that_ends_too_early_is_kept_up_to_there_or_refused(tmp_path, role):
    coded = ("-c:v", "mpeg4", "-c:a", "aac", "-movflags", "+faststart")
    path = make(tmp_path / f"{role}_a.mp4", *PICTURES, *TONE, *coded)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    examined = examine(path)
    assert "truncated" in examined.flags
    assert 0.5 < examined.facts["truncated_at_s"] < 1.9
    assert examined.facts["declared_s"] == pytest.approx(2.0, abs=0.1)
    assert kind_of(path, STRICT) in ("TRUNCATED", "DAMAGED_STREAM")


def test_a_moment_is_no_recording(tmp_path):
    assert kind_of(make(tmp_path / "mic_a.wav", *TONE, "-t", "0.1")) == "TOO_SHORT"


def test_what_is_no_recording_is_refused(tmp_path):
    for name, data in {
        "cam_a.mp4": b"",
        "cam_b.mp4": b"ffconcat version 1.0\nfile 'x'\n",
        "mic_a.wav": b"RIFF",
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BadInput):
            probe_device(tmp_path / name, "camera" if name.startswith("cam") else "microphone", policy=POLICY)
