"""A linear regression stands for any network: what is tested is the training around it."""

import pickle

import numpy as np
import pytest
import torch

from tasks.families.networks import deterministic_torch
from tasks.families.training import fit_network


def squared_error(line, batch):
    x, y = batch
    return (line(x)[:, 0] - y).square().mean()


def optimizer(parameters):
    adam = torch.optim.Adam(parameters, lr=0.1)
    return adam, torch.optim.lr_scheduler.ExponentialLR(adam, 0.97)


def batch_of(epoch, step):
    rng = np.random.default_rng((epoch, step))
    x = torch.from_numpy(rng.standard_normal((16, 3)).astype(np.float32))
    return x, x @ torch.tensor([1.0, -2.0, 0.5])


VALIDATION = [batch_of(99, 0)]


def fit(out, resume, make_batch=batch_of, n_epochs=4, validation=VALIDATION, make_optimizer=optimizer, **more):
    with deterministic_torch(seed=0, n_threads=1):
        return fit_network(
            torch.nn.Linear(3, 1),
            squared_error,
            make_optimizer,
            make_batch,
            validation,
            system="line",
            n_epochs=n_epochs,
            n_steps_per_epoch=5,
            out=out,
            resume=resume,
            accelerator="cpu",
            **more,
        )


def files_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    state = fit(out, tmp_path_factory.mktemp("resume"))
    return state, files_of(out)


def test_the_same_training_gives_the_same_weights_and_files(undisturbed, tmp_path):
    state = fit(tmp_path / "out", tmp_path / "resume")
    assert all(torch.equal(state[name], undisturbed[0][name]) for name in undisturbed[0])
    assert files_of(tmp_path / "out") == undisturbed[1]


def test_a_line_is_learned_and_its_curve_has_a_row_an_epoch(undisturbed):
    rows = undisturbed[1]["curves/line.csv"].decode().splitlines()
    assert rows[0] == "step,train_loss,validation_loss"
    assert [row.split(",")[0] for row in rows[1:]] == ["5", "10", "15", "20"]
    assert float(rows[-1].split(",")[2]) < float(rows[1].split(",")[2])
    assert any(name.startswith("dvclive/line/") and name.endswith(".tsv") for name in undisturbed[1])


@pytest.mark.parametrize("killed_at", [(0, 3), (1, 0), (2, 4)])
def test_a_training_that_was_killed_goes_on_to_the_same_end(killed_at, undisturbed, tmp_path):
    def until(epoch, step):
        if (epoch, step) == killed_at:
            raise RuntimeError("killed")
        return batch_of(epoch, step)

    with pytest.raises(RuntimeError, match="killed"):
        fit(tmp_path / "half", tmp_path / "resume", until)
    seen = []

    def rest(epoch, step):
        seen.append((epoch, step))
        return batch_of(epoch, step)

    state = fit(tmp_path / "out", tmp_path / "resume", rest)
    assert seen[0] == (killed_at[0], 0)  # whole epochs before the kill are not trained again
    assert all(torch.equal(state[name], undisturbed[0][name]) for name in undisturbed[0])
    assert files_of(tmp_path / "out") == undisturbed[1]


def test_a_finished_training_is_not_trained_again(undisturbed, tmp_path):
    fit(tmp_path / "first", tmp_path / "resume")

    def never(epoch, step):
        raise AssertionError("trained again")

    state = fit(tmp_path / "out", tmp_path / "resume", never)
    assert all(torch.equal(state[name], undisturbed[0][name]) for name in undisturbed[0])
    assert files_of(tmp_path / "out") == undisturbed[1]


def test_half_a_checkpoint_starts_the_training_afresh(undisturbed, tmp_path):
    fit(tmp_path / "first", tmp_path / "resume", n_epochs=1)
    checkpoint = tmp_path / "resume" / "line" / "last.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-200])
    fit(tmp_path / "out", tmp_path / "resume")
    assert files_of(tmp_path / "out") == undisturbed[1]


class Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_checkpoint_is_never_unpickled(undisturbed, tmp_path):
    checkpoint = tmp_path / "resume" / "line" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(pickle.dumps({"state_dict": Canary(tmp_path / "pwned")}))
    fit(tmp_path / "out", tmp_path / "resume")
    torch.save({"state_dict": Canary(tmp_path / "pwned")}, checkpoint)
    fit(tmp_path / "out2", tmp_path / "resume")
    assert not (tmp_path / "pwned").exists()
    assert files_of(tmp_path / "out2") == undisturbed[1]


def test_the_weights_of_the_best_validation_are_kept_not_the_last(tmp_path):

    def misleading(epoch, step):
        x, y = batch_of(epoch, step)
        return (x, y) if epoch < 2 else (x, -y)

    state = fit(tmp_path / "out", tmp_path / "resume", misleading)
    short = fit(tmp_path / "short", tmp_path / "resume2", misleading, n_epochs=2)
    assert all(torch.equal(state[name], short[name]) for name in short)


def test_the_state_is_the_networks_own_and_a_loop_without_lightning_finds_the_same(undisturbed):
    with deterministic_torch(seed=0, n_threads=1):
        line = torch.nn.Linear(3, 1)
        adam, schedule = optimizer(line.parameters())
        states, losses = [], []
        for epoch in range(4):
            for step in range(5):
                adam.zero_grad()
                squared_error(line, batch_of(epoch, step)).backward()
                adam.step()
                schedule.step()
            states.append({name: tensor.clone() for name, tensor in line.state_dict().items()})
            losses.append(squared_error(line, batch_of(99, 0)).item())
    best = states[int(np.argmin(losses))]
    assert undisturbed[0].keys() == {"weight", "bias"}
    assert all(torch.equal(undisturbed[0][name], best[name]) for name in best)


def test_an_optimizer_without_a_schedule_keeps_its_rate(undisturbed, tmp_path):
    state = fit(
        tmp_path / "out",
        tmp_path / "resume",
        make_optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.1),
    )
    assert not torch.equal(state["weight"], undisturbed[0]["weight"])


def test_another_validation_loss_chooses_another_epoch(undisturbed, tmp_path):
    state = fit(tmp_path / "out", tmp_path / "resume", validation_loss=lambda line, batch: -squared_error(line, batch))
    first = fit(tmp_path / "first", tmp_path / "resume2", n_epochs=1)
    assert torch.equal(state["weight"], first["weight"])
    assert not torch.equal(state["weight"], undisturbed[0]["weight"])


def test_validation_batches_count_by_their_examples(tmp_path):
    sizes, losses = (1, 3), (4.0, 0.0)
    batches = [{"loss": torch.full((n,), loss), "extra": torch.zeros(7)} for n, loss in zip(sizes, losses, strict=True)]
    fit(
        tmp_path / "out",
        tmp_path / "resume",
        n_epochs=1,
        validation=batches,
        validation_loss=lambda line, batch: batch["loss"].mean(),
    )
    assert (tmp_path / "out/curves/line.csv").read_text().splitlines()[1].endswith(",1")
