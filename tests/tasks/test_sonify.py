"""Files of note amplitudes become sound."""

import json
import sys
from fractions import Fraction

import numpy as np
import pytest
import scipy.io
import soundfile

from flows.cli import main
from tasks.features.amplitudes import note_amplitudes, note_frequencies_hz
from tasks.instruments.marimba import MARIMBA_18
from tasks.sonify import AmplitudeError, pitches_named, read_amplitudes, sonify_file
from tasks.sound.additive import MARIMBA_PARTIALS, render_additive
from tasks.store.arrays import write_arrays
from tasks.store.tables import write_table

PAL = Fraction(25)
PITCHES = (66, 70, 75)


@pytest.fixture
def values():
    """Three notes that are struck in turn, 50 rows."""
    found = np.zeros((50, 3))
    for stroke, row in enumerate(range(5, 50, 8)):
        fall = 0.02 * np.exp(-np.arange(50 - row) / 6)
        found[row:, stroke % 3] = np.maximum(found[row:, stroke % 3], fall)
    return found


def write(path, values, pitches=PITCHES):
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".mat":
        scipy.io.savemat(path, {"audio_vectors": values.T, "note_freq": np.zeros((3, 1))})
    elif path.suffix == ".zarr":
        attributes = {"pitches": list(pitches), "frame_rate": "25"}
        write_arrays(path, {"amplitudes": values}, chunk_lengths={"amplitudes": 25}, attributes=attributes)
    else:
        columns = {"time_s": np.arange(len(values)) / 25}
        write_table(path, columns | {str(pitch): values[:, note] for note, pitch in enumerate(pitches)})
    return path


@pytest.mark.parametrize("name", ["a.parquet", "a.npy", "a.mat", "arrays.zarr"])
def test_every_kind_of_file_gives_the_same_amplitudes(tmp_path, values, name):
    found = read_amplitudes(write(tmp_path / name, values), pitches=PITCHES)
    np.testing.assert_array_equal(found.values, values)
    assert found.pitches == PITCHES
    assert found.frame_rate == (PAL if name == "arrays.zarr" else None)


def test_a_table_of_lists_names_its_pitches_and_frame_rate_in_its_footer(tmp_path, values):
    facts = {"pitches": str(list(PITCHES)), "frame_rate": "30000/1001"}
    write_table(tmp_path / "a.parquet", {"amplitudes": values}, metadata=facts)
    found = read_amplitudes(tmp_path / "a.parquet")
    np.testing.assert_array_equal(found.values, values)
    assert (found.pitches, found.frame_rate) == (PITCHES, Fraction(30000, 1001))


@pytest.mark.parametrize(("n_notes", "lowest"), [(18, 66), (88, 21)])
@pytest.mark.parametrize("turned", [False, True])
def test_rows_and_columns_are_told_apart_by_the_number_of_notes(tmp_path, n_notes, lowest, turned):
    values = np.random.default_rng(0).uniform(0, 0.02, (30, n_notes))
    np.save(tmp_path / "a.npy", values.T if turned else values)
    found = read_amplitudes(tmp_path / "a.npy")
    np.testing.assert_array_equal(found.values, values)
    assert (len(found.pitches), found.pitches[0]) == (n_notes, lowest)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@pytest.mark.parametrize("options", [{}, {"fit_window": True}, {"partials": MARIMBA_PARTIALS}])
def test_the_file_holds_what_the_function_below_it_plays(tmp_path, values, suffix, options):
    done = sonify_file(write(tmp_path / "a.parquet", values), tmp_path / f"a{suffix}", sample_rate=22_050, **options)
    audio, sample_rate = soundfile.read(tmp_path / f"a{suffix}", dtype="float32")
    below = render_additive(values, PITCHES, frame_rate=PAL, sample_rate=22_050, peak_limit=0.999, **options)
    np.testing.assert_allclose(audio, below, atol=1 / 32768)
    assert (sample_rate, done.sample_rate, done.n_rows, done.pitches) == (22_050, 22_050, 50, PITCHES)
    assert done.duration_s == pytest.approx(52 / 25)


def test_a_sound_that_is_too_loud_is_made_softer_and_says_by_how_much(tmp_path, values):
    done = sonify_file(write(tmp_path / "a.parquet", values * 10), tmp_path / "a.wav", sample_rate=22_050)
    audio, _ = soundfile.read(tmp_path / "a.wav")
    assert np.abs(audio).max() == pytest.approx(0.999, abs=1e-4)
    assert done.peak > 2
    assert done.gain_db == pytest.approx(20 * np.log10(0.999 / done.peak))


def bank_file(path, values, sample_rate=22_050):
    sound = render_additive(values, PITCHES, frame_rate=PAL, sample_rate=sample_rate)
    soundfile.write(path, sound, sample_rate, subtype="FLOAT")
    return sound


def test_the_nearest_grains_of_a_recording_are_the_recording(tmp_path, values):
    (tmp_path / "bank").mkdir()
    sound = bank_file(tmp_path / "bank" / "take.wav", values)
    measured = note_amplitudes(
        sound, sample_rate=22_050, frame_rate=PAL, frequency_hz=note_frequencies_hz(PITCHES), n_frames=52
    )
    path = write(tmp_path / "a.parquet", measured)
    sonify_file(path, tmp_path / "a.wav", method="nearest", bank=[tmp_path / "bank"], sample_rate=22_050)
    audio, _ = soundfile.read(tmp_path / "a.wav")
    np.testing.assert_allclose(audio[1400:-1400], sound[1400:-1400], atol=1 / 16384)


def chunked(path, values, **facts):
    sound = render_additive(values, PITCHES, frame_rate=PAL, sample_rate=22_050)
    arrays = {"amplitudes": values.astype(np.float32), "sound": np.rint(sound * 32767).astype(np.int16)}
    path.parent.mkdir(parents=True)
    write_arrays(
        path,
        arrays,
        chunk_lengths={"amplitudes": 25, "sound": 22_050},
        attributes={"pitches": list(PITCHES), "frame_rate": "25", "sound_rate": 22_050} | facts,
    )
    return sound


def test_chunked_captures_are_a_bank_and_those_of_other_notes_are_left_out(tmp_path, values):
    sound = chunked(tmp_path / "captures" / "one" / "arrays.zarr", values)
    chunked(tmp_path / "captures" / "two" / "arrays.zarr", values, pitches=[60, 61, 62])
    path = write(tmp_path / "a.parquet", values)
    sonify_file(path, tmp_path / "a.wav", method="nearest", bank=[tmp_path / "captures"], sample_rate=22_050)
    audio, _ = soundfile.read(tmp_path / "a.wav")
    np.testing.assert_allclose(audio[1400:-1400], sound[1400:-1400], atol=1 / 8192)


def refused(tmp_path, name="a.npy", out="a.wav", **options):
    with pytest.raises(AmplitudeError) as error:
        sonify_file(tmp_path / name, tmp_path / out, **options)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "a.wav").exists()
    return error.value.kind, str(error.value)


def test_what_cannot_be_played_is_refused_with_its_reason(tmp_path, values):
    kind, said = refused(tmp_path, "none.npy")
    assert (kind, "is missing" in said) == ("MISSING", True)
    (tmp_path / "a.csv").write_text("1,2\n")
    assert refused(tmp_path, "a.csv")[0] == "FORMAT"
    assert refused(tmp_path, out="a.mp3")[0] == "FORMAT"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY nonsense")
    assert refused(tmp_path)[0] == "UNREADABLE"
    (tmp_path / "a.mat").write_bytes(b"nonsense" * 40)
    assert refused(tmp_path, "a.mat")[0] == "UNREADABLE"
    np.save(tmp_path / "a.npy", np.zeros((40, 7)))
    kind, said = refused(tmp_path)
    assert (kind, "40 by 7: name its pitches" in said) == ("PITCHES", True)
    kind, said = refused(tmp_path, pitches=PITCHES)
    assert (kind, "40 by 7, expected 3 notes one way" in said) == ("SHAPE", True)
    np.save(tmp_path / "a.npy", np.zeros((3, 3)))
    assert "cannot be told apart" in refused(tmp_path, pitches=PITCHES)[1]
    np.save(tmp_path / "a.npy", np.zeros((0, 3)))
    assert refused(tmp_path, pitches=PITCHES)[0] == "EMPTY"
    np.save(tmp_path / "a.npy", np.zeros((3, 4, 5)))
    assert refused(tmp_path, pitches=PITCHES)[0] == "SHAPE"
    broken = values.copy()
    broken[7, 1] = np.nan
    np.save(tmp_path / "a.npy", broken)
    kind, said = refused(tmp_path, pitches=PITCHES)
    assert (kind, "pitch 70 in row 7 of 50 is nan" in said) == ("VALUE", True)
    np.save(tmp_path / "a.npy", values - 1)
    assert "expected a number of at least 0" in refused(tmp_path, pitches=PITCHES)[1]
    np.save(tmp_path / "a.npy", values)
    kind, said = refused(tmp_path, pitches=(66, 70, 120), sample_rate=16_000)
    assert (kind, "8000 Hz, found pitch 120 (8372 Hz)" in said) == ("ABOVE_NYQUIST", True)


def test_a_pickled_array_is_never_opened(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}, 1], object), allow_pickle=True)
    assert refused(tmp_path)[0] == "UNREADABLE"


def test_tables_and_matrices_that_leave_it_open_are_refused(tmp_path, values):
    write_table(tmp_path / "a.parquet", {"time_s": np.zeros(3)})
    assert refused(tmp_path, "a.parquet")[0] == "PITCHES"
    write_table(tmp_path / "b.parquet", {"66": np.zeros(3), "p66": np.zeros(3)})
    assert "two columns are of one pitch" in refused(tmp_path, "b.parquet")[1]
    write(tmp_path / "c.parquet", values)
    assert "requested were 18 from 66 to 106" in refused(tmp_path, "c.parquet", pitches=MARIMBA_18)[1]
    write_table(tmp_path / "d.parquet", {"66": ["loud", "soft"]})
    assert "column 66 holds no numbers" in refused(tmp_path, "d.parquet")[1]
    scipy.io.savemat(tmp_path / "a.mat", {"a": np.zeros((3, 9)), "b": np.zeros((3, 8))})
    assert "found a (3, 9), b (3, 8)" in refused(tmp_path, "a.mat")[1]
    (tmp_path / "b.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(116) + b"\0" * 8 + b"\0\2IM" + b"\0" * 400)
    assert "save it with '-v7'" in refused(tmp_path, "b.mat")[1]


def test_a_bank_that_does_not_fit_is_refused(tmp_path, values):
    path = write(tmp_path / "a.parquet", values).name
    (tmp_path / "bank").mkdir()
    asked = {"method": "nearest", "bank": [tmp_path / "bank"], "sample_rate": 22_050}
    assert refused(tmp_path, path, **asked)[0] == "BANK"
    assert "none was named" in refused(tmp_path, path, method="nearest")[1]
    assert "is missing" in refused(tmp_path, path, method="nearest", bank=[tmp_path / "none"])[1]
    bank_file(tmp_path / "bank" / "take.wav", values, sample_rate=16_000)
    kind, said = refused(tmp_path, path, **asked)
    assert (kind, "has 16000 Hz, expected the sound's 22050" in said) == ("BANK", True)
    chunked(tmp_path / "stored" / "arrays.zarr", values, frame_rate="30")
    assert (
        "frames a second are 30, expected 25" in refused(tmp_path, path, **asked | {"bank": [tmp_path / "stored"]})[1]
    )


def test_pitches_are_named_by_instrument_or_one_by_one():
    assert pitches_named("marimba-18") == MARIMBA_18
    assert pitches_named("piano") == tuple(range(21, 109))
    assert pitches_named("66,70,75") == PITCHES
    for wrong in ("kazoo", "66,", "66,66", "128", "-1"):
        with pytest.raises(ValueError, match="expected"):
            pitches_named(wrong)


@pytest.fixture
def audiate(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["audiate", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as leaving:
            code = leaving.code
        return code, *capsys.readouterr()

    return run


def test_the_command_plays_what_the_function_plays(audiate, tmp_path, values):
    path = write(tmp_path / "a.parquet", values)
    asked = ("--sample-rate", 22_050, "--fit-window", "--partials", "marimba", "--json")
    code, out, _ = audiate("sonify", path, "-o", tmp_path / "b.wav", *asked)
    assert code == 0
    told = json.loads(out)
    assert (told["n_rows"], told["pitches"], told["frame_rate"]) == (50, list(PITCHES), "25")
    sonify_file(path, tmp_path / "c.wav", sample_rate=22_050, fit_window=True, partials=MARIMBA_PARTIALS)
    assert (tmp_path / "b.wav").read_bytes() == (tmp_path / "c.wav").read_bytes()


def test_without_a_name_the_sound_goes_here_under_the_files_or_the_takes(audiate, tmp_path, values, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert audiate("sonify", write(tmp_path / "a.parquet", values))[:2] == (
        0,
        "wrote a.wav: 2.1 s, 3 notes, additive\n",
    )
    (tmp_path / "take").mkdir()
    write(tmp_path / "take" / "arrays.zarr", values)
    said = "wrote take.wav: 2.1 s, 3 notes, additive\n"
    assert audiate("sonify", tmp_path / "take")[:2] == (0, said)
    assert audiate("sonify", tmp_path / "take" / "arrays.zarr")[:2] == (0, said)
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == ["a.wav", "take.wav"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--method", "magic"), "'magic', expected one of additive, nearest"),
        (("--partials", "bell"), "'bell', expected one of none, marimba"),
        (("--pitches", "kazoo"), "'kazoo', expected marimba-18, piano"),
        (("--frame-rate", "0"), "'0', expected a number above 0"),
        (("--frame-rate", "1/0"), "'1/0', expected a number above 0"),
        (("--method", "nearest"), "nearest needs one"),
        (("--bank", "."), "additive has no use for one"),
    ],
)
def test_wrong_use_of_the_command_is_exit_code_2(audiate, tmp_path, values, options, reason):
    code, _, error = audiate("sonify", write(tmp_path / "a.parquet", values), *options)
    assert code == 2
    assert reason in " ".join(error.split())


def test_a_file_that_cannot_be_played_is_one_line_and_exit_code_1(audiate, tmp_path):
    code, out, error = audiate("sonify", tmp_path / "none.mat")
    assert (code, out) == (1, "")
    assert error == f"audiate: {tmp_path / 'none.mat'}: No such file or directory\n"


def test_headers_that_claim_more_than_the_file_has_are_refused_in_one_line(tmp_path):
    header = {"descr": "<f8", "fortran_order": False, "shape": (10**13, 18)}
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(800))
    scipy.io.savemat(tmp_path / "a.mat", {"audio_vectors": np.zeros((18, 40))})
    content = (tmp_path / "a.mat").read_bytes()
    sizes = np.array([18, 40], "<i4").tobytes()
    assert content.count(sizes) == 1
    (tmp_path / "a.mat").write_bytes(content.replace(sizes, np.array([18, 2**30], "<i4").tobytes()))
    for name, said in (
        ("a.npy", "cannot be read as a NumPy array of its"),
        ("a.mat", "claims 18 by 1073741824 values"),
    ):
        with pytest.raises(AmplitudeError, match=said) as caught:
            read_amplitudes(tmp_path / name)
        assert caught.value.kind == "UNREADABLE"
        assert "\n" not in str(caught.value)


def test_only_the_matrix_of_a_matlab_file_is_read_whatever_lies_beside_it(tmp_path, values):
    others = {
        "audio_vectors": values.T,
        "note_freq": np.zeros((3, 1)),
        "words": "text",
        "cells": np.array([1.0, "a"], object),
    }
    scipy.io.savemat(tmp_path / "a.mat", others, do_compression=True)
    np.testing.assert_array_equal(read_amplitudes(tmp_path / "a.mat", pitches=PITCHES).values, values)
