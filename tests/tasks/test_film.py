"""The verb film: what devices record is what happened, on their own clocks, and the truth says which."""

import hashlib
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from flows.presets import preset_text
from tasks.errors import BadInput, ParamsError
from tasks.film import (
    PROGRAMS,
    EnsemblesParams,
    FilmedTake,
    FilmParams,
    RecordingParams,
    ensembles_to_film,
    excerpt,
    film_take,
    played,
    record_rig,
    takes_to_film,
)
from tasks.instruments.marimba import MARIMBA_18
from tasks.instruments.midi import MidiPolicy, read_midi, write_midi
from tasks.instruments.notes import sorted_notes
from tasks.instruments.orchestra import ORCHESTRA, read_players
from tasks.instruments.synth import SOUNDFONT_SHA256, Synthesizer, find_soundfont
from tasks.media.probe import NO_LIMITS
from tasks.media.sound import read_sound
from tasks.rig.clocks import DeviceClock, Drop, Wander
from tasks.rig.microphone import read_at
from tasks.rig.rigs import Rig, RigParams, instrument_corners, rig_of
from tasks.rig.truth import read_truth
from tasks.takes import PARTS

RECORDING = RecordingParams(
    sample_rate=48_000,
    gain=1.0,
    excerpt_s=60.0,
    tail_s=0.4,
    rig=RigParams(
        sizes=((160, 90),),
        frame_rates=(Fraction(25), Fraction(30000, 1001)),
        n_cameras=2,
        n_microphones=1,
        views_held_out=("side_left",),
        max_early_s=0.8,
        max_late_s=0.4,
        max_drift_ppm=100.0,
        t60_s=(0.2, 0.3),
        max_wander_s=0.005,
        lost_s=(0.2, 0.4),
    ),
)
DEMO = FilmParams(
    n_takes=8,
    pieces={
        "marimba-18": ("marimba_song", "marimba_rain"),
        "piano": ("schumann_melodie",),
    },
    ensembles=EnsemblesParams(
        n_takes={"train": 3, "validation": 1, "test": 2},
        pieces=("ah_vous_dirai_clarinets", "low_voices_duo", "scarborough_cellos", "auld_lang_syne_duo"),
        excerpt_s=5.0,
        max_gain_db=4.0,
        stem_room=0.0,
    ),
    seed=1,
    recording=RECORDING,
)
POLICY = MidiPolicy(max_bytes=10**6, max_duration_s=600, max_notes=10_000, hanging="close", overlap="cut")
NOTES = sorted_notes(
    np.array([0.31, 0.62, 0.95, 1.22, 1.6, 1.85]),
    np.array([0.45, 0.8, 1.1, 1.5, 1.75, 2.1]),
    np.array([66, 75, 82, 90, 97, 73]),
    np.array([80, 90, 70, 100, 60, 85]),
)


@pytest.fixture
def take(tmp_path):
    """Return a function that makes a take to film from the notes above."""

    def make(*, instrument="marimba-18", trait="plain", part="train", seed=3):
        midi = tmp_path / "a.mid"
        write_midi(midi, NOTES)
        return FilmedTake(
            name="a", piece="a", part=part, title="A", instrument=instrument, midi=str(midi), trait=trait, seed=seed
        )

    return make


@pytest.fixture
def record(tmp_path):
    """Return a function that records a rig, one camera and one microphone, changed at will."""

    def run(*, clock=None, microphone=None, camera=None, with_microphone=True, notes_clock=None, name="out"):
        rig = rig_of(1, instrument="marimba-18", is_test=False, trait="plain", duration_s=2.0, params=RECORDING.rig)
        changes = {} if clock is None else {"clock": clock}
        rig = rig.model_copy(
            update={
                "cameras": (rig.cameras[0].model_copy(update={**changes, **(camera or {})}),),
                "microphones": (rig.microphones[0].model_copy(update={**changes, **(microphone or {})}),)
                if with_microphone
                else (),
                "notes": notes_clock,
            }
        )
        out = tmp_path / name
        out.mkdir()
        record_rig(rig, NOTES, None, out, RECORDING)
        return rig, out, json.loads((out / "truth.json").read_text())

    return run


def probed(path, *, stream, entries):
    done = subprocess.run(
        ["ffprobe", "-v", "error", "-select_streams", stream, "-show_entries", entries, "-of", "csv=p=0", path],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return [line.strip(",") for line in done.stdout.split()]


def picture_times(path):
    return [float(moment) for moment in probed(path, stream="v", entries="frame=pts_time")]


def luma(path, width, height):
    done = subprocess.run(
        [
            *("ffmpeg", "-v", "error", "-i", path, "-vf", "extractplanes=y"),
            *("-f", "rawvideo", "-pix_fmt", "gray", "-"),
        ],
        capture_output=True,
        check=True,
        timeout=60,
    )
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width).astype(np.int16)


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def lag_s(heard, expected, rate, *, most_s=0.02):
    """Return how much later a sound is heard than expected, to a fraction of a sample (phase transform)."""
    n = 2 * max(len(heard), len(expected))
    cross = np.fft.rfft(heard, n) * np.conj(np.fft.rfft(expected, n))
    frequency = np.fft.rfftfreq(n, 1 / rate)
    cross = np.where((frequency > 200) & (frequency < 6000), cross / np.maximum(np.abs(cross), 1e-9) ** 0.7, 0)
    fine = 8
    correlation = np.fft.irfft(cross, n * fine)
    reach = round(most_s * rate * fine)
    window = np.r_[correlation[-reach:], correlation[: reach + 1]]
    peak = int(np.argmax(window))
    low, top, high = window[peak - 1 : peak + 2]
    return (peak + 0.5 * (low - high) / (low - 2 * top + high) - reach) / (rate * fine)


# What is written


@pytest.fixture(scope="module")
def test_take(tmp_path_factory):
    """The folder of a marimba take for testing."""
    folder = tmp_path_factory.mktemp("film")
    write_midi(folder / "a.mid", NOTES)
    out = folder / "out"
    out.mkdir()
    about = {"name": "a", "piece": "a", "title": "A", "instrument": "marimba-18", "trait": "plain", "seed": 3}
    film_take(FilmedTake(part="test", midi=str(folder / "a.mid"), **about), out, RECORDING)
    return out


def test_a_take_has_the_files_that_its_rig_names(test_take):
    rig = Rig.parse(yaml.safe_load((test_take / "rig.yaml").read_text()), "rig")
    devices = [f"cam_{camera.name}.mp4" for camera in rig.cameras]
    devices += [f"mic_{microphone.name}.wav" for microphone in rig.microphones]
    devices += ["score.mid"] if rig.notes else []
    assert {path.name for path in test_take.iterdir()} == {*devices, "take.yaml", "rig.yaml", "truth.json"}
    truth = json.loads((test_take / "truth.json").read_text())
    assert set(truth["devices"]) == {name.split(".")[0] for name in devices}
    np.testing.assert_allclose(np.array(truth["notes"])[:, 0], NOTES.onset_s, atol=1.1e-4)


def test_take_yaml_says_piece_part_instrument_and_where_the_instrument_is_seen(test_take):
    about = yaml.safe_load((test_take / "take.yaml").read_text())
    rig = Rig.parse(yaml.safe_load((test_take / "rig.yaml").read_text()), "rig")
    assert (about["piece"], about["part"], about["instrument"]) == ("a", "test", "marimba-18")
    assert about["master"] == "mic_near"
    assert set(about["cameras"]) == {camera.name for camera in rig.cameras}
    assert "side_left" in about["cameras"]
    for camera in rig.cameras:
        facts = about["cameras"][camera.name]
        corners = camera.camera().project(instrument_corners("marimba-18"))
        np.testing.assert_allclose(facts["corners"], corners[::-1], atol=0.006)  # from the player's far left
        x, y, width, height = facts["crop"]
        assert 0 <= x < x + width <= camera.width
        assert 0 <= y < y + height <= camera.height
        assert (corners >= (x, y)).all()
        assert (corners <= (x + width, y + height)).all()


def filmed_by(n_workers, take, folder):
    """Return the digests of a take that so many workers film at once, into folders of their own."""
    folders = [folder / f"{n_workers}_{number}" for number in range(n_workers)]
    for out in folders:
        out.mkdir()
    with ThreadPoolExecutor(n_workers) as pool:
        list(pool.map(lambda out: film_take(take, out, RECORDING), folders))
    return [digests(out) for out in folders]


def test_two_workers_at_once_write_the_same_bytes(take, tmp_path):
    one, other = filmed_by(2, take(instrument="piano"), tmp_path)
    assert one == other


@pytest.mark.slow
@pytest.mark.parametrize("trait", ["variable rate", "lost block"])
def test_one_worker_and_three_write_the_same_bytes(take, tmp_path, trait):
    one, *others = filmed_by(1, take(trait=trait), tmp_path) + filmed_by(3, take(trait=trait), tmp_path)
    assert others == [one] * 3


# Clocks


@pytest.mark.parametrize("rate", [Fraction(rate) for rate in ("24", "25", "30000/1001", "30", "50")], ids=str)
def test_pictures_keep_the_times_of_every_rate(record, rate):
    _, out, truth = record(camera={"frame_rate": rate, "exposure_s": 0.01, "sound": None}, with_microphone=False)
    path = next(out.glob("cam_*.mp4"))
    pictures = truth["devices"][path.stem]["pictures"]
    times = picture_times(path)
    assert len(times) == pictures["n"]
    np.testing.assert_allclose(times, [float(number / rate) for number in range(len(times))], atol=1e-5)
    assert probed(path, stream="v", entries="stream=r_frame_rate") == [f"{rate.numerator}/{rate.denominator}"]


def test_a_phones_uneven_times_are_in_its_file(record):
    _, out, truth = record(camera={"frame_rate": Fraction(30), "is_variable": True, "sound": None})
    path = next(out.glob("cam_*.mp4"))
    pictures = truth["devices"][path.stem]["pictures"]
    times = picture_times(path)
    assert len(times) == pictures["n"]
    assert times[0] == 0
    assert times[-1] == pytest.approx(pictures["last_s"], abs=1e-5)
    assert np.std(np.diff(times)) > 0.001


@pytest.mark.parametrize(
    "clock",
    [
        DeviceClock(start_s=-0.5, drift_ppm=0.0, wander=None, dropped=()),
        DeviceClock(start_s=0.2, drift_ppm=-900.0, wander=None, dropped=()),
        DeviceClock(start_s=-0.1, drift_ppm=300.0, wander=Wander(amplitude_s=0.005, period_s=4.0), dropped=()),
    ],
    ids=["early", "late and fast", "wandering"],
)
def test_a_microphone_hears_each_moment_at_its_clocks_time_and_the_sounds_flight_later(record, clock):
    rig, out, truth = record(clock=clock, camera={"sound": None})
    heard, rate = soundfile.read(out / "mic_near.wav", dtype="float32")
    delay_s = truth["devices"]["mic_near"]["acoustic_delay_s"]
    assert delay_s == pytest.approx(np.linalg.norm(np.array(rig.microphones[0].position_cm) / 100) / 343, rel=1e-6)
    dry = Synthesizer(find_soundfont(), sha256=SOUNDFONT_SHA256, gain=1.0).render(
        NOTES, None, program=PROGRAMS["marimba-18"], duration_s=truth["duration_s"]
    )
    world_s = clock.to_world(np.arange(len(heard)) / rate)
    expected = read_at(dry, 48_000, world_s, rate=rate)
    assert lag_s(heard, expected, rate) == pytest.approx(delay_s, abs=5e-5)


@pytest.mark.parametrize("rate", [Fraction(rate) for rate in ("24", "30000/1001", "50")], ids=str)
def test_a_cameras_sound_and_pictures_stand_on_one_clock(record, rate):
    clock = DeviceClock(start_s=-0.4, drift_ppm=50.0, wander=None, dropped=())
    rig, out, truth = record(clock=clock, camera={"frame_rate": rate, "exposure_s": 0.01})
    path = next(out.glob("cam_*.mp4"))
    heard = read_sound(path, sample_rate=48_000, policy=NO_LIMITS).samples
    near, near_rate = soundfile.read(out / "mic_near.wav", dtype="float32")
    devices = truth["devices"]
    flight_s = devices[path.stem]["acoustic_delay_s"] - devices["mic_near"]["acoustic_delay_s"]
    n = min(len(heard), len(near))
    assert near_rate == 48_000
    assert lag_s(heard[:n], near[:n], near_rate) == pytest.approx(flight_s, abs=5e-5)
    camera = rig.cameras[0]
    pictures = luma(path, camera.width, camera.height)
    moving = np.abs(np.diff(pictures, axis=0)).sum(axis=(1, 2))
    time_s = np.arange(1, len(pictures)) / float(rate)
    first_s = clock.to_device(NOTES.onset_s)[0]
    raised = moving[(time_s > first_s - 0.12) & (time_s < first_s)]
    assert raised.max() > 1.5 * np.median(moving[time_s < first_s - 0.35])


def test_a_lost_block_is_missing_from_pictures_and_sound_and_the_files_clock_goes_on(record):
    whole_clock = DeviceClock(start_s=-0.2, drift_ppm=0.0, wander=None, dropped=())
    clock = whole_clock.model_copy(update={"dropped": (Drop(at_s=1.0, length_s=0.36),)})
    _, lossy, lossy_truth = record(clock=clock, camera={"sound": None}, name="lossy")
    _, whole, whole_truth = record(clock=whole_clock, camera={"sound": None}, name="whole")
    name = next(lossy.glob("cam_*.mp4")).stem
    lost_s = whole_truth["devices"][name]["duration_s"] - lossy_truth["devices"][name]["duration_s"]
    assert lost_s == pytest.approx(0.36, abs=0.0011)
    times = picture_times(lossy / f"{name}.mp4")
    rate = Fraction(lossy_truth["devices"][name]["pictures"]["frame_rate"])
    np.testing.assert_allclose(np.diff(times), float(1 / rate), atol=1e-4)
    heard, rate_hz = soundfile.read(lossy / "mic_near.wav", dtype="float32")
    all_of_it, _ = soundfile.read(whole / "mic_near.wav", dtype="float32")
    early, late = slice(0, round(0.9 * rate_hz)), round(1.1 * rate_hz)
    shift = round(0.36 * rate_hz)
    assert abs(lag_s(heard[early], all_of_it[early], rate_hz)) < 5e-5
    after = all_of_it[late + shift :]
    assert abs(lag_s(heard[late : late + len(after)], after, rate_hz)) < 5e-5


def test_recorded_notes_are_on_their_own_clock(record):
    clock = DeviceClock(start_s=-0.7, drift_ppm=80.0, wander=None, dropped=())
    _, out, truth = record(camera={"sound": None}, with_microphone=False, notes_clock=clock)
    score = read_midi(out / "score.mid", POLICY).notes
    np.testing.assert_allclose(clock.to_world(score.onset_s), NOTES.onset_s, atol=1.1e-4)
    assert truth["devices"]["score"]["clock"]["start_s"] == -0.7


# Defects


def test_a_camera_without_sound_has_no_sound_stream_and_no_acoustic_delay(record):
    _, out, truth = record(camera={"sound": None}, with_microphone=False)
    path = next(out.glob("cam_*.mp4"))
    assert probed(path, stream="a", entries="stream=index") == []
    assert truth["devices"][path.stem]["acoustic_delay_s"] is None


def test_a_silent_microphone_records_nothing(record):
    _, out, truth = record(microphone={"defect": "silent"}, camera={"sound": None})
    heard, _ = soundfile.read(out / "mic_near.wav", dtype="float32")
    assert not heard.any()
    assert truth["devices"]["mic_near"]["defect"] == "silent"


def test_a_truncated_file_lacks_its_end(record):
    _, whole, _ = record(camera={"sound": None}, name="whole")
    _, out, _ = record(microphone={"defect": "truncated"}, camera={"sound": None, "defect": "truncated"}, name="cut")
    for path in (*whole.glob("cam_*"), *whole.glob("mic_*")):
        assert (out / path.name).read_bytes() == path.read_bytes()[: int(0.6 * path.stat().st_size)]


# Which takes


def test_takes_go_through_the_pieces_in_turn_and_keep_their_parts():
    takes = takes_to_film(DEMO)
    assert [take.piece for take in takes[:4]] == ["marimba_song", "marimba_rain", "schumann_melodie", "marimba_song"]
    assert [take.name for take in takes[::3]] == [f"filmed_marimba_song_{number}" for number in (1, 2, 3)]
    assert {take.piece: take.part for take in takes} == {
        "marimba_song": "train",
        "marimba_rain": "test",
        "schumann_melodie": "validation",
    }
    assert len({take.seed for take in takes}) == len(takes)
    assert {take.trait for take in takes} >= {"silent camera", "lost block", "variable rate", "wandering clock"}


def test_a_take_more_leaves_the_others_as_they_were():
    more = DEMO.model_copy(update={"n_takes": 9})
    assert takes_to_film(more)[:8] == takes_to_film(DEMO)


@pytest.mark.parametrize("pieces", [{"piano": ("no_such_piece",)}, {"marimba-18": ("schumann_melodie",)}, {}])
def test_a_piece_that_is_not_there_is_an_error_of_the_params(pieces):
    with pytest.raises(ParamsError, match=r"film\.pieces names"):
        takes_to_film(DEMO.model_copy(update={"pieces": pieces}))


def test_a_view_that_no_camera_has_cannot_be_held_out():
    rig = RECORDING.rig.model_copy(update={"views_held_out": ("behind",)})
    recording = RECORDING.model_copy(update={"rig": rig})
    with pytest.raises(ParamsError, match="names 'behind'"):
        takes_to_film(DEMO.model_copy(update={"recording": recording}))


def test_a_long_piece_is_left_at_the_first_moment_after_the_limit_at_which_no_key_is_down(tmp_path):
    onset_s = np.array([0.5, 1.0, 2.0, 2.9, 4.0, 5.0])
    offset_s = np.array([0.9, 1.8, 3.1, 3.5, 4.5, 6.0])
    write_midi(tmp_path / "a.mid", sorted_notes(onset_s, offset_s, np.arange(60, 66), np.full(6, 80)))
    for limit_s, n_kept in ((0.5, 1), (1.7, 2), (2.5, 4), (3.6, 5), (9.0, 6)):
        notes, _ = excerpt(tmp_path / "a.mid", limit_s)
        assert len(notes) == n_kept, limit_s
        np.testing.assert_allclose(notes.onset_s, onset_s[:n_kept])


def test_an_empty_score_is_bad_input(tmp_path):
    Path(tmp_path / "a.mid").write_bytes(b"MThd\0\0\0\6\0\0\0\1\1\xe0MTrk\0\0\0\4\0\xff\x2f\0")
    with pytest.raises(BadInput):
        excerpt(tmp_path / "a.mid", 10.0)


def test_the_bundled_marimba_scores_last_at_least_30_s_and_use_every_bar_for_training():
    folder = Path("data/sample/marimba")
    pieces = yaml.safe_load((folder / "pieces.yaml").read_text())
    parts = [about["part"] for about in pieces.values()]
    assert (parts.count("train"), parts.count("validation"), parts.count("test")) == (3, 1, 2)
    struck = {part: [] for part in parts}
    for name, about in pieces.items():
        notes, _ = excerpt(folder / "midi" / f"{name}.mid", 31.0)
        assert notes.offset_s.max() >= 30, name
        struck[about["part"]] += notes.pitch.tolist()
    assert min(struck["train"].count(pitch) for pitch in MARIMBA_18) >= 2


# Ensembles


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory):
    """Film five seconds of a duet, the second take of its piece: recast, from somewhere within."""
    take = next(take for take in ensembles_to_film(DEMO) if take.name == "filmed_auld_lang_syne_duo_2")
    out = tmp_path_factory.mktemp("ensemble")
    film_take(take, out, RECORDING)
    return take, out, json.loads((out / "truth.json").read_text())


def stem_of(out, player):
    (path,) = out.glob(f"stem_{player['number']}_*.wav")
    samples, rate = soundfile.read(path, dtype="int16")
    return samples.astype(int), rate


def test_an_ensemble_is_a_folder_of_stems_films_a_mix_and_the_score(ensemble):
    take, out, _ = ensemble
    codes = [cast.instrument for cast in take.cast]
    described = yaml.safe_load((out / "take.yaml").read_text())
    assert described["players"] == [
        {"instrument": code, "stem": f"stem_{number}_{code}", "camera": f"cam_p{number}"}
        for number, code in enumerate(codes, start=1)
    ]
    assert (described["part"], described["master"], described["notes"]) == ("test", "mix", "recorded")
    assert described["genlocked"] == ["cam_p1", "cam_p2"]
    files = {f"stem_{number}_{code}.wav" for number, code in enumerate(codes, start=1)}
    files |= {"mix.wav", "cam_p1.mp4", "cam_p2.mp4", "cam_all.mp4", "score.mid"}
    assert {path.name for path in out.iterdir()} == files | {"take.yaml", "rig.yaml", "truth.json"}


def test_the_mix_is_the_sum_of_the_stems_to_the_sample_and_nothing_clips(ensemble):
    _, out, truth = ensemble
    stems = [stem_of(out, player) for player in truth["players"]]
    mix, rate = soundfile.read(out / "mix.wav", dtype="int16")
    assert {rate for _, rate in stems} == {rate} == {48_000}
    assert {len(samples) for samples, _ in stems} == {len(mix)}
    np.testing.assert_array_equal(mix, sum(samples for samples, _ in stems))
    assert 1000 < np.abs(mix.astype(int)).max() < 30_000


def test_stems_sound_where_the_notes_are_and_are_silent_in_long_rests(ensemble):
    _, out, truth = ensemble
    start_s = truth["devices"]["mix"]["clock"]["start_s"]
    for player in truth["players"]:
        samples, rate = stem_of(out, player)
        heard = np.abs(samples)
        first_s = player["notes"][0][0] - start_s
        assert not heard[: round((first_s - 0.01) * rate)].any()
        assert heard[round(first_s * rate) : round((first_s + 0.1) * rate)].max() > 300
        for begin_s, end_s in player["rests"]:
            quiet = heard[round((begin_s + 0.9 - start_s) * rate) : round((end_s - 0.01 - start_s) * rate)]
            assert quiet.max(initial=0) < 40


def test_the_score_is_on_the_recorders_clock_a_track_a_player(ensemble):
    take, out, truth = ensemble
    start_s = truth["devices"]["score"]["clock"]["start_s"]
    players = read_players(out / "score.mid", POLICY)
    assert [player.instrument for player in players] == [cast.instrument for cast in take.cast]
    for player, told in zip(players, truth["players"], strict=True):
        notes = np.array(told["notes"])
        np.testing.assert_allclose(player.notes.onset_s + start_s, notes[:, 0], atol=2e-4)
        assert player.notes.pitch.tolist() == notes[:, 2].tolist()


def test_players_cameras_run_with_the_recorder_and_the_camera_of_all_by_itself(ensemble):
    _, out, truth = ensemble
    duration_s = truth["devices"]["mix"]["duration_s"]
    for name in ("cam_p1", "cam_p2"):
        times_s = picture_times(out / f"{name}.mp4")
        np.testing.assert_allclose(times_s, np.arange(int(duration_s * 25)) / 25, atol=1e-4)
        assert truth["devices"][name]["clock"] == truth["devices"]["mix"]["clock"]
        assert not probed(out / f"{name}.mp4", stream="a", entries="stream=index")
    own = truth["devices"]["cam_all"]
    assert own["clock"] != truth["devices"]["mix"]["clock"]
    assert len(picture_times(out / "cam_all.mp4")) == own["pictures"]["n"]


def test_the_camera_of_all_hears_the_mix_when_its_clock_says(ensemble):
    _, out, truth = ensemble
    clocks = {name: DeviceClock.parse(truth["devices"][name]["clock"], name) for name in ("mix", "cam_all")}
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", out / "cam_all.mp4", "-ar", "48000", out.parent / "a.wav"], check=True
    )
    heard, rate = soundfile.read(out.parent / "a.wav", dtype="float32")
    mix, _ = soundfile.read(out / "mix.wav", dtype="float32")
    device_s = np.arange(len(heard)) / rate
    flight_s = truth["devices"]["cam_all"]["acoustic_delay_s"]
    at_s = clocks["mix"].to_device(clocks["cam_all"].to_world(device_s) - flight_s)
    expected = read_at(mix, rate, at_s, rate=rate)
    assert abs(lag_s(heard, expected, rate)) < 2e-3


def test_the_truth_of_an_ensemble_is_read_as_that_of_a_capture(ensemble):
    take, out, truth = ensemble
    found = read_truth(out)
    assert found.clocks.keys() == truth["devices"].keys()
    assert found.flight_s["mix"] == 0.0
    assert len(found.notes) == sum(len(player.notes) for player in played(take))
    assert (np.diff(found.notes[:, 0]) >= 0).all()


def test_truth_boxes_are_where_players_are_seen(ensemble):
    _, out, truth = ensemble
    rig = yaml.safe_load((out / "rig.yaml").read_text())
    pictures = luma(out / "cam_all.mp4", rig["camera"]["width"], rig["camera"]["height"])
    change = np.abs(pictures - np.median(pictures, axis=0)).mean(axis=0)
    inside = np.zeros(change.shape, bool)
    for player in truth["players"]:
        assert len(player["boxes"]) >= 5
        for left, top, right, bottom in player["boxes"]:
            inside[max(int(top), 0) : int(bottom) + 1, max(int(left), 0) : int(right) + 1] = True
    assert change[inside].mean() > 3 * change[~inside].mean()
    assert change[~inside].max() < change[inside].max() / 4


def test_filming_an_ensemble_again_gives_the_same_bytes(ensemble, tmp_path):
    take, out, _ = ensemble
    film_take(take, tmp_path, RECORDING)
    assert digests(tmp_path) == digests(out)


def test_a_room_in_the_stems_is_heard_after_the_notes_and_still_sums_up(ensemble, tmp_path):
    take, out, truth = ensemble
    film_take(replace(take, stem_room=0.5), tmp_path, RECORDING)
    wet, rate = soundfile.read(tmp_path / "mix.wav", dtype="int16")
    stems = [stem_of(tmp_path, player)[0] for player in truth["players"]]
    np.testing.assert_array_equal(wet, sum(stems))
    dry, _ = soundfile.read(out / "mix.wav", dtype="int16")
    assert (wet != dry).any()
    assert abs(lag_s(wet.astype(float), dry.astype(float), rate)) < 1e-3  # the direct sound stays where it was


def test_ensembles_go_through_the_pieces_of_each_part_in_turn():
    takes = ensembles_to_film(DEMO)
    assert [(take.name, take.part) for take in takes] == [
        ("filmed_ah_vous_dirai_clarinets_1", "train"),
        ("filmed_low_voices_duo_1", "train"),
        ("filmed_ah_vous_dirai_clarinets_2", "train"),
        ("filmed_scarborough_cellos_1", "validation"),
        ("filmed_auld_lang_syne_duo_1", "test"),
        ("filmed_auld_lang_syne_duo_2", "test"),
    ]
    assert len({take.seed for take in takes}) == len(takes)


def test_the_first_take_of_a_piece_is_as_written_and_further_ones_are_recast():
    ensembles = DEMO.ensembles.model_copy(update={"excerpt_s": 20.0})
    by_name = {take.name: take for take in ensembles_to_film(DEMO.model_copy(update={"ensembles": ensembles}))}
    first, second = (by_name[f"filmed_ah_vous_dirai_clarinets_{number}"] for number in (1, 2))
    assert [(cast.instrument, cast.semitones) for cast in first.cast] == [("cl", 0), ("cl", 0)]
    assert (first.tempo, first.from_s) == (1.0, 0.0)
    assert second.cast[0].instrument == second.cast[1].instrument
    assert 0.9 <= second.tempo <= 1.1
    assert second.tempo != 1.0
    assert second.until_s - second.from_s == pytest.approx(20.0)


def test_an_ensemble_more_leaves_the_others_as_they_were():
    fewer = ensembles_to_film(DEMO)
    ensembles = DEMO.ensembles.model_copy(update={"n_takes": {"train": 9, "validation": 1, "test": 2}})
    more = ensembles_to_film(DEMO.model_copy(update={"ensembles": ensembles}))
    assert [take for take in more if take in fewer] == fewer


def test_what_is_played_lies_within_the_excerpt_and_the_instruments_range():
    for take in ensembles_to_film(DEMO):
        for player in played(take):
            notes = player.notes
            assert len(notes)  # an excerpt begins where every player has something to play
            assert notes.onset_s.min() >= 0
            assert notes.offset_s.max() <= take.until_s - take.from_s + 1e-9
            instrument = ORCHESTRA[player.instrument]
            assert instrument.lowest <= notes.pitch.min() <= notes.pitch.max() <= instrument.highest


@pytest.mark.parametrize("pieces", [("no_such_piece",), ("marimba_song",), ("schumann_melodie",)])
def test_a_piece_for_ensembles_that_is_not_there_is_an_error_of_the_params(pieces):
    ensembles = DEMO.ensembles.model_copy(update={"pieces": pieces})
    with pytest.raises(
        ParamsError, match=r"names '.*', expected one that data/sample/ensembles/pieces\.yaml describes"
    ):
        ensembles_to_film(DEMO.model_copy(update={"ensembles": ensembles}))


def test_a_part_with_takes_and_no_piece_is_an_error_of_the_params():
    ensembles = DEMO.ensembles.model_copy(update={"pieces": ("low_voices_duo",)})
    with pytest.raises(ParamsError, match=r"film\.ensembles\.pieces names no piece in part validation"):
        ensembles_to_film(DEMO.model_copy(update={"ensembles": ensembles}))


@pytest.mark.parametrize("preset", ["demo", "study"])
def test_presets_film_ensembles_whose_training_has_every_instrument_of_the_tests(preset):
    params = FilmParams.parse(yaml.safe_load(preset_text(preset))["film"], "film")
    takes = ensembles_to_film(params)
    heard = {part: {cast.instrument for take in takes if take.part == part for cast in take.cast} for part in PARTS}
    assert heard["test"] | heard["validation"] <= heard["train"]
    if preset == "study":
        assert heard["train"] == set(ORCHESTRA)
    assert all(len({take.piece for take in takes if take.part == part}) >= 2 for part in PARTS)
    for take in takes:
        assert all(len(player.notes) for player in played(take)), take.name
