"""audiate in Python: three lines that work, and the arrays that they promise."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import audiate
from tasks.errors import DamagedData, ParamsError

PROJECT = Path(__file__).resolve().parents[1]
CODE_RATE, FRAME_RATE, LENGTH_S = 100, 25, 2  # of the fixture `data_sets`
WIDTH, HEIGHT = 40, 40


@pytest.fixture
def project(data_sets):
    return data_sets.folder


def test_a_captures_stacks_are_the_pictures_that_its_amplitudes_were_measured_in(project):
    examples = audiate.dataset("captures", "train", cameras="cam_a")
    assert (len(examples), examples.takes) == (6, ["one", "two"])
    second = examples[1]
    n_windows, first = LENGTH_S * FRAME_RATE - 2, LENGTH_S * FRAME_RATE
    assert (second["take"], second["camera"]) == ("one", "cam_a")
    assert second["pictures"].shape == (n_windows, 3, HEIGHT, WIDTH)
    window = first + np.arange(n_windows)
    np.testing.assert_array_equal(second["amplitudes"][:, 0], window)
    np.testing.assert_array_equal(second["pictures"][:, :, 0, 0], window[:, None] + np.arange(3))


def test_batches_are_shuffled_by_their_seed_in_training_alone(project):
    def order(part, seed):
        batches = audiate.loader("captures", part, batch_size=2, seed=seed)
        return [name for batch in batches for name in batch["segment_id"]]

    assert order("train", 1) == order("train", 1) != order("train", 2)
    assert order("validation", 1) == order("validation", 2)
    assert not {*order("train", 1)} & {*order("validation", 1)}


def test_a_scores_pictures_are_those_that_are_shown(project):
    batch = next(iter(audiate.loader("scores", "test", batch_size=3, picture_rate=2)))
    assert tuple(batch["codes"].shape) == (3, LENGTH_S * CODE_RATE)
    np.testing.assert_array_equal(batch["pictures"][:, :, 0, 0], [[0, 0, 1, 1], [1] * 4, [1, 2, 2, 2]])
    np.testing.assert_array_equal(batch["codes"].flatten(), np.arange(600).astype(np.uint8))


def test_an_ensembles_stems_make_its_mix_and_players_of_several_numbers_stay_a_list(project):
    batch = next(iter(audiate.loader("ensembles", "train", batch_size=3, n_players=3)))
    assert batch["instruments"] == ["vn vc fl"] * 3
    assert tuple(batch["stems"].shape) == (3, 3, 1, 400)
    np.testing.assert_allclose(batch["stems"].sum(1), batch["mix"])
    np.testing.assert_array_equal(batch["motion"][0, :, 0, 0], [0, 1, 2])
    mixed = next(iter(audiate.loader("ensembles", "train", batch_size=6)))
    assert sorted(stems.shape[0] for stems in mixed["stems"]) == [2, 2, 2, 3, 3, 3]
    assert tuple(mixed["mix"].shape) == (6, 1, 400)


def test_what_cannot_be_opened_is_said(data_sets, tmp_path):
    instruments = ("piano", "marimba-18")
    data_sets.write("more/captures", {"p": "train", "m": "train"}, lambda n: data_sets.capture(n, instruments[n]))
    (tmp_path / "other/data").mkdir(parents=True)
    (tmp_path / "data/chunked/more").rename(tmp_path / "other/data/chunked")
    with pytest.raises(ParamsError, match="several instruments: instrument=, one of marimba-18, piano"):
        audiate.dataset("captures", "train", project="other")
    assert len(audiate.dataset("captures", "train", project="other", instrument="piano")) == 6
    with pytest.raises(DamagedData, match=r"takes.json is missing"):
        audiate.dataset("scores", "train", project="other")
    with pytest.raises(ValueError, match="kind 'films', expected one of scores, captures, ensembles"):
        audiate.dataset("films", "train")


def test_a_strangers_network_learns_in_the_lines_of_the_page(project):
    (code,) = re.findall(r"```python\n(.*?)```", (PROJECT / "docs/own-network.md").read_text(), re.DOTALL)
    assert len(code.strip().splitlines()) <= 40
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 30
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    losses = [float(line.split()[-1]) for line in done.stdout.splitlines()]
    assert len(losses) == 3
    assert losses[-1] < losses[0]


def test_notes_and_clocks_are_those_of_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rate, rng = 16_000, np.random.default_rng(3)
    sound = np.zeros(20 * rate)
    for start in np.cumsum(rng.integers(2000, 8000, 60)):
        tone = np.exp(-np.arange(rate) / 2000) * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
        sound[start : start + rate] += 0.2 * tone[: max(0, len(sound) - start)]
    soundfile.write("a.wav", sound, rate)
    soundfile.write("b.wav", sound[rate // 4 :], rate)
    fit = audiate.clock("a.wav", "b.wav")
    assert fit.verdict == "locked"
    assert fit.delay_s == pytest.approx(0.25, abs=1e-4)
    assert set(audiate.notes("a.wav").pitch) == {69}


def test_importing_it_imports_nothing_heavy():
    ask = "import sys, audiate; print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "zarr", "pyarrow", "scipy", "librosa", "prefect", "dvc"} & {*said}
