"""Ensembles on disk: players, their sounds, videos and notes, and a split that no piece crosses."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tasks.errors import DamagedData
from tasks.store.arrays import write_arrays
from tasks.store.ensembles import EnsembleSet, note_roll, slots
from tasks.store.segments import segment_rows, write_segments

RATE, N_FRAMES, N_MOTION = 800, 50, 3


def store(folder: Path, takes: dict[str, dict]) -> Path:
    """Store ensembles of 2 s as the chunk stage does; each gives what differs from the others."""
    index, segments = {}, []
    for name, changes in takes.items():
        about = {"piece": name, "part": "train", "instruments": ["vn", "vn"], "videos": [1, 2], "rate": RATE} | changes
        arrays = {"mix": np.full((1, 2 * RATE), 3 * 4096, np.int16)}
        for number in range(1, len(about["instruments"]) + 1):
            arrays[f"stem_{number}"] = np.full((1, 2 * RATE), number * 4096, np.int16)
            if number in about["videos"]:
                arrays[f"motion_{number}"] = np.full((N_FRAMES, N_MOTION), number, np.float32)
                arrays[f"pictures_{number}"] = np.full((N_FRAMES, 48, 48), number, np.uint8)
            if "notes" in about:
                arrays[f"notes_{number}"] = about["notes"]
        write_arrays(
            folder / name / "arrays.zarr",
            arrays,
            chunk_lengths=dict.fromkeys(arrays, 64),
            attributes={
                "instruments": about["instruments"],
                "frame_rate": "25",
                "duration_s": 2.0,
                "stem_rate": about["rate"],
                "n_channels": 1,
                "n_frames": N_FRAMES,
                "n_motion": N_MOTION,
            },
        )
        index[name] = {"piece": about["piece"], "part": about["part"], "digest": name, "duration_s": 2.0}
        segments += segment_rows(name, about["piece"], about["part"], name, 2 * RATE, length=RATE, hop=RATE)
    (folder / "takes.json").write_text(json.dumps(index))
    write_segments(folder / "segments.parquet", segments)
    return folder


@pytest.fixture
def data(tmp_path):
    notes = np.array([[0.5, 0.7, 60, 100], [1.0, 1.5, 62, 50]])
    return EnsembleSet(
        store(
            tmp_path,
            {
                "duet": {"notes": notes},
                "trio": {"part": "test", "instruments": ["fl", "vn", "vc"], "videos": [1, 3]},
            },
        )
    )


def test_a_set_says_what_its_takes_share(data):
    assert (data.sample_rate, data.n_channels, data.frame_rate, data.n_motion) == (RATE, 1, Fraction(25), N_MOTION)
    assert (data.takes("train"), data.takes("test")) == (["duet"], ["trio"])
    assert (data.piece("trio"), data.duration_s("trio")) == ("trio", 2.0)
    assert [(row.take, row.start_sample) for row in data.segments("test")] == [("trio", 0), ("trio", RATE)]


def test_two_players_of_one_instrument_are_two(data):
    assert data.instruments("duet") == ("vn", "vn")
    stems = data.stems("duet")
    assert (stems.shape, stems.dtype) == ((2, 1, 2 * RATE), np.float32)
    assert (stems[0] == 0.125).all()
    assert (stems[1] == 0.25).all()


def test_the_mix_is_on_the_stems_scale(data):
    np.testing.assert_array_equal(data.mix("duet"), data.stems("duet").sum(axis=0))


def test_a_player_nobody_sees_has_zeros_and_his_place(data):
    assert data.has_video("trio") == (True, False, True)
    assert data.motion("trio").shape == (3, N_FRAMES, N_MOTION)
    assert data.motion("trio")[:, 0, 0].tolist() == [1, 0, 3]
    assert data.pictures("trio").shape == (3, N_FRAMES, 48, 48)
    assert data.pictures("trio")[:, 7, 5, 5].tolist() == [1, 0, 3]


def test_rolls_hold_the_velocity_of_what_sounds(data):
    rolls = data.rolls("duet")
    assert (rolls.shape, rolls.dtype) == ((2, N_FRAMES, 128), np.uint8)
    # 0.5 s to 0.7 s at 25 pictures a second: 12.5 to 17.5
    assert np.flatnonzero(rolls[0, :, 60]).tolist() == [12, 13, 14, 15, 16, 17]
    assert np.flatnonzero(rolls[1, :, 62]).tolist() == list(range(25, 38))
    assert set(np.unique(rolls)) == {0, 50, 100}


def test_without_notes_a_roll_is_zeros(data):
    assert data.notes("trio") == (None, None, None)
    assert data.rolls("trio").shape == (3, N_FRAMES, 128)
    assert not data.rolls("trio").any()


@pytest.mark.parametrize(
    ("onset_s", "offset_s", "frames"),
    [(0.12, 0.16, [3]), (0.0, 0.001, [0]), (0.3, 0.3, [7]), (-0.1, 0.05, [0, 1]), (0.36, 9.0, [9])],
)
def test_a_frame_shows_a_note_that_sounds_during_it(onset_s, offset_s, frames):
    roll = note_roll(np.array([[onset_s, offset_s, 60, 1]]), n_frames=10, frame_rate=Fraction(25))
    assert np.flatnonzero(roll[:, 60]).tolist() == frames


def test_of_two_notes_of_one_pitch_the_louder_is_in_the_roll():
    notes = np.array([[0.0, 0.2, 60, 90], [0.1, 0.3, 60, 40]])
    assert note_roll(notes, n_frames=8, frame_rate=Fraction(20))[:, 60].tolist() == [90, 90, 90, 90, 40, 40, 0, 0]


def test_two_stems_of_one_instrument_are_added_in_its_slot():
    sounds = np.array([[1.0, 2.0], [10.0, 20.0], [0.5, 0.5]], np.float32)
    slotted = slots(sounds, ("vn", "vn", "cl"), ("cl", "fl", "vn"))
    np.testing.assert_array_equal(slotted, np.array([[0.5, 0.5], [0, 0], [11, 22]], np.float32))


def test_the_slots_hold_all_that_the_players_play(data):
    stems = data.stems("trio")
    slotted = slots(stems, data.instruments("trio"), ("fl", "vc", "vn"))
    np.testing.assert_allclose(slotted.sum(axis=0), stems.sum(axis=0))


def test_an_instrument_without_a_slot_is_refused():
    with pytest.raises(ValueError, match="'kazoo' has no slot, expected one of cl, vn"):
        slots(np.zeros((1, 4)), ("kazoo",), ("cl", "vn"))
    with pytest.raises(ValueError, match="2 rows of 1 players"):
        slots(np.zeros((2, 4)), ("cl",), ("cl", "vn"))


def test_parts_that_share_a_piece_are_refused(tmp_path):
    store(tmp_path, {"one": {"piece": "aria"}})
    index = json.loads((tmp_path / "takes.json").read_text())
    index["one"]["part"] = "test"
    (tmp_path / "takes.json").write_text(json.dumps(index))
    with pytest.raises(DamagedData, match="take one of piece aria in train"):
        EnsembleSet(tmp_path)


def test_takes_at_different_rates_are_refused(tmp_path):
    store(tmp_path, {"one": {}, "two": {"rate": 400}})
    with pytest.raises(DamagedData, match="take two has stem_rate 400, expected 800 as one"):
        EnsembleSet(tmp_path)


def test_a_set_without_takes_is_refused(tmp_path):
    with pytest.raises(DamagedData, match="has no ensembles"):
        EnsembleSet(store(tmp_path, {}))


def test_a_take_that_nobody_knows_is_refused(data):
    with pytest.raises(DamagedData, match="has no take solo"):
        data.stems("solo")
