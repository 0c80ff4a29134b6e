"""Keyboards are found in drawn pictures whose places are known."""

import cv2
import numpy as np
import pytest

from tasks.instruments.keyboard import draw_keyboard
from tasks.keyboards.find import find_keyboards
from tasks.keyboards.layout import Keys
from tasks.keyboards.place import place_of_corners

SIZE = (640, 360)
LEFT, TOP, WIDTH, HEIGHT = 30.0, 120.0, 572.0, 70.0
CORNERS = np.array([[LEFT, TOP], [LEFT + WIDTH, TOP], [LEFT + WIDTH, TOP + HEIGHT], [LEFT, TOP + HEIGHT]]) - 0.5


def picture_of(corners, *, keyboard=None, under=35.0, seed=0):
    """Return a noisy picture (360, 640) of a keyboard at rest whose corners, as drawn, lie at ``corners`` (4, 2)."""
    drawn = draw_keyboard(np.zeros((1, 88), np.uint8), lit="velocity")[0] if keyboard is None else keyboard
    height, width = drawn.shape
    fine = 4
    plan = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32) - 0.5
    at = ((corners + 0.5) * fine - 0.5).astype(np.float32)
    warp = cv2.getPerspectiveTransform(plan, at)
    size = (SIZE[0] * fine, SIZE[1] * fine)
    whole = cv2.warpPerspective(drawn.astype(np.float32), warp, size, flags=cv2.INTER_LINEAR, borderValue=under)
    noise = np.random.default_rng(seed).normal(0, 2, SIZE[::-1])
    return (cv2.resize(whole, SIZE, interpolation=cv2.INTER_AREA) + noise).astype(np.float32)


def turned(corners, degrees):
    middle = np.array(SIZE) / 2
    angle = np.deg2rad(degrees)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (corners - middle) @ matrix.T + middle


VIEWS = {
    "level": CORNERS,
    "tilted": turned(CORNERS, 5.0),
    "upside down": turned(CORNERS, 180.0),
    "perspective": CORNERS + np.array([[12, 4], [-6, 0], [0, 5], [0, 0]]),
}


@pytest.mark.parametrize("view", VIEWS)
def test_all_88_keys_are_found_where_they_are(view):
    found, score = find_keyboards(picture_of(VIEWS[view]), min_score=0.62)
    assert len(found) == 1
    place = found[0].place
    assert str(place.keys) == "88 keys A0-C8"
    assert score > 0.8
    assert (place.upside_down, place.mirrored) == (view == "upside down", False)
    assert np.abs(place.corners - VIEWS[view]).max() < 0.2 * WIDTH / 52


def test_a_mirrored_picture_shows_low_keys_at_its_right():
    found, _ = find_keyboards(picture_of(CORNERS)[:, ::-1].copy(), min_score=0.62)
    place = found[0].place
    assert (str(place.keys), place.mirrored) == ("88 keys A0-C8", True)
    assert place.corners[0, 0] > place.corners[1, 0]


def test_a_part_of_a_keyboard_says_that_its_octave_is_a_guess():
    part = draw_keyboard(np.zeros((1, 88), np.uint8), lit="velocity")[0][:, 135:675]  # C2 to B6 and C7: 36 white keys
    found, _ = find_keyboards(picture_of(CORNERS, keyboard=part), min_score=0.62)
    assert str(found[0].place.keys) == "61 keys C2-C7"
    assert found[0].place.keys.guessed


def test_a_reflection_beyond_the_keys_does_not_win():
    picture = picture_of(CORNERS)
    rows = slice(round(TOP), round(TOP + HEIGHT))
    mirror = picture[rows][::-1]
    picture[round(TOP - HEIGHT) : round(TOP)] = 30 + 0.35 * (mirror - 30)
    found, _ = find_keyboards(picture, min_score=0.62)
    assert len(found) == 1
    assert np.abs(found[0].place.corners - CORNERS).max() < 0.2 * WIDTH / 52
    assert not found[0].place.upside_down


def test_stripes_and_noise_are_no_keyboard():
    rng = np.random.default_rng(0)
    columns = np.repeat(rng.integers(0, 2, 80) * 200.0 + 20, 8)
    stripes = np.broadcast_to(columns, SIZE[::-1]).astype(np.float32)
    for picture in (stripes, rng.normal(120, 40, SIZE[::-1]).astype(np.float32), np.zeros(SIZE[::-1], np.float32)):
        found, _ = find_keyboards(picture, min_score=0.62)
        assert found == []


def test_corners_that_are_given_are_the_corners_of_the_place():
    place = place_of_corners(Keys(lowest=21, highest=108, guessed=False), VIEWS["perspective"])
    np.testing.assert_allclose(place.corners, VIEWS["perspective"], atol=0.1)
    moved = place.scaled(0.5, left=10.0, top=20.0)
    np.testing.assert_allclose((moved.corners + 0.5) * 2 - 0.5 + [10, 20], place.corners, atol=1e-9)
