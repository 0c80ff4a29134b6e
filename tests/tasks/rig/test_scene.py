"""Layers: the picture shows what stands highest, where geometry says, in the light that falls there."""

import numpy as np
import pytest

from tasks.rig.camera import Camera
from tasks.rig.scene import Layer, Light, compose, cover_of, floor_layer, whole, window_of

CAMERA = Camera(position_cm=(0, 0, 100), target_cm=(0, 0, 0), focal=1.0, distortion=(0.0, 0.0), width=160, height=90)
EVEN = Light(position_cm=(0, 0, 200), ambient=1.0)


def sheet(luma: float, *, left: float, near: float, size: float, height_cm: float = 0.0, slope: float = 0.0) -> Layer:
    n = round(size * 10)
    return Layer(
        paint=np.full((n, n), luma, np.float32),
        cover=np.full((n, n), 255, np.uint8),
        corner_cm=(left, near),
        dots_per_cm=10,
        height_cm=height_cm,
        slope=slope,
    )


def test_a_sheet_is_drawn_where_its_corners_are_projected():
    picture = compose(CAMERA, [sheet(200.0, left=-10, near=-5, size=10)], EVEN, whole(CAMERA))
    rows, columns = np.nonzero(picture > 110)
    low, high = CAMERA.project(np.array([[-10.0, 5.0, 0.0], [0.0, -5.0, 0.0]]))
    np.testing.assert_allclose([columns.min(), rows.min()], low, atol=0.8)
    np.testing.assert_allclose([columns.max(), rows.max()], high, atol=0.8)


def test_the_last_sheet_hides_the_ones_below():
    picture = compose(
        CAMERA, [sheet(50.0, left=-20, near=-20, size=40), sheet(180.0, left=-5, near=-5, size=10)], EVEN, whole(CAMERA)
    )
    assert picture[45, 80] == pytest.approx(180, abs=0.5)
    assert picture[45, 60] == pytest.approx(50, abs=0.5)


def test_a_window_is_that_part_of_the_whole_picture():
    layers = [floor_layer(1, height_cm=-40.0, luma=90.0), sheet(180.0, left=-5, near=-5, size=10)]
    window = (slice(20, 61), slice(50, 110))
    np.testing.assert_allclose(
        compose(CAMERA, layers, EVEN, window), compose(CAMERA, layers, EVEN, whole(CAMERA))[window], atol=1e-3
    )


def test_light_falls_off_with_distance_and_a_shadow_lies_away_from_the_lamp():
    light = Light(position_cm=(100, 0, 100), ambient=0.2)
    near, far = light.on(np.array([100.0, -100.0]), np.zeros(2), 0.0)
    assert near == pytest.approx(1)
    assert 0.2 < far < 0.5
    fallen = light.shadow_of(np.array([[0.0, 0.0, 50.0]]))
    np.testing.assert_allclose(fallen, [[-100.0, 0.0, 0.0]])


def test_what_lies_on_the_plane_is_its_own_shadow():
    light = Light(position_cm=(30, -20, 150), ambient=0.2)
    np.testing.assert_allclose(light.shadow_of(np.array([[7.0, 8.0, 0.0]])), [[7.0, 8.0, 0.0]])


def test_the_cover_of_a_sheet_is_one_inside_and_nothing_outside():
    cover = cover_of(CAMERA, sheet(200.0, left=-10, near=-5, size=10))
    assert cover[45, 72] == pytest.approx(1)
    assert cover[45, 100] == 0
    assert cover.sum() == pytest.approx((10 * 160 / 100) ** 2, rel=0.03)


def test_the_window_of_points_outside_the_picture_is_none():
    assert window_of(CAMERA, np.array([[500.0, 0.0, 0.0], [510.0, 1.0, 0.0]])) is None
