"""Training with Lightning: fixed steps, the best of validation kept, resumed after a kill to the same end.

A step's batch is a function of its epoch and number, never of what ran before, so a run that was killed and
resumed sees what an undisturbed one sees.
"""

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from dvclive.live import Live
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Dataset

from tasks.errors import PipelineError
from tasks.families.trained import write_curve

CHECKPOINT = "last"
VALIDATION_LOSS = "validation_loss"

N = TypeVar("N", bound=nn.Module)

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer | tuple[Optimizer, LRScheduler]]
"""A network's parameters to its optimizer, alone or with a schedule of the learning rate that moves every step."""


class TrainingDiverged(PipelineError):
    """A loss was not a finite number. The checkpoint of the last whole epoch is kept."""


class EpochBatches(Dataset[Any]):
    """The batches of one epoch, each made when it is needed."""

    def __init__(self, make_batch: Callable[[int, int], Any], epoch: int, n_steps: int) -> None:
        self._make_batch, self._epoch, self._n_steps = make_batch, epoch, n_steps

    def __len__(self) -> int:
        return self._n_steps

    def __getitem__(self, step: int) -> Any:
        return self._make_batch(self._epoch, step)


class _Batches(LightningDataModule):
    """Hands the trainer the batches of its current epoch."""

    def __init__(self, make_batch: Callable[[int, int], Any], n_steps: int, validation: Sequence[Any]) -> None:
        super().__init__()
        self._make_batch, self._n_steps, self._validation = make_batch, n_steps, validation

    def train_dataloader(self) -> DataLoader[Any]:
        epoch = self.trainer.current_epoch if self.trainer is not None else 0
        return DataLoader(EpochBatches(self._make_batch, epoch, self._n_steps), batch_size=None)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(list(self._validation), batch_size=None)  # type: ignore[arg-type]


class _Training(LightningModule, Generic[N]):
    """A network, its loss and its optimizer as Lightning wants them."""

    def __init__(
        self,
        network: N,
        loss: Callable[[N, Any], Tensor],
        validation_loss: Callable[[N, Any], Tensor],
        make_optimizer: MakeOptimizer,
        describe: Callable[[int, int], str] | None,
        system: str,
    ) -> None:
        super().__init__()
        self.network = network
        self._loss, self._validation_loss, self._make_optimizer = loss, validation_loss, make_optimizer
        self._describe, self._system = describe, system

    def training_step(self, batch: Any, step: int) -> Tensor:
        loss = self._loss(self.network, batch)
        if not torch.isfinite(loss):
            examples = "" if self._describe is None else f" on {self._describe(self.current_epoch, step)}"
            raise TrainingDiverged(
                f"{self._system}: the loss of step {self.global_step + 1} is {loss.item()}{examples}; the checkpoint "
                f"of step {self.global_step - step} is kept: is the learning rate too high?"
            )
        return loss

    def validation_step(self, batch: Any, step: int) -> None:  # noqa: ARG002
        tensors = batch.values() if isinstance(batch, Mapping) else batch
        n_examples = len(batch) if isinstance(batch, Tensor) else len(next(iter(tensors)))
        self.log(VALIDATION_LOSS, self._validation_loss(self.network, batch), batch_size=n_examples)

    def configure_optimizers(self) -> Any:
        made = self._make_optimizer(self.network.parameters())
        if isinstance(made, Optimizer):
            return made
        optimizer, schedule = made
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class _Record(Live):
    """DVCLive's record as files alone: stages run inside DVC already, and a repository may have no commit yet."""

    def _init_dvc(self) -> None:
        self._dvc_file = "dvc.yaml"


class BestOfValidation(Callback):
    """Keeps the curve and the weights with the lowest validation loss; both survive in the checkpoint."""

    def __init__(self, network: nn.Module, live_folder: Path) -> None:
        self._network = network
        self._live_folder = live_folder
        self._live: Any = None  # dvclive's methods are untyped
        self._losses: list[Tensor] = []
        self.rows: list[tuple[int, float, float]] = []  # step, training loss since the last, validation loss
        self.best_loss = float("inf")
        self.best_state: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs."""
        return {"rows": self.rows, "best_loss": self.best_loss, "best_state": self.best_state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what an interrupted training left."""
        self.rows = [tuple(row) for row in state_dict["rows"]]
        self.best_loss, self.best_state = state_dict["best_loss"], state_dict["best_state"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Begin DVCLive's record, with the steps before an interruption."""
        self._live = _Record(str(self._live_folder), save_dvc_exp=False, dvcyaml=None)
        for row in self.rows:
            self._log(*row)

    def on_train_batch_end(
        self,
        trainer: Trainer,  # noqa: ARG002
        pl_module: LightningModule,  # noqa: ARG002
        outputs: Any,
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Note the step's loss."""
        self._losses.append(outputs["loss"].detach())

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Note the epoch, and its weights if they are the best so far."""
        train_loss = float(torch.stack(self._losses).mean())
        self._losses.clear()
        validation_loss = float(trainer.callback_metrics[VALIDATION_LOSS])
        self.rows.append((trainer.global_step, train_loss, validation_loss))
        self._log(*self.rows[-1])
        if validation_loss < self.best_loss:
            self.best_loss = validation_loss
            weights = self._network.state_dict()
            self.best_state = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Close DVCLive's record."""
        if self._live is not None:
            self._live.end()

    def _log(self, step: int, train_loss: float, validation_loss: float) -> None:
        if self._live is not None:
            self._live.step = step
            self._live.log_metric("train_loss", train_loss)
            self._live.log_metric(VALIDATION_LOSS, validation_loss)
            self._live.make_summary()


def fit_network(
    network: N,
    loss: Callable[[N, Any], Tensor],
    make_optimizer: MakeOptimizer,
    make_batch: Callable[[int, int], Any],
    validation: Sequence[Any],
    *,
    system: str,
    n_epochs: int,
    n_steps_per_epoch: int,
    out: Path,
    resume: Path,
    accelerator: str,
    precision: Any = "32-true",
    gradient_clip_norm: float | None = None,
    loss_column: str = "train_loss",
    validation_loss: Callable[[N, Any], Tensor] | None = None,
    describe: Callable[[int, int], str] | None = None,
) -> dict[str, Tensor]:
    """Train a network with Lightning and return the state that did best on validation.

    Writes ``out/curves/SYSTEM.csv`` (step, training and validation loss, a line an epoch), and the same as
    DVCLive's record to ``out/dvclive/SYSTEM``. No time of day and no duration is in them.

    Args:
        network: it is left with the weights of the last step.
        loss: (network, batch) to what the optimizer lowers, a mean over the batch's examples.
        make_optimizer: called once with the network's parameters.
        make_batch: (epoch, step of the epoch) to a batch, the same one at every call. A batch is a tensor, or a tuple
            or a mapping of tensors, the first of which has a row an example.
        validation: batches, the same after every epoch. Their losses count by their examples.
        system: names the files.
        n_epochs: all of them, those before an interruption included.
        n_steps_per_epoch: between two validations.
        out: the stage's output folder.
        resume: where the checkpoint of the last whole epoch lies.
        accelerator: Lightning's word.
        precision: Lightning's word.
        gradient_clip_norm: None clips nothing.
        loss_column: what the curve calls the training loss.
        validation_loss: what chooses the best state; None takes ``loss``.
        describe: (epoch, step of the epoch) to the names of the batch's examples, for an error.

    Returns:
        The network's ``state_dict`` after the epoch with the lowest validation loss, on the CPU.

    Raises:
        TrainingDiverged: a training loss is not finite.
    """
    training = _Training(network, loss, validation_loss or loss, make_optimizer, describe, system)
    best = BestOfValidation(network, out / "dvclive" / system)
    folder = resume / system
    keep = ModelCheckpoint(
        dirpath=folder,
        filename=CHECKPOINT,
        every_n_epochs=1,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    with _quiet():
        trainer = Trainer(
            accelerator=accelerator,
            devices=1,
            precision=precision,
            max_epochs=n_epochs,
            gradient_clip_val=gradient_clip_norm,
            callbacks=[best, keep],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            reload_dataloaders_every_n_epochs=1,
            default_root_dir=folder,
        )
        data = _Batches(make_batch, n_steps_per_epoch, validation)
        checkpoint = folder / f"{CHECKPOINT}.ckpt"
        can_resume = _is_whole(checkpoint)
        trainer.fit(training, datamodule=data, ckpt_path=checkpoint if can_resume else None, weights_only=True)
    write_curve(out / "curves" / f"{system}.csv", ("step", loss_column, VALIDATION_LOSS), best.rows)
    return best.best_state


def _is_whole(checkpoint: Path) -> bool:
    """Tell whether a training can go on from here; a checkpoint that a kill cut short cannot be used."""
    if not checkpoint.exists():
        return False
    try:
        torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception:  # half a zip file fails in many ways
        checkpoint.unlink()
        return False
    return True


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's advice (more workers, a GPU, a logger) out of a stage's output."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "dvclive")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
