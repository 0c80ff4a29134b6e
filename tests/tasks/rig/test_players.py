"""Players in a camera's picture: recognized by their instruments, distinguished by what they play."""

import numpy as np
import pytest

from tasks.instruments.notes import sorted_notes
from tasks.instruments.orchestra import ORCHESTRA, SLOTS
from tasks.rig.drawing import Drawing, backdrop, pictures_of
from tasks.rig.moves import moves_of
from tasks.rig.players import shapes_of

ONSET_S = np.array([2.0, 2.5, 3.0, 3.5, 8.0, 8.5])


def notes_of(pitches, velocity=90, length_s=0.4):
    n = len(pitches)
    return sorted_notes(ONSET_S[:n], ONSET_S[:n] + length_s, np.array(pitches), np.full(n, velocity))


def film(code, notes, *, seed=3, n=None, time_s=None):
    time_s = np.arange(n or 100) / 25 if time_s is None else time_s
    shapes = shapes_of(code, moves_of(notes, code, time_s, seed=seed), seed=7)
    drawing = Drawing([(shapes, np.tile([48.0, 7.0], (len(time_s), 1)), 80.0, 1.0)])
    return np.stack(list(pictures_of(drawing, backdrop(96, 96, seed=1), len(time_s), noise=0.0, jitter=0.0, seed=2)))


NOTES = {code: notes_of([ORCHESTRA[code].lowest + step for step in (5, 12, 7, 14, 9, 6)]) for code in SLOTS}


def test_who_plays_nothing_is_drawn():
    for code in SLOTS:
        assert film(code, notes_of([]), n=2).shape == (2, 96, 96)


@pytest.mark.parametrize("code", SLOTS)
def test_there_is_more_movement_around_onsets_than_in_a_rest(code):
    near, far = 0.0, 0.0
    for seed in range(4):  # somebody may fidget in one
        pictures = film(code, NOTES[code], seed=seed, n=220).astype(np.int16)
        change = np.abs(np.diff(pictures, axis=0)).mean(axis=(1, 2))
        near += change[np.concatenate([np.arange(-1, 3) + round(onset * 25) for onset in ONSET_S])].mean()
        far += change[np.arange(120, 170)].mean()
    assert near > 2 * far


def test_every_instrument_looks_different():
    notes = notes_of([60])
    time_s = np.array([2.1])
    looks = {code: film(code, notes, time_s=time_s)[0].astype(float) for code in SLOTS}
    codes = list(looks)
    for place, one in enumerate(codes):
        for other in codes[:place]:
            assert np.abs(looks[one] - looks[other]).mean() > 1.0, (one, other)


def test_two_players_of_one_instrument_look_alike_but_for_what_they_play():
    one, other = (film("vn", notes_of(pitches), n=80) for pitches in ([60, 70, 64, 77], [88, 60, 79, 62]))
    np.testing.assert_array_equal(one[20], other[20])  # both rest
    assert (one[55] != other[55]).any()


def test_boxes_hold_all_that_is_drawn():
    time_s = np.arange(60) / 25 + 1.5
    for code in SLOTS:
        shapes = shapes_of(code, moves_of(NOTES[code], code, time_s, seed=3), seed=7)
        drawing = Drawing([(shapes, np.tile([60.0, 12.0], (60, 1)), 80.0, 1.0)])
        for number in (0, 30, 59):
            picture = np.zeros((120, 130), np.uint8)
            drawing.draw(picture, number)
            rows, columns = np.nonzero(picture > 8)
            left, top, right, bottom = drawing.boxes[0][number]
            assert left - 1.5 <= columns.min() <= columns.max() <= right + 1.5, code
            assert top - 1.5 <= rows.min() <= rows.max() <= bottom + 1.5, code


def test_noise_follows_from_its_seed_alone():
    time_s = np.arange(3) / 25
    shapes = shapes_of("fl", moves_of(NOTES["fl"], "fl", time_s, seed=3), seed=7)
    drawing = Drawing([(shapes, np.tile([48.0, 7.0], (3, 1)), 80.0, 1.0)])
    one, same, other = (
        np.stack(list(pictures_of(drawing, backdrop(96, 96, seed=1), 3, noise=2.0, jitter=0.0, seed=seed)))
        for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(one, same)
    clean = np.stack(list(pictures_of(drawing, backdrop(96, 96, seed=1), 3, noise=0.0, jitter=0.0, seed=5)))
    assert (one - clean.astype(float)).std() == pytest.approx(2.0, rel=0.1)
    assert (one != other).any()


def test_a_camera_that_trembles_moves_the_whole_picture_a_little():
    n = 200
    time_s = np.zeros(n)
    shapes = shapes_of("fl", moves_of(notes_of([]), "fl", time_s, seed=3), seed=7)
    drawing = Drawing([(shapes, np.tile([48.0, 7.0], (n, 1)), 80.0, 1.0)])
    wall = backdrop(96, 96, seed=1)
    still, moved = (
        np.stack(list(pictures_of(drawing, wall, n, noise=0.0, jitter=jitter, seed=5))).astype(float)
        for jitter in (0.0, 0.5)
    )
    np.testing.assert_array_equal(still[1:], still[:-1])
    slope_y, slope_x = np.gradient(still[0])
    inner = (slice(4, -4), slice(4, -4))
    slopes = np.stack([slope_x[inner].ravel(), slope_y[inner].ravel()], axis=1)
    away = np.stack([np.linalg.lstsq(slopes, (still[0] - each)[inner].ravel(), rcond=None)[0] for each in moved])
    assert away.std(axis=0) == pytest.approx([0.5, 0.5], rel=0.35)
    assert np.corrcoef(away[1:, 0], away[:-1, 0])[0, 1] > 0.7  # slowly
