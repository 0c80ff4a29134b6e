"""Raw pictures with times of their own, as a Matroska stream that ffmpeg reads from a pipe.

Raw video in a pipe has one rate; a container gives each picture its time. Only what ffmpeg needs is written.

Source:
    RFC 9559 (Matroska), RFC 8794 (EBML).
"""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

TICK_NS = 1000
_UNKNOWN_SIZE = b"\x01" + b"\xff" * 7


def matroska_head(width: int, height: int) -> bytes:
    """Return what stands before the first picture: pictures of one size, as YUV planes, times in microseconds."""
    video = _number(0xB0, width) + _number(0xBA, height) + _element(0x2EB524, b"I420")
    track = _number(0xD7, 1) + _number(0x73C5, 1) + _number(0x83, 1) + _element(0x86, b"V_UNCOMPRESSED")
    track += _element(0xE0, video)
    ebml = _element(0x4282, b"matroska") + _number(0x4287, 4) + _number(0x4285, 2)
    info = _number(0x2AD7B1, TICK_NS) + _element(0x4D80, b"-") + _element(0x5741, b"-")
    return (
        _element(0x1A45DFA3, ebml)
        + bytes.fromhex("18538067")
        + _UNKNOWN_SIZE
        + _element(0x1549A966, info)
        + _element(0x1654AE6B, _element(0xAE, track))
    )


def matroska_picture(
    picture: NDArray[np.uint8], time_s: Fraction, duration_s: Fraction, *, in_colour: bool = False
) -> bytes:
    """Return a picture to be shown at ``time_s`` for ``duration_s``, both rounded to a microsecond.

    Its luma (height, width), both even, is coded as it is; 128 is no colour. With ``in_colour`` it holds all three
    planes of I420, one below the other, (height * 3 / 2, width).
    """
    colour = b"" if in_colour else b"\x80" * (picture.size // 2)
    block = b"\x81\x00\x00\x00" + np.ascontiguousarray(picture).tobytes() + colour
    group = _element(0xA1, block) + _number(0x9B, _ticks(duration_s))
    return _element(0x1F43B675, _number(0xE7, _ticks(time_s)) + _element(0xA0, group))


def _ticks(time_s: Fraction) -> int:
    return round(time_s * 10**9 / TICK_NS)


def _element(identity: int, content: bytes) -> bytes:
    head = identity.to_bytes((identity.bit_length() + 7) // 8)
    return head + (0x0100000000000000 | len(content)).to_bytes(8) + content


def _number(identity: int, value: int) -> bytes:
    return _element(identity, value.to_bytes(max(1, (value.bit_length() + 7) // 8)))
