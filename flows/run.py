"""How every stage runs: one Prefect task a stale take, every result waited for, a summary for people."""

import fcntl
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from html import escape
from pathlib import Path
from typing import Any, Self
from uuid import UUID, uuid4

from prefect import Flow, Task, tags, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.context import TagsContext
from prefect.flow_engine import run_flow
from prefect.states import Pending
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect.utilities.callables import get_call_parameters
from pydantic import ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from flows.server import prefect_server
from tasks.code import check_code
from tasks.errors import ParamsError, PipelineError
from tasks.families import check_kind, families_of
from tasks.numerics import Networks, NumericsParams, networks_of, pin_networks
from tasks.params import Section, read_params, section_values
from tasks.registry import kind_module
from tasks.step import (
    Item,
    Job,
    Outcome,
    Verified,
    Work,
    compute,
    is_valid,
    job_key,
    named_error,
    prune,
    write_whole,
)
from tasks.tools import check_tools

PROJECT = "audiate"
STATE = Path(".audiate")
UNDERWAY = STATE / "stage.json"
EXIT_INTERRUPTED = 130  # as shells say it


# A flow's keyword argument -> name of the section in params.yaml, and its class, or what finds the class once the
# family is known to be one.
Sections = Mapping[str, tuple[str, type[Section] | Callable[[], type[Section]]]]


class Settings(BaseSettings):
    """Where the work runs. Nothing here changes a result, so it is not in params.yaml.

    Attributes:
        runner: ``threads``, or ``dask://host:port`` of an existing cluster whose workers see this folder, or
            ``tls://host:port`` of one that speaks TLS.
        workers: takes worked on at once by threads.
        accelerator: what Lightning trains on: ``auto``, ``cpu``, ``gpu``.
        notify: command, as a shell splits it, that a watch gives what happened. Never a parameter of a run: whoever
            may start runs would choose what is run here.
        parent_run: Prefect's id of the run that this one is part of; a watch gives it to its stages.
        debug: show tracebacks.
    """

    model_config = SettingsConfigDict(env_prefix="AUDIATE_", env_ignore_empty=True)

    runner: str = "threads"
    workers: int = os.cpu_count() or 1
    accelerator: str = "auto"
    notify: str = ""
    parent_run: str = ""
    debug: bool = False

    @model_validator(mode="wrap")
    @classmethod
    def _name_what_is_wrong(cls, values: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return read(values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = f"AUDIATE_{'_'.join(map(str, first['loc']))}".upper()
            raise ParamsError(f"{name}: {first['msg']}, found {first['input']!r}") from None


@dataclass(frozen=True, kw_only=True)
class TakeWork:
    """What a per-take stage does with a take.

    Attributes:
        run: module-level function that writes the take's outputs.
        inputs: the files and upstream folders that it reads for an item.
        tools: name to version of the programs it uses, as ``check_tools`` returns them.
    """

    run: Work
    inputs: Callable[[Any], Sequence[Path]]
    tools: Mapping[str, str] = field(default_factory=dict)


def kind_work(verb: str) -> Callable[[Any], TakeWork]:
    """Return what ``verb`` does with a take of any kind: `tasks.registry` names the module.

    That module has ``VERB_take(take, out, params)``, ``inputs(take)`` and ``TOOLS``, the programs it uses.
    """

    @cache
    def of_kind(kind: str) -> TakeWork:
        module = kind_module(kind, verb)
        return TakeWork(run=getattr(module, f"{verb}_take"), inputs=module.inputs, tools=check_tools(module.TOOLS))

    return lambda take: of_kind(take.data_set)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a per-take stage did."""

    stage: str
    outcomes: tuple[Outcome, ...]
    pruned: tuple[str, ...]

    def names(self) -> list[str]:
        """Return the takes that have a valid folder now."""
        return [outcome.name for outcome in self.outcomes if outcome.state != "quarantined"]

    def counts(self) -> dict[str, int]:
        """Return how many takes were computed, reused, quarantined and pruned."""
        found = Counter(outcome.state for outcome in self.outcomes)
        return {
            "computed": found["computed"],
            "reused": found["reused"],
            "quarantined": found["quarantined"],
            "pruned": len(self.pruned),
        }

    def markdown(self) -> str:
        """Return the counts and what was quarantined, for Prefect."""
        counts = [f"- {count} {state}" for state, count in self.counts().items()]
        refused = [
            f"- quarantined `{outcome.name}`: {outcome.kind}: {escape(' '.join(outcome.reason.split()))}"
            for outcome in self.outcomes
            if outcome.state == "quarantined"
        ]
        return "\n".join([*counts, *refused]) + "\n"


def runner() -> TaskRunner[Any]:
    """Return the runner that the settings name.

    Raises:
        ParamsError: the setting is neither ``threads`` nor an address of Dask.
    """
    settings = Settings()
    if settings.runner == "threads":
        return ThreadPoolTaskRunner(max_workers=settings.workers)
    if settings.runner.startswith(("dask://", "tls://")):
        from prefect_dask import DaskTaskRunner

        dask_runner: TaskRunner[Any] = DaskTaskRunner(address=settings.runner.replace("dask://", "tcp://", 1))
        return dask_runner
    raise ParamsError(f"AUDIATE_RUNNER is {settings.runner!r}, expected threads, dask://host:port or tls://host:port")


class TakeFailedError(PipelineError):
    """The work on a take failed.

    Attributes:
        take: its name.
    """

    def __init__(self, message: str, *, take: str) -> None:
        super().__init__(message)
        self.take = take


@contextmanager
def one_at_a_time(stage: str) -> Iterator[None]:
    """Hold the stage for this process: a second run of it in the same project waits, and says for whom.

    The kernel frees the lock when its holder ends, however it ends. DVC has locks of its own; this one also stands
    between a schedule and a run by hand.
    """
    path = STATE / "locks" / stage
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            print(f"{stage}: waiting for {holder}, which runs this stage here", file=sys.stderr)  # noqa: T201
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(f"process {os.getpid()}\n")
        lock.flush()
        yield


def _can_pass_on_a_second_try(_task: object, _run: object, state: Any) -> bool:
    # A lost worker or a connection that broke; wrong input and a full disk fail the same way twice.
    error = state.result(raise_on_failure=False)
    return isinstance(error, ConnectionError | TimeoutError | InterruptedError)


@task(
    task_run_name="{take}",
    persist_result=False,
    cache_policy=NO_CACHE,
    retries=1,
    retry_condition_fn=_can_pass_on_a_second_try,
    log_prints=False,
)
def compute_take(take: str, job: Job, key: str) -> Outcome:  # noqa: ARG001 - Prefect shows the name of the take
    """Compute one take of one stage."""
    return compute(job, key)


def for_each_take(
    work_of: Callable[[Any], TakeWork],
    items: Iterable[Item],
    *,
    stage: str,
    out_dir: Path,
    params: Section,
    refused: Iterable[Outcome] = (),
) -> Summary:
    """Bring ``out_dir`` up to date: compute the takes that are stale, keep the others, prune what is gone.

    Args:
        work_of: what is done with an item: `kind_work`, or the same for all.
        items: the takes.
        stage: name of the stage.
        out_dir: folder that holds one folder a take.
        params: the stage's section.
        refused: takes that were found unusable before any work.

    Raises:
        PipelineError: the work on a take failed; all others were finished first.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    verified = Verified(STATE / "verified" / f"{stage}.json")
    jobs = [
        Job(
            stage=stage,
            item=item,
            work=work.run,
            params=params,
            inputs=tuple(work.inputs(item)),
            out_dir=out_dir,
            tools=work.tools,
        )
        for item in sorted(items, key=lambda item: item.name)
        for work in [work_of(item)]
    ]
    with ThreadPoolExecutor(Settings().workers) as pool:  # hashing releases the GIL
        keys = list(pool.map(lambda job: job_key(job, verified), jobs))
        valid = list(pool.map(lambda job, key: is_valid(job.folder, key, verified), jobs, keys))
    stale = [(job, key) for job, key, is_fresh in zip(jobs, keys, valid, strict=True) if not is_fresh]
    reused = [
        Outcome(name=job.item.name, state="reused") for job, is_fresh in zip(jobs, valid, strict=True) if is_fresh
    ]
    outcomes = [*refused, *reused, *_compute_all(stage, stale)]
    outcomes.sort(key=lambda outcome: outcome.name)
    pruned = prune(out_dir, [outcome.name for outcome in outcomes if outcome.state != "quarantined"])
    quarantine = [
        {"take": outcome.name, "kind": outcome.kind, "reason": outcome.reason}
        for outcome in outcomes
        if outcome.state == "quarantined"
    ]
    write_whole(out_dir / "quarantine.json", json.dumps(quarantine, indent=1) + "\n")
    verified.save()
    summary = Summary(stage=stage, outcomes=tuple(outcomes), pruned=tuple(pruned))
    create_markdown_artifact(summary.markdown(), key=stage, description=f"What {stage} did")
    return summary


def _compute_all(stage: str, stale: Sequence[tuple[Job, str]]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    failures: list[tuple[Job, Exception]] = []
    with progress_bar() as bar:
        shown = bar.add_task(stage, total=len(stale), visible=bool(stale))
        futures = [(job, compute_take.submit(job.item.name, job, key)) for job, key in stale]
        for job, future in futures:
            try:
                outcomes.append(future.result())
            except Exception as error:
                failures.append((job, error))
            bar.advance(shown)
    if failures:
        job, cause = failures[0]
        others = f" ({len(failures) - 1} more takes failed)" if len(failures) > 1 else ""
        what = str(cause) if isinstance(cause, PipelineError) else f"{type(cause).__name__}: {cause}"
        raise TakeFailedError(f"{stage}: take {job.item.name}: {what}{others}", take=job.item.name) from cause
    return outcomes


def progress_bar() -> Progress:
    """Return a bar that draws on a terminal and keeps quiet in a log."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description:>10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _section_class(given: type[Section] | Callable[[], type[Section]]) -> type[Section]:
    return given if isinstance(given, type) and issubclass(given, Section) else given()  # type: ignore[return-value]


def _networks(verb: str, family: str, params: Mapping[str, Any]) -> Networks:
    """Return a family's numerics: those of params.yaml in training, and later those that it was trained with."""
    if verb == "train":
        return NumericsParams.parse(section_values(params, "numerics"), "numerics").networks
    return networks_of(Path("data/trained") / family)


def run_stage(flow: Flow[..., Any], stage: str, sections: Sections, arguments: Sequence[str] = ()) -> int:
    """Run a stage as dvc.yaml calls it: read its sections, hold the server, run the flow, report what was done.

    The stage's code is held against ``data/code.json`` before and after, so that an edit in the middle of it, or
    ``dvc repro --single-item`` after one, cannot pass for a result of either.

    Args:
        flow: the stage's flow.
        stage: its name, and a family's behind ``@`` where there is one.
        sections: the flow's keyword arguments.
        arguments: the flow's positional arguments.

    Returns:
        The exit code: 0, or 1 after one line on what went wrong, or 130 when it was interrupted.
    """
    started, cpu = time.perf_counter(), time.process_time()
    underway = {"stage": stage, "began_at": time.time(), "take": None, "line": None}
    try:
        UNDERWAY.parent.mkdir(parents=True, exist_ok=True)
        write_whole(UNDERWAY, json.dumps(underway) + "\n")
        params = read_params()
        families = families_of(params)
        check_code(stage, families)
        verb, _, family = stage.partition("@")
        if family:
            # Before the family is loaded: torch reads its settings when it is imported.
            pin_networks(_networks(verb, family, params))
            check_kind(family, families)
        typed = {
            key: _section_class(of).parse(section_values(params, name), name) for key, (name, of) in sections.items()
        }
        with prefect_server() as server, server.connected(), server.needed(stage):
            done = _run_flow(flow.with_options(task_runner=runner()), stage, arguments, typed)
        check_code(stage, families)
    except KeyboardInterrupt:
        print(f"{stage}: stopped; what was finished is kept, run it again to go on", file=sys.stderr)  # noqa: T201
        return EXIT_INTERRUPTED
    except (PipelineError, OSError) as error:
        named = named_error(error, STATE) if isinstance(error, OSError) else error
        line = str(named) if str(named).startswith(f"{stage}:") else f"{stage}: {named}"
        with suppress(PipelineError, OSError):  # a full disk has no room for this either
            write_whole(UNDERWAY, json.dumps({**underway, "take": getattr(named, "take", None), "line": line}) + "\n")
        if Settings().debug or not isinstance(named, PipelineError):
            raise
        print(line, file=sys.stderr)  # noqa: T201
        return 1
    UNDERWAY.unlink(missing_ok=True)
    _report(stage, done, wall_s=time.perf_counter() - started, cpu_s=time.process_time() - cpu)
    return 0


def stage_that_failed(since_s: float) -> dict[str, Any] | None:
    """Return the stage that began since then and did not come to its end: ``stage``, ``take`` and ``line``.

    One that was killed has no line; one that does not run here by `run_stage` is not known.
    """
    try:
        found: dict[str, Any] = json.loads(UNDERWAY.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return found if found["began_at"] >= since_s else None


def _run_flow(flow: Flow[..., Any], stage: str, arguments: Sequence[str], typed: Mapping[str, Any]) -> Any:
    """Run a stage's flow, tagged; under the run that started it, where there is one (`Settings.parent_run`)."""
    with tags(PROJECT, *stage.split("@")):
        parent = Settings().parent_run
        if not parent:
            return flow(*arguments, **typed)
        parameters = get_call_parameters(flow.fn, tuple(arguments), dict(typed))
        with get_client(sync_client=True) as client:
            # Prefect's own way for a flow within a flow; this one is in another process.
            stands_for = client.create_task_run(
                task=Task(fn=flow.fn, name=stage), flow_run_id=UUID(parent), dynamic_key=f"{stage}-{uuid4().hex[:8]}"
            )
            run = client.create_flow_run(
                flow,
                parameters=flow.serialize_parameters(parameters),
                parent_task_run_id=stands_for.id,
                state=Pending(),
                tags=TagsContext.get().current_tags,
            )
        return run_flow(flow, flow_run=run, parameters=parameters)


def _report(stage: str, done: object, *, wall_s: float, cpu_s: float) -> None:
    counts = done.counts() if isinstance(done, Summary) else {}
    words = ", ".join(f"{count} {state}" for state, count in counts.items() if count or state != "pruned") or "done"
    print(f"{stage}: {words} in {wall_s:.1f} s")  # noqa: T201
    if isinstance(done, Summary):
        for outcome in done.outcomes:
            if outcome.state == "quarantined":
                print(f"{stage}: quarantined {outcome.name}: {outcome.kind}: {outcome.reason}")  # noqa: T201
    folder = STATE / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    names = (
        {state: [o.name for o in done.outcomes if o.state == state] for state in counts}
        if isinstance(done, Summary)
        else {}
    )
    record = {
        "stage": stage,
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "finished_at": time.time(),
        "counts": counts,
        "takes": names,
    }
    write_whole(folder / f"{stage}.json", json.dumps(record) + "\n")
