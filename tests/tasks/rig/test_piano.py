"""Keys: they begin to move by the speed of their stroke, and a board behind them shows them again."""

import numpy as np
import pytest

from tasks.instruments.notes import sorted_notes
from tasks.rig.camera import Camera
from tasks.rig.overhead import keyboard_at_rest
from tasks.rig.piano import PianoLook, dipping_parts, dips, keyboard_corners, keyboard_layers, travel_times
from tasks.rig.scene import Light, compose, whole

CAMERA = Camera(position_cm=(0, -45, 110), target_cm=(0, 0, 0), focal=0.8, distortion=(0.0, 0.0), width=640, height=360)
LIGHT = Light(position_cm=(0, 0, 200), ambient=0.6)


@pytest.mark.parametrize(("velocity", "travel_s"), [(52, 0.08996), (77, 0.05482), (127, 0.025), (1, 0.16)])
def test_the_travel_time_is_the_measured_one_within_what_was_measured(velocity, travel_s):
    np.testing.assert_allclose(travel_times(np.array([velocity])), travel_s, atol=1e-5)


def test_a_key_begins_to_move_its_travel_time_before_the_onset_and_is_down_at_it():
    notes = sorted_notes(np.array([1.0, 1.0]), np.array([2.0, 2.0]), np.array([60, 64]), np.array([20, 120]))
    time_s = np.arange(0.8, 1.05, 0.001)
    dip = dips(notes, [39, 43], time_s, travel_s=travel_times(notes.velocity))
    begins_s = time_s[(dip > 0).argmax(axis=0)]
    np.testing.assert_allclose(1.0 - begins_s, travel_times(notes.velocity), atol=0.002)
    assert begins_s[0] < begins_s[1] - 0.1
    np.testing.assert_allclose(dip[time_s >= 1.0], 1.0)


def test_a_key_that_is_a_third_down_changes_the_picture_less_than_one_that_is_down():
    look = PianoLook(seed=1)
    still = compose(CAMERA, keyboard_layers(look), LIGHT, whole(CAMERA))
    changes = [
        float(np.abs(dipping_parts(CAMERA, still, LIGHT, [10], look, dip=dip)[0][1]).sum()) for dip in (0.02, 0.33, 1.0)
    ]
    assert changes[0] < 0.3 * changes[2]
    assert changes[1] < 0.8 * changes[2]


def test_a_partial_keyboard_ends_where_its_last_keys_do():
    whole_width, octave = (np.ptp(keyboard_corners(keys)[:, 0]) for keys in ((0, 87), (15, 27)))
    assert octave / whole_width == pytest.approx(8 / 52)


def test_the_board_shows_what_lies_as_far_before_it_as_behind_it():
    look = PianoLook(seed=1, board_cm=14.0, reflects=1.0)
    picture = keyboard_at_rest(CAMERA, look, LIGHT)
    x, depth = np.linspace(-50, 50, 800), 4.0
    rear = keyboard_corners()[2, 1]
    real, mirrored = (
        np.rint(CAMERA.project(np.c_[x, np.full_like(x, rear + side * depth), np.full_like(x, 1.1)])).astype(int)
        for side in (-1, 1)
    )
    shown = [picture[pixels[:, 1], pixels[:, 0]] for pixels in (real, mirrored)]
    assert np.corrcoef(*shown)[0, 1] > 0.8
