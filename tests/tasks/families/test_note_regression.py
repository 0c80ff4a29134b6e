"""Networks from frames to notes learn a small instrument whose bars light up when they are struck."""

import hashlib
import json
import shutil
from dataclasses import replace
from fractions import Fraction
from io import BytesIO

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from flows.presets import preset_text
from models.fc_lstm import ImageEncoder
from tasks.errors import DamagedData, ParamsError
from tasks.families import load_family
from tasks.families.base import CaptureTruth, Film, NoteAmplitudes, film_of_view
from tasks.families.capture_baselines import CaptureBaselines, CaptureBaselinesParams
from tasks.families.cnn_lstm import CnnLstmFamily, CnnLstmParams
from tasks.families.conv_lstm import ConvLstmFamily, ConvLstmParams
from tasks.families.fc_lstm import FcLstmFamily, FcLstmParams, image_encoder
from tasks.families.image_weights import WEIGHTS, WEIGHTS_SHA256, converted
from tasks.families.note_regression.adapter import make_optimizer
from tasks.families.note_regression.batches import Sampler, augmented
from tasks.families.note_regression.examples import examples_of, targets_of
from tasks.families.note_regression.inputs import PictureFormat, stack_film
from tasks.families.note_regression.notes import filmed_span_s, onset_f1, reference_notes, within
from tasks.families.note_regression.params import KERAS_LEARNING_RATE, AugmentParams, fidelity_of
from tasks.features.note_picking import CAREFUL
from tasks.instruments.notes import sorted_notes
from tasks.metrics.notes import note_scores
from tasks.store.arrays import write_arrays
from tasks.store.segments import segment_rows, write_segments
from tasks.store.views import ViewSet

PITCHES = (70, 74, 77, 81)
HEIGHT, WIDTH, MARGINS = 12, 32, (0.0, 0.0)
DURATION_S, RATE = 16.0, Fraction(25)
N_WINDOWS = int(DURATION_S * RATE) - 2
HAMMING = np.hamming(300)

AUGMENT = {"gain": 0.1, "brightness_luma": 1.0, "shift": 0, "blur": 0.1, "noise_luma": 1.0, "mirror": 0.5}
SHARED = {
    "fidelity": "corrected",
    "instrument": "kalimba",
    "cameras": ".*",
    "height": HEIGHT,
    "width": WIDTH,
    "input": "bars",
    "window_width": 8,
    "subtract_still": True,
    "sequence_length": 20,
    "notes_per_sequence": 3,
    "target_power": 0.5,
    "rise_weight": 1.0,
    "onset_weight": 3.0,
    "rare_notes": 0.5,
    "n_steps": 60,
    "steps_per_epoch": 20,
    "batch_size": 4,
    "learning_rate": 0.01,
    "clip_norm": 1.0,
    "weight_decay": 0.0,
    "augment": AUGMENT,
    "precision": "32-true",
    "n_threads": 1,
    "seed": 0,
}
CNN = SHARED | {
    "layers": [[8, 6, 4], [8, 3, 2]],
    "n_hidden": [16],
    "n_recurrent": [12],
    "dropout": 0.0,
    "init_std": 0.0,
    "bidirectional": True,
    "normalize": False,
    "picture_age": True,
}
CONV = SHARED | {
    "layers": [[6, 4, 4], [6, 3, 2]],
    "n_hidden": [16],
    "dropout": 0.0,
    "init_std": 0.0,
    "normalize": False,
    "picture_age": True,
    "recurrent_kernel": 3,
    "n_ahead": 1,
}


def strokes(rng):
    """Onsets and notes: a note every quarter of a second or so."""
    onset_s = np.cumsum(rng.uniform(0.2, 0.4, 60))
    onset_s = onset_s[onset_s < DURATION_S - 1]
    return onset_s, rng.integers(0, len(PITCHES), len(onset_s))


def amplitudes_of(onset_s, note):
    """What windows of three frames show of strokes that ring for 0.3 s, (F, n)."""
    fine = np.zeros((round(DURATION_S * 2500), len(PITCHES)))
    for moment, one in zip(onset_s, note, strict=True):
        first = round(moment * 2500)
        fine[first:, one] = np.maximum(fine[first:, one], np.exp(-np.arange(len(fine) - first) / 750))
    return np.stack([HAMMING @ fine[100 * k : 100 * k + 300] for k in range(N_WINDOWS)]) / HAMMING.sum() * 0.01


def film_of(onset_s, note, rate, delay_s):
    """A camera's pictures of it: a bar is lit for 0.15 s, over a still background; and their times."""
    time_s = np.arange(round((DURATION_S - delay_s) * rate)) / rate + delay_s
    still = 60 + 20 * np.sin(np.arange(HEIGHT)[:, None] * 2 + np.arange(WIDTH))
    pictures = np.tile(still, (len(time_s), 1, 1))
    for moment, one in zip(onset_s, note, strict=True):
        lit = (time_s >= moment) & (time_s < moment + 0.15)
        pictures[lit, 3:9, 8 * one + 2 : 8 * one + 6] += 80
    return pictures.astype(np.uint8), time_s


@pytest.fixture(scope="module")
def captures(tmp_path_factory):
    """Two takes to learn from, one to validate and one to test on, two cameras each; two have their MIDI."""
    folder = tmp_path_factory.mktemp("captures")
    rng = np.random.default_rng(8)
    index, segments = {}, []
    for name, part in {"a": "train", "b": "train", "c": "validation", "d": "test"}.items():
        onset_s, note = strokes(rng)
        pitch = np.array(PITCHES)[note]
        arrays = {
            "codes": np.zeros(int(DURATION_S * 100), np.uint8),
            "amplitudes": amplitudes_of(onset_s, note).astype(np.float32),
            "sound": np.zeros(int(DURATION_S * 1000), np.int16),
        }
        if part in ("validation", "test"):
            arrays["notes"] = np.stack([onset_s, onset_s + 0.2, pitch, np.full(len(pitch), 90.0)], axis=1)
        for camera, rate, delay_s in (("cam_left", 25, -0.3), ("cam_right", 30, 1.1)):
            arrays[f"pictures_{camera}"], arrays[f"time_s_{camera}"] = film_of(onset_s, note, rate, delay_s)
        write_arrays(
            folder / name / "arrays.zarr",
            arrays,
            chunk_lengths=dict.fromkeys(arrays, 64),
            attributes={
                "code_rate": 100,
                "n_classes": 256,
                "pitches": list(PITCHES),
                "frame_rate": "25",
                "cameras": ["cam_left", "cam_right"],
                "camera_margins": list(MARGINS),
                "instrument": "kalimba",
                "master": "mic_near",
                "duration_s": DURATION_S,
                "sound_rate": 1000,
            },
        )
        index[name] = {"piece": name, "part": part, "digest": name, "duration_s": DURATION_S}
        segments += segment_rows(name, name, part, name, int(DURATION_S * 100), length=500, hop=500)
    (folder / "takes.json").write_text(json.dumps(index))
    write_segments(folder / "segments.parquet", segments)
    return folder


def fit(family, params, folder, out):
    out.mkdir(parents=True)
    family.fit(ViewSet(folder), out, params=params, resume=out.parent / "resume" / out.name, accelerator="cpu")
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def performed(family, trained, folder, truth=None):
    views = ViewSet(folder)
    films = {view.name: film_of_view(views, view) for view in views.views("test")}
    return list(family.perform(trained, films, accelerator="cpu", truth=truth)), films


def scored(performances, films, folder):
    """Onset F1 over the test views, and the correlation of the amplitudes where they were filmed."""
    views = ViewSet(folder)
    truth, found, pairs = [], [], []
    for one in performances:
        film = films[f"{one.take}/{one.camera}"]
        span_s = filmed_span_s(film)
        truth.append(within(reference_notes(views, one.take, maximum=1.0, picker=CAREFUL), *span_s))
        found.append(within(one.notes, *span_s))
        rows = slice(int(span_s[0] * RATE) + 1, int(span_s[1] * RATE) - 2)
        pairs.append((views.amplitudes(one.take)[rows].ravel(), one.amplitudes.values[rows].ravel()))
    correlation = np.mean([np.corrcoef(*pair)[0, 1] if np.ptp(pair[1]) else 0.0 for pair in pairs])
    return onset_f1(truth, found), correlation


@pytest.fixture(scope="module")
def cnn(captures, tmp_path_factory):
    out = tmp_path_factory.mktemp("cnn") / "cnn_lstm"
    fit(CnnLstmFamily(), CnnLstmParams.model_validate(CNN), captures, out)
    return out


@pytest.fixture(scope="module")
def baselines(captures, tmp_path_factory):
    out = tmp_path_factory.mktemp("baselines") / "capture_baselines"
    params = CaptureBaselinesParams(instrument="kalimba", cameras=".*", height=6, width=16, n_windows=400, seed=0)
    fit(CaptureBaselines(), params, captures, out)
    return out


def test_cnn_lstm_finds_the_notes_of_a_test_take_from_either_camera(cnn, captures):
    performances, films = performed(CnnLstmFamily(), cnn, captures)
    assert [(one.take, one.camera) for one in performances] == [("d", "cam_left"), ("d", "cam_right")]
    f1, correlation = scored(performances, films, captures)
    assert f1 > 0.9
    assert correlation > 0.9
    for one in performances:
        assert one.amplitudes.pitches == PITCHES
        assert one.audio.shape == (round(DURATION_S * one.sample_rate),)
        assert np.abs(one.audio).max() > 0
    late = performances[1].amplitudes.values  # there is no picture before the camera runs
    assert not late[: int(1.1 * RATE)].any()


def test_the_baselines_are_below_it_and_true_features_above(baselines, captures):
    views = ViewSet(captures)
    truth = {
        view.name: CaptureTruth(
            amplitudes=NoteAmplitudes(values=views.amplitudes(view.take), pitches=PITCHES, frame_rate=RATE),
            notes=reference_notes(views, view.take, maximum=1.0, picker=CAREFUL),
        )
        for view in views.views("test")
    }
    performances, films = performed(CaptureBaselines(), baselines, captures, truth)
    figures = {
        system: scored([one for one in performances if one.system == system], films, captures)
        for system in CaptureBaselines.systems
    }
    assert figures["mean_features"][0] == 0.0
    assert figures["mean_features"][1] < 0.2  # one note is louder than another, and that is all
    assert 0.3 < figures["nearest_features"][1] < 1.0
    assert figures["true_features"][0] > 0.97
    assert figures["true_features"][1] == pytest.approx(1.0)
    assert CaptureBaselines.role("true_features") == "bound"


def test_without_the_truth_no_upper_bound_is_performed(baselines, captures):
    performances, _ = performed(CaptureBaselines(), baselines, captures)
    assert {one.system for one in performances} == {"mean_features", "nearest_features"}


def test_the_same_seed_gives_the_same_bytes(captures, tmp_path):
    params = CnnLstmParams.model_validate(CNN | {"n_steps": 4, "steps_per_epoch": 2})
    assert fit(CnnLstmFamily(), params, captures, tmp_path / "one") == fit(
        CnnLstmFamily(), params, captures, tmp_path / "two"
    )


def test_conv_lstm_learns_too(captures, tmp_path):
    params = ConvLstmParams.model_validate(CONV | {"n_steps": 100})
    fit(ConvLstmFamily(), params, captures, tmp_path / "conv_lstm")
    performances, films = performed(ConvLstmFamily(), tmp_path / "conv_lstm", captures)
    f1, correlation = scored(performances, films, captures)
    assert f1 > 0.8
    assert correlation > 0.8


def test_another_instrument_is_not_performed(cnn, captures):
    views = ViewSet(captures)
    film = film_of_view(views, views.views("test")[0])
    gong = Film(**(vars(film) | {"instrument": "gong"}))
    assert list(CnnLstmFamily().perform(cnn, {"d/cam_left": gong}, accelerator="cpu", truth=None)) == []


# What the published code did, and that none of it is left when corrected.


def test_original_fidelity_is_what_the_published_code_did():
    original = fidelity_of(CnnLstmParams.model_validate(CNN | {"fidelity": "original"}))
    assert (original.lead_frames, original.n_dropped, original.sequence_length) == (1, 1, 1)
    assert original.learning_rate == KERAS_LEARNING_RATE
    assert original.per_take_maximum
    assert original.validates_on_training
    corrected = fidelity_of(CnnLstmParams.model_validate(CNN))
    assert (corrected.lead_frames, corrected.n_dropped, corrected.sequence_length) == (0, 0, 20)
    assert corrected.learning_rate == 0.01
    assert not corrected.per_take_maximum
    assert not corrected.validates_on_training


def test_corrected_targets_neither_lead_nor_lack_the_last_window():
    amplitudes = np.arange(1.0, 11.0)[:, None]
    corrected = targets_of(amplitudes, maximum=20.0, fidelity=fidelity_of(CnnLstmParams.model_validate(CNN)))
    np.testing.assert_allclose(corrected[:, 0], np.arange(1, 11) / 20)  # window k is stack k's, by one maximum for all
    original = fidelity_of(CnnLstmParams.model_validate(CNN | {"fidelity": "original"}))
    found = targets_of(amplitudes, maximum=20.0, fidelity=original)
    np.testing.assert_allclose(found[:, 0], np.arange(2, 11) / 10)  # one window ahead, by the take's own


def test_a_stack_holds_the_frames_that_its_window_covers(captures):
    views = ViewSet(captures)
    sight = PictureFormat(height=HEIGHT, width=WIDTH, n_pictures=3, subtract_still=True)
    for view in views.views("train"):
        target = views.amplitudes(view.take)
        film = stack_film(film_of_view(views, view), sight, n_windows=len(target), frame_rate=RATE)
        assert len(film.shown) == len(target) + 2
        light = np.array([film.frames(k, k + 1)[:, 3:9].max() for k in range(len(target))]) > 0.5
        rising = (np.diff(target.max(axis=1), prepend=target[0].max()) > 0.001) & film.is_filmed
        # What begins to sound is lit in the same three frames, or in those of the window after.
        assert (light[rising] | np.roll(light, -1)[rising]).mean() > 0.97


def examples(folder, **changes):
    """What is learned from of the training views."""
    params = CnnLstmParams.model_validate(CNN | changes)
    views = ViewSet(folder)
    sight = PictureFormat(height=HEIGHT, width=WIDTH, n_pictures=3, subtract_still=True)
    about = {"pictures": sight, "maximum": 0.01, "fidelity": fidelity_of(params), "onset_weight": 1.0}
    return examples_of(views, views.views("train"), **about)


def late_by(example):
    """Return how many windows later than its target a stroke is lit, beyond the lateness of the pictures' own times."""
    light = np.stack([example.inputs.frames(k, k + 1) > 0.5 for k in range(len(example.target))])  # (F, C, H, W)
    lit = light[:, :, 3:9].sum(axis=(1, 2)).reshape(len(light), len(PITCHES), -1).sum(axis=2)  # (F, n)
    lit, loud = (np.maximum(np.diff(values.astype(float), axis=0), 0) for values in (lit, example.target))
    lags = np.arange(-4, 5)
    fits = np.array([(lit[4 + lag : len(lit) - 4 + lag] * loud[4:-4]).sum() for lag in lags])
    fits = fits - fits.min()
    # A stroke falls between two frames and is first shown at the second one, by a picture that has its own age.
    return (lags * fits).sum() / fits.sum() - 0.5 - example.inputs.ages[example.inputs.ages > 0].mean()


def test_the_originals_targets_run_a_frame_ahead_of_its_pictures_and_the_corrected_ones_do_not(captures):
    for corrected, original in zip(examples(captures), examples(captures, fidelity="original"), strict=True):
        assert late_by(corrected) == pytest.approx(0.0, abs=0.25)
        assert late_by(original) == pytest.approx(1.0, abs=0.25)
        n_frames = DURATION_S * RATE
        assert (len(corrected.target), len(original.target)) == (n_frames - 2, n_frames - 3)


def test_the_optimizer_has_the_rate_of_the_parameters_or_the_published_one(captures):
    params = CnnLstmParams.model_validate(CNN)
    family = CnnLstmFamily()
    config = {"n_notes": 4, "n_pictures": 3, "height": HEIGHT, "width": WIDTH, "columns": (4.0, 12.0, 20.0, 28.0)}
    config |= {name: getattr(params, name) for name in ("layers", "n_hidden", "n_recurrent", "dropout", "init_std")}
    config |= {"input": "bars", "window_width": 8, "bidirectional": True, "normalize": False, "picture_age": True}
    network = family.make_network(config)
    schedule = make_optimizer(network.parameters(), params)[1]
    highest = 0.0
    for _ in range(params.n_steps - 1):
        schedule.optimizer.step()
        schedule.step()
        highest = max(highest, schedule.get_last_lr()[0])
    assert highest == pytest.approx(0.01, rel=0.01)
    original = make_optimizer(network.parameters(), params.model_copy(update={"fidelity": "original"}))
    assert original.defaults["lr"] == KERAS_LEARNING_RATE
    # The one script of the project that hands its optimizer over.
    handed_over = ConvLstmParams.model_validate(CONV | {"fidelity": "original"})
    assert make_optimizer(network.parameters(), handed_over).defaults["lr"] == CONV["learning_rate"]


def test_the_maximum_is_one_of_training_alone_and_stands_beside_the_weights(cnn, captures):
    facts = json.loads((cnn / "cnn_lstm.json").read_text())
    views = ViewSet(captures)
    assert facts["maximum"] == pytest.approx(max(views.amplitudes(take).max() for take in ("a", "b")))
    assert facts["sequence_length"] == 20
    assert facts["learning_rate"] == 0.01
    assert set(facts["picker"]) == {"level", "rise", "mask", "lag_s"}


def test_training_never_opens_a_test_take(captures, tmp_path):
    copy = tmp_path / "captures"
    shutil.copytree(captures, copy)
    shutil.rmtree(copy / "d")
    params = CnnLstmParams.model_validate(CNN | {"n_steps": 2, "steps_per_epoch": 2})
    assert "cnn_lstm.safetensors" in fit(CnnLstmFamily(), params, copy, tmp_path / "out")


def test_the_original_runs_and_remembers_nothing(captures, tmp_path):
    changes = {"fidelity": "original", "input": "picture", "augment": AUGMENT | {"mirror": 0.0}, "bidirectional": False}
    params = CnnLstmParams.model_validate(CNN | changes | {"n_steps": 4, "steps_per_epoch": 2, "picture_age": False})
    fit(CnnLstmFamily(), params, captures, tmp_path / "out")
    family = CnnLstmFamily()
    network, facts = family.load(tmp_path / "out" / "cnn_lstm")
    views = ViewSet(captures)
    film = film_of_view(views, views.view("d", "cam_left"))
    whole = family.amplitudes(network, facts, film)
    other = Film(
        **(vars(film) | {"pictures": np.where(film.time_s[:, None, None] < 8, 255 - film.pictures, film.pictures)})
    )
    facts["pictures"] = replace(facts["pictures"], subtract_still=False)
    first, second = family.amplitudes(network, facts, film), family.amplitudes(network, facts, other)
    np.testing.assert_allclose(first[220:], second[220:], atol=1e-6)  # inputs before 8 s have no effect
    assert whole.shape == (N_WINDOWS, len(PITCHES))


def test_the_corrected_network_remembers_what_the_original_forgets(cnn, captures):
    family = CnnLstmFamily()
    network, facts = family.load(cnn / "cnn_lstm")
    views = ViewSet(captures)
    film = film_of_view(views, views.view("d", "cam_left"))
    facts["pictures"] = replace(facts["pictures"], subtract_still=False)
    before = (film.time_s >= 7) & (film.time_s < 7.9)
    other = Film(**(vars(film) | {"pictures": np.where(before[:, None, None], 255 - film.pictures, film.pictures)}))
    at = slice(int(8 * RATE), int(8 * RATE) + 5)  # windows whose own frames are the same in both

    def moved(sequence_length):
        changed = facts | {"sequence_length": sequence_length}
        first, second = (family.amplitudes(network, changed, one) for one in (film, other))
        return np.abs(first[at] - second[at]).max()

    assert moved(facts["sequence_length"]) > 1e-5
    assert moved(1) == 0.0


def test_the_corrected_network_is_chosen_on_validation_and_the_original_on_what_it_learned_from(captures, tmp_path):
    silent = tmp_path / "captures"
    shutil.copytree(captures, silent)
    arrays = ViewSet(silent).open("c")
    kept = {name: arrays[name][:] for name in arrays}
    kept["amplitudes"] = np.zeros_like(kept["amplitudes"])  # the validation take is made silent
    shape = {"chunk_lengths": dict.fromkeys(kept, 64), "attributes": arrays.attributes}
    write_arrays(silent / "c" / "arrays.zarr", kept, **shape)
    alone = {"n_steps": 2, "steps_per_epoch": 2, "cameras": "cam_left"}
    changes = {"fidelity": "original", "input": "picture", "augment": AUGMENT | {"mirror": 0.0}}

    def losses(folder, **more):
        out = tmp_path / f"{folder.name}-{len(list(tmp_path.iterdir()))}"
        fit(CnnLstmFamily(), CnnLstmParams.model_validate(CNN | alone | more), folder, out)
        return (out / "curves" / "cnn_lstm.csv").read_text()

    assert losses(captures) != losses(silent)
    assert losses(captures, **changes) == losses(silent, **changes)


# Training data.


def test_rare_notes_are_drawn_as_often_as_the_others(captures):
    views = ViewSet(captures)
    params = CnnLstmParams.model_validate(CNN | {"rare_notes": 1.0})
    sight = PictureFormat(height=HEIGHT, width=WIDTH, n_pictures=3, subtract_still=True)
    examples = examples_of(
        views, views.views("train"), pictures=sight, maximum=0.01, fidelity=fidelity_of(params), onset_weight=1.0
    )
    sampler = Sampler(examples, params)
    chance = np.bincount(sampler._stroke[:, 1], weights=sampler._chance)
    np.testing.assert_allclose(chance, 1 / len(PITCHES))
    batch = sampler.batch(3, 7)
    again = sampler.batch(3, 7)
    assert all(torch.equal(batch[name], again[name]) for name in batch)
    assert not torch.equal(batch["frames"], sampler.batch(3, 8)["frames"])
    assert batch["frames"].shape == (4, 22, HEIGHT, WIDTH)
    assert batch["target"].shape == (4, 20, 3)


@pytest.mark.parametrize("seed", range(20))
def test_onset_f1_is_mir_evals(seed):
    rng = np.random.default_rng(seed)

    def random_notes(n_notes):
        onset_s = rng.uniform(0, 3, n_notes).round(3)
        return sorted_notes(onset_s, onset_s + 0.1, rng.integers(60, 64, n_notes), np.full(n_notes, 80))

    truth, found = random_notes(60), random_notes(rng.integers(20, 90))
    expected = note_scores(truth, found)["onset_f1"]
    assert onset_f1([truth], [found]) == pytest.approx(expected)


def test_amplitudes_of_another_length_than_the_take_are_refused(captures, tmp_path):
    copy = tmp_path / "captures"
    shutil.copytree(captures, copy)
    index = json.loads((copy / "takes.json").read_text())
    index["b"]["duration_s"] = DURATION_S - 1
    (copy / "takes.json").write_text(json.dumps(index))
    with pytest.raises(DamagedData, match=r"take b has 398 windows of amplitudes, its 15\.000 s of sound have 373"):
        fit(CnnLstmFamily(), CnnLstmParams.model_validate(CNN), copy, tmp_path / "out")


def test_each_augmentation_changes_its_own_property_and_nothing_else():
    frames = torch.rand(2, 4, 6, 8, generator=torch.Generator().manual_seed(0))
    nothing = {"gain": 0.0, "brightness_luma": 0.0, "shift": 0, "blur": 0.0, "noise_luma": 0.0, "mirror": 0.0}
    rng = np.random.default_rng(0)
    assert torch.equal(augmented(frames, rng, AugmentParams(**nothing)), frames)
    brighter = augmented(frames, rng, AugmentParams(**(nothing | {"brightness_luma": 10.0}))) - frames
    torch.testing.assert_close(brighter, brighter[:, :1, :1, :1].expand_as(brighter))
    moved = augmented(frames, rng, AugmentParams(**(nothing | {"shift": 2})))
    torch.testing.assert_close(moved.sum(dim=(2, 3)), frames.sum(dim=(2, 3)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_steps": 50}, "n_steps is 50, expected a multiple of steps_per_epoch, 20"),
        ({"instrument": "gong"}, "no train take of gong"),
        ({"cameras": "cam_back"}, "has a camera like 'cam_back'"),
        ({"sequence_length": 1000}, "sequence_length is 1000, expected at most"),
        ({"input": "picture"}, "expected 0 with input: picture"),
    ],
)
def test_values_that_make_no_sense_are_named(captures, tmp_path, changes, message):
    params = CnnLstmParams.model_validate(CNN | changes)
    with pytest.raises(ParamsError, match=message):
        fit(CnnLstmFamily(), params, captures, tmp_path / "out")


def with_pitches(folder, pitches):
    for take in "abcd":
        arrays = ViewSet(folder).open(take)
        kept = {name: arrays[name][:] for name in arrays}
        facts = {**arrays.attributes, "pitches": pitches}
        write_arrays(folder / take / "arrays.zarr", kept, chunk_lengths=dict.fromkeys(kept, 64), attributes=facts)


@pytest.mark.parametrize("name", ["cnn_lstm", "capture_baselines"])
def test_notes_that_the_sounds_rate_cannot_hold_are_named_before_anything_is_trained(captures, tmp_path, name):
    copy = tmp_path / "captures"
    shutil.copytree(captures, copy)
    with_pitches(copy, [70, 124, 125, 127])  # 124 has 10,548 Hz; half of the rate is 11,025
    params = {"instrument": "kalimba", "cameras": ".*", "height": 6, "width": 16, "n_windows": 400, "seed": 0}
    family = load_family(name)
    message = rf"train\.{name}\.instrument is kalimba, which has the notes 125, 127, expected notes below 11025 Hz"
    with pytest.raises(ParamsError, match=message):
        fit(family, family.params_class.model_validate(CNN if name == "cnn_lstm" else params), copy, tmp_path / "out")


def test_a_film_in_which_no_instrument_moves_has_no_strokes(cnn):
    random = np.random.default_rng(0).integers(0, 255, (1, HEIGHT, WIDTH), np.uint8)
    noise = np.random.default_rng(1).integers(-2, 3, (200, HEIGHT, WIDTH))
    for pictures in (np.zeros((200, HEIGHT, WIDTH)), np.full((200, HEIGHT, WIDTH), 235), random.clip(2, 253) + noise):
        film = Film(
            pictures=pictures.astype(np.uint8),
            time_s=np.arange(200) / 25,
            duration_s=8.0,
            camera="cam",
            margins=MARGINS,
        )
        [performance] = CnnLstmFamily().perform(cnn, {"wall/cam": film}, accelerator="cpu", truth=None)
        assert len(within(performance.notes, 0.2, 8.0)) == 0  # before that the film itself begins


def test_a_film_needs_a_picture_and_one_of_a_single_picture_is_still(cnn):
    pictures = np.full((1, HEIGHT, WIDTH), 60, np.uint8)
    with pytest.raises(ValueError, match="a film has 0 pictures at 0 times"):
        Film(pictures=pictures[:0], time_s=np.zeros(0), duration_s=4.0, camera="cam")
    film = Film(pictures=pictures, time_s=np.zeros(1), duration_s=4.0, camera="cam")
    [performance] = CnnLstmFamily().perform(cnn, {"one/cam": film}, accelerator="cpu", truth=None)
    assert len(within(performance.notes, 0.2, 4.0)) == 0
    assert len(performance.audio) == 4 * performance.sample_rate


def test_a_damaged_model_is_named(cnn, tmp_path):
    for path in cnn.glob("cnn_lstm.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    facts = json.loads((tmp_path / "cnn_lstm.json").read_text())
    (tmp_path / "cnn_lstm.json").write_text(json.dumps(facts | {"picker": {"level": 0.1}}))
    with pytest.raises(DamagedData, match="is not what training writes"):
        CnnLstmFamily().load(tmp_path / "cnn_lstm")
    facts["network"]["n_hidden"] = [17]
    (tmp_path / "cnn_lstm.json").write_text(json.dumps(facts))
    with pytest.raises(DamagedData, match="has shape"):
        CnnLstmFamily().load(tmp_path / "cnn_lstm")


# Image networks.


def alexnet(path, **changes):
    torch.manual_seed(1)
    state = ImageEncoder("alexnet", "fc1").state_dict() | changes
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_weights_of_a_file_are_read_and_checked(tmp_path):
    path = tmp_path / "alexnet.safetensors"
    sha256 = alexnet(path)
    about = {"encoder": "alexnet", "layer": "fc1", "image_side": 224, "weights": str(path), "seed": 0}
    network = image_encoder(**about, weights_sha256=sha256)
    torch.manual_seed(1)
    expected = ImageEncoder("alexnet", "fc1").eval()
    stacks = torch.randint(0, 256, (1, 3, 40, 60), dtype=torch.uint8)
    with torch.inference_mode():
        torch.testing.assert_close(network(stacks), expected(stacks))
        assert network(stacks).shape == (1, 4096)
    with pytest.raises(ParamsError, match=r"expected 0{64} by train\.fc_lstm\.weights_sha256"):
        image_encoder(**about, weights_sha256="0" * 64)
    with pytest.raises(ParamsError, match="cannot be read"):
        image_encoder(**(about | {"weights": str(tmp_path / "none")}), weights_sha256=sha256)
    sha256 = alexnet(path, **{"features.0.bias": torch.zeros(3)})
    with pytest.raises(DamagedData, match=r"weight features\.0\.bias has shape \(3,\), expected \(64,\)"):
        image_encoder(**about, weights_sha256=sha256)


def checkpoint_of_lite0(network, **changes):
    """Return a checkpoint with the network's weights under other names, as another program writes it."""
    named = {f"_layer{number}": value for number, value in enumerate(network.state_dict().values())}
    file = BytesIO()
    torch.save(named | {"_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)} | changes, file)
    return file.getvalue()


def test_a_checkpoint_of_efficientnet_lite0_becomes_weights_of_our_names(tmp_path):
    torch.manual_seed(2)
    network = ImageEncoder("efficientnet_lite0", "pooled").eval()
    content = converted(checkpoint_of_lite0(network))
    path = tmp_path / "lite0.safetensors"
    path.write_bytes(content)
    about = {"encoder": "efficientnet_lite0", "layer": "pooled", "image_side": 64, "weights": str(path), "seed": 0}
    read = image_encoder(**about, weights_sha256=hashlib.sha256(content).hexdigest())
    for name, value in network.state_dict().items():
        torch.testing.assert_close(read.state_dict()[name], value, msg=name)
    with pytest.raises(DamagedData, match=r"_layer0 has shape \(3,\), expected \(32, 3, 3, 3\)"):
        converted(checkpoint_of_lite0(network, _layer0=torch.zeros(3)))
    with pytest.raises(DamagedData, match="has 295 weights"):
        converted(checkpoint_of_lite0(network, _more=torch.zeros(3)))


def test_preset_study_names_the_weights_that_set_up_fetches(tmp_path, monkeypatch):
    section = yaml.safe_load(preset_text("study"))["train"]["fc_lstm"]
    assert (section["weights"], section["weights_sha256"]) == (str(WEIGHTS), WEIGHTS_SHA256)
    monkeypatch.chdir(tmp_path)
    names = ("encoder", "layer", "image_side", "weights", "weights_sha256", "seed")
    with pytest.raises(ParamsError, match=r"cannot be read: No such file or directory; run \./setup\.sh weights"):
        image_encoder(**{name: section[name] for name in names})


def test_a_layer_that_the_image_network_does_not_have_is_refused():
    params = FcLstmParams.model_validate(yaml.safe_load(preset_text("study"))["train"]["fc_lstm"])
    FcLstmFamily().check_more(params)
    with pytest.raises(ParamsError, match=r"layer is fc1, expected pooled of efficientnet_lite0"):
        FcLstmFamily().check_more(params.model_copy(update={"layer": "fc1"}))
    with pytest.raises(ParamsError, match=r"layer is pooled, expected fc1 or fc2 of alexnet"):
        FcLstmFamily().check_more(params.model_copy(update={"encoder": "alexnet"}))


def test_fc_lstm_runs_without_weights_and_says_so(captures, tmp_path, caplog):
    changes = {
        "encoder": "alexnet",
        "layer": "fc1",
        "image_side": 64,  # a twelfth of the work
        "weights": None,
        "weights_sha256": None,
        "n_recurrent": [8],
        "dropout": 0.2,
        "bidirectional": False,
        "input": "picture",
        "subtract_still": False,
        "augment": AUGMENT | {"mirror": 0.0},
        "cameras": "cam_left",
        "n_steps": 2,
        "steps_per_epoch": 2,
    }
    params = FcLstmParams.model_validate(SHARED | changes)
    family = FcLstmFamily()
    fit(family, params, captures, tmp_path / "out")
    assert "its features are those of random weights" in caplog.text
    assert json.loads((tmp_path / "out" / "fc_lstm.json").read_text())["encoding"]["weights"] is None
    with pytest.raises(ParamsError, match="input is bars, expected picture"):
        family.check_more(params.model_copy(update={"input": "bars"}))


def test_every_family_is_in_the_table():
    for name in ("cnn_lstm", "conv_lstm", "fc_lstm", "capture_baselines"):
        family = load_family(name)
        assert family.data == "captures"
        assert family.systems[0] in (name, "mean_features")
