"""DeepSynth's adapter on a few seconds of music."""

import json
import math
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from models.deepsynth import DeepSynth, DeepSynthConfig
from tasks.errors import DamagedData, ParamsError
from tasks.families import load_family
from tasks.families.base import Film
from tasks.families.deepsynth import (
    BLIND,
    SYSTEM,
    DeepSynthFamily,
    DeepSynthParams,
    half_square_sum,
    learning_rate_factor,
    measure_nats,
)
from tasks.families.trained import load_trained, save_trained
from tasks.instruments.keyboard import draw_keyboard

PARAMS = DeepSynthParams(
    n_layers=6,
    n_channels=16,
    n_features=16,
    frame_encoder="strip",
    frame_widths=(),
    video_rate="picture",
    n_changes=4,
    subtract_rest=True,
    video_to_output=True,
    video_gain=4.0,
    smooth_init=True,
    n_steps=4,
    steps_per_epoch=2,
    batch_size=2,
    crop_s=0.25,
    learning_rate=8e-3,
    final_learning_rate=1e-3,
    n_decays=7,
    n_warmup_steps=1,
    clip_norm=10.0,
    l2=1e-6,
    n_validation_segments=2,
    precision="32-true",
    n_threads=1,
    seed=0,
    temperature=1.0,
    kernel="compiled",
    n_streams=1,
    generation_precision="float32",
)
PAPER = PARAMS.model_copy(
    update={"learning_rate": 1e-3, "final_learning_rate": 1e-6, "n_decays": 7, "n_steps": 160_000, "n_warmup_steps": 0}
)


def fit(music, out, resume, params=PARAMS):
    return music.fit(DeepSynthFamily(), out, resume, params)


@pytest.fixture(scope="module")
def trained(music, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    fit(music, folder / "out", folder / "resume")
    return folder / "out"


def sounds(trained, films):
    found = DeepSynthFamily().perform(trained, films, accelerator="cpu", truth=None)
    return {(p.system, p.take): p for p in found}


def load_network_of(trained, system):
    state, facts = load_trained(trained / system, {})
    about = {name: tuple(value) if isinstance(value, list) else value for name, value in facts["network"].items()}
    network = DeepSynth(DeepSynthConfig(**about))
    network.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    return network


def test_the_family_is_in_the_table():
    assert isinstance(load_family("deepsynth"), DeepSynthFamily)


def test_the_same_training_writes_the_same_bytes_and_its_test_takes_are_never_opened(
    music, trained, tmp_path, monkeypatch
):
    opened = []
    really_open = music.scores.open
    monkeypatch.setattr(music.scores, "open", lambda take: opened.append(take) or really_open(take))
    files = fit(music, tmp_path / "out", tmp_path / "resume")
    assert set(opened) <= {"a", "b", "c"}
    assert files == {str(p.relative_to(trained)): p.read_bytes() for p in sorted(trained.rglob("*")) if p.is_file()}
    for system in (SYSTEM, BLIND):
        assert {f"{system}.safetensors", f"{system}.json", f"curves/{system}.csv"} <= files.keys()


_KILLED = """
import os, signal, sys
from pathlib import Path
from tasks.families import deepsynth
from tasks.store.segments import ScoreSet
scores, out, resume, params = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
loss = deepsynth.training_loss
calls = []
def dies_in_the_second_epoch(network, batch, *, l2):
    calls.append(batch)
    if len(calls) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return loss(network, batch, l2=l2)
deepsynth.training_loss = dies_in_the_second_epoch
out.mkdir()
params = deepsynth.DeepSynthParams.model_validate_json(params)
deepsynth.DeepSynthFamily().fit(ScoreSet(scores), out, params=params, resume=resume, accelerator="cpu")
"""


def test_a_killed_training_goes_on_to_the_same_bytes(music, trained, tmp_path):
    arguments = [music.scores.folder, tmp_path / "killed", tmp_path / "resume", PARAMS.model_dump_json()]
    killed = subprocess.run([sys.executable, "-c", _KILLED, *map(str, arguments)], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert (tmp_path / "resume" / SYSTEM / "last.ckpt").exists()
    files = fit(music, tmp_path / "out", tmp_path / "resume")
    assert files == {str(p.relative_to(trained)): p.read_bytes() for p in sorted(trained.rglob("*")) if p.is_file()}


def test_the_twin_differs_in_its_eyes_alone(trained):
    about = {system: json.loads((trained / f"{system}.json").read_text()) for system in (SYSTEM, BLIND)}
    assert about[SYSTEM]["network"].pop("use_video")
    assert not about[BLIND]["network"].pop("use_video")
    assert about[SYSTEM] == about[BLIND]


def test_every_film_gets_a_sound_of_its_length_from_both_systems(music, trained):
    films = {take: music.film(take) for take in ("c", "d")}
    found = sounds(trained, films)
    assert set(found) == {(system, take) for system in (SYSTEM, BLIND) for take in ("c", "d")}
    for performance in found.values():
        assert len(performance.audio) == 24_000
        assert (performance.sample_rate, performance.notes) == (4_000, None)
        assert np.abs(performance.audio).max() <= 1
        assert len(np.unique(performance.audio)) > 20


@pytest.mark.parametrize("change", [{}, {"kernel": "torch", "n_streams": 3}])
def test_a_film_sounds_the_same_alone_and_in_company(change, music, trained, tmp_path):
    for path in trained.glob("deepsynth*.*"):
        content = path.read_bytes()
        (tmp_path / path.name).write_bytes(
            json.dumps({**json.loads(content), **change}).encode() if path.suffix == ".json" else content
        )
    films = {take: music.film(take) for take in ("c", "d")}
    short = {
        take: Film(pictures=film.pictures[:3], time_s=film.time_s[:3], duration_s=0.4) for take, film in films.items()
    }
    together = sounds(tmp_path, short)
    alone = sounds(tmp_path, {"d": short["d"]})
    np.testing.assert_array_equal(alone[SYSTEM, "d"].audio, together[SYSTEM, "d"].audio)
    assert not np.array_equal(together[BLIND, "c"].audio, together[BLIND, "d"].audio)


def test_nats_are_measured_on_each_segment_by_both_systems(music, trained):
    rows = music.scores.segments("test")
    found = DeepSynthFamily().nats(trained, music.scores, rows, accelerator="cpu")
    assert set(found) == {SYSTEM, BLIND}
    assert all(nats.shape == (len(rows),) and (nats > 0).all() for nats in found.values())
    one = DeepSynthFamily().nats(trained, music.scores, rows[2:3], accelerator="cpu")
    np.testing.assert_allclose(one[SYSTEM], found[SYSTEM][2:3], rtol=1e-5)
    nothing = DeepSynthFamily().nats(trained, music.scores, [], accelerator="cpu")
    assert nothing[SYSTEM].shape == (0,)


def nats_of(trained, music, rows, pictures_of=None):
    return DeepSynthFamily().nats(trained, music.scores, rows, accelerator="cpu", pictures_of=pictures_of)


def test_nats_with_a_take_s_own_pictures_are_those_without_a_choice_and_the_twin_has_no_pictures(music, trained):
    rows = music.scores.segments("test")
    own = nats_of(trained, music, rows)
    for pictures_of in ({"d": "d"}, {"a": "b"}):  # of a take that is not named, too
        found = nats_of(trained, music, rows, pictures_of)
        assert list(found) == [SYSTEM]
        np.testing.assert_array_equal(found[SYSTEM], own[SYSTEM])
    differs = nats_of(trained, music, rows, {"d": "a"})[SYSTEM] != own[SYSTEM]
    assert differs[:-1].all()  # in the last second both keyboards rest


def test_the_last_picture_of_a_shorter_take_stands(uneven_music, trained):
    """Checked against the network itself, fed by hand."""
    rows = [row for row in uneven_music.scores.segments("test") if row.take == "long"]
    found = nats_of(trained, uneven_music, rows, {"long": "short"})[SYSTEM]
    network = load_network_of(trained, SYSTEM)
    codes = torch.from_numpy(uneven_music.scores.open("long")["codes"][:]).long()
    pictures = torch.from_numpy(uneven_music.scores.open("short")["pictures"][-1:])
    n_after = 0
    for row, nats in zip(rows, found, strict=True):
        if row.start_sample < 3 * 4_000:  # the other film is 3 s long
            continue
        n_after += 1
        said = codes[row.start_sample : row.start_sample + row.n_samples]
        before = codes[row.start_sample - 1 : row.start_sample + row.n_samples - 1]
        with torch.inference_mode():
            logits = network(before[None], pictures=pictures, shown=torch.zeros(1, row.n_samples, dtype=torch.int64))[0]
        assert nats == pytest.approx(torch.nn.functional.cross_entropy(logits, said).item(), rel=1e-5)
    assert n_after > 2


def test_pictures_that_a_network_ignores_are_worth_nothing_to_the_last_bit(music, trained, tmp_path):
    state, facts = load_trained(trained / SYSTEM, {})
    ignored = {
        name: np.zeros_like(array) if "condition" in name or name.startswith("direct") else array
        for name, array in state.items()
    }
    assert sum(not array.any() for array in ignored.values()) > sum(not array.any() for array in state.values())
    save_trained(tmp_path / SYSTEM, ignored, facts)
    rows = music.scores.segments("test")
    own, other = (
        measure_nats(tmp_path / SYSTEM, music.scores, rows, accelerator="cpu", pictures_of=pictures_of)
        for pictures_of in (None, {"d": "a"})
    )
    np.testing.assert_array_equal(other, own)


def test_a_segment_at_a_take_s_start_hears_silence_first_and_others_the_sample_before(music, trained):
    """Checked against the network itself, fed by hand."""
    rows = music.scores.segments("test")[:2]
    network = load_network_of(trained, BLIND)
    codes = torch.from_numpy(music.scores.open("d")["codes"][:]).long()
    found = DeepSynthFamily().nats(trained, music.scores, rows, accelerator="cpu")[BLIND]
    for row, nats in zip(rows, found, strict=True):
        before = torch.tensor([128]) if row.start_sample == 0 else codes[row.start_sample - 1 : row.start_sample]
        said = codes[row.start_sample : row.start_sample + row.n_samples]
        with torch.inference_mode():
            logits = network(torch.cat([before, said[:-1]])[None])[0]
        assert nats == pytest.approx(torch.nn.functional.cross_entropy(logits, said).item(), rel=1e-5)


def test_the_paper_s_learning_rate_falls_from_1e_3_to_1e_6_in_steps_of_20_000_batches():
    rates = [1e-3 * learning_rate_factor(step, PAPER) for step in (0, 19_999, 20_000, 140_000, 160_000)]
    np.testing.assert_allclose(rates, [1e-3, 1e-3, 1e-3 * 0.3728, 1e-6, 1e-6], rtol=2e-4)


def test_the_learning_rate_warms_up():
    warm = PAPER.model_copy(update={"n_warmup_steps": 3})
    assert [learning_rate_factor(step, warm) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


def test_l2_is_half_the_sum_of_squared_weights_without_biases():
    linear = torch.nn.Linear(2, 2)
    torch.nn.init.constant_(linear.weight, 3.0)
    torch.nn.init.constant_(linear.bias, 100.0)
    assert half_square_sum(linear).item() == 18.0


def test_rest_is_the_keyboard_with_no_key_pressed(trained):
    state, _ = load_trained(trained / SYSTEM, {})
    resting = draw_keyboard(np.zeros((1, 88), np.uint8), lit="velocity")[0]
    np.testing.assert_array_equal(state["video.rest"], resting)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"n_steps": 5}, "n_steps is 5, expected a multiple of steps_per_epoch, 2"),
        ({"batch_size": 0}, "batch_size is 0, expected at least 1"),
        ({"l2": -1.0}, "l2 is -1.0, expected at least 0"),
        ({"temperature": 0.0}, "temperature is 0.0, expected above 0"),
        ({"crop_s": 2.0}, "crop_s is 2.0, expected at most a segment"),
        ({"generation_precision": "bfloat16"}, "generation_precision is bfloat16, expected float32"),
    ],
)
def test_params_without_sense_are_refused(change, found, music, tmp_path):
    with pytest.raises(ParamsError, match=found):
        fit(music, tmp_path / "out", tmp_path / "resume", PARAMS.model_copy(update=change))


@pytest.mark.parametrize("name", ["deepsynth.json", "deepsynth.safetensors"])
def test_a_trained_folder_that_is_damaged_is_refused(name, music, trained, tmp_path):
    for path in trained.glob("deepsynth*.*"):
        content = path.read_bytes()
        if path.name == name:
            content = (
                content.replace(b'"n_layers": 6', b'"n_layers": "six"') if path.suffix == ".json" else content[:-8]
            )
        (tmp_path / path.name).write_bytes(content)
    with pytest.raises(DamagedData, match=name):
        next(DeepSynthFamily().perform(tmp_path, {"d": music.film("d")}, accelerator="cpu", truth=None))


@pytest.mark.slow
def test_after_a_minute_the_picture_is_worth_something_on_unseen_music(much_music, tmp_path):
    params = PARAMS.model_copy(
        update={
            "n_layers": 8,
            "n_channels": 32,
            "n_features": 64,
            "n_changes": 16,
            "n_steps": 150,
            "steps_per_epoch": 50,
            "batch_size": 8,
            "crop_s": 0.5,
            "n_warmup_steps": 10,
            "n_validation_segments": 8,
        }
    )
    fit(much_music, tmp_path / "out", tmp_path / "resume", params)
    rows = much_music.scores.segments("test")[::2]
    nats = DeepSynthFamily().nats(tmp_path / "out", much_music.scores, rows, accelerator="cpu")
    difference = nats[SYSTEM] - nats[BLIND]
    assert difference.mean() < -0.01
    counts = np.ones(256) + np.bincount(much_music.scores.open("a")["codes"][:], minlength=256)
    unigram = -np.log(counts / counts.sum())[much_music.scores.open("c")["codes"][:]].mean()
    assert nats[SYSTEM].mean() < unigram - 0.3
    assert unigram < math.log(256)
    assert not list(Path(tmp_path / "out").glob("*.ckpt"))
