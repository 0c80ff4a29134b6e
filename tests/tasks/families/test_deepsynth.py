"""DeepSynth's adapter on a few seconds of music."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from models.deepsynth import DeepSynth
from models.deepsynth_config import DeepSynthConfig
from tasks.errors import DamagedData, ParamsError
from tasks.families import load_family
from tasks.families.base import Film
from tasks.families.deepsynth import DeepSynthFamily
from tasks.families.deepsynth.crops import Crops, ScoreFilms
from tasks.families.deepsynth.keys import drives_of, fill_keys, fit_prediction, learn_keys, training_drives
from tasks.families.deepsynth.params import (
    BLIND,
    LINEAR,
    NETWORKS,
    PREDICTION,
    RESPONSE,
    SYSTEM,
    DeepSynthParams,
    network_config,
)
from tasks.families.deepsynth.training import half_square_sum, learning_rate_factor, measure_nats
from tasks.families.trained import load_trained, save_trained
from tasks.families.training import TrainingDiverged
from tasks.features.mu_law import mu_law_decode
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
    gates=True,
    drive="response",
    drive_as="mean",
    response_s=0.5,
    n_partials=2,
    n_folds=1,
    output="logistics",
    n_past=8,
    n_taps=32,
    running_scale=True,
    n_steps=4,
    steps_per_epoch=2,
    batch_size=2,
    crop_s=0.25,
    lead_s=0.064,
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
    temperatures=(1.0,),
    temperature_s=1.0,
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
    for system in NETWORKS:
        assert {f"{system}.safetensors", f"{system}.json", f"curves/{system}.csv"} <= files.keys()


_KILLED = """
import os, signal, sys
from pathlib import Path
from tasks.families import deepsynth
from tasks.families.deepsynth import training
from tasks.store.segments import ScoreSet
scores, out, resume, params = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
loss = training.training_loss
calls = []
def dies_in_the_second_epoch(network, batch, *, l2, lead):
    calls.append(batch)
    if len(calls) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return loss(network, batch, l2=l2, lead=lead)
training.training_loss = dies_in_the_second_epoch
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


def test_every_film_gets_a_sound_of_its_length_from_every_system(music, trained):
    films = {take: music.film(take) for take in ("c", "d")}
    found = sounds(trained, films)
    systems = (SYSTEM, BLIND, RESPONSE, LINEAR, PREDICTION)
    assert set(found) == {(system, take) for system in systems for take in ("c", "d")}
    for performance in found.values():
        assert len(performance.audio) == 24_000
        assert (performance.sample_rate, performance.notes) == (4_000, None)
        assert np.abs(performance.audio).max() <= 1
        assert len(np.unique(performance.audio)) > 20


@pytest.mark.parametrize("change", [{}, {"kernel": "torch", "n_streams": 3}])
def test_a_film_sounds_the_same_alone_and_in_company(change, music, trained, tmp_path):
    for path in trained.glob("*.*"):
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


def test_nats_are_measured_on_each_segment_by_every_network(music, trained):
    rows = music.scores.segments("test")
    found = DeepSynthFamily().nats(trained, music.scores, rows, accelerator="cpu")
    assert set(found) == set(NETWORKS)
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
        assert list(found) == [SYSTEM, LINEAR]
        np.testing.assert_array_equal(found[SYSTEM], own[SYSTEM])
    differs = nats_of(trained, music, rows, {"d": "a"})[SYSTEM] != own[SYSTEM]
    assert differs[:-1].all()  # in the last second both keyboards rest


def by_hand(network, films, take, row, *, shown):
    """Nats of a segment from the network itself, which is fed the whole film that ``shown`` names."""
    codes, other = films[take].codes, films[shown]
    codes = torch.from_numpy(codes).long()
    before = torch.cat([torch.tensor([128]), codes])[row.start_sample : row.start_sample + row.n_samples]
    tick_s = np.arange(row.start_sample, row.start_sample + row.n_samples) / 4_000
    stands = np.searchsorted(other.picture_time_s, tick_s + 1e-9, side="right") - 1
    video = {"pictures": torch.from_numpy(other.pictures[:]), "shown": torch.from_numpy(stands)[None]}
    if network.keys is not None:
        drive = drives_of(films, [take], network.keys, pictures_of={take: shown})[take]
        video["drive"] = drive.at(0, len(codes))[row.start_sample :][None, : row.n_samples]
    if not network.config.use_video:
        video = {}
    after = codes[row.start_sample : row.start_sample + row.n_samples]
    with torch.inference_mode():
        return network.nats(network(before[None], **video), after[None]).mean().item()


def test_the_last_picture_of_a_shorter_take_stands(uneven_music, trained):
    """Checked against the network itself, fed by hand."""
    rows = [row for row in uneven_music.scores.segments("test") if row.take == "long"]
    found = nats_of(trained, uneven_music, rows, {"long": "short"})[SYSTEM]
    network, films = load_network_of(trained, SYSTEM), ScoreFilms(uneven_music.scores)
    assert rows[-1].start_sample >= 3 * 4_000  # the other film is 3 s long
    for row, nats in zip(rows, found, strict=True):
        assert nats == pytest.approx(by_hand(network, films, "long", row, shown="short"), rel=1e-5)


def test_pictures_that_a_network_ignores_are_worth_nothing_to_the_last_bit(music, trained, tmp_path):
    state, facts = load_trained(trained / SYSTEM, {})
    ignored = {
        name: np.zeros_like(array)
        if "condition" in name or name.startswith("direct") or name == "keys.response.responses"
        else array
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


def test_a_segment_at_a_take_s_start_has_silence_before_it_and_others_the_sample_before(music, trained):
    """Checked against the networks themselves, fed by hand."""
    rows = music.scores.segments("test")[:2]
    found = nats_of(trained, music, rows)
    for system in NETWORKS:
        network, films = load_network_of(trained, system), ScoreFilms(music.scores)
        for row, nats in zip(rows, found[system], strict=True):
            assert nats == pytest.approx(by_hand(network, films, "d", row, shown="d"), rel=1e-5)


def test_a_crop_before_the_take_s_start_is_silent_under_the_first_picture(music, trained):
    network, films = load_network_of(trained, SYSTEM), ScoreFilms(music.scores)
    crops = Crops(films, with_pictures=True, drives=drives_of(films, ["d"], network.keys))
    early, own = crops.batch([("d", -100, 300)]), crops.batch([("d", 0, 200)])
    assert (early["inputs"][0, :101] == 128).all()
    assert (early["shown"][0, :100] == 0).all()
    assert not early["drive"][0, :100].any()
    for name in ("codes", "shown", "drive"):
        torch.testing.assert_close(early[name][0, 100:], own[name][0])


def test_the_keys_that_were_played_are_found_in_the_pictures_and_read_with_their_velocities(music, tmp_path):
    films = ScoreFilms(music.scores)
    learned = learn_keys(films, ["a", "b"], PARAMS, cache=tmp_path)
    played = sorted(set(music.notes["a"].pitch) | set(music.notes["b"].pitch))
    assert len(learned.reader.keys) == len(played)
    film = films["a"]
    depth, pedal = learned.reader.read(film.blocks())
    velocities = music.scores.open("a")["velocities"][:]
    luma = np.where(velocities > 0, 40 + np.floor(1.25 * velocities + 0.5), 0)
    np.testing.assert_allclose(depth, luma[:, np.array(played) - 21], atol=1.0)  # the drawing rounds
    assert not pedal.any()


def test_what_was_fitted_before_a_kill_is_read_and_a_damaged_file_is_fitted_anew(music, tmp_path, monkeypatch):
    films = ScoreFilms(music.scores)
    first = learn_keys(films, ["a", "b"], PARAMS, cache=tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("tasks.families.deepsynth.keys.fit_key_response", None)
        again = learn_keys(films, ["a", "b"], PARAMS, cache=tmp_path)
    path = tmp_path / "keys.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    anew = learn_keys(films, ["a", "b"], PARAMS, cache=tmp_path)
    for other in (again, anew):
        assert other.response.responses.equal(first.response.responses)
        assert other.reader.keys.equal(first.reader.keys)


def test_the_drive_of_a_training_take_was_learned_from_the_other_fold(much_music, tmp_path):
    scores = much_music.scores
    films, takes = ScoreFilms(scores), ["a", "b", "c", "c2"]
    params = PARAMS.model_copy(update={"n_folds": 2})
    learned = learn_keys(films, takes, params, cache=tmp_path)
    network = DeepSynth(network_config(SYSTEM, params, n_keys=len(learned.reader.keys), code_rate=4_000))
    fill_keys(network.keys, learned, 4_000)
    drives = training_drives(films, takes, network.keys, learned)
    whole = drives_of(films, takes, network.keys)

    def left(drive, take):
        sound = mu_law_decode(films[take].codes)
        return float(np.square(sound - drive.at(0, len(sound)).numpy()).sum() / np.square(sound).sum())

    for take in takes:
        assert left(whole[take], take) < left(drives[take], take) < 1


def test_the_response_alone_follows_the_keys_of_a_take_that_it_was_not_learned_from(much_music, tmp_path):
    films = ScoreFilms(much_music.scores)
    params = PARAMS.model_copy(update={"response_s": 2.0})
    learned = learn_keys(films, ["a"], params, cache=tmp_path)
    network = DeepSynth(network_config(LINEAR, params, n_keys=len(learned.reader.keys), code_rate=4_000))
    fill_keys(network.keys, learned, 4_000)
    sound = mu_law_decode(films["c"].codes)
    left = sound - drives_of(films, ["c"], network.keys)["c"].at(0, len(sound)).numpy()
    other = sound - drives_of(films, ["c"], network.keys, pictures_of={"c": "b"})["c"].at(0, len(sound)).numpy()
    assert 10 * np.log10(np.square(sound).sum() / np.square(left).sum()) > 6
    assert np.square(other).sum() > np.square(sound).sum()


def test_a_softmax_starts_from_the_shares_of_the_classes_in_training(music):
    films = ScoreFilms(music.scores)
    softmax = {"drive_as": "code", "output": "softmax", "n_taps": 0, "running_scale": False, "n_past": 1}
    params = PARAMS.model_copy(update=softmax)
    network = DeepSynth(network_config(BLIND, params, n_keys=0, code_rate=4_000))
    fit_prediction(network, films, ["a", "b"], {})
    shares = torch.softmax(network.output.bias.detach(), dim=0).numpy()
    codes = np.concatenate([films[take].codes for take in ("a", "b")])
    assert shares[128] == pytest.approx((np.count_nonzero(codes == 128) + 1) / (len(codes) + 256), rel=1e-5)
    never = np.setdiff1d(np.arange(256), codes)
    assert len(never) > 0
    np.testing.assert_allclose(shares[never], 1 / (len(codes) + 256), rtol=1e-4)


def test_a_loss_that_is_not_finite_stops_the_training_with_step_and_segments_and_keeps_the_checkpoint(
    music, tmp_path, monkeypatch
):
    from tasks.families.deepsynth import training

    loss, calls = training.training_loss, []

    def overflows(network, batch, *, l2, lead):
        calls.append(batch)
        return loss(network, batch, l2=l2, lead=lead) * (float("nan") if len(calls) == 3 else 1.0)

    monkeypatch.setattr(training, "training_loss", overflows)
    expected = r"deepsynth: the loss of step 3 is nan on [0-9a-f]{64} \([ab] from"
    with pytest.raises(TrainingDiverged, match=expected) as e:
        fit(music, tmp_path / "out", tmp_path / "resume")
    ids = {row.segment_id for row in music.scores.segments("train")}
    assert sum(one in str(e.value) for one in ids) in (1, 2)
    assert "the checkpoint of step 2 is kept" in str(e.value)
    assert (tmp_path / "resume" / SYSTEM / "last.ckpt").exists()


def test_a_checkpoint_of_the_old_network_is_refused_in_one_line(music, trained, tmp_path):
    state, facts = load_trained(trained / SYSTEM, {})
    del facts["network"]["drive"]
    save_trained(tmp_path / SYSTEM, state, facts)
    with pytest.raises(DamagedData, match=r"deepsynth.json is not what training writes .* train the family again") as e:
        next(DeepSynthFamily().perform(tmp_path, {"d": music.film("d")}, accelerator="cpu", truth=None))
    assert "\n" not in str(e.value)


def test_a_film_of_another_size_is_refused_in_one_line(music, trained):
    film = music.film("d")
    small = Film(pictures=film.pictures[:, ::2, ::2], time_s=film.time_s, duration_s=film.duration_s)
    with pytest.raises(DamagedData, match=r"film d: .*\(29, 390\).*, expected \(57, 780\)"):
        next(DeepSynthFamily().perform(trained, {"d": small}, accelerator="cpu", truth=None))


def test_of_several_temperatures_the_one_nearest_on_validation_is_kept(music, trained, tmp_path):
    params = PARAMS.model_copy(update={"temperatures": (0.05, 60.0)})
    fit(music, tmp_path / "out", tmp_path / "resume", params)
    facts = {system: json.loads((tmp_path / "out" / f"{system}.json").read_text()) for system in NETWORKS}
    assert facts[LINEAR]["temperature"] == 0.05  # 60 times as much noise drowns the tones


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
        ({"temperatures": (0.0,)}, "temperatures is .*, expected at least one, all above 0"),
        ({"output": "softmax"}, "n_taps is 32, expected 0 with output softmax"),
        ({"output": "softmax", "n_taps": 0, "running_scale": False}, "drive_as is mean, expected code"),
        ({"n_folds": 3}, "n_folds is 3, expected 1 or at most half of the 2 takes"),
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
def test_after_a_minute_the_picture_decides_what_sounds_on_unseen_music(much_music, tmp_path):
    params = PARAMS.model_copy(
        update={
            "n_layers": 8,
            "n_channels": 32,
            "n_features": 32,
            "response_s": 2.0,
            "n_taps": 256,
            "n_steps": 60,
            "steps_per_epoch": 20,
            "batch_size": 4,
            "crop_s": 0.5,
            "learning_rate": 2e-3,
            "n_warmup_steps": 5,
            "n_validation_segments": 4,
        }
    )
    fit(much_music, tmp_path / "out", tmp_path / "resume", params)
    rows = [row for row in much_music.scores.segments("test") if row.take == "c"][::4]
    nats = DeepSynthFamily().nats(tmp_path / "out", much_music.scores, rows, accelerator="cpu")
    other = nats_of(tmp_path / "out", much_music, rows, {"c": "c2"})
    assert nats[SYSTEM].mean() < nats[BLIND].mean() - 0.5
    assert nats[SYSTEM].mean() < other[SYSTEM].mean() - 1.0
    assert nats[SYSTEM].mean() < nats[LINEAR].mean()
    assert nats[BLIND].mean() < nats[PREDICTION].mean() + 0.02
    assert not list(Path(tmp_path / "out").glob("*.ckpt"))
