"""Channels whose correlation and levels are known, and what the verbs do with them."""

import subprocess

import numpy as np
import pytest
import soundfile

from tasks.clock.envelopes import EnvelopeParams
from tasks.clock.sound import ClockParams
from tasks.features.polyphony import transcribe
from tasks.intake.devices import CaptureParams, examine_device
from tasks.intake.prints import sound_prints
from tasks.media.channels import ChannelMeter, UsedChannels
from tasks.media.probe import NO_LIMITS
from tasks.media.sound import read_pcm, read_sound
from tasks.notes import NotesParams, notes_of_file
from tasks.synchronize import SynchronizeParams, sync_files

RATE = 16_000
slow = pytest.mark.slow
NOTES = NotesParams(
    threshold=0.5, restrike_gap_s=0.05, n_iterations=8, release_db=25.0, longest_note_s=15.0, floor_db=-120.0
)
SYNC = SynchronizeParams(
    sample_rate=RATE,
    clock=ClockParams(max_drift_ppm=1500, min_overlap_s=5.0, min_margin=1.25, min_peak=7.0, min_agreement=0.5),
    onsets=EnvelopeParams(max_drift_ppm=200, min_overlap_s=8.0, min_margin=1.3, min_peak=6.0, min_agreement=0.5),
    media=NO_LIMITS,
)
RNG = np.random.default_rng(5)
NOISE, OTHER = (0.1 * RNG.standard_normal((2, 4 * RATE))).astype(np.float32)
CONSTANT, NOTHING = np.full(4 * RATE, 0.4, np.float32), np.zeros(4 * RATE, np.float32)


def used(*channels):
    meter = ChannelMeter(len(channels))
    samples = np.stack(channels, axis=1)
    for block in np.split(samples, [1, 17, 9000]):
        meter.add(block)
    return meter.used()


@pytest.mark.parametrize(("from_share", "cancels"), [(0.0, True), (0.5, True), (0.7, True), (0.9, False)])
def test_a_channel_that_is_inverted_for_a_part_of_the_time_cancels_there(from_share, cancels):
    """A cable that was changed in between: elsewhere both channels are one."""
    changed = NOISE.copy()
    at = round(from_share * len(NOISE))
    changed[at:] *= -1
    meter = ChannelMeter(2)
    for block in np.split(np.stack([NOISE, changed], axis=1), 16):
        meter.add(block)
    found = meter.used()
    assert (found.cancels, found.used) == ((True, (0,)) if cancels else (False, (0, 1)))


def plucked(pitch=64, rate=RATE):
    """One note of a string at 0.5 s."""
    time_s = np.arange(3 * rate) / rate - 0.5
    envelope = np.where(time_s >= 0, np.exp(-np.maximum(time_s, 0) / 0.5), 0)
    frequency_hz = 440 * 2 ** ((pitch - 69) / 12)
    return (
        sum(0.2 * 0.5**n * np.sin(2 * np.pi * frequency_hz * (n + 1) * time_s) for n in range(6)) * envelope
    ).astype(np.float32)


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        ((NOISE,), (0,)),
        ((NOISE, NOISE), (0, 1)),
        ((NOISE, OTHER), (0, 1)),  # r = 0: a spaced pair
        ((NOISE, 0.9 * OTHER - 0.4 * NOISE), (0, 1)),  # r = -0.4: as wide as a pair gets
        ((NOISE, 0.01 * OTHER), (0, 1)),  # softer is not dead
        ((NOISE, -NOISE), (0,)),
        ((0.5 * NOISE, -NOISE), (1,)),
        ((-0.97 * NOISE + 0.02 * OTHER, NOISE), (1,)),
        ((NOISE, NOTHING), (0,)),
        ((CONSTANT, NOISE), (1,)),
        ((CONSTANT, NOISE, OTHER), (1, 2)),
        ((CONSTANT, NOISE, -NOISE, NOTHING), (1,)),
        ((NOISE, CONSTANT - NOISE), (0,)),  # a constant does not hide that they cancel
        ((NOTHING, CONSTANT), (0, 1)),  # all are dead: there is nothing to choose
    ],
)
def test_all_channels_are_used_but_dead_ones_and_those_that_cancel(channels, expected):
    assert used(*channels).used == expected


def test_what_is_said_counts_channels_from_one():
    assert used(NOISE, NOISE).remark == ""
    assert used(NOISE, -NOISE).remark == "channels 1 and 2 cancel each other: channel 1 is used"
    assert used(NOISE, NOTHING).remark == "channel 2 of 2 holds no sound: channel 1 is used"
    both = used(CONSTANT, NOISE, -NOISE).remark
    assert both == "channel 1 of 3 holds no sound and channels 2 and 3 cancel each other: channel 2 is used"


def test_an_ordinary_pair_is_averaged_to_the_bit(tmp_path):
    pair = np.rint(32768 * np.stack([NOISE, 0.5 * NOISE + OTHER], axis=1)).clip(-32768, 32767).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", pair, RATE, subtype="PCM_16")
    mean = pair.astype(np.float64).mean(axis=1) / 32768
    found = read_sound(tmp_path / "a.wav", sample_rate=None, policy=NO_LIMITS)
    np.testing.assert_array_equal(found.samples, mean.astype(np.float32))
    assert found.remarks == ()
    block = (pair / np.float32(32768)).astype(np.float32)
    whole = UsedChannels(used=(0, 1), n_channels=2).mix(block)
    np.testing.assert_array_equal(whole, block.mean(axis=1, keepdims=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One recording as mono, with its inverse, with a dead channel and with a constant."""
    folder = tmp_path_factory.mktemp("channels")
    note = plucked()
    rest = np.zeros_like(note)
    for name, other in {"inverse": -note, "dead": rest, "constant": rest + 0.3}.items():
        soundfile.write(folder / f"{name}.wav", np.stack([note, other], axis=1), RATE, subtype="PCM_24")
    soundfile.write(folder / "mono.wav", note, RATE, subtype="PCM_24")
    return folder


@pytest.fixture(scope="module")
def alone(folder):
    return notes_of_file(folder / "mono.wav", instrument="piano", params=NOTES)


@pytest.mark.parametrize("name", ["inverse", *(pytest.param(name, marks=slow) for name in ("dead", "constant"))])
def test_notes_and_sound_are_those_of_the_channel_that_has_them(folder, alone, name):
    found = notes_of_file(folder / f"{name}.wav", instrument="piano", params=NOTES)
    assert found.pitch.tolist() == alone.pitch.tolist() == [64]
    np.testing.assert_array_equal(found.onset_s, alone.onset_s)
    np.testing.assert_array_equal(found.amplitude, alone.amplitude)
    assert len(found.remarks) == 1
    assert "channel 1 is used" in found.as_json()["remarks"][0]
    said = []
    pcm = read_pcm(folder / f"{name}.wav", sample_rate=RATE, policy=NO_LIMITS, remark=said.append)
    np.testing.assert_array_equal(pcm, read_pcm(folder / "mono.wav", sample_rate=RATE, policy=NO_LIMITS))
    assert tuple(said) == found.remarks


def test_the_prints_of_a_recording_are_those_of_its_best_channel(tmp_path):
    time_s = np.arange(20 * RATE) / RATE
    music = sum(np.sin(2 * np.pi * (300 + 37 * k) * time_s) * (time_s // 0.23 % 11 == k) for k in range(11)) * 0.3
    soundfile.write(tmp_path / "a.wav", music, RATE)
    soundfile.write(tmp_path / "b.wav", np.stack([music, -music], axis=1), RATE)
    prints = sound_prints(tmp_path / "b.wav", policy=NO_LIMITS)
    np.testing.assert_array_equal(prints, sound_prints(tmp_path / "a.wav", policy=NO_LIMITS))
    assert len(prints) > 25


@pytest.mark.parametrize(
    ("name", "flags", "dead", "channels"),
    [("inverse", ("channels_cancel",), [], [0]), ("dead", ("dead_channel",), [1], [0]), ("mono", (), [], None)],
)
def test_ingest_flags_what_is_wrong_with_the_channels(folder, name, flags, dead, channels):
    params = CaptureParams(lenient=True, min_duration_s=0.5, short_fraction=0.5, silence_db=-60.0)
    examined = examine_device(folder / f"{name}.wav", policy=NO_LIMITS, params=params, role="microphone")
    assert examined.flags == flags
    assert examined.facts["audio"]["dead_channels"] == dead
    assert examined.facts["audio"].get("channels_used") == channels


def test_sync_places_an_inverted_pair_and_says_what_it_used_of_it_and_of_the_reference(tmp_path):
    rng = np.random.default_rng(8)
    bursts = rng.uniform(0, 1, 20 * 50).repeat(RATE // 50) ** 4  # noise whose level changes every 20 ms
    world = (0.3 * bursts * rng.standard_normal(len(bursts))).clip(-1, 1)
    for name, cut in {"ref": world, "other": world[2 * RATE : 18 * RATE]}.items():
        soundfile.write(tmp_path / f"{name}.wav", np.stack([cut, -cut], axis=1), RATE)
    report = sync_files(tmp_path / "ref.wav", [tmp_path / "other.wav"], params=SYNC)
    (other,) = report.others
    assert other.fit.verdict == "locked"
    assert other.fit.delay_s == pytest.approx(2.0, abs=1e-4)
    assert other.reason.endswith("; channels 1 and 2 cancel each other: channel 1 is used")
    assert report.as_json()["remarks"] == ["channels 1 and 2 cancel each other: channel 1 is used"]


def test_channels_are_chosen_anew_when_a_file_is_written_again(tmp_path):
    path = tmp_path / "a.wav"
    for channels, peak in (((NOISE, NOTHING), 1.0), ((NOISE, NOISE), 1.0), ((NOTHING, 0.5 * NOISE), 0.5)):
        soundfile.write(path, np.stack(channels, axis=1), RATE, subtype="FLOAT")
        path.touch()
        found = read_sound(path, sample_rate=None, policy=NO_LIMITS).samples
        np.testing.assert_allclose(np.abs(found).max(), peak * np.abs(NOISE).max(), rtol=1e-6)


def test_what_is_fainter_than_the_floor_is_no_note():
    pitches = np.arange(60, 70, dtype=np.uint8)
    faint = plucked() * np.float32(10 ** (-70 / 20))  # its strongest partial is at -84 dB
    found = transcribe(faint, sample_rate=RATE, pitches=pitches, params=NOTES)
    assert found["pitch"].tolist() == [64]
    under = NOTES.model_copy(update={"floor_db": -80.0})
    assert len(transcribe(faint, sample_rate=RATE, pitches=pitches, params=under)["pitch"]) == 0


def test_surround_sound_of_a_codec_keeps_its_mean_of_live_channels(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.stack([NOISE, -NOISE, NOTHING, NOTHING], axis=1), RATE)
    command = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "a.wav"), "-c:a", "flac", str(tmp_path / "a.mkv")]
    subprocess.run(command, check=True, timeout=60)
    found = read_sound(tmp_path / "a.mkv", sample_rate=None, policy=NO_LIMITS)
    np.testing.assert_allclose(found.samples, NOISE, atol=1e-4)
    assert found.remarks == (
        "channels 3 and 4 of 4 hold no sound and channels 1 and 2 cancel each other: channel 1 is used",
    )
