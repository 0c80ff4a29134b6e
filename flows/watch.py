"""Flow ``watch``: what has settled in an inbox -> data/raw -> ``dvc repro`` -> a commit a data version, on a schedule.

Correctness never rests on Prefect's states: every step can be repeated, and the next run repeats what a run that died
has left undone. Each run holds a lock of its own while it lives, which the kernel frees however it ends; by that the
next one knows whose RUNNING is not true, and says so to Prefect.
"""

import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import flow, tags
from prefect import serve as serve_deployments
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterState
from prefect.client.schemas.filters import FlowRunFilterStateType as StateTypes
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import FlowRunContext, get_run_context
from prefect.deployments.runner import RunnerDeployment
from prefect.states import Cancelled, Crashed
from prefect.types.entrypoint import EntrypointType

from flows.run import PROJECT, STATE, Settings, one_at_a_time, stage_that_failed
from flows.server import environment, is_healthy, prefect_server
from tasks.add import add_takes
from tasks.compare import CompareParams, compare_versions
from tasks.errors import ParamsError, PipelineError
from tasks.families import families_of
from tasks.gate import GateParams, decide
from tasks.ingest import RAW, IngestParams
from tasks.night import Failure, Record, clocks_of, commit_message, flags_of, markdown_of_night, stages_since
from tasks.params import read_params, section_values
from tasks.promote import names
from tasks.score import headlines, read_scores
from tasks.step import Verified, json_sha256, write_whole
from tasks.takes import data_version, read_catalog
from tasks.versions.comparison import Comparison
from tasks.versions.history import WORKSPACE, HistoryError, read_version
from tasks.versions.publish import commit_version, default_remote, dirty_inputs, push, run_briefly
from tasks.versions.repro import repro
from tasks.versions.show import advice
from tasks.watch import (
    Memory,
    find_entries,
    first_reported,
    is_handled,
    remember,
)

WATCH = STATE / "watch"
ALIVE = WATCH / "alive"
UNPUSHED = WATCH / "unpushed.json"
NAME = "watch"
SERVE = "import sys; from flows.watch import serve; serve(sys.argv[1])"
DEAD_AFTER_S = 120.0  # a run that began this long ago and never took its lock died before it could
RUNS_AT_ONCE = 200  # that are looked at; what is left, the next run looks at
CHECK_S = 5.0
NOTIFY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
STAGE_ENDS_S = 40.0  # after its server died; then the pass can tell what became of it


@flow(name=NAME, flow_run_name="watch {inbox}", persist_result=False)
def watch(
    inbox: str,
    settle_s: float = 60.0,
    commit: bool = True,
    push_data: bool = True,
    train: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Take in what has settled in the inbox, score it, compare with the last data version, commit, push, tell.

    The command that is told is a setting of this machine (`Settings.notify`), not a parameter.

    Args:
        inbox: folder that recordings arrive in; read, never written to.
        settle_s: how long nothing of a folder may have changed before it is taken in.
        commit: make one git commit of each new data version.
        push_data: ``dvc push`` it where a default remote is configured.
        train: train, sound and evaluate every family anew too; else promoted weights are scored on what came in.
        quiet: keep what the stages print away from standard output.

    Raises:
        PipelineError: a stage, git or the remote failed; what was done is kept, and the next run goes on from there.
    """
    run_id = get_run_context().flow_run.id  # type: ignore[union-attr]  # a flow's context has its run
    with _alive(run_id), one_at_a_time(NAME), environment(AUDIATE_PARENT_RUN=str(run_id)):
        began_s = time.time()
        record = Record(run=_run_name(run_id), inbox=inbox)
        comparison: Comparison | None = None
        try:
            retire_runs(run_id)
            take_in(Path(inbox), settle_s, record)
            reproduce(record, train=train, quiet=quiet)
            comparison = compare_with_last(record)
            look_at_what_came(record, comparison, commit=commit)
            decide_on(record, comparison)
            record.stages = stages_since(began_s, STATE / "runs")
            if commit:
                commit_new(record, comparison)
            if push_data:
                push_new(record)
        except Exception as error:
            line = str(error) if isinstance(error, PipelineError) else f"{type(error).__name__}: {error}"
            record.failure = _failure(line, began_s)
            record.failed = record.failure.line
            _say(f"failed: {record.failed}")
            raise
        finally:
            record.stages = stages_since(began_s, STATE / "runs")
            _tell(record, comparison, shlex.split(Settings().notify))
    return record.as_json()


def take_in(inbox: Path, settle_s: float, record: Record) -> None:
    """Offer every settled entry of the inbox to ``add``, unless the same bytes were offered before."""
    params = IngestParams.parse(section_values(read_params(), "ingest"), "ingest").of_a_take()
    policy, now = json_sha256(params.model_dump(mode="json")), time.time()
    memory = Memory.read(WATCH)
    ready, waiting = memory.settled(find_entries(inbox), settle_s=settle_s, now_s=now)
    record.waiting = [{"entry": entry.name, "reason": entry.reason} for entry in waiting]
    verified = Verified(STATE / "verified" / "add.json")  # so that add need not hash it all again
    fresh = [
        (entry, digest)
        for entry in ready
        for digest in [entry.digest(verified)]
        if not is_handled(memory, digest, policy=policy)
    ]
    verified.save()
    for entry, digest in fresh:
        done = add_takes([entry.path], params=params, tell=_say)
        record.added += [row.take for row in done.rows if row.state == "added"]
        for row in remember(memory, entry, digest, done.rows, policy=policy, at=_now()):
            record.quarantined.append({key: str(getattr(row, key)) for key in ("take", "kind", "reason", "source")})
        memory.save()  # an entry at a time: a run that dies tells nothing twice
    memory.save()
    for name in record.added:
        _say(f"took in {name}")
    for refused in record.quarantined:
        _say(f"quarantined {refused['take']}: {refused['kind']}: {refused['reason']}")
    for left in record.waiting:
        _say(f"left for the next run: {left['entry']}: {left['reason']}")
    if not (fresh or waiting):
        _say(f"nothing new in {inbox}")


def reproduce(record: Record, *, train: bool, quiet: bool = False) -> None:
    """Bring stages up to date; also when nothing came in, as a run before may have died in the middle.

    That is every stage with ``train``; else ``score`` and the stages that it rests on.
    """
    repro([] if train else ["score"], single=False, quiet=quiet)
    takes = read_catalog()
    record.new_version, record.n_takes = data_version(takes)[:16], len(takes)


def compare_with_last(record: Record) -> Comparison | None:
    """Compare the working tree with the last commit, or return None where that holds no data version."""
    memory = Memory.read(WATCH)
    refused: Sequence[Any] = json.loads(Path("data/ingested/quarantine.json").read_text(encoding="utf-8"))
    comparison = None
    try:
        old = read_version("HEAD")
        params = CompareParams.parse(section_values(read_params(), "compare"), "compare")
        comparison = compare_versions(old, read_version(WORKSPACE), params)
        record.old_version = comparison.old.data_version
        refused = comparison.quarantined
    except HistoryError as error:
        _say(f"the last commit has nothing to compare with: {error}")
    new = first_reported(memory, refused, at=_now())
    for row in new:
        _say(f"quarantined {row['take']}: {row['kind']}: {row['reason']}")
    record.quarantined += new
    memory.save()
    # What `add` only probed, ingest has decoded: a take that it refuses has not come in after all.
    names = {str(row["take"]) for row in refused}
    record.added = [take for take in record.added if take not in names]
    if comparison is not None and record.old_version != record.new_version:
        record.comparison, record.verdict = comparison.as_json(), advice(comparison)
        _say(f"data version {record.old_version} -> {record.new_version}: {record.verdict}")
        return comparison
    return None


def look_at_what_came(record: Record, comparison: Comparison | None, *, commit: bool) -> None:
    """Add to the record what is wrong with the takes that came in, and how their devices were synchronized.

    With commits these are all takes that the last one lacks: a run that died has told of none.
    """
    if commit and comparison is not None:
        record.added = sorted({*record.added, *comparison.added})
    elif commit and record.old_version is None:
        record.added = sorted(take.name for take in read_catalog() if (RAW / take.name).is_dir())
    record.flags, record.clocks = flags_of(record.added), clocks_of(record.added)
    for flag in record.flags:
        _say(f"flagged {flag.take}/{flag.device}: {flag.flag}")


def decide_on(record: Record, comparison: Comparison | None) -> None:
    """Add the scores of what came in, the families that are behind their data, and what the gate decides."""
    if comparison is None:
        return
    scored = [row for family in names() for row in read_scores(family)]
    record.scores = headlines(scored, set(record.added))
    record.behind = sorted(read_version(WORKSPACE).behind())
    params = read_params()
    if not params.get("gate"):
        return
    rules = GateParams.parse(params["gate"], "gate")
    if not (rules.figures or rules.new_takes):
        return
    gate = decide(comparison, scored, rules, families=families_of(params))
    record.gate = gate.as_json()
    _say("the gate holds" if gate.holds else f"the gate fell: {'; '.join(map(str, gate.fell))}")


def commit_new(record: Record, comparison: Comparison | None) -> None:
    """Commit a new data version, unless it rests on files that are not committed themselves."""
    if record.old_version == record.new_version:
        return
    version = read_version(WORKSPACE)
    dirty = dirty_inputs(version)
    if dirty:
        rest = f" and {len(dirty) - 3} more" if len(dirty) > 3 else ""
        record.notes.append(f"not committed: {', '.join(dirty[:3])}{rest} differ from the last commit")
        _say(record.notes[-1])
        return
    # Before the commit: killed in between, the next run pushes once too often, not once too seldom.
    before = _unpushed()
    _keep_unpushed([*before, str(record.new_version)])
    message = commit_message(record, comparison)
    record.commit = commit_version(message, version=version)
    if record.commit is None:
        _keep_unpushed(before)
        return
    _say(f"committed {record.commit[:10]}: {message.splitlines()[0]}")


def push_new(record: Record) -> None:
    """Push what no push has sent yet."""
    versions = _unpushed()
    remote = default_remote() if versions else None
    if remote is None:
        return
    record.pushed = False
    push(everything=len(versions) > 1)
    _keep_unpushed([])
    record.pushed = True
    _say(f"pushed to {remote}")


def retire_runs(run_id: UUID) -> None:
    """Tell Prefect which of this project's runs have died, and drop the missed ones: this run catches up for all."""
    with get_client(sync_client=True) as client:
        own = client.read_flow_run(run_id)
        going = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[NAME])),
            flow_run_filter=FlowRunFilter(state=_states(StateType.RUNNING, StateType.PENDING, StateType.CANCELLING)),
            sort=FlowRunSort.EXPECTED_START_TIME_ASC,
            limit=RUNS_AT_ONCE,
        )
        now = datetime.now(UTC)
        for run in going:
            is_late = run.deployment_id == own.deployment_id is not None and (
                now - (run.start_time or run.expected_start_time or now) > timedelta(seconds=DEAD_AFTER_S)
            )
            if run.id != run_id and _has_died(run.id, is_late=is_late):
                client.set_flow_run_state(run.id, Crashed(message="its process ended; a later run goes on"), force=True)
                (ALIVE / str(run.id)).unlink(missing_ok=True)
                _say(f"run {run.name!r} had died: this one goes on from there")
        if own.deployment_id is None:
            return
        missed = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[NAME])),
            flow_run_filter=FlowRunFilter(state=_states(StateType.SCHEDULED)),
            sort=FlowRunSort.EXPECTED_START_TIME_ASC,
            limit=RUNS_AT_ONCE,
        )
        for run in missed:
            due = run.next_scheduled_start_time or run.expected_start_time
            if run.deployment_id == own.deployment_id and run.id != run_id and due is not None and due < now:
                client.set_flow_run_state(run.id, Cancelled(message="missed; one run caught up for all"), force=True)


def watch_once(
    inbox: Path,
    *,
    settle_s: float,
    commit: bool,
    push_data: bool,
    notify: Sequence[str],
    train: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Run one pass now, and return its record.

    Raises:
        PipelineError: as `watch` does.
    """
    with (
        prefect_server() as server,
        server.connected(),
        server.inherited(),  # by the stages, which are processes of their own
        server.needed(NAME, patience_s=STAGE_ENDS_S),
        environment(**_told(notify)),
        tags(PROJECT, NAME),
    ):
        done: dict[str, Any] = watch(str(inbox), settle_s, commit, push_data, train, quiet)
    return done


def watch_forever(
    inbox: Path,
    *,
    interval_s: float | None,
    cron: str | None,
    settle_s: float,
    commit: bool,
    push_data: bool,
    notify: Sequence[str],
    train: bool = False,
) -> None:
    """Serve the flow on a schedule until interrupted; a server or a runner that dies is started again.

    Raises:
        ParamsError: neither an interval nor a cron line is given, or both are.
    """
    if (interval_s is None) == (cron is None):
        raise ParamsError("a schedule is wanted: either --interval SECONDS or --cron LINE")
    schedule = {"interval": interval_s} if cron is None else {"cron": cron}
    parameters = {
        "inbox": str(inbox.resolve()),
        "settle_s": settle_s,
        "commit": commit,
        "push_data": push_data,
        "train": train,
    }
    when = f"every {interval_s:g} s" if cron is None else f"at {cron!r}"
    arguments = [
        sys.executable,
        "-c",
        SERVE,
        json.dumps({"supervisor": os.getpid(), **schedule, "parameters": parameters}),
    ]
    # As systemd and containers end a service.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while True:
            with environment(**_told(notify)):
                _serve_until_it_ends(arguments, f"{inbox} {when}")
            _say("the server or the runner ended: starting again")
            time.sleep(CHECK_S)
    except KeyboardInterrupt:
        _say("stopped; a run that was under way is repeated by the next")


def serve(text: str) -> None:
    """Serve the flow: the whole life of the process that `watch_forever` starts.

    Each run imports the flow anew by its name. Prefect would otherwise pickle it here, and a run after an upgrade of
    the code would meet modules that are not those it was pickled with.

    Args:
        text: JSON of ``supervisor``, the process that this one ends with, ``parameters``, and ``interval`` in seconds
            or ``cron``.
    """
    given = json.loads(text)
    threading.Thread(target=_end_with, args=(given.pop("supervisor"),), daemon=True).start()
    deployment = RunnerDeployment.from_flow(
        watch, NAME, tags=[PROJECT, NAME], entrypoint_type=EntrypointType.MODULE_PATH, **given
    )
    serve_deployments(deployment, limit=1, print_starting_message=False)


@contextmanager
def _alive(run_id: UUID) -> Iterator[None]:
    ALIVE.mkdir(parents=True, exist_ok=True)
    path = ALIVE / str(run_id)
    with path.open("a") as own:
        fcntl.flock(own, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _has_died(run_id: UUID, *, is_late: bool) -> bool:
    """Say whether a run's process has ended; one that left no lock here is another project's, or never began."""
    try:
        with (ALIVE / str(run_id)).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        return is_late
    return True


def _states(*types: StateType) -> FlowRunFilterState:
    return FlowRunFilterState(type=StateTypes(any_=list(types)))


def _unpushed() -> list[str]:
    try:
        return [str(version) for version in json.loads(UNPUSHED.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError):
        return ["unknown", "unknown"]  # cut short by a kill: send everything


def _keep_unpushed(versions: Sequence[str]) -> None:
    WATCH.mkdir(parents=True, exist_ok=True)
    write_whole(UNPUSHED, json.dumps(list(versions)) + "\n")


def _tell(record: Record, comparison: Comparison | None, notify: Sequence[str]) -> None:
    """Write the record where something happened, and run the notification; its failure is reported, never fatal."""
    if not record.is_news:
        return
    WATCH.mkdir(parents=True, exist_ok=True)
    if notify:
        given = json.dumps(record.as_json())
        # Whoever writes that command need not be trusted with the server.
        bare = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        code, words = run_briefly(notify, timeout_s=NOTIFY_TIMEOUT_S, given=given, environment=bare)
        if code:
            record.notes.append(f"the notification {notify[0]!r} failed ({code}): {words}")
            _say(record.notes[-1])
    write_whole(WATCH / f"{record.run}.json", json.dumps(record.as_json(), indent=1) + "\n")
    text = markdown_of_night(record, comparison)
    write_whole(WATCH / f"{record.run}.md", text)
    if FlowRunContext.get() is None:
        return
    with suppress(Exception):  # the server may be what failed; the record stands in two files beside
        create_markdown_artifact(text, key=NAME, description=f"Night {record.run}")


def _failure(line: str, began_s: float) -> Failure:
    found = stage_that_failed(began_s)
    if found is None:
        return Failure(stage=None, take=None, line=line)
    words = found["line"] or f"{found['stage']}: it was killed; {line}"
    return Failure(stage=found["stage"], take=found["take"], line=words)


def _wait_while_healthy(runner: subprocess.Popen[bytes], url: str) -> None:
    n_failed = 0
    while runner.poll() is None and n_failed < 3:
        with suppress(subprocess.TimeoutExpired):
            runner.wait(CHECK_S)
        n_failed = 0 if is_healthy(url) else n_failed + 1


def _serve_until_it_ends(arguments: Sequence[str], what: str) -> None:
    with prefect_server() as server:
        _say(f"serving {what}; Ctrl-C ends it")
        # In a session of its own: it is stopped by this process, which waits for it.
        runner = subprocess.Popen(arguments, env={**os.environ, **server.environment}, start_new_session=True)
        try:
            _wait_while_healthy(runner, server.url)
        finally:
            _stop(runner)


def _end_with(supervisor: int) -> None:
    """End this process, and all that it started, once the one that started it has died: nobody else would."""
    while os.getppid() == supervisor:
        time.sleep(1.0)
    for sign in (signal.SIGTERM, signal.SIGKILL):
        os.killpg(os.getpgrp(), sign)
        time.sleep(STOP_TIMEOUT_S)


def _told(command: Sequence[str]) -> dict[str, str]:
    """Return the setting that has a command told; without one, the settings of this machine stand."""
    return {"AUDIATE_NOTIFY": shlex.join(command)} if command else {}


def _stop(runner: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if runner.poll() is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(runner.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            runner.wait(STOP_TIMEOUT_S)


def _run_name(run_id: UUID) -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}-{run_id.hex[-6:]}"


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _say(line: str) -> None:
    print(line if line.startswith(f"{NAME}:") else f"{NAME}: {line}", file=sys.stderr, flush=True)  # noqa: T201
