"""Hands: the finger is on the key that it presses, before and while the key is down."""

import itertools

import numpy as np
import pytest

from tasks.instruments.keyboard import LOWEST_PITCH
from tasks.instruments.notes import sorted_notes
from tasks.rig.camera import Camera
from tasks.rig.hand_figures import HandFigure, Skin
from tasks.rig.hands import finger, place_hand
from tasks.rig.music import random_music, with_keys_released
from tasks.rig.piano import key_columns_cm, travel_times
from tasks.rig.scene import Light

HOME = (-18.0, 18.0)
SKIN = Skin(luma=150.0, chroma=(-10.0, 15.0), has_nails=True, sleeve_luma=50.0, sleeve_chroma=(0.0, 0.0))


@pytest.fixture
def music():
    notes = random_music(np.random.default_rng(3), start_s=1.0, end_s=9.0)
    return with_keys_released(notes, gap_s=0.08)


def test_a_fingertip_is_on_its_key_from_before_it_moves_until_it_is_released(music):
    fingerings = finger(music, travel_times(music.velocity), home_cm=HOME)
    edges = key_columns_cm()
    n_seen = 0
    for fingering in fingerings:
        for stroke in fingering.strokes:
            moments_s = np.array([stroke.onset_s - stroke.travel_s, stroke.onset_s, stroke.offset_s])
            tips = place_hand(fingering, moments_s, reach_cm=0.0, lifted_cm=0.0, seed=1).tips[:, stroke.finger]
            alone = [
                other
                for other in fingering.strokes
                if other.finger == stroke.finger
                and other.offset_s > stroke.onset_s - 0.5
                and other.onset_s < stroke.offset_s + 0.5
            ]
            if len(alone) > 1:  # a finger that has just come, or has to leave at once
                continue
            left, right = edges[stroke.key]
            assert ((tips[:, 0] > left) & (tips[:, 0] < right)).all()
            assert tips[1, 2] == pytest.approx(tips[0, 2] - 1.0, abs=1e-6)  # a centimetre down
            n_seen += 1
    assert n_seen >= 5


def test_low_chords_are_the_left_hands_and_no_finger_holds_two_keys(music):
    left, right = finger(music, travel_times(music.velocity), home_cm=HOME)
    assert np.mean([stroke.key for stroke in left.strokes]) < np.mean([stroke.key for stroke in right.strokes])
    assert len(left.strokes) + len(right.strokes) > 0.9 * len(music)
    for fingering in (left, right):
        for number in range(5):
            own = [stroke for stroke in fingering.strokes if stroke.finger == number]
            assert all(a.offset_s <= b.onset_s + 0.011 for a, b in itertools.pairwise(own))


def test_hands_in_the_air_never_reach_a_key(music):
    for fingering in finger(music, travel_times(music.velocity), home_cm=HOME):
        hand = place_hand(fingering, np.arange(0, 10, 0.02), reach_cm=0.0, lifted_cm=2.0, seed=1)
        assert hand.tips[..., 2].min() > 1.2  # the black keys are 1.1 cm high


def test_a_drawn_hand_covers_the_key_that_it_presses_and_shades_what_is_beside_it():
    camera = Camera(
        position_cm=(0, 0, 120), target_cm=(0, 0, 0), focal=0.9, distortion=(0.0, 0.0), width=640, height=360
    )
    light = Light(position_cm=(60, 0, 200), ambient=0.4)
    notes = sorted_notes(np.array([1.0]), np.array([2.0]), np.array([64]), np.array([80]))
    _, right = finger(notes, travel_times(notes.velocity), home_cm=(-40.0, 0.0))
    hand = place_hand(right, np.array([1.5]), reach_cm=0.0, lifted_cm=0.0, seed=1)
    luma = np.full((360, 640), 200, np.float32)
    chroma = np.zeros((2, 180, 320), np.float32)
    HandFigure(camera, light, SKIN, hand, shadow=0.4).draw(luma, chroma, 0)
    (stroke,) = right.strokes
    x = float(key_columns_cm()[64 - LOWEST_PITCH].mean())
    tip = hand.tips[0, stroke.finger]
    column, row = np.rint(camera.project(np.array([x, tip[1], 0.0]))).astype(int)
    assert luma[row, column] < 190
    assert chroma[1, row // 2, column // 2] > 8  # of skin
    elbow_side = np.rint(camera.project(hand.wrist[0] - (6.0, 0.0, 4.6))).astype(int)
    assert 100 < luma[elbow_side[1], elbow_side[0]] < 199  # the lamp is on the right: its shadow falls to the left
    assert luma[5, 5] == 200
