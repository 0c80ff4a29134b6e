"""Made films: what their truth says is what their pictures show."""

from itertools import pairwise

import cv2
import numpy as np
import pytest

from tasks.media.pictures import check_film
from tasks.media.probe import MediaPolicy
from tasks.rig.films_without_notes import IDLE, NO_KEYBOARD, SILENT
from tasks.rig.keyboard_films import KINDS, film_of
from tasks.rig.overhead_films import draw_scene
from tasks.rig.piano import keyboard_corners

POLICY = MediaPolicy(
    max_pixels=4_000_000, max_duration_s=60, max_bytes=100_000_000, max_streams=4, max_file_bytes=100_000_000
)
slow = pytest.mark.slow


def pictures_of(truth):
    film = cv2.VideoCapture(str(truth.path))
    pictures = []
    while (read := film.read())[0]:
        pictures.append(read[1])
    return np.stack(pictures)


def strip_along(truth, picture, share):
    """Luma along the keyboard, at a share of the way from its far edge to its near one, from the lowest key on."""
    far_left, far_right, near_right, near_left = truth.corners
    ends = far_left + share * (near_left - far_left), far_right + share * (near_right - far_right)
    places = ends[0] + np.linspace(0.001, 0.999, 2000)[:, None] * (ends[1] - ends[0])
    column, row = np.rint(places).astype(int).T
    inside = (row >= 0) & (row < picture.shape[0]) & (column >= 0) & (column < picture.shape[1])
    return np.where(inside, picture[np.clip(row, 0, picture.shape[0] - 1), np.clip(column, 0, picture.shape[1] - 1)], 0)


def n_black_keys(truth, picture):
    """Count the dark stripes of the upper part of the keys."""
    luma = strip_along(truth, cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), 0.3)
    dark = luma < 0.55 * np.percentile(luma, 90)
    edges = np.flatnonzero(np.diff(np.r_[False, dark, False].astype(int)))
    return sum(end - start > 6 for start, end in edges.reshape(-1, 2))


@pytest.mark.parametrize(
    ("kind", "seed"),  # seeds of films of 640 pixels, which are drawn sooner
    [
        ("tutorial-plain", 15),
        ("overhead-640", 11),
        pytest.param("tutorial-partial", 14, marks=slow),
        pytest.param("overhead-upside-down", 7, marks=slow),
        pytest.param("overhead-mirrored", 11, marks=slow),
        pytest.param("overhead-partial", 10, marks=slow),
        pytest.param("overhead-off-axis", 11, marks=slow),
        pytest.param("idle-under-hands", 15, marks=slow),
    ],
)
def test_the_keys_lie_within_the_corners(tmp_path, kind, seed):
    truth = film_of(kind, seed, tmp_path, duration_s=1.9)
    still = np.median(pictures_of(truth), axis=0).astype(np.uint8)
    n_blacks = sum((truth.first_pitch + key) % 12 in (1, 3, 6, 8, 10) for key in range(truth.n_keys))
    assert n_black_keys(truth, still) == n_blacks
    ahead = strip_along(truth, cv2.cvtColor(still, cv2.COLOR_BGR2GRAY), 1.12)
    fronts = strip_along(truth, cv2.cvtColor(still, cv2.COLOR_BGR2GRAY), 0.9)
    assert np.median(fronts) > np.median(ahead) + 40


def test_a_film_is_its_kinds_and_its_seeds(tmp_path):
    first, again, other = (film_of("tutorial-plain", seed, tmp_path, duration_s=1.9).path for seed in (6, 6, 9))
    assert first == again
    once = first.read_bytes()
    film_of("tutorial-plain", 6, tmp_path, duration_s=1.9)
    assert first.read_bytes() == once != other.read_bytes()


def test_pictures_have_the_times_of_the_truth(tmp_path):
    for kind in ("tutorial-popup", "overhead-variable-rate", "overhead-edit-list"):
        truth = film_of(kind, 14, tmp_path, duration_s=1.9)
        check = check_film(truth.path, POLICY)
        assert check.n_pictures == len(truth.time_s)
        assert check.last_s == pytest.approx(truth.time_s[-1], abs=2e-4)
        assert check.is_variable == (kind == "overhead-variable-rate")


def test_no_note_sounds_where_nothing_is_played(tmp_path):
    assert set(IDLE + NO_KEYBOARD) == set(SILENT)
    for kind in ("no-black", "no-stripes", "no-drums", "no-hands-alone"):
        truth = film_of(kind, 8, tmp_path, duration_s=0.8)
        assert len(truth.notes) == 0
        assert (truth.corners is None) == (kind in NO_KEYBOARD)


@slow
def test_hands_that_press_nothing_move_no_key(tmp_path):
    truth = film_of("idle-under-hands", 15, tmp_path, duration_s=1.5)
    far = np.stack([strip_along(truth, cv2.cvtColor(p, cv2.COLOR_BGR2GRAY), 0.08) for p in pictures_of(truth)])
    moved = np.abs(far.astype(float) - np.median(far, axis=0)).max(axis=0)
    smooth = np.convolve(moved, np.ones(12) / 12, "valid")
    played = film_of("overhead-640", 14, tmp_path, duration_s=3.0)
    shown = np.stack([strip_along(played, cv2.cvtColor(p, cv2.COLOR_BGR2GRAY), 0.08) for p in pictures_of(played)])
    moves = np.abs(shown.astype(float) - np.median(shown, axis=0)).max(axis=0)
    assert smooth.max() < 0.7 * np.convolve(moves, np.ones(12) / 12, "valid").max()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("has", ["plain", "off-axis", "near-axis", "reflection", "tilt", "partial"])
def test_the_keyboard_is_in_the_picture_and_lies_across_it(seed, has):
    rng = np.random.default_rng(seed)
    scene = draw_scene(rng, has)
    corners = scene.camera.project(np.c_[keyboard_corners(scene.look.keys), np.zeros(4)])
    size = np.array([scene.camera.width, scene.camera.height])
    assert ((corners > 0) & (corners < size)).all()
    assert np.ptp(corners[:, 0]) > 0.8 * size[0]
    along = corners[1] - corners[0] + corners[2] - corners[3]
    assert abs(np.rad2deg(np.arctan2(along[1], along[0]))) < 5


def test_an_unknown_kind_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="no film of kind 'organ', expected one of tutorial-plain"):
        film_of("organ", 1, tmp_path)


def test_every_kind_named_for_what_it_holds_is_in_the_table():
    names = sorted(KINDS)
    assert all(a != b for a, b in pairwise(names))
    assert {name.split("-")[0] for name in names} == {"tutorial", "overhead", "idle", "no"}
