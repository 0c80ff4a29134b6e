"""The players of an ensemble, and the notes of each."""

from pathlib import Path

import numpy as np
import pytest

from tasks.instruments.midi import MidiPolicy
from tasks.instruments.midi_writer import write_tracks
from tasks.instruments.notes import sorted_notes
from tasks.intake.describe import PlayerEntry, TakeFile
from tasks.kinds.ensembles.players import (
    PlayersError,
    notes_of_players,
    plan_players,
    read_note_list,
)

POLICY = MidiPolicy(max_bytes=10**6, max_duration_s=600, max_notes=10_000, hanging="close", overlap="cut", channels=16)


def planned(*names, **described):
    files = [Path("data/raw/t") / name for name in names]
    return plan_players(files, TakeFile.model_validate(described), where="data/raw/t")


def listed(*names, **described):
    return [(plan.instrument, plan.stem, plan.camera) for plan in planned(*names, **described)]


def test_players_stand_in_the_order_of_their_numbers():
    assert listed("cam_p2.mp4", "mix.wav", "stem_10_vc.wav", "stem_1_vn.wav", "stem_2_vn.wav") == [
        ("vn", "stem_1_vn", None),
        ("vn", "stem_2_vn", "cam_p2"),
        ("vc", "stem_10_vc", None),
    ]


def test_stems_without_numbers_stand_in_the_order_of_their_names():
    assert listed("stem_vocals.mp3", "stem_drums.mp3") == [
        ("drums", "stem_drums", None),
        ("vocals", "stem_vocals", None),
    ]


def test_two_stems_of_one_instrument_are_two_players():
    plans = planned("AuSep_1_vn_03_Dance.wav", "AuSep_2_vn_03_Dance.wav", "Vid_03_Dance_vn_vn.mp4")
    assert [(plan.instrument, plan.sound.path.name) for plan in plans] == [
        ("vn", "AuSep_1_vn_03_Dance.wav"),
        ("vn", "AuSep_2_vn_03_Dance.wav"),
    ]


def test_urmps_lists_of_notes_go_to_their_players():
    plans = planned("AuSep_1_vn_1_J.wav", "AuSep_2_vc_1_J.wav", "Notes_2_vc_1_J.txt")
    assert [plan.notes and plan.notes.name for plan in plans] == [None, "Notes_2_vc_1_J.txt"]


def test_a_file_of_stems_holds_four_behind_the_mix():
    plans = planned("A - B.stem.mp4")
    assert [(plan.instrument, plan.sound.stream) for plan in plans] == [
        ("drums", 1), ("bass", 2), ("other", 3), ("vocals", 4)
    ]  # fmt: skip


def test_a_solo_is_an_ensemble_of_one():
    assert listed("solo_vc.mp4") == [("vc", "solo_vc", "solo_vc")]
    player = {"instrument": "cello", "stem": "cam_main", "camera": "cam_main"}
    assert listed("cam_main.mp4", players=[player]) == [("vc", "cam_main", "cam_main")]


def test_take_yaml_lists_the_players_in_its_own_order():
    players = [
        {"instrument": "viola", "stem": "stem_2_vn"},
        {"instrument": "vn", "stem": "stem_1_vn", "camera": "cam_left"},
    ]
    assert listed("stem_1_vn.wav", "stem_2_vn.wav", "cam_left.mp4", players=players) == [
        ("va", "stem_2_vn", None),
        ("vn", "stem_1_vn", "cam_left"),
    ]


def entry(stem, camera=None):
    return {"instrument": "vn", "stem": stem, "camera": camera}


@pytest.mark.parametrize(
    ("names", "players", "kind", "message"),
    [
        (["stem_3.wav"], [], "NO_INSTRUMENT", "stem_3.wav names no instrument, expected stem_3_CODE, or players in"),
        (["mix.wav"], [], "NO_PLAYERS", "holds no stem that can be used"),
        (["stem_1_vn.wav"], [entry("stem_2_vn")], "MISSING", "names stem_2_vn of player 1, but no stem_2_vn"),
        (["stem_1_vn.wav"], [entry("stem_1_vn", "cam_x")], "MISSING", "names cam_x of player 1, but no cam_x"),
        (["stem_1_vn.wav", "stem_2_vn.wav"], [entry("stem_1_vn")], "UNNAMED", "holds stem_2_vn, which take.yaml gives"),
        (["stem_1_vn.wav"], [entry("stem_1_vn"), entry("stem_1_vn")], "TWICE", "gives stem_1_vn to two players"),
        (["cam_a.mp4", "cam_b.mp4"], [entry("cam_a"), entry("cam_b")], "TWO_CLOCKS", "is in cam_a, which has a clock"),
    ],
)
def test_players_that_cannot_be_are_one_clear_line(names, players, kind, message):
    with pytest.raises(PlayersError, match=message) as error:
        planned(*names, players=players)
    assert error.value.kind == kind
    assert "\n" not in str(error.value)


def test_a_player_of_take_yaml_names_devices():
    with pytest.raises(ValueError, match="stem"):
        PlayerEntry(instrument="vn", stem="../other/x")


def notes_at(*onsets, pitch=60):
    onset_s = np.array(onsets, np.float64)
    return sorted_notes(
        onset_s, onset_s + 0.5, np.full(len(onset_s), pitch, np.uint8), np.full(len(onset_s), 80, np.uint8)
    )


def score(tmp_path):
    path = tmp_path / "score.mid"
    write_tracks(
        path, [("violin 1", 40, notes_at(0.5, 1.5)), ("cello", 42, notes_at(1.0)), ("violin 2", 40, notes_at(3.0))]
    )
    return path


def test_each_track_goes_to_the_next_player_of_its_instrument(tmp_path):
    plans = planned("stem_1_vn.wav", "stem_2_vn.wav", "stem_3_vc.wav", "stem_4_fl.wav")
    found = notes_of_players(plans, score(tmp_path), POLICY, recorded=True)
    onsets = [None if notes is None else np.round(notes.onset_s, 2).tolist() for notes in found]
    assert onsets == [[0.5, 1.5], [3.0], [1.0], None]


def test_a_score_that_was_not_recorded_gives_no_times(tmp_path):
    plans = planned("stem_1_vn.wav")
    assert notes_of_players(plans, score(tmp_path), POLICY, recorded=False) == [None]


def test_a_list_of_notes_is_onset_frequency_and_duration(tmp_path):
    path = tmp_path / "Notes_1_vn_1_J.txt"
    path.write_text("0.250\t440.0\t0.5\n\n1.0  659.3  0.25\n0.1 27.5 2.0\n")
    notes = read_note_list(path)
    assert notes.onset_s.tolist() == [0.1, 0.25, 1.0]
    assert notes.offset_s.tolist() == [2.1, 0.75, 1.25]
    assert notes.pitch.tolist() == [21, 69, 76]


@pytest.mark.parametrize("line", ["0.5 440", "a b c", "0.5 440 nan", "-1 440 1", "0.5 0 1", "0.5 440 0"])
def test_a_list_that_holds_something_else_is_refused_with_its_line(tmp_path, line):
    path = tmp_path / "Notes_1_vn_1_J.txt"
    path.write_text(f"0.250 440.0 0.5\n{line}\n")
    with pytest.raises(PlayersError, match=r"line 2.*expected onset, Hz and duration") as error:
        read_note_list(path)
    assert error.value.kind == "BAD_NOTES"
