"""What the files of an ensemble are, by their names."""

import pytest

from tasks.intake.folder import FolderSize, device_of, look_into, role_of
from tasks.intake.layouts import ensemble_file

SIZE = FolderSize(score=1000, media=1000, devices=64)


@pytest.mark.parametrize(
    ("name", "role", "device", "number", "instrument"),
    [
        ("stem_1_vn.wav", "stem", "stem_1_vn", 1, "vn"),
        ("stem_12_tba.FLAC", "stem", "stem_12_tba", 12, "tba"),
        ("stem_drums.mp3", "stem", "stem_drums", None, "drums"),
        ("stem_lead_guitar.wav", "stem", "stem_lead_guitar", None, "lead_guitar"),
        ("stem_3.wav", "stem", "stem_3", 3, None),
        ("mix.wav", "mix", "mix", None, None),
        ("AuSep_2_vc_01_Jupiter.wav", "stem", "stem_2_vc", 2, "vc"),
        ("AuMix_01_Jupiter_vn_vc.wav", "mix", "mix", None, None),
        ("Vid_01_Jupiter_vn_vc.mp4", "view", "cam_all", None, None),
        ("Notes_1_vn_01_Jupiter.txt", "notes", "notes_1_vn", 1, "vn"),
        ("F0s_1_vn_01_Jupiter.txt", "beside", "F0s_1_vn_01_Jupiter.txt", None, None),
        ("Al James - Schoolboy Facination.stem.mp4", "stems", "stems", None, None),
        ("solo_vc.mp4", "solo", "solo_vc", None, "vc"),
        ("solo_tbn_etude-3.mkv", "solo", "solo_tbn_etude-3", None, "tbn"),
    ],
)
def test_a_name_gives_what_a_file_is(name, role, device, number, instrument):
    found = ensemble_file(name)
    assert (found.role, found.device, found.number, found.instrument) == (role, device, number, instrument)


@pytest.mark.parametrize("name", ["stem_.wav", "stem_1_vn.txt", "mixed.wav", "AuSep_vn.wav", "take.yaml", "x.mp4"])
def test_other_names_give_nothing(name):
    assert ensemble_file(name) is None


def folder_of(tmp_path, *names):
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    return look_into(tmp_path, SIZE)


def test_a_folder_with_stems_is_an_ensembles(tmp_path):
    found = folder_of(tmp_path, "stem_1_vn.wav", "stem_2_vn.wav", "mix.wav", "cam_p1.mp4", "score.mid", "take.yaml")
    assert found.is_ensemble
    assert [path.name for path in found.devices] == ["cam_p1.mp4", "mix.wav", "stem_1_vn.wav", "stem_2_vn.wav"]
    assert found.refused == ()


def test_without_stems_a_mix_is_no_recording(tmp_path):
    found = folder_of(tmp_path, "mix.wav", "cam_top.mp4", "Vid_x.mp4")
    assert not found.is_ensemble
    assert [path.name for path in found.devices] == ["cam_top.mp4"]
    assert [row.kind for row in found.refused] == ["BAD_NAME", "BAD_NAME"]


def test_urmps_files_have_their_roles(tmp_path):
    names = ["AuMix_1_J_vn_vc.wav", "AuSep_1_vn_1_J.wav", "AuSep_2_vc_1_J.wav", "Vid_1_J_vn_vc.mp4", "Sco_1_J.mid"]
    names += ["Notes_1_vn_1_J.txt", "Notes_2_vc_1_J.txt", "F0s_1_vn_1_J.txt", "Sco_1_J_vn_vc.pdf"]
    found = folder_of(tmp_path, *names)
    assert (found.is_ensemble, found.refused) == (True, ())
    assert [device_of(path.name, in_ensemble=True) for path in found.devices] == [
        "mix", "stem_1_vn", "stem_2_vc", "cam_all"
    ]  # fmt: skip
    assert [path.name for path in found.notes] == ["Notes_1_vn_1_J.txt", "Notes_2_vc_1_J.txt"]
    assert found.score.name == "Sco_1_J.mid"
    assert role_of("Vid_1_J_vn_vc.mp4", in_ensemble=True) == "camera"


def test_two_solos_in_one_folder_have_no_common_clock(tmp_path):
    found = folder_of(tmp_path, "solo_vc.mp4", "solo_vn.mp4")
    assert [path.name for path in found.devices] == ["solo_vc.mp4"]
    assert [(row.kind, row.role) for row in found.refused] == [("TWO_CLOCKS", "camera")]
    assert "expected one solo a take" in found.refused[0].reason


def test_one_stem_in_two_files_is_named(tmp_path):
    found = folder_of(tmp_path, "stem_1_vn.flac", "stem_1_vn.wav")
    assert [(row.kind, row.device) for row in found.refused] == [("NAME_TAKEN", "stem_1_vn")]
    assert "stem_1_vn.wav stands beside stem_1_vn.flac" in found.refused[0].reason
