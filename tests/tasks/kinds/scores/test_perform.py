"""A video of the simulated keyboard, read as its changes."""

import subprocess
from fractions import Fraction

import numpy as np
import pytest

from tasks.instruments.keyboard import draw_keyboard, read_keyboard, read_pedal
from tasks.keyboards.read import KeyboardParams, read_keyboard_film
from tasks.kinds.scores.perform import (
    MAX_DIFFERENCE,
    film_of_video,
    keyboard_crop,
    keyboard_difference,
    keyboard_film,
    read_video,
)
from tasks.media.encode import encode_film
from tasks.media.pictures import DecodedFilm
from tasks.media.probe import MediaPolicy, probe
from tasks.media.process import MediaError
from tasks.perform import PerformParams, Region
from tasks.rig.keyboard_films import film_of

KEYBOARD = KeyboardParams(min_score=0.62, min_white_px=8.0, lead_s=0.03, velocity=80, gain=0.5)
PARAMS = PerformParams(
    keyboard=KEYBOARD,
    media=MediaPolicy(max_pixels=10**7, max_duration_s=60.0, max_bytes=10**8, max_streams=16, max_file_bytes=10**8),
    min_change=24,
)
N_STATES = 20


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((780, 58), (780, 57)),
        ((780, 57), None),
        ((1560, 114), None),
        ((1280, 94), None),
        ((1920, 1080), None),
        # scaled after the row was added, and then to an even height
        ((1560, 116), (1560, 114)),
        ((3840, 286), (3840, 281)),
        ((390, 28), None),
        ((390, 30), (390, 29)),
        ((3840, 282), (3840, 281)),  # scaled before it was
    ],
)
def test_only_the_row_that_an_encoder_added_is_cut_off(size, expected):
    assert keyboard_crop(*size) == expected


def test_changes_are_put_halfway_between_the_pictures_that_show_them():
    pictures = np.zeros((3, 57, 780), np.uint8)
    decoded = DecodedFilm(
        pictures=pictures,
        time_s=np.array([0.0, 0.48, 0.52]),
        duration_s=1.0,
        frame_rate=Fraction(25),
        n_decoded=25,
    )
    np.testing.assert_allclose(film_of_video(decoded).time_s, [0.0, 0.46, 0.50])


def test_the_first_picture_stands_from_the_start_and_none_comes_before_it():
    decoded = DecodedFilm(
        pictures=np.arange(3, dtype=np.uint8)[:, None, None].repeat(57, 1).repeat(780, 2),
        time_s=np.array([0.0, 0.01, 0.2]),
        duration_s=0.3,
        frame_rate=Fraction(10),
        n_decoded=3,
    )
    film = film_of_video(decoded)
    np.testing.assert_allclose(film.time_s, [0.0, 0.15])
    assert film.pictures[:, 0, 0].tolist() == [0, 2]


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, arguments)], check=True, timeout=60)


@pytest.fixture(scope="module")
def played():
    """Chords of up to ten keys, and a pedal that goes its own way."""
    rng = np.random.default_rng(11)
    velocity = np.zeros((N_STATES, 88), np.uint8)
    for row in velocity:
        row[rng.choice(88, rng.integers(0, 10), replace=False)] = rng.integers(20, 128)
    velocity[::5] = 0
    return velocity, (rng.random(N_STATES) < 0.5).astype(np.uint8)


@pytest.fixture(scope="module", params=["velocity", "flat"])
def film(request, played, tmp_path_factory):
    """The chords as a film, each of them for half a second."""
    velocity, pedal = played
    path = tmp_path_factory.mktemp("film") / f"{request.param}.mp4"
    pictures = np.repeat(draw_keyboard(velocity, lit=request.param, pedal=pedal), 12, axis=0)
    encode_film(path, pictures, frame_rate=Fraction(25))
    return path


RECODED = {
    "as it is": None,
    "crf 28": ("-crf", 28),
    "crf 35": ("-crf", 35),
    "half": ("-crf", 35, "-vf", "scale=390:-2"),
    "double": ("-crf", 28, "-vf", "scale=1560:-2"),
}


@pytest.mark.parametrize("how", RECODED)
def test_a_drawn_keyboard_is_taken_and_its_keys_and_pedal_are_read_though_it_was_coded_again(
    how, film, played, tmp_path
):
    video, (velocity, pedal) = film, played
    if RECODED[how] is not None:
        video = tmp_path / "again.mp4"
        ffmpeg("-i", film, "-c:v", "libx264", "-threads", 1, *RECODED[how], video)
    read, n_decoded = keyboard_film(video, probe(video, policy=PARAMS.media), PARAMS)
    assert n_decoded == 12 * N_STATES
    assert keyboard_difference(read.pictures) < 0.75 * MAX_DIFFERENCE
    middle_s = (np.arange(N_STATES) + 0.5) * 12 / 25
    pictures = read.pictures[np.searchsorted(read.time_s, middle_s, side="right") - 1]
    assert read_pedal(pictures).tolist() == (pedal == 1).tolist()
    np.testing.assert_array_equal(read_keyboard(pictures) > 0, velocity > 0)


def test_a_crop_finds_the_keyboard_in_a_larger_picture(tmp_path):
    velocity = np.zeros((30, 88), np.uint8)
    velocity[10:20, 39] = 80
    drawn = draw_keyboard(velocity, lit="velocity")
    larger = np.full((30, 200, 900), 90, np.uint8)
    larger[:, 60:117, 50:830] = drawn
    encode_film(tmp_path / "a.mp4", larger, frame_rate=Fraction(25))
    facts = probe(tmp_path / "a.mp4", policy=PARAMS.media)

    def read(**region):
        given = Region(**region)
        return read_video(tmp_path / "a.mp4", facts, tmp_path, params=PARAMS, region=given, progress=lambda _: None)

    film = read(crop=(50, 60, 780, 57)).film
    shown = film.pictures[np.searchsorted(film.time_s, 15 / 25, side="right") - 1]
    assert np.flatnonzero(read_keyboard(shown[None])[0]).tolist() == [39]
    real = read()  # without the crop it is what any tutorial shows: a keyboard somewhere in the picture
    assert real.notes is not None
    assert real.notes.pitch.tolist() == [60]
    for region, kind, words in (
        ({"crop": (200, 60, 780, 57)}, "BAD_REGION", "crop is 200,60,780,57, expected x,y,width,height within 900x200"),
        ({"corners": ((0, 0), (9, 0), (9, 9), (0, 9))}, "KEYS_TOO_SMALL", "px"),
        ({"instrument": "marimba-18"}, "OTHER_INSTRUMENT", "shows marimba-18, expected a piano"),
    ):
        with pytest.raises(MediaError, match=words) as caught:
            read(**region)
        assert caught.value.kind == kind


def test_a_real_keyboards_film_is_drawn_as_the_simulator_draws_its_notes(tmp_path):
    film = film_of("tutorial-partial", 3, tmp_path, duration_s=3.0)
    given = probe(film.path, policy=PARAMS.media), tmp_path
    read = read_video(film.path, *given, params=PARAMS, region=None, progress=lambda _: None)
    reading = read_keyboard_film(film.path, policy=PARAMS.media, params=PARAMS.keyboard)
    assert read.notes is not None
    np.testing.assert_array_equal(np.sort(read.notes.pitch), np.sort(reading.notes.pitch))
    steps = read.film.time_s / 0.004
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-6)
    assert keyboard_difference(read.film.pictures) < 1.0
    shown = np.searchsorted(read.film.time_s, read.notes.onset_s + 1e-6, side="right") - 1
    down = read_keyboard(read.film.pictures[shown]) > 0
    assert down[np.arange(len(shown)), read.notes.pitch - 21].all()


OTHERS = {
    "test picture": "testsrc=size=780x58:rate=25",
    "wide test picture": "testsrc2=size=1280x720:rate=25",
    "fractal": "mandelbrot=size=780x58:rate=25",
    "black": "color=black:size=780x58:rate=25",
    "white": "color=white:size=780x58:rate=25",
    "grey": "color=gray:size=780x58:rate=25",
    "noise": "color=gray:size=780x58:rate=25,noise=alls=100:allf=t:all_seed=1",
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_film_of_anything_else_is_refused_in_one_line_that_names_it(what, tmp_path):
    video = tmp_path / "other.mp4"
    ffmpeg("-f", "lavfi", "-i", OTHERS[what], "-t", 1, "-pix_fmt", "yuv420p", "-c:v", "libx264", "-threads", 1, video)
    facts = probe(video, policy=PARAMS.media)
    with pytest.raises(
        MediaError,
        match=r"^\S+/other\.mp4: .+; as the simulator's keyboard: its pictures differ by \d+\.\d luma from a"
        r" keyboard that is read from them, expected at most 40: the whole picture has to be the keyboard from above"
        r" as audiate render --preview draws it$",
    ) as caught:
        read_video(video, facts, tmp_path, params=PARAMS, region=None, progress=lambda _: None)
    assert caught.value.kind == "NO_KEYBOARD"
    found = float(str(caught.value).split(" differ by ")[1].split()[0])
    assert found > 1.4 * MAX_DIFFERENCE  # no close call
