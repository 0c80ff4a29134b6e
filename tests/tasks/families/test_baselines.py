"""Each baseline against what it is said to be."""

import shutil

import numpy as np
import pytest
import scipy.signal
import scipy.stats

from tasks.errors import DamagedData, ParamsError
from tasks.families.baselines import Baselines, BaselinesParams
from tasks.features.mu_law import mu_law_decode, mu_law_encode
from tasks.features.resample import resample
from tasks.store.segments import ScoreSet

PARAMS = BaselinesParams(n_fft=512, n_pictures=1000, kept_s=0.5, grain_s=0.05, gain=1.0, program=0, seed=0)


@pytest.fixture(scope="module")
def trained(music, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    Baselines().fit(music.scores, out, params=PARAMS, resume=out / "none", accelerator="cpu")
    return out


def heard(music, trained, *takes, truth=True):
    films = {take: music.film(take) for take in takes}
    found = Baselines().perform(trained, films, accelerator="cpu", truth=music.notes if truth else None)
    return {(p.system, p.take): p for p in found}


def true_sound(music, *takes):
    return np.concatenate([mu_law_decode(music.scores.open(take)["codes"][:]) for take in takes])


def test_every_system_makes_a_sound_as_long_as_its_film(music, trained):
    found = heard(music, trained, "c", "d")
    assert list(found) == [(system, take) for system in Baselines.systems for take in ("c", "d")]
    assert all(len(p.audio) == 6 * p.sample_rate and np.abs(p.audio).max() <= 1 for p in found.values())
    assert {p.sample_rate for p in found.values()} == {4_000, 48_000}
    assert {system for (system, _), p in found.items() if p.notes is not None} == {"upper_bound"}


def test_fitting_and_performing_give_the_same_bytes_whatever_else_is_performed(music, trained, tmp_path):
    Baselines().fit(music.scores, tmp_path, params=PARAMS, resume=tmp_path / "none", accelerator="cpu")
    names = sorted(p.relative_to(trained) for p in trained.rglob("*") if p.is_file())
    assert all((tmp_path / name).read_bytes() == (trained / name).read_bytes() for name in names)
    both, alone = heard(music, trained, "c", "d"), heard(music, trained, "d")
    assert all(both[key].audio.tobytes() == performance.audio.tobytes() for key, performance in alone.items())


def test_fitting_never_opens_a_test_take(music, trained, tmp_path):
    shutil.copytree(music.scores.folder, tmp_path / "set", ignore=shutil.ignore_patterns("d"))
    out = tmp_path / "out"
    Baselines().fit(ScoreSet(tmp_path / "set"), out, params=PARAMS, resume=out, accelerator="cpu")
    assert (out / "nearest.safetensors").read_bytes() == (trained / "nearest.safetensors").read_bytes()


def test_silence_is_silent(music, trained):
    assert not heard(music, trained, "d")["silence", "d"].audio.any()


def test_mean_is_steady_and_has_the_training_sounds_power_and_spectrum(music, trained):
    audio = heard(music, trained, "d")["mean", "d"].audio
    training = true_sound(music, "a", "b")
    assert np.square(audio).mean() == pytest.approx(np.square(training).mean(), rel=0.15)
    spectra = [scipy.signal.welch(x, 4_000, nperseg=256)[1] for x in (audio, training)]
    assert np.corrcoef(*np.log(spectra))[0, 1] > 0.95
    thirds = [np.square(part).mean() for part in np.split(audio, 3)]
    assert max(thirds) / min(thirds) < 1.5


def test_unigram_nats_are_the_cross_entropy_of_the_training_histogram(music, trained):
    rows = music.scores.segments("test")
    nats = Baselines().nats(trained, music.scores, rows, accelerator="cpu")
    assert list(nats) == ["unigram"]
    training = np.concatenate([music.scores.open(take)["codes"][:] for take in ("a", "b")])
    counts = np.bincount(training, minlength=256) + 1
    for row, found in zip(rows, nats["unigram"], strict=True):
        codes = music.scores.open("d")["codes"][row.start_sample : row.start_sample + row.n_samples]
        expected = -np.log(counts / counts.sum())[codes].mean()
        assert found == pytest.approx(expected, rel=1e-12)
    curve = (trained / "curves" / "unigram.csv").read_text().splitlines()
    entropy = scipy.stats.entropy(np.bincount(training, minlength=256))
    assert float(curve[1].split(",")[1]) == pytest.approx(entropy, abs=0.01)


def test_no_baseline_with_nats_is_conditioned_on_pictures(music, trained):
    rows = music.scores.segments("test")
    assert Baselines().nats(trained, music.scores, rows, accelerator="cpu", pictures_of={"d": "a"}) == {}


def test_unigram_draws_codes_as_often_as_training_has_them(music, trained):
    drawn = mu_law_encode(heard(music, trained, "d")["unigram", "d"].audio)
    training = np.concatenate([music.scores.open(take)["codes"][:] for take in ("a", "b")])
    shares = [np.bincount(codes, minlength=256) / len(codes) for codes in (drawn, training)]
    assert np.abs(np.cumsum(shares[0]) - np.cumsum(shares[1])).max() < 0.02  # 24,000 draws: 0.0126 at 0.1 %


def test_nearest_plays_a_training_film_with_its_own_sound(music, trained):
    for take, other in (("a", "b"), ("b", "a")):
        audio = heard(music, trained, take)["nearest", take].audio
        assert np.corrcoef(audio, true_sound(music, take))[0, 1] > 0.5
        assert abs(np.corrcoef(audio, true_sound(music, other))[0, 1]) < 0.3


def test_the_upper_bound_is_the_truth_through_the_synthesizer_and_needs_it(music, trained):
    performance = heard(music, trained, "d")["upper_bound", "d"]
    assert performance.notes is music.notes["d"]
    sound = resample(performance.audio, 48_000, 4_000)
    assert np.corrcoef(sound, true_sound(music, "d"))[0, 1] > 0.99
    assert ("upper_bound", "d") not in heard(music, trained, "d", truth=False)


@pytest.mark.parametrize(
    ("change", "found"),
    [({"n_fft": 511}, "n_fft 511"), ({"n_pictures": 0}, "n_pictures 0"), ({"grain_s": 0.6}, "grain_s is 0.6")],
)
def test_params_without_sense_are_refused(change, found, music, tmp_path):
    with pytest.raises(ParamsError, match=found):
        Baselines().fit(
            music.scores, tmp_path, params=PARAMS.model_copy(update=change), resume=tmp_path, accelerator="cpu"
        )


def test_a_folder_that_lacks_a_system_is_refused(music, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "trained")
    (tmp_path / "trained" / "nearest.json").write_text("{}")
    with pytest.raises(DamagedData, match=r"nearest\.json is not what training writes \(KeyError\('sample_rate'\)\)"):
        heard(music, tmp_path / "trained", "d")
    (tmp_path / "trained" / "mean.safetensors").unlink()
    with pytest.raises(DamagedData, match="train the family first"):
        heard(music, tmp_path / "trained", "d")
