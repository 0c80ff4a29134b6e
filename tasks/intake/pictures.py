"""A device's pictures as inputs of models: the instrument rectified where its corners are known, else its crop."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.errors import DamagedData
from tasks.features.rectify import Rectifier
from tasks.instruments.plan import corner_places
from tasks.intake.record import Device
from tasks.media.pictures import iter_pictures
from tasks.media.probe import NO_LIMITS, MediaPolicy


def iter_views(
    device: Device,
    *,
    width: int,
    height: int,
    instrument: str,
    margins: tuple[float, float],
    policy: MediaPolicy = NO_LIMITS,
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float64]]]:
    """Decode a camera's film, some pictures at a time; memory does not grow with its length.

    Args:
        device: the camera; what decodes of a film that ends too early is used.
        width: of the pictures returned, in pixels.
        height: of the pictures returned, in pixels.
        instrument: the one whose plan gives the corners' places in the rectified picture.
        margins: shares of width and height that stay free beside a rectified instrument.
        policy: what decoding may cost.

    Yields:
        (n, height, width) luma and (n,) the pictures' own time stamps, in s from the file's time zero.

    Raises:
        MediaError: the film cannot be read.
        DamagedData: the corners are not those of a plane.
    """
    if device.corners is None:
        yield from iter_pictures(
            device.path,
            width=width,
            height=height,
            policy=policy,
            crop=device.crop,
            lenient=True,
            stream=device.picture_stream,
        )
        return
    size = _full_size(device.facts)
    places = corner_places(instrument, width=width, height=height, margins=margins)
    try:
        rectify = Rectifier(device.corners, places, width=width, height=height)
    except ValueError as error:
        raise DamagedData(f"{device.path}: {error}") from None
    for pictures, time_s in iter_pictures(
        device.path, width=size[0], height=size[1], policy=policy, lenient=True, stream=device.picture_stream
    ):
        yield rectify(pictures), time_s


def _full_size(facts: dict[str, Any]) -> tuple[int, int]:
    """Return width and height of the upright picture."""
    return int(facts["video"]["width"]), int(facts["video"]["height"])
