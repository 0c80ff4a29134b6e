"""Cameras: projection, its inverse, and what geometry says about both."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.rig.camera import Camera

SIDE = st.floats(-120, 120)
cameras = st.builds(
    Camera,
    position_cm=st.tuples(SIDE, SIDE, st.floats(60, 200)),
    target_cm=st.tuples(st.floats(-5, 5), st.floats(-5, 5), st.just(0.0)),
    focal=st.floats(0.7, 2.0),
    distortion=st.tuples(st.floats(-0.15, 0.15), st.floats(-0.02, 0.02)),
    width=st.just(320),
    height=st.just(180),
)
TOP = Camera(position_cm=(0, 0, 100), target_cm=(0, 0, 0), focal=1.0, distortion=(0.0, 0.0), width=321, height=181)


@given(cameras, st.floats(-30, 30), st.floats(-15, 15), st.floats(-5, 5), st.floats(-0.1, 0.1))
def test_a_pixel_sees_the_point_of_the_plane_that_is_projected_to_it(camera, x, y, height_cm, slope):
    point = np.array([x, y, height_cm + slope * y])
    seen = camera.on_plane(camera.project(point), height_cm=height_cm, slope=slope)
    np.testing.assert_allclose(seen, [x, y], atol=1e-6)


def test_from_straight_above_a_centimetre_is_focal_length_over_height():
    np.testing.assert_allclose(TOP.project(np.array([0.0, 0.0, 0.0])), [160, 90])
    np.testing.assert_allclose(TOP.project(np.array([10.0, 0.0, 0.0])), [160 + 10 * 321 / 100, 90])
    np.testing.assert_allclose(TOP.project(np.array([0.0, 5.0, 0.0])), [160, 90 - 5 * 321 / 100])
    assert TOP.pixels_per_cm(np.zeros(3)) == pytest.approx(3.21)


def test_from_the_audience_the_high_notes_are_on_the_left():
    camera = Camera(
        position_cm=(0, 120, 80), target_cm=(0, 0, 0), focal=1.0, distortion=(0.0, 0.0), width=320, height=180
    )
    high, low = camera.project(np.array([[50.0, 0, 0], [-50.0, 0, 0]]))
    assert high[0] < low[0]
    near, far = camera.project(np.array([[0, 15.0, 0], [0, -15.0, 0]]))
    assert near[1] > far[1]


def test_what_is_higher_is_higher_in_the_picture():
    camera = Camera(
        position_cm=(90, 90, 80), target_cm=(0, 0, 0), focal=1.0, distortion=(-0.1, 0.0), width=320, height=180
    )
    above, below = camera.project(np.array([[0.0, 0.0, 10.0], [0.0, 0.0, 0.0]]))
    assert above[1] < below[1] - 5


def test_a_lens_bends_lines_but_not_those_through_the_middle():
    bent = Camera(
        position_cm=(0, 0, 100), target_cm=(0, 0, 0), focal=1.0, distortion=(-0.2, 0.0), width=321, height=181
    )
    through = bent.project(np.array([[x, 0.0, 0.0] for x in (-40, 0, 40)]))
    beside = bent.project(np.array([[x, 25.0, 0.0] for x in (-40, 0, 40)]))
    assert np.ptp(through[:, 1]) == pytest.approx(0)
    assert np.ptp(beside[:, 1]) > 1


def test_a_point_behind_the_camera_is_refused():
    with pytest.raises(ValueError, match="before the camera"):
        TOP.project(np.array([0.0, 0.0, 150.0]))


def test_a_pixel_that_looks_past_the_plane_sees_nothing():
    level = Camera(
        position_cm=(0, -100, 50), target_cm=(0, 0, 50), focal=1.0, distortion=(0.0, 0.0), width=32, height=18
    )
    seen = level.on_plane(level.grid())
    assert np.isnan(seen[:9]).all()
    assert np.isfinite(seen[9:]).all()


def test_a_finer_picture_is_of_the_same_scene():
    fine = TOP.scaled(3)
    point = np.array([12.0, -7.0, 3.0])
    np.testing.assert_allclose((fine.project(point) - 1) / 3, TOP.project(point))


def test_the_vignette_takes_light_from_the_corners_alone():
    left = TOP.vignette(0.3)
    assert left[90, 160] == pytest.approx(1)
    assert left[0, 0] == pytest.approx(0.7)


def test_a_camera_turned_clockwise_shows_the_room_turned_the_other_way():
    level = Camera(position_cm=(0, 0, 100), target_cm=(0, 0, 0), focal=1.0, distortion=(0, 0), width=101, height=101)
    turned = replace(level, roll_deg=90.0)
    to_the_right, farther = np.array([20.0, 0.0, 0.0]), np.array([0.0, 20.0, 0.0])
    np.testing.assert_allclose(level.project(to_the_right), [70.2, 50.0], atol=1e-9)
    np.testing.assert_allclose(turned.project(to_the_right), level.project(farther), atol=1e-9)
    np.testing.assert_allclose(turned.on_plane(turned.project(farther)), farther[:2], atol=1e-6)
