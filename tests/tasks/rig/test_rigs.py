"""Rigs: drawn from a seed, written down whole, with the difficulties that were asked for."""

from fractions import Fraction

import numpy as np
import pytest
import yaml

from tasks.rig.rigs import VIEWS, Rig, instrument_corners

SEEDS = range(12)


def test_the_same_seed_draws_the_same_rig_and_another_one_another(draw_rig):
    assert draw_rig(5) == draw_rig(5)
    assert len({draw_rig(seed).model_dump_json() for seed in SEEDS}) == len(SEEDS)


@pytest.mark.parametrize("instrument", ["marimba-18", "piano"])
def test_a_rig_is_read_back_from_its_yaml(draw_rig, instrument):
    for seed in SEEDS:
        rig = draw_rig(seed, instrument=instrument)
        assert Rig.parse(yaml.safe_load(yaml.safe_dump(rig.model_dump(mode="json"))), "rig") == rig


@pytest.mark.parametrize("instrument", ["marimba-18", "piano"])
def test_a_view_that_is_held_out_is_in_every_test_take_and_in_no_other(draw_rig, instrument):
    for seed in SEEDS:
        assert "side_left" in {camera.name for camera in draw_rig(seed, instrument=instrument, is_test=True).cameras}
        assert "side_left" not in {camera.name for camera in draw_rig(seed, instrument=instrument).cameras}


@pytest.mark.parametrize("instrument", ["marimba-18", "piano"])
def test_the_view_that_is_held_out_is_far_from_every_other(instrument):
    held_out = np.array(VIEWS[instrument]["side_left"])
    for name, place in VIEWS[instrument].items():
        if name != "side_left":
            angle = np.arccos(held_out @ place / np.linalg.norm(held_out) / np.linalg.norm(place))
            assert np.degrees(angle) > 30, name


@pytest.mark.parametrize("instrument", ["marimba-18", "piano"])
def test_every_camera_sees_the_whole_instrument_and_fills_its_picture_with_it(draw_rig, instrument):
    for seed in SEEDS:
        for camera in draw_rig(seed, instrument=instrument, is_test=True).cameras:
            pixels = camera.camera().project(instrument_corners(instrument))
            assert (pixels >= 0).all(), camera.name
            assert (pixels <= (camera.width - 1, camera.height - 1)).all(), camera.name
            share = np.ptp(pixels, axis=0) / (camera.width, camera.height)
            assert share.max() > 0.7, camera.name


def test_traits_are_there_when_asked_for_and_only_then(draw_rig):
    for seed in SEEDS:
        plain = draw_rig(seed).cameras
        assert all(camera.sound and not camera.is_variable for camera in plain)
        assert not any(camera.clock.dropped or camera.clock.wander for camera in plain)
        assert [camera.sound for camera in draw_rig(seed, trait="silent camera").cameras].count(None) == 1
        lost = [camera.clock.dropped for camera in draw_rig(seed, trait="lost block").cameras if camera.clock.dropped]
        assert len(lost) == 1
        assert 10 < lost[0][0].at_s < 20
        assert 0.2 <= lost[0][0].length_s <= 0.4
        phones = [camera for camera in draw_rig(seed, trait="variable rate").cameras if camera.is_variable]
        assert [camera.frame_rate for camera in phones] == [Fraction(30)]
        assert sum(bool(camera.clock.wander) for camera in draw_rig(seed, trait="wandering clock").cameras) == 1


def test_devices_start_and_drift_within_the_params(draw_rig):
    for seed in SEEDS:
        rig = draw_rig(seed)
        for device in (*rig.cameras, *rig.microphones):
            assert -1.0 <= device.clock.start_s <= 0.5
            assert abs(device.clock.drift_ppm) <= 100
        if rig.notes:
            assert rig.notes.start_s <= 0


def test_microphones_are_inside_the_room(draw_rig):
    for seed in SEEDS:
        rig = draw_rig(seed)
        for device in (*rig.cameras, *rig.microphones):
            room = rig.surroundings.room(device.position_cm)
            assert all(0 < place < size for place, size in zip(room.microphone_m, room.size_m, strict=True))
