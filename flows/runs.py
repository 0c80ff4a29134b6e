"""Prefect's memory of runs, trimmed: its database grows by every task of every night."""

import os
from datetime import datetime
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterEndTime
from prefect.client.schemas.sorting import FlowRunSort

from flows.server import prefect_server

RUNS_AT_ONCE = 200


def trim_runs(before: datetime) -> int | None:
    """Delete the flow runs that ended before a moment, their tasks and logs, from this project's own Prefect server.

    The server is started for it if need be. One that was given by ``PREFECT_API_URL`` belongs to others too: it is left
    alone, as is a project in which nothing has run.

    Args:
        before: the moment, with its zone.

    Returns:
        How many runs were deleted, or None where there was nothing to look into.

    Raises:
        ToolError: the server did not start.
    """
    if os.environ.get("PREFECT_API_URL") or not (Path(os.environ["PREFECT_HOME"]) / "prefect.db").is_file():
        return None
    ended = FlowRunFilter(end_time=FlowRunFilterEndTime(before_=before))
    n_deleted = 0
    with prefect_server() as server, server.connected(), get_client(sync_client=True) as client:
        while runs := client.read_flow_runs(flow_run_filter=ended, sort=FlowRunSort.ID_DESC, limit=RUNS_AT_ONCE):
            for run in runs:
                client.delete_flow_run(run.id)
            n_deleted += len(runs)
    return n_deleted
