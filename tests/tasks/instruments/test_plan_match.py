"""A marimba from any side agrees with its plan; a keyboard, noise, a shifted row and nothing at all do not."""

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from tasks.features.rectify import Rectifier
from tasks.instruments.marimba import bars_of
from tasks.instruments.plan import corner_places
from tasks.instruments.plan_match import MIN_MATCH, plan_match
from tasks.rig.camera import Camera
from tasks.rig.marimba import marimba_layers
from tasks.rig.piano import PianoLook, keyboard_layers
from tasks.rig.rigs import instrument_corners
from tasks.rig.scene import Light, compose, whole

WIDTH, HEIGHT, MARGINS = 192, 64, (0.05, 0.2)
LIGHT = Light(position_cm=(40, -80, 220), ambient=0.4)
PLACES = [(0, -30, 190), (90, -110, 120), (-120, 40, 150), (10, 150, 110)]


def rectified(layers, corners_cm, position_cm, *, aside_px=0.0):
    camera = Camera(
        position_cm=position_cm, target_cm=(0, 0, 0), focal=0.9, distortion=(0.0, 0.0), width=640, height=360
    )
    picture = np.clip(compose(camera, layers, LIGHT, whole(camera)), 0, 255).astype(np.uint8)
    corners = camera.project(corners_cm) + np.array([aside_px, 0.0])
    places = corner_places("marimba-18", width=WIDTH, height=HEIGHT, margins=MARGINS)
    return Rectifier(corners, places, width=WIDTH, height=HEIGHT)(picture[None])


def match(pictures):
    return plan_match(pictures, "marimba-18", margins=MARGINS)


@pytest.mark.parametrize("position_cm", PLACES)
def test_a_marimba_agrees_with_its_plan_from_every_side_and_dark_on_light_too(position_cm):
    pictures = rectified(marimba_layers(bars_of(), 3), instrument_corners("marimba-18")[::-1], position_cm)
    assert match(pictures) > 0.75
    assert match(255 - pictures) == pytest.approx(match(pictures), abs=0.01)


def test_what_passes_in_some_pictures_is_left_out():
    pictures = np.repeat(
        rectified(marimba_layers(bars_of(), 3), instrument_corners("marimba-18")[::-1], PLACES[0]), 9, 0
    )
    for picture, x in zip(pictures, range(10, 180, 20), strict=True):
        picture[:, x : x + 20] = 230
    assert match(pictures) > 0.75


def test_corners_beside_the_instrument_do_not_agree():
    layers, corners = marimba_layers(bars_of(), 3), instrument_corners("marimba-18")[::-1]
    assert max(match(rectified(layers, corners, PLACES[0], aside_px=aside)) for aside in (-60.0, 8.0, 60.0)) < MIN_MATCH


def test_a_keyboard_does_not_agree():
    assert match(rectified(keyboard_layers(PianoLook(seed=3)), instrument_corners("piano")[::-1], PLACES[1])) < 0.3


def test_noise_hands_and_a_black_film_do_not_agree():
    rng = np.random.default_rng(5)
    found = [
        match(gaussian_filter(rng.normal(128, 60, (1, HEIGHT, WIDTH)), (0, 8, 2)).astype(np.uint8)) for _ in range(300)
    ]
    assert np.mean(np.array(found) < MIN_MATCH) > 0.99
    hand = np.full((HEIGHT, WIDTH), 15, np.uint8)
    cv2.ellipse(hand, (70, 40), (22, 14), 20, 0, 360, 190, -1)
    assert match(hand[None]) < MIN_MATCH
    assert match(np.zeros((4, HEIGHT, WIDTH), np.uint8)) == 0


def test_an_instrument_whose_bars_have_no_places_is_not_looked_for():
    assert plan_match(np.zeros((1, 8, 8), np.uint8), "kalimba", margins=MARGINS) is None
