"""Captures whose delays are known, from their files to the clocks, the picture of them, and what comes behind."""

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soxr

from tasks.chunk import ChunkParams
from tasks.clock import place
from tasks.clock.envelopes import EnvelopeParams
from tasks.clock.record import read_clocks
from tasks.clock.sound import ClockParams
from tasks.errors import DamagedData
from tasks.extract import ExtractParams
from tasks.intake.record import read_capture
from tasks.kinds.captures.chunk import chunk_take
from tasks.kinds.captures.extract import extract_take
from tasks.kinds.captures.synchronize import SyncError, cleanness_db, synchronize_take
from tasks.media.encode import encode_camera, encode_sound
from tasks.media.probe import NO_LIMITS, MediaPolicy, probe
from tasks.media.sound import read_pcm, read_sound
from tasks.store.arrays import open_arrays
from tasks.store.tables import read_table, write_table
from tasks.synchronize import SynchronizeParams, sync_files, write_aligned
from tasks.takes import Take

RATE = 48_000
PARAMS = SynchronizeParams(
    sample_rate=16_000,
    clock=ClockParams(max_drift_ppm=1500, min_overlap_s=5.0, min_margin=1.25, min_peak=9.0, min_agreement=0.5),
    onsets=EnvelopeParams(max_drift_ppm=200, min_overlap_s=8.0, min_margin=1.3, min_peak=6.0, min_agreement=0.5),
    media=MediaPolicy(max_pixels=10**7, max_duration_s=600, max_bytes=10**9, max_streams=16, max_file_bytes=10**9),
)


def event(seconds=44.0, seed=0):
    """Struck bars at uneven moments, as they sound at the source."""
    rng = np.random.default_rng(seed)
    audio = np.zeros(round(seconds * RATE))
    for onset_s in np.cumsum(rng.uniform(0.12, 0.5, 200)):
        start = round(onset_s * RATE)
        if onset_s > seconds - 1.2:
            break
        time_s = np.arange(RATE) / RATE
        hz = 440 * 2 ** (rng.integers(-3, 20) / 12)
        tone = sum(
            np.exp(-time_s * (6 + 12 * n)) * np.sin(2 * np.pi * hz * r * time_s) for n, r in enumerate((1, 3.9, 9))
        )
        audio[start : start + RATE] += 0.15 * rng.uniform(0.3, 1) * tone
        audio[start : start + 400] += 0.05 * rng.standard_normal(400) * np.exp(-np.arange(400) / 90)
    return audio.clip(-1, 1).astype(np.float32)


def recorded(world, start_s, seconds, *, noise=3e-4, ppm=0.0, seed=1):
    """What a device that begins at ``start_s`` and whose clock is slow by ``ppm`` records."""
    cut = world[round(start_s * RATE) : round((start_s + seconds) * RATE)]
    if ppm:
        cut = soxr.resample(cut, RATE * (1 + ppm * 1e-6), RATE, quality="VHQ")
    rng = np.random.default_rng(seed)
    return (cut + noise * rng.standard_normal(len(cut))).clip(-1, 1).astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two microphones and a camera of one event; the camera began 1.25 s after the room's microphone."""
    folder = tmp_path_factory.mktemp("files")
    world = event()
    encode_sound(folder / "mic_room.wav", recorded(world, 0.5, 40), sample_rate=RATE, codec="pcm_s24le")
    encode_sound(
        folder / "mic_far.wav", recorded(world, 2.0, 36, noise=0.01, ppm=80), sample_rate=RATE, codec="pcm_s16le"
    )
    encode_camera(
        folder / "cam_top.mp4",
        (np.full((36, 64), 60 + k % 100, np.uint8) for k in range(750)),
        time_s=[Fraction(k, 25) for k in range(750)],
        time_base=Fraction(1, 90_000),
        audio=recorded(world, 1.75, 30, noise=1e-3, seed=3),
        sample_rate=RATE,
        audio_codec="aac",
    )
    encode_sound(folder / "other.wav", event(40, seed=9), sample_rate=RATE, codec="pcm_s16le")
    return folder


@pytest.fixture
def take(files, tmp_path, monkeypatch):
    """A capture as ingest writes it down."""
    monkeypatch.chdir(tmp_path)
    raw = Path("data/raw/a")
    raw.parent.mkdir(parents=True)
    raw.symlink_to(files)
    media = []
    for name, n_pictures in (("cam_top.mp4", 750), ("mic_room.wav", 0), ("mic_far.wav", 0)):
        facts = probe(files / name, policy=PARAMS.media)
        media.append(
            {
                "role": "camera" if n_pictures else "microphone",
                "device": Path(name).stem,
                "path": f"data/raw/a/{name}",
                "state": "used",
                "facts": {
                    "duration_s": facts.duration_s,
                    "audio": {},
                    "video": {"n_pictures": n_pictures} if n_pictures else None,
                },
            }
        )
    about = {
        "master": None,
        "notes": None,
        "instrument": {"name": "marimba-18", "notes": [66, 68, 70]},
        "duration_s": 40.0,
        "media": media,
        "cameras": {},
    }
    Path("data/ingested/a").mkdir(parents=True)
    Path("data/ingested/a/take.json").write_text(json.dumps(about))
    return Take(name="a", kind="capture", piece="a", part=None, digest="d", duration_s=40.0)


@pytest.fixture
def synchronized(take):
    out = Path("data/synchronized/a")
    out.mkdir(parents=True)
    synchronize_take(take, out, PARAMS)
    return take


def test_every_device_is_placed_on_the_cleanest_microphones_clock(synchronized):
    master, clocks = read_clocks("a")
    assert master == "mic_room"
    assert set(clocks) == {"cam_top", "mic_far", "mic_room"}
    assert clocks["cam_top"].delay_s == pytest.approx(1.25, abs=2e-5)
    assert clocks["mic_far"].delay_s == pytest.approx(1.5, abs=5e-5)
    assert clocks["mic_far"].drift_ppm == pytest.approx(80, abs=1)
    assert clocks["mic_room"].to_reference(12.5) == 12.5
    assert Path("data/synchronized/a/residuals.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_capture_gives_the_same_bytes(synchronized, tmp_path):
    again = tmp_path / "again"
    again.mkdir()
    synchronize_take(synchronized, again, PARAMS)
    for path in again.iterdir():
        assert path.read_bytes() == (Path("data/synchronized/a") / path.name).read_bytes(), path.name


def test_by_hand_the_same_delays_come_out(files, synchronized):
    report = sync_files(files / "mic_room.wav", [files / "cam_top.mp4", files / "mic_far.wav"], params=PARAMS)
    _, clocks = read_clocks("a")
    for row in report.as_json()["others"]:
        clock = clocks[Path(row["file"]).stem]
        assert row["status"] == "locked"
        assert (row["delay_s"], row["drift_ppm"]) == (clock.delay_s, clock.drift_ppm)
        assert [span["delay_s"] for span in row["spans"]] == [span.delay_s for span in clock.spans]


def test_what_is_unrelated_or_unreadable_is_reported_and_the_rest_goes_on(files, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    others = [files / "other.wav", tmp_path / "broken.wav", files / "cam_top.mp4"]
    placed = sync_files(files / "mic_room.wav", others, params=PARAMS).as_json()["others"]
    assert [row["status"] for row in placed[1:]] == ["unreadable", "locked"]
    assert placed[0]["status"] != "locked"
    assert placed[0]["delay_s"] is None
    assert "broken.wav" in placed[1]["reason"]
    json.dumps(placed, allow_nan=False)


def test_the_aligned_file_has_all_that_lock_at_one_time(files, tmp_path):
    report = sync_files(files / "mic_room.wav", [files / "cam_top.mp4", files / "other.wav"], params=PARAMS)
    out = tmp_path / "all.mkv"
    assert write_aligned(report, out) == [files / "other.wav"]
    facts = probe(out, policy=PARAMS.media)
    assert facts.n_streams == 3
    assert facts.video is not None
    first = read_sound(files / "mic_room.wav", sample_rate=16_000, policy=PARAMS.media).samples
    joined = read_sound(out, sample_rate=16_000, policy=PARAMS.media).samples
    n = min(len(first), len(joined))
    assert np.corrcoef(first[:n], joined[:n])[0, 1] > 0.99


def test_features_and_pictures_stand_on_the_masters_clock(synchronized):
    for folder, work, params in (
        (
            "extracted",
            extract_take,
            ExtractParams(frame_rate=Fraction(25), code_rate=4_000, n_classes=256, players="own"),
        ),
        (
            "chunked/captures",
            chunk_take,
            ChunkParams(
                pictures_per_chunk=16,
                camera_width=32,
                camera_height=18,
                camera_margins=(0.05, 0.2),
                sound_rate=8_000,
                stem_rate=8_000,
                stem_channels=1,
            ),
        ),
    ):
        out = Path("data") / folder / "a"
        out.mkdir(parents=True)
        work(synchronized, out, params)
    arrays = open_arrays(Path("data/chunked/captures/a/arrays.zarr"))
    assert arrays["amplitudes"].shape == (998, 3)
    assert len(arrays["codes"]) == 160_000
    assert arrays.attributes["cameras"] == ["cam_top"]
    assert arrays["pictures_cam_top"].shape == (750, 18, 32)
    np.testing.assert_allclose(arrays["time_s_cam_top"][:], 1.25 + np.arange(750) / 25, atol=3e-5)
    luma = arrays["pictures_cam_top"][:].mean(axis=(1, 2))
    assert np.abs(luma - (60 + np.arange(750) % 100)).max() < 3


def test_the_master_that_take_yaml_names_is_master(take):
    path = Path("data/ingested/a/take.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"master": "cam_top"}))
    out = Path("data/synchronized/a")
    out.mkdir(parents=True)
    synchronize_take(take, out, PARAMS)
    master, clocks = read_clocks("a")
    assert master == "cam_top"
    assert clocks["mic_room"].delay_s == pytest.approx(-1.25, abs=2e-5)


def test_a_capture_without_a_sound_has_no_clock(take):
    path = Path("data/ingested/a/take.json")
    about = json.loads(path.read_text())
    for row in about["media"]:
        row["facts"]["audio"] = None
    path.write_text(json.dumps(about))
    with pytest.raises(SyncError, match="no device recorded any sound") as error:
        synchronize_take(take, Path("data/synchronized"), PARAMS)
    assert error.value.kind == "NO_SOUND"


def test_a_clock_that_is_missing_is_damage(take):
    assert read_capture("a").device("cam_top").n_pictures == 750
    with pytest.raises(DamagedData, match="run audiate synchronize first"):
        read_clocks("a")


def test_clean_is_loud_over_quiet_and_not_clipped():
    world = event(10)
    clean, noisy = (cleanness_db(compact(recorded(world, 1, 8, noise=noise)), RATE) for noise in (1e-4, 2e-2))
    assert clean > noisy + 3
    assert cleanness_db(compact((20 * recorded(world, 1, 8, noise=1e-4)).clip(-1, 1)), RATE) < clean
    assert cleanness_db(np.zeros(16_000, np.int16), RATE) == -np.inf


def compact(audio):
    return np.rint(audio * 32767).astype(np.int16)


def test_a_recording_is_read_as_16_bits_and_to_its_end(tmp_path):
    audio = recorded(event(10), 1, 8, noise=1e-3)
    path = tmp_path / "a.flac"
    encode_sound(path, audio, sample_rate=RATE, codec="flac")
    assert np.abs(read_pcm(path, sample_rate=RATE, policy=NO_LIMITS).astype(int) - np.rint(audio * 32767)).max() <= 1


def bars(onset_s, pitch, seconds):
    """Struck bars as `event` has them, of known pitch at known moments."""
    rng = np.random.default_rng(1)
    audio = 3e-4 * rng.standard_normal(round(seconds * RATE))
    time_s = np.arange(RATE) / RATE
    for moment_s, note in zip(onset_s, pitch, strict=True):
        hz = 440 * 2 ** ((note - 69) / 12)
        tone = sum(
            np.exp(-time_s * (6 + 12 * n)) * np.sin(2 * np.pi * hz * r * time_s) for n, r in enumerate((1, 3.9, 9))
        )
        start = round(moment_s * RATE)
        audio[start : start + RATE] += 0.1 * tone[: len(audio) - start]
    return audio.clip(-1, 1).astype(np.float32)


@pytest.fixture
def with_notes(take, notes_of):
    """Return a function that gives the take one microphone that records notes, and MIDI with these notes' own times.

    It returns the notes on the master's clock, and what clock.json holds of the score.
    """

    def run(kind, *, played_s, written_s, played_pitch, written_pitch):
        path = Path("data/raw/a/mic_room.wav")
        Path("data/raw/a").unlink()
        Path("data/raw/a").mkdir()
        encode_sound(path, bars(played_s, played_pitch, played_s[-1] + 2), sample_rate=RATE, codec="pcm_s16le")
        about = json.loads(Path("data/ingested/a/take.json").read_text())
        rows = [row for row in about["media"] if row["device"] == "mic_room"]
        rows.append({"role": "score", "device": "score", "path": "data/raw/a/a.mid", "state": "used", "facts": None})
        Path("data/ingested/a/take.json").write_text(json.dumps(about | {"media": rows, "notes": kind}))
        rows = [(moment_s, moment_s + 0.2, note, 80) for moment_s, note in zip(written_s, written_pitch, strict=True)]
        write_table(Path("data/ingested/a/notes.parquet"), notes_of(*rows).columns())
        out = Path("data/synchronized/a")
        out.mkdir(parents=True)
        synchronize_take(take, out, PARAMS)
        table = out / "notes.parquet"
        facts = json.loads((out / "clock.json").read_text())["devices"]["score"]
        return (read_table(table) if table.exists() else None), facts

    return run


def melody(n=90, seed=5):
    rng = np.random.default_rng(seed)
    return 1.0 + np.cumsum(rng.choice([0.15, 0.3, 0.3, 0.45, 0.6], n)), rng.integers(66, 85, n)


def test_midi_that_was_recorded_along_is_on_the_masters_clock(with_notes):
    onset_s, pitch = melody()
    written_s = (onset_s - 0.7) * (1 - 60e-6)
    notes, facts = with_notes(
        "recorded", played_s=onset_s, written_s=written_s, played_pitch=pitch, written_pitch=pitch
    )
    assert (facts["verdict"], facts["method"]) == ("locked", "notes")
    _, clocks = read_clocks("a")
    wrong_ms = 1e3 * np.abs(notes["onset_s"] - onset_s)
    assert wrong_ms.max() < clocks["score"].error_ms < 15
    assert np.nanmedian(np.abs(notes["residual_ms"])) < 10
    np.testing.assert_array_equal(notes["pitch"], pitch)


def test_a_score_that_was_played_freely_is_followed_note_by_note(with_notes):
    written_s, pitch = melody()
    tempo = 1.25 + 0.3 * np.sin(written_s / 5)
    played_s = 2.0 + np.cumsum(np.diff(written_s, prepend=written_s[0]) * tempo)
    notes, facts = with_notes("score", played_s=played_s, written_s=written_s, played_pitch=pitch, written_pitch=pitch)
    assert (facts["verdict"], facts["method"]) == ("followed", "notes")
    assert 1e3 * np.quantile(np.abs(notes["onset_s"] - played_s), 0.95) < 40
    assert np.isfinite(notes["residual_ms"]).mean() > 0.4
    _, clocks = read_clocks("a")
    assert set(clocks) == {"mic_room"}  # a player's tempo is no clock
    table = read_table(Path("data/synchronized/a/clock.parquet"))
    assert list(table["verdict"]) == ["locked", "followed"]
    assert np.isnan(table["delay_s"][1])


@pytest.mark.parametrize("kind", ["score", "recorded"])
def test_the_score_of_another_piece_is_unrelated_with_a_reason(with_notes, kind):
    played_s, played_pitch = melody()
    written_s, written_pitch = melody(seed=6)
    notes, facts = with_notes(
        kind, played_s=played_s, written_s=written_s, played_pitch=played_pitch, written_pitch=written_pitch
    )
    assert notes is None
    # Onsets of rhythms on one grid may agree at several places; what counts is that none is believed.
    assert facts["verdict"] in {"score": ("unrelated",), "recorded": ("unrelated", "ambiguous")}[kind]
    assert facts["reason"]


def test_a_device_that_cannot_be_read_is_reported_and_the_take_goes_on(take, files):
    folder = Path("data/raw/a")
    folder.unlink()
    folder.mkdir()
    for name in ("cam_top.mp4", "mic_room.wav"):
        (folder / name).write_bytes((files / name).read_bytes())
    (folder / "mic_far.wav").write_bytes(b"RIFF")
    out = Path("data/synchronized/a")
    out.mkdir(parents=True)
    synchronize_take(take, out, PARAMS)
    assert set(read_clocks("a")[1]) == {"cam_top", "mic_room"}
    facts = json.loads((out / "clock.json").read_text())["devices"]["mic_far"]
    assert facts["verdict"] == "unrelated"
    assert "mic_far.wav" in facts["reason"]


@pytest.fixture(scope="module")
def short_film(tmp_path_factory):
    """A film of 20 pictures without sound, as a time-lapse is."""
    path = tmp_path_factory.mktemp("film") / "cam_top.mp4"
    pictures = [np.full((36, 64), 10 * k, np.uint8) for k in range(20)]
    time_s = [Fraction(k, 10) for k in range(20)]
    encode_camera(path, pictures, time_s=time_s, time_base=Fraction(1, 90_000))
    return path


def test_a_film_of_few_pictures_is_unrelated_and_the_other_files_are_placed(files, short_film):
    report = sync_files(files / "mic_room.wav", [short_film, files / "mic_far.wav"], params=PARAMS)
    placed = report.as_json()["others"]
    assert [row["status"] for row in placed] == ["unrelated", "locked"]
    assert placed[0]["reason"] == "too few pictures: 20, expected at least 27"


def test_a_camera_of_few_pictures_does_not_stop_its_take(take, files, short_film):
    folder = Path("data/raw/a")
    folder.unlink()
    folder.mkdir()
    for path in (files / "mic_room.wav", files / "mic_far.wav", short_film):
        (folder / path.name).write_bytes(path.read_bytes())
    about = json.loads(Path("data/ingested/a/take.json").read_text())
    camera = next(row for row in about["media"] if row["device"] == "cam_top")
    camera["facts"] |= {"duration_s": 2.0, "audio": None, "video": {"n_pictures": 20}}
    Path("data/ingested/a/take.json").write_text(json.dumps(about))
    out = Path("data/synchronized/a")
    out.mkdir(parents=True)
    synchronize_take(take, out, PARAMS)
    devices = json.loads((out / "clock.json").read_text())["devices"]
    assert {name: about["verdict"] for name, about in devices.items()} == {
        "cam_top": "unrelated",
        "mic_far": "locked",
        "mic_room": "locked",
    }
    assert devices["cam_top"]["reason"] == "too few pictures: 20, expected at least 27"


@pytest.mark.parametrize(
    ("error", "is_of_the_input"),
    [(np.linalg.LinAlgError("did not converge"), True), (OverflowError("too large"), True), (OSError("disk"), False)],
)
def test_what_a_devices_own_data_raises_is_its_row_and_a_fault_of_the_machine_is_not(
    take, monkeypatch, error, is_of_the_input
):
    def failing(*arguments, **options):
        raise error

    monkeypatch.setattr(place, "estimate_clock", failing)
    out = Path("data/synchronized/a")
    out.mkdir(parents=True)
    if not is_of_the_input:
        with pytest.raises(OSError, match="disk"):
            synchronize_take(take, out, PARAMS)
        return
    synchronize_take(take, out, PARAMS)
    devices = json.loads((out / "clock.json").read_text())["devices"]
    assert (devices["mic_far"]["verdict"], devices["mic_far"]["reason"]) == ("unrelated", str(error))


def test_random_devices_stop_no_take_and_change_no_neighbour():
    """The full count and what must hold stand in benchmarks/devices.py."""
    command = [sys.executable, "-m", "benchmarks.devices", "--count", "2"]
    root = Path(__file__).parent.parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "2 devices, none stopped its take" in done.stdout


@pytest.mark.parametrize("container", ["mkv", "mp4"])
def test_a_container_that_begins_later_changes_nothing_and_sound_that_does_moves_the_delay(files, tmp_path, container):
    source, all_late, sound_late = files / "cam_top.mp4", tmp_path / f"all.{container}", tmp_path / f"one.{container}"
    for out, inputs in (
        (all_late, ["-itsoffset", "0.7", "-i", source]),
        (sound_late, ["-i", source, "-itsoffset", "0.7", "-i", source, "-map", "0:v", "-map", "1:a"]),
    ):
        exact = ["-movie_timescale", "48000"] if container == "mp4" else []  # else edits are in whole milliseconds
        command = ["ffmpeg", "-nostdin", "-v", "error", *map(str, inputs), "-c", "copy", *exact, str(out)]
        subprocess.run(command, check=True, timeout=60)
    report = sync_files(files / "mic_room.wav", [source, all_late, sound_late], params=PARAMS)
    here_s, all_s, sound_s = (other.fit.delay_s for other in report.others)
    # Matroska holds times in milliseconds.
    within_s = 1e-3 if container == "mkv" else 5e-5
    assert all_s == pytest.approx(here_s, abs=within_s)
    assert sound_s == pytest.approx(here_s - 0.7, abs=within_s)


def test_a_silent_camera_is_placed_by_what_moves_in_its_pictures(take):
    onset_s, pitch = melody(n=110, seed=8)
    folder = Path("data/raw/a")
    folder.unlink()
    folder.mkdir()
    encode_sound(folder / "mic_room.wav", bars(onset_s, pitch, 42), sample_rate=RATE, codec="pcm_s16le")

    def strikes():
        """A stick that falls fast on each stroke and slowly rises, in a film that began 2 s after the sound."""
        for moment_s in 2.0 + np.arange(900) / 25:
            until_s = np.min(onset_s[onset_s > moment_s] - moment_s, initial=9.0)
            since_s = np.min(moment_s - onset_s[onset_s <= moment_s], initial=9.0)
            top = round(68 - 50 * min(until_s / 0.08, since_s / 0.4, 1.0))
            picture = np.full((90, 160), 90, np.uint8)
            picture[max(top - 12, 0) : top, 70:95] = 200
            yield picture

    encode_camera(
        folder / "cam_top.mp4",
        strikes(),
        time_s=[Fraction(k, 25) for k in range(900)],
        time_base=Fraction(1, 90_000),
        audio=None,
        sample_rate=RATE,
        audio_codec=None,
    )
    path = Path("data/ingested/a/take.json")
    about = json.loads(path.read_text())
    about["media"] = [row for row in about["media"] if row["device"] != "mic_far"]
    for row in about["media"]:
        if row["device"] == "cam_top":
            row["facts"] |= {"audio": None, "duration_s": 36.0}
    path.write_text(json.dumps(about))
    out = Path("data/synchronized/a")
    out.mkdir(parents=True)
    synchronize_take(take, out, PARAMS)
    clock = read_clocks("a")[1]["cam_top"]
    assert clock.method == "motion"
    assert 1e3 * abs(clock.delay_s - 2.0) < clock.error_ms < 70
