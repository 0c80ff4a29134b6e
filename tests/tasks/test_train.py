"""What stands in a family's folder after a training that ended well, badly, or in a disguise."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tasks.chunk import SegmentParams, index_takes
from tasks.errors import DamagedData, ParamsError
from tasks.families.baselines import BaselinesParams
from tasks.families.piano_roll import PianoRollParams
from tasks.families.training import BestOfValidation
from tasks.store.segments import ScoreSet
from tasks.takes import SplitParams, read_catalog
from tasks.train import train_family

SCORES, OUT, RESUME = Path("data/chunked/scores"), Path("data/trained/baselines"), Path("resume")
PARAMS = BaselinesParams(n_fft=256, n_pictures=32, kept_s=0.2, grain_s=0.08, gain=1.0, program=0, seed=0)


@pytest.fixture
def train(chunked, notes_of):
    """Return a function that fits the baselines to three takes."""
    for n, part in enumerate(("train", "validation", "test")):
        chunked(f"take_{n}", notes_of(*((0.3 * i, 0.3 * i + 0.2, 50 + 4 * i + n, 80) for i in range(1, 6))), part=part)
    split = SplitParams(salt="s", train_percent=60, validation_percent=20, min_pieces=1)
    index_takes(SCORES, read_catalog(), split, SegmentParams(length_s=1.0, hop_s=1.0))

    def run(name="baselines", **changes):
        params = PARAMS.model_copy(update=changes)
        train_family(name, params, data=SCORES, out=OUT, resume_root=RESUME, accelerator="cpu", networks="portable")
        return results()

    return run


PIANO_ROLL = PianoRollParams(
    n_rows=4,
    window_width=20,
    n_hidden=4,
    n_steps=6,
    steps_per_epoch=2,
    batch_size=4,
    learning_rate=1e-2,
    velocity_weight=1.0,
    n_pictures=16,
    n_validation_pictures=8,
    jitter_luma=0.0,
    noise_luma=0.0,
    blur=0.0,
    gain=0.2,
    program=0,
    n_threads=1,
    seed=0,
)


@pytest.fixture
def fit_roll(chunked, notes_of, monkeypatch):
    """Return functions that store three takes with keys lit one way, and that train a network on them."""

    def store(lit):
        for folder in ("raw", "ingested", "rendered", "extracted", "chunked"):
            shutil.rmtree(Path("data") / folder, ignore_errors=True)
        for n, part in enumerate(("train", "validation", "test")):
            notes = notes_of(*((0.3 * i, 0.3 * i + 0.2, 50 + 4 * i + n, 20 + 15 * i) for i in range(1, 6)))
            chunked(f"take_{n}", notes, part=part, lit=lit)
        split = SplitParams(salt="s", train_percent=60, validation_percent=20, min_pieces=1)
        index_takes(SCORES, read_catalog(), split, SegmentParams(length_s=1.0, hop_s=1.0))

    def fit(resume="resume", killed_after=None, **changes):
        """Train; die after some epochs."""
        end = BestOfValidation.on_train_epoch_end
        n_epochs = []

        def end_or_die(self, trainer, module):
            n_epochs.append(trainer.current_epoch)
            if len(n_epochs) == killed_after:
                raise RuntimeError("killed")
            end(self, trainer, module)

        out = Path("trained")
        with monkeypatch.context() as patch:
            patch.setattr(BestOfValidation, "on_train_epoch_end", end_or_die)
            train_family(
                "piano_roll",
                PIANO_ROLL.model_copy(update=changes),
                data=SCORES,
                out=out,
                resume_root=Path(resume),
                accelerator="cpu",
                networks="fast",
            )
        return n_epochs, {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}

    return store, fit


def test_a_killed_training_goes_on_with_the_same_data_and_begins_anew_with_other_pictures_of_it(fit_roll):
    store, fit = fit_roll
    store("velocity")
    with pytest.raises(RuntimeError, match="killed"):
        fit(killed_after=3)
    index = [(SCORES / name).read_bytes() for name in ("takes.json", "segments.parquet")]
    store("flat")
    assert [(SCORES / name).read_bytes() for name in ("takes.json", "segments.parquet")] == index  # the same recordings
    clean = fit("elsewhere")
    with pytest.raises(RuntimeError, match="killed"):
        fit("again", killed_after=2)
    again = fit("again")
    anew = fit()
    assert (len(anew[0]), len(again[0])) == (3, 2)
    assert anew[1] == again[1] == clean[1]
    store("velocity")
    assert fit()[1] != clean[1]


def results():
    return {path.relative_to(OUT).as_posix(): path.read_bytes() for path in OUT.rglob("*") if path.is_file()}


def test_the_same_takes_and_params_give_the_same_bytes_and_nothing_of_before_stays(train):
    before = train()
    (OUT / "left_behind.json").write_text("{}")
    assert train() == before
    assert {name for name in before if name.endswith(".safetensors")} == {
        f"{system}.safetensors" for system in ("mean", "silence", "nearest", "unigram", "upper_bound")
    }


def test_test_takes_are_never_opened(train):
    before = train()
    for take in ScoreSet(SCORES).takes("test"):
        shutil.rmtree(SCORES / take)
    assert train() == before


def test_a_training_that_fails_leaves_what_was_there(train):
    before = train()
    shutil.rmtree(SCORES / "take_0")
    with pytest.raises(DamagedData, match="take_0"):
        train(n_pictures=16)
    assert results() == before
    assert [path.name for path in OUT.parent.iterdir()] == ["baselines"]
    (SCORES / "takes.json").unlink()
    with pytest.raises(DamagedData, match=r"takes\.json is missing"):
        train()
    assert results() == before


def test_a_finished_training_clears_its_own_checkpoints_and_no_others(train):
    for name in ("baselines-0123", "baselines-4567", "piano_roll-89ab"):
        (RESUME / name).mkdir(parents=True)
    train()
    assert [path.name for path in RESUME.iterdir()] == ["piano_roll-89ab"]


def test_the_unigram_is_the_share_of_each_code_in_the_training_takes(train):
    train()
    codes = np.concatenate([ScoreSet(SCORES).open(take)["codes"][:] for take in ScoreSet(SCORES).takes("train")])
    header, row = (OUT / "curves" / "unigram.csv").read_text().splitlines()
    counts = np.bincount(codes, minlength=256)
    share = counts[counts > 0] / len(codes)
    told = dict(zip(header.split(","), map(float, row.split(",")), strict=True))
    assert told["train_nats"] == pytest.approx(-(share * np.log(share)).sum(), abs=0.03)  # smoothed by a count a code


def test_an_unknown_family_is_named(train):
    with pytest.raises(ParamsError, match="family 'kazoo' is unknown, expected one of baselines, "):
        train("kazoo")
    assert not OUT.exists()
