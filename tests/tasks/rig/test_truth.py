"""The truth of a filmed take, as a measurement should find it."""

import json

import numpy as np
import pytest

from tasks.errors import DamagedData
from tasks.rig.truth import read_truth


def written(folder, **devices):
    truth = {
        name: {
            "clock": {"start_s": start_s, "drift_ppm": drift_ppm, "wander": None, "dropped": []},
            "acoustic_delay_s": flight_s,
            "duration_s": 30.0,
            "defect": "none",
        }
        for name, (start_s, drift_ppm, flight_s) in devices.items()
    }
    (folder / "truth.json").write_text(json.dumps({"devices": truth, "notes": [[1.0, 1.5, 70, 90]], "duration_s": 31}))
    return read_truth(folder)


def test_a_device_that_starts_later_is_that_much_later_on_the_master(tmp_path):
    truth = written(tmp_path, cam_a=(1.5, 0.0, 0.002), mic_b=(-0.5, 0.0, 0.005))
    assert truth.master_time("cam_a", "mic_b", 0.0, by="sound") == pytest.approx(2.0 + 0.003)
    assert truth.master_time("cam_a", "mic_b", 0.0, by="picture") == pytest.approx(2.0 + 0.005)
    assert truth.master_time("mic_b", "mic_b", 7.0, by="sound") == pytest.approx(7.0)


def test_drift_is_the_difference_of_both_clocks(tmp_path):
    truth = written(tmp_path, cam_a=(0.0, 100.0, 0.0), mic_b=(0.0, -50.0, 0.0))
    times = truth.master_time("cam_a", "mic_b", [0.0, 10.0], by="sound")
    assert np.diff(times) == pytest.approx(10.0015, abs=1e-6)


def test_there_and_back_again_is_the_identity(tmp_path):
    truth = written(tmp_path, cam_a=(0.3, 80.0, 0.004), mic_b=(-1.2, -50.0, 0.001))
    time_s = np.linspace(0, 30, 50)
    there = truth.master_time("cam_a", "mic_b", time_s, by="sound")
    np.testing.assert_allclose(truth.master_time("mic_b", "cam_a", there, by="sound"), time_s, atol=1e-12)


@pytest.mark.parametrize("text", [None, "[]", "{}", '{"devices": {"a": {}}, "notes": []}'])
def test_what_is_no_truth_is_damaged_data(tmp_path, text):
    if text is not None:
        (tmp_path / "truth.json").write_text(text)
    with pytest.raises(DamagedData, match=r"truth\.json"):
        read_truth(tmp_path)
