"""Words and numbers as a page shows them: nothing in a name can hide, move or run."""

import math

from markupsafe import Markup

NO_VALUE = "–"


def visible(text: object) -> object:
    r"""Write each character that a reader could not see as its code; numbers and markup pass unchanged.

    A control character becomes ``\x07``. So does a byte of a file name that was no UTF-8 and that Python
    keeps as a lone surrogate. Others, such as those that turn the direction of writing, become ``\u202e``.
    """
    if not isinstance(text, str) or isinstance(text, Markup):
        return text
    return "".join(sign if sign.isprintable() else _code(ord(sign)) for sign in text)


def _code(point: int) -> str:
    if 0xDC80 <= point <= 0xDCFF:  # surrogateescape: the byte is the low one
        return f"\\x{point - 0xDC00:02x}"
    if point <= 0xFF:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"


def number(value: float | None, digits: int) -> str:
    """Write a figure with a true minus sign; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return NO_VALUE
    # Adding zero makes -0.0 positive: nothing is called "−0.00".
    return f"{round(value, digits) + 0.0:,.{digits}f}".replace("-", "−")


def signed(value: float, digits: int) -> str:
    """Write a difference, always with its sign, except for 0."""
    shown = number(value, digits)
    return f"+{shown}" if round(value, digits) > 0 else shown


def clock(duration_s: float) -> str:
    """Write a duration as minutes and seconds, ``1:05``, or hours, ``2:03:04``."""
    minutes, seconds = divmod(round(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
