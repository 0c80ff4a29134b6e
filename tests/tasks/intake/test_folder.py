"""A take's folder, by names and metadata alone."""

import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.intake.folder import BESIDE, FolderError, FolderSize, look_into, role_of, shown

SIZE = FolderSize(score=100, media=1000, devices=64)


def put(folder, *names, size=10):
    for name in names:
        (folder / name).write_bytes(b"." * size)


def test_cameras_microphones_a_score_and_a_take_file_are_distinguished(tmp_path):
    put(tmp_path, "cam_top.mp4", "cam_side-2.MOV", "mic_room.wav", "x.MID", "take.yaml", ".DS_Store", *BESIDE)
    found = look_into(tmp_path, SIZE)
    assert [path.name for path in found.devices] == ["cam_side-2.MOV", "cam_top.mp4", "mic_room.wav"]
    assert (found.score.name, found.take_file.name, found.refused) == ("x.MID", "take.yaml", ())
    assert found.is_capture
    assert [path.name for path in found.files] == [
        "cam_side-2.MOV",
        "cam_top.mp4",
        "mic_room.wav",
        "take.yaml",
        "x.MID",
    ]


@pytest.mark.parametrize(
    ("names", "device", "kind"),
    [
        (["cam_a.mp4", "cam_a.mov"], "cam_a", "NAME_TAKEN"),
        (["cam_a.mp4", "x.mid", "y.mid"], "y", "TWO_SCORES"),
        (["cam_a.mp4", "room.wav"], "room", "BAD_NAME"),
        (["cam_a.mp4", "cam_b.mp4.part"], "cam_b.mp4", "BAD_NAME"),
        (["cam_a.mp4", "cam_.mp4"], "cam_", "BAD_NAME"),
        (["cam_a.mp4", "cam_b"], "cam_b", "BAD_NAME"),
    ],
)
def test_what_does_not_fit_is_refused_by_itself(tmp_path, names, device, kind):
    put(tmp_path, *names)
    found = look_into(tmp_path, SIZE)
    assert [(row.device, row.kind) for row in found.refused] == [(device, kind)]
    assert len(found.files) == len(names) - 1


@pytest.mark.timeout(20)
def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "cam_a.mp4")
    (tmp_path / "cam_b.mp4").symlink_to("/etc/passwd")
    (tmp_path / "cam_c.mp4").mkdir()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(tmp_path / "cam_d.mp4"))
        found = look_into(tmp_path, SIZE)
    assert found.devices == ()
    assert found.is_capture
    assert [(row.device, row.kind) for row in found.refused] == [(f"cam_{letter}", "NOT_A_FILE") for letter in "abcd"]


def test_a_file_that_is_too_large_is_refused_unread(tmp_path):
    put(tmp_path, "cam_a.mp4", size=1001)
    put(tmp_path, "x.mid", size=101)
    assert [(row.kind, row.role) for row in look_into(tmp_path, SIZE).refused] == [
        ("TOO_LARGE", "camera"),
        ("TOO_LARGE", "score"),
    ]


@pytest.fixture
def nobody():
    """Be a user who may not read what others keep to themselves."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


def test_what_may_not_be_read_is_named(tmp_path, request):
    for parent in (tmp_path, *tmp_path.parents[:3]):
        parent.chmod(0o755)
    put(tmp_path, "cam_a.mp4", "cam_b.mp4")
    (tmp_path / "cam_a.mp4").chmod(0)
    (tmp_path / "inner").mkdir(mode=0)
    request.getfixturevalue("nobody")
    found = look_into(tmp_path, SIZE)
    assert [(row.device, row.kind) for row in found.refused] == [("cam_a", "UNREADABLE"), ("inner", "NOT_A_FILE")]
    assert [path.name for path in found.devices] == ["cam_b.mp4"]
    with pytest.raises(FolderError, match="inner cannot be listed: Permission denied"):
        look_into(tmp_path / "inner", SIZE)


def test_a_take_file_that_is_a_link_is_not_followed(tmp_path):
    put(tmp_path, "cam_a.mp4")
    (tmp_path / "take.yaml").symlink_to("/etc/passwd")
    with pytest.raises(FolderError, match=r"take\.yaml is a link, expected a regular file") as refused:
        look_into(tmp_path, SIZE)
    assert refused.value.kind == "BAD_TAKE_FILE"


@given(st.text(max_size=12).filter(lambda name: "\0" not in name and "/" not in name))
def test_any_name_has_a_role_and_can_be_shown(name):
    assert role_of(name) in ("camera", "microphone", "score", "other")
    assert shown(name).isprintable()
