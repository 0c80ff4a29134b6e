"""A camera's pictures: its crop, or its instrument in the same place whoever filmed it."""

from fractions import Fraction

import cv2
import numpy as np
import pytest

from tasks.errors import DamagedData
from tasks.instruments.plan import corner_places
from tasks.intake.pictures import iter_views
from tasks.intake.record import Device
from tasks.media.encode import encode_camera

WIDTH, HEIGHT, MARGINS = 64, 32, (0.1, 0.2)
CORNERS = ((30.0, 20.0), (130.0, 34.0), (120.0, 80.0), (18.0, 66.0))
BARS = (20, 30, 44)  # columns of the rectified picture that a bar stands at


def plane(lit):
    """The instrument from above, one bar lit."""
    picture = np.full((HEIGHT, WIDTH), 60, np.uint8)
    for number, column in enumerate(BARS):
        picture[8:24, column - 2 : column + 3] = 220 if number == lit else 120
    return picture


@pytest.fixture
def film(tmp_path):
    """Film three pictures from aslant; return the file."""
    places = corner_places("none", width=WIDTH, height=HEIGHT, margins=MARGINS)
    there = cv2.getPerspectiveTransform(places.astype(np.float32), np.array(CORNERS, np.float32))
    seen = [cv2.warpPerspective(plane(lit), there, (160, 96), borderMode=cv2.BORDER_REPLICATE) for lit in range(3)]
    path = tmp_path / "cam_a.mp4"
    encode_camera(path, seen, time_s=[Fraction(k, 25) for k in range(3)], time_base=Fraction(1, 12800))
    return path


def camera(path, **changes):
    facts = {"video": {"width": 160, "height": 96, "n_pictures": 3}, "audio": None}
    return Device(**({"name": "cam_a", "role": "camera", "path": path, "facts": facts, "crop": None} | changes))


def views(device):
    found = list(iter_views(device, width=WIDTH, height=HEIGHT, instrument="none", margins=MARGINS))
    return np.concatenate([pictures for pictures, _ in found]), np.concatenate([time_s for _, time_s in found])


def test_with_corners_the_instrument_is_rectified(film):
    pictures, time_s = views(camera(film, corners=CORNERS, crop=(0, 0, 80, 48)))
    np.testing.assert_allclose(time_s, [0, 0.04, 0.08], atol=1e-6)
    for lit, picture in enumerate(pictures):
        at_bars = [picture[12:20, column].mean() for column in BARS]
        assert int(np.argmax(at_bars)) == lit
        assert np.abs(picture.astype(int) - plane(lit)).mean() < 8


def test_without_corners_the_crop_is_scaled(film):
    everything, _ = views(camera(film))
    left, _ = views(camera(film, crop=(0, 0, 80, 96)))
    assert everything.shape == left.shape == (3, HEIGHT, WIDTH)
    np.testing.assert_allclose(left[0][:, ::2].mean(), everything[0][:, : WIDTH // 2].mean(), atol=2)


def test_corners_of_no_plane_name_the_film(film):
    crossing = (CORNERS[0], CORNERS[2], CORNERS[1], CORNERS[3])
    with pytest.raises(DamagedData, match=r"cam_a\.mp4: corners are .* expected 4 points around the instrument"):
        views(camera(film, corners=crossing))
