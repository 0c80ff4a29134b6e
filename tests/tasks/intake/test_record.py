"""A path in what is written of a capture leads nowhere but to the take's own files."""

import json
from pathlib import Path

import pytest

from tasks.errors import DamagedData
from tasks.intake.record import read_capture


def media(**other):
    row = {"device": "cam_top", "role": "camera", "path": "data/raw/one/cam_top.mp4", "sha256": "0", "size": 1}
    return row | {"state": "used", "kind": "", "reason": "", "facts": {"duration_s": 2.0}, "flags": ["silent"]} | other


def write(folder, rows, **other):
    (folder / "one").mkdir(exist_ok=True)
    row = {"take": "one", "kind": "capture", "duration_s": 2.0, "master": None, "notes": "recorded", "cameras": {}}
    row |= {"instrument": {"name": "none", "notes": []}, "media": rows} | other
    (folder / "one" / "take.json").write_text(json.dumps(row))


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../x",
        "data/raw/one/../two/cam.mp4",
        "data/raw/../one/x",
        "data/raw/two/cam_top.mp4",
        "data/raw/one/inner/cam_top.mp4",
        "data/raw/one",
        "data/rendered/one/x",
        "./data/raw/one/x",
        "data//raw/one/x",
        "data/raw/one/a\nb",
        "data/raw/one/..",
        "",
    ],
)
def test_a_file_lies_in_the_takes_own_folder(tmp_path, path):
    write(tmp_path, [media(path=path)])
    with pytest.raises(DamagedData, match=r"take\.json names .*, expected a file in data/raw/one") as refused:
        read_capture("one", tmp_path)
    assert "\n" not in str(refused.value)


def test_the_takes_own_files_are_read_back_with_where_they_are(tmp_path):
    paths = ["data/raw/one/cam_top.mp4", "data/filmed/one/cam_top.mp4"]
    for path in paths:
        write(
            tmp_path, [media(path=path), media(device="cam_side", state="refused", path="data/raw/one/x", facts=None)]
        )
        [device] = read_capture("one", tmp_path).devices
        assert (device.name, device.path) == ("cam_top", Path(path))


def test_the_instruments_place_in_a_picture_is_read_back(tmp_path):
    corners = [[1, 2], [3, 2], [3.5, 4], [1, 4]]
    write(tmp_path, [media()], cameras={"cam_top": {"crop": [0, 0, 4, 4], "corners": corners}})
    [device] = read_capture("one", tmp_path).devices
    assert device.crop == (0, 0, 4, 4)
    assert device.corners == ((1, 2), (3, 2), (3.5, 4), (1, 4))
    write(tmp_path, [media()], cameras={"cam_top": {"crop": None, "corners": corners[:3]}})
    with pytest.raises(DamagedData, match="3 corners, expected 4"):
        read_capture("one", tmp_path)
    write(tmp_path, [media()])
    assert read_capture("one", tmp_path).devices[0].corners is None
