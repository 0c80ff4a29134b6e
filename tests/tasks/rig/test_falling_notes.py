"""Tutorial films: keys are lit while their notes sound, bars meet them at the onset and part where they touch."""

from dataclasses import replace

import numpy as np
import pytest

from tasks.instruments.keyboard import LOWEST_PITCH
from tasks.instruments.notes import sorted_notes
from tasks.rig.falling_notes import Banner, FallingNotes, Look

LOOK = Look(
    width=640,
    height=360,
    keys=(0, 87),
    left=0.0,
    top=280,
    bottom=360,
    fall_s=2.0,
    hues=((255.0, 160.0, 60.0), (90.0, 220.0, 110.0)),
    split=60,
    background=(30.0, 30.0, 30.0),
    gap=3.0,
    names=False,
    glow=False,
    white=(240.0, 240.0, 240.0),
    black_length=0.62,
    intro_s=0.0,
    banner=None,
)
C4 = 60 - LOWEST_PITCH


def notes_of(*rows):
    onset_s, offset_s, pitch = np.array(rows).T
    return sorted_notes(onset_s, offset_s, pitch.astype(int), np.full(len(rows), 80))


def front_of(look, key, picture):
    left, right = look.edges[key]
    return picture[look.bottom - 25, round((left + right) / 2)].astype(int)


@pytest.mark.parametrize(("time_s", "is_lit"), [(0.98, False), (1.0, True), (1.48, True), (1.5, False)])
def test_a_key_is_lit_from_its_onset_to_its_offset(time_s, is_lit):
    film = FallingNotes(LOOK, notes_of((1.0, 1.5, 60), (3.0, 3.5, 61)), end_s=4.0)
    colour = front_of(LOOK, C4, film.picture(time_s))
    np.testing.assert_allclose(colour, LOOK.hues[1] if is_lit else LOOK.white, atol=1)


def test_a_bar_meets_the_keyboard_at_its_onset():
    film = FallingNotes(LOOK, notes_of((1.0, 1.5, 60)), end_s=4.0)
    left, right = LOOK.edges[C4]
    for ahead_s in (0.5, 0.25, 0.0):
        column = film.picture(1.0 - ahead_s)[: LOOK.top - 2, round((left + right) / 2), 1].astype(int)
        lowest = np.flatnonzero(column > 90).max()
        assert lowest == pytest.approx(min(LOOK.top - ahead_s / LOOK.fall_s * LOOK.top, LOOK.top - 2), abs=2)


def test_touching_bars_of_one_key_have_a_gap_and_the_key_stays_lit():
    film = FallingNotes(LOOK, notes_of((1.0, 1.5, 60), (1.5, 2.0, 60)), end_s=4.0)
    left, right = LOOK.edges[C4]
    column = film.picture(0.9)[: LOOK.top - 2, round((left + right) / 2), 1].astype(int)
    bars = np.flatnonzero(column > 90)
    gaps = np.diff(bars)
    assert (gaps > 1).sum() == 1
    assert LOOK.gap - 1 <= gaps.max() <= LOOK.gap + 3
    for time_s in (1.49, 1.5, 1.51):
        np.testing.assert_allclose(front_of(LOOK, C4, film.picture(time_s)), LOOK.hues[1], atol=1)


def test_a_black_key_is_drawn_over_its_lit_neighbour():
    film = FallingNotes(LOOK, notes_of((1.0, 1.5, 60)), end_s=4.0)
    left, right = LOOK.edges[C4 + 1]
    assert film.picture(1.2)[LOOK.top + 10, round((left + right) / 2)].max() < 60


def test_the_corners_are_where_the_keys_begin():
    look = replace(LOOK, left=40.0, keys=(15, 75), bottom=350)
    picture = FallingNotes(look, notes_of((1.0, 1.5, 60)), end_s=4.0).picture(0.0)
    bright = np.flatnonzero(picture[look.top + 60].max(axis=-1) > 200)
    np.testing.assert_allclose(look.corners()[[0, 1], 0], [bright.min() - 0.5, bright.max() + 1.5], atol=1)
    assert look.white_px == pytest.approx(560 / 36)


def test_a_title_hides_the_keyboard_a_banner_a_part_of_it_and_both_are_told():
    look = replace(LOOK, intro_s=1.0, banner=Banner(start_s=2.0, end_s=3.0, left=0.25, width=0.25))
    film = FallingNotes(look, notes_of((3.5, 3.8, 60)), end_s=4.0)
    assert film.hidden_s() == [(0.0, 1.5), (2.0, 3.0)]
    assert film.picture(0.5)[look.top + 60 :].max() == 0
    shown, covered = film.picture(1.9).astype(int), film.picture(2.5).astype(int)
    changed = np.flatnonzero(np.abs(covered - shown)[look.top + 5].max(axis=-1) > 30)
    assert 155 <= changed.min() < changed.max() <= 325
