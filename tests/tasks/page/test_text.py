import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from tasks.page.text import clock, number, signed, visible


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Für Elise – ♯♭ 月光", "Für Elise – ♯♭ 月光"),
        ("a\x00b\x1b[2Jc\x7fd", r"a\x00b\x1b[2Jc\x7fd"),
        ("two\nlines\tand\rmore", r"two\x0alines\x09and\x0dmore"),
        ("c1 \x9b control", r"c1 \x9b control"),
        (b"not \xff\xfe utf-8".decode("utf-8", "surrogateescape"), r"not \xff\xfe utf-8"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        ("zero\u200bwidth", r"zero\u200bwidth"),
        ("tag \U000e0041", r"tag \U000e0041"),
        ("", ""),
    ],
)
def test_what_cannot_be_seen_is_written_as_its_code(name, shown):
    assert visible(name) == shown


@given(st.text(st.characters(codec=None)))
def test_what_is_shown_can_be_printed_and_stored(name):
    shown = visible(name)
    assert isinstance(shown, str)
    assert shown.isprintable()
    shown.encode("utf-8")


@pytest.mark.parametrize("value", [3, 2.5, None, Markup("<b>\n</b>")])
def test_numbers_and_markup_pass(value):
    assert visible(value) is value


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [
        (1234.567, 1, "1,234.6"),
        (-0.5, 2, "−0.50"),
        (-0.001, 2, "0.00"),
        (math.nan, 2, "–"),
        (math.inf, 2, "–"),
        (None, 2, "–"),
    ],
)
def test_number(value, digits, shown):
    assert number(value, digits) == shown


@pytest.mark.parametrize(("value", "shown"), [(0.5, "+0.5"), (-0.5, "−0.5"), (0.01, "0.0"), (-0.01, "0.0")])
def test_a_difference_has_a_sign_unless_it_is_none(value, shown):
    assert signed(value, 1) == shown


@pytest.mark.parametrize(("duration_s", "shown"), [(0.4, "0:00"), (65, "1:05"), (59.6, "1:00"), (7384, "2:03:04")])
def test_clock(duration_s, shown):
    assert clock(duration_s) == shown
