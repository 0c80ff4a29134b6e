"""Verb ``search``: which parameters a family learns best with, by DVC experiments that Optuna proposes.

Proposals are made in rounds of `ROUND`, in order and seeded, so the same data, code and seed end with the same
winner however many run at once and however often the search was cut off: an experiment that is there already is not run
again. Each trial first trains for a share of the steps; only the better half of all so far trains in full (successive
halving with two rungs, Jamieson & Talwalkar 2016).

Source: the marimba project searched learning rate and weight scale log-uniformly, one trial, and plotted no score.
"""

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial, TrialState
from pydantic import Field
from ruamel.yaml import YAML

from tasks.errors import DamagedData, ParamsError
from tasks.families import load_family
from tasks.numerics import NumericsParams
from tasks.page.figures import draw_search
from tasks.params import PARAMS_FILE, Section, read_params, section_values
from tasks.step import json_sha256, write_whole
from tasks.train import open_data_set, training_inputs
from tasks.versions.experiments import experiment_refs, forget_failed, queue_experiment, run_experiments
from tasks.versions.history import read_version
from tasks.versions.repro import repro

FOUND = Path(".audiate/search")
OBJECTIVE = "validation_loss"
STEPS = "n_steps"  # what every family that trains in steps calls them
ROUND = 4  # trials that are proposed before any of them is known

State = Literal["full", "pruned", "failed"]
Tell = Callable[[str], None]


class Range(Section):
    """Where a parameter is looked for.

    Attributes:
        low: its smallest value.
        high: its largest.
        log: whether its logarithm is drawn evenly.
        whole: whether it is a whole number.
    """

    low: float
    high: float
    log: bool
    whole: bool

    def distribution(self) -> BaseDistribution:
        """Return it as Optuna has it."""
        if self.whole:
            return IntDistribution(round(self.low), round(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)


class SearchParams(Section):
    """How a search goes.

    Attributes:
        seed: of the proposals.
        n_at_once: experiments that run side by side.
        first_rung: share of the steps that every trial trains for.
        ranges: by family, the parameters of its section and where they are looked for.
    """

    seed: int
    n_at_once: Annotated[int, Field(ge=1)]
    first_rung: Annotated[float, Field(gt=0, lt=1)]
    ranges: dict[str, dict[str, Range]]


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One trial.

    Attributes:
        number: from 0 on.
        values: of the parameters that are searched.
        state: ``full`` when it trained for all steps, ``pruned`` after the first rung, or ``failed``.
        first_loss: lowest validation loss of the first rung; NaN where it failed.
        loss: the same of the full training; NaN where there was none.
    """

    number: int
    values: Mapping[str, float]
    state: State
    first_loss: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class Searched:
    """What a search found.

    Attributes:
        family: whose parameters.
        tried: all trials, in order.
        best: the one with the lowest loss; None when all failed.
        table: the trials as CSV.
        plot: validation loss against each parameter.
    """

    family: str
    tried: tuple[Tried, ...]
    best: Tried | None
    table: Path
    plot: Path


def search(family: str, n_trials: int, *, params: SearchParams, data: Path, tell: Tell) -> Searched:
    """Try parameters of one family, and write the trials as a table and a picture.

    Args:
        family: that trains in steps.
        n_trials: how many in all; those of an earlier search of the same data, code and seed count.
        params: of the section ``search``.
        data: folder of the data set that the family learns from.
        tell: called with what runs, a line at a time.

    Raises:
        ParamsError: the family is unknown or has no range, or does not train in steps.
        DamagedData: the data set is not whole.
        ExperimentError: DVC does not run experiments here.
    """
    adapter = load_family(family)
    if not params.ranges.get(family):
        raise ParamsError(f"params.yaml: search.ranges has no {family}, expected the parameters to look for")
    values = read_params()
    numerics = NumericsParams.parse(section_values(values, "numerics"), "numerics")
    own = section_values(values, f"train.{family}")
    if not isinstance(own, Mapping) or not {STEPS, "steps_per_epoch"} <= own.keys():
        raise ParamsError(f"params.yaml: train.{family} has no {STEPS}: it does not train in steps")
    if strange := sorted(name for name in params.ranges[family] if not _holds(own, name)):
        raise ParamsError(f"params.yaml: search.ranges.{family}.{strange[0]} is no parameter of train.{family}")
    experiments = _Experiments(
        family,
        system=adapter.systems[0],
        n_steps=int(own[STEPS]),
        steps_per_epoch=int(own["steps_per_epoch"]),
        about=training_inputs(family, adapter.data, open_data_set(adapter.data, data), own, numerics.networks),
        n_at_once=params.n_at_once,
    )
    repro(["code"])  # an experiment refuses code that data/code.json does not know
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=params.seed, n_startup_trials=8))
    ranges = {name: found.distribution() for name, found in params.ranges[family].items()}
    tried: list[Tried] = []
    while len(tried) < n_trials:
        proposed = [study.ask(ranges) for _ in range(min(ROUND, n_trials - len(tried)))]
        tell(f"search: trials {len(tried)} to {len(tried) + len(proposed) - 1} of {n_trials}")
        tried += _round(study, proposed, experiments, tried, first_rung=params.first_rung)
        done = [one for one in tried if one.state == "full"]
        if done:
            best = min(done, key=lambda one: one.loss)
            tell(f"search: best so far is trial {best.number} with {best.loss:.5g}")
    return _written(family, tried)


def promote(searched: Searched, path: Path = PARAMS_FILE) -> None:
    """Write the winner's values to params.yaml, and leave everything else in it as it is.

    Raises:
        ParamsError: there is no winner.
    """
    if searched.best is None:
        raise ParamsError(f"no trial of {searched.family} trained in full: there is nothing to promote")
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 120
    with path.open(encoding="utf-8") as file:
        loaded = yaml.load(file)
    for name, value in searched.best.values.items():
        section = loaded["train"][searched.family]
        *parents, last = name.split(".")
        for parent in parents:
            section = section[parent]
        section[last] = value
    text = io.StringIO()
    yaml.dump(loaded, text)
    write_whole(path, text.getvalue())


def _holds(section: Mapping[str, Any], name: str) -> bool:
    values: Any = section
    for part in name.split("."):
        if not isinstance(values, Mapping) or part not in values:
            return False
        values = values[part]
    return True


class _Experiments:
    """The experiments of one search: run when they are not there, and read."""

    def __init__(
        self,
        family: str,
        *,
        system: str,
        n_steps: int,
        steps_per_epoch: int,
        about: Mapping[str, Any],
        n_at_once: int,
    ) -> None:
        self._family, self._system = family, system
        self._n_steps, self._steps_per_epoch = n_steps, steps_per_epoch
        self._about, self._n_at_once = about, n_at_once

    def losses(self, proposed: Sequence[Mapping[str, float]], *, share: float) -> list[float]:
        """Train with each of some values for a share of the steps; return the losses, NaN where one failed."""
        n_epochs = max(1, round(share * self._n_steps / self._steps_per_epoch))
        changes = [{**values, STEPS: n_epochs * self._steps_per_epoch} for values in proposed]
        names = [self._name(change) for change in changes]
        there = experiment_refs()
        missing = {name: change for name, change in zip(names, changes, strict=True) if name not in there}
        forget_failed(missing)
        for name, change in missing.items():
            queue_experiment(
                name, f"train@{self._family}", {f"train.{self._family}.{key}": value for key, value in change.items()}
            )
        run_experiments(missing, n_at_once=self._n_at_once)
        there = experiment_refs()
        return [self._loss(there[name]) if name in there else math.nan for name in names]

    def _name(self, change: Mapping[str, float]) -> str:
        return f"search-{self._family}-{json_sha256({**self._about, 'change': dict(change)})[:12]}".lower()

    def _loss(self, ref: str) -> float:
        path = read_version(ref).result(f"data/trained/{self._family}", f"curves/{self._system}.csv")
        with path.open(newline="", encoding="utf-8") as file:
            try:
                losses = [float(row[OBJECTIVE]) for row in csv.DictReader(file)]
            except (KeyError, ValueError) as error:
                raise DamagedData(f"{path} is not a curve with {OBJECTIVE}: {error}") from None
        finite = [loss for loss in losses if math.isfinite(loss)]
        return min(finite, default=math.nan)


def _round(
    study: optuna.Study,
    proposed: Sequence[Trial],
    experiments: _Experiments,
    before: Sequence[Tried],
    *,
    first_rung: float,
) -> list[Tried]:
    """Train some proposals, the hopeful ones in full, and tell Optuna of all in their order."""
    first = experiments.losses([trial.params for trial in proposed], share=first_rung)
    known = [loss for loss in [*(one.first_loss for one in before), *first] if math.isfinite(loss)]
    bar = median(known) if known else math.inf
    hopeful = [number for number, loss in enumerate(first) if loss <= bar]
    full = dict(zip(hopeful, experiments.losses([proposed[at].params for at in hopeful], share=1.0), strict=True))
    tried = []
    for at, trial in enumerate(proposed):
        loss = full.get(at, math.nan)
        state: State = "full" if math.isfinite(loss) else "failed" if at in full or math.isnan(first[at]) else "pruned"
        if state == "full":
            study.tell(trial, loss)
        elif state == "pruned":
            trial.report(first[at], 0)
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, state=TrialState.FAIL)
        tried.append(
            Tried(number=trial.number, values=dict(trial.params), state=state, first_loss=first[at], loss=loss)
        )
    return tried


def _written(family: str, tried: Sequence[Tried]) -> Searched:
    folder = FOUND / family
    folder.mkdir(parents=True, exist_ok=True)
    names = list(tried[0].values) if tried else []
    lines = [",".join(["trial", *names, "state", "first_loss", "loss"])]
    for one in tried:
        values = [f"{one.values[name]:.6g}" for name in names]
        losses = ["" if math.isnan(loss) else f"{loss:.6g}" for loss in (one.first_loss, one.loss)]
        lines.append(",".join([str(one.number), *values, one.state, *losses]))
    write_whole(folder / "trials.csv", "\n".join(lines) + "\n")
    done = [one for one in tried if one.state == "full"]
    best = min(done, key=lambda one: (one.loss, one.number)) if done else None
    if best is not None:
        write_whole(
            folder / "best.json", json.dumps({"loss": best.loss, **best.values}, indent=1, sort_keys=True) + "\n"
        )
    draw_search(
        folder / "trials.png",
        {
            name: (
                [one.values[name] for one in tried],
                [one.first_loss for one in tried],
                [one.loss for one in tried],
            )
            for name in names
        },
    )
    return Searched(
        family=family, tried=tuple(tried), best=best, table=folder / "trials.csv", plot=folder / "trials.png"
    )
