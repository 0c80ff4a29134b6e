"""Players detected and tracked in the video of one camera."""

from fractions import Fraction
from functools import lru_cache

import cv2
import numpy as np
import pytest

from tasks.features.players import PlayersNotFound, find_players
from tasks.instruments.notes import sorted_notes
from tasks.instruments.orchestra import ORCHESTRA
from tasks.rig.drawing import backdrop, pictures_of
from tasks.rig.ensembles import ensemble_rig_of, view_of_all
from tasks.rig.rigs import RigParams

PARAMS = RigParams(
    sizes=((160, 90),),
    frame_rates=(Fraction(25),),
    n_cameras=1,
    n_microphones=1,
    views_held_out=(),
    max_early_s=0.8,
    max_late_s=0.4,
    max_drift_ppm=100.0,
    t60_s=(0.2, 0.3),
    max_wander_s=0.005,
    lost_s=(0.2, 0.4),
)
N_PICTURES = 300
TIME_S = np.arange(N_PICTURES) / 25


def part(code, rng):
    """Return 12 s of notes with a rest of about three seconds."""
    onset_s = np.cumsum(rng.uniform(0.25, 0.7, 24)) + 0.5
    onset_s[9:] += 3.0
    onset_s = onset_s[onset_s < 11.5]
    pitch = rng.integers(ORCHESTRA[code].lowest, ORCHESTRA[code].highest, len(onset_s))
    return sorted_notes(onset_s, onset_s + 0.22, pitch, rng.integers(50, 110, len(onset_s)))


@lru_cache
def film(codes, seed):
    """Return a film of these players, and their boxes (K, T, 4)."""
    rng = np.random.default_rng(seed)
    rig = ensemble_rig_of(seed, instruments=codes, params=PARAMS, max_gain_db=0.0)
    drawing = view_of_all(rig, [part(code, rng) for code in codes], TIME_S)
    wall = backdrop(rig.camera.width, rig.camera.height, seed=seed)
    pictures = np.stack(
        list(pictures_of(drawing, wall, N_PICTURES, noise=rig.camera.noise, jitter=rig.camera.jitter, seed=seed))
    )
    return pictures, np.stack(drawing.boxes)


def reach(boxes):
    """Return what boxes (T, 4) cover together."""
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def iou(one, other):
    across = min(one[2], other[2]) - max(one[0], other[0])
    upright = min(one[3], other[3]) - max(one[1], other[1])
    both = max(across, 0) * max(upright, 0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return both / (areas - both)


ENSEMBLES = [
    ("vn", "vc"),
    ("fl", "fl"),
    ("tpt", "hn", "tbn"),
    ("vn", "vn", "va", "vc"),
    ("fl", "ob", "cl", "hn", "bn"),
    ("cl", "sax", "tpt", "tbn", "tba", "db"),
    ("ob", "cl", "hn", "sax", "vn", "va", "db"),
]


@pytest.mark.parametrize("codes", ENSEMBLES, ids="-".join)
def test_every_player_is_found_where_he_is_in_the_order_of_the_seats(codes):
    pictures, truth = film(codes, 1)
    found = find_players(pictures, len(codes))
    assert found.shape == truth.shape
    overlaps = [iou(reach(box), reach(reference)) for box, reference in zip(found, truth, strict=True)]
    assert min(overlaps) > 0.5
    assert np.mean(overlaps) > 0.65


@pytest.mark.parametrize("codes", ENSEMBLES[:5], ids="-".join)
def test_their_number_need_not_be_known(codes):
    pictures, _ = film(codes, 1)
    assert len(find_players(pictures, None)) == len(codes)


def test_an_empty_stage_has_no_players():
    rng = np.random.default_rng(0)
    wall = backdrop(480, 160, seed=2).astype(float)
    pictures = np.clip(wall + rng.normal(0, 2, (120, 160, 480)), 0, 255).astype(np.uint8)
    assert find_players(pictures, None).shape == (0, 120, 4)
    with pytest.raises(PlayersNotFound, match=r"^0 players detected, 2 requested$") as error:
        find_players(pictures, 2)
    assert error.value.kind == "PLAYERS_NOT_FOUND"


def test_more_players_than_there_are_cannot_be_found():
    pictures, _ = film(("vn", "vc"), 1)
    with pytest.raises(PlayersNotFound, match="players detected, 7 requested"):
        find_players(pictures, 7)


def test_those_who_move_most_are_detected_when_fewer_are_requested_than_there_are():
    pictures, _ = film(("vn", "vc"), 1)
    both = find_players(pictures, 2)
    (one,) = find_players(pictures, 1)
    assert any(np.allclose(one, each) for each in both)


def test_two_that_touch_are_cut_apart_between_them():
    pictures, _ = film(("vn", "vc"), 1)
    left = pictures[:, :, :240]
    touching = np.concatenate([left[:, :, 60:210], left[:, :, 60:210]], axis=2)  # the same person twice, close by
    touching[:, 80:83, 120:180] += (np.arange(N_PICTURES) % 3 * 20).astype(np.uint8)[:, None, None]
    found = find_players(touching, 2)
    middles = (found[:, :, 0] + found[:, :, 2]).mean(axis=1) / 2
    assert middles[0] < 150 < middles[1]
    assert abs((middles[1] - middles[0]) - 150) < 25


def test_a_player_who_moves_their_chair_is_tracked():
    pictures, _ = film(("ob", "cl"), 4)
    shifted = pictures.copy()
    for number in range(150, N_PICTURES):
        shifted[number] = cv2.warpAffine(
            pictures[number], np.float32([[1, 0, 9], [0, 1, 0]]), None, borderMode=cv2.BORDER_REPLICATE
        )
    before, after = (find_players(each, 2) for each in (pictures, shifted))
    for still, moved in zip(before, after, strict=True):
        change = (moved[260, 0] - moved[40, 0]) - (still[260, 0] - still[40, 0])
        assert change == pytest.approx(9, abs=2)


def test_the_same_film_gives_the_same_boxes_at_twice_the_size():
    pictures, _ = film(("tpt", "hn", "tbn"), 2)
    large = np.stack([cv2.resize(each, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR) for each in pictures[:200]])
    one, twice = find_players(pictures[:200], 3), find_players(large, 3)
    assert np.abs(twice / 2 - one).mean() < 4


@pytest.mark.parametrize("shape", [(0, 10, 10), (10, 10)])
def test_what_is_no_film_is_refused(shape):
    with pytest.raises(ValueError, match="expected"):
        find_players(np.zeros(shape, np.uint8), None)
