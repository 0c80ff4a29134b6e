"""Any video through a family of captures: the region that is read, the sound's time, and what is refused."""

import json
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest
import soundfile
import torch

from tasks import perform as perform_module
from tasks.errors import DamagedData, ParamsError, PipelineError
from tasks.families import load_family
from tasks.families.base import Performance, VideoFamily
from tasks.families.bitmap_mlp import BitmapMlpFamily, BitmapMlpParams
from tasks.families.networks import save_network
from tasks.instruments.midi import MidiPolicy
from tasks.instruments.midi_reader import read_midi
from tasks.instruments.notes import sorted_notes
from tasks.intake.describe import TakeFileError
from tasks.keyboards.read import KeyboardParams
from tasks.kinds.captures.perform import camera_film, trained_format
from tasks.media.encode import encode_film
from tasks.media.pictures import read_film
from tasks.media.probe import MediaPolicy, probe
from tasks.media.process import MediaError
from tasks.media.sound import read_sound
from tasks.params import Section
from tasks.perform import PerformParams, Region, perform_video, region_of

POLICY = MediaPolicy(max_pixels=1_000_000, max_duration_s=60.0, max_bytes=10**8, max_streams=16, max_file_bytes=10**9)
KEYBOARD = KeyboardParams(min_score=0.62, min_white_px=8.0, lead_s=0.03, velocity=80, gain=0.5)
PARAMS = PerformParams(media=POLICY, min_change=24, keyboard=KEYBOARD)
FAMILY = "bitmap_mlp"
RATE = Fraction(30000, 1001)
TRAINED = BitmapMlpParams(
    fidelity="corrected",
    cameras=".*",
    side_px=8,
    n_past=1,
    past_step=1,
    n_components=0,
    frame_rate="25",
    sample_rate=8_000,
    hidden=[16],
    silent_clip_s=0.0,
    jitter_contrast=0.0,
    noise_luma=0.0,
    n_frames=100,
    n_validation_frames=100,
    n_steps=1,
    steps_per_epoch=1,
    batch_size=4,
    learning_rate=0.001,
    n_threads=1,
    seed=0,
    spectral_weight=1.0,
    render="windowed",
    max_shift=0.25,
    playback_rate=1.0,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A network whose weights were only drawn: it says something else of every picture."""
    folder = tmp_path_factory.mktemp("trained")
    torch.manual_seed(0)
    family = BitmapMlpFamily()
    player = family.make_regressor(TRAINED, family.make_decoder(TRAINED))
    facts = {"gain_db": 0.0, "n_bank": 0, "pictures": {"width": 32, "height": 16}}
    save_network(folder / FAMILY, player.state_dict(), {"params": TRAINED.model_dump(mode="json"), **facts})
    return folder


def moving(n_pictures, height=90, width=160):
    """A light square that goes to the right over something dark."""
    pictures = np.full((n_pictures, height, width), 40, np.uint8)
    for row in range(n_pictures):
        at = 10 + row * (width - 60) // max(n_pictures, 2)
        pictures[row, 20:60, at : at + 40] = 220
    return pictures


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "cam_side.mp4"
    encode_film(path, moving(60), frame_rate=RATE)
    return path


def perform(video, out, trained, **options):
    remarks = []
    done = perform_video(
        video,
        out,
        family=FAMILY,
        trained=trained,
        params=PARAMS,
        accelerator="cpu",
        progress=remarks.append,
        **options,
    )
    return done, remarks


def film_of(video, width=32, height=16, **region):
    return camera_film(video, probe(video, policy=POLICY), width, height, region=Region(**region), policy=POLICY)


def test_any_video_gets_a_sound_as_long_as_itself_and_keeps_its_pictures(video, trained, tmp_path):
    before = video.read_bytes()
    done, remarks = perform(video, tmp_path / "out.mp4", trained)
    assert (done.system, done.n_decoded, done.n_pictures, done.sample_rate) == (FAMILY, 60, 60, 8_000)
    assert done.duration_s == pytest.approx(60 / float(RATE), abs=1e-3)
    assert len(remarks) == 3
    assert probe(tmp_path / "out.mp4", policy=POLICY).audio_rate == 48_000
    size = {"width": 160, "height": 90, "crop": None, "min_change": 0, "policy": POLICY}
    np.testing.assert_array_equal(read_film(tmp_path / "out.mp4", **size).pictures, read_film(video, **size).pictures)
    assert video.read_bytes() == before


def test_the_region_that_is_read_changes_the_sound(video, trained, tmp_path):
    made = []
    for name, region in (("all", None), ("part", Region(crop=(80, 0, 80, 90))), ("again", None)):
        out = tmp_path / f"{name}.mkv"
        perform(video, out, trained, region=region)
        made.append(out.read_bytes())
    assert made[0] == made[2]
    assert made[0] != made[1]


def test_a_crop_keeps_that_part_of_the_picture(tmp_path):
    pictures = np.full((3, 90, 160), 30, np.uint8)
    pictures[:, 30:60, 40:80] = 200
    encode_film(tmp_path / "a.mp4", pictures, frame_rate=RATE)
    film, n = film_of(tmp_path / "a.mp4", crop=(40, 30, 40, 30))
    assert n == 3
    assert film.pictures.shape == (3, 16, 32)
    np.testing.assert_allclose(film.pictures, 200, atol=12)  # what the encoder leaves of an edge
    film, _ = film_of(tmp_path / "a.mp4", crop=(90, 0, 60, 20))
    np.testing.assert_allclose(film.pictures, 30, atol=12)


def test_corners_take_a_tilted_instrument_to_all_of_the_picture(tmp_path):

    corners = ((40.0, 20.0), (120.0, 35.0), (130.0, 75.0), (25.0, 60.0))
    picture = np.full((90, 160), 30, np.uint8)
    cv2.fillConvexPoly(picture, np.array(corners, np.int32), 200)
    encode_film(tmp_path / "a.mp4", np.stack([picture] * 3), frame_rate=RATE)
    film, _ = film_of(tmp_path / "a.mp4", corners=corners, crop=(0, 0, 10, 10))  # corners come before the crop
    np.testing.assert_allclose(film.pictures[:, 3:-3, 3:-3], 200, atol=12)
    film, _ = film_of(tmp_path / "a.mp4", corners=corners, margins=(0.25, 0.25))
    assert film.pictures[0, 8, 16] > 180
    assert film.pictures[0, 1, 1] < 60
    assert film.margins == (0.25, 0.25)


def test_every_picture_comes_at_its_own_time(video):
    film, _ = film_of(video)
    np.testing.assert_allclose(film.time_s, np.arange(60) / float(RATE), atol=1e-4)


def test_take_yaml_beside_the_video_says_where_to_look(video, tmp_path):
    path = tmp_path / "cam_side.mp4"
    path.write_bytes(video.read_bytes())
    assert region_of(path, margins=(0.1, 0.2)) == Region(margins=(0.1, 0.2))
    (tmp_path / "take.yaml").write_text(
        "instrument: marimba-18\ncameras: {side: {crop: [1, 2, 30, 40], corners: [[1, 2], [3, 2], [3, 4], [1, 4]]}}\n"
    )
    found = region_of(path, margins=(0.1, 0.2))
    assert (found.crop, found.instrument) == ((1, 2, 30, 40), "marimba-18")
    assert found.corners == ((1, 2), (3, 2), (3, 4), (1, 4))
    assert region_of(tmp_path / "cam_top.mp4", margins=(0.1, 0.2)).crop is None
    (tmp_path / "take.yaml").write_text("cameras: 3\n")
    with pytest.raises(TakeFileError, match=r"take.yaml, line 1"):
        region_of(path, margins=(0.1, 0.2))


class Detector(VideoFamily):
    """A family that detects a note in every film, and no sound; its second system must not be reached."""

    data = "captures"
    params_class = Section
    systems = (FAMILY, "second")

    def fit(self, data, out, *, params, resume, accelerator): ...

    def perform(self, trained, films, *, accelerator, truth):
        [(name, film)] = films.items()
        notes = sorted_notes(np.array([0.5]), np.array([1.0]), np.array([69], np.uint8), np.array([80], np.uint8))
        yield Performance(
            system=FAMILY,
            take=name,
            audio=np.zeros(round(film.duration_s * 8_000), np.float32),
            sample_rate=8_000,
            notes=notes,
        )
        raise AssertionError("the second system ran")


class Mute(Detector):
    """A family that knows no film of these."""

    def perform(self, trained, films, *, accelerator, truth):
        yield from ()


def test_a_family_that_performs_nothing_fails_in_words(video, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(perform_module, "load_family", lambda name: Mute())
    with pytest.raises(PipelineError, match=r"bitmap_mlp made no sound of cam_side\.mp4/cam_side"):
        perform(video, tmp_path / "out.mp4", trained)


def test_a_family_that_takes_mixes_apart_is_refused(video, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(perform_module, "load_family", lambda name: load_family("separation_baselines"))
    with pytest.raises(ParamsError, match="family bitmap_mlp takes mixes apart: expected one that makes the sound"):
        perform(video, tmp_path / "out.mp4", trained)


def test_detected_notes_are_written(video, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(perform_module, "load_family", lambda name: Detector())
    done, _ = perform(video, tmp_path / "out.mp4", trained, notes_out=tmp_path / "notes.mid")
    assert len(done.notes) == 1
    policy = MidiPolicy(max_bytes=10_000, max_duration_s=60, max_notes=10, hanging="close", overlap="cut", channels=16)
    notes = read_midi(tmp_path / "notes.mid", policy).notes
    assert (notes.pitch.tolist(), notes.onset_s.tolist(), notes.offset_s.tolist()) == ([69], [0.5], [1.0])
    with pytest.raises(PipelineError, match=r"notes.mid cannot be written"):
        perform(video, tmp_path / "out.mp4", trained, notes_out=tmp_path / "no" / "notes.mid")


class Loud(Detector):
    """A family whose sound leaves full scale, as much as its ``peak`` says."""

    peak = 4.0

    def perform(self, trained, films, *, accelerator, truth):
        performance = next(super().perform(trained, films, accelerator=accelerator, truth=truth))
        time_s = np.arange(len(performance.audio)) / 8_000
        yield replace(performance, audio=(self.peak * np.sin(2 * np.pi * 440 * time_s)).astype(np.float32))


class Broken(Loud):
    """A family whose sound is no number."""

    peak = np.nan


def test_sound_above_full_scale_is_scaled_and_said(video, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(perform_module, "load_family", lambda name: Loud())
    done, remarks = perform(video, tmp_path / "out.mkv", trained, notes_out=tmp_path / "notes.mid")
    assert done.gain_db == pytest.approx(20 * np.log10(0.999 / 4.0), abs=0.01)
    assert "the sound is lowered by 12.1 dB, to stay below full scale" in remarks
    made = read_sound(tmp_path / "out.mkv", sample_rate=8_000, policy=POLICY).samples
    assert 0.95 < np.abs(made[800:-800]).max() < 1.05  # AAC rings a little; clipped sound would have a third harmonic
    spectrum = np.abs(np.fft.rfft(made[800:8800]))
    assert spectrum[1320] < 1e-3 * spectrum[440]
    assert (tmp_path / "notes.mid").exists()


def test_notes_are_written_whatever_becomes_of_the_sound(video, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(perform_module, "load_family", lambda name: Broken())
    with pytest.raises(DamagedData, match="bitmap_mlp made samples that are not numbers"):
        perform(video, tmp_path / "out.mp4", trained, notes_out=tmp_path / "notes.mid")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.mid"]


def test_notes_of_a_family_that_detects_none_are_refused_before_anything_is_written(video, trained, tmp_path):
    with pytest.raises(PipelineError, match="bitmap_mlp predicts sound only and detects no notes"):
        perform(video, tmp_path / "out.mp4", trained, notes_out=tmp_path / "notes.mid")
    assert list(tmp_path.iterdir()) == []


def test_one_picture_is_no_film(trained, tmp_path):
    encode_film(tmp_path / "one.mp4", moving(1), frame_rate=RATE)
    with pytest.raises(MediaError, match=r"one.mp4: holds one picture, expected a film") as caught:
        perform(tmp_path / "one.mp4", tmp_path / "out.mp4", trained)
    assert caught.value.kind == "ONE_PICTURE"


@pytest.fixture
def for_the_kalimba(trained, tmp_path):
    """The same network, trained on an instrument that it knows by name."""
    folder = tmp_path / "trained"
    folder.mkdir()
    (folder / f"{FAMILY}.safetensors").write_bytes((trained / f"{FAMILY}.safetensors").read_bytes())
    facts = json.loads((trained / f"{FAMILY}.json").read_text())
    (folder / f"{FAMILY}.json").write_text(json.dumps(facts | {"instrument": "kalimba"}))
    return folder


@pytest.mark.parametrize("corners", [None, ((40, 20), (120, 20), (120, 70), (40, 70))])
def test_another_instrument_than_the_trained_one_is_refused_by_name(video, for_the_kalimba, tmp_path, corners):
    with pytest.raises(MediaError, match=r"cam_side.mp4: shows gong, expected kalimba, which bitmap_mlp was") as caught:
        perform(video, tmp_path / "out.mp4", for_the_kalimba, region=Region(instrument="gong", corners=corners))
    assert caught.value.kind == "OTHER_INSTRUMENT"
    assert not (tmp_path / "out.mp4").exists()


def test_a_film_without_the_marimba_between_its_corners_is_refused(video, for_the_kalimba, tmp_path):
    facts = for_the_kalimba / f"{FAMILY}.json"
    facts.write_text(facts.read_text().replace("kalimba", "marimba-18"))
    corners = ((40, 20), (120, 20), (120, 70), (40, 70))
    with pytest.raises(MediaError, match=r"cam_side.mp4: no marimba-18 between the corners: .*, expected at") as caught:
        perform(video, tmp_path / "out.mp4", for_the_kalimba, region=Region(corners=corners, margins=(0.05, 0.2)))
    assert caught.value.kind == "NO_INSTRUMENT"
    assert not (tmp_path / "out.mp4").exists()


def test_without_crop_and_corners_all_of_the_picture_is_used_and_a_remark_says_so(video, for_the_kalimba, tmp_path):
    remark = "no crop and no corners of kalimba are known: all of the picture is used"
    _, remarks = perform(video, tmp_path / "all.mkv", for_the_kalimba)
    assert remarks[0] == remark
    _, remarks = perform(video, tmp_path / "part.mkv", for_the_kalimba, region=Region(crop=(80, 0, 80, 90)))
    assert remark not in remarks


def test_a_video_without_a_picture_is_refused(trained, tmp_path):
    encode_film(tmp_path / "whole.mkv", moving(30), frame_rate=RATE)
    head = (tmp_path / "whole.mkv").read_bytes()
    # A file that was cut off before its first picture: the header names a stream that holds nothing.
    (tmp_path / "none.mkv").write_bytes(head[: head.index(bytes.fromhex("1f43b675"))])
    with pytest.raises(MediaError, match=r"none\.mkv") as caught:
        perform(tmp_path / "none.mkv", tmp_path / "out.mp4", trained)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.mp4").exists()


def test_a_file_without_pictures_is_refused(trained, tmp_path):
    soundfile.write(tmp_path / "sound.wav", np.zeros(8_000, np.float32), 8_000)
    with pytest.raises(MediaError, match="holds no video stream") as caught:
        perform(tmp_path / "sound.wav", tmp_path / "out.mp4", trained)
    assert caught.value.kind == "NO_VIDEO"


@pytest.mark.parametrize(
    ("region", "message"),
    [
        (Region(crop=(100, 0, 61, 90)), "crop is 100,0,61,90, expected x,y,width,height within 160x90"),
        (Region(corners=((0, 0), (1, 1), (2, 2), (3, 3))), "expected 4 points around the instrument"),
        (Region(corners=((0, 0), (9000, 0), (9000, 50), (0, 50))), "far outside of 160x90"),
    ],
)
def test_a_region_outside_of_the_picture_is_refused(video, trained, tmp_path, region, message):
    with pytest.raises(MediaError, match=message) as caught:
        perform(video, tmp_path / "out.mp4", trained, region=region)
    assert caught.value.kind == "BAD_REGION"
    assert not (tmp_path / "out.mp4").exists()


def test_more_pictures_than_memory_is_meant_for_are_refused(video):
    few = POLICY.model_copy(update={"max_bytes": 20 * 32 * 16})
    with pytest.raises(MediaError, match="more than 20 pictures") as caught:
        camera_film(video, probe(video, policy=few), 32, 16, region=Region(), policy=few)
    assert caught.value.kind == "TOO_LARGE"


def test_a_family_that_was_not_trained_says_so(video, tmp_path):
    with pytest.raises(DamagedData, match="train the family first"):
        perform(video, tmp_path / "out.mp4", tmp_path / "nothing here")


@pytest.mark.parametrize("found", [None, {"width": 0, "height": 4}, {"width": "wide"}, 7])
def test_trained_files_without_the_pictures_size_are_damaged(trained, tmp_path, found):
    (tmp_path / f"{FAMILY}.safetensors").write_bytes((trained / f"{FAMILY}.safetensors").read_bytes())

    (tmp_path / f"{FAMILY}.json").write_text(json.dumps({"pictures": found}))
    with pytest.raises(DamagedData, match=f"{FAMILY}.json"):
        trained_format(tmp_path / FAMILY)
