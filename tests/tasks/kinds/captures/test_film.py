"""Filming captures: recordings follow the performance on each device's own clock, and the truth gives those clocks."""

import json
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from flows.presets import preset_text
from tasks.errors import BadInput, ParamsError
from tasks.film import FilmParams
from tasks.instruments.marimba import MARIMBA_18
from tasks.instruments.midi import MidiPolicy
from tasks.instruments.midi_reader import read_midi
from tasks.instruments.midi_writer import write_midi
from tasks.instruments.notes import sorted_notes
from tasks.instruments.synth import SOUNDFONT_SHA256, Synthesizer, find_soundfont
from tasks.kinds.captures.film import PROGRAMS, FilmedTake, excerpt, film_take, record_rig, takes_to_film
from tasks.media.probe import NO_LIMITS
from tasks.media.sound import read_sound
from tasks.rig.clocks import DeviceClock, Drop, Wander
from tasks.rig.microphone import read_at
from tasks.rig.rigs import Rig, instrument_corners, rig_of

POLICY = MidiPolicy(max_bytes=10**6, max_duration_s=600, max_notes=10_000, hanging="close", overlap="cut", channels=16)
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
def record(tmp_path, recording):
    """Return a function that records a rig, one camera and one microphone, changed at will."""

    def run(*, clock=None, microphone=None, camera=None, with_microphone=True, notes_clock=None, name="out"):
        rig = rig_of(1, instrument="marimba-18", is_test=False, trait="plain", duration_s=2.0, params=recording.rig)
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
        record_rig(rig, NOTES, None, out, recording)
        return rig, out, json.loads((out / "truth.json").read_text())

    return run


# What is written


@pytest.fixture(scope="module")
def test_take(tmp_path_factory, recording):
    """The folder of a marimba take for testing."""
    folder = tmp_path_factory.mktemp("film")
    write_midi(folder / "a.mid", NOTES)
    out = folder / "out"
    out.mkdir()
    about = {"name": "a", "piece": "a", "title": "A", "instrument": "marimba-18", "trait": "plain", "seed": 3}
    film_take(FilmedTake(part="test", midi=str(folder / "a.mid"), **about), out, recording)
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


def test_take_yaml_has_piece_part_instrument_and_the_instruments_place_in_each_picture(test_take):
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


@pytest.fixture
def filmed_by(tmp_path, digests, recording):
    """Return a function that has so many workers film a take at once, and returns the digests of each."""

    def run(n_workers, take):
        folders = [tmp_path / f"{n_workers}_{number}" for number in range(n_workers)]
        for out in folders:
            out.mkdir()
        with ThreadPoolExecutor(n_workers) as pool:
            list(pool.map(lambda out: film_take(take, out, recording), folders))
        return [digests(out) for out in folders]

    return run


def test_two_workers_at_once_write_the_same_bytes(take, filmed_by):
    one, other = filmed_by(2, take(instrument="piano"))
    assert one == other


@pytest.mark.slow
@pytest.mark.parametrize("trait", ["variable rate", "lost block"])
def test_one_worker_and_three_write_the_same_bytes(take, filmed_by, trait):
    one, *others = filmed_by(1, take(trait=trait)) + filmed_by(3, take(trait=trait))
    assert others == [one] * 3


# Clocks


@pytest.mark.parametrize("rate", [Fraction(rate) for rate in ("24", "25", "30000/1001", "30", "50")], ids=str)
def test_pictures_keep_the_times_of_every_rate(record, rate, probed, picture_times):
    _, out, truth = record(camera={"frame_rate": rate, "exposure_s": 0.01, "sound": None}, with_microphone=False)
    path = next(out.glob("cam_*.mp4"))
    pictures = truth["devices"][path.stem]["pictures"]
    times = picture_times(path)
    assert len(times) == pictures["n"]
    np.testing.assert_allclose(times, [float(number / rate) for number in range(len(times))], atol=1e-5)
    assert probed(path, stream="v", entries="stream=r_frame_rate") == [f"{rate.numerator}/{rate.denominator}"]


def test_a_phones_uneven_times_are_in_its_file(record, picture_times):
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
def test_a_microphone_records_each_moment_at_its_clocks_time_plus_the_sounds_flight(record, clock, lag_s):
    rig, out, truth = record(clock=clock, camera={"sound": None})
    recorded, rate = soundfile.read(out / "mic_near.wav", dtype="float32")
    delay_s = truth["devices"]["mic_near"]["acoustic_delay_s"]
    assert delay_s == pytest.approx(np.linalg.norm(np.array(rig.microphones[0].position_cm) / 100) / 343, rel=1e-6)
    dry = Synthesizer(find_soundfont(), sha256=SOUNDFONT_SHA256, gain=1.0).render(
        NOTES, None, program=PROGRAMS["marimba-18"], duration_s=truth["duration_s"]
    )
    world_s = clock.to_world(np.arange(len(recorded)) / rate)
    expected = read_at(dry, 48_000, world_s, rate=rate)
    assert lag_s(recorded, expected, rate) == pytest.approx(delay_s, abs=5e-5)


@pytest.mark.parametrize("rate", [Fraction(rate) for rate in ("24", "30000/1001", "50")], ids=str)
def test_a_cameras_sound_and_pictures_stand_on_one_clock(record, rate, luma, lag_s):
    clock = DeviceClock(start_s=-0.4, drift_ppm=50.0, wander=None, dropped=())
    rig, out, truth = record(clock=clock, camera={"frame_rate": rate, "exposure_s": 0.01})
    path = next(out.glob("cam_*.mp4"))
    recorded = read_sound(path, sample_rate=48_000, policy=NO_LIMITS).samples
    near, near_rate = soundfile.read(out / "mic_near.wav", dtype="float32")
    devices = truth["devices"]
    flight_s = devices[path.stem]["acoustic_delay_s"] - devices["mic_near"]["acoustic_delay_s"]
    n = min(len(recorded), len(near))
    assert near_rate == 48_000
    assert lag_s(recorded[:n], near[:n], near_rate) == pytest.approx(flight_s, abs=5e-5)
    camera = rig.cameras[0]
    pictures = luma(path, camera.width, camera.height)
    moving = np.abs(np.diff(pictures, axis=0)).sum(axis=(1, 2))
    time_s = np.arange(1, len(pictures)) / float(rate)
    first_s = clock.to_device(NOTES.onset_s)[0]
    raised = moving[(time_s > first_s - 0.12) & (time_s < first_s)]
    assert raised.max() > 1.5 * np.median(moving[time_s < first_s - 0.35])


def test_a_lost_block_is_missing_from_pictures_and_sound_and_the_files_clock_goes_on(record, picture_times, lag_s):
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
    recorded, rate_hz = soundfile.read(lossy / "mic_near.wav", dtype="float32")
    all_of_it, _ = soundfile.read(whole / "mic_near.wav", dtype="float32")
    early, late = slice(0, round(0.9 * rate_hz)), round(1.1 * rate_hz)
    shift = round(0.36 * rate_hz)
    assert abs(lag_s(recorded[early], all_of_it[early], rate_hz)) < 5e-5
    after = all_of_it[late + shift :]
    assert abs(lag_s(recorded[late : late + len(after)], after, rate_hz)) < 5e-5


def test_recorded_notes_are_on_their_own_clock(record):
    clock = DeviceClock(start_s=-0.7, drift_ppm=80.0, wander=None, dropped=())
    _, out, truth = record(camera={"sound": None}, with_microphone=False, notes_clock=clock)
    score = read_midi(out / "score.mid", POLICY).notes
    np.testing.assert_allclose(clock.to_world(score.onset_s), NOTES.onset_s, atol=1.1e-4)
    assert truth["devices"]["score"]["clock"]["start_s"] == -0.7


# Defects


def test_a_camera_without_sound_has_no_sound_stream_and_no_acoustic_delay(record, probed):
    _, out, truth = record(camera={"sound": None}, with_microphone=False)
    path = next(out.glob("cam_*.mp4"))
    assert probed(path, stream="a", entries="stream=index") == []
    assert truth["devices"][path.stem]["acoustic_delay_s"] is None


def test_a_silent_microphone_records_nothing(record):
    _, out, truth = record(microphone={"defect": "silent"}, camera={"sound": None})
    recorded, _ = soundfile.read(out / "mic_near.wav", dtype="float32")
    assert not recorded.any()
    assert truth["devices"]["mic_near"]["defect"] == "silent"


def test_a_truncated_file_lacks_its_end(record):
    _, whole, _ = record(camera={"sound": None}, name="whole")
    _, out, _ = record(microphone={"defect": "truncated"}, camera={"sound": None, "defect": "truncated"}, name="cut")
    for path in (*whole.glob("cam_*"), *whole.glob("mic_*")):
        assert (out / path.name).read_bytes() == path.read_bytes()[: int(0.6 * path.stat().st_size)]


# Which takes


def test_takes_go_through_the_pieces_in_turn_and_keep_their_parts(demo):
    takes = takes_to_film(demo)
    assert [take.piece for take in takes[:4]] == ["marimba_song", "marimba_rain", "schumann_melodie", "marimba_song"]
    assert [take.name for take in takes[::3]] == [f"filmed_marimba_song_{number}" for number in (1, 2, 3)]
    assert {take.piece: take.part for take in takes} == {
        "marimba_song": "train",
        "marimba_rain": "test",
        "schumann_melodie": "validation",
    }
    assert len({take.seed for take in takes}) == len(takes)
    assert {take.trait for take in takes} >= {"silent camera", "lost block", "variable rate", "wandering clock"}


def test_a_take_more_leaves_the_others_as_they_were(demo):
    more = demo.model_copy(update={"n_takes": 9})
    assert takes_to_film(more)[:8] == takes_to_film(demo)


@pytest.mark.parametrize("pieces", [{"piano": ("no_such_piece",)}, {"marimba-18": ("schumann_melodie",)}, {}])
def test_a_piece_that_is_not_there_is_an_error_of_the_params(pieces, demo):
    with pytest.raises(ParamsError, match=r"film\.pieces names"):
        takes_to_film(demo.model_copy(update={"pieces": pieces}))


def test_a_view_that_no_camera_has_cannot_be_held_out(recording, demo):
    rig = recording.rig.model_copy(update={"views_held_out": ("behind",)})
    recording = recording.model_copy(update={"rig": rig})
    with pytest.raises(ParamsError, match="names 'behind'"):
        takes_to_film(demo.model_copy(update={"recording": recording}))


@pytest.mark.parametrize(("instrument", "is_moved"), [("piano", True), ("marimba-18", False)])
def test_a_pianos_notes_are_on_the_grid_of_render_and_a_marimbas_are_where_the_score_has_them(
    take, tmp_path, recording, instrument, is_moved
):
    out = tmp_path / "out"
    out.mkdir()
    film_take(take(instrument=instrument), out, recording)
    played = np.array(json.loads((out / "truth.json").read_text())["notes"])
    if not is_moved:
        np.testing.assert_allclose(played[:, :2], np.stack([NOTES.onset_s, NOTES.offset_s], axis=1), atol=1e-9)
        return
    points = np.floor(np.stack([NOTES.onset_s, NOTES.offset_s], axis=1) * 250 + 0.5)
    assert (np.abs(points / 250 - NOTES.onset_s[:, None])[:, 0] > 0.0019).any()
    np.testing.assert_allclose(played[:, :2], points / 250, atol=1e-12)


def test_a_grid_that_would_move_notes_audibly_is_refused_where_there_is_a_piano(recording, demo):
    recording = recording.model_copy(update={"sample_rate": 44_100})
    with pytest.raises(
        ParamsError, match=r"film\.recording\.sample_rate 44100 and .* share a grid of 0\.64 s, expected"
    ):
        takes_to_film(demo.model_copy(update={"recording": recording}))
    without = {"marimba-18": demo.pieces["marimba-18"]}
    assert len(takes_to_film(demo.model_copy(update={"recording": recording, "pieces": without}))) == demo.n_takes


def test_study_films_12_test_pieces_of_the_marimba_and_trains_on_two_rigs_of_each_piece():
    params = FilmParams.parse(yaml.safe_load(preset_text("study"))["film"], "film")
    takes = [take for take in takes_to_film(params) if take.instrument == "marimba-18"]
    tests = [take.piece for take in takes if take.part == "test"]
    assert len(tests) == len(set(tests)) >= 12
    others = [take.piece for take in takes if take.part != "test"]
    assert all(others.count(piece) == 2 for piece in others)
    described = yaml.safe_load(Path("data/sample/marimba/pieces.yaml").read_text(encoding="utf-8"))
    assert {*tests, *others} == set(described)


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
    assert (parts.count("train"), parts.count("validation"), parts.count("test")) == (6, 3, 12)
    struck = {part: [] for part in parts}
    for name, about in pieces.items():
        notes, _ = excerpt(folder / "midi" / f"{name}.mid", 31.0)
        assert notes.offset_s.max() >= 30, name
        struck[about["part"]] += notes.pitch.tolist()
    assert min(struck["train"].count(pitch) for pitch in MARIMBA_18) >= 2
