"""The rig around an ensemble: drawn from a seed, within the params, players where the picture has room for them."""

import json
from fractions import Fraction

import numpy as np
import pytest

from tasks.instruments.notes import sorted_notes
from tasks.instruments.orchestra import SLOTS
from tasks.rig.ensembles import EnsembleRig, ensemble_rig_of, own_view, view_of_all
from tasks.rig.microphone import room_response
from tasks.rig.rigs import RigParams

PARAMS = RigParams(
    sizes=((160, 90),),
    frame_rates=(Fraction(24), Fraction(30000, 1001), Fraction(50)),
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
NOTES = sorted_notes(np.array([1.0, 2.0]), np.array([1.5, 2.5]), np.array([60, 62]), np.array([80, 90]))
TIME_S = np.arange(100) / 25


def rig_of(seed, n_players):
    return ensemble_rig_of(seed, instruments=SLOTS[:n_players], params=PARAMS, max_gain_db=4.0)


def test_a_rig_follows_from_its_seed_and_is_read_back_from_what_is_written():
    rig = rig_of(3, 5)
    assert rig_of(3, 5) == rig
    assert rig_of(4, 5) != rig
    assert EnsembleRig.parse(json.loads(json.dumps(rig.model_dump(mode="json"))), "rig") == rig


@pytest.mark.parametrize("n_players", range(1, 8))
def test_what_is_drawn_keeps_to_the_params(n_players):
    for seed in range(20):
        rig = rig_of(seed, n_players)
        assert [seat.instrument for seat in rig.seats] == list(SLOTS[:n_players])
        assert all(abs(seat.gain_db) <= 4 for seat in rig.seats)
        assert rig.recorder.drift_ppm == 0
        assert rig.recorder.start_s < -0.5
        assert -0.8 <= rig.camera.clock.start_s <= 0.4
        assert abs(rig.camera.clock.drift_ppm) <= 100
        assert rig.camera.frame_rate in (Fraction(24), Fraction(30000, 1001))
        for place in (rig.camera.position_cm, *(seat.microphone_cm for seat in rig.seats)):
            room_response(rig.surroundings.room(place), sample_rate=8000)  # stands in the room


@pytest.mark.parametrize("n_players", range(1, 8))
def test_players_sit_in_their_order_row_by_row_and_do_not_hide_each_other(n_players):
    for seed in range(10):
        rig = rig_of(seed, n_players)
        drawing = view_of_all(rig, [NOTES] * n_players, TIME_S)
        places = [(round(seat.all_origin[1] / rig.camera.height), seat.all_origin[0]) for seat in rig.seats]
        assert places == sorted(places)
        for first, one in enumerate(drawing.boxes):
            middle = (one[:, :2] + one[:, 2:]) / 2
            assert (middle > 0).all()
            assert (middle < (rig.camera.width, rig.camera.height)).all()
            for other in drawing.boxes[:first]:
                across = np.minimum(one[:, 2], other[:, 2]) - np.maximum(one[:, 0], other[:, 0])
                upright = np.minimum(one[:, 3], other[:, 3]) - np.maximum(one[:, 1], other[:, 1])
                hidden = np.clip(across, 0, None) * np.clip(upright, 0, None)
                assert (hidden < 0.2 * (one[:, 2] - one[:, 0]) * (one[:, 3] - one[:, 1])).all()


def test_a_players_own_camera_sees_all_of_him():
    for number, _ in enumerate(SLOTS[:7]):
        (box,) = own_view(rig_of(1, 7), number, NOTES, TIME_S).boxes
        assert box.min() >= -4
        assert box.max() <= 100
